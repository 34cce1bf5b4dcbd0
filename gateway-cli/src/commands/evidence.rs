//! `gateway evidence`.

use std::{
    fs::File,
    io::BufReader,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use gateway_audit::{
    evidence::{ExportOptions, Scope, export},
    verify::{Outcome, Trust, Verdict, verify},
};
use gateway_core::time::Wall;
use serde::Serialize;

use super::{ConfigArgs, Exit, Failure};
use crate::{clock, console, gateway};

/// Export and verify evidence.
#[derive(Debug, Subcommand)]
pub(super) enum EvidenceCommand {
    /// Write an evidence package: one zip with listings and the leaves that prove them complete.
    Export(ExportArgs),
    /// Verify a package. Needs nothing but the package and the trust file.
    #[command(
        after_help = "Exit codes: 0 verified and anchored; 10 consistent, not anchored; 1 failed; \
                            2 material is missing; 3 the quorum is not met; 4 it could not be done."
    )]
    Verify(VerifyArgs),
    /// Print the trust file of this gateway's log, for auditors to keep.
    Trust(TrustArgs),
}

/// Write a package.
#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Records from this time on (RFC 3339); from the beginning without it.
    #[arg(long, value_parser = instant)]
    from: Option<Wall>,
    /// Records before this time (RFC 3339); up to now without it.
    #[arg(long, value_parser = instant)]
    to: Option<Wall>,
    /// Of this agent only (object id).
    #[arg(long)]
    agent: Option<String>,
    /// Of this target only.
    #[arg(long)]
    target: Option<String>,
    /// The package.
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// Verify a package.
#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// The package.
    package: PathBuf,
    /// The keys that the auditor trusts.
    #[arg(long, value_name = "FILE")]
    trust: PathBuf,
    /// A checkpoint that the auditor kept from earlier.
    #[arg(long, value_name = "NOTE")]
    previous: Option<PathBuf>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// Print the trust file.
#[derive(Debug, Args)]
pub(super) struct TrustArgs {
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Serialize)]
struct ExportView {
    origin: String,
    from_index: u64,
    to_index: u64,
    recordings: u64,
    rows: std::collections::BTreeMap<&'static str, u64>,
}

#[derive(Serialize)]
struct VerdictView {
    outcome: &'static str,
    origin: String,
    leaves: u64,
    rows: u64,
    chunks: u64,
    witnesses: u64,
    problems: Vec<ProblemView>,
}

#[derive(Serialize)]
struct ProblemView {
    missing: bool,
    file: String,
    row: Option<u64>,
    leaf: Option<u64>,
    what: String,
}

impl EvidenceCommand {
    pub(super) fn run(self) -> Result<Exit, Failure> {
        match self {
            Self::Export(args) => write_package(args),
            Self::Verify(args) => check_package(&args),
            Self::Trust(args) => {
                let key = gateway::verifier_key(&args.config.load()?.gateway)?;
                console::line(format!("log {}", key.encode()));
                Ok(Exit::Done)
            }
        }
    }
}

fn instant(text: &str) -> Result<Wall, String> {
    let at: jiff::Timestamp = text.parse().map_err(|e: jiff::Error| e.to_string())?;
    let micros = u64::try_from(at.as_microsecond()).map_err(|_| "lies before 1970".to_owned())?;
    Ok(Wall::from_micros(micros))
}

/// Written beside and renamed: a package is there whole or not at all.
fn write_package(args: ExportArgs) -> Result<Exit, Failure> {
    let config = args.config.load()?;
    let key = gateway::verifier_key(&config.gateway)?;
    let scope = Scope {
        from: args.from.unwrap_or_default(),
        to: args.to.unwrap_or_else(clock::wall),
        agent: args.agent,
        target: args.target,
    };
    let draft = args.output.with_extension("draft");
    let failed = |path: &Path, error: &dyn std::error::Error| Failure::other(path.display(), error);
    let file = File::create(&draft).map_err(|e| failed(&draft, &e))?;
    let folder = gateway::log_dir(&config.gateway);
    let exported = export(&folder, &key, &ExportOptions::new(scope), &file);
    let exported = exported.map_err(|e| {
        // The draft is worthless; that it can't be removed changes nothing.
        drop(std::fs::remove_file(&draft));
        Failure::plain(e.to_string())
    })?;
    file.sync_all().map_err(|e| failed(&draft, &e))?;
    std::fs::rename(&draft, &args.output).map_err(|e| failed(&args.output, &e))?;
    if args.json {
        console::json(&ExportView {
            origin: exported.origin,
            from_index: exported.from_index,
            to_index: exported.to_index,
            recordings: exported.recordings,
            rows: exported.rows.into_iter().collect(),
        });
        return Ok(Exit::Done);
    }
    console::line(format!(
        "{}: leaves {} to {} of {}",
        args.output.display(),
        exported.from_index,
        exported.to_index,
        exported.origin
    ));
    for (listing, rows) in exported.rows {
        console::line(format!("  {rows:>8} {listing}"));
    }
    console::line(format!("  {:>8} recordings", exported.recordings));
    Ok(Exit::Done)
}

fn check_package(args: &VerifyArgs) -> Result<Exit, Failure> {
    let read =
        |path: &Path| std::fs::read_to_string(path).map_err(|e| Failure::other(path.display(), e));
    let trust =
        Trust::parse(&read(&args.trust)?).map_err(|e| Failure::other(args.trust.display(), e))?;
    let previous = args.previous.as_deref().map(read).transpose()?;
    let package =
        File::open(&args.package).map_err(|e| Failure::other(args.package.display(), e))?;
    let verdict = verify(BufReader::new(package), &trust, previous.as_deref());
    let exit = match verdict.outcome {
        Outcome::Verified => Exit::Done,
        Outcome::NotAnchored => Exit::NotAnchored,
        Outcome::Failed => Exit::No,
        Outcome::Missing => Exit::Missing,
        Outcome::QuorumNotMet => Exit::NoQuorum,
    };
    if args.json {
        console::json(&VerdictView::from(verdict));
        return Ok(exit);
    }
    for problem in &verdict.problems {
        console::line(format!("  {}", console::printable(&problem.to_string())));
    }
    console::line(format!(
        "{} {}: {} leaves, {} rows, {} chunks checked; {} witnesses",
        console::printable(&verdict.origin),
        in_words(verdict.outcome),
        verdict.leaves,
        verdict.rows,
        verdict.chunks,
        verdict.witnesses,
    ));
    Ok(exit)
}

const fn in_words(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Verified => "is verified and anchored",
        Outcome::NotAnchored => "is consistent, but not anchored outside the gateway",
        Outcome::Failed => "FAILED",
        Outcome::Missing => "can't be verified: material is missing",
        Outcome::QuorumNotMet => "is consistent, but too few witnesses signed",
    }
}

impl From<Verdict> for VerdictView {
    fn from(verdict: Verdict) -> Self {
        Self {
            outcome: match verdict.outcome {
                Outcome::Verified => "verified",
                Outcome::NotAnchored => "not_anchored",
                Outcome::Failed => "failed",
                Outcome::Missing => "missing",
                Outcome::QuorumNotMet => "quorum_not_met",
            },
            origin: verdict.origin,
            leaves: verdict.leaves,
            rows: verdict.rows,
            chunks: verdict.chunks,
            witnesses: verdict.witnesses,
            problems: verdict
                .problems
                .into_iter()
                .map(|p| ProblemView {
                    missing: p.missing,
                    file: p.file,
                    row: p.row,
                    leaf: p.leaf,
                    what: p.what,
                })
                .collect(),
        }
    }
}
