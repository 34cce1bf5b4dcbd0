//! `gateway token`: the agent's side.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use gateway_core::{
    azure::{CredentialKind, TokenSource, https_client},
    id::{AppId, TenantId},
    identity::TokenRules,
};
use secrecy::ExposeSecret as _;
use serde::Serialize;

use super::{Exit, Failure, block_on};
use crate::{clock, config::SecretSource, console, tls};

/// Print an Entra token, to be used as the password of an unmodified client. The credential is
/// named, never guessed.
#[derive(Debug, Args)]
pub(super) struct TokenArgs {
    /// What the agent proves itself with.
    #[arg(long, value_enum)]
    kind: Kind,
    /// The tenant.
    #[arg(long, env = "AZURE_TENANT_ID", value_parser = TenantId::parse)]
    tenant: TenantId,
    /// The agent's client id.
    #[arg(long, env = "AZURE_CLIENT_ID", value_parser = AppId::parse)]
    client_id: AppId,
    /// What the token is for, such as `api://gateway/.default`.
    #[arg(long, env = "GATEWAY_SCOPE")]
    scope: String,
    /// A file with the client secret. Without it, `AZURE_CLIENT_SECRET`.
    #[arg(long, value_name = "FILE")]
    client_secret_file: Option<PathBuf>,
    /// The projected service-account token, for `workload-identity`.
    #[arg(long, value_name = "FILE", env = "AZURE_FEDERATED_TOKEN_FILE")]
    federated_token_file: Option<PathBuf>,
    /// Entra's host.
    #[arg(long, env = "AZURE_AUTHORITY_HOST", default_value = TokenRules::PUBLIC_CLOUD)]
    authority: String,
    /// Certificate authorities for a private authority, PEM.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// As JSON, with the expiry.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    /// A client secret.
    ClientSecret,
    /// A federated token (Kubernetes workload identity).
    WorkloadIdentity,
}

#[derive(Serialize)]
struct TokenView<'a> {
    access_token: &'a str,
    expires_at: String,
}

impl TokenArgs {
    pub(super) fn run(self) -> Result<Exit, Failure> {
        block_on(self.print())
    }

    async fn print(self) -> Result<Exit, Failure> {
        let plain = |error: &dyn std::error::Error| Failure::plain(error.to_string());
        let tls = tls::client(self.ca.as_deref()).map_err(|e| plain(&e))?;
        let http = https_client(tls).map_err(|e| plain(&e))?;
        // The audience isn't checked here: whoever gets the token does.
        let rules = TokenRules::new(&self.authority, [self.tenant], [self.scope.clone()])
            .map_err(|e| plain(&e))?;
        let kind = self.credential()?;
        let source = TokenSource::new(http, &rules, self.tenant, self.client_id, kind)
            .map_err(|e| plain(&e))?;
        let token = source.token(&self.scope).await.map_err(|e| plain(&e))?;
        let secret = token.secret.expose_secret();
        if self.json {
            let expires_at = clock::display(token.expires_at);
            console::json(&TokenView {
                access_token: secret,
                expires_at,
            });
        } else {
            console::line(secret);
        }
        Ok(Exit::Done)
    }

    fn credential(&self) -> Result<CredentialKind, Failure> {
        match self.kind {
            Kind::ClientSecret => {
                let source = match &self.client_secret_file {
                    Some(file) => SecretSource::File(file.clone()),
                    None => SecretSource::Env("AZURE_CLIENT_SECRET".into()),
                };
                let secret = source.read().map_err(|e| Failure::plain(e.to_string()))?;
                Ok(CredentialKind::ClientSecret(secret))
            }
            Kind::WorkloadIdentity => {
                let token_file = self.federated_token_file.clone().ok_or_else(|| {
                    Failure::plain("workload-identity needs --federated-token-file")
                })?;
                Ok(CredentialKind::WorkloadIdentity { token_file })
            }
        }
    }
}
