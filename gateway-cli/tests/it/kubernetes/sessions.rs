//! What is left of sessions.

use crate::support::{Agent, kubernetes::Cluster};

#[test]
fn a_session_can_be_listed_shown_exported_and_verified() {
    let mut cluster = Cluster::start();
    cluster
        .kubectl(
            Agent::Writer,
            &["get", "secret", "database", "-n", "shop", "-o", "yaml"],
        )
        .ok();
    cluster
        .kubectl(Agent::Reader, &["delete", "pod", "web", "-n", "shop"])
        .err();
    cluster
        .kubectl(
            Agent::Writer,
            &["exec", "web", "-n", "shop", "--", "echo", "recorded"],
        )
        .ok();
    let sessions = cluster.gateway.cli(&["sessions", "list", "--json"]).json();
    let sessions = sessions.as_array().unwrap();
    assert!(
        sessions
            .iter()
            .all(|session| session["target"] == "cluster"),
        "{sessions:#?}"
    );
    let shown: String = sessions
        .iter()
        .map(|session| {
            let id = session["id"].as_str().unwrap();
            cluster
                .gateway
                .cli(&["sessions", "show", id])
                .ok()
                .to_owned()
        })
        .collect();
    for expected in [
        "GET /api/v1/namespaces/shop/secrets/database",
        "DELETE /api/v1/namespaces/shop/pods/web",
        "/api/v1/namespaces/shop/pods/web/exec",
    ] {
        assert!(shown.contains(expected), "{expected}: {shown}");
    }
    assert_eq!(cluster.gateway.stop(), Some(0), "{}", cluster.gateway.log());
    let package = cluster.path("evidence.zip");
    let trust = cluster.path("trust");
    let package = package.to_str().unwrap();
    let exported = cluster.gateway.cli(&["evidence", "export", "-o", package]);
    exported.ok();
    std::fs::write(&trust, cluster.gateway.cli(&["evidence", "trust"]).ok()).unwrap();
    let trust = trust.to_str().unwrap();
    let verify = ["evidence", "verify", package, "--trust", trust, "--json"];
    let verdict = cluster.gateway.cli(&verify);
    assert_eq!(verdict.code, Some(10), "{verdict:?}");
    let statements = crate::support::run(std::process::Command::new("unzip").args([
        "-p",
        package,
        "*statements*",
    ]));
    for expected in [
        "kubernetes",
        "api.resource",
        "secrets/database",
        "/pods/web/exec",
    ] {
        assert!(
            statements.ok().contains(expected),
            "{expected}: {}",
            statements.stdout
        );
    }
}
