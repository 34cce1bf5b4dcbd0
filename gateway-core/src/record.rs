//! What must be evidenced, and the port to the log that keeps it.
//!
//! A gate emits [`Evidence`] in a gap-free sequence per session. The sink acknowledges the highest
//! position that is safe under the target's durability, and nothing that the gate queued after a
//! piece of evidence leaves before that acknowledgement.

mod moment;

use std::{net::IpAddr, sync::Arc};

use bytes::Bytes;
use serde::Serialize;

use crate::{
    approval::Vote,
    decision::{Denial, Hold},
    id::{ApprovalId, Digest, EvidenceSeq, RuleId, SessionId, UnitId},
    identity::Principal,
    mask::MaskCount,
    operation::{Operation, Rewritten},
    target::{Durability, Target},
    time::{Now, Wall},
};

pub use moment::{MOMENT_BYTES_MAX, Moment, MomentError, Track};

/// One piece of evidence of a session.
#[derive(Clone, Debug)]
pub enum Evidence {
    /// Something happened.
    Record(Box<Record>),
    /// Bytes as delivered to the agent, or as released to the target beyond what records hold.
    Chunk(Chunk),
}

impl Evidence {
    /// Rough size in memory, bytes: for the bound on unacknowledged evidence.
    #[must_use]
    pub fn weight(&self) -> usize {
        match self {
            Self::Record(record) => 256 + record.entry.text_len(),
            Self::Chunk(chunk) => 64 + chunk.data.len(),
        }
    }
}

/// Stream data of a session.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// When it was handed over.
    pub at: Now,
    /// Which way it goes.
    pub direction: Direction,
    /// The bytes, masked.
    pub data: Bytes,
}

/// Direction of stream data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// From the target (or the gateway) to the agent.
    ToAgent,
    /// From the agent to the target.
    ToTarget,
}

/// Something that happened in a session.
#[derive(Clone, Debug)]
pub struct Record {
    /// When.
    pub at: Now,
    /// What.
    pub entry: Entry,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Entry {
    /// A token was accepted.
    AuthAccepted {
        /// Whose it is.
        principal: Principal,
        /// How it was presented: [`crate::wire::Credential::method`].
        method: &'static str,
    },
    /// A login was refused.
    AuthRejected {
        /// Stable reason code: `expired`, `audience`, `no_tls`…
        reason: String,
        /// The user name the client claimed; proves nothing.
        claimed_user: String,
    },
    /// The policy let the session open.
    SessionOpened(Box<SessionOpened>),
    /// The session didn't open.
    SessionRefused {
        /// Why.
        denial: Denial,
        /// Who asked, once authenticated.
        principal: Option<Principal>,
        /// Digest of the policy that decided; `None` when none was asked.
        policy: Option<Digest>,
    },
    /// A unit was allowed; it may be released once this is acknowledged.
    Intent(Box<Intent>),
    /// A unit was refused, and nothing of it was released.
    Blocked(Box<Blocked>),
    /// A unit waits for reviewers.
    ApprovalRequested(Box<ApprovalRequested>),
    /// Its wait is over.
    ApprovalDecided {
        /// The approval.
        approval: ApprovalId,
        /// The unit that waited.
        unit: UnitId,
        /// How it ended.
        outcome: ApprovalOutcome,
        /// Every vote, in order.
        votes: Vec<Vote>,
    },
    /// An approval was used up by the unit it was given for.
    ApprovalConsumed {
        /// The approval.
        approval: ApprovalId,
        /// The unit.
        unit: UnitId,
        /// Digest of what is about to run: equals the requested one.
        digest: Digest,
    },
    /// Values were masked in a unit's results.
    Masked {
        /// The unit.
        unit: UnitId,
        /// Per column.
        counts: Vec<MaskCount>,
    },
    /// An allowed unit ended.
    Finished {
        /// The unit.
        unit: UnitId,
        /// When the first of it left for the target; `None` when nothing did.
        released_at: Option<Wall>,
        /// How it ended. Its masks have a record of their own.
        end: UnitEnd,
    },
    /// The session ended.
    SessionClosed {
        /// Why.
        reason: CloseReason,
        /// Bytes read from the agent.
        bytes_from_agent: u64,
        /// Bytes written to the agent.
        bytes_to_agent: u64,
        /// Queries of the gateway's own that went to the target in this session.
        probes: u64,
    },
}

impl Entry {
    fn text_len(&self) -> usize {
        match self {
            Self::Intent(intent) => text_len(&intent.operation),
            Self::Blocked(blocked) => blocked.operation.as_ref().map_or(0, text_len),
            Self::ApprovalRequested(request) => text_len(&request.operation),
            Self::AuthAccepted { .. }
            | Self::AuthRejected { .. }
            | Self::SessionOpened(_)
            | Self::SessionRefused { .. }
            | Self::ApprovalDecided { .. }
            | Self::ApprovalConsumed { .. }
            | Self::Masked { .. }
            | Self::Finished { .. }
            | Self::SessionClosed { .. } => 0,
        }
    }
}

fn text_len(operation: &Operation) -> usize {
    operation.text().len()
}

/// A session that opened.
#[derive(Clone, Debug)]
pub struct SessionOpened {
    /// Whose it is.
    pub principal: Principal,
    /// To what.
    pub target: Target,
    /// The database it is in; empty where there is none.
    pub database: String,
    /// Where the agent connects from.
    pub source: IpAddr,
    /// The rules that let it open.
    pub rules: Vec<RuleId>,
    /// Digest of the policy that decided.
    pub policy: Digest,
}

/// A unit that was allowed.
#[derive(Clone, Debug)]
pub struct Intent {
    /// The unit.
    pub unit: UnitId,
    /// What it does.
    pub operation: Operation,
    /// What goes to the target in place of its text, where that is another.
    pub rewritten: Option<Rewritten>,
    /// The rules that mattered.
    pub rules: Vec<RuleId>,
    /// Digest of the policy that decided.
    pub policy: Digest,
    /// The approval it uses, if it was held.
    pub approval: Option<ApprovalId>,
    /// The denial or hold that an observed target didn't enforce.
    pub not_enforced: Option<Denial>,
}

/// A unit that was refused.
#[derive(Clone, Debug)]
pub struct Blocked {
    /// The unit.
    pub unit: UnitId,
    /// What it would have done; `None` when it wasn't understood that far.
    pub operation: Option<Operation>,
    /// Why.
    pub denial: Denial,
    /// Digest of the policy in force.
    pub policy: Digest,
    /// How alarming.
    pub severity: Severity,
}

/// How alarming a refusal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Policy at work.
    Notice,
    /// The gateway met what it had not predicted: an origin, a shape, a peer that breaks rules.
    Incident,
}

/// A unit that waits for reviewers.
#[derive(Clone, Debug)]
pub struct ApprovalRequested {
    /// The approval.
    pub approval: ApprovalId,
    /// The unit.
    pub unit: UnitId,
    /// What it would do.
    pub operation: Operation,
    /// Who must agree.
    pub hold: Hold,
    /// What the approval binds to: principal, target, operation, values, objects.
    pub digest: Digest,
    /// Digest of the policy that held it.
    pub policy: Digest,
}

/// How an approval ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ApprovalOutcome {
    /// Every requirement has its quorum.
    Approved,
    /// A reviewer said no.
    Rejected,
    /// Nobody said enough in time.
    Expired,
    /// The agent cancelled or went away.
    Withdrawn,
}

/// The end of an allowed unit.
#[derive(Clone, Debug)]
pub struct UnitEnd {
    /// How.
    pub outcome: Outcome,
    /// What it moved.
    pub counters: Counters,
    /// The commands that completed, in order: one per statement that ran to its end, at most
    /// [`STATEMENTS_LISTED_MAX`].
    pub commands: Vec<CompletedCommand>,
    /// What was masked.
    pub masked: Vec<MaskCount>,
}

impl UnitEnd {
    /// An end without results.
    #[must_use]
    pub fn of(outcome: Outcome) -> Self {
        Self {
            outcome,
            counters: Counters::default(),
            commands: Vec::new(),
            masked: Vec::new(),
        }
    }
}

/// Statements of one unit that evidence lists one by one; counters count them all.
pub const STATEMENTS_LISTED_MAX: usize = 1024;

/// One command that the target completed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CompletedCommand {
    /// As the target names it: `INSERT 0 5`, `CREATE TABLE`.
    pub tag: String,
    /// Rows it says it returned or affected.
    pub rows: u64,
}

/// How a released unit ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The target said so.
    Completed,
    /// The target answered with an error of this code.
    Failed {
        /// SQLSTATE, status code or the like.
        code: String,
    },
    /// The target skipped it because of an earlier error in the same batch.
    Skipped,
    /// It was prepared or bound, and never executed.
    NotExecuted,
    /// The connection ended first: it may have run.
    Unknown,
}

/// What a unit moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Rows sent to the agent.
    pub rows_returned: u64,
    /// Rows the command tag says were affected.
    pub rows_affected: u64,
    /// Bytes of rows sent to the agent, as delivered.
    pub bytes_returned: u64,
    /// Values masked.
    pub values_masked: u64,
}

/// Why a session ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CloseReason {
    /// The agent said goodbye or closed its side.
    AgentClosed,
    /// The target closed its side or couldn't be reached.
    TargetClosed,
    /// Login or opening failed.
    Refused,
    /// The token, or the longest session, ran out.
    Expired,
    /// Policy no longer lets it be open.
    PolicyChanged,
    /// An operator ended it.
    Killed,
    /// The gateway is going down.
    Drained,
    /// A peer broke the protocol.
    ProtocolError,
    /// Results couldn't be shown to be masked.
    Incident,
    /// The log can't be written.
    EvidenceLost,
    /// A bound was reached.
    Limit,
    /// The gateway itself failed; the session was contained.
    InternalError,
}

/// Takes evidence; implemented by a log.
///
/// `append` never waits. A gate stops reading once [`crate::limits::Limits`]
/// `unacknowledged_bytes_max` are outstanding, so a sink's memory is bounded by sessions times that.
pub trait EvidenceSink: Send + Sync {
    /// Announces a session: how durable at first, and whom to tell. From
    /// [`Entry::SessionOpened`] on, its target's durability holds.
    fn open(&self, session: SessionId, durability: Durability, acknowledge: Arc<dyn Acknowledge>);

    /// Takes one piece of evidence. Sequences of a session arrive in order, without gaps.
    fn append(&self, session: SessionId, sequence: EvidenceSeq, evidence: Evidence);

    /// The caller has handed over all it has for now: what was appended should become safe. A sink
    /// may have waited for this, so that evidence of one moment is made safe in one piece.
    fn flush(&self) {}

    /// The session's last piece has been appended.
    fn close(&self, session: SessionId);
}

/// Hears of evidence that became safe.
pub trait Acknowledge: Send + Sync {
    /// Everything up to and including `sequence` is safe.
    fn acknowledged(&self, sequence: EvidenceSeq);

    /// Nothing more will ever be acknowledged: the log has failed.
    fn failed(&self);
}
