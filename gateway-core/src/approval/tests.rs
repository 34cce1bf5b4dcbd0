use std::time::Duration;

use uuid::Uuid;

use super::*;
use crate::id::{AppId, RuleId, TenantId};

const NOW: Wall = Wall::from_secs(1_000);

fn id(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

fn person(object: u128, roles: &[&str]) -> Principal {
    Principal {
        tenant: TenantId::from(id(1)),
        object: ObjectId::from(id(object)),
        app: AppId::from(id(2)),
        kind: PrincipalKind::User,
        display_name: format!("person {object}"),
        roles: roles.iter().map(|&role| role.into()).collect(),
        groups: Groups::Known(Vec::new()),
        token_id: String::new(),
        client_auth: None,
        issued_at: NOW,
        expires_at: Wall::from_secs(9_000),
    }
}

fn requirement(rule: &str, reviewers: &str, approvers: u32) -> Requirement {
    Requirement {
        rule: RuleId::parse(rule).unwrap(),
        reviewers: reviewers.into(),
        approvers,
    }
}

fn book(requirements: Vec<Requirement>) -> (ApprovalBook, ApprovalId) {
    let approval = ApprovalId::from(id(77));
    let mut agent = person(10, &[]);
    agent.kind = PrincipalKind::Application;
    let mut book = ApprovalBook::new(1);
    book.request(ApprovalRequest {
        id: approval,
        session: SessionId::from(id(5)),
        unit: UnitId(1),
        target: TargetName::parse("shop").unwrap(),
        agent,
        text: "DELETE FROM orders WHERE id = 1".into(),
        parameters: Vec::new(),
        effects: Vec::new(),
        hold: Hold {
            requirements,
            expires_in: Duration::from_secs(60),
            message: "deletes need a reviewer".into(),
            excluded_owner: Some(ObjectId::from(id(20))),
        },
        digest: Digest::of(b"what would run"),
        requested_at: NOW,
        expires_at: NOW.saturating_add(Duration::from_secs(60)),
    })
    .unwrap();
    (book, approval)
}

fn vote(
    book: &mut ApprovalBook,
    approval: ApprovalId,
    voter: Principal,
    answer: Answer,
) -> Result<Option<ApprovalOutcome>, VoteError> {
    let voter = Authenticated::by_verified_credential(voter);
    book.vote(NOW, approval, &voter, answer, String::new())
        .map(|ended| ended.map(|e| e.outcome))
}

#[test]
fn quorum_needs_distinct_persons_and_every_requirement() {
    let (mut book, approval) = book(vec![
        requirement("a", "dba", 2),
        requirement("b", "security", 1),
    ]);
    let yes = Answer::Approve;
    assert_eq!(
        vote(&mut book, approval, person(31, &["dba"]), yes),
        Ok(None)
    );
    assert_eq!(
        vote(&mut book, approval, person(31, &["dba"]), yes),
        Err(VoteError::AlreadyVoted)
    );
    assert_eq!(
        vote(&mut book, approval, person(32, &["dba"]), yes),
        Ok(None)
    );
    assert_eq!(
        vote(&mut book, approval, person(33, &["security"]), yes),
        Ok(Some(ApprovalOutcome::Approved))
    );
    assert_eq!(
        vote(&mut book, approval, person(34, &["dba"]), yes),
        Err(VoteError::NotPending)
    );
}

#[test]
fn votes_that_must_not_count_do_not() {
    let mut application = person(40, &["dba"]);
    application.kind = PrincipalKind::Application;
    let cases = [
        ("an application", application, VoteError::NotAPerson),
        (
            "the agent itself",
            person(10, &["dba"]),
            VoteError::OwnRequest,
        ),
        ("the agent's owner", person(20, &["dba"]), VoteError::Owner),
        (
            "a stranger",
            person(50, &["sales"]),
            VoteError::NotAReviewer,
        ),
    ];
    for (who, voter, expected) in cases {
        let (mut book, approval) = book(vec![requirement("a", "dba", 1)]);
        let result = vote(&mut book, approval, voter, Answer::Approve);
        assert_eq!(result, Err(expected), "{who}");
    }
}

#[test]
fn one_no_ends_it_and_silence_is_a_no() {
    let (mut first, approval) = book(vec![requirement("a", "dba", 3)]);
    assert_eq!(
        vote(&mut first, approval, person(31, &["dba"]), Answer::Deny),
        Ok(Some(ApprovalOutcome::Rejected))
    );
    let (mut second, approval) = book(vec![requirement("a", "dba", 1)]);
    assert!(second.expire(NOW).is_empty());
    let later = NOW.saturating_add(Duration::from_secs(60));
    let late = Authenticated::by_verified_credential(person(31, &["dba"]));
    let result = second.vote(later, approval, &late, Answer::Approve, String::new());
    assert_eq!(
        result.map(|_| ()),
        Err(VoteError::NotPending),
        "expired but not yet swept"
    );
    let ended = second.expire(later);
    assert_eq!(
        ended.first().map(|e| e.outcome),
        Some(ApprovalOutcome::Expired)
    );
    assert!(second.withdraw(approval).is_none());
}

#[test]
fn overage_groups_prove_nothing() {
    let group = ObjectId::from(id(99));
    let (mut book, approval) = book(vec![requirement("a", &group.to_string(), 1)]);
    let mut voter = person(31, &[]);
    voter.groups = Groups::Overage;
    assert_eq!(
        vote(&mut book, approval, voter.clone(), Answer::Approve),
        Err(VoteError::NotAReviewer)
    );
    voter.groups = Groups::Known(vec![group]);
    assert_eq!(
        vote(&mut book, approval, voter, Answer::Approve),
        Ok(Some(ApprovalOutcome::Approved))
    );
}
