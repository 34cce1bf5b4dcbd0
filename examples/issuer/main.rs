//! A development issuer with the paths and token shapes of Entra ID, for tests and quickstarts.
//!
//! It listens on loopback only, makes its certificates and keys at start, and mints whatever token
//! it is asked for under `/dev/`: never run it where anybody trusts it.
//!
//! ```text
//! issuer --config directory.toml --listen 127.0.0.1:0 --cert-dir DIR --ready-file DIR/ready.json
//! ```
//!
//! | path | what |
//! |---|---|
//! | `GET /{tenant}/v2.0/.well-known/openid-configuration` | discovery |
//! | `GET /{tenant}/discovery/v2.0/keys` | keys, each with its `issuer` |
//! | both without `v2.0` | the same for v1.0 tokens |
//! | `POST /{tenant}/oauth2/v2.0/token` | `client_credentials` by secret or assertion; `device_code` |
//! | `POST /{tenant}/oauth2/v2.0/devicecode` | starts a device code sign-in |
//! | `GET\|POST /dev/approve?user_code=..&user=..` | plays the person; without `user` declines |
//! | `POST /dev/token` | any token: `{"claims": {"exp": 0}, "signature": "none"}` and so on |
//! | `POST /dev/rotate?drop_old=true` | a new signing key |
//! | `POST /dev/fault?kind=down` | `none`, `down`, `other_issuer`, `keys_elsewhere`, `huge_keys` |
//! | `GET /dev/requests` | how often each endpoint was asked |

mod config;
mod dev;
mod entra;
mod keys;
mod state;
mod tls;
mod tokens;

use std::{
    fs,
    io::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use axum::extract::DefaultBodyLimit;
use clap::Parser;
use serde_json::json;

use crate::{config::Directory, state::Issuer, tls::TlsListener};

/// Any error: this is a tool, not a library.
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Largest request body.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// A development issuer with the paths and token shapes of Entra ID. Loopback only.
#[derive(Parser)]
struct Arguments {
    /// Tenants, apps, users and resources (TOML)
    #[arg(long)]
    config: PathBuf,
    /// Loopback address and port; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Where to write ca.pem, cert.pem and key.pem
    #[arg(long)]
    cert_dir: PathBuf,
    /// Where to write {"authority", "ca"} once requests are served
    #[arg(long)]
    ready_file: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    match serve(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to do about a closed stderr.
            let _ = writeln!(std::io::stderr(), "issuer: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(arguments: Arguments) -> Result<(), BoxError> {
    if !arguments.listen.ip().is_loopback() {
        return Err(
            "--listen must be a loopback address: anybody who reaches this issuer gets any token"
                .into(),
        );
    }
    let text = fs::read_to_string(&arguments.config)
        .map_err(|error| format!("cannot read {}: {error}", arguments.config.display()))?;
    let directory: Directory = toml::from_str(&text)?;
    let tls = tls::make_certificates(&arguments.cert_dir)?;
    let tcp = tokio::net::TcpListener::bind(arguments.listen).await?;
    let authority = format!("https://localhost:{}", tcp.local_addr()?.port());
    let issuer = Arc::new(Issuer::new(authority.clone(), directory)?);
    let app = entra::routes()
        .merge(dev::routes())
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(issuer);
    let listener = TlsListener::new(tcp, tls)?;
    write_ready(
        &arguments.ready_file,
        &authority,
        &arguments.cert_dir.join("ca.pem"),
    )?;
    axum::serve(listener, app)
        .with_graceful_shutdown(interrupted())
        .await?;
    Ok(())
}

/// Appears whole or not at all, so that a waiting script never reads half of it.
fn write_ready(path: &Path, authority: &str, ca: &Path) -> Result<(), BoxError> {
    let ready = json!({ "authority": authority, "ca": fs::canonicalize(ca)? });
    let unfinished = path.with_extension("unfinished");
    fs::write(&unfinished, ready.to_string())?;
    fs::rename(&unfinished, path)?;
    Ok(())
}

async fn interrupted() {
    if tokio::signal::ctrl_c().await.is_err() {
        // No handler could be installed: the default action of the signal ends the process.
        std::future::pending::<()>().await;
    }
}
