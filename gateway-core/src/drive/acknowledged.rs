//! What the log has acknowledged, on its way from the writer's thread to a session's task.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    task::Waker,
};

use futures_util::task::AtomicWaker;

use crate::{id::EvidenceSeq, record::Acknowledge};

/// The highest acknowledged position of one session. Lock-free; wakes the session's task.
#[derive(Debug, Default)]
pub struct Acknowledged {
    reached: AtomicU64,
    failed: AtomicBool,
    waker: AtomicWaker,
}

impl Acknowledged {
    pub(super) fn register(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    /// The highest acknowledged position; `None` once the log has failed.
    pub(super) fn reached(&self) -> Option<EvidenceSeq> {
        if self.failed.load(Ordering::Acquire) {
            return None;
        }
        Some(EvidenceSeq(self.reached.load(Ordering::Acquire)))
    }
}

impl Acknowledge for Acknowledged {
    fn acknowledged(&self, sequence: EvidenceSeq) {
        self.reached.fetch_max(sequence.0, Ordering::AcqRel);
        self.waker.wake();
    }

    fn failed(&self) {
        self.failed.store(true, Ordering::Release);
        self.waker.wake();
    }
}
