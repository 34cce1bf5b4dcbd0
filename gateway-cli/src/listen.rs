//! Accepts agents' connections, runs one task per session, and ends them in good order.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use gateway_core::{
    drive::{Acknowledged, Command, Link, run_session},
    gate::{Gate, Setup},
    id::SessionId,
    limits::Limits,
    record::{CloseReason, EvidenceSink as _},
    wire::Wire,
};
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    task::JoinSet,
};

use crate::{
    clock,
    config::{Listener, Protocol},
    gateway::Gateway,
    kubernetes, postgres,
    services::{Lane, SessionServices},
    sessions::Admission,
    ssh,
};

/// After a failed accept (out of file descriptors), so that the loop doesn't spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// For sessions to write their last bytes and records once they are told to close.
const CLOSE_TIME_MAX: Duration = Duration::from_secs(7);

/// A peer that has been silent this long is asked for a sign of life.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Between questions that get no answer.
const SIGN_INTERVAL: Duration = Duration::from_secs(15);
/// Questions without an answer after which a connection is given up.
const SIGNS_MISSED_MAX: u32 = 4;

/// A bound listener, not yet accepting.
pub(crate) struct Bound {
    socket: TcpListener,
    listener: Listener,
}

/// Binds a listener.
///
/// # Errors
/// The address can't be bound.
pub(crate) async fn bind(listener: Listener) -> std::io::Result<Bound> {
    let socket = TcpListener::bind(listener.address).await?;
    Ok(Bound { socket, listener })
}

impl Bound {
    /// Where it listens; the port is the one taken when 0 was asked for.
    ///
    /// # Errors
    /// The system can't say.
    pub(crate) fn address(&self) -> std::io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// What was configured.
    pub(crate) fn listener(&self) -> &Listener {
        &self.listener
    }

    /// Accepts until `draining` turns true, then waits for the sessions: `drain_time` for them to
    /// end by themselves, a few seconds more once they are told to, and no longer.
    ///
    /// Accepting never waits for a client: TLS and login happen in the session's own task, under
    /// its own deadline.
    pub(crate) async fn serve(self, gateway: Arc<Gateway>, mut draining: watch::Receiver<bool>) {
        let mut sessions = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.socket.accept() => match accepted {
                    Ok((socket, peer)) => self.start(&gateway, &mut sessions, socket, peer),
                    Err(error) => {
                        tracing::error!(%error, "accepting a connection failed");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(ended) = sessions.join_next() => report(ended),
                () = begins(&mut draining) => break,
            }
        }
        drop(self.socket);
        let drain_time = gateway.bounds.drain_time;
        if tokio::time::timeout(drain_time, finish(&mut sessions))
            .await
            .is_ok()
        {
            return;
        }
        gateway
            .sessions
            .tell(|_| true, || Command::Close(CloseReason::Drained))
            .await;
        if tokio::time::timeout(CLOSE_TIME_MAX, finish(&mut sessions))
            .await
            .is_err()
        {
            tracing::error!(
                sessions = sessions.len(),
                "sessions did not close and are aborted"
            );
        }
        sessions.shutdown().await;
    }

    fn start(
        &self,
        gateway: &Arc<Gateway>,
        sessions: &mut JoinSet<CloseReason>,
        socket: TcpStream,
        peer: SocketAddr,
    ) {
        if gateway.log.has_failed() {
            tracing::error!("a connection was refused: the evidence log has failed");
            return;
        }
        keep_alive(&socket);
        let now = clock::now();
        let Ok(random) = clock::random() else {
            tracing::error!("a connection was refused: no randomness");
            return;
        };
        let id = SessionId::new(now.wall, random);
        let source = peer.ip().to_canonical();
        let (admission, commands, incoming) = match gateway.sessions.admit(id, source, now.wall) {
            Ok(admitted) => admitted,
            Err(reason) => {
                tracing::warn!(%source, %reason, "a connection was refused");
                return;
            }
        };
        let accepted = Accepted {
            gateway: Arc::clone(gateway),
            listener: self.listener.clone(),
            session: id,
            source,
            commands,
            incoming,
            _admission: admission,
        };
        match self.listener.protocol {
            Protocol::Postgres => sessions.spawn(postgres::serve(accepted, socket)),
            Protocol::Ssh => sessions.spawn(ssh::serve(accepted, socket)),
            Protocol::Kubernetes => sessions.spawn(kubernetes::serve(accepted, socket)),
        };
    }
}

/// A connection that was let in: all that its session needs but its wire and its link.
pub(crate) struct Accepted {
    gateway: Arc<Gateway>,
    listener: Listener,
    session: SessionId,
    source: IpAddr,
    commands: mpsc::Sender<Command>,
    incoming: mpsc::Receiver<Command>,
    _admission: Admission,
}

impl Accepted {
    /// The gateway.
    pub(crate) fn gateway(&self) -> &Arc<Gateway> {
        &self.gateway
    }

    /// Where the connection was accepted.
    pub(crate) fn listener(&self) -> &Listener {
        &self.listener
    }

    /// Tells the session what it doesn't see by itself.
    pub(crate) fn commands(&self) -> mpsc::Sender<Command> {
        self.commands.clone()
    }

    /// Every bound of the session.
    pub(crate) fn limits(&self) -> &Arc<Limits> {
        &self.gateway.bounds.session
    }

    /// Runs the session to its end.
    pub(crate) async fn run<L, W>(self, wire: W, agent: L::Link) -> CloseReason
    where
        L: Lane,
        W: Wire<Inbound = <L::Link as Link>::Inbound, Outbound = <L::Link as Link>::Outbound>,
    {
        let gateway = self.gateway;
        let acknowledged = Arc::new(Acknowledged::default());
        let durability = gateway.durability(&self.listener);
        gateway
            .log
            .open(self.session, durability, Arc::clone(&acknowledged) as _);
        let setup = Setup {
            session: self.session,
            source: self.source,
            decision: Arc::clone(&gateway.policy) as _,
            limits: Arc::clone(&gateway.bounds.session),
        };
        let peer = (self.session, self.source);
        let services = SessionServices::<L>::new(gateway, peer, &self.listener, self.commands);
        let gate = Gate::new(wire, setup);
        run_session(gate, agent, Arc::new(services), acknowledged, self.incoming).await
    }
}

/// Makes a connection end two minutes after its peer has vanished without a word, and with it whatever
/// its session holds: locks of a transaction, a place among the sessions.
pub(crate) fn keep_alive(socket: &TcpStream) {
    let signs = TcpKeepalive::new()
        .with_time(SILENCE_MAX)
        .with_interval(SIGN_INTERVAL)
        .with_retries(SIGNS_MISSED_MAX);
    if let Err(error) = SockRef::from(socket).set_tcp_keepalive(&signs) {
        tracing::debug!(%error, "SO_KEEPALIVE");
    }
}

/// The sender gone means the same: the gateway is ending.
async fn begins(draining: &mut watch::Receiver<bool>) {
    drop(draining.wait_for(|draining| *draining).await);
}

async fn finish(sessions: &mut JoinSet<CloseReason>) {
    while let Some(ended) = sessions.join_next().await {
        report(ended);
    }
}

fn report(ended: Result<CloseReason, tokio::task::JoinError>) {
    match ended {
        Ok(reason) => tracing::debug!(?reason, "a session ended"),
        Err(error) if error.is_panic() => tracing::error!("a session's task panicked"),
        Err(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn vanished_peers_are_noticed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap());
        let socket = socket.await.unwrap();
        keep_alive(&socket);
        let socket = SockRef::from(&socket);
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), SILENCE_MAX);
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), SIGNS_MISSED_MAX);
    }
}
