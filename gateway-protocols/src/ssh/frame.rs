//! Frames: where one SFTP packet ends and the next begins, inside a channel's data.
//!
//! Packets of the connection protocol itself are framed by the transport. Length first, zero-copy;
//! nothing here ever reserves memory, so a claimed length costs nothing. A packet is always held
//! whole: the longest that OpenSSH sends or takes is small.

use bytes::{Buf as _, Bytes, BytesMut};

/// Bytes of a frame header: the length of what follows.
pub const HEADER_BYTES: usize = 4;

/// Longest packet behind its length field, bytes (OpenSSH 9.2, `SFTP_MAX_MSG_LENGTH` in
/// `sftp-common.h`).
pub const PACKET_BYTES_MAX: usize = 256 * 1024;

/// Why framing is lost. Nothing behind it can be trusted to be a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A packet without room for its type.
    #[error("an empty packet")]
    Empty,
    /// A packet past [`PACKET_BYTES_MAX`].
    #[error("a packet of {0} bytes is past its limit")]
    TooLarge(u32),
}

/// Takes the next packet off the front of `input`, without its length field; `None` until all of it
/// is there, which takes at most [`HEADER_BYTES`] and [`PACKET_BYTES_MAX`].
///
/// # Errors
/// Any [`FrameError`], as soon as the length is there. Nothing is taken then: called again, it
/// fails again.
pub fn decode(input: &mut BytesMut) -> Result<Option<Bytes>, FrameError> {
    let Some(field) = input.first_chunk::<HEADER_BYTES>() else {
        return Ok(None);
    };
    let claimed = u32::from_be_bytes(*field);
    let len = match usize::try_from(claimed) {
        Ok(0) => return Err(FrameError::Empty),
        Ok(len) if len <= PACKET_BYTES_MAX => len,
        Ok(_) | Err(_) => return Err(FrameError::TooLarge(claimed)),
    };
    if input.len() - HEADER_BYTES < len {
        return Ok(None);
    }
    input.advance(HEADER_BYTES);
    Ok(Some(input.split_to(len).freeze()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(packets: &[&[u8]]) -> Vec<u8> {
        packets
            .iter()
            .flat_map(|packet| {
                let len = u32::try_from(packet.len()).unwrap().to_be_bytes();
                [&len[..], packet].concat()
            })
            .collect()
    }

    #[test]
    fn packets_survive_any_split() {
        let packets: [&[u8]; 3] = [b"\x01\0\0\0\x03", b"\x05read", b"x"];
        let whole = stream(&packets);
        for split in 0..whole.len() {
            let (mut input, mut found) = (BytesMut::new(), Vec::new());
            for part in [&whole[..split], &whole[split..]] {
                input.extend_from_slice(part);
                while let Some(packet) = decode(&mut input).unwrap() {
                    found.push(packet);
                }
            }
            assert_eq!(found, packets, "split at {split}");
        }
    }

    #[test]
    fn impossible_lengths_fail_before_anything_is_waited_for() {
        let too_large = u32::try_from(PACKET_BYTES_MAX + 1).unwrap();
        for (field, error) in [
            (0, FrameError::Empty),
            (too_large, FrameError::TooLarge(too_large)),
            (u32::MAX, FrameError::TooLarge(u32::MAX)),
        ] {
            let mut input = BytesMut::from(&field.to_be_bytes()[..]);
            assert_eq!(decode(&mut input), Err(error));
            assert_eq!(decode(&mut input), Err(error), "it is sticky");
        }
    }
}
