//! The development issuer, and who is in its directory.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Once,
};

use serde_json::{Value, json};

use super::{
    process::{Server, command, run},
    until,
};

pub(crate) const TENANT: &str = "11111111-2222-4333-8444-555555555555";
pub(crate) const AUDIENCE: &str = "0a0a0a0a-0000-4000-8000-000000000001";
/// The audience of an API whose manifest asks for v1.0 tokens.
pub(crate) const AUDIENCE_V1: &str = "api://gateway-v1";

/// The agents of the directory.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Agent {
    /// May connect and read.
    Reader,
    /// May also write orders and carts.
    Writer,
    /// May also see classified values.
    Privileged,
    /// Is in no agents.toml.
    Unlisted,
}

impl Agent {
    pub(crate) const ALL: [Self; 4] =
        [Self::Reader, Self::Writer, Self::Privileged, Self::Unlisted];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Reader => "reader-bot",
            Self::Writer => "writer-bot",
            Self::Privileged => "privileged-bot",
            Self::Unlisted => "unlisted-bot",
        }
    }

    const fn digit(self) -> u8 {
        match self {
            Self::Reader => 1,
            Self::Writer => 2,
            Self::Privileged => 3,
            Self::Unlisted => 4,
        }
    }

    pub(crate) fn client_id(self) -> String {
        format!("b0b0b0b0-0000-4000-8000-00000000000{}", self.digit())
    }

    pub(crate) fn object_id(self) -> String {
        format!("a0a0a0a0-0000-4000-8000-00000000000{}", self.digit())
    }

    pub(crate) fn secret(self) -> String {
        format!("{}-secret", self.name())
    }

    const fn roles(self) -> &'static [&'static str] {
        match self {
            Self::Reader | Self::Unlisted => &["Gateway.Connect"],
            Self::Writer => &["Gateway.Connect", "Orders.Write"],
            Self::Privileged => &["Gateway.Connect", "Orders.Write", "Pii.Read"],
        }
    }
}

/// The people of the directory.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Person {
    /// Reviews.
    Rita,
    /// Owns every agent, and reviews.
    Omar,
    /// Operates the gateway.
    Olga,
}

impl Person {
    const ALL: [Self; 3] = [Self::Rita, Self::Omar, Self::Olga];

    pub(crate) const fn username(self) -> &'static str {
        match self {
            Self::Rita => "rita@example.com",
            Self::Omar => "omar@example.com",
            Self::Olga => "olga@example.com",
        }
    }

    pub(crate) const fn object_id(self) -> &'static str {
        match self {
            Self::Rita => "e0e0e0e0-0000-4000-8000-000000000001",
            Self::Omar => "e0e0e0e0-0000-4000-8000-000000000002",
            Self::Olga => "e0e0e0e0-0000-4000-8000-000000000003",
        }
    }

    const fn roles(self) -> &'static [&'static str] {
        match self {
            Self::Rita | Self::Omar => &["Gateway.Reviewer"],
            Self::Olga => &["Gateway.Operator"],
        }
    }
}

/// The public client that people sign in with.
pub(crate) const LOGIN_CLIENT: &str = "b0b0b0b0-0000-4000-8000-0000000000c1";

/// A running issuer.
pub(crate) struct Issuer {
    _server: Server,
    pub(crate) authority: String,
    pub(crate) ca: PathBuf,
}

impl Issuer {
    pub(crate) fn start(dir: &Path) -> Self {
        let home = dir.join("issuer");
        std::fs::create_dir(&home).unwrap();
        std::fs::write(home.join("directory.toml"), directory()).unwrap();
        let ready = home.join("ready.json");
        let mut issuer = command(binary());
        issuer
            .arg("--config")
            .arg(home.join("directory.toml"))
            .arg("--cert-dir")
            .arg(&home)
            .arg("--ready-file")
            .arg(&ready);
        let mut server = Server::spawn(&mut issuer, "INT");
        let ready: Value = until("the issuer", || {
            server.assert_alive("the issuer");
            serde_json::from_slice(&std::fs::read(&ready).ok()?).ok()
        });
        let text = |name: &str| ready[name].as_str().unwrap().to_owned();
        Self {
            _server: server,
            authority: text("authority"),
            ca: text("ca").into(),
        }
    }

    /// An agent's token.
    pub(crate) fn token(&self, agent: Agent) -> String {
        self.forge(&json!({ "app": agent.client_id() }))
    }

    /// A person's token.
    pub(crate) fn person_token(&self, person: Person) -> String {
        self.forge(&json!({ "app": LOGIN_CLIENT, "user": person.username() }))
    }

    /// Any token: see the issuer's `/dev/token`.
    pub(crate) fn forge(&self, order: &Value) -> String {
        let answer = self.post(
            "/dev/token",
            &[
                "-H",
                "content-type: application/json",
                "-d",
                &order.to_string(),
            ],
        );
        let answer: Value = serde_json::from_str(&answer).unwrap();
        answer["access_token"].as_str().unwrap().to_owned()
    }

    /// Plays the person at the page that a device code names.
    pub(crate) fn sign_in(&self, user_code: &str, person: Person) {
        let path = format!(
            "/dev/approve?user_code={user_code}&user={}",
            person.username()
        );
        self.post(&path, &["-d", ""]);
    }

    /// Signs with a new key from now on.
    pub(crate) fn rotate(&self, drop_old: bool) {
        self.post(&format!("/dev/rotate?drop_old={drop_old}"), &["-d", ""]);
    }

    fn post(&self, path: &str, args: &[&str]) -> String {
        run(command("curl")
            .args(["--silent", "--show-error", "--fail-with-body", "--cacert"])
            .arg(&self.ca)
            .args(args)
            .arg(format!("{}{path}", self.authority)))
        .ok()
        .to_owned()
    }
}

fn directory() -> String {
    let quoted = |roles: &[&str]| format!("{roles:?}");
    let mut text = format!(
        "[[tenant]]\nid = \"{TENANT}\"\n\
         [[tenant.resource]]\nclient_id = \"{AUDIENCE}\"\nuri = \"api://gateway\"\nscopes = [\"gateway.access\"]\n\
         [[tenant.resource]]\nclient_id = \"0a0a0a0a-0000-4000-8000-000000000002\"\nuri = \"{AUDIENCE_V1}\"\nversion = \"1.0\"\n\
         [[tenant.app]]\nclient_id = \"{LOGIN_CLIENT}\"\nobject_id = \"a0a0a0a0-0000-4000-8000-0000000000c1\"\nname = \"gateway-cli\"\n"
    );
    for agent in Agent::ALL {
        text += &format!(
            "[[tenant.app]]\nclient_id = \"{}\"\nobject_id = \"{}\"\nname = \"{}\"\nsecret = \"{}\"\nroles = {}\n",
            agent.client_id(),
            agent.object_id(),
            agent.name(),
            agent.secret(),
            quoted(agent.roles()),
        );
    }
    for person in Person::ALL {
        text += &format!(
            "[[tenant.user]]\nobject_id = \"{}\"\nusername = \"{}\"\nname = \"{person:?}\"\nroles = {}\n",
            person.object_id(),
            person.username(),
            quoted(person.roles()),
        );
    }
    text
}

/// The issuer's binary, built beside the gateway's: the same folder, the same profile. Another one
/// where `GATEWAY_TEST_ISSUER` names it, which saves asking cargo.
fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("GATEWAY_TEST_ISSUER") {
        return path.into();
    }
    static BUILT: Once = Once::new();
    let gateway = Path::new(env!("CARGO_BIN_EXE_gateway"));
    let profile = match gateway
        .parent()
        .and_then(Path::file_name)
        .and_then(|name| name.to_str())
    {
        Some("debug") | None => "dev",
        Some(profile) => profile,
    };
    BUILT.call_once(|| {
        run(Command::new(env!("CARGO"))
            .args([
                "build",
                "--quiet",
                "-p",
                "examples",
                "--bin",
                "issuer",
                "--profile",
                profile,
            ])
            .current_dir(env!("CARGO_MANIFEST_DIR")))
        .ok();
    });
    gateway.with_file_name("issuer")
}
