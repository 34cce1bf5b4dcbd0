//! The gate's face towards its wire: the only ways to act.

use std::time::Duration;

use super::{
    Action,
    core::{Core, Phase, Purpose},
    lane::Item,
    unit::{HeldUnit, Standing, Unit, approval_seed},
};
use crate::{
    approval::ApprovalRequest,
    decision::{Decision, Denial, Hold, Reason, Verdict},
    id::{ApprovalId, AskId, UnitId},
    limits::Limits,
    mask::Obligations,
    operation::{Operation, SessionOp, SqlStage},
    record::{
        ApprovalOutcome, ApprovalRequested, Direction, Entry, Intent, Outcome, SessionOpened,
        Severity, UnitEnd,
    },
    target::{Mode, Target},
    time::Now,
    wire::{Control, Payload, Probe, Question, Ruling, Side},
};

/// What a wire may do while it handles one input.
pub struct Turn<'a, O> {
    core: &'a mut Core<O>,
    now: Now,
}

impl<'a, O: Payload> Turn<'a, O> {
    pub(super) fn new(core: &'a mut Core<O>, now: Now) -> Self {
        Self { core, now }
    }

    /// Every bound.
    pub fn limits(&self) -> &Limits {
        &self.core.limits
    }

    /// The target, once routed.
    pub fn target(&self) -> Option<&Target> {
        self.core.target.as_ref()
    }

    /// Asks the shell. The answer arrives as [`crate::wire::Event::Answer`], at the latest as
    /// [`crate::wire::Answer::Unanswered`] when [`Limits::ask_time_max`] has passed.
    pub fn ask(&mut self, question: Question) -> AskId {
        let purpose = match &question {
            Question::Authenticate { credential, .. } => Purpose::Authenticate(credential.method()),
            Question::Route { .. }
            | Question::AnalyseSql { .. }
            | Question::TargetLogin
            | Question::SaltPassword { .. }
            | Question::CancelKey { .. }
            | Question::Cancel { .. }
            | Question::CatalogueChanged
            | Question::ConsumeApproval { .. } => Purpose::Wire,
        };
        self.core.ask(self.now, question, purpose)
    }

    /// Tells the shell something that has no answer.
    pub fn tell(&mut self, question: Question) {
        self.core.asks_begun += 1;
        let id = AskId(self.core.asks_begun);
        self.core.actions.push_back(Action::Ask(id, question));
    }

    /// Records a login that was refused; the session is to be ended by the caller.
    pub fn reject_login(&mut self, reason: &str, claimed_user: &str) {
        let entry = Entry::AuthRejected {
            reason: reason.into(),
            claimed_user: claimed_user.chars().take(128).collect(),
        };
        self.core.record(self.now, entry);
        self.core.phase_refused();
    }

    /// Records a session that was refused for another reason than the policy's.
    pub fn refuse_session(&mut self, denial: Denial) {
        let principal = self.core.principal.clone();
        self.core.record(
            self.now,
            Entry::SessionRefused {
                denial,
                principal,
                policy: None,
            },
        );
        self.core.phase_refused();
    }

    /// Asks the policy for the session itself, and records its answer.
    ///
    /// # Errors
    /// The [`Denial`] to tell the agent; the session is to be ended by the caller.
    pub fn open(&mut self) -> Result<(), Denial> {
        let database = Some(self.core.facts.database.clone());
        let operation = Operation::Session(SessionOp::Open { database });
        let Some(decision) = self.core.decide(self.now, &operation, &[]) else {
            let denial = Denial::new(Reason::Protocol, "the login isn't complete");
            self.refuse_session(denial.clone());
            return Err(denial);
        };
        let denial = match decision.verdict {
            Verdict::Allow => None,
            Verdict::Deny(denial) => Some(denial),
            Verdict::Hold(_) => Some(Denial::new(Reason::Forbidden, "sessions can't be held")),
        };
        if let Some(denial) = denial {
            let entry = Entry::SessionRefused {
                denial: denial.clone(),
                principal: self.core.principal.clone(),
                policy: Some(decision.policy),
            };
            self.core.record(self.now, entry);
            self.core.phase_refused();
            return Err(denial);
        }
        if let (Some(principal), Some(target)) = (&self.core.principal, &self.core.target) {
            let opened = SessionOpened {
                principal: principal.clone(),
                target: target.clone(),
                database: self.core.facts.database.clone(),
                source: self.core.facts.source,
                rules: decision.rules,
                policy: decision.policy,
            };
            self.core
                .record(self.now, Entry::SessionOpened(Box::new(opened)));
            self.core.phase = Phase::Opened;
        }
        Ok(())
    }

    /// The login is complete on both sides: its deadline no longer runs, and from here on
    /// everything that is delivered is recorded.
    pub fn established(&mut self) {
        self.core.login_deadline = None;
        if self.core.phase == Phase::Opened {
            self.core.phase = Phase::Established;
        }
    }

    /// Asks for the target's connection. It opens once everything evidenced so far is safe.
    pub fn connect(&mut self) {
        self.core.push(Side::Target, Item::Connect);
    }

    /// Starts TLS on a side, behind everything sent to it so far.
    pub fn start_tls(&mut self, side: Side) {
        self.core.push(side, Item::StartTls);
    }

    /// Decides an operation. Never waits, takes no bytes.
    pub fn submit(&mut self, operation: Operation) -> Ruling {
        let unit = self.core.next_unit();
        let Some(decision) = self.core.decide(self.now, &operation, &[]) else {
            let denial = Denial::new(Reason::Protocol, "the session isn't open");
            return self.refused(unit, Some(operation), denial);
        };
        let Decision {
            verdict,
            obligations,
            rules,
            policy,
        } = decision;
        let observed = self
            .core
            .target
            .as_ref()
            .is_some_and(|t| t.mode == Mode::Observe);
        if let Verdict::Deny(denial) = &verdict
            && !observed
        {
            return self.refused(unit, Some(operation), denial.clone());
        }
        // Whatever is about to run, observed or not, must be maskable.
        if let Err(denial) = check_masks(&operation, &obligations) {
            return self.refused(unit, Some(operation), denial);
        }
        let not_enforced = match verdict {
            Verdict::Allow => None,
            Verdict::Deny(denial) => Some(denial),
            Verdict::Hold(hold) if observed => {
                Some(Denial::new(Reason::Forbidden, hold.message).with_rules(rules.clone()))
            }
            // Parsing runs nothing: the execution is held, with its values.
            Verdict::Hold(_) if is_prepare(&operation) => None,
            Verdict::Hold(hold) => {
                let held = HeldUnit {
                    digest: self.core.binding_digest(&operation),
                    approval: ApprovalId::new(
                        self.now.wall,
                        approval_seed(self.core.session, unit),
                    ),
                    deadline: None,
                    operation,
                    obligations,
                    rules,
                    policy,
                    hold,
                };
                return self.hold(unit, held);
            }
        };
        let standing = Standing::new(&operation, &obligations, Vec::new());
        let intent = Intent {
            unit,
            rewritten: operation.rewritten(&obligations),
            operation,
            rules,
            policy,
            approval: None,
            not_enforced,
        };
        self.core.record(self.now, Entry::Intent(Box::new(intent)));
        self.core.units.insert(
            unit,
            Unit::Allowed {
                released: false,
                released_at: None,
                standing,
            },
        );
        Ruling::Allowed { unit, obligations }
    }

    /// Records the refusal of something that never became an operation: what the protocol doesn't
    /// allow, or the gateway doesn't support.
    pub fn refuse(&mut self, denial: Denial) {
        self.core.refusals += 1;
        let unit = self.core.next_unit();
        self.core
            .block(self.now, unit, None, denial, Severity::Notice);
    }

    /// As [`Turn::refuse`], for what the target or the gateway didn't keep to: an answer that can't
    /// be shown to be masked. The session may go on.
    pub fn incident(&mut self, denial: Denial) {
        let unit = self.core.next_unit();
        self.core
            .block(self.now, unit, None, denial, Severity::Incident);
    }

    fn refused(&mut self, unit: UnitId, operation: Option<Operation>, denial: Denial) -> Ruling {
        self.core
            .block(self.now, unit, operation, denial.clone(), Severity::Notice);
        Ruling::Refused(denial)
    }

    fn hold(&mut self, unit: UnitId, mut held: HeldUnit) -> Ruling {
        let Some((agent, target)) = self.core.principal.clone().zip(self.core.target.as_ref())
        else {
            let denial = Denial::new(Reason::Protocol, "the session isn't open");
            return self.refused(unit, Some(held.operation), denial);
        };
        let wait = self.longest_wait(&held.hold, &held.operation);
        held.deadline = Some(self.now.mono.saturating_add(wait));
        let (text, parameters) = shown(&held.operation);
        let request = ApprovalRequest {
            id: held.approval,
            session: self.core.session,
            unit,
            target: target.name.clone(),
            agent,
            text,
            parameters,
            effects: held.operation.effects().to_vec(),
            hold: held.hold.clone(),
            digest: held.digest,
            requested_at: self.now.wall,
            expires_at: self.now.wall.saturating_add(wait),
        };
        let requested = ApprovalRequested {
            approval: held.approval,
            unit,
            operation: held.operation.clone(),
            hold: held.hold.clone(),
            digest: held.digest,
            policy: held.policy,
        };
        let notice = format!(
            "waiting for approval {}: {} (at most {} s)",
            held.approval,
            held.hold.message,
            wait.as_secs()
        );
        self.core
            .record(self.now, Entry::ApprovalRequested(Box::new(requested)));
        self.core
            .actions
            .push_back(Action::RequestApproval(Box::new(request)));
        self.core.units.insert(unit, Unit::Held(Box::new(held)));
        Ruling::Held { unit, notice }
    }

    /// An open transaction keeps the target's locks, so it bounds the wait.
    fn longest_wait(&self, hold: &Hold, operation: &Operation) -> Duration {
        match operation {
            Operation::Sql(sql) if sql.in_transaction => hold
                .expires_in
                .min(self.core.limits.hold_in_transaction_time_max),
            Operation::Sql(_)
            | Operation::Session(_)
            | Operation::Command(_)
            | Operation::Api(_) => hold.expires_in,
        }
    }

    /// Takes back a held unit: its agent cancelled or went away.
    pub fn withdraw(&mut self, unit: UnitId) {
        if let Some(held) = self.core.units.remove(&unit) {
            self.core.end_unit(self.now, unit, held);
        }
    }

    /// Sends bytes of an allowed unit to the target, once its Intent is safe.
    ///
    /// A unit that isn't allowed is a defect of the wire: nothing is sent and the session closes.
    pub fn release(&mut self, unit: UnitId, frames: O) {
        match self.core.units.get_mut(&unit) {
            Some(Unit::Allowed { released, .. }) => {
                *released = true;
                self.core.push(Side::Target, Item::Release(unit, frames));
            }
            Some(Unit::Held(_)) | None => {
                self.core.fault = Some("a unit that isn't allowed was about to be released");
            }
        }
    }

    /// As [`Turn::release`], for data that the Intent doesn't hold: it is recorded as a stream.
    pub fn release_stream(&mut self, unit: UnitId, frames: O) {
        if let Some(data) = frames.recorded() {
            self.core.chunk(self.now, Direction::ToTarget, data);
        }
        self.release(unit, frames);
    }

    /// Sends protocol housekeeping to the target: its own login, and only delimiters and
    /// rejections once the session is established.
    pub fn pass(&mut self, why: Control, frames: O) {
        let in_place = match why {
            Control::Login => self.core.phase == Phase::Opened,
            Control::Delimiter | Control::Rejection => self.core.phase == Phase::Established,
            Control::Goodbye => true,
        };
        self.send(in_place, Side::Target, Item::Send(frames));
    }

    /// Sends a question of the gateway's own to the target. Counted in the session's record; its
    /// answer is the wire's to consume.
    pub fn probe(&mut self, _what: Probe, frames: O) {
        self.core.probes += 1;
        let in_place = self.core.phase == Phase::Established;
        self.send(in_place, Side::Target, Item::Send(frames));
    }

    /// Sends to the target on a connection of its own: a cancel request.
    pub fn aside(&mut self, frames: O) {
        let in_place = self.core.phase == Phase::Established;
        self.send(in_place, Side::Target, Item::Aside(frames));
    }

    /// Sends to the agent, recorded as delivered.
    pub fn reply(&mut self, data: O) {
        if let Some(bytes) = data.recorded() {
            self.core.chunk(self.now, Direction::ToAgent, bytes);
        }
        let in_place = self.core.phase == Phase::Established;
        self.send(in_place, Side::Agent, Item::Send(data));
    }

    /// Sends to the agent during the login, unrecorded: handshake and keys, no data of the target.
    pub fn greet(&mut self, data: O) {
        let in_place = matches!(self.core.phase, Phase::Login | Phase::Opened);
        self.send(in_place, Side::Agent, Item::Send(data));
    }

    /// What is sent out of its place is a defect of the wire: it stays here, the session closes.
    fn send(&mut self, in_place: bool, side: Side, item: Item<O>) {
        if in_place {
            self.core.push(side, item);
        } else if self.core.phase != Phase::Closed {
            self.core.fault = Some("something was about to be sent out of its place");
        }
    }

    /// Ends an allowed unit, with what it moved and masked.
    pub fn finish(&mut self, unit: UnitId, end: UnitEnd) {
        match self.core.units.remove(&unit) {
            Some(Unit::Allowed { released_at, .. }) => {
                if !end.masked.is_empty() {
                    let counts = end.masked.clone();
                    self.core.record(self.now, Entry::Masked { unit, counts });
                }
                self.core.record(
                    self.now,
                    Entry::Finished {
                        unit,
                        released_at,
                        end,
                    },
                );
            }
            Some(held @ Unit::Held(_)) => self.core.end_unit(self.now, unit, held),
            None => self.core.fault = Some("a unit was finished twice"),
        }
    }

    /// Ends the session from the wire's side, behind everything sent so far.
    pub fn close(&mut self, reason: crate::record::CloseReason) {
        self.core.close(self.now, reason);
    }

    /// Whether the session has ended.
    pub fn is_closed(&self) -> bool {
        self.core.phase == Phase::Closed
    }
}

impl<O: Payload> Core<O> {
    pub(super) fn next_unit(&mut self) -> UnitId {
        self.units_begun += 1;
        UnitId(self.units_begun)
    }

    /// The refusal is on record: [`Core::close`] needs no other.
    pub(super) fn phase_refused(&mut self) {
        self.refusal_recorded = true;
    }

    /// Ends a unit whose session, or agent, is gone.
    pub(super) fn end_unit(&mut self, now: Now, id: UnitId, unit: Unit) {
        match unit {
            Unit::Held(held) => {
                if held.deadline.is_some() {
                    self.actions
                        .push_back(Action::WithdrawApproval(held.approval));
                    let (approval, outcome) = (held.approval, ApprovalOutcome::Withdrawn);
                    let entry = Entry::ApprovalDecided {
                        approval,
                        unit: id,
                        outcome,
                        votes: Vec::new(),
                    };
                    self.record(now, entry);
                }
                let denial = Denial::new(Reason::Withdrawn, "the request was withdrawn");
                self.block(now, id, Some(held.operation), denial, Severity::Notice);
            }
            Unit::Allowed {
                released,
                released_at,
                standing: _,
            } => {
                let outcome = if released {
                    Outcome::Unknown
                } else {
                    Outcome::NotExecuted
                };
                let end = UnitEnd::of(outcome);
                self.record(
                    now,
                    Entry::Finished {
                        unit: id,
                        released_at,
                        end,
                    },
                );
            }
        }
    }

    /// The approval is used up: the unit is allowed now.
    pub(super) fn allow_held(&mut self, now: Now, id: UnitId) -> Result<Obligations, Denial> {
        let Some(Unit::Held(held)) = self.units.remove(&id) else {
            return Err(Denial::new(Reason::Withdrawn, "the request was withdrawn"));
        };
        let HeldUnit {
            operation,
            obligations,
            rules,
            policy,
            approval,
            digest,
            hold,
            ..
        } = *held;
        let satisfied = hold.requirements.into_iter().map(|r| r.rule).collect();
        let standing = Standing::new(&operation, &obligations, satisfied);
        self.record(
            now,
            Entry::ApprovalConsumed {
                approval,
                unit: id,
                digest,
            },
        );
        let intent = Intent {
            unit: id,
            rewritten: operation.rewritten(&obligations),
            operation,
            rules,
            policy,
            approval: Some(approval),
            not_enforced: None,
        };
        self.record(now, Entry::Intent(Box::new(intent)));
        self.units.insert(
            id,
            Unit::Allowed {
                released: false,
                released_at: None,
                standing,
            },
        );
        Ok(obligations)
    }
}

/// Whether everything the operation reaches is masked or revealed under these obligations.
pub(super) fn check_masks(operation: &Operation, obligations: &Obligations) -> Result<(), Denial> {
    match operation {
        Operation::Sql(sql) => obligations.check(&sql.analysis.classified),
        Operation::Api(unit) => obligations.check_fields(&unit.classified),
        Operation::Session(_) | Operation::Command(_) => Ok(()),
    }
}

fn is_prepare(operation: &Operation) -> bool {
    matches!(operation, Operation::Sql(sql) if sql.stage == SqlStage::Prepare)
}

/// What a reviewer sees: the text, and the values one by one.
fn shown(operation: &Operation) -> (String, Vec<Option<String>>) {
    let text = match operation.text() {
        "" => operation.class(),
        text => text,
    };
    let values = operation.bindings().map(|bindings| bindings.shown.clone());
    (text.to_owned(), values.unwrap_or_default())
}
