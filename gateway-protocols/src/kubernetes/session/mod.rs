//! The Kubernetes wire: one agent connection to one cluster.

mod command;

use gateway_core::limits::Limits;

pub use command::Command;

/// How a session is made.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whether the first segment of every path names the target: a listener that targets share.
    pub prefixed: bool,
    /// Fresh randomness: the keys of WebSocket connections come from it.
    pub seed: [u8; 32],
}

/// A Kubernetes session, sans-IO. Drive it with a [`gateway_core::gate::Gate`].
#[derive(Debug)]
pub struct Session {
    options: Options,
}

impl Session {
    /// A session whose agent has just connected.
    #[must_use]
    pub fn new(_limits: &Limits, options: Options) -> Self {
        Self { options }
    }
}
