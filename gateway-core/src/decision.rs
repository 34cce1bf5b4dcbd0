//! The decision port: what a policy is asked and what it answers.

use std::{fmt, net::IpAddr, time::Duration};

use serde::Serialize;

use crate::{
    id::{Digest, RuleId},
    identity::Principal,
    mask::Obligations,
    operation::Operation,
    target::Target,
    time::Now,
};

/// What is known of a session when it asks.
#[derive(Clone, Debug)]
pub struct SessionFacts {
    /// Where the agent connects from.
    pub source: IpAddr,
    /// The database (or other namespace) the session is in; empty where there is none.
    pub database: String,
}

/// A question to the policy.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Who asks.
    pub principal: &'a Principal,
    /// Of what server.
    pub target: &'a Target,
    /// For what.
    pub operation: &'a Operation,
    /// From where.
    pub facts: &'a SessionFacts,
    /// Hold rules whose quorum this very unit has.
    pub approved: &'a [RuleId],
}

/// Decides. Total, pure and quick: no I/O, and whatever goes wrong inside is a denial.
pub trait DecisionPoint: Send + Sync {
    /// Decides one request under the policy in force.
    fn decide(&self, now: Now, request: &Request<'_>) -> Decision;

    /// Digest of the policy in force.
    fn policy(&self) -> Digest;
}

/// A decision, with what it rests on.
#[derive(Clone, Debug)]
pub struct Decision {
    /// What happens.
    pub verdict: Verdict,
    /// What is owed if it happens. Computed whatever the verdict: an observed target enforces
    /// masks though it doesn't enforce denials.
    pub obligations: Obligations,
    /// The rules that mattered, sorted.
    pub rules: Vec<RuleId>,
    /// Digest of the policy that decided.
    pub policy: Digest,
}

/// What happens to an operation.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// It runs.
    Allow,
    /// It doesn't.
    Deny(Denial),
    /// It waits for people.
    Hold(Hold),
}

/// Why an operation waits, and for whom. All requirements must be met.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hold {
    /// One per hold rule that matched.
    pub requirements: Vec<Requirement>,
    /// Until when; the shortest of the rules' own limits.
    pub expires_in: Duration,
    /// What the agent and the reviewers are told.
    pub message: String,
    /// Object id of the agent's owner, who may not approve; `None` when policy waives that.
    pub excluded_owner: Option<crate::id::ObjectId>,
}

/// What one hold rule demands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Requirement {
    /// The rule.
    pub rule: RuleId,
    /// The app role (or group id) whose members may approve.
    pub reviewers: String,
    /// How many distinct persons.
    pub approvers: u32,
}

/// Class of a refusal, stable for scripts and evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// A rule forbids it.
    Forbidden,
    /// Nothing permits it.
    NotPermitted,
    /// The policy itself failed; the answer to that is no.
    PolicyError,
    /// The result can't be masked.
    Masking,
    /// A reviewer denied it.
    Rejected,
    /// Nobody answered in time.
    Expired,
    /// It was cancelled, or its agent went away.
    Withdrawn,
    /// The approval had been used, or the store couldn't say.
    NotConsumed,
    /// It breaks a rule of the protocol, or uses what the gateway doesn't support.
    Protocol,
    /// A bound was reached.
    Limit,
    /// A question got no answer in time.
    NoAnswer,
}

impl Reason {
    /// The code in evidence.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Forbidden => "forbidden",
            Self::NotPermitted => "not_permitted",
            Self::PolicyError => "policy_error",
            Self::Masking => "masking",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::Withdrawn => "withdrawn",
            Self::NotConsumed => "not_consumed",
            Self::Protocol => "protocol",
            Self::Limit => "limit",
            Self::NoAnswer => "no_answer",
        }
    }
}

/// A refusal, in words the agent may read: names and rules, never values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Denial {
    /// Its class.
    pub reason: Reason,
    /// The rules behind it.
    pub rules: Vec<RuleId>,
    /// What was refused and by what: one sentence.
    pub message: String,
    /// More, where there is more.
    pub detail: Option<String>,
    /// What would work, or whom to ask.
    pub hint: Option<String>,
}

impl Denial {
    /// A denial with a message only.
    #[must_use]
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            rules: Vec::new(),
            message: message.into(),
            detail: None,
            hint: None,
        }
    }

    /// Adds the detail.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Adds the hint.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the rules.
    #[must_use]
    pub fn with_rules(mut self, rules: Vec<RuleId>) -> Self {
        self.rules = rules;
        self
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
