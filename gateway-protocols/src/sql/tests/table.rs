//! The table of statements in `docs/protocols/sql-effects.md`, made by the analyser itself.

use std::{collections::BTreeMap, fmt::Write as _};

use super::{
    effects::CASES,
    tree::{self, Kind},
    *,
};

const FILE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../docs/protocols/sql-effects.md"
);

const HEAD: &str = "\
# Effects of SQL statements

Every statement type of PostgreSQL 18's grammar (the names are its own), an example, and the effects that a policy decides on. Made by the analyser: `BLESS=1 cargo test -p gateway-protocols --all-features statement_types`.

`*` is the target, `database` an object of the database that has no name here, `schema.*` the schema, `name()` a function, `$name` a setting. `opaque` is what isn't understood: it needs a permission of its own. A statement inside another one (`WITH`, `EXPLAIN`, a rule, a schema's elements) has its effects there.

| statement | example | effects |
|---|---|---|
";

/// Examples of the types that [`CASES`] has none of.
const MORE: &[&str] = &[
    "alter collation c refresh version",
    "alter domain d drop not null",
    "grant r to s",
    "create tablespace s location '/s'",
    "drop tablespace s",
    "alter tablespace s set (seq_page_cost = 1)",
    "alter table all in tablespace s set tablespace t",
    "alter extension hstore update",
    "alter extension hstore add table orders",
    "create foreign data wrapper w",
    "alter foreign data wrapper w options (add a 'b')",
    "alter server s version '2'",
    "alter user mapping for r server s options (set a 'b')",
    "drop user mapping for r server s",
    "alter policy p on orders using (true)",
    "create access method m type table handler purge",
    "alter event trigger e disable",
    "create trusted language l handler purge",
    "alter role r nologin",
    "alter sequence ticket restart",
    "create operator class c for type int using btree as operator 1 <",
    "create operator family f using btree",
    "alter operator family f using btree add operator 1 < (int, int)",
    "close c",
    "alter statistics st set statistics 5",
    "alter function purge(int) volatile",
    "alter function purge(int) depends on extension hstore",
    "alter table orders set schema app",
    "alter operator <(int, int) set (restrict = scalarltsel)",
    "alter type x set (receive = purge)",
    "unlisten c",
    "create type app.pair as (a int, b int)",
    "create type app.span as range (subtype = int)",
    "alter type x add value 'b'",
    "alter database d connection limit 5",
    "alter database d refresh collation version",
    "alter database d set work_mem = '1GB'",
    "drop database d",
    "explain select * from orders",
    "set constraints all deferred",
    "create conversion c for 'LATIN1' to 'UTF8' from purge",
    "alter text search dictionary d (stopwords = 'x')",
    "alter text search configuration c drop mapping for word",
    "alter publication p add table orders",
    "alter subscription s disable",
    "drop subscription s",
];

/// The statement types in a text, that of the statement itself first.
fn types_in(text: &str) -> Vec<&'static str> {
    fn below(node: NodeRef<'_>, found: &mut Vec<&'static str>) {
        if let Kind::Statement(statement) = tree::kind(node) {
            found.push(statement.type_name());
        }
        tree::children(node, &mut |child| below(child, found));
    }
    let Ok(parsed) = parse(text) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for (node, _) in parsed.statements() {
        if let Some(node) = node.and_then(node_ref) {
            below(node, &mut found);
        }
    }
    found
}

#[test]
fn every_statement_type_has_its_effects_in_the_manual() {
    let (snapshot, classified) = (shop(), Classified::default());
    let texts = CASES
        .iter()
        .map(|(text, _)| *text)
        .chain(MORE.iter().copied());
    let mut rows = BTreeMap::<&str, Vec<String>>::new();
    let mut within = BTreeMap::<&str, Vec<String>>::new();
    for text in texts {
        let analysed = || {
            (
                types_in(text),
                effects_in_policy(&analysed(text, &snapshot, &classified)),
            )
        };
        let (types, effects) = on_analysis_stack(analysed);
        let row = format!("`{}` | {effects} |", text.replace('|', "\\|"));
        let mut types = types.into_iter();
        if let Some(own) = types.next() {
            rows.entry(own).or_default().push(row.clone());
        }
        for inner in types {
            within.entry(inner).or_default().push(row.clone());
        }
    }
    let mut table = HEAD.to_owned();
    let mut missing = Vec::new();
    for name in tree::STATEMENT_TYPES {
        match rows.get(name).or_else(|| within.get(name)) {
            Some(rows) => {
                for row in rows {
                    writeln!(table, "| {name} | {row}").unwrap();
                }
            }
            None => missing.push(*name),
        }
    }
    assert!(missing.is_empty(), "no example of {missing:?}");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(FILE, &table).unwrap();
    }
    let written = std::fs::read_to_string(FILE).unwrap_or_default();
    assert!(written == table, "the table is another one now: BLESS=1");
}

fn effects_in_policy(analysis: &Analysis) -> String {
    let effects = effects_of(analysis);
    let effects: Vec<String> = effects
        .split(", ")
        .filter(|effect| !effect.is_empty())
        .map(|effect| match effect {
            "opaque *" => "`opaque`".to_owned(),
            effect => format!("`sql.{effect}`"),
        })
        .collect();
    if effects.is_empty() {
        "none".to_owned()
    } else {
        effects.join(", ")
    }
}
