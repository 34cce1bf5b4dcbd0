//! An agent's packets.

use bytes::{Bytes, BytesMut};

use super::packet::{Said, What};
use crate::{
    kubernetes::{
        frame::{self, CloseCode, Opcode},
        message::{Header, RequestHead, StreamId},
    },
    testkit::world::GOOD_TOKEN,
};

/// The key of every frame.
const MASK: [u8; 4] = [1, 2, 3, 4];
/// RFC 6455, section 1.3 "Opening Handshake".
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

fn said(stream: u64, what: What) -> Bytes {
    let stream = StreamId(stream);
    Said { stream, what }.encode()
}

/// Packets one behind the other.
#[must_use]
pub fn all(packets: &[Bytes]) -> Bytes {
    packets.concat().into()
}

/// A request's head alone, with this token and these further fields.
#[must_use]
pub fn head(stream: u64, token: &str, line: &str, fields: &[(&str, &str)]) -> Bytes {
    let (method, target) = line.split_once(' ').unwrap_or((line, "/"));
    let mut headers = vec![Header::new("authorization", format!("Bearer {token}"))];
    headers.extend(
        fields
            .iter()
            .map(|(name, value)| Header::new(*name, *value)),
    );
    let head = RequestHead {
        method: method.to_owned(),
        target: target.to_owned(),
        headers,
        upgrade: None,
    };
    said(stream, What::Request(head, Bytes::new()))
}

/// A whole request without a body.
#[must_use]
pub fn bare(stream: u64, line: &str, fields: &[(&str, &str)]) -> Bytes {
    all(&[head(stream, GOOD_TOKEN, line, fields), end(stream)])
}

/// A whole GET.
#[must_use]
pub fn get(stream: u64, target: &str) -> Bytes {
    bare(stream, &format!("GET {target}"), &[])
}

/// A whole GET with another token.
#[must_use]
pub fn get_as(stream: u64, token: &str, target: &str) -> Bytes {
    let line = format!("GET {target}");
    all(&[head(stream, token, &line, &[]), end(stream)])
}

/// A whole request with a body of this type.
#[must_use]
pub fn send(stream: u64, line: &str, media: &str, data: &str) -> Bytes {
    all(&[
        head(stream, GOOD_TOKEN, line, &[("content-type", media)]),
        body(stream, Bytes::from(data.to_owned())),
        end(stream),
    ])
}

/// A piece of a body.
#[must_use]
pub fn body(stream: u64, data: impl Into<Bytes>) -> Bytes {
    said(stream, What::Body(data.into()))
}

/// The end of a body.
#[must_use]
pub fn end(stream: u64) -> Bytes {
    said(stream, What::End)
}

/// The agent gives up.
#[must_use]
pub fn reset(stream: u64) -> Bytes {
    said(stream, What::Reset("gone".to_owned()))
}

/// A WebSocket's opening handshake.
#[must_use]
pub fn exec(stream: u64, target: &str, protocol: &str) -> Bytes {
    let fields = [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", KEY),
        ("sec-websocket-protocol", protocol),
    ];
    head(stream, GOOD_TOKEN, &format!("GET {target}"), &fields)
}

/// A message of an exec's channel.
#[must_use]
pub fn channel(stream: u64, channel: u8, data: &[u8]) -> Bytes {
    let frame = frame::encode(Opcode::Binary, &[&[channel], data], Some(MASK));
    body(stream, frame)
}

/// The end of a WebSocket.
#[must_use]
pub fn close(stream: u64) -> Bytes {
    body(stream, frame::close(CloseCode::Normal, Some(MASK)))
}

/// A ping.
#[must_use]
pub fn ping(stream: u64) -> Bytes {
    body(stream, frame::encode(Opcode::Ping, &[b"?"], Some(MASK)))
}

/// Raw bytes of a WebSocket.
#[must_use]
pub fn raw(stream: u64, bytes: &[u8]) -> Bytes {
    body(stream, BytesMut::from(bytes).freeze())
}
