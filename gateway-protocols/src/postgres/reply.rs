//! The queue of replies the target still owes, in the order it will give them.
//!
//! PostgreSQL answers strictly in order, and after an error in the extended protocol it skips
//! everything up to the next Sync (PostgreSQL 18, "Extended Query"). The queue mirrors that, so
//! that each answer finds its unit, a refusal takes the place of the error that a fixed statement
//! of ours provokes, and what was skipped is known to have been skipped.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use gateway_core::{decision::Denial, id::UnitId};

use super::{
    message::SqlState,
    session::{Portal, Statement},
};

/// One message sent to the target whose answer is outstanding.
#[derive(Debug)]
pub struct Expected {
    /// Which answer it gets.
    pub reply: Reply,
    /// The unit it belongs to.
    pub unit: Option<UnitId>,
    /// Set when the message is ours in place of a refused one: its error becomes this.
    pub refusal: Option<Refusal>,
}

/// A refusal on its way into the agent's stream.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// What the agent is told.
    pub denial: Denial,
    /// Under which SQLSTATE.
    pub code: SqlState,
    /// Character of the agent's text that it is about, from 1.
    pub position: Option<u32>,
    /// In a transaction that has failed, the target would say that instead.
    pub yields: bool,
}

impl Refusal {
    /// A refusal that is told in any state.
    #[must_use]
    pub const fn new(denial: Denial, code: SqlState) -> Self {
        Self {
            denial,
            code,
            position: None,
            yields: false,
        }
    }
}

/// What answers a message.
#[derive(Debug)]
pub enum Reply {
    /// Results, then ReadyForQuery.
    Query,
    /// ParseComplete defines the statement.
    Parse(Bytes, Arc<Statement>),
    /// BindComplete makes the portal.
    Bind(Bytes, Portal),
    /// ParameterDescription, then RowDescription or NoData for the statement.
    DescribeStatement(Bytes),
    /// RowDescription or NoData for the portal.
    DescribePortal(Bytes),
    /// As above, asked by the gateway: the answer isn't the agent's.
    ProbePortal(Bytes),
    /// Rows, then CommandComplete, EmptyQueryResponse or PortalSuspended.
    Execute(Bytes),
    /// CloseComplete.
    CloseStatement(Bytes),
    /// CloseComplete.
    ClosePortal(Bytes),
    /// ReadyForQuery.
    Sync,
}

impl Expected {
    /// An expected reply that belongs to no unit.
    #[must_use]
    pub const fn plain(reply: Reply) -> Self {
        Self {
            reply,
            unit: None,
            refusal: None,
        }
    }

    /// An expected reply of a unit.
    #[must_use]
    pub const fn of(unit: UnitId, reply: Reply) -> Self {
        Self {
            reply,
            unit: Some(unit),
            refusal: None,
        }
    }

    /// The error that a message of ours provokes.
    #[must_use]
    pub const fn refused(reply: Reply, refusal: Refusal) -> Self {
        Self {
            reply,
            unit: None,
            refusal: Some(refusal),
        }
    }
}

/// The outstanding replies.
#[derive(Debug, Default)]
pub struct ReplyQueue {
    entries: VecDeque<Expected>,
    /// The target skips whatever comes, up to a Sync that may not have been sent yet.
    skipping: bool,
    /// A result or an error has come for the first entry.
    answered: bool,
    /// Syncs sent among the rows of a COPY that hasn't succeeded: the target ignores them, but it
    /// answers those that it reads after the COPY has failed.
    stray_syncs: u32,
}

impl ReplyQueue {
    /// Adds the reply to a message just sent.
    pub fn push(&mut self, expected: Expected) {
        self.entries.push_back(expected);
    }

    /// The reply that comes next.
    pub fn front(&self) -> Option<&Expected> {
        self.entries.front()
    }

    /// The reply that comes next, to be changed.
    pub fn front_mut(&mut self) -> Option<&mut Expected> {
        self.entries.front_mut()
    }

    /// Takes the reply that came.
    pub fn pop(&mut self) -> Option<Expected> {
        self.answered = false;
        self.entries.pop_front()
    }

    /// A result or an error came for the first entry: its ReadyForQuery may follow.
    pub fn mark_answered(&mut self) {
        self.answered = true;
    }

    /// A Sync was sent among the rows of a COPY.
    pub fn add_stray_sync(&mut self) {
        self.stray_syncs = self.stray_syncs.saturating_add(1);
    }

    /// Whether a Sync was sent among the rows of the COPY under way, or of one that failed.
    #[must_use]
    pub fn has_stray_syncs(&self) -> bool {
        self.stray_syncs > 0
    }

    /// A COPY succeeded: every Sync among its rows was ignored.
    pub fn forget_stray_syncs(&mut self) {
        self.stray_syncs = 0;
    }

    /// Takes the answer to a Sync that was sent among the rows of a COPY, where the ReadyForQuery
    /// that has come can be no other's. The target skips no longer.
    pub fn take_stray_ready(&mut self) -> bool {
        let owner = if self.skipping {
            self.entries.iter().find(|e| matches!(e.reply, Reply::Sync))
        } else {
            self.entries.front()
        };
        let owned = owner.is_some_and(|expected| match expected.reply {
            Reply::Sync => true,
            Reply::Query => self.answered,
            _ => false,
        });
        if owned || self.stray_syncs == 0 {
            return false;
        }
        self.stray_syncs -= 1;
        self.skipping = false;
        true
    }

    /// Takes what the ReadyForQuery ends that has come: a Sync, or a Query that has been answered.
    pub fn pop_ready(&mut self) -> Option<Expected> {
        let answered = self.answered;
        self.pop().filter(|expected| match expected.reply {
            Reply::Sync => true,
            Reply::Query => answered,
            _ => false,
        })
    }

    /// Takes everything the target skips after an error: up to, not including, the next Sync.
    pub fn skip_to_sync(&mut self) -> Vec<Expected> {
        self.skipping = true;
        self.answered = false;
        let sync = |expected: &Expected| matches!(expected.reply, Reply::Sync);
        let end = self
            .entries
            .iter()
            .position(sync)
            .unwrap_or(self.entries.len());
        self.entries.drain(..end).collect()
    }

    /// Takes what the target skipped before the ReadyForQuery that has come: messages sent after
    /// an error and before its Sync. Empty unless there was an error.
    pub fn skip_to_ready(&mut self) -> Vec<Expected> {
        let skipped = if self.skipping {
            self.skip_to_sync()
        } else {
            Vec::new()
        };
        self.skipping = false;
        skipped
    }

    /// Whether the target will ignore whatever is sent now, up to a Sync: behind an error that it has
    /// reported, or behind a message of ours that it must reject.
    #[must_use]
    pub fn skips(&self) -> bool {
        for expected in self.newest_first() {
            match &expected.reply {
                Reply::Sync => return false,
                Reply::Query => {}
                _ if expected.refusal.is_some() => return true,
                _ => {}
            }
        }
        self.skipping
    }

    /// Takes back the Syncs at the end: in COPY IN the target ignores them.
    pub fn drop_trailing_syncs(&mut self) {
        while self.entries.len() > 1
            && matches!(
                self.entries.back(),
                Some(Expected {
                    reply: Reply::Sync,
                    ..
                })
            )
        {
            self.entries.pop_back();
        }
    }

    /// Newest first, for finding what a name will mean.
    pub fn newest_first(&self) -> impl Iterator<Item = &Expected> {
        self.entries.iter().rev()
    }

    /// Newest first, to be changed.
    pub fn newest_first_mut(&mut self) -> impl Iterator<Item = &mut Expected> {
        self.entries.iter_mut().rev()
    }

    /// How many replies are outstanding.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is outstanding.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(name: &'static str) -> Expected {
        Expected::plain(Reply::Execute(Bytes::from_static(name.as_bytes())))
    }

    #[test]
    fn an_error_skips_to_the_next_sync_and_no_further() {
        let mut queue = ReplyQueue::default();
        queue.push(reply("a"));
        queue.push(reply("b"));
        queue.push(Expected::plain(Reply::Sync));
        queue.push(reply("c"));
        assert_eq!(queue.skip_to_sync().len(), 2);
        assert!(matches!(
            queue.front(),
            Some(Expected {
                reply: Reply::Sync,
                ..
            })
        ));
        assert_eq!(queue.len(), 2);
    }

    #[test]
    fn what_is_sent_after_an_error_is_skipped_until_a_later_sync() {
        let mut queue = ReplyQueue::default();
        queue.push(reply("fails"));
        assert_eq!(queue.skip_to_sync().len(), 1);
        queue.push(Expected::plain(Reply::Query));
        queue.push(Expected::plain(Reply::Sync));
        assert_eq!(
            queue.skip_to_ready().len(),
            1,
            "the target ignores a Query here"
        );
        assert!(matches!(
            queue.front(),
            Some(Expected {
                reply: Reply::Sync,
                ..
            })
        ));
        assert!(queue.skip_to_ready().is_empty(), "the error is over");
    }

    #[test]
    fn what_follows_a_refusal_or_an_error_is_skipped_up_to_a_sync() {
        let mut queue = ReplyQueue::default();
        assert!(!queue.skips());
        let denial = Denial::new(gateway_core::decision::Reason::Forbidden, "no");
        let code = SqlState::INSUFFICIENT_PRIVILEGE;
        let refusal = Refusal::new(denial, code);
        queue.push(Expected::refused(Reply::Query, refusal.clone()));
        assert!(!queue.skips(), "a failed Query ends with itself");
        queue.push(Expected::refused(Reply::Execute(Bytes::new()), refusal));
        assert!(queue.skips());
        queue.push(Expected::plain(Reply::Sync));
        assert!(!queue.skips());
        let mut queue = ReplyQueue::default();
        queue.push(reply("fails"));
        queue.skip_to_sync();
        assert!(queue.skips());
        queue.push(Expected::plain(Reply::Sync));
        assert!(!queue.skips());
    }

    #[test]
    fn a_query_is_over_only_once_it_was_answered() {
        let mut queue = ReplyQueue::default();
        queue.push(Expected::plain(Reply::Query));
        queue.mark_answered();
        assert!(queue.pop_ready().is_some());
        queue.push(Expected::plain(Reply::Query));
        assert!(queue.pop_ready().is_none(), "the mark was the first one's");
    }

    #[test]
    fn a_sync_among_the_rows_of_a_failed_copy_may_be_answered() {
        let mut queue = ReplyQueue::default();
        queue.push(reply("copy"));
        queue.add_stray_sync();
        queue.add_stray_sync();
        queue.skip_to_sync();
        assert!(queue.take_stray_ready());
        assert!(!queue.skips(), "it ended the skipping");
        queue.push(Expected::plain(Reply::Query));
        assert!(queue.take_stray_ready(), "the query hasn't been answered");
        assert!(!queue.take_stray_ready(), "there were two");
        assert_eq!(queue.len(), 1);
    }

    #[test]
    fn syncs_sent_into_copy_in_get_no_answer() {
        let mut queue = ReplyQueue::default();
        queue.push(reply("copy"));
        queue.push(Expected::plain(Reply::Sync));
        queue.push(Expected::plain(Reply::Sync));
        queue.drop_trailing_syncs();
        assert_eq!(queue.len(), 1);
    }
}
