//! What is left of sessions.

use crate::support::{Agent, World};

#[test]
fn a_session_can_be_listed_shown_replayed_exported_and_verified() {
    let mut world = World::start();
    world.psql_args(
        Agent::Reader,
        &["-c", "select title from products", "-c", "drop table carts"],
    );
    let sessions = world.gateway.cli(&["sessions", "list", "--json"]).json();
    let session = &sessions[0];
    assert_eq!(
        session["agent"],
        Agent::Reader.object_id().as_str(),
        "{sessions:#}"
    );
    assert_eq!(
        (&session["target"], &session["blocked"]),
        (&"shop".into(), &1.into())
    );
    let id = session["id"].as_str().unwrap();
    let shown = world.gateway.cli(&["sessions", "show", id]);
    assert!(
        shown.ok().contains("select title from products"),
        "{shown:?}"
    );
    let replayed = world.gateway.cli(&["sessions", "replay", id]);
    assert!(replayed.ok().contains("Tea"), "{replayed:?}");

    assert_eq!(world.gateway.stop(), Some(0), "{}", world.gateway.log());
    let package = world.path("evidence.zip");
    let trust = world.path("trust");
    let package = package.to_str().unwrap();
    world
        .gateway
        .cli(&["evidence", "export", "-o", package])
        .ok();
    std::fs::write(&trust, world.gateway.cli(&["evidence", "trust"]).ok()).unwrap();
    let trust = trust.to_str().unwrap();
    let verdict = world
        .gateway
        .cli(&["evidence", "verify", package, "--trust", trust, "--json"]);
    assert_eq!(verdict.code, Some(10), "{verdict:?}");
    assert_eq!(verdict.json()["outcome"], "not_anchored");

    let mut bytes = std::fs::read(package).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(package, bytes).unwrap();
    let verdict = world
        .gateway
        .cli(&["evidence", "verify", package, "--trust", trust]);
    assert!(matches!(verdict.code, Some(1 | 2)), "{verdict:?}");
}

#[test]
fn masked_values_are_written_nowhere() {
    let mut world = World::start();
    world
        .psql(
            Agent::Reader,
            "select email, phone, national_id from customers",
        )
        .ok();
    world.psql(
        Agent::Reader,
        "select name from customers where email = 'ada@example.org'",
    );
    world.gateway.stop();
    let data = world.path("data");
    let found = crate::support::run(
        std::process::Command::new("grep")
            .args([
                "-r",
                "-l",
                "-a",
                "-e",
                "ada@example",
                "-e",
                "19800101-1234",
                "-e",
                "46701234567",
            ])
            .arg(&data),
    );
    assert_eq!(found.stdout, "", "clear values in evidence");
}
