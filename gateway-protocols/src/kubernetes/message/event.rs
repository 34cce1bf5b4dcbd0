//! HTTP exchanges as typed values, without their transport.

use bytes::Bytes;

/// Bytes that an event occupies beside its data, about.
const EVENT_BYTES: usize = 128;

/// One exchange: a request, its answer, and what follows an upgrade. The shell counts them from 1
/// within one agent connection and never uses a number twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);

/// A header field: its name in lower case, and its value as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Lower case.
    pub name: String,
    /// Any bytes.
    pub value: Bytes,
}

impl Header {
    /// A field of text.
    #[must_use]
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            value: Bytes::from(value.into()),
        }
    }

    /// Size in memory, bytes, about.
    pub(crate) fn weight(&self) -> usize {
        self.name.len() + self.value.len() + EVENT_BYTES / 4
    }
}

/// What a connection is to become (RFC 9110, section 7.8 "Upgrade").
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Upgrade {
    /// `websocket`, in whatever case.
    WebSocket,
    /// Another protocol, as it was named.
    Other(String),
}

/// The head of a request, as the agent sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHead {
    /// The method, exactly.
    pub method: String,
    /// The request target (RFC 9112, section 3.2 "Request Target"), exactly: path and query for
    /// the origin form, and everything else with its scheme or authority, so that it can be refused.
    pub target: String,
    /// Header fields in order, each line one field.
    pub headers: Vec<Header>,
    /// What it asks the connection to become: `Connection: upgrade` with `Upgrade`.
    pub upgrade: Option<Upgrade>,
}

/// The head of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseHead {
    /// The status code, 100 to 599.
    pub status: u16,
    /// Header fields in order.
    pub headers: Vec<Header>,
}

/// What happened on a connection. Events of one stream come in order.
///
/// ```text
/// agent   Request Body* End        then Reset, or nothing
/// agent   Malformed                in the place of a request, or of its rest
/// agent   Request (upgrade)        and after a Respond of 101: Body* End
/// target  Response Body* End       or Reset at any point
/// target  Response (101) Body* End
/// ```
/// The shell cuts bodies into pieces of at most 64 KiB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// From the agent: a request begins. `End` follows even where there is no body, unless the
    /// request asks for an upgrade.
    Request {
        /// The stream.
        stream: StreamId,
        /// Its head.
        head: RequestHead,
    },
    /// From the target: the answer begins. Informational answers other than 101 aren't reported.
    /// From a 101 on, bodies of both directions are the raw bytes of the upgraded connection.
    Response {
        /// The stream.
        stream: StreamId,
        /// Its head.
        head: ResponseHead,
    },
    /// A piece of a body. Trailers aren't reported.
    Body {
        /// The stream.
        stream: StreamId,
        /// The piece.
        data: Bytes,
    },
    /// The body, or the upgraded connection's direction, is over.
    End {
        /// The stream.
        stream: StreamId,
    },
    /// From the agent: it gave the stream up. From the target: there will be no answer, or no
    /// more of it.
    Reset {
        /// The stream.
        stream: StreamId,
        /// Words for the operator.
        why: String,
    },
    /// From the agent: what came isn't TLS or HTTP, or a request that HTTP's own limits refuse.
    /// The shell has answered as these do, and the stream, or the connection, ends.
    Malformed {
        /// A stream of its own.
        stream: StreamId,
        /// What is wrong; nothing of what came.
        why: String,
    },
}

impl Event {
    /// The stream it belongs to.
    #[must_use]
    pub const fn stream(&self) -> StreamId {
        match self {
            Self::Request { stream, .. }
            | Self::Response { stream, .. }
            | Self::Body { stream, .. }
            | Self::End { stream }
            | Self::Reset { stream, .. }
            | Self::Malformed { stream, .. } => *stream,
        }
    }

    /// Size in memory, bytes, about.
    #[must_use]
    pub fn weight(&self) -> usize {
        let fields = |headers: &[Header]| -> usize { headers.iter().map(Header::weight).sum() };
        let data = match self {
            Self::Request { head, .. } => head.target.len() + fields(&head.headers),
            Self::Response { head, .. } => fields(&head.headers),
            Self::Body { data, .. } => data.len(),
            Self::Reset { why, .. } | Self::Malformed { why, .. } => why.len(),
            Self::End { .. } => 0,
        };
        EVENT_BYTES + data
    }
}

/// What the shell is to do with a stream.
///
/// ```text
/// to the agent   Respond Body* End | Reset
/// to the agent   Respond (101) Body* End
/// to the target  Request | Request (upgrade) and after its 101: Body* End
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// To the agent: the answer begins. With status 101 the connection is upgraded, and bodies of
    /// both directions are its raw bytes.
    Respond(ResponseHead),
    /// To the target: the whole request. The shell adds `Host`, the body's length and the gateway's
    /// own credential, and nothing else.
    Request {
        /// The method.
        method: &'static str,
        /// Path and query, to be sent as they are.
        target: String,
        /// Header fields to be sent as they are.
        headers: Vec<Header>,
        /// The whole body; `None` for none.
        body: Option<Bytes>,
        /// Whether it asks for an upgrade to WebSocket: HTTP/1.1, with `connection: upgrade`
        /// among the headers already.
        upgrade: bool,
    },
    /// A piece of a body, or of an upgraded connection.
    Body(Bytes),
    /// The body, or the upgraded connection's direction, is over.
    End,
    /// To the agent: the answer can't be completed; the stream must not look complete. To the
    /// target: give the exchange up.
    Reset,
}
