//! What works where classified values are withheld.

use super::{VALUES, guaranteed_world, tells};
use crate::support::Agent;

#[test]
fn what_isnt_classified_is_there_and_what_is_comes_masked() {
    let world = guaranteed_world();
    for (sql, answer) in [
        (
            "select id, name, city from customers order by 1 limit 2",
            "1|Ada Berg|Lund\n2|Bo Falk|Ystad",
        ),
        ("select count(*) from customers", "3"),
        (
            "select c.name, sum(o.total) from customers c join orders o on o.customer_id = c.id group by 1 order by 1",
            "Ada Berg|16.50\nBo Falk|4.50",
        ),
        (
            "select upper(city) || '!' from customers where id = 1",
            "LUND!",
        ),
        ("select \"odd \"\"name\" from visits where id = 1", "x"),
        (
            "select row_to_json(p) from products p where id = 1",
            r#"{"id":1,"sku":"TEA","title":"Tea","price":4.50}"#,
        ),
        (
            "select id, email, phone, national_id, date_of_birth from gateway_masked.customers order by 1",
            "1|****@example.org|****4567|[redacted]|1980-01-01\n2|****@example.net|****4321|[redacted]|1975-01-01\n3|****@example.com|||",
        ),
        (
            "select upper(email) from gateway_masked.customers where id = 1",
            "****@EXAMPLE.ORG",
        ),
        (
            "select shouted is null from gateway_masked.customers where id = 1",
            "t",
        ),
        (
            "select mail, note from gateway_masked.referring",
            "****@example.org|asked twice",
        ),
        // Equal values have equal tokens, across tables.
        (
            "select c.id, v.id from gateway_masked.customers c join gateway_masked.visits v using (loyalty)",
            "1|1",
        ),
        (
            "select count(*) from gateway_masked.visits where loyalty ~ '^loyalty-[0-9a-f]{16}$'",
            "2",
        ),
        (
            "copy (select id, city from customers order by 1) to stdout",
            "1\tLund\n2\tYstad\n3\tLund",
        ),
        (
            "copy (select id from gateway_masked.visits order by 1) to stdout",
            "1\n2",
        ),
        (
            "with x as (select id from customers) select max(id) from x",
            "3",
        ),
    ] {
        assert_eq!(world.psql(Agent::Reader, sql).ok(), answer, "{sql}");
    }
}

#[test]
fn clients_describe_tables_and_writers_write() {
    let world = guaranteed_world();
    for command in [
        "\\d",
        "\\d customers",
        "\\d+ customers",
        "\\dt",
        "\\dv",
        "\\d customers_mail",
        "\\df",
        "\\dn+",
        "\\du",
        "\\dp",
        "\\l",
        "\\d+ gateway_masked.customers",
    ] {
        let reply = world.psql(Agent::Reader, command);
        assert!(!reply.stdout.is_empty(), "{command}: {reply:?}");
        assert!(
            !reply.stderr.contains("ERROR") && !tells(&reply.stdout),
            "{command}: {reply:?}"
        );
    }
    let writes = "insert into carts (id, customer_id) values (9, 1) returning id; \
                  update orders set status = 'sent' where id = 2";
    world.psql(Agent::Writer, writes).ok();
    assert_eq!(
        world
            .postgres
            .psql("select status from orders where id = 2"),
        "sent"
    );
}

#[test]
fn the_mode_is_on_the_record() {
    let mut world = guaranteed_world();
    world.psql(Agent::Reader, "select 1").ok();
    let secret = "select id from customers where email = 'mallory@example.org'";
    let refused = world.psql(Agent::Reader, secret);
    assert!(refused.err().contains("42501"), "{refused:?}");
    assert_eq!(world.gateway.stop(), Some(0), "{}", world.gateway.log());
    let package = world.path("evidence.zip");
    let file = package.display().to_string();
    world.gateway.cli(&["evidence", "export", "-o", &file]).ok();
    // Its files are stored, not compressed.
    let package = std::fs::read(&package).unwrap();
    let package = String::from_utf8_lossy(&package);
    assert!(package.contains("guaranteed"));
    assert!(
        !package.contains("mallory@"),
        "what an agent says of classified values is tokenised"
    );
    assert!(VALUES.iter().all(|value| !package.contains(value)));
}
