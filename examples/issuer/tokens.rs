//! The claims of Entra's access tokens.

use aws_lc_rs::{digest, rand};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::{
    BoxError,
    config::{App, Resource, Tenant, User, Version},
};

/// What every token of one request has in common.
pub(crate) struct Common<'a> {
    pub(crate) authority: &'a str,
    pub(crate) tenant: &'a Tenant,
    pub(crate) resource: &'a Resource,
    pub(crate) app: &'a App,
    pub(crate) now_s: u64,
    pub(crate) lifetime_s: u64,
}

impl Common<'_> {
    /// Claims of an application's own token. `client_auth` is `azpacr`: 1 secret, 2 assertion.
    pub(crate) fn app_claims(&self, client_auth: &str) -> Result<Value, BoxError> {
        let mut claims = self.claims(client_auth)?;
        let object = self.app.object_id.to_string();
        set(&mut claims, "idtyp", json!("app"));
        set(&mut claims, "oid", json!(object));
        set(&mut claims, "sub", json!(object));
        set(&mut claims, "roles", json!(self.app.roles));
        Ok(claims)
    }

    /// Claims of a person's delegated token.
    pub(crate) fn user_claims(&self, user: &User, scopes: &[&str]) -> Result<Value, BoxError> {
        let mut claims = self.claims("0")?;
        let pairwise = format!("{} {}", user.object_id, self.app.client_id);
        let subject = digest::digest(&digest::SHA256, pairwise.as_bytes());
        set(&mut claims, "oid", json!(user.object_id));
        set(&mut claims, "sub", json!(URL_SAFE_NO_PAD.encode(subject)));
        set(&mut claims, "scp", json!(scopes.join(" ")));
        set(&mut claims, "name", json!(user.name));
        set(&mut claims, "preferred_username", json!(user.username));
        set(&mut claims, "roles", json!(user.roles));
        if user.group_overage {
            set(&mut claims, "_claim_names", json!({ "groups": "src1" }));
            set(
                &mut claims,
                "_claim_sources",
                json!({ "src1": { "endpoint": "https://graph.invalid/" } }),
            );
        } else if !user.groups.is_empty() {
            set(&mut claims, "groups", json!(user.groups));
        }
        Ok(claims)
    }

    fn claims(&self, client_auth: &str) -> Result<Value, BoxError> {
        let (tenant, client) = (self.tenant.id, self.app.client_id);
        let mut claims = json!({
            "tid": tenant,
            "iat": self.now_s,
            "nbf": self.now_s,
            "exp": self.now_s.saturating_add(self.lifetime_s),
            "uti": random_text()?,
        });
        let version = self.resource.version;
        set(
            &mut claims,
            "iss",
            json!(version.issuer(self.authority, tenant)),
        );
        let own = match version {
            Version::V1 => [
                ("ver", json!("1.0")),
                ("aud", json!(self.resource.uri)),
                ("appid", json!(client)),
                ("appidacr", json!(client_auth)),
            ],
            Version::V2 => [
                ("ver", json!("2.0")),
                ("aud", json!(self.resource.client_id)),
                ("azp", json!(client)),
                ("azpacr", json!(client_auth)),
            ],
        };
        for (name, value) in own {
            set(&mut claims, name, value);
        }
        Ok(claims)
    }
}

/// Sets one member of a JSON object; null removes it.
pub(crate) fn set(object: &mut Value, name: &str, value: Value) {
    if let Some(members) = object.as_object_mut() {
        if value.is_null() {
            members.remove(name);
        } else {
            members.insert(name.to_owned(), value);
        }
    }
}

/// 128 random bits as text.
pub(crate) fn random_text() -> Result<String, BoxError> {
    let mut bytes = [0; 16];
    rand::fill(&mut bytes).map_err(|_| "no randomness")?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}
