//! Packets of the SSH file transfer protocol, version 3 (draft-ietf-secsh-filexfer-02).
//!
//! A [`Packet`] is what stands behind a frame's length field. `parse` and `encode` are each other's
//! inverse. Paths, handles and names stay bytes.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use super::{
    complete,
    wire::{MessageError, number, put_string, string, text},
};

/// The one version that is spoken.
pub const VERSION: u32 = 3;

/// One packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    /// 1: the client's highest version.
    Init {
        /// The version.
        version: u32,
        /// Extensions, undecoded.
        extensions: Bytes,
    },
    /// 2: the version to speak.
    Version {
        /// The version.
        version: u32,
        /// Extensions, undecoded.
        extensions: Bytes,
    },
    /// 3 to 20, and 200.
    Request {
        /// Chosen by the client; the reply repeats it.
        id: u32,
        /// What is asked.
        request: Request,
    },
    /// 101 to 105, and 201.
    Reply {
        /// Of the request.
        id: u32,
        /// The answer.
        reply: Reply,
    },
}

/// What a client asks (section 6, "Requests From the Client to the Server").
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are named as in the draft")]
pub enum Request {
    /// 3: open a file; [`OpenFlags`] say for what.
    Open {
        path: Bytes,
        flags: OpenFlags,
        attributes: Attributes,
    },
    /// 4: close a file or folder.
    Close { handle: Bytes },
    /// 5: read from a file.
    Read {
        handle: Bytes,
        offset: u64,
        len: u32,
    },
    /// 6: write to a file.
    Write {
        handle: Bytes,
        offset: u64,
        data: Bytes,
    },
    /// 7: attributes, of a symbolic link itself.
    Lstat { path: Bytes },
    /// 8: attributes of an open file.
    Fstat { handle: Bytes },
    /// 9: set attributes.
    Setstat { path: Bytes, attributes: Attributes },
    /// 10: set attributes of an open file.
    Fsetstat {
        handle: Bytes,
        attributes: Attributes,
    },
    /// 11: open a folder to list it.
    Opendir { path: Bytes },
    /// 12: the next names of an open folder.
    Readdir { handle: Bytes },
    /// 13: remove a file.
    Remove { path: Bytes },
    /// 14: make a folder.
    Mkdir { path: Bytes, attributes: Attributes },
    /// 15: remove an empty folder.
    Rmdir { path: Bytes },
    /// 16: the absolute path that a path leads to.
    Realpath { path: Bytes },
    /// 17: attributes.
    Stat { path: Bytes },
    /// 18: rename a file or folder.
    Rename { from: Bytes, to: Bytes },
    /// 19: where a symbolic link points to.
    Readlink { path: Bytes },
    /// 20: make a symbolic link. OpenSSH has the two paths the other way round.
    Symlink { first: Bytes, second: Bytes },
    /// 200: a request by name.
    Extended { name: Bytes, data: Bytes },
}

/// What a server answers (section 7, "Responses from the Server to the Client").
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// 101: how it went.
    Status(Status),
    /// 102: an open file or folder, at most 256 bytes.
    Handle(Bytes),
    /// 103: contents.
    Data(Bytes),
    /// 104: names.
    Names(Vec<Name>),
    /// 105: attributes.
    Attributes(Attributes),
    /// 201: the answer to [`Request::Extended`].
    Extended(Bytes),
}

/// The types of [`Reply`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "named as the variants of `Reply`")]
pub enum ReplyKind {
    Status,
    Handle,
    Data,
    Names,
    Attributes,
    Extended,
}

/// How a request went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// What kind of outcome.
    pub code: StatusCode,
    /// Words for a person.
    pub message: String,
}

/// `SSH_FX_…` (section 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusCode(pub u32);

impl StatusCode {
    /// `SSH_FX_OK`.
    pub const OK: Self = Self(0);
    /// `SSH_FX_EOF`.
    pub const EOF: Self = Self(1);
    /// `SSH_FX_PERMISSION_DENIED`.
    pub const PERMISSION_DENIED: Self = Self(3);
    /// `SSH_FX_FAILURE`.
    pub const FAILURE: Self = Self(4);
    /// `SSH_FX_OP_UNSUPPORTED`.
    pub const OP_UNSUPPORTED: Self = Self(8);

    /// The draft's name of it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self.0 {
            0 => "SSH_FX_OK",
            1 => "SSH_FX_EOF",
            2 => "SSH_FX_NO_SUCH_FILE",
            3 => "SSH_FX_PERMISSION_DENIED",
            4 => "SSH_FX_FAILURE",
            5 => "SSH_FX_BAD_MESSAGE",
            6 => "SSH_FX_NO_CONNECTION",
            7 => "SSH_FX_CONNECTION_LOST",
            8 => "SSH_FX_OP_UNSUPPORTED",
            _ => "undefined status",
        }
    }
}

/// One name of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// The name, or the path that was asked for.
    pub name: Bytes,
    /// A line as of `ls -l`.
    pub long_name: Bytes,
    /// Its attributes.
    pub attributes: Attributes,
}

/// For what a file is opened (section 6.3, "Opening, Creating, and Closing Files").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenFlags(pub u32);

impl OpenFlags {
    const READ: u32 = 0x01;
    const WRITE: u32 = 0x02;
    const APPEND: u32 = 0x04;
    const CREATE: u32 = 0x08;
    const TRUNCATE: u32 = 0x10;
    const EXCLUSIVE: u32 = 0x20;

    /// Whether it may be read from: a server opens what asks for neither for reading.
    #[must_use]
    pub const fn reads(self) -> bool {
        self.0 & Self::READ != 0 || self.0 & Self::WRITE == 0
    }

    /// Whether opening it changes, or may be followed by changes.
    #[must_use]
    pub const fn writes(self) -> bool {
        self.0 & (Self::WRITE | Self::APPEND | Self::CREATE | Self::TRUNCATE) != 0
    }

    /// Whether version 3 defines all of them.
    #[must_use]
    pub const fn are_defined(self) -> bool {
        const ALL: u32 = (OpenFlags::EXCLUSIVE << 1) - 1;
        self.0 & !ALL == 0
    }
}

/// A file's attributes (section 5, "File Attributes").
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Size, bytes.
    pub size: Option<u64>,
    /// User and group id.
    pub owner: Option<(u32, u32)>,
    /// Mode bits.
    pub permissions: Option<u32>,
    /// Last access and modification, seconds since the Unix epoch.
    pub times: Option<(u32, u32)>,
    /// Attributes by name.
    pub extended: Vec<(Bytes, Bytes)>,
}

const ATTRIBUTE_SIZE: u32 = 0x01;
const ATTRIBUTE_OWNER: u32 = 0x02;
const ATTRIBUTE_PERMISSIONS: u32 = 0x04;
const ATTRIBUTE_TIMES: u32 = 0x08;
const ATTRIBUTE_EXTENDED: u32 = 0x8000_0000;
const ATTRIBUTES_DEFINED: u32 = ATTRIBUTE_EXTENDED | 0x0f;

impl Attributes {
    fn parse(input: &mut Bytes) -> Result<Self, MessageError> {
        let flags = number(input)?;
        if flags & !ATTRIBUTES_DEFINED != 0 {
            return Err(MessageError::Attributes(flags));
        }
        let mut attributes = Self::default();
        if flags & ATTRIBUTE_SIZE != 0 {
            attributes.size = Some(input.try_get_u64()?);
        }
        if flags & ATTRIBUTE_OWNER != 0 {
            attributes.owner = Some((number(input)?, number(input)?));
        }
        if flags & ATTRIBUTE_PERMISSIONS != 0 {
            attributes.permissions = Some(number(input)?);
        }
        if flags & ATTRIBUTE_TIMES != 0 {
            attributes.times = Some((number(input)?, number(input)?));
        }
        if flags & ATTRIBUTE_EXTENDED != 0 {
            let count = number(input)?;
            // None would have no bit of its own to be written by.
            if count == 0 {
                return Err(MessageError::Attributes(flags));
            }
            for _ in 0..count {
                attributes.extended.push((string(input)?, string(input)?));
            }
        }
        Ok(attributes)
    }

    fn encode(&self, out: &mut BytesMut) -> Result<(), MessageError> {
        let mut flags = 0;
        for (present, flag) in [
            (self.size.is_some(), ATTRIBUTE_SIZE),
            (self.owner.is_some(), ATTRIBUTE_OWNER),
            (self.permissions.is_some(), ATTRIBUTE_PERMISSIONS),
            (self.times.is_some(), ATTRIBUTE_TIMES),
            (!self.extended.is_empty(), ATTRIBUTE_EXTENDED),
        ] {
            if present {
                flags |= flag;
            }
        }
        out.put_u32(flags);
        if let Some(size) = self.size {
            out.put_u64(size);
        }
        if let Some((first, second)) = self.owner {
            out.put_u32(first);
            out.put_u32(second);
        }
        if let Some(permissions) = self.permissions {
            out.put_u32(permissions);
        }
        if let Some((first, second)) = self.times {
            out.put_u32(first);
            out.put_u32(second);
        }
        if !self.extended.is_empty() {
            out.put_u32(u32::try_from(self.extended.len()).map_err(|_| MessageError::TooLong)?);
            for (name, value) in &self.extended {
                put_string(out, name)?;
                put_string(out, value)?;
            }
        }
        Ok(())
    }
}

impl Packet {
    /// Parses what stands behind a frame's length field.
    ///
    /// # Errors
    /// Any [`MessageError`].
    pub fn parse(mut input: Bytes) -> Result<Self, MessageError> {
        let input = &mut input;
        let code = input.try_get_u8()?;
        let first = number(input)?;
        let packet = match code {
            1 => Self::Init {
                version: first,
                extensions: input.split_off(0),
            },
            2 => Self::Version {
                version: first,
                extensions: input.split_off(0),
            },
            101..=105 | 201 => Self::Reply {
                id: first,
                reply: Reply::parse(code, input)?,
            },
            _ => Self::Request {
                id: first,
                request: Request::parse(code, input)?,
            },
        };
        complete(input, packet)
    }

    /// Appends the packet with its length field to `out`.
    ///
    /// # Errors
    /// [`MessageError::TooLong`] for what no length field can hold; `out` may then end in a part.
    pub fn encode(&self, out: &mut BytesMut) -> Result<(), MessageError> {
        let start = out.len();
        out.put_u32(0);
        match self {
            Self::Init {
                version,
                extensions,
            } => {
                out.put_u8(1);
                out.put_u32(*version);
                out.put_slice(extensions);
            }
            Self::Version {
                version,
                extensions,
            } => {
                out.put_u8(2);
                out.put_u32(*version);
                out.put_slice(extensions);
            }
            Self::Request { id, request } => request.encode(*id, out)?,
            Self::Reply { id, reply } => reply.encode(*id, out)?,
        }
        let len = u32::try_from(out.len() - start - 4).map_err(|_| MessageError::TooLong)?;
        let field = out.get_mut(start..).and_then(<[u8]>::first_chunk_mut);
        *field.ok_or(MessageError::TooLong)? = len.to_be_bytes();
        Ok(())
    }
}

impl Request {
    /// The name in the draft, in lower case and without `SSH_FXP_`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Open { .. } => "open",
            Self::Close { .. } => "close",
            Self::Read { .. } => "read",
            Self::Write { .. } => "write",
            Self::Lstat { .. } => "lstat",
            Self::Fstat { .. } => "fstat",
            Self::Setstat { .. } => "setstat",
            Self::Fsetstat { .. } => "fsetstat",
            Self::Opendir { .. } => "opendir",
            Self::Readdir { .. } => "readdir",
            Self::Remove { .. } => "remove",
            Self::Mkdir { .. } => "mkdir",
            Self::Rmdir { .. } => "rmdir",
            Self::Realpath { .. } => "realpath",
            Self::Stat { .. } => "stat",
            Self::Rename { .. } => "rename",
            Self::Readlink { .. } => "readlink",
            Self::Symlink { .. } => "symlink",
            Self::Extended { .. } => "extended",
        }
    }

    /// The type of reply that meets it. A failure is a [`Reply::Status`] for all.
    #[must_use]
    pub const fn wants(&self) -> ReplyKind {
        match self {
            Self::Open { .. } | Self::Opendir { .. } => ReplyKind::Handle,
            Self::Read { .. } => ReplyKind::Data,
            Self::Readdir { .. } | Self::Realpath { .. } | Self::Readlink { .. } => {
                ReplyKind::Names
            }
            Self::Lstat { .. } | Self::Fstat { .. } | Self::Stat { .. } => ReplyKind::Attributes,
            Self::Extended { .. } => ReplyKind::Extended,
            Self::Close { .. }
            | Self::Write { .. }
            | Self::Setstat { .. }
            | Self::Fsetstat { .. }
            | Self::Remove { .. }
            | Self::Mkdir { .. }
            | Self::Rmdir { .. }
            | Self::Rename { .. }
            | Self::Symlink { .. } => ReplyKind::Status,
        }
    }

    const fn code(&self) -> u8 {
        match self {
            Self::Open { .. } => 3,
            Self::Close { .. } => 4,
            Self::Read { .. } => 5,
            Self::Write { .. } => 6,
            Self::Lstat { .. } => 7,
            Self::Fstat { .. } => 8,
            Self::Setstat { .. } => 9,
            Self::Fsetstat { .. } => 10,
            Self::Opendir { .. } => 11,
            Self::Readdir { .. } => 12,
            Self::Remove { .. } => 13,
            Self::Mkdir { .. } => 14,
            Self::Rmdir { .. } => 15,
            Self::Realpath { .. } => 16,
            Self::Stat { .. } => 17,
            Self::Rename { .. } => 18,
            Self::Readlink { .. } => 19,
            Self::Symlink { .. } => 20,
            Self::Extended { .. } => 200,
        }
    }

    fn parse(code: u8, input: &mut Bytes) -> Result<Self, MessageError> {
        Ok(match code {
            3 => Self::Open {
                path: string(input)?,
                flags: OpenFlags(number(input)?),
                attributes: Attributes::parse(input)?,
            },
            4 => Self::Close {
                handle: string(input)?,
            },
            5 => Self::Read {
                handle: string(input)?,
                offset: input.try_get_u64()?,
                len: number(input)?,
            },
            6 => Self::Write {
                handle: string(input)?,
                offset: input.try_get_u64()?,
                data: string(input)?,
            },
            7 => Self::Lstat {
                path: string(input)?,
            },
            8 => Self::Fstat {
                handle: string(input)?,
            },
            9 => Self::Setstat {
                path: string(input)?,
                attributes: Attributes::parse(input)?,
            },
            10 => Self::Fsetstat {
                handle: string(input)?,
                attributes: Attributes::parse(input)?,
            },
            11 => Self::Opendir {
                path: string(input)?,
            },
            12 => Self::Readdir {
                handle: string(input)?,
            },
            13 => Self::Remove {
                path: string(input)?,
            },
            14 => Self::Mkdir {
                path: string(input)?,
                attributes: Attributes::parse(input)?,
            },
            15 => Self::Rmdir {
                path: string(input)?,
            },
            16 => Self::Realpath {
                path: string(input)?,
            },
            17 => Self::Stat {
                path: string(input)?,
            },
            18 => Self::Rename {
                from: string(input)?,
                to: string(input)?,
            },
            19 => Self::Readlink {
                path: string(input)?,
            },
            20 => Self::Symlink {
                first: string(input)?,
                second: string(input)?,
            },
            200 => Self::Extended {
                name: string(input)?,
                data: input.split_off(0),
            },
            code => return Err(MessageError::Code(code)),
        })
    }

    fn encode(&self, id: u32, out: &mut BytesMut) -> Result<(), MessageError> {
        out.put_u8(self.code());
        out.put_u32(id);
        match self {
            Self::Open {
                path,
                flags,
                attributes,
            } => {
                put_string(out, path)?;
                out.put_u32(flags.0);
                attributes.encode(out)
            }
            Self::Read {
                handle,
                offset,
                len,
            } => {
                put_string(out, handle)?;
                out.put_u64(*offset);
                out.put_u32(*len);
                Ok(())
            }
            Self::Write {
                handle,
                offset,
                data,
            } => {
                put_string(out, handle)?;
                out.put_u64(*offset);
                put_string(out, data)
            }
            Self::Setstat { path, attributes } | Self::Mkdir { path, attributes } => {
                put_string(out, path)?;
                attributes.encode(out)
            }
            Self::Fsetstat { handle, attributes } => {
                put_string(out, handle)?;
                attributes.encode(out)
            }
            Self::Rename { from, to } => {
                put_string(out, from)?;
                put_string(out, to)
            }
            Self::Symlink { first, second } => {
                put_string(out, first)?;
                put_string(out, second)
            }
            Self::Extended { name, data } => {
                put_string(out, name)?;
                out.put_slice(data);
                Ok(())
            }
            Self::Close { handle } | Self::Fstat { handle } | Self::Readdir { handle } => {
                put_string(out, handle)
            }
            Self::Lstat { path }
            | Self::Opendir { path }
            | Self::Remove { path }
            | Self::Rmdir { path }
            | Self::Realpath { path }
            | Self::Stat { path }
            | Self::Readlink { path } => put_string(out, path),
        }
    }
}

impl Reply {
    /// Its type.
    #[must_use]
    pub const fn kind(&self) -> ReplyKind {
        match self {
            Self::Status(_) => ReplyKind::Status,
            Self::Handle(_) => ReplyKind::Handle,
            Self::Data(_) => ReplyKind::Data,
            Self::Names(_) => ReplyKind::Names,
            Self::Attributes(_) => ReplyKind::Attributes,
            Self::Extended(_) => ReplyKind::Extended,
        }
    }

    /// Whether a request that wants this kind may be answered so: by it, or by a failure.
    #[must_use]
    pub fn answers(&self, wanted: ReplyKind) -> bool {
        match self {
            Self::Status(status) => wanted == ReplyKind::Status || status.code != StatusCode::OK,
            other => other.kind() == wanted,
        }
    }

    fn parse(code: u8, input: &mut Bytes) -> Result<Self, MessageError> {
        Ok(match code {
            101 => {
                let (code, message) = (StatusCode(number(input)?), text(input)?);
                let _language = string(input)?;
                Self::Status(Status { code, message })
            }
            102 => Self::Handle(string(input)?),
            103 => Self::Data(string(input)?),
            104 => {
                let count = number(input)?;
                let mut names = Vec::new();
                for _ in 0..count {
                    names.push(Name {
                        name: string(input)?,
                        long_name: string(input)?,
                        attributes: Attributes::parse(input)?,
                    });
                }
                Self::Names(names)
            }
            105 => Self::Attributes(Attributes::parse(input)?),
            201 => Self::Extended(input.split_off(0)),
            code => return Err(MessageError::Code(code)),
        })
    }

    fn encode(&self, id: u32, out: &mut BytesMut) -> Result<(), MessageError> {
        let code = match self {
            Self::Status(_) => 101,
            Self::Handle(_) => 102,
            Self::Data(_) => 103,
            Self::Names(_) => 104,
            Self::Attributes(_) => 105,
            Self::Extended(_) => 201,
        };
        out.put_u8(code);
        out.put_u32(id);
        match self {
            Self::Status(status) => {
                out.put_u32(status.code.0);
                put_string(out, status.message.as_bytes())?;
                put_string(out, b"")?;
            }
            Self::Handle(bytes) | Self::Data(bytes) => put_string(out, bytes)?,
            Self::Names(names) => {
                out.put_u32(u32::try_from(names.len()).map_err(|_| MessageError::TooLong)?);
                for name in names {
                    put_string(out, &name.name)?;
                    put_string(out, &name.long_name)?;
                    name.attributes.encode(out)?;
                }
            }
            Self::Attributes(attributes) => attributes.encode(out)?,
            Self::Extended(data) => out.put_slice(data),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
