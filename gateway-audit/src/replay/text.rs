//! Text of recordings: from bytes that may be cut anywhere and may be no text.

use crate::evidence::invisible;

/// Splits a stream of bytes into characters and bytes that are none (UTF-8, RFC 3629).
#[derive(Clone, Debug, Default)]
pub(super) struct Decoder {
    /// The beginning of a character, at most 3 bytes.
    begun: Vec<u8>,
}

impl Decoder {
    pub(super) fn push(&mut self, bytes: &[u8], each: &mut dyn FnMut(Result<char, u8>)) {
        let mut joined = std::mem::take(&mut self.begun);
        let mut rest = if joined.is_empty() {
            bytes
        } else {
            joined.extend_from_slice(bytes);
            &joined
        };
        loop {
            let (valid, after, invalid) = match std::str::from_utf8(rest) {
                Ok(text) => (text, &[][..], Some(0)),
                Err(error) => {
                    let (valid, after) = rest.split_at(error.valid_up_to());
                    let valid = std::str::from_utf8(valid).unwrap_or_default();
                    (valid, after, error.error_len())
                }
            };
            valid.chars().for_each(|c| each(Ok(c)));
            let Some(invalid) = invalid else {
                self.begun = after.to_vec();
                return;
            };
            if after.is_empty() {
                return;
            }
            let (wrong, after) = after.split_at(invalid.min(after.len()));
            wrong.iter().for_each(|byte| each(Err(*byte)));
            rest = after;
        }
    }

    /// The bytes of a character that was never finished.
    pub(super) fn finish(&mut self, each: &mut dyn FnMut(u8)) {
        self.begun.drain(..).for_each(each);
    }
}

/// Whether a character hides itself or moves others: what listings escape, and further characters of
/// no width (Unicode 16, `Default_Ignorable_Code_Point`).
pub(super) const fn hides(c: char) -> bool {
    invisible(c)
        || matches!(c,
            '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}' | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}
