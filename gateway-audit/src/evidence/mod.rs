//! The evidence package: listings of what agents did, with the leaves that prove them complete.
//!
//! ```text
//! manifest.json               scope, range, signed checkpoint, key, hash of every file
//! leaves/headers.jsonl        the header of every leaf in the range, byte for byte
//! leaves/bodies.jsonl         salt and body of the leaves in scope
//! sessions|statements|approvals|masking|blocks .jsonl (authoritative) and .csv
//! populations.jsonl, .csv     the completeness sheet
//! recordings/<session>/stream the session's chunks: u64 n, u8 dir, u64 t, u32 len (big-endian), bytes
//! recordings/<session>/unit-<n>.cast   what the terminal of a unit showed, as asciicast v3
//! ```
//!
//! The container is a zip file of stored files, in one form: see `verify/container.rs`.

/// The package format that this version writes and verifies.
pub(crate) const FORMAT: &str = "gateway-evidence-1";

/// Longest file of a package, bytes: a longer one would need other headers in the container.
pub(crate) const FILE_BYTES_MAX: u64 = u32::MAX as u64 - 1;

/// Files that a package has at most.
pub(crate) const FILES_MAX: usize = 1 << 21;

mod cells;
mod csv;
mod export;
mod leaf;
mod populations;
mod rows;
mod statements;
mod tables;

#[cfg(test)]
mod tests;

pub(crate) use cells::Cell;
pub(crate) use csv::{escaped, invisible, to_csv, to_jsonl};
#[cfg(any(test, feature = "testkit"))]
pub(crate) use export::file_options;
pub use export::{ExportError, ExportOptions, Exported, Scope, export};
pub(crate) use leaf::{Leaf, Range, made_of_moments};
pub(crate) use populations::populations;
pub(crate) use tables::{TABLES, Table};

/// The name of the cast of a session's unit.
pub(crate) fn cast_name(session: &str, unit: u64) -> String {
    format!("recordings/{session}/unit-{unit}.cast")
}
