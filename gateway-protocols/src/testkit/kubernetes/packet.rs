//! Kubernetes' events and commands in the kit's streams.
//!
//! ```text
//! u8 kind | u64 stream | rest
//! 1 request      METHOD target LF (name: value LF)* LF body
//! 2 response     status LF (name: value LF)* LF
//! 3 body         bytes
//! 4 end
//! 5 reset        why
//! ```
//! A request to the target has its body with it; one of the agent has its body behind it.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use gateway_core::wire::Side;

use crate::{
    kubernetes::{
        Command,
        message::{Act, Event, Header, RequestHead, ResponseHead, StreamId, Upgrade},
    },
    testkit::typed::{Outbound, Typed, packet, packets},
};

const REQUEST: u8 = 1;
const RESPONSE: u8 = 2;
const BODY: u8 = 3;
const END: u8 = 4;
const RESET: u8 = 5;

/// What a packet of any stream says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Of which exchange.
    pub stream: StreamId,
    /// What.
    pub what: What,
}

/// What is said of an exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A request, by an agent without its body, to a target with it.
    Request(RequestHead, Bytes),
    /// An answer begins.
    Response(ResponseHead),
    /// A piece of a body, or raw bytes.
    Body(Bytes),
    /// The body is over.
    End,
    /// It broke off.
    Reset(String),
}

impl Said {
    /// What the packets of a stream say; what says nothing is left out.
    pub fn of(stream: &[u8]) -> impl Iterator<Item = Self> {
        packets(stream).filter_map(|body| Self::parse(&body))
    }

    /// What a packet's body says.
    pub(super) fn parse(body: &Bytes) -> Option<Self> {
        let mut rest = body.clone();
        let kind = rest.try_get_u8().ok()?;
        let stream = StreamId(rest.try_get_u64().ok()?);
        let what = match kind {
            REQUEST => request(&rest)?,
            RESPONSE => response(&rest)?,
            BODY => What::Body(rest),
            END => What::End,
            RESET => What::Reset(String::from_utf8(rest.to_vec()).ok()?),
            _ => return None,
        };
        Some(Self { stream, what })
    }

    /// The packet that says it.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut body = BytesMut::new();
        let kind = match &self.what {
            What::Request(..) => REQUEST,
            What::Response(_) => RESPONSE,
            What::Body(_) => BODY,
            What::End => END,
            What::Reset(_) => RESET,
        };
        body.put_u8(kind);
        body.put_u64(self.stream.0);
        match &self.what {
            What::Request(head, data) => {
                let line = format!("{} {}\n", head.method, head.target);
                body.put_slice(line.as_bytes());
                put_headers(&head.headers, &mut body);
                body.put_slice(data);
            }
            What::Response(head) => {
                body.put_slice(format!("{}\n", head.status).as_bytes());
                put_headers(&head.headers, &mut body);
            }
            What::Body(data) => body.put_slice(data),
            What::End => {}
            What::Reset(why) => body.put_slice(why.as_bytes()),
        }
        packet(&body)
    }
}

fn put_headers(headers: &[Header], out: &mut BytesMut) {
    for header in headers {
        out.put_slice(header.name.as_bytes());
        out.put_slice(b": ");
        out.put_slice(&header.value);
        out.put_u8(b'\n');
    }
    out.put_u8(b'\n');
}

fn request(rest: &Bytes) -> Option<What> {
    let mut lines = Lines(rest.clone());
    let line = String::from_utf8(lines.next()?.to_vec()).ok()?;
    let (method, target) = line.split_once(' ')?;
    let headers = lines.headers()?;
    let upgrades = headers
        .iter()
        .find(|header| header.name == "upgrade")
        .and_then(|header| std::str::from_utf8(&header.value).ok());
    let upgrade = upgrades.map(|name| {
        if name.eq_ignore_ascii_case("websocket") {
            Upgrade::WebSocket
        } else {
            Upgrade::Other(name.to_owned())
        }
    });
    let head = RequestHead {
        method: method.to_owned(),
        target: target.to_owned(),
        headers,
        upgrade,
    };
    Some(What::Request(head, lines.0))
}

fn response(rest: &Bytes) -> Option<What> {
    let mut lines = Lines(rest.clone());
    let status = std::str::from_utf8(&lines.next()?).ok()?.parse().ok()?;
    let headers = lines.headers()?;
    Some(What::Response(ResponseHead { status, headers }))
}

struct Lines(Bytes);

impl Lines {
    fn next(&mut self) -> Option<Bytes> {
        let end = memchr::memchr(b'\n', &self.0)?;
        let line = self.0.split_to(end);
        self.0.advance(1);
        Some(line)
    }

    /// As a parser of HTTP hands them over: names are tokens in lower case.
    fn headers(&mut self) -> Option<Vec<Header>> {
        let mut headers = Vec::new();
        loop {
            let line = self.next()?;
            if line.is_empty() {
                return Some(headers);
            }
            let colon = memchr::memchr(b':', &line)?;
            let name = std::str::from_utf8(line.get(..colon)?).ok()?;
            let token = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
            if name.is_empty() || !name.bytes().all(token) {
                return None;
            }
            headers.push(Header {
                name: name.to_ascii_lowercase(),
                value: line.slice(colon + 1..).trim_ascii().to_vec().into(),
            });
        }
    }
}

impl Typed for Event {
    fn parse(from: Side, body: &Bytes) -> Option<Self> {
        let Said { stream, what } = Said::parse(body)?;
        match (from, what) {
            (Side::Agent, What::Request(head, _)) => Some(Self::Request { stream, head }),
            (Side::Target, What::Response(head)) => Some(Self::Response { stream, head }),
            (_, What::Body(data)) => Some(Self::Body { stream, data }),
            (_, What::End) => Some(Self::End { stream }),
            (_, What::Reset(why)) => Some(Self::Reset { stream, why }),
            (Side::Agent, What::Response(_)) | (Side::Target, What::Request(..)) => None,
        }
    }

    fn data(&mut self) -> Option<&mut Bytes> {
        match self {
            Self::Body { data, .. } => Some(data),
            Self::Request { .. }
            | Self::Response { .. }
            | Self::End { .. }
            | Self::Reset { .. }
            | Self::Malformed { .. } => None,
        }
    }
}

impl Outbound for Command {
    fn encode(&self, _: Side) -> Bytes {
        let what = match &self.act {
            Act::Respond(head) => What::Response(head.clone()),
            Act::Request {
                method,
                target,
                headers,
                body,
                upgrade: _,
            } => {
                let head = RequestHead {
                    method: (*method).to_owned(),
                    target: target.clone(),
                    headers: headers.clone(),
                    upgrade: None,
                };
                What::Request(head, body.clone().unwrap_or_default())
            }
            Act::Body(data) => What::Body(data.clone()),
            Act::End => What::End,
            Act::Reset => What::Reset(String::new()),
        };
        let stream = self.stream;
        Said { stream, what }.encode()
    }
}
