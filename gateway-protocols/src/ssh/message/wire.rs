//! What all messages are made of (RFC 4251, section 5, "Data Type Representations Used in the SSH
//! Protocols").

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut, TryGetError};

/// Why bytes are not the message they claim to be, or a message has no bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// The message ends before its fields do.
    #[error("message ends before its fields do")]
    Truncated,
    /// Bytes follow the last field.
    #[error("{0} bytes follow the last field of a message")]
    Trailing(usize),
    /// No message of this protocol has this number.
    #[error("unknown message number `{0}`")]
    Code(u8),
    /// A name that isn't 1 to 64 printable ASCII characters (RFC 4251, section 6, "Algorithm and
    /// Method Naming").
    #[error("a name that isn't 1 to 64 printable ASCII characters")]
    Name,
    /// A text that isn't UTF-8.
    #[error("text is not valid UTF-8")]
    NotUtf8,
    /// Terminal modes that don't end as they should.
    #[error("malformed terminal modes")]
    Modes,
    /// File attributes with flags that version 3 doesn't define.
    #[error("undefined attribute flags `{0:#x}`")]
    Attributes(u32),
    /// Longer than its length field can say.
    #[error("length does not fit its field")]
    TooLong,
}

impl From<TryGetError> for MessageError {
    fn from(_: TryGetError) -> Self {
        Self::Truncated
    }
}

pub(super) fn number(input: &mut Bytes) -> Result<u32, MessageError> {
    Ok(input.try_get_u32()?)
}

/// Any byte but zero is true; what is written is 1.
pub(super) fn flag(input: &mut Bytes) -> Result<bool, MessageError> {
    Ok(input.try_get_u8()? != 0)
}

pub(super) fn string(input: &mut Bytes) -> Result<Bytes, MessageError> {
    let len = usize::try_from(number(input)?).map_err(|_| MessageError::Truncated)?;
    if input.len() < len {
        return Err(MessageError::Truncated);
    }
    Ok(input.split_to(len))
}

pub(super) fn text(input: &mut Bytes) -> Result<String, MessageError> {
    let bytes = string(input)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| MessageError::NotUtf8)?;
    Ok(text.to_owned())
}

pub(super) fn name(input: &mut Bytes) -> Result<String, MessageError> {
    let bytes = string(input)?;
    let possible = (1..=64).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic);
    match std::str::from_utf8(&bytes) {
        Ok(name) if possible => Ok(name.to_owned()),
        Ok(_) | Err(_) => Err(MessageError::Name),
    }
}

pub(super) fn put_string(out: &mut BytesMut, bytes: &[u8]) -> Result<(), MessageError> {
    let len = u32::try_from(bytes.len()).map_err(|_| MessageError::TooLong)?;
    out.put_u32(len);
    out.put_slice(bytes);
    Ok(())
}
