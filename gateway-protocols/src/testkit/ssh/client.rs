//! What an agent says, as packets of its stream.

use bytes::{Bytes, BytesMut};

use super::packet::{Proof, Said};
use crate::ssh::message::{
    Body, ChannelId, Modes, Request, Size,
    sftp::{self, Attributes, OpenFlags, Packet},
};

/// Several messages in a row.
#[must_use]
pub fn all(messages: &[Bytes]) -> Bytes {
    messages.concat().into()
}

/// A login with a token as password.
#[must_use]
pub fn login(user: &str, token: &str) -> Bytes {
    Said::Login(user.into(), Proof::Password(token.into())).encode()
}

/// A login with a certificate of these bytes.
#[must_use]
pub fn certificate(user: &str, certificate: &[u8]) -> Bytes {
    Said::Login(user.into(), Proof::Certificate(certificate.into())).encode()
}

/// The transport refused something.
#[must_use]
pub fn refused(what: &str) -> Bytes {
    Said::Refused(what.into()).encode()
}

/// The agent gave up its login.
#[must_use]
pub fn gave_up(user: &str, reason: &str) -> Bytes {
    Said::GaveUp(user.into(), reason.into()).encode()
}

/// The transport's own protocol was broken.
#[must_use]
pub fn broken(what: &str) -> Bytes {
    Said::Broken(what.into()).encode()
}

/// Anything about a channel.
#[must_use]
pub fn on(channel: u32, body: Body) -> Bytes {
    Said::Message(body.on(ChannelId(channel))).encode()
}

/// Open a channel of a type.
#[must_use]
pub fn open(channel: u32, kind: &str) -> Bytes {
    let (kind, data) = (kind.into(), Bytes::new());
    on(channel, Body::Open { kind, data })
}

/// A request that wants a reply.
#[must_use]
pub fn request(channel: u32, request: Request) -> Bytes {
    let want_reply = true;
    on(
        channel,
        Body::Request {
            want_reply,
            request,
        },
    )
}

/// A request that wants none.
#[must_use]
pub fn remark(channel: u32, request: Request) -> Bytes {
    let want_reply = false;
    on(
        channel,
        Body::Request {
            want_reply,
            request,
        },
    )
}

/// Run a command line.
#[must_use]
pub fn exec(channel: u32, command: &str) -> Bytes {
    request(channel, Request::Exec(command.to_owned().into()))
}

/// A session channel that runs a command line.
#[must_use]
pub fn run(channel: u32, command: &str) -> Bytes {
    all(&[open(channel, "session"), exec(channel, command)])
}

/// A terminal of 80 by 24.
#[must_use]
pub fn pty(channel: u32) -> Bytes {
    let term = "xterm".into();
    let (size, modes) = (size(80, 24), Modes::new([(53, 1)]));
    request(channel, Request::Pty { term, size, modes })
}

/// A size in characters.
#[must_use]
pub const fn size(columns: u32, rows: u32) -> Size {
    Size {
        columns,
        rows,
        width: 0,
        height: 0,
    }
}

/// A variable.
#[must_use]
pub fn env(channel: u32, name: &str, value: &str) -> Bytes {
    let (name, value) = (name.into(), value.to_owned().into());
    request(channel, Request::Env { name, value })
}

/// Data of a channel.
#[must_use]
pub fn data(channel: u32, data: impl Into<Bytes>) -> Bytes {
    on(channel, Body::Data(data.into()))
}

/// A session channel with the file transfer under way.
#[must_use]
pub fn files(channel: u32) -> Bytes {
    all(&[
        open(channel, "session"),
        request(channel, Request::Subsystem("sftp".into())),
        sftp_packet(
            channel,
            &Packet::Init {
                version: sftp::VERSION,
                extensions: Bytes::new(),
            },
        ),
    ])
}

/// A packet of the file transfer.
#[must_use]
pub fn sftp_packet(channel: u32, packet: &Packet) -> Bytes {
    let mut bytes = BytesMut::new();
    match packet.encode(&mut bytes) {
        Ok(()) => data(channel, bytes.freeze()),
        Err(_) => Bytes::new(),
    }
}

/// A request of the file transfer.
#[must_use]
pub fn file(channel: u32, id: u32, request: sftp::Request) -> Bytes {
    sftp_packet(channel, &Packet::Request { id, request })
}

/// Open a file: `r`, `w` (create and truncate) or `rw`.
#[must_use]
pub fn open_file(path: &str, mode: &str) -> sftp::Request {
    sftp::Request::Open {
        path: path.to_owned().into(),
        flags: OpenFlags(match mode {
            "r" => 0x01,
            "w" => 0x1a,
            _ => 0x03,
        }),
        attributes: Attributes::default(),
    }
}

/// A request by its name in the draft and what it needs; `None` for what isn't listed here.
#[must_use]
pub fn file_request(words: &[&str]) -> Option<sftp::Request> {
    use sftp::Request as R;
    let bytes = |text: &str| Bytes::from(text.replace("\\n", "\n"));
    let attributes = Attributes::default();
    Some(match *words {
        ["open", path, mode] => open_file(path, mode),
        ["close", handle] => R::Close {
            handle: bytes(handle),
        },
        ["read", handle, offset, len] => R::Read {
            handle: bytes(handle),
            offset: offset.parse().ok()?,
            len: len.parse().ok()?,
        },
        ["write", handle, offset, data] => R::Write {
            handle: bytes(handle),
            offset: offset.parse().ok()?,
            data: bytes(data),
        },
        ["lstat", path] => R::Lstat { path: bytes(path) },
        ["stat", path] => R::Stat { path: bytes(path) },
        ["fstat", handle] => R::Fstat {
            handle: bytes(handle),
        },
        ["setstat", path] => R::Setstat {
            path: bytes(path),
            attributes,
        },
        ["fsetstat", handle] => R::Fsetstat {
            handle: bytes(handle),
            attributes,
        },
        ["opendir", path] => R::Opendir { path: bytes(path) },
        ["readdir", handle] => R::Readdir {
            handle: bytes(handle),
        },
        ["remove", path] => R::Remove { path: bytes(path) },
        ["mkdir", path] => R::Mkdir {
            path: bytes(path),
            attributes,
        },
        ["rmdir", path] => R::Rmdir { path: bytes(path) },
        ["realpath", path] => R::Realpath { path: bytes(path) },
        ["rename", from, to] => R::Rename {
            from: bytes(from),
            to: bytes(to),
        },
        ["readlink", path] => R::Readlink { path: bytes(path) },
        ["symlink", first, second] => R::Symlink {
            first: bytes(first),
            second: bytes(second),
        },
        ["extended", name, data] => R::Extended {
            name: bytes(name),
            data: bytes(data),
        },
        _ => return None,
    })
}
