//! Vocabulary, ports and the sans-IO [`gate::Gate`] of the access gateway.
//!
//! Everything protocol parsers, policy engines and evidence logs have in common lives here, and
//! nothing that only one of them needs. The inner ring (everything without a feature) is pure: no
//! I/O, clock, randomness or global state; time and randomness are arguments. The outer ring
//! (`drive`, `azure`) is feature-gated and holds the tokio shell.

pub mod approval;
#[cfg(feature = "azure")]
pub mod azure;
pub mod catalogue;
pub mod decision;

#[cfg(feature = "drive")]
pub mod drive;
pub mod gate;
pub mod id;
pub mod identity;
pub mod limits;
pub mod mask;
pub mod operation;
pub mod record;
pub mod state;
pub mod target;
pub mod time;
pub mod wire;
