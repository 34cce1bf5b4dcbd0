//! A program at the target: one unit, from the opening of its channel to its closing.
//!
//! ```text
//! ExpectOpened --> Started --agent's Close--> Abandoned
//! ```
//! Whatever state it is in, it ends with the target's Close, or with its refusal to open the channel.

use bytes::{BufMut as _, Bytes, BytesMut};
use gateway_core::{
    id::UnitId,
    mask::{MaskCount, Obligations, Scan},
    record::{Counters, Outcome, Track, UnitEnd},
    wire::{Control, Side, Turn, WireError},
};

use super::{
    EXIT_FAILED, Outbound,
    channel::{AgentEnd, Flow},
    setup::Setup,
};
use crate::ssh::{
    message::{Body, ChannelId, Request, STDERR, Size},
    reply::{Asked, ReplyQueue},
};

/// A program, and the channel it has at the target.
#[derive(Debug)]
pub(super) struct Program {
    id: ChannelId,
    unit: UnitId,
    state: State,
    replies: ReplyQueue,
    output: Output,
    error: Output,
    /// What the target said of its end.
    end: Option<Outcome>,
    told_eof: bool,
    /// The target has sent its last output, and all of it was passed on.
    flushed: bool,
}

#[derive(Debug)]
enum State {
    /// The channel is being opened; these requests follow.
    ExpectOpened { setup: Setup, start: Request },
    /// The requests are sent: input may follow.
    Started,
    /// The agent went away before the channel was open.
    GivenUp,
    /// Closed from this side.
    Abandoned,
}

impl Program {
    /// Opens a channel for a program that is allowed.
    pub(super) fn new(
        id: ChannelId,
        unit: UnitId,
        setup: Setup,
        start: Request,
        obligations: &Obligations,
        turn: &mut Turn<'_, Outbound>,
    ) -> Self {
        let body = Body::Open {
            kind: "session".into(),
            data: Bytes::new(),
        };
        turn.release(unit, Outbound::message(id, body));
        Self {
            id,
            unit,
            state: State::ExpectOpened { setup, start },
            replies: ReplyQueue::default(),
            output: Output::new(obligations),
            error: Output::new(obligations),
            end: None,
            told_eof: false,
            flushed: false,
        }
    }

    fn release(&self, body: Body, turn: &mut Turn<'_, Outbound>) {
        turn.release(self.unit, Outbound::message(self.id, body));
    }

    fn release_as(&self, body: Body, track: Track, data: Bytes, turn: &mut Turn<'_, Outbound>) {
        let message = Outbound::message(self.id, body).of(self.unit, track, data);
        turn.release_stream(self.unit, message);
    }

    pub(super) const fn takes_input(&self) -> bool {
        matches!(self.state, State::Started)
    }

    pub(super) fn input(&self, data: Bytes, turn: &mut Turn<'_, Outbound>) {
        self.release_as(Body::Data(data.clone()), Track::Input, data, turn);
    }

    pub(super) fn end_input(&mut self, turn: &mut Turn<'_, Outbound>) {
        if !self.told_eof {
            self.release(Body::Eof, turn);
            self.told_eof = true;
        }
    }

    pub(super) fn resize(&mut self, size: Size, turn: &mut Turn<'_, Outbound>) {
        match &mut self.state {
            State::ExpectOpened { setup, .. } => setup.resize(size),
            State::Started => {
                let request = request(false, Request::WindowChange(size));
                self.release_as(request, Track::Resize, resized(size), turn);
            }
            State::GivenUp | State::Abandoned => {}
        }
    }

    pub(super) fn signal(&self, signal: String, turn: &mut Turn<'_, Outbound>) {
        if self.takes_input() {
            let data = Bytes::from(signal.clone());
            let request = request(false, Request::Signal(signal));
            self.release_as(request, Track::Signal, data, turn);
        }
    }

    /// The agent has closed its channel.
    pub(super) fn abandon(&mut self, turn: &mut Turn<'_, Outbound>) {
        match self.state {
            State::ExpectOpened { .. } => self.state = State::GivenUp,
            State::Started => self.close(turn),
            State::GivenUp | State::Abandoned => {}
        }
    }

    fn close(&mut self, turn: &mut Turn<'_, Outbound>) {
        self.release(Body::Close, turn);
        self.state = State::Abandoned;
    }

    pub(super) fn on_target(
        &mut self,
        body: Body,
        agent: &mut AgentEnd,
        turn: &mut Turn<'_, Outbound>,
    ) -> Result<Flow, WireError> {
        match (body, &self.state) {
            (Body::Opened, State::ExpectOpened { .. } | State::GivenUp) => Ok(self.on_opened(turn)),
            (Body::OpenFailed { .. }, State::ExpectOpened { .. } | State::GivenUp) => {
                self.end = Some(failed("channel refused"));
                self.finish(turn);
                let words = ["the target opened no channel for it"];
                agent.fail(words, EXIT_FAILED, turn);
                Ok(Flow::Ended)
            }
            (_, State::ExpectOpened { .. } | State::GivenUp) => {
                Err(broken("a message on a channel that isn't open yet"))
            }
            (body, State::Started | State::Abandoned) => self.on_open_channel(body, agent, turn),
        }
    }

    fn on_opened(&mut self, turn: &mut Turn<'_, Outbound>) -> Flow {
        match std::mem::replace(&mut self.state, State::Started) {
            State::ExpectOpened { setup, start } => {
                for (want_reply, asked) in setup.into_requests() {
                    if want_reply {
                        self.replies.expect(Asked::Terminal);
                    }
                    if let Request::Pty { size, .. } = &asked {
                        let data = resized(*size);
                        self.release_as(request(want_reply, asked), Track::Resize, data, turn);
                    } else {
                        self.release(request(want_reply, asked), turn);
                    }
                }
                self.replies.expect(Asked::Start);
                self.release(request(true, start), turn);
                Flow::Started
            }
            State::Started | State::GivenUp | State::Abandoned => {
                self.end = Some(Outcome::NotExecuted);
                self.close(turn);
                Flow::GoesOn
            }
        }
    }

    fn on_open_channel(
        &mut self,
        body: Body,
        agent: &mut AgentEnd,
        turn: &mut Turn<'_, Outbound>,
    ) -> Result<Flow, WireError> {
        match body {
            Body::Data(_) | Body::ExtendedData { .. } if self.flushed => {
                return Err(broken("data behind its end"));
            }
            Body::Data(data) => {
                let data = self.output.pass(&data);
                self.deliver(Track::Output, data, agent, turn);
            }
            Body::ExtendedData { kind: STDERR, data } => {
                let data = self.error.pass(&data);
                self.deliver(Track::Error, data, agent, turn);
            }
            Body::ExtendedData { .. } => return Err(broken("data of an unknown kind")),
            Body::Eof => {
                self.flush(agent, turn);
                agent.eof(turn);
            }
            Body::Close => {
                self.flush(agent, turn);
                if !matches!(self.state, State::Abandoned) {
                    self.close(turn);
                }
                self.finish(turn);
                return Ok(Flow::Ended);
            }
            Body::Success => {
                self.replies.answered().ok_or_else(unasked)?;
            }
            Body::Failure => match self.replies.answered().ok_or_else(unasked)? {
                Asked::Terminal => agent.tell(["the target gave it no terminal"], turn),
                Asked::Start => self.not_started(agent, turn),
            },
            Body::Request {
                want_reply,
                request,
            } => self.on_request(want_reply, request, agent, turn),
            Body::Open { .. } | Body::Opened | Body::OpenFailed { .. } => {
                return Err(broken("a channel opened twice"));
            }
        }
        Ok(Flow::GoesOn)
    }

    fn not_started(&mut self, agent: &mut AgentEnd, turn: &mut Turn<'_, Outbound>) {
        self.end = Some(failed("not started"));
        agent.fail(["the target didn't start it"], EXIT_FAILED, turn);
        if !matches!(self.state, State::Abandoned) {
            self.close(turn);
        }
    }

    fn on_request(
        &mut self,
        want_reply: bool,
        asked: Request,
        agent: &AgentEnd,
        turn: &mut Turn<'_, Outbound>,
    ) {
        let (outcome, exit) = match &asked {
            Request::ExitStatus(0) => (Outcome::Completed, "0".to_owned()),
            Request::ExitStatus(status) => (failed(format!("exit {status}")), status.to_string()),
            Request::ExitSignal { signal, .. } => {
                (failed(format!("signal {signal}")), signal.clone())
            }
            // A keepalive wants an answer, whichever; that the program reads no more input
            // (`eow@openssh.com`) will show.
            _ => {
                if want_reply && !matches!(self.state, State::Abandoned) {
                    turn.pass(
                        Control::Delimiter,
                        Outbound::message(self.id, Body::Failure),
                    );
                }
                return;
            }
        };
        self.end.get_or_insert(outcome);
        let moment = (self.unit, Track::Exit, Bytes::from(exit));
        agent.deliver(request(false, asked), moment, turn);
    }

    fn deliver(&self, track: Track, data: Bytes, agent: &AgentEnd, turn: &mut Turn<'_, Outbound>) {
        if data.is_empty() {
            return;
        }
        let body = match track {
            Track::Error => Body::ExtendedData {
                kind: STDERR,
                data: data.clone(),
            },
            _ => Body::Data(data.clone()),
        };
        agent.deliver(body, (self.unit, track, data), turn);
    }

    /// Lets out what the detectors kept back.
    fn flush(&mut self, agent: &AgentEnd, turn: &mut Turn<'_, Outbound>) {
        if std::mem::replace(&mut self.flushed, true) {
            return;
        }
        let (output, error) = (self.output.finish(), self.error.finish());
        self.deliver(Track::Output, output, agent, turn);
        self.deliver(Track::Error, error, agent, turn);
    }

    fn finish(&mut self, turn: &mut Turn<'_, Outbound>) {
        let masked = merged(self.output.counts(), self.error.counts());
        let end = UnitEnd {
            counters: Counters {
                bytes_returned: self.output.bytes + self.error.bytes,
                values_masked: masked.iter().map(|count| count.masked).sum(),
                ..Counters::default()
            },
            masked,
            // A target that says nothing of the end leaves it unknown.
            ..UnitEnd::of(self.end.take().unwrap_or(Outcome::Unknown))
        };
        turn.finish(self.unit, end);
    }
}

fn request(want_reply: bool, request: Request) -> Body {
    Body::Request {
        want_reply,
        request,
    }
}

/// A [`Track::Resize`]'s data.
fn resized(size: Size) -> Bytes {
    let mut data = BytesMut::with_capacity(8);
    data.put_u32(size.columns);
    data.put_u32(size.rows);
    data.freeze()
}

fn failed(code: impl Into<String>) -> Outcome {
    Outcome::Failed { code: code.into() }
}

fn broken(what: &str) -> WireError {
    WireError::protocol(Side::Target, what)
}

fn unasked() -> WireError {
    broken("an answer to nothing")
}

/// One output stream on its way to the agent.
#[derive(Debug)]
struct Output {
    scan: Option<Box<dyn Scan>>,
    bytes: u64,
}

impl Output {
    fn new(obligations: &Obligations) -> Self {
        Self {
            scan: obligations.detector.as_ref().map(|found| found.scan()),
            bytes: 0,
        }
    }

    /// What may leave now.
    fn pass(&mut self, data: &Bytes) -> Bytes {
        let out = match &mut self.scan {
            None => data.clone(),
            Some(scan) => {
                let mut out = BytesMut::with_capacity(data.len());
                scan.push(data, &mut out);
                out.freeze()
            }
        };
        self.count(out)
    }

    /// What was kept back.
    fn finish(&mut self) -> Bytes {
        let mut out = BytesMut::new();
        if let Some(scan) = &mut self.scan {
            scan.finish(&mut out);
        }
        self.count(out.freeze())
    }

    fn count(&mut self, out: Bytes) -> Bytes {
        self.bytes += out.len() as u64;
        out
    }

    fn counts(&self) -> Vec<MaskCount> {
        self.scan
            .as_ref()
            .map(|scan| scan.counts())
            .unwrap_or_default()
    }
}

/// The counts of both streams together.
fn merged(mut counts: Vec<MaskCount>, more: Vec<MaskCount>) -> Vec<MaskCount> {
    for count in more {
        let same = |known: &&mut MaskCount| {
            (&known.column, &known.class, known.method)
                == (&count.column, &count.class, count.method)
        };
        match counts.iter_mut().find(same) {
            Some(known) => {
                known.seen += count.seen;
                known.masked += count.masked;
            }
            None => counts.push(count),
        }
    }
    counts
}
