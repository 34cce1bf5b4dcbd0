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
    pub(crate) fn redact(&self, text: &str, ranges: &[Range<usize>]) -> String {
        self.redact_ranges(text, ranges)
            .unwrap_or_else(|| self.token(text.as_bytes()))
    }

    fn redact_ranges(&self, text: &str, ranges: &[Range<usize>]) -> Option<String> {
        let mut ranges: Vec<_> = ranges.to_vec();
        ranges.sort_unstable_by_key(|range| (range.start, range.end));
        let (mut out, mut from) = (String::with_capacity(text.len()), 0);
        for range in ranges {
            let start = range.start.max(from);
            if range.end <= start {
                continue;
            }
            out.push_str(text.get(from..start)?);
            out.push_str(&self.token(text.get(start..range.end)?.as_bytes()));
            from = range.end;
        }
        out.push_str(text.get(from..)?);
        Some(out)
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
            let out = sealer.redact(text, ranges);
            assert!(!out.contains("ann") && !out.contains("bob"), "{out}");
            assert!(out.contains("hmac:"), "{out}");
        }
        assert_eq!(sealer.redact(text, &[]), text);
        assert_eq!(
            sealer.redact("é'x'", &[1..3, 4..5]),
            sealer.token("é'x'".as_bytes()),
            "not on a character"
        );
    }

    #[test]
    fn tokens_depend_on_the_key_and_the_value() {
        let (a, b) = (Sealer::new(&[1; 32]), Sealer::new(&[2; 32]));
        assert_eq!(a.token(b"v"), a.token(b"v"));
        assert_ne!(a.token(b"v"), b.token(b"v"));
        assert_ne!(a.token(b"v"), a.token(b"w"));
    }
}
