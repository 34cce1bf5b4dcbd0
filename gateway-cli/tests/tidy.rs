//! The repository's own rules, checked: the invariants I1 to I7 of `ARCHITECTURE.md`, the size of
//! modules, the parts of a protocol, and that the documentation's commands run.
//!
//! Each rule is a function from text to violations, so that each is shown to fail on a bad sample
//! before it is believed on the tree.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test, helpers included; a panic is its way to fail"
)]

#[path = "tidy/docs.rs"]
mod docs;
#[path = "tidy/edges.rs"]
mod edges;
#[path = "tidy/protocols.rs"]
mod protocols;
#[path = "tidy/purity.rs"]
mod purity;
#[path = "tidy/source.rs"]
mod source;

use std::path::{Path, PathBuf};

/// Lines of a module, at most. Around 400 is the aim; past 800 it must be split along a noun.
const MODULE_LINES_MAX: usize = 800;

/// The workspace's root.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_path_buf()
}

/// Fails with one line per violation.
#[track_caller]
fn assert_tidy(rule: &str, violations: &[String]) {
    assert!(
        violations.is_empty(),
        "{rule}:\n  {}",
        violations.join("\n  ")
    );
}

#[test]
fn modules_are_at_most_800_lines() {
    let long: Vec<String> = source::rust_files(&root(), "")
        .iter()
        .filter(|file| file.lines > MODULE_LINES_MAX)
        .map(|file| format!("{}: {} lines", file.path, file.lines))
        .collect();
    assert_tidy("split these along a noun", &long);
}
