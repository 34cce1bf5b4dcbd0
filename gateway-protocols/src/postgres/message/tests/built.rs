//! Messages of our own making, and what is read out of messages.

use bytes::BytesMut;

use super::framed_bytes;
use crate::postgres::frame;
use crate::postgres::message::*;

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
fn secrets_and_cells_are_not_printed() {
    let mut buffer = BytesMut::new();
    let key = [0x41; 4];
    let printed = format!(
        "{:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?}",
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
        CopyData(b"AAAA"),
        List::build(&mut buffer, [Some(&b"AAAA"[..])]),
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
