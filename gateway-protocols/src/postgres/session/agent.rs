//! The agent's messages: understood, decided, and released or replaced, one after the other.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use gateway_core::{
    decision::{Denial, Reason},
    id::UnitId,
    mask::Obligations,
    operation::{Operation, SqlUnit},
    record::{Outcome, UnitEnd},
    wire::{Analysed, Control, Probe, Ruling, Side, Turn, WireError},
};

use super::{
    names::{Meaning, Portal, Statement, known_as},
    pending::{Pending, bindings, unknown_unit},
    relay::{InParts, Live, Relay, Result, Waiting},
    words,
};
use crate::postgres::{
    frame::{self, Frame, peek_header},
    message::{
        Bind, Close, Describe, Execute, Flush, Frontend, Message, Named, Parse, Query, SqlState,
        bind_names, frontend_length, tag, utf8,
    },
    reply::{Expected, Refusal, Reply},
};

/// Whether the next message may be taken.
#[derive(Debug)]
#[must_use]
pub(super) enum Step {
    Next,
    Wait(Waiting),
}

impl Relay {
    pub(super) fn receive_agent(
        &mut self,
        input: &mut BytesMut,
        turn: &mut Turn<'_, Bytes>,
    ) -> Result<()> {
        self.resume(turn)?;
        while self.may_take(input, turn)? {
            let decoded = self.agent_frames.decode(input, frontend_length);
            let frame = decoded.map_err(|error| self.broken(turn, error.to_string()))?;
            let Some(frame) = frame else { break };
            let step = self.on_frame(frame, turn)?;
            self.settle(step);
        }
        if self.agent_eof && self.waiting.is_none() {
            self.agent_left(turn);
        }
        Ok(())
    }

    /// Goes on with what waited for replies of the target.
    pub(super) fn resume(&mut self, turn: &mut Turn<'_, Bytes>) -> Result<()> {
        match self.waiting.take() {
            Some(Waiting::Replies(pending)) if self.replies.is_empty() => {
                let step = self.look_up(pending, turn)?;
                self.settle(step);
            }
            Some(Waiting::Copy) if self.copy_in.is_some() || self.replies.is_empty() => {}
            // The target would skip it: there is nothing left to approve.
            Some(waiting @ Waiting::Ruling(..)) if self.replies.skips() => {
                self.waiting = Some(waiting);
                self.withdraw(turn);
            }
            waiting => self.waiting = waiting,
        }
        Ok(())
    }

    fn may_take(&mut self, input: &BytesMut, turn: &mut Turn<'_, Bytes>) -> Result<bool> {
        if self.agent_gone || turn.is_closed() {
            return Ok(false);
        }
        match self.waiting {
            Some(Waiting::Ruling(..)) => {
                // A goodbye behind a held statement takes it back.
                if says_goodbye(input) {
                    self.agent_left(turn);
                }
                Ok(false)
            }
            // The target ignores these while it copies, and says what it does only after them.
            Some(Waiting::Copy) => Ok(matches!(
                input.first(),
                Some(&(tag::frontend::SYNC | tag::frontend::FLUSH))
            )),
            Some(Waiting::Analysis(..) | Waiting::Replies(_)) => Ok(false),
            None => Ok(self.replies.len() < self.outstanding_max),
        }
    }

    fn broken(&mut self, turn: &mut Turn<'_, Bytes>, what: String) -> WireError {
        let report = words::report(
            crate::postgres::message::Severity::Fatal,
            SqlState::PROTOCOL_VIOLATION,
            &what,
            None,
            None,
        );
        self.say(turn, report);
        self.farewell_said = true;
        WireError::protocol(Side::Agent, what)
    }

    fn on_frame(&mut self, frame: Frame, turn: &mut Turn<'_, Bytes>) -> Result<Step> {
        match frame {
            Frame::Whole { tag, .. } if self.is_skipped(tag) => Ok(Step::Next),
            Frame::Head { tag, .. } if self.is_skipped(tag) => {
                self.in_parts = Some(InParts::Dropped);
                Ok(Step::Next)
            }
            Frame::Whole { tag, bytes } => self.on_message(tag, bytes, turn),
            Frame::Head {
                tag: tag::frontend::BIND,
                bytes,
                ..
            } => self.on_bind_head(bytes, turn),
            Frame::Head {
                tag: tag::frontend::COPY_DATA,
                bytes,
                ..
            } => {
                self.in_parts = Some(match self.copy_in {
                    Some(unit) => InParts::Released(unit),
                    None => InParts::Dropped,
                });
                Ok(self.on_copy_data(bytes, turn))
            }
            Frame::Head { tag, .. } => {
                Err(self.broken(turn, format!("message {} in parts", tag.escape_ascii())))
            }
            Frame::Part { bytes, last } => {
                if let Some(InParts::Released(unit)) = self.in_parts {
                    turn.release_stream(unit, bytes);
                }
                if last {
                    self.in_parts = None;
                    self.finish_ended(turn);
                }
                Ok(Step::Next)
            }
        }
    }

    /// What the target would ignore isn't understood, decided or sent.
    fn is_skipped(&self, tag: u8) -> bool {
        !matches!(tag, tag::frontend::SYNC | tag::frontend::TERMINATE) && self.replies.skips()
    }

    fn on_message(&mut self, tag: u8, bytes: Bytes, turn: &mut Turn<'_, Bytes>) -> Result<Step> {
        let frames = bytes.clone();
        let parsed = Frontend::parse(tag, frame::body(&bytes));
        let message = match parsed {
            Ok(message) => message,
            Err(error) => return Err(self.broken(turn, error.to_string())),
        };
        if self.copy_in.is_some() && !belongs_in_copy(&message) {
            return Err(self.broken(
                turn,
                "a message that has no place in COPY FROM STDIN".into(),
            ));
        }
        match message {
            Frontend::Query(query) => self.on_query(&query, frames, turn),
            Frontend::Parse(parse) => self.on_parse(&parse, frames, turn),
            Frontend::Bind(bind) => self.on_bind(&bind, frames, turn),
            Frontend::Execute(execute) => self.on_execute(&execute, frames, turn),
            Frontend::Describe(describe) => Ok(self.on_describe(&describe, frames, turn)),
            Frontend::Close(close) => Ok(self.on_close(&close, frames, turn)),
            Frontend::Flush(_) => {
                turn.pass(Control::Delimiter, frames);
                Ok(Step::Next)
            }
            Frontend::Sync(_) => {
                turn.pass(Control::Delimiter, frames);
                self.batch_open = false;
                if self.copy_in.is_some() {
                    self.replies.add_stray_sync();
                } else {
                    self.replies.push(Expected::plain(Reply::Sync));
                }
                Ok(Step::Next)
            }
            Frontend::CopyData(_) => Ok(self.on_copy_data(frames, turn)),
            Frontend::CopyDone(_) | Frontend::CopyFail(_) => Ok(self.on_copy_end(frames, turn)),
            Frontend::Terminate(_) => {
                self.agent_left(turn);
                Ok(Step::Next)
            }
            Frontend::FunctionCall(_) => {
                let denial = Denial::new(
                    Reason::Protocol,
                    "function calls by object id aren't supported",
                )
                .with_hint("Call the function in a SQL statement.");
                turn.refuse(denial.clone());
                // The server answers a failed function call with an error and ReadyForQuery, as it
                // does a failed query.
                let text = Arc::from("");
                self.reject(Pending::Query { frames, text }, denial, turn);
                Ok(Step::Next)
            }
            Frontend::AuthenticationResponse(_) => {
                Err(self.broken(turn, "a password after the login".into()))
            }
        }
    }

    fn on_query(
        &mut self,
        query: &Query<'_>,
        frames: Bytes,
        turn: &mut Turn<'_, Bytes>,
    ) -> Result<Step> {
        let text = match utf8(query.text) {
            Ok(text) => text,
            Err(error) => return Err(self.broken(turn, error.to_string())),
        };
        if let Some((text, analysed)) = self.cache.get(text) {
            return Ok(self.decide(Pending::Query { frames, text }, analysed, turn));
        }
        let pending = Pending::Query {
            frames,
            text: Arc::from(text),
        };
        Ok(Step::Wait(self.ask(pending, turn)))
    }

    fn on_parse(
        &mut self,
        parse: &Parse<'_>,
        frames: Bytes,
        turn: &mut Turn<'_, Bytes>,
    ) -> Result<Step> {
        let text = match utf8(parse.text) {
            Ok(text) => text,
            Err(error) => return Err(self.broken(turn, error.to_string())),
        };
        let name = frames.slice_ref(known_as(parse.statement));
        if self.names.len() >= self.prepared_max {
            let denial = Denial::new(Reason::Limit, "too many prepared statements and portals")
                .with_hint("Close some of them.");
            turn.refuse(denial.clone());
            self.reject(
                Pending::Parse {
                    frames,
                    text: Arc::from(text),
                    name,
                },
                denial,
                turn,
            );
            return Ok(Step::Next);
        }
        if let Some((text, analysed)) = self.cache.get(text) {
            return Ok(self.decide(Pending::Parse { frames, text, name }, analysed, turn));
        }
        let pending = Pending::Parse {
            frames,
            text: Arc::from(text),
            name,
        };
        Ok(Step::Wait(self.ask(pending, turn)))
    }

    fn on_bind(
        &mut self,
        bind: &Bind<'_>,
        frames: Bytes,
        turn: &mut Turn<'_, Bytes>,
    ) -> Result<Step> {
        let portal = frames.slice_ref(known_as(bind.portal));
        let pending = Pending::Bind {
            bindings: Some(bindings(bind)),
            text: Arc::from(""),
            rewritten: None,
            in_parts: false,
            portal,
            frames: frames.clone(),
        };
        self.bind_to(bind.statement, pending, turn)
    }

    fn on_bind_head(&mut self, head: Bytes, turn: &mut Turn<'_, Bytes>) -> Result<Step> {
        let (portal, statement) = match bind_names(frame::body(&head)) {
            Ok(names) => names,
            Err(error) => return Err(self.broken(turn, error.to_string())),
        };
        let pending = Pending::Bind {
            bindings: None,
            text: Arc::from(""),
            rewritten: None,
            in_parts: true,
            portal: head.slice_ref(known_as(portal)),
            frames: head.clone(),
        };
        self.bind_to(statement, pending, turn)
    }

    /// Finds the statement that a Bind names, and decides with its analysis.
    fn bind_to(
        &mut self,
        statement: &[u8],
        mut pending: Pending,
        turn: &mut Turn<'_, Bytes>,
    ) -> Result<Step> {
        let found = match self.names.statement(known_as(statement), &self.replies) {
            Meaning::Known(found) => found,
            Meaning::Undecided => return Ok(Step::Wait(self.await_replies(pending, turn))),
            Meaning::Unknown => {
                let name = String::from_utf8_lossy(statement);
                let message = format!("prepared statement \"{name}\" does not exist");
                let denial = Denial::new(Reason::Protocol, message);
                turn.refuse(denial.clone());
                let refusal = Refusal::new(denial, SqlState::INVALID_STATEMENT_NAME);
                self.reject_as(pending, refusal, turn);
                return Ok(Step::Next);
            }
        };
        if let Pending::Bind {
            text, rewritten, ..
        } = &mut pending
        {
            *text = Arc::clone(&found.text);
            rewritten.clone_from(&found.rewritten);
        }
        if found.epoch == self.epoch {
            return Ok(self.decide(pending, found.analysed.clone(), turn));
        }
        Ok(match self.cache.get(&found.text) {
            Some((_, analysed)) => self.decide(pending, analysed, turn),
            None => Step::Wait(self.ask(pending, turn)),
        })
    }

    fn on_execute(
        &mut self,
        execute: &Execute<'_>,
        frames: Bytes,
        turn: &mut Turn<'_, Bytes>,
    ) -> Result<Step> {
        let name = frames.slice_ref(known_as(execute.portal));
        let portal = match self.names.portal(&name, &mut self.replies) {
            Meaning::Known(portal) => portal.clone(),
            Meaning::Undecided => {
                // The portal's own operation is found again once the target has answered.
                let pending = Pending::Execute {
                    frames,
                    portal: name,
                    operation: Box::new(unknown_unit()),
                };
                return Ok(Step::Wait(self.await_replies(pending, turn)));
            }
            Meaning::Unknown => {
                self.reject_unknown_portal(frames, name, turn);
                return Ok(Step::Next);
            }
        };
        match portal.unit {
            Some(unit) => Ok(self.execute(unit, frames, name, portal.described, turn)),
            None => {
                let operation = Box::new(portal.operation);
                let pending = Pending::Execute {
                    frames,
                    portal: name,
                    operation,
                };
                Ok(match self.cache.get(pending.text()) {
                    Some((_, analysed)) => self.decide(pending, analysed, turn),
                    None => Step::Wait(self.ask(pending, turn)),
                })
            }
        }
    }

    fn reject_unknown_portal(&mut self, frames: Bytes, name: Bytes, turn: &mut Turn<'_, Bytes>) {
        let message = format!(
            "portal \"{}\" does not exist",
            String::from_utf8_lossy(&name)
        );
        let denial = Denial::new(Reason::Protocol, message);
        turn.refuse(denial.clone());
        let operation = Box::new(unknown_unit());
        let pending = Pending::Execute {
            frames,
            portal: name,
            operation,
        };
        let refusal = Refusal::new(denial, SqlState::INVALID_CURSOR_NAME);
        self.reject_as(pending, refusal, turn);
    }

    /// Sends an Execute of a unit that is allowed, behind our own Describe where columns may have
    /// to be masked and nobody has asked for them.
    fn execute(
        &mut self,
        unit: UnitId,
        frames: Bytes,
        portal: Bytes,
        described: bool,
        turn: &mut Turn<'_, Bytes>,
    ) -> Step {
        if !described && !self.classified.is_empty() {
            turn.probe(Probe::DescribePortal, words::describe_portal(&portal));
            self.replies
                .push(Expected::of(unit, Reply::ProbePortal(portal.clone())));
            self.mark_described(&portal);
        }
        let mut copies_in = false;
        if let Some(live) = self.live.get_mut(&unit) {
            live.executions += 1;
            copies_in = live.copies_in();
        }
        turn.release(unit, frames);
        self.batch_open = true;
        self.replies
            .push(Expected::of(unit, Reply::Execute(portal)));
        if copies_in {
            Step::Wait(Waiting::Copy)
        } else {
            Step::Next
        }
    }

    fn mark_described(&mut self, name: &[u8]) {
        if let Meaning::Known(portal) = self.names.portal(name, &mut self.replies) {
            portal.described = true;
        }
    }

    /// Describe tells names, types and origins, never values.
    fn on_describe(
        &mut self,
        describe: &Describe<'_>,
        frames: Bytes,
        turn: &mut Turn<'_, Bytes>,
    ) -> Step {
        let reply = match describe.0 {
            Named::Statement(name) => Reply::DescribeStatement(frames.slice_ref(known_as(name))),
            Named::Portal(name) => {
                let name = known_as(name);
                self.mark_described(name);
                Reply::DescribePortal(frames.slice_ref(name))
            }
        };
        turn.pass(Control::Delimiter, frames);
        self.replies.push(Expected::plain(reply));
        Step::Next
    }

    fn on_close(&mut self, close: &Close<'_>, frames: Bytes, turn: &mut Turn<'_, Bytes>) -> Step {
        let reply = match close.0 {
            Named::Statement(name) => Reply::CloseStatement(frames.slice_ref(known_as(name))),
            Named::Portal(name) => Reply::ClosePortal(frames.slice_ref(known_as(name))),
        };
        turn.pass(Control::Delimiter, frames);
        self.replies.push(Expected::plain(reply));
        Step::Next
    }

    /// The target silently ignores copy data outside COPY; so it goes nowhere.
    fn on_copy_data(&mut self, bytes: Bytes, turn: &mut Turn<'_, Bytes>) -> Step {
        if let Some(unit) = self.copy_in {
            turn.release_stream(unit, bytes);
        }
        Step::Next
    }

    fn on_copy_end(&mut self, frames: Bytes, turn: &mut Turn<'_, Bytes>) -> Step {
        let Some(unit) = self.copy_in.take() else {
            return Step::Next;
        };
        turn.release_stream(unit, frames);
        let more_follow = self
            .live
            .get(&unit)
            .and_then(|live| live.operation.as_ref())
            .is_some_and(|sql| sql.analysis.statements.len() > 1);
        if self.replies.has_stray_syncs() {
            // If the COPY fails, one of them may have ended the skipping, or not: what is sent before
            // that is known could be executed and be recorded as skipped.
            turn.pass(Control::Delimiter, words::encoded(|out| Flush.encode(out)));
        } else if !more_follow {
            return Step::Next;
        }
        // The next COPY of the same text takes no rows before its turn.
        Step::Wait(Waiting::Copy)
    }

    /// Finds again what couldn't be understood before the target had answered.
    fn look_up(&mut self, pending: Pending, turn: &mut Turn<'_, Bytes>) -> Result<Step> {
        match pending {
            Pending::Query { .. } | Pending::Parse { .. } => {
                Ok(Step::Wait(self.ask(pending, turn)))
            }
            Pending::Bind { ref frames, .. } => {
                let frames = frames.clone();
                match bind_names(frame::body(&frames)) {
                    Ok((_, statement)) => self.bind_to(statement, pending, turn),
                    Err(error) => Err(self.broken(turn, error.to_string())),
                }
            }
            Pending::Execute { frames, .. } => {
                let bytes = frames.clone();
                match Execute::parse(frame::body(&bytes)) {
                    Ok(execute) => self.on_execute(&execute, frames, turn),
                    Err(error) => Err(self.broken(turn, error.to_string())),
                }
            }
        }
    }

    /// Submits what a message does, and acts on the ruling.
    pub(super) fn decide(
        &mut self,
        pending: Pending,
        analysed: Analysed,
        turn: &mut Turn<'_, Bytes>,
    ) -> Step {
        if self.replies.skips() {
            // The error came while this was being analysed.
            if matches!(pending, Pending::Bind { in_parts: true, .. }) {
                self.in_parts = Some(InParts::Dropped);
            }
            return Step::Next;
        }
        self.classified = Arc::clone(&analysed.classified);
        let operation = self.sql_unit(pending.stage(), &pending, Arc::clone(&analysed.analysis));
        let pending = match pending {
            Pending::Execute { frames, portal, .. } => Pending::Execute {
                frames,
                portal,
                operation: Box::new(operation.clone()),
            },
            other => other,
        };
        match turn.submit(Operation::Sql(operation.clone())) {
            Ruling::Allowed { unit, obligations } => {
                self.release_analysed(pending, unit, operation, analysed, obligations, turn)
            }
            Ruling::Refused(denial) => {
                let refusal = words::refusal_of(denial, &analysed.analysis);
                self.reject_as(pending, refusal, turn);
                Step::Next
            }
            Ruling::Held { unit, .. }
                if matches!(pending, Pending::Bind { in_parts: true, .. }) =>
            {
                turn.withdraw(unit);
                let denial =
                    Denial::new(Reason::Limit, "values this large can't wait for approval");
                self.reject(pending, denial, turn);
                Step::Next
            }
            Ruling::Held { unit, notice } => {
                self.live.insert(
                    unit,
                    Live {
                        operation: Some(operation),
                        ..Live::default()
                    },
                );
                self.say(turn, words::notice(&notice));
                Step::Wait(Waiting::Ruling(unit, pending))
            }
        }
    }

    /// Releases a unit that waited for reviewers.
    pub(super) fn release(
        &mut self,
        pending: Pending,
        unit: UnitId,
        obligations: Obligations,
        turn: &mut Turn<'_, Bytes>,
    ) -> Step {
        let operation = self.live.remove(&unit).and_then(|live| live.operation);
        let Some(operation) = operation else {
            return Step::Next;
        };
        let analysed = Analysed {
            analysis: Arc::clone(&operation.analysis),
            classified: Arc::clone(&self.classified),
        };
        self.release_analysed(pending, unit, operation, analysed, obligations, turn)
    }

    fn release_analysed(
        &mut self,
        pending: Pending,
        unit: UnitId,
        operation: SqlUnit,
        analysed: Analysed,
        obligations: Obligations,
        turn: &mut Turn<'_, Bytes>,
    ) -> Step {
        let rewritten = analysed
            .analysis
            .classified
            .rewritten(&obligations)
            .map(|rewritten| rewritten.text);
        if let Some(prepared) = self.prepared_as(&pending)
            && prepared != rewritten
        {
            self.reject_outdated(pending, unit, turn);
            return Step::Next;
        }
        let live = Live {
            operation: Some(operation.clone()),
            obligations,
            sent: rewritten.clone(),
            ..Live::default()
        };
        if live.prepares() {
            self.names.forget_statements();
        }
        let copies_in = live.copies_in();
        self.live.insert(unit, live);
        match pending {
            Pending::Query { frames, .. } => {
                let frames = match &rewritten {
                    Some(text) => words::query(text),
                    None => frames,
                };
                turn.release(unit, frames);
                self.replies.push(Expected::of(unit, Reply::Query));
                if copies_in {
                    Step::Wait(Waiting::Copy)
                } else {
                    Step::Next
                }
            }
            Pending::Parse { frames, text, name } => {
                let frames = match &rewritten {
                    Some(text) => words::parse_of(&frames, text),
                    None => frames,
                };
                turn.release(unit, frames);
                let statement = Statement {
                    text,
                    rewritten,
                    analysed,
                    epoch: self.epoch,
                };
                self.replies
                    .push(Expected::of(unit, Reply::Parse(name, Arc::new(statement))));
                Step::Next
            }
            Pending::Bind {
                frames,
                portal,
                in_parts,
                ..
            } => {
                if in_parts {
                    turn.release_stream(unit, frames);
                    self.in_parts = Some(InParts::Released(unit));
                } else {
                    turn.release(unit, frames);
                }
                let made = Portal {
                    operation,
                    unit: Some(unit),
                    described: false,
                    rewritten,
                };
                self.replies
                    .push(Expected::of(unit, Reply::Bind(portal, made)));
                Step::Next
            }
            Pending::Execute { frames, portal, .. } => {
                let mut described = false;
                if let Meaning::Known(known) = self.names.portal(&portal, &mut self.replies) {
                    known.unit = Some(unit);
                    // The plan belongs to the unit; this one has none yet.
                    described = false;
                    known.described = false;
                }
                self.execute(unit, frames, portal, described, turn)
            }
        }
    }
}

impl Relay {
    /// What the target has in place of the text that a Bind or Execute runs; `None` for messages
    /// that bring their own text.
    fn prepared_as(&mut self, pending: &Pending) -> Option<Option<Arc<str>>> {
        match pending {
            Pending::Query { .. } | Pending::Parse { .. } => None,
            Pending::Bind { rewritten, .. } => Some(rewritten.clone()),
            Pending::Execute { portal, .. } => match self.names.portal(portal, &mut self.replies) {
                Meaning::Known(known) => Some(known.rewritten.clone()),
                // Gone meanwhile: nothing is known to be masked.
                Meaning::Unknown | Meaning::Undecided => Some(None),
            },
        }
    }

    /// What the target holds under this name was masked otherwise than is now decided: policy,
    /// classification or catalogue have changed since.
    fn reject_outdated(&mut self, pending: Pending, unit: UnitId, turn: &mut Turn<'_, Bytes>) {
        turn.finish(unit, UnitEnd::of(Outcome::NotExecuted));
        let denial = Denial::new(
            Reason::Protocol,
            "cached plan must not change result type: what is masked has changed since this statement was prepared",
        )
        .with_hint("Prepare the statement again.");
        turn.refuse(denial.clone());
        self.reject(pending, denial, turn);
    }
}

/// What the target takes, or ignores, while it copies (PostgreSQL 18, "COPY Operations").
fn belongs_in_copy(message: &Frontend<'_>) -> bool {
    matches!(
        message,
        Frontend::CopyData(_)
            | Frontend::CopyDone(_)
            | Frontend::CopyFail(_)
            | Frontend::Flush(_)
            | Frontend::Sync(_)
            | Frontend::Terminate(_)
    )
}

/// Whether a Terminate stands among the complete messages of `input`.
fn says_goodbye(input: &[u8]) -> bool {
    let mut rest = input;
    while let Ok(Some(header)) = peek_header(rest) {
        if header.tag == tag::frontend::TERMINATE {
            return true;
        }
        match rest.get(header.frame_len()..) {
            Some(next) => rest = next,
            None => return false,
        }
    }
    false
}
