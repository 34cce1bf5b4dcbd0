//! The world of Kubernetes tests: an API server, the issuer, and a gateway between.

use std::{
    ops::{Deref, DerefMut},
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    Agent, Gateway, Issuer, Output, Person,
    api_server::{ADMIN_TOKEN, ApiServer, GATEWAY_TOKEN},
    certificates::{self, Authority},
    gateway::{agents, copy_dir, entra},
    process::{command, run},
    until, write_private,
};

/// What a cluster's world is started with; change it before.
pub(crate) struct Choices {
    /// Whether the API server offers HTTP/2.
    pub(crate) http2: bool,
    /// Whether the gateway shows a token there, in place of a certificate.
    pub(crate) token: bool,
    /// Whether the listener is shared, and paths name the target.
    pub(crate) shared: bool,
    /// The starter policy, in place of the tests' own.
    pub(crate) starter: bool,
    /// What `classification.toml` says beside the built-in classification of Secrets.
    pub(crate) classification: &'static str,
    /// Keys of `[gateway.limits]`.
    pub(crate) limits: Vec<String>,
}

impl Default for Choices {
    fn default() -> Self {
        Self {
            http2: true,
            token: false,
            shared: false,
            starter: false,
            classification: "",
            limits: vec!["drain_seconds = 1".into()],
        }
    }
}

/// A gateway before a cluster, and who may use it.
pub(crate) struct Front {
    // Dropped in this order: the gateway first, the folder last.
    pub(crate) gateway: Gateway,
    pub(crate) issuer: Issuer,
    prefix: &'static str,
    dir: tempfile::TempDir,
}

/// A cluster's world: a gateway before the API server of the tests.
pub(crate) struct Cluster {
    front: Front,
    pub(crate) api: ApiServer,
}

impl Cluster {
    pub(crate) fn start() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut Choices)) -> Self {
        let mut choices = Choices::default();
        change(&mut choices);
        let dir = super::open_dir();
        let authority = certificates::make(dir.path());
        let api = ApiServer::start(&authority, choices.http2);
        let credential = if choices.token {
            write_private(&dir.path().join("cluster.token"), GATEWAY_TOKEN);
            "{ kind = \"token\", token_file = \"cluster.token\" }".to_owned()
        } else {
            certificate(&authority.client, &authority.client_key)
        };
        let target = format!(
            "address = \"127.0.0.1:{}\"\nserver_name = \"localhost\"\nca_file = \"ca.pem\"\ncredential = {credential}\n",
            api.port
        );
        let front = Front::start(dir, &authority, &target, &choices);
        Self { front, api }
    }

    /// kubectl on a direct connection, as the cluster's administrator.
    pub(crate) fn kubectl_direct(&self, version: &str, args: &[&str]) -> Output {
        let url = format!("https://localhost:{}", self.api.port);
        let mut kubectl = self.kubectl_at(version, &url, ADMIN_TOKEN);
        run(kubectl.args(args))
    }
}

impl Deref for Cluster {
    type Target = Front;

    fn deref(&self) -> &Front {
        &self.front
    }
}

impl DerefMut for Cluster {
    fn deref_mut(&mut self) -> &mut Front {
        &mut self.front
    }
}

impl Front {
    /// A gateway in `dir`; `target` is where the cluster is and how the gateway logs in, TOML.
    pub(crate) fn start(
        dir: tempfile::TempDir,
        authority: &Authority,
        target: &str,
        choices: &Choices,
    ) -> Self {
        let issuer = Issuer::start(dir.path());
        write_policy(&dir.path().join("policy"), choices);
        let listener = if choices.shared {
            "protocol = \"kubernetes\""
        } else {
            "target = \"cluster\""
        };
        let toml = format!(
            "[gateway]\nid = \"it\"\ndata_dir = \"data\"\npolicy = \"policy\"\nadmin = \"127.0.0.1:0\"\n\
             [gateway.limits]\n{}\n{}\
             [[listener]]\naddress = \"127.0.0.1:0\"\n{listener}\n\
             [[target]]\nname = \"cluster\"\nprotocol = \"kubernetes\"\nenvironment = \"prod\"\n\
             user = \"gateway\"\n{target}",
            choices.limits.join("\n"),
            entra(authority, &issuer),
        );
        Self {
            gateway: Gateway::start_with(dir.path().to_owned(), &toml),
            issuer,
            prefix: if choices.shared { "/cluster" } else { "" },
            dir,
        }
    }

    /// The world's own folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Where agents find the cluster.
    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}{}", self.gateway.port(), self.prefix)
    }

    /// kubectl of this version through the gateway.
    pub(crate) fn kubectl_of(&self, version: &str, agent: Agent, args: &[&str]) -> Command {
        let mut kubectl = self.kubectl_at(version, &self.url(), &self.issuer.token(agent));
        kubectl.args(args);
        kubectl
    }

    /// kubectl through the gateway, to its end.
    pub(crate) fn kubectl(&self, agent: Agent, args: &[&str]) -> Output {
        run(&mut self.kubectl_of(KUBECTL[0], agent, args))
    }

    fn kubectl_at(&self, version: &str, url: &str, token: &str) -> Command {
        let mut kubectl = command(kubectl(version));
        kubectl
            .env("HOME", self.dir.path())
            .env("KUBECONFIG", "/nonexistent")
            .arg("--server")
            .arg(url)
            .arg("--token")
            .arg(token)
            .arg("--certificate-authority")
            .arg(self.path("ca.pem"));
        kubectl
    }

    /// A request of curl's through the gateway: its answer's body, and its status as last line.
    pub(crate) fn curl(&self, agent: Agent, args: &[&str], path: &str) -> Output {
        run(&mut self.curl_command(agent, args, path))
    }

    /// The same, still to be run.
    pub(crate) fn curl_command(&self, agent: Agent, args: &[&str], path: &str) -> Command {
        let token = self.issuer.token(agent);
        let mut curl = command("curl");
        curl.args(["--silent", "--show-error", "--path-as-is", "--cacert"])
            .arg(self.path("ca.pem"))
            .args(["--write-out", "\n%{http_code}", "--max-time", "20"])
            .args(["--header", &format!("Authorization: Bearer {token}")])
            .args(args)
            .arg(format!("{}{path}", self.url()));
        curl
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

    /// The approval that waits.
    pub(crate) fn pending(&self) -> serde_json::Value {
        until("an approval", || {
            let list = self.as_person(Person::Rita, &["approvals", "list", "--json"]);
            let list = list.json();
            let first = list.as_array().and_then(|all| all.first());
            first.cloned()
        })
    }
}

/// The versions of kubectl that tests run.
pub(crate) const KUBECTL: [&str; 2] = ["1.32", "1.36"];

/// kubectl of a version, below the folder that `GATEWAY_TEST_KUBECTL` names.
pub(crate) fn kubectl(version: &str) -> PathBuf {
    let folder = std::env::var_os("GATEWAY_TEST_KUBECTL").expect(
        "GATEWAY_TEST_KUBECTL names a folder of kubectl-1.32 and kubectl-1.36: see scripts/test",
    );
    PathBuf::from(folder).join(format!("kubectl-{version}"))
}

fn write_policy(folder: &Path, choices: &Choices) {
    if choices.starter {
        let starter = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../gateway-policy/starter/kubernetes"
        );
        copy_dir(Path::new(starter), folder);
    } else {
        std::fs::create_dir(folder).unwrap();
        let policy = include_str!("../kubernetes/policy.cedar");
        std::fs::write(folder.join("policy.cedar"), policy).unwrap();
        let classification = choices.classification;
        std::fs::write(folder.join("classification.toml"), classification).unwrap();
    }
    std::fs::write(folder.join("agents.toml"), agents()).unwrap();
}

/// A client certificate as a credential, TOML.
pub(crate) fn certificate(certificate: &Path, key: &Path) -> String {
    format!(
        "{{ kind = \"certificate\", certificate = \"{}\", key = \"{}\" }}",
        certificate.display(),
        key.display()
    )
}
