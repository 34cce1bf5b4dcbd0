//! The policy of a simulated world: verdicts by words, masks for everybody.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::BytesMut;
use gateway_core::{
    decision::{Decision, DecisionPoint, Denial, Hold, Reason, Request, Requirement, Verdict},
    id::{ClassName, Digest, RuleId},
    mask::{ClassifiedField, Detector, MaskCount, Obligations, Scan},
    operation::{Operation, SessionOp},
    time::Now,
};

/// How long holds last.
const HOLD_TIME: Duration = Duration::from_secs(300);
/// What [`Addresses`] finds.
const ADDRESSES: &[&str] = &["ada@example.com", "bob@example.com"];

/// Decides by a text's words: `drop` and `deny` are denied, `delete` and `hold` wait for a
/// reviewer, all else is allowed.
///
/// The word is the first of a SQL text. Texts of commands and API calls begin with what the
/// protocol makes of them, so there it is any run of ASCII letters and digits; methods are in
/// upper case and no such word.
#[derive(Clone, Debug, Default)]
pub struct TextRules {
    /// Everything is allowed.
    pub allows_all: bool,
    /// No session may open.
    pub refuses_sessions: bool,
    /// What is classified is masked for everybody; else it is revealed to everybody.
    pub masks: bool,
    /// Fields of an API that are classified beside those that the protocol classifies.
    pub fields: Vec<ClassifiedField>,
    /// The policy has changed: what waited is denied.
    pub(super) changed: Arc<AtomicBool>,
}

impl DecisionPoint for TextRules {
    fn decide(&self, _: Now, request: &Request<'_>) -> Decision {
        let verdict = self.verdict(request);
        let rules = match &verdict {
            Verdict::Allow => rule("all").into_iter().collect(),
            Verdict::Deny(denial) => denial.rules.clone(),
            Verdict::Hold(hold) => hold.requirements.iter().map(|r| r.rule.clone()).collect(),
        };
        Decision {
            verdict,
            obligations: self.obligations(request.operation),
            rules,
            policy: self.policy(),
        }
    }

    fn policy(&self) -> Digest {
        Digest::of(&[u8::from(self.has_changed())])
    }
}

impl TextRules {
    fn has_changed(&self) -> bool {
        self.changed.load(Ordering::Relaxed)
    }

    fn verdict(&self, request: &Request<'_>) -> Verdict {
        let operation = request.operation;
        if self.allows_all {
            return Verdict::Allow;
        }
        match operation {
            Operation::Session(SessionOp::Open { .. }) if self.refuses_sessions => {
                deny("no-session", "sessions are forbidden")
            }
            Operation::Session(_) => Verdict::Allow,
            _ if says(operation, &["drop", "deny"]) => {
                deny("no-drop", "drops need a change ticket")
            }
            _ if !says(operation, &["delete", "hold"]) => Verdict::Allow,
            _ if self.has_changed() => deny("no-delete", "deletes are forbidden now"),
            _ => hold(request.approved),
        }
    }

    fn obligations(&self, operation: &Operation) -> Obligations {
        let mut obligations = match operation {
            Operation::Session(_) => return Obligations::default(),
            Operation::Sql(unit) => Obligations::split(&unit.analysis.classified, |_| !self.masks),
            Operation::Command(_) | Operation::Api(_) => Obligations {
                detector: self.masks.then(|| Arc::new(Addresses) as _),
                ..Obligations::default()
            },
        };
        if let Operation::Api(unit) = operation {
            let fields = unit.classified.iter().chain(&self.fields).cloned();
            match self.masks {
                true => obligations.fields = fields.collect(),
                false => obligations.revealed_fields = fields.collect(),
            }
        }
        obligations
    }
}

fn says(operation: &Operation, words: &[&str]) -> bool {
    let text = operation.text();
    match operation {
        Operation::Session(_) => false,
        Operation::Sql(_) => text
            .split_whitespace()
            .next()
            .is_some_and(|first| words.contains(&first)),
        Operation::Command(_) | Operation::Api(_) => text
            .split(|c: char| !c.is_ascii_alphanumeric())
            .any(|word| words.contains(&word)),
    }
}

fn deny(id: &str, message: &str) -> Verdict {
    let rules = rule(id).into_iter().collect();
    Verdict::Deny(Denial::new(Reason::Forbidden, message).with_rules(rules))
}

fn hold(approved: &[RuleId]) -> Verdict {
    let Some(rule) = rule("two-eyes") else {
        return deny("no-rule", "the rule of holds has no name");
    };
    if approved.contains(&rule) {
        return Verdict::Allow;
    }
    Verdict::Hold(Hold {
        requirements: vec![Requirement {
            rule,
            reviewers: "Gateway.Approver".into(),
            approvers: 1,
        }],
        expires_in: HOLD_TIME,
        message: "a person must look".into(),
        excluded_owner: None,
    })
}

fn rule(id: &str) -> Option<RuleId> {
    RuleId::parse(id).ok()
}

/// Finds the addresses of the two customers of the toys, and puts stars in their place.
#[derive(Debug)]
pub struct Addresses;

impl Detector for Addresses {
    fn scan(&self) -> Box<dyn Scan> {
        Box::new(AddressScan::default())
    }
}

#[derive(Debug, Default)]
struct AddressScan {
    /// What may be the beginning of an address.
    kept: Vec<u8>,
    found: u64,
}

impl Scan for AddressScan {
    fn push(&mut self, data: &[u8], out: &mut BytesMut) {
        self.kept.extend_from_slice(data);
        let mut done = 0;
        while let Some(rest) = self.kept.get(done..)
            && !rest.is_empty()
        {
            let mut addresses = ADDRESSES.iter().map(|address| address.as_bytes());
            if let Some(address) = addresses.clone().find(|address| rest.starts_with(address)) {
                out.extend_from_slice(b"***");
                self.found += 1;
                done += address.len();
            } else if addresses.any(|address| address.starts_with(rest)) {
                break;
            } else {
                out.extend(rest.first());
                done += 1;
            }
        }
        self.kept.drain(..done);
    }

    fn finish(&mut self, out: &mut BytesMut) {
        out.extend_from_slice(&self.kept);
        self.kept.clear();
    }

    fn counts(&self) -> Vec<MaskCount> {
        let class = ClassName::parse("email").ok().filter(|_| self.found > 0);
        let count = class.map(|class| MaskCount {
            column: "address".into(),
            class,
            method: "redact",
            seen: self.found,
            masked: self.found,
        });
        count.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_across_any_borders() {
        let text = b"ada@example.com, adada@example.com bob@example.org bob@example";
        for split in 0..text.len() {
            let (mut scan, mut out) = (Addresses.scan(), BytesMut::new());
            scan.push(&text[..split], &mut out);
            scan.push(&text[split..], &mut out);
            scan.finish(&mut out);
            assert_eq!(&out[..], b"***, ad*** bob@example.org bob@example");
            assert_eq!(scan.counts()[0].masked, 2);
        }
    }
}
