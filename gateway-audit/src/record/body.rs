//! The bodies of session records: canonical JSON, kept beside the log's public headers.

use std::ops::Range;

use gateway_core::approval::{Answer, Vote};
use gateway_core::decision::{Denial, Hold};
use gateway_core::id::RuleId;
use gateway_core::identity::{Groups, Principal, PrincipalKind};
use gateway_core::mask::MaskCount;
use gateway_core::operation::{
    ApiResource, ApiUnit, CommandKind, CommandUnit, Inspection, Object as Target, Operation,
    Rewritten, Statement,
};
use gateway_core::record::SessionOpened;
use gateway_core::target::{Durability, Mode};

use super::seal::Sealer;
use crate::json::{Object, quoted};
use crate::log::Salt;

pub(crate) use gateway_core::record::STATEMENTS_LISTED_MAX;

pub(super) fn denial(o: &mut Object<'_>, denial: &Denial) {
    o.text_opt("detail", denial.detail.as_deref());
    o.text_opt("hint", denial.hint.as_deref());
    o.text("message", &denial.message);
    o.text("reason", denial.reason.as_str());
    o.texts("rules", denial.rules.iter().map(RuleId::as_str));
}

pub(super) fn principal(o: &mut Object<'_>, principal: &Principal) {
    o.int_opt("client_auth", principal.client_auth.map(u64::from));
    o.text("display_name", &principal.display_name);
    o.int("expires_at", principal.expires_at.as_micros());
    match &principal.groups {
        Groups::Known(groups) => {
            let groups: Vec<String> = groups.iter().map(ToString::to_string).collect();
            o.texts("groups", groups.iter().map(String::as_str));
        }
        Groups::Overage => o.text("groups", "overage"),
    }
    o.int("issued_at", principal.issued_at.as_micros());
    o.text(
        "kind",
        match principal.kind {
            PrincipalKind::Application => "application",
            PrincipalKind::User => "user",
        },
    );
    o.texts("roles", principal.roles.iter().map(String::as_str));
}

pub(super) fn opened(o: &mut Object<'_>, opened: &SessionOpened, method: Option<&str>) {
    o.text_opt("auth_method", method);
    o.flag("classified", opened.target.classified);
    o.text("database", &opened.database);
    o.text("durability", durability(opened.target.durability));
    o.text("environment", &opened.target.environment);
    o.text("masking", opened.target.masking.as_str());
    o.text(
        "mode",
        match opened.target.mode {
            Mode::Enforce => "enforce",
            Mode::Observe => "observe",
        },
    );
    o.object("principal", |o| principal(o, &opened.principal));
    o.text("source", &opened.source.to_string());
    o.text("upstream_principal", &opened.target.upstream_principal);
}

pub(super) const fn durability(durability: Durability) -> &'static str {
    match durability {
        Durability::Strict => "strict",
        Durability::Bounded => "bounded",
    }
}

/// What a unit would do, with tokens in place of values within reach of classified data. `salt` is
/// the request commitment's; it is withheld when values were replaced
/// by tokens, since salt and commitment together let a guess at such a value be checked.
///
/// `rewritten` is what goes to the target in place of the text, where that is another.
pub(super) fn operation(
    o: &mut Object<'_>,
    operation: &Operation,
    rewritten: Option<&Rewritten>,
    salt: &Salt,
    sealer: &Sealer,
) {
    let mut objects: Vec<String> = operation
        .effects()
        .iter()
        .map(|effect| object_name(&effect.object))
        .collect();
    objects.sort_unstable();
    objects.dedup();
    let mut actions: Vec<&str> = operation
        .effects()
        .iter()
        .map(|effect| effect.action.as_str())
        .collect();
    actions.sort_unstable();
    actions.dedup();
    o.texts("actions", actions);
    let sensitive = operation.sensitive();
    let classified = match operation {
        Operation::Session(_) => {
            o.texts("objects", objects.iter().map(String::as_str));
            o.hex("salt", salt);
            return;
        }
        Operation::Sql(unit) => {
            o.hex("catalogue", &unit.analysis.catalogue.0.0);
            o.flag("in_transaction", unit.in_transaction);
            !unit.analysis.classified.columns.is_empty()
        }
        Operation::Command(unit) => {
            o.object("facts", |o| command_facts(o, unit));
            false
        }
        Operation::Api(unit) => {
            o.object("facts", |o| api_facts(o, unit));
            false
        }
    };
    let tokenised = classified || !sensitive.is_empty();
    match operation.inspection() {
        Inspection::Full => o.text("inspection", "full"),
        Inspection::Opaque { reason } => {
            o.text("inspection", "opaque");
            o.text("inspection_reason", reason);
        }
    }
    o.texts("objects", objects.iter().map(String::as_str));
    if let Some(bindings) = operation.bindings() {
        let shown: Vec<Option<String>> = bindings
            .shown
            .iter()
            .map(|value| {
                let value = value.as_deref()?;
                Some(if tokenised {
                    sealer.token(value.as_bytes())
                } else {
                    value.to_owned()
                })
            })
            .collect();
        o.nullable_texts("parameters", shown.iter().map(Option::as_deref));
        o.hex("parameters_sha256", &bindings.digest.0);
    }
    if let Some(rewritten) = rewritten {
        o.text(
            "rewritten",
            &sealer.redact(&rewritten.text, &rewritten.sensitive).text,
        );
    }
    if !tokenised {
        o.hex("salt", salt);
    }
    let (statements, listed) = statements(operation);
    o.int("statement_count", count(statements));
    let text = sealer.redact(operation.text(), sensitive);
    o.objects("statements", listed, |o, (command, span)| {
        o.text("command", command);
        let span = text.stored(&span);
        o.int("end", count(span.end));
        o.int("start", count(span.start));
    });
    o.text("text", &text.text);
    o.int("text_bytes", count(operation.text().len()));
    o.int("tokens", count(sensitive.len()));
}

fn command_facts(o: &mut Object<'_>, unit: &CommandUnit) {
    o.text("kind", command_kind(unit.kind));
    o.text_opt("program", unit.facts.program.as_deref());
    o.flag("pty", unit.facts.pty);
}

fn api_facts(o: &mut Object<'_>, unit: &ApiUnit) {
    let facts = &unit.facts;
    if !facts.command.is_empty() {
        o.texts("command", facts.command.iter().map(String::as_str));
    }
    o.flag("dry_run", facts.dry_run);
    o.text("method", &facts.method);
    o.flag("privileged", facts.privileged);
    o.text_opt("resource", unit.resource.as_ref().map(resource).as_deref());
    o.text("verb", unit.verb);
}

const fn command_kind(kind: CommandKind) -> &'static str {
    match kind {
        CommandKind::Exec => "exec",
        CommandKind::Shell => "shell",
        CommandKind::File => "file",
    }
}

/// The number of an operation's statements, and those of them that are listed: what each does in a
/// word, and its part of the text. A command and a call are one statement each.
fn statements(operation: &Operation) -> (usize, Vec<(&str, Range<usize>)>) {
    let whole = 0..operation.text().len();
    match operation {
        Operation::Session(_) => (0, Vec::new()),
        Operation::Sql(unit) => {
            let statements = &unit.analysis.statements;
            (statements.len(), listed(statements).collect())
        }
        Operation::Command(unit) => {
            let program = unit.facts.program.as_deref();
            let command = program.unwrap_or(command_kind(unit.kind));
            (1, vec![(command, whole)])
        }
        Operation::Api(unit) => (1, vec![(unit.verb, whole)]),
    }
}

/// How many rows a listing of statements has for `operation`, at least one.
pub(super) fn rows(operation: &Operation) -> u64 {
    match operation {
        Operation::Session(_) | Operation::Command(_) | Operation::Api(_) => 1,
        Operation::Sql(unit) => count(
            unit.analysis
                .statements
                .len()
                .clamp(1, STATEMENTS_LISTED_MAX),
        ),
    }
}

/// Commands and spans of a text's statements. Past the bound, the last one stands for the rest of the text.
fn listed(statements: &[Statement]) -> impl Iterator<Item = (&str, Range<usize>)> {
    let end = statements.last().map_or(0, |last| last.span.end);
    (1..)
        .zip(statements)
        .take(STATEMENTS_LISTED_MAX)
        .map(move |(number, statement)| {
            let end = if number == STATEMENTS_LISTED_MAX {
                end
            } else {
                statement.span.end
            };
            (statement.command.as_str(), statement.span.start..end)
        })
}

fn count(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// An object as one line: `schema.name`, or what it is.
fn object_name(object: &Target) -> String {
    match object {
        Target::Target => "target".into(),
        Target::Database => "database".into(),
        Target::Schema { schema } => schema.clone(),
        Target::Relation { schema, name } => format!("{schema}.{name}"),
        Target::Function { schema, name } => format!("{schema}.{name}()"),
        Target::Setting { name } => format!("setting {name}"),
        Target::Path { path } | Target::ApiPath { path } => word(path),
        Target::Resource {
            group,
            resource,
            subresource,
            namespace,
            name,
        } => resource_name([group, namespace, resource, name, subresource]),
    }
}

fn resource(of: &ApiResource) -> String {
    resource_name([
        &of.group,
        &of.namespace,
        &of.resource,
        &of.name,
        &of.subresource,
    ])
}

/// A resource as its API's paths spell it, without the version: `apps/namespaces/shop/deployments/web`.
fn resource_name([group, namespace, resource, name, subresource]: [&String; 5]) -> String {
    let mut path = String::new();
    let mut push = |segment: &str| {
        if !path.is_empty() {
            path.push('/');
        }
        path.push_str(segment);
    };
    if !group.is_empty() {
        push(group);
    }
    if !namespace.is_empty() {
        push("namespaces");
        push(namespace);
    }
    push(resource);
    if !name.is_empty() || !subresource.is_empty() {
        push(name);
    }
    if !subresource.is_empty() {
        push(subresource);
    }
    word(&path)
}

/// A name as one word of a list: quoted where it would look like several, or like a quoted one.
fn word(name: &str) -> String {
    if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c == '"') {
        quoted(name)
    } else {
        name.to_owned()
    }
}

pub(super) fn hold(o: &mut Object<'_>, hold: &Hold) {
    let owner = hold.excluded_owner.map(|owner| owner.to_string());
    o.text_opt("excluded_owner", owner.as_deref());
    o.int(
        "expires_in_us",
        u64::try_from(hold.expires_in.as_micros()).unwrap_or(u64::MAX),
    );
    o.text("message", &hold.message);
    o.objects("requirements", &hold.requirements, |o, requirement| {
        o.int("approvers", u64::from(requirement.approvers));
        o.text("reviewers", &requirement.reviewers);
        o.text("rule", requirement.rule.as_str());
    });
}

pub(super) fn vote(o: &mut Object<'_>, vote: &Vote) {
    o.text(
        "answer",
        match vote.answer {
            Answer::Approve => "approve",
            Answer::Deny => "deny",
        },
    );
    o.int("at", vote.at.as_micros());
    o.text("comment", &vote.comment);
    o.texts("counts_for", vote.counts_for.iter().map(String::as_str));
    o.flag("is_owner", vote.is_owner);
    o.text("name", &vote.name);
    o.text("reviewer", &vote.reviewer.to_string());
}

pub(super) fn mask(o: &mut Object<'_>, count: &MaskCount) {
    o.text("class", count.class.as_str());
    o.text("column", &count.column);
    o.int("masked", count.masked);
    o.text("method", count.method);
    o.int("seen", count.seen);
}
