//! Pure verification of Entra access tokens: JWS compact form, RS256 only.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, de::DeserializeOwned, de::IgnoredAny};

use super::{
    Authenticated, Principal, TokenRules, TokenVersion,
    claims::Claims,
    keys::{KeySet, KeyVerdict},
};
use crate::{id::TenantId, time::Wall};

/// The longest token accepted, in bytes. Entra's stay below 8 KiB, groups included.
pub const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// Why a token was rejected. Never holds text of the token: safe to log and to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenRejection {
    /// Longer than [`TOKEN_BYTES_MAX`].
    #[error("token is larger than {TOKEN_BYTES_MAX} bytes")]
    TooLarge,
    /// Not three base64url parts, or a part isn't the JSON it should be: says which.
    #[error("token is malformed: {0}")]
    Malformed(&'static str),
    /// `alg` isn't `RS256`, or the header demands an extension.
    #[error("token is not signed with RS256")]
    AlgorithmNotAllowed,
    /// No key of the issuer has the token's `kid`. The only rejection that newer keys can change.
    #[error("token is signed by a key that its issuer does not publish")]
    UnknownKey,
    /// The `kid` belongs to another issuer.
    #[error("token is signed by a key of another issuer")]
    KeyIssuer,
    /// The signature isn't the key's.
    #[error("token signature is invalid")]
    Signature,
    /// `ver` isn't `2.0`.
    #[error(
        "token is not a v2.0 token: set `requestedAccessTokenVersion` to 2 on the gateway's app registration"
    )]
    Version,
    /// `tid` isn't an allowed tenant.
    #[error("token belongs to a tenant that is not allowed")]
    Tenant,
    /// `iss` isn't the authority's issuer for `tid`.
    #[error("token was issued by somebody else")]
    Issuer,
    /// `aud` isn't an allowed audience.
    #[error("token was issued for another audience")]
    Audience,
    /// `exp` has passed.
    #[error("token has expired")]
    Expired,
    /// `nbf` or `iat` lies in the future.
    #[error("token is not valid yet")]
    NotYetValid,
    /// A claim that must be there isn't, or is empty.
    #[error("token lacks the claim `{0}`")]
    MissingClaim(&'static str),
    /// A claim has a value outside its set.
    #[error("token has an invalid claim `{0}`")]
    InvalidClaim(&'static str),
    /// An application without any of the demanded app roles.
    #[error("token grants none of the required app roles")]
    Role,
    /// A person's token without any of the demanded scopes.
    #[error("token grants none of the required scopes")]
    Scope,
    /// The issuer's keys could not be fetched: nothing can be verified.
    #[error("the issuer's keys are not available")]
    KeysUnavailable,
}

impl TokenRejection {
    /// A stable word for records and metrics.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::Malformed(_) => "malformed",
            Self::AlgorithmNotAllowed => "algorithm",
            Self::UnknownKey => "unknown_key",
            Self::KeyIssuer => "key_issuer",
            Self::Signature => "signature",
            Self::Version => "version",
            Self::Tenant => "tenant",
            Self::Issuer => "issuer",
            Self::Audience => "audience",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::MissingClaim(_) => "missing_claim",
            Self::InvalidClaim(_) => "invalid_claim",
            Self::Role => "role",
            Self::Scope => "scope",
            Self::KeysUnavailable => "keys_unavailable",
        }
    }
}

/// Verifies a token and names its holder.
///
/// # Errors
/// [`TokenRejection`]. On [`TokenRejection::UnknownKey`] the caller may fetch newer keys and try
/// once more; no other rejection changes by that.
pub fn verify(
    token: &str,
    keys: &KeySet,
    rules: &TokenRules,
    now: Wall,
) -> Result<Authenticated<Principal>, TokenRejection> {
    UnverifiedToken::parse(token)?.verify(keys, rules, now)
}

/// A token taken apart, with nothing proven. It tells which keys to verify it with, no more.
pub struct UnverifiedToken<'t> {
    signed: &'t str,
    signature: Vec<u8>,
    claims: Claims,
    key_id: String,
    tenant: TenantId,
    version: TokenVersion,
}

/// RFC 7515, section 4.1, "Registered Header Parameter Names". Keys that a token brings along
/// (`jwk`, `jku`, `x5c`, `x5u`) are never looked at.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    crit: Option<IgnoredAny>,
}

impl<'t> UnverifiedToken<'t> {
    /// Takes the compact form apart (RFC 7515, section 7.1).
    ///
    /// # Errors
    /// [`TokenRejection`] when it is too large or malformed, has an algorithm other than RS256, or
    /// lacks a key id, a tenant or a version.
    pub fn parse(token: &'t str) -> Result<Self, TokenRejection> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenRejection::TooLarge);
        }
        let (signed, signature) = token
            .rsplit_once('.')
            .ok_or(TokenRejection::Malformed("expected three parts"))?;
        let (header, claims) = signed
            .split_once('.')
            .filter(|(_, claims)| !claims.contains('.'))
            .ok_or(TokenRejection::Malformed("expected three parts"))?;

        let header: Header = part(header, "header")?;
        // INVARIANT: the algorithm is ours, never the token's choice, and is settled before any
        // key is looked at (RFC 8725, section 3.1, "Perform Algorithm Verification").
        if header.alg != "RS256" || header.crit.is_some() {
            return Err(TokenRejection::AlgorithmNotAllowed);
        }
        let is_access_token =
            |typ: &str| typ.eq_ignore_ascii_case("JWT") || typ.eq_ignore_ascii_case("at+jwt");
        if !header.typ.as_deref().is_none_or(is_access_token) {
            return Err(TokenRejection::Malformed("unexpected type"));
        }
        let key_id = header
            .kid
            .filter(|kid| !kid.is_empty())
            .ok_or(TokenRejection::Malformed("header without key id"))?;

        let signature = URL_SAFE_NO_PAD
            .decode(signature)
            .map_err(|_| TokenRejection::Malformed("signature"))?;
        let claims: Claims = part(claims, "claims")?;
        let tenant = claims.tenant()?;
        let version = claims.version()?;
        Ok(Self {
            signed,
            signature,
            claims,
            key_id,
            tenant,
            version,
        })
    }

    /// The tenant that the token *says* it belongs to, and the format it says it is in: they choose
    /// the keys, and prove nothing.
    #[must_use]
    pub const fn claimed_origin(&self) -> (TenantId, TokenVersion) {
        (self.tenant, self.version)
    }

    /// The key that the token *says* it is signed with.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// Verifies origin, signature and claims, in this order.
    ///
    /// # Errors
    /// As [`verify`].
    pub fn verify(
        &self,
        keys: &KeySet,
        rules: &TokenRules,
        now: Wall,
    ) -> Result<Authenticated<Principal>, TokenRejection> {
        let issuer = self.claims.check_origin(self.tenant, self.version, rules)?;
        let issuer = (issuer.name, self.tenant);
        match keys.check(
            &self.key_id,
            &issuer,
            self.signed.as_bytes(),
            &self.signature,
        ) {
            KeyVerdict::Valid => {}
            KeyVerdict::Invalid => return Err(TokenRejection::Signature),
            KeyVerdict::OtherIssuer => return Err(TokenRejection::KeyIssuer),
            KeyVerdict::Unknown => return Err(TokenRejection::UnknownKey),
        }
        let principal = self
            .claims
            .principal(self.tenant, self.version, rules, now)?;
        Ok(Authenticated::by_verified_credential(principal))
    }
}

impl std::fmt::Debug for UnverifiedToken<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UnverifiedToken").finish_non_exhaustive()
    }
}

fn part<T: DeserializeOwned>(text: &str, what: &'static str) -> Result<T, TokenRejection> {
    let json = URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| TokenRejection::Malformed(what))?;
    serde_json::from_slice(&json).map_err(|_| TokenRejection::Malformed(what))
}

#[cfg(test)]
mod tests;
