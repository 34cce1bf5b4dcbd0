//! `gateway login`: a person's sign-in by device code (RFC 8628).

use std::{
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use gateway_core::{
    azure::https_client,
    id::{AppId, TenantId},
    identity::TokenRules,
};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use tokio::time::{Instant, sleep};

use super::{Exit, Failure, api::bounded, block_on};
use crate::{console, tls};

/// RFC 8628, section 3.4.
const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";
/// Longest wait for the person, whatever the issuer says.
const WAIT_MAX: Duration = Duration::from_secs(15 * 60);

/// Sign in as a person. Prints a code to enter at the page it names; keeps the token in a file
/// that only you can read, where the other commands find it.
#[derive(Debug, Args)]
pub(super) struct LoginArgs {
    /// The tenant.
    #[arg(long, env = "AZURE_TENANT_ID", value_parser = TenantId::parse)]
    tenant: TenantId,
    /// The client id that people sign in with: a public client of the tenant.
    #[arg(long, env = "GATEWAY_LOGIN_CLIENT_ID", value_parser = AppId::parse)]
    client_id: AppId,
    /// What the token is for, such as `api://gateway/.default`.
    #[arg(long, env = "GATEWAY_SCOPE")]
    scope: String,
    /// Entra's host.
    #[arg(long, env = "AZURE_AUTHORITY_HOST", default_value = TokenRules::PUBLIC_CLOUD)]
    authority: String,
    /// Certificate authorities for a private authority, PEM.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Keep the token in this file instead.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

#[derive(Deserialize)]
struct DeviceCode {
    device_code: String,
    user_code: String,
    verification_uri: String,
    expires_in: u64,
    interval: Option<u64>,
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
}

#[derive(Deserialize)]
struct Refused {
    error: String,
    #[serde(default)]
    error_description: String,
}

/// Where the token is kept: `token` in [`state_dir`].
pub(super) fn token_path() -> Result<PathBuf, Failure> {
    Ok(state_dir()?.join("token"))
}

/// `$XDG_STATE_HOME/gateway`, by default below `~/.local/state`.
pub(super) fn state_dir() -> Result<PathBuf, Failure> {
    let absolute = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|p| p.is_absolute())
    };
    absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
        .map(|state| state.join("gateway"))
        .ok_or_else(|| {
            Failure::plain("neither XDG_STATE_HOME nor HOME says where to keep the gateway's files")
        })
}

impl LoginArgs {
    pub(super) fn run(self) -> Result<Exit, Failure> {
        block_on(self.sign_in())
    }

    async fn sign_in(self) -> Result<Exit, Failure> {
        let path = match &self.token_file {
            Some(path) => path.clone(),
            None => token_path()?,
        };
        let tls = tls::client(self.ca.as_deref()).map_err(|e| Failure::plain(e.to_string()))?;
        let http = https_client(tls).map_err(|e| Failure::plain(e.to_string()))?;
        let base = format!(
            "{}/{}/oauth2/v2.0",
            self.authority.trim_end_matches('/'),
            self.tenant
        );
        let client = self.client_id.to_string();
        let code: DeviceCode = match post(
            &http,
            &format!("{base}/devicecode"),
            &[
                ("client_id", client.as_str()),
                ("scope", self.scope.as_str()),
            ],
        )
        .await?
        {
            Ok(code) => code,
            Err(refused) => return Err(refused.into()),
        };
        console::note(format!(
            "To sign in, open {} and enter the code {}",
            console::printable(&code.verification_uri),
            console::printable(&code.user_code)
        ));
        let token = wait(&http, &format!("{base}/token"), &client, &code).await?;
        store(&path, token.expose_secret().as_bytes())
            .map_err(|e| Failure::other(path.display(), e))?;
        console::note(format!("Signed in. The token is in {}", path.display()));
        Ok(Exit::Done)
    }
}

async fn wait(
    http: &reqwest::Client,
    url: &str,
    client: &str,
    code: &DeviceCode,
) -> Result<SecretString, Failure> {
    let deadline = Instant::now() + Duration::from_secs(code.expires_in).min(WAIT_MAX);
    let mut pause = Duration::from_secs(code.interval.unwrap_or(5).clamp(1, 60));
    let form = [
        ("grant_type", GRANT),
        ("client_id", client),
        ("device_code", code.device_code.as_str()),
    ];
    loop {
        sleep(pause).await;
        if Instant::now() > deadline {
            return Err(Failure::no("the code has expired"));
        }
        match post::<Granted>(http, url, &form).await? {
            Ok(granted) => return Ok(SecretString::from(granted.access_token)),
            Err(refused) if refused.error == "authorization_pending" => {}
            Err(refused) if refused.error == "slow_down" => pause += Duration::from_secs(5),
            Err(refused) => return Err(refused.into()),
        }
    }
}

async fn post<T: serde::de::DeserializeOwned>(
    http: &reqwest::Client,
    url: &str,
    form: &[(&str, &str)],
) -> Result<Result<T, Refused>, Failure> {
    let response = http
        .post(url)
        .form(form)
        .send()
        .await
        .map_err(|e| Failure::other("can't reach the issuer", e))?;
    let success = response.status().is_success();
    let body = bounded(response).await?;
    let unclear = |e| Failure::other("the issuer's answer can't be understood", e);
    if success {
        serde_json::from_slice(&body).map(Ok).map_err(unclear)
    } else {
        serde_json::from_slice(&body).map(Err).map_err(unclear)
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        let detail = refused.error_description.lines().next().unwrap_or_default();
        Self::no(format!("the issuer refused: {} {detail}", refused.error))
    }
}

/// Written beside and renamed, so that nobody sees half of it; never readable by others.
pub(super) fn store(path: &Path, content: &[u8]) -> std::io::Result<()> {
    if let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
    }
    let draft = path.with_extension("draft");
    match std::fs::remove_file(&draft) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&draft, path)
}
