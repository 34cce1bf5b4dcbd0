//! One side's way out: first in, first out, each item waiting for the evidence before it.

use std::collections::VecDeque;

use crate::{
    id::{EvidenceSeq, UnitId},
    record::CloseReason,
    wire::Payload,
};

/// What waits to leave.
pub(crate) enum Item<O> {
    /// Data for this side.
    Send(O),
    /// Data of a unit for this side.
    Release(UnitId, O),
    /// A TLS handshake on this side.
    StartTls,
    /// Opening the target's connection.
    Connect,
    /// Data for the target on a connection of its own.
    Aside(O),
    /// The end of the session.
    Close(CloseReason),
}

/// A queue of items, each stamped with the last evidence emitted before it.
pub(crate) struct Lane<O> {
    queue: VecDeque<(EvidenceSeq, Item<O>)>,
    bytes: usize,
}

impl<O> Default for Lane<O> {
    fn default() -> Self {
        Self {
            queue: VecDeque::new(),
            bytes: 0,
        }
    }
}

impl<O: Payload> Lane<O> {
    pub(crate) fn push(&mut self, stamp: EvidenceSeq, item: Item<O>) {
        self.bytes += item.weight();
        self.queue.push_back((stamp, item));
    }

    /// The first item, if its evidence is acknowledged.
    pub(crate) fn pop(&mut self, acknowledged: EvidenceSeq) -> Option<Item<O>> {
        if self.queue.front()?.0 > acknowledged {
            return None;
        }
        let (_, item) = self.queue.pop_front()?;
        self.bytes -= item.weight();
        Some(item)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl<O: Payload> Item<O> {
    fn weight(&self) -> usize {
        match self {
            Self::Send(data) | Self::Release(_, data) | Self::Aside(data) => data.weight(),
            Self::StartTls | Self::Connect | Self::Close(_) => 0,
        }
    }
}
