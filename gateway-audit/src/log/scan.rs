//! Reads every frame of a log directory in order, checking each against the ones before it.

use std::fs::File;
use std::io;

use super::files::{Layout, read_at};
use super::frame::{BLOCK, Entry, FrameFault, FrameHeader, HEADER_LEN, entries};
use crate::tree::{Frontier, Hash, leaf_hash, sha256};
use serde::{Deserialize, Serialize};

/// An entry that belongs to a verified frame.
#[derive(Clone, Copy, Debug)]
pub struct Stored<'a> {
    /// Log index: of this leaf, or of the next leaf for another entry.
    pub index: u64,
    /// The leaf's hash; `None` for another entry.
    pub leaf_hash: Option<Hash>,
    /// Where its frame starts.
    pub position: Position,
    /// The entry itself.
    pub entry: Entry<'a>,
}

/// Where a frame starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Segment number, from 1.
    pub segment: u64,
    /// Byte offset.
    pub offset: u64,
}

/// A place between two frames, and what the next one must continue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resume {
    /// The segment of the next frame, and where in it.
    segment: u64,
    offset: u64,
    /// Number of the last commit; 0 in an empty log.
    commit: u64,
    /// Hash of the last frame.
    previous: Hash,
    /// The tree over all leaves.
    tree: Frontier,
}

impl Default for Resume {
    /// The start of a log.
    fn default() -> Self {
        Self {
            segment: 1,
            offset: 0,
            commit: 0,
            previous: Hash::default(),
            tree: Frontier::default(),
        }
    }
}

impl Resume {
    /// The number of leaves before this place.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.tree.size()
    }
}

/// Where the valid frames end, and the state there.
#[derive(Clone, Debug, Default)]
pub(crate) struct End {
    /// Number of the last commit; 0 in an empty log.
    pub(crate) commit: u64,
    /// Hash of the last frame.
    pub(crate) previous: Hash,
    /// The tree over all leaves.
    pub(crate) tree: Frontier,
    /// The segment that is written next, and where in it.
    pub(crate) segment: u64,
    pub(crate) offset: u64,
    /// The last place at which the tree was not larger than the size that was asked about.
    pub(crate) covered: Resume,
    /// The root at the size that was asked about, when the log reached it.
    pub(crate) watched: Option<Hash>,
    /// What stopped the scan, unless it was the clean end.
    pub(crate) fault: Option<Fault>,
}

impl End {
    fn place(&self) -> Resume {
        Resume {
            segment: self.segment,
            offset: self.offset,
            commit: self.commit,
            previous: self.previous,
            tree: self.tree.clone(),
        }
    }
}

/// What stopped a scan. It lies at [`End::segment`] and [`End::offset`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    #[error(transparent)]
    Frame(#[from] FrameFault),
    #[error("bytes follow the last frame")]
    Stray,
    #[error("a segment is missing")]
    SegmentMissing,
    #[error("the commit number does not follow the last frame's")]
    Commit,
    #[error("the previous frame's hash is another")]
    Previous,
    #[error("the leaves do not follow the last frame's")]
    Index,
    #[error("the leaves do not hash to the frame's root")]
    Root,
}

/// Visits every entry of every valid frame. `watch` names a tree size whose root is wanted.
///
/// # Errors
/// Reading failed, or `visit` did. A fault in the log is not an error: it is in [`End::fault`].
pub(crate) fn scan<E: From<io::Error>>(
    layout: &Layout,
    watch: u64,
    visit: &mut dyn FnMut(&Stored<'_>) -> Result<(), E>,
) -> Result<End, E> {
    scan_from(layout, Resume::default(), watch, visit)
}

/// As [`scan`], from a place that an earlier scan reached.
pub(crate) fn scan_from<E: From<io::Error>>(
    layout: &Layout,
    from: Resume,
    watch: u64,
    visit: &mut dyn FnMut(&Stored<'_>) -> Result<(), E>,
) -> Result<End, E> {
    let mut end = End {
        commit: from.commit,
        previous: from.previous,
        segment: from.segment,
        offset: from.offset,
        watched: (from.tree.size() == watch).then(|| from.tree.root()),
        tree: from.tree.clone(),
        covered: from.clone(),
        fault: None,
    };
    for (expected, number) in (1..).zip(layout.segment_numbers()?) {
        if number == expected && number < from.segment {
            continue;
        }
        end.offset = if number == from.segment {
            from.offset
        } else {
            0
        };
        end.segment = number;
        if number != expected {
            end.fault = Some(Fault::SegmentMissing);
            return Ok(end);
        }
        let mut file = File::open(layout.segment(number))?;
        loop {
            let position = Position {
                segment: number,
                offset: end.offset,
            };
            let Some(step) = next_frame(&mut file, &mut end, watch)? else {
                break;
            };
            match step {
                Err(fault) => {
                    end.fault = Some(fault);
                    return Ok(end);
                }
                Ok(frame) => {
                    if end.tree.size() <= watch {
                        end.covered = end.place();
                    }
                    let mut index = frame.header.first_index;
                    for (entry, hash) in entries(&frame.payload).flatten().zip(frame.hashes) {
                        visit(&Stored {
                            index,
                            position,
                            leaf_hash: hash,
                            entry,
                        })?;
                        index += u64::from(hash.is_some());
                    }
                }
            }
        }
    }
    Ok(end)
}

struct Frame {
    header: FrameHeader,
    payload: Vec<u8>,
    /// One per entry: the hash of a leaf.
    hashes: Vec<Option<Hash>>,
}

/// The next frame, `None` at the clean end of the segment. Moves `end` past a valid frame only.
fn next_frame(
    file: &mut File,
    end: &mut End,
    watch: u64,
) -> io::Result<Option<Result<Frame, Fault>>> {
    let block = read_at(file, end.offset, BLOCK)?;
    if block.iter().all(|byte| *byte == 0) {
        return Ok(last_nonzero(file, end.offset)?.map(|_| Err(Fault::Stray)));
    }
    let header = match FrameHeader::parse(&block) {
        Ok(header) => header,
        Err(fault) => return Ok(Some(Err(fault.into()))),
    };
    let payload = read_at(file, end.offset + HEADER_LEN as u64, header.payload_len)?;
    let checked = check(&header, &block, payload, end, watch);
    if checked.is_ok() {
        end.offset += header.disk_len();
    }
    Ok(Some(checked))
}

fn check(
    header: &FrameHeader,
    block: &[u8],
    payload: Vec<u8>,
    end: &mut End,
    watch: u64,
) -> Result<Frame, Fault> {
    if payload.len() < header.payload_len {
        return Err(FrameFault::Short.into());
    }
    header.check(&payload)?;
    if header.commit != end.commit + 1 {
        return Err(Fault::Commit);
    }
    if header.previous != end.previous {
        return Err(Fault::Previous);
    }
    if header.first_index != end.tree.size() {
        return Err(Fault::Index);
    }
    let (mut tree, mut watched, mut hashes) = (end.tree.clone(), end.watched, Vec::new());
    for entry in entries(&payload) {
        hashes.push(match entry? {
            Entry::Leaf { header, .. } => Some(leaf_hash(header)),
            Entry::Chunk { .. } | Entry::Note { .. } => None,
        });
        if let Some(Some(hash)) = hashes.last() {
            tree.push(*hash);
            if tree.size() == watch {
                watched = Some(tree.root());
            }
        }
    }
    if tree.size() != header.first_index + u64::from(header.leaves) {
        return Err(Fault::Index);
    }
    if tree.root() != header.root {
        return Err(Fault::Root);
    }
    let head = block.get(..HEADER_LEN).unwrap_or_default();
    end.previous = sha256(&[head, &payload]);
    (end.commit, end.tree, end.watched) = (header.commit, tree, watched);
    Ok(Frame {
        header: *header,
        payload,
        hashes,
    })
}

/// The position of the last byte at or after `from` that isn't zero.
pub(crate) fn last_nonzero(file: &mut File, from: u64) -> io::Result<Option<u64>> {
    const STEP: usize = 1 << 20;
    let (mut at, mut last) = (from, None);
    loop {
        let bytes = read_at(file, at, STEP)?;
        if let Some(found) = bytes.iter().rposition(|byte| *byte != 0) {
            last = Some(at + found as u64);
        }
        if bytes.len() < STEP {
            return Ok(last);
        }
        at += STEP as u64;
    }
}

/// Whether a whole frame with good checksums starts at any block of `file` from `from` on.
pub(crate) fn holds_frame(file: &mut File, from: u64) -> io::Result<bool> {
    let mut at = from;
    loop {
        let block = read_at(file, at, BLOCK)?;
        if block.len() < HEADER_LEN {
            return Ok(false);
        }
        if let Ok(header) = FrameHeader::parse(&block) {
            let payload = read_at(file, at + HEADER_LEN as u64, header.payload_len)?;
            if header.check(&payload).is_ok() {
                return Ok(true);
            }
        }
        at += BLOCK as u64;
    }
}
