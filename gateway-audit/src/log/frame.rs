//! One commit on disk.
//!
//! A frame starts on a 4 KiB boundary: a header of 104 bytes, the payload, zeros up to the next
//! boundary. Integers are big-endian.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 8 | magic `GWLOG\x01\r\n` |
//! | 8 | 4 | payload length |
//! | 12 | 4 | leaves in the payload |
//! | 16 | 8 | index of the first leaf (the tree's size before this frame) |
//! | 24 | 8 | commit number, from 1, gap-free |
//! | 32 | 32 | hash of the previous frame (SHA-256 of its header and payload); zeros for the first |
//! | 64 | 32 | root of the tree after this frame |
//! | 96 | 4 | CRC-32C of the payload |
//! | 100 | 4 | CRC-32C of the 100 bytes before |
//!
//! The payload is a run of entries: leaves, chunks of session streams, and signed checkpoints.

use gateway_core::id::SessionId;

use crate::tree::{Hash, sha256};

/// Frames start on multiples of this, bytes.
pub(crate) const BLOCK: usize = 4096;
/// Length of a frame's header, bytes.
pub(crate) const HEADER_LEN: usize = 104;
/// Longest payload, bytes. Holds one leaf with the largest body ([`BODY_BYTES_MAX`]) and its header.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 72 << 20;
/// Longest body of a leaf, bytes: the JSON of a 16 MiB statement, most of it escaped.
pub(crate) const BODY_BYTES_MAX: usize = 64 << 20;

const MAGIC: [u8; 8] = *b"GWLOG\x01\r\n";
const TAG_LEAF: u8 = 1;
const TAG_CHUNK: u8 = 2;
const TAG_NOTE: u8 = 3;

/// The salt of a body.
pub type Salt = [u8; 16];

/// One thing stored in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry<'a> {
    /// A leaf of the tree.
    Leaf {
        /// The bytes that are hashed into the tree.
        header: &'a [u8],
        /// Salt and bytes of the body, when it has one.
        body: Option<(Salt, &'a [u8])>,
    },
    /// A piece of a session's stream.
    Chunk {
        /// The session.
        session: SessionId,
        /// Position in the session's chain, from 1.
        number: u64,
        /// Direction code, see [`crate::stream`].
        direction: u8,
        /// Microseconds since the Unix epoch.
        at_us: u64,
        /// The bytes as delivered.
        bytes: &'a [u8],
    },
    /// A signed checkpoint of an earlier size.
    Note {
        /// The signed note.
        text: &'a str,
    },
}

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) payload_len: usize,
    pub(crate) leaves: u32,
    pub(crate) first_index: u64,
    pub(crate) commit: u64,
    pub(crate) previous: Hash,
    pub(crate) root: Hash,
    payload_crc: u32,
}

/// Why bytes aren't a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameFault {
    #[error("no frame starts here")]
    Magic,
    #[error("the frame header's checksum is wrong")]
    HeaderChecksum,
    #[error("the frame is longer than the file")]
    Short,
    #[error("the frame's payload checksum is wrong")]
    PayloadChecksum,
    #[error("the frame's entries are malformed")]
    Entries,
}

impl FrameHeader {
    /// Reads a header and checks its checksum; the payload is not looked at.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, FrameFault> {
        let mut input = Input(bytes);
        let checked = bytes.get(..HEADER_LEN - 4).ok_or(FrameFault::Short)?;
        if input.take::<8>() != Some(MAGIC) {
            return Err(FrameFault::Magic);
        }
        let header = (|| {
            Some((
                Self {
                    payload_len: usize::try_from(input.u32()?).ok()?,
                    leaves: input.u32()?,
                    first_index: input.u64()?,
                    commit: input.u64()?,
                    previous: input.take()?,
                    root: input.take()?,
                    payload_crc: input.u32()?,
                },
                input.u32()?,
            ))
        })();
        let (header, crc) = header.ok_or(FrameFault::Short)?;
        if crc32c::crc32c(checked) != crc || header.payload_len > PAYLOAD_BYTES_MAX {
            return Err(FrameFault::HeaderChecksum);
        }
        Ok(header)
    }

    /// Checks a payload against this header.
    pub(crate) fn check(&self, payload: &[u8]) -> Result<(), FrameFault> {
        if payload.len() != self.payload_len || crc32c::crc32c(payload) != self.payload_crc {
            return Err(FrameFault::PayloadChecksum);
        }
        Ok(())
    }

    /// Bytes on disk, padding included.
    pub(crate) fn disk_len(&self) -> u64 {
        u64::try_from(padded(HEADER_LEN + self.payload_len)).unwrap_or(u64::MAX)
    }
}

/// Collects entries, then seals them into a frame.
#[derive(Debug)]
pub(crate) struct FrameBuilder {
    bytes: Vec<u8>,
    leaves: u32,
}

/// A frame ready to be written.
#[derive(Debug)]
pub(crate) struct SealedFrame {
    /// Header, payload and padding.
    pub(crate) bytes: Vec<u8>,
    /// The frame's hash, which the next frame cites.
    pub(crate) hash: Hash,
}

impl Default for FrameBuilder {
    fn default() -> Self {
        Self {
            bytes: vec![0; HEADER_LEN],
            leaves: 0,
        }
    }
}

impl FrameBuilder {
    pub(crate) const fn is_empty(&self) -> bool {
        self.bytes.len() == HEADER_LEN
    }

    pub(crate) const fn payload_len(&self) -> usize {
        self.bytes.len().saturating_sub(HEADER_LEN)
    }

    pub(crate) fn push(&mut self, entry: Entry<'_>) {
        match entry {
            Entry::Leaf { header, body } => {
                self.leaves += 1;
                self.bytes.push(TAG_LEAF);
                self.counted(header);
                match body {
                    None => self.bytes.push(0),
                    Some((salt, body)) => {
                        self.bytes.push(1);
                        self.bytes.extend_from_slice(&salt);
                        self.counted(body);
                    }
                }
            }
            Entry::Chunk {
                session,
                number,
                direction,
                at_us,
                bytes,
            } => {
                self.bytes.push(TAG_CHUNK);
                self.bytes.extend_from_slice(session.as_uuid().as_bytes());
                self.bytes.extend_from_slice(&number.to_be_bytes());
                self.bytes.push(direction);
                self.bytes.extend_from_slice(&at_us.to_be_bytes());
                self.counted(bytes);
            }
            Entry::Note { text } => {
                self.bytes.push(TAG_NOTE);
                self.counted(text.as_bytes());
            }
        }
    }

    /// Writes `u32` length and bytes. INVARIANT: callers keep entries within [`PAYLOAD_BYTES_MAX`], far below 2^32.
    fn counted(&mut self, bytes: &[u8]) {
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.bytes.extend_from_slice(&len.to_be_bytes());
        self.bytes.extend_from_slice(bytes);
    }

    /// Finishes the frame: `first_index` is the tree's size before it, `root` the root after it.
    pub(crate) fn seal(
        self,
        first_index: u64,
        commit: u64,
        previous: &Hash,
        root: &Hash,
    ) -> SealedFrame {
        let Self { mut bytes, leaves } = self;
        let payload = bytes.get(HEADER_LEN..).unwrap_or_default();
        let len = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        let payload_crc = crc32c::crc32c(payload);
        let mut header = Vec::with_capacity(HEADER_LEN);
        header.extend_from_slice(&MAGIC);
        header.extend_from_slice(&len.to_be_bytes());
        header.extend_from_slice(&leaves.to_be_bytes());
        header.extend_from_slice(&first_index.to_be_bytes());
        header.extend_from_slice(&commit.to_be_bytes());
        header.extend_from_slice(previous);
        header.extend_from_slice(root);
        header.extend_from_slice(&payload_crc.to_be_bytes());
        header.extend_from_slice(&crc32c::crc32c(&header).to_be_bytes());
        for (to, from) in bytes.iter_mut().zip(header) {
            *to = from;
        }
        let hash = sha256(&[&bytes]);
        bytes.resize(padded(bytes.len()), 0);
        SealedFrame { bytes, hash }
    }
}

const fn padded(len: usize) -> usize {
    len.next_multiple_of(BLOCK)
}

/// The entries of a checked payload, in order.
pub(crate) fn entries(payload: &[u8]) -> impl Iterator<Item = Result<Entry<'_>, FrameFault>> {
    let mut input = Input(payload);
    std::iter::from_fn(move || {
        if input.0.is_empty() {
            return None;
        }
        let entry = entry(&mut input).ok_or(FrameFault::Entries);
        if entry.is_err() {
            input.0 = &[];
        }
        Some(entry)
    })
}

fn entry<'a>(input: &mut Input<'a>) -> Option<Entry<'a>> {
    match input.u8()? {
        TAG_LEAF => {
            let header = input.counted()?;
            let body = match input.u8()? {
                0 => None,
                1 => Some((input.take()?, input.counted()?)),
                _ => return None,
            };
            Some(Entry::Leaf { header, body })
        }
        TAG_CHUNK => Some(Entry::Chunk {
            session: SessionId::from(uuid::Uuid::from_bytes(input.take()?)),
            number: input.u64()?,
            direction: input.u8()?,
            at_us: input.u64()?,
            bytes: input.counted()?,
        }),
        TAG_NOTE => Some(Entry::Note {
            text: std::str::from_utf8(input.counted()?).ok()?,
        }),
        _ => None,
    }
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*head)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_be_bytes)
    }

    fn counted(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.u32()?).ok()?;
        let (head, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> SessionId {
        SessionId::parse("01890a5d-ac96-774b-bcce-b302099a8057").unwrap()
    }

    fn sealed() -> SealedFrame {
        let mut frame = FrameBuilder::default();
        frame.push(Entry::Leaf {
            header: b"{}",
            body: None,
        });
        frame.push(Entry::Leaf {
            header: b"{\"i\":1}",
            body: Some(([5; 16], b"secret")),
        });
        frame.push(Entry::Chunk {
            session: session(),
            number: 1,
            direction: 1,
            at_us: 9,
            bytes: b"rows",
        });
        frame.push(Entry::Note { text: "note" });
        frame.seal(10, 3, &[1; 32], &[2; 32])
    }

    #[test]
    fn a_frame_reads_back_as_written() {
        let sealed = sealed();
        assert_eq!(sealed.bytes.len() % BLOCK, 0);
        let header = FrameHeader::parse(&sealed.bytes).unwrap();
        assert_eq!(
            (header.leaves, header.first_index, header.commit),
            (2, 10, 3)
        );
        assert_eq!((header.previous, header.root), ([1; 32], [2; 32]));
        let payload = &sealed.bytes[HEADER_LEN..HEADER_LEN + header.payload_len];
        header.check(payload).unwrap();
        assert_eq!(
            sha256(&[&sealed.bytes[..HEADER_LEN + header.payload_len]]),
            sealed.hash
        );
        let read: Vec<_> = entries(payload).map(Result::unwrap).collect();
        assert_eq!(read.len(), 4);
        assert_eq!(
            read[1],
            Entry::Leaf {
                header: b"{\"i\":1}",
                body: Some(([5; 16], b"secret"))
            }
        );
        assert_eq!(read[3], Entry::Note { text: "note" });
    }

    #[test]
    fn every_flipped_bit_outside_the_padding_is_noticed() {
        let sealed = sealed();
        let len = HEADER_LEN + FrameHeader::parse(&sealed.bytes).unwrap().payload_len;
        for at in 0..len * 8 {
            let mut bytes = sealed.bytes.clone();
            bytes[at / 8] ^= 1 << (at % 8);
            let seen =
                FrameHeader::parse(&bytes).and_then(|header| header.check(&bytes[HEADER_LEN..len]));
            assert!(seen.is_err(), "bit {at}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_parse_without_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            let _ = FrameHeader::parse(&bytes);
            proptest::prop_assert!(entries(&bytes).count() <= bytes.len());
        }
    }
}
