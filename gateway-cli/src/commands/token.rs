//! `gateway token`: the agent's side.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use gateway_core::{
    azure::{AccessToken, CredentialKind, TokenSource, https_client, metadata_client},
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
    #[command(flatten)]
    source: SourceArgs,
    /// How it is printed.
    #[arg(long, value_enum, default_value_t = Format::Plain)]
    format: Format,
    /// The same as `--format json`.
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

/// How a token is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Nothing but the token.
    Plain,
    /// As JSON, with the expiry.
    Json,
    /// What kubectl expects of a credential plugin.
    ExecCredential,
}

/// What an agent proves itself with at Entra, and for what.
#[derive(Debug, Args)]
pub(super) struct SourceArgs {
    /// What the agent proves itself with.
    #[arg(long, value_enum)]
    kind: Kind,
    /// The tenant; for a client secret and a federated token.
    #[arg(long, env = "AZURE_TENANT_ID", value_parser = TenantId::parse)]
    tenant: Option<TenantId>,
    /// The agent's client id. A managed identity's, where the machine has several.
    #[arg(long, env = "AZURE_CLIENT_ID", value_parser = AppId::parse)]
    client_id: Option<AppId>,
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
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    /// A client secret.
    ClientSecret,
    /// A federated token (Kubernetes workload identity).
    WorkloadIdentity,
    /// The managed identity of this machine.
    ManagedIdentity,
    /// Whoever is signed in to the Azure CLI or the Azure Developer CLI.
    Developer,
}

#[derive(Serialize)]
struct TokenView<'a> {
    access_token: &'a str,
    expires_at: String,
}

/// `client.authentication.k8s.io/v1` (Kubernetes 1.32, "Client Authentication (v1)",
/// "ExecCredential").
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ExecCredential<'a> {
    api_version: &'static str,
    kind: &'static str,
    status: ExecCredentialStatus<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ExecCredentialStatus<'a> {
    expiration_timestamp: String,
    token: &'a str,
}

/// The version of [`ExecCredential`].
pub(super) const EXEC_CREDENTIAL: &str = "client.authentication.k8s.io/v1";

impl TokenArgs {
    pub(super) fn run(self) -> Result<Exit, Failure> {
        block_on(self.print())
    }

    async fn print(self) -> Result<Exit, Failure> {
        let token = self.source.token().await?;
        let secret = token.secret.expose_secret();
        let expires_at = clock::display(token.expires_at);
        match self.format {
            Format::Plain if !self.json => console::line(secret),
            Format::Plain | Format::Json => console::json(&TokenView {
                access_token: secret,
                expires_at,
            }),
            Format::ExecCredential => console::json(&ExecCredential {
                api_version: EXEC_CREDENTIAL,
                kind: "ExecCredential",
                status: ExecCredentialStatus {
                    expiration_timestamp: expires_at,
                    token: secret,
                },
            }),
        }
        Ok(Exit::Done)
    }
}

impl SourceArgs {
    async fn token(&self) -> Result<AccessToken, Failure> {
        let plain = |error: &dyn std::error::Error| Failure::plain(error.to_string());
        let tls = tls::client(self.ca.as_deref()).map_err(|e| plain(&e))?;
        let source = match self.kind {
            Kind::ManagedIdentity => {
                let http = metadata_client(tls).map_err(|e| plain(&e))?;
                TokenSource::managed_identity(http, self.client_id)
            }
            Kind::Developer => TokenSource::developer(),
            Kind::ClientSecret | Kind::WorkloadIdentity => {
                let needed = |name| Failure::plain(format!("this kind needs {name}"));
                let tenant = self.tenant.ok_or_else(|| needed("--tenant"))?;
                let client = self.client_id.ok_or_else(|| needed("--client-id"))?;
                let http = https_client(tls).map_err(|e| plain(&e))?;
                // The audience isn't checked here: whoever gets the token does.
                let rules = TokenRules::new(&self.authority, [tenant], [self.scope.clone()])
                    .map_err(|e| plain(&e))?;
                TokenSource::new(http, &rules, tenant, client, self.credential()?)
            }
        };
        let source = source.map_err(|e| plain(&e))?;
        source.token(&self.scope).await.map_err(|e| plain(&e))
    }

    /// The same as arguments, for a command that runs elsewhere later.
    pub(super) fn to_arguments(&self) -> Result<Vec<String>, Failure> {
        let kind = match self.kind {
            Kind::ClientSecret => "client-secret",
            Kind::WorkloadIdentity => "workload-identity",
            Kind::ManagedIdentity => "managed-identity",
            Kind::Developer => "developer",
        };
        let mut arguments: Vec<String> = [
            ("--kind", Some(kind.to_owned())),
            ("--tenant", self.tenant.map(|id| id.to_string())),
            ("--client-id", self.client_id.map(|id| id.to_string())),
            ("--scope", Some(self.scope.clone())),
            ("--authority", Some(self.authority.clone())),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .flat_map(|(name, value)| [name.to_owned(), value])
        .collect();
        let files = [
            ("--client-secret-file", &self.client_secret_file),
            ("--federated-token-file", &self.federated_token_file),
            ("--ca", &self.ca),
        ];
        for (name, file) in files {
            let Some(file) = file else { continue };
            let file = std::path::absolute(file).map_err(|e| Failure::other(file.display(), e))?;
            let file = file.into_os_string().into_string();
            let file = file.map_err(|_| Failure::plain(format!("{name}: the path isn't UTF-8")))?;
            arguments.extend([name.to_owned(), file]);
        }
        Ok(arguments)
    }

    /// What the application proves itself with: a federated token, else its secret.
    fn credential(&self) -> Result<CredentialKind, Failure> {
        if matches!(self.kind, Kind::WorkloadIdentity) {
            let token_file = self
                .federated_token_file
                .clone()
                .ok_or_else(|| Failure::plain("workload-identity needs --federated-token-file"))?;
            return Ok(CredentialKind::WorkloadIdentity { token_file });
        }
        let source = match &self.client_secret_file {
            Some(file) => SecretSource::File(file.clone()),
            None => SecretSource::Env("AZURE_CLIENT_SECRET".into()),
        };
        let secret = source.read().map_err(|e| Failure::plain(e.to_string()))?;
        Ok(CredentialKind::ClientSecret(secret))
    }
}
