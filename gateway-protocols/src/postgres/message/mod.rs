//! Messages: what is inside a frame.
//!
//! Every type borrows from the body it was parsed from, and strings stay bytes until [`utf8`] has
//! looked at them. A body must be consumed to its last byte. Lists count up to 65,535 elements, are
//! checked once and stay where they are; nothing is allocated by a count.
//!
//! `parse` and `encode` are each other's inverse: what parses encodes to the same bytes.

mod authentication;
mod backend;
mod frontend;
mod report;
mod row;
mod startup;
pub mod tag;
#[cfg(test)]
mod tests;
mod wire;

pub use authentication::{Authentication, Mechanisms};
pub use backend::{
    Backend, BackendKeyData, BindComplete, CloseComplete, CommandComplete, CopyBothResponse,
    CopyInResponse, CopyOutResponse, EmptyQueryResponse, FunctionCallResponse,
    NegotiateProtocolVersion, NoData, NotificationResponse, ParameterDescription, ParameterStatus,
    ParseComplete, PortalSuspended, ReadyForQuery, TransactionStatus,
};
pub use frontend::{
    AuthenticationResponse, Bind, Close, CopyData, CopyDone, CopyFail, Describe, Execute, Flush,
    Frontend, FunctionCall, Named, Parse, PasswordMessage, Query, SaslInitialResponse,
    SaslResponse, Sync, Terminate, bind_names,
};
pub use report::{
    ErrorResponse, NoticeResponse, Report, ReportField, ReportFields, Severity, SqlState,
};
pub use row::{CellAction, DataRow, Field, RowDescription, remask};
pub use startup::{CancelRequest, Startup, StartupPacket, Version};
pub use tag::{backend_length, frontend_length};
pub use wire::{
    Element, Elements, EncodeError, Format, List, Message, MessageError, Oid, Parsed, Value, utf8,
};

/// Messages without fields.
macro_rules! empty_messages {
    ($($(#[$meta:meta])* $name:ident = $tag:expr;)+) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct $name;

        impl<'a> Message<'a> for $name {
            const TAG: u8 = $tag;

            fn read(input: &'a [u8]) -> Parsed<'a, Self> {
                Ok((input, Self))
            }

            fn write(&self, _: &mut BytesMut) -> Result<(), EncodeError> {
                Ok(())
            }
        }
    )+};
}

/// Messages whose body is one run of bytes.
macro_rules! raw_messages {
    ($($(#[$meta:meta])* $name:ident = $tag:expr;)+) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq)]
        pub struct $name<'a>(
            /// The body.
            pub &'a [u8],
        );

        // Secrets or anybody's data: what prints them is their length.
        impl std::fmt::Debug for $name<'_> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!(stringify!($name), "({} bytes)"), self.0.len())
            }
        }

        impl<'a> Message<'a> for $name<'a> {
            const TAG: u8 = $tag;

            fn read(input: &'a [u8]) -> Parsed<'a, Self> {
                let (input, body) = rest(input)?;
                Ok((input, Self(body)))
            }

            fn write(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
                out.extend_from_slice(self.0);
                Ok(())
            }
        }
    )+};
}

/// One direction's messages, told apart by their tags.
macro_rules! message_enum {
    ($(#[$meta:meta])* $name:ident<'a> { $($(#[$doc:meta])* $variant:ident($message:ty),)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum $name<'a> {
            $($(#[$doc])* $variant($message),)+
        }

        impl<'a> $name<'a> {
            /// Parses `body`, the bytes behind the header, as the message `tag` says it is.
            ///
            /// # Errors
            /// [`MessageError::Tag`] for an unknown tag, or what the message's own `parse` gives.
            pub fn parse(tag: u8, body: &'a [u8]) -> Result<Self, MessageError> {
                $(if tag == <$message as Message<'_>>::TAG {
                    return Message::parse(body).map(Self::$variant);
                })+
                Err(MessageError::Tag(tag))
            }

            /// Appends the message with its header to `out`.
            ///
            /// # Errors
            /// An [`EncodeError`]; `out` is then as it was.
            pub fn encode(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
                match self {
                    $(Self::$variant(message) => message.encode(out),)+
                }
            }
        }
    };
}

use {empty_messages, message_enum, raw_messages};
