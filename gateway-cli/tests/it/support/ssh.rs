//! The world of an SSH test: OpenSSH's server as the target `box`, the issuer, and a gateway between.

use std::{
    fs,
    io::Write as _,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use serde_json::Value;

use super::{
    Agent, Gateway, Issuer, Output, Person, certificates, open_dir, process, sshd::Sshd, until,
    write_private,
};

pub(crate) use super::sshd::make_key;

/// What the agents of these tests may do at `box`.
const POLICY: &str = include_str!("ssh.cedar");
/// Who may come in: the starter policy's own words.
const ACCESS: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../gateway-policy/starter/postgres/access.cedar"
);
/// What is masked there.
const CLASSIFICATION: &str = include_str!("ssh.classification.toml");

/// A whole SSH test world.
pub(crate) struct SshWorld {
    // Dropped in this order: the gateway first, the folder last.
    pub(crate) gateway: Gateway,
    pub(crate) issuer: Issuer,
    pub(crate) sshd: Sshd,
    _other: Option<process::Server>,
    dir: tempfile::TempDir,
}

impl SshWorld {
    pub(crate) fn start() -> Self {
        Self::launch(None)
    }

    /// With this script's server as the target instead.
    pub(crate) fn towards(script: &str) -> Self {
        Self::launch(Some(script))
    }

    fn launch(script: Option<&str>) -> Self {
        let dir = open_dir();
        let authority = certificates::make(dir.path());
        let sshd = Sshd::start(dir.path());
        let other = script.map(|script| sshd.beside(script));
        let port = other.as_ref().map_or(sshd.port, |(_, port)| *port);
        let issuer = Issuer::start(dir.path());
        let policy = dir.path().join("policy");
        fs::create_dir(&policy).unwrap();
        fs::copy(ACCESS, policy.join("access.cedar")).unwrap();
        fs::write(policy.join("agents.toml"), super::gateway::agents()).unwrap();
        let rules = POLICY.replace("@dir@", dir.path().to_str().unwrap());
        fs::write(policy.join("ssh.cedar"), rules).unwrap();
        fs::write(policy.join("classification.toml"), CLASSIFICATION).unwrap();
        let toml = format!(
            "[gateway]\nid = \"it\"\ndata_dir = \"data\"\npolicy = \"policy\"\nadmin = \"127.0.0.1:0\"\n\
             [gateway.limits]\ndrain_seconds = 1\nlogin_seconds = 10\n\
             {}\
             [[listener]]\naddress = \"127.0.0.1:0\"\nprotocol = \"ssh\"\n\
             [[target]]\nname = \"box\"\nprotocol = \"ssh\"\naddress = \"127.0.0.1:{}\"\nenvironment = \"prod\"\n\
             user = \"{}\"\nkey_file = \"{}\"\nhost_keys = [\"{}\"]\n",
            super::gateway::entra(&authority, &issuer),
            port,
            sshd.user,
            sshd.gateway_key().display(),
            sshd.host_key(),
        );
        let gateway = Gateway::start_with(dir.path().to_owned(), &toml);
        fs::create_dir(dir.path().join("secret")).unwrap();
        fs::create_dir(dir.path().join("open")).unwrap();
        Self {
            gateway,
            issuer,
            sshd,
            _other: other.map(|(server, _)| server),
            dir,
        }
    }

    /// The world's own folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The same as text.
    pub(crate) fn text_path(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// OpenSSH's configuration for an agent, made by `gateway ssh-config` when first asked for.
    pub(crate) fn config(&self, agent: Agent) -> PathBuf {
        let dir = self.path(&format!("ssh-{}", agent.name()));
        let config = dir.join("config");
        if !config.exists() {
            self.configure(agent, &self.issuer.token(agent)).ok();
        }
        config
    }

    /// Runs `gateway ssh-config` for an agent with this token.
    pub(crate) fn configure(&self, agent: Agent, token: &str) -> Output {
        let file = self.path(&format!("{}.token", agent.name()));
        write_private(&file, token);
        let mut command = self.gateway.command(&["ssh-config", "box"]);
        command
            .args(["--address", &format!("127.0.0.1:{}", self.gateway.port())])
            .args(["--gateway", &self.gateway.admin_url()])
            .arg("--ca")
            .arg(self.path("ca.pem"))
            .arg("--token-file")
            .arg(file)
            .arg("--dir")
            .arg(self.path(&format!("ssh-{}", agent.name())));
        process::run(&mut command)
    }

    /// One of OpenSSH's clients for an agent: `ssh`, `scp`, `sftp`.
    pub(crate) fn client(&self, program: &str, agent: Agent) -> Command {
        let mut command = process::command(program);
        command.arg("-F").arg(self.config(agent));
        command.args(["-o", "BatchMode=yes"]).env("TERM", "xterm");
        command
    }

    /// Runs `ssh box` for an agent.
    pub(crate) fn ssh(&self, agent: Agent, args: &[&str]) -> Output {
        process::run(self.client("ssh", agent).arg("box").args(args))
    }

    /// Runs `ssh box` with options before the target.
    pub(crate) fn ssh_with(&self, agent: Agent, options: &[&str], args: &[&str]) -> Output {
        let mut command = self.client("ssh", agent);
        process::run(command.args(options).arg("box").args(args))
    }

    /// `ssh box` in the background.
    pub(crate) fn spawn(&self, agent: Agent, args: &[&str]) -> Child {
        self.client("ssh", agent)
            .arg("box")
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// A client command of the gateway's own, as a person.
    pub(crate) fn as_person(&self, person: Person, args: &[&str]) -> Output {
        let mut command = self.gateway.command(args);
        command
            .env("GATEWAY_URL", self.gateway.admin_url())
            .env("GATEWAY_CA", self.path("ca.pem"))
            .env("GATEWAY_TOKEN", self.issuer.person_token(person));
        process::run(&mut command)
    }

    /// The first request for approval, once there is one.
    pub(crate) fn pending(&self) -> Value {
        until("an approval", || {
            let list = self.as_person(Person::Rita, &["approvals", "list", "--json"]);
            list.json().as_array()?.first().cloned()
        })
    }

    /// Everything that is recorded of the newest session.
    pub(crate) fn record(&self) -> String {
        let sessions = self.gateway.cli(&["sessions", "list", "--json"]).json();
        let id = sessions[0]["id"].as_str().unwrap().to_owned();
        self.gateway.cli(&["sessions", "show", &id]).ok().to_owned()
    }
}

/// Runs a command with input, and gives what it wrote as bytes.
pub(crate) fn pipe(command: &mut Command, input: Vec<u8>) -> std::process::Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || {
        // A program may end before it has read everything.
        drop(stdin.write_all(&input));
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

/// The interpreter that has the client libraries: `scripts/test` names it.
pub(crate) fn python() -> PathBuf {
    std::env::var_os("GATEWAY_TEST_PYTHON")
        .expect(
            "GATEWAY_TEST_PYTHON names a Python with paramiko and asyncssh; scripts/test sets it",
        )
        .into()
}
