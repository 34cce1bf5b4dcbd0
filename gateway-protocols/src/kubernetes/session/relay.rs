//! An open session: requests of any number of streams, each on its own way.
//!
//! ```text
//! request --> Reading --> (submitted) --> Running --> answered
//!                             |              |
//!                             +--> Held -----+--> Exec --> closed
//! ```
//! An upgrade has no body to read. Refusals end a stream at any point with a `Status`, or by
//! breaking off an answer that has begun.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};
use gateway_core::{
    decision::{Denial, Reason},
    id::{AskId, UnitId},
    limits::Limits,
    mask::Obligations,
    operation::Operation,
    record::CloseReason,
    wire::{Answer, Event, Question, Ruling, Side, Turn, WireError},
};

use super::{
    Command,
    bearer::{Bearer, Seen},
    body::BODY_BYTES_MAX,
    call::{Call, Kind, Ready},
    exchange::{self, Exchange, refuse},
    exec::{self, Exec},
    login::Established,
    take_malformed,
};
use crate::kubernetes::{
    frame::{CloseCode, Keys},
    message::{self, Act, Header, RequestHead, ResponseHead, StreamId},
    reply::Refusal,
};

/// Exchanges of one session at once.
const STREAMS_MAX: usize = 128;

/// What is recorded of a request line that is refused, at most.
const ASKED_CHARS_MAX: usize = 1024;

type Out<'a, 'b> = &'a mut Turn<'b, Command>;
type Result<T> = std::result::Result<T, WireError>;

#[derive(Debug)]
pub(super) struct Relay {
    token: Seen,
    impersonation: Vec<Header>,
    prefix: Option<String>,
    streams: BTreeMap<StreamId, Stream>,
    /// A request with another token, and all that comes behind it.
    proving: Option<Proving>,
    keys: Keys,
    /// Largest body that is held whole, and all of them together, bytes.
    whole_bytes_max: usize,
    held_bytes_max: usize,
}

#[derive(Debug)]
struct Proving {
    ask: AskId,
    token: Seen,
    stream: StreamId,
    head: RequestHead,
}

#[derive(Debug)]
enum Stream {
    Reading(Box<Call>, BytesMut),
    Held(UnitId, Box<Ready>),
    Running(Box<Exchange>),
    Exec(Box<Exec>),
}

impl Relay {
    pub(super) fn new(established: &Established, seed: [u8; 32], limits: &Limits) -> Self {
        Self {
            token: established.token,
            impersonation: established.impersonation.clone(),
            prefix: established.prefix.clone(),
            streams: BTreeMap::new(),
            proving: None,
            keys: Keys::new(seed),
            whole_bytes_max: limits.frame_bytes_max,
            held_bytes_max: limits.frame_bytes_max.saturating_mul(4),
        }
    }

    pub(super) const fn is_waiting(&self) -> bool {
        self.proving.is_some()
    }

    pub(super) fn receive(
        &mut self,
        from: Side,
        input: &mut VecDeque<message::Event>,
        turn: Out<'_, '_>,
    ) -> Result<()> {
        loop {
            let waits = from == Side::Agent && self.is_waiting();
            if turn.is_closed() {
                return Ok(());
            }
            if waits {
                while let Some(why) = take_malformed(input) {
                    turn.refuse(Denial::new(Reason::Protocol, why));
                }
                return Ok(());
            }
            let Some(event) = input.pop_front() else {
                return Ok(());
            };
            match from {
                Side::Agent => self.agent(event, turn)?,
                Side::Target => self.target(event, turn)?,
            }
        }
    }

    fn agent(&mut self, event: message::Event, turn: Out<'_, '_>) -> Result<()> {
        match event {
            message::Event::Request { stream, head } => self.request(stream, head, turn),
            message::Event::Response { .. } => Err(misplaced(Side::Agent)),
            message::Event::Body { stream, data } => {
                self.agent_body(stream, &data, turn);
                Ok(())
            }
            message::Event::End { stream } => {
                self.agent_end(stream, turn);
                Ok(())
            }
            message::Event::Reset { stream, .. } => {
                self.agent_reset(stream, turn);
                Ok(())
            }
            message::Event::Malformed { why, .. } => {
                turn.refuse(Denial::new(Reason::Protocol, why));
                Ok(())
            }
        }
    }

    fn request(&mut self, stream: StreamId, head: RequestHead, turn: Out<'_, '_>) -> Result<()> {
        if self.streams.contains_key(&stream) {
            return Err(misplaced(Side::Agent));
        }
        let bearer = match Bearer::read(&head.headers) {
            Ok(bearer) => bearer,
            Err(refusal) => {
                turn.reject_login("no_token", "");
                refuse(stream, &refusal, turn);
                return Ok(());
            }
        };
        let token = bearer.seen();
        if self.token.is(&token) {
            self.begin(stream, &head, turn);
            return Ok(());
        }
        let ask = turn.ask(Question::Authenticate {
            claimed_user: String::new(),
            credential: bearer.credential(),
        });
        self.proving = Some(Proving {
            ask,
            token,
            stream,
            head,
        });
        Ok(())
    }

    /// A request of the session's principal.
    pub(super) fn begin(&mut self, stream: StreamId, head: &RequestHead, turn: Out<'_, '_>) {
        if self.streams.len() >= STREAMS_MAX {
            let denial = Denial::new(Reason::Limit, "too many requests at once");
            return deny(stream, &Refusal::of(429, denial), turn);
        }
        match Call::read(head, self.prefix.as_deref()) {
            Err(refusal) => {
                let asked = format!("{} {}", head.method, head.target);
                deny_request(stream, &refusal, &asked, turn);
            }
            Ok(call) if matches!(call.kind(), Kind::Exec(..)) => {
                self.submit(stream, call, &[], turn);
            }
            Ok(call) => {
                let reading = Stream::Reading(Box::new(call), BytesMut::new());
                self.streams.insert(stream, reading);
            }
        }
    }

    fn agent_body(&mut self, stream: StreamId, data: &Bytes, turn: Out<'_, '_>) {
        let kept = self.kept();
        match self.streams.get_mut(&stream) {
            Some(Stream::Reading(_, body)) => {
                let bound = BODY_BYTES_MAX.min(self.whole_bytes_max);
                let status = if body.len() + data.len() > bound {
                    413
                } else if kept + data.len() > self.held_bytes_max {
                    429
                } else {
                    body.extend_from_slice(data);
                    return;
                };
                self.streams.remove(&stream);
                let denial = Denial::new(Reason::Limit, "the body is too large");
                deny(stream, &Refusal::of(status, denial), turn);
            }
            Some(Stream::Exec(exec)) if kept + data.len() > self.held_bytes_max => {
                exec.crowded_out(&mut self.keys, turn);
                self.streams.remove(&stream);
            }
            Some(Stream::Exec(exec)) => {
                if exec.receive(Side::Agent, data, &mut self.keys, turn) == exec::Progress::Over {
                    self.streams.remove(&stream);
                }
            }
            // Of a request that was refused, or has been answered already.
            Some(Stream::Held(..) | Stream::Running(_)) | None => {}
        }
    }

    fn agent_end(&mut self, stream: StreamId, turn: Out<'_, '_>) {
        match self.streams.remove(&stream) {
            Some(Stream::Reading(call, body)) => self.submit(stream, *call, &body, turn),
            // A WebSocket that just ends was lost.
            Some(Stream::Exec(mut exec)) => exec.end(CloseCode::Normal, &mut self.keys, turn),
            Some(other @ (Stream::Held(..) | Stream::Running(_))) => {
                self.streams.insert(stream, other);
            }
            None => {}
        }
    }

    /// The agent gave it up: so does the gateway.
    fn agent_reset(&mut self, stream: StreamId, turn: Out<'_, '_>) {
        match self.streams.remove(&stream) {
            Some(Stream::Held(unit, _)) => turn.withdraw(unit),
            Some(Stream::Running(mut exchange)) => {
                turn.release(exchange.unit(), Command::new(stream, Act::Reset));
                exchange.finish(turn);
            }
            Some(Stream::Exec(mut exec)) => exec.end(CloseCode::Normal, &mut self.keys, turn),
            Some(Stream::Reading(..)) | None => {}
        }
    }

    fn submit(&mut self, stream: StreamId, call: Call, body: &[u8], turn: Out<'_, '_>) {
        let asked = call.asked_for();
        let (unit, ready) = match call.complete(body) {
            Ok(complete) => complete,
            Err(refusal) => return deny_request(stream, &refusal, &asked, turn),
        };
        match turn.submit(Operation::Api(unit)) {
            Ruling::Allowed { unit, obligations } => {
                self.release(stream, unit, &ready, obligations, turn);
            }
            Ruling::Refused(denial) => {
                ready.call.refuse(stream, &Refusal::of(403, denial), turn);
            }
            Ruling::Held { unit, .. } => {
                self.streams
                    .insert(stream, Stream::Held(unit, Box::new(ready)));
            }
        }
    }

    fn release(
        &mut self,
        stream: StreamId,
        unit: UnitId,
        ready: &Ready,
        obligations: Obligations,
        turn: Out<'_, '_>,
    ) {
        let bound = self.whole_bytes_max;
        let mut exchange = Exchange::new(stream, unit, &ready.call, obligations, bound);
        let tables = exchange.masks().allows_tables();
        let (method, target, mut headers, body) = ready.request(tables, &self.impersonation);
        let upgrade = match ready.call.kind() {
            Kind::Exec(_, handshake) => {
                let (fields, accept) = handshake.request(&mut self.keys);
                headers.extend(fields);
                exchange.expect_upgrade(handshake.clone(), accept);
                true
            }
            Kind::Path | Kind::Resource(..) | Kind::Logs(_) => false,
        };
        let request = Act::Request {
            method,
            target,
            headers,
            body,
            upgrade,
        };
        turn.release(unit, Command::new(stream, request));
        self.streams
            .insert(stream, Stream::Running(Box::new(exchange)));
    }

    fn target(&mut self, event: message::Event, turn: Out<'_, '_>) -> Result<()> {
        let stream = event.stream();
        let kept = self.kept();
        let (keys, bound) = (&mut self.keys, self.held_bytes_max);
        // What comes for a stream that is over was on its way already.
        let Some(known) = self.streams.get_mut(&stream) else {
            return Ok(());
        };
        let over = match (known, event) {
            (Stream::Running(exchange), message::Event::Response { head, .. })
                if head.status == 101 =>
            {
                let exec = upgraded(stream, exchange, &head, turn);
                match exec {
                    Some(exec) => {
                        self.streams.insert(stream, Stream::Exec(Box::new(exec)));
                        return Ok(());
                    }
                    None => exchange.fail(
                        Reason::Protocol,
                        "the server upgrades to something else",
                        turn,
                    ),
                }
            }
            (Stream::Running(exchange), message::Event::Response { head, .. }) => {
                exchange.on_response(&head, turn)
            }
            (Stream::Running(exchange), message::Event::Body { data, .. }) => {
                if exchange.kept() > 0 && kept + data.len() > bound {
                    exchange.fail(Reason::Limit, "too many answers wait to be masked", turn)
                } else {
                    exchange.on_body(data, turn)
                }
            }
            (Stream::Running(exchange), message::Event::End { .. }) => exchange.on_end(turn),
            (Stream::Running(exchange), message::Event::Reset { .. }) => {
                let refusal = Refusal::new(502, "the API server didn't answer");
                exchange.break_off(&refusal, turn);
                exchange::Progress::Over
            }
            (Stream::Exec(exec), message::Event::Body { data, .. })
                if kept + data.len() > bound =>
            {
                exec.crowded_out(keys, turn);
                exchange::Progress::Over
            }
            (Stream::Exec(exec), message::Event::Body { data, .. }) => {
                match exec.receive(Side::Target, &data, keys, turn) {
                    exec::Progress::Open => exchange::Progress::Open,
                    exec::Progress::Over => exchange::Progress::Over,
                }
            }
            (Stream::Exec(exec), message::Event::End { .. } | message::Event::Reset { .. }) => {
                exec.leave(CloseCode::Normal, turn);
                exchange::Progress::Over
            }
            (Stream::Reading(..) | Stream::Held(..) | Stream::Exec(_), _)
            | (_, message::Event::Request { .. } | message::Event::Malformed { .. }) => {
                return Err(misplaced(Side::Target));
            }
        };
        if over == exchange::Progress::Over {
            self.streams.remove(&stream);
        }
        Ok(())
    }

    /// Bytes of bodies that wait to be whole.
    fn kept(&self) -> usize {
        let kept = |stream: &Stream| match stream {
            Stream::Reading(_, body) => body.len(),
            Stream::Held(_, ready) => ready.body_len(),
            Stream::Running(exchange) => exchange.kept(),
            Stream::Exec(exec) => exec.kept(),
        };
        self.streams.values().map(kept).sum()
    }

    pub(super) fn notify(&mut self, event: Event, turn: Out<'_, '_>) -> Result<()> {
        match event {
            Event::Answer(ask, answer) => self.answer(ask, answer, turn),
            Event::Ruled(unit, ruling) => self.ruled(unit, ruling, turn),
            Event::Eof(Side::Agent) => turn.close(CloseReason::AgentClosed),
            Event::Eof(Side::Target) => {
                self.leave(&Refusal::new(502, "the API server went away"), turn);
                turn.close(CloseReason::TargetClosed);
            }
            Event::Closing(reason) => self.leave(&farewell(&reason), turn),
            Event::ConnectFailed(_)
            | Event::Started
            | Event::TlsReady(..)
            | Event::Connected
            | Event::CancelRequested
            | Event::Stale => {}
        }
        Ok(())
    }

    fn answer(&mut self, ask: AskId, answer: Answer, turn: Out<'_, '_>) {
        let Some(proving) = self.proving.take_if(|proving| proving.ask == ask) else {
            return;
        };
        let Proving {
            token,
            stream,
            head,
            ..
        } = proving;
        match answer {
            Answer::Authenticated(Ok(proven)) => {
                self.token = token;
                self.impersonation = super::bearer::impersonation(proven.get());
                self.begin(stream, &head, turn);
            }
            Answer::Authenticated(Err(reason)) => {
                turn.reject_login(&reason, "");
                let refusal = Refusal::new(401, format!("the token was rejected: {reason}"));
                refuse(stream, &refusal, turn);
            }
            _ => {
                let denial = Denial::new(Reason::NoAnswer, "the gateway can't check the token now");
                deny(stream, &Refusal::of(503, denial), turn);
            }
        }
    }

    fn ruled(
        &mut self,
        unit: UnitId,
        ruling: std::result::Result<Obligations, Denial>,
        turn: Out<'_, '_>,
    ) {
        let held = self.streams.iter().find_map(|(stream, state)| match state {
            Stream::Held(held, _) if *held == unit => Some(*stream),
            _ => None,
        });
        let Some(stream) = held else { return };
        let Some(Stream::Held(unit, ready)) = self.streams.remove(&stream) else {
            return;
        };
        match ruling {
            Ok(obligations) => self.release(stream, unit, &ready, obligations, turn),
            Err(denial) => ready.call.refuse(stream, &Refusal::of(403, denial), turn),
        }
    }

    /// The session is over: nobody is left waiting. The gate ends units that are still held.
    fn leave(&mut self, refusal: &Refusal, turn: Out<'_, '_>) {
        if let Some(proving) = self.proving.take() {
            refuse(proving.stream, refusal, turn);
        }
        for (stream, state) in std::mem::take(&mut self.streams) {
            match state {
                Stream::Reading(..) => refuse(stream, refusal, turn),
                Stream::Held(_, ready) => ready.call.refuse(stream, refusal, turn),
                Stream::Running(mut exchange) => exchange.break_off(refusal, turn),
                Stream::Exec(mut exec) => exec.end(CloseCode::Policy, &mut self.keys, turn),
            }
        }
    }
}

fn upgraded(
    stream: StreamId,
    exchange: &Exchange,
    head: &ResponseHead,
    turn: Out<'_, '_>,
) -> Option<Exec> {
    let (handshake, accept, detector) = exchange.handshake()?;
    Exec::begin(
        stream,
        exchange.unit(),
        handshake,
        accept,
        head,
        detector,
        turn,
    )
}

/// As [`deny`], with what was asked for in the record: the agent knows that.
fn deny_request(stream: StreamId, refusal: &Refusal, asked: &str, turn: Out<'_, '_>) {
    let asked: String = asked.chars().take(ASKED_CHARS_MAX).collect();
    turn.refuse(refusal.denial.clone().with_detail(asked));
    refuse(stream, refusal, turn);
}

/// Refuses what never became an operation, on record.
fn deny(stream: StreamId, refusal: &Refusal, turn: Out<'_, '_>) {
    turn.refuse(refusal.denial.clone());
    refuse(stream, refusal, turn);
}

fn misplaced(side: Side) -> WireError {
    WireError::protocol(side, "an event that has no place here")
}

/// What is said to whoever waits when the session ends.
pub(super) fn farewell(reason: &CloseReason) -> Refusal {
    match reason {
        CloseReason::Expired => Refusal::new(
            401,
            "the session has expired: connect again with a fresh token",
        ),
        CloseReason::PolicyChanged => Refusal::new(403, "the policy no longer allows this session"),
        CloseReason::Killed => Refusal::new(403, "an operator ended this session"),
        CloseReason::Drained => Refusal::new(503, "the gateway is going down"),
        CloseReason::Limit => Refusal::new(429, "a limit of the session was reached"),
        CloseReason::AgentClosed
        | CloseReason::TargetClosed
        | CloseReason::Refused
        | CloseReason::ProtocolError
        | CloseReason::Incident
        | CloseReason::EvidenceLost
        | CloseReason::InternalError => Refusal::new(503, "the session has ended"),
    }
}
