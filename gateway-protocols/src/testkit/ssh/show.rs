//! How SSH's messages are written in transcripts.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use gateway_core::record::{Chunk, Direction};

use super::{
    Ssh, client,
    packet::{Proof, Said},
};
use crate::{
    ssh::{
        frame,
        message::{
            Body, ChannelId, Message, Request, STDERR,
            sftp::{self, Packet, Reply},
        },
    },
    testkit::{
        transcript::{Lane, Notation},
        typed::moments,
    },
};

/// What lies between the lines of a page.
#[derive(Debug, Default)]
pub struct Streams {
    /// Channels with a file transfer, and the part of a packet that each of their lanes holds.
    files: BTreeMap<(u32, &'static str), BytesMut>,
}

impl Notation for Ssh {
    type Streams = Streams;

    fn message(&self, words: &[&str]) -> Option<Bytes> {
        let [kind, words @ ..] = words else {
            return None;
        };
        match (*kind, words) {
            ("Login", [user, token]) => return Some(client::login(user, token)),
            ("Certificate", [user, token]) => {
                return Some(client::certificate(user, token.as_bytes()));
            }
            ("Refused", [what]) => return Some(client::refused(what)),
            ("GaveUp", [user, reason]) => return Some(client::gave_up(user, reason)),
            ("Broken", [what]) => return Some(client::broken(what)),
            _ => {}
        }
        let (channel, words) = words.split_first()?;
        let channel = channel.parse().ok()?;
        let numbers: Vec<u32> = words.iter().filter_map(|word| word.parse().ok()).collect();
        Some(match (*kind, words) {
            ("Open", []) => client::open(channel, "session"),
            ("Open", [kind]) => client::open(channel, kind),
            ("Pty", []) => client::pty(channel),
            ("Env", [name, value]) => client::env(channel, name, value),
            ("Exec", [command]) => client::exec(channel, command),
            ("Shell", []) => client::request(channel, Request::Shell),
            ("Subsystem", [name]) => client::request(channel, Request::Subsystem((*name).into())),
            ("Resize", [_, _]) => {
                let [columns, rows] = numbers.try_into().ok()?;
                let size = client::size(columns, rows);
                client::remark(channel, Request::WindowChange(size))
            }
            ("Signal", [signal]) => client::remark(channel, Request::Signal((*signal).into())),
            ("Request", [name]) => client::request(
                channel,
                Request::Other {
                    name: (*name).into(),
                    data: Bytes::new(),
                },
            ),
            ("Data", [data]) => client::data(channel, data.replace("\\n", "\n")),
            ("Eof", []) => client::on(channel, Body::Eof),
            ("Close", []) => client::on(channel, Body::Close),
            ("Files", []) => client::files(channel),
            ("File", [id, request @ ..]) => {
                client::file(channel, id.parse().ok()?, client::file_request(request)?)
            }
            _ => return None,
        })
    }

    fn show(streams: &mut Streams, lane: Lane, bytes: &[u8]) -> Vec<String> {
        let lane = match lane {
            Lane::ToAgent => "to agent",
            Lane::ToTarget | Lane::Aside => "to target",
            Lane::FromTarget => "from target",
        };
        Said::of(bytes)
            .flat_map(|said| match said {
                Said::Login(user, Proof::Password(_)) => vec![format!("Login {user}")],
                Said::Login(user, Proof::Certificate(_)) => vec![format!("Certificate {user}")],
                Said::Accept => vec!["Accept".into()],
                Said::Reject => vec!["Reject".into()],
                Said::Refused(what) => vec![format!("Refused {what:?}")],
                Said::GaveUp(user, reason) => vec![format!("GaveUp {user} {reason}")],
                Said::Broken(what) => vec![format!("Broken {what:?}")],
                Said::Disconnect(text) => vec![format!("Disconnect {text:?}")],
                Said::Message(message) => streams.show(lane, &message),
            })
            .collect()
    }

    /// Which track the data went to: the rest of a line repeats what was sent.
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
    fn show(&mut self, lane: &'static str, message: &Message) -> Vec<String> {
        let ChannelId(channel) = message.channel;
        match &message.body {
            Body::Request {
                request: Request::Subsystem(_),
                ..
            } => {
                for lane in ["to agent", "to target", "from target"] {
                    self.files.insert((channel, lane), BytesMut::new());
                }
            }
            Body::Data(data) => {
                if let Some(input) = self.files.get_mut(&(channel, lane)) {
                    input.extend_from_slice(data);
                    return show_files(channel, input);
                }
            }
            _ => {}
        }
        vec![show(channel, &message.body)]
    }
}

fn show(channel: u32, body: &Body) -> String {
    let what = match body {
        Body::Open { kind, .. } => return format!("Open {channel} {kind}"),
        Body::Opened => "Opened",
        Body::OpenFailed { reason, text } => {
            return format!("OpenFailed {channel} {reason} {text:?}");
        }
        Body::Data(data) => return format!("Data {channel} \"{}\"", data.escape_ascii()),
        Body::ExtendedData { kind, data } => {
            let kind = match *kind {
                STDERR => "Error".to_owned(),
                kind => format!("Extended{kind}"),
            };
            return format!("{kind} {channel} \"{}\"", data.escape_ascii());
        }
        Body::Eof => "Eof",
        Body::Close => "Close",
        Body::Request { request, .. } => return show_request(channel, request),
        Body::Success => "Success",
        Body::Failure => "Failure",
    };
    format!("{what} {channel}")
}

fn show_request(channel: u32, request: &Request) -> String {
    match request {
        Request::Pty { term, size, .. } => {
            format!("Pty {channel} {term} {}x{}", size.columns, size.rows)
        }
        Request::Env { name, value } => {
            format!("Env {channel} {name} \"{}\"", value.escape_ascii())
        }
        Request::Exec(command) => format!("Exec {channel} \"{}\"", command.escape_ascii()),
        Request::Shell => format!("Shell {channel}"),
        Request::Subsystem(name) => format!("Subsystem {channel} {name}"),
        Request::WindowChange(size) => format!("Resize {channel} {} {}", size.columns, size.rows),
        Request::Signal(signal) => format!("Signal {channel} {signal}"),
        Request::ExitStatus(status) => format!("ExitStatus {channel} {status}"),
        Request::ExitSignal { signal, .. } => format!("ExitSignal {channel} {signal}"),
        Request::Other { name, .. } => format!("Request {channel} {name}"),
    }
}

fn show_files(channel: u32, input: &mut BytesMut) -> Vec<String> {
    let mut shown = Vec::new();
    while let Ok(Some(packet)) = frame::decode(input) {
        let what = match Packet::parse(packet) {
            Ok(Packet::Init { version, .. }) => format!("Init {version}"),
            Ok(Packet::Version {
                version,
                extensions,
            }) => format!("Version {version} +{} bytes", extensions.len()),
            Ok(Packet::Request { id, request }) => {
                format!("File {channel} {id} {}", show_file_request(&request))
            }
            Ok(Packet::Reply { id, reply }) => {
                format!("Reply {channel} {id} {}", show_reply(&reply))
            }
            Err(error) => format!("no packet: {error}"),
        };
        shown.push(what);
    }
    shown
}

pub(super) fn show_file_request(request: &sftp::Request) -> String {
    use sftp::Request as R;
    let name = request.name();
    match request {
        R::Open { path, flags, .. } => format!("{name} {} {:#x}", path.escape_ascii(), flags.0),
        R::Close { handle: what }
        | R::Fstat { handle: what }
        | R::Fsetstat { handle: what, .. }
        | R::Readdir { handle: what }
        | R::Lstat { path: what }
        | R::Setstat { path: what, .. }
        | R::Opendir { path: what }
        | R::Remove { path: what }
        | R::Mkdir { path: what, .. }
        | R::Rmdir { path: what }
        | R::Realpath { path: what }
        | R::Stat { path: what }
        | R::Readlink { path: what }
        | R::Extended { name: what, .. } => format!("{name} {}", what.escape_ascii()),
        R::Read {
            handle,
            offset,
            len,
        } => format!("{name} {} {offset} {len}", handle.escape_ascii()),
        R::Write {
            handle,
            offset,
            data,
        } => format!(
            "{name} {} {offset} \"{}\"",
            handle.escape_ascii(),
            data.escape_ascii()
        ),
        R::Rename {
            from: first,
            to: second,
        }
        | R::Symlink { first, second } => {
            format!("{name} {} {}", first.escape_ascii(), second.escape_ascii())
        }
    }
}

pub(super) fn show_reply(reply: &Reply) -> String {
    match reply {
        Reply::Status(status) => format!("{} {:?}", status.code.as_str(), status.message),
        Reply::Handle(handle) => format!("handle {}", handle.escape_ascii()),
        Reply::Data(data) => format!("data \"{}\"", data.escape_ascii()),
        Reply::Names(names) => {
            let names = names
                .iter()
                .map(|name| name.name.escape_ascii().to_string());
            format!("names {}", names.collect::<Vec<_>>().join(" "))
        }
        Reply::Attributes(attributes) => format!("attributes {:?}", attributes.size),
        Reply::Extended(data) => format!("extended \"{}\"", data.escape_ascii()),
    }
}
