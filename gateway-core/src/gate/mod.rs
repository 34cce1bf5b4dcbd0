//! The gate: nothing reaches a target without a verdict and a record, nothing reaches an agent
//! without a record. Sans-IO: inputs in, actions out, time as an argument.
//!
//! # Invariants
//! - Every outbound item is stamped with the evidence emitted before it, and leaves only when the
//!   sink has acknowledged that much. Order per side is first in, first out.
//! - A unit reaches the target through [`Turn::release`], which demands that it is allowed; its
//!   Intent is evidence emitted before, so it is recorded first.
//! - Every unit that was allowed ends in exactly one Finished record, whatever ends the session.

mod core;
mod held;
mod lane;
#[cfg(test)]
mod tests;
mod turn;
mod unit;

use std::{net::IpAddr, sync::Arc};

use crate::{
    approval::{ApprovalRequest, Vote},
    decision::{DecisionPoint, Verdict},
    id::{ApprovalId, AskId, EvidenceSeq, SessionId},
    limits::Limits,
    operation::{Operation, SessionOp},
    record::{ApprovalOutcome, CloseReason, Evidence, Outcome, UnitEnd},
    time::{Mono, Now},
    wire::{Answer, Event, Question, Ruling, Side, TlsFacts, Wire, WireError},
};

pub use turn::Turn;

use self::core::{Core, Phase, Purpose};
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
        if self.core.refusals > self.core.limits.refusals_max && self.core.phase != Phase::Closed {
            // The wire's last words fail like any others: the session closes either way.
            if self.close(now, CloseReason::Limit).is_err() {
                self.core.close(now, CloseReason::Limit);
            }
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
                self.core.routed(&answer);
                self.notify(now, Event::Answer(id, answer))
            }
            Purpose::Authenticate(method) => {
                let answer = self.core.authenticated(now, answer, method);
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
            Ruling::Allowed { unit, .. } => {
                self.notify(now, Event::CancelRequested)?;
                let mut turn = Turn::new(&mut self.core, now);
                turn.finish(unit, UnitEnd::of(Outcome::Completed));
                Ok(())
            }
            Ruling::Held { unit, .. } => {
                Turn::new(&mut self.core, now).withdraw(unit);
                Ok(())
            }
            Ruling::Refused(_) => Ok(()),
        }
    }

    /// A session that the new policy wouldn't open is closed, and so is one in which something runs
    /// that it wouldn't allow, or would mask otherwise; others decide anew from the next unit.
    fn policy_changed(&mut self, now: Now) -> Result<(), WireError> {
        if self.core.phase.is_open() {
            let database = Some(self.core.facts.database.clone());
            let operation = Operation::Session(SessionOp::Open { database });
            let still = self.core.decide(now, &operation, &[]);
            let may_be_open =
                still.is_some_and(|decision| matches!(decision.verdict, Verdict::Allow));
            let mut running = self.core.units.values().filter_map(Unit::standing);
            if !may_be_open || !running.all(|standing| self.core.still_stands(now, standing)) {
                return self.close(now, CloseReason::PolicyChanged);
            }
        }
        self.notify(now, Event::Stale)
    }
}
