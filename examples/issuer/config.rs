//! The issuer's directory: tenants, applications, people and the APIs they get tokens for.

use serde::Deserialize;
use uuid::Uuid;

/// The whole configuration file (TOML).
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Directory {
    /// Lifetime of tokens in seconds.
    #[serde(default = "default_lifetime_s")]
    pub(crate) token_lifetime_s: u64,
    #[serde(rename = "tenant")]
    pub(crate) tenants: Vec<Tenant>,
}

/// One Entra tenant.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tenant {
    pub(crate) id: Uuid,
    #[serde(default, rename = "resource")]
    pub(crate) resources: Vec<Resource>,
    #[serde(default, rename = "app")]
    pub(crate) apps: Vec<App>,
    #[serde(default, rename = "user")]
    pub(crate) users: Vec<User>,
}

/// An API that tokens are made out to.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Resource {
    /// Becomes `aud`.
    pub(crate) client_id: Uuid,
    /// Such as `api://gateway`.
    pub(crate) uri: String,
    /// Delegated permissions, such as `gateway.access`.
    #[serde(default)]
    pub(crate) scopes: Vec<String>,
    /// `requestedAccessTokenVersion` of the manifest.
    #[serde(default)]
    pub(crate) version: Version,
}

/// The format of access tokens.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(crate) enum Version {
    #[serde(rename = "1.0")]
    V1,
    #[default]
    #[serde(rename = "2.0")]
    V2,
}

impl Version {
    /// The issuer that tokens of `tenant` name.
    pub(crate) fn issuer(self, authority: &str, tenant: impl std::fmt::Display) -> String {
        match self {
            Self::V1 => format!("{authority}/{tenant}/"),
            Self::V2 => format!("{authority}/{tenant}/v2.0"),
        }
    }
}

/// An application with its service principal. Without secret and assertion it is a public client.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct App {
    pub(crate) client_id: Uuid,
    pub(crate) object_id: Uuid,
    pub(crate) name: String,
    pub(crate) secret: Option<String>,
    /// The only client assertion accepted, compared as text (workload identity).
    pub(crate) assertion: Option<String>,
    #[serde(default)]
    pub(crate) roles: Vec<String>,
}

/// A person.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct User {
    pub(crate) object_id: Uuid,
    pub(crate) username: String,
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) roles: Vec<String>,
    #[serde(default)]
    pub(crate) groups: Vec<Uuid>,
    /// Leave the groups out of tokens and say so, as Entra does above 200 groups.
    #[serde(default)]
    pub(crate) group_overage: bool,
}

const fn default_lifetime_s() -> u64 {
    3599
}

impl Directory {
    /// Finds a tenant by the id in a path.
    pub(crate) fn tenant(&self, id: &str) -> Option<&Tenant> {
        let id = Uuid::try_parse(id).ok()?;
        self.tenants.iter().find(|tenant| tenant.id == id)
    }
}

impl Tenant {
    pub(crate) fn app(&self, client_id: &str) -> Option<&App> {
        let id = Uuid::try_parse(client_id).ok()?;
        self.apps.iter().find(|app| app.client_id == id)
    }

    pub(crate) fn user(&self, username: &str) -> Option<&User> {
        self.users.iter().find(|user| user.username == username)
    }

    /// The one resource that a space-separated scope list asks for, and the scopes of it.
    /// `.default` stands for all of its scopes; OpenID Connect's own scopes are ignored.
    pub(crate) fn scopes<'s>(&'s self, requested: &'s str) -> Option<(&'s Resource, Vec<&'s str>)> {
        let mut found: Option<(&Resource, Vec<&str>)> = None;
        for scope in requested.split_ascii_whitespace() {
            if matches!(scope, "openid" | "profile" | "email" | "offline_access") {
                continue;
            }
            let (name, resource) = scope
                .rsplit_once('/')
                .map(|(uri, name)| (name, self.resource(uri)))?;
            let resource = resource?;
            let (of, names) = found.get_or_insert_with(|| (resource, Vec::new()));
            if of.client_id != resource.client_id {
                return None;
            }
            match name {
                ".default" => names.extend(resource.scopes.iter().map(String::as_str)),
                name if resource.scopes.iter().any(|scope| scope == name) => names.push(name),
                _ => return None,
            }
        }
        found
    }

    fn resource(&self, uri: &str) -> Option<&Resource> {
        self.resources
            .iter()
            .find(|resource| resource.uri == uri || resource.client_id.to_string() == uri)
    }
}
