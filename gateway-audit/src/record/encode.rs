//! One leaf per record of a session.

use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::error::Unspecified;
use gateway_core::id::{ApprovalId, SessionId};
use gateway_core::identity::Principal;
use gateway_core::operation::Operation;
use gateway_core::record::{
    ApprovalOutcome, ApprovalRequested, Blocked, CloseReason, Entry, Intent, Outcome, Record,
    SessionOpened, Severity, UnitEnd,
};
use gateway_core::time::{Now, Wall};

use super::body;
use super::header::Header;
use super::seal::{Sealer, request_commitment};
use crate::json;
use crate::log::Salt;
use crate::stream::Chain;
use crate::tree::Hash;

/// Salts of pending approvals remembered per session; at the bound the oldest is forgotten, and its
/// intent gets a salt of its own.
const APPROVAL_SALTS_MAX: usize = 4096;

/// A leaf that has no index yet.
#[derive(Debug)]
pub(crate) struct Encoded {
    pub(crate) header: Header,
    pub(crate) body: Option<Vec<u8>>,
}

/// What the log remembers of an open session.
#[derive(Debug)]
pub(crate) struct SessionContext {
    id: String,
    agent: Option<String>,
    app: Option<String>,
    tenant: Option<String>,
    token: Option<String>,
    target: Option<String>,
    protocol: Option<String>,
    method: Option<&'static str>,
    sequence: u64,
    approval_salts: BTreeMap<ApprovalId, Salt>,
    /// Units with an intent and no result yet; a gate bounds how many there are.
    units: BTreeSet<u64>,
    /// Between `session.open` and `session.close`.
    pub(crate) open: bool,
    /// The chain over the session's chunks.
    pub(crate) chain: Chain,
    /// Bytes of the chain, and when, at the last leaf that carried its head.
    pub(crate) anchored: (u64, Now),
}

impl SessionContext {
    pub(crate) fn new(session: SessionId) -> Self {
        Self {
            id: session.to_string(),
            agent: None,
            app: None,
            tenant: None,
            token: None,
            target: None,
            protocol: None,
            method: None,
            sequence: 0,
            approval_salts: BTreeMap::new(),
            units: BTreeSet::new(),
            open: false,
            chain: Chain::new(session),
            anchored: (0, Now::default()),
        }
    }

    /// A session found open by recovery.
    pub(crate) fn resumed(
        session: SessionId,
        agent: Option<String>,
        target: Option<String>,
        sequence: u64,
        units: BTreeSet<u64>,
        chain: Chain,
    ) -> Self {
        Self {
            agent,
            target,
            sequence,
            units,
            chain,
            open: true,
            ..Self::new(session)
        }
    }

    /// The leaf of `entry` was taken: what is open and what runs has changed.
    pub(crate) fn settle(&mut self, entry: &Entry) {
        if let Entry::SessionOpened(_) = entry {
            self.open = true;
        } else if let Entry::SessionClosed { .. } = entry {
            self.open = false;
        } else if let Entry::Intent(intent) = entry {
            self.units.insert(intent.unit.0);
        } else if let Entry::Finished { unit, .. } = entry {
            self.units.remove(&unit.0);
        }
    }

    /// The last leaf's record was refused: no leaf carries its number.
    pub(crate) const fn withdraw(&mut self) {
        self.sequence = self.sequence.saturating_sub(1);
    }

    /// A header of this session's next leaf.
    fn header(&mut self, kind: &'static str, now: Now) -> Header {
        self.sequence += 1;
        Header {
            kind,
            agent: self.agent.clone(),
            target: self.target.clone(),
            protocol: self.protocol.clone(),
            session: Some(self.id.clone()),
            sequence: Some(self.sequence),
            mono_us: now.mono.as_micros(),
            wall_us: now.wall.as_micros(),
            ..Header::default()
        }
    }

    fn identify(&mut self, principal: &Principal) {
        self.agent = Some(principal.object.to_string());
        self.app = Some(principal.app.to_string());
        self.tenant = Some(principal.tenant.to_string());
        self.token = Some(principal.token_id.clone()).filter(|id| !id.is_empty());
    }

    fn identified(&mut self, kind: &'static str, now: Now) -> Header {
        let header = self.header(kind, now);
        Header {
            app: self.app.clone(),
            tenant: self.tenant.clone(),
            token: self.token.clone(),
            ..header
        }
    }

    fn anchor(&mut self, header: &mut Header, now: Now) {
        header.stream_head = Some(self.chain.head);
        self.anchored = (self.chain.bytes, now);
    }
}

/// `stream.anchor`: puts the head of a session's chain into the log.
pub(crate) fn stream_anchor(context: &mut SessionContext, now: Now) -> Encoded {
    let mut header = context.header("stream.anchor", now);
    header.counters = vec![
        ("bytes", context.chain.bytes),
        ("chunks", context.chain.chunks),
    ];
    context.anchor(&mut header, now);
    Encoded { header, body: None }
}

/// `unit.unknown` for the next unit whose result was lost; it may have run.
pub(crate) fn unit_unknown(context: &mut SessionContext, now: Now) -> Option<Encoded> {
    let unit = context.units.pop_first()?;
    let mut header = context.header("unit.unknown", now);
    header.unit = Some(unit);
    header.outcome = Some("unknown");
    Some(Encoded { header, body: None })
}

/// `session.interrupted`: nothing more will come of an open session.
pub(crate) fn interrupted(context: &mut SessionContext, now: Now, why: &'static str) -> Encoded {
    context.open = false;
    let mut header = context.header("session.interrupted", now);
    header.outcome = Some(why);
    header.counters = vec![
        ("bytes", context.chain.bytes),
        ("chunks", context.chain.chunks),
    ];
    context.anchor(&mut header, now);
    Encoded { header, body: None }
}

/// The leaf of one record. Fails only without randomness for its salts.
pub(crate) fn encode(
    record: &Record,
    context: &mut SessionContext,
    sealer: &Sealer,
) -> Result<Encoded, Unspecified> {
    let now = record.at;
    Ok(match &record.entry {
        Entry::AuthAccepted { principal, method } => {
            context.identify(principal);
            context.method = Some(method);
            let body = json::object(|o| {
                o.text("method", method);
                o.object("principal", |o| body::principal(o, principal));
            });
            Encoded {
                header: context.identified("auth.ok", now),
                body: Some(body),
            }
        }
        Entry::AuthRejected {
            reason,
            claimed_user,
        } => {
            let header = Header {
                outcome: Some("rejected"),
                ..context.header("auth.fail", now)
            };
            let body = json::object(|o| {
                o.text("claimed_user", claimed_user);
                o.text("reason", reason);
            });
            Encoded {
                header,
                body: Some(body),
            }
        }
        Entry::SessionOpened(opened) => session_open(opened, context, now),
        Entry::SessionRefused {
            denial,
            principal,
            policy,
        } => {
            if let Some(principal) = principal {
                context.identify(principal);
            }
            let header = Header {
                decision: Some("deny"),
                rules: rules(&denial.rules),
                policy: policy.map(|digest| digest.0),
                ..context.identified("session.refused", now)
            };
            let body = json::object(|o| o.object("denial", |o| body::denial(o, denial)));
            Encoded {
                header,
                body: Some(body),
            }
        }
        Entry::Intent(intent) => unit_intent(intent, context, now, sealer)?,
        Entry::Blocked(blocked) => block(blocked, context, now, sealer)?,
        Entry::ApprovalRequested(request) => approval_request(request, context, now, sealer)?,
        Entry::ApprovalDecided {
            approval,
            unit,
            outcome,
            votes,
        } => {
            let (kind, out) = approval_end(*outcome);
            if *outcome != ApprovalOutcome::Approved {
                context.approval_salts.remove(approval);
            }
            let header = Header {
                approval: Some(approval.to_string()),
                unit: Some(unit.0),
                outcome: Some(out),
                ..context.header(kind, now)
            };
            let body = json::object(|o| o.objects("votes", votes, body::vote));
            Encoded {
                header,
                body: Some(body),
            }
        }
        Entry::ApprovalConsumed {
            approval,
            unit,
            digest,
        } => {
            let header = Header {
                approval: Some(approval.to_string()),
                unit: Some(unit.0),
                ..context.header("approval.consumed", now)
            };
            let body = json::object(|o| o.hex("digest", &digest.0));
            Encoded {
                header,
                body: Some(body),
            }
        }
        Entry::Masked { unit, counts } => {
            let total = |of: fn(&gateway_core::mask::MaskCount) -> u64| {
                counts.iter().map(of).fold(0, u64::saturating_add)
            };
            let header = Header {
                unit: Some(unit.0),
                decision: Some("mask"),
                counters: vec![
                    ("columns", u64::try_from(counts.len()).unwrap_or(u64::MAX)),
                    ("masked", total(|count| count.masked)),
                    ("seen", total(|count| count.seen)),
                ],
                ..context.header("mask", now)
            };
            let body = json::object(|o| o.objects("columns", counts, body::mask));
            Encoded {
                header,
                body: Some(body),
            }
        }
        Entry::Finished {
            unit,
            released_at,
            end,
        } => finished(unit.0, *released_at, end, context, now),
        Entry::SessionClosed {
            reason,
            bytes_from_agent,
            bytes_to_agent,
            probes,
        } => {
            let mut header = context.header("session.close", now);
            header.outcome = Some(close_reason(reason));
            header.counters = vec![
                ("bytes", context.chain.bytes),
                ("bytes_from_agent", *bytes_from_agent),
                ("bytes_to_agent", *bytes_to_agent),
                ("chunks", context.chain.chunks),
                ("opened", u64::from(context.open)),
                ("probes", *probes),
            ];
            context.anchor(&mut header, now);
            Encoded { header, body: None }
        }
    })
}

fn session_open(opened: &SessionOpened, context: &mut SessionContext, now: Now) -> Encoded {
    context.identify(&opened.principal);
    context.target = Some(opened.target.name.to_string());
    context.protocol = Some(opened.target.protocol.to_owned());
    context.anchored.1 = now;
    let header = Header {
        decision: Some("allow"),
        policy: Some(opened.policy.0),
        rules: rules(&opened.rules),
        operation: Some("session.open".into()),
        ..context.identified("session.open", now)
    };
    let body = json::object(|o| body::opened(o, opened, context.method));
    Encoded {
        header,
        body: Some(body),
    }
}

fn unit_intent(
    intent: &Intent,
    context: &mut SessionContext,
    now: Now,
    sealer: &Sealer,
) -> Result<Encoded, Unspecified> {
    let remembered = intent
        .approval
        .and_then(|approval| context.approval_salts.remove(&approval));
    let salt = remembered.map_or_else(Sealer::salt, Ok)?;
    let header = Header {
        unit: Some(intent.unit.0),
        approval: intent.approval.map(|id| id.to_string()),
        decision: Some("allow"),
        ..decided(
            context,
            "unit.intent",
            now,
            &intent.operation,
            &salt,
            &intent.rules,
            intent.policy.0,
        )
    };
    let body = json::object(|o| {
        if let Some(denial) = &intent.not_enforced {
            o.object("not_enforced", |o| body::denial(o, denial));
        }
        o.object("operation", |o| {
            body::operation(
                o,
                &intent.operation,
                intent.rewritten.as_ref(),
                &salt,
                sealer,
            )
        });
    });
    Ok(Encoded {
        header,
        body: Some(body),
    })
}

fn block(
    blocked: &Blocked,
    context: &mut SessionContext,
    now: Now,
    sealer: &Sealer,
) -> Result<Encoded, Unspecified> {
    let salt = Sealer::salt()?;
    let rule_ids = &blocked.denial.rules;
    let header = match &blocked.operation {
        Some(operation) => decided(
            context,
            "block",
            now,
            operation,
            &salt,
            rule_ids,
            blocked.policy.0,
        ),
        None => Header {
            rules: rules(rule_ids),
            policy: Some(blocked.policy.0),
            counters: vec![("statements", 1)],
            ..context.header("block", now)
        },
    };
    let mut header = Header {
        unit: Some(blocked.unit.0),
        decision: Some("deny"),
        ..header
    };
    header.counters.insert(0, ("bytes_sent_upstream", 0));
    let body = json::object(|o| {
        o.object("denial", |o| body::denial(o, &blocked.denial));
        if let Some(operation) = &blocked.operation {
            o.object("operation", |o| {
                body::operation(o, operation, None, &salt, sealer)
            });
        }
        o.text(
            "severity",
            match blocked.severity {
                Severity::Notice => "notice",
                Severity::Incident => "incident",
            },
        );
    });
    Ok(Encoded {
        header,
        body: Some(body),
    })
}

fn approval_request(
    request: &ApprovalRequested,
    context: &mut SessionContext,
    now: Now,
    sealer: &Sealer,
) -> Result<Encoded, Unspecified> {
    let salt = Sealer::salt()?;
    if context.approval_salts.len() >= APPROVAL_SALTS_MAX {
        context.approval_salts.pop_first();
    }
    context.approval_salts.insert(request.approval, salt);
    let rule_ids: Vec<_> = request
        .hold
        .requirements
        .iter()
        .map(|requirement| requirement.rule.clone())
        .collect();
    let header = Header {
        unit: Some(request.unit.0),
        approval: Some(request.approval.to_string()),
        decision: Some("hold"),
        ..decided(
            context,
            "approval.request",
            now,
            &request.operation,
            &salt,
            &rule_ids,
            request.policy.0,
        )
    };
    let body = json::object(|o| {
        o.hex("digest", &request.digest.0);
        o.object("hold", |o| body::hold(o, &request.hold));
        o.object("operation", |o| {
            body::operation(o, &request.operation, None, &salt, sealer)
        });
    });
    Ok(Encoded {
        header,
        body: Some(body),
    })
}

fn decided(
    context: &mut SessionContext,
    kind: &'static str,
    now: Now,
    operation: &Operation,
    salt: &Salt,
    rule_ids: &[gateway_core::id::RuleId],
    policy: Hash,
) -> Header {
    Header {
        operation: Some(operation.class().to_owned()),
        request: Some(commit(operation, salt)),
        rules: rules(rule_ids),
        policy: Some(policy),
        counters: vec![("statements", body::rows(operation))],
        ..context.header(kind, now)
    }
}

/// Commits to the exact request: the text of the operation and, with parameters, a zero byte and the digest of
/// their section; for an operation on the session, its class.
fn commit(operation: &Operation, salt: &Salt) -> Hash {
    match operation {
        Operation::Session(_) => request_commitment(salt, &[operation.class().as_bytes()]),
        Operation::Command(_) | Operation::Api(_) => {
            request_commitment(salt, &[operation.text().as_bytes()])
        }
        Operation::Sql(unit) => match &unit.bindings {
            None => request_commitment(salt, &[unit.text.as_bytes()]),
            Some(bindings) => {
                request_commitment(salt, &[unit.text.as_bytes(), &[0], &bindings.digest.0])
            }
        },
    }
}

/// `unit.result` or `unit.unknown`. `end.masked` has a leaf of its own.
fn finished(
    unit: u64,
    released_at: Option<Wall>,
    end: &UnitEnd,
    context: &mut SessionContext,
    now: Now,
) -> Encoded {
    let (kind, out, code) = match &end.outcome {
        Outcome::Completed => ("unit.result", "completed", None),
        Outcome::Failed { code } => ("unit.result", "failed", Some(code.as_str())),
        Outcome::Skipped => ("unit.result", "skipped", None),
        Outcome::NotExecuted => ("unit.result", "not_executed", None),
        Outcome::Unknown => ("unit.unknown", "unknown", None),
    };
    let mut header = context.header(kind, now);
    header.unit = Some(unit);
    header.outcome = Some(out);
    header.counters = vec![
        ("bytes_returned", end.counters.bytes_returned),
        ("chunks", context.chain.chunks),
        ("rows_affected", end.counters.rows_affected),
        ("rows_returned", end.counters.rows_returned),
        ("values_masked", end.counters.values_masked),
    ];
    context.anchor(&mut header, now);
    let body = json::object(|o| {
        o.objects("commands", &end.commands, |o, command| {
            o.int("rows", command.rows);
            o.text("tag", &command.tag);
        });
        o.text_opt("error_code", code);
        o.int_opt("released_at", released_at.map(Wall::as_micros));
    });
    Encoded {
        header,
        body: Some(body),
    }
}

fn rules(ids: &[gateway_core::id::RuleId]) -> Vec<String> {
    ids.iter().map(ToString::to_string).collect()
}

const fn approval_end(outcome: ApprovalOutcome) -> (&'static str, &'static str) {
    match outcome {
        ApprovalOutcome::Approved => ("approval.decision", "approved"),
        ApprovalOutcome::Rejected => ("approval.decision", "rejected"),
        ApprovalOutcome::Expired => ("approval.expired", "expired"),
        ApprovalOutcome::Withdrawn => ("approval.revoked", "withdrawn"),
    }
}

const fn close_reason(reason: &CloseReason) -> &'static str {
    match reason {
        CloseReason::AgentClosed => "agent_closed",
        CloseReason::TargetClosed => "target_closed",
        CloseReason::Refused => "refused",
        CloseReason::Expired => "expired",
        CloseReason::PolicyChanged => "policy_changed",
        CloseReason::Killed => "killed",
        CloseReason::Drained => "drained",
        CloseReason::ProtocolError => "protocol_error",
        CloseReason::Incident => "incident",
        CloseReason::EvidenceLost => "evidence_lost",
        CloseReason::Limit => "limit",
        CloseReason::InternalError => "internal_error",
    }
}
