//! The principal: an Entra identity as the policy sees it.

use serde::Serialize;

use crate::{
    id::{AppId, ObjectId, TenantId},
    time::Wall,
};

/// Proof that a value came out of a credential check. Only a verifier makes one.
#[derive(Clone, Debug)]
pub struct Authenticated<T>(T);

impl<T> Authenticated<T> {
    /// States that `value` was proven by the check which the caller has just performed.
    ///
    /// Public because verifiers live in shells and in embedders' own crates: calling it *is* the
    /// claim that a credential was checked.
    pub const fn by_verified_credential(value: T) -> Self {
        Self(value)
    }

    /// The proven value.
    pub const fn get(&self) -> &T {
        &self.0
    }

    /// Gives up the proof and keeps the value.
    pub fn into_inner(self) -> T {
        self.0
    }
}

/// What kind of Entra identity holds the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PrincipalKind {
    /// An application: service principal or managed identity (`idtyp == "app"`).
    Application,
    /// A person, through a delegated token.
    User,
}

/// Group membership as the token tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Groups {
    /// The complete list of group object ids, sorted.
    Known(Vec<ObjectId>),
    /// More groups than a token carries (`_claim_names`): membership is unknown, so it proves nothing.
    Overage,
}

/// An Entra identity, proven by a token. The identity key is (`tenant`, `object`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Principal {
    /// `tid`.
    pub tenant: TenantId,
    /// `oid`.
    pub object: ObjectId,
    /// `azp` (v2) or `appid` (v1).
    pub app: AppId,
    /// Application or person.
    pub kind: PrincipalKind,
    /// `name` of a person's token, for display only: never authorises. Empty for applications.
    pub display_name: String,
    /// App roles (`roles`), sorted.
    pub roles: Vec<String>,
    /// Group object ids (`groups`).
    pub groups: Groups,
    /// `uti`: the token's own id, for evidence. Empty when the token has none.
    pub token_id: String,
    /// `azpacr` / `appidacr`: 0 public client, 1 secret, 2 certificate or federated.
    pub client_auth: Option<u8>,
    /// `iat`.
    pub issued_at: Wall,
    /// `exp`: the session ends here.
    pub expires_at: Wall,
}

impl Principal {
    /// Whether both are one identity, by one application.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        (self.tenant, self.object, self.app, self.kind)
            == (other.tenant, other.object, other.app, other.kind)
    }
}
