//! The relay: what both directions share.

use std::{collections::BTreeMap, sync::Arc};

use bytes::{Bytes, BytesMut};
use gateway_core::{
    catalogue::ColumnId,
    decision::Denial,
    id::{AskId, UnitId},
    limits::Limits,
    mask::{Classified, MaskCount, Obligations},
    operation::{Action, Shape, SqlStage, SqlUnit},
    record::{CloseReason, CompletedCommand, Counters, Outcome, UnitEnd},
    wire::{Answer, Control, Event, Question, Side, Turn, WireError},
};

use super::{
    agent::Step, cache::Cache, login::Established, names::Names, pending::Pending, plan::Plan,
    words,
};
use crate::postgres::{
    frame::Decoder,
    message::{CancelRequest, Flush, Message, StartupPacket, Terminate, TransactionStatus},
    reply::{Expected, Refusal, Reply, ReplyQueue},
};

pub(super) type Result<T> = std::result::Result<T, WireError>;

/// An established session.
#[derive(Debug)]
pub(super) struct Relay {
    pub(super) replies: ReplyQueue,
    pub(super) names: Names,
    pub(super) cache: Cache,
    pub(super) live: BTreeMap<UnitId, Live>,
    /// Units that ended within the run of messages being walked: finished behind its bytes.
    pub(super) ended: Vec<(UnitId, Outcome)>,
    pub(super) status: TransactionStatus,
    pub(super) waiting: Option<Waiting>,
    pub(super) classified: Arc<Classified>,
    /// Counts changes of policy and catalogue: what was analysed in an older epoch is stale.
    pub(super) epoch: u64,
    pub(super) copy_in: Option<UnitId>,
    /// A message of the agent too large to hold is on its way.
    pub(super) in_parts: Option<InParts>,
    pub(super) catalogue_changed: bool,
    /// Something was executed and no Sync sent since: the target is in an implicit transaction.
    pub(super) batch_open: bool,
    /// The agent won't send more than what is buffered.
    pub(super) agent_eof: bool,
    /// The target was told goodbye on the agent's behalf.
    pub(super) agent_gone: bool,
    /// The agent has been told why the session ends.
    pub(super) farewell_said: bool,
    pub(super) agent_frames: Decoder,
    pub(super) target_frames: Decoder,
    /// Rebuilt messages on their way to the agent.
    pub(super) rebuilt: BytesMut,
    /// Notices of our own that wait for the end of a message in parts.
    pub(super) notices: Vec<Bytes>,
    pub(super) outstanding_max: usize,
    pub(super) prepared_max: usize,
    target_key: (i32, Bytes),
}

/// Why no more of the agent's messages are taken.
#[derive(Debug)]
pub(super) enum Waiting {
    /// For an analysis.
    Analysis(AskId, Pending),
    /// For reviewers.
    Ruling(UnitId, Pending),
    /// For replies of the target, without which this can't be understood.
    Replies(Pending),
    /// For what the target says to COPY.
    Copy,
}

/// A Bind or CopyData too large to hold, passing through. Where its head went, all of it goes:
/// anything else would let the target take later messages for the rest of this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InParts {
    /// To the target. The unit doesn't finish before the last part.
    Released(UnitId),
    /// To nowhere: it was refused, or the target would ignore it.
    Dropped,
}

/// A unit that was released and hasn't finished.
#[derive(Debug, Default)]
pub(super) struct Live {
    pub(super) operation: Option<SqlUnit>,
    pub(super) obligations: Obligations,
    /// What the target got in place of the text.
    pub(super) sent: Option<Arc<str>>,
    pub(super) plan: Option<Plan>,
    pub(super) counters: Counters,
    pub(super) commands: Vec<CompletedCommand>,
    pub(super) masked: BTreeMap<ColumnId, MaskCount>,
    /// Executions sent whose answer is outstanding.
    pub(super) executions: u32,
    pub(super) failed: Option<String>,
}

impl Live {
    /// Whether something this unit can reach must be masked: its errors tell too much.
    pub(super) fn is_guarded(&self) -> bool {
        !self.obligations.masks.is_empty()
    }

    /// Whether what the target sends is masked already.
    pub(super) fn is_masked_at_source(&self) -> bool {
        self.operation
            .as_ref()
            .is_some_and(|sql| matches!(sql.analysis.classified.shape, Shape::Rewritten(_)))
    }

    /// Names what the target masked in an execution: it hands out no counts of values.
    fn count_at_source(&mut self) {
        let runs = |sql: &SqlUnit| sql.stage != SqlStage::Prepare;
        if !self.is_masked_at_source() || !self.operation.as_ref().is_some_and(runs) {
            return;
        }
        for column in self.obligations.masks.values() {
            self.masked.entry(column.id).or_insert_with(|| MaskCount {
                column: column.path(),
                class: column.class.clone(),
                method: column.transform.method(),
                seen: 0,
                masked: 0,
            });
        }
    }

    fn changes_catalogue(&self) -> bool {
        self.operation
            .as_ref()
            .is_some_and(|sql| sql.analysis.statements.iter().any(|s| s.changes_catalogue))
    }

    fn controls_transaction(&self) -> bool {
        self.operation.as_ref().is_some_and(|sql| {
            sql.analysis
                .statements
                .iter()
                .any(|s| s.controls_transaction)
        })
    }

    /// Whether it may give a statement's name another meaning by SQL's own PREPARE.
    pub(super) fn prepares(&self) -> bool {
        self.operation.as_ref().is_some_and(|sql| {
            sql.stage != SqlStage::Prepare
                && sql
                    .analysis
                    .statements
                    .iter()
                    .any(|s| s.command == "PREPARE")
        })
    }

    pub(super) fn copies_in(&self) -> bool {
        self.operation.as_ref().is_some_and(|sql| {
            sql.analysis
                .effects
                .iter()
                .any(|effect| effect.action == Action::SqlCopyIn)
        })
    }
}

impl Relay {
    pub(super) fn new(
        established: Established,
        agent_frames: Decoder,
        target_frames: Decoder,
        limits: &Limits,
    ) -> Self {
        Self {
            replies: ReplyQueue::default(),
            names: Names::default(),
            cache: Cache::new(limits.statement_cache_bytes_max),
            live: BTreeMap::new(),
            ended: Vec::new(),
            status: TransactionStatus::Idle,
            waiting: None,
            classified: Arc::default(),
            epoch: 0,
            copy_in: None,
            in_parts: None,
            catalogue_changed: false,
            batch_open: false,
            agent_eof: false,
            agent_gone: false,
            farewell_said: false,
            agent_frames,
            target_frames,
            rebuilt: BytesMut::new(),
            notices: Vec::new(),
            outstanding_max: limits.outstanding_max,
            prepared_max: limits.prepared_max,
            target_key: established.target_key,
        }
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    pub(super) fn notify(&mut self, event: Event, turn: &mut Turn<'_, Bytes>) -> Result<()> {
        match event {
            Event::Answer(id, answer) => self.on_answer(id, answer, turn),
            Event::Ruled(unit, ruled) => self.on_ruled(unit, ruled, turn),
            Event::CancelRequested => {
                self.on_cancel(turn);
                Ok(())
            }
            Event::Stale => {
                self.epoch += 1;
                self.cache.clear();
                // What was asked before may be answered by what holds no longer.
                match self.waiting.take() {
                    Some(Waiting::Analysis(_, pending)) => {
                        self.waiting = Some(self.ask(pending, turn));
                    }
                    waiting => self.waiting = waiting,
                }
                Ok(())
            }
            Event::Eof(Side::Agent) => {
                self.agent_eof = true;
                if matches!(self.waiting, None | Some(Waiting::Ruling(..))) {
                    self.agent_left(turn);
                }
                Ok(())
            }
            Event::Eof(Side::Target) => {
                let reason = if self.agent_gone {
                    CloseReason::AgentClosed
                } else {
                    if !self.farewell_said {
                        self.say(turn, words::farewell(&CloseReason::TargetClosed));
                    }
                    CloseReason::TargetClosed
                };
                turn.close(reason);
                Ok(())
            }
            Event::Closing(reason) => {
                self.withdraw(turn);
                if !self.farewell_said && !self.agent_gone {
                    self.say(turn, words::farewell(&reason));
                }
                let goodbye = words::encoded(|out| Terminate.encode(out));
                turn.pass(Control::Goodbye, goodbye);
                Ok(())
            }
            Event::Started | Event::TlsReady(..) | Event::Connected | Event::ConnectFailed(_) => {
                Ok(())
            }
        }
    }

    fn on_answer(&mut self, id: AskId, answer: Answer, turn: &mut Turn<'_, Bytes>) -> Result<()> {
        let pending = match self.waiting.take() {
            Some(Waiting::Analysis(asked, pending)) if asked == id => pending,
            waiting => {
                self.waiting = waiting;
                return Ok(());
            }
        };
        match answer {
            Answer::Analysed(analysed) => {
                self.classified = Arc::clone(&analysed.classified);
                self.cache.insert(pending.text(), &analysed);
                let step = self.decide(pending, analysed, turn);
                self.settle(step);
                Ok(())
            }
            _ => {
                let denial = Denial::new(
                    gateway_core::decision::Reason::NoAnswer,
                    "the statement couldn't be analysed in time",
                );
                turn.refuse(denial.clone());
                self.reject(pending, denial, turn);
                Ok(())
            }
        }
    }

    fn on_ruled(
        &mut self,
        unit: UnitId,
        ruled: std::result::Result<Obligations, Denial>,
        turn: &mut Turn<'_, Bytes>,
    ) -> Result<()> {
        let pending = match self.waiting.take() {
            Some(Waiting::Ruling(held, pending)) if held == unit => pending,
            waiting => {
                self.waiting = waiting;
                return Ok(());
            }
        };
        match ruled {
            Ok(obligations) => {
                let step = self.release(pending, unit, obligations, turn);
                self.settle(step);
            }
            Err(denial) => {
                self.live.remove(&unit);
                self.reject(pending, denial, turn);
            }
        }
        Ok(())
    }

    /// A cancel request with this session's key: it ends a wait for reviewers, or goes on to the
    /// target.
    fn on_cancel(&mut self, turn: &mut Turn<'_, Bytes>) {
        if let Some(pending) = self.withdraw(turn) {
            let denial = Denial::new(
                gateway_core::decision::Reason::Withdrawn,
                "canceling statement due to user request",
            );
            self.reject(pending, denial, turn);
            return;
        }
        let (process_id, key) = &self.target_key;
        let cancel = StartupPacket::Cancel(CancelRequest {
            process_id: *process_id,
            key,
        });
        turn.aside(words::encoded(|out| cancel.encode(out)));
    }

    /// Ends a wait for reviewers without an answer; gives back what waited.
    pub(super) fn withdraw(&mut self, turn: &mut Turn<'_, Bytes>) -> Option<Pending> {
        match self.waiting.take() {
            Some(Waiting::Ruling(unit, pending)) => {
                turn.withdraw(unit);
                self.live.remove(&unit);
                Some(pending)
            }
            waiting => {
                self.waiting = waiting;
                None
            }
        }
    }

    /// The agent won't send any more: what it has sent runs to its end, what waits is withdrawn.
    pub(super) fn agent_left(&mut self, turn: &mut Turn<'_, Bytes>) {
        if self.agent_gone {
            return;
        }
        self.withdraw(turn);
        self.agent_gone = true;
        turn.pass(
            Control::Goodbye,
            words::encoded(|out| Terminate.encode(out)),
        );
    }

    /// Sends a message of our own to the agent, between messages of the target.
    pub(super) fn say(&mut self, turn: &mut Turn<'_, Bytes>, message: Bytes) {
        if self.target_frames.at_boundary() {
            turn.reply(message);
        } else {
            self.notices.push(message);
        }
    }

    /// Keeps what a step left to wait for.
    pub(super) fn settle(&mut self, step: Step) {
        if let Step::Wait(waiting) = step {
            self.waiting = Some(waiting);
        }
    }

    /// Asks what a text does, or waits until the target has run what changes the catalogue.
    pub(super) fn ask(&mut self, pending: Pending, turn: &mut Turn<'_, Bytes>) -> Waiting {
        let live = &self.live;
        let changing = |unit| live.get(&unit).is_some_and(Live::changes_catalogue);
        let unsettled = self.catalogue_changed && !self.replies.is_empty();
        if unsettled || super::names::awaits(self.replies.newest_first(), changing) {
            return self.await_replies(pending, turn);
        }
        let text = Arc::clone(pending.text());
        Waiting::Analysis(turn.ask(Question::AnalyseSql { text }), pending)
    }

    /// Waits until the target has answered everything. It keeps its answers to itself up to a Sync,
    /// which may stand behind what waits: a Flush of ours makes it speak.
    pub(super) fn await_replies(
        &mut self,
        pending: Pending,
        turn: &mut Turn<'_, Bytes>,
    ) -> Waiting {
        turn.pass(Control::Delimiter, words::encoded(|out| Flush.encode(out)));
        Waiting::Replies(pending)
    }

    /// A unit of this text at this stage.
    pub(super) fn sql_unit(
        &self,
        stage: SqlStage,
        pending: &Pending,
        analysis: Arc<gateway_core::operation::Analysis>,
    ) -> SqlUnit {
        SqlUnit {
            stage,
            text: Arc::clone(pending.text()),
            analysis,
            bindings: pending.bindings(),
            in_transaction: self.status != TransactionStatus::Idle
                || self.batch_open
                || self.may_begin(),
        }
    }

    /// Whether a statement under way may open a transaction block, or leave one open.
    fn may_begin(&self) -> bool {
        let live = &self.live;
        super::names::awaits(self.replies.newest_first(), |unit| {
            live.get(&unit).is_some_and(Live::controls_transaction)
        })
    }

    /// Replaces a refused message by one that the target must reject: its error, and everything
    /// the target does after an error, become the refusal's.
    pub(super) fn reject(&mut self, pending: Pending, denial: Denial, turn: &mut Turn<'_, Bytes>) {
        let code = words::code_of(denial.reason);
        self.reject_as(pending, Refusal::new(denial, code), turn);
    }

    pub(super) fn reject_as(
        &mut self,
        pending: Pending,
        refusal: Refusal,
        turn: &mut Turn<'_, Bytes>,
    ) {
        let (frames, reply) = match pending {
            Pending::Query { .. } => (words::rejected_query(), Reply::Query),
            Pending::Parse { ref name, .. } => {
                // Nothing is defined; the queue must not think so.
                (
                    words::rejected_parse(name.is_empty()),
                    Reply::Execute(Bytes::new()),
                )
            }
            Pending::Bind { in_parts, .. } => {
                if in_parts {
                    self.in_parts = Some(InParts::Dropped);
                }
                (words::rejected_bind(), Reply::Execute(Bytes::new()))
            }
            Pending::Execute { .. } => (words::rejected_execute(), Reply::Execute(Bytes::new())),
        };
        turn.pass(Control::Rejection, frames);
        self.replies.push(Expected::refused(reply, refusal));
    }

    /// Marks a unit as ended; it is finished once the bytes before are on their way.
    pub(super) fn end(&mut self, unit: UnitId, outcome: Outcome) {
        if self.live.contains_key(&unit) && !self.ended.iter().any(|(ended, _)| *ended == unit) {
            self.ended.push((unit, outcome));
        }
    }

    /// Finishes the units that ended.
    pub(super) fn finish_ended(&mut self, turn: &mut Turn<'_, Bytes>) {
        let passing = match self.in_parts {
            Some(InParts::Released(unit)) => Some(unit),
            Some(InParts::Dropped) | None => None,
        };
        let ended = std::mem::take(&mut self.ended);
        let (later, now) = ended
            .into_iter()
            .partition(|(unit, _)| Some(*unit) == passing);
        self.ended = later;
        for (unit, outcome) in now {
            let Some(mut live) = self.live.remove(&unit) else {
                continue;
            };
            if let Some(plan) = &mut live.plan {
                plan.count_into(&mut live.masked);
            }
            live.count_at_source();
            live.counters.values_masked = live.masked.values().map(|count| count.masked).sum();
            if matches!(outcome, Outcome::Completed) && live.changes_catalogue() {
                self.catalogue_changed = true;
            }
            if live.prepares() {
                // Once more: a definition that was under way has been confirmed meanwhile.
                self.names.forget_statements();
            }
            self.names.unit_finished(unit, &mut self.replies);
            let end = UnitEnd {
                outcome,
                counters: live.counters,
                commands: live.commands,
                masked: live.masked.into_values().collect(),
            };
            turn.finish(unit, end);
        }
    }
}
