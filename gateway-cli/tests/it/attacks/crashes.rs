//! Whatever ends the gateway or the target, the record stays true.

use std::time::Duration;

use super::world_with_writer;
use crate::support::{
    Agent, until,
    wire::{query, told},
};

#[test]
fn a_gateway_killed_in_the_middle_leaves_a_log_that_verifies() {
    let (mut world, _wire) = world_with_writer("");
    let mut busy: Vec<_> = (0..4).map(|_| world.wire(Agent::Writer)).collect();
    std::thread::scope(|scope| {
        for wire in &mut busy {
            wire.patience(Duration::from_secs(5));
            scope.spawn(
                || {
                    while !told(&wire.query("select email from customers")).contains("EOF") {}
                },
            );
        }
        let mut asleep = world.wire(Agent::Writer);
        asleep.send(&query("select count(*) from generate_series(1, 100000000)"));
        std::thread::sleep(Duration::from_millis(700));
        world.gateway.restart("KILL");
        drop(asleep);
    });
    assert_eq!(
        told(&world.wire(Agent::Reader).query("select 1")),
        "T D(1) C(SELECT 1) Z(I)"
    );
    let sessions = world.gateway.cli(&["sessions", "list", "--json"]).json();
    let interrupted = sessions
        .as_array()
        .unwrap()
        .iter()
        .filter(|session| session.to_string().contains("interrupted"));
    assert!(interrupted.count() >= 5, "{sessions:#}");
    assert!(
        sessions.to_string().contains("unknown") || {
            let shown = sessions.as_array().unwrap().iter().map(|session| {
                world
                    .gateway
                    .cli(&["sessions", "show", session["id"].as_str().unwrap()])
                    .stdout
            });
            shown.collect::<String>().contains("unknown")
        }
    );

    assert_eq!(world.gateway.stop(), Some(0), "{}", world.gateway.log());
    let (package, trust) = (world.path("evidence.zip"), world.path("trust"));
    let (package, trust) = (package.to_str().unwrap(), trust.to_str().unwrap());
    world
        .gateway
        .cli(&["evidence", "export", "-o", package])
        .ok();
    std::fs::write(trust, world.gateway.cli(&["evidence", "trust"]).ok()).unwrap();
    let verdict = world
        .gateway
        .cli(&["evidence", "verify", package, "--trust", trust, "--json"]);
    assert!(matches!(verdict.code, Some(0 | 10)), "{verdict:?}");
}

#[test]
fn a_target_that_dies_in_the_middle_ends_its_session_alone() {
    let (world, mut wire) = world_with_writer("");
    let mut other = world.wire(Agent::Writer);
    wire.send(&query(
        "select count(*) from generate_series(1, 1000000000)",
    ));
    until("the backend", || {
        let found = world.postgres.psql(
            "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'gateway' and query like '%1000000000%'",
        );
        (found == "t").then_some(())
    });
    let words = told(&wire.until_ready(1));
    assert!(
        words.contains("E(57P01)") && words.ends_with("EOF"),
        "{words}"
    );
    assert_eq!(told(&other.query("select 1")), "T D(1) C(SELECT 1) Z(I)");
}

#[test]
fn every_statement_that_ran_is_on_record_before_it_ran() {
    let (mut world, mut wire) = world_with_writer("");
    for id in 100..120 {
        wire.query(&format!("insert into carts values ({id}, 1)"));
    }
    // The last one isn't waited for.
    wire.send(&query("insert into carts values (120, 1)"));
    std::thread::sleep(Duration::from_millis(50));
    world.gateway.restart("KILL");
    let ran = world
        .postgres
        .psql("select id from carts where id >= 100 order by id");
    let sessions = world.gateway.cli(&["sessions", "list", "--json"]).json();
    let shown: String = sessions
        .as_array()
        .unwrap()
        .iter()
        .map(|session| {
            world
                .gateway
                .cli(&["sessions", "show", session["id"].as_str().unwrap()])
                .stdout
        })
        .collect();
    for id in ran.lines() {
        assert!(shown.contains(&format!("({id}, 1)")), "{id}: {shown}");
    }
    assert!(ran.lines().count() >= 20);
}

#[test]
fn an_agent_that_leaves_unheard_answers_behind_ends_its_session() {
    let (world, mut wire) = world_with_writer("");
    let large = query("select repeat('x', 100000) from generate_series(1, 1000)");
    // Fifty times 100 MB, of which nothing is read.
    wire.send(&large.repeat(50));
    std::thread::sleep(Duration::from_secs(1));
    drop(wire);
    until("the end of what it asked for", || {
        let running = world.postgres.psql(
            "select count(*) from pg_stat_activity where usename = 'gateway' and query like '%100000%'",
        );
        (running == "0").then_some(())
    });
    until("the end of the session", || {
        let sessions = world.gateway.cli(&["sessions", "list", "--json"]).json();
        let mut states = sessions
            .as_array()
            .unwrap()
            .iter()
            .map(|s| s["state"].to_string());
        states.all(|state| state.contains("closed")).then_some(())
    });
}
