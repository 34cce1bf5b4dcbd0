//! What a stream says of each exchange, without borders that mean nothing.

use std::collections::BTreeMap;

use bytes::BytesMut;

use super::packet::{Said, What};
use crate::kubernetes::{
    frame::{Decoder, Message},
    message::{Header, Json, RequestHead, StreamId, json::Names},
};

/// How answers of the gateway's own begin: nobody else's do.
const OWN: &[u8] =
    br#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"#;
/// How answers of either begin that say why there is none: final statuses of commands don't.
const STATUS: &[u8] = br#"{"kind":"Status""#;
const OWN_DETAILS: &[u8] = br#""details":{"causes":[{"reason":""#;

/// What a stream says of one exchange.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) requests: Vec<Request>,
    pub(super) status: Vec<u16>,
    fields: Vec<Header>,
    pub(super) body: Vec<u8>,
    /// Of an upgraded connection: the data of each channel, and how often it was closed.
    pub(super) channels: BTreeMap<u8, Vec<u8>>,
    closes: usize,
    ends: usize,
    resets: usize,
}

/// A request, as an operation's text has it, and its fields.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) text: String,
    fields: Vec<Header>,
}

/// Texts of requests, status, body, and channels.
type Plain<'a> = (Vec<&'a str>, &'a [u16], &'a [u8], &'a BTreeMap<u8, Vec<u8>>);

impl Told {
    /// Whether the answer is the gateway's own.
    pub(super) fn is_own(&self) -> bool {
        self.body.starts_with(OWN) && memchr::memmem::find(&self.body, OWN_DETAILS).is_some()
    }

    /// What was asked and answered, apart from the fields of heads.
    pub(super) fn plain(&self) -> Plain<'_> {
        let texts = self.requests.iter().map(|request| request.text.as_str());
        (texts.collect(), &self.status, &self.body, &self.channels)
    }

    /// Values of JSON in the answer, lines of any other.
    pub(super) fn shape(&self) -> usize {
        let lines = self.body.split(|byte| *byte == b'\n');
        lines
            .map(|line| Json::parse(line, Names::Exact).map_or(1, |json| values(&json)))
            .sum()
    }
}

fn values(json: &Json) -> usize {
    match json {
        Json::Array(elements) => 1 + elements.iter().map(values).sum::<usize>(),
        Json::Object(members) => {
            1 + members
                .iter()
                .map(|(_, value)| values(value))
                .sum::<usize>()
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => 1,
    }
}

/// Reads a stream. Those of agents have bodies behind their requests; frames of agents, and those
/// to targets, are `masked`.
pub(super) fn told(stream: &[u8], masked: bool) -> BTreeMap<StreamId, Told> {
    let mut found: BTreeMap<StreamId, Told> = BTreeMap::new();
    let mut raw: BTreeMap<StreamId, BytesMut> = BTreeMap::new();
    for Said { stream, what } in Said::of(stream) {
        let told = found.entry(stream).or_default();
        match what {
            What::Request(head, body) => {
                if head.headers.iter().any(|header| header.name == "upgrade") {
                    raw.entry(stream).or_default();
                }
                told.requests.push(request(head, &body));
            }
            What::Response(head) => {
                if head.status == 101 {
                    raw.entry(stream).or_default();
                }
                told.status.push(head.status);
                told.fields.extend(head.headers);
            }
            What::Body(data) => match raw.get_mut(&stream) {
                Some(raw) => raw.extend_from_slice(&data),
                None => told.body.extend_from_slice(&data),
            },
            What::End => told.ends += 1,
            What::Reset(_) => told.resets += 1,
        }
    }
    for (stream, mut raw) in raw {
        let told = found.entry(stream).or_default();
        let mut decoder = Decoder::new(masked, 1 << 24);
        let before = raw.clone();
        while let Ok(Some(message)) = decoder.decode(&mut raw) {
            match message {
                Message::Data { data, .. } => {
                    if let Some((channel, data)) = data.split_first() {
                        told.channels
                            .entry(*channel)
                            .or_default()
                            .extend_from_slice(data);
                    }
                }
                Message::Close(_) => told.closes += 1,
                Message::Ping(_) | Message::Pong => {}
            }
        }
        // An upgrade that was refused has a plain body.
        if told.channels.is_empty() && told.closes == 0 {
            told.body.extend_from_slice(&before);
        }
        // An exec that never was one has its answer inside.
        if told.channels.keys().eq([&3])
            && let Some(status) = told.channels.remove(&3)
        {
            if status.starts_with(STATUS) {
                told.body.extend_from_slice(&status);
            } else {
                told.channels.insert(3, status);
            }
        }
    }
    // Bodies behind requests belong to them.
    for told in found.values_mut() {
        let body = if told.status.is_empty() {
            std::mem::take(&mut told.body)
        } else {
            Vec::new()
        };
        if let (Some(request), false) = (told.requests.first_mut(), body.is_empty()) {
            request.add_body(&body);
        }
    }
    found
}

fn request(head: RequestHead, body: &[u8]) -> Request {
    let mut request = Request {
        text: format!("{} {}", head.method, head.target),
        fields: head.headers,
    };
    // Fresh for every connection.
    request
        .fields
        .retain(|header| header.name != "sec-websocket-key");
    if !body.is_empty() {
        request.add_body(body);
    }
    request
}

impl Request {
    fn add_body(&mut self, body: &[u8]) {
        let media = self
            .fields
            .iter()
            .find(|header| header.name == "content-type");
        let media = media.map(|header| String::from_utf8_lossy(&header.value).into_owned());
        self.text.push_str("\ncontent-type: ");
        self.text.push_str(&media.unwrap_or_default());
        self.text.push_str("\n\n");
        self.text.push_str(&String::from_utf8_lossy(body));
    }
}
