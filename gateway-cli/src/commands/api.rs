//! The client of the admin API, for commands.

use std::path::{Path, PathBuf};

use clap::Args;
use gateway_core::azure::https_client;
use reqwest::{Method, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{Failure, login};
use crate::{admin::dto::ProblemView, config::SecretSource, tls};

/// Largest answer, bytes.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Which gateway, and as whom.
#[derive(Debug, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ApiArgs {
    /// The gateway's admin API, such as `https://gateway.example:8443`.
    #[arg(long, value_name = "URL", env = "GATEWAY_URL")]
    gateway: Option<String>,
    /// Certificate authorities that the gateway's certificate chains to, PEM. Without it, the
    /// machine's own.
    #[arg(long, value_name = "FILE", env = "GATEWAY_CA")]
    ca: Option<PathBuf>,
    /// A file with your Entra token. Without it, `GATEWAY_TOKEN`, or what `gateway login` stored.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// A connection to the admin API.
pub(super) struct Api {
    http: reqwest::Client,
    url: String,
    token: SecretString,
}

impl ApiArgs {
    /// As whom a token says: the file's, `GATEWAY_TOKEN`, or what `gateway login` stored.
    pub(super) fn open(&self) -> Result<Api, Failure> {
        self.open_with(token(self.token_file.as_deref())?)
    }

    /// The same with absolute paths: for commands that run elsewhere later.
    pub(super) fn absolute(self) -> Result<Self, Failure> {
        let absolute = |path: Option<PathBuf>| {
            let path = path.map(std::path::absolute).transpose();
            path.map_err(|e| Failure::other("the working directory", e))
        };
        Ok(Self {
            gateway: self.gateway,
            ca: absolute(self.ca)?,
            token_file: absolute(self.token_file)?,
        })
    }

    /// As whom this token says.
    pub(super) fn open_with(&self, token: SecretString) -> Result<Api, Failure> {
        let url = self.gateway.clone().ok_or_else(|| {
            Failure::plain("no gateway is named").with_hint("use --gateway URL or set GATEWAY_URL")
        })?;
        let tls = tls::client(self.ca.as_deref()).map_err(|e| Failure::plain(e.to_string()))?;
        let http = https_client(tls).map_err(|e| Failure::plain(e.to_string()))?;
        Ok(Api {
            http,
            url: url.trim_end_matches('/').to_owned(),
            token,
        })
    }
}

fn token(file: Option<&Path>) -> Result<SecretString, Failure> {
    let source = match file {
        Some(file) => SecretSource::File(file.into()),
        None if std::env::var_os("GATEWAY_TOKEN").is_some() => {
            SecretSource::Env("GATEWAY_TOKEN".into())
        }
        None => SecretSource::File(login::token_path()?),
    };
    source.read().map_err(|e| {
        Failure::plain(e.to_string())
            .with_hint("sign in with `gateway login`, or use --token-file or GATEWAY_TOKEN")
    })
}

impl Api {
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let body = self.call(Method::GET, path, None::<&()>).await?;
        understood(&body)
    }

    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        let body = self.call(Method::POST, path, Some(body)).await?;
        understood(&body)
    }

    pub(super) async fn post_empty(&self, path: &str) -> Result<(), Failure> {
        self.call(Method::POST, path, None::<&()>).await.map(drop)
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<Vec<u8>, Failure> {
        let url = format!("{}{path}", self.url);
        let mut request = self
            .http
            .request(method, &url)
            .bearer_auth(self.token.expose_secret());
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request
            .send()
            .await
            .map_err(|e| unreachable_gateway(&self.url, &e))?;
        let status = response.status();
        let body = bounded(response).await?;
        if status.is_success() {
            return Ok(body);
        }
        let detail = serde_json::from_slice::<ProblemView>(&body).map_or_else(
            |_| format!("the gateway answered {status}"),
            |problem| problem.detail,
        );
        Err(match status {
            StatusCode::UNAUTHORIZED => {
                Failure::no(detail).with_hint("sign in again: `gateway login`")
            }
            _ => Failure::no(detail),
        })
    }
}

fn unreachable_gateway(url: &str, error: &reqwest::Error) -> Failure {
    let mut why = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        why = cause.to_string();
        source = cause.source();
    }
    Failure::other(format!("can't reach {url}"), why)
}

/// Reads an answer of bounded size.
pub(super) async fn bounded(mut response: reqwest::Response) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|e| Failure::other("reading the answer", e))?
    {
        if chunk.len() > ANSWER_BYTES_MAX.saturating_sub(body.len()) {
            return Err(Failure::plain("the answer is too large"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn understood<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|e| Failure::other("the answer can't be understood", e))
}
