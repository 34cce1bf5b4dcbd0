//! The chain over a session's recorded chunks.
//!
//! `h_0 = SHA-256("session" || id)` with the identifier as 36 characters of text, and
//! `h_n = SHA-256(0x11 || h_{n-1} || u64 n || u8 dir || u64 t || u32 len || SHA-256(chunk))`, integers
//! big-endian, `n` from 1. A head in a leaf commits to every chunk before it.

use gateway_core::id::SessionId;

use crate::tree::{Hash, sha256};

/// Longest chunk, bytes. Longer data is recorded as several chunks.
pub const CHUNK_BYTES_MAX: usize = 64 << 10;

/// Direction code of chunks towards the agent.
pub const TO_AGENT: u8 = 1;
/// Direction code of chunks towards the target.
pub const TO_TARGET: u8 = 2;

/// The state of one session's chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain {
    /// The hash over all chunks so far.
    pub head: Hash,
    /// The number of chunks so far.
    pub chunks: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Chain {
    /// The empty chain of a session.
    #[must_use]
    pub fn new(session: SessionId) -> Self {
        Self {
            head: sha256(&[b"session", session.to_string().as_bytes()]),
            chunks: 0,
            bytes: 0,
        }
    }

    /// Appends one chunk: its direction code, microseconds since the Unix epoch, and its bytes (at most [`CHUNK_BYTES_MAX`]).
    pub fn push(&mut self, direction: u8, at_us: u64, chunk: &[u8]) {
        self.chunks += 1;
        let len = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
        self.head = sha256(&[
            &[0x11],
            &self.head,
            &self.chunks.to_be_bytes(),
            &[direction],
            &at_us.to_be_bytes(),
            &len.to_be_bytes(),
            &sha256(&[chunk]),
        ]);
        self.bytes += u64::from(len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_input_of_a_chunk_changes_the_head() {
        let session = SessionId::parse("01890a5d-ac96-774b-bcce-b302099a8057").unwrap();
        let other = SessionId::parse("01890a5d-ac96-774b-bcce-b302099a8058").unwrap();
        let mut heads = vec![Chain::new(session).head, Chain::new(other).head];
        for (direction, at, chunk) in [
            (0, 1, &b"a"[..]),
            (1, 1, b"a"),
            (0, 2, b"a"),
            (0, 1, b"b"),
            (0, 1, b""),
        ] {
            let mut chain = Chain::new(session);
            chain.push(direction, at, chunk);
            heads.push(chain.head);
            chain.push(direction, at, chunk);
            heads.push(chain.head);
        }
        let count = heads.len();
        heads.sort_unstable();
        heads.dedup();
        assert_eq!(heads.len(), count);
    }
}
