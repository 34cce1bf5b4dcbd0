//! What a token must say to be accepted here.

use std::{collections::BTreeSet, time::Duration};

use crate::id::TenantId;

/// The format of an access token (Microsoft identity platform, "Access tokens", section "Token
/// formats"). The manifest of the gateway's app registration decides which one Entra issues:
/// `requestedAccessTokenVersion` null or 1, or 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TokenVersion {
    /// v1.0: accepted where [`TokenRules::with_v1_tokens`] says so.
    V1,
    /// v2.0: always accepted.
    V2,
}

/// Who issues tokens of one tenant in one format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenIssuer {
    /// What its tokens name (`iss`).
    pub name: String,
    /// Where it is described (OpenID Connect Discovery 1.0, section 4).
    pub metadata: String,
}

/// The gateway's own rules about tokens: who issued them, for whom, and for what.
///
/// v2.0 tokens are accepted; v1.0 tokens by [`TokenRules::with_v1_tokens`] only.
#[derive(Clone, Debug)]
pub struct TokenRules {
    pub(super) authority: String,
    pub(super) tenants: BTreeSet<TenantId>,
    pub(super) audiences: BTreeSet<String>,
    pub(super) app_roles: BTreeSet<String>,
    pub(super) scopes: BTreeSet<String>,
    pub(super) leeway: Duration,
    v1_host: Option<String>,
}

/// Why token rules were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenRulesError {
    /// The authority isn't `https://host[:port]`.
    #[error("authority must be `https://host` or `https://host:port`, without a path")]
    Authority,
    /// The issuer of v1.0 tokens isn't `https://host[:port]`.
    #[error(
        "the issuer of v1.0 tokens must be `https://host` or `https://host:port`, without a path"
    )]
    V1Issuer,
    /// No tenant is listed: a gateway for everybody doesn't exist.
    #[error("at least one tenant must be allowed")]
    NoTenant,
    /// No audience is listed, or an empty one.
    #[error("at least one audience must be allowed, and none may be empty")]
    NoAudience,
    /// A leeway above [`TokenRules::LEEWAY_MAX`].
    #[error("leeway must be at most {} s", TokenRules::LEEWAY_MAX.as_secs())]
    Leeway,
}

impl TokenRules {
    /// Entra's public cloud authority.
    pub const PUBLIC_CLOUD: &'static str = "https://login.microsoftonline.com";
    /// The issuer of the public cloud's v1.0 tokens.
    pub const PUBLIC_CLOUD_V1: &'static str = "https://sts.windows.net";
    /// Clock difference to the issuer that is tolerated by default.
    pub const LEEWAY: Duration = Duration::from_secs(60);
    /// The largest clock difference that may be configured.
    pub const LEEWAY_MAX: Duration = Duration::from_secs(300);

    /// Rules that accept tokens issued by `authority` (such as [`TokenRules::PUBLIC_CLOUD`]) for
    /// one of `tenants`, made out to one of `audiences` (for v2.0 tokens the client id of the
    /// gateway's app registration).
    ///
    /// # Errors
    /// [`TokenRulesError`] when the authority isn't a bare https origin, or a list is empty.
    pub fn new(
        authority: &str,
        tenants: impl IntoIterator<Item = TenantId>,
        audiences: impl IntoIterator<Item = String>,
    ) -> Result<Self, TokenRulesError> {
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        if !is_https_origin(authority) {
            return Err(TokenRulesError::Authority);
        }
        let tenants: BTreeSet<TenantId> = tenants.into_iter().collect();
        if tenants.is_empty() {
            return Err(TokenRulesError::NoTenant);
        }
        let audiences: BTreeSet<String> = audiences.into_iter().collect();
        if audiences.is_empty() || audiences.contains("") {
            return Err(TokenRulesError::NoAudience);
        }
        Ok(Self {
            authority: authority.to_owned(),
            tenants,
            audiences,
            app_roles: BTreeSet::new(),
            scopes: BTreeSet::new(),
            leeway: Self::LEEWAY,
            v1_host: None,
        })
    }

    /// Also accepts v1.0 tokens, issued by `host` (such as [`TokenRules::PUBLIC_CLOUD_V1`]). Their
    /// audience is what was asked for, the application's id URI or its client id: list both.
    ///
    /// # Errors
    /// [`TokenRulesError::V1Issuer`] when `host` isn't a bare https origin.
    pub fn with_v1_tokens(mut self, host: &str) -> Result<Self, TokenRulesError> {
        self.v1_host = Some(Self::check_v1_issuer(host)?.to_owned());
        Ok(self)
    }

    /// The issuer of v1.0 tokens without a trailing slash.
    ///
    /// # Errors
    /// [`TokenRulesError::V1Issuer`] when `host` isn't a bare https origin.
    pub fn check_v1_issuer(host: &str) -> Result<&str, TokenRulesError> {
        let host = host.strip_suffix('/').unwrap_or(host);
        if is_https_origin(host) {
            Ok(host)
        } else {
            Err(TokenRulesError::V1Issuer)
        }
    }

    /// Also demands one of `roles` in every application's token. Without this, any application of
    /// an allowed tenant can get a valid token, unless the app registration requires assignment.
    #[must_use]
    pub fn with_app_roles(mut self, roles: impl IntoIterator<Item = String>) -> Self {
        self.app_roles = roles.into_iter().collect();
        self
    }

    /// Also demands one of `scopes` in every person's token.
    #[must_use]
    pub fn with_scopes(mut self, scopes: impl IntoIterator<Item = String>) -> Self {
        self.scopes = scopes.into_iter().collect();
        self
    }

    /// Tolerates another clock difference.
    ///
    /// # Errors
    /// [`TokenRulesError::Leeway`] above [`TokenRules::LEEWAY_MAX`].
    pub fn with_leeway(mut self, leeway: Duration) -> Result<Self, TokenRulesError> {
        if leeway > Self::LEEWAY_MAX {
            return Err(TokenRulesError::Leeway);
        }
        self.leeway = leeway;
        Ok(self)
    }

    /// The authority, without a trailing slash.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The allowed tenants, sorted.
    pub fn tenants(&self) -> impl Iterator<Item = TenantId> + '_ {
        self.tenants.iter().copied()
    }

    /// The issuer of tokens of `tenant` in a format: `{authority}/{tenant}/v2.0`, or for v1.0
    /// `{host}/{tenant}/`; `None` when these aren't accepted.
    #[must_use]
    pub fn issuer(&self, tenant: TenantId, version: TokenVersion) -> Option<TokenIssuer> {
        let authority = &self.authority;
        let (name, base) = match version {
            TokenVersion::V1 => {
                let host = self.v1_host.as_ref()?;
                (format!("{host}/{tenant}/"), format!("{authority}/{tenant}"))
            }
            TokenVersion::V2 => {
                let name = format!("{authority}/{tenant}/v2.0");
                (name.clone(), name)
            }
        };
        Some(TokenIssuer {
            name,
            metadata: format!("{base}/.well-known/openid-configuration"),
        })
    }

    /// Every accepted issuer, with the tenant and the format of its tokens.
    pub fn issuers(&self) -> impl Iterator<Item = ((TenantId, TokenVersion), TokenIssuer)> + '_ {
        self.tenants.iter().flat_map(|tenant| {
            [TokenVersion::V1, TokenVersion::V2]
                .into_iter()
                .filter_map(|version| Some(((*tenant, version), self.issuer(*tenant, version)?)))
        })
    }
}

fn is_https_origin(authority: &str) -> bool {
    authority.strip_prefix("https://").is_some_and(|host| {
        let allowed =
            |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
        !host.is_empty() && host.chars().all(allowed)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::testing::{AUDIENCE, ISSUER, TENANT};

    fn rules(authority: &str) -> Result<TokenRules, TokenRulesError> {
        TokenRules::new(
            authority,
            [TenantId::parse(TENANT).unwrap()],
            [AUDIENCE.to_owned()],
        )
    }

    #[test]
    fn authority_is_a_bare_https_origin() {
        for good in [
            "https://login.example",
            "https://login.example/",
            "https://localhost:8443",
            "https://[::1]:1",
        ] {
            assert!(rules(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "https://",
            "http://login.example",
            "login.example",
            "https://a/b",
            "https://u@a",
            "https://a?b",
            "https://a b",
        ] {
            assert_eq!(rules(bad).unwrap_err(), TokenRulesError::Authority, "{bad}");
        }
        assert_eq!(
            rules("https://login.example/")
                .unwrap()
                .issuer(TenantId::parse(TENANT).unwrap(), TokenVersion::V2)
                .unwrap()
                .name,
            ISSUER
        );
    }

    #[test]
    fn rules_that_would_accept_everybody_are_refused() {
        let tenant = TenantId::parse(TENANT).unwrap();
        let new = |tenants: &[TenantId], audiences: &[&str]| {
            let audiences = audiences.iter().map(|&text| text.to_owned());
            TokenRules::new(TokenRules::PUBLIC_CLOUD, tenants.iter().copied(), audiences)
                .map(|_| ())
        };
        assert_eq!(new(&[], &[AUDIENCE]), Err(TokenRulesError::NoTenant));
        assert_eq!(new(&[tenant], &[]), Err(TokenRulesError::NoAudience));
        assert_eq!(
            new(&[tenant], &[AUDIENCE, ""]),
            Err(TokenRulesError::NoAudience)
        );
        let leeway = rules("https://a")
            .unwrap()
            .with_leeway(Duration::from_secs(301));
        assert_eq!(leeway.map(|_| ()), Err(TokenRulesError::Leeway));
    }
}
