//! WebSocket frames (RFC 6455, section 5 "Data Framing"), without extensions, from and to bytes.

#[cfg(test)]
mod tests;

use aws_lc_rs::digest;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

/// RFC 6455, section 1.3 "Opening Handshake".
const ACCEPT_GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// RFC 6455, section 5.5 "Control Frames".
const CONTROL_BYTES_MAX: usize = 125;

const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
const OPCODE: u8 = 0x0f;
const MASK: u8 = 0x80;

/// What a frame is (RFC 6455, section 5.2 "Base Framing Protocol").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    /// A later piece of a message.
    Continuation,
    /// Text.
    Text,
    /// Bytes.
    Binary,
    /// The end of the connection.
    Close,
    /// "Are you there?"
    Ping,
    /// "I am."
    Pong,
}

impl Opcode {
    const fn parse(code: u8) -> Option<Self> {
        match code {
            0x0 => Some(Self::Continuation),
            0x1 => Some(Self::Text),
            0x2 => Some(Self::Binary),
            0x8 => Some(Self::Close),
            0x9 => Some(Self::Ping),
            0xa => Some(Self::Pong),
            _ => None,
        }
    }

    const fn code(self) -> u8 {
        match self {
            Self::Continuation => 0x0,
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xa,
        }
    }

    const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// Why a connection closes (RFC 6455, section 7.4.1 "Defined Status Codes").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseCode {
    /// It did what it was made for.
    Normal,
    /// A peer broke the protocol.
    Protocol,
    /// A peer sent what isn't accepted.
    Unsupported,
    /// Policy, or something that fits nowhere else.
    Policy,
}

impl CloseCode {
    /// The code on the wire.
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            Self::Normal => 1000,
            Self::Protocol => 1002,
            Self::Unsupported => 1003,
            Self::Policy => 1008,
        }
    }
}

/// A whole message, put together from its frames, or a control frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A data message.
    Data {
        /// Whether it was sent as text.
        text: bool,
        /// At most the decoder's bound.
        data: Bytes,
    },
    /// The peer closes; at most 125 bytes of code and reason, as they came.
    Close(Bytes),
    /// To be answered with a pong of the same data, at most 125 bytes.
    Ping(Bytes),
    /// An answer to a ping.
    Pong,
}

/// What isn't RFC 6455, or is too much of it. Fatal: framing is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Section 5.2: no extension was agreed on.
    #[error("reserved bits without an extension")]
    Reserved,
    /// Section 5.2.
    #[error("no frame has opcode {0}")]
    Opcode(u8),
    /// Section 5.1: clients mask, servers don't.
    #[error("a frame is masked the wrong way for its sender")]
    Masking,
    /// Section 5.5.
    #[error("a control frame in pieces, or of more than 125 bytes")]
    Control,
    /// Section 5.4.
    #[error("a message begins inside of another, or goes on without one")]
    Fragment,
    /// Section 5.2: the shortest form must be used.
    #[error("a length in too long a form")]
    Length,
    /// Past the decoder's bound.
    #[error("a message of more than {0} bytes")]
    TooLong(usize),
}

/// Puts the frames of one direction together.
#[derive(Debug)]
pub struct Decoder {
    /// Whether the peer masks: it is the client.
    masked: bool,
    message_bytes_max: usize,
    /// Of a message whose last frame hasn't come: text or not, and its data so far.
    partial: Option<(bool, BytesMut)>,
}

struct Head {
    last: bool,
    opcode: Opcode,
    key: Option<[u8; 4]>,
    head_len: usize,
    len: usize,
}

impl Decoder {
    /// For what a client (`masked`) or a server sends, messages bounded before anything is kept.
    #[must_use]
    pub const fn new(masked: bool, message_bytes_max: usize) -> Self {
        Self {
            masked,
            message_bytes_max,
            partial: None,
        }
    }

    /// Bytes that are kept of an unfinished message.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.partial.as_ref().map_or(0, |(_, data)| data.len())
    }

    /// Takes the next message off `input`; `None` while it isn't whole. What stays in `input` is
    /// less than one frame of the bound.
    ///
    /// # Errors
    /// [`FrameError`].
    pub fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Message>, FrameError> {
        while let Some(head) = self.head(input)? {
            if input.len() - head.head_len < head.len {
                return Ok(None);
            }
            input.advance(head.head_len);
            let mut data = input.split_to(head.len);
            if let Some(key) = head.key {
                apply_mask(&mut data, key);
            }
            if let Some(message) = self.frame(&head, data) {
                return Ok(Some(message));
            }
        }
        Ok(None)
    }

    fn head(&self, input: &[u8]) -> Result<Option<Head>, FrameError> {
        let Some((&[first, second], rest)) = input.split_first_chunk::<2>() else {
            return Ok(None);
        };
        if first & RESERVED != 0 {
            return Err(FrameError::Reserved);
        }
        let opcode = Opcode::parse(first & OPCODE).ok_or(FrameError::Opcode(first & OPCODE))?;
        if (second & MASK != 0) != self.masked {
            return Err(FrameError::Masking);
        }
        let last = first & FIN != 0;
        let (len, rest) = match second & !MASK {
            126 => match rest.split_first_chunk::<2>() {
                Some((len, rest)) => (u64::from(u16::from_be_bytes(*len)), rest),
                None => return Ok(None),
            },
            127 => match rest.split_first_chunk::<8>() {
                Some((len, rest)) => (u64::from_be_bytes(*len), rest),
                None => return Ok(None),
            },
            len => (u64::from(len), rest),
        };
        let shortest = match second & !MASK {
            126 => len >= 126,
            127 => len > u64::from(u16::MAX),
            _ => true,
        };
        if !shortest {
            return Err(FrameError::Length);
        }
        let too_long = FrameError::TooLong(self.message_bytes_max);
        let len = usize::try_from(len).map_err(|_| too_long)?;
        if opcode.is_control() {
            if !last || len > CONTROL_BYTES_MAX {
                return Err(FrameError::Control);
            }
        } else {
            let continues = opcode == Opcode::Continuation;
            if continues != self.partial.is_some() {
                return Err(FrameError::Fragment);
            }
            if len > self.message_bytes_max.saturating_sub(self.kept()) {
                return Err(too_long);
            }
        }
        let (key, rest) = if self.masked {
            match rest.split_first_chunk::<4>() {
                Some((key, rest)) => (Some(*key), rest),
                None => return Ok(None),
            }
        } else {
            (None, rest)
        };
        let head_len = input.len() - rest.len();
        Ok(Some(Head {
            last,
            opcode,
            key,
            head_len,
            len,
        }))
    }

    fn frame(&mut self, head: &Head, data: BytesMut) -> Option<Message> {
        match head.opcode {
            Opcode::Close => return Some(Message::Close(data.freeze())),
            Opcode::Ping => return Some(Message::Ping(data.freeze())),
            Opcode::Pong => return Some(Message::Pong),
            Opcode::Continuation => {
                if let Some((_, partial)) = &mut self.partial {
                    partial.extend_from_slice(&data);
                }
            }
            Opcode::Text => self.partial = Some((true, data)),
            Opcode::Binary => self.partial = Some((false, data)),
        }
        if !head.last {
            return None;
        }
        let (text, data) = self.partial.take()?;
        let data = data.freeze();
        Some(Message::Data { text, data })
    }
}

/// One unfragmented frame. With a `key` it is masked: only a client's frames are.
#[must_use]
pub fn encode(opcode: Opcode, parts: &[&[u8]], key: Option<[u8; 4]>) -> Bytes {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = BytesMut::with_capacity(len + 14);
    out.put_u8(FIN | opcode.code());
    let mask = if key.is_some() { MASK } else { 0 };
    match (u8::try_from(len), u16::try_from(len)) {
        (Ok(len @ ..=125), _) => out.put_u8(mask | len),
        (_, Ok(len)) => {
            out.put_u8(mask | 126);
            out.put_u16(len);
        }
        _ => {
            out.put_u8(mask | 127);
            out.put_u64(len as u64);
        }
    }
    if let Some(key) = key {
        out.put_slice(&key);
    }
    let start = out.len();
    for part in parts {
        out.extend_from_slice(part);
    }
    if let (Some(key), Some(data)) = (key, out.get_mut(start..)) {
        apply_mask(data, key);
    }
    out.freeze()
}

/// A close frame.
#[must_use]
pub fn close(code: CloseCode, key: Option<[u8; 4]>) -> Bytes {
    encode(Opcode::Close, &[&code.code().to_be_bytes()], key)
}

/// RFC 6455, section 5.3 "Client-to-Server Masking".
fn apply_mask(data: &mut [u8], key: [u8; 4]) {
    for (byte, key) in data.iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
}

/// The `Sec-WebSocket-Accept` that answers a `Sec-WebSocket-Key` (RFC 6455, section 4.2.2).
#[must_use]
pub fn accept_of(key: &str) -> String {
    let input = format!("{key}{ACCEPT_GUID}");
    STANDARD.encode(digest::digest(
        &digest::SHA1_FOR_LEGACY_USE_ONLY,
        input.as_bytes(),
    ))
}

/// Whether a `Sec-WebSocket-Key` is the base64 of 16 bytes (RFC 6455, section 4.1).
#[must_use]
pub fn is_key(key: &str) -> bool {
    STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == 16)
}

/// Keys that can't be predicted without the seed: SHA-256 of seed and counter.
#[derive(Debug)]
pub struct Keys {
    seed: [u8; 32],
    used: u64,
}

impl Keys {
    /// Keys of a fresh seed.
    #[must_use]
    pub const fn new(seed: [u8; 32]) -> Self {
        Self { seed, used: 0 }
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        self.used += 1;
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(&self.seed);
        context.update(&self.used.to_be_bytes());
        let mut out = [0; N];
        for (to, from) in out.iter_mut().zip(context.finish().as_ref()) {
            *to = *from;
        }
        out
    }

    /// The key of one frame.
    pub fn mask(&mut self) -> [u8; 4] {
        self.bytes()
    }

    /// A `Sec-WebSocket-Key`.
    pub fn handshake(&mut self) -> String {
        STANDARD.encode(self.bytes::<16>())
    }
}
