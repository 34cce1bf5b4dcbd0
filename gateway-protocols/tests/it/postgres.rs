//! PostgreSQL under the laws.

use bytes::Bytes;
use gateway_core::{
    limits::Limits,
    record::{ApprovalOutcome, CloseReason},
    wire::Side,
};
use gateway_protocols::testkit::{
    Proof, Schedule, Script, Step, Subject, Trace, World, laws,
    postgres::{Postgres, client::*},
    run,
};
use proptest::prelude::*;

const SUBJECT: Postgres = Postgres(Proof::Token);
const SEEDS: u64 = 150;

fn world() -> World {
    World {
        proof: Proof::Token,
        ..World::by_text()
    }
}

fn login() -> Script {
    SUBJECT.login()
}

/// Conversations that every law is tried on.
fn scripts() -> Vec<(&'static str, Script)> {
    let prepared = [
        parse("s", "select id from t where id = $1"),
        describe_statement("s"),
        sync(),
    ];
    let executed = [
        bind("", "s", &[Some("7")], false),
        describe_portal(""),
        execute("", 0),
        bind("", "s", &[Some("8")], true),
        execute("", 0),
        sync(),
    ];
    vec![
        (
            "bad token",
            Script::new()
                .agent(ssl_request())
                .settle()
                .agent(startup(0, &[("user", "agent"), ("database", "orders")]))
                .settle()
                .agent(password("stolen"))
                .step(Step::Mark),
        ),
        (
            "queries",
            login()
                .agent(all(&[
                    query("select id from t"),
                    query("insert into t values (9)"),
                    query("select id from t"),
                ]))
                .settle()
                .agent(all(&[
                    query("select 1/0"),
                    query(""),
                    query("begin; insert into t values (3); commit"),
                ])),
        ),
        (
            "denied among queries",
            login()
                .agent(all(&[
                    query("select id from t"),
                    query("drop table t"),
                    query("select id from t where true"),
                ]))
                .never_to_target("drop table"),
        ),
        (
            "denied in a pipeline",
            login()
                .agent(all(&[
                    parse("", "insert into t values (41)"),
                    bind("", "", &[], false),
                    execute("", 0),
                    parse("", "drop table t"),
                    bind("", "", &[], false),
                    execute("", 0),
                    sync(),
                    query("select id from t"),
                ]))
                .never_to_target("drop table"),
        ),
        (
            "denied in a block",
            login()
                .agent(all(&[
                    query("begin"),
                    query("insert into t values (42)"),
                    query("drop table t"),
                    query("select id from t"),
                    query("rollback"),
                    query("select id from t where 1"),
                ]))
                .never_to_target("drop table"),
        ),
        (
            "prepared and executed",
            login()
                .agent(all(&prepared))
                .settle()
                .agent(all(&executed))
                .settle()
                .agent(all(&executed))
                .agent(all(&[close_statement("s"), sync()])),
        ),
        (
            "a syntax error in a pipeline",
            login().agent(all(&[
                parse("", "selekt"),
                bind("", "", &[], false),
                describe_portal(""),
                execute("", 0),
                sync(),
                query("select id from t"),
            ])),
        ),
        (
            "suspended",
            login()
                .agent(all(&[
                    query("begin"),
                    parse("", "select id from t"),
                    bind("p", "", &[], false),
                    execute("p", 1),
                    sync(),
                ]))
                .settle()
                .agent(all(&[
                    execute("p", 1),
                    execute("p", 0),
                    execute("p", 0),
                    sync(),
                    query("commit"),
                ])),
        ),
        (
            "masked",
            login()
                .agent(all(&[
                    query("select id, email from customers"),
                    parse("m", "select id, email from customers where 1"),
                    sync(),
                ]))
                .settle()
                .agent(all(&[
                    bind("", "m", &[], false),
                    execute("", 0),
                    sync(),
                    bind("", "m", &[], true),
                    describe_portal(""),
                    execute("", 0),
                    sync(),
                    query("select boom, email from customers where boom"),
                    query("raise"),
                    query("notify"),
                ]))
                .never_to_agent("ada@example.com")
                .never_to_agent("bob@example.com")
                .never_to_agent("payload"),
        ),
        (
            "masked and suspended",
            login()
                .agent(all(&[
                    query("begin"),
                    parse("", "select id, email from customers"),
                    bind("p", "", &[], false),
                    execute("p", 2),
                    sync(),
                    execute("p", 2),
                    sync(),
                    query("commit"),
                ]))
                .never_to_agent("ada@example.com")
                .never_to_agent("bob@example.com"),
        ),
        (
            "copy",
            login()
                .agent(query("copy t from stdin"))
                .settle()
                .agent(all(&[
                    copy_data(b"10\n11\n"),
                    copy_data(b"12\n"),
                    copy_done(),
                ]))
                .settle()
                .agent(all(&[query("copy t to stdout"), query("select id from t")])),
        ),
        (
            "copy fails",
            login()
                .agent(query("copy t from stdin"))
                .settle()
                .agent(all(&[copy_data(b"10\n"), copy_fail("enough")]))
                .settle()
                .agent(query("copy t from stdin"))
                .settle()
                .agent(all(&[
                    copy_data(b"zehn\n"),
                    copy_done(),
                    query("select id from t"),
                ])),
        ),
        (
            "copy in a pipeline",
            login()
                .agent(all(&[
                    parse("", "copy t from stdin"),
                    bind("", "", &[], false),
                    execute("", 0),
                    sync(),
                ]))
                .settle()
                .agent(all(&[
                    copy_data(b"13\n"),
                    copy_done(),
                    sync(),
                    query("select id from t"),
                ])),
        ),
        (
            "copy fails with syncs in it",
            login()
                .agent(all(&[
                    parse("", "copy t from stdin"),
                    bind("", "", &[], false),
                    execute("", 0),
                    sync(),
                    copy_data(b"10\nzehn\n"),
                    sync(),
                ]))
                .settle()
                .agent(all(&[sync(), query("select id from t")])),
        ),
        (
            "two copies in a query",
            login().agent(all(&[
                query("copy t from stdin; copy t from stdin"),
                copy_data(b"10\n"),
                copy_done(),
                copy_data(b"11\n"),
                copy_done(),
                query("select id from t"),
            ])),
        ),
        (
            "terminated by the target",
            login().agent(all(&[
                query("select id from t"),
                parse("", "select terminated"),
                bind("", "", &[], false),
                execute("", 0),
                sync(),
                query("insert into t values (43)"),
            ])),
        ),
        (
            "direct TLS to an older target",
            Script::new()
                .agent(client_hello("postgresql"))
                .settle()
                .agent(startup(2, &[("user", "agent"), ("database", "aged")]))
                .settle()
                .agent(password("good-token"))
                .step(Step::Mark)
                .agent(query("select id from t")),
        ),
        (
            "direct TLS for another protocol",
            Script::new()
                .agent(client_hello("http/1.1"))
                .settle()
                .agent(startup(0, &[("user", "agent"), ("database", "orders")]))
                .step(Step::Mark),
        ),
        (
            "held and approved",
            login()
                .agent(all(&[
                    query("select id from t"),
                    query("delete from t"),
                    query("select id from t where 1"),
                ]))
                .vote(ApprovalOutcome::Approved),
        ),
        (
            "held and rejected",
            login()
                .agent(all(&[
                    query("begin"),
                    query("delete from t"),
                    query("select id from t"),
                    query("rollback"),
                ]))
                .vote(ApprovalOutcome::Rejected)
                .never_to_target("delete from"),
        ),
        (
            "held execution",
            login()
                .agent(all(&[
                    parse("", "delete from t"),
                    bind("", "", &[Some("secret-value")], false),
                    execute("", 0),
                    sync(),
                    query("select id from t"),
                ]))
                .vote(ApprovalOutcome::Rejected)
                .never_to_target("secret-value"),
        ),
        (
            "held and withdrawn",
            login()
                .agent(all(&[
                    query("delete from t"),
                    query("select id from t"),
                    terminate(),
                ]))
                .never_to_target("delete from")
                .never_to_target("select id"),
        ),
        (
            "held and cancelled",
            login()
                .agent(all(&[query("delete from t"), query("select id from t")]))
                .step(Step::Cancel)
                .never_to_target("delete from"),
        ),
        (
            "unknown names",
            login().agent(all(&[
                bind("", "nobody", &[], false),
                execute("", 0),
                sync(),
                execute("nowhere", 0),
                sync(),
                describe_statement("nobody"),
                sync(),
                close_portal("x"),
                sync(),
            ])),
        ),
        (
            "function call",
            login().agent(all(&[function_call(1), query("select id from t")])),
        ),
        (
            "what may come any time",
            login().agent(all(&[
                query("raise"),
                query("notify"),
                query("set timezone"),
                query("select id from t"),
            ])),
        ),
        (
            "a wide row",
            login().agent(all(&[query("select wide"), query("select id from t")])),
        ),
        (
            "terminated",
            login().agent(all(&[query("select id from t"), terminate()])),
        ),
        (
            "agent gone",
            login()
                .agent(query("select id from t"))
                .step(Step::AgentEof),
        ),
        (
            "target gone",
            login()
                .agent(query("select id from t"))
                .step(Step::TargetEof),
        ),
        (
            "killed",
            login()
                .agent(query("delete from t"))
                .step(Step::Close(CloseReason::Killed))
                .never_to_target("delete from"),
        ),
    ]
}

#[test]
fn every_script_passes_the_laws_under_every_schedule() {
    let mut failures = Vec::new();
    for (world, classified) in [(world(), false), (world().classified(), true)] {
        for (name, mut script) in scripts() {
            if !classified {
                script.never_to_agent.clear();
            }
            let failure = (0..SEEDS).find_map(|seed| {
                laws::laws(&SUBJECT, &world, &script, &Schedule::seeded(seed))
                    .err()
                    .map(|broken| format!("--- {name}, seed {seed}: {broken}"))
            });
            failures.extend(failure);
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn nothing_changes_where_all_is_allowed_and_nothing_classified() {
    let world = World {
        proof: Proof::Token,
        ..World::allowing_all()
    };
    let changed = [
        "bad token",
        "copy fails",
        "a syntax error in a pipeline",
        "unknown names",
        "function call",
        "target gone",
        "killed",
        "agent gone",
    ];
    for (name, script) in scripts() {
        if changed.contains(&name) {
            continue;
        }
        for seed in 0..SEEDS {
            laws::identity(&SUBJECT, &world, &script, &Schedule::seeded(seed))
                .unwrap_or_else(|broken| panic!("{name}, seed {seed}: {broken}"));
        }
    }
}

fn traced(script: &Script, world: &World) -> Trace {
    run(&SUBJECT, world, script, Schedule::prompt()).unwrap()
}

fn heard(trace: &Trace) -> String {
    trace.agent_heard().escape_ascii().to_string()
}

#[test]
fn a_denied_statement_undoes_the_pipeline_it_is_in() {
    let script = login()
        .agent(all(&[
            parse("", "insert into t values (41)"),
            bind("", "", &[], false),
            execute("", 0),
            parse("", "drop table t"),
            bind("", "", &[], false),
            execute("", 0),
            sync(),
        ]))
        .settle()
        .agent(query("select id from t"));
    let heard = heard(&traced(&script, &world()));
    assert!(heard.contains("drops need a change ticket"), "{heard}");
    assert!(!heard.contains("41"), "the insert was committed: {heard}");
}

#[test]
fn a_denied_statement_aborts_its_transaction_block() {
    let script = login().agent(all(&[
        query("begin"),
        query("drop table t"),
        query("select id from t"),
    ]));
    let heard = heard(&traced(&script, &world()));
    assert!(heard.contains("25P02"), "{heard}");
}

#[test]
fn an_agent_that_leaves_while_its_statement_is_analysed_ends_the_session() {
    for seed in 0..50 {
        let script = login()
            .agent(query("select id from t"))
            .step(Step::AgentEof);
        let trace = run(&SUBJECT, &world(), &script, Schedule::seeded(seed)).unwrap();
        assert!(trace.closed.is_some(), "seed {seed}");
    }
}

#[test]
fn large_values_behind_a_failed_statement_keep_the_session() {
    let limits = Limits {
        frame_bytes_max: 4096,
        ..Limits::default()
    };
    let large = "v".repeat(20_000);
    let script = login()
        .agent(all(&[parse("s", "select id from t where id = $1"), sync()]))
        .settle()
        .agent(all(&[
            parse("", "selekt"),
            bind("", "s", &[Some(&large)], false),
            execute("", 0),
            sync(),
            query("select id from t"),
        ]));
    let world = world().with_limits(limits);
    for seed in 0..SEEDS {
        laws::laws(&SUBJECT, &world, &script, &Schedule::seeded(seed))
            .unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
    }
}

#[test]
fn a_large_message_goes_on_to_its_end_though_its_copy_failed() {
    let limits = Limits {
        frame_bytes_max: 4096,
        ..Limits::default()
    };
    let world = world().with_limits(limits);
    let large = "1\n".repeat(20_000);
    // Had the rest been dropped, the target would take this text for it, and what is in it for
    // messages.
    let smuggled = format!("select id from t where '{}'", "x".repeat(3000));
    let script = login()
        .agent(query("copy t from stdin"))
        .settle()
        .agent(all(&[
            copy_data(b"zehn\n"),
            copy_data(large.as_bytes()),
            copy_done(),
            query(&smuggled),
            query("select id from t where 1"),
        ]));
    for seed in 0..SEEDS {
        let schedule = Schedule::seeded(seed);
        let trace = run(&SUBJECT, &world, &script, schedule).unwrap();
        let heard = trace.agent_heard().escape_ascii().to_string();
        assert!(trace.closed.is_none(), "seed {seed}: {:?}", trace.closed);
        assert_eq!(heard.matches("SELECT 2").count(), 2, "seed {seed}: {heard}");
    }
}

#[test]
fn what_waits_for_the_target_makes_the_target_speak() {
    let batches = [
        // The second Parse can't be understood before the table is there.
        all(&[
            parse("", "create table x"),
            bind("", "", &[], false),
            execute("", 0),
            parse("a", "select id from t"),
            sync(),
        ]),
        // What `s` means is for the target to say, and it has not been asked to.
        all(&[
            parse("s", "select id from t"),
            sync(),
            parse("u", "select id from t where 1"),
            bind("", "s", &[], false),
            execute("", 0),
            sync(),
        ]),
    ];
    for batch in batches {
        let script = login().agent(batch.clone());
        for seed in 0..SEEDS {
            let trace = run(&SUBJECT, &world(), &script, Schedule::seeded(seed)).unwrap();
            assert_eq!(
                trace.from_agent.len() - trace.marks[2],
                batch.len(),
                "seed {seed}"
            );
            assert!(
                trace.agent_heard().ends_with(b"Z\0\0\0\x05I"),
                "seed {seed}"
            );
            let syncs = trace
                .target_heard()
                .windows(5)
                .filter(|w| *w == b"S\0\0\0\x04")
                .count();
            assert_eq!(
                syncs,
                batch.windows(5).filter(|w| *w == b"S\0\0\0\x04").count()
            );
        }
    }
}

#[test]
fn memory_stays_bounded_whatever_stalls() {
    let flood = query(&format!("select id from t where {}", "x".repeat(2000)));
    let mute = World {
        is_mute: true,
        ..world()
    };
    for (what, world, script) in [
        ("the log", world(), login().step(Step::Stall(true))),
        (
            "a reviewer",
            world(),
            login().agent(query("delete from t")).settle(),
        ),
        ("the analysis", mute, login()),
    ] {
        laws::bounded(&SUBJECT, &world, &script, &flood, 20 << 20)
            .unwrap_or_else(|broken| panic!("{what}: {broken}"));
    }
}

fn states() -> Vec<Script> {
    let mut states: Vec<Script> = scripts().into_iter().map(|(_, script)| script).collect();
    states.push(Script::new());
    states.push(Script::new().agent(ssl_request()).settle());
    states.push(login());
    states.push(login().agent(query("copy t from stdin")).settle());
    states.push(login().agent(query("delete from t")).settle());
    states
}

fn some_message() -> impl Strategy<Value = Bytes> {
    let text = prop::sample::select(vec![
        "select id from t",
        "select id, email from customers",
        "drop table t",
        "begin",
        "rollback",
        "copy t from stdin",
        "selekt",
        "select 1/0",
        "create table x",
        "",
    ]);
    let name = prop::sample::select(vec!["", "a", "b"]);
    (text, name, 0..16u8, 0..3i32).prop_map(|(text, name, kind, rows)| match kind {
        0 | 1 => query(text),
        2 | 3 => parse(name, text),
        4 | 5 => bind(name, name, &[Some("7")], rows == 1),
        6 => describe_statement(name),
        7 => describe_portal(name),
        8 | 9 => execute(name, rows),
        10 => close_statement(name),
        11 => close_portal(name),
        12 if rows == 1 => copy_data(b"zehn\n"),
        12 => copy_data(b"5\n"),
        13 => copy_done(),
        _ => sync(),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// The model is the fake server itself: whatever the agent sends, the laws hold.
    #[test]
    fn any_sequence_of_messages_passes_the_laws(
        messages in prop::collection::vec(some_message(), 1..14),
        choices in prop::collection::vec(any::<u16>(), 0..60),
        classified in any::<bool>(),
    ) {
        let script = login().racing().agent(all(&messages)).agent(sync()).settle()
            .agent(all(&[copy_fail("the end"), sync()])).settle()
            .agent(query("rollback"));
        let world = if classified { world().classified() } else { world() };
        let result = laws::laws(&SUBJECT, &world, &script, &Schedule::of(choices));
        prop_assert!(result.is_ok(), "{}", result.unwrap_err());
    }

    #[test]
    fn any_bytes_in_any_state_come_to_rest(
        state in prop::sample::select(states()),
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        from_agent in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let from = if from_agent { Side::Agent } else { Side::Target };
        laws::total(&SUBJECT, &world().classified(), &state, from, &bytes, Schedule::seeded(seed)).unwrap();
    }
}
