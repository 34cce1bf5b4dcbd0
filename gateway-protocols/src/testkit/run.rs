//! One conversation in one thread: agent, gate, target, shell, sink and clock.

use std::{collections::VecDeque, sync::atomic::Ordering, time::Duration};

use bytes::BytesMut;
use gateway_core::{
    approval::{self, Vote},
    gate::{Action, Gate, Input, Setup},
    id::{ApprovalId, AskId, EvidenceSeq, ObjectId},
    limits::Limits,
    record::{ApprovalOutcome, Direction, Evidence},
    time::Now,
    wire::{Answer, Question, Side, TlsFacts, Wire},
};

use super::{
    schedule::Schedule,
    script::{Script, Step},
    trace::{Seen, Sent, Trace},
    typed::{Inbound, Outbound},
    world::{self, World},
};

/// Events of one run at most: what doesn't end is a failure of its own.
const EVENTS_MAX: usize = 2_000_000;

/// A protocol under test: its wire, a target for it, and how its streams are to be read.
///
/// The streams that the methods see are bytes, or packets of events ([`super::typed`]).
pub trait Subject {
    /// The wire.
    type Wire: Wire<Inbound: Inbound, Outbound: Outbound>;
    /// The fake target.
    type Target: TargetPeer;

    /// A wire at the start of a session.
    fn wire(&self, limits: &Limits) -> Self::Wire;

    /// A target that waits for a connection.
    fn target(&self) -> Self::Target;

    /// Steps from the first byte to an open session, ending in [`Step::Mark`].
    fn login(&self) -> Script;

    /// A TLS handshake with the agent: takes its bytes off the front of what the wire hasn't taken.
    fn handshake(_untaken: &mut BytesMut) -> TlsFacts {
        TlsFacts::default()
    }

    /// The stream to a side in a form that two runs have in common: without what may come at any
    /// time, and without borders that mean nothing.
    fn canonical(&self, _to: Side, stream: &[u8]) -> Vec<u8> {
        stream.to_vec()
    }

    /// Whether an open session's bytes arrived as they were said, apart from what a gateway adds on
    /// its own.
    fn is_same(&self, _way: Direction, said: &[u8], heard: &[u8]) -> bool {
        said == heard
    }

    /// How often an operation with this text is in a stream to the target.
    fn occurrences(&self, heard: &[u8], text: &str) -> usize {
        memchr::memmem::find_iter(heard, text.as_bytes()).count()
    }

    /// Whether what went one way in an open session is on record: in chunks, or to the target in
    /// the operations themselves.
    fn is_recorded(&self, way: Direction, heard: &[u8], chunks: &[u8]) -> bool {
        match way {
            Direction::ToAgent => heard == chunks,
            Direction::ToTarget => true,
        }
    }

    /// Rows and columns in what a target or gateway sent, for comparing masked with clear.
    ///
    /// # Errors
    /// Why it can't be parsed.
    fn shape(&self, stream: &[u8]) -> Result<Vec<usize>, String>;
}

/// A target: takes bytes, answers with bytes.
pub trait TargetPeer {
    /// Takes what it understands of `input` and appends its answers to `out`.
    fn receive(&mut self, input: &mut BytesMut, out: &mut BytesMut);

    /// TLS is up; what the gateway learns of it.
    fn secured(&mut self) -> TlsFacts {
        TlsFacts::default()
    }

    /// What it has acted upon, where it ignores some of what it receives: two runs are compared by it.
    fn acted(&self) -> Option<&[u8]> {
        None
    }

    /// Whether it has closed the connection.
    fn is_closed(&self) -> bool;
}

/// Something that happens at a gate's shell.
enum Happening {
    Answer(AskId, Answer),
    Tls(Side, TlsFacts),
    Connected,
}

/// A conversation under way.
pub struct Run<S: Subject> {
    gate: Gate<S::Wire>,
    target: S::Target,
    world: World,
    schedule: Schedule,
    elapsed: Duration,
    agent: Stream<InboundOf<S>>,
    server: Stream<InboundOf<S>>,
    target_input: BytesMut,
    happenings: VecDeque<Happening>,
    approvals: Vec<ApprovalId>,
    emitted: u64,
    acknowledged: u64,
    outstanding: VecDeque<usize>,
    is_stalled: bool,
    events: usize,
    trace: Trace,
}

type InboundOf<S> = <<S as Subject>::Wire as Wire>::Inbound;
type OutboundOf<S> = <<S as Subject>::Wire as Wire>::Outbound;

/// Bytes on their way to the gate from one side.
#[derive(Default)]
struct Stream<I> {
    /// Not arrived yet.
    pending: BytesMut,
    /// Arrived, and not enough for an event yet.
    partial: BytesMut,
    /// Offered, and not taken yet.
    untaken: I,
    ended: bool,
}

/// Runs a script to its end.
///
/// # Errors
/// When it doesn't come to rest.
pub fn run<S: Subject>(
    subject: &S,
    world: &World,
    script: &Script,
    schedule: Schedule,
) -> Result<Trace, String> {
    let mut run = Run::new(subject, world.clone(), schedule);
    for step in &script.steps {
        run.step(step)?;
    }
    run.settle()?;
    Ok(run.into_trace())
}

impl<S: Subject> Run<S> {
    /// A session whose agent has just connected.
    pub fn new(subject: &S, world: World, schedule: Schedule) -> Self {
        world.rules.changed.store(false, Ordering::Relaxed);
        let setup = Setup {
            session: world::session(),
            source: world::SOURCE,
            decision: std::sync::Arc::new(world.rules.clone()),
            limits: std::sync::Arc::clone(&world.limits),
        };
        let mut run = Self {
            gate: Gate::new(subject.wire(&world.limits), setup),
            target: subject.target(),
            world,
            schedule,
            elapsed: Duration::ZERO,
            agent: Stream::default(),
            server: Stream::default(),
            target_input: BytesMut::new(),
            happenings: VecDeque::new(),
            approvals: Vec::new(),
            emitted: 0,
            acknowledged: 0,
            outstanding: VecDeque::new(),
            is_stalled: false,
            events: 0,
            trace: Trace::default(),
        };
        run.gate.handle(run.now(), Input::Start);
        run
    }

    /// What came of it so far.
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// What came of it.
    pub fn into_trace(mut self) -> Trace {
        self.trace.acted = self.target.acted().map(<[u8]>::to_vec);
        self.trace
    }

    /// Whether the session is over.
    pub fn is_closed(&self) -> bool {
        self.gate.is_closed()
    }

    /// Whether the gate would take more of the agent's bytes.
    pub fn wants_agent(&self) -> bool {
        self.gate.wants(Side::Agent, self.agent.untaken.untaken())
    }

    /// Does one step.
    ///
    /// # Errors
    /// When it doesn't come to rest.
    pub fn step(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Agent(bytes) => {
                self.agent.pending.extend_from_slice(bytes);
                return Ok(());
            }
            Step::Stall(stalled) => {
                self.is_stalled = *stalled;
                return Ok(());
            }
            _ => self.settle()?,
        }
        match step {
            Step::Agent(_) | Step::Stall(_) | Step::Settle => {}
            Step::Target(bytes) => self.server.pending.extend_from_slice(bytes),
            Step::Mark => {
                self.trace.marks = [
                    self.trace.to_agent.len(),
                    self.trace.to_target.len(),
                    self.trace.from_agent.len(),
                    self.trace.from_target.len(),
                ];
            }
            Step::AgentEof => self.end(Side::Agent),
            Step::TargetEof => self.end(Side::Target),
            Step::Advance(time) => self.advance(*time),
            Step::Vote(outcome) => {
                for approval in std::mem::take(&mut self.approvals) {
                    let votes = vote(*outcome, self.now());
                    self.input(Input::ApprovalEnded {
                        approval,
                        outcome: *outcome,
                        votes,
                    });
                }
            }
            Step::Cancel => self.input(Input::CancelRequested),
            Step::PolicyChanged => {
                self.world.rules.changed.store(true, Ordering::Relaxed);
                self.input(Input::PolicyChanged);
            }
            Step::CatalogueChanged => self.input(Input::CatalogueChanged),
            Step::Close(reason) => self.input(Input::Close(reason.clone())),
            Step::EvidenceLost => {
                self.is_stalled = true;
                self.input(Input::EvidenceLost);
            }
        }
        self.settle()
    }

    /// Goes on until nothing happens by itself any more.
    ///
    /// # Errors
    /// When that never comes.
    pub fn settle(&mut self) -> Result<(), String> {
        loop {
            self.act();
            if !self.happen() {
                return Ok(());
            }
            self.events += 1;
            if self.events > EVENTS_MAX {
                return Err(format!("no rest after {EVENTS_MAX} events"));
            }
        }
    }

    fn now(&self) -> Now {
        world::clock(self.elapsed)
    }

    /// One of the things that may happen now; which, the schedule says. `false`: none.
    fn happen(&mut self) -> bool {
        let acks = !self.is_stalled && self.acknowledged < self.emitted;
        let shell = !self.happenings.is_empty();
        let target = self.may_offer(Side::Target);
        let agent = self.may_offer(Side::Agent);
        let possible: Vec<u8> = [(acks, 0), (shell, 1), (target, 2), (agent, 3)]
            .into_iter()
            .filter_map(|(may, what)| may.then_some(what))
            .collect();
        let choice = self.schedule.below(possible.len());
        match possible.get(choice) {
            Some(0) => self.acknowledge(),
            Some(1) => self.shell(),
            Some(2) => self.offer(Side::Target),
            Some(_) => self.offer(Side::Agent),
            None if self.target.is_closed() && !self.server.ended => self.end(Side::Target),
            None => return false,
        }
        true
    }

    fn may_offer(&self, side: Side) -> bool {
        let stream = self.stream(side);
        !stream.pending.is_empty() && self.gate.wants(side, stream.untaken.untaken())
    }

    const fn stream(&self, side: Side) -> &Stream<InboundOf<S>> {
        match side {
            Side::Agent => &self.agent,
            Side::Target => &self.server,
        }
    }

    fn offer(&mut self, side: Side) {
        let (stream, log) = match side {
            Side::Agent => (&mut self.agent, &mut self.trace.from_agent),
            Side::Target => (&mut self.server, &mut self.trace.from_target),
        };
        let len = self.schedule.cut(stream.pending.len());
        let bytes = stream.pending.split_to(len);
        log.extend_from_slice(&bytes);
        if side == Side::Target {
            self.trace.seen.push(Seen::FromTarget(bytes.to_vec()));
        } else {
            self.gate.count_read(len);
        }
        stream.partial.unsplit(bytes);
        let Stream {
            partial, untaken, ..
        } = stream;
        untaken.feed(side, partial, &mut self.schedule);
        self.offer_rest();
    }

    /// As the driver: what was left is offered again after everything else.
    fn offer_rest(&mut self) {
        let now = self.now();
        for (from, stream) in [
            (Side::Agent, &mut self.agent),
            (Side::Target, &mut self.server),
        ] {
            if stream.untaken.untaken() > 0 || stream.ended {
                let data = &mut stream.untaken;
                self.gate.handle(now, Input::Data { from, data });
            }
            self.trace.untaken_max = self.trace.untaken_max.max(stream.untaken.untaken());
        }
    }

    fn input(&mut self, input: Input<'_, InboundOf<S>>) {
        self.gate.handle(self.now(), input);
        self.offer_rest();
    }

    fn end(&mut self, side: Side) {
        match side {
            Side::Agent => self.agent.ended = true,
            Side::Target => self.server.ended = true,
        }
        self.input(Input::Eof(side));
    }

    fn advance(&mut self, time: Duration) {
        self.elapsed += time;
        // Every deadline that has passed, one by one; each is gone once it was handled.
        for _ in 0..64 {
            let due = self.gate.poll_timeout();
            if due.is_none_or(|due| due > self.now().mono) {
                break;
            }
            self.input(Input::Timeout);
        }
    }

    fn acknowledge(&mut self) {
        let waiting = usize::try_from(self.emitted - self.acknowledged).unwrap_or(usize::MAX);
        // Choice 0 acknowledges all.
        let skip = self.schedule.below(waiting);
        for _ in skip..waiting {
            self.outstanding.pop_front();
            self.acknowledged += 1;
        }
        self.input(Input::Acknowledged(EvidenceSeq(self.acknowledged)));
    }

    fn shell(&mut self) {
        match self.happenings.pop_front() {
            Some(Happening::Answer(id, answer)) => self.input(Input::Answer(id, answer)),
            Some(Happening::Tls(side, facts)) => self.input(Input::TlsReady(side, facts)),
            Some(Happening::Connected) => self.input(Input::Connected),
            None => {}
        }
    }

    fn act(&mut self) {
        while let Some(action) = self.gate.poll_action() {
            match action {
                Action::Send { to, data } => self.send(to, &data),
                Action::Evidence(sequence, evidence) => self.keep(sequence, evidence),
                Action::Ask(id, question) => self.ask(id, &question),
                Action::RequestApproval(request) => self.approvals.push(request.id),
                Action::WithdrawApproval(approval) => {
                    self.approvals.retain(|waiting| *waiting != approval);
                    self.trace.seen.push(Seen::Withdrawn);
                }
                Action::Connect => {
                    self.trace.seen.push(Seen::Connected);
                    self.happenings.push_back(Happening::Connected);
                }
                Action::StartTls(side) => {
                    self.trace.seen.push(Seen::Tls(side));
                    let facts = match side {
                        Side::Agent => self.secure_agent(),
                        Side::Target => self.target.secured(),
                    };
                    self.happenings.push_back(Happening::Tls(side, facts));
                }
                Action::Aside(data) => {
                    let data = data.encode(Side::Target).to_vec();
                    self.trace.seen.push(Seen::Aside(data.clone()));
                    self.trace.asides.push(data);
                }
                Action::Close(reason) => {
                    self.trace.seen.push(Seen::Closed(reason.clone()));
                    self.trace.closed = Some(reason);
                }
            }
        }
    }

    fn secure_agent(&mut self) -> TlsFacts {
        let Stream {
            pending,
            partial,
            untaken,
            ..
        } = &mut self.agent;
        let mut bytes = untaken.hand_back();
        bytes.unsplit(partial.split());
        bytes.unsplit(pending.split());
        let facts = S::handshake(&mut bytes);
        *pending = bytes;
        facts
    }

    fn send(&mut self, to: Side, data: &OutboundOf<S>) {
        let data = data.encode(to);
        let stream = match to {
            Side::Agent => &mut self.trace.to_agent,
            Side::Target => &mut self.trace.to_target,
        };
        stream.extend_from_slice(&data);
        let end = stream.len();
        self.trace.seen.push(Seen::Out(to, data.to_vec()));
        self.trace.sent.push(Sent {
            to,
            end,
            acknowledged: self.acknowledged,
        });
        if to == Side::Target {
            self.target_input.extend_from_slice(&data);
            self.target
                .receive(&mut self.target_input, &mut self.server.pending);
        }
    }

    fn keep(&mut self, sequence: EvidenceSeq, evidence: Evidence) {
        if sequence.0 != self.emitted + 1 {
            self.trace.gaps += 1;
        }
        self.emitted = sequence.0;
        self.outstanding.push_back(evidence.weight());
        let outstanding = self.outstanding.iter().sum();
        self.trace.outstanding_max = self.trace.outstanding_max.max(outstanding);
        self.trace
            .seen
            .push(Seen::Evidence(self.trace.evidence.len()));
        self.trace.evidence.push(evidence);
    }

    fn ask(&mut self, id: AskId, question: &Question) {
        match question {
            Question::Cancel { process, key } => self.trace.seen.push(Seen::Told(format!(
                "cancel process={process} key={} bytes",
                key.len()
            ))),
            Question::CatalogueChanged => self
                .trace
                .seen
                .push(Seen::Told("catalogue changed".to_owned())),
            _ => {}
        }
        if let Some(answer) = self.world.answer(question) {
            self.happenings.push_back(Happening::Answer(id, answer));
        }
    }
}

fn vote(outcome: ApprovalOutcome, now: Now) -> Vec<Vote> {
    let answer = match outcome {
        ApprovalOutcome::Approved => approval::Answer::Approve,
        ApprovalOutcome::Rejected => approval::Answer::Deny,
        ApprovalOutcome::Expired | ApprovalOutcome::Withdrawn => return Vec::new(),
    };
    let reviewer = ObjectId::parse("44444444-2222-4333-8444-555555555555").ok();
    let vote = reviewer.map(|reviewer| Vote {
        reviewer,
        name: "Ada".into(),
        counts_for: vec!["Gateway.Approver".into()],
        answer,
        comment: "looked at it".into(),
        at: now.wall,
        is_owner: false,
    });
    vote.into_iter().collect()
}
