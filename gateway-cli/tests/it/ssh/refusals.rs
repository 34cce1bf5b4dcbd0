//! What isn't supported yet is refused and recorded, never passed.

use std::{
    io::Read as _,
    net::{TcpListener, TcpStream},
    process::Stdio,
};

use crate::support::{
    Agent, libpq, run,
    ssh::{SshWorld, pipe},
    until,
};

#[test]
fn shells_are_for_those_who_may() {
    let world = SshWorld::start();
    let denied = world.ssh_with(Agent::Reader, &["-tt"], &[]);
    assert_eq!(denied.code, Some(126), "{denied:?}");
    // With a terminal of a name, and of none.
    for term in ["xterm", ""] {
        let mut client = world.client("ssh", Agent::Writer);
        client.args(["-tt", "box"]).env("TERM", term);
        let shell = pipe(&mut client, b"tty; exit 5\n".to_vec());
        assert_eq!(shell.status.code(), Some(5), "{shell:?}");
        let said = String::from_utf8_lossy(&shell.stdout);
        assert!(said.contains("/dev/pts/"), "{said}");
    }
}

#[test]
fn agents_terminals_and_displays_are_not_forwarded() {
    let world = SshWorld::start();
    // An agent of its own, which ends with the command.
    let mut command = libpq("ssh-agent");
    command
        .arg("ssh")
        .arg("-F")
        .arg(world.config(Agent::Reader))
        .args([
            "-A",
            "-Y",
            "-o",
            "SetEnv=LD_PRELOAD=/x.so FOO=bar LC_ALL=C.UTF-8",
        ])
        .args([
            "box",
            "echo ${SSH_AUTH_SOCK:-none} ${DISPLAY:-none} ${FOO:-none} ${LD_PRELOAD:-none} $LC_ALL",
        ])
        .env("DISPLAY", ":99");
    let said = run(&mut command);
    assert_eq!(said.ok(), "none none none none C.UTF-8", "{said:?}");
    let record = world.record();
    for what in [
        "auth-agent-req@openssh.com",
        "x11-req",
        "variable FOO",
        "variable LD_PRELOAD",
    ] {
        assert!(record.contains(what), "{what}: {record}");
    }
}

#[test]
fn ports_and_sockets_are_not_forwarded() {
    let world = SshWorld::start();
    // What an agent would like to reach.
    let inside = TcpListener::bind("127.0.0.1:0").unwrap();
    inside.set_nonblocking(true).unwrap();
    let inside_port = inside.local_addr().unwrap().port();
    let [local, dynamic, socket] = [(); 3].map(|()| {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap().port()
    });
    let mut client = world.client("ssh", Agent::Reader);
    let mut client = client
        .args(["-N", "-L", &format!("{local}:127.0.0.1:{inside_port}")])
        .args(["-L", &format!("{socket}:/run/postgresql/.s.PGSQL.5432")])
        .args(["-D", &dynamic.to_string(), "box"])
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    for port in [local, socket] {
        let mut stream = until("the local end", || {
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
        let mut out = Vec::new();
        drop(stream.read_to_end(&mut out));
        assert!(out.is_empty());
    }
    let mut socks = until("the local end", || {
        TcpStream::connect(("127.0.0.1", dynamic)).ok()
    });
    // SOCKS 4 (connect, port, address, no user): the answer is a refusal, or none.
    let mut hello = vec![4, 1];
    hello.extend(inside_port.to_be_bytes());
    hello.extend([127, 0, 0, 1, 0]);
    let _ = std::io::Write::write_all(&mut socks, &hello);
    let mut answer = Vec::new();
    drop(socks.read_to_end(&mut answer));
    assert_ne!(answer.get(1), Some(&90), "{answer:?}");
    client.kill().unwrap();
    client.wait().unwrap();
    assert!(inside.accept().is_err(), "nothing came through");
    let record = world.record();
    for what in ["direct-tcpip", "direct-streamlocal@openssh.com"] {
        assert!(record.contains(what), "{what}: {record}");
    }

    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let remote = world.ssh_with(
        Agent::Reader,
        &[
            "-o",
            "ExitOnForwardFailure=yes",
            "-R",
            &format!("{free}:127.0.0.1:{inside_port}"),
        ],
        &["true"],
    );
    assert!(
        remote.err().contains("remote port forwarding failed"),
        "{remote:?}"
    );
    assert!(world.record().contains("tcpip-forward"));
}
