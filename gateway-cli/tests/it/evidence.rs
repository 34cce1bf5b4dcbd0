//! What is left of sessions.

use crate::support::{Agent, World, ssh::SshWorld};

#[test]
fn a_session_can_be_listed_shown_replayed_exported_and_verified() {
    let mut world = World::start();
    world.psql_args(
        Agent::Reader,
        &["-c", "select title from products", "-c", "drop table carts"],
    );
    let sessions = world.gateway.cli(&["sessions", "list", "--json"]).json();
    let session = &sessions[0];
    assert_eq!(
        session["agent"],
        Agent::Reader.object_id().as_str(),
        "{sessions:#}"
    );
    assert_eq!(
        (&session["target"], &session["blocked"]),
        (&"shop".into(), &1.into())
    );
    let id = session["id"].as_str().unwrap();
    let shown = world.gateway.cli(&["sessions", "show", id]);
    assert!(
        shown.ok().contains("select title from products"),
        "{shown:?}"
    );
    let replayed = world.gateway.cli(&["sessions", "replay", id]);
    assert!(replayed.ok().contains("Tea"), "{replayed:?}");

    assert_eq!(world.gateway.stop(), Some(0), "{}", world.gateway.log());
    let package = world.path("evidence.zip");
    let trust = world.path("trust");
    let package = package.to_str().unwrap();
    world
        .gateway
        .cli(&["evidence", "export", "-o", package])
        .ok();
    std::fs::write(&trust, world.gateway.cli(&["evidence", "trust"]).ok()).unwrap();
    let trust = trust.to_str().unwrap();
    let verdict = world
        .gateway
        .cli(&["evidence", "verify", package, "--trust", trust, "--json"]);
    assert_eq!(verdict.code, Some(10), "{verdict:?}");
    assert_eq!(verdict.json()["outcome"], "not_anchored");

    let mut bytes = std::fs::read(package).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(package, bytes).unwrap();
    let verdict = world
        .gateway
        .cli(&["evidence", "verify", package, "--trust", trust]);
    assert!(matches!(verdict.code, Some(1 | 2)), "{verdict:?}");
}

#[test]
fn a_terminal_is_replayed_safely_and_its_cast_is_in_the_package() {
    let mut world = SshWorld::start();
    let hostile = r"printf '\033]52;c;cm0gLXJmIC8=\007\033[?1049h\033[31mred\033[0m\n'; exit 3";
    world.ssh_with(Agent::Reader, &["-tt"], &[hostile]);
    let sessions = world.gateway.cli(&["sessions", "list", "--json"]).json();
    let id = sessions[0]["id"].as_str().unwrap();

    let played = world.gateway.cli(&["sessions", "replay", id]);
    assert!(played.ok().contains("\u{1b}[31mred\u{1b}[0m"), "{played:?}");
    assert!(!played.stdout.contains("]52;"), "{played:?}");
    assert!(!played.stdout.contains("[?1049h"), "{played:?}");
    let lines = world.gateway.cli(&["sessions", "replay", id, "--lines"]);
    assert!(
        lines.ok().contains(r"output \x1b]52;c;cm0gLXJmIC8=\x07"),
        "{lines:?}"
    );
    let cast = world.text_path("session.cast");
    world
        .gateway
        .cli(&["sessions", "replay", id, "--cast", &cast])
        .ok();
    let cast = std::fs::read_to_string(cast).unwrap();
    assert!(cast.starts_with(r#"{"version":3,"term":{"#), "{cast}");
    assert!(cast.ends_with("\"x\",\"3\"]\n"), "{cast}");

    world.gateway.stop();
    let (package, trust) = (world.text_path("evidence.zip"), world.text_path("trust"));
    world
        .gateway
        .cli(&["evidence", "export", "-o", &package])
        .ok();
    std::fs::write(&trust, world.gateway.cli(&["evidence", "trust"]).ok()).unwrap();
    let verify = ["evidence", "verify", &package, "--trust", &trust, "--json"];
    assert_eq!(world.gateway.cli(&verify).json()["outcome"], "not_anchored");
    // Files in a package are stored as they are.
    let bytes = std::fs::read(&package).unwrap();
    let held = bytes
        .windows(cast.len())
        .any(|window| window == cast.as_bytes());
    assert!(held, "the cast is in the package");
}

#[test]
fn masked_values_are_written_nowhere() {
    let mut world = World::start();
    world
        .psql(
            Agent::Reader,
            "select email, phone, national_id from customers",
        )
        .ok();
    world.psql(
        Agent::Reader,
        "select name from customers where email = 'ada@example.org'",
    );
    let computed = world.psql(
        Agent::Reader,
        "select count(*), max(upper(email)) from customers where email = 'ada@example.org'",
    );
    assert!(computed.ok().starts_with("1|"), "{computed:?}");
    world.gateway.stop();
    let data = world.path("data");
    let sent = crate::support::run(
        std::process::Command::new("grep")
            .args(["-r", "-l", "-a", "-e", "\"rewritten\":\"SELECT count"])
            .arg(&data),
    );
    assert_ne!(sent.stdout, "", "what went to the target is on record");
    let found = crate::support::run(
        std::process::Command::new("grep")
            .args([
                "-r",
                "-l",
                "-a",
                "-e",
                "ada@example",
                "-e",
                "19800101-1234",
                "-e",
                "46701234567",
            ])
            .arg(&data),
    );
    assert_eq!(found.stdout, "", "clear values in evidence");
}
