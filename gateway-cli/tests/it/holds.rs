//! Statements that wait for people.

use std::{
    process::{Child, Stdio},
    time::Duration,
};

use serde_json::Value;

use crate::support::{Agent, Person, World, until};

/// psql in the background, its statement held.
fn delete(world: &World, sql: &str) -> Child {
    let mut command = std::process::Command::new("psql");
    command
        .arg(world.gateway.conninfo("shop"))
        .args(["-X", "-A", "-t", "-c", sql])
        .env("PGPASSWORD", world.issuer.token(Agent::Writer))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.spawn().unwrap()
}

fn pending(world: &World) -> Value {
    until("an approval", || {
        let list = world
            .as_person(Person::Rita, &["approvals", "list", "--json"])
            .json();
        list.as_array()
            .filter(|all| !all.is_empty())
            .map(|all| all[0].clone())
    })
}

fn carts(world: &World) -> String {
    world.postgres.psql("select count(*) from carts")
}

#[test]
fn a_held_delete_runs_once_a_reviewer_agrees() {
    let world = World::start();
    let child = delete(&world, "delete from carts where id = 1");
    let approval = pending(&world);
    assert_eq!(approval["text"], "delete from carts where id = 1");
    assert_eq!(approval["effects"][0], "sql.delete public.carts");
    assert_eq!(carts(&world), "3", "nothing ran yet");
    let id = approval["id"].as_str().unwrap();
    let shown = world.as_person(Person::Rita, &["approvals", "show", id]);
    assert!(
        shown.ok().contains("delete from carts where id = 1"),
        "{shown:?}"
    );

    let owner = world.as_person(Person::Omar, &["approvals", "approve", id]);
    assert!(owner.err().contains("owner"), "{owner:?}");
    let stranger = world.as_person(Person::Olga, &["approvals", "approve", id]);
    assert!(stranger.err().contains("reviewer"), "{stranger:?}");

    let voted = world.as_person(
        Person::Rita,
        &["approvals", "approve", id, "--comment", "agreed"],
    );
    assert!(voted.ok().contains("approved"), "{voted:?}");
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "DELETE 1");
    assert!(
        String::from_utf8_lossy(&output.stderr).contains(id),
        "a notice names the approval"
    );
    assert_eq!(carts(&world), "2");

    let again = world.as_person(Person::Rita, &["approvals", "approve", id]);
    assert!(again.err().contains("no pending approval"), "{again:?}");
}

#[test]
fn a_denied_hold_never_runs() {
    let world = World::start();
    let child = delete(&world, "delete from carts where id = 1");
    let id = pending(&world)["id"].as_str().unwrap().to_owned();
    world
        .as_person(Person::Rita, &["approvals", "deny", &id, "--comment", "no"])
        .ok();
    let output = child.wait_with_output().unwrap();
    assert!(!output.status.success(), "{output:?}");
    assert_eq!(carts(&world), "3");
    assert!(!world.postgres.log().contains("delete from carts"));
}

#[test]
fn an_agent_that_goes_away_takes_its_request_along() {
    let world = World::start();
    let mut child = delete(&world, "delete from carts where id = 1");
    pending(&world);
    child.kill().unwrap();
    child.wait().unwrap();
    until("the withdrawal", || {
        let list = world
            .as_person(Person::Rita, &["approvals", "list", "--json"])
            .json();
        list.as_array().unwrap().is_empty().then_some(())
    });
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(carts(&world), "3");
}
