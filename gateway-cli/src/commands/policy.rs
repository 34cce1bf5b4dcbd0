//! `gateway policy`.

use std::{
    io::Read as _,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use clap::{Args, Subcommand};
use gateway_core::{
    azure::https_client,
    catalogue::{CatalogueVersion, Snapshot},
    decision::{Decision, DecisionPoint as _, Request, SessionFacts, Verdict},
    id::{AppId, Digest, ObjectId, TargetName, TenantId},
    identity::{Groups, Principal, PrincipalKind},
    operation::{Inspection, Operation, Shape, SqlStage, SqlUnit},
};
use gateway_policy::{
    Bundle, PolicyStore,
    cases::{Outcome, Suite},
};
use gateway_protocols::sql;
use serde::Serialize;

use super::{ConfigArgs, Exit, Failure, block_on};
use crate::{
    admin::dto,
    analysis::AnalysisPool,
    catalogue::Loaded,
    clock,
    config::Config,
    console, gateway,
    postgres::{PostgresTarget, Resolved},
    target::TargetService,
    tls,
};

/// Largest catalogue file, bytes.
const CATALOGUE_BYTES_MAX: u64 = 256 << 20;

/// Test and explain policies.
#[derive(Debug, Subcommand)]
pub(super) enum PolicyCommand {
    /// Run a policy folder's own tests (`tests/*.toml`).
    Test(TestArgs),
    /// Say what a statement would do, how it is decided, and why.
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
    target: String,
    /// The statement.
    statement: String,
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
            Self::Explain(args) => block_on(explain(args)),
            Self::Catalogue(args) => block_on(async move {
                let (target, database) = open(args.config.load()?, &args.target)?;
                let loaded = postgres(&target)?.catalogues().get(&database).await;
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
        // Only names the catalogue in records, of which tests make none.
        let version = CatalogueVersion(Digest::of(b"test"));
        let run = suite.run(&bundle, |text, snapshot, classified| {
            sql::analyse(text, snapshot, version, classified)
        });
        outcomes.extend(run.map_err(|errors| {
            let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
            Failure::no(lines.join("; "))
        })?);
    }
    Ok(outcomes)
}

/// One target of the configuration, and the database that is meant.
fn open(config: Config, wanted: &str) -> Result<(TargetService, String), Failure> {
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
    let database = match database {
        Some(database) => database,
        None => postgres(&target)?.default_database().to_owned(),
    };
    Ok((target, database))
}

fn postgres(target: &TargetService) -> Result<&PostgresTarget, Failure> {
    target.postgres().ok_or_else(|| {
        let protocol = target.protocol().as_str();
        Failure::plain(format!("a {protocol} target has no SQL"))
    })
}

#[derive(Serialize)]
struct Explanation {
    verdict: &'static str,
    message: Option<String>,
    detail: Option<String>,
    hint: Option<String>,
    rules: Vec<String>,
    effects: Vec<String>,
    inspection: String,
    classified_in_reach: Vec<String>,
    result: String,
    masked: Vec<String>,
    policy: String,
    catalogue: String,
}

async fn explain(args: ExplainArgs) -> Result<Exit, Failure> {
    let config = args.config.load()?;
    let mask_key = gateway::mask_key(&config.gateway)?;
    let bundle = Bundle::load(&config.gateway.policy, mask_key.as_ref())?;
    let principal = principal(&args, &bundle, &config)?;
    let policy = PolicyStore::new(bundle);
    let (target, database) = open(config, &args.target)?;
    let resolved = match &args.catalogue {
        Some(file) => {
            let loaded = Arc::new(
                Loaded::of(read_catalogue(file)?).map_err(|e| Failure::other(file.display(), e))?,
            );
            let classified = postgres(&target)?
                .classify(&policy.current(), &loaded)
                .map_err(|e| Failure::plain(e.to_string()))?;
            Resolved { loaded, classified }
        }
        None => {
            let resolved = postgres(&target)?.resolve(&policy, &database).await;
            resolved.map_err(|e| Failure::plain(e.to_string()))?
        }
    };
    let pool = AnalysisPool::start(1, false).map_err(|e| Failure::other("no thread", e))?;
    let text: Arc<str> = args.statement.as_str().into();
    let catalogue = resolved.loaded.version.to_string();
    let analysis = pool
        .analyse(Arc::clone(&text), resolved.loaded, resolved.classified)
        .await
        .map_err(|e| Failure::plain(e.to_string()))?;
    let operation = Operation::Sql(SqlUnit {
        stage: SqlStage::Query,
        text,
        analysis: Arc::new(analysis),
        bindings: None,
        in_transaction: false,
    });
    let described = target.describe(&policy.current());
    let facts = SessionFacts {
        source: IpAddr::V4(Ipv4Addr::LOCALHOST),
        database,
    };
    let request = Request {
        principal: &principal,
        target: &described,
        operation: &operation,
        facts: &facts,
        approved: &[],
    };
    let decision = policy.decide(clock::now(), &request);
    let explanation = Explanation::new(&operation, decision, catalogue);
    if args.json {
        console::json(&explanation);
    } else {
        explanation.print();
    }
    Ok(Exit::Done)
}

fn read_catalogue(path: &Path) -> Result<Snapshot, Failure> {
    let failed = |error: &dyn std::error::Error| Failure::other(path.display(), error);
    let mut json = Vec::new();
    let file = std::fs::File::open(path).map_err(|e| failed(&e))?;
    file.take(CATALOGUE_BYTES_MAX)
        .read_to_end(&mut json)
        .map_err(|e| failed(&e))?;
    serde_json::from_slice(&json).map_err(|e| failed(&e))
}

fn principal(args: &ExplainArgs, bundle: &Bundle, config: &Config) -> Result<Principal, Failure> {
    let plain = |error: &dyn std::error::Error| Failure::plain(error.to_string());
    let nobody = uuid::Uuid::nil();
    let (tenant, object) = match args.agent.as_deref() {
        None => {
            let tenant = config.entra.tenants.first().copied();
            (
                tenant.unwrap_or_else(|| TenantId::from(nobody)),
                ObjectId::from(nobody),
            )
        }
        Some(agent) => match agent.split_once('/') {
            Some((tenant, object)) => (
                TenantId::parse(tenant).map_err(|e| plain(&e))?,
                ObjectId::parse(object).map_err(|e| plain(&e))?,
            ),
            None => bundle
                .agents()
                .find(|known| known.name == agent)
                .map(|known| (known.tenant, known.object))
                .ok_or_else(|| Failure::plain(format!("agents.toml lists no agent `{agent}`")))?,
        },
    };
    let mut roles = args.roles.clone();
    roles.sort();
    let now = clock::wall();
    Ok(Principal {
        tenant,
        object,
        app: AppId::from(nobody),
        kind: PrincipalKind::Application,
        display_name: String::new(),
        roles,
        groups: Groups::Known(Vec::new()),
        token_id: String::new(),
        client_auth: None,
        issued_at: now,
        expires_at: now.saturating_add(Duration::from_secs(3600)),
    })
}

impl Explanation {
    fn new(operation: &Operation, decision: Decision, catalogue: String) -> Self {
        let (inspection, classified_in_reach, result) = match operation {
            Operation::Sql(unit) => {
                let analysis = &unit.analysis;
                let inspection = match &analysis.inspection {
                    Inspection::Full => "full".to_owned(),
                    Inspection::Opaque { reason } => format!("opaque: {reason}"),
                };
                let result = match &analysis.classified.shape {
                    Shape::Untouched => "shows nothing classified".to_owned(),
                    Shape::Plain { .. } => "plain columns, masked on the wire".to_owned(),
                    Shape::Beyond {
                        construct, instead, ..
                    } => {
                        format!("{construct} can't be masked; {instead}")
                    }
                };
                let columns = analysis
                    .classified
                    .columns
                    .iter()
                    .map(|c| c.path())
                    .collect();
                (inspection, columns, result)
            }
            Operation::Session(_) | Operation::Command(_) | Operation::Api(_) => {
                ("full".to_owned(), Vec::new(), String::new())
            }
        };
        let (verdict, message, detail, hint) = match decision.verdict {
            Verdict::Allow => ("allow", None, None, None),
            Verdict::Deny(denial) => ("deny", Some(denial.message), denial.detail, denial.hint),
            Verdict::Hold(hold) => {
                let needs: Vec<String> = hold
                    .requirements
                    .iter()
                    .map(|r| format!("{} of {} ({})", r.approvers, r.reviewers, r.rule))
                    .collect();
                (
                    "hold",
                    Some(hold.message),
                    Some(format!("needs {}", needs.join(", "))),
                    None,
                )
            }
        };
        Self {
            verdict,
            message,
            detail,
            hint,
            rules: decision.rules.iter().map(ToString::to_string).collect(),
            effects: operation.effects().iter().map(dto::effect).collect(),
            inspection,
            classified_in_reach,
            result,
            masked: decision
                .obligations
                .masks
                .values()
                .map(|column| column.path())
                .collect(),
            policy: decision.policy.to_string(),
            catalogue,
        }
    }

    fn print(&self) {
        let field = |name: &str, value: &str| {
            console::line(format!("{name:<12}{}", console::printable(value)));
        };
        field("verdict", self.verdict);
        let said = [
            ("message", &self.message),
            ("detail", &self.detail),
            ("hint", &self.hint),
        ];
        for (name, value) in said {
            if let Some(value) = value {
                field(name, value);
            }
        }
        for (name, values) in [
            ("rule", &self.rules),
            ("effect", &self.effects),
            ("in reach", &self.classified_in_reach),
            ("masked", &self.masked),
        ] {
            for value in values {
                field(name, value);
            }
        }
        field("understood", &self.inspection);
        field("result", &self.result);
        field("policy", &self.policy);
        field("catalogue", &self.catalogue);
    }
}
