//! What PostgreSQL says, to the letter: the messages that honest programs meet near their data.
//!
//! In a phrase, `{name}` is a name that may be told, `{path}` several with dots between, `{names}`
//! with commas, `{type}` and `{types}` types of PostgreSQL's own or such names, `{words}` words of the
//! grammar's in capitals or of the server's in small letters, `{op}` an operator, `{n}` a number that
//! a definition or the protocol has, `{value}` anything. What stands in brackets is left out when the
//! phrase is told; `{value}` stands nowhere else.
//!
//! Messages of PostgreSQL 13 to 18, in English; a server that speaks otherwise is understood by
//! SQLSTATE only.

use super::Names;
use crate::postgres::message::tag::backend as tag;

/// SQLSTATE and message.
const MESSAGES: &[(&str, &str)] = &[
    (
        "08P01",
        "bind message supplies {n} parameters, but prepared statement \"\" requires {n}",
    ),
    (
        "08P01",
        "bind message has {n} parameter formats but {n} parameters",
    ),
    (
        "08P01",
        "bind message has {n} result formats but query has {n} columns",
    ),
    ("0A000", "cached plan must not change result type"),
    (
        "0A000",
        "cannot insert multiple commands into a prepared statement",
    ),
    (
        "21000",
        "more than one row returned by a subquery used as an expression",
    ),
    (
        "21000",
        "ON CONFLICT DO UPDATE command cannot affect row a second time",
    ),
    ("21000", "MERGE command cannot affect row a second time"),
    ("22001", "value too long for type {type}"),
    ("22003", "{type} out of range"),
    ("22003", "numeric field overflow"),
    ("22003", "value overflows numeric format"),
    (
        "22003",
        "value[ \"{value}\"] is out of range for type {type}",
    ),
    ("22003", "value out of range: overflow"),
    ("22003", "value out of range: underflow"),
    (
        "22007",
        "invalid input syntax for type {type}[: \"{value}\"]",
    ),
    ("22008", "date/time field value out of range[: \"{value}\"]"),
    ("22008", "{type} out of range[: \"{value}\"]"),
    ("22008", "{type} out of range"),
    (
        "22009",
        "time zone displacement out of range[: \"{value}\"]",
    ),
    ("22011", "negative substring length not allowed"),
    ("22012", "division by zero"),
    (
        "22021",
        "invalid byte sequence for encoding \"UTF8\"[: {value}]",
    ),
    ("22023", "negative substring length not allowed"),
    ("2201B", "invalid regular expression[: {value}]"),
    ("2201W", "LIMIT must not be negative"),
    ("2201X", "OFFSET must not be negative"),
    (
        "22P02",
        "invalid input syntax for type {type}[: \"{value}\"]",
    ),
    ("22P02", "invalid input syntax for type {type}"),
    (
        "22P02",
        "invalid input value for enum {name}[: \"{value}\"]",
    ),
    ("22P02", "malformed array literal[: \"{value}\"]"),
    ("22P02", "malformed record literal[: \"{value}\"]"),
    ("22P02", "malformed range literal[: \"{value}\"]"),
    (
        "22P03",
        "incorrect binary data format in bind parameter {n}",
    ),
    ("22P03", "insufficient data left in message"),
    ("22P04", "missing data for column \"{name}\""),
    ("22P04", "extra data after last expected column"),
    ("22P04", "unterminated CSV quoted field"),
    (
        "23502",
        "null value in column \"{name}\" of relation \"{name}\" violates not-null constraint",
    ),
    ("23502", "domain {name} does not allow null values"),
    (
        "23503",
        "insert or update on table \"{name}\" violates foreign key constraint \"{name}\"",
    ),
    (
        "23503",
        "update or delete on table \"{name}\" violates foreign key constraint \"{name}\" on table \"{name}\"",
    ),
    (
        "23001",
        "update or delete on table \"{name}\" violates RESTRICT setting of foreign key constraint \"{name}\" on table \"{name}\"",
    ),
    (
        "23505",
        "duplicate key value violates unique constraint \"{name}\"",
    ),
    (
        "23514",
        "new row for relation \"{name}\" violates check constraint \"{name}\"",
    ),
    (
        "23514",
        "new row for relation \"{name}\" violates partition constraint",
    ),
    ("23514", "no partition of relation \"{name}\" found for row"),
    (
        "23514",
        "value for domain {name} violates check constraint \"{name}\"",
    ),
    (
        "23P01",
        "conflicting key value violates exclusion constraint \"{name}\"",
    ),
    ("25006", "cannot execute {words} in a read-only transaction"),
    ("25001", "{words} cannot run inside a transaction block"),
    (
        "25P02",
        "current transaction is aborted, commands ignored until end of transaction block",
    ),
    ("26000", "prepared statement \"{name}\" does not exist"),
    ("34000", "cursor \"{name}\" does not exist"),
    ("34000", "portal \"{name}\" does not exist"),
    ("3F000", "schema \"{name}\" does not exist"),
    (
        "40001",
        "could not serialize access due to concurrent update",
    ),
    (
        "40001",
        "could not serialize access due to concurrent delete",
    ),
    (
        "40001",
        "could not serialize access due to read/write dependencies among transactions",
    ),
    (
        "40001",
        "tuple to be locked was already moved to another partition due to concurrent update",
    ),
    ("40001", "canceling statement due to conflict with recovery"),
    ("40P01", "deadlock detected"),
    ("42501", "permission denied for {words} {name}"),
    ("42501", "must be owner of {words} {name}"),
    (
        "42501",
        "new row violates row-level security policy for table \"{name}\"",
    ),
    (
        "42501",
        "new row violates row-level security policy \"{name}\" for table \"{name}\"",
    ),
    ("42601", "INSERT has more expressions than target columns"),
    ("42601", "INSERT has more target columns than expressions"),
    (
        "42601",
        "each {words} query must have the same number of columns",
    ),
    ("42601", "subquery must return only one column"),
    ("42601", "subquery has too many columns"),
    ("42601", "subquery has too few columns"),
    ("42601", "multiple assignments to same column \"{name}\""),
    ("42601", "VALUES lists must all be the same length"),
    (
        "42622",
        "identifier \"{name}\" will be truncated to \"{name}\"",
    ),
    ("42701", "column \"{name}\" specified more than once"),
    ("42702", "column reference \"{name}\" is ambiguous"),
    ("42703", "column \"{name}\" does not exist"),
    ("42703", "column {path} does not exist"),
    (
        "42703",
        "column \"{name}\" of relation \"{name}\" does not exist",
    ),
    (
        "42703",
        "column \"{name}\" specified in USING clause does not exist in left table",
    ),
    (
        "42703",
        "column \"{name}\" specified in USING clause does not exist in right table",
    ),
    ("42704", "type \"{path}\" does not exist"),
    (
        "42704",
        "collation \"{name}\" for encoding \"UTF8\" does not exist",
    ),
    (
        "42704",
        "constraint \"{name}\" for table \"{name}\" does not exist",
    ),
    ("42712", "table name \"{name}\" specified more than once"),
    ("42725", "function {path}({types}) is not unique"),
    ("42725", "operator is not unique: {type} {op} {type}"),
    (
        "42803",
        "column \"{path}\" must appear in the GROUP BY clause or be used in an aggregate function",
    ),
    (
        "42803",
        "subquery uses ungrouped column \"{path}\" from outer query",
    ),
    ("42803", "aggregate functions are not allowed in {words}"),
    ("42803", "aggregate function calls cannot be nested"),
    (
        "42804",
        "column \"{name}\" is of type {type} but expression is of type {type}",
    ),
    ("42804", "{words} types {type} and {type} cannot be matched"),
    (
        "42804",
        "argument of {words} must be type {type}, not type {type}",
    ),
    ("42804", "CASE types {type} and {type} cannot be matched"),
    (
        "42809",
        "DISTINCT specified, but {name} is not an aggregate function",
    ),
    ("42846", "cannot cast type {type} to {type}"),
    ("42883", "function {path}({types}) does not exist"),
    ("42883", "operator does not exist: {type} {op} {type}"),
    ("42883", "operator does not exist: {op} {type}"),
    (
        "428C9",
        "cannot insert a non-DEFAULT value into column \"{name}\"",
    ),
    ("428C9", "column \"{name}\" can only be updated to DEFAULT"),
    ("42P01", "relation \"{path}\" does not exist"),
    ("42P01", "missing FROM-clause entry for table \"{name}\""),
    (
        "42P01",
        "invalid reference to FROM-clause entry for table \"{name}\"",
    ),
    (
        "42P01",
        "relation \"{name}\" in FOR UPDATE clause not found in FROM clause",
    ),
    ("42P02", "there is no parameter ${n}"),
    ("42P03", "cursor \"{name}\" already exists"),
    ("42P05", "prepared statement \"{name}\" already exists"),
    ("42P08", "inconsistent types deduced for parameter ${n}"),
    ("42P10", "{words} position {n} is not in select list"),
    (
        "42P10",
        "for SELECT DISTINCT, ORDER BY expressions must appear in select list",
    ),
    (
        "42P10",
        "SELECT DISTINCT ON expressions must match initial ORDER BY expressions",
    ),
    (
        "42P10",
        "there is no unique or exclusion constraint matching the ON CONFLICT specification",
    ),
    (
        "42P10",
        "invalid reference to FROM-clause entry for table \"{name}\"",
    ),
    ("42P18", "could not determine data type of parameter ${n}"),
    ("42P20", "window functions are not allowed in {words}"),
    ("44000", "new row violates check option for view \"{name}\""),
    ("55000", "cannot {words} view \"{name}\""),
    ("55P03", "canceling statement due to lock timeout"),
    (
        "55P03",
        "could not obtain lock on row in relation \"{name}\"",
    ),
    ("55P03", "could not obtain lock on relation \"{name}\""),
    ("57014", "canceling statement due to statement timeout"),
    ("57014", "canceling statement due to user request"),
];

/// Details, hints and contexts.
const MORE: &[&str] = &[
    "A field with precision {n}, scale {n} must round to an absolute value less than 10^{n}.",
    "A field with precision {n}, scale {n} must round to an absolute value less than {n}.",
    "COPY {name}, line {n}",
    "COPY {name}, line {n}[: \"{value}\"]",
    "COPY {name}, line {n}, column {name}",
    "COPY {name}, line {n}, column {name}: null input",
    "COPY {name}, line {n}, column {name}[: \"{value}\"]",
    "Column \"{name}\" is a generated column.",
    "Column \"{name}\" is an identity column defined as GENERATED ALWAYS.",
    "Ensure that no rows proposed for insertion within the same command have duplicate constrained values.",
    "Key ({names})[=({value})] already exists.",
    "Key ({names})[=({value})] is not present in table \"{name}\".",
    "Key ({names})[=({value})] is still referenced from table \"{name}\".",
    "Key ({names})[=({value})] is referenced from table \"{name}\".",
    "No function matches the given name and argument types. You might need to add explicit type casts.",
    "No operator matches the given name and argument types. You might need to add explicit type casts.",
    "No operator matches the given name and argument type. You might need to add an explicit type cast.",
    "Could not choose a best candidate function. You might need to add explicit type casts.",
    "Could not choose a best candidate operator. You might need to add explicit type casts.",
    "Perhaps you meant to reference the column \"{path}\".",
    "Perhaps you meant to reference the table alias \"{name}\".",
    "Perhaps you need a different \"datestyle\" setting.",
    "Reason code: {words}.",
    "See server log for query details.",
    "The transaction might succeed if retried.",
    "There is a column named \"{name}\" in table \"{name}\", but it cannot be referenced from this part of the query.",
    "There is an entry for table \"{name}\", but it cannot be referenced from this part of the query.",
    "Use OVERRIDING SYSTEM VALUE to override.",
    "You will need to rewrite or cast the expression.",
];

/// A message without its values; `None` for one that isn't known.
pub(super) fn message(code: &str, message: &str, names: &Names<'_>) -> Option<String> {
    let phrases = MESSAGES.iter().filter(|(of, _)| *of == code);
    phrases
        .into_iter()
        .find_map(|(_, phrase)| told(phrase, message, names))
}

/// A detail, hint or context without its values; `None` for one that isn't known.
pub(super) fn more(text: &str, names: &Names<'_>) -> Option<String> {
    MORE.iter().find_map(|phrase| told(phrase, text, names))
}

/// Every phrase: of messages with their SQLSTATE, of the rest without.
#[cfg(test)]
pub(super) fn all() -> impl Iterator<Item = (Option<&'static str>, &'static str)> {
    let messages = MESSAGES.iter().map(|(code, phrase)| (Some(*code), *phrase));
    messages.chain(MORE.iter().map(|phrase| (None, *phrase)))
}

/// What an error of this SQLSTATE is about, in the manual's own words for the common ones.
pub(super) fn class(code: &str, tag: u8) -> &'static str {
    match code {
        "22P02" => "invalid text representation",
        "22003" => "numeric value out of range",
        "22007" | "22008" => "invalid date or time",
        "22012" => "division by zero",
        "23502" => "a not-null constraint is violated",
        "23503" => "a foreign key constraint is violated",
        "23505" => "a unique constraint is violated",
        "23514" => "a check constraint is violated",
        "25P02" => {
            "current transaction is aborted, commands ignored until end of transaction block"
        }
        "40001" => "could not serialize access",
        "40P01" => "deadlock detected",
        "42501" => "permission denied",
        "42601" => "syntax error",
        "42703" => "a column does not exist",
        "42883" => "a function or operator does not exist",
        "42P01" => "a relation does not exist",
        "55P03" => "a lock is not available",
        "57014" => "canceling statement due to user request or timeout",
        _ if tag == tag::NOTICE_RESPONSE => "the target has a notice",
        _ => "the target reported an error",
    }
}

/// `text` as the phrase has it, without what stands in brackets; `None` if it is another.
fn told(phrase: &str, text: &str, names: &Names<'_>) -> Option<String> {
    let mut out = String::new();
    let mut hidden = false;
    let (mut phrase, mut text) = (phrase, text);
    while let Some(first) = phrase.chars().next() {
        let rest = phrase.get(first.len_utf8()..)?;
        match first {
            '[' | ']' => {
                hidden = first == '[';
                phrase = rest;
            }
            '{' => {
                let (kind, after) = rest.split_once('}')?;
                // Up to where the phrase goes on.
                let until = after.split(['{']).next()?.replace(['[', ']'], "");
                let end = match (until.as_str(), kind) {
                    ("", _) => text.len(),
                    (until, "value") => text.rfind(until)?,
                    (until, _) => text.find(until)?,
                };
                let (piece, behind) = text.split_at_checked(end)?;
                if !may_be(kind, piece, names) {
                    return None;
                }
                if !hidden {
                    out.push_str(piece);
                }
                (phrase, text) = (after, behind);
            }
            _ => {
                text = text.strip_prefix(first)?;
                if !hidden {
                    out.push(first);
                }
                phrase = rest;
            }
        }
    }
    text.is_empty().then_some(out)
}

fn may_be(kind: &str, piece: &str, names: &Names<'_>) -> bool {
    let all = |separator: &str, is: &dyn Fn(&str) -> bool| piece.split(separator).all(is);
    let is_name = |piece: &str| {
        let inner = piece
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'));
        names.has(inner.unwrap_or(piece))
    };
    match kind {
        "value" => true,
        "name" => is_name(piece),
        "path" => all(".", &is_name),
        "names" => all(", ", &is_name),
        "n" => !piece.is_empty() && piece.bytes().all(|b| b.is_ascii_digit()),
        "type" => is_type(piece, names),
        "types" => piece.is_empty() || all(", ", &|piece| is_type(piece, names)),
        "words" => {
            !piece.is_empty()
                && piece.len() <= 80
                && all(" ", &|word| WORDS.contains(&word.trim_end_matches(',')))
        }
        "op" => {
            !piece.is_empty()
                && piece.len() <= 8
                && piece.bytes().all(|b| b"+-*/<>=~!@#%^&|`?".contains(&b))
        }
        _ => false,
    }
}

/// Words that stand for `{words}`: commands, clauses, kinds of objects, reasons of serialization
/// failures (PostgreSQL 15, `predicate.c`).
#[rustfmt::skip]
const WORDS: &[&str] = &[
    "SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "COPY", "FROM", "FOR", "SHARE", "NO", "KEY", "TABLE", "VIEW",
    "CREATE", "ALTER", "DROP", "TRUNCATE", "INDEX", "CONCURRENTLY", "VACUUM", "REINDEX", "DATABASE", "LOCK", "INTO",
    "UNION", "INTERSECT", "EXCEPT", "VALUES", "WHERE", "HAVING", "GROUP", "ORDER", "BY", "LIMIT", "OFFSET", "JOIN/ON",
    "JOIN/USING", "CASE", "COALESCE", "GREATEST", "LEAST", "ARRAY", "IN", "AND", "OR", "NOT", "WHEN", "RETURNING", "SET",
    "FILTER", "CHECK", "DEFAULT", "ON", "CONFLICT", "NULLIF", "CASE/WHEN", "insert", "update", "delete", "from", "into",
    "table", "view", "schema", "sequence", "function", "materialized", "foreign", "database", "column", "relation", "type",
    "conditions", "constraints", "expressions", "functions", "in", "Canceled", "on", "identification", "as", "a", "pivot",
    "during", "write", "read", "commit", "attempt", "conflict", "out", "checking", "to", "pivot,", "with", "old",
    "committed", "writer", "conflict",
];

/// Types as `format_type` has them (PostgreSQL 18, table 8.1 "Data Types"), and those that only
/// messages have.
#[rustfmt::skip]
const TYPES: &[&str] = &[
    "bigint", "bit", "bit varying", "boolean", "box", "bytea", "character", "character varying", "\"char\"", "cidr", "circle",
    "date", "double precision", "inet", "integer", "interval", "json", "jsonb", "line", "lseg", "macaddr", "macaddr8", "money",
    "name", "numeric", "oid", "path", "pg_lsn", "point", "polygon", "real", "record", "regclass", "regproc", "regtype",
    "smallint", "text", "time with time zone", "time without time zone", "time", "timestamp with time zone",
    "timestamp without time zone", "timestamp", "tsquery", "tsvector", "unknown", "uuid", "void", "xml", "int4range",
    "int8range", "numrange", "daterange", "tsrange", "tstzrange", "anyarray", "anyelement", "jsonpath", "xid", "tid",
];

fn is_type(piece: &str, names: &Names<'_>) -> bool {
    let mut base = piece.to_owned();
    while let Some(element) = base.strip_suffix("[]") {
        base = element.to_owned();
    }
    // `character varying(30)`, `timestamp(3) with time zone`.
    if let (Some(open), Some(close)) = (base.find('('), base.find(')'))
        && let Some(modifier) = base.get(open + 1..close)
        && modifier.bytes().all(|b| b.is_ascii_digit() || b == b',')
    {
        base.replace_range(open..=close, "");
    }
    TYPES.contains(&base.as_str()) || names.has(base.trim_matches('"'))
}
