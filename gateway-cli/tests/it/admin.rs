//! The admin API and the commands that use it.

use std::{
    io::{BufRead as _, BufReader},
    process::Stdio,
};

use crate::support::{Agent, Person, World, run, until};

#[test]
fn the_api_is_for_people_with_the_right_roles() {
    let world = World::start();
    let agent = run(world
        .gateway
        .command(&["approvals", "list"])
        .env("GATEWAY_URL", world.gateway.admin_url())
        .env("GATEWAY_CA", world.path("ca.pem"))
        .env("GATEWAY_TOKEN", world.issuer.token(Agent::Reader)));
    assert_eq!(agent.code, Some(1));
    assert!(agent.err().contains("people"), "{agent:?}");
    let reviewer = world.as_person(Person::Rita, &["sessions", "live"]);
    assert!(reviewer.err().contains("Gateway.Operator"), "{reviewer:?}");
    world.as_person(Person::Olga, &["sessions", "live"]).ok();
    world.as_person(Person::Rita, &["approvals", "list"]).ok();
}

#[test]
fn an_operator_ends_a_live_session() {
    let world = World::start();
    let mut psql = std::process::Command::new("psql")
        .arg(world.gateway.conninfo("shop"))
        .args([
            "-X",
            "-c",
            "select 0",
            "-c",
            "\\! sleep 20",
            "-c",
            "select 1",
        ])
        .env("PGPASSWORD", world.issuer.token(Agent::Reader))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let id = until("the session", || {
        let live = world
            .as_person(Person::Olga, &["sessions", "live", "--json"])
            .json();
        let session = live.as_array()?.first()?.clone();
        (session["target"] == "shop").then(|| session["id"].as_str().unwrap().to_owned())
    });
    world
        .as_person(Person::Olga, &["sessions", "kill", &id])
        .ok();
    until("its end", || {
        let live = world
            .as_person(Person::Olga, &["sessions", "live", "--json"])
            .json();
        live.as_array()?.is_empty().then_some(())
    });
    psql.kill().unwrap();
    psql.wait().unwrap();
    let shown = world.gateway.cli(&["sessions", "show", &id]);
    assert!(shown.ok().contains("killed"), "{shown:?}");
}

#[test]
fn a_person_signs_in_with_a_device_code() {
    let world = World::start();
    let token_file = world.path("token");
    let mut login = world
        .gateway
        .command(&["login", "--tenant", crate::support::TENANT]);
    login
        .args([
            "--client-id",
            crate::support::LOGIN_CLIENT,
            "--scope",
            "api://gateway/.default",
        ])
        .args(["--authority", &world.issuer.authority, "--ca"])
        .arg(&world.issuer.ca)
        .arg("--token-file")
        .arg(&token_file)
        .stderr(Stdio::piped());
    let mut child = login.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let code = line.split_whitespace().last().unwrap();
    world.issuer.sign_in(code, Person::Rita);
    assert!(child.wait().unwrap().success());
    let listed = run(world
        .gateway
        .command(&["approvals", "list", "--token-file"])
        .arg(&token_file)
        .args(["--gateway", &world.gateway.admin_url(), "--ca"])
        .arg(world.path("ca.pem")));
    listed.ok();
}

#[test]
fn an_agent_gets_its_token_by_client_secret() {
    let world = World::start();
    let mut command = world.gateway.command(&["token", "--kind", "client-secret"]);
    command
        .args([
            "--tenant",
            crate::support::TENANT,
            "--client-id",
            &Agent::Reader.client_id(),
        ])
        .args([
            "--scope",
            "api://gateway/.default",
            "--authority",
            &world.issuer.authority,
            "--ca",
        ])
        .arg(&world.issuer.ca)
        .env("AZURE_CLIENT_SECRET", Agent::Reader.secret());
    let output = run(&mut command);
    let reply = world.psql_with(output.ok(), "shop", &["-c", "select 1"]);
    assert_eq!(reply.ok(), "1");
    let wrong = run(command.env("AZURE_CLIENT_SECRET", "wrong"));
    assert!(!wrong.err().contains("wrong\""), "{wrong:?}");
}

#[test]
fn a_policy_change_takes_hold_without_a_restart_and_a_bad_one_does_not() {
    let world = World::start();
    world.psql(Agent::Reader, "select 1").ok();
    let file = world.gateway.policy().join("zz-closed.cedar");
    std::fs::write(&file, "@id(\"oops\") permit (principal, action, resurce);").unwrap();
    until("the refusal", || {
        world.gateway.log().contains("refused").then_some(())
    });
    world.psql(Agent::Reader, "select 1").ok();
    std::fs::write(
        &file,
        "@id(\"closed\") @message(\"closed today\") forbid (principal, action == Action::\"session.open\", resource);",
    )
    .unwrap();
    // A session that is opening just then hears of the change itself.
    until("the new policy", || {
        let reply = world.psql(Agent::Reader, "select 1");
        reply.stderr.contains("closed today").then_some(())
    });
    std::fs::remove_file(&file).unwrap();
    let reload = world.as_person(Person::Olga, &["sessions", "live"]);
    reload.ok();
    until("the old policy", || {
        (world.psql(Agent::Reader, "select 1").code == Some(0)).then_some(())
    });
}
