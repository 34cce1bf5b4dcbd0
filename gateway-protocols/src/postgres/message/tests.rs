use bytes::{BufMut as _, BytesMut};
use proptest::prelude::*;

use super::*;
use crate::postgres::frame::{self, LengthRule};

/// Bytes on the wire, from pieces.
macro_rules! wire {
    ($($piece:expr),* $(,)?) => {
        [$(&$piece[..]),*].concat()
    };
}

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

#[test]
fn authentication_responses_parse_by_context() {
    let body = wire![b"SCRAM-SHA-256\0", [0, 0, 0, 3], b"n,,"];
    let initial = SaslInitialResponse::parse(&body).unwrap();
    assert_eq!(
        (initial.mechanism, initial.data),
        (&b"SCRAM-SHA-256"[..], Some(&b"n,,"[..]))
    );
    let mut out = BytesMut::new();
    initial.encode(&mut out).unwrap();
    assert_eq!(frame::body(&out), body);
    assert_eq!(
        PasswordMessage::parse(b"secret\0").unwrap().password,
        b"secret"
    );
    assert_eq!(
        PasswordMessage::parse(b"sec\0ret\0"),
        Err(MessageError::Trailing(4))
    );
    assert_eq!(SaslResponse::parse(b"c=biws").unwrap().0, b"c=biws");
}

#[test]
fn secrets_are_not_printed() {
    let key = [0x41; 4];
    let printed = format!(
        "{:?} {:?} {:?} {:?} {:?} {:?}",
        PasswordMessage { password: b"AAAA" },
        AuthenticationResponse(b"AAAA"),
        SaslResponse(b"AAAA"),
        SaslInitialResponse {
            mechanism: b"X",
            data: Some(b"AAAA")
        },
        CancelRequest {
            process_id: 1,
            key: &key
        },
        BackendKeyData {
            process_id: 1,
            key: &key
        },
    );
    assert!(
        !printed.contains("AAAA") && !printed.contains("65"),
        "{printed}"
    );
}

#[test]
fn encoding_refuses_what_would_not_parse_back() {
    let long = vec![0; 257];
    let named = [(&b""[..], &b"x"[..])];
    let startup = Startup {
        version: Version::V3_0,
        parameters: named.to_vec(),
    };
    let mut out = BytesMut::from("before");
    let report = Report::new(Severity::Error, SqlState::INTERNAL_ERROR, "a\0b");
    for (name, result, expected) in [
        (
            "query",
            Query {
                text: b"SELECT 1\0DELETE",
            }
            .encode(&mut out),
            EncodeError::InteriorNul,
        ),
        (
            "close",
            Close(Named::Portal(b"\0")).encode(&mut out),
            EncodeError::InteriorNul,
        ),
        ("report", report.encode(&mut out), EncodeError::InteriorNul),
        (
            "key",
            BackendKeyData {
                process_id: 0,
                key: &long,
            }
            .encode(&mut out),
            EncodeError::KeyLength(257),
        ),
        (
            "startup",
            StartupPacket::Startup(startup).encode(&mut out),
            EncodeError::EmptyName,
        ),
    ] {
        assert_eq!(result, Err(expected), "{name}");
    }
    assert_eq!(out, "before", "a failed encode leaves nothing");
    let mut buffer = BytesMut::new();
    assert_eq!(
        List::build(&mut buffer, (0..65_536).map(|_| Format::Text)),
        Err(EncodeError::TooLong)
    );
    assert_eq!(
        Mechanisms::build(&mut buffer, [&b""[..]]),
        Err(EncodeError::EmptyName)
    );
}

#[test]
fn built_messages_parse_back() {
    let (mut formats, mut values, mut fields, mut names) = Default::default();
    let cells = [Some(&b"7"[..]), None, Some(b"")];
    let bind = Bind {
        portal: b"",
        statement: b"s1",
        parameter_formats: List::build(&mut formats, [Format::Binary]).unwrap(),
        parameters: List::build(&mut values, cells).unwrap(),
        result_formats: List::default(),
    };
    let field = Field {
        name: b"id",
        table: 16_385,
        attribute: 1,
        data_type: 23,
        type_size: 4,
        type_modifier: -1,
        format: Format::Text,
    };
    let description = RowDescription {
        fields: List::build(&mut fields, [field; 3]).unwrap(),
    };
    let mechanisms = [&b"SCRAM-SHA-256-PLUS"[..], b"SCRAM-SHA-256"];
    let sasl = Authentication::Sasl(Mechanisms::build(&mut names, mechanisms).unwrap());
    let mut out = BytesMut::new();
    bind.encode(&mut out).unwrap();
    assert_eq!(Bind::parse(frame::body(&out)), Ok(bind));
    assert_eq!(bind.parameters.iter().collect::<Vec<_>>(), cells);
    assert_eq!(bind_names(frame::body(&out)), Ok((&b""[..], &b"s1"[..])));
    let mut out = BytesMut::new();
    description.encode(&mut out).unwrap();
    assert_eq!(RowDescription::parse(frame::body(&out)), Ok(description));
    assert_eq!(description.fields.iter().collect::<Vec<_>>(), [field; 3]);
    let mut out = BytesMut::new();
    sasl.encode(&mut out).unwrap();
    let Ok(Authentication::Sasl(parsed)) = Authentication::parse(frame::body(&out)) else {
        panic!("sasl")
    };
    assert_eq!(parsed.iter().collect::<Vec<_>>(), mechanisms);
}

#[test]
fn bind_names_past_the_head_are_refused() {
    assert_eq!(
        bind_names(b"portal\0statement"),
        Err(MessageError::Unterminated)
    );
    assert_eq!(bind_names(b"portal"), Err(MessageError::Unterminated));
    assert_eq!(bind_names(b"p\0s\0rest of it"), Ok((&b"p"[..], &b"s"[..])));
}

#[test]
fn reports_carry_their_fields() {
    let report = Report {
        detail: Some("detail"),
        hint: Some("hint"),
        position: Some(8),
        ..Report::new(
            Severity::Fatal,
            SqlState::INSUFFICIENT_PRIVILEGE,
            "not allowed",
        )
    };
    let mut out = BytesMut::new();
    report.encode(&mut out).unwrap();
    assert_eq!(
        out,
        framed_bytes(
            b'E',
            b"SFATAL\0VFATAL\0C42501\0Mnot allowed\0Ddetail\0Hhint\0P8\0\0"
        )
    );
    let ErrorResponse(fields) = ErrorResponse::parse(frame::body(&out)).unwrap();
    assert_eq!(fields.get(ReportField::Code), Some(&b"42501"[..]));
    assert_eq!(fields.get(ReportField::Where), None);
    assert_eq!(fields.iter().count(), 7);
    let mut out = BytesMut::new();
    Report::new(Severity::Warning, SqlState::FEATURE_NOT_SUPPORTED, "hm")
        .encode(&mut out)
        .unwrap();
    assert_eq!(
        out,
        framed_bytes(b'N', b"SWARNING\0VWARNING\0C0A000\0Mhm\0\0")
    );
    for (code, valid) in [
        ("42501", true),
        ("4250", false),
        ("42501X", false),
        ("4250a", false),
        ("4250\0", false),
    ] {
        assert_eq!(SqlState::new(code).is_some(), valid, "{code}");
    }
}

#[test]
fn command_tags_tell_their_rows() {
    for (tag, rows) in [
        ("SELECT 5", Some(5)),
        ("INSERT 0 12", Some(12)),
        ("UPDATE 0", Some(0)),
        ("COPY 18446744073709551615", Some(u64::MAX)),
        ("COPY 18446744073709551616", None),
        ("SELECT +5", None),
        ("SELECT -5", None),
        ("SELECT ", None),
        ("SELECT 5 6", None),
        ("SELECT", None),
        ("INSERT 12", None),
        ("CREATE TABLE", None),
        ("", None),
    ] {
        assert_eq!(
            CommandComplete {
                tag: tag.as_bytes()
            }
            .rows(),
            rows,
            "{tag}"
        );
    }
    assert_eq!(
        CommandComplete {
            tag: b"SELECT \xff"
        }
        .rows(),
        None
    );
}

fn row(cells: &[Option<&[u8]>]) -> Vec<u8> {
    let (mut buffer, mut out) = (BytesMut::new(), BytesMut::new());
    let row = DataRow {
        cells: List::build(&mut buffer, cells.iter().copied()).unwrap(),
    };
    row.encode(&mut out).unwrap();
    out.to_vec()
}

#[test]
fn masked_cells_are_replaced_and_others_are_kept() {
    let original = row(&[Some(b"1"), Some(b"secret"), None, Some(b""), Some(b"last")]);
    let parsed = DataRow::parse(frame::body(&original)).unwrap();
    for (name, masked, action, expected, changed) in [
        (
            "nothing masked",
            &[][..],
            CellAction::Replaced,
            original.clone(),
            0,
        ),
        (
            "asked and kept",
            &[0, 1, 2, 3, 4],
            CellAction::Keep,
            original.clone(),
            0,
        ),
        (
            "one",
            &[1],
            CellAction::Replaced,
            row(&[Some(b"1"), Some(b"XX1"), None, Some(b""), Some(b"last")]),
            1,
        ),
        (
            "first and last",
            &[0, 4],
            CellAction::Replaced,
            row(&[Some(b"XX0"), Some(b"secret"), None, Some(b""), Some(b"XX4")]),
            2,
        ),
        (
            "null and empty",
            &[2, 3],
            CellAction::Replaced,
            row(&[
                Some(b"1"),
                Some(b"secret"),
                Some(b"XX2"),
                Some(b"XX3"),
                Some(b"last"),
            ]),
            2,
        ),
        (
            "to null",
            &[1, 2],
            CellAction::Null,
            row(&[Some(b"1"), None, None, Some(b""), Some(b"last")]),
            2,
        ),
    ] {
        let mut out = BytesMut::from("before");
        let replace = |column, value: Option<&[u8]>, out: &mut BytesMut| {
            assert_eq!(value, parsed.cells.iter().nth(column).unwrap(), "{name}");
            // Appended whatever the answer: only a replacement goes out.
            out.extend_from_slice(format!("XX{column}").as_bytes());
            action
        };
        let result = remask(
            &parsed,
            |column| masked.contains(&column),
            replace,
            &mut out,
        );
        assert_eq!(result, Ok(changed), "{name}");
        assert_eq!(out, wire![b"before", expected], "{name}");
    }
}

#[test]
fn replacement_may_be_empty() {
    let original = row(&[Some(b"secret")]);
    let mut out = BytesMut::new();
    let parsed = DataRow::parse(frame::body(&original)).unwrap();
    assert_eq!(
        remask(&parsed, |_| true, |_, _, _| CellAction::Replaced, &mut out),
        Ok(1)
    );
    assert_eq!(out, row(&[Some(b"")]));
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
        let packet = startup_packet(&body);
        if let Ok(parsed) = StartupPacket::parse(&packet) {
            let mut out = BytesMut::new();
            parsed.encode(&mut out).unwrap();
            prop_assert_eq!(out, packet);
        }
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

    #[test]
    fn no_masked_value_leaves_and_the_shape_stays(
        cells in prop::collection::vec(prop::option::of(prop::collection::vec(1_u8..=255, 0..20)), 0..12),
        masked in prop::collection::vec(any::<bool>(), 12),
    ) {
        let original: Vec<_> = cells.iter().map(|cell| cell.as_deref()).collect();
        let bytes = row(&original);
        let parsed = DataRow::parse(frame::body(&bytes)).unwrap();
        let mut out = BytesMut::new();
        let replace = |_, _: Option<&[u8]>, out: &mut BytesMut| { out.put_u8(0); CellAction::Replaced };
        let changed = remask(&parsed, |column| masked[column], replace, &mut out).unwrap();
        let expected: Vec<_> = original.iter().zip(&masked).map(|(cell, masked)| if *masked { Some(&[0][..]) } else { *cell }).collect();
        prop_assert_eq!(changed, masked.iter().take(cells.len()).filter(|masked| **masked).count());
        prop_assert_eq!(out, row(&expected));
    }
}
