//! The API family: calls of an HTTP API whose paths name resources.

use std::{ops::Range, sync::Arc};

use serde::Serialize;

use super::{Effect, Inspection};
use crate::mask::ClassifiedField;

/// One API call on its way to the server.
#[derive(Clone, Debug)]
pub struct ApiUnit {
    /// What is asked: `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`,
    /// `deletecollection` of a resource; the method in lower case elsewhere.
    pub verb: &'static str,
    /// The resource, where the path names one.
    pub resource: Option<ApiResource>,
    /// What reviewers see and evidence keeps: method, canonical path and query, and below them the
    /// canonical JSON body, if there is one. Exactly what is forwarded.
    pub text: Arc<str>,
    /// Byte ranges of `text` that may hold classified values sent by the agent: evidence stores
    /// tokens in their place.
    pub sensitive: Vec<Range<usize>>,
    /// What it does.
    pub effects: Arc<[Effect]>,
    /// How much was understood.
    pub inspection: Inspection,
    /// Facts that policies may ask for.
    pub facts: ApiFacts,
    /// Fields that an answer of any form may hold and that are classified by the protocol itself
    /// (the payload of Secrets). Whatever policy doesn't reveal of them must be masked.
    pub classified: Arc<[ClassifiedField]>,
}

/// A resource of an API, as Kubernetes' request info names it (release 1.32,
/// `k8s.io/apiserver/pkg/endpoints/request`, `RequestInfo`).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ApiResource {
    /// API group; empty for the core group.
    pub group: String,
    /// API version: `v1`.
    pub version: String,
    /// Namespace; empty for cluster-wide resources and lists over all namespaces.
    pub namespace: String,
    /// Plural resource: `pods`.
    pub resource: String,
    /// Subresource: `exec`, `log`; empty for none.
    pub subresource: String,
    /// Object; empty for collections.
    pub name: String,
}

/// Facts of an API call for policies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ApiFacts {
    /// The HTTP method, upper case.
    pub method: String,
    /// Nothing is to be persisted (`dryRun=All`).
    pub dry_run: bool,
    /// The body asks for a pod that may reach its node: privileged, host namespaces or paths,
    /// added capabilities.
    pub privileged: bool,
    /// The command that an exec asks for, one word each; empty elsewhere.
    pub command: Vec<String>,
}
