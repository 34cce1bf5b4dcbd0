//! Where values may stand in a text: found by a lexer of its own, so that texts which don't parse
//! have their values covered too.

use std::ops::Range;

/// Byte ranges of all constants and comments of `text`, in order.
///
/// Covers string constants in all spellings (`'…'`, `E'…'`, `U&'…'`, `B'…'`, `$tag$…$tag$`), numbers
/// and comments (PostgreSQL 18, 4.1.2 "Constants" and 4.1.5 "Comments"). Errs on the side of too
/// much: what has no end extends to the end of the text. Quoted identifiers are not covered.
pub(super) fn literals(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    lex(text.as_bytes(), |token, range| {
        if token == Token::Value {
            found.push(range);
        }
    });
    found
}

/// Number of tokens in `text`, comments included, white space not; each byte of a multi-byte
/// operator counts.
pub(super) fn token_count(text: &str) -> usize {
    let mut count = 0;
    lex(text.as_bytes(), |token, _| {
        count += usize::from(token != Token::Space)
    });
    count
}

/// The byte at which each token begins, as [`token_count`] counts them.
pub(super) fn starts(text: &str) -> Vec<usize> {
    let mut found = Vec::new();
    lex(text.as_bytes(), |token, range| {
        if token != Token::Space {
            found.push(range.start);
        }
    });
    found
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Token {
    /// A constant or a comment.
    Value,
    /// A name, a keyword, a parameter, a byte of an operator.
    Other,
    /// One byte of white space.
    Space,
}

fn lex(bytes: &[u8], mut visit: impl FnMut(Token, Range<usize>)) {
    use Token::{Other, Space, Value};
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let rest = bytes.get(at..).unwrap_or_default();
        let tail = rest.get(1..).unwrap_or_default();
        let (token, length) = match byte {
            b'\'' => (Value, quoted(rest, b'\'', false)),
            b'"' => (Other, quoted(rest, b'"', false)),
            b'-' if rest.starts_with(b"--") => (Value, line_comment(rest)),
            b'/' if rest.starts_with(b"/*") => (Value, block_comment(rest)),
            b'$' => match dollar_quoted(rest) {
                Some(length) => (Value, length),
                None => (Other, 1 + word(tail)),
            },
            b'0'..=b'9' => (Value, number(rest)),
            b'.' if tail.first().is_some_and(u8::is_ascii_digit) => (Value, number(rest)),
            b'e' | b'E' if tail.first() == Some(&b'\'') => (Value, 1 + quoted(tail, b'\'', true)),
            _ if is_word(byte) => (Other, word(rest)),
            _ if byte.is_ascii_whitespace() => (Space, 1),
            _ => (Other, 1),
        };
        // Every branch takes a byte at least; the bound makes an endless loop unthinkable.
        let end = at + length.max(1);
        visit(token, at..end);
        at = end;
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}

fn word(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| is_word(**byte)).count()
}

fn number(bytes: &[u8]) -> usize {
    let mut previous = 0;
    bytes
        .iter()
        .take_while(|byte| {
            let sign = matches!(**byte, b'+' | b'-') && matches!(previous, b'e' | b'E');
            previous = **byte;
            byte.is_ascii_alphanumeric() || matches!(**byte, b'.' | b'_') || sign
        })
        .count()
}

/// Length of a quoted token that begins `bytes`, both quotes included. A doubled quote needs no
/// care: it reads as two tokens that touch.
fn quoted(bytes: &[u8], quote: u8, escapes: bool) -> usize {
    let mut escaped = false;
    for (index, &byte) in bytes.iter().enumerate().skip(1) {
        if escaped {
            escaped = false;
        } else if escapes && byte == b'\\' {
            escaped = true;
        } else if byte == quote {
            // Within an escape string a doubled quote must not end the escapes.
            if escapes && bytes.get(index + 1) == Some(&quote) {
                escaped = true;
                continue;
            }
            return index + 1;
        }
    }
    bytes.len()
}

fn line_comment(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .take_while(|byte| !matches!(**byte, b'\n' | b'\r'))
        .count()
}

fn block_comment(bytes: &[u8]) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        if rest.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    bytes.len()
}

/// Length of a dollar-quoted string that begins `bytes`, or `None` where the dollar begins none.
fn dollar_quoted(bytes: &[u8]) -> Option<usize> {
    let body = bytes.get(1..)?;
    if body.first().is_some_and(u8::is_ascii_digit) {
        return None;
    }
    let tag = body
        .iter()
        .take_while(|byte| is_word(**byte) && **byte != b'$')
        .count();
    if body.get(tag) != Some(&b'$') {
        return None;
    }
    let delimiter = bytes.get(..tag + 2)?;
    let rest = bytes.get(delimiter.len()..)?;
    let end = rest
        .windows(delimiter.len())
        .position(|window| window == delimiter);
    Some(end.map_or(bytes.len(), |end| end + 2 * delimiter.len()))
}

#[cfg(test)]
mod tests {
    use super::literals;

    #[test]
    fn constants_and_comments_are_covered_in_every_spelling() {
        let cases: &[(&str, &[&str])] = &[
            ("select a1, $1 from t", &[]),
            ("where a = 'x' and b=12.5e-3", &["'x'", "12.5e-3"]),
            (r"E'a\'b''c' x", &[r"E'a\'b''c'"]),
            ("'a''b'", &["'a'", "'b'"]),
            (
                "U&'d\\0061' N'x' B'01' \"id 1\"",
                &["'d\\0061'", "'x'", "'01'"],
            ),
            ("$$a$$ $t$ $$ $t$ a$$b", &["$$a$$", "$t$ $$ $t$"]),
            (
                "-- c\r1 /* a /* b */ 2 */ x",
                &["-- c", "1", "/* a /* b */ 2 */"],
            ),
            ("'open", &["'open"]),
            ("/* open", &["/* open"]),
            ("$x$ open", &["$x$ open"]),
            ("a.1 .5 t1", &[".1", ".5"]),
        ];
        for (text, expected) in cases {
            let found: Vec<&str> = literals(text)
                .into_iter()
                .map(|range| text.get(range).unwrap())
                .collect();
            assert_eq!(found, *expected, "{text}");
        }
    }
}
