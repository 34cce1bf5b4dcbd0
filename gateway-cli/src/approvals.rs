//! The approval desk: one thread that owns the book of pending requests and writes every change
//! to the state store before anybody hears of it.
//!
//! ```text
//! session --request/withdraw--> desk --ended--> session
//! reviewer (admin API) --vote--> desk            desk --requested/ended/consume--> SqliteStore
//! ```

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    thread::JoinHandle,
    time::Duration,
};

use gateway_core::{
    approval::{Answer, ApprovalBook, ApprovalRequest, Ended, Vote, VoteError},
    drive::Command,
    id::{ApprovalId, Digest},
    identity::{Authenticated, Principal},
    record::ApprovalOutcome,
    state::StateStore as _,
    time::Wall,
};
use tokio::sync::{mpsc, oneshot};

use crate::store::SqliteStore;

/// Orders waiting for the desk.
const ORDERS_MAX: usize = 1024;
/// How late an expiry may be seen.
const TICK: Duration = Duration::from_millis(500);

/// A pending request and its votes so far.
#[derive(Clone, Debug)]
pub(crate) struct PendingApproval {
    /// The request.
    pub(crate) request: ApprovalRequest,
    /// Votes, in order.
    pub(crate) votes: Vec<Vote>,
}

/// What a vote led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Voted {
    /// It counts, and more are needed.
    Counted,
    /// It ended the request.
    Ended(ApprovalOutcome),
}

/// A vote or a question came to nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DeskError {
    /// The vote doesn't count.
    #[error(transparent)]
    Vote(#[from] VoteError),
    /// The outcome couldn't be stored, so it doesn't count.
    #[error("the outcome could not be stored, so the request was withdrawn")]
    NotStored,
    /// The desk is overloaded or gone.
    #[error("the approval desk is not available")]
    Unavailable,
}

enum Order {
    Request(Box<ApprovalRequest>, mpsc::Sender<Command>),
    Withdraw(ApprovalId),
    Vote {
        approval: ApprovalId,
        voter: Box<Authenticated<Principal>>,
        answer: Answer,
        comment: String,
        reply: oneshot::Sender<Result<Voted, DeskError>>,
    },
    List(oneshot::Sender<Vec<PendingApproval>>),
    Get(ApprovalId, oneshot::Sender<Option<PendingApproval>>),
    Consume(ApprovalId, Digest, oneshot::Sender<bool>),
}

/// Handle to the desk's thread, which ends with it.
pub(crate) struct ApprovalDesk {
    orders: Option<SyncSender<Order>>,
    thread: Option<JoinHandle<()>>,
}

impl ApprovalDesk {
    /// Starts the desk with room for `pending_max` requests.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn start(
        store: Arc<SqliteStore>,
        pending_max: usize,
        clock: fn() -> Wall,
    ) -> std::io::Result<Self> {
        let (orders, incoming) = sync_channel(ORDERS_MAX);
        let desk = Desk {
            book: ApprovalBook::new(pending_max),
            sessions: BTreeMap::new(),
            store,
            clock,
        };
        let thread = std::thread::Builder::new()
            .name("approvals".into())
            .spawn(move || desk.run(&incoming))?;
        Ok(Self {
            orders: Some(orders),
            thread: Some(thread),
        })
    }

    /// Shows a request to reviewers. `session` hears how it ends; at once, as withdrawn, when the
    /// desk can't take it.
    pub(crate) fn request(&self, request: ApprovalRequest, session: mpsc::Sender<Command>) {
        let id = request.id;
        if self
            .order(Order::Request(Box::new(request), session.clone()))
            .is_err()
        {
            tell(&session, id, ApprovalOutcome::Withdrawn, Vec::new());
        }
    }

    /// Takes a request back.
    pub(crate) fn withdraw(&self, approval: ApprovalId) {
        if self.order(Order::Withdraw(approval)).is_err() {
            // It expires by itself, and consuming it needs the session that has gone.
            tracing::warn!(%approval, "the approval desk is overloaded: a withdrawal was lost");
        }
    }

    /// Counts a person's vote.
    ///
    /// # Errors
    /// [`DeskError`] when it doesn't count.
    pub(crate) async fn vote(
        &self,
        approval: ApprovalId,
        voter: Authenticated<Principal>,
        answer: Answer,
        comment: String,
    ) -> Result<Voted, DeskError> {
        let voter = Box::new(voter);
        self.asked(|reply| Order::Vote {
            approval,
            voter,
            answer,
            comment,
            reply,
        })
        .await?
    }

    /// Every pending request, oldest first.
    ///
    /// # Errors
    /// [`DeskError::Unavailable`].
    pub(crate) async fn list(&self) -> Result<Vec<PendingApproval>, DeskError> {
        self.asked(Order::List).await
    }

    /// One pending request.
    ///
    /// # Errors
    /// [`DeskError::Unavailable`].
    pub(crate) async fn get(&self, id: ApprovalId) -> Result<Option<PendingApproval>, DeskError> {
        self.asked(|reply| Order::Get(id, reply)).await
    }

    /// Uses up an approval. `false` whenever that can't be shown to have happened.
    pub(crate) async fn consume(&self, approval: ApprovalId, digest: Digest) -> bool {
        self.asked(|reply| Order::Consume(approval, digest, reply))
            .await
            .unwrap_or(false)
    }

    async fn asked<T>(
        &self,
        order: impl FnOnce(oneshot::Sender<T>) -> Order,
    ) -> Result<T, DeskError> {
        let (reply, answer) = oneshot::channel();
        self.order(order(reply))?;
        answer.await.map_err(|_| DeskError::Unavailable)
    }

    fn order(&self, order: Order) -> Result<(), DeskError> {
        let orders = self.orders.as_ref().ok_or(DeskError::Unavailable)?;
        orders.try_send(order).map_err(|error| match error {
            TrySendError::Full(_) | TrySendError::Disconnected(_) => DeskError::Unavailable,
        })
    }
}

impl Drop for ApprovalDesk {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the approval desk panicked");
        }
    }
}

struct Desk {
    book: ApprovalBook,
    sessions: BTreeMap<ApprovalId, mpsc::Sender<Command>>,
    store: Arc<SqliteStore>,
    clock: fn() -> Wall,
}

impl Desk {
    fn run(mut self, orders: &Receiver<Order>) {
        loop {
            match orders.recv_timeout(TICK) {
                Ok(order) => self.serve(order),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            for ended in self.book.expire((self.clock)()) {
                self.conclude(ended);
            }
        }
    }

    /// Whoever asked may have gone meanwhile: an answer nobody takes is dropped.
    fn serve(&mut self, order: Order) {
        match order {
            Order::Request(request, session) => self.request(*request, session),
            Order::Withdraw(id) => {
                if let Some(ended) = self.book.withdraw(id) {
                    self.conclude(ended);
                }
            }
            Order::Vote {
                approval,
                voter,
                answer,
                comment,
                reply,
            } => {
                drop(reply.send(self.vote(approval, &voter, answer, comment)));
            }
            Order::List(reply) => {
                let all = self
                    .book
                    .pending()
                    .map(|(request, votes)| pending(request, votes));
                drop(reply.send(all.collect()));
            }
            Order::Get(id, reply) => {
                let found = self
                    .book
                    .get(id)
                    .map(|(request, votes)| pending(request, votes));
                drop(reply.send(found));
            }
            Order::Consume(id, digest, reply) => {
                let consumed = self.store.consume(id, digest).unwrap_or_else(|error| {
                    tracing::error!(approval = %id, %error, "consuming an approval failed");
                    false
                });
                let _ = reply.send(consumed);
            }
        }
    }

    fn request(&mut self, request: ApprovalRequest, session: mpsc::Sender<Command>) {
        let id = request.id;
        let stored = self.store.requested(&request).map_err(|e| e.to_string());
        let entered = stored.and_then(|()| self.book.request(request).map_err(|e| e.to_string()));
        match entered {
            Ok(()) => {
                self.sessions.insert(id, session);
            }
            Err(error) => {
                tracing::error!(approval = %id, %error, "a request for approval was not taken");
                tell(&session, id, ApprovalOutcome::Withdrawn, Vec::new());
            }
        }
    }

    fn vote(
        &mut self,
        id: ApprovalId,
        voter: &Authenticated<Principal>,
        answer: Answer,
        comment: String,
    ) -> Result<Voted, DeskError> {
        let Some(ended) = self.book.vote((self.clock)(), id, voter, answer, comment)? else {
            return Ok(Voted::Counted);
        };
        let outcome = ended.outcome;
        if self.conclude(ended) {
            Ok(Voted::Ended(outcome))
        } else {
            Err(DeskError::NotStored)
        }
    }

    /// Stores an end and tells the session. An outcome that can't be stored is a withdrawal.
    fn conclude(&mut self, ended: Ended) -> bool {
        let id = ended.request.id;
        let stored = self.store.ended(&ended);
        if let Err(error) = &stored {
            tracing::error!(approval = %id, %error, "the end of a request was not stored");
        }
        if let Some(session) = self.sessions.remove(&id) {
            let outcome = if stored.is_ok() {
                ended.outcome
            } else {
                ApprovalOutcome::Withdrawn
            };
            tell(&session, id, outcome, ended.votes);
        }
        stored.is_ok()
    }
}

fn pending(request: &ApprovalRequest, votes: &[Vote]) -> PendingApproval {
    PendingApproval {
        request: request.clone(),
        votes: votes.to_vec(),
    }
}

/// A session that has gone needs no news; one that doesn't listen gives up by its own deadline.
fn tell(
    session: &mpsc::Sender<Command>,
    approval: ApprovalId,
    outcome: ApprovalOutcome,
    votes: Vec<Vote>,
) {
    if let Err(mpsc::error::TrySendError::Full(_)) = session.try_send(Command::ApprovalEnded {
        approval,
        outcome,
        votes,
    }) {
        tracing::warn!(%approval, "a session did not take the end of its approval");
    }
}

#[cfg(test)]
mod tests {
    use gateway_core::{
        decision::Requirement,
        id::{ObjectId, RuleId},
        identity::PrincipalKind,
    };

    use super::*;
    use crate::store::testing::request;

    fn clock() -> Wall {
        Wall::from_secs(1_800_000_001)
    }

    fn late_clock() -> Wall {
        Wall::from_secs(1_900_000_000)
    }

    fn desk(clock: fn() -> Wall) -> ApprovalDesk {
        let store = Arc::new(crate::store::testing::in_memory(clock));
        ApprovalDesk::start(store, 2, clock).unwrap()
    }

    fn held(id: u8) -> ApprovalRequest {
        let mut request = request(id);
        request.hold.requirements = vec![Requirement {
            rule: RuleId::parse("deletes-need-a-reviewer").unwrap(),
            reviewers: "Gateway.Reviewer".into(),
            approvers: 1,
        }];
        request
    }

    fn reviewer(request: &ApprovalRequest) -> Authenticated<Principal> {
        Authenticated::by_verified_credential(Principal {
            object: ObjectId::parse("00000000-0000-0000-0000-000000000007").unwrap(),
            kind: PrincipalKind::User,
            roles: vec!["Gateway.Reviewer".into()],
            ..request.agent.clone()
        })
    }

    #[tokio::test]
    async fn an_approval_reaches_the_session_and_can_be_consumed_once() {
        let desk = desk(clock);
        let (session, mut commands) = mpsc::channel(4);
        let request = held(1);
        desk.request(request.clone(), session);
        assert_eq!(desk.list().await.unwrap().len(), 1);
        let voted = desk
            .vote(request.id, reviewer(&request), Answer::Approve, "ok".into())
            .await
            .unwrap();
        assert_eq!(voted, Voted::Ended(ApprovalOutcome::Approved));
        let Some(Command::ApprovalEnded {
            approval,
            outcome,
            votes,
        }) = commands.recv().await
        else {
            panic!("the session hears of it")
        };
        assert_eq!((approval, outcome), (request.id, ApprovalOutcome::Approved));
        assert_eq!(votes[0].comment, "ok");
        assert!(desk.consume(request.id, request.digest).await);
        assert!(!desk.consume(request.id, request.digest).await);
        assert!(desk.get(request.id).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn silence_and_a_full_book_end_as_no() {
        let expiring = desk(late_clock);
        let (session, mut commands) = mpsc::channel(4);
        expiring.request(held(1), session);
        let Some(Command::ApprovalEnded { outcome, .. }) = commands.recv().await else {
            panic!()
        };
        assert_eq!(outcome, ApprovalOutcome::Expired);

        let full = desk(clock);
        let (session, mut commands) = mpsc::channel(4);
        for id in 1..=3 {
            full.request(held(id), session.clone());
        }
        let Some(Command::ApprovalEnded {
            approval, outcome, ..
        }) = commands.recv().await
        else {
            panic!()
        };
        assert_eq!(
            (approval, outcome),
            (held(3).id, ApprovalOutcome::Withdrawn)
        );
    }

    #[tokio::test]
    async fn a_withdrawn_request_takes_no_vote() {
        let desk = desk(clock);
        let (session, _commands) = mpsc::channel(4);
        let request = held(1);
        desk.request(request.clone(), session);
        desk.withdraw(request.id);
        let vote = desk
            .vote(
                request.id,
                reviewer(&request),
                Answer::Approve,
                String::new(),
            )
            .await;
        assert_eq!(vote, Err(DeskError::Vote(VoteError::NotPending)));
        assert!(!desk.consume(request.id, request.digest).await);
    }
}
