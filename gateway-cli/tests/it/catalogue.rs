//! What a snapshot says about a real database.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::World;

const ODDITIES: &str = r#"
create domain mail as text check (value like '%@%');
create domain work_mail as mail;
create table staff (id int, address work_mail, shouted text generated always as (upper(address::text)) stored);
create view staff_ids as select id from staff;
create view staff_rows as select s, id from staff s;
create view staff_mail as select address as a from staff;
create view counted as select count(*) from staff;
create materialized view staff_copy as select a from staff_mail;
create table parent (k int, secret text) partition by range (k);
create table child partition of parent for values from (0) to (10);
create table referring (mail text references customers (email));
create function spy(text) returns text language sql as 'select $1';
create view spying as select spy(title) from products;
create operator === (leftarg = text, rightarg = text, procedure = texteq);
create table watched (id int);
create function log_it() returns trigger language plpgsql as 'begin return new; end';
create trigger t before insert on watched execute function log_it();
create view watched_view as select * from watched;
create table guarded (id int);
alter table guarded enable row level security;
"#;

struct Snapshot(Value);

impl Snapshot {
    fn relation(&self, name: &str) -> &Value {
        let relations = self.0["relations"].as_array().unwrap();
        relations
            .iter()
            .find(|r| r["schema"] == "public" && r["name"] == name)
            .unwrap_or_else(|| panic!("no relation {name}"))
    }

    /// `table.column` or `table.*` that derive from `table.column` in one step.
    fn derived_from(&self, table: &str, column: &str) -> BTreeSet<String> {
        let relation = self.relation(table);
        let columns = relation["columns"].as_array().unwrap();
        let number = &columns.iter().find(|c| c["name"] == column).unwrap()["number"];
        let derivations = self.0["derivations"].as_array().unwrap();
        derivations
            .iter()
            .filter(|d| {
                d["source"]["relation"] == relation["id"] && d["source"]["number"] == *number
            })
            .map(|d| self.describe(&d["derived"]))
            .collect()
    }

    fn describe(&self, derived: &Value) -> String {
        let by_id = |id: &Value| {
            let relations = self.0["relations"].as_array().unwrap();
            relations.iter().find(|r| r["id"] == *id).unwrap()
        };
        if let Some(id) = derived.get("relation") {
            return format!("{}.*", by_id(id)["name"].as_str().unwrap());
        }
        let column = &derived["column"];
        let relation = by_id(&column["relation"]);
        let columns = relation["columns"].as_array().unwrap();
        let name = &columns
            .iter()
            .find(|c| c["number"] == column["number"])
            .unwrap()["name"];
        format!(
            "{}.{}",
            relation["name"].as_str().unwrap(),
            name.as_str().unwrap()
        )
    }
}

#[test]
fn snapshot_tells_types_derivations_and_hidden_calls() {
    let world = World::start();
    world.postgres.psql(ODDITIES);
    let json = world.gateway.cli(&["policy", "catalogue", "shop"]).json();
    let snapshot = Snapshot(json);

    assert_eq!(
        snapshot.0["search_path"],
        serde_json::json!(["pg_catalog", "public"])
    );
    assert_eq!(snapshot.0["role"]["name"], "gateway");
    assert_eq!(snapshot.0["role"]["superuser"], false);
    assert!(snapshot.0["server_version"].as_u64().unwrap() >= 150_000);

    let address = &snapshot.relation("staff")["columns"][1];
    assert_eq!(address["type_id"], 25, "a domain over a domain over text");
    assert_eq!(address["type_name"], "public.work_mail");

    let set = |items: &[&str]| {
        items
            .iter()
            .map(ToString::to_string)
            .collect::<BTreeSet<_>>()
    };
    // `staff_rows` shows the whole row although it depends on `id` alone; what `counted` shows isn't
    // known, for its tree names no column.
    assert_eq!(
        snapshot.derived_from("staff", "address"),
        set(&["counted.*", "staff.*", "staff_rows.*", "staff_mail.*"])
    );
    assert_eq!(
        snapshot.derived_from("staff", "id"),
        set(&["counted.*", "staff_ids.*", "staff_rows.*"])
    );
    assert_eq!(
        snapshot.derived_from("staff_mail", "a"),
        set(&["staff_copy.*"])
    );
    assert_eq!(
        snapshot.derived_from("parent", "secret"),
        set(&["child.secret"])
    );
    assert_eq!(
        snapshot.derived_from("child", "secret"),
        set(&["parent.secret"])
    );
    assert_eq!(
        snapshot.derived_from("customers", "email"),
        set(&["referring.mail"])
    );
    assert_eq!(
        snapshot.derived_from("referring", "mail"),
        set(&["customers.email"])
    );

    for (name, hidden) in [
        ("customers", false),
        ("products", false),
        ("staff_ids", false),
        ("spying", true),
        ("watched", true),
        ("watched_view", true),
        ("guarded", true),
    ] {
        assert_eq!(
            snapshot.relation(name)["has_hidden_calls"],
            hidden,
            "{name}"
        );
    }
    let functions = snapshot.0["functions"].as_array().unwrap();
    assert!(
        functions
            .iter()
            .any(|f| f["name"] == "spy" && f["arguments"] == "text")
    );
    assert_eq!(
        snapshot.0["operators"],
        serde_json::json!([{ "schema": "public", "name": "===" }])
    );
    let relations = snapshot.0["relations"].as_array().unwrap();
    assert!(
        relations
            .iter()
            .any(|r| r["schema"] == "pg_catalog" && r["name"] == "pg_class")
    );
}

#[test]
fn a_table_created_meanwhile_can_be_read() {
    let world = World::start();
    let agent = crate::support::Agent::Reader;
    world.psql(agent, "select 1 from products").ok();
    world
        .postgres
        .psql("create table fresh as select 7 as n; grant select on fresh to gateway");
    std::thread::sleep(std::time::Duration::from_millis(1100));
    assert_eq!(world.psql(agent, "select n from fresh").ok(), "7");
}
