//! Round trips and refusals.

use super::*;

fn samples() -> Vec<Body> {
    let bytes = Bytes::from_static;
    let size = Size {
        columns: 80,
        rows: 24,
        width: 0,
        height: 0,
    };
    let requests = [
        Request::Pty {
            term: "xterm-256color".into(),
            size,
            modes: Modes::new([(53, 1), (128, 38_400)]),
        },
        Request::Env {
            name: "LANG".into(),
            value: bytes(b"C.UTF-8"),
        },
        Request::Exec(bytes(b"uptime\xff")),
        Request::Shell,
        Request::Subsystem("sftp".into()),
        Request::WindowChange(size),
        Request::Signal("TERM".into()),
        Request::ExitStatus(3),
        Request::ExitSignal {
            signal: "KILL".into(),
            core_dumped: true,
            text: "gone".into(),
        },
        Request::Other {
            name: "x11-req".into(),
            data: bytes(b"\0whatever"),
        },
    ];
    let mut bodies = vec![
        Body::Open {
            kind: "session".into(),
            data: Bytes::new(),
        },
        Body::Open {
            kind: "direct-tcpip".into(),
            data: bytes(b"where to"),
        },
        Body::Opened,
        Body::OpenFailed {
            reason: OPEN_PROHIBITED,
            text: "no".into(),
        },
        Body::Data(bytes(b"out\0put")),
        Body::ExtendedData {
            kind: STDERR,
            data: bytes(b"error"),
        },
        Body::Eof,
        Body::Close,
        Body::Success,
        Body::Failure,
    ];
    bodies.extend(requests.into_iter().map(|request| Body::Request {
        want_reply: true,
        request,
    }));
    bodies
}

#[test]
fn messages_survive_their_binary_form() {
    for body in samples() {
        let message = body.on(ChannelId(7));
        let mut out = BytesMut::new();
        message.encode(&mut out).unwrap();
        let bytes = out.freeze();
        assert_eq!(Message::parse(bytes.clone()), Ok(message), "{bytes:?}");
    }
}

#[test]
fn every_prefix_of_a_message_is_an_error_or_another_message() {
    for body in samples() {
        let mut out = BytesMut::new();
        body.on(ChannelId(7)).encode(&mut out).unwrap();
        let bytes = out.freeze();
        for end in 0..bytes.len() {
            if let Ok(message) = Message::parse(bytes.slice(..end)) {
                // Only what ends in a run of bytes without a length can be cut unseen.
                let open_ended = matches!(
                    message.body,
                    Body::Open { .. }
                        | Body::Request {
                            request: Request::Other { .. },
                            ..
                        }
                );
                assert!(open_ended, "{message:?}");
            }
        }
    }
}

#[test]
fn malformed_messages_are_refused() {
    let cases: &[(&[u8], MessageError)] = &[
        (b"", MessageError::Truncated),
        (b"\x5d\0\0\0\x01\0\0\0\x01", MessageError::Code(93)),
        (b"\x60\0\0\0\x01\0", MessageError::Trailing(1)),
        (b"\x5e\0\0\0\x01\xff\xff\xff\xff", MessageError::Truncated),
        (
            b"\x62\0\0\0\x01\0\0\0\x04e\xffec\x01\0\0\0\0",
            MessageError::Name,
        ),
        (b"\x62\0\0\0\x01\0\0\0\0\x01", MessageError::Name),
    ];
    for (bytes, error) in cases {
        let parsed = Message::parse(Bytes::from_static(bytes));
        assert_eq!(parsed, Err(*error), "{bytes:?}");
    }
}

#[test]
fn modes_end_where_they_must() {
    let parse = |bytes| Modes::parse(Bytes::from_static(bytes));
    assert_eq!(parse(b"\x01\0\0\0\x03\0").unwrap().pairs(), [(1, 3)]);
    assert_eq!(parse(b"\x01\0\0\0\x03").unwrap().pairs(), [(1, 3)]);
    assert_eq!(
        parse(b"\x01\0\0\0\x03\xa0\x01").unwrap().pairs(),
        [(1, 3)],
        "an undefined opcode ends parsing"
    );
    assert_eq!(parse(b"\x01\0\0"), Err(MessageError::Modes));
    assert_eq!(Modes::new([(0, 1), (160, 1), (53, 0)]).pairs(), [(53, 0)]);
}
