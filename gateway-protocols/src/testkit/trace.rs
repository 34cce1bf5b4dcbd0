//! What a conversation came to.

use std::fmt::Write as _;

use gateway_core::{
    id::UnitId,
    operation::Operation,
    record::{CloseReason, Direction, Entry, Evidence, Outcome},
    wire::Side,
};

/// Bytes that were sent, and what was on record by then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// To whom.
    pub to: Side,
    /// Length of that side's stream behind them.
    pub end: usize,
    /// Highest evidence that the sink had acknowledged.
    pub acknowledged: u64,
}

/// Something that was seen, in order: for golden transcripts.
#[derive(Clone, Debug)]
pub enum Seen {
    /// Bytes went out to a side.
    Out(Side, Vec<u8>),
    /// Bytes came in from the target.
    FromTarget(Vec<u8>),
    /// Bytes for the target on a connection of their own.
    Aside(Vec<u8>),
    /// Evidence, by its index in [`Trace::evidence`].
    Evidence(usize),
    /// A question was asked that has no answer.
    Told(String),
    /// TLS began on a side.
    Tls(Side),
    /// The target was connected.
    Connected,
    /// An approval was taken back.
    Withdrawn,
    /// Both connections were closed.
    Closed(CloseReason),
}

/// Everything that came out of a run.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// What the agent received.
    pub to_agent: Vec<u8>,
    /// What the target received.
    pub to_target: Vec<u8>,
    /// What the agent sent, as far as it was offered.
    pub from_agent: Vec<u8>,
    /// What the target sent.
    pub from_target: Vec<u8>,
    /// Lengths of the four streams, in this order, when the login was over.
    pub marks: [usize; 4],
    /// What the target acted upon, where it ignores some of what it received.
    pub acted: Option<Vec<u8>>,
    /// Requests on connections of their own.
    pub asides: Vec<Vec<u8>>,
    /// Evidence, in order.
    pub evidence: Vec<Evidence>,
    /// Every send.
    pub sent: Vec<Sent>,
    /// How it ended, if it did.
    pub closed: Option<CloseReason>,
    /// Everything in order.
    pub seen: Vec<Seen>,
    /// Most evidence and data outstanding at once, bytes.
    pub outstanding_max: usize,
    /// Most input untaken at once on one side, bytes.
    pub untaken_max: usize,
    /// Evidence positions that arrived out of order.
    pub gaps: usize,
}

impl Trace {
    /// What the agent received after the login.
    #[must_use]
    pub fn agent_heard(&self) -> &[u8] {
        after(&self.to_agent, self.marks[0])
    }

    /// What the target received after the login.
    #[must_use]
    pub fn target_heard(&self) -> &[u8] {
        after(&self.to_target, self.marks[1])
    }

    /// What the agent said after the login.
    #[must_use]
    pub fn agent_said(&self) -> &[u8] {
        after(&self.from_agent, self.marks[2])
    }

    /// What the target said after the login.
    #[must_use]
    pub fn target_said(&self) -> &[u8] {
        after(&self.from_target, self.marks[3])
    }

    /// The records, with their positions from 1.
    pub fn entries(&self) -> impl Iterator<Item = (u64, &Entry)> {
        (1u64..)
            .zip(&self.evidence)
            .filter_map(|(seq, evidence)| match evidence {
                Evidence::Record(record) => Some((seq, &record.entry)),
                Evidence::Chunk(_) => None,
            })
    }

    /// Bytes on record in one direction.
    #[must_use]
    pub fn recorded(&self, direction: Direction) -> Vec<u8> {
        let mut bytes = Vec::new();
        for evidence in &self.evidence {
            if let Evidence::Chunk(chunk) = evidence
                && chunk.direction == direction
            {
                bytes.extend_from_slice(&chunk.data);
            }
        }
        bytes
    }

    /// How a unit ended, if it was allowed.
    #[must_use]
    pub fn outcome(&self, of: UnitId) -> Option<&Outcome> {
        self.entries().find_map(|(_, entry)| match entry {
            Entry::Finished { unit, end, .. } if *unit == of => Some(&end.outcome),
            _ => None,
        })
    }

    /// The decisions in order, without what the network's timing may change: unit numbers, and units
    /// that the target skipped (whether they were understood in time is chance; they did nothing).
    #[must_use]
    pub fn decisions(&self) -> Vec<String> {
        self.entries()
            .filter_map(|(_, entry)| self.decision(entry))
            .collect()
    }

    /// What was masked, in no order that means anything: sorted.
    #[must_use]
    pub fn masks(&self) -> Vec<String> {
        let mut masks: Vec<String> = self
            .entries()
            .filter_map(|(_, entry)| match entry {
                Entry::Masked { counts, .. } => Some(format!("{counts:?}")),
                _ => None,
            })
            .collect();
        masks.sort();
        masks
    }

    fn decision(&self, entry: &Entry) -> Option<String> {
        match entry {
            Entry::Intent(intent) => {
                let outcome = self.outcome(intent.unit);
                (outcome != Some(&Outcome::Skipped))
                    .then(|| format!("allow {} -> {outcome:?}", told(&intent.operation)))
            }
            Entry::Blocked(blocked) => Some(format!(
                "block {} {}: {}",
                blocked.operation.as_ref().map(told).unwrap_or_default(),
                blocked.denial.reason.as_str(),
                blocked.denial.message
            )),
            Entry::ApprovalRequested(request) => Some(format!("hold {}", told(&request.operation))),
            Entry::ApprovalDecided { outcome, .. } => Some(format!("voted {outcome:?}")),
            Entry::ApprovalConsumed { .. } => Some("consumed".into()),
            Entry::AuthRejected { reason, .. } => Some(format!("rejected {reason}")),
            Entry::SessionRefused { denial, .. } => Some(format!("refused {}", denial.message)),
            Entry::SessionOpened(_) => Some("opened".into()),
            Entry::SessionClosed { reason, .. } => Some(format!("closed {reason:?}")),
            Entry::AuthAccepted { .. } | Entry::Masked { .. } | Entry::Finished { .. } => None,
        }
    }

    /// Everything, as text: equal for equal runs.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let mut text = String::new();
        for seen in &self.seen {
            // Writing to a String can't fail.
            let _ = writeln!(text, "{seen:?}");
        }
        for evidence in &self.evidence {
            let _ = writeln!(text, "{evidence:?}");
        }
        text
    }
}

fn told(operation: &Operation) -> String {
    match operation {
        Operation::Session(_) => operation.class().to_owned(),
        Operation::Sql(_) | Operation::Command(_) | Operation::Api(_) => {
            format!("{} {:?}", operation.class(), operation.text())
        }
    }
}

fn after(stream: &[u8], mark: usize) -> &[u8] {
    stream.get(mark..).unwrap_or_default()
}
