//! Token verification with keys that follow the issuer's rotation.

use std::{
    collections::BTreeMap,
    time::{SystemTime, UNIX_EPOCH},
};

use super::jwks::{FetchError, JwksCache, RefreshSchedule};
use crate::{
    id::TenantId,
    identity::{
        Authenticated, Principal, TokenRejection, TokenRules, TokenVersion, UnverifiedToken,
    },
    time::Wall,
};

/// Verifies Entra access tokens under one set of rules. Each tenant has keys of its own, for each
/// format of tokens: a key that one tenant publishes never verifies a token of another.
#[derive(Debug)]
pub struct TokenVerifier {
    rules: TokenRules,
    issuers: BTreeMap<(TenantId, TokenVersion), JwksCache>,
}

impl TokenVerifier {
    /// A verifier that fetches keys when they are first needed. `http` as for [`JwksCache::new`].
    #[must_use]
    pub fn new(http: &reqwest::Client, rules: TokenRules, schedule: RefreshSchedule) -> Self {
        let cache = |issuer| JwksCache::new(http.clone(), &rules, issuer, schedule);
        let issuers = rules
            .issuers()
            .map(|(origin, issuer)| (origin, cache(issuer)))
            .collect();
        Self { rules, issuers }
    }

    /// Fetches the keys of every tenant, so that a mistake shows at start and the first agent
    /// doesn't wait.
    ///
    /// # Errors
    /// The first tenant whose keys can't be fetched, and why.
    pub async fn prefetch(&self) -> Result<(), (TenantId, FetchError)> {
        for ((tenant, _), cache) in &self.issuers {
            cache.keys().await.map_err(|error| (*tenant, error))?;
        }
        Ok(())
    }

    /// Verifies a token against the system clock. Fetches newer keys and tries once more when the
    /// token names a key that isn't known. Takes up to 15 s when keys must be fetched: the caller
    /// sets its own deadline.
    ///
    /// # Errors
    /// As [`verify`](crate::identity::verify), and [`TokenRejection::KeysUnavailable`].
    pub async fn verify(&self, token: &str) -> Result<Authenticated<Principal>, TokenRejection> {
        let token = UnverifiedToken::parse(token)?;
        let origin = token.claimed_origin();
        let Some(cache) = self.issuers.get(&origin) else {
            // No key is asked for: why is what the rules say without one.
            return Err(match self.rules.issuer(origin.0, origin.1) {
                None => TokenRejection::Version,
                Some(_) => TokenRejection::Tenant,
            });
        };
        let keys = cache
            .keys()
            .await
            .map_err(|_| TokenRejection::KeysUnavailable)?;
        match token.verify(&keys, &self.rules, wall_clock()) {
            Err(TokenRejection::UnknownKey) => {
                let newer = cache
                    .keys_after(&keys)
                    .await
                    .ok_or(TokenRejection::UnknownKey)?;
                token.verify(&newer, &self.rules, wall_clock())
            }
            verdict => verdict,
        }
    }
}

/// A clock before 1970 reads as 1970, when no token is valid yet.
fn wall_clock() -> Wall {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Wall::default().saturating_add(since_epoch)
}
