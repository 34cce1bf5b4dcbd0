//! Cells of listings, from leaves.

use serde_json::Value;

use super::leaf::Leaf;

/// One cell of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cell {
    /// Not applicable.
    Empty,
    /// Text.
    Text(String),
    /// A count.
    Int(u64),
    /// Yes or no.
    Flag(bool),
}

pub(super) fn first<'a>(leaves: &[&'a Leaf], kind: &str) -> Option<&'a Leaf> {
    leaves.iter().copied().find(|leaf| leaf.kind() == kind)
}

/// The leaves of a session that follow `leaf`.
pub(super) fn after<'a>(leaves: &[&'a Leaf], leaf: &Leaf) -> impl Iterator<Item = &'a Leaf> {
    let from = leaves.partition_point(|other| other.index <= leaf.index);
    leaves.iter().copied().skip(from)
}

pub(super) fn last<'a>(leaves: &[&'a Leaf], kinds: &[&str]) -> Option<&'a Leaf> {
    leaves
        .iter()
        .copied()
        .rfind(|leaf| kinds.contains(&leaf.kind()))
}

pub(super) fn text(value: &str) -> Cell {
    Cell::Text(value.to_owned())
}

pub(super) fn integer(value: Option<u64>) -> Cell {
    value.map_or(Cell::Empty, Cell::Int)
}

pub(super) fn field(leaf: &Leaf, name: &str) -> Cell {
    leaf.text(name).map_or(Cell::Empty, text)
}

pub(super) fn counter(leaf: &Leaf, name: &str) -> Cell {
    integer(leaf.count(name))
}

pub(super) fn body(leaf: &Leaf, pointer: &str) -> Cell {
    leaf.body(pointer)
        .map_or(Cell::Empty, |value| Cell::Text(plain(Some(value))))
}

pub(super) fn list(value: Option<&Value>) -> Cell {
    value.map_or(Cell::Empty, |value| Cell::Text(joined(Some(value))))
}

/// The items of a JSON array; none where there is no array.
pub(super) fn array(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

pub(super) fn joined(value: Option<&Value>) -> String {
    array(value)
        .iter()
        .map(|item| plain(Some(item)))
        .collect::<Vec<_>>()
        .join(" ")
}

/// A JSON value without the quotes of a string.
pub(super) fn plain(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

pub(super) fn synthetic(leaf: &Leaf) -> Cell {
    Cell::Flag(leaf.header.get("syn") == Some(&Value::Bool(true)))
}

pub(super) fn time(leaf: &Leaf) -> Cell {
    Cell::Text(rfc3339(leaf.at_us()))
}

/// RFC 3339, UTC, microseconds; `unknown` for a time past the calendar.
pub(super) fn rfc3339(micros: u64) -> String {
    i64::try_from(micros)
        .ok()
        .and_then(|micros| jiff::Timestamp::from_microsecond(micros).ok())
        .map_or_else(
            || "unknown".to_owned(),
            |at| at.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string(),
        )
}
