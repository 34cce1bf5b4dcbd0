//! From the agent to the target.

use std::collections::VecDeque;

use bytes::Bytes;
use gateway_core::{
    decision::{Denial, Reason},
    id::UnitId,
    record::{Outcome, Track, UnitEnd},
    wire::{Ruling, Side, Turn, WireError},
};

use super::{
    Files, HANDLES_MAX, HELD_MAX, OpenFile, broken,
    operation::{Located, paths},
    packet,
    path::Question,
    placed,
};
use crate::ssh::{
    message::{
        Body,
        sftp::{Attributes, Packet, Reply, Request, Status, StatusCode, VERSION},
    },
    reply::Expected,
    session::{Outbound, channel::AgentEnd, words},
};

/// A request some of whose paths are still to be resolved.
#[derive(Debug)]
pub(super) struct Unlocated {
    id: u32,
    request: Request,
    /// What is still to be asked; the first one may have been.
    questions: VecDeque<Question>,
    /// What was answered.
    paths: Vec<String>,
    failure: Option<Status>,
    /// The unit that was approved meanwhile, and the paths it was approved for.
    approved: Option<(UnitId, Vec<String>)>,
}

impl Unlocated {
    /// An approved request, to be located again.
    pub(super) fn again(located: Located, unit: UnitId, questions: VecDeque<Question>) -> Self {
        Self {
            id: located.id,
            request: located.request,
            questions,
            paths: Vec::new(),
            failure: None,
            approved: Some((unit, located.paths)),
        }
    }

    /// The unit that was approved, if one was.
    pub(super) fn unit(&self) -> Option<UnitId> {
        self.approved.as_ref().map(|(unit, _)| *unit)
    }

    /// Takes the target's answer to the first question.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn answer(&mut self, reply: Reply) -> Result<(), &'static str> {
        let question = self.questions.pop_front().ok_or("an answer to nothing")?;
        let path = match reply {
            Reply::Names(names) => match names.as_slice() {
                [name] => question.answered(&name.name),
                _ => None,
            }
            .ok_or("a path that isn't absolute and canonical")?,
            Reply::Status(status) if status.code != StatusCode::OK => {
                self.failure.get_or_insert(status);
                question.unanswered()
            }
            Reply::Status(_)
            | Reply::Handle(_)
            | Reply::Data(_)
            | Reply::Attributes(_)
            | Reply::Extended(_) => return Err("an answer of the wrong type"),
        };
        self.paths.push(path);
        Ok(())
    }

    fn into_located(self) -> Located {
        Located {
            id: self.id,
            request: self.request,
            paths: self.paths,
            failure: self.failure,
            opened_by: None,
        }
    }
}

/// What to ask again of an approved request: while it waited, its path may have come to lead
/// elsewhere. Asked about are the paths that were approved, which are what would be sent. `None` for
/// what has no path, or sends nothing.
pub(super) fn questions_again(located: &Located) -> Option<VecDeque<Question>> {
    if located.opened_by.is_some() || located.failure.is_some() {
        return None;
    }
    let lasts = paths(&located.request).into_iter().map(|(_, last)| last);
    let questions = located.paths.iter().zip(lasts);
    // A path that can't be asked about lacks its answer, which is another than was approved.
    let asked = questions.filter_map(|(p, last)| Question::new(&Bytes::from(p.clone()), last).ok());
    Some(asked.collect())
}

impl Files {
    pub(super) fn on_packet(
        &mut self,
        packet: Packet,
        agent: &AgentEnd,
        turn: &mut Turn<'_, Outbound>,
    ) -> Result<(), WireError> {
        match packet {
            Packet::Init { version, .. } if !self.greeted && version >= VERSION => {
                self.greeted = true;
                // No extension is offered: clients do without.
                let version = Packet::Version {
                    version: VERSION,
                    extensions: Bytes::new(),
                };
                agent.say(super::packet(&version), turn);
                Ok(())
            }
            Packet::Request { id, request } if self.greeted => {
                self.on_request_packet(id, request, agent, turn);
                Ok(())
            }
            Packet::Init { .. }
            | Packet::Version { .. }
            | Packet::Request { .. }
            | Packet::Reply { .. } => Err(broken(Side::Agent, "a packet out of its place")),
        }
    }

    fn on_request_packet(
        &mut self,
        id: u32,
        request: Request,
        agent: &AgentEnd,
        turn: &mut Turn<'_, Outbound>,
    ) {
        if let Some(what) = unsupported(&request) {
            let denial = words::unsupported(&what);
            return Self::refuse(id, StatusCode::OP_UNSUPPORTED, denial, agent, turn);
        }
        if let Request::Close { handle }
        | Request::Read { handle, .. }
        | Request::Write { handle, .. }
        | Request::Fstat { handle }
        | Request::Fsetstat { handle, .. }
        | Request::Readdir { handle } = &request
        {
            // A slice would keep all of the packet in memory for as long as the handle.
            let handle = Bytes::copy_from_slice(handle);
            return self.on_handle(id, handle, request, agent, turn);
        }
        let questions: Result<VecDeque<Question>, _> = paths(&request)
            .into_iter()
            .map(|(path, last)| Question::new(path, last))
            .collect();
        match questions {
            Ok(questions) => {
                self.queue.push_back(Unlocated {
                    id,
                    request,
                    questions,
                    paths: Vec::new(),
                    failure: None,
                    approved: None,
                });
                self.locate(agent, turn);
            }
            Err(what) => {
                let denial = words::unsupported(what);
                Self::refuse(id, StatusCode::FAILURE, denial, agent, turn);
            }
        }
    }

    /// Asks about the paths of the first request that waits for them, and submits those that know
    /// theirs. One at a time: a path may lead elsewhere once the request before has run.
    pub(super) fn locate(&mut self, agent: &AgentEnd, turn: &mut Turn<'_, Outbound>) {
        while !self.asking
            && let Some(first) = self.queue.front()
        {
            let Some(question) = first.questions.front() else {
                if let Some(mut first) = self.queue.pop_front() {
                    match first.approved.take() {
                        None => self.submit(first.into_located(), agent, turn),
                        Some((unit, paths)) if paths == first.paths => {
                            self.run(first.into_located(), unit, agent, turn);
                        }
                        Some((unit, _)) => Self::moved(first.id, unit, agent, turn),
                    }
                }
                continue;
            };
            let request = Request::Realpath {
                path: Bytes::from(question.asked.clone()),
            };
            let id = self.expected.expect(request.wants(), Expected::Resolved);
            self.probe(packet(&Packet::Request { id, request }), turn);
            self.asking = true;
        }
    }

    fn submit(&mut self, located: Located, agent: &AgentEnd, turn: &mut Turn<'_, Outbound>) {
        if self.held.len() >= HELD_MAX {
            let denial = Denial::new(Reason::Limit, "too many file operations wait for approval");
            return Self::refuse(located.id, StatusCode::FAILURE, denial, agent, turn);
        }
        match turn.submit(located.operation()) {
            Ruling::Allowed { unit, .. } => self.run(located, unit, agent, turn),
            Ruling::Refused(denial) => self.deny(located.id, &denial, agent, turn),
            Ruling::Held { unit, notice } => {
                self.tell([notice.as_str()], agent, turn);
                self.held.insert(unit, located);
            }
        }
    }

    /// An approved path leads elsewhere now: what was approved can't be done any more.
    fn moved(id: u32, unit: UnitId, agent: &AgentEnd, turn: &mut Turn<'_, Outbound>) {
        turn.finish(unit, UnitEnd::of(Outcome::NotExecuted));
        let message = "the path leads elsewhere than when it was approved";
        let denial = Denial::new(Reason::NotConsumed, message);
        Self::refuse(id, StatusCode::PERMISSION_DENIED, denial, agent, turn);
    }

    /// Sends what is allowed.
    pub(super) fn run(
        &mut self,
        located: Located,
        unit: UnitId,
        agent: &AgentEnd,
        turn: &mut Turn<'_, Outbound>,
    ) {
        let id = located.id;
        if let Some(status) = located.failure {
            let code = status.code.as_str().to_owned();
            turn.finish(unit, UnitEnd::of(Outcome::Failed { code }));
            return Self::reply(id, Reply::Status(status), agent, turn);
        }
        if located.opened_by.is_some() && self.opened_by(&located.request) != located.opened_by {
            turn.finish(unit, UnitEnd::of(Outcome::NotExecuted));
            let denial = Denial::new(Reason::Protocol, "the file was closed in the meantime");
            return Self::refuse(id, StatusCode::FAILURE, denial, agent, turn);
        }
        let (reads, writes) = located.access();
        let mode = match &located.request {
            Request::Open { attributes, .. } => attributes.permissions,
            _ => None,
        };
        let is_folder = matches!(located.request, Request::Opendir { .. });
        let opens = is_folder || matches!(located.request, Request::Open { .. });
        if opens && self.handles.len() + self.expected.opening() >= HANDLES_MAX {
            turn.finish(unit, UnitEnd::of(Outcome::NotExecuted));
            let denial = Denial::new(Reason::Limit, "too many files are open at once");
            return Self::refuse(id, StatusCode::FAILURE, denial, agent, turn);
        }
        let expected = match located.paths.first() {
            Some(path) if opens => Expected::Opened {
                id,
                file: OpenFile {
                    unit,
                    path: path.clone(),
                    reads: reads && !is_folder,
                    writes,
                    mode,
                    is_folder,
                    bytes_returned: 0,
                    failure: None,
                },
            },
            _ => Expected::Whole { id, unit },
        };
        let request = located.into_request();
        let id = self.expected.expect(request.wants(), expected);
        let body = packet(&Packet::Request { id, request });
        turn.release(unit, Outbound::message(self.id, body));
    }

    /// The unit of the file that a request's handle stands for now.
    fn opened_by(&self, request: &Request) -> Option<UnitId> {
        match request {
            Request::Fsetstat { handle, .. } => self.handles.get(handle).map(|file| file.unit),
            _ => None,
        }
    }

    /// A request about an open file: part of its unit, if it is what the unit was allowed for.
    fn on_handle(
        &mut self,
        id: u32,
        handle: Bytes,
        request: Request,
        agent: &AgentEnd,
        turn: &mut Turn<'_, Outbound>,
    ) {
        let Some(file) = self.handles.get(&handle) else {
            let denial = Denial::new(Reason::Protocol, "there is no file open by this handle");
            return Self::refuse(id, StatusCode::FAILURE, denial, agent, turn);
        };
        let unit = file.unit;
        let covered = match &request {
            Request::Read { .. } => file.reads,
            Request::Write { .. } => file.writes,
            Request::Readdir { .. } => file.is_folder,
            Request::Fsetstat { attributes, .. } if !file.covers(attributes) => {
                let paths = vec![file.path.clone()];
                let located = Located {
                    id,
                    request,
                    paths,
                    failure: None,
                    opened_by: Some(unit),
                };
                return self.submit(located, agent, turn);
            }
            _ => true,
        };
        if !covered {
            let message = format!("the file wasn't opened to {} it", request.name());
            let denial = Denial::new(Reason::Protocol, message);
            return Self::refuse(id, StatusCode::PERMISSION_DENIED, denial, agent, turn);
        }
        let offset = match &request {
            Request::Read { offset, .. } => *offset,
            _ => 0,
        };
        let written = match &request {
            Request::Write { offset, data, .. } => Some(placed(*offset, data)),
            _ => None,
        };
        let sets = matches!(request, Request::Fsetstat { .. });
        let closed = match &request {
            Request::Close { .. } => self.handles.remove(&handle),
            _ => None,
        };
        let expected = match closed {
            Some(file) => Expected::Closed { id, file },
            None => Expected::Part {
                id,
                handle,
                unit,
                offset,
            },
        };
        let id = self.expected.expect(request.wants(), expected);
        let body = packet(&Packet::Request { id, request });
        let moment = match (&body, written) {
            (_, Some(data)) => Some((Track::FileWrite, data)),
            (Body::Data(bytes), None) if sets => Some((Track::Request, bytes.clone())),
            _ => None,
        };
        let message = Outbound::message(self.id, body);
        match moment {
            Some((track, data)) => turn.release_stream(unit, message.of(unit, track, data)),
            None => turn.release(unit, message),
        }
    }
}

impl OpenFile {
    /// Whether these attributes may be set under the unit that opened the file: its size and times
    /// when it may be written, and the mode that is on record with it.
    fn covers(&self, attributes: &Attributes) -> bool {
        let known_mode = attributes.permissions.is_none() || attributes.permissions == self.mode;
        self.writes && known_mode && attributes.owner.is_none()
    }
}

/// What isn't supported in a request, in words.
fn unsupported(request: &Request) -> Option<String> {
    match request {
        Request::Symlink { .. } => Some("making symbolic links".into()),
        Request::Extended { name, .. } => {
            let name = name.get(..64).unwrap_or(name).escape_ascii();
            Some(format!("the file transfer extension {name}"))
        }
        Request::Open { flags, .. } if !flags.are_defined() => {
            Some("flags of a later version of file transfer".into())
        }
        Request::Open { attributes, .. }
        | Request::Setstat { attributes, .. }
        | Request::Fsetstat { attributes, .. }
        | Request::Mkdir { attributes, .. }
            if !attributes.extended.is_empty() =>
        {
            Some("extended file attributes".into())
        }
        _ => None,
    }
}
