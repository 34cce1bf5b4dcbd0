//! Messages of the SSH connection protocol (RFC 4254), and in [`sftp`] those of the file transfer
//! protocol that runs inside a channel.
//!
//! The shell builds these types from its transport's; their binary form is for transcripts, fuzzers
//! and whoever wants the parser alone. `parse` and `encode` are each other's inverse, but for what
//! belongs to the transport: window and packet sizes and the sender's number in a confirmation are
//! read over, and written as they would be with one number for both ends and no window.

mod request;
pub mod sftp;
mod wire;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

pub use request::{Modes, Request, Size};
pub use wire::MessageError;
use wire::{flag, name, number, put_string, string, text};

/// `SSH_OPEN_ADMINISTRATIVELY_PROHIBITED` (RFC 4254, section 5.1, "Opening a Channel").
pub const OPEN_PROHIBITED: u32 = 1;
/// `SSH_OPEN_CONNECT_FAILED`.
pub const OPEN_CONNECT_FAILED: u32 = 2;
/// `SSH_OPEN_UNKNOWN_CHANNEL_TYPE`.
pub const OPEN_UNKNOWN_KIND: u32 = 3;
/// `SSH_OPEN_RESOURCE_SHORTAGE`.
pub const OPEN_SHORTAGE: u32 = 4;

/// `SSH_EXTENDED_DATA_STDERR` (RFC 4254, section 5.2, "Data Transfer").
pub const STDERR: u32 = 1;

/// A channel, by the one number that both sides of a session use for it: the agent's, as the
/// gateway's transport gave it out. The shell maps the target's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelId(pub u32);

/// One message about one channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The channel.
    pub channel: ChannelId,
    /// What is said of it.
    pub body: Body,
}

/// What a message says of its channel. Numbers are those of RFC 4254, section 9, "Summary of
/// Message Numbers".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// 90: open it.
    Open {
        /// The channel's type: `session`, `direct-tcpip`…
        kind: String,
        /// What the type adds; empty for sessions.
        data: Bytes,
    },
    /// 91: it is open.
    Opened,
    /// 92: it can't be opened.
    OpenFailed {
        /// `OPEN_…`.
        reason: u32,
        /// Words for a person.
        text: String,
    },
    /// 94: data: a program's standard input or output.
    Data(Bytes),
    /// 95: data of another kind.
    ExtendedData {
        /// [`STDERR`] is the only kind that is defined.
        kind: u32,
        /// The data.
        data: Bytes,
    },
    /// 96: its sender will send no more data.
    Eof,
    /// 97: its sender is done with the channel.
    Close,
    /// 98: a request.
    Request {
        /// Whether the sender waits for [`Body::Success`] or [`Body::Failure`].
        want_reply: bool,
        /// What is asked.
        request: Request,
    },
    /// 99: the oldest unanswered request was met.
    Success,
    /// 100: the oldest unanswered request was not met.
    Failure,
}

impl Body {
    /// The message about `channel` that says this.
    #[must_use]
    pub fn on(self, channel: ChannelId) -> Message {
        Message {
            channel,
            body: self,
        }
    }

    /// Rough size in memory, bytes.
    #[must_use]
    pub fn weight(&self) -> usize {
        let variable = match self {
            Self::Data(data) | Self::ExtendedData { data, .. } => data.len(),
            Self::Open { kind, data } => kind.len() + data.len(),
            Self::OpenFailed { text, .. } => text.len(),
            Self::Request { request, .. } => request.weight(),
            Self::Opened | Self::Eof | Self::Close | Self::Success | Self::Failure => 0,
        };
        16 + variable
    }

    const fn number(&self) -> u8 {
        match self {
            Self::Open { .. } => 90,
            Self::Opened => 91,
            Self::OpenFailed { .. } => 92,
            Self::Data(_) => 94,
            Self::ExtendedData { .. } => 95,
            Self::Eof => 96,
            Self::Close => 97,
            Self::Request { .. } => 98,
            Self::Success => 99,
            Self::Failure => 100,
        }
    }
}

impl Message {
    /// Parses one whole message, without the transport's framing.
    ///
    /// # Errors
    /// Any [`MessageError`]; `SSH_MSG_CHANNEL_WINDOW_ADJUST` (93) and the global requests are
    /// numbers that the transport keeps to itself.
    pub fn parse(mut input: Bytes) -> Result<Self, MessageError> {
        let input = &mut input;
        let code = input.try_get_u8()?;
        if code == 90 {
            return Self::parse_open(input);
        }
        let channel = ChannelId(number(input)?);
        let body = match code {
            91 => {
                let (_sender, _window, _packet) = (number(input)?, number(input)?, number(input)?);
                Body::Opened
            }
            92 => {
                let (reason, text) = (number(input)?, text(input)?);
                let _language = string(input)?;
                Body::OpenFailed { reason, text }
            }
            94 => Body::Data(string(input)?),
            95 => Body::ExtendedData {
                kind: number(input)?,
                data: string(input)?,
            },
            96 => Body::Eof,
            97 => Body::Close,
            98 => {
                let (kind, want_reply) = (name(input)?, flag(input)?);
                let request = Request::parse(kind, input)?;
                Body::Request {
                    want_reply,
                    request,
                }
            }
            99 => Body::Success,
            100 => Body::Failure,
            code => return Err(MessageError::Code(code)),
        };
        complete(input, body.on(channel))
    }

    fn parse_open(input: &mut Bytes) -> Result<Self, MessageError> {
        let (kind, channel) = (name(input)?, ChannelId(number(input)?));
        let (_window, _packet) = (number(input)?, number(input)?);
        let data = input.split_off(0);
        Ok(Body::Open { kind, data }.on(channel))
    }

    /// Appends the message to `out`, without the transport's framing.
    ///
    /// # Errors
    /// [`MessageError::TooLong`] for a string of 4 GiB and more; `out` may then end in a part.
    pub fn encode(&self, out: &mut BytesMut) -> Result<(), MessageError> {
        out.put_u8(self.body.number());
        if let Body::Open { kind, data } = &self.body {
            put_string(out, kind.as_bytes())?;
            out.put_u32(self.channel.0);
            out.put_u64(0);
            out.put_slice(data);
            return Ok(());
        }
        out.put_u32(self.channel.0);
        match &self.body {
            Body::Opened => {
                out.put_u32(self.channel.0);
                out.put_u64(0);
            }
            Body::OpenFailed { reason, text } => {
                out.put_u32(*reason);
                put_string(out, text.as_bytes())?;
                put_string(out, b"")?;
            }
            Body::Data(data) => put_string(out, data)?,
            Body::ExtendedData { kind, data } => {
                out.put_u32(*kind);
                put_string(out, data)?;
            }
            Body::Request {
                want_reply,
                request,
            } => {
                put_string(out, request.name().as_bytes())?;
                out.put_u8(u8::from(*want_reply));
                request.encode(out)?;
            }
            Body::Open { .. } | Body::Eof | Body::Close | Body::Success | Body::Failure => {}
        }
        Ok(())
    }
}

/// A message that must have used up its input.
fn complete<T>(input: &Bytes, message: T) -> Result<T, MessageError> {
    match input.len() {
        0 => Ok(message),
        left => Err(MessageError::Trailing(left)),
    }
}

#[cfg(test)]
mod tests;
