//! What a client may ask for when it starts: a list, because the target's own startup is built
//! from scratch.

use gateway_core::decision::{Denial, Reason};

use crate::postgres::message::Startup;

/// Settings that can't change how SQL is read or what is masked; forwarded as they are.
const FORWARDED: &[&str] = &[
    "application_name",
    "datestyle",
    "extra_float_digits",
    "idle_in_transaction_session_timeout",
    "intervalstyle",
    "jit",
    "lock_timeout",
    "statement_timeout",
    "timezone",
];

/// A StartupMessage, read.
#[derive(Debug, Default)]
pub(super) struct Settings {
    /// The user name the client claims: display only.
    pub(super) user: String,
    /// The database it names; the user name where it names none, as the server has it.
    pub(super) database: String,
    /// What goes to the target.
    pub(super) forwarded: Vec<(String, String)>,
    /// `_pq_.` options, none of which is supported.
    pub(super) unknown_options: Vec<String>,
}

impl Settings {
    /// Reads the parameters.
    ///
    /// # Errors
    /// A [`Denial`] that names the parameter that isn't supported.
    pub(super) fn read(startup: &Startup<'_>) -> Result<Self, Denial> {
        let mut settings = Self::default();
        for (name, value) in &startup.parameters {
            let (Ok(name), Ok(value)) = (std::str::from_utf8(name), std::str::from_utf8(value))
            else {
                return Err(refused("a startup parameter that isn't UTF-8"));
            };
            match name {
                "user" => value.clone_into(&mut settings.user),
                "database" => value.clone_into(&mut settings.database),
                "replication" if matches!(value, "false" | "off" | "no" | "0") => {}
                "replication" => return Err(refused("a replication connection")),
                "options" => settings.read_options(value)?,
                option if option.starts_with("_pq_.") => {
                    settings.unknown_options.push(option.to_owned());
                }
                name => settings.set(name, value)?,
            }
        }
        if settings.user.is_empty() {
            return Err(Denial::new(
                Reason::Protocol,
                "no user name in the startup packet",
            ));
        }
        if settings.database.is_empty() {
            settings.database.clone_from(&settings.user);
        }
        Ok(settings)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), Denial> {
        let folded = name.to_ascii_lowercase();
        if folded == "client_encoding" {
            // The gateway speaks UTF-8 with the target; SQL_ASCII asks for no conversion.
            let plain: String = value.chars().filter(char::is_ascii_alphanumeric).collect();
            return match plain.to_ascii_lowercase().as_str() {
                "utf8" | "unicode" | "sqlascii" => Ok(()),
                _ => Err(refused(&format!("client_encoding {value}"))
                    .with_hint("Set client_encoding to UTF8.")),
            };
        }
        if folded == "standard_conforming_strings" && value == "on" {
            return Ok(());
        }
        if !FORWARDED.contains(&folded.as_str()) {
            return Err(refused(&format!("the startup parameter {name}")));
        }
        self.forwarded.push((folded, value.to_owned()));
        Ok(())
    }

    /// `options` as the server splits it (`pg_split_opts`, `process_postgres_switches`): only
    /// `-c name=value` and `--name=value`, without escapes.
    fn read_options(&mut self, options: &str) -> Result<(), Denial> {
        let mut words = options.split_ascii_whitespace();
        while let Some(word) = words.next() {
            let setting = match word.strip_prefix("-c") {
                Some("") => words.next(),
                Some(setting) => Some(setting),
                None => word.strip_prefix("--"),
            };
            let setting = setting.filter(|setting| !setting.contains('\\'));
            let (name, value) = setting
                .and_then(|setting| setting.split_once('='))
                .ok_or_else(|| refused("this form of the startup parameter options"))?;
            self.set(&name.replace('-', "_"), value)?;
        }
        Ok(())
    }
}

fn refused(what: &str) -> Denial {
    Denial::new(
        Reason::Protocol,
        format!("the gateway doesn't support {what}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::message::Version;

    fn read(parameters: &[(&'static str, &'static str)]) -> Result<Settings, Denial> {
        let parameters = parameters
            .iter()
            .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
            .collect();
        Settings::read(&Startup {
            version: Version::V3_0,
            parameters,
        })
    }

    #[test]
    fn what_common_clients_send_is_taken() {
        let settings = read(&[
            ("user", "agent"),
            ("application_name", "psql"),
            ("client_encoding", "'utf-8'"),
            ("TimeZone", "UTC"),
            ("options", "-c statement_timeout=5s --extra-float-digits=2"),
            ("replication", "off"),
        ])
        .unwrap();
        assert_eq!(settings.database, "agent");
        let names: Vec<_> = settings
            .forwarded
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(
            names,
            [
                "application_name",
                "timezone",
                "statement_timeout",
                "extra_float_digits"
            ]
        );
    }

    #[test]
    fn what_changes_reading_or_role_is_refused() {
        for (name, value) in [
            ("replication", "database"),
            ("replication", "true"),
            ("client_encoding", "SJIS"),
            ("standard_conforming_strings", "off"),
            ("search_path", "evil"),
            ("role", "postgres"),
            ("options", "-c role=postgres"),
            ("options", "-crole=postgres"),
            ("options", "--role=postgres"),
            ("options", "-c statement_timeout=1\\ -c\\ role=postgres"),
            ("options", "-f x"),
        ] {
            assert!(
                read(&[("user", "a"), (name, value)]).is_err(),
                "{name}={value}"
            );
        }
    }
}
