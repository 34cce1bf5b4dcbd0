//! Live sessions: who they are, how to reach them, and how many there may be.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

use gateway_core::{
    drive::Command,
    id::{SessionId, TargetName},
    identity::Principal,
    record::CloseReason,
    time::Wall,
};
use parking_lot::Mutex;
use subtle::ConstantTimeEq as _;
use tokio::sync::{Notify, futures::OwnedNotified, mpsc};

use crate::clock::{self, NoRandomness};

/// Commands waiting for one session.
const COMMANDS_MAX: usize = 64;
/// How long a session may take to accept a command that it must not miss.
const COMMAND_TIME_MAX: Duration = Duration::from_secs(5);
/// How long a cancel request is held until its target has been told.
const CANCEL_TIME_MAX: Duration = Duration::from_secs(5);

/// The live sessions of this gateway.
pub(crate) struct Sessions {
    sessions_max: usize,
    sessions_per_source_max: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    live: BTreeMap<SessionId, Live>,
    sources: BTreeMap<IpAddr, usize>,
    /// By process id: targets number theirs independently.
    cancel_keys: BTreeMap<(i32, SessionId), Vec<u8>>,
}

/// One live session, as operators see it.
#[derive(Clone, Debug)]
pub(crate) struct Live {
    /// When it was accepted.
    pub(crate) since: Wall,
    /// Where it comes from.
    pub(crate) source: IpAddr,
    /// Whose it is, once authenticated.
    pub(crate) principal: Option<Principal>,
    /// Where it goes, once routed: target and database.
    pub(crate) route: Option<(TargetName, String)>,
    commands: mpsc::Sender<Command>,
    cancel_process: Option<i32>,
    /// Told whenever a cancel request has had its effect.
    cancelled: Arc<Notify>,
}

/// A session isn't let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotAdmitted {
    /// The gateway is full.
    #[error("the gateway has as many sessions as it may")]
    Full,
    /// The address has its share.
    #[error("this address has as many sessions as it may")]
    SourceFull,
}

/// A session's place among the live ones; given up when dropped.
pub(crate) struct Admission {
    sessions: Arc<Sessions>,
    id: SessionId,
    source: IpAddr,
}

impl Sessions {
    /// Room for `sessions_max`, and `sessions_per_source_max` from one address.
    pub(crate) fn new(sessions_max: usize, sessions_per_source_max: usize) -> Self {
        Self {
            sessions_max,
            sessions_per_source_max,
            state: Mutex::default(),
        }
    }

    /// Lets a session in, if there is room.
    ///
    /// # Errors
    /// [`NotAdmitted`].
    pub(crate) fn admit(
        self: &Arc<Self>,
        id: SessionId,
        source: IpAddr,
        since: Wall,
    ) -> Result<(Admission, mpsc::Sender<Command>, mpsc::Receiver<Command>), NotAdmitted> {
        let mut state = self.state.lock();
        if state.live.len() >= self.sessions_max {
            return Err(NotAdmitted::Full);
        }
        let from_source = state.sources.entry(source).or_default();
        if *from_source >= self.sessions_per_source_max {
            return Err(NotAdmitted::SourceFull);
        }
        *from_source += 1;
        let (commands, incoming) = mpsc::channel(COMMANDS_MAX);
        let live = Live {
            since,
            source,
            principal: None,
            route: None,
            commands: commands.clone(),
            cancel_process: None,
            cancelled: Arc::default(),
        };
        state.live.insert(id, live);
        Ok((
            Admission {
                sessions: Arc::clone(self),
                id,
                source,
            },
            commands,
            incoming,
        ))
    }

    /// Notes whose session it is.
    pub(crate) fn authenticated(&self, id: SessionId, principal: &Principal) {
        if let Some(live) = self.state.lock().live.get_mut(&id) {
            live.principal = Some(principal.clone());
        }
    }

    /// Notes where it goes.
    pub(crate) fn routed(&self, id: SessionId, target: TargetName, database: String) {
        if let Some(live) = self.state.lock().live.get_mut(&id) {
            live.route = Some((target, database));
        }
    }

    /// A cancel key for this session: `length` random bytes that go with `process`, the target's
    /// process id.
    ///
    /// # Errors
    /// [`NoRandomness`].
    pub(crate) fn cancel_key(
        &self,
        id: SessionId,
        process: i32,
        length: usize,
    ) -> Result<Vec<u8>, NoRandomness> {
        let mut key = vec![0; length];
        clock::fill_random(&mut key)?;
        let mut state = self.state.lock();
        if let Some(live) = state.live.get_mut(&id) {
            let old = live.cancel_process.replace(process);
            if let Some(old) = old {
                state.cancel_keys.remove(&(old, id));
            }
            state.cancel_keys.insert((process, id), key.clone());
        }
        Ok(key)
    }

    /// Tells the session with this cancel key, at once. Done when its target has been told, or
    /// after [`CANCEL_TIME_MAX`]; nobody learns whether there is such a session.
    pub(crate) fn cancel(&self, process: i32, key: &[u8]) -> impl Future<Output = ()> + use<> {
        let cancelled = self.cancel_now(process, key);
        async move {
            if let Some(cancelled) = cancelled {
                let told = tokio::time::timeout(CANCEL_TIME_MAX, cancelled).await;
                if told.is_err() {
                    tracing::debug!("a cancel request was not waited for");
                }
            }
        }
    }

    fn cancel_now(&self, process: i32, key: &[u8]) -> Option<OwnedNotified> {
        let state = self.state.lock();
        let mut of_process = state
            .cancel_keys
            .range((process, SessionId::from(uuid::Uuid::nil()))..)
            .take_while(|((known, _), _)| *known == process);
        let ((_, id), _) = of_process.find(|(_, known)| bool::from(known.as_slice().ct_eq(key)))?;
        let live = state.live.get(id)?;
        // Listening before the session hears of it: it can't be done too early.
        let cancelled = Arc::clone(&live.cancelled).notified_owned();
        if live.commands.try_send(Command::CancelRequested).is_err() {
            tracing::debug!(session = %id, "a cancel request was dropped: the session is busy or over");
            return None;
        }
        Some(cancelled)
    }

    /// A cancel request of this session has had its effect.
    pub(crate) fn cancelled(&self, id: SessionId) {
        if let Some(live) = self.state.lock().live.get(&id) {
            live.cancelled.notify_waiters();
        }
    }

    /// Every live session, oldest first.
    pub(crate) fn list(&self) -> Vec<(SessionId, Live)> {
        self.state
            .lock()
            .live
            .iter()
            .map(|(id, live)| (*id, live.clone()))
            .collect()
    }

    /// Ends one session. `false` when there is none with this id.
    pub(crate) async fn close(&self, id: SessionId, reason: CloseReason) -> bool {
        let commands = self
            .state
            .lock()
            .live
            .get(&id)
            .map(|live| live.commands.clone());
        match commands {
            Some(commands) => deliver(id, &commands, Command::Close(reason)).await,
            None => false,
        }
    }

    /// Tells the sessions that `concerns` picks, each within five seconds.
    pub(crate) async fn tell(
        &self,
        concerns: impl Fn(&Live) -> bool,
        command: impl Fn() -> Command,
    ) {
        let picked: Vec<(SessionId, mpsc::Sender<Command>)> = self
            .state
            .lock()
            .live
            .iter()
            .filter(|(_, live)| concerns(live))
            .map(|(id, live)| (*id, live.commands.clone()))
            .collect();
        let all = picked
            .iter()
            .map(|(id, commands)| deliver(*id, commands, command()));
        futures_util::future::join_all(all).await;
    }
}

/// Whether the session took the command. One that has ended needs none.
async fn deliver(id: SessionId, commands: &mpsc::Sender<Command>, command: Command) -> bool {
    match commands.send_timeout(command, COMMAND_TIME_MAX).await {
        Ok(()) => true,
        Err(mpsc::error::SendTimeoutError::Closed(_)) => false,
        Err(mpsc::error::SendTimeoutError::Timeout(_)) => {
            tracing::error!(session = %id, "a session takes no commands");
            false
        }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut state = self.sessions.state.lock();
        if let Some(live) = state.live.remove(&self.id)
            && let Some(process) = live.cancel_process
        {
            state.cancel_keys.remove(&(process, self.id));
        }
        if let Some(count) = state.sources.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                state.sources.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const THERE: IpAddr = IpAddr::V6(std::net::Ipv6Addr::LOCALHOST);

    fn id(n: u8) -> SessionId {
        SessionId::new(Wall::from_secs(u64::from(n)), [n; 10])
    }

    #[test]
    fn room_is_bounded_and_given_back() {
        let sessions = Arc::new(Sessions::new(2, 1));
        let admit = |n, source| sessions.admit(id(n), source, Wall::default());
        let first = admit(1, HERE).unwrap();
        assert_eq!(admit(2, HERE).err(), Some(NotAdmitted::SourceFull));
        let _second = admit(3, THERE).unwrap();
        assert_eq!(admit(4, THERE).err(), Some(NotAdmitted::Full));
        drop(first);
        assert!(admit(5, HERE).is_ok());
        assert_eq!(sessions.list().len(), 1);
    }

    #[tokio::test]
    async fn only_the_right_cancel_key_reaches_the_session() {
        let sessions = Arc::new(Sessions::new(2, 2));
        let (admission, _sender, mut commands) =
            sessions.admit(id(1), HERE, Wall::default()).unwrap();
        let (_other, _sender, _) = sessions.admit(id(2), THERE, Wall::default()).unwrap();
        let key = sessions.cancel_key(id(1), 7, 4).unwrap();
        // Another target's process of the same number.
        sessions.cancel_key(id(2), 7, 4).unwrap();
        sessions
            .cancel(7, &[key[0] ^ 1, key[1], key[2], key[3]])
            .await;
        sessions.cancel(7, &key[..3]).await;
        sessions.cancel(8, &key).await;
        assert!(commands.try_recv().is_err());
        let mut cancelled = Box::pin(sessions.cancel(7, &key));
        assert!(matches!(commands.try_recv(), Ok(Command::CancelRequested)));
        assert!((&mut cancelled).now_or_never().is_none());
        sessions.cancelled(id(1));
        cancelled.await;
        drop(admission);
        assert_eq!(sessions.state.lock().cancel_keys.len(), 1);
    }
}
