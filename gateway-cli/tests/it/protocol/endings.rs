//! What ends a connection, or comes while nothing is asked.

use std::time::Duration;

use crate::{
    clients::open_world,
    support::{
        Agent, World, until,
        wire::{bind, execute, parse, query, sync, told},
    },
};

/// Ends the sessions at the target that match, as a restart of the target does.
fn terminate(world: &World, which: &str) {
    let sql = format!(
        "select bool_and(pg_terminate_backend(pid)) from pg_stat_activity \
         where usename = 'gateway' and application_name <> 'access-gateway catalogue' and {which}"
    );
    until("the backend", || {
        (world.postgres.psql(&sql) == "t").then_some(())
    });
}

/// Parse, Bind and Execute of the unnamed statement.
fn run(sql: &str) -> Vec<u8> {
    [parse("", sql), bind("", "", &[], 0), execute("", 0)].concat()
}

#[test]
fn the_targets_last_words_are_the_sessions() {
    let mut world = open_world();
    let (mut idle, mut busy) = (world.wire(Agent::Writer), world.wire(Agent::Writer));
    let mut pipelined = world.wire(Agent::Writer);
    busy.send(&query("select pg_sleep(61)"));
    pipelined.send(
        &[
            run("select 1"),
            run("select pg_sleep(62)"),
            run("select 2"),
            sync(),
        ]
        .concat(),
    );
    terminate(&world, "query like '%pg_sleep(61)%'");
    assert_eq!(told(&busy.until_ready(1)), "T E(57P01) EOF");
    terminate(&world, "query like '%pg_sleep(62)%'");
    let words = told(&pipelined.until_ready(1));
    assert!(words.ends_with("E(57P01) EOF"), "{words}");
    terminate(&world, "state = 'idle'");
    assert_eq!(told(&idle.until_ready(1)), "E(57P01) EOF");
    assert_eq!(
        told(&world.wire(Agent::Writer).query("select 3")),
        "T D(3) C(SELECT 1) Z(I)"
    );
    world.gateway.stop();
    let sessions = world.gateway.cli(&["sessions", "list", "--json"]).json();
    let shown = sessions.as_array().unwrap().iter().map(|session| {
        let id = session["id"].as_str().unwrap();
        world.gateway.cli(&["sessions", "show", id]).stdout
    });
    let failed = shown.filter(|shown| shown.contains("57P01")).count();
    assert_eq!(failed, 2, "{sessions:#}");
}

#[test]
fn a_half_closed_agent_is_answered_and_then_let_go() {
    let world = open_world();
    let mut wire = world.wire(Agent::Writer);
    wire.send(
        &[
            query("select pg_sleep(1)"),
            query("insert into carts values (70, 1)"),
        ]
        .concat(),
    );
    wire.half_close();
    assert_eq!(
        told(&wire.until_ready(3)),
        "T D() C(SELECT 1) Z(I) C(INSERT 0 1) Z(I) EOF"
    );
    let left = "select count(*) from pg_stat_activity where query like 'insert into carts%'";
    until("the backend to end", || {
        (world.postgres.psql(left) == "0").then_some(())
    });
}

#[test]
fn an_idle_agent_hears_what_others_say() {
    let world = open_world();
    let mut wire = world.wire(Agent::Writer);
    assert_eq!(told(&wire.query("listen news")), "C(LISTEN) Z(I)");
    wire.patience(Duration::from_secs(5));
    for payload in ["one", "two"] {
        world.postgres.psql(&format!("notify news, '{payload}'"));
        let heard = wire.receive();
        assert_eq!(heard.tag, 'A');
        let (_, said) = heard.body.split_at(4);
        assert_eq!(said, format!("news\0{payload}\0").as_bytes());
    }
    let words = told(&wire.query("set timezone = 'Asia/Tokyo'"));
    assert_eq!(words, "C(SET) S Z(I)");
}

#[test]
fn an_agent_is_told_when_its_target_is_away() {
    let world = open_world();
    // The catalogue is known, and asked for anew no sooner than it must be.
    world.wire(Agent::Writer).query("select 1");
    let token = world.issuer.token(Agent::Writer);
    let allow = |allowed: bool| {
        let sql = format!("alter database shop allow_connections {allowed}");
        world.postgres.psql_in("postgres", &sql);
    };
    allow(false);
    let refused = world.try_wire(&token, &[]).map(drop).unwrap_err();
    assert!(refused.starts_with("08006 "), "{refused}");
    allow(true);
    assert_eq!(
        told(&world.wire(Agent::Writer).query("select 2")),
        "T D(2) C(SELECT 1) Z(I)"
    );
}
