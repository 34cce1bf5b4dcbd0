//! A PostgreSQL of the test's own, with the sample shop in it.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use super::{
    certificates::Authority,
    process::{Output, Server, command, run},
    until,
};

const BINARIES: &str = "/usr/lib/postgresql/15/bin";
/// The role the gateway logs in as: ordinary, with what agents may need.
pub(crate) const ROLE: &str = "gateway";
pub(crate) const PASSWORD: &str = "upstream-s3cret";
const SUPERUSER_PASSWORD: &str = "superuser-s3cret";

/// The sample shop.
const SHOP: &str = include_str!("shop.sql");

/// A running server.
pub(crate) struct Postgres {
    server: Server,
    pub(crate) port: u16,
    ca: PathBuf,
}

impl Postgres {
    /// Starts a server with TLS and SCRAM, and makes the database `shop`.
    pub(crate) fn start(dir: &Path, authority: &Authority) -> Self {
        let home = dir.join("postgres");
        std::fs::create_dir(&home).unwrap();
        for (from, to) in [
            (&authority.certificate, "server.pem"),
            (&authority.key, "server.key"),
        ] {
            std::fs::copy(from, home.join(to)).unwrap();
        }
        std::fs::write(home.join("pw"), SUPERUSER_PASSWORD).unwrap();
        if is_root() {
            run(Command::new("chown").args(["-R", "postgres"]).arg(&home)).ok();
        }
        let data = home.join("data");
        run(as_postgres("initdb")
            .arg("-D")
            .arg(&data)
            .args([
                "-U",
                "postgres",
                "-A",
                "scram-sha-256",
                "-N",
                "-E",
                "UTF8",
                "--no-locale",
            ])
            .arg(format!("--pwfile={}", home.join("pw").display())))
        .ok();
        let port = free_port();
        let file = |name: &str| home.join(name).display().to_string();
        let log = std::fs::File::create(dir.join("postgres.log")).unwrap();
        let settings = [
            "listen_addresses=127.0.0.1".to_owned(),
            format!("port={port}"),
            format!("unix_socket_directories={}", home.display()),
            "ssl=on".to_owned(),
            format!("ssl_cert_file={}", file("server.pem")),
            format!("ssl_key_file={}", file("server.key")),
            "fsync=off".to_owned(),
            "log_statement=all".to_owned(),
        ];
        let mut postgres = as_postgres("postgres");
        postgres.arg("-D").arg(&data).stderr(log);
        for setting in &settings {
            postgres.args(["-c", setting]);
        }
        // SIGINT is PostgreSQL's fast shutdown.
        let server = Server::spawn(&mut postgres, "INT");
        let mut this = Self {
            server,
            port,
            ca: authority.ca.clone(),
        };
        until("PostgreSQL", || {
            this.server.assert_alive("PostgreSQL");
            (this.try_psql("postgres", "select 1").code == Some(0)).then_some(())
        });
        this.psql_in("postgres", "create database shop");
        this.psql(&format!("create role {ROLE} login password '{PASSWORD}'"));
        this.psql(SHOP);
        this
    }

    /// Runs SQL in the shop, directly and as superuser.
    #[track_caller]
    pub(crate) fn psql(&self, sql: &str) -> String {
        self.psql_in("shop", sql)
    }

    #[track_caller]
    pub(crate) fn psql_in(&self, database: &str, sql: &str) -> String {
        self.try_psql(database, sql).ok().to_owned()
    }

    /// What libpq's variables say of the shop on a direct connection, with the gateway's own role.
    pub(crate) fn variables(&self) -> Vec<(&'static str, String)> {
        super::variables((self.port, &self.ca), "shop", ROLE, PASSWORD)
    }

    /// Runs a file of SQL in the shop, directly and as superuser.
    pub(crate) fn psql_file(&self, path: &Path) -> Output {
        run(self
            .superuser("shop")
            .args(["-X", "-A", "-t", "-q", "-f"])
            .arg(path))
    }

    fn try_psql(&self, database: &str, sql: &str) -> Output {
        let mut psql = self.superuser(database);
        run(psql.args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-c", sql]))
    }

    fn superuser(&self, database: &str) -> Command {
        let conninfo = format!(
            "host=localhost hostaddr=127.0.0.1 port={} user=postgres dbname={database} sslmode=verify-full sslrootcert={}",
            self.port,
            self.ca.display()
        );
        let mut psql = command("psql");
        psql.arg(conninfo).env("PGPASSWORD", SUPERUSER_PASSWORD);
        psql
    }

    /// Statements that reached the server, as its own log has them.
    pub(crate) fn log(&self) -> String {
        // The server writes its log as it goes; give the last line a moment.
        std::thread::sleep(Duration::from_millis(100));
        let path = self.ca.with_file_name("postgres.log");
        String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned()
    }
}

/// A program of PostgreSQL's: it refuses to run as root.
fn as_postgres(program: &str) -> Command {
    let path = Path::new(BINARIES).join(program);
    if !is_root() {
        return command(path);
    }
    let mut command = command("setpriv");
    command
        .args([
            "--reuid=postgres",
            "--regid=postgres",
            "--clear-groups",
            "--",
        ])
        .arg(path);
    // The account may not enter where the test was started.
    command.current_dir("/");
    command
}

fn is_root() -> bool {
    run(Command::new("id").arg("-u")).stdout.trim() == "0"
}

/// A port that was free a moment ago; the login with our password proves that the server on it is
/// ours.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}
