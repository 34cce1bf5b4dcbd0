//! What russh says in its log alone.
//!
//! A server of russh's (0.65) refuses by itself, without a callback, channels and requests of types
//! that it doesn't know, and certificates whose time or signature is wrong: its log is the only
//! place that names them. So a record of the log that was written by the task of an agent's
//! connection is read for that connection. Were its words to change, what was refused would stay
//! refused and lose its name in evidence; the tests of refusals hold russh to them.

use std::{
    collections::HashMap,
    sync::{LazyLock, Once},
};

use gateway_protocols::ssh::Event;
use log::{LevelFilter, Log, Metadata, Record};
use parking_lot::Mutex;
use tokio::task;

use super::{attempts::Attempts, throttle::Intake};

/// The module of russh that reads what agents send.
const SPEAKER: &str = "russh::server::encrypted";
/// The quietest level at which it names a type of channels.
const LEVEL: LevelFilter = LevelFilter::Debug;
/// Longest name of a type that is kept, characters.
const NAME_CHARS_MAX: usize = 64;

/// Connections that listen, by their tasks.
static EARS: LazyLock<Mutex<HashMap<task::Id, Ear>>> = LazyLock::new(Mutex::default);

/// Whom to tell.
#[derive(Clone)]
struct Ear {
    intake: Intake,
    attempts: Attempts,
}

/// Listens until it is dropped.
pub(super) struct Listening(task::Id);

/// Something that was said.
#[derive(Debug, PartialEq, Eq)]
enum Heard<'a> {
    /// An agent asks to be let in under this name, written as a literal.
    User(&'a str),
    /// What it showed is no good, by this reason code.
    NoGood(&'static str),
    /// It asked for something that doesn't exist here.
    Refused { kind: &'static str, name: &'a str },
}

/// Listens for the connection whose task this is. `None` outside a task.
pub(super) fn listen(intake: Intake, attempts: Attempts) -> Option<Listening> {
    install();
    let task = task::try_id()?;
    EARS.lock().insert(task, Ear { intake, attempts });
    Some(Listening(task))
}

impl Drop for Listening {
    fn drop(&mut self) {
        EARS.lock().remove(&self.0);
    }
}

/// Takes the process's one place for readers of this kind of log, which nobody else uses: the
/// gateway's own log is `tracing`'s.
fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| match log::set_logger(&Reader) {
        Ok(()) => log::set_max_level(LEVEL),
        Err(error) => tracing::error!(%error, "what SSH transports refuse can't be recorded"),
    });
}

struct Reader;

impl Log for Reader {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == SPEAKER
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let ear = task::try_id().and_then(|task| EARS.lock().get(&task).cloned());
        if let Some(ear) = ear
            && let Some(heard) = Heard::parse(&record.args().to_string())
        {
            ear.tell(&heard);
        }
    }

    fn flush(&self) {}
}

impl Ear {
    fn tell(&self, heard: &Heard<'_>) {
        match heard {
            Heard::User(user) => self.attempts.claim(user),
            Heard::NoGood(reason) => self.attempts.fail(reason),
            Heard::Refused { kind, name } => {
                let name: String = name.chars().take(NAME_CHARS_MAX).collect();
                let what = format!("{kind} of type {name}");
                if self.intake.emit_now(Event::Refused { what }).is_err() {
                    tracing::debug!("a session ended before it heard of a refusal");
                }
            }
        }
    }
}

impl<'a> Heard<'a> {
    fn parse(said: &'a str) -> Option<Self> {
        if let Some(rest) = said.strip_prefix("name: \"") {
            // Quotes in a literal are escaped.
            let (user, _service) = rest.split_once("\" \"")?;
            return Some(Self::User(user));
        }
        for (words, kind) in [
            ("unknown channel request ", "requests"),
            ("unknown channel type: ", "channels"),
        ] {
            if let Some(name) = said.strip_prefix(words) {
                return Some(Self::Refused { kind, name });
            }
        }
        for (words, reason) in [
            ("Certificate is expired", "certificate_expired"),
            ("Certificate signature", "certificate_invalid"),
            ("signature wrong", "signature"),
            ("signature algorithm", "signature"),
            ("public key error: ", "key_algorithm"),
        ] {
            if said.starts_with(words) {
                return Some(Self::NoGood(reason));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_understood_whatever_the_peer_calls_itself() {
        let refused = |kind, name| Some(Heard::Refused { kind, name });
        for (said, heard) in [
            (
                "name: \"box\" \"ssh-connection\" \"none\"",
                Some(Heard::User("box")),
            ),
            (
                r#"name: "a\" \"b" "ssh-connection" "none""#,
                Some(Heard::User(r#"a\" \"b"#)),
            ),
            ("name: \"box", None),
            (
                "unknown channel request break",
                refused("requests", "break"),
            ),
            (
                "unknown channel type: unknown channel request x",
                refused("channels", "unknown channel request x"),
            ),
            (
                "Certificate is expired or not yet valid",
                Some(Heard::NoGood("certificate_expired")),
            ),
            ("handler.exec_request signature wrong", None),
            ("", None),
        ] {
            assert_eq!(Heard::parse(said), heard, "{said}");
        }
    }
}
