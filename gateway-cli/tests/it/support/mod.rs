//! The world of a test: a PostgreSQL with the sample shop, the issuer, and a gateway between agents
//! and the shop. Everything listens on free ports of loopback and ends with the test.
//!
//! ```ignore
//! let world = World::start();
//! let reply = world.psql(Agent::Reader, "select email from customers");
//! ```

pub(crate) mod api_server;
pub(crate) mod certificates;
mod gateway;
mod issuer;
pub(crate) mod kubernetes;
mod postgres;
mod process;
pub(crate) mod ssh;
mod sshd;
pub(crate) mod wire;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

pub(crate) use gateway::{Gateway, Settings};
pub(crate) use issuer::{AUDIENCE_V1, Agent, Issuer, LOGIN_CLIENT, Person, TENANT};
pub(crate) use postgres::Postgres;
pub(crate) use process::{Output, command as libpq, run};

/// Longest wait for anything to become true.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A whole test world.
pub(crate) struct World {
    // Dropped in this order: the gateway first, the folder last.
    pub(crate) gateway: Gateway,
    pub(crate) issuer: Issuer,
    pub(crate) postgres: Postgres,
    dir: tempfile::TempDir,
}

impl World {
    /// The starter policy, strict evidence, everything enforced.
    pub(crate) fn start() -> Self {
        Self::with(|_| {})
    }

    /// Settings changed by `change` before the gateway starts.
    pub(crate) fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let dir = open_dir();
        let authority = certificates::make(dir.path());
        let postgres = Postgres::start(dir.path(), &authority);
        let issuer = Issuer::start(dir.path());
        let mut settings = Settings::new(dir.path(), &authority, &postgres, &issuer);
        change(&mut settings);
        let gateway = Gateway::start(settings);
        Self {
            gateway,
            issuer,
            postgres,
            dir,
        }
    }

    /// The world's own folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs SQL through the gateway with the real psql, unaligned and without headers.
    pub(crate) fn psql(&self, agent: Agent, sql: &str) -> Output {
        self.psql_args(agent, &["-c", sql])
    }

    /// Runs psql through the gateway with these arguments beside the connection's.
    pub(crate) fn psql_args(&self, agent: Agent, args: &[&str]) -> Output {
        self.psql_with(&self.issuer.token(agent), "shop", args)
    }

    /// Runs psql through the gateway with this password and database.
    pub(crate) fn psql_with(&self, password: &str, database: &str, args: &[&str]) -> Output {
        let mut command = process::command("psql");
        command
            .arg(self.gateway.conninfo(database))
            .args(["-X", "-A", "-t", "-v", "VERBOSITY=verbose"])
            .args(args)
            .env("PGPASSWORD", password);
        run(&mut command)
    }

    /// A raw connection through the gateway, logged in.
    #[track_caller]
    pub(crate) fn wire(&self, agent: Agent) -> wire::Wire {
        self.try_wire(&self.issuer.token(agent), &[]).unwrap()
    }

    /// A raw connection through the gateway with this password and more startup parameters.
    pub(crate) fn try_wire(
        &self,
        password: &str,
        more: &[(&str, &str)],
    ) -> Result<wire::Wire, String> {
        let parameters = [&[("user", "agent"), ("database", "shop")], more].concat();
        wire::Wire::connect(
            self.gateway.place(),
            wire::PROTOCOL_3_0,
            &parameters,
            password,
        )
    }

    /// A client command of the gateway's own, as a person.
    pub(crate) fn as_person(&self, person: Person, args: &[&str]) -> Output {
        let mut command = self.gateway.command(args);
        command
            .env("GATEWAY_URL", self.gateway.admin_url())
            .env("GATEWAY_CA", self.path("ca.pem"))
            .env("GATEWAY_TOKEN", self.issuer.person_token(person));
        run(&mut command)
    }
}

/// libpq's variables for a server at `port` that the authority in `ca` vouches for.
fn variables(
    (port, ca): (u16, &Path),
    database: &str,
    user: &str,
    password: &str,
) -> Vec<(&'static str, String)> {
    vec![
        ("PGHOST", "localhost".into()),
        ("PGHOSTADDR", "127.0.0.1".into()),
        ("PGPORT", port.to_string()),
        ("PGDATABASE", database.into()),
        ("PGUSER", user.into()),
        ("PGPASSWORD", password.into()),
        ("PGSSLMODE", "verify-full".into()),
        ("PGSSLROOTCERT", ca.display().to_string()),
    ]
}

/// A folder that other users can pass through: PostgreSQL runs as one.
pub(crate) fn open_dir() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::Builder::new()
        .prefix("gateway-it-")
        .tempdir()
        .unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    dir
}

/// Waits until `attempt` gives something.
pub(crate) fn until<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let started = std::time::Instant::now();
    loop {
        if let Some(found) = attempt() {
            return found;
        }
        assert!(started.elapsed() < PATIENCE, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(30));
    }
}

/// Writes a file only its owner can read.
pub(crate) fn write_private(path: &Path, content: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, content).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}
