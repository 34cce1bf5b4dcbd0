//! From the target to the agent.

use bytes::Bytes;
use gateway_core::{
    id::UnitId,
    record::{Counters, Outcome, Track, UnitEnd},
    wire::{Side, Turn, WireError},
};

use super::{Files, OpenFile, State, broken, packet, placed};
use crate::ssh::{
    frame::decode,
    message::{
        Body,
        sftp::{Packet, Reply, StatusCode, VERSION},
    },
    reply::Expected,
    session::{
        Outbound,
        channel::{AgentEnd, Bounds, Flow},
    },
};

/// Longest handle, bytes (section 6.3, "Opening, Creating, and Closing Files").
const HANDLE_BYTES_MAX: usize = 256;

impl Files {
    pub(super) fn on_data(
        &mut self,
        data: &Bytes,
        agent: &AgentEnd,
        bounds: Bounds,
        turn: &mut Turn<'_, Outbound>,
    ) -> Result<Flow, WireError> {
        self.from_target.extend_from_slice(data);
        loop {
            let body = decode(&mut self.from_target).map_err(|e| broken(Side::Target, e))?;
            let Some(body) = body else { break };
            match Packet::parse(body).map_err(|e| broken(Side::Target, e))? {
                // Extensions of the target's are not passed on: nothing here understands them.
                Packet::Version { version, .. } if self.state == State::ExpectVersion => {
                    if version != VERSION {
                        return Err(broken(Side::Target, "another version than 3"));
                    }
                    self.state = State::Relay;
                }
                Packet::Reply { id, reply } => self.on_reply(id, reply, agent, turn)?,
                Packet::Version { .. } if self.state == State::Closed => {}
                Packet::Init { .. } | Packet::Version { .. } | Packet::Request { .. } => {
                    return Err(broken(Side::Target, "a packet out of its place"));
                }
            }
        }
        self.go_on(agent, bounds, turn)?;
        Ok(Flow::GoesOn)
    }

    fn on_reply(
        &mut self,
        id: u32,
        reply: Reply,
        agent: &AgentEnd,
        turn: &mut Turn<'_, Outbound>,
    ) -> Result<(), WireError> {
        let expected = self.expected.take(id, &reply);
        match expected.map_err(|what| broken(Side::Target, what))? {
            Expected::Resolved => {
                self.asking = false;
                // The agent may have gone since.
                if let Some(first) = self.queue.front_mut() {
                    first.answer(reply).map_err(|e| broken(Side::Target, e))?;
                }
                self.locate(agent, turn);
            }
            Expected::Whole { id, unit } => {
                turn.finish(unit, UnitEnd::of(outcome(&reply)));
                deliver(id, unit, reply, agent, turn);
            }
            Expected::Opened { id, file } => self.on_opened(id, file, reply, agent, turn)?,
            Expected::Part {
                id,
                handle,
                unit,
                offset,
            } => {
                if let Some(file) = self.handles.get_mut(&handle) {
                    file.moved(&reply);
                }
                deliver_from(offset, id, unit, reply, agent, turn);
            }
            Expected::Closed { id, file } => {
                let unit = file.unit;
                turn.finish(unit, file.end(&reply));
                deliver(id, unit, reply, agent, turn);
            }
        }
        Ok(())
    }

    fn on_opened(
        &mut self,
        id: u32,
        file: OpenFile,
        reply: Reply,
        agent: &AgentEnd,
        turn: &mut Turn<'_, Outbound>,
    ) -> Result<(), WireError> {
        let unit = file.unit;
        match &reply {
            Reply::Handle(handle) => {
                let possible = handle.len() <= HANDLE_BYTES_MAX;
                if !possible || self.handles.contains_key(handle) {
                    return Err(broken(Side::Target, "an impossible handle"));
                }
                // A slice would keep all of the packet in memory for as long as the handle.
                self.handles.insert(Bytes::copy_from_slice(handle), file);
            }
            _ => turn.finish(unit, UnitEnd::of(outcome(&reply))),
        }
        deliver(id, unit, reply, agent, turn);
        Ok(())
    }
}

impl OpenFile {
    /// Counts what a request on it moved.
    fn moved(&mut self, reply: &Reply) {
        match reply {
            Reply::Data(data) => self.bytes_returned += data.len() as u64,
            Reply::Status(status) if !is_fine(status.code) => {
                self.failure.get_or_insert(status.code);
            }
            Reply::Status(_)
            | Reply::Handle(_)
            | Reply::Names(_)
            | Reply::Attributes(_)
            | Reply::Extended(_) => {}
        }
    }

    /// Its unit's end, by the reply to its Close.
    fn end(mut self, reply: &Reply) -> UnitEnd {
        self.moved(reply);
        let outcome = match self.failure {
            Some(code) => failed(code),
            None => Outcome::Completed,
        };
        UnitEnd {
            counters: Counters {
                bytes_returned: self.bytes_returned,
                ..Counters::default()
            },
            ..UnitEnd::of(outcome)
        }
    }
}

/// The end of file is no failure.
fn is_fine(code: StatusCode) -> bool {
    code == StatusCode::OK || code == StatusCode::EOF
}

fn failed(code: StatusCode) -> Outcome {
    Outcome::Failed {
        code: code.as_str().to_owned(),
    }
}

fn outcome(reply: &Reply) -> Outcome {
    match reply {
        Reply::Status(status) if !is_fine(status.code) => failed(status.code),
        Reply::Status(_)
        | Reply::Handle(_)
        | Reply::Data(_)
        | Reply::Names(_)
        | Reply::Attributes(_)
        | Reply::Extended(_) => Outcome::Completed,
    }
}

/// Sends a reply on to the agent: contents are recorded with their place, names and attributes as the
/// packet's bytes, and how it went is in the unit's end.
fn deliver(id: u32, unit: UnitId, reply: Reply, agent: &AgentEnd, turn: &mut Turn<'_, Outbound>) {
    deliver_from(0, id, unit, reply, agent, turn);
}

/// As [`deliver`], for contents that begin at this offset.
fn deliver_from(
    offset: u64,
    id: u32,
    unit: UnitId,
    reply: Reply,
    agent: &AgentEnd,
    turn: &mut Turn<'_, Outbound>,
) {
    let contents = match &reply {
        Reply::Data(data) => Some(placed(offset, data)),
        Reply::Status(_)
        | Reply::Handle(_)
        | Reply::Names(_)
        | Reply::Attributes(_)
        | Reply::Extended(_) => None,
    };
    let told = matches!(reply, Reply::Names(_) | Reply::Attributes(_));
    let body = packet(&Packet::Reply { id, reply });
    let moment = match (&body, contents) {
        (_, Some(contents)) => Some((unit, Track::FileRead, contents)),
        (Body::Data(bytes), None) if told => Some((unit, Track::Response, bytes.clone())),
        _ => None,
    };
    match moment {
        Some(moment) => agent.deliver(body, moment, turn),
        None => agent.say(body, turn),
    }
}
