//! The transport towards one target.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{
    throttle::{Cut, Intake},
    translate,
};
use bytes::Bytes;
use gateway_core::drive::ChannelPeer;
use gateway_protocols::ssh::{
    Command, Event, Outbound,
    message::{Body, ChannelId, Message, OPEN_CONNECT_FAILED, Request},
};
use parking_lot::Mutex;
use russh::{
    Channel, ChannelOpenFailure, ChannelWriteHalf, Disconnect, Error, Sig,
    client::{ChannelOpenHandle, Handle, Handler, Msg, Session},
    keys::{PublicKey, PublicKeyOrCertificate},
};

/// For the target to open a channel.
const OPEN_TIME_MAX: Duration = Duration::from_secs(10);
/// For the target to read the last words and close.
const CLOSE_TIME_MAX: Duration = Duration::from_secs(3);

/// The session's channels, by russh's names of them towards the target.
#[derive(Clone, Default)]
pub(super) struct Channels(Arc<Mutex<BTreeMap<russh::ChannelId, ChannelId>>>);

impl Channels {
    fn open(&self, id: russh::ChannelId, channel: ChannelId) {
        self.0.lock().insert(id, channel);
    }

    fn name(&self, id: russh::ChannelId) -> Option<ChannelId> {
        self.0.lock().get(&id).copied()
    }

    /// Holds a channel open: `None` when it isn't. Whatever is sent to the session meanwhile comes
    /// before its close.
    fn hold(&self, id: russh::ChannelId) -> Option<impl Sized> {
        let channels = self.0.lock();
        channels.contains_key(&id).then_some(channels)
    }

    /// Forgets a channel, and holds the others. `None` when it was forgotten already.
    fn close(&self, id: russh::ChannelId) -> Option<impl Sized> {
        let mut channels = self.0.lock();
        channels.remove(&id)?;
        Some(channels)
    }
}

/// russh's callbacks about one target.
pub(super) struct TargetHandler {
    intake: Intake,
    channels: Channels,
    host_keys: Arc<[PublicKey]>,
}

impl TargetHandler {
    pub(super) const fn new(
        intake: Intake,
        channels: Channels,
        host_keys: Arc<[PublicKey]>,
    ) -> Self {
        Self {
            intake,
            channels,
            host_keys,
        }
    }

    async fn message(&self, channel: russh::ChannelId, body: Body) -> Result<(), Error> {
        let Some(known) = self.channels.name(channel) else {
            return Ok(());
        };
        let event = Event::Message(body.on(known));
        let open = || self.channels.hold(channel);
        Ok(self.intake.emit_while(open, event).await?)
    }

    async fn request(&self, channel: russh::ChannelId, request: Request) -> Result<(), Error> {
        let body = Body::Request {
            want_reply: false,
            request,
        };
        self.message(channel, body).await
    }

    /// Refuses a channel that the target wants to open: dropping `reply` does.
    async fn refuse(&self, what: &str, reply: ChannelOpenHandle) -> Result<(), Error> {
        drop(reply);
        let what = format!("the target's {what}");
        Ok(self.intake.emit(Event::Refused { what }).await?)
    }
}

impl Handler for TargetHandler {
    type Error = Error;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, Error> {
        let PublicKeyOrCertificate::PublicKey { key, .. } = shown else {
            return Ok(false);
        };
        let is_pinned = |pinned: &PublicKey| pinned.key_data() == key.key_data();
        Ok(self.host_keys.iter().any(is_pinned))
    }

    async fn data(
        &mut self,
        channel: russh::ChannelId,
        data: &[u8],
        _session: &mut Session,
    ) -> Result<(), Error> {
        let data = Bytes::copy_from_slice(data);
        self.message(channel, Body::Data(data)).await
    }

    async fn extended_data(
        &mut self,
        channel: russh::ChannelId,
        kind: u32,
        data: &[u8],
        _session: &mut Session,
    ) -> Result<(), Error> {
        let data = Bytes::copy_from_slice(data);
        self.message(channel, Body::ExtendedData { kind, data })
            .await
    }

    async fn channel_success(
        &mut self,
        channel: russh::ChannelId,
        _session: &mut Session,
    ) -> Result<(), Error> {
        self.message(channel, Body::Success).await
    }

    async fn channel_failure(
        &mut self,
        channel: russh::ChannelId,
        _session: &mut Session,
    ) -> Result<(), Error> {
        self.message(channel, Body::Failure).await
    }

    async fn channel_eof(
        &mut self,
        channel: russh::ChannelId,
        _session: &mut Session,
    ) -> Result<(), Error> {
        self.message(channel, Body::Eof).await
    }

    async fn channel_close(
        &mut self,
        channel: russh::ChannelId,
        _session: &mut Session,
    ) -> Result<(), Error> {
        let Some(known) = self.channels.name(channel) else {
            return Ok(());
        };
        let event = Event::Message(Body::Close.on(known));
        let open = || self.channels.close(channel);
        Ok(self.intake.emit_while(open, event).await?)
    }

    async fn exit_status(
        &mut self,
        channel: russh::ChannelId,
        status: u32,
        _session: &mut Session,
    ) -> Result<(), Error> {
        self.request(channel, Request::ExitStatus(status)).await
    }

    async fn exit_signal(
        &mut self,
        channel: russh::ChannelId,
        signal: Sig,
        core_dumped: bool,
        text: &str,
        _language: &str,
        _session: &mut Session,
    ) -> Result<(), Error> {
        let request = Request::ExitSignal {
            signal: translate::signal_name(&signal),
            core_dumped,
            text: text.to_owned(),
        };
        self.request(channel, request).await
    }

    async fn server_channel_open_forwarded_tcpip(
        &mut self,
        _channel: Channel<Msg>,
        _connected_address: &str,
        _connected_port: u32,
        _originator_address: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Error> {
        self.refuse("forwarded-tcpip", reply).await
    }

    async fn server_channel_open_forwarded_streamlocal(
        &mut self,
        _channel: Channel<Msg>,
        _socket_path: &str,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Error> {
        self.refuse("forwarded-streamlocal@openssh.com", reply)
            .await
    }

    async fn server_channel_open_agent_forward(
        &mut self,
        _channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Error> {
        self.refuse("auth-agent@openssh.com", reply).await
    }

    async fn server_channel_open_session(
        &mut self,
        _channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Error> {
        self.refuse("session", reply).await
    }

    async fn server_channel_open_direct_tcpip(
        &mut self,
        _channel: Channel<Msg>,
        _host: &str,
        _port: u32,
        _originator_address: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Error> {
        self.refuse("direct-tcpip", reply).await
    }

    async fn server_channel_open_direct_streamlocal(
        &mut self,
        _channel: Channel<Msg>,
        _socket_path: &str,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Error> {
        self.refuse("direct-streamlocal@openssh.com", reply).await
    }

    async fn server_channel_open_x11(
        &mut self,
        _channel: Channel<Msg>,
        _originator_address: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Error> {
        self.refuse("x11", reply).await
    }
}

/// A logged-in connection, ready to carry a session.
pub(super) struct Transport {
    pub(super) handle: Handle<TargetHandler>,
    pub(super) channels: Channels,
    pub(super) peer: ChannelPeer<Event, Outbound>,
    pub(super) cut: Cut,
}

impl Transport {
    /// Carries the session until it ends, or the connection does.
    pub(super) async fn run(self) {
        let Self {
            mut handle,
            channels,
            peer,
            cut,
        } = self;
        let ChannelPeer {
            events,
            mut commands,
        } = peer;
        let mut writers = Writers::default();
        let ended = loop {
            let outbound = tokio::select! {
                _ = &mut handle => break true,
                () = events.closed() => break false,
                outbound = commands.recv() => match outbound {
                    Some(outbound) => outbound,
                    None => break false,
                },
            };
            let message = match outbound.command {
                Command::Message(message) => message,
                Command::Disconnect { .. } => break false,
                Command::Accept | Command::Reject => {
                    tracing::error!("a command can't be carried out: a target doesn't log in");
                    break false;
                }
            };
            if let Body::Open { .. } = message.body {
                let body = writers.open(message.channel, &handle, &channels).await;
                let opened = Event::Message(body.on(message.channel));
                if events.send(opened).await.is_err() {
                    break false;
                }
                continue;
            }
            if let Body::Close = message.body {
                if writers.close(message.channel, &channels).await {
                    // russh keeps the target's own close to itself then.
                    let closed = Event::Message(Body::Close.on(message.channel));
                    if events.send(closed).await.is_err() {
                        break false;
                    }
                }
                continue;
            }
            // A program that doesn't read its input keeps this waiting for as long as it likes.
            let sent = tokio::select! {
                _ = &mut handle => break true,
                () = events.closed() => break false,
                sent = writers.send(message) => sent,
            };
            if let Err(error) = sent {
                tracing::debug!(%error, "an SSH target's connection failed");
                break false;
            }
        };
        drop(events);
        if !ended {
            close(handle).await;
        }
        cut.now();
    }
}

async fn close(mut handle: Handle<TargetHandler>) {
    let closed = async {
        if handle
            .disconnect(Disconnect::ByApplication, "", "")
            .await
            .is_ok()
        {
            // russh reports its own disconnect as an error.
            drop((&mut handle).await);
        }
    };
    if tokio::time::timeout(CLOSE_TIME_MAX, closed).await.is_err() {
        tracing::debug!("an SSH target did not close its connection in time");
    }
}

/// What channels are written to by.
#[derive(Default)]
struct Writers(BTreeMap<ChannelId, ChannelWriteHalf<Msg>>);

impl Writers {
    /// Opens a session channel; what became of it.
    async fn open(
        &mut self,
        channel: ChannelId,
        handle: &Handle<TargetHandler>,
        channels: &Channels,
    ) -> Body {
        let opened = tokio::time::timeout(OPEN_TIME_MAX, handle.channel_open_session()).await;
        let failed = match opened {
            Ok(Ok(opened)) => {
                // What arrives comes by the handler.
                let (_, writer) = opened.split();
                channels.open(writer.id(), channel);
                self.0.insert(channel, writer);
                return Body::Opened;
            }
            Ok(Err(Error::ChannelOpenFailure(failure))) => failure,
            Ok(Err(error)) => connect_failed(error.to_string()),
            Err(_) => connect_failed("no answer in time".into()),
        };
        Body::OpenFailed {
            reason: failed.code(),
            text: failed.description().to_owned(),
        }
    }

    /// Closes a channel. `false` when the target has done so already.
    async fn close(&mut self, channel: ChannelId, channels: &Channels) -> bool {
        let Some(writer) = self.0.remove(&channel) else {
            return false;
        };
        if channels.close(writer.id()).is_none() {
            return false;
        }
        if let Err(error) = writer.close().await {
            tracing::debug!(%error, "an SSH target's connection failed");
        }
        true
    }

    /// Sends a message; data waits for the target's window.
    async fn send(&mut self, message: Message) -> Result<(), Error> {
        let Message { channel, body } = message;
        let Some(writer) = self.0.get(&channel) else {
            return Ok(());
        };
        match body {
            Body::Data(data) => writer.data_bytes(data).await,
            Body::ExtendedData { kind, data } => writer.extended_data_bytes(kind, data).await,
            Body::Eof => writer.eof().await,
            Body::Request {
                want_reply,
                request,
            } => request_of(writer, want_reply, request).await,
            Body::Open { .. }
            | Body::Opened
            | Body::OpenFailed { .. }
            | Body::Close
            | Body::Success
            | Body::Failure => Err(unsupported("an answer to a target")),
        }
    }
}

fn connect_failed(reason: String) -> ChannelOpenFailure {
    ChannelOpenFailure::Other {
        code: OPEN_CONNECT_FAILED,
        reason,
    }
}

async fn request_of(
    writer: &ChannelWriteHalf<Msg>,
    want_reply: bool,
    request: Request,
) -> Result<(), Error> {
    match request {
        Request::Pty { term, size, modes } => {
            let modes = translate::pty_modes(&modes);
            writer
                .request_pty(
                    want_reply,
                    &term,
                    size.columns,
                    size.rows,
                    size.width,
                    size.height,
                    &modes,
                )
                .await
        }
        Request::Env { name, value } => {
            let value = String::from_utf8(value.into())
                .map_err(|_| unsupported("a variable that isn't UTF-8"))?;
            writer.set_env(want_reply, name, value).await
        }
        Request::Exec(command) => writer.exec(want_reply, command).await,
        Request::Shell => writer.request_shell(want_reply).await,
        Request::Subsystem(name) => writer.request_subsystem(want_reply, name).await,
        Request::WindowChange(size) => {
            writer
                .window_change(size.columns, size.rows, size.width, size.height)
                .await
        }
        Request::Signal(name) => writer.signal(translate::signal(name)).await,
        Request::ExitStatus(_) | Request::ExitSignal { .. } | Request::Other { .. } => {
            Err(unsupported("a request of a target that servers make"))
        }
    }
}

/// The session never says this; if it did, the connection ends.
fn unsupported(what: &'static str) -> Error {
    tracing::error!(what, "a command can't be carried out");
    Error::Inconsistent
}
