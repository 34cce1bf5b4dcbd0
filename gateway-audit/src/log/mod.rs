//! The append-only log: one writer thread, group commit, recovery.
//!
//! Evidence is handed over without waiting and acknowledged once it is safe: after its frame was
//! synced (`strict`), or at once while the writer is at most [`BOUNDED_BYTES_MAX`] and
//! [`BOUNDED_LAG_MAX`] ahead of the disk (`bounded`). An error of the disk is final: nothing is ever
//! acknowledged again, and the process must be restarted to recover.

mod files;
mod frame;
mod queue;
mod read;
mod recovery;
mod scan;
mod writer;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use gateway_core::id::{EvidenceSeq, SessionId};
use gateway_core::record::{Acknowledge, Evidence, EvidenceSink};
use gateway_core::target::Durability;
use gateway_core::time::Now;

pub(crate) use files::Layout;
pub use files::{LocalDisk, Segment, Storage};
pub use frame::{Entry, Salt};
pub use queue::{BOUNDED_BYTES_MAX, BOUNDED_LAG_MAX};
pub use read::{ReadError, last_checkpoint, read, read_frame, read_from};
pub use recovery::{OpenError, Recovery, TornTail};
#[cfg(test)]
pub(crate) use scan::scan;
pub use scan::{Position, Resume, Stored};

use crate::note::CheckpointSigner;
use crate::record::OwnEntry;
use crate::tree::Hash;
use queue::{Queue, Request};
use writer::Writer;

/// Reads both clocks.
pub type Clock = Arc<dyn Fn() -> Now + Send + Sync>;

/// How a log is written.
#[derive(Clone)]
pub struct LogOptions {
    /// The log's name in checkpoints and packages: one line without spaces, unique per log.
    pub origin: String,
    /// Signs checkpoints.
    pub signer: Arc<CheckpointSigner>,
    /// Identifier of the gateway, for evidence.
    pub gateway_id: String,
    /// Version of the gateway, for evidence.
    pub gateway_version: String,
    /// Length of a segment, bytes; a longer frame gets a segment of its own.
    pub segment_bytes: u64,
    /// How long evidence that nobody waits for gathers before it is written: a wake-up of the
    /// writer per statement would cost more than the writing. Evidence that somebody waits for is
    /// written at once, and what arrives during a sync shares the next one.
    pub linger: Duration,
    /// From one heartbeat and checkpoint to the next, also when idle.
    pub checkpoint_interval: Duration,
    /// Evidence in memory, of all sessions, bytes. A session that would exceed it is failed.
    pub queue_bytes_max: usize,
    /// Both clocks.
    pub clock: Clock,
    /// The disk under the segments.
    pub storage: Arc<dyn Storage>,
}

impl std::fmt::Debug for LogOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogOptions")
            .field("origin", &self.origin)
            .field("signer", &self.signer)
            .finish_non_exhaustive()
    }
}

impl LogOptions {
    /// The product's bounds: 64 MiB segments, 5 ms of linger, a checkpoint every 10 s, 256 MiB in memory.
    #[must_use]
    pub fn new(origin: impl Into<String>, signer: CheckpointSigner, clock: Clock) -> Self {
        Self {
            origin: origin.into(),
            signer: Arc::new(signer),
            gateway_id: String::new(),
            gateway_version: String::new(),
            segment_bytes: 64 << 20,
            linger: Duration::from_millis(5),
            checkpoint_interval: Duration::from_secs(10),
            queue_bytes_max: 256 << 20,
            clock,
            storage: Arc::new(LocalDisk),
        }
    }
}

/// The log has failed, or is closed: nothing more will be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the evidence log has failed")]
pub struct LogFailed;

/// Why a log stopped being written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The disk failed; what reached it is unknown.
    #[error("the evidence log can't be written: {0}")]
    Io(#[from] std::io::Error),
    /// The machine has no randomness for salts.
    #[error("no randomness for salts")]
    Randomness,
    /// A checkpoint couldn't be signed.
    #[error(transparent)]
    Note(#[from] crate::note::NoteError),
    /// The writer thread panicked.
    #[error("the evidence writer panicked")]
    Panicked,
}

/// A leaf that is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeafRef {
    /// Its log index.
    pub index: u64,
    /// Its hash.
    pub hash: Hash,
}

/// An open log. Dropping it closes it, without the report that [`Log::close`] gives.
#[derive(Debug)]
pub struct Log {
    queue: Arc<Queue>,
    writer: Option<JoinHandle<Result<(), WriteError>>>,
}

impl Log {
    /// Opens or creates the log in `dir`, recovers it, and starts its writer.
    ///
    /// When it returns, `log.open` (with what recovery found) is durable and a checkpoint is signed.
    ///
    /// # Errors
    /// [`OpenError`]; unless it is [`OpenError::Io`], nothing was changed.
    pub fn open(dir: &Path, options: LogOptions) -> Result<(Self, Recovery), OpenError> {
        let layout = Layout::new(dir);
        layout.create()?;
        let lock = layout.lock()?.ok_or(OpenError::Locked)?;
        let resumed = recovery::recover(&layout, &options.origin, options.signer.verifier())?;
        let queue = Arc::new(Queue::new(options.queue_bytes_max));
        let (writer, recovery) = Writer::start(layout, options, Arc::clone(&queue), lock, resumed)?;
        let thread = std::thread::Builder::new()
            .name("evidence-log".into())
            .spawn(move || writer.run())?;
        Ok((
            Self {
                queue,
                writer: Some(thread),
            },
            recovery,
        ))
    }

    /// Enters a leaf that belongs to no session. Waits until it is durable.
    ///
    /// # Errors
    /// [`LogFailed`] when the log failed before that.
    pub fn enter(&self, entry: OwnEntry) -> Result<LeafRef, LogFailed> {
        self.queue.ask(|reply| Request::Enter(entry, reply))
    }

    /// Signs a checkpoint over everything appended so far. Waits for it, and returns the signed note.
    ///
    /// # Errors
    /// [`LogFailed`] when the log failed before that.
    pub fn checkpoint(&self) -> Result<String, LogFailed> {
        self.queue.ask(Request::Checkpoint)
    }

    /// Whether the log has failed. It never recovers.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.queue.has_failed()
    }

    /// Writes what was appended, marks open sessions as interrupted, signs a last checkpoint, and stops.
    ///
    /// # Errors
    /// Why the log had stopped being written.
    pub fn close(mut self) -> Result<(), WriteError> {
        self.stop()
    }

    fn stop(&mut self) -> Result<(), WriteError> {
        self.queue.close();
        match self.writer.take() {
            None => Ok(()),
            Some(thread) => thread.join().unwrap_or(Err(WriteError::Panicked)),
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        // Nobody is left to hear of an error: `close` is for those who want to.
        drop(self.stop());
    }
}

impl EvidenceSink for Log {
    fn open(&self, session: SessionId, durability: Durability, acknowledge: Arc<dyn Acknowledge>) {
        self.queue.open(session, durability, acknowledge);
    }

    fn append(&self, session: SessionId, sequence: EvidenceSeq, evidence: Evidence) {
        self.queue.append(session, sequence, evidence);
    }

    fn flush(&self) {
        self.queue.flush();
    }

    fn close(&self, session: SessionId) {
        self.queue.close_session(session);
    }
}
