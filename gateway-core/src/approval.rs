//! The approval book: who asked, who answered, when it is enough. Sans-IO.
//!
//! ```text
//! request -> Pending --vote--> Pending | Approved | Rejected
//!                    --expire--> Expired      --withdraw--> Withdrawn
//! ```
//! An ended request leaves the book with its votes; consuming an approval is the state store's part.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    decision::{Hold, Requirement},
    id::{ApprovalId, Digest, ObjectId, SessionId, TargetName, UnitId},
    identity::{Authenticated, Groups, Principal, PrincipalKind},
    operation::Effect,
    record::ApprovalOutcome,
    time::Wall,
};

/// What reviewers are shown. Lives in memory only: evidence keeps its own, tokenised form.
#[derive(Clone, Debug, Serialize)]
pub struct ApprovalRequest {
    /// Its id.
    pub id: ApprovalId,
    /// The session that waits.
    pub session: SessionId,
    /// The unit that waits.
    pub unit: UnitId,
    /// The server it would run on.
    pub target: TargetName,
    /// Who asks.
    pub agent: Principal,
    /// Exactly what would run.
    pub text: String,
    /// Parameter values as text where they are text; hex with a `\x` prefix where they aren't.
    pub parameters: Vec<Option<String>>,
    /// What it would do to which objects.
    pub effects: Vec<Effect>,
    /// Who must agree, and why.
    pub hold: Hold,
    /// What an approval binds to.
    pub digest: Digest,
    /// When it was asked.
    pub requested_at: Wall,
    /// When silence becomes a no.
    pub expires_at: Wall,
}

/// A reviewer's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Yes.
    Approve,
    /// No; one is enough.
    Deny,
}

/// One vote, as evidence keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Vote {
    /// The person.
    pub reviewer: ObjectId,
    /// Display name from the token.
    pub name: String,
    /// The reviewer roles or groups it counts for.
    pub counts_for: Vec<String>,
    /// Yes or no.
    pub answer: Answer,
    /// In the person's words.
    pub comment: String,
    /// When.
    pub at: Wall,
    /// Whether the person owns the agent.
    pub is_owner: bool,
}

/// Why a vote didn't count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VoteError {
    /// No such request is pending.
    #[error("no pending approval has this id")]
    NotPending,
    /// Only people approve.
    #[error("only a person can review, and this token is an application's")]
    NotAPerson,
    /// The voter is the one who asked.
    #[error("an agent can't review its own request")]
    OwnRequest,
    /// The voter owns the agent.
    #[error("the agent's owner can't review its request")]
    Owner,
    /// The voter is in none of the reviewer roles that are asked.
    #[error("you are in none of the reviewer groups that this request asks")]
    NotAReviewer,
    /// The voter has voted.
    #[error("you have voted on this request already")]
    AlreadyVoted,
}

/// The book can't take another request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many approvals are pending")]
pub struct BookFull;

/// A request that left the book.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The request.
    pub request: ApprovalRequest,
    /// How it ended.
    pub outcome: ApprovalOutcome,
    /// Its votes, in order.
    pub votes: Vec<Vote>,
}

#[derive(Clone, Debug)]
struct Pending {
    request: ApprovalRequest,
    votes: Vec<Vote>,
}

/// Pending approvals of one gateway.
#[derive(Debug)]
pub struct ApprovalBook {
    pending: BTreeMap<ApprovalId, Pending>,
    pending_max: usize,
}

impl ApprovalBook {
    /// An empty book that holds at most `pending_max` requests.
    #[must_use]
    pub const fn new(pending_max: usize) -> Self {
        Self {
            pending: BTreeMap::new(),
            pending_max,
        }
    }

    /// Enters a request.
    ///
    /// # Errors
    /// [`BookFull`] at the bound.
    pub fn request(&mut self, request: ApprovalRequest) -> Result<(), BookFull> {
        if self.pending.len() >= self.pending_max {
            return Err(BookFull);
        }
        self.pending.insert(
            request.id,
            Pending {
                request,
                votes: Vec::new(),
            },
        );
        Ok(())
    }

    /// Pending requests with their votes so far, oldest first.
    pub fn pending(&self) -> impl Iterator<Item = (&ApprovalRequest, &[Vote])> {
        self.pending
            .values()
            .map(|pending| (&pending.request, pending.votes.as_slice()))
    }

    /// One pending request.
    #[must_use]
    pub fn get(&self, id: ApprovalId) -> Option<(&ApprovalRequest, &[Vote])> {
        self.pending
            .get(&id)
            .map(|pending| (&pending.request, pending.votes.as_slice()))
    }

    /// Counts a vote. `Some` when it ended the request.
    ///
    /// # Errors
    /// [`VoteError`] when it doesn't count.
    pub fn vote(
        &mut self,
        now: Wall,
        id: ApprovalId,
        voter: &Authenticated<Principal>,
        answer: Answer,
        comment: String,
    ) -> Result<Option<Ended>, VoteError> {
        let voter = voter.get();
        let pending = self.pending.get_mut(&id).ok_or(VoteError::NotPending)?;
        if pending.request.expires_at <= now {
            return Err(VoteError::NotPending);
        }
        let counts_for = eligible(voter, &pending.request)?;
        if pending
            .votes
            .iter()
            .any(|vote| vote.reviewer == voter.object)
        {
            return Err(VoteError::AlreadyVoted);
        }
        pending.votes.push(Vote {
            reviewer: voter.object,
            name: voter.display_name.clone(),
            counts_for,
            answer,
            comment,
            at: now,
            is_owner: pending.request.hold.excluded_owner == Some(voter.object),
        });
        let outcome = match answer {
            Answer::Deny => ApprovalOutcome::Rejected,
            Answer::Approve if satisfied(&pending.request.hold, &pending.votes) => {
                ApprovalOutcome::Approved
            }
            Answer::Approve => return Ok(None),
        };
        Ok(self.end(id, outcome))
    }

    /// Takes a request back. `None` when it isn't pending any more.
    pub fn withdraw(&mut self, id: ApprovalId) -> Option<Ended> {
        self.end(id, ApprovalOutcome::Withdrawn)
    }

    /// Ends what has expired by `now`.
    pub fn expire(&mut self, now: Wall) -> Vec<Ended> {
        let due: Vec<_> = self
            .pending
            .values()
            .filter(|pending| pending.request.expires_at <= now)
            .map(|pending| pending.request.id)
            .collect();
        due.into_iter()
            .filter_map(|id| self.end(id, ApprovalOutcome::Expired))
            .collect()
    }

    fn end(&mut self, id: ApprovalId, outcome: ApprovalOutcome) -> Option<Ended> {
        let Pending { request, votes } = self.pending.remove(&id)?;
        Some(Ended {
            request,
            outcome,
            votes,
        })
    }
}

/// The reviewer roles or groups of the request that `voter` is in.
fn eligible(voter: &Principal, request: &ApprovalRequest) -> Result<Vec<String>, VoteError> {
    if voter.kind != PrincipalKind::User {
        return Err(VoteError::NotAPerson);
    }
    if voter.tenant == request.agent.tenant && voter.object == request.agent.object {
        return Err(VoteError::OwnRequest);
    }
    if request.hold.excluded_owner == Some(voter.object) {
        return Err(VoteError::Owner);
    }
    let mut counts_for: Vec<String> = request
        .hold
        .requirements
        .iter()
        .filter(|requirement| is_reviewer(voter, requirement))
        .map(|requirement| requirement.reviewers.clone())
        .collect();
    counts_for.sort();
    counts_for.dedup();
    if counts_for.is_empty() {
        Err(VoteError::NotAReviewer)
    } else {
        Ok(counts_for)
    }
}

fn is_reviewer(voter: &Principal, requirement: &Requirement) -> bool {
    let in_group = match (&voter.groups, ObjectId::parse(&requirement.reviewers)) {
        (Groups::Known(groups), Ok(group)) => groups.contains(&group),
        (Groups::Known(_) | Groups::Overage, _) => false,
    };
    in_group || voter.roles.contains(&requirement.reviewers)
}

/// Whether every requirement has its quorum. A person counts once per requirement.
fn satisfied(hold: &Hold, votes: &[Vote]) -> bool {
    hold.requirements.iter().all(|requirement| {
        let agreed = votes
            .iter()
            .filter(|vote| vote.answer == Answer::Approve)
            .filter(|vote| vote.counts_for.contains(&requirement.reviewers))
            .count();
        u32::try_from(agreed).is_ok_and(|agreed| agreed >= requirement.approvers)
    })
}

#[cfg(test)]
mod tests;
