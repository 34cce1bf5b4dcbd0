//! What the transport refuses before, or beside, the session: that leaves a record too.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Shutdown, TcpStream},
    path::Path,
};

use crate::support::{
    Agent, PATIENCE, libpq, run,
    ssh::{SshWorld, make_key, python},
    until,
};

const STRANGERS: &str = include_str!("strangers.py");

fn stranger(world: &SshWorld, args: &[&str]) {
    let config = world.config(Agent::Reader);
    let mut command = libpq(python());
    command
        .args(["-c", STRANGERS])
        .args(args)
        .env("GATEWAY_HOST", "127.0.0.1")
        .env("GATEWAY_PORT", world.gateway.port().to_string())
        .env("GATEWAY_DIR", config.parent().unwrap());
    let said = run(&mut command);
    assert!(said.ok().ends_with("as expected"), "{said:?}");
}

/// Whether the log holds this. No list of sessions has a login that failed.
pub(super) fn is_in_the_log(world: &SshWorld, text: &str) -> bool {
    let found = run(libpq("grep")
        .args(["-r", "-q", "-a", "-F", text])
        .arg(world.path("data")));
    found.code == Some(0)
}

/// Waits until a login by this name is on record as failed for this reason.
pub(super) fn has_failed(world: &SshWorld, user: &str, reason: &str) {
    let record = format!("\"claimed_user\":\"{user}\",\"reason\":\"{reason}\"");
    until(&record, || is_in_the_log(world, &record).then_some(()));
}

fn is_on_record(world: &SshWorld, words: &str) {
    until(words, || {
        let list = world.gateway.cli(&["sessions", "list", "--json"]).json();
        let any = list.as_array().is_some_and(|sessions| !sessions.is_empty());
        (any && world.record().contains(words)).then_some(())
    });
}

/// Certifies the reader's key as `ssh-keygen` does it.
fn certify(world: &SshWorld, authority: &Path, options: &[&str]) {
    let folder = world.path("ssh-reader-bot");
    let public = run(libpq("ssh-keygen")
        .arg("-y")
        .arg("-f")
        .arg(folder.join("key")));
    fs::write(folder.join("key.pub"), public.ok()).unwrap();
    run(libpq("ssh-keygen")
        .arg("-s")
        .arg(authority)
        .args(["-q", "-I", "me", "-n", "box"])
        .args(options)
        .arg(folder.join("key.pub")))
    .ok();
}

#[test]
fn every_certificate_that_is_refused_is_on_record_with_its_reason() {
    let world = SshWorld::start();
    world.config(Agent::Reader);
    let ours = world.path("data/ssh-ca.key");
    let foreign = world.path("foreign");
    make_key(&foreign);
    let certificate = world.path("ssh-reader-bot/key-cert.pub");
    let good = fs::read_to_string(&certificate).unwrap();
    let path = certificate.to_str().unwrap();

    let hour = ["-V", "+1h"];
    let cases: [(&str, &Path, &[&str], &str); 5] = [
        (
            "past",
            &ours,
            &["-V", "20200101:20200102"],
            "certificate_expired",
        ),
        (
            "early",
            &ours,
            &["-V", "20900101:20900102"],
            "certificate_expired",
        ),
        ("foreign", &foreign, &hour, "certificate_invalid"),
        (
            "conditional",
            &ours,
            &["-V", "+1h", "-O", "force-command=id"],
            "certificate_condition",
        ),
        ("bare", &ours, &hour, "certificate_malformed"),
    ];
    for (user, authority, options, reason) in cases {
        certify(&world, authority, options);
        stranger(&world, &["certificate", user, path]);
        has_failed(&world, user, reason);
    }

    // A byte of the claims.
    let (kind, blob) = good.split_once(' ').unwrap();
    let mut blob = blob.as_bytes().to_vec();
    let middle = blob.len() / 2;
    blob[middle] = if blob[middle] == b'A' { b'B' } else { b'A' };
    let blob = String::from_utf8(blob).unwrap();
    fs::write(&certificate, format!("{kind} {blob}")).unwrap();
    stranger(&world, &["certificate", "tampered", path]);
    has_failed(&world, "tampered", "certificate_invalid");
}

#[test]
fn who_gives_up_has_failed_once_and_who_gets_in_has_not() {
    let world = SshWorld::start();
    assert_eq!(world.ssh(Agent::Reader, &["echo in"]).ok(), "in");
    assert!(
        !is_in_the_log(&world, "claimed_user"),
        "asking is no failure"
    );
    let config = super::login::without_refresh(&world, Agent::Reader);
    fs::remove_file(config.with_file_name("key-cert.pub")).unwrap();
    for (user, method, reason) in [
        ("empty-handed", "none", "no_credential"),
        ("bare-key", "publickey", "key_without_certificate"),
    ] {
        let methods = format!("PreferredAuthentications={method}");
        let refused = run(libpq("ssh").arg("-F").arg(&config).args([
            "-o",
            "BatchMode=yes",
            "-o",
            &methods,
            "-l",
            user,
            "box",
            "true",
        ]));
        assert_eq!(refused.code, Some(255), "{refused:?}");
        has_failed(&world, user, reason);
    }
}

#[test]
fn types_that_the_transport_does_not_know_are_refused_and_recorded() {
    let world = SshWorld::start();
    stranger(&world, &["unknown_types"]);
    is_on_record(&world, "channels of type tun@openssh.com");
    is_on_record(&world, "requests of type break");
}

#[test]
fn a_forged_packet_ends_the_session_and_is_recorded() {
    let world = SshWorld::start();
    stranger(&world, &["forged_packet"]);
    is_on_record(&world, "a packet isn't authentic");
}

#[test]
fn what_is_not_ssh_gets_nowhere_and_is_recorded() {
    let world = SshWorld::start();
    let cases: [(&[u8], &str); 3] = [
        (
            b"GET / HTTP/1.1\r\nHost: gateway\r\n\r\n",
            "it doesn't begin as SSH 2.0 does",
        ),
        (&[0xff; 1000], "it doesn't begin as SSH 2.0 does"),
        (
            b"SSH-2.0-x\r\n\xff\xff\xff\xff\xff\xff\xff\xff",
            "a packet has a size that none may have",
        ),
    ];
    for (opening, words) in cases {
        let mut stream = TcpStream::connect(("127.0.0.1", world.gateway.port())).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(opening).unwrap();
        let mut said = Vec::new();
        // The end, or a reset for what wasn't read.
        drop(stream.read_to_end(&mut said));
        is_on_record(&world, words);
    }
    // Who only knocks isn't refused anything.
    let list = || world.gateway.cli(&["sessions", "list", "--json"]).json();
    let before = list();
    let stream = TcpStream::connect(("127.0.0.1", world.gateway.port())).unwrap();
    stream.shutdown(Shutdown::Both).unwrap();
    assert_eq!(list(), before);
}

#[test]
fn an_offer_without_anything_in_common_is_recorded_as_it_was() {
    let world = SshWorld::start();
    for (option, words) in [
        (
            "KexAlgorithms=diffie-hellman-group14-sha256",
            "no key exchange algorithm in common with diffie-hellman-group14-sha256",
        ),
        (
            "Ciphers=chacha20-poly1305@openssh.com",
            "no cipher algorithm in common with chacha20-poly1305@openssh.com",
        ),
    ] {
        let refused = world.ssh_with(Agent::Reader, &["-o", option], &["true"]);
        assert_eq!(refused.code, Some(255), "{refused:?}");
        is_on_record(&world, words);
    }
}
