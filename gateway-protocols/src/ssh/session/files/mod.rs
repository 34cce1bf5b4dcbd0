//! A file transfer (SFTP version 3), terminated in both directions.
//!
//! ```text
//! ExpectOpened --> ExpectStarted --> ExpectVersion --> Relay --> Over
//!
//! a request on paths:   queue --REALPATH of each--> submit --allowed--> target --reply--> agent
//!                                                     held --> goes on when ruled on, others pass it
//! a request on a handle: target --reply--> agent      (part of the unit that opened the handle)
//! ```
//! Opening the file server is the gateway's own first question; nothing of the agent's is in it. The
//! target resolves every path before the path is decided on, and what is sent then is the resolved
//! one. Packets are written anew in both directions, under numbers of the gateway's own.

mod operation;
mod path;
mod replies;
mod requests;

use std::collections::{BTreeMap, VecDeque};

use bytes::{BufMut as _, Bytes, BytesMut};
use gateway_core::{
    decision::Denial,
    id::UnitId,
    mask::Obligations,
    record::{Outcome, UnitEnd},
    wire::{Control, Probe, Side, Turn, WireError},
};

use super::{
    EXIT_FAILED, Outbound,
    channel::{AgentEnd, Bounds, Flow},
    words,
};
use crate::ssh::{
    frame::{HEADER_BYTES, PACKET_BYTES_MAX, decode},
    message::{
        Body, ChannelId, Request as ChannelRequest,
        sftp::{Packet, Reply, Status, StatusCode, VERSION},
    },
    reply::{Expected, ReplyTable},
};
use operation::Located;
use requests::{Unlocated, questions_again};

/// Files and folders open at once in one transfer.
pub const HANDLES_MAX: usize = 256;

/// Requests that wait for the resolution of a path.
const QUEUE_MAX: usize = 64;

/// Requests that wait for reviewers.
const HELD_MAX: usize = 16;

/// Packets up to this are copied, so that what is kept of them doesn't keep what arrived with them:
/// two paths of the longest fit. Of longer ones nothing is kept.
const COPIED_BYTES_MAX: usize = 16 << 10;

/// Notices and denials of one transfer that are put into words; statuses tell of all.
const TOLD_MAX: usize = 64;

/// An open file or folder: a unit under way.
#[derive(Debug)]
pub struct OpenFile {
    /// The unit.
    unit: UnitId,
    /// Where it is.
    path: String,
    /// Whether the unit reads its contents.
    reads: bool,
    /// Whether the unit writes.
    writes: bool,
    /// The mode that its opening asked for.
    mode: Option<u32>,
    /// A folder, to be listed.
    is_folder: bool,
    /// Contents that were delivered, bytes.
    bytes_returned: u64,
    /// The first failure of a request on it.
    failure: Option<StatusCode>,
}

/// One file transfer.
#[derive(Debug)]
pub(super) struct Files {
    id: ChannelId,
    state: State,
    from_agent: BytesMut,
    from_target: BytesMut,
    /// The agent's first packet has been answered.
    greeted: bool,
    /// Requests on paths, in order; the first is being resolved.
    queue: VecDeque<Unlocated>,
    /// A question about the first one is outstanding.
    asking: bool,
    /// Requests that wait for reviewers.
    held: BTreeMap<UnitId, Located>,
    expected: ReplyTable,
    handles: BTreeMap<Bytes, OpenFile>,
    input_ended: bool,
    told_eof: bool,
    /// Notices and denials that were put into words.
    told: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    ExpectOpened,
    ExpectStarted,
    ExpectVersion,
    Relay,
    /// The agent went away before the channel was open.
    GivenUp,
    /// Closed from this side.
    Closed,
}

impl Files {
    /// Opens a channel for the file server.
    pub(super) fn new(id: ChannelId, turn: &mut Turn<'_, Outbound>) -> Self {
        let files = Self {
            id,
            state: State::ExpectOpened,
            from_agent: BytesMut::new(),
            from_target: BytesMut::new(),
            greeted: false,
            queue: VecDeque::new(),
            asking: false,
            held: BTreeMap::new(),
            expected: ReplyTable::default(),
            handles: BTreeMap::new(),
            input_ended: false,
            told_eof: false,
            told: 0,
        };
        let open = Body::Open {
            kind: "session".into(),
            data: Bytes::new(),
        };
        files.probe(open, turn);
        files
    }

    fn probe(&self, body: Body, turn: &mut Turn<'_, Outbound>) {
        turn.probe(Probe::ResolvePath, Outbound::message(self.id, body));
    }

    fn pass(&self, body: Body, turn: &mut Turn<'_, Outbound>) {
        turn.pass(Control::Delimiter, Outbound::message(self.id, body));
    }

    fn reply(id: u32, reply: Reply, agent: &AgentEnd, turn: &mut Turn<'_, Outbound>) {
        agent.say(packet(&Packet::Reply { id, reply }), turn);
    }

    /// A refusal: as a status for libraries, and in words for persons, whose clients show no status.
    fn deny(&mut self, id: u32, denial: &Denial, agent: &AgentEnd, turn: &mut Turn<'_, Outbound>) {
        self.tell(words::denied(denial), agent, turn);
        Self::reply_status(
            id,
            StatusCode::PERMISSION_DENIED,
            &denial.message,
            agent,
            turn,
        );
    }

    /// Words on the error stream, up to a limit: libraries never read it, and what isn't read uses
    /// up the channel's window for good.
    fn tell<'a>(
        &mut self,
        texts: impl IntoIterator<Item = &'a str>,
        agent: &AgentEnd,
        turn: &mut Turn<'_, Outbound>,
    ) {
        if self.told < TOLD_MAX {
            self.told += 1;
            agent.tell(texts, turn);
        }
    }

    /// Records and answers what was never an operation.
    fn refuse(
        id: u32,
        code: StatusCode,
        denial: Denial,
        agent: &AgentEnd,
        turn: &mut Turn<'_, Outbound>,
    ) {
        turn.refuse(denial.clone());
        Self::reply_status(id, code, &denial.message, agent, turn);
    }

    fn reply_status(
        id: u32,
        code: StatusCode,
        message: &str,
        agent: &AgentEnd,
        turn: &mut Turn<'_, Outbound>,
    ) {
        let message = message.to_owned();
        let status = Reply::Status(Status { code, message });
        Self::reply(id, status, agent, turn);
    }

    /// Whether no more input can be taken for now.
    pub(super) fn is_full(&self, bounds: Bounds) -> bool {
        let whole = HEADER_BYTES + PACKET_BYTES_MAX;
        self.from_agent.len() >= whole + bounds.waiting_bytes_max
    }

    pub(super) fn holds(&self, unit: UnitId) -> bool {
        self.held.contains_key(&unit)
    }

    pub(super) fn on_agent(
        &mut self,
        data: &Bytes,
        agent: &mut AgentEnd,
        bounds: Bounds,
        turn: &mut Turn<'_, Outbound>,
    ) -> Result<(), WireError> {
        self.from_agent.extend_from_slice(data);
        self.go_on(agent, bounds, turn)
    }

    /// Takes the agent's packets for as long as there is room for what they lead to.
    fn go_on(
        &mut self,
        agent: &AgentEnd,
        bounds: Bounds,
        turn: &mut Turn<'_, Outbound>,
    ) -> Result<(), WireError> {
        while self.state == State::Relay {
            if self.queue.len() >= QUEUE_MAX || self.expected.len() >= bounds.outstanding_max {
                return Ok(());
            }
            let body = decode(&mut self.from_agent).map_err(|e| broken(Side::Agent, e))?;
            let Some(mut body) = body else { break };
            if body.len() <= COPIED_BYTES_MAX {
                body = Bytes::copy_from_slice(&body);
            }
            let packet = Packet::parse(body).map_err(|e| broken(Side::Agent, e))?;
            self.on_packet(packet, agent, turn)?;
        }
        // The file server ends at the end of its input: that waits for what is still to be sent.
        let idle = self.queue.is_empty() && self.held.is_empty();
        if self.state == State::Relay && self.input_ended && idle && !self.told_eof {
            self.pass(Body::Eof, turn);
            self.told_eof = true;
        }
        Ok(())
    }

    /// No more input follows what has come, or comes with the next call of
    /// [`Files::on_agent`].
    pub(super) const fn end_input(&mut self) {
        self.input_ended = true;
    }

    /// The agent has closed its channel.
    pub(super) fn abandon(&mut self, turn: &mut Turn<'_, Outbound>) {
        for unit in std::mem::take(&mut self.held).into_keys() {
            turn.withdraw(unit);
        }
        for unit in self.queue.drain(..).filter_map(|request| request.unit()) {
            turn.finish(unit, UnitEnd::of(Outcome::NotExecuted));
        }
        self.from_agent.clear();
        match self.state {
            State::ExpectOpened => self.state = State::GivenUp,
            State::ExpectStarted | State::ExpectVersion | State::Relay => self.close(turn),
            State::GivenUp | State::Closed => {}
        }
    }

    fn close(&mut self, turn: &mut Turn<'_, Outbound>) {
        self.pass(Body::Close, turn);
        self.state = State::Closed;
    }

    pub(super) fn on_ruled(
        &mut self,
        unit: UnitId,
        ruled: Result<Obligations, Denial>,
        agent: &mut AgentEnd,
        bounds: Bounds,
        turn: &mut Turn<'_, Outbound>,
    ) -> Result<(), WireError> {
        if let Some(located) = self.held.remove(&unit) {
            match ruled {
                Ok(_) => match questions_again(&located) {
                    Some(questions) => {
                        let again = Unlocated::again(located, unit, questions);
                        self.queue.push_back(again);
                        self.locate(agent, turn);
                    }
                    None => self.run(located, unit, agent, turn),
                },
                Err(denial) => self.deny(located.id, &denial, agent, turn),
            }
        }
        self.go_on(agent, bounds, turn)
    }

    pub(super) fn on_target(
        &mut self,
        body: Body,
        agent: &mut AgentEnd,
        bounds: Bounds,
        turn: &mut Turn<'_, Outbound>,
    ) -> Result<Flow, WireError> {
        match (self.state, body) {
            (State::ExpectOpened, Body::Opened) => {
                let request = ChannelRequest::Subsystem("sftp".into());
                let body = Body::Request {
                    want_reply: true,
                    request,
                };
                self.probe(body, turn);
                self.state = State::ExpectStarted;
            }
            (State::GivenUp, Body::Opened) => self.close(turn),
            (State::ExpectOpened | State::GivenUp, Body::OpenFailed { .. }) => {
                self.unavailable(agent, turn);
                return Ok(Flow::Ended);
            }
            (State::ExpectStarted, Body::Success) => {
                let init = Packet::Init {
                    version: VERSION,
                    extensions: Bytes::new(),
                };
                self.probe(packet(&init), turn);
                self.state = State::ExpectVersion;
            }
            (State::Closed, Body::Success) => {}
            (State::ExpectStarted | State::Closed, Body::Failure) => {
                self.unavailable(agent, turn);
                if self.state == State::ExpectStarted {
                    self.close(turn);
                }
            }
            (State::ExpectOpened | State::GivenUp, _) => {
                return Err(broken(
                    Side::Target,
                    "a message on a channel that isn't open yet",
                ));
            }
            (_, Body::Data(data)) => return self.on_data(&data, agent, bounds, turn),
            (_, Body::ExtendedData { .. }) => {
                // It belongs to no unit, so there is no record that it could be a part of.
                turn.refuse(words::unsupported("the error stream of the file server"));
            }
            (_, Body::Eof) => agent.eof(turn),
            (
                _,
                Body::Request {
                    want_reply,
                    request,
                },
            ) => {
                self.on_request(want_reply, request, agent, turn);
            }
            (_, Body::Close) => {
                if self.state != State::Closed {
                    self.abandon(turn);
                }
                self.end(turn);
                return Ok(Flow::Ended);
            }
            (
                _,
                Body::Open { .. }
                | Body::Opened
                | Body::OpenFailed { .. }
                | Body::Success
                | Body::Failure,
            ) => return Err(broken(Side::Target, "an answer to nothing")),
        }
        Ok(Flow::GoesOn)
    }

    fn unavailable(&self, agent: &mut AgentEnd, turn: &mut Turn<'_, Outbound>) {
        let words = "the target offers no file transfer";
        turn.refuse(words::failed_at_target(words));
        agent.fail([words], EXIT_FAILED, turn);
    }

    fn on_request(
        &self,
        want_reply: bool,
        request: ChannelRequest,
        agent: &AgentEnd,
        turn: &mut Turn<'_, Outbound>,
    ) {
        match request {
            ChannelRequest::ExitStatus(_) | ChannelRequest::ExitSignal { .. } => {
                let body = Body::Request {
                    want_reply: false,
                    request,
                };
                agent.say(body, turn);
            }
            // Keepalives want an answer, whichever.
            _ if want_reply && self.state != State::Closed => self.pass(Body::Failure, turn),
            _ => {}
        }
    }

    /// The target's channel is gone. What it still owed may have happened.
    fn end(&mut self, turn: &mut Turn<'_, Outbound>) {
        for file in std::mem::take(&mut self.handles).into_values() {
            turn.finish(file.unit, UnitEnd::of(Outcome::Unknown));
        }
        for expected in self.expected.drain() {
            match expected {
                Expected::Whole { unit, .. } => turn.finish(unit, UnitEnd::of(Outcome::Unknown)),
                Expected::Opened { file, .. } | Expected::Closed { file, .. } => {
                    turn.finish(file.unit, UnitEnd::of(Outcome::Unknown));
                }
                Expected::Resolved | Expected::Part { .. } => {}
            }
        }
    }
}

/// Contents of a file as evidence keeps them: where they are, and what.
fn placed(offset: u64, data: &[u8]) -> Bytes {
    let mut placed = BytesMut::with_capacity(8 + data.len());
    placed.put_u64(offset);
    placed.put_slice(data);
    placed.freeze()
}

/// A packet as channel data.
fn packet(packet: &Packet) -> Body {
    let mut out = BytesMut::new();
    // INVARIANT: what was parsed from a packet of bounded length fits into one again.
    if packet.encode(&mut out).is_err() {
        out.clear();
    }
    Body::Data(out.freeze())
}

fn broken(side: Side, what: impl ToString) -> WireError {
    WireError::protocol(side, format!("file transfer: {}", what.to_string()))
}
