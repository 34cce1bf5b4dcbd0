//! Logins that never become one.

use std::sync::Arc;

use gateway_protocols::ssh::Event;
use parking_lot::Mutex;

/// Longest name that is kept, characters: as many as evidence keeps.
const USER_CHARS_MAX: usize = 128;

/// How an agent tried to get in, until it shows something for the session to judge. Clients ask
/// around and offer what they have: only the one who leaves without having got anywhere has failed.
#[derive(Clone, Default)]
pub(super) struct Attempts(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    stage: Stage,
    /// The name that it gave last.
    user: String,
    /// What was wrong with the first thing it showed.
    reason: Option<&'static str>,
}

#[derive(Default, PartialEq, Eq)]
enum Stage {
    /// It hasn't asked to be let in.
    #[default]
    Before,
    Trying,
    /// The session has its credential, and the last word.
    Shown,
}

impl Attempts {
    /// It asks to be let in.
    pub(super) fn begin(&self) {
        self.0.lock().stage = Stage::Trying;
    }

    /// By this name.
    pub(super) fn claim(&self, user: &str) {
        self.0.lock().user = user.chars().take(USER_CHARS_MAX).collect();
    }

    /// What it showed is no good.
    pub(super) fn fail(&self, reason: &'static str) {
        self.0.lock().reason.get_or_insert(reason);
    }

    /// The session judges what it shows.
    pub(super) fn show(&self) {
        self.0.lock().stage = Stage::Shown;
    }

    /// What there is to tell when it has left: once at most.
    pub(super) fn give_up(&self) -> Option<Event> {
        let state = std::mem::take(&mut *self.0.lock());
        let reason = state.reason.unwrap_or("no_credential").to_owned();
        let user = state.user;
        (state.stage == Stage::Trying).then_some(Event::GaveUp { user, reason })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(attempts: &Attempts) -> Option<(String, String)> {
        match attempts.give_up() {
            Some(Event::GaveUp { user, reason }) => Some((user, reason)),
            other => {
                assert!(other.is_none(), "{other:?}");
                None
            }
        }
    }

    #[test]
    fn the_first_reason_is_told_once_and_only_of_who_got_nowhere() {
        let attempts = Attempts::default();
        assert_eq!(told(&attempts), None);
        attempts.begin();
        assert_eq!(
            told(&attempts),
            Some((String::new(), "no_credential".into()))
        );
        attempts.begin();
        attempts.claim("box");
        attempts.fail("certificate_expired");
        attempts.fail("key_without_certificate");
        assert_eq!(
            told(&attempts),
            Some(("box".into(), "certificate_expired".into()))
        );
        assert_eq!(told(&attempts), None);
        attempts.begin();
        attempts.fail("signature");
        attempts.show();
        assert_eq!(told(&attempts), None);
    }
}
