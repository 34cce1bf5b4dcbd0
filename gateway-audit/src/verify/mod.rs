//! Checks an evidence package offline, with the package and a small trust file.
//!
//! The container, the leaf parser, the tree, the signatures, the stream chains, the sums and the CSV reader here are
//! this module's own (sha2, ed25519-dalek): the writer's are not used. The listings are checked twice:
//! rebuilt by the exporter's pure function of the leaves and compared byte for byte, and row by row
//! against the leaves they cite, by this module's own reading of the headers.

mod balance;
mod citations;
mod container;
mod csv;
mod files;
#[cfg(any(test, feature = "testkit"))]
pub mod fuzz;
mod leaves;
mod listings;
mod manifest;
mod package;
mod signed;

use std::io::{Read, Seek};

pub use signed::{Trust, TrustError};

/// What a verification found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The overall answer.
    pub outcome: Outcome,
    /// Everything that is wrong or missing.
    pub problems: Vec<Problem>,
    /// The log's name, where the manifest could be read.
    pub origin: String,
    /// Leaves checked.
    pub leaves: u64,
    /// Rows checked.
    pub rows: u64,
    /// Chunks of recordings checked.
    pub chunks: u64,
    /// Witnesses of the trust file that signed the checkpoint.
    pub witnesses: u64,
}

/// The overall answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything holds, and a quorum of witnesses saw the checkpoint.
    Verified,
    /// Everything holds within the package; nobody outside the gateway has seen the checkpoint.
    NotAnchored,
    /// Something was changed, removed or never added up.
    Failed,
    /// Something that is needed isn't there.
    Missing,
    /// Everything holds, but too few witnesses signed the checkpoint.
    QuorumNotMet,
}

impl Outcome {
    /// The exit code of `gateway evidence verify`.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Verified => 0,
            Self::Failed => 1,
            Self::Missing => 2,
            Self::QuorumNotMet => 3,
            Self::NotAnchored => 10,
        }
    }
}

/// One thing that is wrong or missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Whether it is missing rather than wrong.
    pub missing: bool,
    /// The file in the package.
    pub file: String,
    /// The row (line) in the file, from 1.
    pub row: Option<u64>,
    /// The log index.
    pub leaf: Option<u64>,
    /// What it is.
    pub what: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.file)?;
        if let Some(row) = self.row {
            write!(f, " row {row}")?;
        }
        if let Some(leaf) = self.leaf {
            write!(f, " leaf {leaf}")?;
        }
        write!(f, ": {}", self.what)
    }
}

/// Problems found so far; at most [`PROBLEMS_MAX`] are kept.
#[derive(Debug, Default)]
struct Problems(Vec<Problem>);

/// A package with more problems than this needs no longer list.
const PROBLEMS_MAX: usize = 1000;

impl Problems {
    fn wrong(&mut self, file: &str, row: Option<u64>, leaf: Option<u64>, what: impl Into<String>) {
        self.add(false, file, row, leaf, what.into());
    }

    fn missing(&mut self, file: &str, leaf: Option<u64>, what: impl Into<String>) {
        self.add(true, file, None, leaf, what.into());
    }

    fn add(
        &mut self,
        missing: bool,
        file: &str,
        row: Option<u64>,
        leaf: Option<u64>,
        what: String,
    ) {
        if self.0.len() < PROBLEMS_MAX {
            self.0.push(Problem {
                missing,
                file: file.to_owned(),
                row,
                leaf,
                what,
            });
        }
    }
}

/// Verifies a package. `previous` is a checkpoint note that the auditor kept from earlier.
///
/// Never fails: whatever can't be read is a problem in the verdict.
pub fn verify(package: impl Read + Seek, trust: &Trust, previous: Option<&str>) -> Verdict {
    let mut problems = Problems::default();
    let mut verdict = package::check(package, trust, previous, &mut problems);
    verdict.problems = problems.0;
    verdict.outcome = if verdict.problems.iter().any(|problem| !problem.missing) {
        Outcome::Failed
    } else if !verdict.problems.is_empty() {
        Outcome::Missing
    } else if verdict.witnesses < trust.quorum() {
        Outcome::QuorumNotMet
    } else if trust.quorum() == 0 {
        Outcome::NotAnchored
    } else {
        Outcome::Verified
    };
    verdict
}
