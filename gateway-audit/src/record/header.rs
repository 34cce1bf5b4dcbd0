//! The public half of a leaf.

use crate::json::{self, Object};
use crate::tree::Hash;

/// Longest header, bytes. A longer one is refused, never cut.
pub const HEADER_BYTES_MAX: usize = 65_535;

/// The version of the leaf schema, field `v`.
pub const SCHEMA: u64 = 1;

/// The fields of a leaf's header; identifiers only, never names, text or values.
///
/// Unset fields are left out. A field is never reused for another meaning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// `agt`: Entra object id of the agent.
    pub agent: Option<String>,
    /// `app`: Entra application (client) id.
    pub app: Option<String>,
    /// `apr`: approval id.
    pub approval: Option<String>,
    /// `dec`: allow, deny, hold or mask.
    pub decision: Option<&'static str>,
    /// `k`: the kind.
    pub kind: &'static str,
    /// `m`: monotonic microseconds.
    pub mono_us: u64,
    /// `n`: counters by name, names in ascending order.
    pub counters: Vec<(&'static str, u64)>,
    /// `op`: operation class.
    pub operation: Option<String>,
    /// `out`: outcome.
    pub outcome: Option<&'static str>,
    /// `pol`: policy digest.
    pub policy: Option<Hash>,
    /// `prt`: protocol.
    pub protocol: Option<String>,
    /// `res`: target.
    pub target: Option<String>,
    /// `rq`: `SHA-256(0x12 || salt || request)`, the commitment to the exact request bytes.
    pub request: Option<Hash>,
    /// `rul`: rule ids that decided.
    pub rules: Vec<String>,
    /// `ses`: session id.
    pub session: Option<String>,
    /// `sh`: head of the session's chunk chain.
    pub stream_head: Option<Hash>,
    /// `sq`: gap-free sequence within the session.
    pub sequence: Option<u64>,
    /// `st`: unit number.
    pub unit: Option<u64>,
    /// `syn`: made by a canary.
    pub synthetic: bool,
    /// `t`: UTC microseconds.
    pub wall_us: u64,
    /// `tn`: Entra tenant.
    pub tenant: Option<String>,
    /// `tr`: trace id.
    pub trace: Option<String>,
    /// `uti`: token id.
    pub token: Option<String>,
}

/// What a header says about the body beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyDigest {
    /// `bh`: `SHA-256(0x10 || salt || body)`.
    pub hash: Hash,
    /// `bl`: length of the body without its salt, bytes.
    pub len: u64,
}

impl Header {
    /// The leaf's bytes: canonical JSON at log index `index`.
    #[must_use]
    pub fn encode(&self, index: u64, body: Option<BodyDigest>) -> Vec<u8> {
        json::object(|o| self.members(o, index, body))
    }

    fn members(&self, o: &mut Object<'_>, index: u64, body: Option<BodyDigest>) {
        o.text_opt("agt", self.agent.as_deref());
        o.text_opt("app", self.app.as_deref());
        o.text_opt("apr", self.approval.as_deref());
        if let Some(body) = body {
            o.hex("bh", &body.hash);
            o.int("bl", body.len);
        }
        o.text_opt("dec", self.decision);
        o.int("i", index);
        o.text("k", self.kind);
        o.int("m", self.mono_us);
        if !self.counters.is_empty() {
            o.object("n", |o| {
                self.counters
                    .iter()
                    .for_each(|(name, count)| o.int(name, *count))
            });
        }
        o.text_opt("op", self.operation.as_deref());
        o.text_opt("out", self.outcome);
        o.hex_opt("pol", self.policy.as_ref().map(Hash::as_slice));
        o.text_opt("prt", self.protocol.as_deref());
        o.text_opt("res", self.target.as_deref());
        o.hex_opt("rq", self.request.as_ref().map(Hash::as_slice));
        if !self.rules.is_empty() {
            o.texts("rul", self.rules.iter().map(String::as_str));
        }
        o.text_opt("ses", self.session.as_deref());
        o.hex_opt("sh", self.stream_head.as_ref().map(Hash::as_slice));
        o.int_opt("sq", self.sequence);
        o.int_opt("st", self.unit);
        o.flag_if("syn", self.synthetic);
        o.int("t", self.wall_us);
        o.text_opt("tn", self.tenant.as_deref());
        o.text_opt("tr", self.trace.as_deref());
        o.text_opt("uti", self.token.as_deref());
        o.int("v", SCHEMA);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_with_every_field_is_canonical_json() {
        let header = Header {
            agent: Some("a".into()),
            app: Some("b".into()),
            approval: Some("c".into()),
            decision: Some("allow"),
            kind: "unit.intent",
            mono_us: 3,
            counters: vec![("bytes", 1), ("rows", 2)],
            operation: Some("sql.read".into()),
            outcome: Some("ok"),
            policy: Some([1; 32]),
            protocol: Some("postgres".into()),
            target: Some("shop".into()),
            request: Some([2; 32]),
            rules: vec!["r1".into(), "r2".into()],
            session: Some("s".into()),
            stream_head: Some([3; 32]),
            sequence: Some(4),
            unit: Some(5),
            synthetic: true,
            wall_us: 6,
            tenant: Some("t".into()),
            trace: Some("x".into()),
            token: Some("u".into()),
        };
        let bytes = header.encode(
            7,
            Some(BodyDigest {
                hash: [4; 32],
                len: 8,
            }),
        );
        let read: std::collections::BTreeMap<String, serde_json::Value> =
            serde_json::from_slice(&bytes).unwrap();
        assert_eq!(read.len(), 27);
        assert_eq!(
            serde_json::to_vec(&read).unwrap(),
            bytes,
            "sorted keys, no whitespace"
        );
    }
}
