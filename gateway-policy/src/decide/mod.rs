//! Decisions: one Cedar request per effect, holds on top, nothing skipped.
//!
//! ```text
//! effects -> each permitted? --no--> Deny
//!            |yes, but a hold matched -> would approval lift it? --yes--> Hold
//!            '-> Allow, with the classified columns and fields that `reveal` permits
//! ```
//! Cedar skips a policy that fails to evaluate, even a `forbid`. Here any such failure is a denial.

mod cache;
mod entities;
mod index;
mod words;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use cedar_policy::{
    ActionConstraint, Authorizer, Context, Decision as Answer, Effect as PolicyEffect, Entities,
    Entity, EntityUid, Policy, Request as Query,
};
use gateway_core::{
    catalogue::ColumnId,
    decision::{Denial, Hold, Reason, Request, Requirement, Verdict},
    id::RuleId,
    identity::{Groups, PrincipalKind},
    mask::{ClassifiedColumn, ClassifiedField},
    operation::{Action, ClassifiedUse, Effect, Inspection, Object, Operation},
    time::Now,
};

pub(crate) use cache::Cache;
use entities::{Vocabulary, VocabularyError};
use index::Index;

use crate::language::{Agents, ParsedRule, REVEAL, REVEAL_FAMILY, Reads, Rule, family};

/// Rules made ready to decide.
pub(crate) struct Engine {
    authorizer: Authorizer,
    vocabulary: Vocabulary,
    rules: BTreeMap<String, Rule>,
    actions: BTreeMap<Action, Slice>,
    reveal: Slice,
    /// What some rule reads. If that is the clock, no decision may be remembered.
    pub(crate) reads: Reads,
}

/// The policies that can match one action.
struct Slice {
    uid: EntityUid,
    entity: Entity,
    policies: Index,
    /// Whether some `forbid` depends on group membership, which an overage token doesn't prove.
    forbids_groups: bool,
}

/// What a judgement goes by beside rules and request.
#[derive(Clone, Copy)]
pub(crate) struct Given<'a> {
    pub(crate) agents: &'a Agents,
    /// The template that the operation's words fit; empty for none.
    pub(crate) template: &'a str,
    /// Classified fields that the answer may hold.
    pub(crate) fields: &'a [ClassifiedField],
}

/// What was decided, before masks.
#[derive(Clone, Debug)]
pub(crate) struct Judgement {
    pub(crate) verdict: Verdict,
    pub(crate) rules: Vec<RuleId>,
    pub(crate) reveal: BTreeSet<ColumnId>,
    pub(crate) reveal_fields: BTreeSet<ClassifiedField>,
}

/// The rules can't be made ready. A bug, or a Cedar that changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EngineError {
    #[error(transparent)]
    Vocabulary(#[from] VocabularyError),
    #[error("rules can't be combined: {0}")]
    Combine(Box<cedar_policy::PolicySetError>),
}

/// What Cedar says of one effect.
enum Ruling {
    Permitted(Vec<RuleId>),
    Forbidden(Vec<RuleId>),
    NotPermitted,
    Failed(String),
}

impl Engine {
    pub(crate) fn new(parsed: Vec<ParsedRule>) -> Result<Self, EngineError> {
        let vocabulary = Vocabulary::new()?;
        let reads = parsed
            .iter()
            .map(|rule| rule.reads)
            .fold(Reads::default(), Reads::or);
        let slice = |name: &str, group: Option<&str>| {
            let uid = vocabulary.action(name);
            let group = group.map(|group| vocabulary.action(group));
            let mut policies = Index::default();
            let mut forbids_groups = false;
            for policy in parsed.iter().map(|rule| &rule.policy) {
                if may_match(policy, &uid, group.as_ref()) {
                    forbids_groups |= policy.effect() == PolicyEffect::Forbid
                        && policy
                            .entity_literals()
                            .iter()
                            .any(|uid| vocabulary.is_group(uid));
                    policies.add(policy)?;
                }
            }
            let entity = Entity::new_no_attrs(uid.clone(), group.into_iter().collect());
            Ok::<_, EngineError>(Slice {
                uid,
                entity,
                policies,
                forbids_groups,
            })
        };
        let actions = Action::ALL
            .iter()
            .map(|action| Ok((*action, slice(action.as_str(), family(*action).group)?)))
            .collect::<Result<_, EngineError>>()?;
        let reveal = slice(REVEAL, REVEAL_FAMILY.group)?;
        let rules = parsed
            .into_iter()
            .map(|rule| (rule.rule.id.as_str().to_owned(), rule.rule))
            .collect();
        Ok(Self {
            authorizer: Authorizer::new(),
            vocabulary,
            rules,
            actions,
            reveal,
            reads,
        })
    }

    /// Every rule, by id.
    pub(crate) fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.rules.values()
    }

    /// The rule with this id.
    pub(crate) fn rule(&self, id: &RuleId) -> Option<&Rule> {
        self.rules.get(id.as_str())
    }

    /// Judges one request. Total: whatever fails is a denial, and reveals nothing.
    pub(crate) fn judge(&self, given: Given<'_>, now: Now, request: &Request<'_>) -> Judgement {
        match self.try_judge(given, now, request) {
            Ok(judgement) => judgement,
            Err(reason) => Judgement {
                verdict: Verdict::Deny(
                    Denial::new(Reason::PolicyError, "the policy could not be evaluated")
                        .with_detail(reason),
                ),
                rules: Vec::new(),
                reveal: BTreeSet::new(),
                reveal_fields: BTreeSet::new(),
            },
        }
    }

    /// `Err` holds what failed, in words.
    fn try_judge(
        &self,
        given: Given<'_>,
        now: Now,
        request: &Request<'_>,
    ) -> Result<Judgement, String> {
        let effects = effects(request.operation);
        let columns = classified(request.operation).map_or(&[][..], |used| &used.columns);
        let world = World::new(self, given, now, request, &effects, columns)?;

        let mut rules = BTreeSet::new();
        let mut refusals = Refusals::default();
        let mut holds: BTreeSet<RuleId> = BTreeSet::new();
        for effect in &effects {
            match self.rule_on(&world, effect, request)? {
                (Ruling::Permitted(by), held) => {
                    rules.extend(by);
                    holds.extend(held);
                }
                (Ruling::Forbidden(by), _) => refusals.forbid(effect, by),
                (Ruling::NotPermitted, _) => refusals.not_permitted.push(effect.clone()),
                (Ruling::Failed(why), _) => return Err(why),
            }
        }
        let mut reveals = |resource: &EntityUid| match self.ask(
            &self.reveal,
            &world,
            resource,
            &world.unapproved,
        ) {
            Ruling::Permitted(by) => {
                rules.extend(by);
                Ok(true)
            }
            Ruling::Forbidden(_) | Ruling::NotPermitted => Ok(false),
            Ruling::Failed(why) => Err(why),
        };
        let mut reveal = BTreeSet::new();
        for column in columns {
            if reveals(&self.vocabulary.column(request, column))? {
                reveal.insert(column.id);
            }
        }
        let mut reveal_fields = BTreeSet::new();
        for field in given.fields {
            if reveals(&self.vocabulary.field(request, field))? {
                reveal_fields.insert(field.clone());
            }
        }
        let verdict = match refusals.into_denial(self, request) {
            Some(denial) => {
                rules.extend(denial.rules.iter().cloned());
                Verdict::Deny(denial)
            }
            None => {
                rules.extend(holds.iter().cloned());
                self.hold(given.agents, request, &effects, &holds)
            }
        };
        Ok(Judgement {
            verdict,
            rules: rules.into_iter().collect(),
            reveal,
            reveal_fields,
        })
    }

    /// What becomes of one effect, and the holds that lie on it. Holds are listed only for an
    /// effect that approval would permit: nobody is asked about what nobody may do.
    fn rule_on(
        &self,
        world: &World<'_>,
        effect: &Effect,
        request: &Request<'_>,
    ) -> Result<(Ruling, Vec<RuleId>), String> {
        let slice = self
            .actions
            .get(&effect.action)
            .ok_or("an action has no policies")?;
        let kind = entities::type_name(&effect.object);
        if !family(effect.action).resources.contains(&kind) {
            let action = effect.action.as_str();
            return Err(format!(
                "`{action}` on a {kind} is nothing a policy can speak of"
            ));
        }
        let resource = self.vocabulary.object(request, &effect.object);
        let ruling = self.ask(slice, world, &resource, &world.unapproved);
        let Ruling::Forbidden(by) = ruling else {
            return Ok((ruling, Vec::new()));
        };
        let is_hold = |id: &RuleId| {
            self.rules
                .get(id.as_str())
                .is_some_and(|r| r.hold.is_some())
        };
        let (holds, others): (Vec<_>, Vec<_>) = by.into_iter().partition(is_hold);
        if !others.is_empty() {
            return Ok((Ruling::Forbidden(others), Vec::new()));
        }
        let approved = entities::context(self.reads, world.now, request, world.template, true)?;
        Ok((self.ask(slice, world, &resource, &approved), holds))
    }

    fn ask(
        &self,
        slice: &Slice,
        world: &World<'_>,
        resource: &EntityUid,
        context: &Context,
    ) -> Ruling {
        if world.groups_unknown && slice.forbids_groups {
            return Ruling::Failed(
                "the token has too many groups to list, and a rule forbids by group".to_owned(),
            );
        }
        let query = Query::new(
            world.principal.clone(),
            slice.uid.clone(),
            resource.clone(),
            context.clone(),
            None,
        );
        let query = match query {
            Ok(query) => query,
            Err(error) => return Ruling::Failed(error.to_string()),
        };
        let (mut permits, mut forbids) = (Vec::new(), Vec::new());
        for policies in slice.policies.candidates(world, resource) {
            let response = self
                .authorizer
                .is_authorized(&query, policies, &world.entities);
            if let Some(error) = response.diagnostics().errors().next() {
                return Ruling::Failed(error.to_string());
            }
            let by = response
                .diagnostics()
                .reason()
                .filter_map(|id| self.rules.get(AsRef::<str>::as_ref(id)))
                .map(|rule| rule.id.clone());
            match response.decision() {
                Answer::Allow => permits.extend(by),
                Answer::Deny => forbids.extend(by),
            }
        }
        // As Cedar would say of all of them in one set: a forbid beats every permit.
        match (forbids.is_empty(), permits.is_empty()) {
            (false, _) => Ruling::Forbidden(forbids),
            (true, false) => Ruling::Permitted(permits),
            (true, true) => Ruling::NotPermitted,
        }
    }

    /// Allow, or a hold for those of `matched` which this unit's approvals don't cover.
    fn hold(
        &self,
        agents: &Agents,
        request: &Request<'_>,
        effects: &[Effect],
        matched: &BTreeSet<RuleId>,
    ) -> Verdict {
        let missing: Vec<&Rule> = matched
            .iter()
            .filter(|id| !request.approved.contains(id))
            .filter_map(|id| self.rule(id))
            .collect();
        let terms = || {
            missing
                .iter()
                .filter_map(|rule| Some((rule, rule.hold.as_ref()?)))
        };
        let Some(expires_in) = terms().map(|(_, hold)| hold.expires_in).min() else {
            return Verdict::Allow;
        };
        let owner = owner(agents, request);
        let excludes_owner = terms().any(|(_, hold)| hold.excludes_owner);
        if excludes_owner && owner.is_none() {
            let rules = missing.iter().map(|rule| rule.id.clone()).collect();
            return Verdict::Deny(
                Denial::new(
                    Reason::Forbidden,
                    "this needs an approval that the agent's owner may not give, and the owner is unknown",
                )
                .with_hint("list the agent with its owner in agents.toml")
                .with_rules(rules),
            );
        }
        Verdict::Hold(Hold {
            requirements: terms()
                .map(|(rule, hold)| Requirement {
                    rule: rule.id.clone(),
                    reviewers: hold.reviewers.clone(),
                    approvers: hold.approvers,
                })
                .collect(),
            expires_in: expires_in.max(Duration::from_secs(1)),
            message: missing
                .iter()
                .find_map(|rule| rule.message.clone())
                .unwrap_or_else(|| words::held(effects, request)),
            excluded_owner: owner.filter(|_| excludes_owner),
        })
    }
}

/// Who answers for the agent: the person listed, or the person whose token it is.
fn owner(agents: &Agents, request: &Request<'_>) -> Option<gateway_core::id::ObjectId> {
    let principal = request.principal;
    agents
        .find(principal)
        .and_then(|agent| agent.owner)
        .or(match principal.kind {
            PrincipalKind::User => Some(principal.object),
            PrincipalKind::Application => None,
        })
}

/// The operation's effects; `opaque` is added where the wire forgot it, and for paths which rules
/// on folders can't judge.
fn effects(operation: &Operation) -> Vec<Effect> {
    let mut effects = operation.effects().to_vec();
    let understood = match operation.inspection() {
        Inspection::Full => effects.iter().all(|effect| match &effect.object {
            Object::Path { path } => entities::is_canonical(path),
            Object::Target
            | Object::Database
            | Object::Schema { .. }
            | Object::Relation { .. }
            | Object::Function { .. }
            | Object::Setting { .. }
            | Object::Resource { .. }
            | Object::ApiPath { .. } => true,
        }),
        Inspection::Opaque { .. } => false,
    };
    if !understood {
        effects.push(Effect {
            action: Action::Opaque,
            object: Object::Target,
        });
    }
    effects.sort();
    effects.dedup();
    effects
}

/// What the operation does with classified columns, if its family has any.
pub(crate) fn classified(operation: &Operation) -> Option<&ClassifiedUse> {
    match operation {
        Operation::Session(_) | Operation::Command(_) | Operation::Api(_) => None,
        Operation::Sql(unit) => Some(&unit.analysis.classified),
    }
}

/// Whether a policy's action clause can match the action. When in doubt, yes.
fn may_match(policy: &Policy, action: &EntityUid, group: Option<&EntityUid>) -> bool {
    match policy.action_constraint() {
        ActionConstraint::Any => true,
        ActionConstraint::Eq(uid) => uid == *action,
        ActionConstraint::In(uids) => uids.iter().any(|uid| uid == action || Some(uid) == group),
    }
}

/// What Cedar evaluates against: one for all effects of a request.
struct World<'a> {
    principal: EntityUid,
    entities: Entities,
    unapproved: Context,
    now: Now,
    template: &'a str,
    groups_unknown: bool,
}

impl<'a> World<'a> {
    fn new(
        engine: &Engine,
        given: Given<'a>,
        now: Now,
        request: &Request<'_>,
        effects: &[Effect],
        columns: &[Arc<ClassifiedColumn>],
    ) -> Result<Self, String> {
        let vocabulary = &engine.vocabulary;
        let agent = given.agents.find(request.principal);
        let principal = vocabulary.principal_entity(request.principal, agent)?;
        let uid = principal.uid();
        let mut entities = vec![principal];
        let actions: BTreeSet<Action> = effects.iter().map(|effect| effect.action).collect();
        let slices = actions
            .iter()
            .filter_map(|action| engine.actions.get(action));
        entities.extend(slices.map(|slice| slice.entity.clone()));
        let objects: BTreeSet<&Object> = effects.iter().map(|effect| &effect.object).collect();
        for object in objects {
            entities.push(vocabulary.object_entity(request, object)?);
        }
        if !columns.is_empty() || !given.fields.is_empty() {
            entities.push(engine.reveal.entity.clone());
        }
        for column in columns {
            entities.push(vocabulary.column_entity(request, column)?);
        }
        for field in given.fields {
            entities.push(vocabulary.field_entity(request, field)?);
        }
        Ok(Self {
            principal: uid,
            entities: Entities::from_entities(entities, None).map_err(|e| e.to_string())?,
            unapproved: entities::context(engine.reads, now, request, given.template, false)?,
            now,
            template: given.template,
            groups_unknown: matches!(request.principal.groups, Groups::Overage),
        })
    }
}

impl World<'_> {
    /// An entity and everything above it.
    fn at_or_above<'a>(&'a self, uid: &'a EntityUid) -> Vec<&'a EntityUid> {
        std::iter::once(uid)
            .chain(self.entities.ancestors(uid).into_iter().flatten())
            .collect()
    }
}

/// Effects that may not be, by why.
#[derive(Default)]
struct Refusals {
    forbidden: Vec<(Effect, Vec<RuleId>)>,
    not_permitted: Vec<Effect>,
}

impl Refusals {
    fn forbid(&mut self, effect: &Effect, by: Vec<RuleId>) {
        self.forbidden.push((effect.clone(), by));
    }

    fn into_denial(self, engine: &Engine, request: &Request<'_>) -> Option<Denial> {
        if let Some((effect, _)) = self.forbidden.first() {
            let rules: BTreeSet<RuleId> = self
                .forbidden
                .iter()
                .flat_map(|(_, by)| by)
                .cloned()
                .collect();
            let message = rules
                .iter()
                .find_map(|id| engine.rule(id)?.message.clone())
                .unwrap_or_else(|| format!("{} is forbidden", words::effect(effect, request)));
            let denial = Denial::new(Reason::Forbidden, message)
                .with_detail(words::list(self.forbidden.iter().map(|(e, _)| e), request))
                .with_rules(rules.into_iter().collect());
            return Some(denial);
        }
        let effect = self.not_permitted.first()?;
        let message = format!(
            "{} is not permitted by any rule",
            words::effect(effect, request)
        );
        let uid = engine.vocabulary.object(request, &effect.object);
        let mut denial = Denial::new(Reason::NotPermitted, message).with_hint(format!(
            "a rule would name Action::\"{}\" and {uid}",
            effect.action.as_str()
        ));
        if self.not_permitted.len() > 1 {
            denial = denial.with_detail(words::list(&self.not_permitted, request));
        }
        if let (Action::Opaque, Inspection::Opaque { reason }) =
            (effect.action, request.operation.inspection())
        {
            denial = denial.with_detail(reason.clone());
        }
        Some(denial)
    }
}

#[cfg(test)]
mod tests;
