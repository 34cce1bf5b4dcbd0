//! Where agents get tokens from, and which are taken.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    process::Command,
    thread,
};

use serde_json::json;

use crate::support::{AUDIENCE_V1, Agent, World, run};

const SCOPE: &str = "api://gateway/.default";

/// A token by client secret, for `scope`.
fn by_secret(world: &World, scope: &str) -> String {
    let mut command = world.gateway.command(&["token", "--kind", "client-secret"]);
    command
        .args(["--tenant", crate::support::TENANT])
        .args(["--client-id", &Agent::Reader.client_id()])
        .args(["--scope", scope])
        .args(["--authority", &world.issuer.authority, "--ca"])
        .arg(&world.issuer.ca)
        .env("AZURE_CLIENT_SECRET", Agent::Reader.secret());
    run(&mut command).ok().to_owned()
}

#[test]
fn v1_tokens_open_sessions_where_their_issuer_is_configured() {
    let scope = format!("{AUDIENCE_V1}/.default");
    let world = World::with(|settings| {
        settings.base = settings.base.replace(
            "audiences = [",
            &format!("v1_issuer = \"AUTHORITY\"\naudiences = [\"{AUDIENCE_V1}\", "),
        );
        let authority = settings
            .base
            .lines()
            .find_map(|line| line.strip_prefix("authority = \""))
            .and_then(|rest| rest.strip_suffix('"'))
            .unwrap()
            .to_owned();
        settings.base = settings.base.replace("AUTHORITY", &authority);
    });
    let v1 = by_secret(&world, &scope);
    let reply = world.psql_with(&v1, "shop", &["-c", "select title from products limit 1"]);
    assert_eq!(reply.ok(), "Tea");
    // v2.0 tokens still do.
    world.psql(Agent::Reader, "select 1").ok();

    let strict = World::start();
    let v1 = by_secret(&strict, &scope);
    let refused = strict.psql_with(&v1, "shop", &["-c", "select 1"]);
    assert!(refused.err().contains("refused: version"), "{refused:?}");
}

/// Answers one request as App Service's identity endpoint does (Azure documentation, "How to use
/// managed identities for App Service and Azure Functions", section "REST endpoint reference"); gives
/// the request's head. A virtual machine's endpoint has a fixed address outside loopback.
fn identity_endpoint(token: String) -> (String, thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/msi/token", listener.local_addr().unwrap());
    let served = thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream);
        let mut head = String::new();
        while reader.read_line(&mut head).unwrap() > 2 {}
        let body = json!({
            "access_token": token, "token_type": "Bearer", "resource": "api://gateway",
            "expires_in": "3599", "expires_on": "4102444800", "not_before": "0",
        })
        .to_string();
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        reader.get_mut().write_all(answer.as_bytes()).unwrap();
        head
    });
    (address, served)
}

#[test]
fn an_agent_gets_its_token_by_managed_identity() {
    let world = World::start();
    let (endpoint, served) = identity_endpoint(world.issuer.token(Agent::Reader));
    let client = Agent::Reader.client_id();
    let mut command = world
        .gateway
        .command(&["token", "--kind", "managed-identity"]);
    command
        .args(["--scope", SCOPE, "--client-id", &client])
        .env("IDENTITY_ENDPOINT", endpoint)
        .env("IDENTITY_HEADER", "of-this-machine");
    let token = run(&mut command).ok().to_owned();
    let head = served.join().unwrap().to_lowercase();
    for part in [
        "get /msi/token?",
        "resource=api",
        &format!("client_id={client}"),
        "x-identity-header: of-this-machine",
    ] {
        assert!(head.contains(part), "{part}: {head}");
    }
    let reply = world.psql_with(&token, "shop", &["-c", "select 1"]);
    assert_eq!(reply.ok(), "1");
}

#[test]
fn a_developer_is_who_is_signed_in_to_the_azure_cli() {
    let world = World::start();
    let bin = world.path("bin");
    std::fs::create_dir(&bin).unwrap();
    // What `az account get-access-token --output json` prints.
    let printed = json!({
        "accessToken": world.issuer.token(Agent::Reader),
        "expiresOn": "2099-01-01 00:00:00.000000", "expires_on": 4_070_908_800_u64,
        "tenant": crate::support::TENANT, "tokenType": "Bearer",
    });
    let az = bin.join("az");
    std::fs::write(
        &az,
        format!(
            "#!/bin/sh\necho \"$@\" > {}\ncat <<'END'\n{printed}\nEND\n",
            world.path("asked").display()
        ),
    )
    .unwrap();
    std::fs::set_permissions(&az, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let token = |path: &str| {
        let mut command: Command = world.gateway.command(&["token", "--kind", "developer"]);
        run(command.args(["--scope", SCOPE]).env("PATH", path))
    };
    let signed_in = token(&path);
    let reply = world.psql_with(signed_in.ok(), "shop", &["-c", "select 1"]);
    assert_eq!(reply.ok(), "1");
    let asked = std::fs::read_to_string(world.path("asked")).unwrap();
    assert!(
        asked.contains("get-access-token") && asked.contains(SCOPE),
        "{asked}"
    );

    let nobody = token("/nonexistent");
    assert!(nobody.err().contains("nobody is signed in"), "{nobody:?}");
}
