//! The configuration: one TOML file, checked whole before anything starts.
//!
//! ```toml
//! [gateway]
//! id = "gw-1"                       # names this gateway in evidence
//! data_dir = "data"                 # relative paths are relative to this file
//! policy = "policy"
//! admin = "127.0.0.1:8443"
//!
//! [entra]
//! tenants = ["11111111-2222-3333-4444-555555555555"]
//! audiences = ["api://gateway"]
//!
//! [tls]
//! certificate = "tls/gateway.crt"
//! key = "tls/gateway.key"
//!
//! [[listener]]
//! address = "127.0.0.1:6432"        # no `target`: shared, the database is `target[:database]`
//!
//! [[listener]]
//! address = "127.0.0.1:2222"
//! protocol = "ssh"                  # shared, the user name is the target
//!
//! [[target]]
//! name = "shop"
//! protocol = "postgres"
//! address = "localhost:5432"
//! environment = "prod"
//! ca_file = "tls/shop-ca.crt"
//! credential = { kind = "password", user = "gateway", password_file = "shop.password" }
//! masking = "guaranteed"            # the role is proven to read nothing classified; else "shared"
//!
//! [[target]]
//! name = "build"
//! protocol = "ssh"
//! address = "build.example:22"
//! environment = "dev"
//! host_keys = ["ssh-ed25519 AAAA..."]
//! user = "gateway"
//! key_file = "build.key"
//!
//! [[target]]
//! name = "cluster"
//! protocol = "kubernetes"
//! address = "api.example:6443"
//! environment = "prod"
//! ca_file = "cluster-ca.crt"
//! user = "gateway"                  # the name the credential has in the cluster, for evidence
//! credential = { kind = "token", token_file = "cluster.token" }
//! ```

mod mistake;
mod read;
mod reader;
mod secret;
mod target;

use std::{collections::BTreeMap, fmt, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use gateway_core::{
    id::{AppId, TargetName, TenantId},
    limits::Limits,
    target::{Durability, Masking, Mode, Target},
};

pub(crate) use mistake::{ConfigError, Mistake};
pub(crate) use secret::{SecretError, SecretSource};

/// A whole configuration. Every path in it is absolute or relative to the working directory.
#[derive(Debug)]
pub(crate) struct Config {
    /// The gateway itself.
    pub(crate) gateway: GatewayConfig,
    /// Whose tokens are accepted.
    pub(crate) entra: Entra,
    /// The certificate that listeners show.
    pub(crate) tls: TlsFiles,
    /// Where agents connect; at least one.
    pub(crate) listeners: Vec<Listener>,
    /// The servers behind the gateway; at least one.
    pub(crate) targets: BTreeMap<TargetName, TargetConfig>,
}

/// The gateway itself.
#[derive(Debug)]
pub(crate) struct GatewayConfig {
    /// Names this gateway in evidence: a log's origin is `gateway/<id>`.
    pub(crate) id: String,
    /// Where evidence and state are kept.
    pub(crate) data_dir: PathBuf,
    /// The policy folder.
    pub(crate) policy: PathBuf,
    /// Where the admin API listens; `None` switches it off, and with it every approval.
    pub(crate) admin: Option<SocketAddr>,
    /// The key of keyed masks (`hash`, `pseudonym`); `None`: policies can't use them.
    pub(crate) mask_key: Option<SecretSource>,
    /// Bounds of the gateway as a whole and of one session.
    pub(crate) bounds: Bounds,
}

/// Bounds of the gateway as a whole and of one session.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    /// Connections at once, login included.
    pub(crate) sessions_max: usize,
    /// Connections at once from one address.
    pub(crate) sessions_per_source_max: usize,
    /// Approvals pending at once.
    pub(crate) approvals_max: usize,
    /// How long a shutdown waits for sessions to end by themselves.
    pub(crate) drain_time: Duration,
    /// Bounds of one session.
    pub(crate) session: Arc<Limits>,
}

/// Whose tokens are accepted, and what they entitle to.
#[derive(Debug)]
pub(crate) struct Entra {
    /// `https://host[:port]`.
    pub(crate) authority: String,
    /// Tenants whose tokens are accepted; at least one.
    pub(crate) tenants: Vec<TenantId>,
    /// Audiences tokens must be made out to; at least one.
    pub(crate) audiences: Vec<String>,
    /// The issuer of v1.0 tokens, where these are accepted: `https://host[:port]`.
    pub(crate) v1_issuer: Option<String>,
    /// Extra certificate authorities for a private authority.
    pub(crate) ca_file: Option<PathBuf>,
    /// App roles, one of which every application's token must carry; empty: none is asked.
    pub(crate) required_roles: Vec<String>,
    /// App roles that may read approvals.
    pub(crate) reviewer_roles: Vec<String>,
    /// App roles that may see and end sessions and reload the policy.
    pub(crate) operator_roles: Vec<String>,
}

/// PEM files of a certificate chain and its key.
#[derive(Clone, Debug)]
pub(crate) struct TlsFiles {
    /// The chain, leaf first.
    pub(crate) certificate: PathBuf,
    /// The key: PKCS#8, SEC1 or PKCS#1.
    pub(crate) key: PathBuf,
}

/// Where agents connect.
#[derive(Clone, Debug)]
pub(crate) struct Listener {
    /// The address; port 0 takes a free one.
    pub(crate) address: SocketAddr,
    /// What is spoken there.
    pub(crate) protocol: Protocol,
    /// The one target behind it; `None`: the client names it.
    pub(crate) target: Option<TargetName>,
}

/// A protocol that the gateway speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// PostgreSQL's frontend/backend protocol.
    Postgres,
    /// SSH.
    Ssh,
    /// The Kubernetes API.
    Kubernetes,
}

impl Protocol {
    /// Every one.
    pub(crate) const ALL: [Self; 3] = [Self::Postgres, Self::Ssh, Self::Kubernetes];

    /// Its name in configuration, policies and evidence.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Ssh => "ssh",
            Self::Kubernetes => "kubernetes",
        }
    }

    /// How a client names its target on a shared listener.
    pub(crate) const fn names_target_by(self) -> &'static str {
        match self {
            Self::Postgres => "the database: `target` or `target:database`",
            Self::Ssh => "the user name",
            Self::Kubernetes => "the first segment of the path",
        }
    }

    fn parse(text: &str) -> Result<Self, &'static str> {
        Self::ALL
            .into_iter()
            .find(|protocol| protocol.as_str() == text)
            .ok_or("expects `postgres`, `ssh` or `kubernetes`")
    }
}

/// A server behind the gateway.
#[derive(Debug)]
pub(crate) struct TargetConfig {
    /// Its name.
    pub(crate) name: TargetName,
    /// Where it listens.
    pub(crate) address: HostPort,
    /// The environment, for policies.
    pub(crate) environment: String,
    /// Enforced or observed.
    pub(crate) mode: Mode,
    /// Whether classified columns are masked. Off only by an explicit `mask = "off"`.
    pub(crate) mask: bool,
    /// Durability of its evidence.
    pub(crate) durability: Durability,
    /// What is spoken there, and what the gateway proves itself with.
    pub(crate) upstream: Upstream,
}

/// What one protocol needs to know of its server.
#[derive(Debug)]
pub(crate) enum Upstream {
    /// A PostgreSQL server.
    Postgres(PostgresUpstream),
    /// An SSH server.
    Ssh(SshUpstream),
    /// A Kubernetes API server.
    Kubernetes(KubernetesUpstream),
}

/// A PostgreSQL server.
#[derive(Debug)]
pub(crate) struct PostgresUpstream {
    /// The name its certificate must carry, and the authorities it must chain to.
    pub(crate) tls: ServerTls,
    /// Its TLS begins without being asked for.
    pub(crate) direct_tls: bool,
    /// The database of clients that name none.
    pub(crate) database: Option<String>,
    /// What the gateway logs in with.
    pub(crate) credential: Credential,
    /// What keeps classified values from agents.
    pub(crate) masking: Masking,
}

/// An SSH server.
#[derive(Debug)]
pub(crate) struct SshUpstream {
    /// The account.
    pub(crate) user: String,
    /// The gateway's private key, OpenSSH's format, unencrypted.
    pub(crate) key_file: PathBuf,
    /// The keys the host may show, one of which it must: `ssh-ed25519 AAAA...`.
    pub(crate) host_keys: Vec<String>,
}

/// A Kubernetes API server.
#[derive(Debug)]
pub(crate) struct KubernetesUpstream {
    /// The name its certificate must carry, and the authorities it must chain to.
    pub(crate) tls: ServerTls,
    /// The user that the credential stands for in the cluster; must be allowed to impersonate.
    pub(crate) user: String,
    /// What the gateway proves itself with.
    pub(crate) credential: KubernetesCredential,
}

/// What the gateway proves itself with at an API server.
#[derive(Clone, Debug)]
pub(crate) enum KubernetesCredential {
    /// A client certificate.
    Certificate(TlsFiles),
    /// A bearer token; read again whenever a connection is opened.
    Token(SecretSource),
}

/// How a server's certificate is verified.
#[derive(Debug)]
pub(crate) struct ServerTls {
    /// The name it must carry.
    pub(crate) server_name: String,
    /// The authorities it must chain to.
    pub(crate) ca_file: PathBuf,
}

impl Upstream {
    /// What is spoken there.
    pub(crate) fn protocol(&self) -> Protocol {
        match self {
            Self::Postgres(_) => Protocol::Postgres,
            Self::Ssh(_) => Protocol::Ssh,
            Self::Kubernetes(_) => Protocol::Kubernetes,
        }
    }

    /// What keeps classified values from agents there.
    pub(crate) fn masking(&self) -> Masking {
        match self {
            Self::Postgres(upstream) => upstream.masking,
            Self::Ssh(_) | Self::Kubernetes(_) => Masking::Shared,
        }
    }

    /// Who the gateway is there.
    pub(crate) fn user(&self) -> &str {
        match self {
            Self::Postgres(upstream) => upstream.credential.user(),
            Self::Ssh(upstream) => &upstream.user,
            Self::Kubernetes(upstream) => &upstream.user,
        }
    }
}

impl TargetConfig {
    /// The target as decisions see it.
    pub(crate) fn describe(&self, classified: bool) -> Target {
        Target {
            name: self.name.clone(),
            environment: self.environment.clone(),
            protocol: self.upstream.protocol().as_str(),
            mode: self.mode,
            durability: self.durability,
            upstream_principal: self.upstream.user().to_owned(),
            classified: classified && self.mask,
            masking: self.upstream.masking(),
        }
    }
}

/// A host and a port, not yet resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostPort {
    /// Host name or address; without brackets.
    pub(crate) host: String,
    /// Port, from 1.
    pub(crate) port: u16,
}

impl HostPort {
    /// Parses `host:port` or `[v6]:port`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        const WANTED: &str = "expects `host:port`";
        let (host, port) = text.rsplit_once(':').ok_or(WANTED)?;
        let port: u16 = port.parse().map_err(|_| WANTED)?;
        let host = host
            .strip_prefix('[')
            .and_then(|h| h.strip_suffix(']'))
            .unwrap_or(host);
        if host.is_empty() || port == 0 {
            return Err(WANTED.into());
        }
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// What the gateway logs in to a target with. Agents never see it.
#[derive(Debug)]
pub(crate) enum Credential {
    /// A database password.
    Password {
        /// The role.
        user: String,
        /// Its password.
        password: SecretSource,
    },
    /// The gateway's own Entra identity, by client secret: the token is the password.
    ClientSecret {
        /// The role.
        user: String,
        /// The identity.
        identity: EntraIdentity,
        /// Its client secret.
        secret: SecretSource,
    },
    /// The gateway's own Entra identity, by a federated token: the token is the password.
    WorkloadIdentity {
        /// The role.
        user: String,
        /// The identity.
        identity: EntraIdentity,
        /// The projected service-account token; re-read whenever a token is asked for.
        token_file: PathBuf,
    },
    /// The managed identity of the machine that the gateway runs on: its token is the password.
    ManagedIdentity {
        /// The role.
        user: String,
        /// The identity's client id, where the machine has several.
        client: Option<AppId>,
        /// What tokens are asked for; Azure Database's by default.
        scope: String,
    },
    /// Whoever is signed in to the Azure CLI on this machine, for laptops: the token is the password.
    Developer {
        /// The role.
        user: String,
        /// What tokens are asked for; Azure Database's by default.
        scope: String,
    },
}

impl Credential {
    /// The role the gateway logs in as.
    pub(crate) fn user(&self) -> &str {
        match self {
            Self::Password { user, .. }
            | Self::ClientSecret { user, .. }
            | Self::WorkloadIdentity { user, .. }
            | Self::ManagedIdentity { user, .. }
            | Self::Developer { user, .. } => user,
        }
    }
}

/// An Entra application of the gateway's own.
#[derive(Clone, Debug)]
pub(crate) struct EntraIdentity {
    /// Its tenant.
    pub(crate) tenant: TenantId,
    /// Its client id.
    pub(crate) client: AppId,
    /// What tokens are asked for; Azure Database's by default.
    pub(crate) scope: String,
}
