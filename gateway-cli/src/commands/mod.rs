//! The commands. Each returns how it ended; nothing here ends the process.

mod api;
mod approvals;
mod check;
mod evidence;
mod failure;
mod kubeconfig;
mod login;
mod policy;
mod run;
mod sessions;
mod ssh_config;
mod target;
mod token;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub(crate) use failure::{Exit, Failure};

use crate::config::Config;

/// Identity-aware access gateway: agents with Entra tokens on one side, your servers on the other.
#[derive(Debug, Parser)]
#[command(
    name = "gateway",
    version,
    after_help = "Exit codes: 0 done; 1 the answer is no (mistakes found, a test failed, a request \
                  refused); 2 wrong usage; 4 it could not be done. `evidence verify` has its own."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve.
    Run(run::RunArgs),
    /// Validate the configuration and the policy, and print what was resolved.
    Check(check::CheckArgs),
    /// Make targets withhold what is classified.
    #[command(subcommand)]
    Target(target::TargetCommand),
    /// Test and explain policies.
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// Sign in as a person, with a code on another device.
    Login(login::LoginArgs),
    /// Print an Entra token for an agent.
    Token(token::TokenArgs),
    /// Make `ssh` reach a target through the gateway.
    SshConfig(ssh_config::SshConfigArgs),
    /// Make `kubectl` reach a target through the gateway.
    Kubeconfig(kubeconfig::KubeconfigArgs),
    /// See and answer requests for approval.
    #[command(subcommand)]
    Approvals(approvals::ApprovalsCommand),
    /// See recorded sessions, end live ones.
    #[command(subcommand)]
    Sessions(sessions::SessionsCommand),
    /// Export and verify evidence.
    #[command(subcommand)]
    Evidence(evidence::EvidenceCommand),
}

/// The configuration file.
#[derive(Debug, Args)]
struct ConfigArgs {
    /// The configuration file.
    #[arg(long, value_name = "FILE", env = "GATEWAY_CONFIG")]
    config: PathBuf,
}

impl ConfigArgs {
    fn load(&self) -> Result<Config, Failure> {
        Ok(Config::load(&self.config)?)
    }
}

impl Cli {
    /// Runs the command.
    ///
    /// # Errors
    /// [`Failure`] when it couldn't be done.
    pub(crate) fn run(self) -> Result<Exit, Failure> {
        match self.command {
            Command::Run(args) => args.run(),
            Command::Check(args) => args.run(),
            Command::Target(command) => command.run(),
            Command::Policy(command) => command.run(),
            Command::Login(args) => args.run(),
            Command::Token(args) => args.run(),
            Command::SshConfig(args) => args.run(),
            Command::Kubeconfig(args) => args.run(),
            Command::Approvals(command) => command.run(),
            Command::Sessions(command) => command.run(),
            Command::Evidence(command) => command.run(),
        }
    }
}

/// A runtime for commands that do one thing over the network.
fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::other("no runtime", e))?
        .block_on(work)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
