//! The port to what replicas share: approvals consumed once.

use crate::id::{ApprovalId, Digest};

/// Keeps what must survive a restart and be agreed between replicas.
///
/// Methods may block (a shell calls them off its reactor).
pub trait StateStore: Send + Sync {
    /// Marks an approved request as used, once: the first call with the digest it was given for
    /// gets `true`, every other `false`.
    ///
    /// # Errors
    /// [`StateError`] when the store can't say; the caller treats that as `false`.
    fn consume(&self, approval: ApprovalId, digest: Digest) -> Result<bool, StateError>;
}

/// The store couldn't answer.
#[derive(Debug, thiserror::Error)]
#[error("state store: {0}")]
pub struct StateError(pub String);
