//! Tokens for agents that show a client id and its secret instead of a token: the gateway exchanges
//! them at the tenant's token endpoint (RFC 6749, section 4.4 "Client Credentials Grant") and goes on
//! with the token, which is verified as any other.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use gateway_core::{
    azure::{AccessToken, CredentialKind, TokenSource, TokenSourceError},
    id::{AppId, Digest, TenantId},
    identity::TokenRules,
    time::Wall,
};
use parking_lot::Mutex;
use secrecy::{ExposeSecret as _, SecretString, zeroize::Zeroizing};

use crate::clock::{self, NoRandomness};

/// Tokens kept at once; past it all are forgotten.
const TOKENS_MAX: usize = 1024;
/// A token that expires sooner isn't given out again.
const LEFT_MIN: Duration = Duration::from_secs(300);
/// Exchanges of one address that haven't succeeded, within [`WINDOW`].
const ATTEMPTS_MAX: u32 = 10;
/// How long an attempt counts.
const WINDOW: Duration = Duration::from_secs(60);
/// Addresses counted at once; past it nobody is let try until one has sat out its time.
const SOURCES_MAX: usize = 4096;

/// Exchanges secrets for tokens. Secrets are kept nowhere: a token is found again by a keyed hash.
pub(crate) struct Exchange {
    http: reqwest::Client,
    rules: TokenRules,
    scope: String,
    key: [u8; 32],
    tokens: Mutex<BTreeMap<[u8; 32], Kept>>,
    attempts: Mutex<BTreeMap<IpAddr, Attempts>>,
}

struct Kept {
    token: SecretString,
    expires_at: Wall,
}

/// Exchanges of one address since the last that succeeded.
#[derive(Clone, Copy)]
struct Attempts {
    since: Wall,
    count: u32,
}

/// A secret isn't exchanged. The code in it is stable, for evidence.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExchangeError {
    /// The user name is no `client id` or `client id@tenant`, or the tenant isn't one of ours.
    #[error("client_id")]
    ClientId,
    /// Too many attempts from this address.
    #[error("too_many_attempts")]
    TooMany,
    /// The token endpoint refused the secret.
    #[error("client_secret")]
    Refused,
    /// The token endpoint gave no answer.
    #[error("token_endpoint_unavailable")]
    Unavailable(#[source] TokenSourceError),
}

impl Exchange {
    /// An exchange for tokens made out to `audience`, in the tenants of `rules`.
    ///
    /// # Errors
    /// [`NoRandomness`].
    pub(crate) fn new(
        http: reqwest::Client,
        rules: TokenRules,
        audience: &str,
    ) -> Result<Self, NoRandomness> {
        Ok(Self {
            http,
            rules,
            scope: format!("{audience}/.default"),
            key: clock::random()?,
            tokens: Mutex::default(),
            attempts: Mutex::default(),
        })
    }

    /// A token for a client id, which may name its tenant (`client@tenant`), and its secret; the
    /// client must be the one that the token is for.
    ///
    /// # Errors
    /// [`ExchangeError`].
    pub(crate) async fn token(
        &self,
        user: &str,
        secret: &SecretString,
        source: IpAddr,
    ) -> Result<(AppId, SecretString), ExchangeError> {
        let (client, tenant) = client_of(&self.rules, user).ok_or(ExchangeError::ClientId)?;
        let hash = self.hash(client, tenant, secret);
        let now = clock::wall();
        if let Some(token) = self.kept(&hash, now) {
            return Ok((client, token));
        }
        if !admit(&mut self.attempts.lock(), source, now) {
            return Err(ExchangeError::TooMany);
        }
        let AccessToken { secret, expires_at } = self.ask(client, tenant, secret).await?;
        self.attempts.lock().remove(&source);
        let mut tokens = self.tokens.lock();
        if tokens.len() >= TOKENS_MAX {
            tokens.clear();
        }
        let token = secret.clone();
        tokens.insert(hash, Kept { token, expires_at });
        Ok((client, secret))
    }

    async fn ask(
        &self,
        client: AppId,
        tenant: TenantId,
        secret: &SecretString,
    ) -> Result<AccessToken, ExchangeError> {
        let kind = CredentialKind::ClientSecret(secret.clone());
        let answer = match TokenSource::new(self.http.clone(), &self.rules, tenant, client, kind) {
            Ok(source) => source.token(&self.scope).await,
            Err(error) => Err(error),
        };
        answer.map_err(|error| match error {
            TokenSourceError::Refused { .. } | TokenSourceError::Configuration(_) => {
                ExchangeError::Refused
            }
            TokenSourceError::Unavailable { .. }
            | TokenSourceError::NotSignedIn { .. }
            | TokenSourceError::Timeout => ExchangeError::Unavailable(error),
        })
    }

    fn hash(&self, client: AppId, tenant: TenantId, secret: &SecretString) -> [u8; 32] {
        let names = format!("{client}@{tenant}:");
        let secret = secret.expose_secret().as_bytes();
        let keyed = Zeroizing::new([&self.key, names.as_bytes(), secret].concat());
        Digest::of(&keyed).0
    }

    fn kept(&self, hash: &[u8; 32], now: Wall) -> Option<SecretString> {
        let mut tokens = self.tokens.lock();
        let kept = tokens.get(hash)?;
        if now.saturating_add(LEFT_MIN) < kept.expires_at {
            return Some(kept.token.clone());
        }
        tokens.remove(hash);
        None
    }
}

/// The client that a user name means: `client` or `client@tenant`, the tenant being one of ours. It may
/// be left out where there is only one.
fn client_of(rules: &TokenRules, user: &str) -> Option<(AppId, TenantId)> {
    let mut tenants = rules.tenants();
    let (client, tenant) = match user.split_once('@') {
        Some((client, tenant)) => {
            let named = TenantId::parse(tenant).ok()?;
            (client, tenants.find(|ours| *ours == named)?)
        }
        None => {
            let only = tenants.next()?;
            (user, tenants.next().is_none().then_some(only)?)
        }
    };
    Some((AppId::parse(client).ok()?, tenant))
}

/// Counts an attempt; `false` when there were too many.
fn admit(attempts: &mut BTreeMap<IpAddr, Attempts>, source: IpAddr, now: Wall) -> bool {
    let counts = |made: &Attempts| now < made.since.saturating_add(WINDOW);
    if attempts.len() >= SOURCES_MAX && !attempts.contains_key(&source) {
        attempts.retain(|_, made| counts(made));
        if attempts.len() >= SOURCES_MAX {
            return false;
        }
    }
    let first = Attempts {
        since: now,
        count: 0,
    };
    let made = attempts.entry(source).or_insert(first);
    if !counts(made) {
        *made = first;
    }
    made.count = made.count.saturating_add(1);
    made.count <= ATTEMPTS_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Wall {
        Wall::from_secs(1_790_000_000 + seconds)
    }

    #[test]
    fn an_address_has_ten_attempts_a_minute() {
        let mut attempts = BTreeMap::new();
        let address = IpAddr::from([192, 0, 2, 1]);
        let admitted = (0..30).filter(|n| admit(&mut attempts, address, at(*n)));
        assert_eq!(admitted.count(), 10);
        assert!(admit(&mut attempts, IpAddr::from([192, 0, 2, 2]), at(30)));
        assert!(admit(&mut attempts, address, at(61)));
    }

    #[test]
    fn addresses_are_counted_in_bounded_memory() {
        let mut attempts = BTreeMap::new();
        let address = |n: u32| IpAddr::from(n.to_be_bytes());
        let most = u32::try_from(SOURCES_MAX).unwrap();
        assert!((0..most).all(|n| admit(&mut attempts, address(n), at(0))));
        assert!(!admit(&mut attempts, address(most), at(1)));
        assert!(admit(&mut attempts, address(most), at(61)));
        assert_eq!(attempts.len(), 1);
    }

    #[test]
    fn a_client_may_name_its_tenant_and_must_where_there_are_several() {
        let [one, two, three] = ["1", "2", "3"]
            .map(|n| TenantId::parse(&format!("{n}1111111-2222-4333-8444-555555555555")).unwrap());
        let client = "b0b0b0b0-0000-4000-8000-000000000001";
        let tenant_of = |tenants: &[TenantId], user: &str| {
            let authority = TokenRules::PUBLIC_CLOUD;
            let audience = ["api://gateway".to_owned()];
            let rules = TokenRules::new(authority, tenants.iter().copied(), audience).unwrap();
            client_of(&rules, user).map(|(_, tenant)| tenant)
        };
        assert_eq!(tenant_of(&[one], client), Some(one));
        assert_eq!(tenant_of(&[one, two], client), None);
        assert_eq!(
            tenant_of(&[one, two], &format!("{client}@{two}")),
            Some(two)
        );
        assert_eq!(tenant_of(&[one, two], &format!("{client}@{three}")), None);
        assert_eq!(tenant_of(&[one], "agent"), None);
    }
}
