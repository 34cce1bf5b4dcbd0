//! Tells a torn tail from corruption and rollback, and finds what a crash left open.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io;
use std::path::PathBuf;

use gateway_core::id::SessionId;
use serde::Deserialize;

use super::files::{Layout, read_at, zero};
use super::frame::{BLOCK, Entry, FrameHeader, HEADER_LEN, PAYLOAD_BYTES_MAX};
use super::scan::{End, Fault, Stored, holds_frame, last_nonzero, scan};
use crate::note::{Checkpoint, NoteError, VerifierKey};
use crate::stream::Chain;

/// Why a log can't be opened for writing. Nothing on disk was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process writes this log.
    #[error("the evidence log is locked by another process")]
    Locked,
    /// Stored evidence is damaged: not the torn end of the last write.
    #[error("the evidence log is corrupt in segment {segment} at byte {offset}: {why}")]
    Corrupt {
        /// Segment number.
        segment: u64,
        /// Byte offset of the first bad frame.
        offset: u64,
        /// What is wrong there.
        why: String,
    },
    /// The log is valid but ends before a checkpoint that was signed, or before the first one.
    #[error(
        "the evidence log was rolled back: it holds {size} leaves, the last checkpoint {floor}"
    )]
    RolledBack {
        /// Leaves found.
        size: u64,
        /// Leaves that the last checkpoint covers.
        floor: u64,
    },
    /// The log holds other leaves than those its last checkpoint signed.
    #[error(
        "the evidence log was forked: its first {size} leaves are not those of the last checkpoint"
    )]
    Forked {
        /// The checkpoint's size.
        size: u64,
    },
    /// A log with commits has no checkpoint file.
    #[error("the evidence log has {commits} commits but no checkpoint file")]
    CheckpointMissing {
        /// Commits found.
        commits: u64,
    },
    /// The checkpoint file isn't this log's.
    #[error("the evidence log's checkpoint is not acceptable: {0}")]
    Checkpoint(#[from] NoteError),
    /// The checkpoint names another log.
    #[error("the checkpoint is of log `{found}`, not `{expected}`")]
    Origin {
        /// Origin in the checkpoint.
        found: String,
        /// Origin configured.
        expected: String,
    },
    /// The files couldn't be read or written.
    #[error("the evidence log can't be read or written: {0}")]
    Io(#[from] io::Error),
}

/// What opening a log found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Leaves before this opening.
    pub leaves: u64,
    /// The unacknowledged end of the last write, when it was torn.
    pub torn: Option<TornTail>,
    /// Sessions that were open.
    pub sessions_interrupted: u64,
    /// Intents without a result.
    pub units_unknown: u64,
}

/// The torn end of a log, moved out of the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// Segment number.
    pub segment: u64,
    /// Byte offset of the torn frame.
    pub offset: u64,
    /// Bytes up to the last one that isn't zero.
    pub len: u64,
    /// Where the bytes are kept.
    pub kept: PathBuf,
}

/// A session without close.
#[derive(Clone, Debug)]
pub(crate) struct OpenSession {
    opened: bool,
    pub(crate) agent: Option<String>,
    pub(crate) target: Option<String>,
    pub(crate) sequence: u64,
    pub(crate) units: BTreeSet<u64>,
    pub(crate) chain: Chain,
}

impl OpenSession {
    fn new(session: SessionId) -> Self {
        Self {
            opened: false,
            agent: None,
            target: None,
            sequence: 0,
            units: BTreeSet::new(),
            chain: Chain::new(session),
        }
    }
}

/// The state from which writing continues.
#[derive(Debug)]
pub(crate) struct Resumed {
    pub(crate) end: End,
    pub(crate) torn: Option<TornTail>,
    pub(crate) open: BTreeMap<SessionId, OpenSession>,
}

/// Reads the whole log, decides whether it may be continued, and moves a torn tail away.
///
/// The floor is the last signed checkpoint: what it covers was synced before it was signed. One
/// frame may follow it unacknowledged; anything else that is wrong is corruption or rollback, and
/// is left as found.
pub(crate) fn recover(
    layout: &Layout,
    origin: &str,
    key: &VerifierKey,
) -> Result<Resumed, OpenError> {
    let floor = layout
        .read_checkpoint()?
        .map(|note| key.open(&note))
        .transpose()?;
    let mut open = BTreeMap::new();
    let watch = floor.as_ref().map_or(0, |floor| floor.size);
    let end = scan::<OpenError>(layout, watch, &mut |stored| {
        track(&mut open, stored);
        Ok(())
    })?;
    // A login that went no further has nothing to interrupt.
    open.retain(|_, session| session.opened);
    let tail = end
        .fault
        .map(|fault| torn_tail(layout, &end, fault))
        .transpose()?;
    check_floor(&end, origin, floor.as_ref())?;
    let torn = tail.map(|len| quarantine(layout, &end, len)).transpose()?;
    Ok(Resumed { end, torn, open })
}

/// The length of a torn tail, or the corruption that it is instead.
fn torn_tail(layout: &Layout, end: &End, fault: Fault) -> Result<u64, OpenError> {
    let corrupt = |why: String| OpenError::Corrupt {
        segment: end.segment,
        offset: end.offset,
        why,
    };
    match fault {
        Fault::Frame(super::frame::FrameFault::Entries)
        | Fault::SegmentMissing
        | Fault::Commit
        | Fault::Previous
        | Fault::Index
        | Fault::Root => return Err(corrupt(fault.to_string())),
        Fault::Frame(_) | Fault::Stray => {}
    }
    let mut file = File::open(layout.segment(end.segment))?;
    let head = FrameHeader::parse(&read_at(&mut file, end.offset, BLOCK)?).ok();
    let frame_max = (HEADER_LEN + PAYLOAD_BYTES_MAX) as u64;
    let frame_len = head.map_or(frame_max, |head| head.disk_len());
    // Behind a readable header the frame's own bytes are skipped: they hold what agents sent.
    let search_from = end.offset + head.map_or(BLOCK as u64, |head| head.disk_len());
    let len = last_nonzero(&mut file, end.offset)?.map_or(0, |last| last + 1 - end.offset);
    if holds_frame(&mut file, search_from)? {
        return Err(corrupt(format!("{fault}, and valid frames follow")));
    }
    if len > frame_len {
        return Err(corrupt(format!(
            "{fault}, and {len} bytes follow, more than one frame"
        )));
    }
    for number in layout
        .segment_numbers()?
        .into_iter()
        .filter(|number| *number > end.segment)
    {
        if last_nonzero(&mut File::open(layout.segment(number))?, 0)?.is_some() {
            return Err(corrupt(format!("{fault}, and segment {number} follows")));
        }
    }
    Ok(len)
}

fn check_floor(end: &End, origin: &str, floor: Option<&Checkpoint>) -> Result<(), OpenError> {
    let size = end.tree.size();
    let Some(floor) = floor else {
        // INVARIANT: opening signs a checkpoint right after its first commit.
        return match end.commit {
            0 | 1 => Ok(()),
            commits => Err(OpenError::CheckpointMissing { commits }),
        };
    };
    if floor.origin != origin {
        return Err(OpenError::Origin {
            found: floor.origin.clone(),
            expected: origin.to_owned(),
        });
    }
    if size < floor.size {
        return Err(match end.fault {
            Some(fault) => OpenError::Corrupt {
                segment: end.segment,
                offset: end.offset,
                why: format!(
                    "{fault}, below the {} leaves of the last checkpoint",
                    floor.size
                ),
            },
            None => OpenError::RolledBack {
                size,
                floor: floor.size,
            },
        });
    }
    if floor.size > 0 && end.watched != Some(floor.root) {
        return Err(OpenError::Forked { size: floor.size });
    }
    Ok(())
}

fn quarantine(layout: &Layout, end: &End, len: u64) -> Result<TornTail, OpenError> {
    let (segment, offset) = (end.segment, end.offset);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(layout.segment(segment))?;
    let tail = read_at(
        &mut file,
        offset,
        usize::try_from(len).unwrap_or(usize::MAX),
    )?;
    let kept = layout.keep_tail(segment, offset, &tail)?;
    zero(&file, offset, offset + len)?;
    file.sync_all()?;
    Ok(TornTail {
        segment,
        offset,
        len,
        kept,
    })
}

#[derive(Deserialize)]
struct Seen<'a> {
    #[serde(borrow)]
    k: Cow<'a, str>,
    #[serde(borrow)]
    ses: Option<Cow<'a, str>>,
    sq: Option<u64>,
    st: Option<u64>,
    #[serde(borrow)]
    agt: Option<Cow<'a, str>>,
    #[serde(borrow)]
    res: Option<Cow<'a, str>>,
}

/// Follows sessions from open to close, and units from intent to result.
fn track(open: &mut BTreeMap<SessionId, OpenSession>, stored: &Stored<'_>) {
    let header = match stored.entry {
        Entry::Leaf { header, .. } => header,
        Entry::Chunk {
            session,
            direction,
            at_us,
            bytes,
            ..
        } => {
            // A chunk may come before its session's first leaf.
            let state = open
                .entry(session)
                .or_insert_with(|| OpenSession::new(session));
            state.chain.push(direction, at_us, bytes);
            return;
        }
        Entry::Note { .. } => return,
    };
    let Ok(seen) = serde_json::from_slice::<Seen<'_>>(header) else {
        return;
    };
    let Some(session) = seen.ses.and_then(|text| SessionId::parse(&text).ok()) else {
        return;
    };
    match &*seen.k {
        "session.close" | "session.interrupted" | "session.refused" | "auth.fail" => {
            open.remove(&session);
            return;
        }
        _ => {}
    }
    let state = open
        .entry(session)
        .or_insert_with(|| OpenSession::new(session));
    state.opened |= seen.k == "session.open";
    state.sequence = state.sequence.max(seen.sq.unwrap_or(0));
    state.agent = state.agent.take().or(seen.agt.map(Cow::into_owned));
    state.target = state.target.take().or(seen.res.map(Cow::into_owned));
    match (&*seen.k, seen.st) {
        ("unit.intent", Some(unit)) => {
            state.units.insert(unit);
        }
        ("unit.result" | "unit.unknown", Some(unit)) => {
            state.units.remove(&unit);
        }
        _ => {}
    }
}
