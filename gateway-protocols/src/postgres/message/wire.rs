//! The vocabulary all messages are made of: integers, strings, counted lists.

use std::marker::PhantomData;

use bytes::{BufMut as _, BytesMut};
use nom::Parser as _;
use nom::bytes::complete::take;
use nom::error::{ErrorKind, ParseError};
use nom::number::complete::{be_i16, be_u16, be_u32};

/// What a parser returns: the bytes behind the field, and the field.
pub type Parsed<'a, T> = nom::IResult<&'a [u8], T, MessageError>;

/// Why a body is not the message its tag says. The peer broke the protocol; framing is intact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// The body ends before its fields do, or before as many as it counts.
    #[error("message ends before its fields do")]
    Truncated,
    /// Bytes follow the last field, which is also how a zero byte inside a string shows.
    #[error("{0} bytes follow the last field of a message")]
    Trailing(usize),
    /// A string without its terminating zero byte.
    #[error("string without its terminating zero byte")]
    Unterminated,
    /// The length of a value is negative and not -1, which stands for NULL.
    #[error("invalid value length `{0}`")]
    ValueLength(i32),
    /// A field has a value the protocol does not define.
    #[error("undefined {field} `{value}`")]
    Undefined {
        /// The field's name.
        field: &'static str,
        /// What was sent.
        value: i64,
    },
    /// No message has this tag in this direction.
    #[error("unknown message tag `{}`", .0.escape_ascii())]
    Tag(u8),
    /// A startup packet asks for a major version other than 3.
    #[error("unsupported protocol version {major}.{minor}")]
    Version {
        /// Major version.
        major: u16,
        /// Minor version.
        minor: u16,
    },
    /// A startup packet names a parameter twice.
    #[error("startup parameter given twice")]
    DuplicateParameter,
    /// A cancel key shorter than 4 or longer than 256 bytes.
    #[error("cancel key of {0} bytes")]
    KeyLength(usize),
    /// A string is not UTF-8.
    #[error("string is not valid UTF-8")]
    NotUtf8,
}

impl<'a> ParseError<&'a [u8]> for MessageError {
    fn from_error_kind(_: &'a [u8], _: ErrorKind) -> Self {
        // INVARIANT: the only nom parsers used are fixed-size integers and `take`.
        Self::Truncated
    }

    fn append(_: &'a [u8], _: ErrorKind, other: Self) -> Self {
        other
    }
}

/// Why a message cannot be written. Nothing of it was: the output is as before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// A string contains a zero byte, which would end it early and start a field of its own.
    #[error("zero byte inside a string")]
    InteriorNul,
    /// A string that ends a list by being empty is an element of it.
    #[error("empty name in a list that an empty name ends")]
    EmptyName,
    /// A length or count does not fit its field.
    #[error("length does not fit its field")]
    TooLong,
    /// A cancel key shorter than 4 or longer than 256 bytes.
    #[error("cancel key of {0} bytes")]
    KeyLength(usize),
}

/// One kind of message: its tag and the layout of its body.
///
/// Layouts are those of "Message Formats" in PostgreSQL 18's "Frontend/Backend Protocol".
pub trait Message<'a>: Sized {
    /// The byte that starts this message.
    const TAG: u8;

    /// Reads the fields at the start of `input`; combines with other `nom` parsers.
    ///
    /// # Errors
    /// A [`MessageError`] other than [`MessageError::Trailing`].
    fn read(input: &'a [u8]) -> Parsed<'a, Self>;

    /// Appends the fields to `out`.
    ///
    /// # Errors
    /// An [`EncodeError`]; `out` may then end in a partial body.
    fn write(&self, out: &mut BytesMut) -> Result<(), EncodeError>;

    /// Parses `body`, the bytes behind the header, all of which must belong to the message.
    ///
    /// # Errors
    /// Any [`MessageError`].
    fn parse(body: &'a [u8]) -> Result<Self, MessageError> {
        complete(Self::read(body))
    }

    /// Appends the message with its header to `out`.
    ///
    /// # Errors
    /// An [`EncodeError`]; `out` is then as it was.
    fn encode(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        framed(Some(Self::TAG), out, |out| self.write(out))
    }
}

/// The result of a parser that must have consumed all its input.
pub(super) fn complete<T>(parsed: Parsed<'_, T>) -> Result<T, MessageError> {
    match parsed {
        Ok(([], value)) => Ok(value),
        Ok((rest, _)) => Err(MessageError::Trailing(rest.len())),
        Err(nom::Err::Error(error) | nom::Err::Failure(error)) => Err(error),
        Err(nom::Err::Incomplete(_)) => Err(MessageError::Truncated),
    }
}

/// A parser's way to fail.
pub(super) fn fail<'a, T>(error: MessageError) -> Parsed<'a, T> {
    Err(nom::Err::Error(error))
}

/// Appends tag, length and what `write` appends; takes all of it back if that fails.
pub(super) fn framed(
    tag: Option<u8>,
    out: &mut BytesMut,
    write: impl FnOnce(&mut BytesMut) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    let start = out.len();
    out.extend(tag);
    let length_at = out.len();
    out.put_i32(0);
    let result = write(out).and_then(|()| patch_length(out, length_at, length_at));
    if result.is_err() {
        out.truncate(start);
    }
    result
}

/// Writes the number of bytes from `from` to the end of `out` into the length field at `at`.
pub(super) fn patch_length(out: &mut BytesMut, at: usize, from: usize) -> Result<(), EncodeError> {
    let len = out.len().checked_sub(from).ok_or(EncodeError::TooLong)?;
    let field = out
        .get_mut(at..)
        .and_then(|bytes| bytes.first_chunk_mut())
        .ok_or(EncodeError::TooLong)?;
    *field = i32::try_from(len)
        .map_err(|_| EncodeError::TooLong)?
        .to_be_bytes();
    Ok(())
}

/// `bytes` as text.
///
/// # Errors
/// [`MessageError::NotUtf8`]; never a lossy conversion.
pub fn utf8(bytes: &[u8]) -> Result<&str, MessageError> {
    std::str::from_utf8(bytes).map_err(|_| MessageError::NotUtf8)
}

/// A zero-terminated string, without its terminator.
pub(super) fn string(input: &[u8]) -> Parsed<'_, &[u8]> {
    let parts = memchr::memchr(0, input).and_then(|end| input.split_at_checked(end));
    match parts {
        Some((string, [_, rest @ ..])) => Ok((rest, string)),
        Some((_, [])) | None => fail(MessageError::Unterminated),
    }
}

pub(super) fn put_string(out: &mut BytesMut, string: &[u8]) -> Result<(), EncodeError> {
    if memchr::memchr(0, string).is_some() {
        return Err(EncodeError::InteriorNul);
    }
    out.reserve(string.len() + 1);
    out.put_slice(string);
    out.put_u8(0);
    Ok(())
}

/// All that is left.
pub(super) fn rest(input: &[u8]) -> Parsed<'_, &[u8]> {
    take(input.len()).parse(input)
}

/// Text or binary: how a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The type's text form.
    Text,
    /// The type's binary form.
    Binary,
}

impl Format {
    pub(super) fn code(self) -> u8 {
        match self {
            Self::Text => 0,
            Self::Binary => 1,
        }
    }

    pub(super) fn from_code(code: impl Into<i64>) -> Result<Self, MessageError> {
        match code.into() {
            0 => Ok(Self::Text),
            1 => Ok(Self::Binary),
            value => Err(MessageError::Undefined {
                field: "format code",
                value,
            }),
        }
    }
}

/// What a [`List`] can hold.
pub trait Element<'a>: Sized {
    /// Reads one element.
    ///
    /// # Errors
    /// A [`MessageError`] other than [`MessageError::Trailing`].
    fn read(input: &'a [u8]) -> Parsed<'a, Self>;

    /// Appends the element to `out`.
    ///
    /// # Errors
    /// An [`EncodeError`]; `out` may then end in a partial element.
    fn write(&self, out: &mut BytesMut) -> Result<(), EncodeError>;
}

impl<'a> Element<'a> for Format {
    fn read(input: &'a [u8]) -> Parsed<'a, Self> {
        let (input, code) = be_i16(input)?;
        Ok((input, Self::from_code(code).map_err(nom::Err::Error)?))
    }

    fn write(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        out.put_i16(self.code().into());
        Ok(())
    }
}

/// The object identifier of a type, relation or function.
pub type Oid = u32;

impl<'a> Element<'a> for Oid {
    fn read(input: &'a [u8]) -> Parsed<'a, Self> {
        be_u32(input)
    }

    fn write(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        out.put_u32(*self);
        Ok(())
    }
}

/// A value and its length; `None` is NULL, written as length -1.
pub type Value<'a> = Option<&'a [u8]>;

impl<'a> Element<'a> for Value<'a> {
    // By hand: this is the loop all rows go through.
    #[inline]
    fn read(input: &'a [u8]) -> Parsed<'a, Self> {
        let Some((&field, rest)) = input.split_first_chunk() else {
            return fail(MessageError::Truncated);
        };
        let length = i32::from_be_bytes(field);
        match usize::try_from(length) {
            Ok(len) => match rest.split_at_checked(len) {
                Some((value, rest)) => Ok((rest, Some(value))),
                None => fail(MessageError::Truncated),
            },
            Err(_) if length == -1 => Ok((rest, None)),
            Err(_) => fail(MessageError::ValueLength(length)),
        }
    }

    fn write(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        let Some(value) = self else {
            out.put_i32(-1);
            return Ok(());
        };
        let len = i32::try_from(value.len()).map_err(|_| EncodeError::TooLong)?;
        out.reserve(value.len() + 4);
        out.put_i32(len);
        out.put_slice(value);
        Ok(())
    }
}

/// Up to 65,535 elements behind a 16-bit count, still in the bytes they came in.
///
/// All elements were checked when the list was read; iterating reads them again and allocates
/// nothing.
pub struct List<'a, T> {
    count: u16,
    elements: &'a [u8],
    of: PhantomData<fn() -> T>,
}

// Elements may be anybody's data: what prints them is their number.
impl<T> std::fmt::Debug for List<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "List({} elements, {} bytes)",
            self.count,
            self.elements.len()
        )
    }
}

impl<T> Clone for List<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for List<'_, T> {}

impl<T> PartialEq for List<'_, T> {
    fn eq(&self, other: &Self) -> bool {
        (self.count, self.elements) == (other.count, other.elements)
    }
}

impl<T> Eq for List<'_, T> {}

impl<T> Default for List<'_, T> {
    fn default() -> Self {
        Self {
            count: 0,
            elements: &[],
            of: PhantomData,
        }
    }
}

impl<'a, T: Element<'a>> List<'a, T> {
    /// Writes `elements` into `buffer`, which is emptied first, and lists them from there.
    ///
    /// # Errors
    /// [`EncodeError::TooLong`] past 65,535 elements, or what an element's `write` gives.
    pub fn build(
        buffer: &'a mut BytesMut,
        elements: impl IntoIterator<Item = T>,
    ) -> Result<Self, EncodeError> {
        buffer.clear();
        let mut count: u16 = 0;
        for element in elements {
            count = count.checked_add(1).ok_or(EncodeError::TooLong)?;
            element.write(buffer)?;
        }
        Ok(Self {
            count,
            elements: buffer,
            of: PhantomData,
        })
    }

    /// Elements in the list.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count.into()
    }

    /// The list has no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The elements in order.
    #[must_use]
    pub fn iter(&self) -> Elements<'a, T> {
        Elements {
            left: self.count,
            rest: self.elements,
            of: PhantomData,
        }
    }

    /// The elements as they are on the wire, behind the count.
    #[must_use]
    pub fn as_bytes(&self) -> &'a [u8] {
        self.elements
    }

    pub(super) fn count(&self) -> u16 {
        self.count
    }

    pub(super) fn read(input: &'a [u8]) -> Parsed<'a, Self> {
        let (input, count) = be_u16(input)?;
        let mut rest = input;
        for _ in 0..count {
            (rest, _) = T::read(rest)?;
        }
        let (rest, elements) = take(input.len() - rest.len()).parse(input)?;
        Ok((
            rest,
            Self {
                count,
                elements,
                of: PhantomData,
            },
        ))
    }

    pub(super) fn write(&self, out: &mut BytesMut) {
        out.put_u16(self.count);
        out.extend_from_slice(self.elements);
    }
}

impl<'a, T: Element<'a>> IntoIterator for &List<'a, T> {
    type Item = T;
    type IntoIter = Elements<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Iterates over a [`List`].
#[derive(Clone)]
pub struct Elements<'a, T> {
    left: u16,
    rest: &'a [u8],
    of: PhantomData<fn() -> T>,
}

impl<'a, T: Element<'a>> Iterator for Elements<'a, T> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        self.left = self.left.checked_sub(1)?;
        // INVARIANT: `List` checked every element; none is lost here.
        let (rest, element) = T::read(self.rest).ok()?;
        self.rest = rest;
        Some(element)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left.into(), Some(self.left.into()))
    }
}

impl<'a, T: Element<'a>> ExactSizeIterator for Elements<'a, T> {}
