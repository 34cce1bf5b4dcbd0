//! The wire of the toy protocol of calls.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};
use gateway_core::{
    decision::Denial,
    id::{AskId, UnitId},
    mask::{Obligations, Scan},
    operation::{
        Action, CommandFacts, CommandKind, CommandUnit, Effect, Inspection, Object, Operation,
    },
    record::{CloseReason, Outcome, Track, UnitEnd},
    wire::{Answer, Control, Credential, Event, Question, Ruling, Side, Turn, Wire, WireError},
};
use secrecy::SecretString;

use super::{
    Defect,
    message::{Message, Out},
};

/// Longest data or text of one event, bytes.
const EVENT_BYTES_MAX: usize = 1024;
/// Events that wait, for each held call and in front of the wire.
const EVENTS_MAX: usize = 64;
/// Calls at once.
const CALLS_MAX: usize = 32;

/// The wire of calls.
#[derive(Debug)]
pub struct CallsWire {
    defect: Defect,
    state: State,
    calls: BTreeMap<u8, Call>,
}

#[derive(Debug)]
enum State {
    ExpectHello,
    ExpectRoute(AskId, String),
    ExpectPrincipal(AskId),
    ExpectConnection,
    Open,
    Ended,
}

#[derive(Debug)]
enum Call {
    Running {
        unit: UnitId,
        scan: Option<Box<dyn Scan>>,
        obligations: Obligations,
    },
    Held {
        unit: UnitId,
        text: String,
        waiting: VecDeque<Message>,
    },
    /// Its input is still to come, and goes nowhere.
    Refused,
}

type CallsTurn<'a> = Turn<'a, Out>;

impl Wire for CallsWire {
    type Inbound = VecDeque<Message>;
    type Outbound = Out;

    fn receive(
        &mut self,
        from: Side,
        input: &mut VecDeque<Message>,
        turn: &mut CallsTurn<'_>,
    ) -> Result<(), WireError> {
        match from {
            Side::Agent => self.receive_agent(input, turn),
            Side::Target => self.receive_target(input, turn),
        }
    }

    fn notify(&mut self, event: Event, turn: &mut CallsTurn<'_>) -> Result<(), WireError> {
        match event {
            Event::Connected => {
                turn.greet(Message::Welcome.into());
                turn.established();
                self.state = State::Open;
            }
            Event::Answer(id, answer) => self.on_answer(id, answer, turn),
            Event::Ruled(unit, ruled) => self.on_ruled(unit, ruled, turn)?,
            Event::Eof(side) => {
                self.state = State::Ended;
                turn.close(match side {
                    Side::Agent => CloseReason::AgentClosed,
                    Side::Target => CloseReason::TargetClosed,
                });
            }
            Event::Closing(_) => self.state = State::Ended,
            Event::Started
            | Event::TlsReady(..)
            | Event::ConnectFailed(_)
            | Event::CancelRequested
            | Event::Stale => {}
        }
        Ok(())
    }

    fn wants(&self, _: Side, buffered: usize) -> bool {
        self.defect == Defect::NeverStops || buffered < EVENTS_MAX
    }
}

impl CallsWire {
    pub(super) const fn new(defect: Defect) -> Self {
        Self {
            defect,
            state: State::ExpectHello,
            calls: BTreeMap::new(),
        }
    }

    fn receive_agent(
        &mut self,
        input: &mut VecDeque<Message>,
        turn: &mut CallsTurn<'_>,
    ) -> Result<(), WireError> {
        while matches!(self.state, State::ExpectHello | State::Open) {
            match input.front() {
                Some(Message::Data(call, _) | Message::End(call)) if self.is_full(*call) => break,
                Some(_) => {}
                None => break,
            }
            match (&self.state, input.pop_front()) {
                (State::ExpectHello, Some(Message::Hello(token))) => {
                    let requested = "orders".to_owned();
                    self.state = State::ExpectRoute(turn.ask(Question::Route { requested }), token);
                }
                (State::Open, Some(Message::Call(call, text))) => self.begin(call, text, turn)?,
                (State::Open, Some(message @ (Message::Data(..) | Message::End(_)))) => {
                    self.input(message, turn)?;
                }
                _ => return Err(unexpected(Side::Agent)),
            }
        }
        Ok(())
    }

    fn is_full(&self, call: u8) -> bool {
        match self.calls.get(&call) {
            Some(Call::Held { waiting, .. }) => {
                waiting.len() >= EVENTS_MAX && self.defect != Defect::NeverStops
            }
            _ => false,
        }
    }

    fn on_answer(&mut self, id: AskId, answer: Answer, turn: &mut CallsTurn<'_>) {
        match (std::mem::replace(&mut self.state, State::Ended), answer) {
            (State::ExpectRoute(asked, token), Answer::Route(Ok(_))) if asked == id => {
                self.state = State::ExpectPrincipal(turn.ask(Question::Authenticate {
                    claimed_user: "calls".into(),
                    credential: Credential::Bearer(SecretString::from(token)),
                }));
            }
            (State::ExpectPrincipal(asked), Answer::Authenticated(Ok(_)))
                if asked == id && turn.open().is_ok() =>
            {
                turn.connect();
                self.state = State::ExpectConnection;
            }
            _ => {
                turn.reject_login("refused", "calls");
                turn.close(CloseReason::Refused);
            }
        }
    }

    fn begin(&mut self, call: u8, text: String, turn: &mut CallsTurn<'_>) -> Result<(), WireError> {
        let in_bounds = text.len() <= EVENT_BYTES_MAX && self.calls.len() < CALLS_MAX;
        if !in_bounds || self.calls.contains_key(&call) {
            return Err(unexpected(Side::Agent));
        }
        if self.defect == Defect::PassesBeforeRuling {
            turn.pass(Control::Delimiter, Message::Call(call, text.clone()).into());
        }
        let state = match turn.submit(operation(&text)) {
            Ruling::Allowed { unit, obligations } => {
                self.release(call, unit, text, obligations, turn)
            }
            Ruling::Refused(denial) => {
                if self.defect == Defect::ForwardsDenied {
                    turn.pass(Control::Delimiter, Message::Call(call, text).into());
                }
                turn.reply(Message::Refused(call, denial.message).into());
                Call::Refused
            }
            Ruling::Held { unit, .. } => Call::Held {
                unit,
                text,
                waiting: VecDeque::new(),
            },
        };
        self.calls.insert(call, state);
        Ok(())
    }

    fn release(
        &self,
        call: u8,
        unit: UnitId,
        text: String,
        obligations: Obligations,
        turn: &mut CallsTurn<'_>,
    ) -> Call {
        let text = match self.defect {
            Defect::Rewrites => text.to_uppercase(),
            _ => text,
        };
        if self.defect != Defect::PassesBeforeRuling {
            turn.release(unit, Message::Call(call, text).into());
        }
        Call::Running {
            unit,
            scan: obligations
                .detector
                .as_ref()
                .map(|detector| detector.scan()),
            obligations,
        }
    }

    fn on_ruled(
        &mut self,
        ruled: UnitId,
        ruling: Result<Obligations, Denial>,
        turn: &mut CallsTurn<'_>,
    ) -> Result<(), WireError> {
        let is_meant = |state: &Call| matches!(state, Call::Held { unit, .. } if *unit == ruled);
        let meant = self.calls.iter().find(|(_, state)| is_meant(state));
        let Some(call) = meant.map(|(call, _)| *call) else {
            return Ok(());
        };
        let Some(Call::Held { text, waiting, .. }) = self.calls.remove(&call) else {
            return Ok(());
        };
        let state = match ruling {
            Ok(obligations) => self.release(call, ruled, text, obligations, turn),
            Err(denial) => {
                turn.reply(Message::Refused(call, denial.message).into());
                Call::Refused
            }
        };
        self.calls.insert(call, state);
        waiting
            .into_iter()
            .try_for_each(|message| self.input(message, turn))
    }

    /// Input of a call, or its end.
    fn input(&mut self, message: Message, turn: &mut CallsTurn<'_>) -> Result<(), WireError> {
        let (Message::Data(call, _) | Message::End(call)) = message else {
            return Err(unexpected(Side::Agent));
        };
        let defect = self.defect;
        match (self.calls.get_mut(&call), message) {
            (None, _) => return Err(unexpected(Side::Agent)),
            (Some(_), Message::Data(_, data)) if data.len() > EVENT_BYTES_MAX => {
                return Err(unexpected(Side::Agent));
            }
            (Some(Call::Held { waiting, .. }), message) => {
                if defect == Defect::InputOvertakesHold {
                    turn.pass(Control::Delimiter, message.into());
                } else {
                    waiting.push_back(message);
                }
            }
            (Some(Call::Refused), Message::End(_)) => {
                self.calls.remove(&call);
            }
            (Some(Call::Refused), _) => {}
            (Some(Call::Running { unit, .. }), Message::Data(_, data))
                if defect != Defect::InputUnrecorded =>
            {
                turn.release_stream(*unit, Out::data(call, data, *unit, Track::Input));
            }
            (Some(Call::Running { unit, .. }), message) => turn.release(*unit, message.into()),
        }
        Ok(())
    }

    fn receive_target(
        &mut self,
        input: &mut VecDeque<Message>,
        turn: &mut CallsTurn<'_>,
    ) -> Result<(), WireError> {
        while let Some(message) = input.pop_front() {
            match message {
                Message::Data(call, data) => self.output(call, &data, turn)?,
                Message::End(call) => self.end(call, turn)?,
                _ => return Err(unexpected(Side::Target)),
            }
        }
        Ok(())
    }

    fn output(&mut self, call: u8, data: &[u8], turn: &mut CallsTurn<'_>) -> Result<(), WireError> {
        let first = self.calls.keys().next().copied().unwrap_or(call);
        let Some(Call::Running {
            unit,
            scan,
            obligations,
        }) = self.calls.get_mut(&call)
        else {
            return Err(unexpected(Side::Target));
        };
        let mut clear = BytesMut::new();
        match scan {
            Some(scan) => scan.push(data, &mut clear),
            None => clear.extend_from_slice(data),
        }
        if self.defect == Defect::ScansPieces
            && let Some(ending) = scan
        {
            ending.finish(&mut clear);
            *scan = obligations
                .detector
                .as_ref()
                .map(|detector| detector.scan());
        }
        let call = match self.defect {
            Defect::MixesCalls => first,
            _ => call,
        };
        deliver(self.defect, call, clear.freeze(), *unit, turn);
        Ok(())
    }

    fn end(&mut self, call: u8, turn: &mut CallsTurn<'_>) -> Result<(), WireError> {
        let Some(Call::Running { unit, scan, .. }) = self.calls.remove(&call) else {
            return Err(unexpected(Side::Target));
        };
        let mut end = UnitEnd::of(Outcome::Completed);
        if let Some(mut scan) = scan {
            let mut rest = BytesMut::new();
            scan.finish(&mut rest);
            if self.defect != Defect::CutsOutput {
                deliver(self.defect, call, rest.freeze(), unit, turn);
            }
            end.masked = scan.counts();
        }
        turn.reply(Message::End(call).into());
        if self.defect != Defect::ForgetsFinish {
            turn.finish(unit, end);
        }
        Ok(())
    }
}

fn deliver(defect: Defect, call: u8, data: Bytes, unit: UnitId, turn: &mut CallsTurn<'_>) {
    if data.is_empty() {
        return;
    }
    turn.reply(match defect {
        Defect::OutputUnrecorded => Message::Data(call, data).into(),
        Defect::OutputMisfiled => Out::data(call, data, unit, Track::Error),
        _ => Out::data(call, data, unit, Track::Output),
    });
}

fn unexpected(side: Side) -> WireError {
    WireError::protocol(side, "a message that has no place here")
}

fn operation(text: &str) -> Operation {
    Operation::Command(CommandUnit {
        kind: CommandKind::Exec,
        text: text.into(),
        effects: [Effect {
            action: Action::SshExec,
            object: Object::Target,
        }]
        .into(),
        inspection: Inspection::Full,
        facts: CommandFacts::default(),
    })
}
