//! What an agent may ask for before its program starts: a list.

use bytes::Bytes;

use crate::ssh::message::{Modes, Request, Size};

/// Locale categories (POSIX.1, "Locale"; those behind `LC_TIME` are GNU's).
const CATEGORIES: &[&str] = &[
    "LC_ALL",
    "LC_COLLATE",
    "LC_CTYPE",
    "LC_MESSAGES",
    "LC_MONETARY",
    "LC_NUMERIC",
    "LC_TIME",
    "LC_ADDRESS",
    "LC_IDENTIFICATION",
    "LC_MEASUREMENT",
    "LC_NAME",
    "LC_PAPER",
    "LC_TELEPHONE",
];

/// Longest value of a variable or terminal name, bytes.
const VALUE_BYTES_MAX: usize = 64;

/// What was asked for before the start.
#[derive(Debug, Default)]
pub(super) struct Setup {
    terminal: Option<Terminal>,
    /// At most one per name, and few names.
    variables: Vec<(String, Bytes)>,
}

#[derive(Debug)]
struct Terminal {
    term: String,
    size: Size,
    modes: Modes,
}

impl Setup {
    /// Whether there will be a terminal.
    pub(super) const fn has_terminal(&self) -> bool {
        self.terminal.is_some()
    }

    /// Takes a request for a terminal.
    ///
    /// # Errors
    /// What can't be had, in words.
    pub(super) fn terminal(
        &mut self,
        term: String,
        size: Size,
        modes: Modes,
    ) -> Result<(), String> {
        if self.terminal.is_some() {
            return Err("a second terminal on one channel".into());
        }
        // OpenSSH's client sends an empty name where it has no `TERM` itself.
        if !term.is_empty() && !is_tame(term.as_bytes()) {
            return Err("this name of a terminal".into());
        }
        self.terminal = Some(Terminal { term, size, modes });
        Ok(())
    }

    /// The terminal's size has changed.
    pub(super) fn resize(&mut self, size: Size) {
        if let Some(terminal) = &mut self.terminal {
            terminal.size = size;
        }
    }

    /// Takes a variable.
    ///
    /// # Errors
    /// What can't be had, in words.
    pub(super) fn variable(&mut self, name: String, value: Bytes) -> Result<(), String> {
        let known = name == "TERM" || name == "LANG" || CATEGORIES.contains(&name.as_str());
        if !known {
            return Err(format!(
                "the environment variable {}",
                name.chars().take(VALUE_BYTES_MAX).collect::<String>()
            ));
        }
        if !is_tame(&value) {
            return Err(format!("this value of the environment variable {name}"));
        }
        self.variables.retain(|(other, _)| *other != name);
        self.variables.push((name, value));
        Ok(())
    }

    /// The requests that ask the target for it, each with whether it wants a reply.
    pub(super) fn into_requests(self) -> impl Iterator<Item = (bool, Request)> {
        let terminal = self.terminal.map(|terminal| {
            let Terminal { term, size, modes } = terminal;
            (true, Request::Pty { term, size, modes })
        });
        let variables = self
            .variables
            .into_iter()
            .map(|(name, value)| (false, Request::Env { name, value }));
        terminal.into_iter().chain(variables)
    }
}

/// Whether it can't be anything but a name of a locale or terminal.
fn is_tame(value: &[u8]) -> bool {
    let tame = |byte: &u8| byte.is_ascii_alphanumeric() || b"_.@:-+".contains(byte);
    (1..=VALUE_BYTES_MAX).contains(&value.len()) && value.iter().all(tame)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_locales_and_terminals_are_taken() {
        for (name, value, taken) in [
            ("LANG", "en_GB.UTF-8", true),
            ("LC_ALL", "C", true),
            ("TERM", "xterm-256color", true),
            ("LC_SECRET", "C", false),
            ("LD_PRELOAD", "x", false),
            ("BASH_ENV", "x", false),
            ("LANG", "$(id)", false),
            ("LANG", "", false),
            ("LANG", "a\nb", false),
        ] {
            let result = Setup::default().variable(name.into(), value.into());
            assert_eq!(result.is_ok(), taken, "{name}={value}: {result:?}");
        }
        let long = "x".repeat(VALUE_BYTES_MAX + 1);
        assert!(
            Setup::default()
                .variable("LANG".into(), long.into())
                .is_err()
        );
    }

    #[test]
    fn the_last_value_and_the_last_size_count() {
        let mut setup = Setup::default();
        let size = Size {
            columns: 100,
            ..Size::default()
        };
        setup
            .terminal("xterm".into(), Size::default(), Modes::default())
            .unwrap();
        assert!(
            setup
                .terminal("xterm".into(), size, Modes::default())
                .is_err()
        );
        setup.resize(size);
        for value in ["C", "C.UTF-8"] {
            setup.variable("LANG".into(), value.into()).unwrap();
        }
        let requests: Vec<_> = setup.into_requests().map(|(_, request)| request).collect();
        let [Request::Pty { size: asked, .. }, Request::Env { value, .. }] = &requests[..] else {
            panic!("{requests:?}");
        };
        assert_eq!((*asked, &value[..]), (size, &b"C.UTF-8"[..]));
    }
}
