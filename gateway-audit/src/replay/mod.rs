//! Gives a session's recording back: its chunks, its moments, what a terminal may show of them.

mod cast;
mod moments;
mod screen;
mod text;

use std::path::Path;

use gateway_core::id::SessionId;
use gateway_core::record::{Direction, Moment, MomentError};

pub use cast::Cast;
pub(crate) use cast::casts;
pub use moments::{Moments, has_moments};
pub use screen::Screen;

use crate::index::{Index, IndexError};
use crate::log::{Entry, ReadError, read_frame};
use crate::stream::{Chain, TO_TARGET};
use crate::tree::Hash;

/// One recorded chunk.
#[derive(Clone, Copy, Debug)]
pub struct Chunk<'a> {
    /// Position in the session's chain, from 1.
    pub number: u64,
    /// Which way it went.
    pub direction: Direction,
    /// UTC microseconds.
    pub at_us: u64,
    /// The bytes as delivered: raw protocol, to be escaped before a terminal sees them.
    pub bytes: &'a [u8],
}

/// Why a session can't be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The index can't be used.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The log can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A chunk isn't where it should be.
    #[error("chunk {expected} of the recording is missing or out of order")]
    Order {
        /// The number that was expected.
        expected: u64,
    },
    /// The chunks don't hash to the head that the session's last leaf carries.
    #[error("the recording does not match the head in leaf {leaf}")]
    Head {
        /// The leaf's log index.
        leaf: u64,
    },
    /// The recording isn't made of moments.
    #[error("chunk {chunk} of the recording: {source}")]
    Moment {
        /// Its number.
        chunk: u64,
        /// What is wrong with it.
        source: MomentError,
    },
}

/// What became whole with one chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timed {
    /// UTC microseconds.
    pub at_us: u64,
    /// Which way it went.
    pub direction: Direction,
    /// What it was.
    pub moment: Moment,
}

/// What a recording of moments held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// Chunks read.
    pub chunks: u64,
    /// No moment is cut off: always so in a session that was closed.
    pub whole: bool,
}

/// As [`replay`], for a session of a protocol that [`has_moments`]: visits its moments.
///
/// # Errors
/// [`ReplayError`]; moments visited before are not to be believed.
pub fn replay_moments(
    dir: &Path,
    index: &Index,
    session: SessionId,
    visit: &mut dyn FnMut(Timed),
) -> Result<Replayed, ReplayError> {
    let mut moments = Moments::default();
    let mut broken = None;
    let chunks = replay(dir, index, session, &mut |chunk| {
        if broken.is_some() {
            return;
        }
        let (at_us, direction) = (chunk.at_us, chunk.direction);
        let each = &mut |moment| {
            visit(Timed {
                at_us,
                direction,
                moment,
            });
        };
        if let Err(source) = moments.push(direction, chunk.bytes, each) {
            let chunk = chunk.number;
            broken = Some(ReplayError::Moment { chunk, source });
        }
    })?;
    match broken {
        Some(broken) => Err(broken),
        None => Ok(Replayed {
            chunks,
            whole: moments.is_whole(),
        }),
    }
}

/// Visits a session's chunks in order, checks them against the last head in the log, and returns
/// their number. The index must have been refreshed.
///
/// # Errors
/// [`ReplayError`]; chunks visited before a [`ReplayError::Head`] are not to be believed.
pub fn replay(
    dir: &Path,
    index: &Index,
    session: SessionId,
    visit: &mut dyn FnMut(Chunk<'_>),
) -> Result<u64, ReplayError> {
    let id = session.to_string();
    let anchor = index.leaves(&id)?.into_iter().rev().find_map(|leaf| {
        let (head, chunks) = (
            leaf.header.get("sh")?.as_str()?,
            leaf.header.pointer("/n/chunks")?.as_u64()?,
        );
        Some((leaf.index, chunks, head.to_owned()))
    });
    let mut chain = Chain::new(session);
    let mut anchored: Option<Hash> = anchor
        .as_ref()
        .filter(|(_, chunks, _)| *chunks == 0)
        .map(|_| chain.head);
    let mut out_of_order = false;
    for position in index.frames(&id)? {
        read_frame(dir, position, &mut |entry| {
            let Entry::Chunk {
                session: owner,
                number,
                direction,
                at_us,
                bytes,
            } = entry
            else {
                return;
            };
            if owner != session || out_of_order {
                return;
            }
            if number != chain.chunks + 1 {
                out_of_order = true;
                return;
            }
            chain.push(direction, at_us, bytes);
            if anchor
                .as_ref()
                .is_some_and(|(_, chunks, _)| *chunks == chain.chunks)
            {
                anchored = Some(chain.head);
            }
            let direction = if direction == TO_TARGET {
                Direction::ToTarget
            } else {
                Direction::ToAgent
            };
            visit(Chunk {
                number,
                direction,
                at_us,
                bytes,
            });
        })?;
        if out_of_order {
            return Err(ReplayError::Order {
                expected: chain.chunks + 1,
            });
        }
    }
    match anchor {
        Some((leaf, _, head))
            if anchored.map(|head| crate::json::hex(&head)).as_ref() != Some(&head) =>
        {
            Err(ReplayError::Head { leaf })
        }
        _ => Ok(chain.chunks),
    }
}

#[cfg(test)]
mod tests;
