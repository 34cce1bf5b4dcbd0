//! How commands end.

use std::fmt::Display;

use gateway_policy::BundleErrors;

use crate::{config::ConfigError, console, gateway::StartError};

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Done,
    /// The answer is no.
    No,
    /// It couldn't be done.
    Failed,
    /// `evidence verify`: consistent, not anchored.
    NotAnchored,
    /// `evidence verify`: material is missing.
    Missing,
    /// `evidence verify`: the quorum isn't met.
    NoQuorum,
}

impl Exit {
    /// The process's exit code.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::No => 1,
            Self::Missing => 2,
            Self::NoQuorum => 3,
            Self::Failed => 4,
            Self::NotAnchored => 10,
        }
    }
}

/// A command couldn't be done.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The configuration is at fault.
    Config(ConfigError),
    /// The policy folder is at fault.
    Policy(BundleErrors),
    /// The answer is no: one line.
    No {
        /// What.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// Something else: one line.
    Other {
        /// What.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
}

impl Failure {
    /// Something that went wrong for a reason.
    pub(crate) fn other(what: impl Display, why: impl Display) -> Self {
        Self::Other {
            message: format!("{what}: {why}"),
            hint: None,
        }
    }

    /// Something that went wrong.
    pub(crate) fn plain(message: impl Into<String>) -> Self {
        Self::Other {
            message: message.into(),
            hint: None,
        }
    }

    /// A refusal.
    pub(crate) fn no(message: impl Into<String>) -> Self {
        Self::No {
            message: message.into(),
            hint: None,
        }
    }

    /// Adds what to do about it.
    pub(crate) fn with_hint(mut self, text: impl Into<String>) -> Self {
        if let Self::No { hint, .. } | Self::Other { hint, .. } = &mut self {
            *hint = Some(text.into());
        }
        self
    }

    /// The exit it leads to.
    pub(crate) const fn exit(&self) -> Exit {
        match self {
            Self::Config(ConfigError::Mistakes(_)) | Self::Policy(_) | Self::No { .. } => Exit::No,
            Self::Config(ConfigError::Read { .. } | ConfigError::TooLarge { .. })
            | Self::Other { .. } => Exit::Failed,
        }
    }

    /// Tells a person.
    pub(crate) fn show(&self) {
        match self {
            Self::Config(ConfigError::Mistakes(mistakes)) => {
                for mistake in mistakes {
                    console::diagnostic(mistake);
                }
                console::note(format!("error: {}", ConfigErrorLine(mistakes.len())));
            }
            Self::Config(error) => console::note(format!("error: {error}")),
            Self::Policy(errors) => {
                for mistake in errors.iter() {
                    console::diagnostic(mistake);
                }
                console::note("error: the policy can't be used");
            }
            Self::No { message, hint } | Self::Other { message, hint } => {
                console::note(format!("error: {}", console::printable(message)));
                if let Some(hint) = hint {
                    console::note(format!(" hint: {}", console::printable(hint)));
                }
            }
        }
    }
}

struct ConfigErrorLine(usize);

impl Display for ConfigErrorLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let plural = if self.0 == 1 { "" } else { "s" };
        write!(f, "{} mistake{plural} in the configuration", self.0)
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

impl From<BundleErrors> for Failure {
    fn from(errors: BundleErrors) -> Self {
        Self::Policy(errors)
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Policy(errors) => Self::Policy(errors),
            other => Self::plain(other.to_string()),
        }
    }
}
