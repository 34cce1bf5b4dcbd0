//! Rows as JSON lines (authoritative) and as CSV (for spreadsheets).

use crate::json::{hex, quoted};
use crate::tree::sha256;

use super::cells::Cell;
use super::tables::Table;

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
                    Cell::Text(text) => escaped(text),
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
/// in front; invisible characters are shown as `\u{202e}`; long cells are cut, and say so with the
/// hash of the whole. Spreadsheets that split at other characters than commas (semicolons, in some
/// countries) must be told to import by commas.
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

/// A JSON string in which every invisible character is escaped: what a terminal or an editor shows of
/// a line is what it says.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in quoted(text).chars() {
        if invisible(c) {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            out.push(c);
        }
    }
    out
}

/// Characters that change how others are shown, or that a terminal obeys: controls (C0 without line
/// breaks and tabs, DEL, C1), the bidirectional controls of UAX #9, section 2 ("Directional Formatting
/// Characters"), zero-width ones, line and paragraph separators, the byte order mark, tags.
pub(crate) const fn invisible(c: char) -> bool {
    matches!(c,
        '\0'..='\x08' | '\x0b' | '\x0c' | '\x0e'..='\x1f' | '\x7f'..='\u{9f}'
        | '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Whether a spreadsheet may take a cell for a formula: by its first character that isn't a space,
/// full-width forms included, or by a leading tab or line break.
fn may_be_formula(text: &str) -> bool {
    text.starts_with(['\t', '\r', '\n'])
        || text.trim_start().starts_with([
            '=', '+', '-', '@', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}',
        ])
}

fn guarded(text: &str) -> String {
    let mut cell = String::new();
    if may_be_formula(text) {
        cell.push('\'');
    }
    let show = |c: char| {
        let escape = invisible(c).then(|| format!("\\u{{{:04x}}}", u32::from(c)));
        let plain = (!invisible(c)).then_some(c);
        escape
            .into_iter()
            .flat_map(|escape| escape.chars().collect::<Vec<_>>())
            .chain(plain)
    };
    if is_cut(text) {
        cell.extend(text.chars().take(CELL_CHARS_MAX).flat_map(show));
        cell.push_str(&format!(
            " [cut, sha256 {}]",
            hex(&sha256(&[text.as_bytes()]))
        ));
    } else {
        cell.extend(text.chars().flat_map(show));
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
        for text in [
            "=1+1",
            "+1",
            "-1",
            "@x",
            "\tx",
            "\rx",
            "\n=1",
            "  =1",
            "\u{a0}=1",
            "\u{ff1d}1",
        ] {
            assert!(guarded(text).starts_with('\''), "{text:?}");
        }
        assert_eq!(guarded("select 1"), "select 1");
        let long = "é".repeat(CELL_CHARS_MAX + 1);
        let cell = guarded(&long);
        assert!(cell.chars().count() < CELL_CHARS_MAX + 100);
        assert!(cell.contains(&hex(&sha256(&[long.as_bytes()]))));
    }

    #[test]
    fn nothing_in_a_row_is_invisible() {
        let text = "a\0b\x1b[2J\u{202e}c\u{2028}\u{9b}\u{200b}\u{e0041}\nd\te";
        let table = Table {
            name: "t",
            columns: &["a"],
            rows: vec![vec![Cell::Text(text.into())]],
        };
        let json = String::from_utf8(to_jsonl(&table)).unwrap();
        let read: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(read["a"], text, "nothing is lost");
        let csv = String::from_utf8(to_csv(&table).unwrap()).unwrap();
        for written in [json, csv] {
            assert!(!written.chars().any(invisible), "{written}");
        }
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
