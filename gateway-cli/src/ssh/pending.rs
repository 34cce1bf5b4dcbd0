//! What an agent's transport waits for from its session, and which channels it has.

use std::collections::BTreeMap;

use gateway_protocols::ssh::message::ChannelId;
use parking_lot::Mutex;
use russh::server::ChannelOpenHandle;
use tokio::sync::oneshot;

/// Channels of one connection at once, those being opened included. OpenSSH's clients open as many
/// as their users start commands at the same time; its server takes 10 sessions by default.
const CHANNELS_MAX: usize = 64;

/// What an agent's transport waits for from its session, and which channels it has.
#[derive(Default)]
pub(super) struct Pending(Mutex<State>);

#[derive(Default)]
struct State {
    login: Login,
    channels: BTreeMap<ChannelId, Channel>,
    request: Option<(ChannelId, oneshot::Sender<bool>)>,
}

#[derive(Default)]
enum Login {
    #[default]
    NotAsked,
    Asked(oneshot::Sender<bool>),
    Answered,
}

struct Channel {
    /// russh's own name of it: it can't be made of a number.
    id: russh::ChannelId,
    /// Until it is opened or refused.
    opening: Option<ChannelOpenHandle>,
}

impl Pending {
    /// Where the login's verdict will come from. `None` once it was asked for: a session takes one
    /// credential.
    pub(super) fn login(&self) -> Option<oneshot::Receiver<bool>> {
        let mut state = self.0.lock();
        let Login::NotAsked = state.login else {
            return None;
        };
        let (verdict, answered) = oneshot::channel();
        state.login = Login::Asked(verdict);
        Some(answered)
    }

    /// Passes the login's verdict on.
    pub(super) fn answer_login(&self, accepted: bool) {
        let login = std::mem::replace(&mut self.0.lock().login, Login::Answered);
        if let Login::Asked(verdict) = login
            && verdict.send(accepted).is_err()
        {
            tracing::debug!("the agent left during its login");
        }
    }

    /// Notes a channel that is to be opened.
    ///
    /// # Errors
    /// The handle comes back when there are [`CHANNELS_MAX`] already.
    pub(super) fn open(
        &self,
        id: russh::ChannelId,
        handle: ChannelOpenHandle,
    ) -> Result<(), ChannelOpenHandle> {
        let channels = &mut self.0.lock().channels;
        if channels.len() >= CHANNELS_MAX {
            return Err(handle);
        }
        let opening = Some(handle);
        channels.insert(ChannelId(id.number()), Channel { id, opening });
        Ok(())
    }

    /// What opens or refuses this channel; once.
    pub(super) fn opening(&self, channel: ChannelId) -> Option<ChannelOpenHandle> {
        let mut state = self.0.lock();
        state.channels.get_mut(&channel)?.opening.take()
    }

    /// russh's name of a channel.
    pub(super) fn channel(&self, channel: ChannelId) -> Option<russh::ChannelId> {
        Some(self.0.lock().channels.get(&channel)?.id)
    }

    /// Holds a channel open: `None` when it isn't. Whatever is sent to the session meanwhile comes
    /// before its close.
    pub(super) fn hold(&self, channel: ChannelId) -> Option<impl Sized> {
        let state = self.0.lock();
        state.channels.contains_key(&channel).then_some(state)
    }

    /// Forgets a channel, and holds the others. `None` when it was forgotten already.
    pub(super) fn close(&self, channel: ChannelId) -> Option<impl Sized> {
        let mut state = self.0.lock();
        state.channels.remove(&channel)?;
        Some(state)
    }

    /// Where the answer to the request just received about this channel will come from.
    pub(super) fn request(&self, channel: ChannelId) -> oneshot::Receiver<bool> {
        let (answer, answered) = oneshot::channel();
        self.0.lock().request = Some((channel, answer));
        answered
    }

    /// Passes an answer on to who waits for it. `false`: nobody does.
    pub(super) fn answer_request(&self, channel: ChannelId, met: bool) -> bool {
        let mut state = self.0.lock();
        let waits = state.request.as_ref().is_some_and(|(of, _)| *of == channel);
        let Some((_, answer)) = state.request.take_if(|_| waits) else {
            return false;
        };
        answer.send(met).is_ok()
    }
}
