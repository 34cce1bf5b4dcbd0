//! What prepared statement and portal names mean: the target's answers decide, not our sending.
//!
//! A failed Parse keeps the old statement and messages after an error are skipped, so a definition
//! counts only once the target has confirmed it. A name used behind its still unconfirmed
//! definition means that definition, as long as no Sync lies between: if the definition fails, the
//! use is skipped with it. Beyond a Sync that isn't so, and the use must wait.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use gateway_core::{
    id::UnitId,
    operation::{Bindings, SqlUnit},
    wire::Analysed,
};

use crate::postgres::reply::{Expected, Reply, ReplyQueue};

/// A prepared statement.
#[derive(Debug)]
pub struct Statement {
    /// Its exact text.
    pub text: Arc<str>,
    /// What the target has in its place, where that is another: masked at its sources.
    pub rewritten: Option<Arc<str>>,
    /// What it does.
    pub analysed: Analysed,
    /// When it was analysed: older than the session's epoch means analyse again.
    pub epoch: u64,
}

/// A portal: a statement with values.
#[derive(Clone, Debug)]
pub struct Portal {
    /// What executing it does, for asking again once its unit has finished.
    pub operation: SqlUnit,
    /// Its unit, until that has finished.
    pub unit: Option<UnitId>,
    /// Its columns are known, or will be before its rows come.
    pub described: bool,
    /// What the target has in place of its statement's text.
    pub rewritten: Option<Arc<str>>,
}

impl Portal {
    /// The values it was bound to.
    #[must_use]
    pub fn bindings(&self) -> Option<&Bindings> {
        self.operation.bindings.as_ref()
    }
}

/// Bytes of a name that the server tells names apart by: `NAMEDATALEN` - 1 (PostgreSQL 18,
/// "Identifiers and Key Words"; the hash tables of `prepare.c` and `portalmem.c` compare no more).
const NAME_BYTES: usize = 63;

/// The name as the server knows it. Two longer names that begin alike are one there, and must be
/// one here: else a Bind could be decided by another statement than the one that runs.
pub(super) fn known_as(name: &[u8]) -> &[u8] {
    name.get(..NAME_BYTES).unwrap_or(name)
}

/// What a name means now.
#[derive(Debug)]
pub(super) enum Meaning<T> {
    /// This.
    Known(T),
    /// Nothing that we have let through.
    Unknown,
    /// The target will tell: wait until it has answered.
    Undecided,
}

/// Confirmed statements and portals.
#[derive(Debug, Default)]
pub(super) struct Names {
    statements: BTreeMap<Bytes, Arc<Statement>>,
    portals: BTreeMap<Bytes, Portal>,
}

impl Names {
    pub(super) fn len(&self) -> usize {
        self.statements.len() + self.portals.len()
    }

    pub(super) fn statement(&self, name: &[u8], replies: &ReplyQueue) -> Meaning<Arc<Statement>> {
        let mut beyond_sync = false;
        for expected in replies.newest_first() {
            let found = match &expected.reply {
                Reply::Parse(defined, statement) if defined == name => {
                    Some(Meaning::Known(Arc::clone(statement)))
                }
                Reply::CloseStatement(closed) if closed == name => Some(Meaning::Unknown),
                Reply::Sync | Reply::Query => {
                    beyond_sync = true;
                    None
                }
                _ => None,
            };
            if let Some(meaning) = found {
                return if beyond_sync {
                    Meaning::Undecided
                } else {
                    meaning
                };
            }
        }
        self.statements
            .get(name)
            .cloned()
            .map_or(Meaning::Unknown, Meaning::Known)
    }

    pub(super) fn portal<'a>(
        &'a mut self,
        name: &[u8],
        replies: &'a mut ReplyQueue,
    ) -> Meaning<&'a mut Portal> {
        let mut beyond_sync = false;
        for expected in replies.newest_first_mut() {
            let refused = expected.refusal.is_some();
            let found = match &mut expected.reply {
                Reply::Bind(..) if refused => Some(Meaning::Unknown),
                Reply::Bind(made, portal) if made == name => Some(Meaning::Known(portal)),
                Reply::ClosePortal(closed) if closed == name => Some(Meaning::Unknown),
                Reply::Sync | Reply::Query => {
                    beyond_sync = true;
                    None
                }
                _ => None,
            };
            if let Some(meaning) = found {
                return if beyond_sync {
                    Meaning::Undecided
                } else {
                    meaning
                };
            }
        }
        match self.portals.get_mut(name) {
            // What lies between may end the transaction, and its portals with it.
            Some(_) if beyond_sync => Meaning::Undecided,
            Some(portal) => Meaning::Known(portal),
            None => Meaning::Unknown,
        }
    }

    pub(super) fn confirmed_statement(&self, name: &[u8]) -> Option<&Arc<Statement>> {
        self.statements.get(name)
    }

    pub(super) fn confirmed_portal(&self, name: &[u8]) -> Option<&Portal> {
        self.portals.get(name)
    }

    pub(super) fn define_statement(&mut self, name: Bytes, statement: Arc<Statement>) {
        self.statements.insert(name, statement);
    }

    /// SQL's own PREPARE was let through: statements share one space of names with it, so what any
    /// of them means isn't known any more.
    pub(super) fn forget_statements(&mut self) {
        self.statements.clear();
    }

    pub(super) fn close_statement(&mut self, name: &[u8]) {
        self.statements.remove(name);
    }

    /// Makes a portal; gives back the unfinished unit of the one it replaces.
    pub(super) fn define_portal(&mut self, name: Bytes, portal: Portal) -> Option<UnitId> {
        self.portals
            .insert(name, portal)
            .and_then(|replaced| replaced.unit)
    }

    /// Forgets a portal; gives back its unfinished unit.
    pub(super) fn close_portal(&mut self, name: &[u8]) -> Option<UnitId> {
        self.portals.remove(name).and_then(|portal| portal.unit)
    }

    /// The transaction ended, and all portals with it; gives back their unfinished units.
    pub(super) fn close_portals(&mut self) -> Vec<UnitId> {
        std::mem::take(&mut self.portals)
            .into_values()
            .filter_map(|portal| portal.unit)
            .collect()
    }

    /// A unit has finished: its portal's next execution is a new one.
    pub(super) fn unit_finished(&mut self, unit: UnitId, replies: &mut ReplyQueue) {
        let pending = replies
            .newest_first_mut()
            .filter_map(|expected| match &mut expected.reply {
                Reply::Bind(_, portal) => Some(portal),
                _ => None,
            });
        for portal in self.portals.values_mut().chain(pending) {
            if portal.unit == Some(unit) {
                portal.unit = None;
            }
        }
    }
}

/// Whether anything outstanding may change the catalogue, so that what comes next can't be
/// analysed yet.
pub(super) fn awaits<'a>(
    mut replies: impl Iterator<Item = &'a Expected>,
    mut matches: impl FnMut(UnitId) -> bool,
) -> bool {
    replies.any(|expected| expected.unit.is_some_and(&mut matches))
}
