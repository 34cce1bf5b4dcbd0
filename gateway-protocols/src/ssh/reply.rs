//! The replies that the target still owes: to the requests about a channel, in order, and to those
//! inside a file transfer, by number.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use gateway_core::id::UnitId;

use super::{
    message::sftp::{Reply, ReplyKind},
    session::OpenFile,
};

/// A request about a channel whose reply is outstanding. The target answers in order (RFC 4254,
/// section 5.4, "Channel-Specific Requests").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// For a terminal.
    Terminal,
    /// For the program, the shell or the file server to start.
    Start,
}

/// The outstanding replies about one channel, oldest first.
#[derive(Debug, Default)]
pub struct ReplyQueue(VecDeque<Asked>);

impl ReplyQueue {
    /// A request was sent that wants a reply.
    pub fn expect(&mut self, asked: Asked) {
        self.0.push_back(asked);
    }

    /// A reply came: to what? `None` when none was due.
    pub fn answered(&mut self) -> Option<Asked> {
        self.0.pop_front()
    }
}

/// A request of the file transfer whose reply is outstanding.
#[derive(Debug)]
pub enum Expected {
    /// The gateway's own question where a path leads.
    Resolved,
    /// The whole of a unit.
    Whole {
        /// The agent's number of the request.
        id: u32,
        /// The unit; its end is the reply.
        unit: UnitId,
    },
    /// What begins a unit: a handle.
    Opened {
        /// The agent's number of the request.
        id: u32,
        /// The file that the handle will stand for.
        file: OpenFile,
    },
    /// A request about an open file, part of its unit.
    Part {
        /// The agent's number of the request.
        id: u32,
        /// The file's handle. It may be closed by now.
        handle: Bytes,
        /// The file's unit.
        unit: UnitId,
        /// Where in the file it reads; zero for what reads no contents.
        offset: u64,
    },
    /// What ends a unit.
    Closed {
        /// The agent's number of the request.
        id: u32,
        /// The file that is closed.
        file: OpenFile,
    },
}

/// The outstanding replies of one file transfer, by the gateway's own numbers: agents choose theirs
/// as they like, and the gateway asks questions of its own in between.
#[derive(Debug, Default)]
pub struct ReplyTable {
    expected: BTreeMap<u32, (ReplyKind, Expected)>,
    last: u32,
}

impl ReplyTable {
    /// The number to send a request under that wants this kind of reply.
    pub fn expect(&mut self, wanted: ReplyKind, reply: Expected) -> u32 {
        self.last = self.last.wrapping_add(1);
        // INVARIANT: there are far fewer outstanding replies than numbers.
        while self.expected.contains_key(&self.last) {
            self.last = self.last.wrapping_add(1);
        }
        self.expected.insert(self.last, (wanted, reply));
        self.last
    }

    /// A reply came: to what?
    ///
    /// # Errors
    /// In words, when no such reply was due.
    pub fn take(&mut self, id: u32, reply: &Reply) -> Result<Expected, &'static str> {
        let (wanted, expected) = self.expected.remove(&id).ok_or("an answer to nothing")?;
        match reply.answers(wanted) {
            true => Ok(expected),
            false => Err("an answer of the wrong type"),
        }
    }

    /// How many are outstanding.
    #[must_use]
    pub fn len(&self) -> usize {
        self.expected.len()
    }

    /// How many of them will open a file or folder.
    #[must_use]
    pub fn opening(&self) -> usize {
        let opens =
            |expected: &&(ReplyKind, Expected)| matches!(expected.1, Expected::Opened { .. });
        self.expected.values().filter(opens).count()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.expected.is_empty()
    }

    /// The target will answer no more: what it still owed.
    pub fn drain(&mut self) -> impl Iterator<Item = Expected> + use<> {
        let expected = std::mem::take(&mut self.expected);
        expected.into_values().map(|(_, expected)| expected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_never_used_twice_at_once() {
        let names = Reply::Names(Vec::new());
        let kind = ReplyKind::Names;
        let mut table = ReplyTable {
            last: u32::MAX - 1,
            ..ReplyTable::default()
        };
        let first = table.expect(kind, Expected::Resolved);
        let second = table.expect(kind, Expected::Resolved);
        assert_eq!((first, second), (u32::MAX, 0));
        table.last = u32::MAX - 1;
        assert_eq!(table.expect(kind, Expected::Resolved), 1);
        assert!(table.take(0, &names).is_ok() && table.take(0, &names).is_err());
        assert!(table.take(1, &Reply::Data(Bytes::new())).is_err());
        assert_eq!(table.drain().count(), 1);
        assert!(table.is_empty());
    }

    #[test]
    fn replies_about_a_channel_come_in_order() {
        let mut queue = ReplyQueue::default();
        queue.expect(Asked::Terminal);
        queue.expect(Asked::Start);
        assert_eq!(queue.answered(), Some(Asked::Terminal));
        assert_eq!(queue.answered(), Some(Asked::Start));
        assert_eq!(queue.answered(), None);
    }
}
