//! The gate: nothing reaches a target without a verdict and a record, nothing reaches an agent
//! without a record. Sans-IO: inputs in, actions out, time as an argument.
//!
//! # Invariants
//! - Every outbound item is stamped with the evidence emitted before it, and leaves only when the
//!   sink has acknowledged that much. Order per side is first in, first out.
//! - A unit reaches the target through [`Turn::release`], which demands that it is allowed; its
//!   Intent is evidence emitted before, so it is recorded first.
//! - Every unit that was allowed ends in exactly one Finished record, whatever ends the session.

mod lane;
mod turn;
mod unit;

use std::{collections::BTreeMap, collections::VecDeque, net::IpAddr, sync::Arc};

use crate::{
    approval::{ApprovalRequest, Vote},
    decision::{DecisionPoint, Denial, Reason, Request, SessionFacts, Verdict},
    id::{ApprovalId, AskId, Digest, EvidenceSeq, SessionId, UnitId},
    identity::Principal,
    limits::Limits,
    operation::{Operation, SessionOp},
    record::{
        ApprovalOutcome, Chunk, CloseReason, Direction, Entry, Evidence, Outcome, Record, Severity,
        UnitEnd,
    },
    target::Target,
    time::{Mono, Now, Wall},
    wire::{Analysed, Answer, Event, Payload, Question, Side, TlsFacts, Wire, WireError},
};

pub use turn::Turn;

use lane::{Item, Lane};
use unit::Unit;

/// What a gate is made with.
pub struct Setup {
    /// The session's id.
    pub session: SessionId,
    /// Where the agent connects from.
    pub source: IpAddr,
    /// Who decides.
    pub decision: Arc<dyn DecisionPoint>,
    /// Every bound.
    pub limits: Arc<Limits>,
}

/// What happened outside.
#[derive(Debug)]
pub enum Input<'a, I> {
    /// The agent's connection was accepted.
    Start,
    /// There is input from a side. The gate takes what it can; offer the rest again after every
    /// other input.
    Data {
        /// The side.
        from: Side,
        /// Its input.
        data: &'a mut I,
    },
    /// A side won't send any more.
    Eof(Side),
    /// A TLS handshake is done.
    TlsReady(Side, TlsFacts),
    /// The target's connection is open.
    Connected,
    /// The target's connection, or its TLS, failed.
    ConnectFailed(String),
    /// All evidence up to and including this position is safe.
    Acknowledged(EvidenceSeq),
    /// The log has failed.
    EvidenceLost,
    /// The answer to a question.
    Answer(AskId, Answer),
    /// An approval ended.
    ApprovalEnded {
        /// Which.
        approval: ApprovalId,
        /// How.
        outcome: ApprovalOutcome,
        /// With what votes.
        votes: Vec<Vote>,
    },
    /// A deadline of [`Gate::poll_timeout`] has passed.
    Timeout,
    /// The session's cancel key was presented.
    CancelRequested,
    /// The policy changed.
    PolicyChanged,
    /// The catalogue or its classification changed.
    CatalogueChanged,
    /// End the session.
    Close(CloseReason),
}

/// What is to be done outside, in this order.
#[derive(Debug)]
pub enum Action<O> {
    /// Write to a side.
    Send {
        /// The side.
        to: Side,
        /// What.
        data: O,
    },
    /// Hand to the log.
    Evidence(EvidenceSeq, Evidence),
    /// Find an answer.
    Ask(AskId, Question),
    /// Show to reviewers.
    RequestApproval(Box<ApprovalRequest>),
    /// Take back from reviewers.
    WithdrawApproval(ApprovalId),
    /// Open the target's connection.
    Connect,
    /// Once everything sent before is written, do the TLS handshake of this side.
    StartTls(Side),
    /// Send these bytes to the target on a connection of their own (a cancel request).
    Aside(O),
    /// Once everything sent before is written, close both connections.
    Close(CloseReason),
}

/// A session's gate around its wire.
pub struct Gate<W: Wire> {
    wire: W,
    core: Core<W::Outbound>,
}

/// What a gate knows beside its wire. [`Turn`] is its face towards the wire.
pub(crate) struct Core<O> {
    session: SessionId,
    decision: Arc<dyn DecisionPoint>,
    limits: Arc<Limits>,
    facts: SessionFacts,
    principal: Option<Principal>,
    target: Option<Target>,
    phase: Phase,
    units: BTreeMap<UnitId, Unit>,
    units_begun: u64,
    asks: BTreeMap<AskId, Asked>,
    asks_begun: u64,
    emitted: EvidenceSeq,
    acknowledged: EvidenceSeq,
    unacknowledged: VecDeque<(EvidenceSeq, usize)>,
    unacknowledged_bytes: usize,
    lanes: [Lane<O>; 2],
    actions: VecDeque<Action<O>>,
    login_deadline: Option<Mono>,
    expires: Option<Mono>,
    /// Of the latest input.
    now: Wall,
    probes: u64,
    bytes_to_agent: u64,
    bytes_from_agent: u64,
    refusal_recorded: bool,
    fault: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The agent's login.
    Login,
    /// The policy let the session open; the target's login is under way.
    Opened,
    /// Both sides are logged in.
    Established,
    /// The last record is emitted.
    Closed,
}

impl Phase {
    /// Whether a session is on record as opened and not yet as closed.
    fn is_open(self) -> bool {
        matches!(self, Self::Opened | Self::Established)
    }
}

struct Asked {
    purpose: Purpose,
    deadline: Mono,
}

#[derive(Clone, Copy)]
enum Purpose {
    /// The wire wants to know.
    Wire,
    /// An approved unit is analysed again.
    Recheck(UnitId),
    /// An approved unit's approval is being used up.
    Consume(UnitId),
}

impl<W: Wire> Gate<W> {
    /// A gate for one session, not yet started.
    pub fn new(wire: W, setup: Setup) -> Self {
        Self {
            wire,
            core: Core::new(setup),
        }
    }

    /// The session's id.
    pub fn session(&self) -> SessionId {
        self.core.session
    }

    /// Takes one input. Total: whatever goes wrong ends in a closed session and a record of it.
    pub fn handle(&mut self, now: Now, input: Input<'_, W::Inbound>) {
        self.core.now = now.wall;
        if let Input::Acknowledged(sequence) = input {
            self.core.acknowledge(sequence);
            return;
        }
        if self.core.phase == Phase::Closed {
            return;
        }
        let result = match input {
            Input::Start => {
                let deadline = now.mono.saturating_add(self.core.limits.login_time_max);
                self.core.login_deadline = Some(deadline);
                self.notify(now, Event::Started)
            }
            Input::Data { from, data } => {
                let mut turn = Turn::new(&mut self.core, now);
                self.wire.receive(from, data, &mut turn)
            }
            Input::Eof(side) => self.notify(now, Event::Eof(side)),
            Input::TlsReady(side, facts) => self.notify(now, Event::TlsReady(side, facts)),
            Input::Connected => self.notify(now, Event::Connected),
            Input::ConnectFailed(why) => self.notify(now, Event::ConnectFailed(why)),
            Input::Answer(id, answer) => self.answer(now, id, answer),
            Input::ApprovalEnded {
                approval,
                outcome,
                votes,
            } => self.approval_ended(now, approval, outcome, votes),
            Input::Timeout => self.timeout(now),
            Input::CancelRequested => self.cancel(now),
            Input::PolicyChanged => self.policy_changed(now),
            Input::CatalogueChanged => self.notify(now, Event::Stale),
            Input::EvidenceLost => {
                self.core.evidence_lost();
                Ok(())
            }
            Input::Close(reason) => self.close(now, reason),
            // Handled above; matched here so that a new input is not forgotten.
            Input::Acknowledged(_) => Ok(()),
        };
        if let Err(error) = result {
            self.core.incident(now, &error);
            // The wire has failed already; a second error adds nothing.
            let _ = self
                .notify(now, Event::Closing(error.reason.clone()))
                .is_ok();
            self.core.close(now, error.reason);
        }
        if let Some(fault) = self.core.fault.take() {
            let error = WireError {
                side: Side::Target,
                what: fault.into(),
                reason: CloseReason::InternalError,
            };
            self.core.incident(now, &error);
            self.core.close(now, CloseReason::InternalError);
        }
    }

    /// The next thing to do, if any.
    pub fn poll_action(&mut self) -> Option<Action<W::Outbound>> {
        self.core.flush();
        self.core.actions.pop_front()
    }

    /// When to come back with [`Input::Timeout`] at the latest.
    pub fn poll_timeout(&self) -> Option<Mono> {
        if self.core.phase == Phase::Closed {
            return None;
        }
        let holds = self.core.units.values().filter_map(Unit::hold_deadline);
        let asks = self.core.asks.values().map(|asked| asked.deadline);
        holds
            .chain(asks)
            .chain(self.core.login_deadline)
            .chain(self.core.expires)
            .min()
    }

    /// Whether to read this side now, with `buffered` bytes (or events) of it untaken.
    pub fn wants(&self, from: Side, buffered: usize) -> bool {
        self.core.phase != Phase::Closed
            && self.core.unacknowledged_bytes < self.core.limits.unacknowledged_bytes_max
            && self.core.lanes_bytes() < self.core.limits.unacknowledged_bytes_max
            && self.wire.wants(from, buffered)
    }

    /// Whether the session is over: nothing but acknowledgements and [`Action`]s remain.
    pub fn is_closed(&self) -> bool {
        self.core.phase == Phase::Closed
    }

    /// Counts bytes read from the agent, for the session's last record.
    pub fn count_read(&mut self, bytes: usize) {
        self.core.bytes_from_agent += bytes as u64;
    }

    fn notify(&mut self, now: Now, event: Event) -> Result<(), WireError> {
        self.wire.notify(event, &mut Turn::new(&mut self.core, now))
    }

    fn close(&mut self, now: Now, reason: CloseReason) -> Result<(), WireError> {
        self.notify(now, Event::Closing(reason.clone()))?;
        self.core.close(now, reason);
        Ok(())
    }

    fn answer(&mut self, now: Now, id: AskId, answer: Answer) -> Result<(), WireError> {
        // A late answer finds its question gone: the refusal has been given.
        let Some(asked) = self.core.asks.remove(&id) else {
            return Ok(());
        };
        match asked.purpose {
            Purpose::Wire => {
                self.core.learn(now, &answer);
                self.notify(now, Event::Answer(id, answer))
            }
            Purpose::Recheck(unit) => {
                let analysed = match answer {
                    Answer::Analysed(analysed) => Some(analysed),
                    _ => None,
                };
                self.rechecked(now, unit, analysed)
            }
            Purpose::Consume(unit) => {
                let used = matches!(answer, Answer::Consumed(true));
                self.consumed(now, unit, used)
            }
        }
    }

    fn timeout(&mut self, now: Now) -> Result<(), WireError> {
        if self
            .core
            .login_deadline
            .is_some_and(|deadline| deadline <= now.mono)
        {
            return self.close(now, CloseReason::Limit);
        }
        if self
            .core
            .expires
            .is_some_and(|deadline| deadline <= now.mono)
        {
            return self.close(now, CloseReason::Expired);
        }
        let due: Vec<AskId> = self
            .core
            .asks
            .iter()
            .filter(|(_, asked)| asked.deadline <= now.mono)
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            self.answer(now, id, Answer::Unanswered)?;
        }
        let expired: Vec<ApprovalId> = self
            .core
            .units
            .values()
            .filter(|unit| {
                unit.hold_deadline()
                    .is_some_and(|deadline| deadline <= now.mono)
            })
            .filter_map(Unit::approval)
            .collect();
        for approval in expired {
            self.core
                .actions
                .push_back(Action::WithdrawApproval(approval));
            self.approval_ended(now, approval, ApprovalOutcome::Expired, Vec::new())?;
        }
        Ok(())
    }

    fn cancel(&mut self, now: Now) -> Result<(), WireError> {
        let operation = Operation::Session(SessionOp::Cancel);
        let ruling = Turn::new(&mut self.core, now).submit(operation);
        match ruling {
            crate::wire::Ruling::Allowed { unit, .. } => {
                self.notify(now, Event::CancelRequested)?;
                let mut turn = Turn::new(&mut self.core, now);
                turn.finish(unit, UnitEnd::of(Outcome::Completed));
                Ok(())
            }
            crate::wire::Ruling::Held { unit, .. } => {
                Turn::new(&mut self.core, now).withdraw(unit);
                Ok(())
            }
            crate::wire::Ruling::Refused(_) => Ok(()),
        }
    }

    /// A session that the new policy wouldn't open is closed; others decide anew from the next unit.
    fn policy_changed(&mut self, now: Now) -> Result<(), WireError> {
        if self.core.phase.is_open() {
            let database = Some(self.core.facts.database.clone());
            let operation = Operation::Session(SessionOp::Open { database });
            let still = self.core.decide(now, &operation, &[]);
            if !still.is_some_and(|decision| matches!(decision.verdict, Verdict::Allow)) {
                return self.close(now, CloseReason::PolicyChanged);
            }
        }
        self.notify(now, Event::Stale)
    }

    fn approval_ended(
        &mut self,
        now: Now,
        approval: ApprovalId,
        outcome: ApprovalOutcome,
        votes: Vec<Vote>,
    ) -> Result<(), WireError> {
        // An approval that comes after its unit is gone is never used.
        let Some((id, unit)) = self.core.held(approval) else {
            return Ok(());
        };
        unit.stop_waiting();
        let operation = unit.operation().cloned();
        self.core.record(
            now,
            Entry::ApprovalDecided {
                approval,
                unit: id,
                outcome,
                votes: votes.clone(),
            },
        );
        let denial = match outcome {
            ApprovalOutcome::Approved => {
                // What the text means may have changed while it waited.
                let question = match operation {
                    Some(Operation::Sql(sql)) => Question::AnalyseSql { text: sql.text },
                    Some(Operation::Session(_)) | None => return self.rechecked(now, id, None),
                };
                self.core.ask(now, question, Purpose::Recheck(id));
                return Ok(());
            }
            ApprovalOutcome::Rejected => {
                let by = votes
                    .last()
                    .map(|vote| vote.name.as_str())
                    .unwrap_or("a reviewer");
                let comment = votes.last().map(|vote| vote.comment.as_str()).unwrap_or("");
                let denial = Denial::new(Reason::Rejected, format!("{by} denied this request"));
                if comment.is_empty() {
                    denial
                } else {
                    denial.with_detail(comment)
                }
            }
            ApprovalOutcome::Expired => {
                Denial::new(Reason::Expired, "no reviewer approved this request in time")
            }
            ApprovalOutcome::Withdrawn => {
                Denial::new(Reason::Withdrawn, "the request was withdrawn")
            }
        };
        self.refuse_held(now, id, denial)
    }

    /// The approved unit means the same as when it was shown, and the policy in force still
    /// allows it with the holds that were satisfied: use the approval up.
    fn rechecked(
        &mut self,
        now: Now,
        id: UnitId,
        analysed: Option<Analysed>,
    ) -> Result<(), WireError> {
        let Some((operation, approval, digest, satisfied)) =
            self.core.units.get(&id).and_then(Unit::approved)
        else {
            return Ok(());
        };
        let fresh = match (&operation, analysed) {
            (Operation::Sql(sql), Some(analysed)) => Operation::Sql(crate::operation::SqlUnit {
                analysis: analysed.analysis,
                ..sql.clone()
            }),
            (Operation::Sql(_), None) => {
                let denial = Denial::new(
                    Reason::NoAnswer,
                    "the approved statement couldn't be analysed again",
                );
                return self.refuse_held(now, id, denial);
            }
            (Operation::Session(_), _) => operation.clone(),
        };
        if self.core.binding_digest(&fresh) != digest {
            let denial = Denial::new(
                Reason::NotConsumed,
                "what the statement does has changed since it was approved",
            )
            .with_hint("Send it again to ask for a new approval.");
            return self.refuse_held(now, id, denial);
        }
        let Some(decision) = self.core.decide(now, &fresh, &satisfied) else {
            let denial = Denial::new(Reason::PolicyError, "there is no session to decide for");
            return self.refuse_held(now, id, denial);
        };
        let masks = turn::check_masks(&fresh, &decision.obligations);
        let denial = match (decision.verdict, masks) {
            (Verdict::Allow, Ok(())) => {
                if let Some(unit) = self.core.units.get_mut(&id) {
                    unit.decided_again(fresh, decision.obligations, decision.policy);
                }
                let question = Question::ConsumeApproval { approval, digest };
                self.core.ask(now, question, Purpose::Consume(id));
                return Ok(());
            }
            (Verdict::Allow, Err(denial)) | (Verdict::Deny(denial), _) => denial,
            (Verdict::Hold(_), _) => Denial::new(
                Reason::NotConsumed,
                "the policy has changed and asks for another approval",
            )
            .with_hint("Send the statement again."),
        };
        self.refuse_held(now, id, denial)
    }

    fn consumed(&mut self, now: Now, id: UnitId, used: bool) -> Result<(), WireError> {
        if !used {
            let denial = Denial::new(Reason::NotConsumed, "the approval couldn't be used");
            return self.refuse_held(now, id, denial);
        }
        let ruled = self.core.allow_held(now, id);
        self.notify(now, Event::Ruled(id, ruled))
    }

    fn refuse_held(&mut self, now: Now, id: UnitId, denial: Denial) -> Result<(), WireError> {
        let Some(unit) = self.core.units.remove(&id) else {
            return Ok(());
        };
        self.core.block(
            now,
            id,
            unit.into_operation(),
            denial.clone(),
            Severity::Notice,
        );
        self.notify(now, Event::Ruled(id, Err(denial)))
    }
}

impl<O: Payload> Core<O> {
    fn new(setup: Setup) -> Self {
        Self {
            session: setup.session,
            decision: setup.decision,
            limits: setup.limits,
            facts: SessionFacts {
                source: setup.source,
                database: String::new(),
            },
            principal: None,
            target: None,
            phase: Phase::Login,
            units: BTreeMap::new(),
            units_begun: 0,
            asks: BTreeMap::new(),
            asks_begun: 0,
            emitted: EvidenceSeq(0),
            acknowledged: EvidenceSeq(0),
            unacknowledged: VecDeque::new(),
            unacknowledged_bytes: 0,
            lanes: [Lane::default(), Lane::default()],
            actions: VecDeque::new(),
            login_deadline: None,
            expires: None,
            now: Wall::default(),
            probes: 0,
            bytes_to_agent: 0,
            bytes_from_agent: 0,
            refusal_recorded: false,
            fault: None,
        }
    }

    /// Learns what the gate itself needs from an answer on its way to the wire.
    fn learn(&mut self, now: Now, answer: &Answer) {
        match answer {
            Answer::Route(Ok(route)) => {
                self.target = Some(route.target.clone());
                self.facts.database = route.database.clone();
            }
            Answer::Authenticated(Ok(principal)) => {
                let principal = principal.get().clone();
                let token_end = now.mono_at(principal.expires_at);
                let session_end = now.mono.saturating_add(self.limits.session_time_max);
                self.expires = Some(token_end.min(session_end));
                self.record(
                    now,
                    Entry::AuthAccepted {
                        principal: principal.clone(),
                        method: "token-as-password",
                    },
                );
                self.principal = Some(principal);
            }
            Answer::Route(Err(_))
            | Answer::Authenticated(Err(_))
            | Answer::Analysed(_)
            | Answer::TargetLogin(_)
            | Answer::SaltedPassword(_)
            | Answer::CancelKey { .. }
            | Answer::Consumed(_)
            | Answer::Unanswered => {}
        }
    }

    fn decide(
        &self,
        now: Now,
        operation: &Operation,
        approved: &[crate::id::RuleId],
    ) -> Option<crate::decision::Decision> {
        let (principal, target) = (self.principal.as_ref()?, self.target.as_ref()?);
        let request = Request {
            principal,
            target,
            operation,
            facts: &self.facts,
            approved,
        };
        Some(self.decision.decide(now, &request))
    }

    /// Digest of what an approval binds to: principal, target, exact text, values, and every
    /// effect with its resolved object.
    fn binding_digest(&self, operation: &Operation) -> Digest {
        unit::binding_digest(self.principal.as_ref(), self.target.as_ref(), operation)
    }

    fn ask(&mut self, now: Now, question: Question, purpose: Purpose) -> AskId {
        self.asks_begun += 1;
        let id = AskId(self.asks_begun);
        let deadline = now.mono.saturating_add(self.limits.ask_time_max);
        self.asks.insert(id, Asked { purpose, deadline });
        self.actions.push_back(Action::Ask(id, question));
        id
    }

    fn record(&mut self, now: Now, entry: Entry) -> EvidenceSeq {
        self.emit(Evidence::Record(Box::new(Record { at: now, entry })))
    }

    fn chunk(&mut self, now: Now, direction: Direction, data: bytes::Bytes) {
        self.emit(Evidence::Chunk(Chunk {
            at: now,
            direction,
            data,
        }));
    }

    fn emit(&mut self, evidence: Evidence) -> EvidenceSeq {
        self.emitted = EvidenceSeq(self.emitted.0 + 1);
        let weight = evidence.weight();
        self.unacknowledged.push_back((self.emitted, weight));
        self.unacknowledged_bytes += weight;
        self.actions
            .push_back(Action::Evidence(self.emitted, evidence));
        self.emitted
    }

    fn acknowledge(&mut self, sequence: EvidenceSeq) {
        // A sink can't acknowledge what it was never given.
        self.acknowledged = self.acknowledged.max(sequence.min(self.emitted));
        while let Some(&(first, weight)) = self.unacknowledged.front() {
            if first > self.acknowledged {
                break;
            }
            self.unacknowledged_bytes -= weight;
            self.unacknowledged.pop_front();
        }
    }

    fn lane(&mut self, side: Side) -> &mut Lane<O> {
        let [agent, target] = &mut self.lanes;
        match side {
            Side::Agent => agent,
            Side::Target => target,
        }
    }

    fn push(&mut self, side: Side, item: Item<O>) {
        let stamp = self.emitted;
        self.lane(side).push(stamp, item);
    }

    fn lanes_bytes(&self) -> usize {
        self.lanes.iter().map(Lane::bytes).sum()
    }

    /// Moves what is safe to leave from the lanes to the actions.
    fn flush(&mut self) {
        let acknowledged = self.acknowledged;
        for side in [Side::Target, Side::Agent] {
            while let Some(item) = self.lane(side).pop(acknowledged) {
                let action = match item {
                    Item::Send(data) => {
                        if side == Side::Agent {
                            self.bytes_to_agent += data.weight() as u64;
                        }
                        Action::Send { to: side, data }
                    }
                    Item::Release(unit, data) => {
                        self.left(unit);
                        Action::Send { to: side, data }
                    }
                    Item::StartTls => Action::StartTls(side),
                    Item::Connect => Action::Connect,
                    Item::Aside(data) => Action::Aside(data),
                    Item::Close(reason) => Action::Close(reason),
                };
                self.actions.push_back(action);
            }
        }
    }

    /// The first bytes of a unit leave now.
    fn left(&mut self, unit: UnitId) {
        let now = self.now;
        if let Some(Unit::Allowed { released_at, .. }) = self.units.get_mut(&unit) {
            released_at.get_or_insert(now);
        }
    }

    fn held(&mut self, approval: ApprovalId) -> Option<(UnitId, &mut Unit)> {
        self.units
            .iter_mut()
            .find(|(_, unit)| unit.approval() == Some(approval))
            .map(|(id, unit)| (*id, unit))
    }

    /// Records a unit that was refused; none of it was or will be released.
    fn block(
        &mut self,
        now: Now,
        unit: UnitId,
        operation: Option<Operation>,
        denial: Denial,
        severity: Severity,
    ) {
        let policy = self.decision.policy();
        let blocked = crate::record::Blocked {
            unit,
            operation,
            denial,
            policy,
            severity,
        };
        self.record(now, Entry::Blocked(Box::new(blocked)));
    }

    fn incident(&mut self, now: Now, error: &WireError) {
        if self.phase == Phase::Closed {
            return;
        }
        let reason = match error.reason {
            CloseReason::Incident => Reason::Masking,
            CloseReason::Limit => Reason::Limit,
            _ => Reason::Protocol,
        };
        self.units_begun += 1;
        let unit = UnitId(self.units_begun);
        let denial = Denial::new(reason, error.to_string());
        self.block(now, unit, None, denial, Severity::Incident);
    }

    /// The log is gone: nothing more can be recorded, so nothing more may be done.
    fn evidence_lost(&mut self) {
        self.phase = Phase::Closed;
        self.units.clear();
        self.lanes = [Lane::default(), Lane::default()];
        self.actions
            .push_back(Action::Close(CloseReason::EvidenceLost));
    }

    fn close(&mut self, now: Now, reason: CloseReason) {
        if self.phase == Phase::Closed {
            return;
        }
        for (id, unit) in std::mem::take(&mut self.units) {
            self.end_unit(now, id, unit);
        }
        if self.phase.is_open() {
            let entry = Entry::SessionClosed {
                reason: reason.clone(),
                bytes_from_agent: self.bytes_from_agent,
                bytes_to_agent: self.bytes_to_agent + self.lane(Side::Agent).bytes() as u64,
                probes: self.probes,
            };
            self.record(now, entry);
        } else if !self.refusal_recorded && reason != CloseReason::AgentClosed {
            let denial = Denial::new(Reason::Protocol, format!("the login ended: {reason:?}"));
            let principal = self.principal.clone();
            self.record(
                now,
                Entry::SessionRefused {
                    denial,
                    principal,
                    policy: None,
                },
            );
        }
        self.phase = Phase::Closed;
        self.asks.clear();
        self.push(Side::Agent, Item::Close(reason));
    }
}
