//! Requests that wait for people.

use std::{
    process::{Child, Stdio},
    time::Duration,
};

use crate::support::{
    Agent, Person,
    kubernetes::{Cluster, KUBECTL},
    until,
};

/// kubectl in the background, its request held.
fn delete(cluster: &Cluster, version: &str) -> Child {
    cluster
        .kubectl_of(
            version,
            Agent::Writer,
            &["delete", "pod", "web", "-n", "shop", "--wait=false"],
        )
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn exists(cluster: &Cluster) -> bool {
    cluster.api.object("pods", "shop", "web").is_some()
}

#[test]
fn a_held_delete_runs_once_a_reviewer_agrees() {
    for version in KUBECTL {
        let cluster = Cluster::start();
        let child = delete(&cluster, version);
        let approval = cluster.pending();
        let text = approval["text"].as_str().unwrap();
        assert!(
            text.starts_with("DELETE /api/v1/namespaces/shop/pods/web"),
            "{approval:#}"
        );
        assert!(exists(&cluster), "nothing ran yet");
        assert!(cluster.api.seen_of("DELETE").is_empty());
        // Others of the same agent aren't held up.
        cluster
            .kubectl(Agent::Writer, &["get", "pods", "-n", "shop"])
            .ok();
        let id = approval["id"].as_str().unwrap();
        cluster
            .as_person(
                Person::Rita,
                &["approvals", "approve", id, "--comment", "agreed"],
            )
            .ok();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{version}: {output:?}");
        assert!(!exists(&cluster));
        assert_eq!(cluster.api.seen_of("DELETE").len(), 1);
    }
}

#[test]
fn a_denied_hold_never_reaches_the_cluster() {
    let cluster = Cluster::start();
    let child = delete(&cluster, KUBECTL[0]);
    let id = cluster.pending()["id"].as_str().unwrap().to_owned();
    cluster
        .as_person(Person::Rita, &["approvals", "deny", &id, "--comment", "no"])
        .ok();
    let output = child.wait_with_output().unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("Error from server"), "{said}");
    assert!(exists(&cluster) && cluster.api.seen_of("DELETE").is_empty());
}

#[test]
fn an_agent_that_goes_away_takes_its_request_along() {
    for transport in ["--http1.1", "--http2"] {
        let cluster = Cluster::start();
        let path = "/api/v1/namespaces/shop/pods/web";
        let mut request = cluster
            .curl_command(Agent::Writer, &["-X", "DELETE", transport], path)
            .spawn()
            .unwrap();
        cluster.pending();
        request.kill().unwrap();
        request.wait().unwrap();
        until("the withdrawal", || {
            let list = cluster.as_person(Person::Rita, &["approvals", "list", "--json"]);
            list.json().as_array().unwrap().is_empty().then_some(())
        });
        std::thread::sleep(Duration::from_millis(200));
        assert!(exists(&cluster) && cluster.api.seen_of("DELETE").is_empty());
    }
}
