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
mod classified;
mod command;
mod literals;
mod mistake;
mod outputs;
mod parse;
mod plain;
mod query;
mod rewrite;
mod settings;
mod tree;
mod utility;

#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, ops::Range, sync::Arc};

use gateway_core::{
    catalogue::{CatalogueVersion, Snapshot},
    mask::Classified,
    operation::{Action, Analysis, ClassifiedUse, Effect, Inspection, Object, SqlFacts, Statement},
};
use pg_query::{Node, NodeRef};

use self::{
    analyser::{Analyser, Findings, Scope},
    classified::Use,
    tree::Kind,
};
pub use parse::{ANALYSIS_STACK_BYTES, ParseFailure, Parsed, TEXT_BYTES_MAX, TOKENS_MAX, parse};

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
    let mut analysis = match parse(text) {
        Ok(parsed) => analyse_parsed(text, &parsed, snapshot, version, classified),
        Err(failure) => unparsed(text, &failure, version, classified),
    };
    if classified.is_guaranteed() {
        // The target itself refuses what would read them. What the agent wrote stays sensitive.
        analysis.classified = ClassifiedUse::default();
    }
    analysis
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
    let mut uses = Vec::with_capacity(parsed.len());
    let mut stale = false;
    let mut mistake = None;
    for (node, span) in parsed.statements() {
        let (statement, found) = analyse_statement(node, span.clone(), snapshot, stale);
        // Whatever ran before it would be undone, unless a transaction ended there.
        if mistake.is_none()
            && !statements
                .iter()
                .any(|s: &Statement| s.controls_transaction)
        {
            mistake = found.missing.first().map(|missing| missing.mistake(text));
        }
        stale |= found.changes_catalogue;
        let alone = parsed.len() == 1;
        let used = Use::of(node, &found, alone, snapshot, classified);
        uses.push((span, used));
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
    let uses = classified::together(text, uses);
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
        mistake,
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
        classified::everything(
            classified,
            "a text that couldn't be parsed".to_owned(),
            "name tables and columns that the catalogue has".to_owned(),
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
        mistake: match failure {
            ParseFailure::Syntax(message) => Some(mistake::of_syntax(text, message)),
            ParseFailure::TooLong
            | ParseFailure::ZeroByte
            | ParseFailure::TooDeep
            | ParseFailure::Internal => None,
        },
    }
}
