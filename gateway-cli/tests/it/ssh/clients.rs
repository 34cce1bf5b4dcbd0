//! Other clients, unmodified, and what ssh-audit says.

use crate::support::{
    Agent, libpq, run,
    ssh::{SshWorld, python},
};

const MATRIX: &str = include_str!("matrix.py");
const TARGET: &str = include_str!("target.py");

fn matrix(world: &SshWorld, client: &str, agent: Agent) -> String {
    let config = world.config(agent);
    let mut command = libpq(python());
    command
        .args(["-c", MATRIX, client])
        .env("GATEWAY_HOST", "127.0.0.1")
        .env("GATEWAY_PORT", world.gateway.port().to_string())
        .env("GATEWAY_DIR", config.parent().unwrap())
        .env("GATEWAY_TOKEN", world.issuer.token(agent))
        .env("GATEWAY_OPEN", world.path("open"));
    let said = run(&mut command);
    said.ok().to_owned()
}

#[test]
fn paramiko_works_with_a_token_as_password_and_with_a_certificate() {
    let world = SshWorld::start();
    let said = matrix(&world, "paramiko", Agent::Reader);
    assert!(said.ends_with("paramiko: all"), "{said}");
}

#[test]
fn asyncssh_works_with_terminals() {
    let world = SshWorld::start();
    let said = matrix(&world, "asyncssh", Agent::Writer);
    assert!(said.ends_with("asyncssh: all"), "{said}");
}

#[test]
fn signals_pass_both_ways_and_the_target_opens_no_channels() {
    let world = SshWorld::towards(TARGET);
    let said = matrix(&world, "signals", Agent::Reader);
    assert!(said.ends_with("signals: all"), "{said}");
    let record = world.record();
    assert!(record.contains("the target's forwarded-tcpip"), "{record}");
}

/// Curve25519 alone is what OpenSSH before 9.9 has in common with the gateway, beside nothing.
#[test]
fn ssh_audit_complains_of_nothing_but_curve25519_for_older_clients() {
    let world = SshWorld::start();
    let port = world.gateway.port().to_string();
    let audit = run(libpq(python().with_file_name("ssh-audit")).args([
        "--no-colors",
        "--skip-rate-test",
        "-p",
        &port,
        "127.0.0.1",
    ]));
    let text = &audit.stdout;
    assert!(text.contains("mlkem768x25519-sha256"), "{text}");
    assert!(text.contains("kex-strict-s-v00@openssh.com"), "{text}");
    let complaints: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("[fail]") || line.contains("[warn]"))
        .filter(|line| !(line.contains("curve25519") && line.contains("post-quantum")))
        .collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
    assert!(!text.contains("(nfo)"), "{text}");
}
