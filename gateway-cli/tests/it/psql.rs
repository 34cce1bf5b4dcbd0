//! An agent's psql through the gateway.

use serde_json::json;

use crate::support::{Agent, World};

#[test]
fn psql_reads_with_masks_and_is_refused_what_policy_forbids() {
    let world = World::start();
    assert_eq!(
        world
            .psql(Agent::Reader, "select title from products order by id")
            .ok(),
        "Tea\nMug"
    );

    let masked = world.psql(
        Agent::Reader,
        "select email, phone, national_id, date_of_birth from customers where id = 1",
    );
    let row = masked.ok();
    for clear in ["ada@", "1234567", "19800101", "1980-01-02"] {
        assert!(!row.contains(clear), "{row}");
    }
    assert!(
        row.contains("@example.org") && row.contains("1980-01-01"),
        "{row}"
    );

    let clear = world.psql(
        Agent::Privileged,
        "select email from customers where id = 1",
    );
    assert_eq!(clear.ok(), "ada@example.org");

    let computed = world.psql(
        Agent::Reader,
        "select upper(c.email), count(*) from customers c join products p on true group by 1",
    );
    let rows = computed.ok();
    assert!(rows.contains("****@EXAMPLE.ORG"), "{rows}");
    assert!(!rows.contains("ADA"), "{rows}");

    let trick = world.psql(
        Agent::Reader,
        "select id from customers where lower(email) like 'ada%'",
    );
    assert!(trick.err().contains("email"), "{trick:?}");
    assert!(!world.postgres.log().contains("like 'ada%'"));

    let drop = world.psql(Agent::Reader, "drop table carts");
    assert!(drop.err().contains("42501"), "{drop:?}");
    assert!(!world.postgres.log().contains("drop table carts"));

    let write = world.psql(Agent::Reader, "insert into carts values (9, 1)");
    assert!(write.err().contains("42501"), "{write:?}");
    assert_eq!(
        world
            .psql(Agent::Writer, "insert into carts values (9, 1)")
            .ok(),
        "INSERT 0 1"
    );
}

#[test]
fn a_session_goes_on_after_a_denial() {
    let world = World::start();
    let reply = world.psql_args(
        Agent::Reader,
        &[
            "-c",
            "select 1",
            "-c",
            "drop table carts",
            "-c",
            "select 2",
            "-c",
            "select 3",
        ],
    );
    assert_eq!(reply.stdout.trim(), "1\n2\n3", "{reply:?}");
}

#[test]
fn a_denied_statement_aborts_its_transaction_as_a_failed_one_would() {
    let world = World::start();
    let reply = world.psql_args(
        Agent::Writer,
        &[
            "-c",
            "begin",
            "-c",
            "insert into carts values (10, 1)",
            "-c",
            "drop table carts",
            "-c",
            "select 1",
            "-c",
            "commit",
        ],
    );
    assert!(reply.stderr.contains("25P02"), "{reply:?}");
    assert!(reply.stdout.contains("ROLLBACK"), "{reply:?}");
    assert_eq!(
        world
            .postgres
            .psql("select count(*) from carts where id = 10"),
        "0"
    );
}

#[test]
fn tokens_that_prove_nothing_are_refused() {
    let world = World::start();
    for (what, order) in [
        ("expired", json!({ "claims": { "exp": 1_000_000_000 } })),
        ("audience", json!({ "claims": { "aud": "somebody-else" } })),
        (
            "tenant",
            json!({ "claims": { "tid": "99999999-2222-4333-8444-555555555555" } }),
        ),
        (
            "algorithm",
            json!({ "header": { "alg": "none" }, "signature": "none" }),
        ),
    ] {
        let reply = world.psql_with(
            &world.issuer.forge(&order),
            "shop",
            &["-c", "select 'unproven'"],
        );
        assert!(reply.err().contains(what), "{what}: {reply:?}");
    }
    for nonsense in ["", "secret", "a.b.c"] {
        let reply = world.psql_with(nonsense, "shop", &["-w", "-c", "select 'unproven'"]);
        assert_ne!(reply.code, Some(0), "{nonsense:?}: {reply:?}");
    }
    assert!(
        !world.postgres.log().contains("unproven"),
        "nothing reached the target"
    );
}

#[test]
fn agents_that_nobody_listed_and_targets_that_do_not_exist_are_refused() {
    let world = World::start();
    let reply = world.psql(Agent::Unlisted, "select 1");
    assert!(reply.err().contains("agents.toml"), "{reply:?}");
    let token = world.issuer.token(Agent::Reader);
    for database in ["warehouse", "shop:nowhere", "a:b:c", "x"] {
        let reply = world.psql_with(&token, database, &["-c", "select 1"]);
        assert_ne!(reply.code, Some(0), "{database}: {reply:?}");
    }
    let reply = world.psql_with(&token, "shop:shop", &["-c", "select current_database()"]);
    assert_eq!(reply.ok(), "shop");
}

#[test]
fn psql_describes_a_classified_target() {
    let world = World::start();
    for command in [
        "\\d",
        "\\dt",
        "\\d customers",
        "\\dn",
        "\\du",
        "\\l",
        "\\df",
    ] {
        let reply = world.psql(Agent::Reader, command);
        assert_eq!(
            (reply.code, reply.stderr.as_str()),
            (Some(0), ""),
            "{command}: {reply:#?}"
        );
    }
    assert!(
        world
            .psql(Agent::Reader, "\\d customers")
            .ok()
            .contains("national_id")
    );
}

#[test]
fn keys_rotate_under_a_running_gateway() {
    let world = World::start();
    assert_eq!(world.psql(Agent::Reader, "select 1").ok(), "1");
    world.issuer.rotate(true);
    assert_eq!(world.psql(Agent::Reader, "select 2").ok(), "2");
}
