//! From the first byte to the first ReadyForQuery: the agent proves itself by its token, or by its
//! client id and secret, over TLS only; the gateway proves itself to the target by SCRAM, or by a
//! token of its own, over TLS only.
//!
//! ```text
//! ExpectStartup --SSLRequest | ClientHello--> ExpectAgentTls --> ExpectStartup --StartupMessage-->
//!   ExpectPassword --> ExpectPrincipal --> ExpectRoute --policy--> ExpectTargetLogin --> ExpectConnection
//!   --SSLRequest--> ExpectTlsAnswer --> ExpectTargetTls --StartupMessage--> ExpectAuthentication
//!   (direct TLS: ExpectConnection --> ExpectTargetTls)
//!   --SCRAM--> ExpectTargetReady --> ExpectCancelKey --> relay
//! ExpectStartup --CancelRequest--> ended
//! ```

mod target;

use bytes::{Bytes, BytesMut};
use gateway_core::{
    decision::{Denial, Reason},
    id::{AppId, AskId},
    record::CloseReason,
    wire::{Answer, Control, Credential, Event, Question, Side, TargetLogin, Turn, WireError},
};
use secrecy::{ExposeSecret, SecretString};

use super::{startup::Settings, words};
use crate::postgres::{
    frame::{self, Decoder, Frame, FrameLimits},
    message::{
        Authentication, BackendKeyData, Message, NegotiateProtocolVersion, PasswordMessage,
        ReadyForQuery, SaslResponse, Severity, SqlState, Startup, StartupPacket, TransactionStatus,
        Version, frontend_length, tag,
    },
    scram::{Challenge, ExpectServerFinal, ExpectServerFirst, SaltedPassword},
};

type Result<T> = std::result::Result<T, WireError>;

/// The protocol that direct TLS must be for (PostgreSQL 17, "SSL Session Encryption"): what was meant
/// for a server of another protocol must not be taken here (ALPACA).
const APPLICATION_PROTOCOL: &[u8] = b"postgresql";

/// What the relay needs of a finished login.
#[derive(Debug)]
pub(super) struct Established {
    /// The target's own cancel key: process id and secret.
    pub(super) target_key: (i32, Bytes),
}

/// A login under way.
#[derive(Debug)]
pub(super) struct Login {
    state: State,
    encryption: Encryption,
    version: Version,
    /// What the target is asked for, and later speaks.
    target_version: Version,
    settings: Settings,
    database: String,
    agent_frames: Decoder,
    target_frames: Decoder,
    certificate: Option<Vec<u8>>,
    statuses: BytesMut,
    target_key: Option<(i32, Bytes)>,
}

/// What became of encryption on the agent's side. GSSAPI's may be asked for once, TLS once, in this
/// order (PostgreSQL 18, `ProcessStartupPacket` in `backend_startup.c`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encryption {
    Unasked,
    GssRefused,
    Tls,
}

#[derive(Debug)]
enum State {
    ExpectStartup,
    /// `direct`: without an SSLRequest before.
    ExpectAgentTls {
        direct: bool,
    },
    ExpectRoute(AskId),
    ExpectPassword,
    ExpectPrincipal(AskId),
    ExpectTargetLogin(AskId),
    ExpectConnection(TargetLogin),
    ExpectTlsAnswer(TargetLogin),
    ExpectTargetTls(TargetLogin),
    ExpectAuthentication(TargetLogin),
    ExpectServerFirst(ExpectServerFirst),
    ExpectSaltedPassword(AskId, Challenge),
    ExpectServerFinal(Box<ExpectServerFinal>),
    ExpectOk,
    ExpectTargetReady,
    ExpectCancelKey(AskId),
    ExpectCancelled(AskId),
    Ended,
}

impl Login {
    pub(super) fn new(limits: FrameLimits) -> Self {
        Self {
            state: State::ExpectStartup,
            encryption: Encryption::Unasked,
            version: Version::V3_0,
            target_version: Version::V3_0,
            settings: Settings::default(),
            database: String::new(),
            agent_frames: Decoder::new(limits),
            target_frames: Decoder::new(limits),
            certificate: None,
            statuses: BytesMut::new(),
            target_key: None,
        }
    }

    pub(super) fn receive_agent(
        &mut self,
        input: &mut BytesMut,
        turn: &mut Turn<'_, Bytes>,
    ) -> Result<()> {
        match self.state {
            State::ExpectStartup => self.on_startup_bytes(input, turn),
            State::ExpectPassword => self.on_password_bytes(input, turn),
            // Whatever else a client sends before ReadyForQuery waits in its buffer.
            _ => Ok(()),
        }
    }

    fn on_startup_bytes(&mut self, input: &mut BytesMut, turn: &mut Turn<'_, Bytes>) -> Result<()> {
        if self.encryption == Encryption::Unasked && frame::starts_tls(input) {
            // Untaken input is the handshake's.
            turn.start_tls(Side::Agent);
            self.state = State::ExpectAgentTls { direct: true };
            return Ok(());
        }
        let packet = match frame::decode_startup(input, frame::STARTUP_BODY_BYTES_MAX) {
            Ok(Some(packet)) => packet,
            Ok(None) => return Ok(()),
            Err(error) => return self.reject(turn, "malformed", &error.to_string()),
        };
        match StartupPacket::parse(&packet) {
            Ok(StartupPacket::SslRequest) if self.encryption == Encryption::Tls => {
                self.reject(turn, "malformed", "a second SSLRequest")
            }
            Ok(StartupPacket::SslRequest) => {
                if !input.is_empty() {
                    // CVE-2021-23214: bytes behind the request would be taken for encrypted ones.
                    return self.reject(turn, "malformed", "data behind the SSLRequest");
                }
                turn.greet(Bytes::from_static(b"S"));
                turn.start_tls(Side::Agent);
                self.state = State::ExpectAgentTls { direct: false };
                Ok(())
            }
            Ok(StartupPacket::GssEncRequest) if self.encryption != Encryption::Unasked => {
                self.reject(turn, "malformed", "a GSSENCRequest out of its place")
            }
            Ok(StartupPacket::GssEncRequest) => {
                if !input.is_empty() {
                    return self.reject(turn, "malformed", "data behind the GSSENCRequest");
                }
                turn.greet(Bytes::from_static(b"N"));
                self.encryption = Encryption::GssRefused;
                Ok(())
            }
            Ok(StartupPacket::Cancel(cancel)) => {
                let key = cancel.key.to_vec();
                // Clients wait for the end of this connection before they go on: a request that
                // arrived later would end the wrong statement.
                self.state = State::ExpectCancelled(turn.ask(Question::Cancel {
                    process: cancel.process_id,
                    key,
                }));
                Ok(())
            }
            Ok(StartupPacket::Startup(startup)) => self.on_startup(&startup, turn),
            Err(error) => self.reject(turn, "malformed", &error.to_string()),
        }
    }

    fn on_startup(&mut self, startup: &Startup<'_>, turn: &mut Turn<'_, Bytes>) -> Result<()> {
        let settings = match Settings::read(startup) {
            Ok(settings) => settings,
            Err(refusal) => {
                return self.refuse(turn, SqlState::FEATURE_NOT_SUPPORTED, refusal);
            }
        };
        if self.encryption != Encryption::Tls {
            let message = "the gateway takes access tokens over TLS only";
            turn.reject_login("no_tls", &settings.user);
            return self.end(
                turn,
                SqlState::INVALID_AUTHORIZATION,
                message,
                Some("Use sslmode=verify-full."),
            );
        }
        self.version = startup.version;
        if startup.version > Version::V3_2 || !settings.unknown_options.is_empty() {
            self.version = startup.version.min(Version::V3_2);
            let negotiate = NegotiateProtocolVersion {
                newest: self.version.number(),
                unknown_options: settings
                    .unknown_options
                    .iter()
                    .map(String::as_bytes)
                    .collect(),
            };
            turn.greet(words::encoded(|out| negotiate.encode(out)));
        }
        self.settings = settings;
        // The target is looked for only once the agent has proven itself: nobody else may make the
        // gateway ask anything of a target.
        turn.greet(words::encoded(|out| {
            Authentication::CleartextPassword.encode(out)
        }));
        self.state = State::ExpectPassword;
        Ok(())
    }

    fn on_password_bytes(
        &mut self,
        input: &mut BytesMut,
        turn: &mut Turn<'_, Bytes>,
    ) -> Result<()> {
        let frame = match self.agent_frames.decode(input, frontend_length) {
            Ok(Some(frame)) => frame,
            Ok(None) => return Ok(()),
            Err(error) => return self.reject(turn, "malformed", &error.to_string()),
        };
        let Frame::Whole {
            tag: tag::frontend::AUTHENTICATION_RESPONSE,
            bytes,
        } = frame
        else {
            return self.reject(turn, "malformed", "a message before the login is complete");
        };
        let password = PasswordMessage::parse(frame::body(&bytes))
            .ok()
            .and_then(|message| std::str::from_utf8(message.password).ok())
            .map(|password| SecretString::from(password.to_owned()));
        let Some(secret) = password else {
            return self.reject(turn, "malformed", "the password message is malformed");
        };
        let claimed_user = self.settings.user.clone();
        let credential = if names_client(&claimed_user) && !is_token(secret.expose_secret()) {
            Credential::ClientSecret(secret)
        } else {
            Credential::Password(secret)
        };
        let ask = turn.ask(Question::Authenticate {
            claimed_user,
            credential,
        });
        self.state = State::ExpectPrincipal(ask);
        Ok(())
    }

    /// `Some` when the login is complete.
    pub(super) fn notify(
        &mut self,
        event: Event,
        turn: &mut Turn<'_, Bytes>,
    ) -> Result<Option<Established>> {
        match event {
            Event::TlsReady(Side::Agent, facts) => {
                let direct = matches!(self.state, State::ExpectAgentTls { direct: true });
                self.encryption = Encryption::Tls;
                self.state = State::ExpectStartup;
                if direct && facts.application_protocol.as_deref() != Some(APPLICATION_PROTOCOL) {
                    let why = "direct TLS without the application protocol `postgresql`";
                    self.reject(turn, "malformed", why)?;
                }
            }
            Event::TlsReady(Side::Target, facts) => {
                self.certificate = facts.peer_certificate;
                self.start_target(facts.application_protocol.as_deref(), turn)?;
            }
            Event::Connected => {
                if let State::ExpectConnection(login) = self.take() {
                    if login.direct_tls {
                        turn.start_tls(Side::Target);
                        self.state = State::ExpectTargetTls(login);
                        return Ok(None);
                    }
                    turn.pass(
                        Control::Login,
                        words::encoded(|out| StartupPacket::SslRequest.encode(out)),
                    );
                    self.state = State::ExpectTlsAnswer(login);
                }
            }
            Event::ConnectFailed(why) => {
                let denial = Denial::new(
                    Reason::Protocol,
                    format!("the target can't be reached: {why}"),
                );
                turn.refuse_session(denial);
                let message = "the target can't be reached";
                self.end(turn, SqlState::CONNECTION_FAILURE, message, None)?;
            }
            Event::Answer(id, answer) => return self.on_answer(id, answer, turn),
            Event::Eof(Side::Agent) => {
                self.state = State::Ended;
                turn.close(CloseReason::AgentClosed);
            }
            Event::Eof(Side::Target) => {
                let message = "the target closed its connection during the login";
                turn.refuse_session(Denial::new(Reason::Protocol, message));
                self.end(turn, SqlState::CONNECTION_FAILURE, message, None)?;
            }
            Event::Closing(reason) => {
                if !matches!(self.state, State::Ended | State::ExpectAgentTls { .. }) {
                    turn.greet(words::farewell(&reason));
                }
                self.state = State::Ended;
            }
            Event::Started | Event::Ruled(..) | Event::CancelRequested | Event::Stale => {}
        }
        Ok(None)
    }

    fn on_answer(
        &mut self,
        id: AskId,
        answer: Answer,
        turn: &mut Turn<'_, Bytes>,
    ) -> Result<Option<Established>> {
        match (self.take(), answer) {
            (State::ExpectPrincipal(asked), Answer::Authenticated(Ok(_))) if asked == id => {
                let requested = self.settings.database.clone();
                self.state = State::ExpectRoute(turn.ask(Question::Route { requested }));
            }
            (State::ExpectRoute(asked), Answer::Route(Err(denial))) if asked == id => {
                self.refuse(turn, SqlState::INVALID_CATALOG_NAME, denial)?;
            }
            (State::ExpectRoute(asked), Answer::Route(Ok(route))) if asked == id => {
                self.database = route.database;
                match turn.open() {
                    Ok(()) => {
                        self.state = State::ExpectTargetLogin(turn.ask(Question::TargetLogin))
                    }
                    Err(denial) => {
                        turn.greet(words::refusal(
                            Severity::Fatal,
                            SqlState::INVALID_AUTHORIZATION,
                            &denial,
                            None,
                        ));
                        turn.close(CloseReason::Refused);
                    }
                }
            }
            (State::ExpectPrincipal(asked), Answer::Authenticated(Err(reason))) if asked == id => {
                turn.reject_login(&reason, &self.settings.user);
                let message = format!("the access token was refused: {reason}");
                self.end(turn, SqlState::INVALID_PASSWORD, &message, None)?;
            }
            (State::ExpectTargetLogin(asked), Answer::TargetLogin(Ok(login))) if asked == id => {
                turn.connect();
                self.state = State::ExpectConnection(login);
            }
            (State::ExpectSaltedPassword(asked, challenge), Answer::SaltedPassword(salted))
                if asked == id =>
            {
                let Some(salted) = SaltedPassword::from_bytes(salted.expose_secret()) else {
                    return self.target_failed(turn, "the salted password has a wrong size");
                };
                let (message, next) = challenge.client_final(&salted);
                let response = words::encoded(|out| SaslResponse(message.as_bytes()).encode(out));
                turn.pass(Control::Login, response);
                self.state = State::ExpectServerFinal(Box::new(next));
            }
            (State::ExpectCancelKey(asked), Answer::CancelKey { key }) if asked == id => {
                return Ok(Some(self.finish(&key, turn)));
            }
            (State::ExpectCancelled(asked), _) if asked == id => {
                self.state = State::Ended;
                turn.close(CloseReason::AgentClosed);
            }
            (State::ExpectTargetLogin(_), Answer::TargetLogin(Err(why))) => {
                return self.target_failed(turn, &format!("no credential for the target: {why}"));
            }
            (state, Answer::Unanswered) if state.waits_for(id) => {
                let message = "the gateway couldn't complete the login in time";
                turn.refuse_session(Denial::new(Reason::NoAnswer, message));
                self.end(turn, SqlState::CANNOT_CONNECT_NOW, message, None)?;
            }
            (state, _) => self.state = state,
        }
        Ok(None)
    }

    fn finish(&mut self, key: &[u8], turn: &mut Turn<'_, Bytes>) -> Established {
        self.state = State::Ended;
        let target_key = self.target_key.take().unwrap_or_default();
        let process_id = target_key.0;
        turn.greet(words::encoded(|out| Authentication::Ok.encode(out)));
        turn.greet(self.statuses.split().freeze());
        turn.greet(words::encoded(|out| {
            BackendKeyData { process_id, key }.encode(out)
        }));
        let ready = ReadyForQuery {
            status: TransactionStatus::Idle,
        };
        turn.greet(words::encoded(|out| ready.encode(out)));
        turn.established();
        Established { target_key }
    }

    /// Refuses a login whose client broke the protocol.
    fn reject(&mut self, turn: &mut Turn<'_, Bytes>, reason: &str, why: &str) -> Result<()> {
        turn.reject_login(reason, &self.settings.user);
        self.end(turn, SqlState::PROTOCOL_VIOLATION, why, None)
    }

    /// Refuses a session for a reason that the agent can mend.
    fn refuse(&mut self, turn: &mut Turn<'_, Bytes>, code: SqlState, denial: Denial) -> Result<()> {
        turn.greet(words::refusal(Severity::Fatal, code, &denial, None));
        turn.refuse_session(denial);
        self.state = State::Ended;
        turn.close(CloseReason::Refused);
        Ok(())
    }

    fn end(
        &mut self,
        turn: &mut Turn<'_, Bytes>,
        code: SqlState,
        message: &str,
        hint: Option<&str>,
    ) -> Result<()> {
        turn.greet(words::report(Severity::Fatal, code, message, None, hint));
        self.state = State::Ended;
        turn.close(CloseReason::Refused);
        Ok(())
    }

    fn take(&mut self) -> State {
        std::mem::replace(&mut self.state, State::Ended)
    }

    /// Hands the decoders over to the relay: both are at a message boundary.
    pub(super) fn into_decoders(self) -> (Decoder, Decoder) {
        (self.agent_frames, self.target_frames)
    }
}

/// Whether a user name is an application's id, with or without its tenant's.
fn names_client(user: &str) -> bool {
    let client = user.split_once('@').map_or(user, |(client, _)| client);
    AppId::parse(client).is_ok()
}

/// Whether a password is a signed token: three parts, the first an encoded JSON object (RFC 7515,
/// section 7.1 "JWS Compact Serialization"). Secrets of applications don't look like that.
fn is_token(password: &str) -> bool {
    password.starts_with("eyJ") && password.split('.').count() == 3
}

impl State {
    fn waits_for(&self, id: AskId) -> bool {
        match self {
            Self::ExpectRoute(asked)
            | Self::ExpectPrincipal(asked)
            | Self::ExpectTargetLogin(asked)
            | Self::ExpectSaltedPassword(asked, _)
            | Self::ExpectCancelKey(asked) => *asked == id,
            _ => false,
        }
    }
}
