//! Entra's claims and what they must say (Microsoft identity platform, "Access token claims
//! reference" and "Validate tokens").

use serde::{Deserialize, de::IgnoredAny};

use crate::{
    id::{AppId, InvalidId, ObjectId, TenantId},
    identity::{
        Groups, Principal, PrincipalKind, TokenIssuer, TokenRejection, TokenRules, TokenVersion,
    },
    time::Wall,
};

/// The claims that are read. A claim that occurs twice refuses the token; others are ignored.
#[derive(Deserialize)]
pub(super) struct Claims {
    ver: Option<String>,
    iss: Option<String>,
    aud: Option<String>,
    tid: Option<String>,
    oid: Option<String>,
    sub: Option<String>,
    azp: Option<String>,
    azpacr: Option<String>,
    appid: Option<String>,
    appidacr: Option<String>,
    idtyp: Option<String>,
    scp: Option<String>,
    #[serde(default)]
    roles: Vec<String>,
    groups: Option<Vec<String>>,
    #[serde(rename = "_claim_names")]
    claim_names: Option<ClaimNames>,
    hasgroups: Option<bool>,
    name: Option<String>,
    uti: Option<String>,
    iat: Option<u64>,
    nbf: Option<u64>,
    exp: Option<u64>,
}

/// Claims that Entra left out because they don't fit (Microsoft identity platform, "Configure
/// group claims", section "Group overage claim").
#[derive(Deserialize)]
struct ClaimNames {
    groups: Option<IgnoredAny>,
}

impl Claims {
    /// The tenant that the token names.
    ///
    /// # Errors
    /// [`TokenRejection`] when there is none, or it isn't a UUID.
    pub(super) fn tenant(&self) -> Result<TenantId, TokenRejection> {
        id("tid", self.tid.as_deref(), TenantId::parse)
    }

    /// The format that the token is in.
    ///
    /// # Errors
    /// [`TokenRejection`] when it says none, or an unknown one.
    pub(super) fn version(&self) -> Result<TokenVersion, TokenRejection> {
        match required("ver", self.ver.as_deref())? {
            "1.0" => Ok(TokenVersion::V1),
            "2.0" => Ok(TokenVersion::V2),
            _ => Err(TokenRejection::Version),
        }
    }

    /// Checks every rule about the token's origin, and names its issuer. Nothing here needs the
    /// signature, so a key set is never asked about a token of somebody else.
    ///
    /// # Errors
    /// [`TokenRejection`] of version, tenant or issuer.
    pub(super) fn check_origin(
        &self,
        tenant: TenantId,
        version: TokenVersion,
        rules: &TokenRules,
    ) -> Result<TokenIssuer, TokenRejection> {
        let issuer = rules
            .issuer(tenant, version)
            .ok_or(TokenRejection::Version)?;
        if !rules.tenants.contains(&tenant) {
            return Err(TokenRejection::Tenant);
        }
        if required("iss", self.iss.as_deref())? != issuer.name {
            return Err(TokenRejection::Issuer);
        }
        Ok(issuer)
    }

    /// Checks the remaining rules of a token whose signature is valid, and names its holder.
    ///
    /// # Errors
    /// [`TokenRejection`] of audience, time, kind, role, scope, or a missing or invalid claim.
    pub(super) fn principal(
        &self,
        tenant: TenantId,
        version: TokenVersion,
        rules: &TokenRules,
        now: Wall,
    ) -> Result<Principal, TokenRejection> {
        if !rules
            .audiences
            .contains(required("aud", self.aud.as_deref())?)
        {
            return Err(TokenRejection::Audience);
        }
        let (issued_at, expires_at) = self.check_times(rules, now)?;
        let kind = self.kind()?;
        self.check_grants(kind, rules)?;
        let object = id("oid", self.oid.as_deref(), ObjectId::parse)?;
        // The two formats call the client and its way of proving itself differently.
        let (app, client_auth) = match version {
            TokenVersion::V1 => (
                id("appid", self.appid.as_deref(), AppId::parse)?,
                client_auth("appidacr", self.appidacr.as_deref())?,
            ),
            TokenVersion::V2 => (
                id("azp", self.azp.as_deref(), AppId::parse)?,
                client_auth("azpacr", self.azpacr.as_deref())?,
            ),
        };
        let groups = self.groups()?;
        let mut roles = self.roles.clone();
        roles.sort_unstable();
        roles.dedup();
        let display_name = match kind {
            PrincipalKind::User => self.name.clone().unwrap_or_default(),
            PrincipalKind::Application => String::new(),
        };
        Ok(Principal {
            tenant,
            object,
            app,
            kind,
            display_name,
            roles,
            groups,
            token_id: self.uti.clone().unwrap_or_default(),
            client_auth,
            issued_at,
            expires_at,
        })
    }

    /// SPEC: RFC 7519, sections 4.1.4 to 4.1.6: `exp` is the first moment of invalidity.
    fn check_times(&self, rules: &TokenRules, now: Wall) -> Result<(Wall, Wall), TokenRejection> {
        let issued_at = Wall::from_secs(self.iat.ok_or(TokenRejection::MissingClaim("iat"))?);
        let not_before = Wall::from_secs(self.nbf.ok_or(TokenRejection::MissingClaim("nbf"))?);
        let expires_at = Wall::from_secs(self.exp.ok_or(TokenRejection::MissingClaim("exp"))?);
        if now >= expires_at.saturating_add(rules.leeway) {
            return Err(TokenRejection::Expired);
        }
        if not_before.max(issued_at) > now.saturating_add(rules.leeway) {
            return Err(TokenRejection::NotYetValid);
        }
        Ok((issued_at, expires_at))
    }

    /// An application's token says `idtyp: app`, or (the claim is optional) has no scope and is
    /// its own subject. A person's token always has a scope: an ID token has none, and is refused.
    fn kind(&self) -> Result<PrincipalKind, TokenRejection> {
        let subject = required("sub", self.sub.as_deref())?;
        let own_subject = self.oid.as_deref() == Some(subject);
        match (self.idtyp.as_deref(), self.scp.is_some()) {
            (Some("app"), false) => Ok(PrincipalKind::Application),
            (None, false) if own_subject => Ok(PrincipalKind::Application),
            (Some("user") | None, true) => Ok(PrincipalKind::User),
            (Some("user") | None, false) => Err(TokenRejection::MissingClaim("scp")),
            (Some(_), _) => Err(TokenRejection::InvalidClaim("idtyp")),
        }
    }

    fn check_grants(&self, kind: PrincipalKind, rules: &TokenRules) -> Result<(), TokenRejection> {
        match kind {
            PrincipalKind::Application => {
                let held = self.roles.iter().any(|role| rules.app_roles.contains(role));
                if !rules.app_roles.is_empty() && !held {
                    return Err(TokenRejection::Role);
                }
            }
            PrincipalKind::User => {
                let mut scopes = self.scp.as_deref().unwrap_or_default().split(' ');
                if !rules.scopes.is_empty() && !scopes.any(|scope| rules.scopes.contains(scope)) {
                    return Err(TokenRejection::Scope);
                }
            }
        }
        Ok(())
    }

    /// No `groups` and no sign of overage means no groups. An app registration that doesn't emit
    /// the claim looks the same, so a policy must only ever *permit* by membership.
    fn groups(&self) -> Result<Groups, TokenRejection> {
        let left_out = self
            .claim_names
            .as_ref()
            .is_some_and(|names| names.groups.is_some());
        if left_out || self.hasgroups == Some(true) {
            return Ok(Groups::Overage);
        }
        let parse = |text: &String| {
            ObjectId::parse(text).map_err(|_| TokenRejection::InvalidClaim("groups"))
        };
        let mut groups = self
            .groups
            .iter()
            .flatten()
            .map(parse)
            .collect::<Result<Vec<_>, _>>()?;
        groups.sort_unstable();
        groups.dedup();
        Ok(Groups::Known(groups))
    }
}

fn client_auth(name: &'static str, claim: Option<&str>) -> Result<Option<u8>, TokenRejection> {
    match claim {
        None => Ok(None),
        Some("0") => Ok(Some(0)),
        Some("1") => Ok(Some(1)),
        Some("2") => Ok(Some(2)),
        Some(_) => Err(TokenRejection::InvalidClaim(name)),
    }
}

fn required<'c>(name: &'static str, claim: Option<&'c str>) -> Result<&'c str, TokenRejection> {
    claim
        .filter(|text| !text.is_empty())
        .ok_or(TokenRejection::MissingClaim(name))
}

fn id<T>(
    name: &'static str,
    claim: Option<&str>,
    parse: impl Fn(&str) -> Result<T, InvalidId>,
) -> Result<T, TokenRejection> {
    parse(required(name, claim)?).map_err(|_| TokenRejection::InvalidClaim(name))
}
