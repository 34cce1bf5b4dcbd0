//! What a rewritten text's columns are by the agent's own.

use super::*;
use crate::sql::outputs::{outputs, type_modifier};

/// Text, and its result's columns: `table.column`, or `-` where they are computed.
const OUTPUTS: &[(&str, &str)] = &[
    (
        "select id, email, lower(name) from customers c join orders o using (id)",
        "- customers.email -",
    ),
    (
        "select email, count(*), max(id) from customers group by email",
        "customers.email - -",
    ),
    (
        "select c.email e, o.* from customers c, orders o",
        "customers.email orders.id orders.customer_id orders.total orders.status orders.note",
    ),
    (
        "select * from customers c, products p",
        "customers.id customers.name customers.email customers.phone customers.ssn products.id products.name products.price",
    ),
    (
        "select p.*, email from customers c, products p",
        "products.id products.name products.price customers.email",
    ),
    (
        "select id, email from customers, orders",
        "- customers.email",
    ),
    (
        "select x from (select email as x, 1 as y from customers) s",
        "customers.email",
    ),
    (
        "select * from (select email, 1 as y from customers) s (a)",
        "customers.email -",
    ),
    (
        "select a from (select email, 1 as y from customers) s (a)",
        "customers.email",
    ),
    (
        "with c as (select email from customers) select email, c.email, c from c",
        "customers.email customers.email -",
    ),
    (
        "with c (e) as (select email from customers) select e from c",
        "customers.email",
    ),
    (
        "with recursive c as (select email from customers) select email from c",
        "-",
    ),
    ("select email from customers union select 'x'", "-"),
    (
        "select distinct email from customers order by 1",
        "customers.email",
    ),
    (
        "select email::text, (email), c.id from customers c (a, b)",
        "- customers.email -",
    ),
    (
        "select a, b, email from customers c (a, b)",
        "customers.id customers.name customers.email",
    ),
    ("select (select email from customers limit 1)", "-"),
    (
        "insert into customers (id) values (1) returning id, email as e, *",
        "customers.id customers.email customers.id customers.name customers.email customers.phone customers.ssn",
    ),
    (
        "update customers set name = 'x' from orders o where o.id = 1 returning o.id, email",
        "orders.id customers.email",
    ),
    (
        "delete from customers where id = 1 returning *",
        "customers.id customers.name customers.email customers.phone customers.ssn",
    ),
];

#[test]
fn columns_keep_their_origin_where_the_server_would_tell_it() {
    let snapshot = shop();
    let name = |id: ColumnId| {
        let relation = snapshot.relation_by_id(id.relation).unwrap();
        let column = relation
            .columns
            .iter()
            .find(|c| c.number == id.number)
            .unwrap();
        format!("{}.{}", relation.name, column.name)
    };
    for (text, expected) in OUTPUTS {
        let parsed = parse(text).unwrap();
        let (node, _) = parsed.statements().next().unwrap();
        let found: Vec<String> = outputs(node.unwrap(), &snapshot)
            .into_iter()
            .map(|output| output.map_or("-".to_owned(), |output| name(output.id)))
            .collect();
        assert_eq!(found.join(" "), *expected, "{text}");
    }
}

#[test]
fn type_modifiers_are_the_servers_own() {
    // `select typname, atttypmod` of such columns says so.
    let cases = [
        ("character varying(30)", Some(34)),
        ("character varying", Some(-1)),
        ("character varying(30)[]", Some(34)),
        ("character(11)", Some(15)),
        ("numeric(10,2)", Some(655_366)),
        ("numeric", Some(-1)),
        ("timestamp(3) with time zone", Some(3)),
        ("bit(8)", Some(8)),
        ("text", Some(-1)),
        ("public.nickname", None),
        ("interval(3)", None),
    ];
    for (name, expected) in cases {
        assert_eq!(type_modifier(name), expected, "{name}");
    }
}
