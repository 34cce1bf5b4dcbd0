//! The gateway: one binary that wires core, protocols, policy and audit.

mod admin;
mod analysis;
mod approvals;
mod catalogue;
mod clock;
mod commands;
mod config;
mod console;
mod credential;
mod exchange;
mod gateway;
mod kubernetes;
mod listen;
mod postgres;
mod services;
mod sessions;
mod ssh;
mod store;
mod target;
mod tls;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    match commands::Cli::parse().run() {
        Ok(exit) => ExitCode::from(exit.code()),
        Err(failure) => {
            failure.show();
            ExitCode::from(failure.exit().code())
        }
    }
}
