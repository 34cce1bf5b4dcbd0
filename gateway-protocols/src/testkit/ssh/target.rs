//! A host that answers as OpenSSH's server does, with a handful of programs and a few files.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};

use super::{files::Files, packet::Said};
use crate::{
    ssh::{
        frame,
        message::{
            Body, ChannelId, Message, OPEN_PROHIBITED, Request, STDERR,
            sftp::{Packet, VERSION},
        },
    },
    testkit::{run::TargetPeer, typed},
};

/// A host.
#[derive(Debug, Default)]
pub struct SshTarget {
    channels: BTreeMap<ChannelId, Program>,
    files: Files,
}

/// What runs in a channel.
#[derive(Debug)]
enum Program {
    /// Nothing yet.
    None,
    /// Gives its input back until it ends.
    Cat,
    /// Waits for a signal.
    Sleep,
    /// Answers each line; `exit` ends it.
    Shell(Vec<u8>),
    /// The file server.
    Files(BytesMut),
    /// It has ended, and the agent's close is still to come.
    Over,
}

impl TargetPeer for SshTarget {
    fn receive(&mut self, input: &mut BytesMut, out: &mut BytesMut) {
        while let Some(body) = typed::take_packet(input) {
            for said in Said::of(&typed::packet(&body)) {
                if let Said::Message(message) = said {
                    self.hear(message, &mut Answers(out));
                }
            }
        }
    }

    fn is_closed(&self) -> bool {
        false
    }
}

/// Where answers go.
struct Answers<'a>(&'a mut BytesMut);

impl Answers<'_> {
    fn say(&mut self, channel: ChannelId, body: Body) {
        self.0
            .extend_from_slice(&Said::Message(body.on(channel)).encode());
    }

    fn out(&mut self, channel: ChannelId, data: impl Into<Bytes>) {
        self.say(channel, Body::Data(data.into()));
    }

    fn err(&mut self, channel: ChannelId, data: &'static str) {
        let (kind, data) = (STDERR, Bytes::from_static(data.as_bytes()));
        self.say(channel, Body::ExtendedData { kind, data });
    }

    fn remark(&mut self, channel: ChannelId, request: Request) {
        let want_reply = false;
        self.say(
            channel,
            Body::Request {
                want_reply,
                request,
            },
        );
    }

    /// A program's end, in one of the orders that servers use.
    fn exit(&mut self, channel: ChannelId, status: u32) {
        if status == 0 {
            self.say(channel, Body::Eof);
            self.remark(channel, Request::ExitStatus(status));
        } else {
            self.remark(channel, Request::ExitStatus(status));
            self.say(channel, Body::Eof);
        }
        self.say(channel, Body::Close);
    }

    fn killed(&mut self, channel: ChannelId, signal: String) {
        let (core_dumped, text) = (false, String::new());
        self.remark(
            channel,
            Request::ExitSignal {
                signal,
                core_dumped,
                text,
            },
        );
        self.say(channel, Body::Close);
    }
}

impl SshTarget {
    fn hear(&mut self, message: Message, answers: &mut Answers<'_>) {
        let Message { channel, body } = message;
        match body {
            Body::Open { kind, .. } if kind == "session" => {
                self.channels.insert(channel, Program::None);
                answers.say(channel, Body::Opened);
            }
            Body::Open { .. } => {
                let (reason, text) = (OPEN_PROHIBITED, "no".into());
                answers.say(channel, Body::OpenFailed { reason, text });
            }
            Body::Request {
                want_reply,
                request,
            } => {
                let is_met = self.request(channel, &request);
                if want_reply {
                    answers.say(channel, if is_met { Body::Success } else { Body::Failure });
                }
                if is_met {
                    self.begin(channel, request, answers);
                }
            }
            Body::Data(data) => self.data(channel, &data, answers),
            Body::Eof => self.eof(channel, answers),
            Body::Close => match self.channels.remove(&channel) {
                Some(Program::Over) | None => {}
                Some(_) => answers.say(channel, Body::Close),
            },
            Body::Opened
            | Body::OpenFailed { .. }
            | Body::ExtendedData { .. }
            | Body::Success
            | Body::Failure => {}
        }
    }

    fn request(&self, channel: ChannelId, request: &Request) -> bool {
        let is_idle = matches!(self.channels.get(&channel), Some(Program::None));
        match request {
            Request::Pty { .. } | Request::Env { .. } | Request::Shell => is_idle,
            Request::Exec(command) => is_idle && command != "unstartable",
            Request::Subsystem(name) => is_idle && name == "sftp",
            Request::WindowChange(_) | Request::Signal(_) => !is_idle,
            Request::ExitStatus(_) | Request::ExitSignal { .. } | Request::Other { .. } => false,
        }
    }

    fn begin(&mut self, channel: ChannelId, request: Request, answers: &mut Answers<'_>) {
        let program = match request {
            Request::Shell => {
                answers.out(channel, "$ ");
                Program::Shell(Vec::new())
            }
            Request::Subsystem(_) => Program::Files(BytesMut::new()),
            Request::Exec(command) => exec(channel, &command, answers),
            Request::WindowChange(size) => {
                answers.out(channel, format!("{}x{}\n", size.columns, size.rows));
                return;
            }
            Request::Signal(signal) => {
                answers.killed(channel, signal);
                Program::Over
            }
            _ => return,
        };
        self.channels.insert(channel, program);
    }

    fn data(&mut self, channel: ChannelId, data: &Bytes, answers: &mut Answers<'_>) {
        match self.channels.get_mut(&channel) {
            Some(Program::Cat) => answers.out(channel, data.clone()),
            Some(program @ Program::Shell(_)) => shell(channel, program, data, answers),
            Some(Program::Files(input)) => {
                input.extend_from_slice(data);
                while let Ok(Some(packet)) = frame::decode(input) {
                    if let Ok(packet) = Packet::parse(packet) {
                        self.files.answer(channel, packet, &mut |packet| {
                            let mut bytes = BytesMut::new();
                            if packet.encode(&mut bytes).is_ok() {
                                answers.out(channel, bytes.freeze());
                            }
                        });
                    }
                }
            }
            _ => {}
        }
    }

    fn eof(&mut self, channel: ChannelId, answers: &mut Answers<'_>) {
        if let Some(program @ (Program::Cat | Program::Shell(_) | Program::Files(_))) =
            self.channels.get_mut(&channel)
        {
            answers.exit(channel, 0);
            *program = Program::Over;
        }
    }
}

fn exec(channel: ChannelId, command: &[u8], answers: &mut Answers<'_>) -> Program {
    let text = String::from_utf8_lossy(command).into_owned();
    let words: Vec<&str> = text.split(' ').collect();
    match words.as_slice() {
        ["cat"] => return Program::Cat,
        ["sleep"] => return Program::Sleep,
        ["fail", status] => {
            answers.err(channel, "it failed\n");
            answers.exit(channel, status.parse().unwrap_or(1));
        }
        ["die"] => answers.killed(channel, "SEGV".into()),
        ["list", "customers"] => {
            answers.out(channel, "1 ada@exam");
            answers.err(channel, "warning: bob@example.com\n");
            answers.out(channel, "ple.com\n2 bob@example.com\n3 ada@");
            answers.exit(channel, 0);
        }
        _ => {
            answers.out(channel, format!("ran {text}\n"));
            answers.exit(channel, 0);
        }
    }
    Program::Over
}

fn shell(channel: ChannelId, program: &mut Program, data: &[u8], answers: &mut Answers<'_>) {
    let Program::Shell(line) = program else {
        return;
    };
    for byte in data {
        if *byte != b'\n' {
            line.push(*byte);
            continue;
        }
        let said = std::mem::take(line);
        if said == b"exit" {
            answers.exit(channel, 0);
            *program = Program::Over;
            return;
        }
        answers.out(channel, [b"ran ", said.as_slice(), b"\r\n$ "].concat());
    }
}

/// The version that the file server announces, with an extension that a gateway must not pass on
/// unread.
pub(super) fn version() -> Packet {
    let mut extensions = BytesMut::new();
    for text in ["posix-rename@openssh.com", "1"] {
        extensions.extend_from_slice(&u32::try_from(text.len()).unwrap_or_default().to_be_bytes());
        extensions.extend_from_slice(text.as_bytes());
    }
    Packet::Version {
        version: VERSION,
        extensions: extensions.freeze(),
    }
}
