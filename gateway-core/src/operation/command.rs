//! The command family: programs started on a host, and operations on its files.

use std::sync::Arc;

use serde::Serialize;

use super::{Effect, Inspection};

/// One command on its way to a host.
#[derive(Clone, Debug)]
pub struct CommandUnit {
    /// What kind of command it is.
    pub kind: CommandKind,
    /// What reviewers see and evidence keeps: the exact command line of an [`CommandKind::Exec`],
    /// empty for a shell, the operation and its paths for files.
    pub text: Arc<str>,
    /// What it does: one effect per path, or one on the host.
    pub effects: Arc<[Effect]>,
    /// How much was understood. A command line is only ever understood as information for rules
    /// and reviewers: the host's shell has the last word on what it means.
    pub inspection: Inspection,
    /// Facts that policies may ask for.
    pub facts: CommandFacts,
}

/// What kind of command it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CommandKind {
    /// A command line, run by the login shell (RFC 4254, section 6.5 "Starting a Shell or a
    /// Command").
    Exec,
    /// An interactive shell.
    Shell,
    /// An operation on files.
    File,
}

/// Facts of a command for policies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CommandFacts {
    /// The words, where the line is plain: nothing in it but words of unreserved characters with
    /// single spaces between them, so that every POSIX shell splits it the same way and expands
    /// nothing. `None` for every other line.
    pub argv: Option<Vec<String>>,
    /// The program of the line's first simple command, as far as parsing could tell.
    pub program: Option<String>,
    /// Whether it gets a terminal.
    pub pty: bool,
}
