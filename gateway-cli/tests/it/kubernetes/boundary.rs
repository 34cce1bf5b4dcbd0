//! What a request may look like: one reading of it, by the gateway and by the server.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Empty;
use hyper::{Request, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};

use crate::support::{Agent, Output, kubernetes::Cluster, until};

fn status(output: &Output) -> &str {
    output.stdout.rsplit('\n').next().unwrap_or_default()
}

#[test]
fn paths_have_one_reading() {
    let cluster = Cluster::start();
    // The path as it is asked for; the answer's status; what reaches the server, if anything does.
    let canonical = "/api/v1/namespaces/shop/secrets/database";
    let cases: &[(&str, &str, Option<&str>)] = &[
        (canonical, "200", Some(canonical)),
        ("/api/v1/namespaces/shop/secrets%2fdatabase", "400", None),
        ("/api/v1/namespaces/shop/secrets%2Fdatabase", "400", None),
        (
            "/api/v1/namespaces/shop/../shop/secrets/database",
            "400",
            None,
        ),
        (
            "/api/v1/namespaces/shop/%2e%2e/shop/secrets/database",
            "400",
            None,
        ),
        ("/api/v1//namespaces/shop/secrets/database", "400", None),
        ("//api/v1/namespaces/shop/secrets/database", "400", None),
        ("/api/v1/namespaces/shop/secrets/database;x", "400", None),
        ("/api/v1/namespaces/shop/secrets\\database", "400", None),
        ("/api/v1/namespaces/shop/secrets/data%00base", "400", None),
        ("/api/v1/namespaces/shop/secrets/data%0abase", "400", None),
        ("/api/v1/namespaces/shop/secrets/data%zzbase", "400", None),
        (
            "/api/v1/namespaces/shop/secrets?watch=false&watch=true",
            "400",
            None,
        ),
        (
            "/api/v1/namespaces/shop/secrets?watch=0&%77atch=1",
            "400",
            None,
        ),
        ("/api/v1/namespaces/shop/pods?unknown=1", "400", None),
    ];
    for (path, expected, reached) in cases {
        for version in ["--http1.1", "--http2"] {
            cluster.api.forget();
            let answer = cluster.curl(Agent::Reader, &[version], path);
            assert_eq!(status(&answer), *expected, "{version} {path}: {answer:#?}");
            let seen: Vec<String> = cluster
                .api
                .seen()
                .into_iter()
                .map(|seen| seen.target)
                .collect();
            let reached: Vec<String> = reached.iter().map(|path| (*path).to_owned()).collect();
            assert_eq!(seen, reached, "{version} {path}");
        }
    }
    // Encodings of what needs none: refused, or decided and forwarded as what they mean.
    for path in [
        "/api/v1/namespaces/shop/%73ecrets/database",
        "/api/v1/namespaces/sho%70/secrets/database",
        "/%61pi/v1/namespaces/shop/secrets/database",
    ] {
        cluster.api.forget();
        let answer = cluster.curl(Agent::Reader, &[], path);
        assert!(
            !answer
                .stdout
                .contains(crate::support::api_server::SECRET_BASE64),
            "{path}"
        );
        for seen in cluster.api.seen() {
            assert_eq!(seen.target, canonical, "{path}");
        }
    }
}

#[test]
fn bodies_have_one_reading() {
    let cluster = Cluster::start();
    let path = "/api/v1/namespaces/shop/configmaps";
    let json = "application/json";
    let cases: &[(&str, &str, &str, &str)] = &[
        (
            "plain",
            json,
            r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}}"#,
            "201",
        ),
        (
            "a key twice",
            json,
            r#"{"kind":"ConfigMap","kind":"Secret","metadata":{"name":"b"}}"#,
            "400",
        ),
        (
            "a key in two cases",
            json,
            r#"{"kind":"ConfigMap","metadata":{"name":"b","Name":"c"}}"#,
            "400",
        ),
        (
            "another kind",
            json,
            r#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"b"}}"#,
            "400",
        ),
        (
            "another namespace",
            json,
            r#"{"kind":"ConfigMap","metadata":{"name":"b","namespace":"kube-system"}}"#,
            "400",
        ),
        (
            "a list",
            json,
            r#"{"apiVersion":"v1","kind":"List","items":[]}"#,
            "400",
        ),
        (
            "two documents",
            json,
            r#"{"metadata":{"name":"b"}}{"metadata":{"name":"c"}}"#,
            "400",
        ),
        ("cut short", json, r#"{"metadata":{"name":"b""#, "400"),
        (
            "YAML",
            "application/yaml",
            "kind: ConfigMap\nmetadata: {name: b}\n",
            "415",
        ),
        (
            "protobuf",
            "application/vnd.kubernetes.protobuf",
            "k8s\u{0}",
            "415",
        ),
        ("CBOR", "application/cbor", "x", "415"),
        ("a form", "application/x-www-form-urlencoded", "a=b", "415"),
    ];
    for (what, media, body, expected) in cases {
        cluster.api.forget();
        let media = format!("Content-Type: {media}");
        let file = cluster.path("body");
        std::fs::write(&file, body).unwrap();
        let data = format!("@{}", file.display());
        let answer = cluster.curl(
            Agent::Writer,
            &["-X", "POST", "-H", &media, "--data-binary", &data],
            path,
        );
        assert_eq!(status(&answer), *expected, "{what}: {answer:#?}");
        let bodies: Vec<String> = cluster
            .api
            .seen()
            .into_iter()
            .map(|seen| seen.body)
            .collect();
        let expected: &[&str] = if *expected == "201" { &[body] } else { &[] };
        assert_eq!(bodies, expected, "{what}");
    }
    let deep = format!("{}{}", r#"{"a":"#.repeat(100_000), "}".repeat(100_000));
    let file = cluster.path("deep");
    std::fs::write(&file, deep).unwrap();
    let data = format!("@{}", file.display());
    let json = "Content-Type: application/json";
    let answer = cluster.curl(
        Agent::Writer,
        &["-X", "POST", "-H", json, "--data-binary", &data],
        path,
    );
    assert_eq!(status(&answer), "400", "{answer:#?}");
    std::fs::write(&file, vec![b' '; 20 << 20]).unwrap();
    let answer = cluster.curl(
        Agent::Writer,
        &[
            "-X",
            "POST",
            "-H",
            json,
            "-H",
            "Expect:",
            "--data-binary",
            &data,
        ],
        path,
    );
    assert_ne!(status(&answer), "201", "{answer:#?}");
}

#[test]
fn what_agents_must_not_do_never_reaches_the_server() {
    let cluster = Cluster::start();
    let json = ["-H", "Content-Type: application/json"];
    let role = r#"{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"Role","metadata":{"name":"all"},"rules":[]}"#;
    let token = r#"{"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest","spec":{}}"#;
    let privileged = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},"spec":{"containers":[{"name":"a","image":"a","securityContext":{"privileged":true}}]}}"#;
    let host = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},"spec":{"hostPID":true,"containers":[]}}"#;
    let cases: &[(&str, &[&str], &str)] = &[
        (
            "role",
            &["-X", "POST", "-d", role],
            "/apis/rbac.authorization.k8s.io/v1/namespaces/shop/roles",
        ),
        (
            "token",
            &["-X", "POST", "-d", token],
            "/api/v1/namespaces/shop/serviceaccounts/default/token",
        ),
        (
            "privileged pod",
            &["-X", "POST", "-d", privileged],
            "/api/v1/namespaces/shop/pods",
        ),
        (
            "pod on the host",
            &["-X", "POST", "-d", host],
            "/api/v1/namespaces/shop/pods",
        ),
        ("node proxy", &[], "/api/v1/nodes/node-1/proxy/configz"),
        ("pod proxy", &[], "/api/v1/namespaces/shop/pods/web/proxy/"),
        (
            "service proxy",
            &[],
            "/api/v1/namespaces/shop/services/http:web:80/proxy/admin",
        ),
        (
            "exec by POST",
            &["-X", "POST", "-d", ""],
            "/api/v1/namespaces/shop/pods/web/exec?command=id",
        ),
    ];
    for (what, args, path) in cases {
        let answer = cluster.curl(Agent::Writer, &[&json, *args].concat(), path);
        assert!(
            matches!(status(&answer), "400" | "403"),
            "{what}: {answer:#?}"
        );
        assert!(
            answer.stdout.contains("\"kind\":\"Status\""),
            "{what}: {answer:#?}"
        );
    }
    assert!(cluster.api.seen().is_empty(), "{:#?}", cluster.api.seen());
    let role = cluster.path("role.json");
    std::fs::write(&role, r#"{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"Role","metadata":{"name":"all","namespace":"shop"},"rules":[]}"#).unwrap();
    let told = cluster.kubectl(Agent::Writer, &["create", "-f", role.to_str().unwrap()]);
    assert!(told.err().contains("(Forbidden)"), "{told:#?}");
    assert!(told.err().contains("aren't for agents"), "{told:#?}");
}

/// TLS to the gateway, for one version of HTTP.
fn tls(cluster: &Cluster, protocol: &str) -> Arc<ClientConfig> {
    let (_, ca) = cluster.gateway.place();
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(ca).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.into()];
    Arc::new(config)
}

/// Says `bytes` over TLS and HTTP/1.1, and returns what is said back until the end, or a second of
/// silence.
fn say(cluster: &Cluster, bytes: &[u8]) -> String {
    say_in(cluster, "http/1.1", bytes)
}

/// As [`say`], in this protocol.
fn say_in(cluster: &Cluster, protocol: &str, bytes: &[u8]) -> String {
    let (port, _) = cluster.gateway.place();
    let name = ServerName::try_from("localhost").unwrap();
    let socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(1)))
        .unwrap();
    let client = ClientConnection::new(tls(cluster, protocol), name).unwrap();
    let mut stream = StreamOwned::new(client, socket);
    // Who is told no in the middle of a long sentence may find the line dead before its end.
    let _ = stream.write_all(bytes);
    let mut said = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        said.extend_from_slice(&buffer[..read]);
    }
    String::from_utf8_lossy(&said).into_owned()
}

#[test]
fn smuggled_requests_are_requests_or_errors_and_never_both() {
    let cluster = Cluster::start();
    let token = cluster.issuer.token(Agent::Reader);
    let head = format!("Host: localhost\r\nAuthorization: Bearer {token}\r\n");
    let pods = "/api/v1/namespaces/shop/pods";
    let hidden = format!("DELETE {pods}/web HTTP/1.1\r\n{head}\r\n");
    let cases: &[(&str, String)] = &[
        (
            "space before the colon",
            format!("GET {pods} HTTP/1.1\r\n{head}Transfer-Encoding : chunked\r\n\r\n{hidden}"),
        ),
        (
            "length and chunks",
            format!(
                "POST {pods} HTTP/1.1\r\n{head}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}"
            ),
        ),
        (
            "two lengths",
            format!(
                "POST {pods} HTTP/1.1\r\n{head}Content-Length: 0\r\nContent-Length: 5\r\n\r\n{hidden}"
            ),
        ),
        (
            "a list of lengths",
            format!("POST {pods} HTTP/1.1\r\n{head}Content-Length: 0, 5\r\n\r\n{hidden}"),
        ),
        (
            "another coding",
            format!("POST {pods} HTTP/1.1\r\n{head}Transfer-Encoding: xchunked\r\n\r\n{hidden}"),
        ),
        (
            "coding twice",
            format!(
                "POST {pods} HTTP/1.1\r\n{head}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n{hidden}"
            ),
        ),
        (
            "folded line",
            format!(
                "GET {pods} HTTP/1.1\r\n{head}X: a\r\n Transfer-Encoding: chunked\r\n\r\n{hidden}"
            ),
        ),
        (
            "bare line feed in a header",
            format!("GET {pods} HTTP/1.1\r\n{head}X: a\rb\r\n\r\n"),
        ),
        (
            "absolute form",
            format!("GET http://evil{pods} HTTP/1.1\r\n{head}\r\n"),
        ),
        (
            "authority form",
            format!("CONNECT 10.0.0.1:443 HTTP/1.1\r\n{head}\r\n{hidden}"),
        ),
        ("trace", format!("TRACE {pods} HTTP/1.1\r\n{head}\r\n")),
        (
            "h2c",
            format!(
                "GET {pods} HTTP/1.1\r\n{head}Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n{hidden}"
            ),
        ),
        (
            "a bad chunk",
            format!(
                "POST {pods} HTTP/1.1\r\n{head}Transfer-Encoding: chunked\r\n\r\nzz\r\n{hidden}"
            ),
        ),
    ];
    for (what, bytes) in cases {
        cluster.api.forget();
        let said = say(&cluster, bytes.as_bytes());
        // A delete that the gateway did see as a request is denied: this agent only reads.
        assert!(
            cluster
                .api
                .seen()
                .iter()
                .all(|seen| seen.method == "GET" && seen.target == pods),
            "{what}: {:#?}",
            cluster.api.seen()
        );
        let answers = said.matches("HTTP/1.1 ").count();
        assert!(answers <= 2, "{what}: {said}");
        assert!(!said.contains("HTTP/1.1 101"), "{what}: {said}");
    }
    let garbage: &[&[u8]] = &[
        b"\x16\x03\x01",
        b"GET\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        &[b'A'; 200_000],
    ];
    for bytes in garbage {
        say(&cluster, bytes);
    }
    let after = cluster.curl(Agent::Reader, &[], pods);
    assert_eq!(status(&after), "200", "the gateway lives on: {after:#?}");
}

/// What evidence holds of sessions since those of `known`.
fn recorded(cluster: &Cluster, known: &[String]) -> String {
    sessions(cluster)
        .iter()
        .filter(|id| !known.contains(id))
        .map(|id| {
            let shown = cluster.gateway.cli(&["sessions", "show", id]);
            shown.ok().to_owned()
        })
        .collect()
}

fn sessions(cluster: &Cluster) -> Vec<String> {
    let list = cluster.gateway.cli(&["sessions", "list", "--json"]).json();
    let ids = list.as_array().unwrap().iter();
    ids.map(|session| session["id"].as_str().unwrap().to_owned())
        .collect()
}

/// An HTTP/2 connection's beginning, with a whole GET of these fields (RFC 7541, section 6.2.2
/// "Literal Header Field without Indexing"; 23 is `authorization`).
fn http2_get(path: &str, token: &str) -> Vec<u8> {
    let value = format!("Bearer {token}");
    let mut head = vec![0x82, 0x87, 0x41, 1, b'g', 0x44];
    head.push(u8::try_from(path.len()).unwrap());
    head.extend_from_slice(path.as_bytes());
    head.extend_from_slice(&[0x0f, 0x08, 0x7f]);
    let mut rest = value.len() - 0x7f;
    while rest >= 0x80 {
        head.push(u8::try_from(rest & 0x7f).unwrap() | 0x80);
        rest >>= 7;
    }
    head.push(u8::try_from(rest).unwrap());
    head.extend_from_slice(value.as_bytes());
    let len = u32::try_from(head.len()).unwrap().to_be_bytes();
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        &[0, 0, 0, 4, 0, 0, 0, 0, 0][..],
        &len[1..],
        &[1, 5, 0, 0, 0, 1],
        &head,
    ]
    .concat()
}

#[test]
fn what_is_no_http_is_on_record() {
    let cluster = Cluster::start();
    let token = cluster.issuer.token(Agent::Reader);
    let path = "/api/v1/namespaces/shop/pods";
    let good =
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n");
    let bad = "GET /api\x01 HTTP/1.1\r\nHost : localhost\r\n\r\n";
    let long = format!("GET {path} HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(200_000));
    let chunks = good
        .replace("GET", "POST")
        .replace("\r\n\r\n", "\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n");
    let settings = &[0, 0, 3, 4, 0, 0, 0, 0, 0, 1, 2, 3][..];
    let field =
        &b"\x00\x00\x14\x01\x05\x00\x00\x00\x03\x82\x87\x84\x41\x01g\x00\x0aconnection\x01x"[..];
    let get = http2_get(path, &token);
    // What is said, in which protocol, and what is on record. Some of it before any login.
    let cases: &[(&str, &str, &[u8], &str)] = &[
        ("no target", "http/1.1", bad.as_bytes(), "isn't HTTP"),
        (
            "no target, later",
            "http/1.1",
            &[good.as_bytes(), bad.as_bytes()].concat(),
            "isn't HTTP",
        ),
        ("a field too long", "http/1.1", long.as_bytes(), "too large"),
        ("no chunk", "http/1.1", chunks.as_bytes(), "chunk"),
        (
            "HTTP/1.1 as HTTP/2",
            "h2",
            good.as_bytes(),
            "connection error detected",
        ),
        (
            "a frame of odd size, later",
            "h2",
            &[&get, settings].concat(),
            "connection error detected",
        ),
        (
            "a field of HTTP/1.1, later",
            "h2",
            &[&get, field].concat(),
            "PROTOCOL_ERROR",
        ),
        ("another protocol", "h3", b"", "isn't TLS"),
    ];
    for (what, protocol, bytes, expected) in cases {
        let known = sessions(&cluster);
        say_in(&cluster, protocol, bytes);
        until(&format!("a record of: {what}"), || {
            recorded(&cluster, &known).contains(expected).then_some(())
        });
    }
    // Who just leaves isn't refused.
    let known = sessions(&cluster);
    say_in(&cluster, "h2", &get);
    let left = until("the session", || {
        Some(recorded(&cluster, &known)).filter(|shown| shown.contains(path))
    });
    assert!(!left.contains("isn't"), "{left}");
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let cluster = Cluster::start();
    let token = cluster.issuer.token(Agent::Reader);
    let get = |path: &str, more: &str| {
        format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n{more}\r\n"
        )
    };
    let bytes = [
        get("/api/v1/namespaces/shop/pods/web", ""),
        get("/api/v1/namespaces/shop/pods/web/../x", ""),
        get(
            "/api/v1/namespaces/shop/configmaps/settings",
            "Connection: close\r\n",
        ),
    ]
    .concat();
    let said = say(&cluster, bytes.as_bytes());
    let codes: Vec<&str> = said
        .split("HTTP/1.1 ")
        .skip(1)
        .filter_map(|answer| answer.get(..3))
        .collect();
    assert_eq!(codes, ["200", "400", "200"], "{said}");
}

/// Opens and gives up as many requests as the gateway lets one connection.
async fn reset_rapidly(cluster: &Cluster, requests: usize) -> usize {
    let (port, _) = cluster.gateway.place();
    let socket = tokio::net::TcpStream::connect(("127.0.0.1", port));
    let connector = tokio_rustls::TlsConnector::from(tls(cluster, "h2"));
    let name = ServerName::try_from("localhost").unwrap();
    let stream = connector
        .connect(name, socket.await.unwrap())
        .await
        .unwrap();
    let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.unwrap();
    let connection = tokio::spawn(connection);
    let token = cluster.issuer.token(Agent::Reader);
    let mut sent = 0;
    while sent < requests && sender.ready().await.is_ok() {
        let request =
            Request::get("https://localhost/api/v1/namespaces/shop/pods/web/log?follow=true")
                .header("authorization", format!("Bearer {token}"))
                .body(Empty::<Bytes>::new())
                .unwrap();
        let answer = sender.send_request(request);
        drop(tokio::time::timeout(Duration::from_millis(1), answer).await);
        sent += 1;
    }
    drop(sender);
    connection.abort();
    sent
}

#[test]
fn rapid_resets_cost_no_memory_and_leave_no_streams() {
    let cluster = Cluster::start();
    let before = cluster.gateway.resident_kib();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let sent = runtime.block_on(reset_rapidly(&cluster, 2000));
    assert!(sent > 10, "{sent} requests");
    let grown = cluster.gateway.resident_kib().saturating_sub(before);
    assert!(grown < 64 << 10, "{grown} KiB");
    until("the end of the streams", || {
        (cluster.api.streams() == 0).then_some(())
    });
    let after = cluster.curl(Agent::Reader, &[], "/api/v1/namespaces/shop/pods");
    assert_eq!(status(&after), "200", "{after:#?}");
}

#[test]
fn a_server_that_is_gone_is_an_error_that_clients_understand() {
    let mut cluster = Cluster::start();
    cluster
        .curl(Agent::Reader, &[], "/api/v1/namespaces/shop/pods")
        .ok();
    cluster.api.stop();
    let answer = cluster.curl(Agent::Reader, &[], "/api/v1/namespaces/shop/pods");
    assert_eq!(status(&answer), "502", "{answer:#?}");
    let told = cluster.kubectl(Agent::Reader, &["get", "pods", "-n", "shop"]);
    assert!(told.err().contains("error on the server"), "{told:#?}");
}
