//! `gateway policy`.

mod explain;
mod parsers;
mod recorded;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use gateway_core::{azure::https_client, id::TargetName};
use gateway_policy::{
    Bundle,
    cases::{Outcome, Suite},
};
use gateway_protocols::sql;
use serde::Serialize;

use super::{ConfigArgs, Exit, Failure, block_on};
use crate::{
    config::Config, console, gateway, postgres::PostgresTarget, target::TargetService, tls,
};

/// Test and explain policies.
#[derive(Debug, Subcommand)]
pub(super) enum PolicyCommand {
    /// Run a policy folder's own tests (`tests/*.toml`).
    Test(TestArgs),
    /// Say what a statement, command or call would do, how it is decided, and why.
    Explain(ExplainArgs),
    /// Print a target's catalogue as JSON, for policy tests.
    Catalogue(CatalogueArgs),
}

/// Run the tests.
#[derive(Debug, Args)]
pub(super) struct TestArgs {
    /// The policy folder.
    folder: PathBuf,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// Explain a decision.
#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The target, or `target:database`.
    #[arg(required_unless_present = "recorded")]
    target: Option<String>,
    /// The statement; for SSH the command line, for Kubernetes method and path: `GET /api/v1/pods`.
    #[arg(required_unless_present = "recorded")]
    statement: Option<String>,
    /// In place of both: a unit in the evidence, as `gateway sessions show` numbers them. Shows what
    /// was decided then, and how the same request by the same agent would be decided now. Values that
    /// aren't stored are taken for other constants; bodies of calls are not on record.
    #[arg(
        long,
        value_name = "SESSION/UNIT",
        value_parser = recorded::UnitRef::parse,
        conflicts_with_all = ["target", "statement", "body", "agent", "roles"]
    )]
    recorded: Option<recorded::UnitRef>,
    /// The body of a call, as JSON.
    #[arg(long, value_name = "JSON")]
    body: Option<String>,
    /// The body's media type.
    #[arg(long, value_name = "TYPE", requires = "body")]
    content_type: Option<String>,
    /// The agent: its name in agents.toml, or `tenant-id/object-id`. Without it, an unknown one.
    #[arg(long)]
    agent: Option<String>,
    /// An app role in the agent's token; repeat for more.
    #[arg(long = "role")]
    roles: Vec<String>,
    /// A catalogue printed before, instead of connecting to the target.
    #[arg(long, value_name = "FILE")]
    catalogue: Option<PathBuf>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// Print a catalogue.
#[derive(Debug, Args)]
pub(super) struct CatalogueArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The target, or `target:database`.
    target: String,
}

impl PolicyCommand {
    pub(super) fn run(self) -> Result<Exit, Failure> {
        match self {
            Self::Test(args) => test(&args),
            Self::Explain(args) => block_on(explain::explain(args)),
            Self::Catalogue(args) => block_on(async move {
                let (target, database) = open(args.config.load()?, &args.target)?;
                let postgres = postgres(&target)?;
                let database = database.as_deref().unwrap_or(postgres.default_database());
                let loaded = postgres.catalogues().get(database).await;
                let loaded = loaded.map_err(|e| Failure::plain(e.to_string()))?;
                console::json(&loaded.snapshot);
                Ok(Exit::Done)
            }),
        }
    }
}

#[derive(Serialize)]
struct CaseView {
    file: String,
    line: usize,
    name: String,
    passed: bool,
    failures: Vec<String>,
}

fn test(args: &TestArgs) -> Result<Exit, Failure> {
    let folder = args.folder.clone();
    // The grammar needs a stack of its own size.
    let outcomes = std::thread::Builder::new()
        .stack_size(sql::ANALYSIS_STACK_BYTES)
        .spawn(move || run_suites(&folder))
        .map_err(|e| Failure::other("no thread", e))?
        .join()
        .map_err(|_| Failure::plain("a test panicked"))??;
    let failed = outcomes
        .iter()
        .filter(|outcome| !outcome.failures.is_empty())
        .count();
    if args.json {
        let views: Vec<CaseView> = outcomes.into_iter().map(CaseView::from).collect();
        console::json(&views);
    } else {
        for outcome in &outcomes {
            let word = if outcome.failures.is_empty() {
                "ok    "
            } else {
                "FAILED"
            };
            let Outcome {
                file,
                line,
                name,
                failures,
                ..
            } = outcome;
            console::line(format!(
                "{word} {file}:{line}: {}",
                console::printable(name)
            ));
            for failure in failures {
                console::line(format!("         {}", console::printable(failure)));
            }
        }
        console::line(format!(
            "{} passed, {failed} failed",
            outcomes_passed(&outcomes)
        ));
    }
    Ok(if failed == 0 { Exit::Done } else { Exit::No })
}

fn outcomes_passed(outcomes: &[Outcome]) -> usize {
    outcomes
        .iter()
        .filter(|outcome| outcome.failures.is_empty())
        .count()
}

impl From<Outcome> for CaseView {
    fn from(outcome: Outcome) -> Self {
        let passed = outcome.failures.is_empty();
        let Outcome {
            file,
            line,
            name,
            failures,
            ..
        } = outcome;
        Self {
            file,
            line,
            name,
            passed,
            failures,
        }
    }
}

fn run_suites(folder: &Path) -> Result<Vec<Outcome>, Failure> {
    // Tests need no secret key: any will do where the bundle asks for one.
    let key = gateway_policy::MaskKey::new(&[0; 32]).map_err(|e| Failure::plain(e.to_string()))?;
    let bundle = Bundle::load(folder, Some(&key))?;
    let suites = Suite::load(folder)?;
    if suites.iter().all(Suite::is_empty) {
        return Err(
            Failure::plain(format!("`{}` holds no tests", folder.display()))
                .with_hint("write them in `tests/*.toml` below it"),
        );
    }
    let mut outcomes = Vec::new();
    for suite in suites {
        let run = suite.run(&bundle, &parsers::Parsers);
        outcomes.extend(run.map_err(|errors| {
            let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
            Failure::no(lines.join("; "))
        })?);
    }
    Ok(outcomes)
}

/// One target of the configuration, and the database that is named.
pub(super) fn open(
    config: Config,
    wanted: &str,
) -> Result<(TargetService, Option<String>), Failure> {
    let plain = |error: &dyn std::error::Error| Failure::plain(error.to_string());
    let (name, database) = match wanted.split_once(':') {
        Some((name, database)) => (name, Some(database.to_owned())),
        None => (wanted, None),
    };
    let name = TargetName::parse(name).map_err(|e| plain(&e))?;
    let rules = gateway::token_rules(&config.entra).map_err(|e| plain(&e))?;
    let entra_tls = tls::client(config.entra.ca_file.as_deref()).map_err(|e| plain(&e))?;
    let http = https_client(entra_tls).map_err(|e| plain(&e))?;
    let mut targets = config.targets;
    let target = targets.remove(&name).ok_or_else(|| {
        let known: Vec<&str> = targets.keys().map(TargetName::as_str).collect();
        Failure::plain(format!("there is no target `{name}`"))
            .with_hint(format!("known: {}", known.join(", ")))
    })?;
    let target = TargetService::new(target, &http, &rules).map_err(|e| plain(&e))?;
    Ok((target, database))
}

/// The target as a PostgreSQL server.
pub(super) fn postgres(target: &TargetService) -> Result<&PostgresTarget, Failure> {
    target.postgres().ok_or_else(|| {
        let protocol = target.protocol().as_str();
        Failure::plain(format!("a {protocol} target has no SQL"))
    })
}
