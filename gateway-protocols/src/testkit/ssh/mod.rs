//! SSH under test: its wire, a fake host that answers as OpenSSH does, and an agent's messages.

pub mod client;
mod files;
pub mod packet;
mod show;
mod target;

use std::collections::BTreeMap;

use bytes::BytesMut;
use gateway_core::{
    limits::Limits,
    record::{Direction, Track},
    wire::Side,
};

use super::{
    run::Subject,
    script::{Script, Step},
    typed::moments,
    world::GOOD_TOKEN,
};
use crate::ssh::{
    Session, frame,
    message::{
        Body, Request,
        sftp::{self, Packet, Reply},
    },
};
use packet::Said;

pub use show::Streams;
pub use target::SshTarget;

/// The SSH protocol.
#[derive(Clone, Copy, Debug)]
pub struct Ssh;

impl Subject for Ssh {
    type Wire = Session;
    type Target = SshTarget;

    fn wire(&self, limits: &Limits) -> Session {
        Session::new(limits)
    }

    fn target(&self) -> SshTarget {
        SshTarget::default()
    }

    fn login(&self) -> Script {
        Script::new()
            .agent(client::login("orders", GOOD_TOKEN))
            .step(Step::Mark)
    }

    /// What is said of each channel, in order; its data without borders; answers about files by
    /// their number.
    fn canonical(&self, to: Side, stream: &[u8]) -> Vec<u8> {
        let mut told = Told::of(stream);
        for channel in told.channels.values_mut() {
            match to {
                Side::Agent => channel.files.sort_by_key(|(id, _)| *id),
                Side::Target => channel.files.iter_mut().for_each(|(id, _)| *id = 0),
            }
        }
        format!("{told:?}").into_bytes()
    }

    /// What the gateway answers by itself, the numbers it gives to requests and its own questions
    /// are its own.
    fn is_same(&self, _: Direction, said: &[u8], heard: &[u8]) -> bool {
        let plain = |stream| {
            let mut told = Told::of(stream);
            for channel in told.channels.values_mut() {
                channel.events.retain(|event| !event.is_own());
                channel.files.iter_mut().for_each(|(id, _)| *id = 0);
            }
            told
        };
        plain(said) == plain(heard)
    }

    fn occurrences(&self, heard: &[u8], text: &str) -> usize {
        let told = Told::of(heard);
        let events = told.channels.values().flat_map(|channel| &channel.events);
        let commands = events.filter(|event| matches!(event, Event::Exec(line) if line == text));
        let files = told.channels.values().flat_map(|channel| &channel.files);
        let files = files.filter(|(_, packet)| packet.operation.as_deref() == Some(text));
        commands.count() + files.count()
    }

    /// Output, errors, input and the contents of files, each joined: units are counted by the gate
    /// and channels by the agent.
    fn is_recorded(&self, way: Direction, heard: &[u8], chunks: &[u8]) -> bool {
        let Ok(moments) = moments(chunks) else {
            return false;
        };
        let kept = |of: Track| {
            let tracks = moments.iter().filter(|((_, track), _)| *track == of);
            sorted(tracks.map(|(_, data)| data.clone()))
        };
        let told = Told::of(heard);
        let of = |data: fn(&Channel) -> Vec<u8>| sorted(told.channels.values().map(data));
        let contents = |track| kept(track).concat().len();
        let files = of(|channel| channel.contents.clone()).concat().len();
        match way {
            Direction::ToAgent => {
                kept(Track::Output) == of(|channel| channel.output.to_vec())
                    && kept(Track::Error) == of(|channel| without_gateway(&channel.errors))
                    && contents(Track::FileRead) == files
            }
            Direction::ToTarget => {
                kept(Track::Input) == of(|channel| channel.output.to_vec())
                    && contents(Track::FileWrite) == files
            }
        }
    }

    /// Lines of each channel's output.
    fn shape(&self, stream: &[u8]) -> Result<Vec<usize>, String> {
        let lines = |data: &[u8]| memchr::memchr_iter(b'\n', data).count();
        let told = Told::of(stream);
        let channels = told.channels.values();
        let lines = channels.map(|channel| lines(&channel.output));
        Ok(lines.filter(|lines| *lines > 0).collect())
    }
}

/// Errors without what the gateway itself says, of which evidence has the denial or notice.
fn without_gateway(errors: &[u8]) -> Vec<u8> {
    let lines = errors.split_inclusive(|byte| *byte == b'\n');
    let lines = lines.filter(|line| !line.starts_with(b"gateway: "));
    lines.collect::<Vec<_>>().concat()
}

fn sorted(data: impl Iterator<Item = Vec<u8>>) -> Vec<Vec<u8>> {
    let mut data: Vec<_> = data.filter(|data| !data.is_empty()).collect();
    data.sort();
    data
}

/// What a stream says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    /// What isn't about a channel.
    session: Vec<Said>,
    channels: BTreeMap<u32, Channel>,
}

/// What a stream says of a channel.
#[derive(Debug, Default, PartialEq, Eq)]
struct Channel {
    events: Vec<Event>,
    output: BytesMut,
    errors: BytesMut,
    /// Packets of a file transfer, by their numbers. Where a path leads is asked by gateways too,
    /// so neither the question nor its answer is here.
    files: Vec<(u32, File)>,
    /// Data in them.
    contents: Vec<u8>,
}

/// What a message does but for data. Whether an answer is wanted is between neighbours.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Event {
    Exec(String),
    Asked(String),
    Other(Body),
}

impl Event {
    /// Whether each side says it for itself: that something is met, or over.
    const fn is_own(&self) -> bool {
        matches!(
            self,
            Self::Other(Body::Opened | Body::Success | Body::Failure | Body::Close)
        )
    }
}

impl Told {
    fn of(stream: &[u8]) -> Self {
        let mut told = Self::default();
        for said in Said::of(stream) {
            let message = match said {
                Said::Message(message) => message,
                other => {
                    told.session.push(other);
                    continue;
                }
            };
            let channel = told.channels.entry(message.channel.0).or_default();
            match message.body {
                Body::Data(data) => channel.output.extend_from_slice(&data),
                Body::ExtendedData { data, .. } => channel.errors.extend_from_slice(&data),
                Body::Request { request, .. } => channel.events.push(match request {
                    Request::Exec(line) => Event::Exec(line.escape_ascii().to_string()),
                    other => Event::Asked(format!("{other:?}")),
                }),
                other => channel.events.push(Event::Other(other)),
            }
        }
        for channel in told.channels.values_mut() {
            channel.split_files();
        }
        told
    }
}

/// A packet of a file transfer, as text without its number.
#[derive(Debug, Default, PartialEq, Eq)]
struct File {
    said: String,
    /// The operation that a request is, if it needs one of its own.
    operation: Option<String>,
}

impl Channel {
    /// Takes output that is a file transfer apart.
    fn split_files(&mut self) {
        // The first packet is INIT or VERSION: its length is below 256, and no text begins so.
        if !matches!(*self.output, [0, 0, 0, _, 1 | 2, ..]) {
            return;
        }
        while let Ok(Some(packet)) = frame::decode(&mut self.output) {
            let (id, said, operation) = match Packet::parse(packet) {
                Ok(Packet::Init { version, .. } | Packet::Version { version, .. }) => {
                    (0, format!("version {version}"), None)
                }
                Ok(Packet::Request { id, request }) => {
                    if let sftp::Request::Write { offset, data, .. } = &request {
                        self.contents.extend_from_slice(&offset.to_be_bytes());
                        self.contents.extend_from_slice(data);
                    }
                    if let sftp::Request::Realpath { .. } = &request {
                        continue;
                    }
                    (id, show::show_file_request(&request), operation(&request))
                }
                Ok(Packet::Reply {
                    reply: Reply::Names(_),
                    ..
                }) => continue,
                Ok(Packet::Reply { id, reply }) => {
                    if let Reply::Data(data) = &reply {
                        // Only the question names the offset.
                        self.contents.extend_from_slice(&[0; 8]);
                        self.contents.extend_from_slice(data);
                    }
                    (id, show::show_reply(&reply), None)
                }
                Err(error) => (0, error.to_string(), None),
            };
            self.files.push((id, File { said, operation }));
        }
    }
}

/// The text of the operation that a request on paths is, for paths that need no quotes.
fn operation(request: &sftp::Request) -> Option<String> {
    use sftp::Request as R;
    let (verb, paths) = match request {
        R::Open { path, flags, .. } => (
            match (flags.reads(), flags.writes()) {
                (true, true) => "read+write",
                (true, false) => "read",
                (false, _) => "write",
            },
            vec![path],
        ),
        R::Opendir { path } => ("list", vec![path]),
        R::Setstat { path, .. }
        | R::Lstat { path }
        | R::Remove { path }
        | R::Mkdir { path, .. }
        | R::Rmdir { path }
        | R::Stat { path }
        | R::Readlink { path } => (request.name(), vec![path]),
        R::Rename { from, to } => (request.name(), vec![from, to]),
        R::Close { .. }
        | R::Read { .. }
        | R::Write { .. }
        | R::Fstat { .. }
        | R::Fsetstat { .. }
        | R::Readdir { .. }
        | R::Realpath { .. }
        | R::Symlink { .. }
        | R::Extended { .. } => return None,
    };
    let paths = paths
        .into_iter()
        .map(|path| path.escape_ascii().to_string());
    Some(
        std::iter::once(verb.to_owned())
            .chain(paths)
            .collect::<Vec<_>>()
            .join(" "),
    )
}
