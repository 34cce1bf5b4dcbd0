//! `gateway kubeconfig`: what kubectl needs to reach a target through the gateway.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use clap::Args;
use gateway_core::id::TargetName;
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    Exit, Failure, login,
    token::{EXEC_CREDENTIAL, SourceArgs},
};
use crate::console;

/// Largest file of certificate authorities, bytes.
const CA_BYTES_MAX: u64 = 1 << 20;

/// Write a kubeconfig for one target. No token is in it: kubectl asks `gateway token` for one
/// whenever it needs it.
#[derive(Debug, Args)]
pub(super) struct KubeconfigArgs {
    /// The target; also the names of the cluster, the user and the context.
    #[arg(value_parser = TargetName::parse)]
    target: TargetName,
    /// The gateway's listener, such as `https://gateway.example:6443`.
    #[arg(long, value_name = "URL")]
    server: String,
    /// The listener is shared by several targets: paths name the target.
    #[arg(long)]
    shared: bool,
    /// Certificate authorities that the gateway's certificate chains to, PEM. Without it, the
    /// machine's own.
    #[arg(long, value_name = "FILE")]
    server_ca: Option<PathBuf>,
    /// The context's namespace.
    #[arg(long)]
    namespace: Option<String>,
    /// Where to write it; standard output without it.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    source: SourceArgs,
}

/// How a cluster is reached.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct ClusterEntry {
    server: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate_authority_data: Option<String>,
}

/// Which cluster, as whom.
#[derive(Serialize)]
struct ContextEntry<'a> {
    cluster: &'a str,
    user: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<&'a str>,
}

impl KubeconfigArgs {
    pub(super) fn run(self) -> Result<Exit, Failure> {
        let config = self.config()?;
        let Some(path) = &self.output else {
            console::json(&config);
            return Ok(Exit::Done);
        };
        let text = format!("{config:#}\n");
        login::store(path, text.as_bytes()).map_err(|e| Failure::other(path.display(), e))?;
        console::line(format!("kubectl --kubeconfig {} get pods", path.display()));
        Ok(Exit::Done)
    }

    /// A kubeconfig (Kubernetes 1.32, "kubeconfig (v1)"). JSON is YAML.
    fn config(&self) -> Result<Value, Failure> {
        let server = self.server.trim_end_matches('/');
        if !server.starts_with("https://") {
            return Err(Failure::plain("the server's URL must begin with https://"));
        }
        let name = self.target.as_str();
        let cluster = ClusterEntry {
            server: match self.shared {
                true => format!("{server}/{name}"),
                false => server.to_owned(),
            },
            certificate_authority_data: self.server_ca.as_deref().map(authorities).transpose()?,
        };
        let gateway = std::env::current_exe().map_err(|e| Failure::other("this program", e))?;
        let gateway = gateway.into_os_string().into_string();
        let gateway = gateway.map_err(|_| Failure::plain("this program's path isn't UTF-8"))?;
        let mut arguments = vec![
            "token".to_owned(),
            "--format".into(),
            "exec-credential".into(),
        ];
        arguments.extend(self.source.to_arguments()?);
        let context = ContextEntry {
            cluster: name,
            user: name,
            namespace: self.namespace.as_deref(),
        };
        Ok(json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": name, "cluster": cluster}],
            "users": [{"name": name, "user": {"exec": {
                "apiVersion": EXEC_CREDENTIAL,
                "command": gateway,
                "args": arguments,
                "interactiveMode": "Never",
                "provideClusterInfo": false,
            }}}],
            "contexts": [{"name": name, "context": context}],
            "current-context": name,
        }))
    }
}

/// The file's content in base64.
fn authorities(path: &Path) -> Result<String, Failure> {
    let failed = |e: std::io::Error| Failure::other(path.display(), e);
    if std::fs::metadata(path).map_err(failed)?.len() > CA_BYTES_MAX {
        return Err(Failure::plain(format!("{}: is too large", path.display())));
    }
    let pem = std::fs::read(path).map_err(failed)?;
    Ok(base64::engine::general_purpose::STANDARD.encode(pem))
}
