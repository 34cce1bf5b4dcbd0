//! One target at run time, whatever it speaks.

use std::sync::Arc;

use gateway_core::{decision::Denial, identity::TokenRules, target::Target, wire::Route};
use gateway_policy::{Bundle, PolicyStore};

use crate::{
    config::{Protocol, TargetConfig, Upstream},
    credential::CredentialError,
    kubernetes::KubernetesTarget,
    postgres::PostgresTarget,
    ssh::SshTarget,
    tls::TlsError,
};

/// One target at run time.
pub(crate) struct TargetService {
    config: TargetConfig,
    server: Server,
}

enum Server {
    Postgres(Box<PostgresTarget>),
    Ssh(Arc<SshTarget>),
    Kubernetes(Arc<KubernetesTarget>),
}

/// A target can't be set up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SetupError {
    /// Its authorities can't be read.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Its credential can't be used.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// Its keys can't be used.
    #[error(transparent)]
    Ssh(#[from] crate::ssh::TargetError),
    /// Its credential can't be used.
    #[error(transparent)]
    Kubernetes(#[from] crate::kubernetes::TargetError),
}

impl TargetService {
    /// Sets a target up; connects nowhere yet.
    ///
    /// # Errors
    /// [`SetupError`] when its files can't be used.
    pub(crate) fn new(
        config: TargetConfig,
        http: &reqwest::Client,
        rules: &TokenRules,
    ) -> Result<Self, SetupError> {
        let server = match &config.upstream {
            Upstream::Postgres(upstream) => Server::Postgres(Box::new(PostgresTarget::new(
                &config, upstream, http, rules,
            )?)),
            Upstream::Ssh(upstream) => {
                Server::Ssh(Arc::new(SshTarget::new(config.address.clone(), upstream)?))
            }
            Upstream::Kubernetes(upstream) => Server::Kubernetes(Arc::new(KubernetesTarget::new(
                config.address.clone(),
                upstream,
            )?)),
        };
        Ok(Self { config, server })
    }

    /// Its configuration.
    pub(crate) fn config(&self) -> &TargetConfig {
        &self.config
    }

    /// What is spoken there.
    pub(crate) fn protocol(&self) -> Protocol {
        self.config.upstream.protocol()
    }

    /// The target, if it is a PostgreSQL server.
    pub(crate) fn postgres(&self) -> Option<&PostgresTarget> {
        match &self.server {
            Server::Postgres(target) => Some(target),
            Server::Ssh(_) | Server::Kubernetes(_) => None,
        }
    }

    /// The target, if it is an SSH server.
    pub(crate) fn ssh(&self) -> Option<&Arc<SshTarget>> {
        match &self.server {
            Server::Ssh(target) => Some(target),
            Server::Postgres(_) | Server::Kubernetes(_) => None,
        }
    }

    /// The target, if it is a Kubernetes API server.
    pub(crate) fn kubernetes(&self) -> Option<&Arc<KubernetesTarget>> {
        match &self.server {
            Server::Kubernetes(target) => Some(target),
            Server::Postgres(_) | Server::Ssh(_) => None,
        }
    }

    /// Connects, proves both sides to each other, and says how: one line for an operator.
    ///
    /// # Errors
    /// Why it can't be reached.
    pub(crate) async fn reach(&self) -> std::io::Result<String> {
        match &self.server {
            Server::Postgres(postgres) => {
                let loaded = postgres.catalogues().get(postgres.default_database()).await;
                let loaded = loaded.map_err(std::io::Error::other)?;
                Ok(format!("server {}", loaded.snapshot.server_version))
            }
            Server::Ssh(target) => target.reach().await,
            Server::Kubernetes(target) => target.reach().await,
        }
    }

    /// The target as decisions see it under `bundle`.
    pub(crate) fn describe(&self, bundle: &Bundle) -> Target {
        self.config.describe(bundle.classifies(&self.config.name))
    }

    /// Where a session goes that names `database`, if it may go there at all.
    ///
    /// # Errors
    /// A denial in words for the agent.
    pub(crate) async fn route(
        &self,
        policy: &PolicyStore,
        database: Option<&str>,
    ) -> Result<Route, Denial> {
        let target = self.describe(&policy.current());
        match &self.server {
            Server::Postgres(postgres) => {
                let database = database.unwrap_or(postgres.default_database());
                postgres.route(target, policy, database.to_owned()).await
            }
            Server::Ssh(_) | Server::Kubernetes(_) => Ok(Route {
                target,
                database: String::new(),
            }),
        }
    }
}
