//! The forms in which a classified value would still be one.

use std::collections::HashSet;

use super::{arena::Arena, arena::Side, text};
use crate::support::wire::Reply;

/// What must not be in any byte that an agent receives.
pub(super) struct Forms {
    six: HashSet<[u8; 6]>,
    eight: HashSet<[u8; 8]>,
    exact: Vec<Vec<u8>>,
    /// Cells that are classified values, in text and in binary.
    whole: HashSet<Vec<u8>>,
}

impl Forms {
    /// The forms of one side's values, as its own server makes them.
    pub(super) fn of(arena: &Arena, side: Side) -> Self {
        let mut this = Self {
            six: HashSet::new(),
            eight: HashSet::new(),
            exact: Vec::new(),
            whole: HashSet::new(),
        };
        let replies = arena.superuser(&side.direct()).query(&text("forms.sql"));
        for row in replies.iter().filter(|reply| reply.tag == 'D') {
            let cells: Vec<Vec<u8>> = row.cells().into_iter().map(Option::unwrap).collect();
            let bytes = &cells[1];
            match cells[0].as_slice() {
                b"6" => this
                    .six
                    .extend(bytes.windows(6).map(|w| <[u8; 6]>::try_from(w).unwrap())),
                b"8" => this
                    .eight
                    .extend(bytes.windows(8).map(|w| <[u8; 8]>::try_from(w).unwrap())),
                b"whole" => {
                    this.whole.insert(unhex(bytes));
                }
                _ => this.exact.push(unhex(bytes)),
            }
        }
        assert!(this.six.len() > 200, "{}", this.six.len());
        this
    }

    /// The first piece of a classified value in these bytes.
    pub(super) fn find(&self, bytes: &[u8]) -> Option<String> {
        let six = bytes
            .windows(6)
            .find(|w| <[u8; 6]>::try_from(*w).is_ok_and(|w| self.six.contains(&w)));
        let found = six
            .or_else(|| {
                bytes
                    .windows(8)
                    .find(|w| <[u8; 8]>::try_from(*w).is_ok_and(|w| self.eight.contains(&w)))
            })
            .or_else(|| {
                let exact = self.exact.iter().map(Vec::as_slice);
                exact
                    .into_iter()
                    .find(|e| bytes.windows(e.len()).any(|w| w == *e))
            });
        found.map(|found| found.escape_ascii().to_string())
    }

    /// Whether a cell is a classified value, or has a piece of one.
    pub(super) fn is_classified(&self, cell: &[u8]) -> bool {
        self.whole.contains(cell) || self.find(cell).is_some()
    }

    /// The same, but for pieces of digits alone, which times, counters and ids have too, and for what
    /// `said` has itself.
    pub(super) fn find_lettered(&self, bytes: &[u8], said: &str) -> Option<String> {
        let pieces = bytes.windows(6);
        let found = pieces
            .filter(|w| {
                w.iter()
                    .any(|byte| byte.is_ascii_alphabetic() && !byte.is_ascii_hexdigit())
            })
            .filter(|w| <[u8; 6]>::try_from(*w).is_ok_and(|w| self.six.contains(&w)))
            .map(|w| w.escape_ascii().to_string());
        found.into_iter().find(|piece| !said.contains(piece))
    }

    /// The first piece of a classified value in what a server said, however it was cut up: message by
    /// message, all cells of a conversation in a row, each column by itself, numbers as characters,
    /// SQLSTATEs in a row.
    pub(super) fn heard(&self, replies: &[Reply]) -> Option<String> {
        if let Some(found) = replies.iter().find_map(|reply| self.find(&reply.body)) {
            return Some(found);
        }
        let mut columns: Vec<Vec<u8>> = vec![Vec::new()];
        let mut numbers = Vec::new();
        let mut states = Vec::new();
        for reply in replies {
            match reply.tag {
                'D' => {
                    for (at, cell) in reply.cells().into_iter().enumerate() {
                        let cell = cell.unwrap_or_default();
                        if columns.len() < at + 2 {
                            columns.push(Vec::new());
                        }
                        numbers.extend(number(&cell));
                        columns[0].extend_from_slice(&cell);
                        columns[at + 1].extend(cell);
                    }
                }
                'd' => columns[0].extend_from_slice(reply.body.trim_ascii_end()),
                'E' => states.extend(reply.field(b'C').into_bytes()),
                _ => {}
            }
        }
        columns.push(numbers);
        columns.push(states.to_ascii_lowercase());
        columns.push(states);
        columns.iter().find_map(|bytes| self.find(bytes))
    }
}

/// The character that a cell is the number of, in text or in binary.
fn number(cell: &[u8]) -> Option<u8> {
    match cell {
        [0, 0, 0, byte] => Some(*byte),
        text => std::str::from_utf8(text).ok()?.parse().ok(),
    }
}

/// The bytes of hexadecimal digits.
pub(super) fn unhex(digits: &[u8]) -> Vec<u8> {
    let pairs = digits
        .chunks(2)
        .map(|pair| std::str::from_utf8(pair).unwrap());
    pairs
        .map(|pair| u8::from_str_radix(pair, 16).unwrap())
        .collect()
}
