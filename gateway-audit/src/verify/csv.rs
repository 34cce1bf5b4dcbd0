//! A reader of CSV, and what a cell must look like.

use serde_json::Value;

use super::leaves::{hex, sha256};

/// Longest cell, characters.
const CELL_CHARS_MAX: usize = 32_000;

/// Records of RFC 4180 text that ends every record with CRLF; `None` when it isn't that.
pub(super) fn read(bytes: &[u8]) -> Option<Vec<Vec<String>>> {
    let mut rest = std::str::from_utf8(bytes).ok()?;
    let (mut records, mut record) = (Vec::new(), Vec::new());
    while !rest.is_empty() {
        let (cell, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_cell(quoted)?,
            None => {
                let end = rest.find([',', '\r', '\n', '"'])?;
                let (cell, after) = rest.split_at_checked(end)?;
                (cell.to_owned(), after)
            }
        };
        record.push(cell);
        if let Some(next) = after.strip_prefix(',') {
            rest = next;
        } else {
            rest = after.strip_prefix("\r\n")?;
            records.push(std::mem::take(&mut record));
        }
    }
    record.is_empty().then_some(records)
}

/// The cell up to its closing quote, and what follows.
fn quoted_cell(mut rest: &str) -> Option<(String, &str)> {
    let mut cell = String::new();
    loop {
        let (text, after) = rest.split_once('"')?;
        cell.push_str(text);
        match after.strip_prefix('"') {
            Some(next) => {
                cell.push('"');
                rest = next;
            }
            None => return Some((cell, after)),
        }
    }
}

/// Whether `cell` is how a spreadsheet may be shown `value`: no formula, nothing invisible, cut with a hash.
pub(super) fn shows(cell: &str, value: &Value) -> bool {
    let text = match value {
        Value::Null => return cell.is_empty(),
        Value::Bool(value) => return cell == value.to_string(),
        Value::Number(number) => return cell == number.to_string(),
        Value::String(text) => text,
        Value::Array(_) | Value::Object(_) => return false,
    };
    if cell.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']) {
        return false;
    }
    if cell
        .chars()
        .any(|c| c.is_control() && !matches!(c, '\t' | '\r' | '\n'))
    {
        return false;
    }
    let (length, suffix) = match text.chars().count() {
        count if count > CELL_CHARS_MAX => (
            CELL_CHARS_MAX,
            format!(" [cut, sha256 {}]", hex(&sha256(&[text.as_bytes()]))),
        ),
        count => (count, String::new()),
    };
    let Some(cell) = cell.strip_suffix(&suffix) else {
        return false;
    };
    spells(cell, text, length)
        || cell
            .strip_prefix('\'')
            .is_some_and(|cell| spells(cell, text, length))
}

/// Whether `cell` is the first `length` characters of `text`, each as it is or as `\u{hex}`.
fn spells(cell: &str, text: &str, length: usize) -> bool {
    let mut rest = cell;
    for c in text.chars().take(length) {
        let escaped = format!("\\u{{{:04x}}}", u32::from(c));
        match rest.strip_prefix(c).or_else(|| rest.strip_prefix(&escaped)) {
            Some(after) => rest = after,
            None => return false,
        }
    }
    rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_as_rfc_4180_writes_them() {
        let read = |text: &str| read(text.as_bytes());
        let expected = vec![
            vec!["a".to_owned(), "b".into()],
            vec!["x,\"y\"\nz".into(), String::new()],
        ];
        assert_eq!(read("a,b\r\n\"x,\"\"y\"\"\nz\",\r\n"), Some(expected));
        for bad in ["a,b", "a\n", "\"a\r\n", "a\"b\r\n", "\"a\"b\r\n", "a,"] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_cell_shows_its_text_and_is_no_formula() {
        let text = |text: &str| Value::from(text);
        assert!(shows("'=1", &text("=1")) && !shows("=1", &text("=1")));
        assert!(shows("a\\u{202e}b", &text("a\u{202e}b")) && !shows("ab", &text("a\u{202e}b")));
        assert!(!shows("a\x1b", &text("a\x1b")) && shows("a\\u{001b}", &text("a\x1b")));
        assert!(shows("", &Value::Null) && shows("7", &7.into()) && !shows("8", &7.into()));
        let long = "y".repeat(CELL_CHARS_MAX + 1);
        assert!(!shows(&long, &text(&long)));
        let hash = hex(&sha256(&[long.as_bytes()]));
        let cut = format!("{} [cut, sha256 {hash}]", "y".repeat(CELL_CHARS_MAX));
        assert!(shows(&cut, &text(&long)));
    }
}
