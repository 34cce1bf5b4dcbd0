//! The files of the fake host, and its file server.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::target::version;
use crate::ssh::message::{
    ChannelId,
    sftp::{Attributes, Name, Packet, Reply, Request, Status, StatusCode},
};

/// Where relative paths start.
const HOME: &str = "/home/agent";
/// `SSH_FX_NO_SUCH_FILE`.
const NO_SUCH_FILE: StatusCode = StatusCode(2);

/// Files by path, and symbolic links.
#[derive(Debug)]
pub(super) struct Files {
    contents: BTreeMap<String, Vec<u8>>,
    links: BTreeMap<&'static str, &'static str>,
    open: BTreeMap<(ChannelId, Bytes), Open>,
    opened: u64,
}

#[derive(Debug)]
enum Open {
    File(String),
    Folder(Vec<String>),
}

impl Default for Files {
    fn default() -> Self {
        let contents = [
            ("/etc/passwd", "root:x:0:0\n"),
            ("/etc/deny", "not for you\n"),
            ("/home/agent/notes", "buy milk\n"),
            ("/home/agent/hold", "look first\n"),
        ];
        Self {
            contents: contents
                .map(|(path, text)| (path.into(), text.into()))
                .into(),
            links: BTreeMap::from([("/home/agent/link", "/etc/deny")]),
            open: BTreeMap::new(),
            opened: 0,
        }
    }
}

impl Files {
    /// Answers a packet in one go.
    pub(super) fn answer(
        &mut self,
        channel: ChannelId,
        packet: Packet,
        answer: &mut dyn FnMut(Packet),
    ) {
        match packet {
            Packet::Init { .. } => answer(version()),
            Packet::Request { id, request } => answer(Packet::Reply {
                id,
                reply: self.reply(channel, request),
            }),
            Packet::Version { .. } | Packet::Reply { .. } => {}
        }
    }

    fn reply(&mut self, channel: ChannelId, request: Request) -> Reply {
        match request {
            Request::Open { path, flags, .. } => {
                let path = self.resolved(&path);
                if flags.writes() {
                    let contents = self.contents.entry(path.clone()).or_default();
                    if flags.0 & 0x10 != 0 {
                        contents.clear();
                    }
                } else if !self.contents.contains_key(&path) {
                    return status(NO_SUCH_FILE);
                }
                self.handle(channel, Open::File(path))
            }
            Request::Opendir { path } => {
                let folder = format!("{}/", self.resolved(&path));
                let names = self.contents.keys().filter_map(|known| {
                    let name = known.strip_prefix(&folder)?;
                    (!name.contains('/')).then(|| name.to_owned())
                });
                let names = names.collect();
                self.handle(channel, Open::Folder(names))
            }
            Request::Close { handle } => status(match self.open.remove(&(channel, handle)) {
                Some(_) => StatusCode::OK,
                None => StatusCode::FAILURE,
            }),
            Request::Read {
                handle,
                offset,
                len,
            } => self.read(channel, handle, offset, len),
            Request::Write {
                handle,
                offset,
                data,
            } => self.write(channel, handle, offset, &data),
            Request::Readdir { handle } => match self.open.get_mut(&(channel, handle)) {
                Some(Open::Folder(left)) if !left.is_empty() => {
                    let names = std::mem::take(left).into_iter();
                    Reply::Names(names.map(|name| named(&name)).collect())
                }
                Some(Open::Folder(_)) => status(StatusCode::EOF),
                Some(Open::File(_)) | None => status(StatusCode::FAILURE),
            },
            Request::Stat { path } | Request::Lstat { path } => {
                let path = self.resolved(&path);
                self.attributes(&path)
            }
            Request::Fstat { handle } => match self.open.get(&(channel, handle)) {
                Some(Open::File(path)) => self.attributes(path),
                Some(Open::Folder(_)) | None => status(StatusCode::FAILURE),
            },
            Request::Realpath { path } => Reply::Names(vec![named(&self.resolved(&path))]),
            Request::Readlink { path } => Reply::Names(vec![named(&self.resolved(&path))]),
            Request::Remove { path } => {
                let path = absolute(&path);
                status(match self.contents.remove(&path) {
                    Some(_) => StatusCode::OK,
                    None => NO_SUCH_FILE,
                })
            }
            Request::Rename { from, to } => match self.contents.remove(&absolute(&from)) {
                Some(contents) => {
                    self.contents.insert(absolute(&to), contents);
                    status(StatusCode::OK)
                }
                None => status(NO_SUCH_FILE),
            },
            Request::Setstat { .. }
            | Request::Fsetstat { .. }
            | Request::Mkdir { .. }
            | Request::Rmdir { .. }
            | Request::Symlink { .. } => status(StatusCode::OK),
            Request::Extended { .. } => status(StatusCode::OP_UNSUPPORTED),
        }
    }

    fn handle(&mut self, channel: ChannelId, open: Open) -> Reply {
        self.opened += 1;
        let handle = Bytes::from(format!("h{}", self.opened));
        self.open.insert((channel, handle.clone()), open);
        Reply::Handle(handle)
    }

    fn read(&self, channel: ChannelId, handle: Bytes, offset: u64, len: u32) -> Reply {
        let Some(Open::File(path)) = self.open.get(&(channel, handle)) else {
            return status(StatusCode::FAILURE);
        };
        let contents = self
            .contents
            .get(path)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let rest = contents.get(offset..).unwrap_or_default();
        let len = usize::try_from(len).unwrap_or(usize::MAX).min(rest.len());
        match rest.get(..len) {
            Some(piece) if !piece.is_empty() => Reply::Data(Bytes::copy_from_slice(piece)),
            _ => status(StatusCode::EOF),
        }
    }

    fn write(&mut self, channel: ChannelId, handle: Bytes, offset: u64, data: &[u8]) -> Reply {
        let Some(Open::File(path)) = self.open.get(&(channel, handle)) else {
            return status(StatusCode::FAILURE);
        };
        let contents = self.contents.entry(path.clone()).or_default();
        // No holes: what is written beyond the end is appended.
        let end = usize::try_from(offset).unwrap_or(usize::MAX);
        contents.truncate(end);
        contents.extend_from_slice(data);
        status(StatusCode::OK)
    }

    fn attributes(&self, path: &str) -> Reply {
        match self.contents.get(path) {
            Some(contents) => Reply::Attributes(Attributes {
                size: u64::try_from(contents.len()).ok(),
                permissions: Some(0o100_644),
                ..Attributes::default()
            }),
            None => status(NO_SUCH_FILE),
        }
    }

    /// The absolute path that a path leads to.
    fn resolved(&self, path: &[u8]) -> String {
        let path = absolute(path);
        match self.links.get(path.as_str()) {
            Some(target) => (*target).to_owned(),
            None => path,
        }
    }
}

/// The absolute path, links unread.
fn absolute(path: &[u8]) -> String {
    let path = String::from_utf8_lossy(path);
    let path = match path.starts_with('/') {
        true => path.into_owned(),
        false => format!("{HOME}/{path}"),
    };
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

fn status(code: StatusCode) -> Reply {
    let message = code.as_str().to_owned();
    Reply::Status(Status { code, message })
}

fn named(name: &str) -> Name {
    Name {
        name: Bytes::from(name.to_owned()),
        long_name: Bytes::from(format!("-rw-r--r-- {name}")),
        attributes: Attributes::default(),
    }
}
