//! The packets a connection starts with. They have a length but no tag.

use std::collections::BTreeSet;

use bytes::{BufMut as _, BytesMut};
use nom::number::complete::{be_i32, be_u16};

use super::wire::{
    EncodeError, MessageError, Parsed, complete, fail, framed, put_string, rest, string,
};

/// Cancel keys have 4 bytes in protocol 3.0, up to 256 from 3.2 on.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 4..=256;

/// The major number of the request codes that are not versions.
const REQUEST_MAJOR: u16 = 1234;
const CANCEL_MINOR: u16 = 5678;
const SSL_MINOR: u16 = 5679;
const GSS_ENC_MINOR: u16 = 5680;

/// A protocol version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// Major version; only 3 parses.
    pub major: u16,
    /// Minor version: whatever the client asks for.
    pub minor: u16,
}

impl Version {
    /// Protocol 3.0: PostgreSQL 7.4 and later.
    pub const V3_0: Self = Self { major: 3, minor: 0 };
    /// Protocol 3.2: PostgreSQL 18 and later, with long cancel keys.
    pub const V3_2: Self = Self { major: 3, minor: 2 };

    /// As one number: the major version in the upper 16 bits (`PG_PROTOCOL` in `libpq/pqcomm.h`).
    #[must_use]
    pub fn number(self) -> u32 {
        u32::from(self.major) << 16 | u32::from(self.minor)
    }
}

/// The first packet of a connection, or the one after a refused or granted encryption request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartupPacket<'a> {
    /// StartupMessage
    Startup(Startup<'a>),
    /// SSLRequest. Bytes already behind it came in the clear and must not be read as encrypted
    /// (CVE-2021-23222).
    SslRequest,
    /// GSSENCRequest; the same holds.
    GssEncRequest,
    /// CancelRequest
    Cancel(CancelRequest<'a>),
}

/// StartupMessage: who wants to connect to what, with which settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Startup<'a> {
    /// The version the client asks for; minor versions are negotiated.
    pub version: Version,
    /// Names and values in the order sent; no name is empty or repeated.
    pub parameters: Vec<(&'a [u8], &'a [u8])>,
}

impl<'a> Startup<'a> {
    /// The value of a parameter. Names are compared exactly, as the server does.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&'a [u8]> {
        self.parameters
            .iter()
            .find(|(key, _)| *key == name.as_bytes())
            .map(|&(_, value)| value)
    }
}

/// CancelRequest: stop what another connection is doing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CancelRequest<'a> {
    /// The process id from that connection's BackendKeyData.
    pub process_id: i32,
    /// Its secret key: 4 to 256 bytes.
    pub key: &'a [u8],
}

impl std::fmt::Debug for CancelRequest<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CancelRequest")
            .field("process_id", &self.process_id)
            .finish_non_exhaustive()
    }
}

impl<'a> StartupPacket<'a> {
    /// Parses a packet as `decode_startup` gives it, length field included.
    ///
    /// # Errors
    /// [`MessageError::Version`] for a major version other than 3 or an unknown request,
    /// [`MessageError::DuplicateParameter`], and any error of the layout.
    pub fn parse(packet: &'a [u8]) -> Result<Self, MessageError> {
        complete(Self::read(packet.get(4..).unwrap_or_default()))
    }

    fn read(input: &'a [u8]) -> Parsed<'a, Self> {
        let (input, major) = be_u16(input)?;
        let (input, minor) = be_u16(input)?;
        match (major, minor) {
            (REQUEST_MAJOR, SSL_MINOR) => Ok((input, Self::SslRequest)),
            (REQUEST_MAJOR, GSS_ENC_MINOR) => Ok((input, Self::GssEncRequest)),
            (REQUEST_MAJOR, CANCEL_MINOR) => {
                let (input, process_id) = be_i32(input)?;
                let (input, key) = key(input)?;
                Ok((input, Self::Cancel(CancelRequest { process_id, key })))
            }
            (3, _) => {
                let (input, parameters) = parameters(input)?;
                Ok((
                    input,
                    Self::Startup(Startup {
                        version: Version { major, minor },
                        parameters,
                    }),
                ))
            }
            (major, minor) => fail(MessageError::Version { major, minor }),
        }
    }

    /// Appends the packet with its length field to `out`.
    ///
    /// # Errors
    /// An [`EncodeError`]; `out` is then as it was.
    pub fn encode(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        framed(None, out, |out| match self {
            Self::Startup(startup) => {
                put_version(out, startup.version);
                for (name, value) in &startup.parameters {
                    if name.is_empty() {
                        return Err(EncodeError::EmptyName);
                    }
                    put_string(out, name)?;
                    put_string(out, value)?;
                }
                out.put_u8(0);
                Ok(())
            }
            Self::SslRequest => {
                put_version(
                    out,
                    Version {
                        major: REQUEST_MAJOR,
                        minor: SSL_MINOR,
                    },
                );
                Ok(())
            }
            Self::GssEncRequest => {
                put_version(
                    out,
                    Version {
                        major: REQUEST_MAJOR,
                        minor: GSS_ENC_MINOR,
                    },
                );
                Ok(())
            }
            Self::Cancel(cancel) => {
                put_version(
                    out,
                    Version {
                        major: REQUEST_MAJOR,
                        minor: CANCEL_MINOR,
                    },
                );
                out.put_i32(cancel.process_id);
                put_key(out, cancel.key)
            }
        })
    }
}

fn put_version(out: &mut BytesMut, version: Version) {
    out.put_u16(version.major);
    out.put_u16(version.minor);
}

/// Names and values up to an empty name.
fn parameters(mut input: &[u8]) -> Parsed<'_, Vec<(&[u8], &[u8])>> {
    let mut parameters = Vec::new();
    let mut seen = BTreeSet::new();
    loop {
        let (after_name, name) = string(input)?;
        if name.is_empty() {
            return Ok((after_name, parameters));
        }
        let (after_value, value) = string(after_name)?;
        if !seen.insert(name) {
            return fail(MessageError::DuplicateParameter);
        }
        parameters.push((name, value));
        input = after_value;
    }
}

/// A cancel key: all that is left, if that is as long as a key may be.
pub(super) fn key(input: &[u8]) -> Parsed<'_, &[u8]> {
    if !KEY_BYTES.contains(&input.len()) {
        return fail(MessageError::KeyLength(input.len()));
    }
    rest(input)
}

pub(super) fn put_key(out: &mut BytesMut, key: &[u8]) -> Result<(), EncodeError> {
    if !KEY_BYTES.contains(&key.len()) {
        return Err(EncodeError::KeyLength(key.len()));
    }
    out.extend_from_slice(key);
    Ok(())
}
