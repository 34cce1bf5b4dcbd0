//! Who gets in, and where to.

use std::{
    fs,
    io::{ErrorKind, Read as _, Write as _},
    net::TcpStream,
    process::Command,
    time::Instant,
};

use serde_json::json;

use super::strangers::has_failed;
use crate::support::{Agent, PATIENCE, Person, libpq, run, ssh::SshWorld, until};

#[test]
fn a_certificate_is_given_for_a_token_and_recorded() {
    let world = SshWorld::start();
    let said = world.configure(Agent::Reader, &world.issuer.token(Agent::Reader));
    let config = world.config(Agent::Reader);
    assert_eq!(said.ok(), format!("ssh -F {} box", config.display()));
    let shown = run(Command::new("ssh-keygen")
        .arg("-L")
        .arg("-f")
        .arg(config.with_file_name("key-cert.pub")));
    assert!(shown.ok().contains(&Agent::Reader.object_id()), "{shown:?}");
    assert!(shown.ok().contains("user certificate"), "{shown:?}");

    for token in [
        "",
        "nonsense",
        &world.issuer.forge(&json!({ "claims": { "aud": "other" } })),
    ] {
        let refused = world.configure(Agent::Writer, token);
        assert_ne!(refused.code, Some(0), "{refused:?}");
    }
    assert!(!world.path("ssh-writer-bot/key-cert.pub").exists());
}

#[test]
fn key_and_certificate_can_live_in_an_ssh_agent() {
    let world = SshWorld::start();
    let token = world.path("token");
    fs::write(&token, world.issuer.token(Agent::Reader)).unwrap();
    // An agent of its own, which ends with the command.
    let script = format!(
        "{} ssh-config box --address 127.0.0.1:{} --gateway {} --ca {} --token-command 'cat {}' --dir {} --agent && ssh-add -L",
        env!("CARGO_BIN_EXE_gateway"),
        world.gateway.port(),
        world.gateway.admin_url(),
        world.text_path("ca.pem"),
        token.display(),
        world.text_path("agent"),
    );
    let said = run(libpq("ssh-agent").args(["sh", "-c", &script]));
    assert!(
        said.ok().contains("ssh-ed25519-cert-v01@openssh.com"),
        "{said:?}"
    );
}

#[test]
fn an_expired_certificate_is_replaced_by_itself() {
    let world = SshWorld::start();
    let config = world.config(Agent::Reader);
    let certificate = config.with_file_name("key-cert.pub");
    let first = fs::read_to_string(&certificate).unwrap();
    world.ssh(Agent::Reader, &["true"]).ok();
    assert_eq!(
        fs::read_to_string(&certificate).unwrap(),
        first,
        "it is still good"
    );
    fs::remove_file(&certificate).unwrap();
    world.ssh(Agent::Reader, &["true"]).ok();
    assert_ne!(fs::read_to_string(&certificate).unwrap(), first);
}

/// The configuration without the line that replaces certificates.
pub(super) fn without_refresh(world: &SshWorld, agent: Agent) -> std::path::PathBuf {
    let config = world.config(agent);
    let text = fs::read_to_string(&config).unwrap();
    let kept: Vec<&str> = text
        .lines()
        .filter(|line| !line.starts_with("Match"))
        .collect();
    let path = config.with_file_name("static");
    fs::write(&path, kept.join("\n")).unwrap();
    path
}

#[test]
fn certificates_that_prove_nothing_are_refused() {
    let world = SshWorld::start();
    let config = without_refresh(&world, Agent::Reader);
    let certificate = config.with_file_name("key-cert.pub");
    let good = fs::read_to_string(&certificate).unwrap();
    let ssh = || {
        run(libpq("ssh")
            .arg("-F")
            .arg(&config)
            .args(["-o", "BatchMode=yes", "box", "echo in"]))
    };
    assert_eq!(ssh().ok(), "in");

    // Somebody else's authority.
    let foreign = world.path("foreign");
    crate::support::ssh::make_key(&foreign);
    let key = config.with_file_name("key");
    let public = run(Command::new("ssh-keygen").arg("-y").arg("-f").arg(&key));
    fs::write(config.with_file_name("key.pub"), public.ok()).unwrap();
    run(Command::new("ssh-keygen")
        .arg("-s")
        .arg(&foreign)
        .args(["-q", "-I", "me", "-n", "box", "-V", "+1h"])
        .arg(config.with_file_name("key.pub")))
    .ok();
    assert_ne!(fs::read_to_string(&certificate).unwrap(), good);
    assert_ne!(ssh().code, Some(0));
    has_failed(&world, "box", "certificate_invalid");

    // A byte of the claims.
    let (kind, blob) = good.split_once(' ').unwrap();
    let mut blob = blob.as_bytes().to_vec();
    let middle = blob.len() / 3;
    blob[middle] = if blob[middle] == b'A' { b'B' } else { b'A' };
    let tampered = format!("{kind} {}", String::from_utf8(blob).unwrap());
    fs::write(&certificate, tampered).unwrap();
    assert_ne!(ssh().code, Some(0));

    // The bare key, and one that nobody certified.
    fs::remove_file(&certificate).unwrap();
    assert_ne!(ssh().code, Some(0));
    has_failed(&world, "box", "key_without_certificate");
    fs::write(&certificate, &good).unwrap();
    assert_eq!(ssh().ok(), "in");
}

#[test]
fn a_session_ends_with_its_token_and_so_does_the_certificate() {
    let world = SshWorld::start();
    let soon = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs()
        + 6;
    let token = world.issuer.forge(&json!({
        "app": Agent::Reader.client_id(),
        "claims": { "exp": soon },
    }));
    world.configure(Agent::Reader, &token).ok();
    let started = Instant::now();
    let cut = world.ssh(Agent::Reader, &["sleep 60"]);
    assert_eq!(cut.code, Some(255), "{cut:?}");
    assert!(cut.stderr.contains("expired"), "{cut:?}");
    assert!(started.elapsed().as_secs() < 30);
    assert_ne!(world.ssh(Agent::Reader, &["true"]).code, Some(0));
}

#[test]
fn agents_go_where_they_may_and_nowhere_else() {
    let mut world = SshWorld::start();
    let refused = world.ssh(Agent::Unlisted, &["true"]);
    assert_eq!(refused.code, Some(255), "{refused:?}");
    let elsewhere = world.ssh_with(Agent::Reader, &["-l", "warehouse"], &["true"]);
    assert_eq!(elsewhere.code, Some(255), "{elsewhere:?}");

    let child = world.spawn(Agent::Reader, &["sleep 60"]);
    let live = until("the session", || {
        let list = world
            .as_person(Person::Olga, &["sessions", "live", "--json"])
            .json();
        let live = list.as_array()?.first()?.clone();
        (live["target"] == "box").then_some(live)
    });
    let id = live["id"].as_str().unwrap();
    world
        .as_person(Person::Olga, &["sessions", "kill", id])
        .ok();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("an operator ended this session"), "{said}");

    // Keys outlive the gateway: what was given before is still good.
    world.gateway.restart("TERM");
    let port = format!("Port={}", world.gateway.port());
    assert_eq!(
        world
            .ssh_with(Agent::Reader, &["-o", &port], &["echo again"])
            .ok(),
        "again"
    );

    world.sshd.stop();
    let down = world.ssh_with(Agent::Reader, &["-o", &port], &["true"]);
    assert_eq!(down.code, Some(255), "{down:?}");
    assert!(
        world.record().contains("can't be reached"),
        "{}",
        world.record()
    );
}

#[test]
fn a_host_with_another_key_is_not_the_target() {
    let mut world = SshWorld::start();
    assert_eq!(world.ssh(Agent::Reader, &["echo in"]).ok(), "in");
    world.sshd.restart_as_another();
    let refused = world.ssh(Agent::Reader, &["echo in"]);
    assert_eq!(refused.code, Some(255), "{refused:?}");
    assert!(world.record().contains("host_keys"), "{}", world.record());
}

#[test]
fn connections_that_lead_to_no_login_are_closed() {
    let world = SshWorld::start();
    let place = ("127.0.0.1", world.gateway.port());
    let started = Instant::now();
    let openings: [&[u8]; 4] = [
        b"",
        b"SSH-2.0-x\r\n",
        b"GET / HTTP/1.1\r\nHost: gateway\r\n\r\n",
        &[0xff; 100_000],
    ];
    let connections = openings.map(|opening| {
        let mut stream = TcpStream::connect(place).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        drop(stream.write_all(opening));
        stream
    });
    assert_eq!(world.ssh(Agent::Reader, &["echo beside"]).ok(), "beside");
    for mut stream in connections {
        let mut said = Vec::new();
        match stream.read_to_end(&mut said) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
    }
    assert!(started.elapsed() < PATIENCE);
}
