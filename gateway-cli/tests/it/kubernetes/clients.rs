//! Unmodified clients: what they get from the server they get through the gateway.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{
    Agent, Output, TENANT,
    api_server::SECRET_BASE64,
    kubernetes::{Cluster, KUBECTL, kubectl},
    libpq as command, run, until,
};

const PYTHON: &str = include_str!("clients.py");

const CONFIG: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: basket, namespace: shop}\ndata: {fruit: apple}\n";

/// kubectl on a direct connection, and through the gateway.
fn both_ways(cluster: &Cluster, version: &str, args: &[&str]) -> [Output; 2] {
    [
        cluster.kubectl_direct(version, args),
        run(&mut cluster.kubectl_of(version, Agent::Writer, args)),
    ]
}

#[test]
fn kubectl_reads_what_it_reads_on_a_direct_connection() {
    let cluster = Cluster::start();
    let reads: &[&[&str]] = &[
        &["get", "pods", "-n", "shop"],
        &["get", "pods", "-A", "-o", "yaml"],
        &["get", "pod", "web", "-n", "shop", "-o", "json"],
        &["get", "pods", "-n", "shop", "-l", "app=web", "-o", "name"],
        &[
            "get",
            "pods",
            "-n",
            "shop",
            "-l",
            "app=nothing",
            "-o",
            "name",
        ],
        &["get", "secrets", "-n", "shop"],
        &["get", "namespaces"],
        &["get", "pod", "nothing", "-n", "shop"],
        &["describe", "pod", "web", "-n", "shop"],
        &["describe", "configmap", "settings", "-n", "shop"],
        &["api-resources"],
        &["explain", "pods"],
        &["version"],
    ];
    for version in KUBECTL {
        for args in reads {
            let [direct, through] = both_ways(&cluster, version, args);
            assert_eq!(
                direct.code, through.code,
                "{version} {args:?}: {through:#?}"
            );
            assert_eq!(direct.stdout, through.stdout, "{version} {args:?}");
            assert_eq!(direct.stderr, through.stderr, "{version} {args:?}");
            assert!(
                !through.stdout.is_empty()
                    || !through.stderr.is_empty()
                    || args.contains(&"app=nothing")
            );
        }
    }
}

#[test]
fn kubectl_writes_what_it_writes_on_a_direct_connection() {
    let cluster = Cluster::start();
    let file = cluster.path("basket.yaml");
    let path = file.to_str().unwrap().to_owned();
    let fruit = || {
        let object = cluster.api.object("configmaps", "shop", "basket");
        object.map(|object| object["data"]["fruit"].as_str().unwrap().to_owned())
    };
    for version in KUBECTL {
        let kubectl = |args: &[&str]| run(&mut cluster.kubectl_of(version, Agent::Writer, args));
        let expect = |args: &[&str], said: &str| {
            let output = kubectl(args);
            assert!(
                output.ok().contains(said),
                "{version} {args:?}: {output:#?}"
            );
        };
        std::fs::write(&file, CONFIG).unwrap();
        expect(&["apply", "-f", &path], "configmap/basket created");
        expect(&["apply", "-f", &path], "configmap/basket unchanged");
        std::fs::write(&file, CONFIG.replace("apple", "pear")).unwrap();
        expect(
            &["apply", "--dry-run=server", "-f", &path],
            "configmap/basket configured (server dry run)",
        );
        assert_eq!(fruit().unwrap(), "apple", "nothing is written by a dry run");
        expect(&["apply", "-f", &path], "configmap/basket configured");
        assert_eq!(fruit().unwrap(), "pear");
        std::fs::write(&file, CONFIG.replace("apple", "plum")).unwrap();
        expect(
            &["apply", "--server-side", "--force-conflicts", "-f", &path],
            "configmap/basket serverside-applied",
        );
        assert_eq!(fruit().unwrap(), "plum");
        let patch = r#"{"data":{"fruit":"quince"}}"#;
        expect(
            &[
                "patch",
                "configmap",
                "basket",
                "-n",
                "shop",
                "--type=merge",
                "-p",
                patch,
            ],
            "configmap/basket patched",
        );
        let mut edit = cluster.kubectl_of(
            version,
            Agent::Writer,
            &["edit", "configmap", "basket", "-n", "shop"],
        );
        let edited = run(edit.env("EDITOR", "sed -i s/quince/lime/"));
        assert!(
            edited.ok().contains("configmap/basket edited"),
            "{edited:#?}"
        );
        assert_eq!(fruit().unwrap(), "lime");
        let direct =
            cluster.kubectl_direct(version, &["delete", "configmap", "basket", "-n", "shop"]);
        direct.ok();
        assert_eq!(fruit(), None);
    }
}

#[test]
fn kubectl_creates_from_files_and_asks_what_it_may() {
    let cluster = Cluster::start();
    let file = cluster.path("pod.json");
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "job", "namespace": "shop"},
        "spec": {"containers": [{"name": "main", "image": "job:1"}]},
    });
    std::fs::write(&file, pod.to_string()).unwrap();
    let path = file.to_str().unwrap();
    let created = cluster.kubectl(Agent::Writer, &["create", "-f", path]);
    assert_eq!(created.ok(), "pod/job created");
    // Asked in protobuf, which the API server of the tests doesn't read.
    for version in KUBECTL {
        for (verb, resource, expected) in [("get", "pods", "yes"), ("delete", "nodes", "no")] {
            let args = ["auth", "can-i", verb, resource];
            let said = run(&mut cluster.kubectl_of(version, Agent::Reader, &args));
            assert_eq!(said.stdout.trim(), expected, "{version}: {said:#?}");
        }
    }
    let refused = cluster.kubectl(
        Agent::Writer,
        &[
            "create",
            "secret",
            "generic",
            "new",
            "-n",
            "shop",
            "--from-literal=a=b",
        ],
    );
    assert!(refused.err().contains("in JSON only"), "{refused:#?}");
}

#[test]
fn logs_arrive_while_they_are_written_and_end_with_their_reader() {
    let cluster = Cluster::start();
    for version in KUBECTL {
        let args = &["logs", "web", "-n", "shop"];
        let through = run(&mut cluster.kubectl_of(version, Agent::Reader, args));
        let reader = Agent::Reader.object_id();
        assert!(through.ok().contains(&format!("/{reader}")), "{through:#?}");
        let mut follow =
            cluster.kubectl_of(version, Agent::Reader, &["logs", "-f", "web", "-n", "shop"]);
        let out = cluster.path("follow.log");
        follow.stdout(std::fs::File::create(&out).unwrap());
        let mut child = follow.spawn().unwrap();
        until("the log's growth", || {
            let text = std::fs::read_to_string(&out).unwrap();
            text.contains("tick 3\n").then_some(())
        });
        child.kill().unwrap();
        child.wait().unwrap();
        until("the end of the stream", || {
            (cluster.api.streams() == 0).then_some(())
        });
    }
}

#[test]
fn a_watch_sees_changes_as_they_happen() {
    let cluster = Cluster::start();
    let mut watch = cluster.kubectl_of(
        KUBECTL[0],
        Agent::Reader,
        &["get", "configmaps", "-n", "shop", "-w", "-o", "name"],
    );
    let out = cluster.path("watch.log");
    watch.stdout(std::fs::File::create(&out).unwrap());
    let mut child = watch.spawn().unwrap();
    let seen = |what: &str| {
        until(what, || {
            let text = std::fs::read_to_string(&out).unwrap();
            text.contains(what).then_some(())
        });
    };
    seen("configmap/settings");
    let began = Instant::now();
    let file = cluster.path("basket.yaml");
    std::fs::write(&file, CONFIG).unwrap();
    cluster
        .kubectl_direct(KUBECTL[0], &["apply", "-f", file.to_str().unwrap()])
        .ok();
    seen("configmap/basket");
    assert!(began.elapsed() < Duration::from_secs(10));
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn every_transport_works() {
    for (http2, token, shared) in [
        (true, false, true),
        (false, true, false),
        (false, false, true),
    ] {
        let cluster = Cluster::with(|choices| {
            choices.http2 = http2;
            choices.token = token;
            choices.shared = shared;
        });
        for version in ["--http1.1", "--http2"] {
            let answer = cluster.curl(
                Agent::Reader,
                &[version],
                "/api/v1/namespaces/shop/pods/web",
            );
            assert!(answer.ok().contains("10.0.0.7"), "{answer:#?}");
            assert!(answer.ok().ends_with("\n200"), "{answer:#?}");
        }
        let pods = cluster.kubectl(Agent::Reader, &["get", "pods", "-n", "shop", "-o", "name"]);
        assert_eq!(pods.ok(), "pod/web");
        let said = cluster.kubectl(
            Agent::Writer,
            &["exec", "web", "-n", "shop", "--", "echo", "hi"],
        );
        assert_eq!(said.ok(), "hi");
        let seen = cluster.api.seen();
        assert!(seen.iter().any(|seen| seen.http2) == http2);
        for seen in seen {
            let shown = seen.header("authorization");
            assert_eq!(!shown.is_empty(), token, "{seen:#?}");
        }
    }
}

#[test]
fn a_kubeconfig_without_a_token_is_all_that_kubectl_needs() {
    for shared in [false, true] {
        let cluster = Cluster::with(|choices| choices.shared = shared);
        let secret = cluster.path("client.secret");
        crate::support::write_private(&secret, &Agent::Reader.secret());
        let config = cluster.path("kubeconfig");
        let (ca, client) = (cluster.path("ca.pem"), Agent::Reader.client_id());
        let server = format!("https://localhost:{}", cluster.gateway.port());
        let mut args = vec![
            "kubeconfig",
            "cluster",
            "--server",
            &server,
            "--server-ca",
            ca.to_str().unwrap(),
            "--namespace",
            "shop",
            "--output",
            config.to_str().unwrap(),
            "--kind",
            "client-secret",
            "--tenant",
            TENANT,
            "--client-id",
            &client,
            "--scope",
            "api://gateway/.default",
            "--client-secret-file",
            secret.to_str().unwrap(),
            "--authority",
            &cluster.issuer.authority,
            "--ca",
            cluster.issuer.ca.to_str().unwrap(),
        ];
        if shared {
            args.push("--shared");
        }
        cluster.gateway.cli(&args).ok();
        let written = std::fs::read_to_string(&config).unwrap();
        assert!(!written.contains("eyJ"), "no token: {written}");
        for version in KUBECTL {
            let mut kubectl = command(kubectl(version));
            kubectl
                .env("HOME", cluster.path(""))
                .env("KUBECONFIG", &config);
            let pods = run(kubectl.args(["get", "pods", "-o", "name"]));
            assert_eq!(pods.ok(), "pod/web", "{version}");
        }
    }
}

#[test]
fn the_starter_policy_lets_kubectl_work_and_keeps_secrets_and_rights() {
    let cluster = Cluster::with(|choices| choices.starter = true);
    for version in KUBECTL {
        let kubectl = |args: &[&str]| run(&mut cluster.kubectl_of(version, Agent::Writer, args));
        assert_eq!(
            kubectl(&["get", "pods", "-n", "shop", "-o", "name"]).ok(),
            "pod/web"
        );
        kubectl(&["describe", "pod", "web", "-n", "shop"]).ok();
        assert_eq!(kubectl(&["auth", "can-i", "get", "pods"]).ok(), "yes");
        let secret = kubectl(&["get", "secret", "database", "-n", "shop", "-o", "yaml"]);
        assert!(!secret.ok().contains(SECRET_BASE64), "{secret:#?}");
        let log = kubectl(&["logs", "web", "-n", "shop"]);
        assert!(!log.ok().contains("4111 1111 1111 1111"), "{log:#?}");
        for (args, said) in [
            (
                &[
                    "create",
                    "role",
                    "all",
                    "-n",
                    "shop",
                    "--verb=*",
                    "--resource=pods",
                ][..],
                "in JSON only",
            ),
            (&["delete", "pod", "web", "-n", "shop"], "Forbidden"),
            (&["get", "--raw", "/metrics"], "Forbidden"),
        ] {
            let output = kubectl(args);
            assert!(
                output.err().contains(said),
                "{version} {args:?}: {output:#?}"
            );
        }
    }
}

#[test]
fn large_answers_and_many_requests_at_once_arrive_whole() {
    let cluster = Cluster::start();
    let file = cluster.path("large.json");
    let large = "x".repeat(900 << 10);
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "large", "namespace": "shop"},
        "data": {"large": large},
    });
    std::fs::write(&file, object.to_string()).unwrap();
    let path = format!("@{}", file.display());
    let url = "/api/v1/namespaces/shop/configmaps";
    let json = "Content-Type: application/json";
    let created = cluster.curl(
        Agent::Writer,
        &["-X", "POST", "-H", json, "--data-binary", &path],
        url,
    );
    assert!(
        created.ok().ends_with("\n201"),
        "{:?}",
        created.stdout.get(..300)
    );
    // One HTTP/2 connection, twenty streams.
    let out = cluster.path("out-#1");
    let read = cluster.curl(
        Agent::Reader,
        &[
            "--http2",
            "--parallel",
            "--parallel-immediate",
            "-o",
            out.to_str().unwrap(),
        ],
        &format!("{url}/large?timeout=[1-20]s"),
    );
    assert_eq!(read.ok().matches("200").count(), 20);
    for index in 1..=20 {
        let answer = std::fs::read_to_string(cluster.path(&format!("out-{index}"))).unwrap();
        assert!(answer.contains(&large), "answer {index}");
    }
}

#[test]
fn the_python_client_works_unmodified() {
    let cluster = Cluster::start();
    let python =
        std::env::var_os("GATEWAY_TEST_PYTHON").expect("GATEWAY_TEST_PYTHON: see scripts/test");
    let mut client = command(python);
    client
        .args(["-c", PYTHON, &cluster.url()])
        .arg(cluster.path("ca.pem"))
        .arg(cluster.issuer.token(Agent::Writer));
    let said = run(&mut client);
    assert_eq!(
        said.ok().lines().collect::<Vec<_>>(),
        [
            "pods web",
            "secret masked",
            "created basket",
            "patched pear",
            "watch ADDED basket",
            "log started",
            "exec hello world",
            "denied 403 Forbidden",
        ],
        "{said:#?}"
    );
}
