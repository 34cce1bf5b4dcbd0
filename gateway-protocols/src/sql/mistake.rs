//! What PostgreSQL itself says of a text that it can't run.

use std::panic;

use gateway_core::operation::Mistake;
use pg_query::ParserOptions;

use super::literals;

/// Longest text in which the place of a syntax error is looked for, bytes.
const TEXT_BYTES_MAX: usize = 64 << 10;
/// Most places that are tried.
const PLACES_MAX: usize = 32;

/// What PostgreSQL calls an error in its grammar.
const SYNTAX_ERROR: &str = "42601";

/// The mistake behind a message of the grammar's.
///
/// The parser's own report has the place as well, but its wrapper keeps the message only. A place is
/// where the text that ends there provokes the same message: an LALR parser shifts no token that
/// can't go on (Bison 3.8, "Error Reporting").
pub(super) fn of_syntax(text: &str, message: &str) -> Mistake {
    Mistake {
        code: code(message),
        message: message.to_owned(),
        position: place(text, message).and_then(|at| character(text, at)),
    }
}

/// The mistake of naming a relation that isn't there, at this byte of the text if anywhere.
///
/// SPEC: "relation "x" does not exist" (PostgreSQL 15, `parse_relation.c`, `parserOpenTable`).
pub(super) fn of_relation(text: &str, schema: &str, name: &str, at: Option<usize>) -> Mistake {
    let dot = if schema.is_empty() { "" } else { "." };
    Mistake {
        code: "42P01",
        message: format!("relation \"{schema}{dot}{name}\" does not exist"),
        position: at.and_then(|at| character(text, at)),
    }
}

/// SQLSTATE of a message of the grammar's (PostgreSQL 18, `gram.y` and `scan.l`).
fn code(message: &str) -> &'static str {
    const NOT_SUPPORTED: &str = "0A000";
    let near = message
        .split_once(" at or near ")
        .map_or(message, |(m, _)| m);
    match near {
        "current database cannot be changed" | "aggregates cannot have output arguments" => {
            NOT_SUPPORTED
        }
        "invalid Unicode escape" => "22025",
        _ if near.ends_with("not yet implemented") || near.contains("cannot be marked") => {
            NOT_SUPPORTED
        }
        _ if near.starts_with("frame ") => "42P20",
        _ if near.starts_with("invalid byte sequence") => "22021",
        _ if near.starts_with("role name ") => "42939",
        _ => SYNTAX_ERROR,
    }
}

/// The byte that a message is about.
fn place(text: &str, message: &str) -> Option<usize> {
    if message.ends_with(" at end of input") {
        return Some(text.len());
    }
    let (_, near) = message.split_once(" at or near \"")?;
    let near = near.strip_suffix('"').filter(|near| !near.is_empty())?;
    if text.len() > TEXT_BYTES_MAX {
        return None;
    }
    let candidates = literals::starts(text)
        .into_iter()
        .filter(|at| text.get(*at..).is_some_and(|rest| rest.starts_with(near)));
    let mut tried = 0;
    for at in candidates {
        tried += 1;
        if tried > PLACES_MAX {
            return None;
        }
        let until = text.get(..at + near.len())?;
        if says(until).as_deref() == Some(message) {
            return Some(at);
        }
    }
    None
}

/// What the grammar says of a text that it doesn't accept.
fn says(text: &str) -> Option<String> {
    match panic::catch_unwind(|| pg_query::parse(text, ParserOptions::DEFAULT)) {
        Ok(Err(pg_query::Error::Parse(message))) => Some(message),
        Ok(_) | Err(_) => None,
    }
}

/// The number of the character, from 1, that begins at this byte.
fn character(text: &str, at: usize) -> Option<u32> {
    let before = text.get(..at)?.chars().count();
    u32::try_from(before).ok()?.checked_add(1)
}
