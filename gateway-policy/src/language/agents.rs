//! `agents.toml`: what Entra's app-only tokens don't say about an agent.

use std::{collections::BTreeMap, ops::Range};

use gateway_core::{
    id::{ObjectId, TenantId},
    identity::Principal,
};
use serde::Deserialize;
use toml::Spanned;

use super::error::{BundleError, Source};

/// The file's name within a bundle.
pub(crate) const FILE: &str = "agents.toml";

/// One agent, as its operators describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// Its tenant.
    pub tenant: TenantId,
    /// Its object id (of the service principal, not of the app registration).
    pub object: ObjectId,
    /// Its name in policies, tests and evidence. Unique.
    pub name: String,
    /// Object id of the person who answers for it, and may not approve what it asks.
    pub owner: Option<ObjectId>,
    /// The environment it belongs to.
    pub environment: Option<String>,
}

/// The agents of a bundle, by identity.
#[derive(Clone, Debug, Default)]
pub(crate) struct Agents(BTreeMap<(TenantId, ObjectId), Agent>);

impl Agents {
    /// The agent that this principal is, if it is listed.
    pub(crate) fn find(&self, principal: &Principal) -> Option<&Agent> {
        self.0.get(&(principal.tenant, principal.object))
    }

    /// Every agent, by identity.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Agent> {
        self.0.values()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    agent: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    tenant: Spanned<String>,
    object: Spanned<String>,
    name: Spanned<String>,
    owner: Option<Spanned<String>>,
    environment: Option<String>,
}

/// Parses the file; mistakes go to `mistakes`.
pub(crate) fn parse(source: Source<'_>, mistakes: &mut Vec<BundleError>) -> Agents {
    let file: File = match toml::from_str(source.text) {
        Ok(file) => file,
        Err(error) => {
            mistakes.push(source.mistake(error.span().unwrap_or(0..0), error.message()));
            return Agents::default();
        }
    };
    let mut agents = Agents::default();
    let mut names: BTreeMap<String, Range<usize>> = BTreeMap::new();
    for entry in file.agent {
        let span = entry.name.span();
        let name = entry.name.into_inner();
        if name.is_empty() || names.insert(name.clone(), span.clone()).is_some() {
            mistakes.push(source.mistake(span.clone(), "an agent's name is empty or used twice"));
        }
        let mut id = |text: &Spanned<String>, what: &str| {
            let parsed = ObjectId::parse(text.get_ref());
            if parsed.is_err() {
                mistakes.push(source.mistake(text.span(), format!("`{what}` isn't a UUID")));
            }
            parsed.ok()
        };
        let owner = entry.owner.as_ref().and_then(|owner| id(owner, "owner"));
        let tenant = id(&entry.tenant, "tenant").map(|id| TenantId::from(*id.as_uuid()));
        let object = id(&entry.object, "object");
        let (Some(tenant), Some(object)) = (tenant, object) else {
            continue;
        };
        let agent = Agent {
            tenant,
            object,
            name,
            owner,
            environment: entry.environment,
        };
        if agents.0.insert((tenant, object), agent).is_some() {
            mistakes.push(source.mistake(entry.object.span(), "this agent is listed twice"));
        }
    }
    agents
}
