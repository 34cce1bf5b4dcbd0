//! Policies found by their scope: Cedar itself evaluates every policy it is given.

use std::collections::BTreeMap;

use cedar_policy::{EntityUid, Policy, PolicySet, PrincipalConstraint, ResourceConstraint};

use super::{EngineError, World};

/// Policies by what their scope demands of principal and resource.
///
/// INVARIANT: a policy that isn't among the [`candidates`](Self::candidates) of a request can't
/// match it: its scope names an entity which is neither the principal (resource) nor above it.
#[derive(Default)]
pub(super) struct Index(By<By<PolicySet>>);

/// Something for everybody, and something for those who are, or are within, an entity.
#[derive(Default)]
struct By<T> {
    any: T,
    within: BTreeMap<EntityUid, T>,
}

impl<T: Default> By<T> {
    fn entry(&mut self, within: Option<EntityUid>) -> &mut T {
        match within {
            None => &mut self.any,
            Some(uid) => self.within.entry(uid).or_default(),
        }
    }

    /// What is for everybody, and what is for those within one of `uids`.
    fn of(&self, uids: &[&EntityUid]) -> Vec<&T> {
        std::iter::once(&self.any)
            .chain(uids.iter().filter_map(|uid| self.within.get(*uid)))
            .collect()
    }
}

impl Index {
    pub(super) fn add(&mut self, policy: &Policy) -> Result<(), EngineError> {
        let principal = match policy.principal_constraint() {
            PrincipalConstraint::Any | PrincipalConstraint::Is(_) => None,
            PrincipalConstraint::Eq(uid)
            | PrincipalConstraint::In(uid)
            | PrincipalConstraint::IsIn(_, uid) => Some(uid),
        };
        let resource = match policy.resource_constraint() {
            ResourceConstraint::Any | ResourceConstraint::Is(_) => None,
            ResourceConstraint::Eq(uid)
            | ResourceConstraint::In(uid)
            | ResourceConstraint::IsIn(_, uid) => Some(uid),
        };
        self.0
            .entry(principal)
            .entry(resource)
            .add(policy.clone())
            .map_err(|error| EngineError::Combine(Box::new(error)))
    }

    /// The sets that hold every policy which can match.
    pub(super) fn candidates<'a>(
        &'a self,
        world: &World<'_>,
        resource: &EntityUid,
    ) -> Vec<&'a PolicySet> {
        let principals = world.at_or_above(&world.principal);
        let resources = world.at_or_above(resource);
        let mut found = Vec::new();
        for by_resource in self.0.of(&principals) {
            let sets = by_resource.of(&resources);
            found.extend(sets.into_iter().filter(|policies| !policies.is_empty()));
        }
        found
    }
}
