//! russh's callbacks about an agent, as events.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use gateway_core::wire::Credential;
use gateway_protocols::ssh::{
    Event,
    message::{Body, ChannelId, Request, Size},
};
use russh::{
    Channel, ChannelOpenFailure, Error, MethodSet, Pty, Sig,
    keys::Certificate,
    server::{
        Auth, ChannelOpenHandle, Handler, Msg, PublicKeyOffer, Response, Session, VerifiedPublicKey,
    },
};
use secrecy::SecretString;

use super::{
    attempts::Attempts,
    overheard::{self, Listening},
    pending::Pending,
    throttle::{Intake, SessionOver},
    translate,
};

/// How long the transport stands still for the answer to a request. russh remembers of a channel
/// only whether its *last* request wants a reply, so that the answer to one that is overtaken by
/// the next would get lost. Answers take microseconds but where the target is asked; an answer
/// that comes later is sent all the same.
const ANSWER_TIME: Duration = Duration::from_millis(200);

/// russh's callbacks about one agent.
pub(super) struct AgentHandler {
    intake: Intake,
    pending: Arc<Pending>,
    attempts: Attempts,
    listening: Option<Listening>,
}

impl From<SessionOver> for Error {
    fn from(_: SessionOver) -> Self {
        Self::Disconnect
    }
}

fn rejected() -> Auth {
    // No method is left: a session takes one credential.
    Auth::Reject {
        proceed_with_methods: Some(MethodSet::empty()),
        partial_success: false,
    }
}

impl AgentHandler {
    pub(super) const fn new(intake: Intake, pending: Arc<Pending>, attempts: Attempts) -> Self {
        Self {
            intake,
            pending,
            attempts,
            listening: None,
        }
    }

    async fn login(&self, user: &str, credential: Credential) -> Result<Auth, Error> {
        let Some(verdict) = self.pending.login() else {
            return Ok(rejected());
        };
        self.attempts.show();
        let user = user.to_owned();
        self.intake.emit(Event::Login { user, credential }).await?;
        match verdict.await {
            Ok(true) => Ok(Auth::Accept),
            Ok(false) => Ok(rejected()),
            Err(_) => Err(Error::Disconnect),
        }
    }

    async fn refused(&self, what: &str) -> Result<(), Error> {
        let what = what.to_owned();
        Ok(self.intake.emit(Event::Refused { what }).await?)
    }

    async fn message(&self, channel: ChannelId, body: Body) -> Result<(), Error> {
        let event = Event::Message(body.on(channel));
        let open = || self.pending.hold(channel);
        Ok(self.intake.emit_while(open, event).await?)
    }

    async fn open(
        &self,
        channel: Channel<Msg>,
        kind: &str,
        data: Bytes,
        handle: ChannelOpenHandle,
    ) -> Result<(), Error> {
        let id = channel.id();
        if let Err(handle) = self.pending.open(id, handle) {
            handle.reject(ChannelOpenFailure::ResourceShortage).await;
            return self.refused("one channel too many").await;
        }
        let kind = kind.to_owned();
        self.message(number(id), Body::Open { kind, data }).await
    }

    async fn request(
        &self,
        channel: russh::ChannelId,
        request: Request,
        session: &mut Session,
    ) -> Result<(), Error> {
        let mut answer = self.pending.request(number(channel));
        self.notice(channel, true, request).await?;
        let answered = match tokio::time::timeout(ANSWER_TIME, &mut answer).await {
            Ok(answered) => answered.ok(),
            Err(_) => {
                answer.close();
                answer.try_recv().ok()
            }
        };
        match answered {
            Some(true) => session.channel_success(channel),
            Some(false) => session.channel_failure(channel),
            None => Ok(()),
        }
    }

    /// A request that nobody waits for here.
    async fn notice(
        &self,
        channel: russh::ChannelId,
        want_reply: bool,
        request: Request,
    ) -> Result<(), Error> {
        let body = Body::Request {
            want_reply,
            request,
        };
        self.message(number(channel), body).await
    }
}

fn number(channel: russh::ChannelId) -> ChannelId {
    ChannelId(channel.number())
}

impl Handler for AgentHandler {
    type Error = Error;

    /// Asked for when the agent asks to be let in; there is none.
    async fn authentication_banner(&mut self) -> Result<Option<String>, Error> {
        self.attempts.begin();
        self.listening = overheard::listen(self.intake.clone(), self.attempts.clone());
        Ok(None)
    }

    async fn auth_none(&mut self, _user: &str) -> Result<Auth, Error> {
        // How clients ask which methods there are (RFC 4252, section 5.2): nothing to record.
        Ok(Auth::reject())
    }

    async fn auth_password(&mut self, user: &str, password: &str) -> Result<Auth, Error> {
        let token = SecretString::from(password.to_owned());
        self.login(user, Credential::Password(token)).await
    }

    async fn auth_publickey_offered(
        &mut self,
        _user: &str,
        offer: PublicKeyOffer<'_>,
    ) -> Result<Auth, Error> {
        // Whether it is certified isn't told before the signature.
        if super::algorithms::KEYS.contains(offer.algorithm) {
            Ok(Auth::Accept)
        } else {
            self.attempts.fail("key_algorithm");
            Ok(Auth::reject())
        }
    }

    async fn auth_publickey(
        &mut self,
        _user: &str,
        _key: VerifiedPublicKey<'_>,
    ) -> Result<Auth, Error> {
        self.attempts.fail("key_without_certificate");
        Ok(Auth::reject())
    }

    async fn auth_openssh_certificate(
        &mut self,
        user: &str,
        certificate: &Certificate,
    ) -> Result<Auth, Error> {
        let bytes = certificate.to_bytes().map_err(Error::from)?;
        self.login(user, Credential::Certificate(bytes)).await
    }

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        _user: &str,
        _submethods: &str,
        _response: Option<Response<'a>>,
    ) -> Result<Auth, Error> {
        self.attempts.fail("method");
        Ok(Auth::reject())
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Error> {
        self.open(channel, "session", Bytes::new(), reply).await
    }

    async fn channel_open_x11(
        &mut self,
        channel: Channel<Msg>,
        originator_address: &str,
        originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Error> {
        let data = translate::addresses(&[(originator_address, originator_port)]);
        self.open(channel, "x11", data, reply).await
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        originator_address: &str,
        originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Error> {
        let data = translate::addresses(&[(host, port), (originator_address, originator_port)]);
        self.open(channel, "direct-tcpip", data, reply).await
    }

    async fn channel_open_forwarded_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        originator_address: &str,
        originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Error> {
        let data = translate::addresses(&[(host, port), (originator_address, originator_port)]);
        self.open(channel, "forwarded-tcpip", data, reply).await
    }

    async fn channel_open_direct_streamlocal(
        &mut self,
        channel: Channel<Msg>,
        socket_path: &str,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Error> {
        let data = translate::socket_path(socket_path);
        self.open(channel, "direct-streamlocal@openssh.com", data, reply)
            .await
    }

    async fn channel_close(
        &mut self,
        channel: russh::ChannelId,
        _session: &mut Session,
    ) -> Result<(), Error> {
        let channel = number(channel);
        let event = Event::Message(Body::Close.on(channel));
        let open = || self.pending.close(channel);
        Ok(self.intake.emit_while(open, event).await?)
    }

    async fn channel_eof(
        &mut self,
        channel: russh::ChannelId,
        _session: &mut Session,
    ) -> Result<(), Error> {
        self.message(number(channel), Body::Eof).await
    }

    async fn data(
        &mut self,
        channel: russh::ChannelId,
        data: &[u8],
        _session: &mut Session,
    ) -> Result<(), Error> {
        let data = Bytes::copy_from_slice(data);
        self.message(number(channel), Body::Data(data)).await
    }

    async fn extended_data(
        &mut self,
        channel: russh::ChannelId,
        kind: u32,
        data: &[u8],
        _session: &mut Session,
    ) -> Result<(), Error> {
        let data = Bytes::copy_from_slice(data);
        self.message(number(channel), Body::ExtendedData { kind, data })
            .await
    }

    async fn pty_request(
        &mut self,
        channel: russh::ChannelId,
        term: &str,
        columns: u32,
        rows: u32,
        width: u32,
        height: u32,
        modes: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Error> {
        let size = Size {
            columns,
            rows,
            width,
            height,
        };
        let request = Request::Pty {
            term: term.to_owned(),
            size,
            modes: translate::modes(modes),
        };
        self.request(channel, request, session).await
    }

    async fn x11_request(
        &mut self,
        channel: russh::ChannelId,
        _single_connection: bool,
        _protocol: &str,
        _cookie: &str,
        _screen: u32,
        session: &mut Session,
    ) -> Result<(), Error> {
        session.channel_failure(channel)?;
        self.refused("x11-req").await
    }

    async fn agent_request(
        &mut self,
        _channel: russh::ChannelId,
        _session: &mut Session,
    ) -> Result<bool, Error> {
        self.refused("auth-agent-req@openssh.com").await?;
        Ok(false)
    }

    async fn env_request(
        &mut self,
        channel: russh::ChannelId,
        name: &str,
        value: &str,
        session: &mut Session,
    ) -> Result<(), Error> {
        let request = Request::Env {
            name: name.to_owned(),
            value: Bytes::copy_from_slice(value.as_bytes()),
        };
        self.request(channel, request, session).await
    }

    async fn shell_request(
        &mut self,
        channel: russh::ChannelId,
        session: &mut Session,
    ) -> Result<(), Error> {
        self.request(channel, Request::Shell, session).await
    }

    async fn exec_request(
        &mut self,
        channel: russh::ChannelId,
        command: &[u8],
        session: &mut Session,
    ) -> Result<(), Error> {
        let request = Request::Exec(Bytes::copy_from_slice(command));
        self.request(channel, request, session).await
    }

    async fn subsystem_request(
        &mut self,
        channel: russh::ChannelId,
        name: &str,
        session: &mut Session,
    ) -> Result<(), Error> {
        let request = Request::Subsystem(name.to_owned());
        self.request(channel, request, session).await
    }

    async fn window_change_request(
        &mut self,
        channel: russh::ChannelId,
        columns: u32,
        rows: u32,
        width: u32,
        height: u32,
        _session: &mut Session,
    ) -> Result<(), Error> {
        let size = Size {
            columns,
            rows,
            width,
            height,
        };
        self.notice(channel, false, Request::WindowChange(size))
            .await
    }

    async fn signal(
        &mut self,
        channel: russh::ChannelId,
        signal: Sig,
        _session: &mut Session,
    ) -> Result<(), Error> {
        let request = Request::Signal(translate::signal_name(&signal));
        self.notice(channel, false, request).await
    }

    async fn tcpip_forward(
        &mut self,
        _address: &str,
        _port: &mut u32,
        _session: &mut Session,
    ) -> Result<bool, Error> {
        self.refused("tcpip-forward").await?;
        Ok(false)
    }

    async fn cancel_tcpip_forward(
        &mut self,
        _address: &str,
        _port: u32,
        _session: &mut Session,
    ) -> Result<bool, Error> {
        self.refused("cancel-tcpip-forward").await?;
        Ok(false)
    }

    async fn streamlocal_forward(
        &mut self,
        _socket_path: &str,
        _session: &mut Session,
    ) -> Result<bool, Error> {
        self.refused("streamlocal-forward@openssh.com").await?;
        Ok(false)
    }

    async fn cancel_streamlocal_forward(
        &mut self,
        _socket_path: &str,
        _session: &mut Session,
    ) -> Result<bool, Error> {
        self.refused("cancel-streamlocal-forward@openssh.com")
            .await?;
        Ok(false)
    }
}
