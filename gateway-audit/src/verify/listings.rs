//! The listings of a package.

use std::io::{Read, Seek};

use serde_json::{Map, Value};

use super::Problems;
use super::balance::Balance;
use super::citations::cited;
use super::csv;
use super::files::Files;
use super::leaves::{hex, sha256};
use crate::evidence::{Cell, Range, TABLES, Table, populations, to_csv, to_jsonl};

pub(super) type Row = Map<String, Value>;

/// Rebuilds every listing and compares it byte for byte; then checks each a second time against the
/// leaves, without the exporter's functions. Returns the number of rows.
pub(super) fn check<P: Read + Seek>(
    files: &mut Files<P>,
    range: &Range,
    problems: &mut Problems,
) -> u64 {
    let mut tables: Vec<Table> = TABLES.iter().map(|listing| listing.build(range)).collect();
    let hashes = tables.iter().map(|table| {
        (
            format!("{}.jsonl", table.name),
            hex(&sha256(&[&to_jsonl(table)])),
        )
    });
    let hashes = hashes.collect();
    let sheet = populations(range, &tables, &hashes);
    for (row, cells) in (1..).zip(&sheet.rows) {
        if cells.last() != Some(&Cell::Text("holds".into())) {
            problems.wrong(
                "populations.jsonl",
                Some(row),
                None,
                "an identity does not hold",
            );
        }
    }
    tables.push(sheet);
    let balance = Balance::of(range);
    for (leaf, what) in &balance.broken {
        problems.wrong("leaves/headers.jsonl", None, Some(*leaf), what.clone());
    }
    let mut populations = Vec::new();
    for table in &tables {
        let expected = to_jsonl(table);
        let lines_name = format!("{}.jsonl", table.name);
        let lines = files.read(&lines_name, problems);
        if let Some(found) = &lines {
            compare(&lines_name, &expected, found, table, 0, problems);
        }
        let name = format!("{}.csv", table.name);
        let sheet = files.read(&name, problems);
        match (to_csv(table), &sheet) {
            (Ok(expected), Some(found)) => compare(&name, &expected, found, table, 1, problems),
            (Err(error), _) => problems.wrong(&name, None, None, error.to_string()),
            (Ok(_), None) => {}
        }
        let Some(rows) = lines.and_then(|lines| rows(&lines_name, &lines, problems)) else {
            continue;
        };
        if let Some(sheet) = sheet {
            same_rows(&name, &rows, &sheet, problems);
        }
        if table.name == "populations" {
            populations = rows;
        } else {
            cited(&lines_name, table.name, &rows, range, problems);
        }
    }
    balance.compare(&populations, problems);
    approvals(range, problems);
    tables.iter().map(|table| table.rows.len() as u64).sum()
}

/// Names the first line that differs, and the leaf that its row should cite.
fn compare(
    name: &str,
    expected: &[u8],
    found: &[u8],
    table: &Table,
    heading: u64,
    problems: &mut Problems,
) {
    if expected == found {
        return;
    }
    let (mut expected, mut found) = (
        expected.split(|b| *b == b'\n'),
        found.split(|b| *b == b'\n'),
    );
    let mut line = 0u64;
    loop {
        line += 1;
        let (ours, theirs) = (expected.next(), found.next());
        if ours != theirs || ours.is_none() {
            break;
        }
    }
    let row = usize::try_from(line - heading.min(line - 1))
        .ok()
        .and_then(|row| table.rows.get(row.saturating_sub(1)));
    let leaf = row
        .and_then(|row| row.iter().rev().nth(1))
        .and_then(|cell| match cell {
            Cell::Int(index) => Some(*index),
            Cell::Empty | Cell::Text(_) | Cell::Flag(_) => None,
        });
    problems.wrong(name, Some(line), leaf, "it is not what the leaves say");
}

/// What was approved is what ran, and nobody approved an agent of their own.
fn approvals(range: &Range, problems: &mut Problems) {
    let Some(listing) = TABLES.iter().find(|listing| listing.name == "approvals") else {
        return;
    };
    let table = listing.build(range);
    let column = |name: &str| table.columns.iter().position(|column| *column == name);
    let (matched, owner, index) = (
        column("content_match"),
        column("approver_is_owner"),
        column("leaf_index"),
    );
    for (row, cells) in (1..).zip(&table.rows) {
        let cell = |column: Option<usize>| column.and_then(|column| cells.get(column));
        let leaf = match cell(index) {
            Some(Cell::Int(index)) => Some(*index),
            _ => None,
        };
        if cell(matched) == Some(&Cell::Flag(false)) {
            problems.wrong(
                "approvals.jsonl",
                Some(row),
                leaf,
                "what ran is not what was approved",
            );
        }
        if cell(owner) == Some(&Cell::Flag(true)) {
            problems.wrong(
                "approvals.jsonl",
                Some(row),
                leaf,
                "the agent's owner approved",
            );
        }
    }
}

/// The rows of a listing, read as JSON; `None` when a line isn't an object.
fn rows(name: &str, lines: &[u8], problems: &mut Problems) -> Option<Vec<Row>> {
    let lines = lines.strip_suffix(b"\n").unwrap_or(lines);
    let lines = lines.split(|byte| *byte == b'\n');
    let mut rows = Vec::new();
    for (row, line) in (1..).zip(lines.filter(|line| !line.is_empty())) {
        match serde_json::from_slice(line) {
            Ok(Value::Object(members)) => rows.push(members),
            _ => {
                problems.wrong(name, Some(row), None, "the line is not a JSON object");
                return None;
            }
        }
    }
    Some(rows)
}

/// A CSV file shows what the authoritative rows say, cell by cell.
fn same_rows(name: &str, rows: &[Row], sheet: &[u8], problems: &mut Problems) {
    let Some(records) = csv::read(sheet) else {
        problems.wrong(name, None, None, "it is not CSV (RFC 4180)");
        return;
    };
    let Some((columns, records)) = records.split_first() else {
        problems.wrong(name, None, None, "it has no header row");
        return;
    };
    if records.len() != rows.len() {
        let what = format!(
            "it has {} rows, and the .jsonl {}",
            records.len(),
            rows.len()
        );
        problems.wrong(name, None, None, what);
    }
    for (number, (record, row)) in (2..).zip(records.iter().zip(rows)) {
        let same = record.len() == columns.len()
            && columns.len() == row.len()
            && columns
                .iter()
                .zip(record)
                .all(|(column, cell)| row.get(column).is_some_and(|value| csv::shows(cell, value)));
        if !same {
            let what = "it does not show what the .jsonl says";
            problems.wrong(name, Some(number), None, what);
        }
    }
}
