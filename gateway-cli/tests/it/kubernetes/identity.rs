//! Who a request is from: the gateway says so, and nobody else.

use serde_json::{Value, json};

use crate::support::{Agent, Output, TENANT, kubernetes::Cluster, libpq as command, run};

const PODS: &str = "/api/v1/namespaces/shop/pods";

fn status(output: &Output) -> &str {
    output.stdout.rsplit('\n').next().unwrap_or_default()
}

#[test]
fn the_cluster_sees_the_agent_and_its_roles() {
    let cluster = Cluster::start();
    cluster.curl(Agent::Writer, &[], PODS).ok();
    let seen = &cluster.api.seen()[0];
    let user = format!("entra:{TENANT}/{}", Agent::Writer.object_id());
    assert_eq!(seen.header("impersonate-user"), [user]);
    assert_eq!(
        seen.header("impersonate-group"),
        [
            "system:authenticated",
            "entra:role:Gateway.Connect",
            "entra:role:Orders.Write"
        ]
    );
    let expected = [
        "accept",
        "accept-encoding",
        "impersonate-group",
        "impersonate-user",
        "user-agent",
    ];
    for (name, _) in &seen.headers {
        assert!(expected.contains(&name.as_str()), "{seen:#?}");
    }
}

#[test]
fn nothing_that_says_who_one_is_passes() {
    let cluster = Cluster::start();
    let cases: &[&[&str]] = &[
        &["-H", "Impersonate-User: admin"],
        &["-H", "impersonate-group: system:masters"],
        &["-H", "IMPERSONATE-GROUP: system:masters"],
        &["-H", "Impersonate-Uid: 0"],
        &["-H", "Impersonate-Extra-Scopes: all"],
        &["-H", "X-Remote-User: admin"],
        &["-H", "X-Remote-Group: system:masters"],
        &[
            "-H",
            "Impersonate-Group: system:masters",
            "-H",
            "Connection: Impersonate-Group",
        ],
        &["-H", "Connection: Impersonate-User"],
        &[
            "-H",
            "Connection: close, Impersonate-User, Impersonate-Group",
        ],
        &["-H", "Cookie: session=admin"],
        &["-H", "Proxy-Authorization: Basic YTpi"],
        &["-H", "X-Forwarded-For: 10.0.0.1"],
        &["-H", "Forwarded: for=10.0.0.1"],
        &["-H", "Authorization: Bearer admin-token"],
        &["-H", "X-HTTP-Method-Override: DELETE"],
        &[
            "-H",
            "Sec-WebSocket-Protocol: base64url.bearer.authorization.k8s.io.YWRtaW4tdG9rZW4",
        ],
    ];
    for case in cases {
        for version in ["--http1.1", "--http2"] {
            cluster.api.forget();
            cluster.curl(Agent::Reader, &[case, &[version][..]].concat(), PODS);
            for seen in cluster.api.seen() {
                assert_eq!(
                    seen.header("impersonate-user").len(),
                    1,
                    "{case:?}: {seen:#?}"
                );
                assert!(
                    seen.user.ends_with(&Agent::Reader.object_id()),
                    "{case:?}: {seen:#?}"
                );
                assert_eq!(
                    seen.header("impersonate-group"),
                    ["system:authenticated", "entra:role:Gateway.Connect"],
                    "{case:?}: {seen:#?}"
                );
                for name in [
                    "cookie",
                    "proxy-authorization",
                    "authorization",
                    "impersonate-uid",
                    "impersonate-extra-scopes",
                    "x-remote-user",
                    "x-remote-group",
                    "x-forwarded-for",
                    "forwarded",
                    "connection",
                    "sec-websocket-protocol",
                ] {
                    assert!(seen.header(name).is_empty(), "{case:?}: {seen:#?}");
                }
            }
        }
    }
}

#[test]
fn who_shows_no_token_of_an_agent_is_nobody() {
    let cluster = Cluster::start();
    let expired = cluster.issuer.forge(&json!({
        "app": Agent::Reader.client_id(), "claims": {"exp": 1_700_000_000}
    }));
    let url = format!("{}{PODS}", cluster.url());
    let cases: &[(&str, Vec<String>)] = &[
        ("no token", vec![]),
        ("another scheme", vec!["Authorization: Basic YTpi".into()]),
        ("garbage", vec!["Authorization: Bearer x.y.z".into()]),
        ("expired", vec![format!("Authorization: Bearer {expired}")]),
        (
            "the server's own",
            vec!["Authorization: Bearer gateway-token".into()],
        ),
        (
            "as sub-protocol",
            vec![format!(
                "Sec-WebSocket-Protocol: base64url.bearer.authorization.k8s.io.{}",
                cluster.issuer.token(Agent::Reader)
            )],
        ),
    ];
    for (what, headers) in cases {
        let mut curl = command("curl");
        curl.args(["--silent", "--cacert"])
            .arg(cluster.path("ca.pem"));
        curl.args(["--write-out", "\n%{http_code}"]);
        for header in headers {
            curl.args(["--header", header]);
        }
        let answer = run(curl.arg(&url));
        assert_eq!(status(&answer), "401", "{what}: {answer:#?}");
        let body = answer.stdout.rsplit_once('\n').unwrap().0;
        let body: Value = serde_json::from_str(body).unwrap();
        assert_eq!(
            (&body["kind"], &body["code"]),
            (&"Status".into(), &401.into()),
            "{what}"
        );
    }
    let unlisted = cluster.curl(Agent::Unlisted, &[], PODS);
    assert_eq!(
        status(&unlisted),
        "200",
        "the tests' policy lets everybody in: {unlisted:#?}"
    );
    assert_eq!(cluster.api.seen().len(), 1);
}

/// Two requests on one connection, each with its own token: status and new connections of each.
fn two_tokens(cluster: &Cluster, transport: &str, tokens: [&str; 2]) -> Vec<String> {
    let mut curl = command("curl");
    for (index, token) in tokens.iter().enumerate() {
        if index > 0 {
            curl.arg("--next");
        }
        curl.args(["--silent", transport, "--output", "/dev/null", "--cacert"])
            .arg(cluster.path("ca.pem"))
            .args(["--write-out", "%{http_code} %{num_connects}\n"])
            .args(["--header", &format!("Authorization: Bearer {token}")])
            .arg(format!("{}{PODS}", cluster.url()));
    }
    let said = run(&mut curl);
    said.stdout.lines().map(str::to_owned).collect()
}

#[test]
fn a_connection_belongs_to_one_principal_whose_token_may_change() {
    let cluster = Cluster::start();
    let first = cluster.issuer.token(Agent::Reader);
    std::thread::sleep(std::time::Duration::from_millis(1100)); // another second, another token
    let second = cluster.issuer.token(Agent::Reader);
    let other = cluster.issuer.token(Agent::Writer);
    for transport in ["--http1.1", "--http2"] {
        let renewed = two_tokens(&cluster, transport, [&first, &second]);
        assert_eq!(renewed, ["200 1", "200 0"], "{transport}");
        cluster.api.forget();
        let stolen = two_tokens(&cluster, transport, [&first, &other]);
        assert_eq!(stolen.first().unwrap(), "200 1", "{transport}");
        assert!(!stolen[1].starts_with("200"), "{transport}: {stolen:?}");
        assert_eq!(cluster.api.seen().len(), 1, "{:#?}", cluster.api.seen());
    }
}

#[test]
fn a_request_after_its_tokens_end_is_refused() {
    let cluster = Cluster::start();
    let soon = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs()
        + 3;
    let token = cluster.issuer.forge(&json!({
        "app": Agent::Reader.client_id(), "claims": {"exp": soon}
    }));
    let url = format!(
        "{}/api/v1/namespaces/shop/pods/web/log?follow=true",
        cluster.url()
    );
    let mut curl = command("curl");
    curl.args(["--silent", "--max-time", "30", "--cacert"])
        .arg(cluster.path("ca.pem"))
        .args(["--header", &format!("Authorization: Bearer {token}")])
        .arg(url);
    let followed = run(&mut curl);
    assert_ne!(
        followed.code,
        Some(28),
        "it ends before curl's patience: {followed:#?}"
    );
    assert_ne!(
        followed.code,
        Some(0),
        "what was cut off doesn't look whole: {followed:#?}"
    );
    assert!(followed.stdout.contains("tick"), "{followed:#?}");
}
