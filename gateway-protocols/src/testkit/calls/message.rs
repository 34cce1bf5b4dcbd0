//! Events and commands of the toy protocol of calls.

use bytes::{BufMut as _, Bytes, BytesMut};
use gateway_core::{
    id::UnitId,
    record::{Moment, Track},
    wire::{Payload, Side},
};

use crate::testkit::typed::{Outbound, Typed, packet};

/// An event, or a command, of any side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// The agent's token.
    Hello(String),
    /// The session is open.
    Welcome,
    /// A call begins.
    Call(u8, String),
    /// Input or output of a call.
    Data(u8, Bytes),
    /// The end of a call's input or output.
    End(u8),
    /// A call was refused.
    Refused(u8, String),
}

impl Message {
    /// The packet in a stream.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let (tag, call, data): (u8, u8, &[u8]) = match self {
            Self::Hello(token) => (b'H', 0, token.as_bytes()),
            Self::Welcome => (b'W', 0, b""),
            Self::Call(call, text) => (b'C', *call, text.as_bytes()),
            Self::Data(call, data) => (b'D', *call, data),
            Self::End(call) => (b'E', *call, b""),
            Self::Refused(call, why) => (b'R', *call, why.as_bytes()),
        };
        let mut body = BytesMut::with_capacity(2 + data.len());
        body.put_u8(tag);
        body.put_u8(call);
        body.put_slice(data);
        packet(&body)
    }

    pub(super) fn decode(body: &Bytes) -> Option<Self> {
        let [tag, call, ..] = *body.first_chunk::<2>()?;
        let data = body.slice(2..);
        let text = || String::from_utf8(data.to_vec()).ok();
        Some(match tag {
            b'H' => Self::Hello(text()?),
            b'W' => Self::Welcome,
            b'C' => Self::Call(call, text()?),
            b'D' => Self::Data(call, data),
            b'E' => Self::End(call),
            b'R' => Self::Refused(call, text()?),
            _ => return None,
        })
    }
}

impl Typed for Message {
    fn parse(_: Side, body: &Bytes) -> Option<Self> {
        Self::decode(body)
    }

    fn data(&mut self) -> Option<&mut Bytes> {
        match self {
            Self::Data(_, data) => Some(data),
            _ => None,
        }
    }
}

/// A message on its way out, and what evidence keeps of it.
#[derive(Clone, Debug)]
pub struct Out {
    message: Message,
    moment: Option<Moment>,
}

impl Out {
    pub(super) fn data(call: u8, data: Bytes, unit: UnitId, track: Track) -> Self {
        Self {
            message: Message::Data(call, data.clone()),
            moment: Some(Moment { unit, track, data }),
        }
    }
}

impl From<Message> for Out {
    fn from(message: Message) -> Self {
        Self {
            message,
            moment: None,
        }
    }
}

impl Payload for Out {
    fn weight(&self) -> usize {
        self.message.encode().len()
    }

    fn recorded(&self) -> Option<Bytes> {
        self.moment.as_ref().map(Moment::encode)
    }
}

impl Outbound for Out {
    fn encode(&self, _: Side) -> Bytes {
        self.message.encode()
    }
}
