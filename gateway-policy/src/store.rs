//! The bundle in force.

use std::sync::Arc;

use arc_swap::ArcSwap;
use gateway_core::{
    decision::{Decision, DecisionPoint, Request},
    id::Digest,
    time::Now,
};

use crate::bundle::Bundle;

/// Holds the bundle in force and changes it atomically. Readers never wait.
///
/// A bad bundle can't get here: [`Bundle::load`] fails first, and the old one stays.
#[derive(Debug)]
pub struct PolicyStore(ArcSwap<Bundle>);

impl PolicyStore {
    /// Puts the first bundle in force.
    #[must_use]
    pub fn new(bundle: Bundle) -> Self {
        Self(ArcSwap::from_pointee(bundle))
    }

    /// The bundle in force now. Whoever needs two answers of one bundle keeps it.
    #[must_use]
    pub fn current(&self) -> Arc<Bundle> {
        self.0.load_full()
    }

    /// Puts another bundle in force; open sessions meet it at their next unit. Returns the old one.
    pub fn replace(&self, bundle: Bundle) -> Arc<Bundle> {
        self.0.swap(Arc::new(bundle))
    }
}

impl DecisionPoint for PolicyStore {
    fn decide(&self, now: Now, request: &Request<'_>) -> Decision {
        self.0.load().decide(now, request)
    }

    fn policy(&self) -> Digest {
        self.0.load().digest()
    }
}

#[cfg(test)]
mod tests {
    use gateway_core::decision::Verdict;
    use gateway_core::operation::Action;

    use super::*;
    use crate::testing::{Asked, bundle, files, sql, table};

    #[test]
    fn a_replaced_bundle_decides_at_once_and_a_bad_one_never_gets_in() {
        let store = PolicyStore::new(bundle("@id(\"a\") permit (principal, action, resource);"));
        let asked = Asked::new(sql([(Action::SqlSelect, table("orders"))]));
        let decide = || store.decide(asked.now, &asked.request());
        let first = store.policy();
        assert!(matches!(decide().verdict, Verdict::Allow));
        assert!(files(&[("rules.cedar", "permit (principal, action, resource);")]).is_err());
        assert_eq!((decide().policy, store.policy()), (first, first));
        let old = store.replace(bundle(""));
        assert_eq!(old.digest(), first);
        assert!(matches!(decide().verdict, Verdict::Deny(_)));
        assert_ne!(decide().policy, first);
    }
}
