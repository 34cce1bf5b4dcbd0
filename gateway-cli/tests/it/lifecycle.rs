//! Starting, stopping, and being killed.

use crate::support::{Agent, World};

#[test]
fn a_gateway_that_is_asked_to_end_closes_its_log() {
    let mut world = World::start();
    world.psql(Agent::Reader, "select 1").ok();
    assert_eq!(world.gateway.stop(), Some(0), "{}", world.gateway.log());
    assert!(world.gateway.log().contains("the evidence log is closed"));
}

#[test]
fn a_killed_gateway_recovers_and_serves() {
    let mut world = World::start();
    world.psql(Agent::Reader, "select 1").ok();
    world.gateway.restart("KILL");
    assert_eq!(world.psql(Agent::Reader, "select 2").ok(), "2");
    let sessions = world.gateway.cli(&["sessions", "list", "--json"]).json();
    assert_eq!(sessions.as_array().unwrap().len(), 2);
}

#[test]
fn two_gateways_do_not_share_a_log() {
    let world = World::start();
    let second = world.gateway.cli(&["run"]);
    assert_eq!(second.code, Some(4), "{second:?}");
    assert!(second.stderr.contains("log"), "{second:?}");
}

#[test]
fn cancel_reaches_the_statement_through_the_gateway() {
    let world = World::start();
    let started = std::time::Instant::now();
    // psql sends a cancel request when it is interrupted.
    let script = format!(
        "psql '{}' -X -c 'select count(*) from generate_series(1, 1000000000)' & pid=$!; sleep 2; kill -INT $pid; wait $pid",
        world.gateway.conninfo("shop")
    );
    let output = crate::support::run(
        std::process::Command::new("bash")
            .args(["-c", &script])
            .env("PGPASSWORD", world.issuer.token(Agent::Reader)),
    );
    assert!(
        output
            .stderr
            .contains("canceling statement due to user request"),
        "{output:?}"
    );
    assert!(started.elapsed() < std::time::Duration::from_secs(15));
}
