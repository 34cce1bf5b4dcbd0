//! SQL texts of PostgreSQL, understood before any of them runs: what a text does, to which objects,
//! and whether its result can be masked on the wire.
//!
//! [`analyse`] parses with PostgreSQL's own grammar (libpg_query 18), resolves every name against a
//! [`Snapshot`] of the target's catalogue as the server would, and is total: what it can't parse or
//! resolve has the effect `opaque`, beside the effects that are certain.
//!
//! # What the analysis takes for granted
//! The session's settings are pinned by the wire: `standard_conforming_strings` on,
//! `client_encoding` UTF8, `backslash_quote` at its default, and the search path of the snapshot.
//! Statements that would change one of them are opaque. Emptying `search_path` is allowed, because
//! names that are then looked up in fewer schemas fail instead of meaning something else.
//!
//! # Known gaps
//! - SQL-level `EXECUTE` is opaque: what was prepared isn't known here.
//! - Casts between types that a user defined, and domain checks of columns, are not in a snapshot;
//!   only casts that *name* a type which isn't PostgreSQL's own count as calls.
//! - Writing to a view, and foreign keys' ON DELETE and ON UPDATE actions, have no effects on the
//!   tables behind. Triggers and rules have none either; beside classified columns they are refused.
//! - A relation that `CREATE TEMP TABLE` made is unknown, hence opaque.
//! - Overloads aren't resolved: a user's function or operator that the search path finds counts as
//!   called wherever its name is, also where a built-in one with better types would win, and where a
//!   qualified column has its name (`t.area` may be `area(t)`).

mod analyser;
mod builtins;
mod command;
mod literals;
mod parse;
mod plain;
mod query;
mod settings;
mod tree;
mod utility;

#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, ops::Range, sync::Arc};

use gateway_core::{
    catalogue::{CatalogueVersion, Snapshot},
    mask::{Classified, ClassifiedColumn},
    operation::{
        Action, Analysis, ClassifiedUse, Effect, Inspection, Object, Shape, SqlFacts, Statement,
    },
};
use pg_query::{Node, NodeRef};

use self::{
    analyser::{Analyser, Findings, Scope},
    tree::Kind,
};
pub use parse::{ANALYSIS_STACK_BYTES, ParseFailure, Parsed, TEXT_BYTES_MAX, TOKENS_MAX, parse};

const PLAIN: &str =
    "one SELECT of plain columns from one table, for example SELECT id FROM t WHERE id = $1";

/// Analyses one text: all the statements of one Query or Parse message.
///
/// Total and pure. `version` is `snapshot`'s own, which the caller computes once per snapshot. Call
/// it on a thread with [`ANALYSIS_STACK_BYTES`] of stack: on a smaller one deep texts would abort
/// the process.
#[must_use]
pub fn analyse(
    text: &Arc<str>,
    snapshot: &Snapshot,
    version: CatalogueVersion,
    classified: &Classified,
) -> Analysis {
    match parse(text) {
        Ok(parsed) => analyse_parsed(text, &parsed, snapshot, version, classified),
        Err(failure) => unparsed(text, &failure, version, classified),
    }
}

fn analyse_parsed(
    text: &str,
    parsed: &Parsed,
    snapshot: &Snapshot,
    version: CatalogueVersion,
    classified: &Classified,
) -> Analysis {
    let mut statements = Vec::with_capacity(parsed.len());
    let mut effects = BTreeSet::new();
    let mut inspection = Inspection::Full;
    let mut facts = SqlFacts {
        statement_count: u32::try_from(parsed.len()).unwrap_or(u32::MAX),
        has_where: true,
        where_is_constant: false,
        limit: None,
        read_only: true,
    };
    let mut limits = Vec::new();
    let mut uses = ClassifiedUse::default();
    let mut stale = false;
    for (node, span) in parsed.statements() {
        let (statement, found) = analyse_statement(node, span, snapshot, stale);
        stale |= found.changes_catalogue;
        let used = classified_use(node, &found, parsed.len(), snapshot, classified);
        uses = combine(uses, used);
        if let (Inspection::Full, Some(reason)) = (&inspection, &found.opaque) {
            inspection = Inspection::Opaque {
                reason: reason.clone(),
            };
        }
        facts.has_where &= !found.lacks_where;
        facts.where_is_constant |= found.where_is_constant;
        facts.read_only &= !found.writes && found.opaque.is_none();
        if let Some(NodeRef::SelectStmt(select)) = node.and_then(node_ref) {
            limits.push(query::constant_limit(select));
        }
        effects.extend(found.effects);
        statements.push(statement);
    }
    // The text's worst: no limit where one query has none, else the largest.
    facts.limit = limits
        .into_iter()
        .collect::<Option<Vec<u64>>>()
        .and_then(|l| l.into_iter().max());
    Analysis {
        statements,
        effects: effects.into_iter().collect(),
        inspection,
        facts,
        sensitive: sensitive(text, &uses),
        classified: uses,
        catalogue: version,
    }
}

/// Values may stand in any constant or comment of a text that reaches classified columns.
fn sensitive(text: &str, uses: &ClassifiedUse) -> Vec<Range<usize>> {
    if uses.columns.is_empty() {
        Vec::new()
    } else {
        literals::literals(text)
    }
}

fn analyse_statement(
    node: Option<&Node>,
    span: Range<usize>,
    snapshot: &Snapshot,
    stale: bool,
) -> (Statement, Findings) {
    let mut analyser = Analyser::new(snapshot, stale);
    // A schema before pg_catalog could stand in for every built-in name.
    if snapshot
        .search_path
        .iter()
        .position(|schema| schema == "pg_catalog")
        .is_some_and(|at| at > 0)
    {
        analyser.opaque("the search path puts another schema before pg_catalog");
    }
    let mut command = "UNKNOWN".to_owned();
    let mut controls_transaction = false;
    match node.and_then(node_ref) {
        Some(node) => {
            if let Kind::Statement(statement) = tree::kind(node) {
                command = command::command(statement);
                controls_transaction = command::controls_transaction(statement);
            } else {
                analyser.opaque("a statement of an unknown kind");
            }
            analyser.visit(node, &Scope::EMPTY);
        }
        None => analyser.opaque("an empty statement"),
    }
    let found = analyser.found;
    let changes_catalogue = found.changes_catalogue;
    (
        Statement {
            command,
            span,
            changes_catalogue,
            controls_transaction,
        },
        found,
    )
}

fn node_ref(node: &Node) -> Option<NodeRef<'_>> {
    node.node.as_ref().map(pg_query::NodeEnum::to_ref)
}

/// What one statement does with classified columns.
fn classified_use(
    node: Option<&Node>,
    found: &Findings,
    statements: usize,
    snapshot: &Snapshot,
    classified: &Classified,
) -> ClassifiedUse {
    if classified.is_empty() {
        return ClassifiedUse::default();
    }
    if let Some(reaching) = &found.reaching {
        return everything(
            classified,
            reaching.construct.clone(),
            reaching.instead.clone(),
        );
    }
    let columns: Vec<Arc<ClassifiedColumn>> = classified
        .columns()
        .filter(|column| found.relations.contains(&column.id.relation))
        .cloned()
        .collect();
    if columns.is_empty() && !found.relations.iter().any(|id| classified.is_whole(*id)) {
        return ClassifiedUse::default();
    }
    let shape = match node.and_then(node_ref) {
        Some(NodeRef::SelectStmt(_)) if statements > 1 => Err(plain::Obstacle {
            construct: "a query beside other statements in one message".to_owned(),
            column: None,
        }),
        Some(NodeRef::SelectStmt(select)) => plain::outputs(select, snapshot, classified),
        node => Err(plain::Obstacle {
            construct: match node.map(tree::kind) {
                Some(Kind::Statement(statement)) => command::command(statement),
                _ => "an unknown statement".to_owned(),
            },
            column: None,
        }),
    };
    let shape = match shape {
        Ok(outputs) => Shape::Plain { outputs },
        Err(plain::Obstacle { construct, column }) => {
            let column = column.or_else(|| columns.first().map(|column| column.path()));
            let instead = columns.first().map_or_else(
                || PLAIN.to_owned(),
                |column| {
                    let [schema, table, name] = &column.name;
                    format!("select the column itself, alone: SELECT {name} FROM {schema}.{table}")
                },
            );
            Shape::Beyond {
                construct,
                column,
                instead,
            }
        }
    };
    ClassifiedUse { columns, shape }
}

fn everything(classified: &Classified, construct: String, instead: String) -> ClassifiedUse {
    ClassifiedUse {
        columns: classified.columns().cloned().collect(),
        shape: Shape::Beyond {
            construct,
            column: None,
            instead,
        },
    }
}

/// The use of two statements together. A plain one among others doesn't occur: `classified_use`
/// calls it beyond.
fn combine(first: ClassifiedUse, second: ClassifiedUse) -> ClassifiedUse {
    let mut columns = first.columns;
    columns.extend(second.columns);
    columns.sort_by_key(|column| column.id);
    columns.dedup_by_key(|column| column.id);
    let shape = match (first.shape, second.shape) {
        (shape, Shape::Untouched) | (Shape::Untouched, shape) => shape,
        (beyond @ Shape::Beyond { .. }, _) | (_, beyond @ Shape::Beyond { .. }) => beyond,
        (Shape::Plain { .. }, Shape::Plain { .. }) => Shape::Beyond {
            construct: "several queries in one message".to_owned(),
            column: None,
            instead: PLAIN.to_owned(),
        },
    };
    ClassifiedUse { columns, shape }
}

/// A text of which nothing is known but that it isn't understood.
fn unparsed(
    text: &str,
    failure: &ParseFailure,
    version: CatalogueVersion,
    classified: &Classified,
) -> Analysis {
    let uses = if classified.is_empty() {
        ClassifiedUse::default()
    } else {
        everything(
            classified,
            "a text that couldn't be parsed".to_owned(),
            PLAIN.to_owned(),
        )
    };
    Analysis {
        statements: vec![Statement {
            command: "UNKNOWN".to_owned(),
            span: 0..text.len(),
            changes_catalogue: true,
            controls_transaction: true,
        }],
        effects: vec![Effect {
            action: Action::Opaque,
            object: Object::Target,
        }],
        inspection: Inspection::Opaque {
            reason: failure.to_string(),
        },
        facts: SqlFacts {
            statement_count: 1,
            ..SqlFacts::default()
        },
        sensitive: sensitive(text, &uses),
        classified: uses,
        catalogue: version,
    }
}
