//! Reading a log that may be in use: without the lock, without changing anything.

use std::fs::File;
use std::io;
use std::path::Path;

use super::files::{Layout, read_at};
use super::frame::{BLOCK, Entry, FrameHeader, HEADER_LEN, entries};
use super::scan::{Position, Resume, Stored, scan_from};
use crate::note::{Checkpoint, NoteError, VerifierKey};

/// Why a log couldn't be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Damage before the last checkpoint.
    #[error("the evidence log is corrupt in segment {segment} at byte {offset}: {why}")]
    Corrupt {
        /// Segment number.
        segment: u64,
        /// Byte offset of the first bad frame.
        offset: u64,
        /// What is wrong there.
        why: String,
    },
    /// The log ends before its last checkpoint, or holds other leaves.
    #[error("the evidence log does not hold the {size} leaves of its last checkpoint")]
    NotCovered {
        /// The checkpoint's size.
        size: u64,
    },
    /// There is no checkpoint: this isn't a log, or it never opened.
    #[error("there is no checkpoint in the log directory")]
    NoCheckpoint,
    /// The checkpoint isn't signed by the expected key.
    #[error(transparent)]
    Checkpoint(#[from] NoteError),
    /// The files couldn't be read.
    #[error("the evidence log can't be read: {0}")]
    Io(#[from] io::Error),
}

/// The last checkpoint of the log in `dir`, with its signed note.
///
/// # Errors
/// [`ReadError::NoCheckpoint`], [`ReadError::Checkpoint`] or [`ReadError::Io`].
pub fn last_checkpoint(dir: &Path, key: &VerifierKey) -> Result<(Checkpoint, String), ReadError> {
    let note = Layout::new(dir)
        .read_checkpoint()?
        .ok_or(ReadError::NoCheckpoint)?;
    Ok((key.open(&note)?, note))
}

/// Visits everything in the log in order, and returns the number of leaves.
///
/// The end may be torn or being written; what `covered` (a checkpoint read before) covers may not.
///
/// # Errors
/// [`ReadError`], or what `visit` returns.
pub fn read<E: From<ReadError>>(
    dir: &Path,
    covered: &Checkpoint,
    visit: &mut dyn FnMut(&Stored<'_>) -> Result<(), E>,
) -> Result<u64, E> {
    read_from(dir, covered, Resume::default(), visit).map(|(_, size)| size)
}

/// As [`read`], from a place that an earlier reading returned. Returns where `covered` ends, to go on
/// from there the next time, and the number of leaves.
///
/// # Errors
/// As [`read`]; also when the log isn't the one that the place was found in.
pub fn read_from<E: From<ReadError>>(
    dir: &Path,
    covered: &Checkpoint,
    from: Resume,
    visit: &mut dyn FnMut(&Stored<'_>) -> Result<(), E>,
) -> Result<(Resume, u64), E> {
    let end = scan_from::<Failure<E>>(&Layout::new(dir), from, covered.size, &mut |stored| {
        visit(stored).map_err(Failure::Visit)
    })
    .map_err(|failure| match failure {
        Failure::Io(error) => ReadError::from(error).into(),
        Failure::Visit(error) => error,
    })?;
    let size = end.tree.size();
    match end.fault {
        Some(fault) if size < covered.size => Err(ReadError::Corrupt {
            segment: end.segment,
            offset: end.offset,
            why: fault.to_string(),
        }
        .into()),
        _ if covered.size > 0 && end.watched != Some(covered.root) => {
            Err(ReadError::NotCovered { size: covered.size }.into())
        }
        _ => Ok((end.covered, size)),
    }
}

enum Failure<E> {
    Io(io::Error),
    Visit(E),
}

impl<E> From<io::Error> for Failure<E> {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Visits the entries of the one frame at `position`; its checksums are checked, its place in the log isn't.
///
/// # Errors
/// [`ReadError::Corrupt`] or [`ReadError::Io`].
pub fn read_frame(
    dir: &Path,
    position: Position,
    visit: &mut dyn FnMut(Entry<'_>),
) -> Result<(), ReadError> {
    let Position { segment, offset } = position;
    let mut file = File::open(Layout::new(dir).segment(segment))?;
    let header = FrameHeader::parse(&read_at(&mut file, offset, BLOCK)?);
    let payload = match header {
        Ok(header) => {
            let payload = read_at(&mut file, offset + HEADER_LEN as u64, header.payload_len)?;
            header.check(&payload).map(|()| payload)
        }
        Err(fault) => Err(fault),
    };
    let payload = payload.map_err(|fault| ReadError::Corrupt {
        segment,
        offset,
        why: fault.to_string(),
    })?;
    entries(&payload).flatten().for_each(visit);
    Ok(())
}
