//! What an agent may say in SQL to get at a classified value.

use super::{LEAKS, SHOP, leaks, world_with_writer};
use crate::support::{
    Agent,
    wire::{bind, execute, parse, sync, told},
};

const STATEMENTS: &str = include_str!("statements.txt");

/// One line of the table: what must become of it, whether it tells on a direct connection, its text.
fn attacks() -> impl Iterator<Item = (&'static str, bool, &'static str)> {
    let lines = STATEMENTS.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| {
        let (word, sql) = line.split_once(' ').unwrap();
        (word.trim_end_matches('!'), word.ends_with('!'), sql)
    })
}

#[test]
fn no_statement_tells_a_classified_value() {
    let (world, mut wire) = world_with_writer(SHOP);
    let mut wrong = Vec::new();
    for (expected, _, sql) in attacks() {
        let simple = wire.query(sql);
        let extended = [parse("", sql), bind("", "", &[], 1), execute("", 0), sync()].concat();
        let several = sql.contains("; ") && !sql.contains("$$");
        let extended = if several {
            Vec::new()
        } else {
            wire.ask(&extended)
        };
        for replies in [&simple, &extended] {
            let words = told(replies);
            // What the target couldn't run either is refused in its own words.
            let refused = ["42501", "42601", "42P01"]
                .iter()
                .any(|code| words.contains(&format!("E({code})")));
            let as_expected = match expected {
                "masked" => words.contains("C(SELECT") && !refused,
                "refused" => refused && !words.contains("D("),
                _ => words.ends_with("Z(I)"),
            };
            let skipped = several && replies.is_empty();
            if leaks(replies) || !(as_expected || skipped) || words.contains("EOF") {
                wrong.push(format!("{expected}: {sql}\n    {words}"));
            }
        }
        assert!(!told(&simple).contains("EOF"), "{sql}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    drop(world);
}

#[test]
fn the_same_statements_tell_classified_values_on_a_direct_connection() {
    let (world, _wire) = world_with_writer(SHOP);
    let silent: Vec<&str> = attacks()
        .filter(|(_, tells, _)| *tells)
        .map(|(_, _, sql)| sql)
        .filter(|sql| {
            let rows = world.postgres.psql(sql);
            !LEAKS.iter().any(|value| rows.contains(value))
        })
        .collect();
    assert!(silent.is_empty(), "{silent:#?}");
}

#[test]
fn privileged_agents_see_what_others_are_refused() {
    let (world, _wire) = world_with_writer(SHOP);
    for sql in [
        "select email from customers where id = 1",
        "select reverse(reverse(email)) from customers where id = 1",
        "select to_jsonb(c) ->> 'email' from customers c where id = 1",
    ] {
        assert_eq!(
            world.psql(Agent::Privileged, sql).ok(),
            "ada@example.org",
            "{sql}"
        );
    }
}
