//! Programs: what goes in, what comes out, how they end, and what waits for people.

use std::{fs, process::Stdio, time::Duration};

use crate::support::{
    Agent, Person, run,
    ssh::{SshWorld, pipe},
    until,
};

#[test]
fn a_program_runs_as_on_the_host_itself() {
    let world = SshWorld::start();
    let said = world.ssh(Agent::Reader, &["echo out; echo err >&2; exit 3"]);
    assert_eq!(
        (said.code, said.stdout.as_str(), said.stderr.as_str()),
        (Some(3), "out\n", "err\n")
    );
    let killed = world.ssh(Agent::Reader, &["kill -TERM $$"]);
    assert_eq!(killed.code, Some(255), "{killed:?}");
    assert_eq!(world.ssh(Agent::Reader, &["exit 0"]).code, Some(0));

    // Its standard input ends, its output doesn't: half-close.
    let sorted = pipe(
        world
            .client("ssh", Agent::Reader)
            .args(["box", "sort; echo done"]),
        b"b\na\n".to_vec(),
    );
    assert_eq!(sorted.stdout, b"a\nb\ndone\n", "{sorted:?}");
    let record = world.record();
    assert!(record.contains("sort; echo done"), "{record}");
}

/// Both directions full at once, and every byte there is.
#[test]
fn large_and_binary_data_pass_both_ways_at_once() {
    let world = SshWorld::start();
    let data: Vec<u8> = (0..12_000_000_u32)
        .flat_map(|n| (n % 251).to_le_bytes()[..1].to_vec())
        .collect();
    // The second time with a new exchange of keys after each two megabytes.
    for rekey in ["default none", "2M none"] {
        let mut client = world.client("ssh", Agent::Reader);
        client.args(["-o", &format!("RekeyLimit={rekey}"), "box", "cat"]);
        let echoed = pipe(&mut client, data.clone());
        assert_eq!(echoed.status.code(), Some(0), "{}", world.gateway.log());
        assert!(
            echoed.stdout == data,
            "{} bytes came back",
            echoed.stdout.len()
        );
    }
    let counted = world.ssh(
        Agent::Reader,
        &["head -c 30000000 /dev/zero | wc -c; head -c 3000000 /dev/zero"],
    );
    assert_eq!(counted.stdout.len(), "30000000\n".len() + 3_000_000);
}

#[test]
fn a_denied_command_never_runs_and_the_next_one_does() {
    let world = SshWorld::start();
    let trace = world.text_path("open/trace");
    let denied = world.ssh(Agent::Reader, &[&format!("echo forbidden > {trace}")]);
    assert_eq!(denied.code, Some(126), "{denied:?}");
    assert!(
        denied.stderr.contains("That word is forbidden"),
        "{denied:?}"
    );
    assert!(!world.path("open/trace").exists());
    let record = world.record();
    assert!(record.contains("no-forbidden-words"), "{record}");
    assert_eq!(world.ssh(Agent::Reader, &["echo fine"]).ok(), "fine");
}

#[test]
fn a_held_command_runs_once_a_reviewer_agrees() {
    let world = SshWorld::start();
    let trace = world.text_path("open/trace");
    let line = format!("echo restart >> {trace}; cat {trace}");
    let child = world.spawn(Agent::Reader, &[&line]);
    let approval = world.pending();
    assert_eq!(approval["text"], line.as_str());
    assert!(!world.path("open/trace").exists(), "nothing ran yet");
    let id = approval["id"].as_str().unwrap();
    world
        .as_person(Person::Rita, &["approvals", "approve", id])
        .ok();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.stdout, b"restart\n", "{output:?}");
    let notice = String::from_utf8_lossy(&output.stderr);
    assert!(notice.contains(id), "a notice names the approval: {notice}");
}

#[test]
fn a_held_command_that_nobody_approves_never_runs() {
    let world = SshWorld::start();
    let trace = world.text_path("open/trace");
    let child = world.spawn(Agent::Reader, &[&format!("echo restart > {trace}")]);
    let id = world.pending()["id"].as_str().unwrap().to_owned();
    world
        .as_person(Person::Rita, &["approvals", "deny", &id, "--comment", "no"])
        .ok();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(126), "{output:?}");

    let silent = world.ssh(Agent::Reader, &[&format!("echo reset > {trace}")]);
    assert_eq!(silent.code, Some(126), "{silent:?}");

    // Whoever leaves takes the request along: with nothing to say, and with more than is kept.
    let large = world.path("large");
    fs::write(&large, vec![b'x'; 2_000_000]).unwrap();
    for input in [Stdio::null(), fs::File::open(&large).unwrap().into()] {
        let mut client = world.client("ssh", Agent::Reader);
        client.args(["box", &format!("cat > /dev/null; echo restart > {trace}")]);
        let mut gone = client.stdin(input).stderr(Stdio::null()).spawn().unwrap();
        world.pending();
        std::thread::sleep(Duration::from_millis(300));
        gone.kill().unwrap();
        gone.wait().unwrap();
        until("the withdrawal", || {
            let list = world.as_person(Person::Rita, &["approvals", "list", "--json"]);
            list.json().as_array().unwrap().is_empty().then_some(())
        });
    }
    std::thread::sleep(Duration::from_millis(200));
    assert!(!world.path("open/trace").exists());
}

#[test]
fn channels_of_one_connection_are_decided_one_by_one() {
    let world = SshWorld::start();
    let control = world.text_path("control");
    let master = [
        "-o",
        "ControlMaster=auto",
        "-o",
        &format!("ControlPath={control}"),
        "-o",
        "ControlPersist=60",
    ];
    let ssh = |args: &[&str]| world.ssh_with(Agent::Reader, &master, args);
    // More, one after the other, than there may be at once.
    for n in 0..40 {
        assert_eq!(ssh(&[&format!("echo {n}")]).ok(), n.to_string());
    }
    let denied = ssh(&["echo forbidden"]);
    assert_eq!(denied.code, Some(126), "{denied:?}");
    let mut sleeper = world.client("ssh", Agent::Reader);
    let mut sleeper = sleeper
        .args(master)
        .args(["box", "cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    assert_eq!(ssh(&["echo beside"]).ok(), "beside");
    drop(sleeper.stdin.take());
    assert!(sleeper.wait().unwrap().success());
    run(world
        .client("ssh", Agent::Reader)
        .args(master)
        .args(["-O", "exit", "box"]));
    let sessions = world.gateway.cli(&["sessions", "list", "--json"]).json();
    assert_eq!(sessions.as_array().unwrap().len(), 1, "{sessions:#}");
}

/// OpenSSH's server drops logins where there are many at once.
#[test]
fn many_agents_at_once_all_reach_the_target() {
    let world = SshWorld::start();
    world.config(Agent::Reader);
    let children: Vec<_> = (0..20)
        .map(|n| world.spawn(Agent::Reader, &[&format!("echo {n}")]))
        .collect();
    for (n, child) in children.into_iter().enumerate() {
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.stdout, format!("{n}\n").into_bytes(), "{output:?}");
    }
}

#[test]
fn card_numbers_are_masked_across_packets_and_written_nowhere() {
    let mut world = SshWorld::start();
    let slow =
        "printf 'card 4111 1111 '; sleep 0.3; printf '1111 1'; sleep 0.3; printf '111 end\\n'";
    let said = world.ssh(Agent::Reader, &[slow]);
    assert!(
        said.ok().starts_with("card ") && said.ok().ends_with(" end"),
        "{said:?}"
    );
    assert!(!said.stdout.contains("4111 1111"), "{said:?}");
    let error = world.ssh(Agent::Reader, &["echo 4111111111111111 | sed s/^/x:/ >&2"]);
    assert!(!error.stderr.contains("41111111"), "{error:?}");
    world.gateway.stop();
    let found = run(std::process::Command::new("grep")
        .args(["-r", "-l", "-a", "x:41111111"])
        .arg(world.path("data")));
    assert_eq!(found.stdout, "", "clear values in evidence");
}

#[test]
fn what_happened_is_evidence() {
    let mut world = SshWorld::start();
    world.ssh(Agent::Reader, &["echo visible; exit 4"]);
    world.ssh(Agent::Reader, &["echo forbidden"]);
    let sessions = world.gateway.cli(&["sessions", "list", "--json"]).json();
    assert_eq!(sessions[0]["target"], "box", "{sessions:#}");
    assert_eq!(sessions[0]["blocked"], 1, "{sessions:#}");
    let id = sessions[1]["id"].as_str().unwrap();
    let shown = world.gateway.cli(&["sessions", "show", id]);
    assert!(shown.ok().contains("echo visible; exit 4"), "{shown:?}");
    let replayed = world.gateway.cli(&["sessions", "replay", id]);
    assert!(replayed.ok().contains("visible"), "{replayed:?}");

    assert_eq!(world.gateway.stop(), Some(0), "{}", world.gateway.log());
    let (package, trust) = (world.text_path("evidence.zip"), world.text_path("trust"));
    world
        .gateway
        .cli(&["evidence", "export", "-o", &package])
        .ok();
    std::fs::write(&trust, world.gateway.cli(&["evidence", "trust"]).ok()).unwrap();
    let verdict = world
        .gateway
        .cli(&["evidence", "verify", &package, "--trust", &trust, "--json"]);
    assert_eq!(verdict.json()["outcome"], "not_anchored", "{verdict:?}");
}
