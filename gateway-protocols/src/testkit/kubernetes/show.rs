//! How Kubernetes' messages are written in transcripts.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use gateway_core::record::{Chunk, Direction};

use super::{
    Kubernetes, client,
    packet::{Said, What},
};
use crate::{
    kubernetes::{
        frame::{Decoder, Message},
        message::{Header, StreamId},
    },
    testkit::{
        transcript::{Lane, Notation},
        typed::moments,
    },
};

/// Fields that say the same in every request.
const UNSHOWN: &[&str] = &[
    "accept-encoding",
    "sec-websocket-key",
    "sec-websocket-version",
    "connection",
    "content-length",
];

/// What lies between the lines of a page.
#[derive(Debug, Default)]
pub struct Streams {
    /// Upgraded connections: what their lanes hold of a frame.
    upgraded: BTreeMap<StreamId, [(Decoder, BytesMut); 3]>,
}

impl Notation for Kubernetes {
    type Streams = Streams;

    fn message(&self, words: &[&str]) -> Option<Bytes> {
        let [kind, stream, words @ ..] = words else {
            return None;
        };
        let stream = stream.parse().ok()?;
        Some(match (*kind, words) {
            ("Get", [target]) => client::get(stream, target),
            ("GetAs", [token, target]) => client::get_as(stream, token, target),
            ("Send", [method, target, data]) => {
                let media = match *method {
                    "PATCH" => "application/merge-patch+json",
                    _ => "application/json",
                };
                client::send(stream, &format!("{method} {target}"), media, data)
            }
            ("SendAs", [media, method, target, data]) => {
                client::send(stream, &format!("{method} {target}"), media, data)
            }
            ("Request", [method, target, fields @ ..]) => {
                let fields: Vec<(&str, &str)> = fields
                    .iter()
                    .filter_map(|field| field.split_once(": "))
                    .collect();
                client::bare(stream, &format!("{method} {target}"), &fields)
            }
            ("Exec", [protocol, target]) => client::exec(stream, target, protocol),
            ("Stdin", [data]) => client::channel(stream, 0, data.replace("\\n", "\n").as_bytes()),
            ("Channel", [number, data]) => {
                client::channel(stream, number.parse().ok()?, data.as_bytes())
            }
            ("CloseStdin", []) => client::channel(stream, 255, &[0]),
            ("Ping", []) => client::ping(stream),
            ("CloseFrame", []) => client::close(stream),
            ("Reset", []) => client::reset(stream),
            _ => return None,
        })
    }

    fn show(streams: &mut Streams, lane: Lane, bytes: &[u8]) -> Vec<String> {
        Said::of(bytes)
            .flat_map(|said| streams.show(lane, said))
            .collect()
    }

    fn chunk(chunk: &Chunk) -> Option<String> {
        let tracks = moments(&chunk.data).ok()?;
        let lines = tracks.into_iter().map(|((unit, track), data)| {
            let (track, len) = (track.as_str(), data.len());
            format!("{} {track} {len} bytes", unit.0)
        });
        let way = match chunk.direction {
            Direction::ToAgent => "",
            Direction::ToTarget => " to the target",
        };
        Some(lines.map(|line| line + way).collect::<Vec<_>>().join(" | "))
    }
}

impl Streams {
    fn show(&mut self, lane: Lane, Said { stream, what }: Said) -> Vec<String> {
        let id = stream.0;
        vec![match what {
            What::Request(head, body) => {
                let fields = fields(&head.headers);
                let body = match &*body {
                    [] => String::new(),
                    body => format!(" {}", line(body)),
                };
                format!("Request {id} {} {}{fields}{body}", head.method, head.target)
            }
            What::Response(head) => {
                if head.status == 101 {
                    self.upgraded.entry(stream).or_insert_with(|| {
                        let lane = |masked| (Decoder::new(masked, 1 << 20), BytesMut::new());
                        [lane(false), lane(true), lane(false)]
                    });
                }
                format!("Response {id} {}{}", head.status, fields(&head.headers))
            }
            What::Body(data) => match self.upgraded.get_mut(&stream) {
                Some(lanes) => return frames(id, lanes, lane, &data),
                None => format!("Body {id} {}", line(&data)),
            },
            What::End => format!("End {id}"),
            What::Reset(_) => format!("Reset {id}"),
        }]
    }
}

fn frames(id: u64, lanes: &mut [(Decoder, BytesMut); 3], lane: Lane, data: &[u8]) -> Vec<String> {
    let [to_agent, to_target, from_target] = lanes;
    let (decoder, input) = match lane {
        Lane::ToAgent => to_agent,
        Lane::ToTarget | Lane::Aside => to_target,
        Lane::FromTarget => from_target,
    };
    input.extend_from_slice(data);
    let mut shown = Vec::new();
    while let Ok(Some(message)) = decoder.decode(input) {
        shown.push(match message {
            Message::Data { data, .. } => match data.split_first() {
                Some((channel, data)) => {
                    format!("Channel {id} {channel} \"{}\"", data.escape_ascii())
                }
                None => format!("Channel {id}"),
            },
            Message::Close(_) => format!("CloseFrame {id}"),
            Message::Ping(_) => format!("Ping {id}"),
            Message::Pong => format!("Pong {id}"),
        });
    }
    shown
}

/// In one line.
fn line(data: &[u8]) -> String {
    String::from_utf8_lossy(data).replace('\n', "\\n")
}

fn fields(headers: &[Header]) -> String {
    headers
        .iter()
        .filter(|header| !UNSHOWN.contains(&header.name.as_str()))
        .map(|header| match header.name.as_str() {
            "authorization" => " authorization".to_owned(),
            name => format!(" {name}={}", String::from_utf8_lossy(&header.value)),
        })
        .collect()
}
