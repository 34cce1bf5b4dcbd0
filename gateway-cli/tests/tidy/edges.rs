//! I1 and I6: who may depend on whom, from `cargo metadata`.

use std::process::Command;

use serde_json::Value;

use super::{assert_tidy, root, source};

/// The libraries that see only core.
const SIBLINGS: &[&str] = &["gateway-protocols", "gateway-policy", "gateway-audit"];
/// Users of the libraries, used by nobody.
const LEAVES: &[&str] = &["gateway-cli", "benches", "examples"];
/// Crates that bring HTTP servers, command lines or terminals, and who may use them.
const RESERVED: &[(&str, &[&str])] = &[
    ("axum", &["gateway-cli", "examples"]),
    ("clap", &["gateway-cli", "examples"]),
    ("hyper", &["gateway-cli"]),
    ("tracing-subscriber", &["gateway-cli"]),
    // Policies and classifications are TOML too: they are the policy's language, not configuration.
    ("toml", &["gateway-cli", "gateway-policy", "examples"]),
];

/// A dependency of one workspace member; `kind` is `normal`, `dev` or `build`.
#[derive(Debug)]
struct Edge {
    from: String,
    to: String,
    kind: String,
}

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version=1", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

fn edges(metadata: &Value) -> Vec<Edge> {
    let mut found = Vec::new();
    for package in metadata["packages"].as_array().unwrap() {
        for dependency in package["dependencies"].as_array().unwrap() {
            found.push(Edge {
                from: package["name"].as_str().unwrap().into(),
                to: dependency["name"].as_str().unwrap().into(),
                kind: dependency["kind"].as_str().unwrap_or("normal").into(),
            });
        }
    }
    found
}

/// I1: what is wrong with an edge between two members, tests included.
fn sideways(edge: &Edge) -> Option<String> {
    let Edge { from, to, kind } = edge;
    let upwards = LEAVES.contains(&to.as_str());
    let beside = SIBLINGS.contains(&from.as_str()) && SIBLINGS.contains(&to.as_str());
    let from_core = from == "gateway-core" && to.starts_with("gateway-");
    (upwards || beside || from_core).then(|| format!("{from} -> {to} ({kind})"))
}

/// I6: whether somebody else uses what only the shell may.
fn misplaced(edge: &Edge) -> Option<String> {
    let (_, users) = RESERVED.iter().find(|(name, _)| *name == edge.to)?;
    let fine = users.contains(&edge.from.as_str()) || edge.kind == "dev";
    (!fine).then(|| format!("{} -> {}", edge.from, edge.to))
}

#[test]
fn i1_siblings_never_depend_on_each_other() {
    let wrong: Vec<String> = edges(&metadata()).iter().filter_map(sideways).collect();
    assert_tidy(
        "I1: siblings see only core, and nobody uses cli, benches, examples",
        &wrong,
    );
}

#[test]
fn i1_the_workspace_is_made_of_these_crates() {
    let metadata = metadata();
    let mut names: Vec<&str> = metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["name"].as_str().unwrap())
        .collect();
    names.sort_unstable();
    let mut known = [SIBLINGS, LEAVES, &["gateway-core"]].concat();
    known.sort_unstable();
    assert_eq!(
        names, known,
        "a new crate needs an ADR that argues for it, and its edges here"
    );
}

#[test]
fn i1_policy_knows_no_protocol_and_audit_no_rules() {
    let mut wrong = Vec::new();
    for (under, word) in [
        ("gateway-policy/src", "postgres"),
        ("gateway-audit/src", "cedar"),
    ] {
        for file in source::rust_files(&root(), under)
            .iter()
            .filter(|file| !file.is_test())
        {
            if source::mentions(&source::dense(&file.code), word) {
                wrong.push(format!("{} names `{word}`", file.path));
            }
        }
    }
    assert_tidy(
        "I1: policy knows families of operations, audit knows records",
        &wrong,
    );
}

#[test]
fn i6_only_the_shell_knows_http_and_command_lines() {
    let wrong: Vec<String> = edges(&metadata()).iter().filter_map(misplaced).collect();
    assert_tidy(
        "I6: only gateway-cli knows HTTP, flags and configuration files",
        &wrong,
    );
}

#[test]
fn wrong_edges_are_seen() {
    let edge = |from: &str, to: &str| Edge {
        from: from.into(),
        to: to.into(),
        kind: "dev".into(),
    };
    for (from, to) in [
        ("gateway-policy", "gateway-audit"),
        ("gateway-protocols", "gateway-policy"),
        ("gateway-core", "gateway-protocols"),
        ("gateway-audit", "gateway-cli"),
    ] {
        assert!(sideways(&edge(from, to)).is_some(), "{from} -> {to}");
    }
    assert!(sideways(&edge("gateway-policy", "gateway-core")).is_none());
    assert!(sideways(&edge("gateway-cli", "gateway-audit")).is_none());

    let sample = serde_json::json!({ "packages": [{ "name": "gateway-core", "dependencies": [
        { "name": "axum", "kind": null }, { "name": "bytes", "kind": null } ] }] });
    let wrong: Vec<String> = edges(&sample).iter().filter_map(misplaced).collect();
    assert_eq!(wrong, ["gateway-core -> axum"]);
}
