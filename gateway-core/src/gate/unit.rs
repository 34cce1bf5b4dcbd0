//! One unit's life between its verdict and its end.

use crate::{
    decision::Hold,
    id::{ApprovalId, Digest, RuleId, UnitId},
    identity::Principal,
    mask::Obligations,
    operation::Operation,
    target::Target,
    time::{Mono, Wall},
};

/// A unit that has neither finished nor been refused.
pub(crate) enum Unit {
    /// It waits for reviewers (`deadline` is set), or for the checks after their yes.
    Held(Box<HeldUnit>),
    /// It may be released.
    Allowed {
        /// Bytes of it are queued for the target, or have left.
        released: bool,
        /// When the first of them left.
        released_at: Option<Wall>,
        /// What a change of the policy must still allow.
        standing: Option<Box<Standing>>,
    },
}

/// The decision that a unit which may run for long goes on under.
pub(crate) struct Standing {
    pub(crate) operation: Operation,
    pub(crate) obligations: Obligations,
    /// Hold rules whose quorum it had.
    pub(crate) satisfied: Vec<RuleId>,
}

impl Standing {
    /// `None` for units that end with a statement: a new policy meets the next one.
    pub(crate) fn new(
        operation: &Operation,
        obligations: &Obligations,
        satisfied: Vec<RuleId>,
    ) -> Option<Box<Self>> {
        match operation {
            Operation::Session(_) | Operation::Sql(_) => None,
            Operation::Command(_) | Operation::Api(_) => Some(Box::new(Self {
                operation: operation.clone(),
                obligations: obligations.clone(),
                satisfied,
            })),
        }
    }
}

pub(crate) struct HeldUnit {
    pub(crate) operation: Operation,
    pub(crate) obligations: Obligations,
    pub(crate) rules: Vec<RuleId>,
    pub(crate) policy: Digest,
    pub(crate) approval: ApprovalId,
    pub(crate) hold: Hold,
    pub(crate) digest: Digest,
    pub(crate) deadline: Option<Mono>,
}

impl Unit {
    /// When its hold runs out; `None` unless it waits for reviewers.
    pub(crate) fn hold_deadline(&self) -> Option<Mono> {
        match self {
            Self::Held(held) => held.deadline,
            Self::Allowed { .. } => None,
        }
    }

    /// The approval it still waits for.
    pub(crate) fn approval(&self) -> Option<ApprovalId> {
        match self {
            Self::Held(held) if held.deadline.is_some() => Some(held.approval),
            Self::Held(_) | Self::Allowed { .. } => None,
        }
    }

    pub(crate) fn stop_waiting(&mut self) {
        if let Self::Held(held) = self {
            held.deadline = None;
        }
    }

    /// What the policy in force said when the approval came.
    pub(crate) fn decided_again(
        &mut self,
        operation: Operation,
        obligations: Obligations,
        policy: Digest,
    ) {
        if let Self::Held(held) = self {
            held.operation = operation;
            held.obligations = obligations;
            held.policy = policy;
        }
    }

    pub(crate) fn operation(&self) -> Option<&Operation> {
        match self {
            Self::Held(held) => Some(&held.operation),
            Self::Allowed { .. } => None,
        }
    }

    pub(crate) fn into_operation(self) -> Option<Operation> {
        match self {
            Self::Held(held) => Some(held.operation),
            Self::Allowed { .. } => None,
        }
    }

    /// The decision it goes on under, if it may run for long.
    pub(crate) fn standing(&self) -> Option<&Standing> {
        match self {
            Self::Allowed { standing, .. } => standing.as_deref(),
            Self::Held(_) => None,
        }
    }

    /// What the checks after a yes need: operation, approval, digest, satisfied hold rules.
    pub(crate) fn approved(&self) -> Option<(Operation, ApprovalId, Digest, Vec<RuleId>)> {
        let Self::Held(held) = self else { return None };
        let satisfied = held
            .hold
            .requirements
            .iter()
            .map(|r| r.rule.clone())
            .collect();
        Some((
            held.operation.clone(),
            held.approval,
            held.digest,
            satisfied,
        ))
    }
}

/// Digest of what an approval binds to. Every field is prefixed with its length, so no two
/// different requests have one encoding.
pub(crate) fn binding_digest(
    principal: Option<&Principal>,
    target: Option<&Target>,
    operation: &Operation,
) -> Digest {
    let mut input = Vec::new();
    let mut field = |bytes: &[u8]| {
        input.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
        input.extend_from_slice(bytes);
    };
    if let Some(principal) = principal {
        field(principal.tenant.as_uuid().as_bytes());
        field(principal.object.as_uuid().as_bytes());
    }
    field(target.map_or("", |target| target.name.as_str()).as_bytes());
    field(operation.class().as_bytes());
    field(operation.text().as_bytes());
    field(operation.bindings().map_or(&[], |b| b.digest.0.as_slice()));
    field(operation.circumstances().unwrap_or_default().as_bytes());
    for effect in operation.effects() {
        field(effect.action.as_str().as_bytes());
        field(format!("{:?}", effect.object).as_bytes());
    }
    Digest::of(&input)
}

/// An approval id that depends only on the session and the unit: random enough to be unguessable
/// by nobody in particular, unique for certain, and the same when a run is replayed.
pub(crate) fn approval_seed(session: crate::id::SessionId, unit: UnitId) -> [u8; 10] {
    let mut input = session.as_uuid().as_bytes().to_vec();
    input.extend_from_slice(&unit.0.to_be_bytes());
    let digest = Digest::of(&input);
    let mut seed = [0; 10];
    for (to, from) in seed.iter_mut().zip(digest.0) {
        *to = from;
    }
    seed
}
