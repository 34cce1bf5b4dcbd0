//! Programs in containers, over WebSocket.

use std::{io::Write as _, process::Stdio};

use crate::support::{
    Agent,
    kubernetes::{Cluster, KUBECTL},
    libpq as command, run, until,
};

fn exec<'a>(flags: &[&'a str], command: &[&'a str]) -> Vec<&'a str> {
    [&["exec"], flags, &["web", "-n", "shop", "--"], command].concat()
}

#[test]
fn output_errors_and_exit_status_arrive() {
    let cluster = Cluster::start();
    for version in KUBECTL {
        let cases: &[(&[&str], i32, &str, &str)] = &[
            (&["echo", "one", "two"], 0, "one two\n", ""),
            (&["complain", "no"], 0, "", "no\n"),
            (
                &["exit", "3"],
                3,
                "",
                "command terminated with exit code 3\n",
            ),
        ];
        for (command, code, stdout, stderr) in cases {
            let args = exec(&[], command);
            let output = run(&mut cluster.kubectl_of(version, Agent::Writer, &args));
            assert_eq!(
                output.code,
                Some(*code),
                "{version} {command:?}: {output:#?}"
            );
            assert_eq!(output.stdout, *stdout, "{version} {command:?}");
            assert_eq!(output.stderr, *stderr, "{version} {command:?}");
        }
        let whoami = exec(&[], &["whoami"]);
        let who = run(&mut cluster.kubectl_of(version, Agent::Writer, &whoami));
        let writer = Agent::Writer.object_id();
        assert!(who.ok().ends_with(&format!("/{writer}")), "{who:#?}");
    }
    until("the end of every program", || {
        (cluster.api.streams() == 0).then_some(())
    });
}

#[test]
fn input_flows_until_its_end() {
    let cluster = Cluster::start();
    for version in KUBECTL {
        let args = exec(&["-i"], &["cat"]);
        let mut child = cluster
            .kubectl_of(version, Agent::Writer, &args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let sent = "line\n".repeat(40_000);
        let mut stdin = child.stdin.take().unwrap();
        let input = sent.clone();
        let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap().unwrap();
        assert!(output.status.success(), "{version}");
        assert_eq!(output.stdout.len(), sent.len(), "{version}");
        assert!(output.stdout == sent.as_bytes(), "{version}");
    }
}

#[test]
fn much_output_arrives_whole() {
    let cluster = Cluster::start();
    let output = cluster.kubectl(Agent::Writer, &exec(&[], &["big", "8192"]));
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    assert_eq!(output.stdout.len(), 8 << 20);
}

#[test]
fn who_may_not_run_programs_is_told_why() {
    let cluster = Cluster::start();
    let copy = ["cp", "-n", "shop", "web:/etc/hosts", "/dev/null"];
    for version in KUBECTL {
        for args in [
            &exec(&[], &["echo", "hi"])[..],
            &exec(&["-i"], &["cat"]),
            &copy,
        ] {
            let mut kubectl = cluster.kubectl_of(version, Agent::Reader, args);
            let output = run(kubectl.stdin(Stdio::null()));
            assert_eq!(output.code, Some(1), "{version} {args:?}: {output:#?}");
            let said = output.err();
            assert!(
                said.contains("not permitted by any rule"),
                "{version} {args:?}: {said}"
            );
            // kubectl 1.36 announces what `cp` copies, and that it failed.
            assert!(!said.contains("SPDY"), "{version} {args:?}: {said}");
            if args[0] == "exec" {
                assert_eq!(said.lines().count(), 1, "{version} {args:?}: {said}");
            }
            assert_eq!(output.stdout, "", "{version} {args:?}");
        }
    }
    let mut python = command(
        std::env::var_os("GATEWAY_TEST_PYTHON").expect("GATEWAY_TEST_PYTHON: see scripts/test"),
    );
    python
        .args(["-c", include_str!("exec.py"), &cluster.url()])
        .arg(cluster.path("ca.pem"))
        .arg(cluster.issuer.token(Agent::Reader));
    let told = run(&mut python);
    assert!(told.err().contains("403 Forbidden"), "{told:#?}");
    assert!(
        told.err().contains("not permitted by any rule"),
        "{told:#?}"
    );
    let seen = cluster.api.seen();
    assert!(
        seen.iter().all(|seen| !seen.target.contains("/exec")),
        "{seen:#?}"
    );
}

#[test]
fn attach_port_forward_and_spdy_are_refused_in_words() {
    let cluster = Cluster::start();
    let attach = cluster.kubectl(Agent::Writer, &["attach", "web", "-n", "shop"]);
    assert!(!attach.err().is_empty(), "{attach:#?}");
    let forward = cluster.kubectl(Agent::Writer, &["port-forward", "web", "-n", "shop", ":80"]);
    assert!(!forward.err().is_empty(), "{forward:#?}");
    let spdy = [
        "-H",
        "Connection: Upgrade",
        "-H",
        "Upgrade: SPDY/3.1",
        "-X",
        "POST",
        "--http1.1",
    ];
    let path = "/api/v1/namespaces/shop/pods/web/exec?command=id&stdout=true";
    let answer = cluster.curl(Agent::Writer, &spdy, path);
    assert!(answer.ok().ends_with("\n403"), "{answer:#?}");
    assert!(answer.ok().contains("WebSocket"), "{answer:#?}");
    assert!(
        cluster
            .api
            .seen()
            .iter()
            .all(|seen| !seen.target.contains("/exec")
                && !seen.target.contains("/attach")
                && !seen.target.contains("/portforward")),
        "{:#?}",
        cluster.api.seen()
    );
}

#[test]
fn a_program_ends_with_the_agent_that_ran_it() {
    let cluster = Cluster::start();
    let mut child = cluster
        .kubectl_of(KUBECTL[0], Agent::Writer, &exec(&["-i"], &["sleep"]))
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    until("the program", || (cluster.api.streams() == 1).then_some(()));
    child.kill().unwrap();
    child.wait().unwrap();
    until("its end", || (cluster.api.streams() == 0).then_some(()));
}

#[test]
fn card_numbers_are_masked_in_output_and_logs() {
    let cluster = Cluster::with(|choices| {
        choices.classification = "[class.card]\nmask = { method = \"redact\" }\n\
             [[detect]]\ntarget = \"*\"\nkind = \"card_number\"\nclass = \"card\"\n";
    });
    let number = "4111 1111 1111 1111";
    for command in ["echo", "complain"] {
        let said = cluster.kubectl(
            Agent::Writer,
            &exec(&[], &[command, "paid with", number, "today"]),
        );
        assert_eq!(said.code, Some(0), "{said:#?}");
        let said = said.stdout + &said.stderr;
        assert!(!said.contains(number) && said.contains("today"), "{said}");
    }
    let logs = cluster.kubectl(Agent::Writer, &["logs", "web", "-n", "shop"]);
    assert!(
        !logs.ok().contains(number) && logs.ok().contains("paid with"),
        "{logs:#?}"
    );
}

#[test]
fn an_agent_that_reads_slowly_costs_no_memory() {
    let cluster = Cluster::start();
    let before = cluster.gateway.resident_kib();
    let mut child = cluster
        .kubectl_of(KUBECTL[0], Agent::Writer, &exec(&[], &["big", "524288"]))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut most = 0;
    for _ in 0..20 {
        std::thread::sleep(std::time::Duration::from_millis(100));
        most = most.max(cluster.gateway.resident_kib());
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let grown = most.saturating_sub(before);
    assert!(grown < 64 << 10, "{grown} KiB");
    let after = cluster.kubectl(Agent::Writer, &exec(&[], &["echo", "hi"]));
    assert_eq!(after.ok(), "hi");
}
