//! The login at the target, on the gateway's own behalf.

use bytes::{Buf as _, Bytes, BytesMut};
use gateway_core::{
    decision::{Denial, Reason},
    wire::{Control, Question, Side, TargetLogin, TargetProof, Turn, WireError},
};
use secrecy::ExposeSecret as _;

use super::{APPLICATION_PROTOCOL, Established, Login, Result, State};
use crate::postgres::{
    frame::{self, Frame},
    message::{
        Authentication, Backend, Message as _, NegotiateProtocolVersion, PasswordMessage,
        SaslInitialResponse, SqlState, Startup, StartupPacket, Version, backend_length,
    },
    scram::{
        ChannelBinding, EndPoint, ExpectServerFirst, Nonce, SCRAM_SHA_256, SCRAM_SHA_256_PLUS,
    },
    session::{pins, words},
};

impl Login {
    pub(in crate::postgres::session) fn receive_target(
        &mut self,
        input: &mut BytesMut,
        turn: &mut Turn<'_, Bytes>,
    ) -> Result<()> {
        if matches!(self.state, State::ExpectTlsAnswer(_)) {
            return self.on_tls_answer(input, turn);
        }
        while self.reads_target() {
            let decoded = self.target_frames.decode(input, backend_length);
            let frame = decoded.map_err(|e| WireError::protocol(Side::Target, e.to_string()))?;
            let Some(Frame::Whole { tag, bytes }) = frame else {
                return match frame {
                    None => Ok(()),
                    Some(_) => self.target_failed(turn, "a row during the login").map(drop),
                };
            };
            let message = Backend::parse(tag, frame::body(&bytes))
                .map_err(|e| WireError::protocol(Side::Target, e.to_string()))?;
            self.on_target(&message, turn)?;
        }
        Ok(())
    }

    fn reads_target(&self) -> bool {
        matches!(
            self.state,
            State::ExpectAuthentication(_)
                | State::ExpectServerFirst(_)
                | State::ExpectServerFinal(_)
                | State::ExpectOk
                | State::ExpectTargetReady
        )
    }

    fn on_tls_answer(&mut self, input: &mut BytesMut, turn: &mut Turn<'_, Bytes>) -> Result<()> {
        let Some(&answer) = input.first() else {
            return Ok(());
        };
        input.advance(1);
        match (answer, self.take()) {
            (b'S', State::ExpectTlsAnswer(login)) if input.is_empty() => {
                turn.start_tls(Side::Target);
                self.state = State::ExpectTargetTls(login);
                Ok(())
            }
            (b'N', _) => self
                .target_failed(turn, "the target offers no TLS")
                .map(drop),
            _ => self
                .target_failed(turn, "the target's answer to SSLRequest is wrong")
                .map(drop),
        }
    }

    /// SPEC: threats D03: the startup is built from scratch, never forwarded.
    pub(super) fn start_target(
        &mut self,
        application_protocol: Option<&[u8]>,
        turn: &mut Turn<'_, Bytes>,
    ) -> Result<()> {
        let State::ExpectTargetTls(login) = self.take() else {
            return Ok(());
        };
        if login.direct_tls && application_protocol != Some(APPLICATION_PROTOCOL) {
            return self
                .target_failed(turn, "direct TLS without the application protocol")
                .map(drop);
        }
        let pinned: &[(&str, &str)] = &[
            ("client_encoding", "UTF8"),
            ("standard_conforming_strings", "on"),
        ];
        let mut parameters: Vec<(&[u8], &[u8])> = vec![
            (b"user", login.user.as_bytes()),
            (b"database", self.database.as_bytes()),
        ];
        parameters.extend(
            pinned
                .iter()
                .map(|(name, value)| (name.as_bytes(), value.as_bytes())),
        );
        let wanted = self.settings.forwarded.iter();
        parameters.extend(wanted.map(|(name, value)| (name.as_bytes(), value.as_bytes())));
        // As the agent would ask on a direct connection: what stands before a server may know less
        // than the server does. Version 3.1 was never spoken.
        if self.version >= Version::V3_2 {
            self.target_version = Version::V3_2;
        }
        let packet = StartupPacket::Startup(Startup {
            version: self.target_version,
            parameters,
        });
        turn.pass(Control::Login, words::encoded(|out| packet.encode(out)));
        self.state = State::ExpectAuthentication(login);
        Ok(())
    }

    fn on_target(&mut self, message: &Backend<'_>, turn: &mut Turn<'_, Bytes>) -> Result<()> {
        match (self.take(), message) {
            (_, Backend::ErrorResponse(error)) => {
                let text = |field| error.0.get(field).map(String::from_utf8_lossy);
                use crate::postgres::message::ReportField::{Code, Message};
                let why = format!(
                    "{} ({})",
                    text(Message).unwrap_or_default(),
                    text(Code).unwrap_or_default()
                );
                self.target_failed(turn, &why).map(drop)
            }
            (state, Backend::NoticeResponse(_)) => {
                self.state = state;
                Ok(())
            }
            (State::ExpectAuthentication(login), Backend::NegotiateProtocolVersion(offer)) => {
                self.on_older_target(login, offer, turn)
            }
            (State::ExpectAuthentication(login), Backend::Authentication(request)) => {
                self.on_authentication(login, request, turn)
            }
            (
                State::ExpectServerFirst(first),
                Backend::Authentication(Authentication::SaslContinue(data)),
            ) => match first.server_first(data) {
                Ok(challenge) => {
                    let salt = challenge.salt().to_vec();
                    let iterations = challenge.iterations();
                    let ask = turn.ask(Question::SaltPassword { salt, iterations });
                    self.state = State::ExpectSaltedPassword(ask, challenge);
                    Ok(())
                }
                Err(error) => self.target_failed(turn, &error.to_string()).map(drop),
            },
            (
                State::ExpectServerFinal(last),
                Backend::Authentication(Authentication::SaslFinal(data)),
            ) => match last.verify(data) {
                Ok(()) => {
                    self.state = State::ExpectOk;
                    Ok(())
                }
                Err(error) => self.target_failed(turn, &error.to_string()).map(drop),
            },
            (State::ExpectOk, Backend::Authentication(Authentication::Ok)) => {
                self.state = State::ExpectTargetReady;
                Ok(())
            }
            (State::ExpectTargetReady, message) => self.on_target_ready(message, turn),
            (_, _) => self
                .target_failed(turn, "an unexpected message during the login")
                .map(drop),
        }
    }

    /// The target is older than what it was asked for: once, before anything else, and only down.
    fn on_older_target(
        &mut self,
        login: TargetLogin,
        offer: &NegotiateProtocolVersion<'_>,
        turn: &mut Turn<'_, Bytes>,
    ) -> Result<()> {
        let older = Version::V3_0;
        let asked_more = self.target_version > older;
        if !asked_more || offer.newest != older.number() || !offer.unknown_options.is_empty() {
            return self
                .target_failed(turn, "the target speaks no protocol that was asked for")
                .map(drop);
        }
        self.target_version = older;
        self.state = State::ExpectAuthentication(login);
        Ok(())
    }

    fn on_authentication(
        &mut self,
        login: TargetLogin,
        request: &Authentication<'_>,
        turn: &mut Turn<'_, Bytes>,
    ) -> Result<()> {
        match (&login.proof, request) {
            (TargetProof::Password, Authentication::Sasl(mechanisms)) => {
                let offers = |name: &str| mechanisms.iter().any(|m| m == name.as_bytes());
                let end_point = self
                    .certificate
                    .as_deref()
                    .and_then(|der| EndPoint::of_certificate(der).ok());
                let binding = match end_point {
                    Some(end_point) if offers(SCRAM_SHA_256_PLUS) => {
                        ChannelBinding::ServerEndPoint(end_point)
                    }
                    Some(_) if offers(SCRAM_SHA_256) => ChannelBinding::NotOffered,
                    None if offers(SCRAM_SHA_256) => ChannelBinding::Unsupported,
                    Some(_) | None => {
                        return self.target_failed(turn, "no SCRAM-SHA-256").map(drop);
                    }
                };
                let nonce = match Nonce::new(&login.nonce) {
                    Ok(nonce) => nonce,
                    Err(error) => return self.target_failed(turn, &error.to_string()).map(drop),
                };
                let first = ExpectServerFirst::new(binding, nonce);
                let data = first.message();
                let initial = SaslInitialResponse {
                    mechanism: first.mechanism().as_bytes(),
                    data: Some(data.as_bytes()),
                };
                turn.pass(Control::Login, words::encoded(|out| initial.encode(out)));
                self.state = State::ExpectServerFirst(first);
                Ok(())
            }
            (TargetProof::Token(token), Authentication::CleartextPassword) => {
                let password = token.expose_secret().as_bytes();
                let message = words::encoded(|out| PasswordMessage { password }.encode(out));
                turn.pass(Control::Login, message);
                self.state = State::ExpectOk;
                Ok(())
            }
            // Never a password in clear, nor its MD5, nor no proof at all of who the target is.
            _ => self
                .target_failed(
                    turn,
                    "the target asks for an authentication that isn't allowed",
                )
                .map(drop),
        }
    }

    fn on_target_ready(&mut self, message: &Backend<'_>, turn: &mut Turn<'_, Bytes>) -> Result<()> {
        self.state = State::ExpectTargetReady;
        match message {
            Backend::ParameterStatus(status) => {
                pins::check(status)?;
                if self.statuses.len() > frame::STARTUP_BODY_BYTES_MAX {
                    return self.target_failed(turn, "too many parameters").map(drop);
                }
                let _ = status.encode(&mut self.statuses).is_ok();
                Ok(())
            }
            Backend::BackendKeyData(key) => {
                self.target_key = Some((key.process_id, Bytes::copy_from_slice(key.key)));
                Ok(())
            }
            Backend::ReadyForQuery(_) => {
                let length = if self.version >= Version::V3_2 { 32 } else { 4 };
                let process = self.target_key.as_ref().map_or(0, |(process, _)| *process);
                self.state =
                    State::ExpectCancelKey(turn.ask(Question::CancelKey { process, length }));
                Ok(())
            }
            _ => self
                .target_failed(turn, "an unexpected message during the login")
                .map(drop),
        }
    }

    /// Ends the session because of the target. The agent learns that, not the target's words.
    pub(super) fn target_failed(
        &mut self,
        turn: &mut Turn<'_, Bytes>,
        why: &str,
    ) -> Result<Option<Established>> {
        turn.refuse_session(Denial::new(
            Reason::Protocol,
            format!("target login: {why}"),
        ));
        let message = "the gateway couldn't log in at the target";
        self.end(turn, SqlState::CONNECTION_FAILURE, message, None)?;
        Ok(None)
    }
}
