//! SSH under the laws.

use bytes::Bytes;
use gateway_core::{
    limits::Limits,
    record::{ApprovalOutcome, CloseReason},
    wire::Side,
};
use gateway_protocols::{
    ssh::message::{Body, Request, sftp},
    testkit::{
        Schedule, Script, Step, Subject, Trace, World, laws, run,
        ssh::{Ssh, client::*},
    },
};

use proptest::prelude::*;

const SEEDS: u64 = 120;

fn world() -> World {
    World::by_text().of("ssh")
}

fn login() -> Script {
    Ssh.login()
}

/// A request on files by its words.
fn ask(channel: u32, id: u32, words: &str) -> Bytes {
    let words: Vec<&str> = words.split(' ').collect();
    file(channel, id, file_request(&words).unwrap())
}

/// Conversations that every law is tried on.
fn scripts() -> Vec<(&'static str, Script)> {
    vec![
        (
            "bad token",
            Script::new().agent(client_login("stolen")).step(Step::Mark),
        ),
        (
            "commands side by side",
            login().agent(all(&[
                run_line(1, "echo one"),
                run_line(2, "list customers"),
                run_line(3, "fail 3"),
                run_line(4, "die"),
            ])),
        ),
        (
            "what doesn't start",
            login().agent(all(&[run_line(5, "unstartable"), run_line(6, "echo six")])),
        ),
        (
            "closed by the agent",
            login()
                .agent(all(&[run_line(1, "sleep"), run_line(2, "echo two")]))
                .settle()
                .agent(all(&[on(1, Body::Close), on(2, Body::Close)])),
        ),
        (
            "input",
            login()
                .agent(all(&[
                    open(1, "session"),
                    data(1, "before the start, "),
                    exec(1, "cat"),
                    data(1, "ada@exa"),
                    data(1, "mple.com\nbob@example.com\nada@"),
                    on(1, Body::Eof),
                ]))
                .settle()
                .agent(on(1, Body::Close)),
        ),
        (
            "a shell",
            login()
                .agent(all(&[
                    open(7, "session"),
                    pty(7),
                    env(7, "LANG", "C.UTF-8"),
                    env(7, "LD_PRELOAD", "x"),
                    request(7, Request::Shell),
                ]))
                .settle()
                .agent(all(&[
                    data(7, "ls\n"),
                    remark(7, Request::WindowChange(size(100, 30))),
                    data(7, "exit\n"),
                ]))
                .settle()
                .agent(on(7, Body::Close))
                .never_to_target("LD_PRELOAD"),
        ),
        (
            "denied and held",
            login()
                .agent(all(&[
                    run_line(1, "drop everything"),
                    run_line(2, "hold the door"),
                    data(2, "input of the held"),
                    on(2, Body::Eof),
                    run_line(3, "echo three"),
                ]))
                .settle()
                .vote(ApprovalOutcome::Approved)
                .agent(run_line(4, "please deny me"))
                .never_to_target("drop everything")
                .never_to_target("deny me"),
        ),
        (
            "rejected",
            login()
                .agent(all(&[
                    run_line(2, "hold the door"),
                    data(2, "input of the held"),
                    on(2, Body::Eof),
                ]))
                .settle()
                .vote(ApprovalOutcome::Rejected)
                .agent(on(2, Body::Close))
                .never_to_target("hold the door")
                .never_to_target("input of the held"),
        ),
        (
            "withdrawn",
            login()
                .agent(all(&[
                    run_line(2, "hold the door"),
                    data(2, "input of the held"),
                ]))
                .settle()
                .agent(on(2, Body::Close))
                .settle()
                .vote(ApprovalOutcome::Approved)
                .never_to_target("hold the door")
                .never_to_target("input of the held"),
        ),
        (
            "other doors",
            login()
                .agent(all(&[
                    open(1, "direct-tcpip"),
                    open(2, "direct-streamlocal@openssh.com"),
                    open(3, "x11"),
                    open(4, "session"),
                    request(4, Request::Subsystem("netconf".into())),
                    other(4, "auth-agent-req@openssh.com"),
                    other(4, "x11-req"),
                    exec(4, "cat"),
                    exec(4, "echo never"),
                    on(4, Body::Eof),
                    refused("the global request tcpip-forward"),
                ]))
                .never_to_target("direct-")
                .never_to_target("x11")
                .never_to_target("auth-agent")
                .never_to_target("echo never"),
        ),
        (
            "a broken transport",
            login()
                .agent(all(&[run_line(1, "cat"), data(1, "a")]))
                .settle()
                .agent(broken("a wrong packet"))
                .settle(),
        ),
        (
            "a signal",
            login()
                .agent(run_line(1, "sleep"))
                .settle()
                .agent(remark(1, Request::Signal("TERM".into()))),
        ),
        ("files", files_script()),
        (
            "files by their paths",
            login()
                .agent(all(&[
                    files(1),
                    ask(1, 1, "opendir /home/agent"),
                    ask(1, 2, "open /srv/new rw"),
                    ask(1, 3, "stat /etc/passwd"),
                ]))
                .settle()
                .agent(all(&[
                    ask(1, 4, "readdir h1"),
                    ask(1, 5, "readdir h1"),
                    ask(1, 6, "write h2 0 all-new"),
                    ask(1, 7, "read h2 4 100"),
                    ask(1, 8, "fsetstat h2"),
                    ask(1, 9, "close h1"),
                    ask(1, 10, "close h2"),
                    on(1, Body::Eof),
                ])),
        ),
        (
            "files denied and held",
            login()
                .agent(all(&[
                    files(1),
                    ask(1, 1, "open /etc/deny r"),
                    ask(1, 2, "open link r"),
                    ask(1, 3, "stat hold"),
                    ask(1, 4, "remove /etc/../etc/deny"),
                    ask(1, 5, "open notes r"),
                    ask(1, 6, "rename notes /etc/deny/x"),
                    ask(1, 7, "symlink /etc/passwd here"),
                    ask(1, 8, "extended posix-rename@openssh.com x"),
                ]))
                .racing()
                .settle()
                .vote(ApprovalOutcome::Approved)
                .agent(all(&[ask(1, 9, "read h1 0 100"), ask(1, 10, "close h1")]))
                .settle()
                .agent(on(1, Body::Eof)),
        ),
        (
            "gone in the middle",
            login()
                .agent(all(&[
                    run_line(1, "sleep"),
                    files(2),
                    ask(2, 1, "open notes r"),
                ]))
                .settle()
                .step(Step::AgentEof),
        ),
        (
            "the target goes",
            login()
                .agent(all(&[
                    run_line(1, "sleep"),
                    files(2),
                    ask(2, 1, "open notes r"),
                ]))
                .settle()
                .step(Step::TargetEof),
        ),
        (
            "killed",
            login()
                .agent(all(&[run_line(1, "cat"), run_line(2, "hold on")]))
                .settle()
                .step(Step::Close(CloseReason::Killed)),
        ),
    ]
}

fn files_script() -> Script {
    login()
        .agent(all(&[
            files(1),
            ask(1, 1, "realpath ."),
            ask(1, 2, "opendir /home/agent"),
            ask(1, 3, "open notes r"),
            ask(1, 4, "open /srv/new w"),
            ask(1, 5, "lstat /etc/passwd"),
            ask(1, 6, "stat /no/where"),
        ]))
        .settle()
        .agent(all(&[
            ask(1, 7, "readdir h1"),
            ask(1, 8, "readdir h1"),
            ask(1, 9, "close h1"),
            ask(1, 10, "read h2 0 4"),
            ask(1, 11, "read h2 4 100"),
            ask(1, 12, "write h2 0 no"),
            ask(1, 13, "close h2"),
            ask(1, 14, "read h2 0 100"),
            ask(1, 15, "write h3 0 all-new"),
            ask(1, 16, "fstat h3"),
            ask(1, 17, "fsetstat h3"),
            ask(1, 18, "close h3"),
            ask(1, 19, "mkdir folder"),
            ask(1, 20, "rename /srv/new /srv/old"),
        ]))
        .settle()
        .agent(on(1, Body::Eof))
        .settle()
        .agent(on(1, Body::Close))
}

fn client_login(token: &str) -> Bytes {
    gateway_protocols::testkit::ssh::client::login("orders", token)
}

fn run_line(channel: u32, line: &str) -> Bytes {
    gateway_protocols::testkit::ssh::client::run(channel, line)
}

fn other(channel: u32, name: &str) -> Bytes {
    let (name, data) = (name.into(), Bytes::new());
    request(channel, Request::Other { name, data })
}

fn traced(script: &Script) -> Trace {
    run(&Ssh, &world(), script, Schedule::prompt()).unwrap()
}

#[test]
fn every_script_passes_the_laws_under_every_schedule() {
    let mut failures = Vec::new();
    for (name, script) in scripts() {
        for (kind, world) in [("clear", world()), ("classified", world().classified())] {
            let failure = (0..SEEDS).find_map(|seed| {
                laws::laws(&Ssh, &world, &script, &Schedule::seeded(seed))
                    .err()
                    .map(|broken| format!("--- {name}, {kind}, seed {seed}: {broken}"))
            });
            failures.extend(failure);
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn addresses_never_reach_the_agent_where_they_are_masked() {
    let script = login()
        .agent(all(&[
            run_line(2, "list customers"),
            run_line(3, "cat"),
            data(3, "ada@exa"),
            data(3, "mple.com\nbob@example.com"),
            on(3, Body::Eof),
        ]))
        .never_to_agent("ada@example.com")
        .never_to_agent("bob@example.com");
    for seed in 0..SEEDS {
        laws::laws(
            &Ssh,
            &world().classified(),
            &script,
            &Schedule::seeded(seed),
        )
        .unwrap();
    }
}

#[test]
fn nothing_changes_where_all_is_allowed_and_nothing_classified() {
    let world = World::allowing_all().of("ssh");
    let unchanged = [
        "commands side by side",
        "input",
        "a signal",
        "files by their paths",
    ];
    for (name, script) in scripts() {
        if unchanged.contains(&name) {
            for seed in 0..SEEDS {
                laws::identity(&Ssh, &world, &script, &Schedule::seeded(seed))
                    .unwrap_or_else(|broken| panic!("{name}, seed {seed}: {broken}"));
            }
        }
    }
}

/// What happens next.
#[derive(Clone, Debug)]
enum Move {
    /// The agent opens another channel.
    Open,
    /// The agent says something about one of the first three channels; there is a file transfer on
    /// the first.
    Say(Bytes),
    /// All is quiet, and whatever waits is voted on.
    Vote,
}

fn moves() -> impl Strategy<Value = Move> {
    let file = (1u32..9, 0usize..FILE_REQUESTS.len())
        .prop_map(|(id, which)| ask(1, id, FILE_REQUESTS[which]));
    let line =
        (2u32..4, 0usize..LINES.len()).prop_map(|(channel, which)| exec(channel, LINES[which]));
    let other = (2u32..4, 0usize..24).prop_map(|(channel, which)| match which {
        0..=3 => pty(channel),
        4..=6 => request(channel, Request::Shell),
        7..=12 => data(channel, &b"some input\n"[..]),
        13..=16 => remark(channel, Request::WindowChange(size(1, 2))),
        17 => request(channel, Request::Subsystem("sftp".into())),
        18 => remark(channel, Request::Signal("TERM".into())),
        19 => data(1, &b"\0\0\0\x05\x0b"[..]),
        20 => on(channel, Body::Eof),
        21 => on(1, Body::Eof),
        22 => on(1, Body::Close),
        _ => on(channel, Body::Close),
    });
    prop_oneof![
        1 => Just(Move::Open),
        2 => Just(Move::Vote),
        12 => prop_oneof![3 => file, 1 => line, 2 => other].prop_map(Move::Say),
    ]
}

const LINES: &[&str] = &["echo one", "cat", "sleep", "drop all", "hold on", "fail 3"];
const FILE_REQUESTS: &[&str] = &[
    "open notes r",
    "open /srv/new w",
    "open hold r",
    "open link r",
    "read h1 0 100",
    "write h2 0 data",
    "close h1",
    "fsetstat h1",
    "opendir .",
    "readdir h1",
    "rename notes hold",
    "realpath ..",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_sequence_of_messages_passes_the_laws(
        moves in prop::collection::vec(moves(), 0..40),
        outcome in prop_oneof![Just(ApprovalOutcome::Approved), Just(ApprovalOutcome::Rejected)],
        choices in prop::collection::vec(any::<u16>(), 0..100),
    ) {
        let begun = login().agent(all(&[files(1), open(2, "session"), open(3, "session")]));
        let script = moves.into_iter().zip(4u32..).fold(begun, |script, (next, fresh)| match next {
            Move::Open => script.agent(open(fresh, "session")),
            Move::Say(said) => script.agent(said),
            Move::Vote => script.settle().vote(outcome),
        });
        let script = script.never_to_target("drop all");
        let schedule = Schedule::of(choices);
        let world = world().classified();
        let trace = run(&Ssh, &world, &script, schedule.clone()).unwrap();
        laws::early(&Ssh, &trace).unwrap();
        laws::denied(&Ssh, &trace, &script).unwrap();
        laws::deterministic(&Ssh, &world, &script, &schedule).unwrap();
        let ended = script.step(Step::AgentEof);
        laws::record(&Ssh, &world, &ended, &schedule).unwrap();
    }
}

#[test]
fn any_bytes_in_any_state_come_to_rest() {
    let states = [
        Script::new(),
        login(),
        login().agent(run_line(1, "cat")).settle(),
        login().agent(run_line(1, "hold on")).settle(),
        login()
            .agent(all(&[files(1), ask(1, 1, "open notes r")]))
            .settle(),
    ];
    let mut state = 0x9e37_79b9_u64;
    let mut random = move |below: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        usize::try_from(state >> 33).unwrap() % below
    };
    for (name, script) in scripts() {
        let said: Vec<u8> = script
            .steps
            .iter()
            .filter_map(|step| match step {
                Step::Agent(bytes) => Some(bytes.to_vec()),
                _ => None,
            })
            .collect::<Vec<_>>()
            .concat();
        for round in 0..200 {
            let mut bytes = said.clone();
            for _ in 0..=random(4) {
                let at = random(bytes.len());
                bytes[at] = u8::try_from(random(256)).unwrap();
            }
            let side = [Side::Agent, Side::Target][round % 2];
            let schedule = Schedule::seeded(random(1000) as u64);
            let script = &states[random(states.len())];
            laws::total(&Ssh, &world(), script, side, &bytes, schedule)
                .unwrap_or_else(|broken| panic!("{name}: {broken}"));
        }
    }
}

#[test]
fn requests_in_front_of_an_end_are_all_answered() {
    let limits = Limits {
        outstanding_max: 2,
        ..Limits::default()
    };
    let reads: Vec<Bytes> = (2..10).map(|id| ask(1, id, "read h1 0 4")).collect();
    let script = login()
        .agent(all(&[files(1), ask(1, 1, "open notes r")]))
        .settle()
        .agent(all(&[all(&reads), on(1, Body::Eof)]));
    let trace = run(
        &Ssh,
        &world().with_limits(limits),
        &script,
        Schedule::prompt(),
    )
    .unwrap();
    let heard = Ssh.canonical(Side::Agent, trace.agent_heard());
    let heard = String::from_utf8(heard).unwrap();
    assert_eq!(heard.matches(r#"data \"buy \""#).count(), 8, "{heard}");
}

#[test]
fn memory_stays_bounded_whatever_stalls() {
    let flood = data(1, vec![b'x'; 4000]);
    for (what, script) in [
        (
            "the log",
            login()
                .agent(run_line(1, "cat"))
                .settle()
                .step(Step::Stall(true)),
        ),
        ("a reviewer", login().agent(run_line(1, "hold on")).settle()),
        (
            "nothing started",
            login().agent(open(1, "session")).settle(),
        ),
    ] {
        laws::bounded(&Ssh, &world(), &script, &flood, 4 << 20)
            .unwrap_or_else(|broken| panic!("{what}: {broken}"));
    }
}

#[test]
fn an_approved_change_is_made_to_the_file_that_was_shown() {
    // The target gives a closed handle out again, as OpenSSH's server does.
    let attributes = sftp::Attributes {
        permissions: Some(0o777),
        ..sftp::Attributes::default()
    };
    let chmod = |id, handle: &'static str| {
        let handle = Bytes::from_static(handle.as_bytes());
        let attributes = attributes.clone();
        file(1, id, sftp::Request::Fsetstat { handle, attributes })
    };
    let script = login()
        .agent(all(&[files(1), ask(1, 1, "open /home/agent/hold r")]))
        .settle()
        .vote(ApprovalOutcome::Approved)
        .agent(chmod(2, "h1"))
        .settle()
        .agent(all(&[
            ask(1, 3, "close h1"),
            ask(1, 4, "open /etc/passwd r"),
        ]))
        .settle()
        .vote(ApprovalOutcome::Approved);
    let trace = traced(&script);
    let heard =
        String::from_utf8_lossy(&Ssh.canonical(Side::Target, trace.target_heard())).into_owned();
    let (_, behind) = heard.split_once("read /etc/passwd").unwrap();
    assert!(!behind.contains("fsetstat h1"), "{heard}");
}
