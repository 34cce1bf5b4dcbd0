//! The listing of statements: what became of each statement of a unit.

use serde_json::Value;

use super::cells::*;
use super::leaf::{Leaf, Range};
use crate::record::STATEMENTS_LISTED_MAX;

/// The number of rows that an intent or a block has: its listed statements, at least one.
pub(super) fn count(leaf: &Leaf) -> u64 {
    leaf.count("statements")
        .unwrap_or(1)
        .clamp(1, STATEMENTS_LISTED_MAX as u64)
}

/// The number of statements of an intent whose outcome is unknown.
pub(super) fn unknown(leaves: &[&Leaf], intent: &Leaf) -> u64 {
    let unit = Unit::of(leaves, intent);
    (0..count(intent))
        .filter(|position| unit.ended(*position).outcome == "unknown")
        .count() as u64
}

/// One row per statement.
pub(super) fn statement(_: &Range, leaves: &[&Leaf], leaf: &Leaf) -> Vec<Vec<Cell>> {
    let unit = Unit::of(leaves, leaf);
    (0..unit.count)
        .map(|position| row(leaves, &unit, position))
        .collect()
}

/// A unit with its result.
struct Unit<'a> {
    leaf: &'a Leaf,
    blocked: bool,
    result: Option<&'a Leaf>,
    count: u64,
    /// The commands that completed, in order.
    commands: &'a [Value],
}

/// The end of one statement.
struct Ended<'a> {
    outcome: &'a str,
    /// The command that completed.
    command: Option<&'a Value>,
}

impl<'a> Unit<'a> {
    fn of(leaves: &[&'a Leaf], leaf: &'a Leaf) -> Self {
        let blocked = leaf.kind() == "block";
        let result = after(leaves, leaf).find(|other| {
            !blocked
                && other.unit() == leaf.unit()
                && matches!(other.kind(), "unit.result" | "unit.unknown")
        });
        Self {
            leaf,
            blocked,
            result,
            count: count(leaf),
            commands: array(result.and_then(|result| result.body("/commands"))),
        }
    }

    /// A simple query runs statement by statement: as many as commands completed did, the next one
    /// is the one that failed or was lost, and those behind it didn't run, or may have.
    fn ended(&self, position: u64) -> Ended<'a> {
        let command = usize::try_from(position)
            .ok()
            .and_then(|position| self.commands.get(position));
        let of_unit = match self.result {
            _ if self.blocked => "blocked",
            None => "open",
            Some(result) => result.text("out").unwrap_or("unknown"),
        };
        // The last row that is listed may stand for several statements.
        let several = position + 1 == STATEMENTS_LISTED_MAX as u64;
        let outcome = match (command, of_unit) {
            (Some(_), "failed" | "unknown") if !several && self.count > 1 => "completed",
            (None, "failed") if position > self.commands.len() as u64 => "not_executed",
            _ => of_unit,
        };
        Ended { outcome, command }
    }

    /// The statement's own part of the text.
    fn text(&self, position: u64) -> Option<&'a str> {
        let text = self.leaf.body("/operation/text")?.as_str()?;
        if self.count == 1 {
            return Some(text);
        }
        let part = self.statement(position)?;
        let offset = |name| usize::try_from(part.get(name)?.as_u64()?).ok();
        text.get(offset("start")?..offset("end")?)
    }

    fn statement(&self, position: u64) -> Option<&'a Value> {
        let parts = array(self.leaf.body("/operation/statements"));
        parts.get(usize::try_from(position).ok()?)
    }
}

fn row(leaves: &[&Leaf], unit: &Unit<'_>, position: u64) -> Vec<Cell> {
    let (leaf, result) = (unit.leaf, unit.result);
    let ended = unit.ended(position);
    let open = first(leaves, "session.open");
    let strict = open.and_then(|open| open.body("/durability")) == Some(&Value::from("strict"));
    let shown = unit.text(position);
    let ran = !matches!(ended.outcome, "blocked" | "not_executed" | "skipped");
    let total = |name: &str| result.and_then(|result| result.count(name));
    // What a unit moved is counted as a whole: of several statements, a share of nothing is nothing.
    let rows_count = leaf.text("op").is_some_and(|op| op.starts_with("sql."));
    let share = |name: &str| match (total(name), unit.count) {
        (None, _) => Cell::Empty,
        _ if !ran || (name.starts_with("rows_") && !rows_count) => Cell::Empty,
        (total, 1) | (total @ Some(0), _) => integer(total),
        (Some(_), _) => text("unknown"),
    };
    let reported = ended
        .command
        .and_then(|command| command.get("rows"))
        .and_then(Value::as_u64);
    let selects = ended
        .command
        .and_then(|command| command.get("tag")?.as_str())
        .is_some_and(|tag| tag.starts_with("SELECT ") || tag.starts_with("FETCH "));
    let forwarded = match result {
        _ if unit.blocked => Cell::Empty,
        None => text("unknown"),
        Some(result) if result.body.is_null() => text("unknown"),
        Some(result) => result
            .body("/released_at")
            .and_then(Value::as_u64)
            .map_or(Cell::Empty, |at| Cell::Text(rfc3339(at))),
    };
    vec![
        field(leaf, "ses"),
        integer(leaf.unit()),
        Cell::Int(position + 1),
        time(leaf),
        forwarded,
        result.map_or(Cell::Empty, time),
        field(leaf, "agt"),
        field(leaf, "res"),
        open.map_or(text("unknown"), |open| body(open, "/database")),
        field(leaf, "prt"),
        field(leaf, "op"),
        unit.statement(position)
            .map_or(Cell::Empty, |part| Cell::Text(plain(part.get("command")))),
        list(leaf.body("/operation/objects")),
        shown.map_or(Cell::Empty, text),
        shown.map_or(Cell::Empty, |shown| Cell::Flag(super::csv::is_cut(shown))),
        field(leaf, "rq"),
        body(leaf, "/operation/parameters_sha256"),
        field(leaf, "dec"),
        list(leaf.header.get("rul")),
        field(leaf, "pol"),
        field(leaf, "apr"),
        text(ended.outcome),
        match (ended.outcome, result) {
            ("failed", Some(result)) => body(result, "/error_code"),
            _ => Cell::Empty,
        },
        if selects && unit.count > 1 {
            integer(reported)
        } else {
            share("rows_returned")
        },
        if unit.count > 1 && reported.is_some() {
            integer(reported)
        } else {
            share("rows_affected")
        },
        share("bytes_returned"),
        share("values_masked"),
        body(leaf, "/operation/inspection"),
        if unit.blocked {
            Cell::Empty
        } else {
            Cell::Flag(strict)
        },
        result.map_or(Cell::Empty, |result| {
            Cell::Int(result.at_us().saturating_sub(leaf.at_us()) / 1000)
        }),
        synthetic(leaf),
    ]
}
