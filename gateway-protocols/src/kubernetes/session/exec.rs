//! An exec: two WebSocket connections, both ended here, and the channels between them
//! (Kubernetes 1.32, `k8s.io/apimachinery/pkg/util/remotecommand`).
//!
//! Every message begins with its channel: 0 standard input, 1 output, 2 error, 3 the final
//! `Status`, 4 the terminal's size, and since version 5 255, which closes the channel it names.

use bytes::{BufMut as _, Bytes, BytesMut};
use gateway_core::{
    decision::{Denial, Reason},
    id::UnitId,
    mask::{Detector, MaskCount, Scan},
    record::{Counters, Outcome, Track, UnitEnd},
    wire::{Side, Turn},
};

use super::{
    Command,
    call::{field, texts},
    exchange,
};
use crate::kubernetes::{
    frame::{self, CloseCode, Decoder, FrameError, Keys, Message, Opcode},
    message::{Act, Header, Json, ResponseHead, StreamId, json::Names},
    reply::Refusal,
};

/// Longest message of either side, bytes. Clients and servers send 32 KiB at most.
const MESSAGE_BYTES_MAX: usize = 256 << 10;
/// Longest words of a target that are told instead of a `Status` of its own, bytes.
const WORDS_BYTES_MAX: usize = 1024;
/// The bearer token in the place of a sub-protocol, which the server would take.
const BEARER_PROTOCOL: &str = "base64url.bearer.authorization.k8s.io.";

const INPUT: u8 = 0;
const OUTPUT: u8 = 1;
const ERROR: u8 = 2;
const STATUS: u8 = 3;
const RESIZE: u8 = 4;
const CLOSE: u8 = 255;

/// A version of the sub-protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    V4,
    V5,
}

impl Version {
    const ALL: [Self; 2] = [Self::V5, Self::V4];

    const fn as_str(self) -> &'static str {
        match self {
            Self::V4 => "v4.channel.k8s.io",
            Self::V5 => "v5.channel.k8s.io",
        }
    }
}

/// The agent's half of the opening handshake (RFC 6455, section 4.2.1).
#[derive(Clone, Debug)]
pub(super) struct Handshake {
    accept: String,
    offered: Vec<Version>,
}

impl Handshake {
    pub(super) fn read(headers: &[Header]) -> Result<Self, Refusal> {
        if field(headers, "sec-websocket-version")? != Some("13") {
            return Err(Refusal::new(400, "WebSocket version 13 only"));
        }
        let key = field(headers, "sec-websocket-key")?.filter(|key| frame::is_key(key));
        let key = key.ok_or_else(|| Refusal::new(400, "a WebSocket key is 16 bytes in base64"))?;
        let protocols: Vec<&str> = texts(headers, "sec-websocket-protocol")
            .flat_map(|value| value.split(','))
            .map(str::trim)
            .collect();
        if protocols
            .iter()
            .any(|name| name.starts_with(BEARER_PROTOCOL))
        {
            return Err(Refusal::new(
                401,
                "a token belongs in the Authorization header",
            ));
        }
        let offered: Vec<Version> = Version::ALL
            .into_iter()
            .filter(|version| protocols.contains(&version.as_str()))
            .collect();
        if offered.is_empty() {
            return Err(Refusal::new(
                400,
                "exec needs v5.channel.k8s.io or v4.channel.k8s.io",
            ));
        }
        Ok(Self {
            accept: frame::accept_of(key),
            offered,
        })
    }

    /// The handshake towards the target, and what it must answer.
    pub(super) fn request(&self, keys: &mut Keys) -> (Vec<Header>, String) {
        let key = keys.handshake();
        let expected = frame::accept_of(&key);
        let offered: Vec<&str> = self
            .offered
            .iter()
            .map(|version| version.as_str())
            .collect();
        let headers = vec![
            Header::new("connection", "Upgrade"),
            Header::new("upgrade", "websocket"),
            Header::new("sec-websocket-version", "13"),
            Header::new("sec-websocket-key", key),
            Header::new("sec-websocket-protocol", offered.join(", ")),
        ];
        (headers, expected)
    }

    /// Whether a failure is told inside of the exec, as its final `Status`, and not as the answer
    /// to the handshake.
    ///
    /// Who offers version 5 only takes a handshake that fails for a server without WebSockets, tries
    /// SPDY next and shows what comes of that (Kubernetes 1.32, `k8s.io/client-go`,
    /// `remotecommand.NewFallbackExecutor`). Who offers version 4 as well shows the answer, and may
    /// take no notice of a final `Status` (Python's `kubernetes.stream`).
    pub(super) fn tells_inside(&self) -> bool {
        self.offered == [Version::V5]
    }

    /// Refuses the exec in the target's place.
    pub(super) fn refuse(&self, stream: StreamId, refusal: &Refusal, turn: Out<'_, '_>) {
        if self.tells_inside() {
            let told = Act::Body(final_status(&refusal.body()));
            self.tell(Command::new(stream, told), turn);
        } else {
            exchange::refuse(stream, refusal, turn);
        }
    }

    /// An exec of nothing but its final `Status`.
    pub(super) fn tell(&self, told: Command, turn: Out<'_, '_>) {
        let stream = told.stream;
        let close = frame::close(CloseCode::Normal, None);
        turn.reply(Command::new(stream, self.agreed(Version::V5)));
        turn.reply(told);
        turn.reply(Command::new(stream, Act::Body(close)));
        turn.reply(Command::new(stream, Act::End));
    }

    /// The answer that completes it.
    fn agreed(&self, version: Version) -> Act {
        Act::Respond(ResponseHead {
            status: 101,
            headers: vec![
                Header::new("connection", "Upgrade"),
                Header::new("upgrade", "websocket"),
                Header::new("sec-websocket-accept", self.accept.clone()),
                Header::new("sec-websocket-protocol", version.as_str()),
            ],
        })
    }
}

/// The message that ends an exec, for the agent.
pub(super) fn final_status(status: &[u8]) -> Bytes {
    frame::encode(Opcode::Binary, &[&[STATUS], status], None)
}

/// What a target said in the place of an upgrade, as a final `Status`: its own, or one that quotes
/// it.
pub(super) fn failure(code: u16, said: &Bytes) -> Bytes {
    let json = Json::parse(said, Names::Exact).ok();
    let status = json.as_ref().and_then(|json| json.get("status"));
    if status.and_then(Json::as_str) == Some("Failure") {
        return said.clone();
    }
    let mut what = format!("the API server answered {code} to an exec");
    let words = std::str::from_utf8(said).map_or("", str::trim);
    if !words.is_empty() && words.len() <= WORDS_BYTES_MAX {
        what.push_str(": ");
        what.push_str(words);
    }
    Refusal::new(502, what).body()
}

/// An exec under way.
#[derive(Debug)]
pub(super) struct Exec {
    stream: StreamId,
    unit: UnitId,
    version: Version,
    agent: Direction,
    target: Direction,
    output: Option<Box<dyn Scan>>,
    error: Option<Box<dyn Scan>>,
    /// How the command ended, and the message that says so. It is told when the target closes:
    /// the API server copies channels independently, so output may still come behind it, and a
    /// client waits for the close anyway.
    ended: Option<(Outcome, Command)>,
    bytes_returned: u64,
}

#[derive(Debug)]
struct Direction {
    decoder: Decoder,
    input: BytesMut,
}

impl Direction {
    fn new(masked: bool) -> Self {
        Self {
            decoder: Decoder::new(masked, MESSAGE_BYTES_MAX),
            input: BytesMut::new(),
        }
    }
}

/// Why an exec ends before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum ExecError {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("a text message, or one without a channel")]
    Message,
    #[error("channel {0} doesn't go this way")]
    Channel(u8),
    #[error("a terminal size that can't be read")]
    Resize,
    #[error("a final status that can't be read, or a second one")]
    Status,
}

/// Whether it goes on.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Progress {
    Open,
    /// Both sides have been told; the unit is finished.
    Over,
}

type Out<'a, 'b> = &'a mut Turn<'b, Command>;

impl Exec {
    /// The target has answered 101: checks its half of the handshake and gives the agent its own.
    pub(super) fn begin(
        stream: StreamId,
        unit: UnitId,
        handshake: &Handshake,
        expected: &str,
        head: &ResponseHead,
        detector: Option<&dyn Detector>,
        turn: Out<'_, '_>,
    ) -> Option<Self> {
        let accept = field(&head.headers, "sec-websocket-accept").ok().flatten();
        let protocol = field(&head.headers, "sec-websocket-protocol")
            .ok()
            .flatten();
        let version = handshake
            .offered
            .iter()
            .find(|version| protocol == Some(version.as_str()))?;
        if accept != Some(expected) {
            return None;
        }
        turn.reply(Command::new(stream, handshake.agreed(*version)));
        Some(Self {
            stream,
            unit,
            version: *version,
            agent: Direction::new(true),
            target: Direction::new(false),
            output: detector.map(|detector| detector.scan()),
            error: detector.map(|detector| detector.scan()),
            ended: None,
            bytes_returned: 0,
        })
    }

    /// Bytes of either side that are kept until a message is whole.
    pub(super) fn kept(&self) -> usize {
        let kept = |way: &Direction| way.input.len() + way.decoder.kept();
        kept(&self.agent) + kept(&self.target)
    }

    /// Takes raw bytes of a side.
    pub(super) fn receive(
        &mut self,
        from: Side,
        data: &[u8],
        keys: &mut Keys,
        turn: Out<'_, '_>,
    ) -> Progress {
        match self.take(from, data, keys, turn) {
            Ok(progress) => progress,
            Err(error) => {
                self.broken(from, &error, keys, turn);
                Progress::Over
            }
        }
    }

    fn take(
        &mut self,
        from: Side,
        data: &[u8],
        keys: &mut Keys,
        turn: Out<'_, '_>,
    ) -> Result<Progress, ExecError> {
        let direction = match from {
            Side::Agent => &mut self.agent,
            Side::Target => &mut self.target,
        };
        direction.input.extend_from_slice(data);
        loop {
            let direction = match from {
                Side::Agent => &mut self.agent,
                Side::Target => &mut self.target,
            };
            let Some(message) = direction.decoder.decode(&mut direction.input)? else {
                return Ok(Progress::Open);
            };
            match (message, from) {
                (Message::Data { text: true, .. }, _) => return Err(ExecError::Message),
                (Message::Data { data, .. }, Side::Agent) => {
                    self.agent_message(&data, keys, turn)?
                }
                (Message::Data { data, .. }, Side::Target) => self.target_message(&data, turn)?,
                (Message::Ping(data), Side::Agent) => {
                    let pong = frame::encode(Opcode::Pong, &[&data], None);
                    turn.reply(Command::new(self.stream, Act::Body(pong)));
                }
                (Message::Ping(data), Side::Target) => {
                    let pong = frame::encode(Opcode::Pong, &[&data], Some(keys.mask()));
                    turn.release(self.unit, Command::new(self.stream, Act::Body(pong)));
                }
                (Message::Pong, _) => {}
                (Message::Close(_), _) => {
                    self.end(CloseCode::Normal, keys, turn);
                    return Ok(Progress::Over);
                }
            }
        }
    }

    fn agent_message(
        &mut self,
        message: &Bytes,
        keys: &mut Keys,
        turn: Out<'_, '_>,
    ) -> Result<(), ExecError> {
        let (&channel, data) = message.split_first().ok_or(ExecError::Message)?;
        let (data, kept) = match (channel, self.version) {
            (INPUT, _) => {
                let data = message.slice_ref(data);
                (data.clone(), Some((Track::Input, data)))
            }
            (RESIZE, _) if data.is_empty() => (Bytes::new(), None),
            (RESIZE, _) => {
                let (columns, rows) = size(data).ok_or(ExecError::Resize)?;
                let mut moment = BytesMut::with_capacity(8);
                moment.put_u32(columns.into());
                moment.put_u32(rows.into());
                let json = format!(r#"{{"Width":{columns},"Height":{rows}}}"#);
                (Bytes::from(json), Some((Track::Resize, moment.freeze())))
            }
            // The end of the input is the only one that an agent announces.
            (CLOSE, Version::V5) if data == [INPUT] => (Bytes::from_static(&[INPUT]), None),
            _ => return Err(ExecError::Channel(channel)),
        };
        let bytes = frame::encode(Opcode::Binary, &[&[channel], &data], Some(keys.mask()));
        let act = Act::Body(bytes);
        match kept {
            Some((track, data)) => turn.release_stream(
                self.unit,
                Command::kept(self.stream, act, self.unit, track, data),
            ),
            None => turn.release(self.unit, Command::new(self.stream, act)),
        }
        Ok(())
    }

    fn target_message(&mut self, message: &Bytes, turn: Out<'_, '_>) -> Result<(), ExecError> {
        let (&channel, data) = message.split_first().ok_or(ExecError::Message)?;
        match channel {
            OUTPUT | ERROR => {
                let scan = if channel == OUTPUT {
                    &mut self.output
                } else {
                    &mut self.error
                };
                let data = match scan {
                    None => message.slice_ref(data),
                    Some(scan) => {
                        let mut out = BytesMut::new();
                        scan.push(data, &mut out);
                        // All of it may be the beginning of something: it comes with what follows.
                        if out.is_empty() && !data.is_empty() {
                            return Ok(());
                        }
                        out.freeze()
                    }
                };
                self.deliver(channel, data, turn);
            }
            STATUS if data.is_empty() => self.deliver(STATUS, Bytes::new(), turn),
            STATUS if self.ended.is_some() => return Err(ExecError::Status),
            STATUS => {
                let (outcome, exit) = status(data).ok_or(ExecError::Status)?;
                let act = Act::Body(final_status(data));
                let told =
                    Command::kept(self.stream, act, self.unit, Track::Exit, Bytes::from(exit));
                self.ended = Some((outcome, told));
            }
            _ => return Err(ExecError::Channel(channel)),
        }
        Ok(())
    }

    fn deliver(&mut self, channel: u8, data: Bytes, turn: Out<'_, '_>) {
        self.bytes_returned += data.len() as u64;
        let act = Act::Body(frame::encode(Opcode::Binary, &[&[channel], &data], None));
        let command = match channel {
            OUTPUT => Command::kept(self.stream, act, self.unit, Track::Output, data),
            ERROR => Command::kept(self.stream, act, self.unit, Track::Error, data),
            _ => Command::new(self.stream, act),
        };
        turn.reply(command);
    }

    /// What the scans kept back, and how the command ended.
    fn tell_end(&mut self, turn: Out<'_, '_>) -> Outcome {
        self.flush(turn);
        match self.ended.take() {
            Some((outcome, told)) => {
                turn.reply(told);
                outcome
            }
            None => Outcome::Unknown,
        }
    }

    fn flush(&mut self, turn: Out<'_, '_>) {
        for channel in [OUTPUT, ERROR] {
            let scan = if channel == OUTPUT {
                &mut self.output
            } else {
                &mut self.error
            };
            let mut out = BytesMut::new();
            if let Some(scan) = scan {
                scan.finish(&mut out);
            }
            if !out.is_empty() {
                self.deliver(channel, out.freeze(), turn);
            }
        }
    }

    fn broken(&mut self, from: Side, error: &ExecError, keys: &mut Keys, turn: Out<'_, '_>) {
        let denial = Refusal::new(400, format!("{from:?} broke an exec: {error}")).denial;
        turn.refuse(denial);
        self.end(CloseCode::Protocol, keys, turn);
    }

    /// Too much waits in the session to be whole.
    pub(super) fn crowded_out(&mut self, keys: &mut Keys, turn: Out<'_, '_>) {
        turn.refuse(Denial::new(
            Reason::Limit,
            "too many messages wait to be whole",
        ));
        self.end(CloseCode::Policy, keys, turn);
    }

    /// Tells both sides that it is over, and finishes the unit.
    pub(super) fn end(&mut self, code: CloseCode, keys: &mut Keys, turn: Out<'_, '_>) {
        let close = Act::Body(frame::close(code, Some(keys.mask())));
        turn.release(self.unit, Command::new(self.stream, close));
        turn.release(self.unit, Command::new(self.stream, Act::End));
        self.leave(code, turn);
    }

    /// As [`Exec::end`], when the target is gone.
    pub(super) fn leave(&mut self, code: CloseCode, turn: Out<'_, '_>) {
        let outcome = self.tell_end(turn);
        let close = Act::Body(frame::close(code, None));
        turn.reply(Command::new(self.stream, close));
        turn.reply(Command::new(self.stream, Act::End));
        let masked = self.masked();
        let values_masked = masked.iter().map(|count| count.masked).sum();
        let end = UnitEnd {
            counters: Counters {
                bytes_returned: self.bytes_returned,
                values_masked,
                ..Counters::default()
            },
            masked,
            ..UnitEnd::of(outcome)
        };
        turn.finish(self.unit, end);
    }

    fn masked(&self) -> Vec<MaskCount> {
        [&self.output, &self.error]
            .into_iter()
            .flatten()
            .flat_map(|scan| scan.counts())
            .collect()
    }
}

/// A terminal's columns and rows (`remotecommand.TerminalSize`).
fn size(data: &[u8]) -> Option<(u16, u16)> {
    let json = Json::parse(data, Names::Folded).ok()?;
    let number = |name| match json.get(name) {
        Some(Json::Number(number)) => u16::try_from(number.as_u64()?).ok(),
        _ => None,
    };
    Some((number("Width")?, number("Height")?))
}

/// How the command ended, and its exit status in decimal.
fn status(data: &[u8]) -> Option<(Outcome, String)> {
    let json = Json::parse(data, Names::Exact).ok()?;
    match json.get("status")?.as_str()? {
        "Success" => Some((Outcome::Completed, "0".to_owned())),
        "Failure" => {
            let causes = json
                .get("details")
                .and_then(|details| details.get("causes"));
            let exit = causes
                .and_then(Json::as_array)
                .into_iter()
                .flatten()
                .find(|cause| cause.get("reason").and_then(Json::as_str) == Some("ExitCode"))
                .and_then(|cause| cause.get("message"))
                .and_then(Json::as_str)
                .and_then(|code| code.parse::<i32>().ok());
            // Without a code it never ran, or was lost.
            let code = exit.map_or_else(|| "failed".to_owned(), |code| code.to_string());
            Some((Outcome::Failed { code: code.clone() }, code))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_is_no_upgrade_is_told_as_a_status() {
        let own = r#"{"kind":"Status","status":"Failure","message":"no rights","code":403}"#;
        let long = "x".repeat(WORDS_BYTES_MAX + 1);
        for (said, expected) in [
            (own, own),
            (
                "unable to upgrade\n",
                "answered 403 to an exec: unable to upgrade\"",
            ),
            (
                r#"{"status":"Success"}"#,
                r#"answered 403 to an exec: {\"status\":\"Success\"}"#,
            ),
            ("", "answered 403 to an exec\""),
            (&long, "answered 403 to an exec\""),
        ] {
            let told = failure(403, &Bytes::from(said.to_owned()));
            let (outcome, _) = status(&told).unwrap();
            assert_ne!(outcome, Outcome::Completed);
            let told = std::str::from_utf8(&told).unwrap();
            assert!(told.contains(expected), "{told}");
        }
    }
}
