//! One PostgreSQL session through the gate, in memory, with evidence acknowledged at once.

use std::{error::Error, net::Ipv4Addr, sync::Arc};

use bytes::{Bytes, BytesMut};
use gateway_core::{
    gate::{Action, Gate, Input, Setup},
    id::SessionId,
    identity::Authenticated,
    limits::Limits,
    wire::{Answer, Question, Route, Side, TargetLogin, TargetProof, TlsFacts},
};
use gateway_protocols::postgres::{
    Session,
    message::{
        Authentication, BackendKeyData, Message as _, PasswordMessage, Query, ReadyForQuery,
        Startup, StartupPacket, TransactionStatus, Version,
    },
};

use crate::Sample;

/// An open session. The target answers every query with the same bytes.
pub struct Memory {
    gate: Gate<Session>,
    sample: Arc<Sample>,
    answer: BytesMut,
    sides: [BytesMut; 2],
    delivered: usize,
}

impl Memory {
    /// Logs in.
    ///
    /// # Errors
    /// When the session doesn't open.
    pub fn open(
        sample: Arc<Sample>,
        policy: Arc<dyn gateway_core::decision::DecisionPoint>,
    ) -> Result<Self, Box<dyn Error>> {
        let limits = Arc::new(Limits::default());
        let setup = Setup {
            session: SessionId::new(Sample::now().wall, [0; 10]),
            source: Ipv4Addr::LOCALHOST.into(),
            decision: policy,
            limits: Arc::clone(&limits),
        };
        let mut memory = Self {
            gate: Gate::new(Session::new(&limits), setup),
            sample,
            answer: BytesMut::new(),
            sides: [BytesMut::new(), BytesMut::new()],
            delivered: 0,
        };
        memory.gate.handle(Sample::now(), Input::Start);
        let mut packet = BytesMut::new();
        StartupPacket::SslRequest.encode(&mut packet)?;
        memory.round_trip(&packet.split());
        let parameters: Vec<(&[u8], &[u8])> = vec![(b"user", b"agent"), (b"database", b"shop")];
        StartupPacket::Startup(Startup {
            version: Version::V3_0,
            parameters,
        })
        .encode(&mut packet)?;
        memory.round_trip(&packet.split());
        PasswordMessage { password: b"token" }.encode(&mut packet)?;
        memory.round_trip(&packet);
        if memory.gate.is_closed() {
            return Err("the session didn't open".into());
        }
        Ok(memory)
    }

    /// What the target answers every query with from now on.
    pub fn answers(&mut self, answer: BytesMut) {
        self.answer = answer;
    }

    /// The agent sends `bytes`, the target answers; returns the bytes that the agent gets.
    pub fn round_trip(&mut self, bytes: &[u8]) -> usize {
        self.delivered = 0;
        let [from_agent, _] = &mut self.sides;
        from_agent.extend_from_slice(bytes);
        loop {
            let waiting = self.sides.each_ref().map(BytesMut::len);
            let [from_agent, from_target] = &mut self.sides;
            let now = Sample::now();
            self.gate.handle(
                now,
                Input::Data {
                    from: Side::Agent,
                    data: from_agent,
                },
            );
            self.gate.handle(
                now,
                Input::Data {
                    from: Side::Target,
                    data: from_target,
                },
            );
            let mut acted = false;
            while let Some(action) = self.gate.poll_action() {
                self.perform(action);
                acted = true;
            }
            if !acted && waiting == self.sides.each_ref().map(BytesMut::len) {
                return self.delivered;
            }
        }
    }

    fn perform(&mut self, action: Action<Bytes>) {
        let now = Sample::now();
        match action {
            Action::Send {
                to: Side::Agent,
                data,
            } => self.delivered += data.len(),
            Action::Send {
                to: Side::Target,
                data,
            } => self.target(&data),
            Action::Evidence(position, _) => self.gate.handle(now, Input::Acknowledged(position)),
            Action::Ask(id, question) => {
                let answer = self.answer(question);
                self.gate.handle(now, Input::Answer(id, answer));
            }
            Action::Connect => self.gate.handle(now, Input::Connected),
            Action::StartTls(side) => self
                .gate
                .handle(now, Input::TlsReady(side, TlsFacts::default())),
            Action::Close(_)
            | Action::RequestApproval(_)
            | Action::WithdrawApproval(_)
            | Action::Aside(_) => {}
        }
    }

    fn answer(&self, question: Question) -> Answer {
        match question {
            Question::Route { requested } => Answer::Route(Ok(Route {
                target: self.sample.target.clone(),
                database: requested,
            })),
            Question::Authenticate { .. } => Answer::Authenticated(Ok(
                Authenticated::by_verified_credential(self.sample.principal.clone()),
            )),
            Question::AnalyseSql { text } => self
                .sample
                .analyse(&text)
                .map_or(Answer::Unanswered, Answer::Analysed),
            Question::TargetLogin => Answer::TargetLogin(Ok(TargetLogin {
                user: "gateway".to_owned(),
                proof: TargetProof::Token("token".into()),
                nonce: String::new(),
                direct_tls: false,
            })),
            Question::CancelKey { length, .. } => Answer::CancelKey {
                key: vec![7; length],
            },
            _ => Answer::Unanswered,
        }
    }

    fn target(&mut self, data: &[u8]) {
        let [_, from_target] = &mut self.sides;
        let ready = ReadyForQuery {
            status: TransactionStatus::Idle,
        };
        let encoded = match data.first() {
            Some(0) if data.len() == 8 => {
                from_target.extend_from_slice(b"S");
                Ok(())
            }
            Some(0) => Authentication::CleartextPassword.encode(from_target),
            Some(&PasswordMessage::TAG) => Authentication::Ok
                .encode(from_target)
                .and_then(|()| {
                    BackendKeyData {
                        process_id: 1,
                        key: b"key!",
                    }
                    .encode(from_target)
                })
                .and_then(|()| ready.encode(from_target)),
            Some(&Query::TAG) => {
                from_target.extend_from_slice(&self.answer);
                Ok(())
            }
            _ => Ok(()),
        };
        debug_assert!(encoded.is_ok(), "fixed messages fit");
    }
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Memory")
            .field("delivered", &self.delivered)
            .finish_non_exhaustive()
    }
}
