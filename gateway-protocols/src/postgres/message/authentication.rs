//! What a server asks of a client before it lets it in.

use bytes::{BufMut as _, BytesMut};
use nom::number::complete::be_i32;

use super::tag::backend as tag;
use super::wire::{EncodeError, Message, MessageError, Parsed, fail, put_string, rest, string};

/// All Authentication messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authentication<'a> {
    /// AuthenticationOk: the client is in.
    Ok,
    /// AuthenticationKerberosV5
    KerberosV5,
    /// AuthenticationCleartextPassword
    CleartextPassword,
    /// AuthenticationMD5Password
    Md5Password {
        /// The salt to digest the password with.
        salt: [u8; 4],
    },
    /// AuthenticationGSS
    Gss,
    /// AuthenticationGSSContinue, with GSSAPI or SSPI data
    GssContinue(&'a [u8]),
    /// AuthenticationSSPI
    Sspi,
    /// AuthenticationSASL
    Sasl(Mechanisms<'a>),
    /// AuthenticationSASLContinue, with the mechanism's data
    SaslContinue(&'a [u8]),
    /// AuthenticationSASLFinal, with the mechanism's data
    SaslFinal(&'a [u8]),
}

/// Names of SASL mechanisms, in the server's order of preference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mechanisms<'a> {
    /// Non-empty strings, each with its terminator.
    strings: &'a [u8],
}

impl<'a> Mechanisms<'a> {
    /// Writes `names` into `buffer`, which is emptied first, and lists them from there.
    ///
    /// # Errors
    /// [`EncodeError::EmptyName`] or [`EncodeError::InteriorNul`].
    pub fn build(
        buffer: &'a mut BytesMut,
        names: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Self, EncodeError> {
        buffer.clear();
        for name in names {
            if name.is_empty() {
                return Err(EncodeError::EmptyName);
            }
            put_string(buffer, name)?;
        }
        Ok(Self { strings: buffer })
    }

    /// The names.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut strings = self.strings;
        std::iter::from_fn(move || {
            let (rest, name) = string(strings).ok()?;
            strings = rest;
            Some(name)
        })
    }

    fn read(input: &'a [u8]) -> Parsed<'a, Self> {
        let mut behind = input;
        loop {
            let before = behind;
            let (after, name) = string(before)?;
            if name.is_empty() {
                let (strings, _) = input.split_at(input.len() - before.len());
                return Ok((after, Self { strings }));
            }
            behind = after;
        }
    }
}

impl<'a> Message<'a> for Authentication<'a> {
    const TAG: u8 = tag::AUTHENTICATION;

    fn read(input: &'a [u8]) -> Parsed<'a, Self> {
        let (input, kind) = be_i32(input)?;
        match kind {
            0 => Ok((input, Self::Ok)),
            2 => Ok((input, Self::KerberosV5)),
            3 => Ok((input, Self::CleartextPassword)),
            5 => match input.split_first_chunk() {
                Some((&salt, input)) => Ok((input, Self::Md5Password { salt })),
                None => fail(MessageError::Truncated),
            },
            7 => Ok((input, Self::Gss)),
            8 => rest(input).map(|(input, data)| (input, Self::GssContinue(data))),
            9 => Ok((input, Self::Sspi)),
            10 => {
                Mechanisms::read(input).map(|(input, mechanisms)| (input, Self::Sasl(mechanisms)))
            }
            11 => rest(input).map(|(input, data)| (input, Self::SaslContinue(data))),
            12 => rest(input).map(|(input, data)| (input, Self::SaslFinal(data))),
            kind => fail(MessageError::Undefined {
                field: "authentication request",
                value: kind.into(),
            }),
        }
    }

    fn write(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        let (kind, data): (i32, &[u8]) = match self {
            Self::Ok => (0, &[]),
            Self::KerberosV5 => (2, &[]),
            Self::CleartextPassword => (3, &[]),
            Self::Md5Password { salt } => (5, salt),
            Self::Gss => (7, &[]),
            Self::GssContinue(data) => (8, data),
            Self::Sspi => (9, &[]),
            Self::Sasl(mechanisms) => (10, mechanisms.strings),
            Self::SaslContinue(data) => (11, data),
            Self::SaslFinal(data) => (12, data),
        };
        out.put_i32(kind);
        out.extend_from_slice(data);
        if matches!(self, Self::Sasl(_)) {
            out.put_u8(0);
        }
        Ok(())
    }
}
