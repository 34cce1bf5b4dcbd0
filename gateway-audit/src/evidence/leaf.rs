//! Leaves as the listings read them.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::replay::has_moments;

/// A leaf with its header, and its body where it is at hand, as JSON.
#[derive(Clone, Debug)]
pub(crate) struct Leaf {
    pub(crate) index: u64,
    pub(crate) hash: String,
    pub(crate) header: Value,
    pub(crate) body: Value,
}

impl Leaf {
    pub(crate) fn kind(&self) -> &str {
        self.text("k").unwrap_or_default()
    }

    pub(crate) fn session(&self) -> Option<&str> {
        self.text("ses")
    }

    pub(crate) fn unit(&self) -> Option<u64> {
        self.int("st")
    }

    pub(crate) fn at_us(&self) -> u64 {
        self.int("t").unwrap_or_default()
    }

    pub(crate) fn text(&self, field: &str) -> Option<&str> {
        self.header.get(field)?.as_str()
    }

    pub(crate) fn int(&self, field: &str) -> Option<u64> {
        self.header.get(field)?.as_u64()
    }

    /// A counter of field `n`.
    pub(crate) fn count(&self, name: &str) -> Option<u64> {
        self.header.get("n")?.get(name)?.as_u64()
    }

    /// A member of the body by JSON pointer (RFC 6901).
    pub(crate) fn body(&self, pointer: &str) -> Option<&Value> {
        self.body.pointer(pointer).filter(|value| !value.is_null())
    }
}

/// Whether the stream of the session that has these leaves is made of moments.
pub(crate) fn made_of_moments(leaves: &[&Leaf]) -> bool {
    let protocol = leaves.iter().find_map(|leaf| leaf.text("prt"));
    protocol.is_some_and(has_moments)
}

/// The leaves of a package, and which of them it lists.
#[derive(Debug)]
pub(crate) struct Range {
    pub(crate) origin: String,
    /// The first leaf; the others follow without gaps.
    pub(crate) from_index: u64,
    pub(crate) leaves: Vec<Leaf>,
    /// Listed are records from this time on, UTC microseconds …
    pub(crate) from_us: u64,
    /// … and before this one.
    pub(crate) to_us: u64,
    /// Listed is this agent only.
    pub(crate) agent: Option<String>,
    /// Listed is this target only.
    pub(crate) target: Option<String>,
}

impl Range {
    /// The `log.open` under which `leaf` was written, when it is in the range.
    pub(crate) fn gateway(&self, leaf: &Leaf) -> Option<&Leaf> {
        let before = self
            .leaves
            .partition_point(|other| other.index < leaf.index);
        let mut before = self.leaves.iter().take(before);
        before.rfind(|leaf| leaf.kind() == "log.open")
    }

    /// The end of the time that the leaves reach, UTC microseconds: past the latest of them.
    pub(crate) fn reached_us(&self) -> u64 {
        self.leaves
            .iter()
            .map(|leaf| leaf.at_us().saturating_add(1))
            .max()
            .unwrap_or(0)
    }

    /// Sessions in scope: by the agent and the target of any of their leaves.
    pub(crate) fn sessions(&self) -> BTreeMap<&str, Vec<&Leaf>> {
        let mut sessions: BTreeMap<&str, Vec<&Leaf>> = BTreeMap::new();
        for leaf in &self.leaves {
            if let Some(session) = leaf.session() {
                sessions.entry(session).or_default().push(leaf);
            }
        }
        let seen = |leaves: &[&Leaf], field: &str, wanted: &Option<String>| {
            wanted
                .as_deref()
                .is_none_or(|wanted| leaves.iter().any(|leaf| leaf.text(field) == Some(wanted)))
        };
        sessions.retain(|_, leaves| {
            seen(leaves, "agt", &self.agent) && seen(leaves, "res", &self.target)
        });
        sessions
    }

    /// Whether a leaf's own time is listed.
    pub(crate) fn lists(&self, leaf: &Leaf) -> bool {
        (self.from_us..self.to_us).contains(&leaf.at_us())
    }
}
