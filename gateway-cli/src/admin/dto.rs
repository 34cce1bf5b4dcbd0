//! The admin API's JSON, read and written; core types don't leave the process as they are.

use gateway_core::{
    approval::{Answer, Vote},
    id::SessionId,
    operation::{Effect, Object},
    record::ApprovalOutcome,
};
use serde::{Deserialize, Serialize};

use crate::{approvals::PendingApproval, clock, sessions::Live};

/// `/healthz` and `/readyz`.
#[derive(Debug, Serialize)]
pub(crate) struct Health {
    /// `ok`.
    pub(crate) status: &'static str,
}

/// A pending approval. Times are RFC 3339, UTC.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ApprovalView {
    /// Its id.
    pub(crate) id: String,
    /// The session that waits.
    pub(crate) session: String,
    /// The unit that waits.
    pub(crate) unit: u64,
    /// The server it would run on.
    pub(crate) target: String,
    /// Who asks: tenant and object id.
    pub(crate) agent: String,
    /// The agent's application.
    pub(crate) app: String,
    /// Exactly what would run.
    pub(crate) text: String,
    /// Parameter values.
    pub(crate) parameters: Vec<Option<String>>,
    /// What it would do to what: `sql.delete public.carts`.
    pub(crate) effects: Vec<String>,
    /// Why it is held.
    pub(crate) message: String,
    /// Who must agree.
    pub(crate) requirements: Vec<RequirementView>,
    /// Who has answered.
    pub(crate) votes: Vec<CastView>,
    /// What an approval binds to.
    pub(crate) digest: String,
    /// When it was asked.
    pub(crate) requested_at: String,
    /// When silence becomes a no.
    pub(crate) expires_at: String,
}

/// What one hold rule demands.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RequirementView {
    /// The rule.
    pub(crate) rule: String,
    /// The reviewers' role or group.
    pub(crate) reviewers: String,
    /// How many persons.
    pub(crate) approvers: u32,
}

/// A vote that was cast.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CastView {
    /// The person.
    pub(crate) reviewer: String,
    /// Their display name.
    pub(crate) name: String,
    /// `approve` or `deny`.
    pub(crate) answer: String,
    /// In their words.
    pub(crate) comment: String,
    /// When.
    pub(crate) at: String,
}

/// A vote to cast.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct VoteRequest {
    /// In the person's words; may be empty.
    #[serde(default)]
    pub(crate) comment: String,
}

/// What a vote led to.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct VoteView {
    /// The approval.
    pub(crate) id: String,
    /// `pending` while more votes are needed, else how it ended.
    pub(crate) state: String,
}

/// A live session.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SessionView {
    /// Its id.
    pub(crate) id: String,
    /// When it was accepted.
    pub(crate) since: String,
    /// Where it comes from.
    pub(crate) source: String,
    /// Whose it is: tenant and object id; `None` before the login.
    pub(crate) agent: Option<String>,
    /// Its target, once known.
    pub(crate) target: Option<String>,
    /// The database there.
    pub(crate) database: Option<String>,
}

/// What a reload led to.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ReloadView {
    /// Whether another bundle is in force.
    pub(crate) changed: bool,
    /// Digest of the bundle in force.
    pub(crate) policy: String,
}

/// An error of the API, as its client reads it.
#[derive(Debug, Deserialize)]
pub(crate) struct ProblemView {
    /// What is wrong.
    pub(crate) detail: String,
}

impl From<&PendingApproval> for ApprovalView {
    fn from(pending: &PendingApproval) -> Self {
        let PendingApproval { request, votes } = pending;
        Self {
            id: request.id.to_string(),
            session: request.session.to_string(),
            unit: request.unit.0,
            target: request.target.to_string(),
            agent: format!("{}/{}", request.agent.tenant, request.agent.object),
            app: request.agent.app.to_string(),
            text: request.text.clone(),
            parameters: request.parameters.clone(),
            effects: request.effects.iter().map(effect).collect(),
            message: request.hold.message.clone(),
            requirements: request
                .hold
                .requirements
                .iter()
                .map(|requirement| RequirementView {
                    rule: requirement.rule.to_string(),
                    reviewers: requirement.reviewers.clone(),
                    approvers: requirement.approvers,
                })
                .collect(),
            votes: votes.iter().map(cast).collect(),
            digest: request.digest.to_string(),
            requested_at: clock::display(request.requested_at),
            expires_at: clock::display(request.expires_at),
        }
    }
}

impl SessionView {
    /// A live session as operators see it.
    pub(crate) fn new(id: SessionId, live: &Live) -> Self {
        Self {
            id: id.to_string(),
            since: clock::display(live.since),
            source: live.source.to_string(),
            agent: live
                .principal
                .as_ref()
                .map(|p| format!("{}/{}", p.tenant, p.object)),
            target: live.route.as_ref().map(|(target, _)| target.to_string()),
            database: live.route.as_ref().map(|(_, database)| database.clone()),
        }
    }
}

/// An outcome's word.
pub(crate) const fn outcome(outcome: ApprovalOutcome) -> &'static str {
    match outcome {
        ApprovalOutcome::Approved => "approved",
        ApprovalOutcome::Rejected => "rejected",
        ApprovalOutcome::Expired => "expired",
        ApprovalOutcome::Withdrawn => "withdrawn",
    }
}

/// `sql.delete public.carts`.
pub(crate) fn effect(effect: &Effect) -> String {
    let object = match &effect.object {
        Object::Target => "the target".to_owned(),
        Object::Database => "the database".to_owned(),
        Object::Schema { schema } => schema.clone(),
        Object::Relation { schema, name } | Object::Function { schema, name } => {
            format!("{schema}.{name}")
        }
        Object::Setting { name } => name.clone(),
        Object::Path { path } | Object::ApiPath { path } => path.clone(),
        Object::Resource {
            group,
            resource,
            subresource,
            namespace,
            name,
        } => {
            let parts = [namespace, group, resource, subresource, name];
            let parts: Vec<&str> = parts
                .into_iter()
                .filter(|part| !part.is_empty())
                .map(String::as_str)
                .collect();
            parts.join("/")
        }
    };
    format!("{} {object}", effect.action.as_str())
}

fn cast(vote: &Vote) -> CastView {
    CastView {
        reviewer: vote.reviewer.to_string(),
        name: vote.name.clone(),
        answer: match vote.answer {
            Answer::Approve => "approve".into(),
            Answer::Deny => "deny".into(),
        },
        comment: vote.comment.clone(),
        at: clock::display(vote.at),
    }
}
