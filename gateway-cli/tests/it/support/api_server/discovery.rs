//! What the API server of the tests says that it serves.

use serde_json::{Value, json};

use super::store::{KINDS, Kind, group_version};

/// The document at a path below `/api`, `/apis`, `/openapi` or `/version`, if there is one.
pub(crate) fn document(path: &str) -> Option<Value> {
    let groups = groups();
    Some(match path {
        "/version" => json!({
            "major": "1", "minor": "32", "gitVersion": "v1.32.0-stub", "platform": "linux/amd64",
            "gitCommit": "", "gitTreeState": "clean", "buildDate": "2026-01-02T03:04:05Z",
            "goVersion": "", "compiler": "",
        }),
        "/api" => json!({
            "kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [],
        }),
        "/apis" => json!({
            "kind": "APIGroupList", "apiVersion": "v1",
            "groups": groups.iter().filter(|g| !g.is_empty()).map(|g| api_group(g)).collect::<Vec<_>>(),
        }),
        "/api/v1" => resources(""),
        "/openapi/v3" => json!({
            "paths": groups.iter().map(|group| {
                let path = openapi_path(group);
                (path.clone(), json!({"serverRelativeURL": format!("/openapi/v3/{path}?hash=0")}))
            }).collect::<serde_json::Map<_, _>>(),
        }),
        _ => {
            if let Some(path) = path.strip_prefix("/openapi/v3/") {
                let group = groups.iter().find(|group| openapi_path(group) == path)?;
                return Some(openapi(group));
            }
            let path = path.strip_prefix("/apis/")?;
            match path.split_once('/') {
                None => api_group(groups.iter().find(|group| **group == path)?),
                Some((group, "v1")) => resources(groups.iter().find(|g| **g == group)?),
                Some(_) => return None,
            }
        }
    })
}

fn groups() -> Vec<&'static str> {
    let mut groups: Vec<_> = KINDS.iter().map(|kind| kind.group).collect();
    groups.dedup();
    groups
}

fn api_group(group: &str) -> Value {
    let version = json!({"groupVersion": group_version(group), "version": "v1"});
    json!({
        "kind": "APIGroup", "apiVersion": "v1", "name": group,
        "versions": [version], "preferredVersion": version,
    })
}

fn resources(group: &str) -> Value {
    let mut listed = Vec::new();
    for kind in KINDS.iter().filter(|kind| kind.group == group) {
        let verbs = if kind.review {
            json!(["create"])
        } else {
            json!([
                "create",
                "delete",
                "deletecollection",
                "get",
                "list",
                "patch",
                "update",
                "watch"
            ])
        };
        listed.push(json!({
            "name": kind.plural, "singularName": kind.kind.to_lowercase(), "kind": kind.kind,
            "namespaced": kind.namespaced, "verbs": verbs,
            "categories": if kind.plural == "pods" { json!(["all"]) } else { json!([]) },
        }));
        for subresource in kind.subresources {
            listed.push(json!({
                "name": format!("{}/{subresource}", kind.plural), "singularName": "",
                "kind": kind.kind, "namespaced": kind.namespaced, "verbs": ["create", "get"],
            }));
        }
    }
    json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version(group),
        "resources": listed,
    })
}

fn openapi_path(group: &str) -> String {
    if group.is_empty() {
        "api/v1".into()
    } else {
        format!("apis/{group}/v1")
    }
}

/// As much as kubectl needs to find out that the server checks fields by itself.
fn openapi(group: &str) -> Value {
    let mut paths = serde_json::Map::new();
    let parameter = |name: &str| json!({"name": name, "in": "query", "schema": {"type": "string"}});
    for Kind {
        plural,
        kind,
        namespaced,
        ..
    } in KINDS.iter().filter(|kind| kind.group == group)
    {
        let scope = if *namespaced {
            "namespaces/{namespace}/"
        } else {
            ""
        };
        let path = format!("/{}/{scope}{plural}/{{name}}", openapi_path(group));
        let operation = json!({
            "parameters": [parameter("dryRun"), parameter("fieldManager"), parameter("fieldValidation")],
            "x-kubernetes-action": "patch",
            "x-kubernetes-group-version-kind": {"group": group, "version": "v1", "kind": kind},
            "responses": {},
        });
        paths.insert(path, json!({"patch": operation}));
    }
    json!({
        "openapi": "3.0.0", "info": {"title": "stub", "version": "v1"}, "paths": paths,
        "components": {"schemas": {}},
    })
}
