//! Each condition, broken one at a time.

use serde_json::Value;

use super::{ROLE, guaranteed_world};
use crate::support::{Agent, World, until};

/// What breaks a clause, the clause, the object it names, and what mends it.
const BROKEN: &[(&str, &str, &str, &str)] = &[
    (
        "grant select (email) on customers to gateway_agents",
        "columns",
        "public.customers.email",
        "revoke select (email) on customers from gateway_agents",
    ),
    (
        "grant select on customers_mail to gateway_agents",
        "columns",
        "public.customers_mail.address",
        "revoke select on customers_mail from gateway_agents",
    ),
    (
        "grant select on referring to public",
        "columns",
        "public.referring.mail",
        "revoke select on referring from public",
    ),
    (
        "grant select (shouted) on vip to gateway_agents",
        "columns",
        "public.vip.shouted",
        "revoke select (shouted) on vip from gateway_agents",
    ),
    (
        "grant gateway to gateway_agents",
        "columns",
        "public.customers.phone",
        "revoke gateway from gateway_agents",
    ),
    (
        "grant pg_read_all_data to gateway_agents",
        "memberships",
        "pg_read_all_data",
        "revoke pg_read_all_data from gateway_agents",
    ),
    (
        "alter role gateway_agents createdb",
        "attributes",
        "gateway_agents has CREATEDB",
        "alter role gateway_agents nocreatedb",
    ),
    (
        "alter role gateway_agents bypassrls",
        "attributes",
        "gateway_agents has BYPASSRLS",
        "alter role gateway_agents nobypassrls",
    ),
    (
        "alter table carts owner to gateway_agents",
        "ownership",
        "table public.carts",
        "alter table carts owner to postgres; grant select on carts to gateway_agents",
    ),
    (
        "grant select on pg_statistic to gateway_agents",
        "system",
        "pg_statistic",
        "revoke select on pg_statistic from gateway_agents",
    ),
    (
        "grant execute on function get_email(int) to gateway_agents",
        "functions",
        "public.get_email(integer) runs with the rights of postgres",
        "revoke execute on function get_email(int) from gateway_agents",
    ),
    (
        "grant execute on function pg_read_file(text) to gateway_agents",
        "functions",
        "pg_read_file(text)",
        "revoke execute on function pg_read_file(text) from gateway_agents",
    ),
    (
        "create function peek(text, text) returns text language sql security definer as 'select max(email) from customers'; \
      create aggregate peeks(text) (sfunc = peek, stype = text); revoke execute on function peek(text, text) from public",
        "functions",
        "public.peeks(text) is an aggregate over",
        "drop aggregate peeks(text); drop function peek(text, text)",
    ),
    (
        "create trigger t before update on orders for each row execute function log_it()",
        "code",
        "trigger t of public.orders calls public.log_it()",
        "drop trigger t on orders",
    ),
    (
        "create trigger t after delete on order_items for each row execute function note_it(); \
      alter table order_items drop constraint order_items_order_id_fkey, add foreign key (order_id) references orders on delete cascade",
        "code",
        "trigger t of public.order_items",
        "drop trigger t on order_items",
    ),
    (
        "create trigger t before update on customers for each row execute function note_it()",
        "code",
        "trigger t of public.customers",
        "drop trigger t on customers",
    ),
    (
        "create rule r as on insert to orders do also select email from customers",
        "code",
        "rule r of public.orders",
        "drop rule r on orders",
    ),
    (
        "create policy p on customers using (shout(email) = 'x')",
        "code",
        "policy p on table public.customers calls function public.shout(text)",
        "drop policy p on customers",
    ),
    (
        "grant select on filled to gateway_agents",
        "copies",
        "public.filled",
        "revoke select on filled from gateway_agents",
    ),
    (
        "create foreign data wrapper w; grant usage on foreign data wrapper w to gateway_agents",
        "foreign",
        "foreign-data wrapper w",
        "drop foreign data wrapper w cascade",
    ),
    (
        "grant create on schema public to public",
        "creation",
        "CREATE on schema public",
        "revoke create on schema public from public",
    ),
    (
        "grant trigger on orders to gateway_agents",
        "creation",
        "TRIGGER on public.orders",
        "revoke trigger on orders from gateway_agents",
    ),
    (
        "alter role gateway_agents set track_activities = on",
        "settings",
        "track_activities is on",
        "alter role gateway_agents set track_activities = off",
    ),
    (
        "grant set on parameter lo_compat_privileges to gateway_agents",
        "settings",
        "SET on parameter lo_compat_privileges",
        "revoke set on parameter lo_compat_privileges from gateway_agents",
    ),
    (
        "grant insert on gateway_masked.customers to gateway_agents",
        "views",
        "customers can be written to",
        "revoke insert on gateway_masked.customers from gateway_agents",
    ),
    (
        "grant select on gateway_masked.key to gateway_agents",
        "views",
        "key is no security barrier",
        "revoke select on gateway_masked.key from gateway_agents",
    ),
    (
        "grant gateway to gateway_agents; alter role gateway_agents set role = gateway",
        "login",
        "gateway_agents becomes gateway",
        "revoke gateway from gateway_agents; alter role gateway_agents reset role",
    ),
    // Comes last: only provisioning mends it.
    (
        "create or replace view gateway_masked.visits with (security_barrier = true) as \
      select id, loyalty, \"odd \"\"name\" from visits",
        "views",
        "visits isn't as",
        "",
    ),
];

fn clauses(world: &World) -> Vec<(String, Vec<String>)> {
    let report = world.gateway.cli(&["check", "--json"]).json();
    let clauses = report["targets"][0]["resolved"]["clauses"].as_array();
    let clauses = clauses.unwrap_or_else(|| panic!("{report:#}"));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    clauses
        .iter()
        .filter(|clause| clause["holds"] == false)
        .map(|clause| {
            let found = clause["found"].as_array().unwrap().iter().map(text);
            (text(&clause["clause"]), found.collect())
        })
        .collect()
}

#[test]
fn each_broken_condition_is_named_with_its_object() {
    let world = guaranteed_world();
    let report = world.gateway.cli(&["check", "--json"]).json();
    assert_eq!(report["ok"], true, "{report:#}");
    assert_eq!(report["targets"][0]["masking"], "guaranteed");
    assert_eq!(
        report["targets"][0]["resolved"]["clauses"]
            .as_array()
            .unwrap()
            .len(),
        13
    );
    let mut wrong = Vec::new();
    for (broken, clause, object, mended) in BROKEN {
        world.postgres.psql(broken);
        let failing = clauses(&world);
        let named = failing
            .iter()
            .any(|(name, found)| name == clause && found.iter().any(|f| f.contains(object)));
        if !named {
            wrong.push(format!("{broken}: {failing:?}"));
        }
        if !mended.is_empty() {
            world.postgres.psql(mended);
            let failing = clauses(&world);
            if !failing.is_empty() {
                wrong.push(format!("{mended}: {failing:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_right_that_is_granted_meanwhile_ends_sessions_and_refuses_new_ones() {
    let world = guaranteed_world();
    let mut wire = world.wire(Agent::Reader);
    assert!(!wire.query("select id from customers").is_empty());
    world
        .postgres
        .psql(&format!("grant select (email) on customers to {ROLE}"));
    let refused = until("the refusal", || {
        let reply = world.psql(Agent::Reader, "select 1");
        (reply.code != Some(0)).then_some(reply)
    });
    assert!(
        refused.stderr.contains("isn't proven to withhold")
            && refused
                .stderr
                .contains("clause `columns` fails: public.customers.email"),
        "{refused:?}"
    );
    until("the session's end", || {
        let told = crate::support::wire::told(&wire.query("select 1"));
        (told.contains("EOF") || told.contains("E(")).then_some(())
    });
    world
        .postgres
        .psql(&format!("revoke select (email) on customers from {ROLE}"));
    until("the proof", || {
        (world.psql(Agent::Reader, "select 1").code == Some(0)).then_some(())
    });
}

#[test]
fn what_is_classified_later_must_be_withheld_first() {
    let world = guaranteed_world();
    let path = world.gateway.policy().join("classification.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let more = "\n[[column]]\ntarget = \"shop\"\nname = [\"public\", \"customers\", \"city\"]\nclass = \"national_id\"\n";
    std::fs::write(&path, text + more).unwrap();
    let failing = clauses(&world);
    let has = |clause: &str, object: &str| {
        failing
            .iter()
            .any(|(name, found)| name == clause && found.iter().any(|f| f.contains(object)))
    };
    assert!(has("columns", "public.customers.city"), "{failing:?}");
    assert!(has("views", "customers isn't as"), "{failing:?}");
}
