//! The evidence log of the access gateway: a transparency log of what agents did.
//!
//! Records of sessions become leaves of an RFC 6962 Merkle tree, kept in append-only segments and
//! covered by signed checkpoints; session streams are hash chains whose heads are leaves. From the
//! log come a rebuildable index, replays, and evidence packages that verify offline.
//!
//! This crate knows records, never rules and never a wire protocol.

pub mod evidence;
pub mod index;
pub mod json;
pub mod log;
pub mod note;
pub mod record;
pub mod replay;
pub mod stream;
pub mod tree;
pub mod verify;

#[cfg(test)]
mod testing;
