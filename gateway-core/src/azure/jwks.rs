//! The published keys of one issuer: cached, refreshed by one caller at a time, kept on outages.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use serde::Deserialize;
use tokio::{
    sync::{Mutex, OwnedMutexGuard},
    task::JoinHandle,
    time::{Instant, timeout},
};

use super::http::{GetError, get};
use crate::identity::{KeySet, KeySetError, TokenIssuer, TokenRules};

/// Time for discovery and keys together. A refresh never outlives it.
const FETCH_TIMEOUT: Duration = Duration::from_secs(15);
/// The largest discovery document accepted. Entra's is about 2 KiB.
const DISCOVERY_BYTES_MAX: usize = 64 * 1024;

/// When keys are fetched again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefreshSchedule {
    /// Age at which keys are fetched again while the old ones serve. Entra asks for daily or
    /// better (Microsoft identity platform, "Signing key rollover"); a withdrawn key is trusted
    /// no longer than this.
    pub refresh_after: Duration,
    /// Age at which keys that could not be refreshed serve no more.
    pub stale_max: Duration,
    /// Least time between two fetches because of a key id that isn't in the set.
    pub unknown_key_interval: Duration,
    /// Least time between two fetches after a failure.
    pub retry_interval: Duration,
}

impl Default for RefreshSchedule {
    fn default() -> Self {
        Self {
            refresh_after: Duration::from_secs(3600),
            stale_max: Duration::from_secs(24 * 3600),
            unknown_key_interval: Duration::from_secs(60),
            retry_interval: Duration::from_secs(5),
        }
    }
}

/// Why an issuer's keys could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// A request failed, was refused, or its answer was too large.
    #[error("cannot read {document}")]
    Read {
        /// `discovery document` or `key document`.
        document: &'static str,
        /// What went wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The discovery document isn't one.
    #[error("discovery document is malformed")]
    Discovery,
    /// The discovery document is another issuer's (OpenID Connect Discovery 1.0, section 4.3,
    /// "OpenID Provider Configuration Validation").
    #[error("discovery document names another issuer")]
    Issuer,
    /// The keys are said to live outside the authority.
    #[error("discovery document points outside the authority")]
    KeysElsewhere,
    /// The key document gives no key set.
    #[error(transparent)]
    Keys(#[from] KeySetError),
    /// Not done within 15 s.
    #[error("fetching keys timed out")]
    Timeout,
    /// A fetch failed moments ago; this one was not tried.
    #[error("keys could not be fetched a moment ago")]
    TriedRecently,
}

/// The signature keys of one issuer, as last published.
///
/// One fetch at a time; a fetch that was begun is finished even if its caller goes away, so that a
/// client can't spend the minute's refresh and cancel it. The task ends within 15 s.
#[derive(Clone, Debug)]
pub struct JwksCache {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    http: reqwest::Client,
    authority: String,
    issuer: TokenIssuer,
    schedule: RefreshSchedule,
    current: ArcSwapOption<Published>,
    attempts: Arc<Mutex<Attempts>>,
}

#[derive(Debug)]
struct Published {
    keys: Arc<KeySet>,
    at: Instant,
}

#[derive(Debug, Default)]
struct Attempts {
    failed_at: Option<Instant>,
    unknown_key_at: Option<Instant>,
}

/// OpenID Connect Discovery 1.0, section 3, "OpenID Provider Metadata".
#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

impl JwksCache {
    /// An empty cache for the keys of `issuer`, which must live at the authority of `rules`. `http`
    /// should come from [`https_client`](super::https_client): it must not follow redirects.
    #[must_use]
    pub fn new(
        http: reqwest::Client,
        rules: &TokenRules,
        issuer: TokenIssuer,
        schedule: RefreshSchedule,
    ) -> Self {
        let shared = Shared {
            http,
            authority: rules.authority().to_owned(),
            issuer,
            schedule,
            current: ArcSwapOption::empty(),
            attempts: Arc::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// The keys in force: fetched now if there are none, and behind the caller's back when they
    /// are due.
    ///
    /// # Errors
    /// [`FetchError`] when there are none, or only ones that are too old, and none can be fetched.
    pub async fn keys(&self) -> Result<Arc<KeySet>, FetchError> {
        let schedule = &self.shared.schedule;
        if let Some(published) = self.shared.current.load_full() {
            let age = published.at.elapsed();
            if age < schedule.refresh_after {
                return Ok(Arc::clone(&published.keys));
            }
            if age < schedule.stale_max {
                self.refresh_in_background();
                return Ok(Arc::clone(&published.keys));
            }
        }
        let attempts = Arc::clone(&self.shared.attempts).lock_owned().await;
        if let Some(keys) = self.shared.fresh() {
            return Ok(keys);
        }
        if is_recent(attempts.failed_at, schedule.retry_interval) {
            return Err(FetchError::TriedRecently);
        }
        finished(self.refresh(attempts)).await
    }

    /// Keys newer than `seen`, which lack the key that a token names; `None` when there are none
    /// to be had, or it is too early to ask again.
    pub async fn keys_after(&self, seen: &Arc<KeySet>) -> Option<Arc<KeySet>> {
        let mut attempts = Arc::clone(&self.shared.attempts).lock_owned().await;
        if let Some(published) = self.shared.current.load_full()
            && !Arc::ptr_eq(&published.keys, seen)
        {
            return Some(Arc::clone(&published.keys));
        }
        if is_recent(
            attempts.unknown_key_at,
            self.shared.schedule.unknown_key_interval,
        ) {
            return None;
        }
        attempts.unknown_key_at = Some(Instant::now());
        finished(self.refresh(attempts)).await.ok()
    }

    /// Starts a refresh unless one is under way or has just failed.
    fn refresh_in_background(&self) {
        if let Ok(attempts) = Arc::clone(&self.shared.attempts).try_lock_owned()
            && self.shared.fresh().is_none()
            && !is_recent(attempts.failed_at, self.shared.schedule.retry_interval)
        {
            drop(self.refresh(attempts));
        }
    }

    /// Fetches in a task of its own, which holds the lock and so is the only one.
    fn refresh(
        &self,
        mut attempts: OwnedMutexGuard<Attempts>,
    ) -> JoinHandle<Result<Arc<KeySet>, FetchError>> {
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            let fetched = timeout(FETCH_TIMEOUT, shared.fetch()).await;
            let fetched = fetched.unwrap_or(Err(FetchError::Timeout));
            attempts.failed_at = fetched.is_err().then(Instant::now);
            match fetched {
                Ok(keys) => Ok(shared.publish(keys)),
                Err(error) => {
                    let serving_old_keys = shared.current.load().is_some();
                    let error_dyn: &dyn std::error::Error = &error;
                    tracing::warn!(
                        issuer = shared.issuer.name,
                        serving_old_keys,
                        error = error_dyn,
                        "cannot refresh the issuer's keys"
                    );
                    Err(error)
                }
            }
        })
    }
}

impl Shared {
    /// Keys that aren't due for a refresh.
    fn fresh(&self) -> Option<Arc<KeySet>> {
        let published = self.current.load_full()?;
        let fresh = published.at.elapsed() < self.schedule.refresh_after;
        fresh.then(|| Arc::clone(&published.keys))
    }

    fn publish(&self, keys: KeySet) -> Arc<KeySet> {
        tracing::info!(
            issuer = self.issuer.name,
            keys = keys.len(),
            skipped = keys.skipped(),
            "issuer keys fetched"
        );
        let keys = Arc::new(keys);
        let published = Published {
            keys: Arc::clone(&keys),
            at: Instant::now(),
        };
        self.current.store(Some(Arc::new(published)));
        keys
    }

    async fn fetch(&self) -> Result<KeySet, FetchError> {
        let document = get(&self.http, &self.issuer.metadata, DISCOVERY_BYTES_MAX)
            .await
            .map_err(|error| read_error("discovery document", error))?;
        let discovery: Discovery =
            serde_json::from_slice(&document).map_err(|_| FetchError::Discovery)?;
        if discovery.issuer != self.issuer.name {
            return Err(FetchError::Issuer);
        }
        let path = discovery.jwks_uri.strip_prefix(&self.authority);
        if !path.is_some_and(|path| path.starts_with('/')) {
            return Err(FetchError::KeysElsewhere);
        }
        let document = get(&self.http, &discovery.jwks_uri, KeySet::DOCUMENT_BYTES_MAX)
            .await
            .map_err(|error| read_error("key document", error))?;
        Ok(KeySet::parse(&document)?)
    }
}

async fn finished(
    task: JoinHandle<Result<Arc<KeySet>, FetchError>>,
) -> Result<Arc<KeySet>, FetchError> {
    // The task fails to join only when the runtime shuts down under it.
    task.await.unwrap_or(Err(FetchError::Timeout))
}

fn is_recent(at: Option<Instant>, interval: Duration) -> bool {
    at.is_some_and(|at| at.elapsed() < interval)
}

fn read_error(document: &'static str, error: GetError) -> FetchError {
    FetchError::Read {
        document,
        source: error.into(),
    }
}
