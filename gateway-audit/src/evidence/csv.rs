//! Rows as JSON lines (authoritative) and as CSV (for spreadsheets).

use crate::json::{hex, quoted};
use crate::tree::sha256;

use super::tables::{Cell, Table};

/// Longest cell in a CSV file, characters; a spreadsheet's own limit is 32,767.
const CELL_CHARS_MAX: usize = 32_000;

/// One object per row, members in column order, `null` where a column doesn't apply.
pub(crate) fn to_jsonl(table: &Table) -> Vec<u8> {
    let mut out = String::new();
    for row in &table.rows {
        let members: Vec<String> = table
            .columns
            .iter()
            .zip(row)
            .map(|(column, cell)| {
                let value = match cell {
                    Cell::Empty => "null".to_owned(),
                    Cell::Text(text) => quoted(text),
                    Cell::Int(value) => value.to_string(),
                    Cell::Flag(value) => value.to_string(),
                };
                format!("{}:{value}", quoted(column))
            })
            .collect();
        out.push_str(&format!("{{{}}}\n", members.join(",")));
    }
    out.into_bytes()
}

/// RFC 4180 with a header row. Cells that a spreadsheet would run as a formula get an apostrophe
/// in front; long ones are cut, and say so with the hash of the whole.
///
/// # Errors
/// None in practice: the writer's buffer is memory.
pub(crate) fn to_csv(table: &Table) -> Result<Vec<u8>, csv::Error> {
    let mut writer = csv::WriterBuilder::new()
        .terminator(csv::Terminator::CRLF)
        .from_writer(Vec::new());
    writer.write_record(table.columns)?;
    for row in &table.rows {
        writer.write_record(row.iter().map(|cell| match cell {
            Cell::Empty => String::new(),
            Cell::Text(text) => guarded(text),
            Cell::Int(value) => value.to_string(),
            Cell::Flag(value) => value.to_string(),
        }))?;
    }
    writer
        .into_inner()
        .map_err(|error| csv::Error::from(error.into_error()))
}

fn guarded(text: &str) -> String {
    let mut cell = String::new();
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        cell.push('\'');
    }
    if is_cut(text) {
        cell.extend(text.chars().take(CELL_CHARS_MAX));
        cell.push_str(&format!(
            " [cut, sha256 {}]",
            hex(&sha256(&[text.as_bytes()]))
        ));
    } else {
        cell.push_str(text);
    }
    cell
}

/// Whether a CSV cell doesn't show the whole text.
pub(super) fn is_cut(text: &str) -> bool {
    text.len() > CELL_CHARS_MAX && text.chars().count() > CELL_CHARS_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_starts_a_formula_and_long_ones_are_cut_with_a_hash() {
        for text in ["=1+1", "+1", "-1", "@x", "\tx", "\rx"] {
            assert!(guarded(text).starts_with('\''), "{text:?}");
        }
        assert_eq!(guarded("select 1"), "select 1");
        let long = "é".repeat(CELL_CHARS_MAX + 1);
        let cell = guarded(&long);
        assert!(cell.chars().count() < CELL_CHARS_MAX + 100);
        assert!(cell.contains(&hex(&sha256(&[long.as_bytes()]))));
    }

    #[test]
    fn rows_are_rfc_4180() {
        let table = Table {
            name: "t",
            columns: &["a", "b"],
            rows: vec![
                vec![Cell::Text("x,\"y\"\nz".into()), Cell::Empty],
                vec![Cell::Int(1), Cell::Flag(true)],
            ],
        };
        assert_eq!(
            to_csv(&table).unwrap(),
            b"a,b\r\n\"x,\"\"y\"\"\nz\",\r\n1,true\r\n"
        );
        assert_eq!(
            to_jsonl(&table),
            b"{\"a\":\"x,\\\"y\\\"\\nz\",\"b\":null}\n{\"a\":1,\"b\":true}\n"
        );
    }
}
