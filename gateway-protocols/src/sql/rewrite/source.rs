//! The subquery that stands for a relation, and the expressions that mask its columns.

use std::collections::BTreeSet;

use gateway_core::{
    catalogue::{Column, ColumnId, Relation},
    mask::{AtSource, ClassifiedColumn},
};
use pg_query::{Node, NodeEnum, protobuf};

use super::{MASK, Rewriter, obstacle};
use crate::sql::plain::Obstacle;

/// What the relation is called inside its own subquery.
const INNER: &str = "__gateway_t";
/// What a column's value is called where comparisons may see it; its attribute number follows.
pub(super) const REAL: &str = "__gateway_real_";

/// A mask in the text, under the number in the name that stands for it.
pub(super) struct Mask {
    pub(super) id: ColumnId,
    pub(super) masked: String,
    pub(super) clear: String,
}

impl Rewriter<'_> {
    /// The subquery for a relation: all its columns by name, classified ones masked, and the values
    /// of those in `compared` under names of ours.
    pub(super) fn source(
        &mut self,
        relation: &Relation,
        only: bool,
        compared: &BTreeSet<i16>,
    ) -> Result<Node, Obstacle> {
        let mut list = Vec::new();
        for column in &relation.columns {
            let name = quoted(&column.name);
            let value = format!("{INNER}.{name}");
            match self.classified.column(relation.column_id(column)) {
                Some(classified) => {
                    let mask = self.mask(classified, column, value);
                    list.push(format!("{mask} AS {name}"));
                }
                None => list.push(value),
            }
        }
        for number in compared {
            let column = relation.columns.iter().find(|c| c.number == *number);
            let name = column.map(|column| quoted(&column.name));
            let name = name.ok_or_else(|| obstacle("a column that isn't known"))?;
            list.push(format!("{INNER}.{name} AS {REAL}{number}"));
        }
        parsed(&format!(
            "SELECT {} FROM {}{}.{} AS {INNER}",
            list.join(", "),
            if only { "ONLY " } else { "" },
            quoted(&relation.schema),
            quoted(&relation.name),
        ))
    }

    /// Keeps a mask of `value`; gives the name that stands for it.
    pub(super) fn mask(
        &mut self,
        classified: &ClassifiedColumn,
        column: &Column,
        value: String,
    ) -> String {
        let name = format!("{MASK}{}", self.masks.len());
        self.masks.push(Mask {
            id: classified.id,
            masked: masked(&classified.transform.at_source(), column, &value),
            clear: value,
        });
        name
    }
}

/// The expression that masks `value`, of the column's base type. Only built-in functions, by their
/// full names: nothing in a search path can stand in for them.
fn masked(how: &AtSource, column: &Column, value: &str) -> String {
    let Some(base) = base_type(column) else {
        return format!("(CASE WHEN false THEN {value} END)");
    };
    let text = format!("{value}::pg_catalog.text");
    let expression = match how {
        // Of the column's own type, without naming it: a domain may forbid nulls.
        AtSource::Null => return format!("(CASE WHEN false THEN {value} END)"),
        AtSource::Text(with) => literal(with),
        AtSource::JsonText(with) => literal(&serde_json::Value::String(with.clone()).to_string()),
        AtSource::KeepDomain { hidden } => format!(
            "pg_catalog.concat({}, pg_catalog.\"substring\"({text}, '@[^@]*$'))",
            literal(hidden)
        ),
        AtSource::KeepFirst { count, hidden } => {
            let kept = format!("pg_catalog.\"left\"({text}, {count})");
            format!(
                "pg_catalog.concat({}, {})",
                if_twice_as_long(&text, *count, &kept),
                literal(hidden)
            )
        }
        AtSource::KeepLast { count, hidden } => {
            let kept = format!("pg_catalog.\"right\"({text}, {count})");
            format!(
                "pg_catalog.concat({}, {})",
                literal(hidden),
                if_twice_as_long(&text, *count, &kept)
            )
        }
        AtSource::Truncate { unit } => truncated(unit, column, value),
        AtSource::Bucket { width } => bucket(*width, column, value),
    };
    format!("(CASE WHEN {value} IS NOT NULL THEN ({expression})::{base} END)")
}

fn if_twice_as_long(text: &str, count: usize, kept: &str) -> String {
    let least = count.saturating_mul(2);
    format!("CASE WHEN pg_catalog.int4ge(pg_catalog.char_length({text}), {least}) THEN {kept} END")
}

/// The infinities become null.
fn truncated(unit: &str, column: &Column, value: &str) -> String {
    let unit = literal(unit);
    let truncated = match column.type_id {
        // Of a moment, the day in UTC: the session's time zone is the agent's to set.
        1184 => format!(
            "pg_catalog.timezone('UTC', pg_catalog.date_trunc({unit}, pg_catalog.timezone('UTC', {value})))"
        ),
        _ => format!("pg_catalog.date_trunc({unit}, {value}::pg_catalog.timestamp)"),
    };
    format!("CASE WHEN pg_catalog.isfinite({value}) THEN {truncated} END")
}

/// `value - ((value mod width) + width) mod width`, in numbers that can't overflow; null where the
/// type has no such number.
fn bucket(width: i64, column: &Column, value: &str) -> String {
    let number = format!("{value}::pg_catalog.numeric");
    let width = format!("'{width}'::pg_catalog.numeric");
    let rest = format!(
        "pg_catalog.mod(pg_catalog.numeric_add(pg_catalog.mod({number}, {width}), {width}), {width})"
    );
    let floor = format!("pg_catalog.numeric_sub({number}, {rest})");
    let least = match column.type_id {
        21 => i64::from(i16::MIN),
        23 => i64::from(i32::MIN),
        _ => i64::MIN,
    };
    format!(
        "CASE WHEN pg_catalog.numeric_ge({floor}, '{least}'::pg_catalog.numeric) THEN {floor} END"
    )
}

/// The type that masks have: a domain's base type; `None` for types that no method but null fits
/// (PostgreSQL, `pg_type.dat`).
fn base_type(column: &Column) -> Option<String> {
    let name = match column.type_id {
        25 => "text",
        1042 => "bpchar",
        1043 => "varchar",
        19 => "name",
        114 => "json",
        3802 => "jsonb",
        1082 => "date",
        1114 => "timestamp",
        1184 => "timestamptz",
        21 => "int2",
        23 => "int4",
        20 => "int8",
        // citext, an extension's, is called by its name where the extension lives.
        _ if column.type_name.rsplit('.').next() == Some("citext") => {
            return Some(column.type_name.clone());
        }
        _ => return None,
    };
    Some(format!("pg_catalog.{name}"))
}

/// A name as an identifier.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A string constant; `standard_conforming_strings` is pinned.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The tree of a statement of ours.
pub(super) fn parsed(text: &str) -> Result<Node, Obstacle> {
    let parsed = crate::sql::parse(text).map_err(|_| obstacle("a table with such names"))?;
    let mut statements = parsed.statements();
    let mut node = match statements.next() {
        Some((Some(node), _)) => node.clone(),
        _ => return Err(obstacle("a table with such names")),
    };
    crate::sql::tree::forget_places(&mut node);
    Ok(node)
}

/// `(query) AS alias (columns)` in FROM.
pub(super) fn subselect(query: Node, alias: &str, colnames: Vec<Node>) -> Node {
    Node {
        node: Some(NodeEnum::RangeSubselect(Box::new(
            protobuf::RangeSubselect {
                lateral: false,
                subquery: Some(Box::new(query)),
                alias: Some(protobuf::Alias {
                    aliasname: alias.to_owned(),
                    colnames,
                }),
            },
        ))),
    }
}
