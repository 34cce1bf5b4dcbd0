//! How a connection begins: encryption, versions, cancel keys.

use std::io::{Read as _, Write as _};

use crate::{
    clients::{installed, open_world},
    support::{
        Agent, World, libpq, run,
        wire::{
            PROTOCOL_3_2, SSL_REQUEST, Wire, cancel, cancel_request, drain, plain, query, told,
        },
    },
};

const CLIENT: &str = include_str!("versions.py");
const GSS_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 48];
const STARTUP: [(&str, &str); 2] = [("user", "agent"), ("database", "shop")];

#[test]
fn direct_tls_needs_the_application_protocol() {
    let world = World::start();
    let token = world.issuer.token(Agent::Reader);
    let connect = |protocols: &[&[u8]]| {
        Wire::connect_directly(world.gateway.place(), protocols, &STARTUP, &token)
    };
    let mut wire = connect(&[b"postgresql"]).unwrap();
    assert_eq!(told(&wire.query("select 1")), "T D(1) C(SELECT 1) Z(I)");
    let mut wire = connect(&[b"h2", b"postgresql"]).unwrap();
    assert_eq!(told(&wire.query("select 2")), "T D(2) C(SELECT 1) Z(I)");
    let refused = connect(&[]).map(drop).unwrap_err();
    assert!(refused.contains("application protocol"), "{refused}");
    assert_eq!(connect(&[b"http/1.1"]).map(drop), Err("closed".into()));
}

#[test]
fn openssl_agrees_on_the_application_protocol() {
    let world = World::start();
    let shake = |more: &[&str]| {
        let mut openssl = libpq("openssl");
        openssl
            .args(["s_client", "-connect"])
            .arg(format!("127.0.0.1:{}", world.gateway.port()))
            .args(["-verify_return_error", "-verify_hostname", "localhost"])
            .arg("-CAfile")
            .arg(world.path("ca.pem"))
            .args(more);
        run(&mut openssl)
    };
    let direct = shake(&["-alpn", "postgresql"]);
    assert!(
        direct.stdout.contains("ALPN protocol: postgresql"),
        "{direct:?}"
    );
    let asked = shake(&["-starttls", "postgres"]);
    assert!(asked.stdout.contains("No ALPN negotiated"), "{asked:?}");
    assert!(asked.stdout.contains("Verification: OK"), "{asked:?}");
    let other = shake(&["-alpn", "h2"]);
    assert!(!other.stdout.contains("ALPN protocol: h2"), "{other:?}");
}

/// libpq 18 as it comes with psycopg: direct TLS, protocol 3.2, encrypted cancel requests.
#[test]
fn libpq_18_uses_all_of_it() {
    let python = installed("GATEWAY_TEST_PYTHON");
    let world = open_world();
    let mut command = libpq(&python);
    command.args(["-c", CLIENT]).envs(
        world
            .gateway
            .variables("shop", &world.issuer.token(Agent::Writer)),
    );
    let output = run(&mut command);
    assert_eq!(
        output.ok(),
        "postgres 30000 1 57014\ndirect 30002 2 57014\nlatest 30002 3 57014\nasked 30002 4 57014"
    );
}

#[test]
fn gss_encryption_is_refused_and_tls_follows() {
    let world = World::start();
    let ask = |requests: &[&[u8]]| {
        let mut stream = plain(world.gateway.port());
        let mut answers = Vec::new();
        for request in requests {
            stream.write_all(request).unwrap();
            let mut answer = [0];
            match stream.read(&mut answer) {
                Ok(1) => answers.push(char::from(answer[0])),
                _ => answers.push('$'),
            }
        }
        answers
    };
    assert_eq!(ask(&[&GSS_REQUEST, &SSL_REQUEST]), ['N', 'S']);
    assert_eq!(ask(&[&GSS_REQUEST, &GSS_REQUEST]), ['N', 'E']);
    let mut stream = plain(world.gateway.port());
    stream
        .write_all(&[GSS_REQUEST, SSL_REQUEST].concat())
        .unwrap();
    assert_eq!(
        drain(stream).first(),
        Some(&b'E'),
        "data behind the request"
    );
}

#[test]
fn a_cancel_key_is_as_long_as_the_version_has_it_and_cancels_nothing_else() {
    let world = open_world();
    let token = world.issuer.token(Agent::Writer);
    let mut wire = Wire::connect(world.gateway.place(), PROTOCOL_3_2, &STARTUP, &token).unwrap();
    let mut other = world.wire(Agent::Writer);
    let long = wire.cancel_key();
    assert_eq!((long.len(), other.cancel_key().len()), (4 + 32, 4 + 4));

    let sleep = "select pg_sleep(2)";
    let mut wrong = long.clone();
    wrong[20] ^= 1;
    wire.send(&query(sleep));
    other.send(&query(sleep));
    for key in [&wrong[..], &long[..8], &[&long[..], b"x"].concat()] {
        cancel(world.gateway.place(), key);
    }
    assert_eq!(told(&wire.until_ready(1)), "T D() C(SELECT 1) Z(I)");
    assert_eq!(told(&other.until_ready(1)), "T D() C(SELECT 1) Z(I)");

    // With TLS, and without as clients before PostgreSQL 17 do it.
    let sleep = "select pg_sleep(30)";
    wire.send(&query(sleep));
    std::thread::sleep(std::time::Duration::from_millis(500));
    cancel(world.gateway.place(), &long);
    assert_eq!(told(&wire.until_ready(1)), "T E(57014) Z(I)");
    wire.send(&query(sleep));
    std::thread::sleep(std::time::Duration::from_millis(500));
    let mut stream = plain(world.gateway.port());
    stream.write_all(&cancel_request(&long)).unwrap();
    assert_eq!(drain(stream), b"", "a cancel request has no answer");
    assert_eq!(told(&wire.until_ready(1)), "T E(57014) Z(I)");
    assert_eq!(told(&other.query("select 1")), "T D(1) C(SELECT 1) Z(I)");
}
