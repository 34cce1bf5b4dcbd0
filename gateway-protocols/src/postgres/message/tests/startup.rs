//! Startup packets.

use bytes::BytesMut;
use proptest::prelude::*;

use super::bodies;
use crate::postgres::message::*;

fn startup_packet(body: &[u8]) -> Vec<u8> {
    wire![u32::try_from(body.len() + 4).unwrap().to_be_bytes(), body]
}

#[test]
fn startup_packets_round_trip() {
    for body in [
        wire![[0, 3, 0, 0], b"user\0agent\0database\0db\0options\0\0\0"],
        wire![[0, 3, 0, 2], b"\0"],
        wire![[0, 3, 0x27, 0x0f], b"_pq_.x\0y\0\0"],
        vec![0x04, 0xd2, 0x16, 0x2f],
        vec![0x04, 0xd2, 0x16, 0x30],
        wire![[0x04, 0xd2, 0x16, 0x2e], [0, 0, 0, 7], [1; 4]],
        wire![[0x04, 0xd2, 0x16, 0x2e], [0, 0, 0, 7], [1; 256]],
    ] {
        let bytes = startup_packet(&body);
        let mut out = BytesMut::new();
        StartupPacket::parse(&bytes)
            .unwrap()
            .encode(&mut out)
            .unwrap();
        assert_eq!(out, bytes);
    }
}

#[test]
fn startup_parameters_keep_their_order() {
    let bytes = startup_packet(&wire![[0, 3, 0, 0], b"user\0agent\0database\0db\0\0"]);
    let StartupPacket::Startup(startup) = StartupPacket::parse(&bytes).unwrap() else {
        panic!("startup")
    };
    assert_eq!(startup.version, Version::V3_0);
    assert_eq!(
        startup.parameters,
        [(&b"user"[..], &b"agent"[..]), (b"database", b"db")]
    );
    assert_eq!(startup.parameter("database"), Some(&b"db"[..]));
    assert_eq!(startup.parameter("Database"), None);
}

#[test]
fn malformed_startup_packets_are_refused() {
    for (name, body, expected) in [
        (
            "version 2.0",
            wire![[0, 2, 0, 0], b"\0"],
            MessageError::Version { major: 2, minor: 0 },
        ),
        (
            "version 4.0",
            wire![[0, 4, 0, 0], b"\0"],
            MessageError::Version { major: 4, minor: 0 },
        ),
        (
            "unknown request",
            wire![[0x04, 0xd2, 0, 1]],
            MessageError::Version {
                major: 1234,
                minor: 1,
            },
        ),
        (
            "parameter twice",
            wire![[0, 3, 0, 0], b"user\0a\0user\0b\0\0"],
            MessageError::DuplicateParameter,
        ),
        (
            "no terminator",
            wire![[0, 3, 0, 0], b"user\0a\0"],
            MessageError::Unterminated,
        ),
        (
            "name without value",
            wire![[0, 3, 0, 0], b"user\0"],
            MessageError::Unterminated,
        ),
        (
            "bytes behind the terminator",
            wire![[0, 3, 0, 0], b"user\0a\0\0x\0"],
            MessageError::Trailing(2),
        ),
        (
            "ssl request with a body",
            wire![[0x04, 0xd2, 0x16, 0x2f], b"x"],
            MessageError::Trailing(1),
        ),
        (
            "cancel without key",
            wire![[0x04, 0xd2, 0x16, 0x2e], [0; 4]],
            MessageError::KeyLength(0),
        ),
        (
            "cancel with a long key",
            wire![[0x04, 0xd2, 0x16, 0x2e], [0; 261]],
            MessageError::KeyLength(257),
        ),
        ("nothing", vec![], MessageError::Truncated),
    ] {
        assert_eq!(
            StartupPacket::parse(&startup_packet(&body)),
            Err(expected),
            "{name}"
        );
    }
}

proptest! {
    #[test]
    fn whatever_starts_up_encodes_to_the_same_bytes(body in bodies(), tagged in any::<bool>()) {
        let body = if tagged { wire![[0, 3, 0, 0], body] } else { body };
        let packet = startup_packet(&body);
        if let Ok(parsed) = StartupPacket::parse(&packet) {
            let mut out = BytesMut::new();
            parsed.encode(&mut out).unwrap();
            prop_assert_eq!(out, packet);
        }
    }
}
