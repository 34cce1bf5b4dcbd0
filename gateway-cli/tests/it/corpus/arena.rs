//! Where the corpora run: one PostgreSQL, one gateway, the shop twice for each.

use std::path::PathBuf;

use super::text;
use crate::support::{
    Agent, Gateway, Issuer, Postgres, Settings, certificates, open_dir,
    wire::{PROTOCOL_3_0, Wire},
};

/// Which classified values the shop has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    A,
    B,
}

impl Side {
    pub(super) const BOTH: [Self; 2] = [Self::A, Self::B];

    const fn letter(self) -> char {
        match self {
            Self::A => 'a',
            Self::B => 'b',
        }
    }

    /// The database behind the gateway.
    pub(super) fn database(self) -> String {
        format!("corpus_{}", self.letter())
    }

    /// The same, for direct connections: as long a name, a copy with the same object ids.
    pub(super) fn direct(self) -> String {
        format!("direct_{}", self.letter())
    }
}

/// Targets: one server, by role and classification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// The role owns the shop.
    Owner,
    /// The role was granted what there is to grant.
    Granted,
    /// The owner; nothing is classified.
    Plain,
}

impl Target {
    const ALL: [Self; 3] = [Self::Owner, Self::Granted, Self::Plain];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Owner => "shop-owner",
            Self::Granted => "shop-granted",
            Self::Plain => "plain",
        }
    }

    const fn role(self) -> &'static str {
        match self {
            Self::Owner | Self::Plain => OWNER,
            Self::Granted => "gateway",
        }
    }
}

/// Owns everything in the shop.
pub(super) const OWNER: &str = "shop_owner";
const SUPERUSER: &str = "postgres";

/// A running world for the corpora.
pub(super) struct Arena {
    gateway: Gateway,
    issuer: Issuer,
    postgres: Postgres,
    dir: tempfile::TempDir,
}

impl Arena {
    pub(super) fn start() -> Self {
        let dir = open_dir();
        let authority = certificates::make(dir.path());
        let postgres = Postgres::start(dir.path(), &authority);
        let issuer = Issuer::start(dir.path());
        trust_direct_databases(dir.path().join("postgres/data/pg_hba.conf"));
        let settings = Settings::new(dir.path(), &authority, &postgres, &issuer);
        let password = std::fs::read_to_string(dir.path().join("shop.password")).unwrap();
        postgres.psql_in(
            "postgres",
            &format!("select pg_reload_conf(); create role {OWNER} login password '{password}'"),
        );
        make_databases(&postgres);
        let policy = dir.path().join("policy");
        for name in ["structure.cedar", "writes.cedar"] {
            std::fs::remove_file(policy.join(name)).unwrap();
        }
        std::fs::write(policy.join("policy.cedar"), text("policy.cedar")).unwrap();
        std::fs::write(
            policy.join("classification.toml"),
            text("classification.toml"),
        )
        .unwrap();
        let base = settings.toml();
        let (head, _) = base.split_once("[[target]]").unwrap();
        let mut toml = head.to_owned();
        for target in Target::ALL {
            toml.push_str(&format!(
                "[[target]]\nname = \"{}\"\nprotocol = \"postgres\"\naddress = \"127.0.0.1:{}\"\nserver_name = \"localhost\"\n\
                 environment = \"prod\"\nca_file = \"ca.pem\"\ndurability = \"bounded\"\n\
                 credential = {{ kind = \"password\", user = \"{}\", password_file = \"shop.password\" }}\n",
                target.name(),
                postgres.port,
                target.role(),
            ));
        }
        let gateway = Gateway::start_with(dir.path().to_owned(), &toml);
        Self {
            gateway,
            issuer,
            postgres,
            dir,
        }
    }

    /// A session of an agent with the shop.
    pub(super) fn through(&self, agent: Agent, target: Target, side: Side) -> Wire {
        let database = format!("{}:{}", target.name(), side.database());
        let parameters = [("user", "agent"), ("database", database.as_str())];
        let token = self.issuer.token(agent);
        Wire::connect(self.gateway.place(), PROTOCOL_3_0, &parameters, &token).unwrap()
    }

    /// A session without a gateway.
    pub(super) fn direct(&self, database: &str, role: &str) -> Wire {
        let ca = self.dir.path().join("ca.pem");
        let parameters = [("user", role), ("database", database)];
        Wire::connect((self.postgres.port, &ca), PROTOCOL_3_0, &parameters, "").unwrap()
    }

    /// A superuser's.
    pub(super) fn superuser(&self, database: &str) -> Wire {
        self.direct(database, SUPERUSER)
    }

    /// What `\F` calls, as its object id in a database.
    pub(super) fn resolve(&self, step: &str, database: &str) -> String {
        let rest = step.strip_prefix("\\F ");
        let Some((name, rest)) = rest.and_then(|rest| rest.split_once('|')) else {
            return step.to_owned();
        };
        let mut wire = self.superuser(database);
        let replies = wire.query(&format!("select '{name}'::regprocedure::oid"));
        let row = replies.iter().find(|reply| reply.tag == 'D').unwrap();
        let oid = String::from_utf8(row.cells().remove(0).unwrap()).unwrap();
        format!("\\F {oid}|{rest}")
    }

    /// libpq's variables for a direct connection.
    pub(super) fn direct_variables(&self, side: Side) -> Vec<(&'static str, String)> {
        let mut variables = self.postgres.variables();
        for (name, value) in &mut variables {
            match *name {
                "PGDATABASE" => *value = side.direct(),
                "PGUSER" => OWNER.clone_into(value),
                _ => {}
            }
        }
        variables
    }

    /// libpq's variables for a connection through the gateway.
    pub(super) fn gateway_variables(
        &self,
        agent: Agent,
        target: Target,
        side: Side,
    ) -> Vec<(&'static str, String)> {
        let database = format!("{}:{}", target.name(), side.database());
        self.gateway.variables(&database, &self.issuer.token(agent))
    }

    /// A fresh shop for what spoils one.
    pub(super) fn scratch(&self) -> &'static str {
        self.postgres
            .psql_in("postgres", "drop database if exists direct_c with (force)");
        self.postgres.psql_in(
            "postgres",
            &format!("create database direct_c template seed_a owner {OWNER}"),
        );
        "direct_c"
    }

    /// The shop behind the gateway as it was in the beginning.
    pub(super) fn renew(&self, side: Side) {
        let (database, seed) = (side.database(), format!("seed_{}", side.letter()));
        let psql = |sql: &str| self.postgres.psql_in("postgres", sql);
        psql(&format!("drop database {database} with (force)"));
        psql(&format!(
            "create database {database} template {seed} owner {OWNER}"
        ));
    }

    /// What the gateway has written: its log and its evidence.
    pub(super) fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut found = Vec::new();
        let mut folders = vec![self.dir.path().join("data")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let bytes = std::fs::read(&path).unwrap();
                    found.push((path, bytes));
                }
            }
        }
        let log = self.gateway.log().into_bytes();
        found.push((self.dir.path().join("gateway.log"), log));
        found
    }
}

/// Direct connections to the databases that only they use need no password.
fn trust_direct_databases(file: PathBuf) {
    let rest = std::fs::read_to_string(&file).unwrap();
    let first = format!(
        "hostssl direct_a,direct_b,direct_c all 127.0.0.1/32 trust\n\
         hostssl corpus_a,corpus_b {SUPERUSER} 127.0.0.1/32 trust\n"
    );
    std::fs::write(file, first + &rest).unwrap();
}

/// `seed_a` from the shop's text, `seed_b` as its copy with the other values, two copies of each: all
/// object ids are the same.
fn make_databases(postgres: &Postgres) {
    let shop = text("shop.sql");
    let psql = |sql: &str| postgres.psql_in("postgres", sql);
    psql(&format!("create database seed_a owner {OWNER}"));
    postgres.psql_in("seed_a", &pick(&shop, Side::A));
    psql(&format!(
        "create database seed_b template seed_a owner {OWNER}"
    ));
    postgres.psql_in("seed_b", &refill(&pick(&shop, Side::B)));
    for side in Side::BOTH {
        let seed = format!("seed_{}", side.letter());
        for copy in [side.direct(), side.database()] {
            psql(&format!(
                "create database {copy} template {seed} owner {OWNER}"
            ));
        }
    }
}

/// All rows of the shop again, in place of those that are there.
fn refill(shop: &str) -> String {
    let empty = "do $$ begin execute (select 'truncate ' || string_agg(oid::regclass::text, ',') || ' restart identity' from pg_class \
                 where relkind in ('r', 'p') and relnamespace = 'public'::regnamespace); end $$;";
    let mut out = format!("set session authorization {OWNER}; {empty}\n");
    let mut inside = false;
    for line in shop.lines() {
        inside |= ["insert into ", "update ", "analyze "]
            .iter()
            .any(|word| line.starts_with(word));
        if inside {
            out.push_str(line);
            out.push('\n');
        }
        inside &= !line.ends_with(';');
    }
    out + "refresh materialized view m_customers; refresh materialized view m_top; refresh materialized view m_victims;"
}

/// The text with one of each pair `<<a||b>>`.
fn pick(text: &str, side: Side) -> String {
    let mut pieces = text.split("<<");
    let mut out = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (pair, rest) = piece.split_once(">>").unwrap();
        let (a, b) = pair.split_once("||").unwrap();
        out.push_str(if side == Side::A { a } else { b });
        out.push_str(rest);
    }
    out
}
