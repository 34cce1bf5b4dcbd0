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
    /// ParameterDescription, then RowDescription or NoData.
    DescribeStatement,
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
        self.entries.pop_front()
    }

    /// Takes everything the target skips after an error: up to, not including, the next Sync.
    pub fn skip_to_sync(&mut self) -> Vec<Expected> {
        self.skipping = true;
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
        let refusal = Refusal { denial, code };
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
    fn syncs_sent_into_copy_in_get_no_answer() {
        let mut queue = ReplyQueue::default();
        queue.push(reply("copy"));
        queue.push(Expected::plain(Reply::Sync));
        queue.push(Expected::plain(Reply::Sync));
        queue.drop_trailing_syncs();
        assert_eq!(queue.len(), 1);
    }
}
