//! File transfer.

use gateway_core::record::{ApprovalOutcome, Outcome};

use super::*;
use crate::ssh::message::sftp::{
    Attributes, Name, OpenFlags, Packet, Reply, Request as File, Status, StatusCode,
};

fn body(packet: &Packet) -> Body {
    let mut out = bytes::BytesMut::new();
    packet.encode(&mut out).unwrap();
    Body::Data(out.freeze())
}

fn path(path: &'static str) -> Bytes {
    Bytes::from_static(path.as_bytes())
}

/// A transfer on channel 1 that is ready, with nothing heard since.
fn ready() -> Bench {
    let mut bench = Bench::open_session();
    bench.is_transfer = true;
    bench.agent(1, Bench::open("session"));
    bench.ask(1, Request::Subsystem("sftp".into()));
    let (version, extensions) = (3, Bytes::new());
    bench.agent(
        1,
        body(&Packet::Init {
            version,
            extensions,
        }),
    );
    bench.target(1, Body::Opened);
    bench.target(1, Body::Success);
    assert_eq!(bench.heard(Side::Agent), ["1 opened", "1 success"]);
    let extensions = Bytes::from_static(b"\0\0\0\x01a\0\0\0\x011");
    bench.target(
        1,
        body(&Packet::Version {
            version,
            extensions,
        }),
    );
    assert_eq!(bench.heard(Side::Agent), ["1 version 3 0"]);
    assert_eq!(
        bench.heard(Side::Target),
        ["1 open session", "1 subsystem sftp", "1 init 3"]
    );
    bench
}

fn asks(bench: &mut Bench, id: u32, request: File) {
    bench.agent(1, body(&Packet::Request { id, request }));
}

fn answers(bench: &mut Bench, id: u32, reply: Reply) {
    bench.target(1, body(&Packet::Reply { id, reply }));
}

fn resolves(bench: &mut Bench, id: u32, to: &'static str) {
    let name = Name {
        name: path(to),
        long_name: Bytes::new(),
        attributes: Attributes::default(),
    };
    answers(bench, id, Reply::Names(vec![name]));
}

fn status(code: StatusCode) -> Reply {
    let message = "said".into();
    Reply::Status(Status { code, message })
}

fn open(at: &'static str, flags: u32) -> File {
    File::Open {
        path: path(at),
        flags: OpenFlags(flags),
        attributes: Attributes {
            permissions: Some(0o640),
            ..Attributes::default()
        },
    }
}

fn handle() -> Bytes {
    Bytes::from_static(b"h")
}

/// A file that is open as `h`, with nothing heard since.
fn opened(flags: u32) -> Bench {
    let mut bench = ready();
    asks(&mut bench, 7, open("/srv/a", flags));
    resolves(&mut bench, 1, "/srv/a");
    answers(&mut bench, 2, Reply::Handle(handle()));
    assert_eq!(bench.heard(Side::Agent), ["1 7 Handle(b\"h\")"]);
    bench.heard(Side::Target);
    bench
}

#[test]
fn a_file_is_read_under_the_unit_that_opened_it() {
    let mut bench = opened(1);
    let read = File::Read {
        handle: handle(),
        offset: 258,
        len: 10,
    };
    asks(&mut bench, 8, read.clone());
    asks(&mut bench, 9, read);
    answers(&mut bench, 3, Reply::Data(path("contents")));
    answers(&mut bench, 4, status(StatusCode::EOF));
    asks(&mut bench, 10, File::Close { handle: handle() });
    assert!(bench.ended().is_empty());
    answers(&mut bench, 5, status(StatusCode::OK));
    assert_eq!(
        bench.heard(Side::Agent),
        [
            "1 8 Data(b\"contents\")",
            "1 9 SSH_FX_EOF said",
            "1 10 SSH_FX_OK said"
        ]
    );
    assert_eq!(
        bench.ended(),
        [("read /srv/a mode=0640".into(), Outcome::Completed)]
    );
    assert_eq!(
        bench.track(Track::FileRead),
        b"\0\0\0\0\0\0\x01\x02contents"
    );
}

#[test]
fn paths_are_decided_and_sent_as_the_target_resolves_them() {
    let mut bench = ready();
    asks(&mut bench, 7, open("../link", 1));
    let heard = bench.heard(Side::Target);
    assert_eq!(heard, ["1 1 Realpath { path: b\"../link\" }"]);
    resolves(&mut bench, 1, "/etc/deny");
    assert_eq!(bench.heard(Side::Target), SETUP);
    assert_eq!(
        bench.heard(Side::Agent),
        [
            "1 error gateway: it is forbidden\\ngateway: Don\\'t.\\n",
            "1 7 SSH_FX_PERMISSION_DENIED it is forbidden"
        ]
    );
    asks(&mut bench, 8, open("innocent", 0x1a));
    resolves(&mut bench, 2, "/srv/real");
    assert!(bench.heard(Side::Target)[1].contains("path: b\"/srv/real\""));
}

#[test]
fn links_themselves_are_decided_by_their_folder() {
    let mut bench = ready();
    let (from, to) = (path("/srv/link"), path("sub/x"));
    asks(&mut bench, 7, File::Rename { from, to });
    assert_eq!(
        bench.heard(Side::Target),
        ["1 1 Realpath { path: b\"/srv\" }"]
    );
    resolves(&mut bench, 1, "/srv");
    assert_eq!(
        bench.heard(Side::Target),
        ["1 2 Realpath { path: b\"sub\" }"]
    );
    resolves(&mut bench, 2, "/home/a/sub");
    assert_eq!(
        bench.heard(Side::Target),
        ["1 3 Rename { from: b\"/srv/link\", to: b\"/home/a/sub/x\" }"]
    );
    answers(&mut bench, 3, status(StatusCode::OK));
    let ended = [("rename /srv/link /home/a/sub/x".into(), Outcome::Completed)];
    assert_eq!(bench.ended(), ended);
}

#[test]
fn what_cant_be_resolved_is_decided_before_it_is_told() {
    let gone = || status(StatusCode(2));
    let mut bench = ready();
    asks(
        &mut bench,
        7,
        File::Stat {
            path: path("/srv/../deny/x"),
        },
    );
    answers(&mut bench, 1, gone());
    assert!(bench.heard(Side::Agent)[1].contains("PERMISSION_DENIED"));
    asks(
        &mut bench,
        8,
        File::Stat {
            path: path("/fine/x"),
        },
    );
    answers(&mut bench, 2, gone());
    assert_eq!(bench.heard(Side::Agent), ["1 8 SSH_FX_NO_SUCH_FILE said"]);
    let code = "SSH_FX_NO_SUCH_FILE".into();
    assert_eq!(
        bench.ended(),
        [("stat /fine/x".into(), Outcome::Failed { code })]
    );
    let sent = bench.heard(Side::Target);
    assert!(
        sent.iter().all(|sent| sent.contains("Realpath")),
        "{sent:?}"
    );
}

#[test]
fn a_target_that_resolves_to_no_canonical_path_ends_the_session() {
    for to in ["srv/a", "/srv/../a", "", "/srv//a"] {
        let mut bench = ready();
        asks(&mut bench, 7, File::Stat { path: path("a") });
        resolves(&mut bench, 1, to);
        assert_eq!(bench.closed, Some(CloseReason::ProtocolError), "{to}");
    }
}

#[test]
fn a_handle_does_only_what_it_was_opened_for() {
    let read = || File::Read {
        handle: handle(),
        offset: 0,
        len: 10,
    };
    let write = || File::Write {
        handle: handle(),
        offset: 0,
        data: path("x"),
    };
    let list = || File::Readdir { handle: handle() };
    for (flags, request, allowed) in [
        (1, read(), true),
        (1, write(), false),
        (1, list(), false),
        (2, read(), false),
        (2, write(), true),
        (3, write(), true),
    ] {
        let mut bench = opened(flags);
        let name = request.name();
        asks(&mut bench, 8, request);
        let sent = bench.heard(Side::Target);
        assert_eq!(sent.len(), usize::from(allowed), "{flags} {name}");
        let told = bench.heard(Side::Agent);
        let refused = told.iter().any(|told| told.contains("PERMISSION_DENIED"));
        assert_eq!(refused, !allowed, "{flags} {name}");
    }
}

#[test]
fn attributes_that_an_opening_didnt_name_are_a_unit_of_their_own() {
    let mode = |mode| Attributes {
        permissions: Some(mode),
        ..Attributes::default()
    };
    let size = Attributes {
        size: Some(5),
        ..Attributes::default()
    };
    let owner = Attributes {
        owner: Some((0, 0)),
        ..Attributes::default()
    };
    for (flags, attributes, unit) in [
        (1, mode(0o777), Some("setstat /srv/a mode=0777")),
        (2, mode(0o777), Some("setstat /srv/a mode=0777")),
        (3, owner, Some("setstat /srv/a owner=0:0")),
        (1, size.clone(), Some("setstat /srv/a size=5")),
        // Files that may be written may be cut, and given the mode that was asked for.
        (2, size, None),
        (2, mode(0o640), None),
    ] {
        let mut bench = opened(flags);
        let handle = handle();
        asks(&mut bench, 8, File::Fsetstat { handle, attributes });
        answers(&mut bench, 3, status(StatusCode::OK));
        let ended: Vec<String> = bench.ended().into_iter().map(|(text, _)| text).collect();
        assert_eq!(ended, unit.into_iter().collect::<Vec<_>>());
        assert_eq!(bench.track(Track::Request).is_empty(), unit.is_some());
    }
}

#[test]
fn handles_that_arent_open_never_reach_the_target() {
    let mut bench = opened(1);
    asks(&mut bench, 8, File::Close { handle: handle() });
    bench.heard(Side::Target);
    for handle in [handle(), path("other")] {
        asks(&mut bench, 9, File::Fstat { handle });
    }
    assert_eq!(bench.heard(Side::Target), SETUP);
    let told = bench.heard(Side::Agent);
    assert!(
        told.iter().all(|told| told.contains("SSH_FX_FAILURE")),
        "{told:?}"
    );
    assert!(bench.recorded("no file open by this handle"));
}

#[test]
fn held_requests_let_others_pass() {
    let mut bench = ready();
    asks(&mut bench, 7, open("/srv/hold", 2));
    asks(&mut bench, 8, open("/srv/a", 1));
    resolves(&mut bench, 1, "/srv/hold");
    resolves(&mut bench, 2, "/srv/a");
    let heard = bench.heard(Side::Agent);
    assert!(heard[0].starts_with("1 error gateway: waiting for approval"));
    answers(&mut bench, 3, Reply::Handle(handle()));
    assert_eq!(bench.heard(Side::Agent), ["1 8 Handle(b\"h\")"]);
    bench.heard(Side::Target);
    bench.vote(ApprovalOutcome::Approved);
    let asked = bench.heard(Side::Target);
    assert!(asked[0].contains("Realpath"), "{asked:?}");
    resolves(&mut bench, 4, "/srv/hold");
    let sent = bench.heard(Side::Target);
    assert!(sent[0].contains("path: b\"/srv/hold\""), "{sent:?}");
}

#[test]
fn an_approved_path_is_resolved_again_and_must_lead_where_it_did() {
    for (leads_to, is_sent) in [("/srv/hold", true), ("/secret/hold", false)] {
        let mut bench = ready();
        asks(&mut bench, 7, open("hold", 1));
        resolves(&mut bench, 1, "/srv/hold");
        bench.heard(Side::Agent);
        bench.vote(ApprovalOutcome::Approved);
        bench.heard(Side::Target);
        resolves(&mut bench, 2, leads_to);
        let sent = bench.heard(Side::Target).join(" ");
        assert_eq!(sent.contains("Open"), is_sent, "{sent}");
        assert!(!sent.contains("/secret"), "{sent}");
        assert_eq!(bench.recorded("leads elsewhere"), !is_sent);
        if !is_sent {
            let ended = bench.ended();
            assert_eq!(
                ended.last().map(|(_, end)| end),
                Some(&Outcome::NotExecuted)
            );
        }
    }
}

#[test]
fn held_requests_are_withdrawn_with_their_channel() {
    let mut bench = ready();
    asks(&mut bench, 7, open("/srv/hold", 2));
    resolves(&mut bench, 1, "/srv/hold");
    bench.heard(Side::Target);
    bench.agent(1, Body::Eof);
    assert_eq!(
        bench.heard(Side::Target),
        SETUP,
        "the server must not end yet"
    );
    bench.agent(1, Body::Close);
    assert_eq!(bench.withdrawn, 1);
    bench.vote(ApprovalOutcome::Approved);
    assert_eq!(bench.heard(Side::Target), ["1 close"]);
    bench.target(1, Body::Close);
    assert_eq!(bench.closed, None);
}

#[test]
fn what_isnt_supported_is_refused_and_recorded() {
    let bytes = Bytes::from_static;
    let extended = |name| File::Extended {
        name: bytes(name),
        data: Bytes::new(),
    };
    for (request, words) in [
        (
            File::Symlink {
                first: path("/a"),
                second: path("/b"),
            },
            "making symbolic links",
        ),
        (
            extended(b"hardlink@openssh.com"),
            "extension hardlink@openssh.com",
        ),
        (
            extended(b"posix-rename@openssh.com"),
            "extension posix-rename",
        ),
        (extended(b"copy-data"), "extension copy-data"),
        (open("/a", 0x41), "flags of a later version"),
        (
            File::Setstat {
                path: path("/a"),
                attributes: Attributes {
                    extended: vec![(bytes(b"a"), bytes(b"b"))],
                    ..Attributes::default()
                },
            },
            "extended file attributes",
        ),
    ] {
        let mut bench = ready();
        asks(&mut bench, 7, request);
        let heard = bench.heard(Side::Agent);
        assert!(
            heard[0].starts_with("1 7 SSH_FX_OP_UNSUPPORTED"),
            "{heard:?}"
        );
        assert!(bench.recorded(words), "{words}");
        assert_eq!(bench.heard(Side::Target), SETUP, "{words}");
    }
}

#[test]
fn packets_out_of_place_end_the_session() {
    let (version, extensions) = (3, Bytes::new());
    let init = Packet::Init {
        version,
        extensions: extensions.clone(),
    };
    let request = Packet::Request {
        id: 1,
        request: File::Stat { path: path("/") },
    };
    let reply = Packet::Reply {
        id: 1,
        reply: status(StatusCode::OK),
    };
    let version = Packet::Version {
        version,
        extensions,
    };
    for (side, packet) in [
        (Side::Agent, &init),
        (Side::Agent, &version),
        (Side::Agent, &reply),
        (Side::Target, &init),
        (Side::Target, &version),
        (Side::Target, &request),
        (Side::Target, &reply),
    ] {
        let mut bench = ready();
        bench.say(side, 1, body(packet));
        assert_eq!(bench.closed, Some(CloseReason::ProtocolError), "{packet:?}");
    }
}

#[test]
fn answers_of_the_wrong_type_end_the_session() {
    let attributes = || Reply::Attributes(Attributes::default());
    for (request, reply) in [
        (File::Stat { path: path("a") }, Reply::Data(path("x"))),
        (File::Stat { path: path("a") }, status(StatusCode::OK)),
        (open("a", 1), attributes()),
        (open("a", 1), status(StatusCode::OK)),
        (File::Remove { path: path("a") }, Reply::Handle(handle())),
        (File::Remove { path: path("a") }, Reply::Extended(path("x"))),
    ] {
        let mut bench = ready();
        asks(&mut bench, 7, request);
        resolves(&mut bench, 1, "/srv");
        bench.heard(Side::Agent);
        answers(&mut bench, 2, reply.clone());
        assert_eq!(bench.closed, Some(CloseReason::ProtocolError), "{reply:?}");
        let heard = bench.heard(Side::Agent);
        assert!(heard[0].starts_with("disconnect"), "{heard:?}");
    }
}

#[test]
fn files_left_open_end_with_the_server() {
    let mut bench = opened(1);
    bench.agent(1, Body::Eof);
    assert_eq!(bench.heard(Side::Target), ["1 eof"]);
    bench.remark(1, Request::ExitStatus(0));
    bench.target(1, Body::Eof);
    bench.target(1, Body::Close);
    assert_eq!(bench.heard(Side::Agent), ["1 exit 0", "1 eof", "1 close"]);
    assert_eq!(
        bench.ended(),
        [("read /srv/a mode=0640".into(), Outcome::Unknown)]
    );
    bench.agent(1, Body::Close);
    assert_eq!(bench.closed, None);
}

#[test]
fn a_target_without_a_file_server_is_told() {
    let mut bench = Bench::open_session();
    bench.agent(1, Bench::open("session"));
    bench.ask(1, Request::Subsystem("sftp".into()));
    bench.target(1, Body::Opened);
    bench.heard(Side::Agent);
    bench.target(1, Body::Failure);
    assert_eq!(
        bench.heard(Side::Agent),
        [
            "1 error gateway: the target offers no file transfer\\n",
            "1 exit 255",
            "1 eof",
            "1 close"
        ]
    );
    bench.target(1, Body::Close);
    assert!(bench.recorded("offers no file transfer"));
    assert_eq!(bench.closed, None);
}

#[test]
fn open_files_are_bounded() {
    let mut bench = ready();
    let count = u32::try_from(HANDLES_MAX).unwrap();
    for file in 0..=count {
        asks(&mut bench, file, open("/srv/a", 1));
        resolves(&mut bench, file * 2 + 1, "/srv/a");
    }
    let heard = bench.heard(Side::Agent);
    assert_eq!(
        heard,
        [format!(
            "1 {count} SSH_FX_FAILURE too many files are open at once"
        )]
    );
}
