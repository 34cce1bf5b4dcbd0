//! Who may come in, and for how long.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::world_with_writer;
use crate::support::{
    Agent, LOGIN_CLIENT, Person, World,
    wire::{PROTOCOL_3_0, Wire, told},
};

#[test]
fn tokens_that_prove_nothing_open_nothing() {
    let world = World::start();
    let app = Agent::Reader.client_id();
    let now = now_s();
    let orders = [
        (
            "expired",
            json!({ "app": app, "claims": { "exp": now - 3600, "nbf": now - 7200 } }),
        ),
        (
            "not yet valid",
            json!({ "app": app, "claims": { "nbf": now + 3600 } }),
        ),
        (
            "another audience",
            json!({ "app": app, "claims": { "aud": "api://somebody-else" } }),
        ),
        (
            "another tenant",
            json!({ "app": app, "claims": { "tid": "99999999-2222-4333-8444-555555555555" } }),
        ),
        (
            "another issuer",
            json!({ "app": app, "claims": { "iss": "https://sts.example.org/" } }),
        ),
        (
            "no expiry",
            json!({ "app": app, "claims": { "exp": null } }),
        ),
        (
            "no object id",
            json!({ "app": app, "claims": { "oid": null } }),
        ),
        (
            "version 1",
            json!({ "app": app, "claims": { "ver": "1.0" } }),
        ),
        ("unsigned", json!({ "app": app, "signature": "none" })),
        (
            "algorithm none",
            json!({ "app": app, "header": { "alg": "none" } }),
        ),
        (
            "signed with the public key as a secret",
            json!({ "app": app, "signature": "hs256_public_key" }),
        ),
        (
            "a header that lies about the algorithm",
            json!({ "app": app, "header": { "alg": "HS256" } }),
        ),
        (
            "signed with another key",
            json!({ "app": app, "signature": "other_key" }),
        ),
        (
            "signed, and changed",
            json!({ "app": app, "signature": "broken" }),
        ),
        (
            "unknown key",
            json!({ "app": app, "header": { "kid": "nobody" } }),
        ),
        (
            "a person's",
            json!({ "app": LOGIN_CLIENT, "user": Person::Rita.username() }),
        ),
    ];
    let mut let_in = Vec::new();
    for (what, order) in orders {
        let token = world.issuer.forge(&order);
        if world.try_wire(&token, &[]).is_ok() {
            let_in.push(what);
        }
    }
    assert!(let_in.is_empty(), "{let_in:?}");

    let good = world.issuer.token(Agent::Reader);
    let (head, signature) = good.rsplit_once('.').unwrap();
    let (cut, _) = good.split_at(good.len() - 4);
    for bad in [
        cut,
        "",
        "x",
        "..",
        &format!("{head}."),
        &format!("{head}.{signature}."),
        &"a".repeat(200_000),
    ] {
        assert!(world.try_wire(bad, &[]).is_err(), "{bad:.40}");
    }
    assert!(world.try_wire(&good, &[]).is_ok());
}

#[test]
fn startup_parameters_can_t_change_what_statements_mean() {
    let world = World::start();
    let token = world.issuer.token(Agent::Reader);
    for parameter in [
        ("replication", "database"),
        ("replication", "1"),
        ("options", "-c standard_conforming_strings=off"),
        ("options", "-c role=postgres"),
        ("options", "--search_path=evil"),
        ("client_encoding", "SJIS"),
        ("standard_conforming_strings", "off"),
        ("search_path", "evil"),
        ("role", "postgres"),
        ("session_authorization", "postgres"),
        ("user", "postgres"),
        ("database", "postgres"),
    ] {
        let refused = world.try_wire(&token, &[parameter]);
        assert!(refused.is_err(), "{parameter:?}");
    }
    for harmless in [
        ("replication", "off"),
        ("application_name", "x'; drop table carts --"),
        ("_pq_.x", "1"),
    ] {
        let mut wire = world
            .try_wire(&token, &[harmless])
            .map_err(|e| format!("{harmless:?}: {e}"))
            .unwrap();
        assert_eq!(
            told(&wire.query("show standard_conforming_strings")),
            "T D(on) C(SHOW) Z(I)"
        );
    }
    let parameters = [("user", "agent"), ("database", "shop")];
    for (version, key) in [
        (PROTOCOL_3_0, 8),
        (PROTOCOL_3_0 + 2, 36),
        (PROTOCOL_3_0 + 9999, 36),
    ] {
        let wire = Wire::connect(world.gateway.place(), version, &parameters, &token).unwrap();
        assert_eq!(wire.cancel_key().len(), key, "{version}");
    }
    assert!(Wire::connect(world.gateway.place(), 2 << 16, &parameters, &token).is_err());
}

#[test]
fn a_session_ends_with_its_token() {
    let (world, _wire) = world_with_writer("");
    let token = world.issuer.forge(&json!({
        "app": Agent::Writer.client_id(),
        "claims": { "exp": now_s() + 4 },
    }));
    let mut wire = world.try_wire(&token, &[]).unwrap();
    assert_eq!(told(&wire.query("select 1")), "T D(1) C(SELECT 1) Z(I)");
    wire.patience(Duration::from_secs(15));
    assert_eq!(told(&wire.until_ready(1)), "E(28000) EOF");
}

fn now_s() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}
