//! Frames: where one PostgreSQL message ends and the next begins.
//!
//! Length first, zero-copy. The header is checked against its limits as soon as its five bytes are
//! there; nothing here ever reserves memory, so a claimed length costs nothing. A message above
//! [`FrameLimits::whole_bytes_max`] is refused, unless its tag may stream: then it arrives as a
//! [`Frame::Head`] and [`Frame::Part`]s and is never held as a whole.
//!
//! Every byte taken from the input is in exactly one frame, in order: concatenated, the frames are
//! the input.

use bytes::{Bytes, BytesMut};

#[cfg(test)]
mod tests;

/// Bytes of a frame header: the tag and the 32-bit length.
pub const HEADER_BYTES: usize = 5;

/// Bytes in a [`Frame::Head`], header included: room for the names of a Bind and for the first
/// columns of a row.
///
/// A head has exactly this many bytes (fewer only where `whole_bytes_max` is smaller), however the
/// input was split: what is read from a head never depends on the network.
pub const HEAD_BYTES: usize = 4096;

/// Smallest valid length: the length field counts itself.
const LENGTH_MIN: usize = 4;

/// Smallest startup packet: its length field and a request code.
const STARTUP_BYTES_MIN: usize = 8;

/// Largest startup packet the server accepts, after its length field (PostgreSQL 18,
/// `MAX_STARTUP_PACKET_LENGTH` in `libpq/pqcomm.h`).
pub const STARTUP_BODY_BYTES_MAX: usize = 10_000;

/// One message, or one piece of a message too large to hold.
///
/// `bytes` are the exact bytes received, tag and length included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// A complete message.
    Whole {
        /// The message's tag.
        tag: u8,
        /// Tag, length and body; [`body`] is the part behind the header.
        bytes: Bytes,
    },
    /// The start of a streamed message. [`Frame::Part`]s follow, at least one.
    Head {
        /// The message's tag.
        tag: u8,
        /// Bytes of the whole message on the wire: this head and all its parts.
        frame_len: usize,
        /// The first [`HEAD_BYTES`], header included.
        bytes: Bytes,
    },
    /// More of a streamed message: whatever was there, never empty.
    Part {
        /// The next bytes of the body.
        bytes: Bytes,
        /// This part ends its message.
        last: bool,
    },
}

impl Frame {
    /// The bytes to forward.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        match self {
            Self::Whole { bytes, .. } | Self::Head { bytes, .. } | Self::Part { bytes, .. } => {
                bytes
            }
        }
    }
}

/// The body of a message given with its header; empty if there is no more than a header.
#[must_use]
pub fn body(message: &[u8]) -> &[u8] {
    message.get(HEADER_BYTES..).unwrap_or_default()
}

/// A frame header with a possible length: `len` is 4 or more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The message's tag.
    pub tag: u8,
    /// As on the wire: counts itself and the body, but not the tag.
    len: usize,
}

impl Header {
    /// Bytes of the whole message, tag included; at least [`HEADER_BYTES`].
    #[must_use]
    pub fn frame_len(self) -> usize {
        self.len + 1
    }
}

/// Reads the header at the start of `input`; `None` while fewer than [`HEADER_BYTES`] are there.
///
/// Cheap enough to walk a contiguous run of messages in place: step by [`Header::frame_len`], and
/// ask [`FrameLimits::admit`] about each.
///
/// # Errors
/// [`FrameError::Length`] if the length is negative or does not count itself.
pub fn peek_header(input: &[u8]) -> Result<Option<Header>, FrameError> {
    let Some((&[tag, a, b, c, d], _)) = input.split_first_chunk() else {
        return Ok(None);
    };
    let len = wire_length([a, b, c, d], LENGTH_MIN)?;
    Ok(Some(Header { tag, len }))
}

/// A length field, which must be at least `min`.
fn wire_length(field: [u8; 4], min: usize) -> Result<usize, FrameError> {
    let length = i32::from_be_bytes(field);
    match usize::try_from(length) {
        Ok(len) if len >= min => Ok(len),
        Ok(_) | Err(_) => Err(FrameError::Length(length)),
    }
}

/// How long a message of one tag may be.
///
/// `message::frontend_length` and `message::backend_length` give the rule of each tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LengthRule {
    /// The length field is at most this, and the message at most `whole_bytes_max`.
    AtMost(usize),
    /// At most `whole_bytes_max`.
    Whole,
    /// Held up to `whole_bytes_max`, streamed up to `stream_bytes_max`.
    Streamed,
}

/// The rule for a tag, `None` for a tag that does not exist.
pub type LengthRules = fn(tag: u8) -> Option<LengthRule>;

/// Bounds of one direction of one connection, in bytes of a message on the wire, tag included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameLimits {
    /// The most a message may have to be held as a whole.
    pub whole_bytes_max: usize,
    /// The most a streamed message may have.
    pub stream_bytes_max: usize,
}

/// How an admitted message will arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// As one [`Frame::Whole`].
    Whole,
    /// As a [`Frame::Head`] and [`Frame::Part`]s.
    Streamed,
}

impl FrameLimits {
    /// Judges a header before any of its body is waited for.
    ///
    /// # Errors
    /// [`FrameError::Tag`] for a tag without a rule, [`FrameError::TooLarge`] past a limit.
    pub fn admit(&self, header: Header, rules: LengthRules) -> Result<Admission, FrameError> {
        let rule = rules(header.tag).ok_or(FrameError::Tag(header.tag))?;
        let frame_len = header.frame_len();
        let whole = frame_len <= self.whole_bytes_max.max(HEADER_BYTES);
        match rule {
            LengthRule::AtMost(max) if whole && header.len <= max => Ok(Admission::Whole),
            LengthRule::Whole | LengthRule::Streamed if whole => Ok(Admission::Whole),
            LengthRule::Streamed if frame_len <= self.stream_bytes_max => Ok(Admission::Streamed),
            LengthRule::AtMost(_) | LengthRule::Whole | LengthRule::Streamed => {
                Err(FrameError::TooLarge {
                    tag: header.tag,
                    frame_len,
                })
            }
        }
    }

    /// Bytes in a head under these limits: always less than any message that streams.
    fn head_bytes(&self) -> usize {
        self.whole_bytes_max.clamp(HEADER_BYTES, HEAD_BYTES)
    }
}

/// Why framing is lost. Every one is fatal: nothing behind it can be trusted to be a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A length that is negative or too small to count its own fields.
    #[error("invalid message length `{0}`")]
    Length(i32),
    /// A message past its limit.
    #[error("message `{}` of {frame_len} bytes is past its limit", tag.escape_ascii())]
    TooLarge {
        /// The message's tag; zero for a startup packet, which has none.
        tag: u8,
        /// Bytes it claims to have on the wire.
        frame_len: usize,
    },
    /// A tag no message has in this direction.
    #[error("unknown message tag `{}`", .0.escape_ascii())]
    Tag(u8),
}

/// Splits one direction of a connection into frames.
#[derive(Debug, Clone)]
pub struct Decoder {
    limits: FrameLimits,
    state: State,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// The next byte is a tag.
    ExpectHeader,
    /// Inside a streamed message with `left` bytes to come, at least one.
    ExpectPart { left: usize },
    /// Framing is lost; the error stays.
    Failed(FrameError),
}

impl Decoder {
    /// A decoder at the start of a message.
    #[must_use]
    pub fn new(limits: FrameLimits) -> Self {
        Self {
            limits,
            state: State::ExpectHeader,
        }
    }

    /// The limits given to [`Decoder::new`].
    #[must_use]
    pub fn limits(&self) -> &FrameLimits {
        &self.limits
    }

    /// The next byte starts a message: the input may be walked with [`peek_header`] and what was
    /// walked removed from it.
    #[must_use]
    pub fn at_boundary(&self) -> bool {
        matches!(self.state, State::ExpectHeader)
    }

    /// Takes the next frame off the front of `input`; `None` until more bytes are there.
    ///
    /// `input` never needs to hold more than `whole_bytes_max` bytes for this to progress.
    ///
    /// # Errors
    /// Any [`FrameError`], found as soon as the header is there. It is sticky: every later call
    /// returns it again and takes nothing.
    pub fn decode(
        &mut self,
        input: &mut BytesMut,
        rules: LengthRules,
    ) -> Result<Option<Frame>, FrameError> {
        match self.state {
            State::Failed(error) => Err(error),
            State::ExpectPart { left } => Ok(self.decode_part(left, input)),
            State::ExpectHeader => {
                let result = self.decode_start(input, rules);
                if let Err(error) = result {
                    self.state = State::Failed(error);
                }
                result
            }
        }
    }

    fn decode_start(
        &mut self,
        input: &mut BytesMut,
        rules: LengthRules,
    ) -> Result<Option<Frame>, FrameError> {
        let Some(header) = peek_header(input)? else {
            return Ok(None);
        };
        let (tag, frame_len) = (header.tag, header.frame_len());
        match self.limits.admit(header, rules)? {
            Admission::Whole if input.len() < frame_len => Ok(None),
            Admission::Whole => Ok(Some(Frame::Whole {
                tag,
                bytes: input.split_to(frame_len).freeze(),
            })),
            Admission::Streamed => {
                let head_len = self.limits.head_bytes();
                if input.len() < head_len {
                    return Ok(None);
                }
                // INVARIANT: what streams is longer than `whole_bytes_max`, so `left` is at least 1.
                self.state = State::ExpectPart {
                    left: frame_len.saturating_sub(head_len),
                };
                Ok(Some(Frame::Head {
                    tag,
                    frame_len,
                    bytes: input.split_to(head_len).freeze(),
                }))
            }
        }
    }

    fn decode_part(&mut self, left: usize, input: &mut BytesMut) -> Option<Frame> {
        let len = left.min(input.len());
        if len == 0 {
            return None;
        }
        let last = len == left;
        self.state = if last {
            State::ExpectHeader
        } else {
            State::ExpectPart { left: left - len }
        };
        Some(Frame::Part {
            bytes: input.split_to(len).freeze(),
            last,
        })
    }
}

/// Whether a connection's first bytes begin a TLS handshake instead of a startup packet: direct TLS
/// (PostgreSQL 17 and later, "SSL Session Encryption"). The first byte tells: it is a record's type
/// (RFC 8446, "Record Layer"), and no startup packet is as long as it would mean.
#[must_use]
pub fn starts_tls(input: &[u8]) -> bool {
    const HANDSHAKE: u8 = 22;
    input.first() == Some(&HANDSHAKE)
}

/// Takes a startup packet, which has no tag, off the front of `input`: the length field and what it
/// counts. `None` until all of it is there.
///
/// `body_bytes_max` bounds what follows the length field; the server's is
/// [`STARTUP_BODY_BYTES_MAX`]. A TLS ClientHello in its place ([`starts_tls`]) reads as a length of
/// 369 million and is refused.
///
/// # Errors
/// [`FrameError::Length`] without room for a request code, [`FrameError::TooLarge`] past the limit.
pub fn decode_startup(
    input: &mut BytesMut,
    body_bytes_max: usize,
) -> Result<Option<Bytes>, FrameError> {
    let Some((&field, _)) = input.split_first_chunk() else {
        return Ok(None);
    };
    let len = wire_length(field, STARTUP_BYTES_MIN)?;
    if len.saturating_sub(LENGTH_MIN) > body_bytes_max {
        return Err(FrameError::TooLarge {
            tag: 0,
            frame_len: len,
        });
    }
    if input.len() < len {
        return Ok(None);
    }
    Ok(Some(input.split_to(len).freeze()))
}
