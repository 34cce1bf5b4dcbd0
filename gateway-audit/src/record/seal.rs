//! Salts, commitments and tokens.

use std::ops::Range;

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::{hmac, rand};

use crate::json::hex;
use crate::log::Salt;
use crate::tree::{Hash, sha256};

/// `SHA-256(0x10 || salt || body)`, field `bh`.
pub(crate) fn body_hash(salt: &Salt, body: &[u8]) -> Hash {
    sha256(&[&[0x10], salt, body])
}

/// `SHA-256(0x12 || salt || request)`, field `rq`.
pub(crate) fn request_commitment(salt: &Salt, request: &[&[u8]]) -> Hash {
    let mut parts: Vec<&[u8]> = vec![&[0x12], salt];
    parts.extend_from_slice(request);
    sha256(&parts)
}

/// Holds the key of `hmac:` tokens. It never leaves the log directory.
pub(crate) struct Sealer {
    tokens: hmac::Key,
}

impl Sealer {
    pub(crate) fn new(token_key: &[u8; 32]) -> Self {
        Self {
            tokens: hmac::Key::new(hmac::HMAC_SHA256, token_key),
        }
    }

    /// A fresh salt; fails when the machine has no randomness.
    pub(crate) fn salt() -> Result<Salt, Unspecified> {
        let mut salt = Salt::default();
        rand::fill(&mut salt)?;
        Ok(salt)
    }

    /// Stands for a value that must not be stored: equal values have equal tokens within one log.
    pub(crate) fn token(&self, value: &[u8]) -> String {
        let tag = hmac::sign(&self.tokens, value);
        format!("hmac:{}", hex(tag.as_ref().get(..16).unwrap_or_default()))
    }

    /// `text` with a token in place of each of `ranges`; the whole text becomes one token when a range
    /// doesn't fit it.
    pub(crate) fn redact(&self, text: &str, ranges: &[Range<usize>]) -> Redacted {
        self.redact_ranges(text, ranges).unwrap_or_else(|| {
            let token = self.token(text.as_bytes());
            Redacted {
                replaced: vec![(0..text.len(), 0..token.len())],
                text: token,
            }
        })
    }

    fn redact_ranges(&self, text: &str, ranges: &[Range<usize>]) -> Option<Redacted> {
        let mut ranges: Vec<_> = ranges.to_vec();
        ranges.sort_unstable_by_key(|range| (range.start, range.end));
        let (mut out, mut from) = (String::with_capacity(text.len()), 0);
        let mut replaced = Vec::new();
        for range in ranges {
            let start = range.start.max(from);
            if range.end <= start {
                continue;
            }
            out.push_str(text.get(from..start)?);
            let stored = out.len();
            out.push_str(&self.token(text.get(start..range.end)?.as_bytes()));
            replaced.push((start..range.end, stored..out.len()));
            from = range.end;
        }
        out.push_str(text.get(from..)?);
        Some(Redacted {
            text: out,
            replaced,
        })
    }
}

/// A text with tokens in place of what must not be stored.
#[derive(Debug)]
pub(crate) struct Redacted {
    pub(crate) text: String,
    /// What each token stands for, and where it is: byte ranges of the original and of `text`, ascending.
    replaced: Vec<(Range<usize>, Range<usize>)>,
}

impl Redacted {
    /// Where a byte range of the original is in `text`. A token is inside as a whole or not at all.
    pub(crate) fn stored(&self, span: &Range<usize>) -> Range<usize> {
        let start = self.position(span.start, |token| token.start);
        start..self.position(span.end, |token| token.end).max(start)
    }

    fn position(&self, at: usize, inside: fn(&Range<usize>) -> usize) -> usize {
        let before = self
            .replaced
            .partition_point(|(original, _)| original.start < at);
        let position = match before
            .checked_sub(1)
            .and_then(|last| self.replaced.get(last))
        {
            None => at,
            Some((original, token)) if at < original.end => inside(token),
            Some((original, token)) => token.end + (at - original.end),
        };
        position.min(self.text.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redaction_leaves_nothing_of_a_marked_range() {
        let sealer = Sealer::new(&[3; 32]);
        let text = "where email = 'ann@x' or email = 'bob@y'";
        let past_the_end = std::iter::once(14..99).collect::<Vec<_>>();
        let cases: [&[Range<usize>]; 5] = [
            &[14..21, 33..40],
            &[33..40, 14..21],
            &[14..21, 16..19, 33..40],
            &[14..18, 17..21, 33..40],
            &past_the_end,
        ];
        for ranges in cases {
            let out = sealer.redact(text, ranges).text;
            assert!(!out.contains("ann") && !out.contains("bob"), "{out}");
            assert!(out.contains("hmac:"), "{out}");
        }
        assert_eq!(sealer.redact(text, &[]).text, text);
        assert_eq!(
            sealer.redact("é'x'", &[1..3, 4..5]).text,
            sealer.token("é'x'".as_bytes()),
            "not on a character"
        );
    }

    #[test]
    fn a_statement_is_found_again_between_tokens() {
        let sealer = Sealer::new(&[3; 32]);
        let text = "select 'a'; select 'bb', 1; commit";
        let token = |value: &str| sealer.token(value.as_bytes());
        let redacted = sealer.redact(text, &[7..10, 19..23]);
        let stored = |span: Range<usize>| {
            redacted
                .text
                .get(redacted.stored(&span))
                .unwrap()
                .to_owned()
        };
        assert_eq!(stored(0..10), format!("select {}", token("'a'")));
        assert_eq!(stored(12..26), format!("select {}, 1", token("'bb'")));
        assert_eq!(stored(28..34), "commit");
        assert_eq!(stored(8..9), token("'a'"), "never part of a token");
        assert_eq!(stored(30..99), "mmit", "never past the end");
        let inside_a_character = 1..3;
        let whole = sealer.redact("é'x'", std::slice::from_ref(&inside_a_character));
        assert_eq!(whole.stored(&(2..4)), 0..whole.text.len());
    }

    #[test]
    fn tokens_depend_on_the_key_and_the_value() {
        let (a, b) = (Sealer::new(&[1; 32]), Sealer::new(&[2; 32]));
        assert_eq!(a.token(b"v"), a.token(b"v"));
        assert_ne!(a.token(b"v"), b.token(b"v"));
        assert_ne!(a.token(b"v"), a.token(b"w"));
    }
}
