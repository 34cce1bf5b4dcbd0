//! Round trips and refusals.

use super::*;
use crate::ssh::frame;

fn requests() -> Vec<Request> {
    let bytes = Bytes::from_static;
    let path = || bytes(b"/srv/a b");
    let handle = || bytes(b"\0\0\0\x01");
    let attributes = || Attributes {
        size: Some(1 << 40),
        owner: Some((0, 1000)),
        permissions: Some(0o644),
        times: Some((1, 2)),
        extended: vec![(bytes(b"a@b"), bytes(b"c"))],
    };
    vec![
        Request::Open {
            path: path(),
            flags: OpenFlags(0x1a),
            attributes: attributes(),
        },
        Request::Close { handle: handle() },
        Request::Read {
            handle: handle(),
            offset: u64::MAX,
            len: 32_768,
        },
        Request::Write {
            handle: handle(),
            offset: 7,
            data: bytes(b"contents"),
        },
        Request::Lstat { path: path() },
        Request::Fstat { handle: handle() },
        Request::Setstat {
            path: path(),
            attributes: Attributes::default(),
        },
        Request::Fsetstat {
            handle: handle(),
            attributes: attributes(),
        },
        Request::Opendir { path: path() },
        Request::Readdir { handle: handle() },
        Request::Remove { path: path() },
        Request::Mkdir {
            path: path(),
            attributes: attributes(),
        },
        Request::Rmdir { path: path() },
        Request::Realpath { path: path() },
        Request::Stat { path: path() },
        Request::Rename {
            from: path(),
            to: bytes(b"b"),
        },
        Request::Readlink { path: path() },
        Request::Symlink {
            first: path(),
            second: bytes(b"b"),
        },
        Request::Extended {
            name: bytes(b"statvfs@openssh.com"),
            data: bytes(b"more"),
        },
    ]
}

fn packets() -> Vec<Packet> {
    let bytes = Bytes::from_static;
    let replies = [
        Reply::Status(Status {
            code: StatusCode::PERMISSION_DENIED,
            message: "no".into(),
        }),
        Reply::Handle(bytes(b"\0\0\0\x01")),
        Reply::Data(bytes(b"contents")),
        Reply::Names(vec![Name {
            name: bytes(b"a"),
            long_name: bytes(b"-rw-r--r-- a"),
            attributes: Attributes::default(),
        }]),
        Reply::Attributes(Attributes::default()),
        Reply::Extended(bytes(b"more")),
    ];
    let mut packets = vec![
        Packet::Init {
            version: VERSION,
            extensions: Bytes::new(),
        },
        Packet::Version {
            version: VERSION,
            extensions: bytes(b"\0\0\0\x01a\0\0\0\x011"),
        },
    ];
    packets.extend(
        requests()
            .into_iter()
            .map(|request| Packet::Request { id: 9, request }),
    );
    packets.extend(
        replies
            .into_iter()
            .map(|reply| Packet::Reply { id: 9, reply }),
    );
    packets
}

#[test]
fn packets_survive_their_binary_form() {
    for packet in packets() {
        let mut out = BytesMut::new();
        packet.encode(&mut out).unwrap();
        let body = frame::decode(&mut out).unwrap().unwrap();
        assert!(out.is_empty());
        assert_eq!(Packet::parse(body), Ok(packet));
    }
}

#[test]
fn a_cut_packet_is_never_read_as_a_whole_one() {
    for packet in packets() {
        let mut out = BytesMut::new();
        packet.encode(&mut out).unwrap();
        let body = frame::decode(&mut out).unwrap().unwrap();
        for end in 0..body.len() {
            let cut = Packet::parse(body.slice(..end));
            let open_ended = matches!(
                packet,
                Packet::Init { .. }
                    | Packet::Version { .. }
                    | Packet::Request {
                        request: Request::Extended { .. },
                        ..
                    }
                    | Packet::Reply {
                        reply: Reply::Extended(_),
                        ..
                    }
            );
            assert!(cut.is_err() || open_ended, "{cut:?}");
        }
    }
}

#[test]
fn malformed_packets_are_refused() {
    let cases: &[(&[u8], MessageError)] = &[
        (b"\x03", MessageError::Truncated),
        (b"\x15\0\0\0\x01", MessageError::Code(21)),
        (b"\x04\0\0\0\x01\0\0\0\x01ab", MessageError::Trailing(1)),
        (b"\x69\0\0\0\x01\0\0\0\x10", MessageError::Attributes(0x10)),
        (
            b"\x69\0\0\0\x01\x80\0\0\0\0\0\0\0",
            MessageError::Attributes(0x8000_0000),
        ),
        (b"\x68\0\0\0\x01\xff\xff\xff\xff", MessageError::Truncated),
    ];
    for (bytes, error) in cases {
        let parsed = Packet::parse(Bytes::from_static(bytes));
        assert_eq!(parsed, Err(*error), "{bytes:?}");
    }
}

#[test]
fn flags_say_what_a_file_is_opened_for() {
    for (flags, reads, writes) in [
        (0x01, true, false),
        (0x02, false, true),
        (0x03, true, true),
        (0x1a, false, true),
        // Neither: the server opens for reading.
        (0x00, true, false),
        (0x08, true, true),
        (0x10, true, true),
    ] {
        let flags = OpenFlags(flags);
        assert_eq!(
            (flags.reads(), flags.writes()),
            (reads, writes),
            "{flags:?}"
        );
        assert!(flags.are_defined());
    }
    assert!(!OpenFlags(0x40).are_defined());
}
