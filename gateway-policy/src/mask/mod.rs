//! What leaves in place of a classified value.

mod classify;
mod date;
mod detect;
mod transform;

use std::fmt;

use aws_lc_rs::hmac;
use gateway_core::id::ClassName;

pub(crate) use classify::classify;
pub use classify::{Classification, ClassifyError, UnmatchedEntry};
pub(crate) use date::Civil;
pub(crate) use detect::{DataKind, Detection, Detectors};

/// Key of the keyed methods. Whoever holds it can confirm guesses: keep it as a secret.
#[derive(Clone)]
pub struct MaskKey(hmac::Key);

/// A mask key is at least 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a mask key is at least 32 bytes")]
pub struct MaskKeyTooShort;

impl MaskKey {
    /// Takes a key of at least 32 random bytes, for HMAC-SHA256 (RFC 2104).
    ///
    /// # Errors
    /// [`MaskKeyTooShort`].
    pub fn new(bytes: &[u8]) -> Result<Self, MaskKeyTooShort> {
        if bytes.len() < 32 {
            return Err(MaskKeyTooShort);
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, bytes)))
    }

    /// Authenticates `value` under a class: equal values of one class have equal tags, values of
    /// different classes don't.
    fn tag(&self, class: &ClassName, value: &[u8]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(class.as_str().as_bytes());
        context.update(&[0]);
        context.update(value);
        context.sign()
    }
}

impl fmt::Debug for MaskKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MaskKey(..)")
    }
}

/// How a class is masked.
#[derive(Clone, Debug)]
pub(crate) enum Method {
    /// A fixed text.
    Redact { with: String },
    /// `****@domain` of a mail address.
    KeepDomain,
    /// The first characters, then `****`.
    KeepFirst(usize),
    /// `****`, then the last characters.
    KeepLast(usize),
    /// SQL NULL.
    Null,
    /// Dates and timestamps, down to the first moment of their interval.
    Truncate(Interval),
    /// Integers, down to a multiple of the width.
    Bucket(i64),
    /// 64 hex digits of a keyed hash.
    Hash { key: MaskKey, class: ClassName },
    /// The class and 16 hex digits of a keyed hash.
    Pseudonym { key: MaskKey, class: ClassName },
}

/// What a date is cut down to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interval {
    Year,
    Month,
}

impl Method {
    /// The name in evidence.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Redact { .. } => "redact",
            Self::KeepDomain | Self::KeepFirst(_) | Self::KeepLast(_) => "partial",
            Self::Null => "null",
            Self::Truncate(_) | Self::Bucket(_) => "generalise",
            Self::Hash { .. } => "hash",
            Self::Pseudonym { .. } => "pseudonym",
        }
    }

    /// Whether it makes valid values of this kind, in text and in binary.
    pub(crate) const fn fits(&self, kind: Kind) -> bool {
        match self {
            Self::Null => true,
            Self::Redact { .. } => {
                matches!(kind, Kind::Text | Kind::Name | Kind::Json | Kind::Jsonb)
            }
            Self::KeepDomain | Self::KeepFirst(_) | Self::KeepLast(_) | Self::Pseudonym { .. } => {
                matches!(kind, Kind::Text)
            }
            Self::Hash { .. } => matches!(kind, Kind::Text),
            Self::Truncate(_) => matches!(kind, Kind::Date | Kind::Timestamp | Kind::TimestampTz),
            Self::Bucket(_) => matches!(kind, Kind::Int2 | Kind::Int4 | Kind::Int8),
        }
    }

    /// Whether it makes text of text, so that nothing in a stream goes missing.
    pub(crate) const fn fits_streams(&self) -> bool {
        self.fits(Kind::Text) && !matches!(self, Self::Null)
    }

    /// Kinds it fits, in words.
    pub(crate) const fn fits_in_words(&self) -> &'static str {
        match self {
            Self::Null => "any type",
            Self::Redact { .. } => "text, varchar, char, citext, name, json and jsonb",
            Self::KeepDomain
            | Self::KeepFirst(_)
            | Self::KeepLast(_)
            | Self::Hash { .. }
            | Self::Pseudonym { .. } => "text, varchar, char and citext",
            Self::Truncate(_) => "date, timestamp and timestamptz",
            Self::Bucket(_) => "smallint, integer and bigint",
        }
    }
}

/// What masks need to know of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Characters, the same in text and binary form.
    Text,
    /// `name`: characters, at most 63 bytes.
    Name,
    Json,
    /// JSON with a version byte before its binary form.
    Jsonb,
    Date,
    Timestamp,
    TimestampTz,
    Int2,
    Int4,
    Int8,
    /// Anything else.
    Other,
}

impl Kind {
    /// The kind of a type, by its object id (PostgreSQL, `pg_type.dat`); citext, an extension's
    /// type without a fixed id, by its name.
    pub(crate) fn of(type_id: u32, type_name: &str) -> Self {
        match type_id {
            25 | 1042 | 1043 => Self::Text,
            19 => Self::Name,
            114 => Self::Json,
            3802 => Self::Jsonb,
            1082 => Self::Date,
            1114 => Self::Timestamp,
            1184 => Self::TimestampTz,
            21 => Self::Int2,
            23 => Self::Int4,
            20 => Self::Int8,
            _ if matches!(type_name.rsplit('.').next(), Some("citext")) => Self::Text,
            _ => Self::Other,
        }
    }
}
