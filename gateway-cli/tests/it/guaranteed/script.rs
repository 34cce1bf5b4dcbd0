//! The script that `gateway target provision` writes.

use super::{ROLE, guaranteed_world, provision, shared_world};
use crate::support::Agent;

#[test]
fn the_script_is_deterministic_and_holds_no_secret() {
    let world = shared_world();
    let first = std::fs::read_to_string(provision(&world, &[])).unwrap();
    let second = std::fs::read_to_string(provision(&world, &[])).unwrap();
    assert_eq!(first, second);
    for (has, what) in [
        (
            true,
            "GRANT SELECT (\"id\", \"name\", \"city\", \"created_at\") ON \"public\".\"customers\" TO \"gateway_agents\";",
        ),
        (
            true,
            "GRANT SELECT (\"id\", \"odd \"\"name\") ON \"public\".\"visits\" TO \"gateway_agents\";",
        ),
        (
            true,
            "GRANT SELECT ON \"public\".\"orders\" TO \"gateway_agents\";",
        ),
        (
            true,
            "-- REVOKE EXECUTE ON ROUTINE public.get_email(integer) FROM PUBLIC;",
        ),
        (true, "-- REVOKE TEMPORARY ON DATABASE shop FROM PUBLIC;"),
        (
            true,
            "GRANT EXECUTE ON ROUTINE public.own_email(integer) TO",
        ),
        (true, "-- GRANT UPDATE ON \"public\".\"products\""),
        (false, "\nREVOKE EXECUTE"),
        (false, "PASSWORD '"),
        (
            false,
            "SELECT ON \"public\".\"customers_mail\" TO \"gateway_agents\"",
        ),
        (false, "SELECT ON \"public\".\"filled\""),
        (false, "ada@"),
    ] {
        assert_eq!(first.contains(what), has, "{what}\n{first}");
    }
}

#[test]
fn the_script_can_be_run_again_and_leaves_the_proof_intact() {
    let world = guaranteed_world();
    let key = || {
        world
            .postgres
            .psql("select encode(inner_key, 'hex') from gateway_masked.key")
    };
    let view = || {
        world
            .postgres
            .psql("select 'gateway_masked.customers'::regclass::oid")
    };
    let before = (key(), view());
    assert_eq!(
        world.postgres.psql_file(&world.path("provision.sql")).ok(),
        ""
    );
    assert_eq!(
        (key(), view()),
        before,
        "what is as it should be stays as it is"
    );
    world.gateway.cli(&["check"]).ok();

    // Written anew for the narrowed role itself, it narrows nothing more.
    let path = world.path("again.sql");
    let file = path.display().to_string();
    world
        .gateway
        .cli(&["target", "provision", "shop", "-o", &file])
        .ok();
    let again = std::fs::read_to_string(&path).unwrap();
    assert!(
        again.contains(&format!("Makes the role \"{ROLE}\"")),
        "{again}"
    );
    assert_eq!(world.postgres.psql_file(&path).ok(), "");
    world.gateway.cli(&["check"]).ok();
    let masked = world.psql(
        Agent::Reader,
        "select email from gateway_masked.customers where id = 1",
    );
    assert_eq!(masked.ok(), "****@example.org");
}

#[test]
fn what_everybody_may_do_stops_the_proof_until_it_is_revoked() {
    let world = guaranteed_world();
    world
        .postgres
        .psql("grant temporary on database shop to public");
    let report = world.gateway.cli(&["check"]);
    assert_eq!(report.code, Some(1));
    assert!(
        report.stderr.contains("TEMPORARY on database shop"),
        "{report:?}"
    );
}
