//! The server behind the gateway, as decisions see it.

use serde::Serialize;

use crate::id::TargetName;

/// Whether verdicts are enforced or only recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Denials refuse, holds wait.
    Enforce,
    /// Denials and holds are recorded, not enforced. Login, recording, limits and masks stay on.
    Observe,
}

/// How far evidence may run behind the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// On disk before anything is forwarded or delivered.
    Strict,
    /// Accepted by a writer that is at most 256 KiB and 100 ms ahead of the disk.
    Bounded,
}

/// What keeps classified values from agents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Masking {
    /// The gateway: statements are rewritten, masked on the wire, or refused.
    Shared,
    /// The target: it is proven to refuse every read of a classified column.
    Guaranteed,
}

impl Masking {
    /// Its name in configuration and evidence.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Guaranteed => "guaranteed",
        }
    }
}

/// A configured target.
#[derive(Clone, Debug, Serialize)]
pub struct Target {
    /// Its name in the configuration and in policies.
    pub name: TargetName,
    /// The environment it belongs to (`prod`, `dev`).
    pub environment: String,
    /// `postgres`; more as protocols are added.
    pub protocol: &'static str,
    /// Enforced or observed.
    pub mode: Mode,
    /// Durability of its evidence.
    pub durability: Durability,
    /// The role the gateway logs in as.
    pub upstream_principal: String,
    /// Whether the classification has anything on this target: switches the masking defence on.
    pub classified: bool,
    /// What keeps the agent from what is classified.
    pub masking: Masking,
}
