//! Kubernetes under the laws.

use bytes::Bytes;
use gateway_core::{
    id::ClassName,
    limits::Limits,
    mask::{ClassifiedField, FieldStep},
    record::{ApprovalOutcome, CloseReason, Entry, Outcome},
    wire::Side,
};
use gateway_protocols::testkit::{
    FRESH_TOKEN, GOOD_TOKEN, OTHER_TOKEN, Schedule, Script, Step, Subject, World, fuzz,
    kubernetes::{Kubernetes, SECRET_DATA, client::*},
    laws, run,
};
use proptest::prelude::*;

const SUBJECT: Kubernetes = Kubernetes { prefixed: false };
const SEEDS: u64 = 150;
const POD: &str = r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"web"},"spec":{}}"#;
const SECRET: &str =
    r#"{"kind":"Secret","apiVersion":"v1","metadata":{"name":"s"},"stringData":{"p":"hunter2"}}"#;
const V5: &str = "v5.channel.k8s.io";
const PODS: &str = "/api/v1/namespaces/shop/pods";
const EXEC: &str = "/api/v1/namespaces/shop/pods/web/exec?command=cat&stdin=true&stdout=true";

fn world() -> World {
    World::by_text().of("kubernetes")
}

fn login() -> Script {
    SUBJECT.login()
}

fn post(stream: u64, target: &str, body: &str) -> Bytes {
    send(stream, &format!("POST {target}"), "application/json", body)
}

fn reads() -> Script {
    login()
        .agent(all(&[
            get(2, "/api/v1/namespaces/shop/configmaps/c"),
            get(3, "/api/v1/secrets"),
            get(4, "/api/v1/namespaces/shop/secrets/s"),
            get(5, "/api/v1/secrets?watch=1"),
            get(6, "/api/v1/namespaces/shop/pods/web/log?follow=true"),
            get(7, "/api/v1/configmaps/missing"),
        ]))
        .settle()
        .agent(bare(
            8,
            "GET /api/v1/secrets",
            &[(
                "accept",
                "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
            )],
        ))
        .agent(send(
            9,
            "PATCH /api/v1/namespaces/shop/secrets/s?dryRun=All",
            "application/merge-patch+json",
            "{}",
        ))
        .agent(get(10, "/version"))
}

fn commands() -> Script {
    login()
        .agent(exec(2, EXEC, V5))
        .settle()
        .agent(all(&[
            channel(2, 0, b"one\n"),
            channel(2, 4, br#"{"Width":80,"Height":24}"#),
            channel(2, 0, b"write to ada@example.com\n"),
            channel(2, 255, &[0]),
        ]))
        .agent(exec(
            3,
            "/api/v1/namespaces/shop/pods/missing/exec?command=ls",
            V5,
        ))
}

/// Conversations that every law is tried on.
fn scripts() -> Vec<(&'static str, Script)> {
    let secret = |script: Script| script.never_to_agent(SECRET_DATA);
    vec![
        ("reads", secret(reads()).never_to_agent("ada@example.com")),
        (
            "no token, a bad one, and a good one",
            Script::new()
                .agent(all(&[
                    get_as(1, "stolen", "/api/v1/secrets"),
                    head(2, "", "GET /api/v1/secrets", &[]),
                    end(2),
                    bare(3, "HEAD /healthz", &[]),
                ]))
                .step(Step::Mark),
        ),
        (
            "denied among others",
            login()
                .agent(all(&[
                    get(2, PODS),
                    post(3, PODS, &POD.replace("web", "drop")),
                    get(4, "/api/v1/namespaces/deny/pods"),
                    post(5, PODS, POD),
                ]))
                .never_to_target("drop")
                .never_to_target("deny"),
        ),
        (
            "held and approved",
            login()
                .agent(all(&[
                    send(
                        2,
                        "DELETE /api/v1/namespaces/shop/pods/hold",
                        "application/json",
                        "",
                    ),
                    post(3, PODS, POD),
                    exec(4, &EXEC.replace("cat", "hold"), V5),
                ]))
                .vote(ApprovalOutcome::Approved)
                .agent(all(&[channel(4, 0, b"in\n"), channel(4, 255, &[0])])),
        ),
        (
            "held and rejected",
            login()
                .agent(all(&[
                    bare(2, "DELETE /api/v1/namespaces/shop/pods/hold", &[]),
                    get(3, PODS),
                ]))
                .vote(ApprovalOutcome::Rejected)
                .never_to_target("hold"),
        ),
        (
            "held and given up",
            login()
                .agent(bare(2, "DELETE /api/v1/namespaces/shop/pods/hold", &[]))
                .settle()
                .agent(all(&[reset(2), get(3, PODS)]))
                .never_to_target("hold"),
        ),
        (
            "refused for their form",
            login()
                .agent(all(&[
                    get(2, "/api/v1/%73ecrets"),
                    get(3, "/api/v1//secrets"),
                    get(4, "http://evil/api/v1/secrets"),
                    get(5, "/api/v1/secrets?watch=1&watch=0"),
                    get(6, "/api/v1/secrets?unknown=1"),
                    bare(
                        7,
                        "GET /api/v1/pods",
                        &[("Impersonate-Group", "system:masters")],
                    ),
                    bare(8, "GET /api/v1/pods", &[("accept", "application/yaml")]),
                    post(9, PODS, r#"{"kind":"Pod","kind":"Secret"}"#),
                    post(10, PODS, "kind: Pod"),
                    bare(11, "POST /api/v1/namespaces/shop/pods/web/portforward", &[]),
                    bare(12, "GET /api/v1/nodes/n/proxy/configz", &[]),
                    bare(13, "CONNECT example.com:443", &[]),
                    send(14, "GET /api/v1/secrets", "application/json", "{}"),
                    get(15, "/healthz"),
                ]))
                .never_to_target("ecrets")
                .never_to_target("masters")
                .never_to_target("Secret"),
        ),
        (
            "writes of secrets",
            secret(login().agent(all(&[
                post(2, "/api/v1/namespaces/shop/secrets", SECRET),
                send(
                    3,
                    "PUT /api/v1/namespaces/shop/secrets/s",
                    "application/json",
                    SECRET,
                ),
                post(
                    4,
                    "/api/v1/namespaces/shop/secrets",
                    &SECRET.replace("hunter2", "**masked by the gateway**"),
                ),
                post(
                    5,
                    "/api/v1/namespaces/invalid/secrets",
                    &SECRET.replace("\"s\"", "\"t\""),
                ),
            ]))),
        ),
        ("commands", commands().never_to_agent("ada@example.com")),
        (
            "a command left alone",
            login()
                .agent(exec(2, EXEC, V5))
                .settle()
                .agent(end(2))
                .settle()
                .agent(get(3, PODS)),
        ),
        (
            "a command's protocol broken",
            login()
                .agent(exec(2, EXEC, V5))
                .settle()
                .agent(raw(2, b"\x82\x00not masked"))
                .settle()
                .agent(get(3, PODS)),
        ),
        (
            "a fresh token",
            login()
                .agent(all(&[
                    get(2, PODS),
                    get_as(3, FRESH_TOKEN, PODS),
                    get_as(4, FRESH_TOKEN, "/api/v1/nodes"),
                    get_as(5, OTHER_TOKEN, "/api/v1/persistentvolumes"),
                ]))
                .never_to_target("persistentvolumes"),
        ),
        (
            "an answer given up",
            login().agent(all(&[get(2, "/api/v1/configmaps/gone"), get(3, PODS)])),
        ),
        (
            "the agent goes",
            login()
                .agent(exec(2, EXEC, V5))
                .settle()
                .step(Step::AgentEof),
        ),
        (
            "the target goes",
            login()
                .agent(exec(2, EXEC, V5))
                .settle()
                .step(Step::TargetEof),
        ),
    ]
}

#[test]
fn the_laws_hold_for_every_conversation_and_schedule() {
    for (name, script) in scripts() {
        let world = world().classified();
        for seed in 0..SEEDS {
            laws::laws(&SUBJECT, &world, &script, &Schedule::seeded(seed))
                .unwrap_or_else(|broken| panic!("{name}, seed {seed}: {broken}"));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_laws_hold_for_any_schedule(
        choices in prop::collection::vec(any::<u16>(), 0..300),
        which in 0usize..15,
    ) {
        let scripts = scripts();
        let (name, script) = &scripts[which % scripts.len()];
        let result = laws::laws(&SUBJECT, &world().classified(), script, &Schedule::of(choices));
        prop_assert!(result.is_ok(), "{name}: {:?}", result.err());
    }
}

proptest! {
    /// A fuzzer's poor relation, for machines without one.
    #[test]
    fn texts_of_any_kind_hold(
        which in 0u8..4,
        text in prop_oneof![
            "/(api|apis/a)/v1(/watch)?(/namespaces/[a-z.]{0,3})?(/[a-z:%.]{0,3}){0,4}([?][a-zA-Z%0-9=&+,]{0,20})?",
            r#"[{}\[\]":,a-f0-9\\ -]{0,40}"#,
            r#"\{"kind":"[A-Z][a-z]{0,6}(List)?","(data|items|rows)":(\{"a":"b"\}|\[\{"data":1\}\]|"x")\}"#,
            ".{0,30}",
        ],
    ) {
        let input = [&[which], text.as_bytes()].concat();
        prop_assert!(fuzz::kubernetes::parsers(&input).is_ok(), "{which} {text}");
    }
}

#[test]
fn what_nothing_is_to_be_masked_of_passes_as_it_is() {
    let world = World::allowing_all().of("kubernetes");
    let canonical = login().agent(all(&[
        get(2, "/api/v1/secrets"),
        get(3, "/api/v1/secrets?watch=true"),
        get(4, "/api/v1/namespaces/shop/pods/web/log"),
        post(5, PODS, POD),
        get(6, "/api/v1/configmaps/missing"),
    ]));
    for script in [canonical, commands_without_upgrade_failures()] {
        for seed in 0..SEEDS {
            laws::identity(&SUBJECT, &world, &script, &Schedule::seeded(seed))
                .unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
        }
    }
}

fn commands_without_upgrade_failures() -> Script {
    login()
        .agent(exec(2, EXEC, V5))
        .settle()
        .agent(all(&[channel(2, 0, b"one\n"), channel(2, 255, &[0])]))
}

#[test]
fn a_shared_listener_takes_the_target_off_the_path() {
    let shared = Kubernetes { prefixed: true };
    let script = shared
        .login()
        .agent(all(&[
            get(2, "/orders/api/v1/pods"),
            get(3, "/other/api/v1/secrets"),
            get(4, "/api/v1/secrets"),
        ]))
        .never_to_target("secrets")
        .never_to_target("orders");
    for seed in 0..SEEDS {
        laws::laws(&shared, &world(), &script, &Schedule::seeded(seed)).unwrap();
    }
    let nowhere = Script::new().agent(get(1, "/nowhere/api/v1/pods"));
    let trace = run(&shared, &world(), &nowhere, Schedule::prompt()).unwrap();
    assert!(contains(&trace.to_agent, "\"code\":404") && trace.to_target.is_empty());
}

#[test]
fn answers_that_cannot_be_masked_are_not_delivered() {
    for name in ["broken", "yaml", "encoded"] {
        let script = login()
            .agent(get(2, &format!("/api/v1/namespaces/{name}/secrets/s")))
            .settle()
            .agent(get(3, "/version"));
        for seed in 0..20 {
            let trace = run(
                &SUBJECT,
                &world().classified(),
                &script,
                Schedule::seeded(seed),
            )
            .unwrap();
            assert!(contains(&trace.to_agent, "\"code\":502"), "{name}");
            assert!(!contains(&trace.to_agent, "Secret"), "{name}");
            assert!(trace.closed.is_none());
            let masking = trace
                .entries()
                .any(|(_, entry)| matches!(entry, Entry::Blocked(_)));
            assert!(masking, "{name}");
        }
    }
}

#[test]
fn a_target_that_upgrades_to_something_else_is_refused() {
    let script = login()
        .agent(exec(2, &EXEC.replace("web", "forged"), V5))
        .settle();
    let trace = run(&SUBJECT, &world(), &script, Schedule::prompt()).unwrap();
    assert!(contains(&trace.to_agent, "\"code\":502"));
    assert!(!contains(&trace.to_agent, "hello"));
}

#[test]
fn an_exec_ends_with_its_exit_status() {
    let trace = run(&SUBJECT, &world(), &commands(), Schedule::prompt()).unwrap();
    let outcomes: Vec<_> = trace
        .entries()
        .filter_map(|(_, entry)| match entry {
            Entry::Finished { end, .. } => Some(end.outcome.clone()),
            _ => None,
        })
        .collect();
    let failed = |code: &str| Outcome::Failed { code: code.into() };
    assert_eq!(outcomes, [Outcome::Completed, failed("3"), failed("404")]);
}

#[test]
fn fields_of_a_policy_are_masked_and_tables_not_asked_for() {
    let mut world = world().classified();
    world.rules.fields = vec![ClassifiedField {
        group: String::new(),
        resource: "configmaps".into(),
        path: vec![FieldStep::Key("data".into()), FieldStep::Each],
        class: ClassName::parse("pii").unwrap(),
    }];
    let table = [(
        "accept",
        "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
    )];
    let script = login()
        .agent(bare(2, "GET /api/v1/namespaces/shop/configmaps/c", &table))
        .settle();
    let trace = run(&SUBJECT, &world, &script, Schedule::prompt()).unwrap();
    assert!(!contains(&trace.to_agent, "hello"));
    assert!(contains(&trace.to_agent, "**masked by the gateway**"));
    assert!(!contains(&trace.to_target, "Table"));
}

#[test]
fn no_field_of_an_agent_reaches_the_target() {
    let fields = [
        ("cookie", "session=x"),
        ("x-forwarded-for", "192.0.2.1"),
        ("proxy-authorization", "Basic x"),
        ("if-none-match", "x"),
        ("connection", "impersonate-user"),
    ];
    let script = login().agent(bare(2, "GET /api/v1/pods", &fields)).settle();
    let trace = run(&SUBJECT, &world(), &script, Schedule::prompt()).unwrap();
    for (name, _) in fields {
        assert!(!contains(&trace.to_target, name), "{name}");
    }
    assert!(!contains(&trace.to_target, GOOD_TOKEN));
    let user = "impersonate-user: entra:11111111-2222-4333-8444-555555555555/22222222-2222-4333-8444-555555555555";
    assert!(contains(&trace.to_target, user));
    assert!(contains(
        &trace.to_target,
        "impersonate-group: system:authenticated"
    ));
}

#[test]
fn a_token_in_a_sub_protocol_is_refused() {
    let protocol = "v5.channel.k8s.io, base64url.bearer.authorization.k8s.io.Zm9v";
    let script = login().agent(exec(2, EXEC, protocol)).settle();
    let trace = run(&SUBJECT, &world(), &script, Schedule::prompt()).unwrap();
    assert!(contains(&trace.to_agent, "\"code\":401"));
    assert!(!contains(&trace.to_target, "exec"));
}

#[test]
fn a_session_that_policy_refuses_ends_with_403() {
    let mut world = world();
    world.rules.refuses_sessions = true;
    let trace = run(&SUBJECT, &world, &login(), Schedule::prompt()).unwrap();
    assert_eq!(trace.closed, Some(CloseReason::Refused));
    assert!(contains(&trace.to_agent, "\"code\":403"));
}

#[test]
fn guesses_at_tokens_end() {
    let guesses: Vec<Bytes> = (1..50).map(|id| get_as(id, "guess", "/version")).collect();
    let script = Script::new().agent(all(&guesses)).settle();
    let trace = run(&SUBJECT, &world(), &script, Schedule::prompt()).unwrap();
    assert_eq!(trace.closed, Some(CloseReason::Refused));
}

#[test]
fn floods_stop() {
    let limits = Limits {
        frame_bytes_max: 64 << 10,
        unacknowledged_bytes_max: 64 << 10,
        ..Limits::default()
    };
    let world = world().with_limits(limits);
    // A log that stands still.
    let stalled = login().step(Step::Stall(true));
    let piece = get(2, PODS);
    laws::bounded(&SUBJECT, &world, &stalled, &piece, 4 << 20).unwrap();
    // A token under test, and requests behind it.
    let held = login()
        .agent(exec(2, EXEC, V5))
        .settle()
        .step(Step::Stall(true));
    let flood = channel(2, 0, &[b'x'; 4096]);
    laws::bounded(&SUBJECT, &world, &held, &flood, 4 << 20).unwrap();
}

#[test]
fn bodies_are_bounded_one_by_one_and_together() {
    let limits = Limits {
        frame_bytes_max: 1 << 10,
        ..Limits::default()
    };
    let world = world().with_limits(limits);
    let one = login()
        .agent(head(2, GOOD_TOKEN, &format!("POST {PODS}"), &[]))
        .agent(body(2, vec![b' '; 2 << 10]));
    let trace = run(&SUBJECT, &world, &one, Schedule::prompt()).unwrap();
    assert!(contains(&trace.to_agent, "\"code\":413"));
    let mut many = login();
    for id in 2..8 {
        many = many
            .agent(head(id, GOOD_TOKEN, &format!("POST {PODS}"), &[]))
            .agent(body(id, vec![b' '; 1000]));
    }
    let trace = run(&SUBJECT, &world, &many, Schedule::prompt()).unwrap();
    assert!(contains(&trace.to_agent, "\"code\":429"));
    let mut streams = login();
    for id in 2..140 {
        streams = streams.agent(head(id, GOOD_TOKEN, &format!("POST {PODS}"), &[]));
    }
    let trace = run(&SUBJECT, &world, &streams, Schedule::prompt()).unwrap();
    assert!(contains(&trace.to_agent, "\"code\":429"));
}

#[test]
fn any_bytes_of_any_side_come_to_rest() {
    let noise = b"\0\0\0\x0b\x05\0\0\0\0\0\0\0\x02xx\0\0\0\x09\x04\0\0\0\0\0\0\0\x02";
    for side in [Side::Agent, Side::Target] {
        for (_, script) in scripts() {
            laws::total(&SUBJECT, &world(), &script, side, noise, Schedule::prompt()).unwrap();
        }
    }
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes
        .windows(text.len())
        .any(|window| window == text.as_bytes())
}
