//! Tests of a bundle: what it must say about what given agents ask for.
//!
//! A folder `tests/` within the bundle holds `*.toml` files of this form, and the catalogues they
//! name, as JSON of [`Snapshot`]:
//! ```toml
//! target = "shop"
//! environment = "prod"
//! catalogue = "catalogue.json"           # only statements need one
//! protocol = "postgres"                  # the default; or ssh, kubernetes
//!
//! [[case]]
//! name = "an agent's delete waits for a reviewer"
//! agent = "orders-bot"                   # a name of agents.toml; without it, an unknown agent
//! roles = ["Gateway.Connect"]
//! statement = "delete from carts where id = $1"  # or one of those below; without any,
//!                                        # the session's opening is decided
//! parameters = ["7"]                     # optional: then the execution is decided, not the query
//! expect = "hold"                        # allow, deny or hold
//! rules = ["deletes-need-review"]        # these are among the rules that mattered
//! masked = ["public.customers.email"]    # exactly these classified columns or fields are masked
//! ```
//! Instead of `statement`: `command = "systemctl status nginx"` (and `pty`), `shell = true`,
//! `read = "/var/log/syslog"`, `write = "/etc/motd"`, or `request = "GET /api/v1/pods"` with `body`
//! and `content_type`. `template` is the template of `commands.toml` that a command must fit.
//!
//! This crate knows no protocol: whoever runs the cases is their [`Analyst`].

mod operation;

use std::{collections::BTreeSet, fs, net::IpAddr, path::Path, sync::Arc};

use gateway_core::{
    catalogue::Snapshot,
    decision::{Decision, DecisionPoint, Denial, Reason, Request, SessionFacts, Verdict},
    id::{AppId, ObjectId, RuleId, TargetName, TenantId},
    identity::{Groups, Principal, PrincipalKind},
    mask::{Classified, Obligations},
    target::{Durability, Masking, Mode, Target},
    time::{Mono, Now, Wall},
};
use serde::Deserialize;
use toml::Spanned;

pub use operation::{Analyst, Call};
use operation::{Asked, Scene, asked};

use crate::{
    bundle::Bundle,
    language::{BundleError, BundleErrors, Source},
    mask::Civil,
};

/// Largest file of a test folder, bytes.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// Protocols that a test file may name.
const PROTOCOLS: [&str; 3] = ["postgres", "ssh", "kubernetes"];

/// Tenant and object of an agent that no bundle lists.
const UNKNOWN: uuid::Uuid = uuid::Uuid::nil();

/// The cases of one file, and the catalogue they are about.
#[derive(Debug)]
pub struct Suite {
    file: String,
    text: Arc<str>,
    target: Target,
    snapshot: Option<Snapshot>,
    cases: Vec<Spanned<Case>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    target: Spanned<String>,
    environment: String,
    protocol: Option<Spanned<String>>,
    catalogue: Option<Spanned<String>>,
    #[serde(default)]
    case: Vec<Spanned<Case>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    agent: Option<String>,
    #[serde(default)]
    kind: KindOfAgent,
    #[serde(default)]
    roles: Vec<String>,
    #[serde(default)]
    groups: Vec<String>,
    source: Option<IpAddr>,
    at: Option<toml::value::Datetime>,
    statement: Option<String>,
    parameters: Option<Vec<String>>,
    #[serde(default)]
    in_transaction: bool,
    command: Option<String>,
    #[serde(default)]
    pty: bool,
    #[serde(default)]
    shell: bool,
    read: Option<String>,
    write: Option<String>,
    request: Option<String>,
    body: Option<String>,
    content_type: Option<String>,
    #[serde(default)]
    approved: Vec<String>,
    expect: Expected,
    reason: Option<String>,
    message: Option<String>,
    #[serde(default)]
    rules: Vec<String>,
    masked: Option<BTreeSet<String>>,
    template: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum KindOfAgent {
    #[default]
    Application,
    User,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Expected {
    Allow,
    Deny,
    Hold,
}

/// What became of one case.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// File, relative to the test folder.
    pub file: String,
    /// Line of the case, from 1.
    pub line: usize,
    /// The case's name.
    pub name: String,
    /// The decision; `None` where the case itself is wrong.
    pub decision: Option<Decision>,
    /// Every expectation that wasn't met. Empty: the case passed.
    pub failures: Vec<String>,
}

impl Suite {
    /// Reads every `*.toml` in a bundle's `tests` folder, sorted by name. No folder: no suites.
    ///
    /// # Errors
    /// Files that can't be read or understood, with places.
    pub fn load(bundle_folder: &Path) -> Result<Vec<Self>, BundleErrors> {
        let folder = bundle_folder.join("tests");
        let failed = |error: std::io::Error| BundleError::of_file("tests", error);
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error).into()),
        };
        let mut names = BTreeSet::new();
        for entry in entries {
            let name = entry
                .map_err(failed)?
                .file_name()
                .into_string()
                .unwrap_or_default();
            if name.ends_with(".toml") && !name.starts_with('.') {
                names.insert(name);
            }
        }
        let mut mistakes = Vec::new();
        let mut suites = Vec::new();
        for name in names {
            match Self::read(&folder, &name) {
                Ok(suite) => suites.push(suite),
                Err(mistake) => mistakes.push(*mistake),
            }
        }
        BundleErrors::check(mistakes)?;
        Ok(suites)
    }

    fn read(folder: &Path, name: &str) -> Result<Self, Box<BundleError>> {
        let display = format!("tests/{name}");
        let text: Arc<str> = read_bounded(&folder.join(name))
            .map_err(|error| BundleError::of_file(&display, error))?
            .into();
        let source = Source {
            name: &display,
            text: &text,
        };
        let file: File = toml::from_str(&text)
            .map_err(|e| source.mistake(e.span().unwrap_or(0..0), e.message()))?;
        let target = TargetName::parse(file.target.get_ref())
            .map_err(|error| source.mistake(file.target.span(), error))?;
        let snapshot = match &file.catalogue {
            None => None,
            Some(named) => {
                let wrong = |what: String| Box::new(source.mistake(named.span(), what));
                Some(catalogue(folder, named.get_ref()).map_err(wrong)?)
            }
        };
        let protocol = match &file.protocol {
            None => "postgres",
            Some(named) => PROTOCOLS
                .into_iter()
                .find(|known| known == named.get_ref())
                .ok_or_else(|| {
                    let known = PROTOCOLS.join(", ");
                    source.mistake(named.span(), format!("unknown protocol; known: {known}"))
                })?,
        };
        let target = Target {
            name: target,
            environment: file.environment,
            protocol,
            mode: Mode::Enforce,
            durability: Durability::Bounded,
            upstream_principal: "gateway".to_owned(),
            classified: false,
            masking: Masking::Shared,
        };
        Ok(Self {
            file: display.clone(),
            text: Arc::clone(&text),
            target,
            snapshot,
            cases: file.case,
        })
    }

    /// Number of cases.
    #[must_use]
    pub fn len(&self) -> usize {
        self.cases.len()
    }

    /// Whether there is no case.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cases.is_empty()
    }

    /// Decides every case under `bundle`, in order.
    ///
    /// # Errors
    /// When the bundle's classification contradicts the catalogue.
    pub fn run(
        &self,
        bundle: &Bundle,
        analyst: &impl Analyst,
    ) -> Result<Vec<Outcome>, Vec<crate::ClassifyError>> {
        let classified = match &self.snapshot {
            None => Classified::default(),
            Some(snapshot) => bundle.classify(&self.target.name, snapshot)?.classified,
        };
        let scene = Scene {
            snapshot: self.snapshot.as_ref(),
            classified: &classified,
        };
        let target = Target {
            classified: !classified.is_empty(),
            ..self.target.clone()
        };
        let outcomes = self.cases.iter().map(|case| {
            let at = self.text.get(..case.span().start).unwrap_or_default();
            let line = at.matches('\n').count() + 1;
            let case = case.get_ref();
            let (decision, failures) = match decide(bundle, &target, scene, case, analyst) {
                Ok((decision, template)) => {
                    let failures = case.compare(&decision, template);
                    (Some(decision), failures)
                }
                Err(wrong) => (None, vec![wrong]),
            };
            Outcome {
                file: self.file.clone(),
                line,
                name: case.name.clone(),
                decision,
                failures,
            }
        });
        Ok(outcomes.collect())
    }
}

/// The decision, and the template that the case's command fits. `Err`: the case itself is wrong.
fn decide<'a>(
    bundle: &'a Bundle,
    target: &Target,
    scene: Scene<'_>,
    case: &Case,
    analyst: &impl Analyst,
) -> Result<(Decision, Option<&'a str>), String> {
    let approved: Vec<RuleId> = case
        .approved
        .iter()
        .map(|rule| RuleId::parse(rule).map_err(|error| format!("`approved`: {error}")))
        .collect::<Result<_, _>>()?;
    let now = case.now()?;
    let principal = case.principal(bundle, now)?;
    let operation = match asked(case, scene, analyst)? {
        Asked::Operation(operation) => operation,
        Asked::Refused(denial) => return Ok((refused(bundle, denial), None)),
    };
    let database = scene.snapshot.map(|snapshot| snapshot.database.clone());
    let facts = SessionFacts {
        source: case.source.unwrap_or(IpAddr::from([127, 0, 0, 1])),
        database: database.unwrap_or_default(),
    };
    let request = Request {
        principal: &principal,
        target,
        operation: &operation,
        facts: &facts,
        approved: &approved,
    };
    Ok((bundle.decide(now, &request), bundle.template(&operation)))
}

/// What the protocol refuses, no rule is asked about.
fn refused(bundle: &Bundle, denial: Denial) -> Decision {
    Decision {
        verdict: Verdict::Deny(denial),
        obligations: Obligations::default(),
        rules: Vec::new(),
        policy: bundle.digest(),
    }
}

impl Case {
    /// `at`, or noon of 2026-01-05, a Monday.
    fn now(&self) -> Result<Now, String> {
        let days = |year, month, day| Civil { year, month, day }.to_days();
        let seconds = match &self.at {
            None => days(2026, 1, 5) * 86_400 + 43_200,
            Some(at) => match (at.date, at.time, at.offset) {
                (Some(date), Some(time), Some(toml::value::Offset::Z)) => {
                    let days = days(date.year.into(), date.month.into(), date.day.into());
                    let minutes = i64::from(time.hour) * 60 + i64::from(time.minute);
                    days * 86_400 + minutes * 60 + i64::from(time.second.unwrap_or(0))
                }
                _ => return Err("`at` is a UTC time like 2026-01-05T12:00:00Z".to_owned()),
            },
        };
        let seconds = u64::try_from(seconds).map_err(|_| "`at` is before 1970".to_owned())?;
        Ok(Now {
            wall: Wall::from_secs(seconds),
            mono: Mono::default(),
        })
    }

    fn principal(&self, bundle: &Bundle, now: Now) -> Result<Principal, String> {
        let (tenant, object) = match &self.agent {
            None => (TenantId::from(UNKNOWN), ObjectId::from(UNKNOWN)),
            Some(name) => bundle
                .agents()
                .find(|agent| agent.name == *name)
                .map(|agent| (agent.tenant, agent.object))
                .ok_or_else(|| format!("agents.toml lists no agent `{name}`"))?,
        };
        let mut groups = self
            .groups
            .iter()
            .map(|group| ObjectId::parse(group).map_err(|error| format!("`groups`: {error}")))
            .collect::<Result<Vec<_>, _>>()?;
        groups.sort();
        let mut roles = self.roles.clone();
        roles.sort();
        Ok(Principal {
            tenant,
            object,
            app: AppId::from(*object.as_uuid()),
            kind: match self.kind {
                KindOfAgent::Application => PrincipalKind::Application,
                KindOfAgent::User => PrincipalKind::User,
            },
            display_name: String::new(),
            roles,
            groups: Groups::Known(groups),
            token_id: String::new(),
            client_auth: None,
            issued_at: now.wall,
            expires_at: now
                .wall
                .saturating_add(std::time::Duration::from_secs(3600)),
        })
    }

    fn compare(&self, decision: &Decision, template: Option<&str>) -> Vec<String> {
        let mut failures = Vec::new();
        let (verdict, reason, message) = match &decision.verdict {
            Verdict::Allow => (Expected::Allow, None, None),
            Verdict::Deny(denial) => (Expected::Deny, Some(denial.reason), Some(&denial.message)),
            Verdict::Hold(hold) => (Expected::Hold, None, Some(&hold.message)),
        };
        if verdict != self.expect {
            let why = message
                .map(|message| format!(": {message}"))
                .unwrap_or_default();
            failures
                .push(format!("expected {:?}, got {verdict:?}{why}", self.expect).to_lowercase());
        }
        if let Some(expected) = &self.reason
            && reason.map(Reason::as_str) != Some(expected.as_str())
        {
            let got = reason.map_or("none", Reason::as_str);
            failures.push(format!("expected reason `{expected}`, got `{got}`"));
        }
        if let Some(expected) = &self.message
            && !message.is_some_and(|message| message.contains(expected.as_str()))
        {
            let got = message.map_or("none", String::as_str);
            failures.push(format!("expected a message with `{expected}`, got `{got}`"));
        }
        for rule in &self.rules {
            if !decision.rules.iter().any(|id| id.as_str() == rule) {
                let got: Vec<_> = decision.rules.iter().map(RuleId::as_str).collect();
                failures.push(format!(
                    "rule `{rule}` didn't matter; these did: {}",
                    got.join(", ")
                ));
            }
        }
        if let Some(expected) = &self.template
            && template != Some(expected.as_str())
        {
            let got = template.unwrap_or("none");
            failures.push(format!("expected template `{expected}`, got `{got}`"));
        }
        let obligations = &decision.obligations;
        let columns = obligations.masks.values().map(|column| column.path());
        let fields = obligations.fields.iter().map(|field| field.name());
        let masked: BTreeSet<String> = columns.chain(fields).collect();
        if let Some(expected) = &self.masked
            && *expected != masked
        {
            failures.push(format!("expected masks {expected:?}, got {masked:?}"));
        }
        failures
    }
}

fn catalogue(folder: &Path, name: &str) -> Result<Snapshot, String> {
    if name.contains(['/', '\\']) {
        return Err("the catalogue lies beside the test file".to_owned());
    }
    let json = read_bounded(&folder.join(name)).map_err(|error| error.to_string())?;
    serde_json::from_str(&json).map_err(|error| format!("{name}: {error}"))
}

fn read_bounded(path: &Path) -> std::io::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    fs::File::open(path)?
        .take(FILE_BYTES_MAX)
        .read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests;
