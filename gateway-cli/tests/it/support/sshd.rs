//! OpenSSH's server, of the test's own: it lets in whoever holds the gateway's key, as the user who
//! runs the tests.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    process::{Server, command, run},
    until,
};

/// Debian's place for it. It insists on an absolute path.
const PROGRAM: &str = "/usr/sbin/sshd";

/// A running server.
pub(crate) struct Sshd {
    server: Server,
    home: PathBuf,
    pub(crate) port: u16,
    /// The account.
    pub(crate) user: String,
}

impl Sshd {
    /// Starts a server that would allow everything: forwarding, any variable, terminals.
    pub(crate) fn start(dir: &Path) -> Self {
        let home = dir.join("sshd");
        fs::create_dir(&home).unwrap();
        for key in ["host", "gateway"] {
            make_key(&home.join(key));
        }
        fs::copy(home.join("gateway.pub"), home.join("authorized")).unwrap();
        let user = run(Command::new("id").arg("-un")).ok().to_owned();
        if user == "root" {
            // Where it drops its privileges.
            fs::create_dir_all("/run/sshd").unwrap();
        }
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let server = launch(&home, port);
        let this = Self {
            server,
            home,
            port,
            user,
        };
        this.wait();
        this
    }

    /// The key that the gateway logs in with.
    pub(crate) fn gateway_key(&self) -> PathBuf {
        self.home.join("gateway")
    }

    /// The host key: `ssh-ed25519 AAAA…`.
    pub(crate) fn host_key(&self) -> String {
        let line = fs::read_to_string(self.home.join("host.pub")).unwrap();
        let words: Vec<&str> = line.split_whitespace().take(2).collect();
        words.join(" ")
    }

    /// Ends the server; its sessions live on.
    pub(crate) fn stop(&mut self) {
        self.server.signal("TERM");
        self.server.wait(super::PATIENCE).expect("sshd ends");
    }

    /// Starts it again, with another host key.
    pub(crate) fn restart_as_another(&mut self) {
        for name in ["host", "host.pub"] {
            fs::remove_file(self.home.join(name)).unwrap();
        }
        make_key(&self.home.join("host"));
        self.stop();
        self.server = launch(&self.home, self.port);
        self.wait();
    }

    /// Another server with the same keys, for the same account: a script for [`super::ssh::python`].
    /// Gives its port too.
    pub(super) fn beside(&self, script: &str) -> (Server, u16) {
        let mut server = command(super::ssh::python());
        server.args(["-c", script]).arg(&self.home);
        let mut server = Server::spawn(&mut server, "TERM");
        let port = until("the other server", || {
            server.assert_alive("the other server");
            fs::read_to_string(self.home.join("port")).ok()
        });
        (server, port.parse().unwrap())
    }

    fn wait(&self) {
        until("sshd", || {
            std::net::TcpStream::connect(("127.0.0.1", self.port)).ok()
        });
    }
}

fn launch(home: &Path, port: u16) -> Server {
    let file = |name: &str| home.join(name).display().to_string();
    let mut sshd = command(PROGRAM);
    sshd.args(["-D", "-f", "/dev/null", "-E", &file("log")]);
    for option in [
        format!("ListenAddress=127.0.0.1:{port}"),
        format!("HostKey={}", file("host")),
        format!("AuthorizedKeysFile={}", file("authorized")),
        "PidFile=none".into(),
        "StrictModes=no".into(),
        "UsePAM=no".into(),
        "PermitRootLogin=yes".into(),
        "PasswordAuthentication=no".into(),
        "AcceptEnv=*".into(),
        "X11Forwarding=yes".into(),
        "PrintMotd=no".into(),
        "PrintLastLog=no".into(),
        "MaxSessions=100".into(),
        "Subsystem=sftp internal-sftp".into(),
    ] {
        sshd.args(["-o", &option]);
    }
    Server::spawn(&mut sshd, "TERM")
}

/// An Ed25519 key without a passphrase.
pub(crate) fn make_key(path: &Path) {
    run(command("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(path))
    .ok();
}
