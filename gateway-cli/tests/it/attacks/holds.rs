//! A held statement runs once, as it was approved, while its agent is there to see it, or never.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::world_with_writer;
use crate::support::{
    Agent, Person, World, until,
    wire::{Wire, bind, cancel, execute, message, parse, query, sync, told},
};

const DELETE: &str = "delete from carts where id = 1";

/// The approval that is being waited for.
fn pending(world: &World) -> String {
    until("an approval", || {
        let list = world
            .as_person(Person::Rita, &["approvals", "list", "--json"])
            .json();
        list[0]["id"].as_str().map(str::to_owned)
    })
}

fn approve(world: &World, id: &str) -> bool {
    world
        .as_person(Person::Rita, &["approvals", "approve", id])
        .code
        == Some(0)
}

fn carts(world: &World) -> String {
    world
        .postgres
        .psql("select string_agg(id::text, ',' order by id) from carts")
}

#[test]
fn a_held_statement_that_was_taken_back_never_runs() {
    let (world, _wire) = world_with_writer("");
    let goodbye = |mut wire: Wire| wire.send(&message(b'X', b""));
    let hang_up = drop::<Wire>;
    let ask_to_cancel = |wire: Wire| {
        let mut wire = wire;
        let mut wrong = wire.cancel_key();
        *wrong.last_mut().unwrap() ^= 1;
        cancel(world.gateway.place(), &wrong);
        let id = pending(&world);
        cancel(world.gateway.place(), &wire.cancel_key());
        assert_eq!(told(&wire.until_ready(1)), "N E(57014) Z(I)");
        assert!(!approve(&world, &id));
        assert_eq!(
            told(&wire.query("select 1")),
            "T D(1) C(SELECT 1) Z(I)",
            "the session lives on"
        );
    };
    let ways: [(&str, &dyn Fn(Wire)); 3] = [
        ("Terminate", &goodbye),
        ("a lost connection", &hang_up),
        ("a cancel request", &ask_to_cancel),
    ];
    for (what, take_back) in ways {
        let mut wire = world.wire(Agent::Writer);
        wire.send(&query(DELETE));
        let id = pending(&world);
        take_back(wire);
        until("the withdrawal", || {
            let list = world
                .as_person(Person::Rita, &["approvals", "list", "--json"])
                .json();
            list.as_array().unwrap().is_empty().then_some(())
        });
        assert!(!approve(&world, &id), "{what}");
        assert_eq!(carts(&world), "1,2,3", "{what}");
    }
    assert!(!world.postgres.log().contains(DELETE));
}

#[test]
fn an_approval_is_good_for_one_run_of_one_statement_with_its_values() {
    let (world, mut wire) = world_with_writer("");
    wire.ask(&[parse("d", "delete from carts where id = $1"), sync()].concat());
    let run = |id: &str| [bind("", "d", &[id], 0), execute("", 0), sync()].concat();

    wire.send(&run("1"));
    let first = pending(&world);
    let shown = world.as_person(Person::Rita, &["approvals", "show", &first]);
    assert!(shown.ok().contains('1'), "{shown:?}");
    assert!(approve(&world, &first));
    assert_eq!(told(&wire.until_ready(1)), "N 2 C(DELETE 1) Z(I)");

    for id in ["2", "1"] {
        wire.send(&run(id));
        let next = pending(&world);
        assert_ne!(next, first);
        assert!(!approve(&world, &first), "used up");
        world
            .as_person(
                Person::Rita,
                &["approvals", "deny", &next, "--comment", "no"],
            )
            .ok();
        assert_eq!(told(&wire.until_ready(1)), "N E(42501) Z(I)");
    }
    assert_eq!(carts(&world), "2,3");
}

#[test]
fn agents_approve_nothing() {
    let (world, mut wire) = world_with_writer("");
    wire.send(&query(DELETE));
    let id = pending(&world);
    for agent in Agent::ALL {
        let mut command = world.gateway.command(&["approvals", "approve", &id]);
        command
            .env("GATEWAY_URL", world.gateway.admin_url())
            .env("GATEWAY_CA", world.path("ca.pem"))
            .env("GATEWAY_TOKEN", world.issuer.token(agent));
        assert_ne!(crate::support::run(&mut command).code, Some(0), "{agent:?}");
    }
    assert_eq!(carts(&world), "1,2,3");
}

#[test]
fn nothing_behind_a_held_statement_runs_before_it() {
    let (world, mut wire) = world_with_writer("");
    wire.send(&[query(DELETE), query("select 4711")].concat());
    let id = pending(&world);
    std::thread::sleep(Duration::from_millis(200));
    let log = world.postgres.log();
    assert!(!log.contains("4711") && !log.contains(DELETE));
    assert!(approve(&world, &id));
    let words = told(&wire.until_ready(2));
    assert_eq!(words, "N C(DELETE 1) Z(I) T D(4711) C(SELECT 1) Z(I)");
}

#[test]
fn a_policy_that_came_while_a_statement_was_held_has_the_last_word() {
    let (world, mut wire) = world_with_writer("");
    wire.send(&query(DELETE));
    let id = pending(&world);
    let more = world.gateway.policy().join("freeze.cedar");
    std::fs::write(
        more,
        "@id(\"freeze\")\nforbid (principal, action == Action::\"sql.delete\", resource);\n",
    )
    .unwrap();
    until("the new policy", || {
        world.gateway.log().contains("policy").then_some(())
    });
    std::thread::sleep(Duration::from_secs(3));
    approve(&world, &id);
    assert_eq!(told(&wire.until_ready(1)), "N E(42501) Z(I)");
    assert_eq!(carts(&world), "1,2,3");
}

#[test]
fn a_hold_ends_with_the_agent_s_token() {
    let (world, _wire) = world_with_writer("");
    let soon = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
        + 4;
    let order = json!({ "app": Agent::Writer.client_id(), "claims": { "exp": soon } });
    let mut wire = world.try_wire(&world.issuer.forge(&order), &[]).unwrap();
    wire.patience(Duration::from_secs(15));
    wire.send(&query(DELETE));
    let id = pending(&world);
    assert_eq!(told(&wire.until_ready(1)), "N E(28000) EOF");
    assert!(!approve(&world, &id));
    assert_eq!(carts(&world), "1,2,3");
}

#[test]
fn a_held_statement_keeps_its_place_in_a_transaction() {
    let (world, mut wire) = world_with_writer("");
    wire.query("begin");
    wire.query("insert into carts values (9, 1)");
    wire.send(&query(DELETE));
    let id = pending(&world);
    world
        .as_person(Person::Rita, &["approvals", "deny", &id, "--comment", "no"])
        .ok();
    assert_eq!(told(&wire.until_ready(1)), "N E(42501) Z(E)");
    assert_eq!(told(&wire.query("commit")), "C(ROLLBACK) Z(I)");
    assert_eq!(carts(&world), "1,2,3");
}
