//! The same against a real API server, with a node: `scripts/soak kubernetes`.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use serde_json::Value;

use crate::support::{
    Agent, TENANT, certificates,
    kubernetes::{Choices, Front, KUBECTL, certificate},
    libpq as command, open_dir, run,
};

const RBAC: &str = r#"{"apiVersion":"v1","kind":"List","items":[
  {"apiVersion":"rbac.authorization.k8s.io/v1","kind":"Role","metadata":{"name":"through","namespace":"shop"},
   "rules":[{"apiGroups":["","apps"],"resources":["*"],"verbs":["*"]}]},
  {"apiVersion":"rbac.authorization.k8s.io/v1","kind":"RoleBinding","metadata":{"name":"through","namespace":"shop"},
   "roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"Role","name":"through"},
   "subjects":[{"apiGroup":"rbac.authorization.k8s.io","kind":"Group","name":"entra:role:Orders.Write"}]}]}"#;

const SECRETS: &str = "/api/v1/namespaces/shop/secrets";
const ONE: &str = "/api/v1/namespaces/shop/secrets/database";

/// A running API server: what it says of itself.
struct Server {
    child: Child,
    facts: BTreeMap<String, String>,
}

impl Server {
    fn start() -> Self {
        let script = std::env::var_os("GATEWAY_TEST_KUBE_APISERVER")
            .expect("GATEWAY_TEST_KUBE_APISERVER names a script: see scripts/soak");
        let mut child = Command::new(script)
            .arg("--node")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let facts: BTreeMap<String, String> = lines
            .map(Result::unwrap)
            .take_while(|line| line != "READY=yes")
            .filter_map(|line| {
                let (key, value) = line.split_once('=')?;
                Some((key.to_owned(), value.to_owned()))
            })
            .collect();
        Self { child, facts }
    }

    fn fact(&self, name: &str) -> &str {
        self.facts.get(name).unwrap_or_else(|| panic!("no {name}"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let id = self.child.id().to_string();
        drop(Command::new("kill").args(["-s", "TERM", &id]).status());
        drop(self.child.wait());
    }
}

fn front(server: &Server) -> Front {
    let dir = open_dir();
    let authority = certificates::make(dir.path());
    let address = server.fact("SERVER").trim_start_matches("https://");
    let credential = certificate(
        Path::new(server.fact("GATEWAY_CERT")),
        Path::new(server.fact("GATEWAY_KEY")),
    );
    let target = format!(
        "address = \"{address}\"\nca_file = \"{}\"\ncredential = {credential}\n",
        server.fact("CA")
    );
    Front::start(dir, &authority, &target, &Choices::default())
}

#[test]
#[ignore = "needs a real API server: scripts/soak kubernetes"]
fn a_real_api_server_is_read_written_and_masked() {
    let server = Server::start();
    let front = front(&server);
    let admin = |args: &[&str]| {
        let folder = std::env::var("GATEWAY_TEST_KUBECTL").unwrap();
        let mut kubectl = command(format!("{folder}/kubectl-{}", KUBECTL[0]));
        let config = server.fact("ADMIN_KUBECONFIG");
        run(kubectl.env("KUBECONFIG", config).args(args))
    };
    let file = front.path("rbac.json");
    std::fs::write(&file, RBAC).unwrap();
    admin(&["apply", "-f", file.to_str().unwrap()]).ok();
    let secret = || -> Value {
        admin(&["get", "secret", "database", "-n", "shop", "-o", "json"]).json()["data"].clone()
    };
    let clear = secret();
    let values: Vec<&str> = clear
        .as_object()
        .unwrap()
        .values()
        .filter_map(Value::as_str)
        .collect();

    for version in KUBECTL {
        let kubectl = |args: &[&str]| run(&mut front.kubectl_of(version, Agent::Writer, args));
        let config = front.path("basket.yaml");
        let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: basket, namespace: shop}\ndata: {fruit: apple}\n";
        std::fs::write(&config, text).unwrap();
        let path = config.to_str().unwrap();
        assert!(kubectl(&["apply", "-f", path]).ok().contains("created"));
        assert!(kubectl(&["apply", "-f", path]).ok().contains("unchanged"));
        assert!(
            kubectl(&["apply", "--server-side", "--force-conflicts", "-f", path])
                .ok()
                .contains("serverside-applied")
        );
        assert!(
            kubectl(&["get", "configmap", "basket", "-n", "shop", "-o", "yaml"])
                .ok()
                .contains("fruit: apple")
        );
        assert!(
            kubectl(&["get", "configmaps", "-n", "shop"])
                .ok()
                .contains("basket")
        );
        kubectl(&["describe", "configmap", "basket", "-n", "shop"]).ok();
        assert_eq!(
            kubectl(&["auth", "can-i", "create", "pods", "-n", "shop"]).ok(),
            "yes"
        );
        assert_eq!(
            kubectl(&["auth", "can-i", "create", "pods", "-n", "kube-system"]).err(),
            ""
        );
        let elsewhere = kubectl(&["get", "pods", "-n", "kube-system"]);
        let user = format!("entra:{TENANT}/{}", Agent::Writer.object_id());
        assert!(
            elsewhere.err().contains(&user),
            "the cluster's own refusal: {elsewhere:#?}"
        );
        admin(&["delete", "configmap", "basket", "-n", "shop"]).ok();
    }

    let table = "Accept: application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    let metadata =
        "Accept: application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io,application/json";
    let media = |kind: &str| format!("Content-Type: application/{kind}");
    let (merge, steps, apply) = (
        media("merge-patch+json"),
        media("json-patch+json"),
        media("apply-patch+yaml"),
    );
    let applied = r#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"database"}}"#;
    let cases: &[(&str, &[&str], String)] = &[
        ("get", &[], ONE.into()),
        ("list", &[], SECRETS.into()),
        (
            "encoded",
            &[],
            "/api/v1/namespaces/shop/%73ecrets/database".into(),
        ),
        (
            "table of objects",
            &["-H", table],
            format!("{SECRETS}?includeObject=Object"),
        ),
        ("metadata", &["-H", metadata], ONE.into()),
        (
            "patch",
            &["-X", "PATCH", "-H", &merge, "-d", "{}"],
            ONE.into(),
        ),
        (
            "dry run",
            &["-X", "PATCH", "-H", &merge, "-d", "{}"],
            format!("{ONE}?dryRun=All"),
        ),
        (
            "JSON patch",
            &["-X", "PATCH", "-H", &steps, "-d", "[]"],
            ONE.into(),
        ),
        (
            "apply",
            &["-X", "PATCH", "-H", &apply, "-d", applied],
            format!("{ONE}?fieldManager=me&force=true"),
        ),
        ("watch", &["--max-time", "2"], format!("{SECRETS}?watch=1")),
        (
            "old watch",
            &["--max-time", "2"],
            "/api/v1/watch/namespaces/shop/secrets".into(),
        ),
    ];
    for (what, args, path) in cases {
        let answer = front.curl(Agent::Writer, args, path);
        for value in &values {
            assert!(!answer.stdout.contains(value), "{what}: {answer:#?}");
        }
    }
    assert_eq!(secret(), clear, "nothing was written over");

    let log = std::fs::read_to_string(server.fact("AUDIT_LOG")).unwrap();
    let mut impersonated = 0;
    for line in log.lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        if event["user"]["username"] == "gateway" {
            let user = event["impersonatedUser"]["username"].as_str();
            let is_version = event["requestURI"] == "/version";
            assert!(
                is_version || user.is_some_and(|user| user.starts_with("entra:")),
                "{line}"
            );
            impersonated += 1;
        }
    }
    assert!(
        impersonated > 20,
        "{impersonated} requests in the cluster's own audit log"
    );

    let logs = front.kubectl(Agent::Writer, &["logs", "web", "-n", "shop"]);
    logs.ok();
    let exec = include_str!("exec.py");
    let python = std::env::var_os("GATEWAY_TEST_PYTHON").unwrap();
    let mut client = command(python);
    client
        .args(["-c", exec, &front.url()])
        .arg(front.path("ca.pem"))
        .arg(front.issuer.token(Agent::Writer));
    assert_eq!(run(&mut client).ok(), "hello from a pod");
}
