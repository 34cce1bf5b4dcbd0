//! What happens in a conversation, apart from what the target answers.

use std::time::Duration;

use bytes::Bytes;
use gateway_core::record::{ApprovalOutcome, CloseReason};

/// One thing that happens. Everything but [`Step::Agent`] and [`Step::Stall`] waits until all is
/// quiet; agent bytes that follow each other are one stream, cut by the schedule.
#[derive(Clone, Debug)]
pub enum Step {
    /// The agent sends bytes.
    Agent(Bytes),
    /// The target sends bytes nobody asked for.
    Target(Bytes),
    /// All is quiet.
    Settle,
    /// The login is over: what laws say of streams starts here.
    Mark,
    /// The agent sends no more.
    AgentEof,
    /// The target sends no more.
    TargetEof,
    /// Time passes.
    Advance(Duration),
    /// Every request for approval that waits ends so.
    Vote(ApprovalOutcome),
    /// The session's cancel key is presented.
    Cancel,
    /// The policy changes: from here on, texts that held are refused.
    PolicyChanged,
    /// The catalogue changes.
    CatalogueChanged,
    /// The session is closed from outside.
    Close(CloseReason),
    /// The log acknowledges nothing until told otherwise.
    Stall(bool),
    /// The log fails.
    EvidenceLost,
}

/// A conversation.
#[derive(Clone, Debug, Default)]
pub struct Script {
    /// Its steps, in order.
    pub steps: Vec<Step>,
    /// What must never be in a byte to the target.
    pub never_to_target: Vec<Bytes>,
    /// What must never be in a byte to the agent: clear values of masked columns.
    pub never_to_agent: Vec<Bytes>,
    /// A refusal may race with an error of the target before it: whether it is found out, and
    /// recorded, before the target skips it is chance.
    pub refusals_race: bool,
}

impl Script {
    /// An empty script.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a step.
    #[must_use]
    pub fn step(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// The agent sends bytes.
    #[must_use]
    pub fn agent(self, bytes: impl Into<Bytes>) -> Self {
        self.step(Step::Agent(bytes.into()))
    }

    /// All is quiet.
    #[must_use]
    pub fn settle(self) -> Self {
        self.step(Step::Settle)
    }

    /// Every request for approval that waits ends so.
    #[must_use]
    pub fn vote(self, outcome: ApprovalOutcome) -> Self {
        self.step(Step::Vote(outcome))
    }

    /// Adds what must never reach the target.
    #[must_use]
    pub fn never_to_target(mut self, secret: impl Into<Bytes>) -> Self {
        self.never_to_target.push(secret.into());
        self
    }

    /// Adds what must never reach the agent.
    #[must_use]
    pub fn never_to_agent(mut self, secret: impl Into<Bytes>) -> Self {
        self.never_to_agent.push(secret.into());
        self
    }

    /// Refusals may race with errors of the target.
    #[must_use]
    pub const fn racing(mut self) -> Self {
        self.refusals_race = true;
        self
    }

    /// This script, and then `next`.
    #[must_use]
    pub fn then(mut self, next: Self) -> Self {
        self.steps.extend(next.steps);
        self.never_to_target.extend(next.never_to_target);
        self.never_to_agent.extend(next.never_to_agent);
        self
    }
}

impl Script {
    /// Whether it ends a session, or leaves it in the middle of something, by itself: then units may
    /// end without an answer.
    pub(super) fn ends_early(&self) -> bool {
        self.steps.iter().any(|step| {
            matches!(
                step,
                Step::AgentEof
                    | Step::TargetEof
                    | Step::Close(_)
                    | Step::EvidenceLost
                    | Step::Stall(true)
                    | Step::Target(_)
            )
        })
    }
}
