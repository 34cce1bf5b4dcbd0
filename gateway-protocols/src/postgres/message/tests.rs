//! Layouts as bytes: every message, and what is refused.

use bytes::BytesMut;
use proptest::prelude::*;

use super::*;
use crate::postgres::frame::LengthRule;

/// Bytes on the wire, from pieces.
macro_rules! wire {
    ($($piece:expr),* $(,)?) => {
        [$(&$piece[..]),*].concat()
    };
}

mod built;
mod row;
mod startup;

/// Bodies of every frontend message, by tag.
fn frontend_bodies() -> Vec<(u8, Vec<u8>)> {
    vec![
        (
            b'B',
            wire![
                b"p\0s\0",
                [0, 1, 0, 1],
                [0, 3],
                [0, 0, 0, 2],
                b"ab",
                [0xff; 4],
                [0; 4],
                [0, 0]
            ],
        ),
        (b'B', wire![b"\0\0", [0, 0], [0, 0], [0, 2, 0, 0, 0, 1]]),
        (b'C', b"Sname\0".to_vec()),
        (b'C', b"P\0".to_vec()),
        (b'd', b"1\t2\n".to_vec()),
        (b'd', vec![]),
        (b'c', vec![]),
        (b'f', b"no more\0".to_vec()),
        (b'D', b"P\0".to_vec()),
        (b'E', wire![b"portal\0", [0, 0, 0, 100]]),
        (b'E', wire![b"\0", [0xff; 4]]),
        (b'H', vec![]),
        (
            b'F',
            wire![[0, 0, 4, 0xd2], [0, 0], [0, 1, 0, 0, 0, 1], b"x", [0, 1]],
        ),
        (b'p', b"secret\0".to_vec()),
        (
            b'P',
            wire![b"s\0select $1\0", [0, 2, 0, 0, 0, 23, 0, 0, 0, 0]],
        ),
        (b'Q', b"select 1\0".to_vec()),
        (b'S', vec![]),
        (b'X', vec![]),
    ]
}

/// Bodies of every backend message, by tag.
fn backend_bodies() -> Vec<(u8, Vec<u8>)> {
    let field = wire![
        b"id\0",
        [0, 0, 0x40, 1],
        [0, 1],
        [0, 0, 0, 23],
        [0, 4],
        [0xff; 4],
        [0, 0]
    ];
    let mut bodies = vec![
        (b'R', wire![[0, 0, 0, 5], [1, 2, 3, 4]]),
        (b'R', wire![[0, 0, 0, 8], b"gss"]),
        (
            b'R',
            wire![[0, 0, 0, 10], b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0"],
        ),
        (b'R', wire![[0, 0, 0, 10], b"\0"]),
        (b'R', wire![[0, 0, 0, 11], b"r=x"]),
        (b'R', wire![[0, 0, 0, 12], b"v=x"]),
        (b'K', wire![[0, 0, 1, 0], [9; 4]]),
        (b'K', wire![[0, 0, 1, 0], [9; 256]]),
        (b'2', vec![]),
        (b'3', vec![]),
        (b'C', b"SELECT 5\0".to_vec()),
        (b'W', wire![[0], [0, 0]]),
        (b'd', b"row".to_vec()),
        (b'c', vec![]),
        (b'G', wire![[0], [0, 2, 0, 0, 0, 0]]),
        (b'H', wire![[1], [0, 1, 0, 1]]),
        (b'D', wire![[0, 2], [0, 0, 0, 1], b"7", [0xff; 4]]),
        (b'D', vec![0, 0]),
        (b'I', vec![]),
        (b'E', b"SERROR\0VERROR\0C42501\0Mno\0zlater\0\0".to_vec()),
        (b'E', b"\0".to_vec()),
        (b'N', b"SNOTICE\0Mhm\0\0".to_vec()),
        (b'V', wire![[0, 0, 0, 1], b"x"]),
        (b'V', vec![0xff; 4]),
        (b'v', wire![[0, 3, 0, 0], [0, 0, 0, 2], b"_pq_.a\0_pq_.b\0"]),
        (b'n', vec![]),
        (b'A', wire![[0, 0, 1, 0], b"channel\0payload\0"]),
        (b't', wire![[0, 1], [0, 0, 0, 23]]),
        (b'S', b"TimeZone\0UTC\0".to_vec()),
        (b'1', vec![]),
        (b's', vec![]),
        (b'Z', b"I".to_vec()),
        (b'Z', b"T".to_vec()),
        (b'Z', b"E".to_vec()),
        (b'T', wire![[0, 2], field, field]),
    ];
    bodies.extend([0, 2, 3, 7, 9].map(|kind| (b'R', vec![0, 0, 0, kind])));
    bodies
}

fn framed_bytes(tag: u8, body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len() + 4).unwrap();
    wire![[tag], len.to_be_bytes(), body]
}

/// What `parse` takes, `encode` gives back.
fn round_trip_frontend(tag: u8, body: &[u8]) -> Result<(), MessageError> {
    let message = Frontend::parse(tag, body)?;
    let mut out = BytesMut::from("before");
    message.encode(&mut out).unwrap();
    assert_eq!(
        out,
        wire![b"before", framed_bytes(tag, body)],
        "{message:?}"
    );
    Ok(())
}

fn round_trip_backend(tag: u8, body: &[u8]) -> Result<(), MessageError> {
    let message = Backend::parse(tag, body)?;
    let mut out = BytesMut::from("before");
    message.encode(&mut out).unwrap();
    assert_eq!(
        out,
        wire![b"before", framed_bytes(tag, body)],
        "{message:?}"
    );
    Ok(())
}

#[test]
fn every_message_round_trips() {
    for (tag, body) in frontend_bodies() {
        assert_eq!(
            round_trip_frontend(tag, &body),
            Ok(()),
            "{}",
            tag.escape_ascii()
        );
    }
    for (tag, body) in backend_bodies() {
        assert_eq!(
            round_trip_backend(tag, &body),
            Ok(()),
            "{}",
            tag.escape_ascii()
        );
    }
}

#[test]
fn every_tag_has_a_message_and_a_length_rule() {
    let frontend: Vec<u8> = frontend_bodies().into_iter().map(|(tag, _)| tag).collect();
    let backend: Vec<u8> = backend_bodies().into_iter().map(|(tag, _)| tag).collect();
    for tag in 0..=u8::MAX {
        let unknown = Err(MessageError::Tag(tag));
        let name = tag.escape_ascii();
        assert_eq!(
            frontend_length(tag).is_some(),
            frontend.contains(&tag),
            "{name}"
        );
        assert_eq!(
            Frontend::parse(tag, b"").map(drop) != unknown,
            frontend.contains(&tag),
            "{name}"
        );
        assert_eq!(
            backend_length(tag).is_some(),
            backend.contains(&tag),
            "{name}"
        );
        assert_eq!(
            Backend::parse(tag, b"").map(drop) != unknown,
            backend.contains(&tag),
            "{name}"
        );
    }
    assert_eq!(frontend_length(b'S'), Some(LengthRule::AtMost(10_000)));
}

/// Messages whose last field takes all that is left, so that one byte more or less still parses.
fn is_open_ended(side: &str, tag: u8, body: &[u8]) -> bool {
    let is_data = matches!((side, body), ("backend", [0, 0, 0, 8 | 11 | 12, ..])) && tag == b'R';
    is_data || tag == b'd' || (side, tag) == ("frontend", b'p') || (side, tag) == ("backend", b'K')
}

#[test]
fn bodies_are_consumed_to_the_last_byte() {
    let sides = [
        ("frontend", frontend_bodies()),
        ("backend", backend_bodies()),
    ];
    for (side, bodies) in sides {
        let parse = |tag, body: &[u8]| match side {
            "frontend" => round_trip_frontend(tag, body),
            _ => round_trip_backend(tag, body),
        };
        for (tag, body) in bodies {
            if is_open_ended(side, tag, &body) {
                continue;
            }
            let name = format!("{side} {}", tag.escape_ascii());
            assert_eq!(
                parse(tag, &wire![body, b"\0"]),
                Err(MessageError::Trailing(1)),
                "{name}"
            );
            assert_eq!(
                parse(tag, &wire![body, b"DELETE\0"]),
                Err(MessageError::Trailing(7)),
                "{name}"
            );
            for len in 0..body.len() {
                assert!(parse(tag, &body[..len]).is_err(), "{name} cut to {len}");
            }
        }
    }
}

#[test]
fn malformed_frontend_bodies_are_refused() {
    let undefined = |field, value| MessageError::Undefined { field, value };
    for (name, tag, body, expected) in [
        (
            "statement behind a zero byte",
            b'Q',
            b"SELECT 1\0 DELETE\0".to_vec(),
            MessageError::Trailing(8),
        ),
        (
            "text without end",
            b'Q',
            b"SELECT 1".to_vec(),
            MessageError::Unterminated,
        ),
        ("no text", b'Q', vec![], MessageError::Unterminated),
        (
            "more types than body",
            b'P',
            wire![b"\0\0", [0xff, 0xff], [0; 40]],
            MessageError::Truncated,
        ),
        (
            "more values than body",
            b'B',
            wire![b"\0\0", [0, 0], [0xff, 0xff], [0; 40]],
            MessageError::Truncated,
        ),
        (
            "value past the body",
            b'B',
            wire![b"\0\0", [0, 0], [0, 1], [0x7f, 0xff, 0xff, 0xff]],
            MessageError::Truncated,
        ),
        (
            "length -2",
            b'B',
            wire![b"\0\0", [0, 0], [0, 1], (-2_i32).to_be_bytes(), [0, 0]],
            MessageError::ValueLength(-2),
        ),
        (
            "lowest length",
            b'B',
            wire![b"\0\0", [0, 0], [0, 1], i32::MIN.to_be_bytes(), [0, 0]],
            MessageError::ValueLength(i32::MIN),
        ),
        (
            "format 2",
            b'B',
            wire![b"\0\0", [0, 1, 0, 2], [0, 0], [0, 0]],
            undefined("format code", 2),
        ),
        (
            "format -1",
            b'B',
            wire![b"\0\0", [0, 1, 0xff, 0xff], [0, 0], [0, 0]],
            undefined("format code", -1),
        ),
        (
            "describe x",
            b'D',
            b"x\0".to_vec(),
            undefined("kind of named object", 0x78),
        ),
        (
            "sync with body",
            b'S',
            b"x".to_vec(),
            MessageError::Trailing(1),
        ),
    ] {
        assert_eq!(Frontend::parse(tag, &body), Err(expected), "{name}");
    }
}

#[test]
fn malformed_backend_bodies_are_refused() {
    let undefined = |field, value| MessageError::Undefined { field, value };
    for (name, tag, body, expected) in [
        ("short key", b'K', vec![0; 7], MessageError::KeyLength(3)),
        ("long key", b'K', vec![0; 261], MessageError::KeyLength(257)),
        (
            "more fields than body",
            b'T',
            wire![[0xff, 0xff], [0; 90]],
            MessageError::Truncated,
        ),
        (
            "more cells than body",
            b'D',
            wire![[0, 3], [0xff; 8]],
            MessageError::Truncated,
        ),
        (
            "fewer cells than body",
            b'D',
            wire![[0, 1], [0xff; 8]],
            MessageError::Trailing(4),
        ),
        (
            "status x",
            b'Z',
            b"x".to_vec(),
            undefined("transaction status", 0x78),
        ),
        (
            "authentication 1",
            b'R',
            vec![0, 0, 0, 1],
            undefined("authentication request", 1),
        ),
        (
            "authentication -1",
            b'R',
            vec![0xff; 4],
            undefined("authentication request", -1),
        ),
        (
            "report without end",
            b'E',
            b"SERROR\0".to_vec(),
            MessageError::Truncated,
        ),
        (
            "report with bytes behind its end",
            b'E',
            b"SERROR\0\0M\0".to_vec(),
            MessageError::Trailing(2),
        ),
        (
            "copy format 2",
            b'G',
            vec![2, 0, 0],
            undefined("format code", 2),
        ),
        (
            "negative option count",
            b'v',
            vec![0xff; 8],
            undefined("option count", -1),
        ),
        (
            "two thousand million options",
            b'v',
            wire![[0, 3, 0, 0], [0x7f, 0xff, 0xff, 0xff]],
            MessageError::Unterminated,
        ),
    ] {
        assert_eq!(Backend::parse(tag, &body), Err(expected), "{name}");
    }
}

/// A body of the right shape more often than random bytes are: counts and lengths are small.
fn bodies() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![4 => Just(0_u8), 2 => 0_u8..4, 1 => any::<u8>(), 1 => Just(0xff)];
    prop::collection::vec(byte, 0..64)
}

proptest! {
    #[test]
    fn whatever_parses_encodes_to_the_same_bytes(tag in any::<u8>(), body in bodies()) {
        let _ = round_trip_frontend(tag, &body);
        let _ = round_trip_backend(tag, &body);
    }

    #[test]
    fn mutated_messages_never_panic(at in any::<prop::sample::Index>(), with in any::<u8>()) {
        for (tag, mut body) in frontend_bodies() {
            if !body.is_empty() { *at.get_mut(&mut body) = with; }
            let _ = round_trip_frontend(tag, &body);
        }
        for (tag, mut body) in backend_bodies() {
            if !body.is_empty() { *at.get_mut(&mut body) = with; }
            let _ = round_trip_backend(tag, &body);
        }
    }
}
