//! What a call does: its effects, facts, and what of it is classified by the API itself.

use std::{ops::Range, sync::Arc};

use gateway_core::{
    id::{ClassName, InvalidId},
    mask::{ClassifiedField, FieldStep},
    operation::{Action, ApiFacts, ApiResource, ApiUnit, Effect, Inspection, Object},
};

use super::body::Body;
use crate::kubernetes::message::{Json, Method, ResourcePath, Verb, media::BodyType};

/// Groups whose objects grant rights, or run in the API server's own path.
const GRANTING_GROUPS: &[&str] = &[
    "rbac.authorization.k8s.io",
    "admissionregistration.k8s.io",
    "apiregistration.k8s.io",
    "apiextensions.k8s.io",
];
/// Members of pods and their templates that open the node to them.
const PRIVILEGED: &[&str] = &[
    "privileged",
    "hostPID",
    "hostIPC",
    "hostNetwork",
    "hostPath",
    "hostProcess",
    "procMount",
    "capabilities",
    "nodeName",
    "hostPort",
    "flexVolume",
    "sysctls",
];
/// Top-level members of a Secret that are no payload.
const SECRET_PLAIN: &[&str] = &["apiVersion", "kind", "type", "immutable"];
/// Of its metadata.
const METADATA_CLASSIFIED: &str = "annotations";

/// What a call of a resource amounts to. `name` is the object's: the path's, or the body's for a
/// new one.
pub(super) fn resource_unit(
    method: Method,
    verb: Verb,
    path: &ResourcePath,
    name: &str,
    target: &str,
    body: Option<&Body>,
    facts: ApiFacts,
) -> Result<ApiUnit, InvalidId> {
    // Who binds a pod chooses its node.
    let binds = is_pods(path, "binding") || path.group.is_empty() && path.resource == "bindings";
    let privileged = verb.writes() && (binds || body.is_some_and(is_privileged));
    let object = Object::Resource {
        group: path.group.clone(),
        resource: path.resource.clone(),
        subresource: path.subresource.clone(),
        namespace: path.namespace.clone(),
        name: name.to_owned(),
    };
    let mut effects: Vec<Effect> = actions(verb, path, body, privileged)
        .into_iter()
        .map(|action| Effect {
            action,
            object: object.clone(),
        })
        .collect();
    if verb.writes() && is_pods(path, "eviction") {
        effects.push(Effect {
            action: Action::K8sDelete,
            object: Object::Resource {
                group: String::new(),
                resource: path.resource.clone(),
                subresource: String::new(),
                namespace: path.namespace.clone(),
                name: name.to_owned(),
            },
        });
    }
    let secret = is_secret(path);
    let (text, sensitive) = text(method, target, body, secret);
    Ok(ApiUnit {
        verb: verb.as_str(),
        resource: Some(ApiResource {
            group: path.group.clone(),
            version: path.version.clone(),
            namespace: path.namespace.clone(),
            resource: path.resource.clone(),
            subresource: path.subresource.clone(),
            name: name.to_owned(),
        }),
        text,
        sensitive,
        effects: effects.into(),
        inspection: Inspection::Full,
        facts: ApiFacts {
            method: method.as_str().to_owned(),
            privileged,
            ..facts
        },
        classified: if secret {
            secret_payload()?.into()
        } else {
            Arc::from([])
        },
    })
}

/// What a call of a path that names no resource amounts to.
pub(super) fn path_unit(method: Method, path: String, target: &str) -> ApiUnit {
    let (text, sensitive) = text(method, target, None, false);
    let effect = Effect {
        action: Action::K8sPath,
        object: Object::ApiPath { path },
    };
    ApiUnit {
        verb: match method {
            Method::Get => "get",
            Method::Head => "head",
            Method::Post => "post",
            Method::Put => "put",
            Method::Patch => "patch",
            Method::Delete => "delete",
        },
        resource: None,
        text,
        sensitive,
        effects: Arc::from([effect]),
        inspection: Inspection::Full,
        facts: ApiFacts {
            method: method.as_str().to_owned(),
            ..ApiFacts::default()
        },
        classified: Arc::from([]),
    }
}

fn is_pods(path: &ResourcePath, subresource: &str) -> bool {
    path.group.is_empty() && path.resource == "pods" && path.subresource == subresource
}

fn is_secret(path: &ResourcePath) -> bool {
    path.group.is_empty() && path.resource == "secrets"
}

/// The payload of Secrets, in both of its forms.
fn secret_payload() -> Result<Vec<ClassifiedField>, InvalidId> {
    let class = ClassName::parse("secret")?;
    let field = |key: &str| ClassifiedField {
        group: String::new(),
        resource: "secrets".to_owned(),
        path: vec![FieldStep::Key(key.to_owned()), FieldStep::Each],
        class: class.clone(),
    };
    Ok(vec![field("data"), field("stringData")])
}

/// The verb's own action first, then what else it amounts to.
fn actions(verb: Verb, path: &ResourcePath, body: Option<&Body>, privileged: bool) -> Vec<Action> {
    let (group, resource) = (path.group.as_str(), path.resource.as_str());
    let subresource = path.subresource.as_str();
    let mut found = vec![match (group, resource, subresource) {
        // Whatever the verb: a WebSocket's GET runs the command as much as a POST does.
        ("", "pods", "exec" | "attach") => Action::K8sExec,
        (_, _, "portforward" | "proxy") => Action::K8sTunnel,
        ("", "pods", "log") => Action::K8sLogs,
        _ => match verb {
            Verb::Get => Action::K8sGet,
            Verb::List => Action::K8sList,
            Verb::Watch => Action::K8sWatch,
            Verb::Create => Action::K8sCreate,
            Verb::Update => Action::K8sUpdate,
            Verb::Patch => Action::K8sPatch,
            Verb::Delete => Action::K8sDelete,
            Verb::DeleteCollection => Action::K8sDeleteCollection,
        },
    }];
    if is_secret(path) {
        found.push(Action::K8sSecret);
    }
    if !verb.writes() {
        return found;
    }
    let signing = group == "certificates.k8s.io" && resource == "certificatesigningrequests";
    if GRANTING_GROUPS.contains(&group) || signing && !subresource.is_empty() {
        found.push(Action::K8sRbac);
    }
    let token_secret = is_secret(path)
        && body.is_some_and(|body| {
            body.json
                .any_string(&|text| text.contains("kubernetes.io/service-account"))
        });
    if signing || token_secret || group.is_empty() && subresource == "token" {
        found.push(Action::K8sToken);
    }
    if group.is_empty() && subresource == "ephemeralcontainers" {
        found.push(Action::K8sExec);
    }
    // An eviction is a delete that respects disruption budgets.
    if path.group.is_empty() && subresource == "eviction" {
        found.push(Action::K8sDelete);
    }
    if privileged {
        found.push(Action::K8sPrivileged);
    }
    found
}

/// Whether a body gives a pod more than its sandbox, wherever in it the pod stands.
fn is_privileged(body: &Body) -> bool {
    match (body.media, &body.json) {
        (BodyType::JsonPatch, Json::Array(operations)) => operations.iter().any(|operation| {
            let path = operation
                .get("path")
                .and_then(Json::as_str)
                .unwrap_or_default();
            let named = path.split('/').any(|segment| PRIVILEGED.contains(&segment));
            let value = operation.get("value");
            let unconfined = value.and_then(Json::as_str) == Some("Unconfined");
            named && value.is_none_or(is_set) || unconfined || value.is_some_and(opens_node)
        }),
        (_, json) => opens_node(json),
    }
}

fn opens_node(json: &Json) -> bool {
    match json {
        Json::Object(members) => members.iter().any(|(name, value)| match name.as_str() {
            // Dropping capabilities takes rights away.
            "capabilities" => value.get("add").is_some_and(is_set),
            "procMount" => value.as_str() != Some("Default"),
            // A volume that is a folder of its node; other members may bear the name.
            "local" if value.get("path").is_some() => true,
            "seLinuxOptions" => value.get("type").is_some_and(is_set),
            "seccompProfile" | "appArmorProfile" => {
                value.get("type").and_then(Json::as_str) == Some("Unconfined")
            }
            name if PRIVILEGED.contains(&name) => is_set(value),
            _ => opens_node(value),
        }),
        Json::Array(elements) => elements.iter().any(opens_node),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => false,
    }
}

fn is_set(json: &Json) -> bool {
    match json {
        Json::Null | Json::Bool(false) => false,
        Json::Bool(true) | Json::Number(_) => true,
        Json::String(text) => !text.is_empty(),
        Json::Array(elements) => !elements.is_empty(),
        Json::Object(_) => true,
    }
}

/// What is forwarded, as text, and where in it the payload of a Secret stands.
fn text(
    method: Method,
    target: &str,
    body: Option<&Body>,
    secret: bool,
) -> (Arc<str>, Vec<Range<usize>>) {
    let mut out = format!("{} {target}", method.as_str());
    let mut sensitive = Vec::new();
    if let Some(body) = body {
        out.push_str("\ncontent-type: ");
        out.push_str(body.media.as_str());
        out.push_str("\n\n");
        if secret {
            write_secret(&body.json, &mut out, &mut sensitive);
        } else {
            body.json.write(&mut out);
        }
    }
    (out.into(), sensitive)
}

/// Writes as [`Json::write`] does. Payload is everything that isn't known to be none.
fn write_secret(json: &Json, out: &mut String, marks: &mut Vec<Range<usize>>) {
    match json {
        Json::Object(members) => {
            write_members(members, out, |name, value, out| match name {
                name if SECRET_PLAIN.contains(&name) => value.write(out),
                "metadata" => match value {
                    Json::Object(members) => write_members(members, out, |name, value, out| {
                        if name == METADATA_CLASSIFIED {
                            value.write_marked(out, Some(&mut *marks));
                        } else {
                            value.write(out);
                        }
                    }),
                    value => value.write_marked(out, Some(&mut *marks)),
                },
                _ => value.write_marked(out, Some(&mut *marks)),
            });
        }
        Json::Array(operations) => {
            out.push('[');
            for (index, operation) in operations.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                match operation {
                    Json::Object(members) => write_members(members, out, |name, value, out| {
                        if matches!(name, "op" | "path" | "from") {
                            value.write(out);
                        } else {
                            value.write_marked(out, Some(&mut *marks));
                        }
                    }),
                    other => other.write_marked(out, Some(&mut *marks)),
                }
            }
            out.push(']');
        }
        other => other.write_marked(out, Some(&mut *marks)),
    }
}

fn write_members(
    members: &[(String, Json)],
    out: &mut String,
    mut write: impl FnMut(&str, &Json, &mut String),
) {
    out.push('{');
    for (index, (name, value)) in members.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        crate::kubernetes::message::json::write_string(name, out);
        out.push(':');
        write(name, value, out);
    }
    out.push('}');
}
