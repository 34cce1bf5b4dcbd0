//! From the first request to a session: who it is, where it goes, and whether it may.
//!
//! ```text
//! Idle --request--> Routing --> Proving --> Connecting --> (the relay, with that request)
//!   ^                  |           |            |
//!   +--- 401 / 404 ----+-----------+            +--> ended: 502
//! ```

use std::collections::VecDeque;

use gateway_core::{
    decision::{Denial, Reason},
    id::AskId,
    record::CloseReason,
    wire::{Answer, Event, Question, Side, Turn},
};

use super::{
    Command,
    bearer::{self, Bearer, Seen},
    exchange::refused,
    take_malformed,
};
use crate::kubernetes::{
    message::{self, Header, RequestHead, StreamId, Target},
    reply::Refusal,
};

/// Requests refused for want of a session, at most, before the connection ends.
const REFUSALS_MAX: u32 = 8;

#[derive(Debug)]
pub(super) struct Login {
    prefixed: bool,
    state: State,
    refusals: u32,
}

#[derive(Debug)]
enum State {
    Idle,
    Routing(AskId, Pending),
    Proving(AskId, Pending),
    Connecting(Box<Established>),
    Ended,
}

/// The request that waits for the session.
#[derive(Debug)]
struct Pending {
    stream: StreamId,
    head: RequestHead,
    prefix: Option<String>,
}

/// What the relay begins with.
#[derive(Debug)]
pub(super) struct Established {
    pub(super) token: Seen,
    pub(super) impersonation: Vec<Header>,
    pub(super) prefix: Option<String>,
    pub(super) stream: StreamId,
    pub(super) head: RequestHead,
}

impl Login {
    pub(super) const fn new(prefixed: bool) -> Self {
        Self {
            prefixed,
            state: State::Idle,
            refusals: 0,
        }
    }

    pub(super) fn receive_agent(
        &mut self,
        input: &mut VecDeque<message::Event>,
        turn: &mut Turn<'_, Command>,
    ) {
        while matches!(self.state, State::Idle) {
            match input.pop_front() {
                Some(message::Event::Request { stream, head }) => self.request(stream, head, turn),
                Some(message::Event::Malformed { why, .. }) => self.malformed(why, turn),
                // Of a request that was refused.
                Some(_) => {}
                None => return,
            }
        }
        while let Some(why) = take_malformed(input) {
            self.malformed(why, turn);
        }
    }

    fn malformed(&self, why: String, turn: &mut Turn<'_, Command>) {
        let denial = Denial::new(Reason::Protocol, why);
        match self.state {
            State::Idle | State::Routing(..) | State::Proving(..) => turn.refuse_session(denial),
            State::Connecting(_) => turn.refuse(denial),
            State::Ended => {}
        }
    }

    fn request(&mut self, stream: StreamId, head: RequestHead, turn: &mut Turn<'_, Command>) {
        if let Err(refusal) = Bearer::read(&head.headers) {
            turn.reject_login("no_token", "");
            return self.refuse(stream, &refusal, turn);
        }
        let prefix = if self.prefixed {
            let target = Target::parse(&head.target).ok();
            let Some(name) = target.and_then(|mut target| target.take_first()) else {
                let refusal = Refusal::new(404, "the first segment of the path names the target");
                turn.refuse_session(refusal.denial.clone());
                return self.refuse(stream, &refusal, turn);
            };
            Some(name)
        } else {
            None
        };
        let ask = turn.ask(Question::Route {
            requested: prefix.clone().unwrap_or_default(),
        });
        let pending = Pending {
            stream,
            head,
            prefix,
        };
        self.state = State::Routing(ask, pending);
    }

    /// Tells the agent, and waits for its next try.
    fn refuse(&mut self, stream: StreamId, refusal: &Refusal, turn: &mut Turn<'_, Command>) {
        self.state = State::Idle;
        greet(stream, refusal, turn);
        self.refusals += 1;
        if self.refusals >= REFUSALS_MAX {
            self.end(CloseReason::Refused, turn);
        }
    }

    fn end(&mut self, reason: CloseReason, turn: &mut Turn<'_, Command>) {
        self.state = State::Ended;
        turn.close(reason);
    }

    pub(super) fn notify(
        &mut self,
        event: Event,
        turn: &mut Turn<'_, Command>,
    ) -> Option<Established> {
        match event {
            Event::Answer(ask, answer) => self.answer(ask, answer, turn),
            Event::Connected => {
                if let State::Connecting(established) =
                    std::mem::replace(&mut self.state, State::Ended)
                {
                    turn.established();
                    return Some(*established);
                }
            }
            Event::ConnectFailed(_) => {
                let refusal = Refusal::new(502, "the gateway can't reach the API server");
                self.leave(&refusal, turn);
                self.end(CloseReason::TargetClosed, turn);
            }
            Event::Eof(Side::Agent) => self.end(CloseReason::AgentClosed, turn),
            Event::Eof(Side::Target) => {
                let refusal = Refusal::new(502, "the API server went away");
                self.leave(&refusal, turn);
                self.end(CloseReason::TargetClosed, turn);
            }
            Event::Closing(reason) => {
                self.leave(&super::relay::farewell(&reason), turn);
                self.state = State::Ended;
            }
            Event::Started
            | Event::TlsReady(..)
            | Event::Ruled(..)
            | Event::CancelRequested
            | Event::Stale => {}
        }
        None
    }

    fn answer(&mut self, ask: AskId, answer: Answer, turn: &mut Turn<'_, Command>) {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Routing(asked, pending) if asked == ask => match answer {
                Answer::Route(Ok(_)) => self.prove(pending, turn),
                Answer::Route(Err(denial)) => {
                    turn.refuse_session(denial.clone());
                    self.refuse(pending.stream, &Refusal::of(404, denial), turn);
                }
                _ => self.unanswered(&pending, turn),
            },
            State::Proving(asked, pending) if asked == ask => match answer {
                Answer::Authenticated(Ok(proven)) => {
                    let impersonation = bearer::impersonation(proven.get());
                    self.open(pending, impersonation, turn);
                }
                Answer::Authenticated(Err(reason)) => {
                    turn.reject_login(&reason, "");
                    let refusal = Refusal::new(401, format!("the token was rejected: {reason}"));
                    self.refuse(pending.stream, &refusal, turn);
                }
                _ => self.unanswered(&pending, turn),
            },
            state => self.state = state,
        }
    }

    fn prove(&mut self, pending: Pending, turn: &mut Turn<'_, Command>) {
        match Bearer::read(&pending.head.headers) {
            Ok(bearer) => {
                let ask = turn.ask(Question::Authenticate {
                    claimed_user: String::new(),
                    credential: bearer.credential(),
                });
                self.state = State::Proving(ask, pending);
            }
            Err(refusal) => self.refuse(pending.stream, &refusal, turn),
        }
    }

    fn open(&mut self, pending: Pending, impersonation: Vec<Header>, turn: &mut Turn<'_, Command>) {
        let token = match Bearer::read(&pending.head.headers) {
            Ok(bearer) => bearer.seen(),
            Err(refusal) => return self.refuse(pending.stream, &refusal, turn),
        };
        if let Err(denial) = turn.open() {
            greet(pending.stream, &Refusal::of(403, denial), turn);
            return self.end(CloseReason::Refused, turn);
        }
        turn.connect();
        self.state = State::Connecting(Box::new(Established {
            token,
            impersonation,
            prefix: pending.prefix,
            stream: pending.stream,
            head: pending.head,
        }));
    }

    fn unanswered(&mut self, pending: &Pending, turn: &mut Turn<'_, Command>) {
        let denial = Denial::new(Reason::NoAnswer, "the gateway can't check the token now");
        turn.refuse_session(denial.clone());
        self.refuse(pending.stream, &Refusal::of(503, denial), turn);
    }

    /// Answers the request that waits, if one does.
    fn leave(&mut self, refusal: &Refusal, turn: &mut Turn<'_, Command>) {
        let stream = match &self.state {
            State::Routing(_, pending) | State::Proving(_, pending) => pending.stream,
            State::Connecting(established) => established.stream,
            State::Idle | State::Ended => return,
        };
        greet(stream, refusal, turn);
    }

    pub(super) const fn is_ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }
}

fn greet(stream: StreamId, refusal: &Refusal, turn: &mut Turn<'_, Command>) {
    for command in refused(stream, refusal) {
        turn.greet(command);
    }
}
