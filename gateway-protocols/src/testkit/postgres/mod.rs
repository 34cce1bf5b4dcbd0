//! PostgreSQL under test: its wire, a fake server that answers as the real one does, an agent's
//! messages, and golden transcripts.

pub mod client;
mod engine;
mod show;
mod target;
mod transcript;

use bytes::{Buf as _, Bytes, BytesMut};
use gateway_core::{
    limits::Limits,
    record::Direction,
    wire::{Side, TlsFacts},
};

use super::{
    run::Subject,
    script::{Script, Step},
    world::{GOOD_TOKEN, Proof},
};
use crate::postgres::{
    Session,
    frame::{Decoder, FrameLimits, body, decode_startup, starts_tls},
    message::{
        DataRow, Message as _, RowDescription, backend_length, frontend_length,
        tag::{backend as tag, frontend::FLUSH},
    },
};

pub use show::{show_from_agent, show_from_server};
pub use target::PostgresTarget;

/// Nothing of the fake peers is larger.
const LIMITS: FrameLimits = FrameLimits {
    whole_bytes_max: 64 << 20,
    stream_bytes_max: 64 << 20,
};

/// The PostgreSQL protocol.
#[derive(Clone, Copy, Debug)]
pub struct Postgres(pub Proof);

impl Subject for Postgres {
    type Wire = Session;
    type Target = PostgresTarget;

    fn wire(&self, limits: &Limits) -> Session {
        Session::new(limits)
    }

    fn target(&self) -> PostgresTarget {
        PostgresTarget::new(self.0)
    }

    fn login(&self) -> Script {
        let startup = client::startup(0, &[("user", "agent"), ("database", "orders")]);
        Script::new()
            .agent(client::ssl_request())
            .settle()
            .agent(startup)
            .settle()
            .agent(client::password(GOOD_TOKEN))
            .step(Step::Mark)
    }

    /// Reads a [`client::client_hello`].
    fn handshake(untaken: &mut BytesMut) -> TlsFacts {
        let mut facts = TlsFacts::default();
        if starts_tls(untaken)
            && let Some((_, rest)) = untaken.split_first_chunk::<3>()
            && let Some((len, rest)) = rest.split_first_chunk()
            && let Some(name) = rest.get(..usize::from(u16::from_be_bytes(*len)))
        {
            facts.application_protocol = (!name.is_empty()).then(|| name.to_vec());
            let len = 5 + name.len();
            untaken.advance(len);
        }
        facts
    }

    /// Notices, notifications and parameter reports may come between any two messages: they go last.
    fn canonical(&self, to: Side, stream: &[u8]) -> Vec<u8> {
        if to == Side::Target {
            return stream.to_vec();
        }
        let (greeting, rest) = greeting(stream);
        let mut canonical = greeting.to_vec();
        let mut sometime = Vec::new();
        for frame in frames(rest).into_iter().flatten() {
            match frame.first() {
                Some(
                    &(tag::NOTICE_RESPONSE | tag::NOTIFICATION_RESPONSE | tag::PARAMETER_STATUS),
                ) => {
                    // How long a hold may last depends on what is known of the transaction.
                    if memchr::memmem::find(&frame, b"waiting for approval").is_none() {
                        sometime.push(frame);
                    }
                }
                _ => canonical.extend_from_slice(&frame),
            }
        }
        sometime.sort();
        canonical.extend(sometime.concat());
        canonical
    }

    /// Without Flush: it has no answer, and the gateway sends one where it waits for the target.
    fn is_same(&self, way: Direction, said: &[u8], heard: &[u8]) -> bool {
        match way {
            Direction::ToTarget => without_flush(said) == without_flush(heard),
            Direction::ToAgent => said == heard,
        }
    }

    /// Cells of each row; every other message must parse too.
    fn shape(&self, stream: &[u8]) -> Result<Vec<usize>, String> {
        let mut rows = Vec::new();
        for frame in frames(stream) {
            let frame = frame?;
            let text = |error: crate::postgres::message::MessageError| error.to_string();
            match frame.first() {
                Some(&tag::DATA_ROW) => {
                    rows.push(DataRow::parse(body(&frame)).map_err(text)?.cells.len());
                }
                Some(&tag::ROW_DESCRIPTION) => {
                    RowDescription::parse(body(&frame)).map_err(text)?;
                }
                _ => {
                    let tag = frame.first().copied().unwrap_or_default();
                    crate::postgres::message::Backend::parse(tag, body(&frame)).map_err(text)?;
                }
            }
        }
        Ok(rows)
    }
}

/// An agent's stream without its Flush messages.
fn without_flush(stream: &[u8]) -> Vec<u8> {
    let mut input = BytesMut::from(stream);
    let mut decoder = Decoder::new(LIMITS);
    let mut rest = Vec::new();
    while let Ok(Some(frame)) = decoder.decode(&mut input, frontend_length) {
        if frame.bytes().first() != Some(&FLUSH) {
            rest.extend_from_slice(frame.bytes());
        }
    }
    rest.extend_from_slice(&input);
    rest
}

/// The answers to SSLRequest and GSSENCRequest, which have no frame, and what follows.
fn greeting(stream: &[u8]) -> (&[u8], &[u8]) {
    let end = stream
        .iter()
        .position(|byte| !matches!(byte, b'S' | b'N'))
        .unwrap_or(stream.len());
    // An 'N' or 'S' may also be a tag: then it is followed by a length, which begins with zero.
    let end = match stream.get(end) {
        Some(0) => end.saturating_sub(1),
        _ => end,
    };
    stream.split_at_checked(end).unwrap_or((stream, &[]))
}

/// A server's stream, cut into messages; an error is the last.
fn frames(stream: &[u8]) -> Vec<Result<Bytes, String>> {
    let mut input = BytesMut::from(stream);
    let mut decoder = Decoder::new(LIMITS);
    let mut frames = Vec::new();
    loop {
        match decoder.decode(&mut input, backend_length) {
            Ok(Some(frame)) => frames.push(Ok(frame.bytes().clone())),
            Ok(None) if input.is_empty() => return frames,
            Ok(None) => {
                frames.push(Err(format!("a torn message {}", input.escape_ascii())));
                return frames;
            }
            Err(error) => {
                frames.push(Err(error.to_string()));
                return frames;
            }
        }
    }
}

/// Takes one startup packet.
fn startup_packet(input: &mut BytesMut) -> Option<Bytes> {
    decode_startup(input, crate::postgres::frame::STARTUP_BODY_BYTES_MAX)
        .ok()
        .flatten()
}
