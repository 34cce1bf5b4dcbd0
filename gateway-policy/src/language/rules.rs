//! `*.cedar`: rules with their annotations, checked beyond what Cedar itself checks.

use std::{collections::BTreeSet, ops::Range, time::Duration};

use cedar_policy::{Effect, Policy, PolicyId, PolicySet, ValidationMode, Validator};
use gateway_core::id::RuleId;
use miette::Diagnostic;
use serde_json::Value;

use super::error::{BundleError, Source, suggest};

/// Rules of one bundle, at most.
pub(crate) const RULES_MAX: usize = 10_000;

const ANNOTATIONS: [&str; 6] = ["id", "message", "hold", "approvers", "expires", "owner"];
const HOLD_ANNOTATIONS: [&str; 3] = ["approvers", "expires", "owner"];
const REVIEWERS_BYTES_MAX: usize = 127;
const APPROVERS_MAX: u32 = 20;
const EXPIRES_DEFAULT: Duration = Duration::from_secs(15 * 60);
const EXPIRES_MAX: Duration = Duration::from_secs(24 * 3600);

/// What the annotations of one rule say.
///
/// | annotation | value | on |
/// |---|---|---|
/// | `@id` | unique, required | every rule |
/// | `@message` | a sentence for the agent and the reviewers | every rule |
/// | `@hold` | app role or group id of the reviewers | a `forbid … unless { context.approved }` |
/// | `@approvers` | distinct persons, 1 to 20; default 1 | holds |
/// | `@expires` | `30s`, `15m`, `2h`; at most 24 h, default 15 min | holds |
/// | `@owner` | `"any"`: the agent's owner may approve, and needn't be known | holds |
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// `@id`.
    pub id: RuleId,
    /// Where it stands: `writes.cedar:12`.
    pub place: String,
    /// `@message`.
    pub message: Option<String>,
    /// Whose agreement lifts it, when it is a hold.
    pub hold: Option<HoldTerms>,
}

/// The terms of a hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldTerms {
    /// `@hold`: the app role or group whose members may approve.
    pub reviewers: String,
    /// `@approvers`: how many distinct persons.
    pub approvers: u32,
    /// `@expires`: when silence becomes a no.
    pub expires_in: Duration,
    /// Whether the agent's owner is kept from approving: yes, unless `@owner("any")`.
    pub excludes_owner: bool,
}

/// Facts that cost something to provide, and whether a rule reads them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reads {
    /// `context.time` or `context.token_age_s`: decisions go stale by themselves.
    pub(crate) clock: bool,
    /// `context.source_ip`.
    pub(crate) source: bool,
}

impl Reads {
    /// What either reads.
    pub(crate) const fn or(self, other: Self) -> Self {
        Self {
            clock: self.clock || other.clock,
            source: self.source || other.source,
        }
    }
}

/// A rule and the policy it annotates.
pub(crate) struct ParsedRule {
    pub(crate) policy: Policy,
    pub(crate) rule: Rule,
    pub(crate) reads: Reads,
}

/// Parses and validates one file; mistakes go to `mistakes`, ids seen so far to `ids`.
pub(crate) fn parse(
    source: Source<'_>,
    validator: &Validator,
    ids: &mut BTreeSet<RuleId>,
    mistakes: &mut Vec<BundleError>,
) -> Vec<ParsedRule> {
    let policies: PolicySet = match source.text.parse() {
        Ok(policies) => policies,
        Err(errors) => {
            let errors: &cedar_policy::ParseErrors = &errors;
            mistakes.extend(errors.iter().map(|error| diagnostic(source, error)));
            return Vec::new();
        }
    };
    for template in policies.templates() {
        let span = template
            .as_ref()
            .loc()
            .map_or(0..0, |loc| loc.start()..loc.end());
        mistakes.push(source.mistake(
            span,
            "templates (`?principal`, `?resource`) aren't supported",
        ));
    }
    let mut parsed: Vec<(usize, ParsedRule)> = Vec::new();
    for policy in policies.policies() {
        let span = policy
            .as_ref()
            .loc()
            .map_or(0..0, |loc| loc.start()..loc.end());
        let reader = RuleReader {
            source,
            policy,
            span: span.clone(),
        };
        match reader.read() {
            Ok(rule) if !ids.insert(rule.rule.id.clone()) => {
                mistakes.push(
                    reader.mistake("id", format!("`@id(\"{}\")` is used twice", rule.rule.id)),
                );
            }
            Ok(rule) => parsed.push((span.start, rule)),
            Err(found) => mistakes.extend(found),
        }
    }
    parsed.sort_by_key(|(start, _)| *start);
    let parsed: Vec<_> = parsed.into_iter().map(|(_, rule)| rule).collect();
    mistakes.extend(validate(source, validator, &parsed));
    parsed
}

/// Strict validation. Warnings count: a rule that can never apply is a rule somebody relies on.
fn validate(source: Source<'_>, validator: &Validator, rules: &[ParsedRule]) -> Vec<BundleError> {
    let set = match PolicySet::from_policies(rules.iter().map(|rule| rule.policy.clone())) {
        Ok(set) => set,
        Err(error) => return vec![diagnostic(source, &error)],
    };
    let result = validator.validate(&set, ValidationMode::Strict);
    let errors = result
        .validation_errors()
        .map(|error| diagnostic(source, error));
    let warnings = result
        .validation_warnings()
        .map(|warning| diagnostic(source, warning));
    // An expression is wrong once, though Cedar says so for every action that the rule is about.
    let mut places = BTreeSet::new();
    errors
        .chain(warnings)
        .filter(|mistake| places.insert(mistake.place()))
        .collect()
}

/// Cedar's own diagnostics, with their place in our file.
fn diagnostic(source: Source<'_>, error: &dyn Diagnostic) -> BundleError {
    let span = error
        .labels()
        .and_then(|mut labels| labels.next())
        .map_or(0..0, |label| label.offset()..label.offset() + label.len());
    let label = error
        .labels()
        .and_then(|mut labels| labels.next())
        .and_then(|label| {
            label
                .label()
                .filter(|text| !text.is_empty())
                .map(|text| format!(" ({text})"))
        });
    source
        .mistake(span, format!("{error}{}", label.unwrap_or_default()))
        .with_help(error.help())
}

struct RuleReader<'a> {
    source: Source<'a>,
    policy: &'a Policy,
    span: Range<usize>,
}

impl RuleReader<'_> {
    /// The mistake, at the annotation if it is there, else at the rule.
    fn mistake(&self, annotation: &str, message: impl std::fmt::Display) -> BundleError {
        let needle = format!("@{annotation}");
        let text = self.source.text.get(self.span.clone()).unwrap_or_default();
        let span = match text.find(&needle) {
            Some(at) => self.span.start + at..self.span.start + at + needle.len(),
            None => self.span.start..self.span.start + text.lines().next().map_or(0, str::len),
        };
        self.source.mistake(span, message)
    }

    fn read(&self) -> Result<ParsedRule, Vec<BundleError>> {
        let mut mistakes = Vec::new();
        for (name, _) in self.policy.annotations() {
            if !ANNOTATIONS.contains(&name) {
                let mistake = self.mistake(name, format!("unknown annotation `@{name}`"));
                mistakes.push(mistake.with_help(suggest(name, ANNOTATIONS)));
            }
        }
        let id = match self.policy.annotation("id").map(RuleId::parse) {
            Some(Ok(id)) => Some(id),
            Some(Err(error)) => {
                mistakes.push(self.mistake("id", error));
                None
            }
            None => {
                let mistake = self.mistake("id", "a rule needs an `@id(\"…\")`");
                mistakes.push(mistake.with_help(Some("evidence and refusals name rules by it")));
                None
            }
        };
        let conditions = self.conditions(&mut mistakes);
        let hold = self.hold(&mut mistakes);
        self.check_approved(&conditions, &mut mistakes);
        let id = match id {
            Some(id) if mistakes.is_empty() => id,
            Some(_) | None => return Err(mistakes),
        };
        Ok(ParsedRule {
            policy: self.policy.new_id(PolicyId::new(id.as_str())),
            reads: Reads {
                clock: reads_any(&conditions, &["time", "token_age_s"]),
                source: reads_any(&conditions, &["source_ip"]),
            },
            rule: Rule {
                id,
                place: self.source.file_and_line(self.span.start),
                message: self.policy.annotation("message").map(str::to_owned),
                hold,
            },
        })
    }

    /// The `when` and `unless` clauses in Cedar's JSON form (Cedar, "JSON policy format").
    fn conditions(&self, mistakes: &mut Vec<BundleError>) -> Vec<Value> {
        let conditions = match self.policy.to_json() {
            Ok(mut json) => json.get_mut("conditions").map(Value::take),
            Err(error) => {
                mistakes.push(diagnostic(self.source, &error));
                return Vec::new();
            }
        };
        let conditions = match conditions {
            Some(Value::Array(conditions)) => conditions,
            Some(_) | None => Vec::new(),
        };
        if conditions.iter().any(uses_whole_context) {
            mistakes.push(self.mistake(
                "id",
                "`context` is used as a whole; name its fields, so that it is known which are read",
            ));
        }
        conditions
    }

    fn hold(&self, mistakes: &mut Vec<BundleError>) -> Option<HoldTerms> {
        let Some(reviewers) = self.policy.annotation("hold") else {
            for name in HOLD_ANNOTATIONS {
                if self.policy.annotation(name).is_some() {
                    mistakes.push(self.mistake(name, format!("`@{name}` needs `@hold` beside it")));
                }
            }
            return None;
        };
        if reviewers.is_empty() || reviewers.len() > REVIEWERS_BYTES_MAX {
            mistakes
                .push(self.mistake("hold", "`@hold` names the reviewers' app role or group id"));
        }
        let approvers = self.policy.annotation("approvers").unwrap_or("1").parse();
        let approvers = approvers.ok().filter(|n| (1..=APPROVERS_MAX).contains(n));
        if approvers.is_none() {
            let message = format!("`@approvers` is a number from 1 to {APPROVERS_MAX}");
            mistakes.push(self.mistake("approvers", message));
        }
        let expires_in = match self.policy.annotation("expires") {
            Some(text) => duration(text),
            None => Some(EXPIRES_DEFAULT),
        };
        if expires_in.is_none() {
            mistakes.push(self.mistake(
                "expires",
                "`@expires` is like `30s`, `15m` or `2h`, at most 24 h",
            ));
        }
        let excludes_owner = match self.policy.annotation("owner") {
            None => true,
            Some("any") => false,
            Some(_) => {
                mistakes.push(self.mistake("owner", "`@owner` can only be `\"any\"`"));
                true
            }
        };
        Some(HoldTerms {
            reviewers: reviewers.to_owned(),
            approvers: approvers?,
            expires_in: expires_in?,
            excludes_owner,
        })
    }

    /// A hold is a `forbid` whose last clause is `unless { context.approved }`, and nothing else
    /// may read `approved`: so approval lifts exactly the holds that were asked for.
    fn check_approved(&self, conditions: &[Value], mistakes: &mut Vec<BundleError>) {
        let is_hold = self.policy.annotation("hold").is_some();
        let ends_in_approved = conditions.last().is_some_and(is_unless_approved);
        let others = match conditions.split_last() {
            Some((_, others)) if ends_in_approved && is_hold => others,
            Some(_) | None => conditions,
        };
        if is_hold && (self.policy.effect() != Effect::Forbid || !ends_in_approved) {
            mistakes.push(self.mistake(
                "hold",
                "a hold is a `forbid` whose last clause is `unless { context.approved }`",
            ));
        } else if reads_any(others, &["approved"]) {
            mistakes.push(self.mistake(
                "id",
                "only the last clause of a rule with `@hold` may read `context.approved`",
            ));
        }
    }
}

fn is_unless_approved(condition: &Value) -> bool {
    *condition
        == serde_json::json!({
            "kind": "unless",
            "body": { ".": { "left": { "Var": "context" }, "attr": "approved" } },
        })
}

/// Whether some expression accesses an attribute of one of these names, of whatever it is.
fn reads_any(conditions: &[Value], names: &[&str]) -> bool {
    fn within(value: &Value, names: &[&str]) -> bool {
        match value {
            Value::Object(map) => {
                let here = map.get("attr").and_then(Value::as_str);
                here.is_some_and(|attr| names.contains(&attr))
                    || map.values().any(|value| within(value, names))
            }
            Value::Array(values) => values.iter().any(|value| within(value, names)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
        }
    }
    conditions.iter().any(|condition| within(condition, names))
}

/// Whether the variable `context` stands anywhere but left of an attribute access or `has`.
fn uses_whole_context(value: &Value) -> bool {
    let is_context = |value: &Value| value.get("Var").and_then(Value::as_str) == Some("context");
    match value {
        Value::Object(map) => map.iter().any(|(key, inner)| {
            (key == "Var" && inner.as_str() == Some("context"))
                || match inner {
                    Value::Object(access) if matches!(key.as_str(), "." | "has") => {
                        access.iter().any(|(side, operand)| {
                            !(side == "left" && is_context(operand)) && uses_whole_context(operand)
                        })
                    }
                    _ => uses_whole_context(inner),
                }
        }),
        Value::Array(values) => values.iter().any(uses_whole_context),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// `30s`, `15m`, `2h`: positive and at most [`EXPIRES_MAX`].
fn duration(text: &str) -> Option<Duration> {
    let (unit, seconds) = [('s', 1), ('m', 60), ('h', 3600)]
        .into_iter()
        .find(|(unit, _)| text.ends_with(*unit))?;
    let count: u64 = text.strip_suffix(unit)?.parse().ok()?;
    let duration = Duration::from_secs(count.checked_mul(seconds)?);
    (!duration.is_zero() && duration <= EXPIRES_MAX).then_some(duration)
}
