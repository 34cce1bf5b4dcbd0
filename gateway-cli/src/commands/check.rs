//! `gateway check`.

use std::sync::Arc;

use clap::Args;
use gateway_core::{
    azure::https_client, catalogue::DerivationKind, mask::ClassifiedColumn, target::Mode,
};
use gateway_policy::Bundle;
use serde::Serialize;

use super::{ConfigArgs, Exit, Failure, block_on};
use crate::{
    config::{Config, ConfigError},
    console, gateway,
    postgres::{PostgresTarget, Proof, ResolveError, Resolved},
    target::TargetService,
    tls,
};

/// Validate the configuration and the policy, and print what was resolved.
#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Don't connect to the targets.
    #[arg(long)]
    offline: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// Everything that was found.
#[derive(Debug, Serialize)]
struct Report {
    ok: bool,
    mistakes: Vec<Finding>,
    warnings: Vec<String>,
    policy: Option<PolicyReport>,
    targets: Vec<TargetReport>,
}

/// One mistake in a file.
#[derive(Debug, Serialize)]
struct Finding {
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<usize>,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

#[derive(Debug, Serialize)]
struct PolicyReport {
    digest: String,
    rules: usize,
    agents: usize,
}

#[derive(Debug, Serialize)]
struct TargetReport {
    name: String,
    address: String,
    environment: String,
    mode: &'static str,
    mask: bool,
    /// What keeps classified values from agents.
    masking: &'static str,
    protocol: &'static str,
    role: String,
    /// How the server proved itself, where it isn't asked for more.
    #[serde(skip_serializing_if = "Option::is_none")]
    reached: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resolved: Option<ResolvedReport>,
}

#[derive(Debug, Serialize)]
struct ResolvedReport {
    database: String,
    server_version: u32,
    relations: usize,
    powers: Vec<String>,
    classified: Vec<ColumnReport>,
    /// The conditions of the guaranteed mode, where it is asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    clauses: Vec<ClauseReport>,
}

#[derive(Debug, Serialize)]
struct ClauseReport {
    clause: &'static str,
    claim: &'static str,
    holds: bool,
    /// What breaks it.
    found: Vec<String>,
}

#[derive(Debug, Serialize)]
struct ColumnReport {
    column: String,
    class: String,
    method: &'static str,
    /// `None`: declared.
    derived: Option<&'static str>,
}

impl CheckArgs {
    pub(super) fn run(self) -> Result<Exit, Failure> {
        let mut report = Report {
            ok: false,
            mistakes: Vec::new(),
            warnings: Vec::new(),
            policy: None,
            targets: Vec::new(),
        };
        match Config::load(&self.config.config) {
            Ok(config) => block_on(self.check(config, &mut report))?,
            Err(ConfigError::Mistakes(mistakes)) => {
                for mistake in mistakes {
                    let (line, column) = mistake.position();
                    if !self.json {
                        console::diagnostic(&mistake);
                    }
                    report.mistakes.push(Finding {
                        file: Some(mistake.file().to_owned()),
                        line: Some(line),
                        column: Some(column),
                        message: mistake.message,
                        hint: mistake.help,
                    });
                }
            }
            Err(other) => return Err(other.into()),
        }
        report.ok = report.mistakes.is_empty();
        if self.json {
            console::json(&report);
        } else {
            report.print();
        }
        Ok(if report.ok { Exit::Done } else { Exit::No })
    }

    async fn check(&self, config: Config, report: &mut Report) -> Result<(), Failure> {
        let plain = |error: &dyn std::error::Error| Failure::plain(error.to_string());
        if let Err(error) = tls::server(&config.tls) {
            report.mistake(error.to_string());
        }
        if config.gateway.admin.is_none() {
            report
                .warnings
                .push("`admin` is not set: nobody can approve anything".into());
        }
        let mask_key = match gateway::mask_key(&config.gateway) {
            Ok(key) => key,
            Err(error) => {
                report.mistake(error.to_string());
                None
            }
        };
        let bundle = match Bundle::load(&config.gateway.policy, mask_key.as_ref()) {
            Ok(bundle) => Some(bundle),
            Err(errors) => {
                for error in errors.iter() {
                    if !self.json {
                        console::diagnostic(error);
                    }
                    report.mistakes.push(Finding {
                        file: Some(
                            config
                                .gateway
                                .policy
                                .join(error.file())
                                .display()
                                .to_string(),
                        ),
                        line: error.place().map(|(line, _)| line),
                        column: error.place().map(|(_, column)| column),
                        message: error.message().to_owned(),
                        hint: error.suggestion().map(str::to_owned),
                    });
                }
                None
            }
        };
        report.policy = bundle.as_ref().map(|bundle| PolicyReport {
            digest: bundle.digest().to_string(),
            rules: bundle.rules().count(),
            agents: bundle.agents().count(),
        });
        let rules = gateway::token_rules(&config.entra).map_err(|e| plain(&e))?;
        let entra_tls = match tls::client(config.entra.ca_file.as_deref()) {
            Ok(tls) => tls,
            Err(error) => {
                report.mistake(error.to_string());
                return Ok(());
            }
        };
        let http = https_client(entra_tls).map_err(|e| plain(&e))?;
        for (name, target) in config.targets {
            match TargetService::new(target, &http, &rules) {
                Ok(target) => self.check_target(&target, bundle.as_ref(), report).await,
                Err(error) => report.mistake(format!("target `{name}`: {error}")),
            }
        }
        Ok(())
    }

    async fn check_target(
        &self,
        target: &TargetService,
        bundle: Option<&Bundle>,
        report: &mut Report,
    ) {
        let config = target.config();
        let mut entry = TargetReport {
            name: config.name.to_string(),
            address: config.address.to_string(),
            environment: config.environment.clone(),
            mode: match config.mode {
                Mode::Enforce => "enforce",
                Mode::Observe => "observe",
            },
            mask: config.mask,
            masking: config.upstream.masking().as_str(),
            protocol: target.protocol().as_str(),
            role: config.upstream.user().to_owned(),
            reached: None,
            resolved: None,
        };
        if config.mode == Mode::Observe {
            let warning = "denials and holds are recorded, not enforced (mode = \"observe\")";
            report
                .warnings
                .push(format!("target `{}`: {warning}", config.name));
        }
        if !config.mask {
            let warning = "classified columns are shown in clear (mask = \"off\")";
            report
                .warnings
                .push(format!("target `{}`: {warning}", config.name));
        }
        if let Some(bundle) = bundle.filter(|_| !self.offline) {
            self.probe(target, bundle, &mut entry, report).await;
        }
        report.targets.push(entry);
    }

    /// Connects to the target, and says what is there.
    async fn probe(
        &self,
        target: &TargetService,
        bundle: &Bundle,
        entry: &mut TargetReport,
        report: &mut Report,
    ) {
        let name = &target.config().name;
        let Some(postgres) = target.postgres() else {
            match target.reach().await {
                Ok(reached) => entry.reached = Some(reached),
                Err(error) => report.mistake(format!("target `{name}`: {error}")),
            }
            return;
        };
        match resolve(postgres, bundle).await {
            Ok((resolved, proof)) => {
                judge_role(target, postgres, bundle, &resolved, report);
                if let Some(proof) = proof.as_ref().filter(|proof| !proof.holds()) {
                    judge_proof(target, proof, report);
                }
                entry.resolved = Some(resolved_report(&resolved, proof));
            }
            Err(ResolveError::Classify(errors)) => {
                for error in errors {
                    report.mistake(format!("target `{name}`: {error}"));
                }
            }
            Err(error) => report.mistake(format!("target `{name}`: {error}")),
        }
    }
}

async fn resolve(
    target: &PostgresTarget,
    bundle: &Bundle,
) -> Result<(Resolved, Option<Proof>), ResolveError> {
    let loaded = target.catalogues().get(target.default_database()).await?;
    let (classified, proof) = match target.classify(bundle, &loaded) {
        // Masks may be switched off: then nothing is to be proven.
        Ok(classified) if classified.is_empty() => (classified, None),
        Ok(_) | Err(ResolveError::Unproven(_)) => {
            let (classified, proof) = target.prove(bundle, &loaded)?;
            (Arc::new(classified), proof)
        }
        Err(other) => return Err(other),
    };
    Ok((Resolved { loaded, classified }, proof))
}

fn judge_proof(target: &TargetService, proof: &Proof, report: &mut Report) {
    let name = &target.config().name;
    report.mistakes.push(Finding {
        file: None,
        line: None,
        column: None,
        message: format!("target `{name}` isn't proven to withhold what is classified: {proof}"),
        hint: Some(format!(
            "`gateway target provision {name}` writes the SQL that changes it"
        )),
    });
}

fn judge_role(
    target: &TargetService,
    postgres: &PostgresTarget,
    bundle: &Bundle,
    resolved: &Resolved,
    report: &mut Report,
) {
    let name = &target.config().name;
    let role = &resolved.loaded.snapshot.role;
    if let Some(power) = postgres.forbidden_power(&target.describe(bundle), resolved) {
        report.mistakes.push(Finding {
            file: None,
            line: None,
            column: None,
            message: format!(
                "target `{name}` is classified, and `{}` there is a {power}",
                role.name
            ),
            hint: Some("give the gateway an ordinary role there".into()),
        });
    }
    if !role.powerful_memberships.is_empty() {
        let memberships = role.powerful_memberships.join(", ");
        report.warnings.push(format!(
            "target `{name}`: `{}` is a member of {memberships}, which see more than tables",
            role.name
        ));
    }
}

fn resolved_report(resolved: &Resolved, proof: Option<Proof>) -> ResolvedReport {
    let snapshot = &resolved.loaded.snapshot;
    let mut powers = snapshot.role.powerful_memberships.clone();
    powers.extend(snapshot.role.superuser.then(|| "superuser".to_owned()));
    powers.extend(snapshot.role.replication.then(|| "replication".to_owned()));
    ResolvedReport {
        database: snapshot.database.clone(),
        server_version: snapshot.server_version,
        relations: snapshot.relations.len(),
        powers,
        classified: resolved.classified.columns().map(column_report).collect(),
        clauses: proof.map_or_else(Vec::new, clause_reports),
    }
}

fn clause_reports(proof: Proof) -> Vec<ClauseReport> {
    let clauses = proof.clauses.into_iter();
    clauses
        .map(|(clause, found)| ClauseReport {
            clause: clause.name(),
            claim: clause.claim(),
            holds: found.is_empty(),
            found,
        })
        .collect()
}

fn column_report(column: &Arc<ClassifiedColumn>) -> ColumnReport {
    ColumnReport {
        column: column.path(),
        class: column.class.to_string(),
        method: column.transform.method(),
        derived: column.derived.map(|how| match how {
            DerivationKind::View => "view",
            DerivationKind::Inheritance => "inheritance",
            DerivationKind::Generated => "generated",
            DerivationKind::ForeignKey => "foreign key",
        }),
    }
}

impl Report {
    fn mistake(&mut self, message: String) {
        self.mistakes.push(Finding {
            file: None,
            line: None,
            column: None,
            message,
            hint: None,
        });
    }

    /// Mistakes in files have been shown with their source already.
    fn print(&self) {
        if let Some(policy) = &self.policy {
            let PolicyReport {
                digest,
                rules,
                agents,
            } = policy;
            console::line(format!("policy {digest}: {rules} rules, {agents} agents"));
        }
        for target in &self.targets {
            console::line(format!(
                "target {}: {} at {} ({}): {}, masks {}, {}, role {}",
                target.name,
                target.protocol,
                target.address,
                target.environment,
                target.mode,
                if target.mask { "on" } else { "off" },
                target.masking,
                console::printable(&target.role),
            ));
            if let Some(reached) = &target.reached {
                console::line(format!("  {}", console::printable(reached)));
            }
            let Some(resolved) = &target.resolved else {
                continue;
            };
            console::line(format!(
                "  database {}: server {}, {} relations, {} classified columns",
                console::printable(&resolved.database),
                resolved.server_version,
                resolved.relations,
                resolved.classified.len(),
            ));
            for column in &resolved.classified {
                let derived = column
                    .derived
                    .map(|how| format!(", by {how}"))
                    .unwrap_or_default();
                console::line(format!(
                    "    {} is {} ({}{derived})",
                    console::printable(&column.column),
                    column.class,
                    column.method,
                ));
            }
            for clause in &resolved.clauses {
                let word = if clause.holds { "holds" } else { "FAILS" };
                console::line(format!("  {word} {}: {}", clause.clause, clause.claim));
                for object in &clause.found {
                    console::line(format!("          {}", console::printable(object)));
                }
            }
        }
        for warning in &self.warnings {
            console::note(format!("warning: {}", console::printable(warning)));
        }
        for mistake in self
            .mistakes
            .iter()
            .filter(|mistake| mistake.file.is_none())
        {
            console::note(format!("error: {}", console::printable(&mistake.message)));
            if let Some(hint) = &mistake.hint {
                console::note(format!(" hint: {hint}"));
            }
        }
        match self.mistakes.len() {
            0 => console::line("everything checks out"),
            1 => console::note("1 mistake"),
            many => console::note(format!("{many} mistakes")),
        }
    }
}
