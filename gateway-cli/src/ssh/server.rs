//! The transport towards one agent.

use std::{collections::BTreeSet, io, sync::Arc, time::Duration};

use gateway_core::drive::ChannelPeer;
use gateway_protocols::ssh::{
    Command, Event, Outbound,
    message::{Body, ChannelId, Message, Request},
};
use russh::{
    Disconnect, Error, MethodKind, MethodSet, SshId,
    keys::PrivateKey,
    server::{Config, Handle, run_stream},
};
use tokio::{net::TcpStream, sync::mpsc};

use super::{
    LEAVING_TIME, PACKET_BYTES_MAX, WINDOW_BYTES,
    agent::AgentHandler,
    algorithms,
    attempts::Attempts,
    fault,
    pending::Pending,
    throttle::{Intake, SessionOver, Throttled},
    translate,
};

/// Logins that may fail: a probe for the methods and two keys nobody certified.
const AUTH_ATTEMPTS_MAX: usize = 3;
/// Every rejected login takes this long.
const REJECTION_TIME: Duration = Duration::from_secs(1);
/// Commands on their way into russh.
const COMMANDS_MAX: usize = 32;
/// For the agent to read the last words and close.
const CLOSE_TIME_MAX: Duration = Duration::from_secs(3);

/// What every connection of an agent is served with.
pub(super) fn config(host_key: PrivateKey) -> Arc<Config> {
    let mut methods = MethodSet::empty();
    methods.push(MethodKind::PublicKey);
    methods.push(MethodKind::Password);
    Arc::new(Config {
        // Names no version on purpose.
        server_id: SshId::Standard("SSH-2.0-gateway".into()),
        methods,
        auth_rejection_time: REJECTION_TIME,
        auth_rejection_time_initial: Some(Duration::ZERO),
        keys: vec![host_key],
        window_size: WINDOW_BYTES,
        maximum_packet_size: PACKET_BYTES_MAX,
        event_buffer_size: COMMANDS_MAX,
        preferred: algorithms::towards_agents(),
        max_auth_attempts: AUTH_ATTEMPTS_MAX,
        // The session has deadlines of its own; a command may be silent for as long as it likes.
        inactivity_timeout: None,
        nodelay: true,
        ..Config::default()
    })
}

/// Carries one agent's connection until it ends, or its session does.
pub(super) async fn run(
    socket: TcpStream,
    config: Arc<Config>,
    peer: ChannelPeer<Event, Outbound>,
) {
    let ChannelPeer {
        events,
        mut commands,
    } = peer;
    let (socket, watch) = match twice(socket) {
        Ok(handles) => handles,
        Err(error) => return tracing::error!(%error, "an SSH connection can't be watched"),
    };
    let mut output = Output {
        pending: Arc::default(),
        // Not a sender that keeps the session from seeing the connection's end.
        events: events.downgrade(),
        ending: BTreeSet::new(),
    };
    let intake = Intake::new(events);
    let (stream, cut) = Throttled::new(socket, intake.clone());
    let attempts = Attempts::default();
    let handler = AgentHandler::new(
        intake.clone(),
        Arc::clone(&output.pending),
        attempts.clone(),
    );
    let mut running = tokio::select! {
        started = run_stream(config, stream, handler) => match started {
            Ok(running) => running,
            Err(error) => return conclude(Err(error), &attempts, &intake).await,
        },
        // Nothing is to be done before the keys are exchanged but to end.
        _ = commands.recv() => return,
    };
    let handle = running.handle();
    tokio::select! {
        ended = &mut running => return conclude(ended, &attempts, &intake).await,
        () = cut.peer_left(&watch) => cut.now(),
        carried = output.carry(&mut commands, &handle) => {
            if carried.is_err() {
                tracing::debug!("an SSH connection ended before its session");
            }
        }
    }
    let ended = match tokio::time::timeout(CLOSE_TIME_MAX, &mut running).await {
        Ok(ended) => ended,
        Err(_) => {
            cut.now();
            running.await
        }
    };
    conclude(ended, &attempts, &intake).await;
}

/// Tells the session how its transport ended, if that is more than that it did.
async fn conclude(ended: Result<(), Error>, attempts: &Attempts, intake: &Intake) {
    let broken = ended.err().and_then(|error| fault::of(&error));
    let event = match broken {
        Some(what) => Event::Broken { what },
        None => match attempts.give_up() {
            Some(event) => event,
            None => return,
        },
    };
    match tokio::time::timeout(LEAVING_TIME, intake.emit(event)).await {
        Ok(Ok(())) => {}
        // It has recorded an end of its own.
        Ok(Err(SessionOver)) => {}
        Err(_) => tracing::warn!("a session took no word of how its connection ended"),
    }
}

/// Two handles of one socket, without delay for small packets.
fn twice(socket: TcpStream) -> io::Result<(TcpStream, TcpStream)> {
    socket.set_nodelay(true)?;
    let socket = socket.into_std()?;
    let watch = TcpStream::from_std(socket.try_clone()?)?;
    Ok((TcpStream::from_std(socket)?, watch))
}

/// The connection is gone.
struct Gone;

/// What goes to the agent.
struct Output {
    pending: Arc<Pending>,
    events: mpsc::WeakSender<Event>,
    /// Channels whose end of data is held back until it is told how their program ended. OpenSSH's
    /// client closes a channel as soon as both directions have ended, russh answers a close at
    /// once, and an exit status behind it would be lost.
    ending: BTreeSet<ChannelId>,
}

impl Output {
    /// Carries out what the session says, to its end.
    async fn carry(
        &mut self,
        commands: &mut mpsc::Receiver<Outbound>,
        handle: &Handle,
    ) -> Result<(), Gone> {
        while let Some(outbound) = commands.recv().await {
            match outbound.command {
                Command::Accept => self.pending.answer_login(true),
                Command::Reject => self.pending.answer_login(false),
                Command::Message(message) => self.send(message, handle).await?,
                Command::Disconnect { text } => disconnect(handle, text).await?,
            }
        }
        disconnect(handle, String::new()).await
    }

    async fn send(&mut self, message: Message, handle: &Handle) -> Result<(), Gone> {
        let Message { channel, body } = message;
        let Some(id) = self.pending.channel(channel) else {
            // The agent closed it meanwhile.
            self.ending.remove(&channel);
            return Ok(());
        };
        let sent = match body {
            Body::Opened => {
                if let Some(opening) = self.pending.opening(channel) {
                    opening.accept().await;
                }
                Ok(())
            }
            Body::OpenFailed { reason, text } => {
                if let Some(opening) = self.pending.opening(channel) {
                    opening.reject(translate::open_failure(reason, text)).await;
                }
                drop(self.pending.close(channel));
                Ok(())
            }
            Body::Data(data) => handle.data(id, data).await.map_err(drop),
            Body::ExtendedData { kind, data } => {
                handle.extended_data(id, kind, data).await.map_err(drop)
            }
            Body::Eof => {
                self.ending.insert(channel);
                Ok(())
            }
            Body::Close => self.close(channel, id, handle).await,
            Body::Success if self.pending.answer_request(channel, true) => Ok(()),
            Body::Success => handle.channel_success(id).await,
            Body::Failure if self.pending.answer_request(channel, false) => Ok(()),
            Body::Failure => handle.channel_failure(id).await,
            Body::Request { request, .. } => {
                report(request, handle, id).await?;
                self.end(channel, id, handle).await
            }
            Body::Open { .. } => return unsupported("an agent is asked to open a channel"),
        };
        sent.map_err(|()| Gone)
    }

    /// Sends the end of data that was held back.
    async fn end(
        &mut self,
        channel: ChannelId,
        id: russh::ChannelId,
        handle: &Handle,
    ) -> Result<(), ()> {
        if self.ending.remove(&channel) {
            handle.eof(id).await?;
        }
        Ok(())
    }

    /// Closes a channel. russh keeps the agent's own close to itself then: the session hears of it
    /// from here.
    async fn close(
        &mut self,
        channel: ChannelId,
        id: russh::ChannelId,
        handle: &Handle,
    ) -> Result<(), ()> {
        self.end(channel, id, handle).await?;
        if self.pending.close(channel).is_none() {
            return Ok(());
        }
        handle.close(id).await?;
        if let Some(events) = self.events.upgrade() {
            let closed = Event::Message(Body::Close.on(channel));
            events.send(closed).await.map_err(drop)?;
        }
        Ok(())
    }
}

async fn disconnect(handle: &Handle, text: String) -> Result<(), Gone> {
    handle
        .disconnect(Disconnect::ByApplication, text, String::new())
        .await
        .map_err(|_| Gone)
}

/// The requests that a server makes of its client: how a program ended.
async fn report(request: Request, handle: &Handle, id: russh::ChannelId) -> Result<(), Gone> {
    let sent = match request {
        Request::ExitStatus(status) => handle.exit_status_request(id, status).await,
        Request::ExitSignal {
            signal,
            core_dumped,
            text,
        } => {
            let signal = translate::signal(signal);
            handle
                .exit_signal_request(id, signal, core_dumped, text, String::new())
                .await
        }
        Request::Pty { .. }
        | Request::Env { .. }
        | Request::Exec(_)
        | Request::Shell
        | Request::Subsystem(_)
        | Request::WindowChange(_)
        | Request::Signal(_)
        | Request::Other { .. } => return unsupported("an agent is asked what servers are"),
    };
    sent.map_err(|()| Gone)
}

/// The session never says this; if it did, saying nothing to the agent is safe.
fn unsupported(what: &'static str) -> Result<(), Gone> {
    tracing::error!(what, "a command can't be carried out");
    Ok(())
}
