//! The tokio shell: one task per session drives a [`Gate`] over two [`Link`]s.
//!
//! Everything happens in one `poll`: actions are carried out, then writes, acknowledgements,
//! answers and commands, and reads last. No task, channel or lock sits between the two connections;
//! a side is read only while the gate wants input from it and the other side's output is below
//! high water. Writes are vectored: as many frames per system call as there are.

mod acknowledged;
mod channel;
mod link;
mod tcp;
#[cfg(test)]
mod tests;

use std::{
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{FutureExt, Stream, future::BoxFuture, stream::FuturesUnordered};
use tokio::{sync::mpsc, time::Sleep};

use crate::{
    approval::{ApprovalRequest, Vote},
    gate::{Action, Gate, Input},
    id::{ApprovalId, AskId, EvidenceSeq},
    record::{ApprovalOutcome, CloseReason, Entry, Evidence, EvidenceSink, Record},
    time::{Mono, Now},
    wire::{Answer, Question, Side, Wire},
};

pub use acknowledged::Acknowledged;
pub use channel::{ChannelLink, ChannelPeer, channel_link};
pub use link::Link;
pub use tcp::{TcpLink, Upgrade};

/// Output waiting on one side above which the other side isn't read, bytes.
const HIGH_WATER: usize = 256 << 10;
/// Output waiting on a side above which that side itself isn't read, bytes: a peer that takes no
/// answers gets none. Far above [`HIGH_WATER`], because some transports must be read to be written.
const OWN_OUTPUT_MAX: usize = 4 << 20;
/// How long a closed session may take to write its last bytes.
const LINGER: Duration = Duration::from_secs(5);
/// Rounds of one wake-up before other sessions get their turn.
const ROUNDS_MAX: usize = 32;

/// What one session needs from its surroundings.
pub trait Services: Send + Sync {
    /// Both connections of the session.
    type Link: Link;

    /// Both clocks.
    fn now(&self) -> Now;

    /// The log.
    fn evidence(&self) -> &dyn EvidenceSink;

    /// Finds an answer; [`Answer::Unanswered`] when there is none.
    fn ask(&self, question: Question) -> BoxFuture<'static, Answer>;

    /// Shows a request to reviewers; its end comes back as [`Command::ApprovalEnded`].
    fn request_approval(&self, request: ApprovalRequest);

    /// Takes a request back from reviewers.
    fn withdraw_approval(&self, approval: ApprovalId);

    /// Opens the target's connection, once the session is routed.
    fn connect(&self) -> BoxFuture<'static, std::io::Result<Self::Link>>;

    /// Sends to the target on a connection of its own.
    fn aside(&self, data: Outbound<Self>);
}

type Inbound<S> = <<S as Services>::Link as Link>::Inbound;
type Outbound<S> = <<S as Services>::Link as Link>::Outbound;

/// What others tell a running session.
#[derive(Debug)]
pub enum Command {
    /// An approval ended.
    ApprovalEnded {
        /// Which.
        approval: ApprovalId,
        /// How.
        outcome: ApprovalOutcome,
        /// With what votes.
        votes: Vec<Vote>,
    },
    /// The session's cancel key was presented.
    CancelRequested,
    /// The policy changed.
    PolicyChanged,
    /// The catalogue or its classification changed.
    CatalogueChanged,
    /// End the session.
    Close(CloseReason),
}

/// Runs one session to its end and says why it ended.
///
/// A panic inside is contained: the session is recorded as failed and closed.
pub async fn run_session<W, S>(
    gate: Gate<W>,
    agent: S::Link,
    services: Arc<S>,
    acknowledged: Arc<Acknowledged>,
    commands: mpsc::Receiver<Command>,
) -> CloseReason
where
    W: Wire<Inbound = Inbound<S>, Outbound = Outbound<S>>,
    S: Services,
{
    let session = gate.session();
    let mut driver = Driver::new(gate, agent, Arc::clone(&services), acknowledged, commands);
    let reason = poll_fn(|cx| {
        catch_unwind(AssertUnwindSafe(|| driver.poll(cx))).unwrap_or_else(|_| {
            tracing::error!(%session, "session failed; it was contained and closed");
            driver.record_failure();
            Poll::Ready(CloseReason::InternalError)
        })
    })
    .await;
    services.evidence().close(session);
    reason
}

fn links<'a, L>(
    agent: &'a mut L,
    target: &'a mut Option<L>,
) -> impl Iterator<Item = (Side, &'a mut L)> {
    let target = target.as_mut().map(|link| (Side::Target, link));
    std::iter::once((Side::Agent, agent)).chain(target)
}

type Asking = BoxFuture<'static, (AskId, Answer)>;

struct Driver<W: Wire, S: Services> {
    gate: Gate<W>,
    services: Arc<S>,
    acknowledged: Arc<Acknowledged>,
    seen: EvidenceSeq,
    emitted: EvidenceSeq,
    commands: mpsc::Receiver<Command>,
    agent: S::Link,
    /// Once it is connected.
    target: Option<S::Link>,
    connecting: Option<BoxFuture<'static, std::io::Result<S::Link>>>,
    asking: FuturesUnordered<Asking>,
    timer: Option<(Mono, Pin<Box<Sleep>>)>,
    closing: Option<(CloseReason, Pin<Box<Sleep>>)>,
}

impl<W, S> Driver<W, S>
where
    W: Wire<Inbound = Inbound<S>, Outbound = Outbound<S>>,
    S: Services,
{
    fn new(
        gate: Gate<W>,
        agent: S::Link,
        services: Arc<S>,
        acknowledged: Arc<Acknowledged>,
        commands: mpsc::Receiver<Command>,
    ) -> Self {
        let mut driver = Self {
            gate,
            services,
            acknowledged,
            seen: EvidenceSeq(0),
            emitted: EvidenceSeq(0),
            commands,
            agent,
            target: None,
            connecting: None,
            asking: FuturesUnordered::new(),
            timer: None,
            closing: None,
        };
        driver.handle(Input::Start);
        driver
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<CloseReason> {
        self.acknowledged.register(cx.waker());
        for _ in 0..ROUNDS_MAX {
            self.act();
            let mut progress = self.poll_write(cx);
            progress |= self.poll_acknowledged();
            progress |= self.poll_answers(cx);
            progress |= self.poll_links(cx);
            progress |= self.poll_commands(cx);
            progress |= self.poll_timer(cx);
            progress |= self.poll_read(cx, Side::Agent);
            progress |= self.poll_read(cx, Side::Target);
            if let Some((reason, linger)) = &mut self.closing
                && ((self.agent.is_drained() && self.target.as_ref().is_none_or(Link::is_drained))
                    || linger.as_mut().poll(cx).is_ready())
            {
                return Poll::Ready(reason.clone());
            }
            if !progress {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Gives the gate one input, and offers again what it had left untaken.
    fn handle(&mut self, input: Input<'_, Inbound<S>>) {
        let now = self.services.now();
        self.gate.handle(now, input);
        self.offer_rest(now);
    }

    /// Offers untaken input again; an ended side also when there is none left, because its end may
    /// have been waited for.
    fn offer_rest(&mut self, now: Now) {
        for (from, link) in links(&mut self.agent, &mut self.target) {
            if link.buffered() > 0 || link.is_at_end() {
                let data = link.input();
                self.gate.handle(now, Input::Data { from, data });
            }
        }
    }

    fn link(&mut self, side: Side) -> Option<&mut S::Link> {
        match side {
            Side::Agent => Some(&mut self.agent),
            Side::Target => self.target.as_mut(),
        }
    }

    fn act(&mut self) {
        let before = self.emitted;
        while let Some(action) = self.next_action(before) {
            match action {
                Action::Send { to, data } => {
                    if let Some(link) = self.link(to) {
                        link.write(data);
                    }
                }
                Action::Evidence(sequence, evidence) => {
                    self.emitted = sequence;
                    self.services
                        .evidence()
                        .append(self.gate.session(), sequence, evidence);
                }
                Action::Ask(id, question) => {
                    let answer = self.services.ask(question);
                    self.asking
                        .push(answer.map(move |answer| (id, answer)).boxed());
                }
                Action::RequestApproval(request) => self.services.request_approval(*request),
                Action::WithdrawApproval(approval) => self.services.withdraw_approval(approval),
                Action::Connect => self.connecting = Some(self.services.connect()),
                Action::StartTls(side) => {
                    if let Some(link) = self.link(side) {
                        link.start_tls();
                    }
                }
                Action::Aside(data) => self.services.aside(data),
                Action::Close(reason) => {
                    for (_, link) in links(&mut self.agent, &mut self.target) {
                        link.finish();
                    }
                    self.closing = Some((reason, Box::pin(tokio::time::sleep(LINGER))));
                }
            }
        }
    }

    /// The next action. When there is none, the evidence handed over since `before` is flushed, and
    /// what a sink acknowledges at once may bring more.
    fn next_action(&mut self, before: EvidenceSeq) -> Option<Action<Outbound<S>>> {
        if let Some(action) = self.gate.poll_action() {
            return Some(action);
        }
        if self.emitted > before {
            self.services.evidence().flush();
            self.take_acknowledged();
        }
        self.gate.poll_action()
    }

    /// Whether the gate learnt of evidence that became safe.
    fn take_acknowledged(&mut self) -> bool {
        let Some(reached) = self.acknowledged.reached() else {
            self.gate.handle(self.services.now(), Input::EvidenceLost);
            return false;
        };
        if reached <= self.seen {
            return false;
        }
        self.seen = reached;
        self.gate
            .handle(self.services.now(), Input::Acknowledged(reached));
        true
    }

    fn poll_acknowledged(&mut self) -> bool {
        self.take_acknowledged()
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> bool {
        let mut progress = false;
        let mut agent_gone = false;
        for (side, link) in links(&mut self.agent, &mut self.target) {
            match link.poll_write(cx) {
                Poll::Ready(Ok(wrote)) => progress |= wrote,
                Poll::Ready(Err(error)) => {
                    tracing::debug!(session = %self.gate.session(), ?side, %error, "write failed");
                    link.discard();
                    agent_gone |= side == Side::Agent;
                    progress = true;
                }
                Poll::Pending => {}
            }
        }
        // Nobody is left to hear what the target still says: it isn't asked to go on. Reading wouldn't
        // tell, for what is outstanding may hold reading up.
        if agent_gone && self.closing.is_none() {
            self.handle(Input::Close(CloseReason::AgentClosed));
        }
        progress
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, side: Side) -> bool {
        let other_weight = match side {
            Side::Agent => self.target.as_ref().map_or(0, Link::output_weight),
            Side::Target => self.agent.output_weight(),
        };
        let link = match side {
            Side::Agent => &mut self.agent,
            Side::Target => match &mut self.target {
                Some(target) => target,
                None => return false,
            },
        };
        if self.closing.is_some()
            || link.is_ended()
            || other_weight > HIGH_WATER
            || link.output_weight() > OWN_OUTPUT_MAX
            || !self.gate.wants(side, link.buffered())
        {
            return false;
        }
        match link.poll_read(cx) {
            Poll::Ready(Ok(0)) => self.handle(Input::Eof(side)),
            Poll::Ready(Ok(read)) => {
                if side == Side::Agent {
                    self.gate.count_read(read);
                }
                let now = self.services.now();
                let data = link.input();
                self.gate.handle(now, Input::Data { from: side, data });
                if side == Side::Target {
                    // What the agent sent may have waited for this.
                    self.offer_rest(now);
                }
            }
            Poll::Ready(Err(error)) => {
                tracing::debug!(session = %self.gate.session(), ?side, %error, "read failed");
                self.handle(Input::Eof(side));
            }
            Poll::Pending => return false,
        }
        true
    }

    fn poll_answers(&mut self, cx: &mut Context<'_>) -> bool {
        match Pin::new(&mut self.asking).poll_next(cx) {
            Poll::Ready(Some((id, answer))) => {
                self.handle(Input::Answer(id, answer));
                true
            }
            Poll::Ready(None) | Poll::Pending => false,
        }
    }

    fn poll_links(&mut self, cx: &mut Context<'_>) -> bool {
        let mut progress = false;
        if let Some(connecting) = &mut self.connecting
            && let Poll::Ready(result) = connecting.as_mut().poll(cx)
        {
            self.connecting = None;
            progress = true;
            match result {
                Ok(link) => {
                    self.target = Some(link);
                    self.handle(Input::Connected);
                }
                Err(error) => self.handle(Input::ConnectFailed(error.to_string())),
            }
        }
        for side in [Side::Agent, Side::Target] {
            let Some(Poll::Ready(result)) = self.link(side).map(|link| link.poll_handshake(cx))
            else {
                continue;
            };
            progress = true;
            match (result, side) {
                (Ok(facts), _) => self.handle(Input::TlsReady(side, facts)),
                (Err(error), Side::Target) => {
                    self.handle(Input::ConnectFailed(format!("TLS: {error}")));
                }
                (Err(error), Side::Agent) => {
                    tracing::debug!(session = %self.gate.session(), %error, "TLS failed");
                    self.handle(Input::Eof(Side::Agent));
                }
            }
        }
        progress
    }

    fn poll_commands(&mut self, cx: &mut Context<'_>) -> bool {
        let Poll::Ready(Some(command)) = self.commands.poll_recv(cx) else {
            return false;
        };
        match command {
            Command::ApprovalEnded {
                approval,
                outcome,
                votes,
            } => {
                self.handle(Input::ApprovalEnded {
                    approval,
                    outcome,
                    votes,
                });
            }
            Command::CancelRequested => self.handle(Input::CancelRequested),
            Command::PolicyChanged => self.handle(Input::PolicyChanged),
            Command::CatalogueChanged => self.handle(Input::CatalogueChanged),
            Command::Close(reason) => self.handle(Input::Close(reason)),
        }
        true
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(deadline) = self.gate.poll_timeout() else {
            self.timer = None;
            return false;
        };
        if self.timer.as_ref().is_none_or(|(at, _)| *at != deadline) {
            let wait = deadline.saturating_since(self.services.now().mono);
            self.timer = Some((deadline, Box::pin(tokio::time::sleep(wait))));
        }
        let Some((_, sleep)) = &mut self.timer else {
            return false;
        };
        if sleep.as_mut().poll(cx).is_pending() {
            return false;
        }
        self.timer = None;
        self.handle(Input::Timeout);
        true
    }

    /// After a panic the gate isn't to be trusted with a record of its own.
    fn record_failure(&mut self) {
        let entry = Entry::SessionClosed {
            reason: CloseReason::InternalError,
            bytes_from_agent: 0,
            bytes_to_agent: 0,
            probes: 0,
        };
        let sequence = EvidenceSeq(self.emitted.0 + 1);
        let record = Record {
            at: self.services.now(),
            entry,
        };
        self.services.evidence().append(
            self.gate.session(),
            sequence,
            Evidence::Record(Box::new(record)),
        );
    }
}
