//! Commands and shells.

use gateway_core::record::{ApprovalOutcome, Counters, Entry};

use super::{
    bench::{env, exec, pty, size},
    *,
};
use crate::ssh::message::STDERR;

fn data(text: &'static str) -> Body {
    Body::Data(Bytes::from_static(text.as_bytes()))
}

fn error(text: &'static str) -> Body {
    let data = Bytes::from_static(text.as_bytes());
    Body::ExtendedData { kind: STDERR, data }
}

/// A session with an open channel 1, on which this was asked.
fn asked(requests: Vec<Request>) -> Bench {
    let mut bench = Bench::open_session();
    bench.agent(1, Bench::open("session"));
    for request in requests {
        bench.ask(1, request);
    }
    bench
}

/// A program that runs on channel 1, with nothing heard since.
fn running(requests: Vec<Request>) -> Bench {
    let mut bench = asked(requests);
    bench.target(1, Body::Opened);
    bench.heard(Side::Agent);
    bench.heard(Side::Target);
    bench
}

fn failed(code: &str) -> Outcome {
    Outcome::Failed { code: code.into() }
}

use gateway_core::record::Outcome;

#[test]
fn a_command_runs_from_its_start_to_its_exit() {
    let mut bench = asked(vec![pty(), env("LANG", "C"), exec("uptime")]);
    let answers = ["1 opened", "1 success", "1 success", "1 success"];
    assert_eq!(bench.heard(Side::Agent), answers);
    assert_eq!(bench.heard(Side::Target), ["1 open session"]);
    bench.agent(1, data("early "));
    bench.target(1, Body::Opened);
    bench.agent(1, data("late"));
    bench.agent(1, Body::Eof);
    assert_eq!(
        bench.heard(Side::Target),
        [
            "1 pty xterm 80x24",
            "1 env LANG=C",
            "1 exec uptime",
            "1 data early ",
            "1 data late",
            "1 eof"
        ]
    );
    bench.target(1, Body::Success);
    bench.target(1, Body::Success);
    bench.target(1, data("up"));
    bench.target(1, error("but slow"));
    bench.remark(1, Request::ExitStatus(3));
    bench.target(1, Body::Eof);
    assert!(bench.ended().is_empty());
    bench.target(1, Body::Close);
    assert_eq!(
        bench.heard(Side::Agent),
        [
            "1 data up",
            "1 error but slow",
            "1 exit 3",
            "1 eof",
            "1 close"
        ]
    );
    assert_eq!(bench.heard(Side::Target), ["1 close"]);
    assert_eq!(bench.ended(), [("uptime".into(), failed("exit 3"))]);
    bench.agent(1, Body::Close);
    assert_eq!(bench.heard(Side::Agent), SETUP);
    for (track, kept) in [
        (Track::Input, &b"early late"[..]),
        (Track::Output, b"up"),
        (Track::Error, b"but slow"),
        (Track::Exit, b"3"),
        (Track::Resize, b"\0\0\0\x50\0\0\0\x18"),
    ] {
        assert_eq!(bench.track(track), kept, "{track:?}");
    }
    let returned = bench.entries.iter().find_map(|entry| match entry {
        Entry::Finished { end, .. } => Some(end.counters),
        _ => None,
    });
    let counters = Counters {
        bytes_returned: 10,
        ..Counters::default()
    };
    assert_eq!(returned, Some(counters));
    assert_eq!(bench.closed, None);
}

#[test]
fn denied_command_never_reaches_target() {
    let mut bench = asked(vec![exec("deny")]);
    assert_eq!(
        bench.heard(Side::Agent),
        [
            "1 opened",
            "1 success",
            "1 error gateway: it is forbidden\\ngateway: Don\\'t.\\n",
            "1 exit 126",
            "1 eof",
            "1 close"
        ]
    );
    // Whatever was on its way.
    bench.agent(1, data("input"));
    bench.agent(1, Body::Eof);
    bench.agent(1, Body::Close);
    assert_eq!(bench.heard(Side::Target), SETUP);
    bench.agent(2, Bench::open("session"));
    bench.ask(2, exec("uptime"));
    assert_eq!(bench.heard(Side::Target), ["2 open session"]);
}

#[test]
fn words_of_the_gateway_suit_a_terminal() {
    let mut bench = asked(vec![pty(), exec("deny")]);
    let said = "1 error gateway: it is forbidden\\r\\ngateway: Don\\'t.\\r\\n";
    assert!(bench.heard(Side::Agent).contains(&said.into()));
}

#[test]
fn command_lines_that_cant_be_recorded_as_they_run_are_refused() {
    for line in [&b"ls\0 -l"[..], b"ls \xff"] {
        let mut bench = asked(vec![Request::Exec(Bytes::copy_from_slice(line))]);
        assert!(bench.recorded("doesn't support command lines"));
        assert_eq!(bench.heard(Side::Target), SETUP);
        assert!(bench.heard(Side::Agent).contains(&"1 exit 126".into()));
    }
}

#[test]
fn only_one_start_for_each_channel() {
    for second in [
        exec("id"),
        Request::Shell,
        Request::Subsystem("sftp".into()),
        pty(),
    ] {
        let name = second.name().to_owned();
        let mut bench = running(vec![exec("uptime")]);
        bench.ask(1, second);
        assert_eq!(bench.heard(Side::Agent), ["1 failure"], "{name}");
        assert_eq!(bench.heard(Side::Target), SETUP, "{name}");
        assert!(bench.recorded("once something is started"), "{name}");
    }
}

#[test]
fn held_command_waits_with_its_input() {
    let mut bench = asked(vec![exec("hold")]);
    bench.agent(1, data("input"));
    bench.agent(1, Body::Eof);
    let heard = bench.heard(Side::Agent);
    assert!(
        heard[2].starts_with("1 error gateway: waiting for approval"),
        "{heard:?}"
    );
    assert_eq!(bench.heard(Side::Target), SETUP);
    // Others don't wait.
    bench.agent(2, Bench::open("session"));
    bench.ask(2, exec("uptime"));
    assert_eq!(bench.heard(Side::Target), ["2 open session"]);
    bench.vote(ApprovalOutcome::Approved);
    bench.target(1, Body::Opened);
    assert_eq!(
        bench.heard(Side::Target),
        ["1 open session", "1 exec hold", "1 data input", "1 eof"]
    );
}

#[test]
fn held_command_that_is_denied_or_left_never_runs() {
    for outcome in [ApprovalOutcome::Rejected, ApprovalOutcome::Expired] {
        let mut bench = asked(vec![exec("hold")]);
        bench.heard(Side::Agent);
        bench.vote(outcome);
        let heard = bench.heard(Side::Agent);
        assert_eq!(heard[1..], ["1 exit 126", "1 eof", "1 close"]);
        assert_eq!(bench.heard(Side::Target), SETUP);
    }
    let mut bench = asked(vec![exec("hold")]);
    bench.agent(1, Body::Close);
    assert_eq!(bench.withdrawn, 1);
    bench.vote(ApprovalOutcome::Approved);
    assert_eq!(bench.heard(Side::Target), SETUP);
    let mut bench = asked(vec![exec("hold")]);
    bench.eof(Side::Agent);
    assert_eq!(
        (bench.withdrawn, bench.closed.clone()),
        (1, Some(CloseReason::AgentClosed))
    );
    bench.vote(ApprovalOutcome::Approved);
    assert_eq!(bench.heard(Side::Target), SETUP);
}

#[test]
fn input_of_a_held_command_is_bounded() {
    let mut bench = asked(vec![exec("hold")]);
    let mut sent = 0;
    while bench.wants_agent() {
        bench.agent(1, Body::Data(Bytes::from(vec![b'x'; 16 << 10])));
        sent += 1;
        assert!(sent < 100);
    }
    bench.vote(ApprovalOutcome::Approved);
    bench.target(1, Body::Opened);
    assert!(bench.wants_agent());
    assert_eq!(bench.track(Track::Input).len(), sent * (16 << 10));
}

#[test]
fn output_is_masked_across_packets_and_flushed_at_its_end() {
    let mut bench = running(vec![exec("cat")]);
    bench.target(1, data("a sec"));
    bench.target(1, error("no sec"));
    bench.target(1, data("ret b sec"));
    bench.target(1, error("ret"));
    assert_eq!(
        bench.heard(Side::Agent),
        ["1 data a ", "1 error no ", "1 data *** b ", "1 error ***"]
    );
    bench.target(1, Body::Eof);
    assert_eq!(bench.heard(Side::Agent), ["1 data sec", "1 eof"]);
    bench.remark(1, Request::ExitStatus(0));
    bench.target(1, Body::Close);
    assert_eq!(bench.track(Track::Output), b"a *** b sec");
    let masked = bench.entries.iter().find_map(|entry| match entry {
        Entry::Masked { counts, .. } => Some(counts[0].masked),
        _ => None,
    });
    assert_eq!(masked, Some(2));
    assert_eq!(bench.ended(), [("cat".into(), Outcome::Completed)]);
}

#[test]
fn output_behind_its_end_ends_the_session() {
    let mut bench = running(vec![exec("cat")]);
    bench.target(1, Body::Eof);
    bench.target(1, data("secret"));
    assert_eq!(bench.closed, Some(CloseReason::ProtocolError));
    assert!(
        !bench
            .heard(Side::Agent)
            .iter()
            .any(|heard| heard.contains("secret"))
    );
}

#[test]
fn sizes_and_signals_go_on_and_are_recorded() {
    let mut bench = running(vec![pty(), Request::Shell]);
    bench.ask(1, Request::WindowChange(size(100, 30)));
    bench.ask(1, Request::Signal("INT".into()));
    assert_eq!(
        bench.heard(Side::Target),
        ["1 resize 100x30", "1 signal INT"]
    );
    assert_eq!(bench.track(Track::Signal), b"INT");
    assert!(
        bench
            .track(Track::Resize)
            .ends_with(b"\0\0\0\x64\0\0\0\x1e")
    );
    bench.ask(1, Request::Signal("INFO@openssh.com".into()));
    assert_eq!(bench.heard(Side::Target), SETUP);
    assert!(bench.recorded("requests of type signal"));
    let (signal, text) = ("TERM".into(), String::new());
    bench.remark(
        1,
        Request::ExitSignal {
            signal,
            core_dumped: false,
            text,
        },
    );
    bench.target(1, Body::Close);
    assert_eq!(bench.ended(), [(String::new(), failed("signal TERM"))]);
    assert_eq!(bench.track(Track::Exit), b"TERM");
}

#[test]
fn an_agent_that_closes_early_ends_its_program() {
    let mut bench = running(vec![exec("cat")]);
    bench.agent(1, Body::Close);
    assert_eq!(bench.heard(Side::Target), ["1 close"]);
    assert_eq!(bench.heard(Side::Agent), ["1 close"]);
    // What was on its way is for nobody.
    bench.target(1, data("late"));
    bench.target(1, Body::Close);
    assert_eq!(bench.heard(Side::Agent), SETUP);
    assert_eq!(bench.ended(), [("cat".into(), Outcome::Unknown)]);
    assert_eq!(bench.track(Track::Output), b"");
}

#[test]
fn an_agent_that_closes_before_the_start_starts_nothing() {
    let mut bench = asked(vec![exec("cat")]);
    bench.agent(1, Body::Close);
    bench.target(1, Body::Opened);
    assert_eq!(bench.heard(Side::Target), ["1 open session", "1 close"]);
    bench.target(1, Body::Close);
    assert_eq!(bench.ended(), [("cat".into(), Outcome::NotExecuted)]);
    assert_eq!(bench.closed, None);
}

#[test]
fn what_the_target_refuses_is_told() {
    let (reason, text) = (4, "busy".into());
    let mut bench = asked(vec![exec("cat")]);
    bench.target(1, Body::OpenFailed { reason, text });
    let heard = bench.heard(Side::Agent);
    assert_eq!(heard[3..], ["1 exit 255", "1 eof", "1 close"]);
    assert_eq!(bench.ended(), [("cat".into(), failed("channel refused"))]);
    let mut bench = running(vec![exec("cat")]);
    bench.target(1, Body::Failure);
    bench.target(1, Body::Close);
    let heard = bench.heard(Side::Agent);
    assert_eq!(heard[1..], ["1 exit 255", "1 eof", "1 close"]);
    assert_eq!(bench.ended(), [("cat".into(), failed("not started"))]);
    assert_eq!(bench.closed, None);
}

#[test]
fn an_answer_to_nothing_ends_the_session() {
    let mut bench = running(vec![exec("cat")]);
    bench.target(1, Body::Success);
    bench.target(1, Body::Success);
    assert_eq!(bench.closed, Some(CloseReason::ProtocolError));
}

#[test]
fn keepalives_of_the_target_are_answered_and_kept_from_the_agent() {
    let mut bench = running(vec![exec("cat")]);
    let other = |name: &str| Request::Other {
        name: name.into(),
        data: Bytes::new(),
    };
    bench.target(
        1,
        Body::Request {
            want_reply: true,
            request: other("keepalive@openssh.com"),
        },
    );
    bench.remark(1, other("eow@openssh.com"));
    assert_eq!(bench.heard(Side::Target), ["1 failure"]);
    assert_eq!(bench.heard(Side::Agent), SETUP);
}
