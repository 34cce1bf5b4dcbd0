//! A toy protocol of lines, and defective variants of it that the laws must catch.
//!
//! The agent says `hello <token>` and then one text a line. The target answers each with `row a|b`
//! lines and `ok`. A refusal is the line `error <why>` in the place of the answer.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use gateway_core::{
    id::{AskId, UnitId},
    limits::Limits,
    mask::Obligations,
    operation::{Operation, SqlStage, SqlUnit},
    record::{CloseReason, Outcome, UnitEnd},
    wire::{
        Analysed, Answer, Control, Credential, Event, Question, Ruling, Side, Turn, Wire, WireError,
    },
};
use secrecy::SecretString;

use super::{
    run::{Subject, TargetPeer},
    script::{Script, Step},
    world::GOOD_TOKEN,
};

/// Longest line, bytes.
const LINE_BYTES_MAX: usize = 1024;
/// Answers outstanding at most.
const OWED_MAX: usize = 64;

/// What is wrong with a toy wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// Nothing.
    None,
    /// Takes what arrived together for one line.
    DependsOnChunking,
    /// Changes what passes.
    Rewrites,
    /// Passes a line on before it is ruled on.
    PassesBeforeRuling,
    /// Passes a denied line on.
    ForwardsDenied,
    /// Answers a denial at once, before answers that are owed earlier.
    RepliesOutOfOrder,
    /// Never finishes a unit.
    ForgetsFinish,
    /// Masks the first row only.
    LeaksSecondRow,
    /// Takes more while it waits, without a bound.
    NeverStops,
    /// Releases a unit that is held. The gate doesn't let it.
    ReleasesHeld,
    /// Finishes a unit twice. The gate doesn't let it.
    FinishesTwice,
    /// Delivers without a record of it.
    DeliversUnrecorded,
}

/// The toy protocol, with a defect.
#[derive(Clone, Copy, Debug)]
pub struct Toy(pub Defect);

impl Subject for Toy {
    type Wire = ToyWire;
    type Target = ToyTarget;

    fn wire(&self, _: &Limits) -> ToyWire {
        ToyWire {
            defect: self.0,
            state: State::ExpectHello,
            owed: VecDeque::new(),
            rows: 0,
        }
    }

    fn target(&self) -> ToyTarget {
        ToyTarget
    }

    fn login(&self) -> Script {
        Script::new()
            .agent(format!("hello {GOOD_TOKEN}\n"))
            .step(Step::Mark)
    }

    fn shape(&self, stream: &[u8]) -> Result<Vec<usize>, String> {
        let rows = stream
            .split(|byte| *byte == b'\n')
            .filter(|line| line.starts_with(b"row "));
        Ok(rows
            .map(|row| row.iter().filter(|byte| **byte == b'|').count() + 1)
            .collect())
    }
}

/// Answers every line; rows for a text that selects from `customers`.
#[derive(Debug)]
pub struct ToyTarget;

impl TargetPeer for ToyTarget {
    fn receive(&mut self, input: &mut BytesMut, out: &mut BytesMut) {
        while let Some(line) = take_line(input) {
            if memchr::memmem::find(&line, b"customers").is_some() {
                out.extend_from_slice(b"row 1|ada@example.com\nrow 2|bob@example.com\n");
            }
            out.extend_from_slice(b"ok ");
            out.extend_from_slice(&line);
        }
    }

    fn is_closed(&self) -> bool {
        false
    }
}

/// The toy wire.
#[derive(Debug)]
pub struct ToyWire {
    defect: Defect,
    state: State,
    owed: VecDeque<Owed>,
    rows: usize,
}

#[derive(Debug)]
enum State {
    ExpectHello,
    ExpectRoute(AskId, Bytes),
    ExpectPrincipal(AskId),
    ExpectConnection,
    Open,
    ExpectAnalysis(AskId, Bytes),
    ExpectRuling(UnitId, Bytes),
    Ended,
}

/// An answer the agent is owed.
#[derive(Debug)]
enum Owed {
    Target { unit: UnitId, masked: bool },
    Refusal(String),
}

impl Wire for ToyWire {
    type Inbound = BytesMut;
    type Outbound = Bytes;

    fn receive(
        &mut self,
        from: Side,
        input: &mut BytesMut,
        turn: &mut Turn<'_, Bytes>,
    ) -> Result<(), WireError> {
        match from {
            Side::Agent => self.receive_agent(input, turn),
            Side::Target => self.receive_target(input, turn),
        }
    }

    fn notify(&mut self, event: Event, turn: &mut Turn<'_, Bytes>) -> Result<(), WireError> {
        match event {
            Event::Connected => {
                turn.greet(Bytes::from_static(b"welcome\n"));
                turn.established();
                self.state = State::Open;
            }
            Event::Answer(id, answer) => self.on_answer(id, answer, turn),
            Event::Ruled(unit, ruled) => {
                if let State::ExpectRuling(held, line) =
                    std::mem::replace(&mut self.state, State::Open)
                    && held == unit
                {
                    match ruled {
                        Ok(obligations) => self.release(unit, line, &obligations, turn),
                        Err(denial) => self.refuse(line, denial.message, turn),
                    }
                }
            }
            Event::Eof(side) => {
                let reason = match side {
                    Side::Agent => CloseReason::AgentClosed,
                    Side::Target => CloseReason::TargetClosed,
                };
                self.state = State::Ended;
                turn.close(reason);
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
        self.defect == Defect::NeverStops || buffered <= LINE_BYTES_MAX
    }
}

impl ToyWire {
    fn receive_agent(
        &mut self,
        input: &mut BytesMut,
        turn: &mut Turn<'_, Bytes>,
    ) -> Result<(), WireError> {
        while matches!(self.state, State::ExpectHello | State::Open) && self.owed.len() < OWED_MAX {
            let line = match self.defect {
                Defect::DependsOnChunking
                    if matches!(self.state, State::Open) && !input.is_empty() =>
                {
                    Some(input.split().freeze())
                }
                _ => take_line(input),
            };
            let Some(line) = line else {
                if input.len() > LINE_BYTES_MAX {
                    return Err(WireError::protocol(Side::Agent, "a line that is too long"));
                }
                return Ok(());
            };
            if matches!(self.state, State::ExpectHello) {
                let requested = "orders".to_owned();
                self.state = State::ExpectRoute(turn.ask(Question::Route { requested }), line);
                return Ok(());
            }
            if self.defect == Defect::PassesBeforeRuling {
                turn.pass(Control::Delimiter, line.clone());
            }
            let Ok(text) = std::str::from_utf8(line.trim_ascii()) else {
                return Err(WireError::protocol(Side::Agent, "a line that isn't UTF-8"));
            };
            let text = text.into();
            self.state = State::ExpectAnalysis(turn.ask(Question::AnalyseSql { text }), line);
        }
        Ok(())
    }

    fn on_answer(&mut self, id: AskId, answer: Answer, turn: &mut Turn<'_, Bytes>) {
        match (std::mem::replace(&mut self.state, State::Ended), answer) {
            (State::ExpectRoute(asked, hello), Answer::Route(Ok(_))) if asked == id => {
                let token = hello
                    .strip_prefix(b"hello ")
                    .unwrap_or_default()
                    .trim_ascii();
                let secret = SecretString::from(String::from_utf8_lossy(token).into_owned());
                let claimed_user = "toy".to_owned();
                self.state = State::ExpectPrincipal(turn.ask(Question::Authenticate {
                    claimed_user,
                    credential: Credential::Password(secret),
                }));
            }
            (State::ExpectPrincipal(asked), Answer::Authenticated(Ok(_)))
                if asked == id && turn.open().is_ok() =>
            {
                turn.connect();
                self.state = State::ExpectConnection;
            }
            (State::ExpectAnalysis(asked, line), Answer::Analysed(analysed)) if asked == id => {
                self.state = State::Open;
                self.submit(line, &analysed, turn);
            }
            (State::ExpectAnalysis(_, line), _) => {
                self.state = State::Open;
                self.refuse(line, "no answer".into(), turn);
            }
            _ => {
                turn.reject_login("refused", "toy");
                turn.close(CloseReason::Refused);
            }
        }
    }

    fn submit(&mut self, line: Bytes, analysed: &Analysed, turn: &mut Turn<'_, Bytes>) {
        let operation = Operation::Sql(SqlUnit {
            stage: SqlStage::Query,
            text: String::from_utf8_lossy(line.trim_ascii()).into(),
            analysis: std::sync::Arc::clone(&analysed.analysis),
            bindings: None,
            in_transaction: false,
        });
        match turn.submit(operation) {
            Ruling::Allowed { unit, obligations } => self.release(unit, line, &obligations, turn),
            Ruling::Refused(denial) => self.refuse(line, denial.message, turn),
            Ruling::Held { unit, .. } => {
                if self.defect == Defect::ReleasesHeld {
                    turn.release(unit, line.clone());
                }
                self.state = State::ExpectRuling(unit, line);
            }
        }
    }

    fn release(
        &mut self,
        unit: UnitId,
        line: Bytes,
        obligations: &Obligations,
        turn: &mut Turn<'_, Bytes>,
    ) {
        let line = match self.defect {
            Defect::Rewrites => Bytes::from(line.to_ascii_uppercase()),
            _ => line,
        };
        if self.defect != Defect::PassesBeforeRuling {
            turn.release(unit, line);
        }
        let masked = !obligations.masks.is_empty();
        self.owed.push_back(Owed::Target { unit, masked });
    }

    fn refuse(&mut self, line: Bytes, why: String, turn: &mut Turn<'_, Bytes>) {
        match self.defect {
            Defect::ForwardsDenied => turn.pass(Control::Delimiter, line),
            Defect::RepliesOutOfOrder => {
                turn.reply(Bytes::from(format!("error {why}\n")));
                return;
            }
            _ => {}
        }
        self.owed.push_back(Owed::Refusal(why));
        self.answer_refusals(turn);
    }

    fn answer_refusals(&mut self, turn: &mut Turn<'_, Bytes>) {
        while let Some(Owed::Refusal(why)) = self.owed.front() {
            turn.reply(Bytes::from(format!("error {why}\n")));
            self.owed.pop_front();
        }
    }

    fn receive_target(
        &mut self,
        input: &mut BytesMut,
        turn: &mut Turn<'_, Bytes>,
    ) -> Result<(), WireError> {
        while let Some(line) = take_line(input) {
            let Some(&Owed::Target { unit, masked }) = self.owed.front() else {
                return Err(WireError::protocol(
                    Side::Target,
                    "an answer nobody asked for",
                ));
            };
            let is_row = line.starts_with(b"row ");
            if is_row {
                self.rows += 1;
            }
            let leaks = self.defect == Defect::LeaksSecondRow && self.rows > 1;
            let line = if is_row && masked && !leaks {
                mask(&line)
            } else {
                line
            };
            if self.defect == Defect::DeliversUnrecorded {
                turn.greet(line);
            } else {
                turn.reply(line);
            }
            if is_row {
                continue;
            }
            self.rows = 0;
            self.owed.pop_front();
            if self.defect != Defect::ForgetsFinish {
                turn.finish(unit, UnitEnd::of(Outcome::Completed));
            }
            if self.defect == Defect::FinishesTwice {
                turn.finish(unit, UnitEnd::of(Outcome::Completed));
            }
            self.answer_refusals(turn);
        }
        Ok(())
    }
}

/// The second column of a row becomes stars.
fn mask(row: &[u8]) -> Bytes {
    let end = memchr::memchr(b'|', row).map_or(row.len(), |bar| bar + 1);
    let clear = row.get(..end).unwrap_or_default();
    Bytes::from([clear, b"***\n"].concat())
}

/// The next line, with its end.
fn take_line(input: &mut BytesMut) -> Option<Bytes> {
    let end = memchr::memchr(b'\n', input)?;
    Some(input.split_to(end + 1).freeze())
}
