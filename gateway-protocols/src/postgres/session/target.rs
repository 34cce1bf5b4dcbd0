//! The target's messages: walked in place, matched to the replies it owes, and delivered as they
//! came wherever nothing has to be masked, scrubbed or kept.

use bytes::{Buf, Bytes, BytesMut};
use gateway_core::{
    operation::{Rewrite, Shape},
    record::{CompletedCommand, Outcome, STATEMENTS_LISTED_MAX},
    wire::{Side, Turn, WireError},
};

use super::{
    origins, pins,
    plan::Plan,
    relay::{Relay, Result},
    report, words,
};
use crate::postgres::{
    frame::{self, Admission, Frame, peek_header},
    message::{
        CommandComplete, ErrorResponse, Message, NoticeResponse, NotificationResponse,
        ParameterStatus, ReadyForQuery, ReportField, ReportFields, RowDescription, Severity,
        TransactionStatus, backend_length, tag::backend as tag,
    },
    reply::{Refusal, Reply},
};

/// Rebuilt bytes that are delivered at the latest.
const REBUILT_BYTES_MAX: usize = 64 << 10;

/// What becomes of a message of the target.
enum Delivery {
    /// It leaves as it came.
    Forward,
    /// It was an answer to the gateway's own question.
    Keep,
    /// What was appended to `rebuilt` leaves in its place.
    Rebuilt,
}

impl Relay {
    pub(super) fn receive_target(
        &mut self,
        input: &mut BytesMut,
        turn: &mut Turn<'_, Bytes>,
    ) -> Result<()> {
        loop {
            if !self.target_frames.at_boundary() {
                if !self.deliver_part(input, turn)? {
                    return Ok(());
                }
                continue;
            }
            let streams = self.walk(input, turn)?;
            self.after_run(turn);
            self.resume(turn)?;
            if !streams || !self.deliver_head(input, turn)? {
                return Ok(());
            }
        }
    }

    /// Walks the complete messages at the front of `input` and delivers them. `true` when it
    /// stopped at a message that comes in parts.
    fn walk(&mut self, input: &mut BytesMut, turn: &mut Turn<'_, Bytes>) -> Result<bool> {
        let mut run = 0;
        let streams = loop {
            let rest = input.get(run..).unwrap_or_default();
            let Some(header) = peek_header(rest).map_err(malformed)? else {
                break false;
            };
            let admitted = self.target_frames.limits().admit(header, backend_length);
            if admitted.map_err(malformed)? == Admission::Streamed {
                break true;
            }
            let len = header.frame_len();
            let Some(message) = rest.get(..len) else {
                break false;
            };
            if self.may_rebuild(header.tag) {
                // What is rebuilt goes behind the run before it.
                self.rebuilt
                    .extend_from_slice(input.get(..run).unwrap_or_default());
                let message = input.get(run..run + len).unwrap_or_default();
                let message = Bytes::copy_from_slice(frame::body(message));
                input.advance(run + len);
                run = 0;
                match self.on_rebuildable(header.tag, &message)? {
                    Delivery::Forward => {
                        self.rebuilt
                            .extend_from_slice(&header_bytes(header.tag, message.len()));
                        self.rebuilt.extend_from_slice(&message);
                    }
                    Delivery::Rebuilt | Delivery::Keep => {}
                }
                if self.rebuilt.len() > REBUILT_BYTES_MAX {
                    turn.reply(self.rebuilt.split().freeze());
                }
                continue;
            }
            let body = frame::body(message);
            match self.on_forward(header.tag, body)? {
                Delivery::Forward => run += len,
                Delivery::Keep | Delivery::Rebuilt => {
                    self.deliver_run(input, run, turn);
                    input.advance(len);
                    run = 0;
                }
            }
        };
        self.deliver_run(input, run, turn);
        Ok(streams)
    }

    /// Delivers what was rebuilt, and behind it the run at the front of `input`.
    fn deliver_run(&mut self, input: &mut BytesMut, run: usize, turn: &mut Turn<'_, Bytes>) {
        if !self.rebuilt.is_empty() {
            turn.reply(self.rebuilt.split().freeze());
        }
        if run > 0 {
            turn.reply(input.split_to(run).freeze());
        }
    }

    fn after_run(&mut self, turn: &mut Turn<'_, Bytes>) {
        self.finish_ended(turn);
        if self.catalogue_changed
            && self.status == TransactionStatus::Idle
            && self.replies.is_empty()
        {
            self.catalogue_changed = false;
            self.epoch += 1;
            self.cache.clear();
            turn.tell(gateway_core::wire::Question::CatalogueChanged);
        }
    }

    /// Delivers the start of a message in parts.
    fn deliver_head(&mut self, input: &mut BytesMut, turn: &mut Turn<'_, Bytes>) -> Result<bool> {
        let frame = self
            .target_frames
            .decode(input, backend_length)
            .map_err(malformed)?;
        let Some(Frame::Head {
            tag,
            frame_len,
            bytes,
        }) = frame
        else {
            return Ok(false);
        };
        let guarded = self.front_live().is_some_and(|live| {
            live.is_guarded()
                && !live.is_masked_at_source()
                && live.plan.as_ref().is_none_or(|plan| !plan.is_clear())
        });
        if guarded {
            return Err(WireError::incident("a row is too large to be masked"));
        }
        if tag == tag::DATA_ROW {
            self.count_row(frame_len)?;
        }
        turn.reply(bytes);
        Ok(true)
    }

    fn deliver_part(&mut self, input: &mut BytesMut, turn: &mut Turn<'_, Bytes>) -> Result<bool> {
        let frame = self
            .target_frames
            .decode(input, backend_length)
            .map_err(malformed)?;
        let Some(Frame::Part { bytes, last }) = frame else {
            return Ok(false);
        };
        turn.reply(bytes);
        if last {
            for notice in std::mem::take(&mut self.notices) {
                turn.reply(notice);
            }
        }
        Ok(true)
    }

    /// Whether a message of this tag may leave changed.
    fn may_rebuild(&self, tag: u8) -> bool {
        match tag {
            tag::DATA_ROW => self
                .front_live()
                .is_some_and(|live| live.plan.as_ref().is_some_and(|plan| !plan.is_clear())),
            tag::ROW_DESCRIPTION => self.masked_next().is_some(),
            tag::ERROR_RESPONSE => true,
            tag::NOTICE_RESPONSE | tag::NOTIFICATION_RESPONSE => !self.classified.is_empty(),
            _ => false,
        }
    }

    /// Messages that may leave changed.
    fn on_rebuildable(&mut self, tag: u8, body: &[u8]) -> Result<Delivery> {
        match tag {
            tag::DATA_ROW => self.on_masked_row(body),
            tag::ROW_DESCRIPTION => self.on_row_description(body),
            tag::ERROR_RESPONSE => self.on_error(&ErrorResponse::parse(body).map_err(malformed)?.0),
            tag::NOTICE_RESPONSE => {
                let fields = NoticeResponse::parse(body).map_err(malformed)?.0;
                if !self.withholds(&fields) {
                    return Ok(Delivery::Forward);
                }
                let rebuilt = report::scrubbed(tag, &fields, self.told(self.front_unit()));
                self.rebuilt.extend_from_slice(&rebuilt);
                Ok(Delivery::Rebuilt)
            }
            _ => {
                // A trigger may have put anything into a payload, on anybody's behalf.
                let note = NotificationResponse::parse(body).map_err(malformed)?;
                let blank = NotificationResponse {
                    payload: b"",
                    ..note
                };
                self.rebuilt
                    .extend_from_slice(&words::encoded(|out| blank.encode(out)));
                Ok(Delivery::Rebuilt)
            }
        }
    }

    fn on_masked_row(&mut self, body: &[u8]) -> Result<Delivery> {
        let before = self.rebuilt.len();
        let unit = self.front_unit();
        let Some(live) = unit.and_then(|unit| self.live.get_mut(&unit)) else {
            return Err(unexpected(tag::DATA_ROW));
        };
        let Some(plan) = &mut live.plan else {
            return Err(unexpected(tag::DATA_ROW));
        };
        plan.mask(body, &mut self.rebuilt)?;
        live.counters.rows_returned += 1;
        live.counters.bytes_returned += (self.rebuilt.len() - before) as u64;
        Ok(Delivery::Rebuilt)
    }

    /// Messages that leave as they came, or not at all.
    fn on_forward(&mut self, tag: u8, body: &[u8]) -> Result<Delivery> {
        match tag {
            tag::DATA_ROW => self.count_row(body.len() + frame::HEADER_BYTES)?,
            tag::ROW_DESCRIPTION => return self.on_row_description(body),
            tag::COMMAND_COMPLETE => {
                let complete = CommandComplete::parse(body).map_err(malformed)?;
                let name = String::from_utf8_lossy(complete.tag).into_owned();
                let rows = complete.rows().unwrap_or(0);
                self.on_execution_end(tag, Some(CompletedCommand { tag: name, rows }))?;
            }
            tag::EMPTY_QUERY_RESPONSE => self.on_execution_end(tag, None)?,
            tag::PORTAL_SUSPENDED => self.on_suspended()?,
            tag::READY_FOR_QUERY => {
                self.on_ready(&ReadyForQuery::parse(body).map_err(malformed)?)?
            }
            tag::PARSE_COMPLETE => self.on_parsed()?,
            tag::BIND_COMPLETE => self.on_bound()?,
            tag::CLOSE_COMPLETE => self.on_closed()?,
            tag::NO_DATA => return self.on_no_data(),
            tag::PARAMETER_DESCRIPTION => {
                self.front_is(|reply| matches!(reply, Reply::DescribeStatement(_)), tag)?
            }
            tag::COPY_IN_RESPONSE => self.on_copy_in()?,
            tag::COPY_OUT_RESPONSE => self.on_copy_out()?,
            tag::COPY_DATA | tag::COPY_DONE => {
                self.front_is(
                    |reply| matches!(reply, Reply::Query | Reply::Execute(_)),
                    tag,
                )?;
                self.count_bytes(body.len() + frame::HEADER_BYTES);
            }
            tag::PARAMETER_STATUS => {
                pins::check(&ParameterStatus::parse(body).map_err(malformed)?)?
            }
            tag::NOTICE_RESPONSE | tag::NOTIFICATION_RESPONSE => {}
            // Authentication, keys, version negotiation, replication and function results have no
            // place in a session.
            _ => return Err(unexpected(tag)),
        }
        Ok(Delivery::Forward)
    }

    fn front_is(&self, is: impl Fn(&Reply) -> bool, tag: u8) -> Result<()> {
        match self.replies.front() {
            Some(expected) if is(&expected.reply) => Ok(()),
            Some(_) | None => Err(unexpected(tag)),
        }
    }

    fn front_unit(&self) -> Option<gateway_core::id::UnitId> {
        self.replies.front().and_then(|expected| expected.unit)
    }

    fn front_live(&self) -> Option<&super::relay::Live> {
        self.front_unit().and_then(|unit| self.live.get(&unit))
    }

    fn count_row(&mut self, len: usize) -> Result<()> {
        self.front_is(
            |reply| matches!(reply, Reply::Query | Reply::Execute(_)),
            tag::DATA_ROW,
        )?;
        let has_classified = !self.classified.is_empty();
        let unit = self.front_unit();
        let Some(live) = unit.and_then(|unit| self.live.get_mut(&unit)) else {
            return Err(unexpected(tag::DATA_ROW));
        };
        if has_classified && live.plan.is_none() {
            return Err(WireError::incident("rows came without a description"));
        }
        live.counters.rows_returned += 1;
        live.counters.bytes_returned += len as u64;
        Ok(())
    }

    fn count_bytes(&mut self, len: usize) {
        let unit = self.front_unit();
        if let Some(live) = unit.and_then(|unit| self.live.get_mut(&unit)) {
            live.counters.bytes_returned += len as u64;
        }
    }

    fn on_row_description(&mut self, body: &[u8]) -> Result<Delivery> {
        let restored = self.restored(body)?;
        let Some(expected) = self.replies.front() else {
            return Err(unexpected(tag::ROW_DESCRIPTION));
        };
        let (unit, pops, ours) = match &expected.reply {
            Reply::Query => (expected.unit, false, false),
            Reply::DescribeStatement(_) => (None, true, false),
            Reply::DescribePortal(portal) => {
                let portal = portal.clone();
                (
                    self.names.confirmed_portal(&portal).and_then(|p| p.unit),
                    true,
                    false,
                )
            }
            Reply::ProbePortal(_) => (expected.unit, true, true),
            _ => return Err(unexpected(tag::ROW_DESCRIPTION)),
        };
        if !self.classified.is_empty()
            && let Some(live) = unit.and_then(|unit| self.live.get_mut(&unit))
        {
            let description = RowDescription::parse(body).map_err(malformed)?;
            if let Some(mut earlier) = live.plan.take() {
                earlier.count_into(&mut live.masked);
            }
            let shape = live
                .operation
                .as_ref()
                .map(|sql| &sql.analysis.classified.shape);
            let untouched = Shape::Untouched;
            let shape = shape.unwrap_or(&untouched);
            let plan = Plan::new(&description, &live.obligations, &self.classified, shape)?;
            live.plan = Some(plan);
        }
        if pops {
            self.replies.pop();
        }
        Ok(match restored {
            _ if ours => Delivery::Keep,
            // Only now: what was checked is what the target said.
            Some(description) => {
                self.rebuilt.extend_from_slice(&description);
                Delivery::Rebuilt
            }
            None => Delivery::Forward,
        })
    }

    /// What was masked at its sources among what the description that comes next may be of.
    fn masked_next(&self) -> Option<&Rewrite> {
        let expected = self.replies.front()?;
        let analysis = match &expected.reply {
            Reply::Query => {
                let live = self.front_live().filter(|live| live.sent.is_some())?;
                &live.operation.as_ref()?.analysis
            }
            Reply::DescribeStatement(name) => {
                let statement = self.names.confirmed_statement(name)?;
                statement.rewritten.as_ref()?;
                &statement.analysed.analysis
            }
            Reply::DescribePortal(name) => {
                let portal = self.names.confirmed_portal(name)?;
                portal.rewritten.as_ref()?;
                &portal.operation.analysis
            }
            _ => return None,
        };
        match &analysis.classified.shape {
            Shape::Rewritten(rewrite) => Some(rewrite),
            Shape::Untouched | Shape::Plain { .. } | Shape::Beyond { .. } => None,
        }
    }

    /// The description with the origins that masks at the source took away; `None` where there are
    /// none to restore.
    fn restored(&self, body: &[u8]) -> Result<Option<Bytes>> {
        let Some(rewrite) = self.masked_next() else {
            return Ok(None);
        };
        let description = RowDescription::parse(body).map_err(malformed)?;
        Ok(origins::restored(
            &description,
            rewrite.outputs(),
            &self.classified,
        ))
    }

    fn on_no_data(&mut self) -> Result<Delivery> {
        match self.replies.pop().map(|expected| expected.reply) {
            Some(Reply::ProbePortal(_)) => Ok(Delivery::Keep),
            Some(Reply::DescribeStatement(_) | Reply::DescribePortal(_)) => Ok(Delivery::Forward),
            Some(_) | None => Err(unexpected(tag::NO_DATA)),
        }
    }

    fn on_parsed(&mut self) -> Result<()> {
        let Some(expected) = self.replies.pop() else {
            return Err(unexpected(tag::PARSE_COMPLETE));
        };
        let (Reply::Parse(name, statement), Some(unit)) = (expected.reply, expected.unit) else {
            return Err(unexpected(tag::PARSE_COMPLETE));
        };
        self.names.define_statement(name, statement);
        self.end(unit, Outcome::Completed);
        Ok(())
    }

    fn on_bound(&mut self) -> Result<()> {
        let Some(Reply::Bind(name, portal)) = self.replies.pop().map(|expected| expected.reply)
        else {
            return Err(unexpected(tag::BIND_COMPLETE));
        };
        if let Some(replaced) = self.names.define_portal(name, portal) {
            self.abandon(replaced);
        }
        Ok(())
    }

    fn on_closed(&mut self) -> Result<()> {
        match self.replies.pop().map(|expected| expected.reply) {
            Some(Reply::CloseStatement(name)) => self.names.close_statement(&name),
            Some(Reply::ClosePortal(name)) => {
                if let Some(unit) = self.names.close_portal(&name) {
                    self.abandon(unit);
                }
            }
            Some(_) | None => return Err(unexpected(tag::CLOSE_COMPLETE)),
        }
        Ok(())
    }

    /// A portal is gone before its unit finished: it was never run, or not to its end.
    fn abandon(&mut self, unit: gateway_core::id::UnitId) {
        let started = self
            .live
            .get(&unit)
            .is_some_and(|live| live.counters.rows_returned > 0);
        self.end(
            unit,
            if started {
                Outcome::Completed
            } else {
                Outcome::NotExecuted
            },
        );
    }

    fn on_execution_end(&mut self, tag: u8, command: Option<CompletedCommand>) -> Result<()> {
        self.front_is(
            |reply| matches!(reply, Reply::Query | Reply::Execute(_)),
            tag,
        )?;
        let unit = self.front_unit().ok_or(unexpected(tag))?;
        let Some(live) = self.live.get_mut(&unit) else {
            return Err(unexpected(tag));
        };
        if let Some(command) = command {
            live.counters.rows_affected += affected(&command);
            if live.commands.len() < STATEMENTS_LISTED_MAX {
                live.commands.push(command);
            }
        }
        self.replies.mark_answered();
        if self.status == TransactionStatus::Failed {
            // Nothing else completes there than what ends it. The next ReadyForQuery tells more.
            self.status = TransactionStatus::InTransaction;
        }
        if self.copy_in.take().is_some() || live.copies_in() {
            self.replies.forget_stray_syncs();
        }
        if matches!(self.replies.front(), Some(front) if matches!(front.reply, Reply::Execute(_))) {
            live.executions = live.executions.saturating_sub(1);
            let last = live.executions == 0;
            self.replies.pop();
            if last {
                self.end(unit, Outcome::Completed);
            }
        }
        Ok(())
    }

    fn on_suspended(&mut self) -> Result<()> {
        self.front_is(
            |reply| matches!(reply, Reply::Execute(_)),
            tag::PORTAL_SUSPENDED,
        )?;
        let unit = self.front_unit();
        if let Some(live) = unit.and_then(|unit| self.live.get_mut(&unit)) {
            live.executions = live.executions.saturating_sub(1);
        }
        self.replies.pop();
        Ok(())
    }

    fn on_ready(&mut self, ready: &ReadyForQuery) -> Result<()> {
        if !self.replies.take_stray_ready() {
            self.end_exchange()?;
        }
        self.copy_in = None;
        self.status = ready.status;
        if ready.status == TransactionStatus::Idle {
            for unit in self.names.close_portals() {
                self.abandon(unit);
            }
        }
        Ok(())
    }

    /// The Query or the Sync that comes next is over.
    fn end_exchange(&mut self) -> Result<()> {
        // After an error everything up to the Sync was skipped.
        for skipped in self.replies.skip_to_ready() {
            if let Some(unit) = skipped.unit {
                self.end(unit, Outcome::Skipped);
            }
        }
        let ended = self.replies.pop_ready();
        let expected = ended.ok_or(unexpected(tag::READY_FOR_QUERY))?;
        if let (Reply::Query, Some(unit)) = (&expected.reply, expected.unit) {
            let failed = self.live.get_mut(&unit).and_then(|live| live.failed.take());
            self.end(
                unit,
                failed.map_or(Outcome::Completed, |code| Outcome::Failed { code }),
            );
        }
        Ok(())
    }

    fn on_copy_in(&mut self) -> Result<()> {
        let Some(unit) = self
            .front_live()
            .filter(|live| live.copies_in())
            .and(self.front_unit())
        else {
            return Err(unexpected(tag::COPY_IN_RESPONSE));
        };
        self.copy_in = Some(unit);
        self.replies.drop_trailing_syncs();
        Ok(())
    }

    fn on_copy_out(&mut self) -> Result<()> {
        self.front_is(
            |reply| matches!(reply, Reply::Query | Reply::Execute(_)),
            tag::COPY_OUT_RESPONSE,
        )?;
        if self
            .front_live()
            .is_some_and(|live| live.is_guarded() && !live.is_masked_at_source())
        {
            return Err(WireError::incident("COPY out of a classified relation"));
        }
        Ok(())
    }

    /// Whether a report's text must not leave: it may hold a value that is masked for this agent.
    ///
    /// Beside classified data that is so for what code in the database says, too: code that the
    /// analysis knew of was refused, or all of what it reaches is revealed; what runs all the same
    /// is a row security policy, or came after the analysis.
    fn withholds(&self, fields: &ReportFields<'_>) -> bool {
        let live = self.front_live();
        let revealed = live.is_some_and(|live| !live.obligations.reveal.is_empty());
        live.is_some_and(super::relay::Live::is_guarded)
            || (!self.classified.is_empty() && !revealed && report::comes_from_code(fields))
    }

    fn on_error(&mut self, fields: &ReportFields<'_>) -> Result<Delivery> {
        let code = fields.get(ReportField::Code).unwrap_or_default();
        let code = String::from_utf8_lossy(code).into_owned();
        let withheld = self.withholds(fields);
        let about = self.front_unit();
        let fatal = is_fatal(fields);
        // The target says itself why the session ends.
        self.farewell_said |= fatal;
        self.replies.mark_answered();
        let mut refusal = None;
        match self.replies.front_mut() {
            // The session's own end: nothing was asked for it.
            None => {}
            Some(front) => {
                // What ends the session is no answer to what stands in for a refused message.
                refusal = front.refusal.take_if(|_| !fatal);
                let unit = front.unit;
                if matches!(front.reply, Reply::Query) {
                    if fatal && let Some(unit) = unit {
                        // No ReadyForQuery follows.
                        self.end(unit, Outcome::Failed { code });
                    } else if let Some(live) = unit.and_then(|unit| self.live.get_mut(&unit)) {
                        live.failed = Some(code);
                    }
                } else if !matches!(front.reply, Reply::Sync) {
                    self.fail_batch(&code);
                }
            }
        }
        self.copy_in = None;
        if let Some(refusal) = refusal {
            let report = if refusal.yields && self.status == TransactionStatus::Failed {
                words::aborted()
            } else {
                let Refusal {
                    denial,
                    code,
                    position,
                    ..
                } = refusal;
                words::refusal(Severity::Error, code, &denial, position)
            };
            self.rebuilt.extend_from_slice(&report);
            return Ok(Delivery::Rebuilt);
        }
        if withheld {
            let rebuilt = report::scrubbed(tag::ERROR_RESPONSE, fields, self.told(about));
            self.rebuilt.extend_from_slice(&rebuilt);
            return Ok(Delivery::Rebuilt);
        }
        Ok(Delivery::Forward)
    }

    /// What a report about this unit may speak of.
    fn told(&self, unit: Option<gateway_core::id::UnitId>) -> report::Told<'_> {
        let live = unit.and_then(|unit| self.live.get(&unit));
        report::Told {
            text: live
                .and_then(|live| live.operation.as_ref())
                .map_or("", |sql| &sql.text),
            sent: live.and_then(|live| live.sent.as_deref()),
            classified: &self.classified,
        }
    }

    /// The first outstanding message of the extended protocol failed; the target skips the rest.
    fn fail_batch(&mut self, code: &str) {
        for (index, expected) in self.replies.skip_to_sync().into_iter().enumerate() {
            let Some(unit) = expected.unit else { continue };
            let outcome = if index == 0 {
                Outcome::Failed {
                    code: code.to_owned(),
                }
            } else {
                Outcome::Skipped
            };
            self.end(unit, outcome);
        }
    }
}

/// Whether the target ends the session with this report (PostgreSQL 18, "Error and Notice Message
/// Fields").
fn is_fatal(fields: &ReportFields<'_>) -> bool {
    matches!(
        fields.get(ReportField::SeverityNonLocalized),
        Some(b"FATAL" | b"PANIC")
    )
}

/// Rows that a command changed; reading and moving change none.
fn affected(command: &CompletedCommand) -> u64 {
    let changes = ["INSERT", "UPDATE", "DELETE", "MERGE", "COPY"];
    let name = command.tag.split(' ').next().unwrap_or_default();
    if changes.contains(&name) {
        command.rows
    } else {
        0
    }
}

fn header_bytes(tag: u8, body_len: usize) -> [u8; 5] {
    // INVARIANT: the body came out of a frame whose length fitted.
    let [a, b, c, d] = u32::try_from(body_len + 4)
        .unwrap_or(u32::MAX)
        .to_be_bytes();
    [tag, a, b, c, d]
}

fn malformed(error: impl std::fmt::Display) -> WireError {
    WireError::protocol(Side::Target, error.to_string())
}

fn unexpected(tag: u8) -> WireError {
    WireError::protocol(
        Side::Target,
        format!("an unexpected message {}", tag.escape_ascii()),
    )
}
