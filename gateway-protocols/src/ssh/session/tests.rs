//! Conversations with a gate around the wire, message by message.

mod bench;
mod files;
mod programs;

use bench::{Bench, SETUP};
use gateway_core::{
    record::CloseReason,
    wire::{Credential, Side},
};

use super::*;
use crate::ssh::message::Request;

#[test]
fn a_login_is_accepted_once_the_target_is_there() {
    let mut bench = Bench::new();
    bench.login("good", "web");
    assert_eq!(bench.heard(Side::Agent), SETUP);
    bench.connected();
    assert_eq!(bench.heard(Side::Agent), ["accept"]);
    assert_eq!(bench.closed, None);
}

#[test]
fn logins_that_fail_say_why_and_end_the_session() {
    for (token, user, words) in [
        (
            "stolen",
            "web",
            "gateway: the credential was refused: signature",
        ),
        ("good", "nowhere", "gateway: there is no target \"nowhere\""),
        (
            "good",
            "closed",
            "gateway: sessions are forbidden. Ask somebody",
        ),
    ] {
        let mut bench = Bench::new();
        bench.login(token, user);
        let disconnect = format!("disconnect {words}");
        assert_eq!(bench.heard(Side::Agent), ["reject", &disconnect]);
        assert_eq!(bench.closed, Some(CloseReason::Refused));
        assert!(!bench.connecting, "{user}");
    }
}

#[test]
fn an_unreachable_target_is_told_before_the_login_is_accepted() {
    let mut bench = Bench::new();
    bench.login("good", "web");
    bench.connect_failed("host key mismatch");
    assert_eq!(
        bench.heard(Side::Agent),
        ["reject", "disconnect gateway: the target can't be reached"]
    );
    assert!(bench.recorded("host key mismatch"));
}

#[test]
fn nothing_may_come_before_the_login_or_twice() {
    let mut bench = Bench::new();
    bench.agent(1, Bench::open("session"));
    assert_eq!(bench.closed, Some(CloseReason::ProtocolError));
    let mut bench = Bench::open_session();
    bench.event(
        Side::Agent,
        Event::Login {
            user: "web".into(),
            credential: Credential::Password("good".to_owned().into()),
        },
    );
    assert_eq!(bench.closed, Some(CloseReason::ProtocolError));
}

#[test]
fn channels_for_anything_but_sessions_are_refused_and_recorded() {
    let kinds = [
        "direct-tcpip",
        "direct-streamlocal@openssh.com",
        "x11",
        "auth-agent@openssh.com",
        "tun@openssh.com",
    ];
    let mut bench = Bench::open_session();
    for (id, kind) in (0..).zip(kinds) {
        bench.agent(id, Bench::open(kind));
        let refused = format!("{id} open failed 1");
        assert_eq!(bench.heard(Side::Agent), [refused]);
        assert!(bench.recorded(&format!("channels of type {kind}")));
    }
    assert_eq!(bench.heard(Side::Target), SETUP);
}

#[test]
fn what_the_transport_refused_is_recorded() {
    let mut bench = Bench::open_session();
    let what = "global requests of type tcpip-forward".to_owned();
    bench.event(Side::Agent, Event::Refused { what });
    assert!(bench.recorded("tcpip-forward"));
    assert_eq!(bench.closed, None);
}

#[test]
fn an_agent_that_gives_up_has_failed_to_log_in() {
    let mut bench = Bench::new();
    let (user, reason) = ("web".into(), "certificate_expired".into());
    bench.event(Side::Agent, Event::GaveUp { user, reason });
    assert_eq!(bench.rejected(), ["web: certificate_expired"]);
    assert_eq!(bench.closed, Some(CloseReason::Refused));
    // Who has shown a credential hasn't given up.
    let mut bench = Bench::open_session();
    let (user, reason) = ("web".into(), "no_credential".into());
    bench.event(Side::Agent, Event::GaveUp { user, reason });
    assert_eq!(bench.rejected(), SETUP);
    assert_eq!(bench.closed, Some(CloseReason::ProtocolError));
}

#[test]
fn how_a_transport_was_broken_is_recorded_at_any_time() {
    let broken = || Event::Broken {
        what: "a packet isn't authentic".into(),
    };
    let mut bench = Bench::new();
    bench.event(Side::Agent, broken());
    assert!(bench.recorded("a packet isn't authentic"));
    assert_eq!(bench.closed, Some(CloseReason::Refused));
    // Behind input that waits for reviewers, too.
    for held in [false, true] {
        let mut bench = Bench::open_session();
        if held {
            bench.agent(1, Bench::open("session"));
            bench.ask(1, bench::exec("hold it"));
            let flood = Bytes::from(vec![b'x'; 1 << 20]);
            for _ in 0..3 {
                bench.agent(1, Body::Data(flood.clone()));
            }
        }
        bench.event(Side::Agent, broken());
        assert!(bench.recorded("a packet isn't authentic"), "held: {held}");
        assert_eq!(bench.closed, Some(CloseReason::ProtocolError));
    }
}

#[test]
fn channels_are_bounded() {
    let mut bench = Bench::open_session();
    let count = u32::try_from(CHANNELS_MAX).unwrap();
    for id in 0..=count {
        bench.agent(id, Bench::open("session"));
    }
    let heard = bench.heard(Side::Agent);
    assert_eq!(heard.last().unwrap(), &format!("{count} open failed 4"));
    // Closing one makes room for another.
    bench.agent(0, Body::Close);
    bench.agent(0, Bench::open("session"));
    assert_eq!(bench.heard(Side::Agent), ["0 close", "0 opened"]);
}

#[test]
fn peers_that_break_the_protocol_end_the_session() {
    let cases: [(Side, u32, Body); 7] = [
        (Side::Agent, 9, Body::Eof),
        (Side::Agent, 1, Bench::open("session")),
        (Side::Agent, 1, Body::Success),
        (Side::Agent, 1, Body::Opened),
        (Side::Target, 1, Body::Data(Bytes::from_static(b"x"))),
        (Side::Target, 9, Body::Opened),
        (Side::Target, 1, Bench::open("session")),
    ];
    for (side, id, body) in cases {
        let mut bench = Bench::open_session();
        bench.agent(1, Bench::open("session"));
        bench.say(side, id, body.clone());
        assert_eq!(bench.closed, Some(CloseReason::ProtocolError), "{body:?}");
    }
}

#[test]
fn a_session_that_ends_says_why() {
    for (reason, words) in [
        (
            CloseReason::Expired,
            "the credential has expired: connect again",
        ),
        (CloseReason::Killed, "an operator ended this session"),
    ] {
        let mut bench = Bench::open_session();
        bench.close(reason.clone());
        let disconnect = format!("disconnect gateway: {words}");
        assert_eq!(bench.heard(Side::Agent), [disconnect]);
        assert_eq!(bench.closed, Some(reason));
    }
    let mut bench = Bench::open_session();
    bench.eof(Side::Target);
    assert_eq!(
        bench.heard(Side::Agent),
        ["disconnect gateway: the target closed its connection"]
    );
}

#[test]
fn requests_before_the_start_are_a_list() {
    let other = |name: &str| Request::Other {
        name: name.into(),
        data: Bytes::new(),
    };
    for (asked, met) in [
        (bench::env("LANG", "C.UTF-8"), true),
        (bench::env("LD_PRELOAD", "/tmp/x.so"), false),
        (bench::env("LC_ALL", "$(id)"), false),
        (bench::pty(), true),
        (other("auth-agent-req@openssh.com"), false),
        (other("x11-req"), false),
        (Request::Subsystem("netconf".into()), false),
        (Request::ExitStatus(0), false),
    ] {
        let mut bench = Bench::open_session();
        bench.agent(1, Bench::open("session"));
        bench.heard(Side::Agent);
        let name = asked.name().to_owned();
        bench.ask(1, asked);
        let answer = if met { "1 success" } else { "1 failure" };
        assert_eq!(bench.heard(Side::Agent), [answer], "{name}");
        assert_eq!(bench.recorded("doesn't support"), !met, "{name}");
        assert_eq!(bench.heard(Side::Target), SETUP, "{name}");
    }
}
