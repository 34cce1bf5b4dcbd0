//! The payload of Secrets: masked in every answer of every verb, and safe from its own mask.

use serde_json::Value;

use crate::support::{
    Agent, Output,
    api_server::{SECRET, SECRET_BASE64},
    kubernetes::{Cluster, KUBECTL},
    run,
};

const SECRETS: &str = "/api/v1/namespaces/shop/secrets";
const ONE: &str = "/api/v1/namespaces/shop/secrets/database";
const TABLE: &str = "Accept: application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
const METADATA: &str =
    "Accept: application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io,application/json";
const METADATA_LIST: &str =
    "Accept: application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json";
const STRATEGIC: &str = "Content-Type: application/strategic-merge-patch+json";
const MERGE: &str = "Content-Type: application/merge-patch+json";
const JSON_PATCH: &str = "Content-Type: application/json-patch+json";
const APPLY: &str = "Content-Type: application/apply-patch+yaml";
const JSON: &str = "Content-Type: application/json";

#[track_caller]
fn assert_masked(what: &str, output: &Output) {
    for said in [&output.stdout, &output.stderr] {
        for clear in [SECRET, SECRET_BASE64] {
            assert!(!said.contains(clear), "{what}: {output:#?}");
        }
    }
}

fn password(cluster: &Cluster) -> Value {
    let object = cluster.api.object("secrets", "shop", "database");
    object.unwrap()["data"]["password"].clone()
}

#[test]
fn no_form_of_any_answer_shows_a_secret() {
    let cluster = Cluster::start();
    let cases: &[(&str, &[&str], String)] = &[
        ("get", &[], ONE.into()),
        ("pretty", &[], format!("{ONE}?pretty=true")),
        ("list", &[], SECRETS.into()),
        ("list of all", &[], "/api/v1/secrets".into()),
        (
            "field selector",
            &[],
            "/api/v1/secrets?fieldSelector=metadata.name%3Ddatabase".into(),
        ),
        ("limit", &[], format!("{SECRETS}?limit=1")),
        ("table", &["-H", TABLE], SECRETS.into()),
        ("table of one", &["-H", TABLE], ONE.into()),
        (
            "table of objects",
            &["-H", TABLE],
            format!("{SECRETS}?includeObject=Object"),
        ),
        ("metadata", &["-H", METADATA], ONE.into()),
        ("metadata of many", &["-H", METADATA_LIST], SECRETS.into()),
        ("anything", &["-H", "Accept: */*"], ONE.into()),
        ("gzip", &["-H", "Accept-Encoding: gzip"], ONE.into()),
        (
            "empty patch",
            &["-X", "PATCH", "-H", STRATEGIC, "-d", "{}"],
            ONE.into(),
        ),
        (
            "dry run",
            &["-X", "PATCH", "-H", MERGE, "-d", "{}"],
            format!("{ONE}?dryRun=All"),
        ),
        (
            "empty JSON patch",
            &["-X", "PATCH", "-H", JSON_PATCH, "-d", "[]"],
            ONE.into(),
        ),
        (
            "server-side apply",
            &[
                "-X",
                "PATCH",
                "-H",
                APPLY,
                "-d",
                r#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"database"}}"#,
            ],
            format!("{ONE}?fieldManager=me&force=true"),
        ),
        (
            "as a table",
            &["-X", "PATCH", "-H", MERGE, "-H", TABLE, "-d", "{}"],
            ONE.into(),
        ),
    ];
    for (what, args, path) in cases {
        for version in ["--http1.1", "--http2"] {
            let answer = cluster.curl(Agent::Writer, &[args, &[version][..]].concat(), path);
            assert_masked(what, &answer);
            assert!(answer.ok().ends_with("\n200"), "{what}: {answer:#?}");
            assert!(answer.stdout.contains("database"), "{what}: {answer:#?}");
        }
    }
    let reached = cluster.api.seen();
    assert_eq!(reached.len(), 2 * cases.len(), "the server did answer");
    for seen in reached {
        let accepted = seen.header("accept").join(",");
        assert!(
            accepted.contains("json") && !accepted.contains("protobuf"),
            "{seen:#?}"
        );
        assert_eq!(seen.header("accept-encoding"), ["identity"], "{seen:#?}");
    }
}

#[test]
fn copies_into_other_places_are_masked_or_refused() {
    let cluster = Cluster::start();
    let copy = r#"[{"op":"copy","from":"/data/password","path":"/metadata/annotations/copy"}]"#;
    let annotated = cluster.curl(
        Agent::Writer,
        &["-X", "PATCH", "-H", JSON_PATCH, "-d", copy],
        ONE,
    );
    assert_masked("copy into an annotation", &annotated);
    let read = cluster.curl(Agent::Writer, &["-H", METADATA], ONE);
    assert_masked("the annotation", &read);
    let oracle = format!(r#"[{{"op":"test","path":"/data/password","value":"{SECRET_BASE64}"}}]"#);
    let tested = cluster.curl(
        Agent::Writer,
        &["-X", "PATCH", "-H", JSON_PATCH, "-d", &oracle],
        ONE,
    );
    assert!(
        !tested.ok().ends_with("\n200"),
        "a test is an oracle: {tested:#?}"
    );
}

#[test]
fn errors_do_not_say_what_was_sent() {
    let cluster = Cluster::start();
    let body = r#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"new"},"data":{"a":"not!base64"}}"#;
    let answer = cluster.curl(
        Agent::Writer,
        &["-X", "POST", "-H", JSON, "-d", body],
        SECRETS,
    );
    assert!(answer.ok().ends_with("\n422"), "{answer:#?}");
    assert!(!answer.stdout.contains("not!base64"), "{answer:#?}");
}

#[test]
fn kubectl_shows_masks_in_every_output() {
    let cluster = Cluster::start();
    let cases: &[&[&str]] = &[
        &["get", "secret", "database", "-n", "shop", "-o", "yaml"],
        &["get", "secret", "database", "-n", "shop", "-o", "json"],
        &["get", "secrets", "-A", "-o", "yaml"],
        &[
            "get",
            "secret",
            "database",
            "-n",
            "shop",
            "-o",
            "jsonpath={.data.password}",
        ],
        &[
            "get",
            "secret",
            "database",
            "-n",
            "shop",
            "-o",
            "go-template={{.data.password|base64decode}}",
        ],
        &["get", "secrets", "-n", "shop", "-o", "wide"],
        &["describe", "secret", "database", "-n", "shop"],
        &[
            "apply",
            "view-last-applied",
            "secret",
            "database",
            "-n",
            "shop",
        ],
        &[
            "label",
            "secret",
            "database",
            "-n",
            "shop",
            "a=b",
            "--overwrite",
            "-o",
            "yaml",
        ],
    ];
    for version in KUBECTL {
        for args in cases {
            let output = run(&mut cluster.kubectl_of(version, Agent::Writer, args));
            assert_masked(&format!("{version} {args:?}"), &output);
            output.ok();
        }
    }
}

#[test]
fn watches_show_masks() {
    let cluster = Cluster::start();
    for accept in ["Accept: application/json", TABLE, METADATA] {
        let path = format!("{SECRETS}?watch=true");
        let watched = cluster.curl(Agent::Reader, &["-H", accept, "--max-time", "1"], &path);
        assert_masked(accept, &watched);
        assert!(
            watched.stdout.contains("database"),
            "{accept}: {watched:#?}"
        );
    }
}

#[test]
fn who_may_see_secrets_sees_them() {
    let cluster = Cluster::start();
    let read = cluster.curl(Agent::Privileged, &[], ONE);
    assert!(read.ok().contains(SECRET_BASE64), "{read:#?}");
}

#[test]
fn a_masked_object_sent_back_never_overwrites_the_value() {
    let cluster = Cluster::start();
    for version in KUBECTL {
        let get = ["get", "secret", "database", "-n", "shop", "-o", "yaml"];
        let masked = run(&mut cluster.kubectl_of(version, Agent::Writer, &get));
        let file = cluster.path("secret.yaml");
        std::fs::write(&file, masked.ok()).unwrap();
        let path = file.to_str().unwrap();
        for write in [
            &["apply", "-f", path][..],
            &["replace", "-f", path],
            &["apply", "--server-side", "--force-conflicts", "-f", path],
        ] {
            let output = run(&mut cluster.kubectl_of(version, Agent::Writer, write));
            assert!(
                output.err().contains("masked value"),
                "{version} {write:?}: {output:#?}"
            );
            assert_eq!(password(&cluster), SECRET_BASE64, "{version} {write:?}");
        }
    }
    let patch = r#"{"data":{"other":"eA=="}}"#;
    let patched = cluster.kubectl(
        Agent::Writer,
        &["patch", "secret", "database", "-n", "shop", "-p", patch],
    );
    patched.ok();
    assert_eq!(
        password(&cluster),
        SECRET_BASE64,
        "other fields may be written"
    );
}

#[test]
fn secrets_are_written_nowhere() {
    let mut cluster = Cluster::start();
    for path in [ONE, SECRETS] {
        cluster.curl(Agent::Reader, &[], path).ok();
        cluster.curl(Agent::Privileged, &[], path).ok();
    }
    let body = format!(
        r#"{{"apiVersion":"v1","kind":"Secret","metadata":{{"name":"new"}},"stringData":{{"a":"{SECRET}"}},"data":{{"b":"{SECRET_BASE64}"}}}}"#
    );
    let created = cluster.curl(
        Agent::Writer,
        &["-X", "POST", "-H", JSON, "-d", &body],
        SECRETS,
    );
    assert!(created.ok().ends_with("\n201"), "{created:#?}");
    assert_masked("create", &created);
    cluster.gateway.stop();
    let found = run(std::process::Command::new("grep")
        .args(["-r", "-l", "-a", "-e", SECRET])
        .arg(cluster.path("data"))
        .arg(cluster.path("gateway.log")));
    assert_eq!(found.stdout, "", "clear values in evidence");
}
