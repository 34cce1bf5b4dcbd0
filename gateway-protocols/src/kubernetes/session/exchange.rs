//! One released request and its answer: checked, masked or scanned, recorded and delivered.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use gateway_core::{
    decision::{Denial, Reason},
    id::UnitId,
    mask::{Detector, MaskCount, Obligations, Scan},
    record::{Counters, Outcome, Track, UnitEnd},
    wire::Turn,
};

use super::{
    Command,
    call::{Call, Kind, field},
    exec::{self, Handshake},
};
use crate::kubernetes::{
    mask::{MaskError, Masks},
    message::{Act, Header, ResponseHead, StreamId, Verb, media},
    reply::Refusal,
};

/// Fields of an answer that an agent gets to see.
const DELIVERED: &[&str] = &["content-type", "retry-after", "audit-id"];
/// Those that carry the server's words, or digests of its answer: only where nothing is masked.
const WORDS: &[&str] = &["warning", "etag"];

type Out<'a, 'b> = &'a mut Turn<'b, Command>;

/// A request that went to the target.
#[derive(Debug)]
pub(super) struct Exchange {
    stream: StreamId,
    unit: UnitId,
    form: Form,
    masks: Masks,
    detector: Option<Arc<dyn Detector>>,
    answer: Answer,
    status: Option<u16>,
    bytes_returned: u64,
    whole_bytes_max: usize,
    /// Both halves of an exec's handshake: the agent's, and what the target must answer.
    handshake: Option<(Handshake, String)>,
}

/// What kind of answer is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// One JSON document.
    Document,
    /// One JSON document a line.
    Watch,
    /// Text of a container.
    Logs,
    /// Public text or JSON.
    Public,
    /// A head only.
    Head,
}

#[derive(Debug)]
enum Answer {
    /// Its head hasn't come.
    Awaited,
    /// It leaves as it comes.
    Passed(Track),
    /// It is collected, to be masked whole.
    Whole(ResponseHead, BytesMut),
    /// It is masked line by line; the last one isn't whole.
    Lines(BytesMut),
    /// It leaves through a detector.
    Scanned(Box<dyn Scan>),
}

/// What became of it.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Progress {
    Open,
    /// The unit is finished, the agent has its answer.
    Over,
}

impl Exchange {
    pub(super) fn new(
        stream: StreamId,
        unit: UnitId,
        call: &Call,
        obligations: Obligations,
        whole_bytes_max: usize,
    ) -> Self {
        let form = match call.kind() {
            _ if call.is_head() => Form::Head,
            Kind::Resource(Verb::Watch, _) => Form::Watch,
            Kind::Logs(_) => Form::Logs,
            Kind::Path if call.is_public() => Form::Public,
            Kind::Path | Kind::Resource(..) | Kind::Exec(..) => Form::Document,
        };
        Self {
            stream,
            unit,
            form,
            masks: Masks::new(obligations.fields, call.asked()),
            detector: obligations.detector,
            answer: Answer::Awaited,
            status: None,
            bytes_returned: 0,
            whole_bytes_max,
            handshake: None,
        }
    }

    pub(super) const fn unit(&self) -> UnitId {
        self.unit
    }

    pub(super) const fn masks(&self) -> &Masks {
        &self.masks
    }

    pub(super) fn expect_upgrade(&mut self, handshake: Handshake, accept: String) {
        self.handshake = Some((handshake, accept));
    }

    pub(super) fn handshake(&self) -> Option<(&Handshake, &str, Option<&dyn Detector>)> {
        let (handshake, accept) = self.handshake.as_ref()?;
        Some((handshake, accept, self.detector.as_deref()))
    }

    /// Bytes of the answer that are kept until it is whole.
    pub(super) fn kept(&self) -> usize {
        match &self.answer {
            Answer::Whole(_, body) => body.len(),
            Answer::Lines(rest) => rest.len(),
            Answer::Awaited | Answer::Passed(_) | Answer::Scanned(_) => 0,
        }
    }

    pub(super) fn on_response(&mut self, head: &ResponseHead, turn: Out<'_, '_>) -> Progress {
        if !matches!(self.answer, Answer::Awaited) || !(200..=599).contains(&head.status) {
            return self.fail(
                Reason::Protocol,
                "the server's answer has no place here",
                turn,
            );
        }
        self.status = Some(head.status);
        let encoding = field(&head.headers, "content-encoding");
        if !matches!(encoding, Ok(None | Some("identity"))) {
            return self.fail(Reason::Masking, "the server's answer is encoded", turn);
        }
        let Ok(media) = field(&head.headers, "content-type") else {
            return self.fail(
                Reason::Protocol,
                "the server's answer has no single type",
                turn,
            );
        };
        let media = media.unwrap_or_default();
        let is_bare = self.form == Form::Head || matches!(head.status, 204 | 304);
        let succeeded = (200..300).contains(&head.status);
        let text = media::is_text(media);
        self.answer = match self.form {
            _ if self.tells_inside() => Answer::Whole(self.delivered(head), BytesMut::new()),
            _ if is_bare => Answer::Passed(Track::Response),
            Form::Public => Answer::Passed(Track::Response),
            Form::Logs if succeeded && text => match &self.detector {
                Some(detector) => Answer::Scanned(detector.scan()),
                None => Answer::Passed(Track::Output),
            },
            _ if !media::is_json(media) && (!text || succeeded || !self.masks.is_empty()) => {
                return self.fail(Reason::Masking, "the server's answer isn't JSON", turn);
            }
            _ if self.masks.is_empty() => Answer::Passed(Track::Response),
            Form::Watch if succeeded => Answer::Lines(BytesMut::new()),
            Form::Document | Form::Watch | Form::Logs | Form::Head => {
                Answer::Whole(self.delivered(head), BytesMut::new())
            }
        };
        if !matches!(self.answer, Answer::Whole(..)) {
            let respond = Act::Respond(self.delivered(head));
            turn.reply(Command::new(self.stream, respond));
        }
        Progress::Open
    }

    fn delivered(&self, head: &ResponseHead) -> ResponseHead {
        let passes = matches!(self.answer, Answer::Passed(_));
        let keep = |header: &&Header| match header.name.as_str() {
            "content-length" => passes,
            name if WORDS.contains(&name) => self.masks.is_empty(),
            name => DELIVERED.contains(&name),
        };
        ResponseHead {
            status: head.status,
            headers: head.headers.iter().filter(keep).cloned().collect(),
        }
    }

    pub(super) fn on_body(&mut self, data: Bytes, turn: Out<'_, '_>) -> Progress {
        let bound = self.whole_bytes_max;
        match &mut self.answer {
            Answer::Awaited => {
                return self.fail(Reason::Protocol, "the server's answer has no head", turn);
            }
            Answer::Passed(track) => {
                let track = *track;
                self.deliver(data, track, turn);
            }
            Answer::Scanned(scan) => {
                let mut out = BytesMut::new();
                scan.push(&data, &mut out);
                self.deliver(out.freeze(), Track::Output, turn);
            }
            Answer::Whole(_, body) if body.len() + data.len() <= bound => {
                body.extend_from_slice(&data);
            }
            Answer::Lines(rest) if rest.len() + data.len() <= bound => {
                rest.extend_from_slice(&data);
                return self.lines(turn);
            }
            Answer::Whole(..) | Answer::Lines(_) => {
                return self.fail(Reason::Limit, "the answer is too large to be masked", turn);
            }
        }
        Progress::Open
    }

    fn lines(&mut self, turn: Out<'_, '_>) -> Progress {
        loop {
            let Answer::Lines(rest) = &mut self.answer else {
                return Progress::Open;
            };
            let Some(end) = memchr::memchr(b'\n', rest) else {
                return Progress::Open;
            };
            let line = rest.split_to(end + 1);
            let line = line.strip_suffix(b"\n").unwrap_or(&line);
            if line.is_empty() {
                continue;
            }
            match self.masks.event(line) {
                Ok(masked) => {
                    let mut out = BytesMut::from(masked);
                    out.extend_from_slice(b"\n");
                    self.deliver(out.freeze(), Track::Response, turn);
                }
                Err(error) => return self.unmaskable(error, turn),
            }
        }
    }

    pub(super) fn on_end(&mut self, turn: Out<'_, '_>) -> Progress {
        match std::mem::replace(&mut self.answer, Answer::Awaited) {
            Answer::Awaited => {
                return self.fail(Reason::Protocol, "the server's answer has no head", turn);
            }
            passed @ Answer::Passed(_) => self.answer = passed,
            Answer::Scanned(mut scan) => {
                let mut out = BytesMut::new();
                scan.finish(&mut out);
                self.deliver(out.freeze(), Track::Output, turn);
                self.answer = Answer::Scanned(scan);
            }
            Answer::Lines(rest) => {
                let cut_short = !rest.is_empty();
                self.answer = Answer::Lines(rest);
                if cut_short {
                    return self.fail(Reason::Protocol, "a watch ends within an event", turn);
                }
            }
            Answer::Whole(head, body) if self.tells_inside() => {
                return self.on_no_upgrade(head.status, body, turn);
            }
            Answer::Whole(mut head, body) => match self.masks.answer(&body) {
                Ok(masked) => {
                    head.headers
                        .push(Header::new("content-length", masked.len().to_string()));
                    turn.reply(Command::new(self.stream, Act::Respond(head)));
                    self.deliver(masked, Track::Response, turn);
                }
                Err(error) => return self.unmaskable(error, turn),
            },
        }
        turn.reply(Command::new(self.stream, Act::End));
        self.finish(turn);
        Progress::Over
    }

    /// An exec is told why it is none.
    fn on_no_upgrade(&mut self, status: u16, said: BytesMut, turn: Out<'_, '_>) -> Progress {
        let said = if self.masks.is_empty() {
            said.freeze()
        } else {
            match self.masks.answer(&said) {
                Ok(masked) => masked,
                Err(error) => return self.unmaskable(error, turn),
            }
        };
        let told = exec::failure(status, &said);
        self.bytes_returned += told.len() as u64;
        let act = Act::Body(exec::final_status(&told));
        let told = Command::kept(self.stream, act, self.unit, Track::Response, told);
        if let Some((handshake, _)) = &self.handshake {
            handshake.tell(told, turn);
        }
        self.finish(turn);
        Progress::Over
    }

    fn tells_inside(&self) -> bool {
        self.handshake
            .as_ref()
            .is_some_and(|(handshake, _)| handshake.tells_inside())
    }

    fn deliver(&mut self, data: Bytes, track: Track, turn: Out<'_, '_>) {
        if data.is_empty() {
            return;
        }
        self.bytes_returned += data.len() as u64;
        let act = Act::Body(data.clone());
        turn.reply(Command::kept(self.stream, act, self.unit, track, data));
    }

    fn unmaskable(&mut self, error: MaskError, turn: Out<'_, '_>) -> Progress {
        self.fail(Reason::Masking, &error.to_string(), turn)
    }

    /// Ends it with an error of the gateway's own: a `Status` where the answer hasn't begun. The
    /// target is told to stop.
    pub(super) fn fail(&mut self, reason: Reason, what: &str, turn: Out<'_, '_>) -> Progress {
        let denial = Denial::new(reason, what);
        turn.incident(denial.clone());
        turn.release(self.unit, Command::new(self.stream, Act::Reset));
        self.break_off(&Refusal::of(502, denial), turn);
        Progress::Over
    }

    /// Ends it without a record of its own: a peer, or the session, is gone.
    pub(super) fn break_off(&mut self, refusal: &Refusal, turn: Out<'_, '_>) {
        match self.answer {
            Answer::Awaited | Answer::Whole(..) => match &self.handshake {
                Some((handshake, _)) => handshake.refuse(self.stream, refusal, turn),
                None => refuse(self.stream, refusal, turn),
            },
            Answer::Passed(_) | Answer::Lines(_) | Answer::Scanned(_) => {
                turn.reply(Command::new(self.stream, Act::Reset));
            }
        }
        self.finish(turn);
    }

    /// The unit's end: as the server's status says, or unknown while it hasn't said.
    pub(super) fn finish(&mut self, turn: Out<'_, '_>) {
        let outcome = match self.status {
            None => Outcome::Unknown,
            Some(200..=399) => Outcome::Completed,
            Some(status) => Outcome::Failed {
                code: status.to_string(),
            },
        };
        let masked: Vec<MaskCount> = match &self.answer {
            Answer::Scanned(scan) => scan.counts(),
            _ => self.masks.counts(),
        };
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
}

/// Answers a stream with a `Status` of the gateway's own.
pub(super) fn refuse(stream: StreamId, refusal: &Refusal, turn: Out<'_, '_>) {
    for command in refused(stream, refusal) {
        turn.reply(command);
    }
}

/// The commands of a refusal.
pub(super) fn refused(stream: StreamId, refusal: &Refusal) -> [Command; 3] {
    let body = refusal.body();
    [
        Command::new(stream, Act::Respond(refusal.head(body.len()))),
        Command::new(stream, Act::Body(body)),
        Command::new(stream, Act::End),
    ]
}
