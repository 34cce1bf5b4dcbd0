//! What an agent may try where classified values are withheld: nothing tells one, through the
//! gateway or with the provisioned role on a connection of its own.

use std::path::PathBuf;

use super::{direct, guaranteed_world, tells};
use crate::support::{Agent, World};

const ATTACKS: &str = include_str!("attacks.sql");

fn attacks() -> impl Iterator<Item = &'static str> {
    ATTACKS
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with("--"))
}

/// A file with the attacks, each in a line of its own behind its number.
fn file<'a>(world: &World, attacks: impl Iterator<Item = &'a str>) -> PathBuf {
    let lines = attacks.enumerate();
    let lines = lines.map(|(number, sql)| format!("\\echo @{number}@\n{sql};\nrollback;\n"));
    let path = world.path("attacks.sql");
    std::fs::write(&path, lines.collect::<String>()).unwrap();
    path
}

#[test]
fn nothing_tells_a_classified_value() {
    let world = guaranteed_world();
    let path = file(&world, attacks());
    let name = path.display().to_string();
    for reply in [
        world.psql_args(Agent::Writer, &["-f", &name]),
        world.psql_args(Agent::Privileged, &["-f", &name]),
        // An agent can't get past the gateway; nor could it be told anything there.
        direct(&world, &path),
    ] {
        let lines = reply.stdout.lines().chain(reply.stderr.lines());
        let told: Vec<&str> = lines.filter(|line| tells(line)).collect();
        assert!(told.is_empty(), "{told:#?}");
        let last = format!("@{}@", attacks().count() - 1);
        assert!(reply.stdout.contains(&last), "{reply:?}");
    }
}

#[test]
fn each_attack_that_reads_tells_a_superuser() {
    let world = guaranteed_world();
    let reads: Vec<&str> = attacks()
        .filter(|sql| {
            ["select", "copy", "table"]
                .iter()
                .any(|word| sql.starts_with(word))
        })
        .filter(|sql| !sql.contains("/* shape */"))
        .collect();
    let reply = world
        .postgres
        .psql_file(&file(&world, reads.iter().copied()));
    let silent: Vec<&&str> = reads
        .iter()
        .enumerate()
        .filter(|(number, _)| {
            let (_, rest) = reply.stdout.split_once(&format!("@{number}@")).unwrap();
            let (said, _) = rest.split_once("\n@").unwrap_or((rest, ""));
            !tells(said)
        })
        .map(|(_, sql)| sql)
        .collect();
    assert!(reads.len() > 30 && silent.is_empty(), "{silent:#?}");
}

#[test]
fn the_target_refuses_by_itself_and_the_next_statement_works() {
    let world = guaranteed_world();
    let mut wire = world.wire(Agent::Reader);
    for sql in [
        "select email from customers",
        "select * from customers",
        "select c from customers c",
    ] {
        let told = crate::support::wire::told(&wire.query(sql));
        assert!(
            told.contains("E(42501)") && told.ends_with("Z(I)"),
            "{sql}: {told}"
        );
    }
    let told = crate::support::wire::told(&wire.query("select id from customers"));
    assert!(told.contains("C(SELECT 3)"), "{told}");
}
