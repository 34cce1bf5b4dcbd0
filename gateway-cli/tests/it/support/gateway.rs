//! The gateway binary, its configuration and its policy.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::Value;

use super::{
    Agent, Issuer, Postgres,
    certificates::Authority,
    issuer::{AUDIENCE, Person, TENANT},
    postgres::{PASSWORD, ROLE},
    process::{Output, Server, command, run},
    until, write_private,
};

/// What the gateway is started with; change it before.
pub(crate) struct Settings {
    pub(crate) dir: PathBuf,
    /// Keys of `[gateway]`.
    pub(crate) gateway: Vec<String>,
    /// Keys of the target `shop`, as TOML values, such as `mode = "observe"`.
    pub(crate) target: Vec<String>,
    /// Keys of `[gateway.limits]`.
    pub(crate) limits: Vec<String>,
    /// The role and password file at the target.
    pub(crate) user: String,
    /// `[entra]`, `[tls]` and the listener.
    pub(crate) base: String,
    /// The port of the target.
    pub(crate) port: u16,
}

impl Settings {
    pub(crate) fn new(
        dir: &Path,
        authority: &Authority,
        postgres: &Postgres,
        issuer: &Issuer,
    ) -> Self {
        let policy = dir.join("policy");
        copy_dir(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join("../gateway-policy/starter/postgres"),
            &policy,
        );
        std::fs::write(policy.join("agents.toml"), agents()).unwrap();
        // Only our own server knows this password; see `free_port`.
        write_private(&dir.join("shop.password"), PASSWORD);
        let base = format!(
            "{}[[listener]]\naddress = \"127.0.0.1:0\"\n",
            entra(authority, issuer)
        );
        Self {
            dir: dir.to_owned(),
            gateway: Vec::new(),
            target: Vec::new(),
            limits: vec!["drain_seconds = 1".into()],
            user: ROLE.into(),
            base,
            port: postgres.port,
        }
    }

    /// The configuration as TOML.
    pub(crate) fn toml(&self) -> String {
        format!(
            "[gateway]\nid = \"it\"\ndata_dir = \"data\"\npolicy = \"policy\"\nadmin = \"127.0.0.1:0\"\n{}\n\
             [gateway.limits]\n{}\n{}\
             [[target]]\nname = \"shop\"\nprotocol = \"postgres\"\naddress = \"127.0.0.1:{}\"\nserver_name = \"localhost\"\n\
             environment = \"prod\"\nca_file = \"ca.pem\"\n{}\n\
             credential = {{ kind = \"password\", user = \"{}\", password_file = \"shop.password\" }}\n",
            self.gateway.join("\n"),
            self.limits.join("\n"),
            self.base,
            self.port,
            self.target.join("\n"),
            self.user,
        )
    }
}

/// A running gateway.
pub(crate) struct Gateway {
    server: Server,
    dir: PathBuf,
    ca: PathBuf,
    ready: Value,
}

impl Gateway {
    pub(crate) fn start(settings: Settings) -> Self {
        let toml = settings.toml();
        Self::start_with(settings.dir, &toml)
    }

    /// A gateway with this configuration, its files in `dir`.
    pub(crate) fn start_with(dir: PathBuf, toml: &str) -> Self {
        std::fs::write(dir.join("gateway.toml"), toml).unwrap();
        let (server, ready) = launch(&dir);
        Self {
            server,
            ca: dir.join("ca.pem"),
            dir,
            ready,
        }
    }

    /// Ends the gateway with `signal` and starts it anew with the same files.
    pub(crate) fn restart(&mut self, signal: &str) {
        self.server.signal(signal);
        self.server
            .wait(Duration::from_secs(20))
            .expect("the gateway ends");
        (self.server, self.ready) = launch(&self.dir);
    }

    /// Asks it to end, and says how it did.
    pub(crate) fn stop(&mut self) -> Option<i32> {
        self.server.signal("TERM");
        self.server.wait(Duration::from_secs(20))
    }

    /// The port of the shared listener.
    pub(crate) fn port(&self) -> u16 {
        let address = self.ready["listeners"][0]["address"].as_str().unwrap();
        let (_, port) = address.rsplit_once(':').unwrap();
        port.parse().unwrap()
    }

    /// The shared listener: its port, and the authority that vouches for it.
    pub(crate) fn place(&self) -> (u16, &Path) {
        (self.port(), &self.ca)
    }

    /// What libpq's variables say of `database` through the shared listener.
    pub(crate) fn variables(&self, database: &str, token: &str) -> Vec<(&'static str, String)> {
        super::variables(self.place(), database, "agent", token)
    }

    /// Memory in use, KiB (proc(5), "/proc/pid/status", `VmRSS`).
    pub(crate) fn resident_kib(&self) -> usize {
        let status = format!("/proc/{}/status", self.server.id());
        let status = std::fs::read_to_string(status).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        kib.unwrap().trim().parse().unwrap()
    }

    /// A connection string for `database` through the shared listener.
    pub(crate) fn conninfo(&self, database: &str) -> String {
        let port = self.port();
        format!(
            "host=localhost hostaddr=127.0.0.1 port={port} user=agent dbname={database} sslmode=verify-full sslrootcert={}",
            self.dir.join("ca.pem").display()
        )
    }

    pub(crate) fn admin_url(&self) -> String {
        let address = self.ready["admin"].as_str().unwrap();
        let (_, port) = address.rsplit_once(':').unwrap();
        format!("https://localhost:{port}")
    }

    /// A command of the binary, with the configuration in the environment.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = command(env!("CARGO_BIN_EXE_gateway"));
        command
            .args(args)
            .env("GATEWAY_CONFIG", self.dir.join("gateway.toml"));
        command
    }

    /// Runs a command of the binary.
    pub(crate) fn cli(&self, args: &[&str]) -> Output {
        run(&mut self.command(args))
    }

    /// The gateway's own log so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("gateway.log")).unwrap()
    }

    /// The policy folder in use.
    pub(crate) fn policy(&self) -> PathBuf {
        self.dir.join("policy")
    }
}

fn launch(dir: &Path) -> (Server, Value) {
    let ready = dir.join("ready.json");
    drop(std::fs::remove_file(&ready));
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(dir.join("gateway.log"))
        .unwrap();
    let mut gateway = command(env!("CARGO_BIN_EXE_gateway"));
    gateway
        .args(["run", "--config"])
        .arg(dir.join("gateway.toml"))
        .arg("--ready-file")
        .arg(&ready)
        .stderr(log);
    let mut server = Server::spawn(&mut gateway, "TERM");
    let found = until("the gateway", || {
        if !ready.exists() && server.wait(Duration::ZERO).is_some() {
            panic!(
                "{}",
                std::fs::read_to_string(dir.join("gateway.log")).unwrap()
            );
        }
        server.assert_alive("the gateway");
        serde_json::from_slice(&std::fs::read(&ready).ok()?).ok()
    });
    (server, found)
}

/// `[entra]` and `[tls]` of a configuration.
pub(super) fn entra(authority: &Authority, issuer: &Issuer) -> String {
    format!(
        "[entra]\nauthority = \"{}\"\nca_file = \"{}\"\ntenants = [\"{TENANT}\"]\naudiences = [\"{AUDIENCE}\"]\n\
         [tls]\ncertificate = \"{}\"\nkey = \"{}\"\n",
        issuer.authority,
        issuer.ca.display(),
        authority.certificate.display(),
        authority.key.display(),
    )
}

/// What `agents.toml` says of every agent that is listed.
pub(super) fn agents() -> String {
    let listed = Agent::ALL
        .into_iter()
        .filter(|agent| !matches!(agent, Agent::Unlisted));
    listed
        .map(|agent| {
            format!(
                "[[agent]]\ntenant = \"{TENANT}\"\nobject = \"{}\"\nname = \"{}\"\nowner = \"{}\"\nenvironment = \"prod\"\n",
                agent.object_id(),
                agent.name(),
                Person::Omar.object_id(),
            )
        })
        .collect()
}

pub(super) fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}
