//! `gateway policy explain`.

use std::{
    io::Read as _,
    net::{IpAddr, Ipv4Addr},
    path::Path,
    sync::Arc,
    time::Duration,
};

use gateway_core::{
    catalogue::Snapshot,
    decision::{Decision, DecisionPoint as _, Request, SessionFacts, Verdict},
    id::{AppId, ObjectId, TenantId},
    identity::{Groups, Principal, PrincipalKind},
    operation::{Inspection, Operation, Shape, SqlStage, SqlUnit},
};
use gateway_policy::{
    Bundle, PolicyStore,
    cases::{Analyst as _, Call},
};
use serde::Serialize;

use super::{
    ExplainArgs, open, parsers, postgres,
    recorded::{Recorded, RecordedView},
};
use crate::{
    admin::dto,
    analysis::AnalysisPool,
    catalogue::Loaded,
    clock,
    commands::{Exit, Failure},
    config::{Config, Protocol},
    console, gateway,
    postgres::Resolved,
    target::TargetService,
};

/// Largest catalogue file, bytes.
const CATALOGUE_BYTES_MAX: u64 = 256 << 20;

#[derive(Serialize)]
struct Explanation {
    /// What was decided then, where a recorded unit is explained.
    #[serde(skip_serializing_if = "Option::is_none")]
    recorded: Option<RecordedView>,
    verdict: &'static str,
    message: Option<String>,
    detail: Option<String>,
    hint: Option<String>,
    rules: Vec<String>,
    effects: Vec<String>,
    template: Option<String>,
    inspection: String,
    classified_in_reach: Vec<String>,
    result: String,
    masked: Vec<String>,
    policy: String,
    catalogue: String,
}

pub(super) async fn explain(args: ExplainArgs) -> Result<Exit, Failure> {
    let config = args.config.load()?;
    let mask_key = gateway::mask_key(&config.gateway)?;
    let bundle = Bundle::load(&config.gateway.policy, mask_key.as_ref())?;
    let question = match args.recorded {
        Some(unit) => Question::recorded(Recorded::find(&config, unit)?),
        None => Question::given(&args, &bundle, &config)?,
    };
    let policy = PolicyStore::new(bundle);
    let (target, database) = open(config, &question.target)?;
    let text = question.text.as_str();
    let asked = match target.protocol() {
        Protocol::Postgres => {
            let catalogue = args.catalogue.as_deref();
            statement(text, catalogue, &policy, &target, database).await?
        }
        Protocol::Ssh => Asked::plain(parsers::command(text)),
        Protocol::Kubernetes => Asked::plain(call(text, &args)?),
    };
    let bundle = policy.current();
    let described = target.describe(&bundle);
    let facts = SessionFacts {
        source: IpAddr::V4(Ipv4Addr::LOCALHOST),
        database: asked.database,
    };
    let request = Request {
        principal: &question.principal,
        target: &described,
        operation: &asked.operation,
        facts: &facts,
        approved: &[],
    };
    let decision = bundle.decide(clock::now(), &request);
    let mut explanation = Explanation::new(&asked.operation, decision, asked.catalogue);
    explanation.template = bundle.template(&asked.operation).map(str::to_owned);
    explanation.recorded = question.recorded;
    if args.json {
        console::json(&explanation);
    } else {
        explanation.print();
    }
    Ok(Exit::Done)
}

/// What is to be explained: who asks what of which target.
struct Question {
    principal: Principal,
    /// The target, or `target:database`.
    target: String,
    text: String,
    recorded: Option<RecordedView>,
}

impl Question {
    fn recorded(recorded: Recorded) -> Self {
        let Recorded {
            principal,
            target,
            database,
            text,
            view,
        } = recorded;
        let target = match database.as_str() {
            "" => target,
            database => format!("{target}:{database}"),
        };
        Self {
            principal,
            target,
            text,
            recorded: Some(view),
        }
    }

    fn given(args: &ExplainArgs, bundle: &Bundle, config: &Config) -> Result<Self, Failure> {
        // Both are given: the command line asks for them wherever no recorded unit is named.
        Ok(Self {
            principal: principal(args, bundle, config)?,
            target: args.target.clone().unwrap_or_default(),
            text: args.statement.clone().unwrap_or_default(),
            recorded: None,
        })
    }
}

/// An operation to decide on.
struct Asked {
    operation: Operation,
    database: String,
    /// The catalogue that the analysis is true for; empty without one.
    catalogue: String,
}

impl Asked {
    fn plain(operation: Operation) -> Self {
        Self {
            operation,
            database: String::new(),
            catalogue: String::new(),
        }
    }
}

async fn statement(
    text: &str,
    catalogue: Option<&Path>,
    policy: &PolicyStore,
    target: &TargetService,
    database: Option<String>,
) -> Result<Asked, Failure> {
    let postgres = postgres(target)?;
    let database = database.unwrap_or_else(|| postgres.default_database().to_owned());
    let resolved = match catalogue {
        Some(file) => {
            let loaded = Arc::new(
                Loaded::of(read_catalogue(file)?).map_err(|e| Failure::other(file.display(), e))?,
            );
            let classified = postgres
                .classify(&policy.current(), &loaded)
                .map_err(|e| Failure::plain(e.to_string()))?;
            Resolved { loaded, classified }
        }
        None => {
            let resolved = postgres.resolve(policy, &database).await;
            resolved.map_err(|e| Failure::plain(e.to_string()))?
        }
    };
    let pool = AnalysisPool::start(1, false).map_err(|e| Failure::other("no thread", e))?;
    let text: Arc<str> = text.into();
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
    Ok(Asked {
        operation,
        database,
        catalogue,
    })
}

/// `GET /api/v1/pods`.
fn call(text: &str, args: &ExplainArgs) -> Result<Operation, Failure> {
    let (method, target) = text
        .split_once(' ')
        .ok_or_else(|| Failure::plain("a call is a method and a path: `GET /api/v1/pods`"))?;
    let call = Call {
        method,
        target,
        content_type: args.content_type.as_deref(),
        body: args.body.as_deref(),
    };
    let unit = parsers::Parsers.api(&call);
    let refused = |why| Failure::no(format!("refused before any policy is asked: {why}"));
    unit.map(Operation::Api).map_err(refused)
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
        let inspection = match operation.inspection() {
            Inspection::Full => "full".to_owned(),
            Inspection::Opaque { reason } => format!("opaque: {reason}"),
        };
        let (classified_in_reach, result) = match operation {
            Operation::Sql(unit) => {
                let analysis = &unit.analysis;
                let result = match &analysis.classified.shape {
                    Shape::Untouched => "shows nothing classified".to_owned(),
                    Shape::Plain { .. } => "plain columns, masked on the wire".to_owned(),
                    Shape::Rewritten(_) => match operation.rewritten(&decision.obligations) {
                        Some(rewritten) => format!("masked where it is read: {}", rewritten.text),
                        None => "shows only what you may see".to_owned(),
                    },
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
                (columns, result)
            }
            Operation::Api(unit) => {
                let fields = unit.classified.iter().map(|field| field.name());
                let result = "answers are masked by field".to_owned();
                (fields.collect(), result)
            }
            Operation::Session(_) | Operation::Command(_) => (Vec::new(), String::new()),
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
        let columns = decision
            .obligations
            .masks
            .values()
            .map(|column| column.path());
        let fields = decision.obligations.fields.iter().map(|field| field.name());
        let detects = decision.obligations.detector.is_some();
        let detector = detects.then(|| "what is detected in text".to_owned());
        let masked = columns.chain(fields).chain(detector);
        Self {
            recorded: None,
            template: None,
            verdict,
            message,
            detail,
            hint,
            rules: decision.rules.iter().map(ToString::to_string).collect(),
            effects: operation.effects().iter().map(dto::effect).collect(),
            inspection,
            classified_in_reach,
            result,
            masked: masked.collect(),
            policy: decision.policy.to_string(),
            catalogue,
        }
    }

    fn print(&self) {
        let field = |name: &str, value: &str| {
            console::line(format!("{name:<12}{}", console::printable(value)));
        };
        if let Some(recorded) = &self.recorded {
            for (name, value) in recorded.lines() {
                field(name, value);
            }
            console::line("now");
        }
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
        if let Some(template) = &self.template {
            field("template", template);
        }
        for (name, value) in [
            ("result", &self.result),
            ("policy", &self.policy),
            ("catalogue", &self.catalogue),
        ] {
            if !value.is_empty() {
                field(name, value);
            }
        }
    }
}
