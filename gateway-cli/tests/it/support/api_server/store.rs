//! What the API server of the tests keeps: objects, and what happened to them.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};
use tokio::sync::Notify;

/// One resource that is served.
#[derive(Debug)]
pub(crate) struct Kind {
    pub(crate) group: &'static str,
    pub(crate) plural: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) namespaced: bool,
    /// Only `create`, and nothing is kept.
    pub(crate) review: bool,
    pub(crate) subresources: &'static [&'static str],
}

const fn kind(
    group: &'static str,
    plural: &'static str,
    kind: &'static str,
    namespaced: bool,
) -> Kind {
    Kind {
        group,
        plural,
        kind,
        namespaced,
        review: false,
        subresources: &[],
    }
}

const RBAC: &str = "rbac.authorization.k8s.io";
const AUTHORIZATION: &str = "authorization.k8s.io";

/// Everything that is served, always in version `v1`.
pub(crate) const KINDS: &[Kind] = &[
    kind("", "namespaces", "Namespace", false),
    kind("", "nodes", "Node", false),
    Kind {
        subresources: &["log", "exec", "attach", "portforward", "proxy", "status"],
        ..kind("", "pods", "Pod", true)
    },
    kind("", "configmaps", "ConfigMap", true),
    kind("", "secrets", "Secret", true),
    kind("", "services", "Service", true),
    kind("", "events", "Event", true),
    Kind {
        subresources: &["token"],
        ..kind("", "serviceaccounts", "ServiceAccount", true)
    },
    kind("apps", "deployments", "Deployment", true),
    kind(RBAC, "roles", "Role", true),
    kind(RBAC, "rolebindings", "RoleBinding", true),
    kind(RBAC, "clusterrolebindings", "ClusterRoleBinding", false),
    Kind {
        review: true,
        ..kind(
            AUTHORIZATION,
            "selfsubjectaccessreviews",
            "SelfSubjectAccessReview",
            false,
        )
    },
];

impl Kind {
    /// By group and plural.
    pub(crate) fn find(group: &str, plural: &str) -> Option<&'static Self> {
        KINDS
            .iter()
            .find(|kind| kind.group == group && kind.plural == plural)
    }

    /// `v1` or `group/v1`.
    pub(crate) fn api_version(&self) -> String {
        group_version(self.group)
    }
}

/// `v1` or `group/v1`.
pub(crate) fn group_version(group: &str) -> String {
    if group.is_empty() {
        "v1".into()
    } else {
        format!("{group}/v1")
    }
}

/// Something that watchers see.
#[derive(Clone, Debug)]
pub(crate) struct Happened {
    pub(crate) what: &'static str,
    pub(crate) plural: &'static str,
    pub(crate) object: Value,
}

/// Objects by plural, namespace and name.
#[derive(Debug, Default)]
pub(crate) struct Store {
    objects: BTreeMap<(&'static str, String, String), Value>,
    version: u64,
    pub(crate) happened: Vec<Happened>,
    pub(crate) changed: Arc<Notify>,
}

impl Store {
    pub(crate) fn get(&self, kind: &Kind, namespace: &str, name: &str) -> Option<&Value> {
        self.objects
            .get(&(kind.plural, namespace.to_owned(), name.to_owned()))
    }

    /// All of a kind in a namespace; the empty one means every.
    pub(crate) fn list(&self, kind: &Kind, namespace: &str) -> Vec<Value> {
        self.objects
            .iter()
            .filter(|((plural, ns, _), _)| {
                *plural == kind.plural && (namespace.is_empty() || ns == namespace)
            })
            .map(|(_, object)| object.clone())
            .collect()
    }

    pub(crate) const fn version(&self) -> u64 {
        self.version
    }

    /// Fills in what a server fills in, without keeping the object.
    pub(crate) fn complete(&mut self, kind: &Kind, namespace: &str, object: &mut Value) {
        self.version += 1;
        let version = self.version;
        object["apiVersion"] = kind.api_version().into();
        object["kind"] = kind.kind.into();
        let metadata = &mut object["metadata"];
        if kind.namespaced {
            metadata["namespace"] = namespace.into();
        }
        if metadata["name"].is_null()
            && let Some(prefix) = metadata["generateName"].as_str()
        {
            metadata["name"] = format!("{prefix}x{version}").into();
        }
        if metadata["uid"].is_null() {
            metadata["uid"] = format!("00000000-0000-4000-8000-{version:012}").into();
            metadata["creationTimestamp"] = "2026-01-02T03:04:05Z".into();
        }
        metadata["resourceVersion"] = version.to_string().into();
        if kind.plural == "secrets" {
            let clear = object.as_object_mut().unwrap().remove("stringData");
            for (key, value) in clear.iter().filter_map(Value::as_object).flatten() {
                use base64::Engine as _;
                let value = value.as_str().unwrap_or_default();
                object["data"][key] = base64::engine::general_purpose::STANDARD
                    .encode(value)
                    .into();
            }
            if object["type"].is_null() {
                object["type"] = "Opaque".into();
            }
        }
    }

    /// Keeps a completed object.
    pub(crate) fn put(&mut self, kind: &'static Kind, object: Value) {
        let key = key(kind, &object);
        let what = match self.objects.insert(key, object.clone()) {
            Some(_) => "MODIFIED",
            None => "ADDED",
        };
        self.tell(what, kind, object);
    }

    pub(crate) fn remove(&mut self, kind: &'static Kind, namespace: &str, name: &str) -> bool {
        let key = (kind.plural, namespace.to_owned(), name.to_owned());
        let Some(object) = self.objects.remove(&key) else {
            return false;
        };
        self.version += 1;
        self.tell("DELETED", kind, object);
        true
    }

    fn tell(&mut self, what: &'static str, kind: &'static Kind, object: Value) {
        self.happened.push(Happened {
            what,
            plural: kind.plural,
            object,
        });
        self.changed.notify_waiters();
    }

    /// What every test finds.
    pub(crate) fn sample() -> Self {
        let mut store = Self::default();
        let objects = [
            json!({"kind": "Namespace", "metadata": {"name": "shop"}}),
            json!({"kind": "Namespace", "metadata": {"name": "kube-system"}}),
            json!({"kind": "Node", "metadata": {"name": "node-1"}}),
            json!({"kind": "Pod", "metadata": {"name": "web", "namespace": "shop", "labels": {"app": "web"}},
                "spec": {"containers": [{"name": "main", "image": "web:1"}]},
                "status": {"phase": "Running", "podIP": "10.0.0.7",
                    "containerStatuses": [{"name": "main", "ready": true, "restartCount": 0, "image": "web:1", "imageID": "", "state": {"running": {"startedAt": "2026-01-02T03:04:05Z"}}}]}}),
            json!({"kind": "ConfigMap", "metadata": {"name": "settings", "namespace": "shop"},
                "data": {"colour": "green"}}),
            json!({"kind": "Secret", "metadata": {"name": "database", "namespace": "shop", "annotations": {
                    "kubectl.kubernetes.io/last-applied-configuration":
                        format!("{{\"apiVersion\":\"v1\",\"data\":{{\"password\":\"{SECRET_BASE64}\"}},\"kind\":\"Secret\",\"metadata\":{{\"name\":\"database\",\"namespace\":\"shop\"}}}}\n")}},
                "data": {"password": SECRET_BASE64, "user": "c2hvcA=="}}),
            json!({"kind": "ServiceAccount", "metadata": {"name": "default", "namespace": "shop"}}),
        ];
        for mut object in objects {
            let kind = KINDS
                .iter()
                .find(|kind| object["kind"] == kind.kind)
                .unwrap();
            let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
            let namespace = namespace.to_owned();
            store.complete(kind, &namespace, &mut object);
            store.put(kind, object);
        }
        store
    }
}

/// The payload of the sample's secret.
pub(crate) const SECRET: &str = "correct horse battery";
/// The same in base64.
pub(crate) const SECRET_BASE64: &str = "Y29ycmVjdCBob3JzZSBiYXR0ZXJ5";

fn key(kind: &Kind, object: &Value) -> (&'static str, String, String) {
    let text = |name: &str| {
        object["metadata"][name]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    let kind = Kind::find(kind.group, kind.plural).unwrap();
    (kind.plural, text("namespace"), text("name"))
}
