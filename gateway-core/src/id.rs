//! One newtype per identity, parsed by its constructor.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize};
use uuid::Uuid;

use crate::time::Wall;

/// A name or identifier was refused; says which kind and why, never echoes the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid {kind}: {reason}")]
pub struct InvalidId {
    /// Which identity was being parsed.
    pub kind: &'static str,
    /// What the constructor demands.
    pub reason: &'static str,
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// Parses the hyphenated form.
            ///
            /// # Errors
            /// [`InvalidId`] when `text` isn't a UUID.
            pub fn parse(text: &str) -> Result<Self, InvalidId> {
                Uuid::try_parse(text)
                    .map(Self)
                    .map_err(|_| InvalidId { kind: stringify!($name), reason: "not a UUID" })
            }

            /// The UUID itself.
            #[must_use]
            pub const fn as_uuid(&self) -> &Uuid {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl From<Uuid> for $name {
            fn from(uuid: Uuid) -> Self {
                Self(uuid)
            }
        }
    };
}

uuid_id! {
    /// One agent connection, from accept to close. UUID version 7: sorts by start time.
    SessionId
}
uuid_id! {
    /// One request for approval. UUID version 7.
    ApprovalId
}
uuid_id! {
    /// An Entra tenant (`tid`).
    TenantId
}
uuid_id! {
    /// An Entra object (`oid`): the principal itself, stable across its credentials.
    ObjectId
}
uuid_id! {
    /// An Entra application (`azp` / `appid`).
    AppId
}

impl SessionId {
    /// A version 7 UUID (RFC 9562, section 5.7) of `at` and injected randomness.
    #[must_use]
    pub fn new(at: Wall, random: [u8; 10]) -> Self {
        Self(uuid_v7(at, random))
    }
}

impl ApprovalId {
    /// A version 7 UUID (RFC 9562, section 5.7) of `at` and injected randomness.
    #[must_use]
    pub fn new(at: Wall, random: [u8; 10]) -> Self {
        Self(uuid_v7(at, random))
    }
}

fn uuid_v7(at: Wall, random: [u8; 10]) -> Uuid {
    uuid::Builder::from_unix_timestamp_millis(at.as_micros() / 1_000, &random).into_uuid()
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, max $max:literal, $what:literal, $ok:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks and takes a name.
            ///
            /// # Errors
            /// [`InvalidId`] when it is empty, too long or holds another character.
            pub fn parse(text: &str) -> Result<Self, InvalidId> {
                let ok: fn(char) -> bool = $ok;
                if text.is_empty() || text.len() > $max || !text.chars().all(ok) {
                    return Err(InvalidId { kind: stringify!($name), reason: $what });
                }
                Ok(Self(text.into()))
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

name! {
    /// A configured target: a server. Databases and namespaces are below it.
    TargetName, max 63, "expects 1 to 63 of a-z 0-9 . _ -",
    |c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-')
}
name! {
    /// A policy's `@id`. Operators choose it; it appears in refusals and in evidence headers.
    RuleId, max 127, "expects 1 to 127 of A-Z a-z 0-9 . _ - / :",
    |c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/' | ':')
}
name! {
    /// A class of data (`email`, `card`), as named in the classification.
    ClassName, max 63, "expects 1 to 63 of a-z 0-9 . _ -",
    |c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-')
}

/// A unit of work within a session: one statement, command or call. Counts from 1, gap-free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnitId(pub u64);

/// Position of a piece of evidence within its session. Counts from 1, gap-free.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct EvidenceSeq(pub u64);

/// A question that a wire asked its shell. Unique within a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AskId(pub u64);

/// A SHA-256 digest. `Display` is lower-case hex.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// SHA-256 of `data`.
    #[must_use]
    pub fn of(data: &[u8]) -> Self {
        let mut out = [0; 32];
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, data);
        for (to, from) in out.iter_mut().zip(digest.as_ref()) {
            *to = *from;
        }
        Self(out)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
