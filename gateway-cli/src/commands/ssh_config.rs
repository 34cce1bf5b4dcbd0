//! `gateway ssh-config`: what an unmodified `ssh` needs to reach a target through the gateway.

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use clap::Args;
use gateway_core::id::TargetName;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::{Exit, Failure, api::ApiArgs, block_on, login};
use crate::{
    admin::ssh::{CertificateRequest, CertificateView},
    clock,
    config::HostPort,
    console, ssh,
};

/// A certificate that lives no longer than this is replaced before it is used.
const LIFE_MIN: Duration = Duration::from_secs(60);

/// Write what `ssh`, `scp` and `sftp` need to reach a target through the gateway: a key, a
/// certificate for your Entra token, the gateway's host key, and a configuration that names them
/// and replaces the certificate whenever it has expired.
#[derive(Debug, Args)]
pub(super) struct SshConfigArgs {
    /// The target.
    #[arg(value_parser = TargetName::parse)]
    target: TargetName,
    /// Where the gateway's SSH listener is.
    #[arg(long, value_name = "HOST:PORT", env = "GATEWAY_SSH", value_parser = HostPort::parse)]
    address: Option<HostPort>,
    #[command(flatten)]
    api: ApiArgs,
    /// A command that prints your token, run by `sh` whenever a certificate is needed: such as
    /// `gateway token …`.
    #[arg(long, value_name = "COMMAND", conflicts_with = "token_file")]
    token_command: Option<String>,
    /// Write into this folder. Without it, `$XDG_STATE_HOME/gateway/ssh/TARGET`.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Give key and certificate to the running ssh-agent as well.
    #[arg(long)]
    agent: bool,
    /// Only replace the certificate in the folder, if it has expired: what the configuration calls.
    #[arg(long, conflicts_with_all = ["address", "agent", "token_command"])]
    refresh: bool,
}

/// How the certificate in a folder is replaced. Holds no secret.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    api: ApiArgs,
    token_command: Option<String>,
    agent: bool,
}

/// The folder's files.
struct Folder(PathBuf);

impl Folder {
    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn key(&self) -> PathBuf {
        self.file("key")
    }

    /// Where OpenSSH looks for the certificate of `key`.
    fn certificate(&self) -> PathBuf {
        self.file("key-cert.pub")
    }

    fn write(&self, name: &str, content: &str) -> Result<(), Failure> {
        let path = self.file(name);
        login::store(&path, content.as_bytes()).map_err(|e| Failure::other(path.display(), e))
    }
}

impl SshConfigArgs {
    pub(super) fn run(self) -> Result<Exit, Failure> {
        let dir = match &self.dir {
            Some(dir) => std::path::absolute(dir).map_err(|e| Failure::other(dir.display(), e))?,
            None => login::state_dir()?.join("ssh").join(self.target.as_str()),
        };
        let folder = Folder(dir);
        if self.refresh {
            refresh(&folder)
        } else {
            self.write(&folder)
        }
    }

    fn write(self, folder: &Folder) -> Result<Exit, Failure> {
        let address = self.address.ok_or_else(|| {
            Failure::plain("no address of the gateway's SSH listener is given")
                .with_hint("use --address HOST:PORT or set GATEWAY_SSH")
        })?;
        let gateway = std::env::current_exe().map_err(|e| Failure::other("this program", e))?;
        let config = configuration(&self.target, &address, plain(&gateway)?, plain(&folder.0)?);
        let settings = Settings {
            api: self.api.absolute()?,
            token_command: self.token_command,
            agent: self.agent,
        };
        let text = serde_json::to_string_pretty(&settings)
            .map_err(|e| Failure::other("the settings can't be written", e))?;
        folder.write("settings.json", &text)?;
        certify(&settings, folder)?;
        folder.write("config", &config)?;
        let config = folder.file("config");
        console::line(format!("ssh -F {} {}", config.display(), self.target));
        Ok(Exit::Done)
    }
}

fn refresh(folder: &Folder) -> Result<Exit, Failure> {
    let path = folder.certificate();
    let left = match std::fs::read_to_string(&path) {
        Ok(certificate) => ssh::certificate_end(&certificate)
            .map(|end| end.saturating_since(clock::wall()))
            .unwrap_or_default(),
        Err(error) if error.kind() == ErrorKind::NotFound => Duration::ZERO,
        Err(error) => return Err(Failure::other(path.display(), error)),
    };
    if left > LIFE_MIN {
        return Ok(Exit::Done);
    }
    let path = folder.file("settings.json");
    let text = std::fs::read_to_string(&path).map_err(|e| Failure::other(path.display(), e))?;
    let settings: Settings =
        serde_json::from_str(&text).map_err(|e| Failure::other(path.display(), e))?;
    certify(&settings, folder)?;
    Ok(Exit::Done)
}

/// Gets a certificate for the folder's key, made if there is none.
fn certify(settings: &Settings, folder: &Folder) -> Result<(), Failure> {
    let public_key =
        ssh::public_key_of(&folder.key()).map_err(|e| Failure::plain(e.to_string()))?;
    let api = match &settings.token_command {
        Some(command) => settings.api.open_with(printed_by(command)?)?,
        None => settings.api.open()?,
    };
    let request = CertificateRequest { public_key };
    let view: CertificateView = block_on(api.post("/v1/ssh/certificate", &request))?;
    folder.write("key-cert.pub", &format!("{}\n", view.certificate.trim()))?;
    folder.write(
        "known_hosts",
        &format!("gateway {}\n", view.host_key.trim()),
    )?;
    if settings.agent {
        give_to_agent(folder, &view)?;
    }
    Ok(())
}

/// The token that a command prints.
fn printed_by(command: &str) -> Result<SecretString, Failure> {
    let output = Command::new("sh")
        .args(["-c", command])
        .stderr(std::process::Stdio::inherit())
        .output()
        .map_err(|e| Failure::other("the token command", e))?;
    if !output.status.success() {
        return Err(Failure::other("the token command failed", output.status));
    }
    let token = String::from_utf8(output.stdout)
        .map_err(|e| Failure::other("the token command's output", e))?;
    match token.trim() {
        "" => Err(Failure::plain("the token command printed nothing")),
        token => Ok(SecretString::from(token.to_owned())),
    }
}

/// The agent forgets both when the certificate ends.
fn give_to_agent(folder: &Folder, view: &CertificateView) -> Result<(), Failure> {
    let life = ssh::certificate_end(&view.certificate)
        .map(|end| end.saturating_since(clock::wall()).as_secs().max(1))
        .ok_or_else(|| Failure::plain("the gateway's certificate can't be understood"))?;
    let status = Command::new("ssh-add")
        .args(["-q", "-t", &life.to_string()])
        .arg(folder.key())
        .status()
        .map_err(|e| Failure::other("ssh-add", e))?;
    if status.success() {
        Ok(())
    } else {
        Err(Failure::other("ssh-add failed", status)
            .with_hint("is an ssh-agent running, and SSH_AUTH_SOCK set?"))
    }
}

/// A path that means itself in a configuration of OpenSSH's, and in the shell that its `exec` uses.
fn plain(path: &Path) -> Result<&str, Failure> {
    let is_plain = |text: &&str| {
        let special = |c: char| c.is_control() || matches!(c, '\'' | '"' | '\\' | '%' | '$');
        !text.contains(special)
    };
    path.to_str().filter(is_plain).ok_or_else(|| {
        Failure::other(
            path.display(),
            "OpenSSH's configuration can't name this path",
        )
        .with_hint("choose a folder without quotes, backslashes, `%` and `$`: --dir DIR")
    })
}

/// A configuration for this target alone (ssh_config(5)). The `Match` has nothing below it: what
/// counts is that its command runs before the certificate is read.
fn configuration(target: &TargetName, address: &HostPort, gateway: &str, dir: &str) -> String {
    let HostPort { host, port } = address;
    format!(
        "# Written by `gateway ssh-config`, which overwrites it.\n\
         Match originalhost {target} exec \"'{gateway}' ssh-config {target} --refresh --dir '{dir}'\"\n\
         Host {target}\n\
         \x20   HostName {host}\n\
         \x20   Port {port}\n\
         \x20   User {target}\n\
         \x20   IdentityFile \"{dir}/key\"\n\
         \x20   CertificateFile \"{dir}/key-cert.pub\"\n\
         \x20   IdentitiesOnly yes\n\
         \x20   PreferredAuthentications publickey\n\
         \x20   HostKeyAlias gateway\n\
         \x20   UserKnownHostsFile \"{dir}/known_hosts\"\n\
         \x20   GlobalKnownHostsFile none\n\
         \x20   StrictHostKeyChecking yes\n\
         \x20   UpdateHostKeys no\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_that_mean_themselves_are_written() {
        for (path, plain_enough) in [
            ("/home/me/.local/state/gateway/ssh/build", true),
            ("/home/my name", true),
            ("/home/o'brien", false),
            ("/home/%h", false),
            ("/home/${HOME}", false),
            ("/home/\"x\"", false),
            ("/home/a\nb", false),
            ("/home/back\\slash", false),
        ] {
            assert_eq!(plain(Path::new(path)).is_ok(), plain_enough, "{path:?}");
        }
    }
}
