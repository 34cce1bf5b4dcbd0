//! What a gate knows beside its wire: evidence, lanes, units and questions.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use super::{
    Action, Setup,
    lane::{Item, Lane},
    unit::{self, Standing, Unit},
};
use crate::{
    decision::{Decision, DecisionPoint, Denial, Reason, Request, SessionFacts, Verdict},
    id::{ApprovalId, AskId, Digest, EvidenceSeq, RuleId, SessionId, UnitId},
    identity::Principal,
    limits::Limits,
    operation::Operation,
    record::{Chunk, CloseReason, Direction, Entry, Evidence, Record, Severity},
    target::{Mode, Target},
    time::{Mono, Now, Wall},
    wire::{Answer, Payload, Question, Side, WireError},
};

/// What a gate knows beside its wire. [`Turn`] is its face towards the wire.
pub(crate) struct Core<O> {
    pub(super) session: SessionId,
    pub(super) decision: Arc<dyn DecisionPoint>,
    pub(super) limits: Arc<Limits>,
    pub(super) facts: SessionFacts,
    pub(super) principal: Option<Principal>,
    pub(super) target: Option<Target>,
    pub(super) phase: Phase,
    pub(super) units: BTreeMap<UnitId, Unit>,
    pub(super) units_begun: u64,
    pub(super) asks: BTreeMap<AskId, Asked>,
    pub(super) asks_begun: u64,
    pub(super) emitted: EvidenceSeq,
    pub(super) acknowledged: EvidenceSeq,
    pub(super) unacknowledged: VecDeque<(EvidenceSeq, usize)>,
    pub(super) unacknowledged_bytes: usize,
    pub(super) lanes: [Lane<O>; 2],
    pub(super) actions: VecDeque<Action<O>>,
    pub(super) login_deadline: Option<Mono>,
    pub(super) expires: Option<Mono>,
    /// When the session ends whatever credential is shown.
    pub(super) session_end: Option<Mono>,
    /// Of the latest input.
    pub(super) now: Wall,
    pub(super) probes: u64,
    pub(super) refusals: u64,
    pub(super) bytes_to_agent: u64,
    pub(super) bytes_from_agent: u64,
    pub(super) refusal_recorded: bool,
    pub(super) fault: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
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
    pub(super) fn is_open(self) -> bool {
        matches!(self, Self::Opened | Self::Established)
    }
}

pub(super) struct Asked {
    pub(super) purpose: Purpose,
    pub(super) deadline: Mono,
}

#[derive(Clone, Copy)]
pub(super) enum Purpose {
    /// The wire wants to know.
    Wire,
    /// The wire wants to know whose credential it is; how it was presented.
    Authenticate(&'static str),
    /// An approved unit is analysed again.
    Recheck(UnitId),
    /// An approved unit's approval is being used up.
    Consume(UnitId),
}

impl<O: Payload> Core<O> {
    pub(super) fn new(setup: Setup) -> Self {
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
            session_end: None,
            now: Wall::default(),
            probes: 0,
            refusals: 0,
            bytes_to_agent: 0,
            bytes_from_agent: 0,
            refusal_recorded: false,
            fault: None,
        }
    }

    /// Learns where the session goes.
    pub(super) fn routed(&mut self, answer: &Answer) {
        if let Answer::Route(Ok(route)) = answer {
            self.target = Some(route.target.clone());
            self.facts.database = route.database.clone();
        }
    }

    /// Learns whose session it is. A session has one principal for life: a fresh credential of the
    /// same one prolongs it, and anybody else's is rejected.
    pub(super) fn authenticated(
        &mut self,
        now: Now,
        answer: Answer,
        method: &'static str,
    ) -> Answer {
        let Answer::Authenticated(Ok(proven)) = &answer else {
            return answer;
        };
        let principal = proven.get().clone();
        if self
            .principal
            .as_ref()
            .is_some_and(|known| !known.is_same(&principal))
        {
            return Answer::Authenticated(Err("another_principal".into()));
        }
        let token_end = now.mono_at(principal.expires_at);
        let session_end = *self
            .session_end
            .get_or_insert(now.mono.saturating_add(self.limits.session_time_max));
        self.expires = Some(token_end.min(session_end));
        let accepted = Entry::AuthAccepted {
            principal: principal.clone(),
            method,
        };
        self.record(now, accepted);
        self.principal = Some(principal);
        answer
    }

    pub(super) fn decide(
        &self,
        now: Now,
        operation: &Operation,
        approved: &[RuleId],
    ) -> Option<Decision> {
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

    /// Whether the policy in force would let a running unit go on as it does: allowed, with the
    /// same masks.
    pub(super) fn still_stands(&self, now: Now, standing: &Standing) -> bool {
        let Some(decision) = self.decide(now, &standing.operation, &standing.satisfied) else {
            return false;
        };
        let observed = self
            .target
            .as_ref()
            .is_some_and(|t| t.mode == Mode::Observe);
        let (before, after) = (&standing.obligations, &decision.obligations);
        (observed || matches!(decision.verdict, Verdict::Allow))
            && before.fields == after.fields
            && before.detector.is_some() == after.detector.is_some()
    }

    /// Digest of what an approval binds to: principal, target, exact text, values, and every
    /// effect with its resolved object.
    pub(super) fn binding_digest(&self, operation: &Operation) -> Digest {
        unit::binding_digest(self.principal.as_ref(), self.target.as_ref(), operation)
    }

    pub(super) fn ask(&mut self, now: Now, question: Question, purpose: Purpose) -> AskId {
        self.asks_begun += 1;
        let id = AskId(self.asks_begun);
        let deadline = now.mono.saturating_add(self.limits.ask_time_max);
        self.asks.insert(id, Asked { purpose, deadline });
        self.actions.push_back(Action::Ask(id, question));
        id
    }

    pub(super) fn record(&mut self, now: Now, entry: Entry) -> EvidenceSeq {
        self.emit(Evidence::Record(Box::new(Record { at: now, entry })))
    }

    pub(super) fn chunk(&mut self, now: Now, direction: Direction, data: bytes::Bytes) {
        self.emit(Evidence::Chunk(Chunk {
            at: now,
            direction,
            data,
        }));
    }

    pub(super) fn emit(&mut self, evidence: Evidence) -> EvidenceSeq {
        self.emitted = EvidenceSeq(self.emitted.0 + 1);
        let weight = evidence.weight();
        self.unacknowledged.push_back((self.emitted, weight));
        self.unacknowledged_bytes += weight;
        self.actions
            .push_back(Action::Evidence(self.emitted, evidence));
        self.emitted
    }

    pub(super) fn acknowledge(&mut self, sequence: EvidenceSeq) {
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

    pub(super) fn lane(&mut self, side: Side) -> &mut Lane<O> {
        let [agent, target] = &mut self.lanes;
        match side {
            Side::Agent => agent,
            Side::Target => target,
        }
    }

    pub(super) fn push(&mut self, side: Side, item: Item<O>) {
        let stamp = self.emitted;
        self.lane(side).push(stamp, item);
    }

    pub(super) fn lanes_bytes(&self) -> usize {
        self.lanes.iter().map(Lane::bytes).sum()
    }

    /// Moves what is safe to leave from the lanes to the actions.
    pub(super) fn flush(&mut self) {
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
    pub(super) fn left(&mut self, unit: UnitId) {
        let now = self.now;
        if let Some(Unit::Allowed { released_at, .. }) = self.units.get_mut(&unit) {
            released_at.get_or_insert(now);
        }
    }

    pub(super) fn held(&mut self, approval: ApprovalId) -> Option<(UnitId, &mut Unit)> {
        self.units
            .iter_mut()
            .find(|(_, unit)| unit.approval() == Some(approval))
            .map(|(id, unit)| (*id, unit))
    }

    /// Records a unit that was refused; none of it was or will be released.
    pub(super) fn block(
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

    pub(super) fn incident(&mut self, now: Now, error: &WireError) {
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
    pub(super) fn evidence_lost(&mut self) {
        self.phase = Phase::Closed;
        self.units.clear();
        self.lanes = [Lane::default(), Lane::default()];
        self.actions
            .push_back(Action::Close(CloseReason::EvidenceLost));
    }

    pub(super) fn close(&mut self, now: Now, reason: CloseReason) {
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
