//! What a server sends, apart from authentication, reports and rows.

use bytes::{BufMut as _, BytesMut};
use nom::number::complete::{be_i32, be_u8, be_u32};

use super::authentication::Authentication;
use super::frontend::{CopyData, CopyDone};
use super::report::{ErrorResponse, NoticeResponse};
use super::row::{DataRow, RowDescription};
use super::startup::{key, put_key};
use super::tag::backend as tag;
use super::wire::{
    Element, EncodeError, Format, List, Message, MessageError, Oid, Parsed, Value, fail,
    put_string, string, utf8,
};
use super::{empty_messages, message_enum};

/// BackendKeyData: what a client needs to cancel.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BackendKeyData<'a> {
    /// Process id of this backend.
    pub process_id: i32,
    /// Secret key: 4 bytes in protocol 3.0, up to 256 from 3.2 on.
    pub key: &'a [u8],
}

impl std::fmt::Debug for BackendKeyData<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BackendKeyData")
            .field("process_id", &self.process_id)
            .finish_non_exhaustive()
    }
}

impl<'a> Message<'a> for BackendKeyData<'a> {
    const TAG: u8 = tag::BACKEND_KEY_DATA;

    fn read(input: &'a [u8]) -> Parsed<'a, Self> {
        let (input, process_id) = be_i32(input)?;
        let (input, key) = key(input)?;
        Ok((input, Self { process_id, key }))
    }

    fn write(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        out.put_i32(self.process_id);
        put_key(out, self.key)
    }
}

/// ParameterStatus: a setting the client should know, at login and whenever it changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParameterStatus<'a> {
    /// The setting.
    pub name: &'a [u8],
    /// Its value.
    pub value: &'a [u8],
}

impl<'a> Message<'a> for ParameterStatus<'a> {
    const TAG: u8 = tag::PARAMETER_STATUS;

    fn read(input: &'a [u8]) -> Parsed<'a, Self> {
        let (input, name) = string(input)?;
        let (input, value) = string(input)?;
        Ok((input, Self { name, value }))
    }

    fn write(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        put_string(out, self.name)?;
        put_string(out, self.value)
    }
}

/// Where a session stands between statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionStatus {
    /// `I`: in no transaction block.
    Idle,
    /// `T`: in a transaction block.
    InTransaction,
    /// `E`: in a transaction block that failed; only its end is accepted.
    Failed,
}

/// ReadyForQuery: the exchange is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadyForQuery {
    /// Where the session stands.
    pub status: TransactionStatus,
}

impl<'a> Message<'a> for ReadyForQuery {
    const TAG: u8 = tag::READY_FOR_QUERY;

    fn read(input: &'a [u8]) -> Parsed<'a, Self> {
        let (input, code) = be_u8(input)?;
        let status = match code {
            b'I' => TransactionStatus::Idle,
            b'T' => TransactionStatus::InTransaction,
            b'E' => TransactionStatus::Failed,
            code => {
                return fail(MessageError::Undefined {
                    field: "transaction status",
                    value: code.into(),
                });
            }
        };
        Ok((input, Self { status }))
    }

    fn write(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        out.put_u8(match self.status {
            TransactionStatus::Idle => b'I',
            TransactionStatus::InTransaction => b'T',
            TransactionStatus::Failed => b'E',
        });
        Ok(())
    }
}

/// CommandComplete: a statement succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommandComplete<'a> {
    /// What was done, such as `SELECT 5` or `CREATE TABLE`.
    pub tag: &'a [u8],
}

impl CommandComplete<'_> {
    /// Rows returned or affected, for a command that counts them.
    #[must_use]
    pub fn rows(&self) -> Option<u64> {
        let mut words = utf8(self.tag).ok()?.split(' ');
        let count = match (words.next()?, words.next()?, words.next()) {
            ("INSERT", _oid, Some(count)) => count,
            ("SELECT" | "DELETE" | "UPDATE" | "MERGE" | "MOVE" | "FETCH" | "COPY", count, None) => {
                count
            }
            _ => return None,
        };
        // `parse` alone would take a sign.
        count
            .bytes()
            .all(|byte| byte.is_ascii_digit())
            .then(|| count.parse().ok())?
    }
}

impl<'a> Message<'a> for CommandComplete<'a> {
    const TAG: u8 = tag::COMMAND_COMPLETE;

    fn read(input: &'a [u8]) -> Parsed<'a, Self> {
        let (input, tag) = string(input)?;
        Ok((input, Self { tag }))
    }

    fn write(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        put_string(out, self.tag)
    }
}

/// ParameterDescription: the parameters of a prepared statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParameterDescription<'a> {
    /// Their types in order.
    pub types: List<'a, Oid>,
}

impl<'a> Message<'a> for ParameterDescription<'a> {
    const TAG: u8 = tag::PARAMETER_DESCRIPTION;

    fn read(input: &'a [u8]) -> Parsed<'a, Self> {
        List::read(input).map(|(input, types)| (input, Self { types }))
    }

    fn write(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        self.types.write(out);
        Ok(())
    }
}

/// NotificationResponse: what a NOTIFY said; comes at any time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotificationResponse<'a> {
    /// Process id of the notifying backend.
    pub process_id: i32,
    /// The channel.
    pub channel: &'a [u8],
    /// The payload; may be any data of the database.
    pub payload: &'a [u8],
}

impl<'a> Message<'a> for NotificationResponse<'a> {
    const TAG: u8 = tag::NOTIFICATION_RESPONSE;

    fn read(input: &'a [u8]) -> Parsed<'a, Self> {
        let (input, process_id) = be_i32(input)?;
        let (input, channel) = string(input)?;
        let (input, payload) = string(input)?;
        Ok((
            input,
            Self {
                process_id,
                channel,
                payload,
            },
        ))
    }

    fn write(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        out.put_i32(self.process_id);
        put_string(out, self.channel)?;
        put_string(out, self.payload)
    }
}

/// NegotiateProtocolVersion: the server is older than the client hoped.
///
/// "Message Formats" calls the first field the newest *minor* version; the server sends the full
/// version number in it (`SendNegotiateProtocolVersion` in `backend_startup.c`), and so it is a
/// number here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NegotiateProtocolVersion<'a> {
    /// Newest version the server supports.
    pub newest: u32,
    /// Names of `_pq_.` startup parameters it does not know.
    pub unknown_options: Vec<&'a [u8]>,
}

impl<'a> Message<'a> for NegotiateProtocolVersion<'a> {
    const TAG: u8 = tag::NEGOTIATE_PROTOCOL_VERSION;

    fn read(input: &'a [u8]) -> Parsed<'a, Self> {
        let (input, newest) = be_u32(input)?;
        let (mut input, count) = be_i32(input)?;
        let count = match u32::try_from(count) {
            Ok(count) => count,
            Err(_) => {
                return fail(MessageError::Undefined {
                    field: "option count",
                    value: count.into(),
                });
            }
        };
        // Grows with the strings that are there, not with the count.
        let mut unknown_options = Vec::new();
        for _ in 0..count {
            let (rest, option) = string(input)?;
            unknown_options.push(option);
            input = rest;
        }
        Ok((
            input,
            Self {
                newest,
                unknown_options,
            },
        ))
    }

    fn write(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        out.put_u32(self.newest);
        out.put_i32(i32::try_from(self.unknown_options.len()).map_err(|_| EncodeError::TooLong)?);
        self.unknown_options
            .iter()
            .try_for_each(|option| put_string(out, option))
    }
}

/// FunctionCallResponse: the result of a FunctionCall.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FunctionCallResponse<'a> {
    /// The function's result.
    pub value: Value<'a>,
}

impl<'a> Message<'a> for FunctionCallResponse<'a> {
    const TAG: u8 = tag::FUNCTION_CALL_RESPONSE;

    fn read(input: &'a [u8]) -> Parsed<'a, Self> {
        Element::read(input).map(|(input, value)| (input, Self { value }))
    }

    fn write(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        Element::write(&self.value, out)
    }
}

macro_rules! copy_responses {
    ($($(#[$meta:meta])* $name:ident = $tag:expr;)+) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct $name<'a> {
            /// How rows are written.
            pub format: Format,
            /// How each column is; all text when `format` is.
            pub columns: List<'a, Format>,
        }

        impl<'a> Message<'a> for $name<'a> {
            const TAG: u8 = $tag;

            fn read(input: &'a [u8]) -> Parsed<'a, Self> {
                let (input, code) = be_u8(input)?;
                let format = Format::from_code(code).map_err(nom::Err::Error)?;
                let (input, columns) = List::read(input)?;
                Ok((input, Self { format, columns }))
            }

            fn write(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
                out.put_u8(self.format.code());
                self.columns.write(out);
                Ok(())
            }
        }
    )+};
}

copy_responses! {
    /// CopyInResponse: the server waits for rows.
    CopyInResponse = tag::COPY_IN_RESPONSE;
    /// CopyOutResponse: rows follow.
    CopyOutResponse = tag::COPY_OUT_RESPONSE;
    /// CopyBothResponse: a replication stream begins.
    CopyBothResponse = tag::COPY_BOTH_RESPONSE;
}

empty_messages! {
    /// ParseComplete
    ParseComplete = tag::PARSE_COMPLETE;
    /// BindComplete
    BindComplete = tag::BIND_COMPLETE;
    /// CloseComplete
    CloseComplete = tag::CLOSE_COMPLETE;
    /// EmptyQueryResponse: there was no statement in the text.
    EmptyQueryResponse = tag::EMPTY_QUERY_RESPONSE;
    /// NoData: what was described returns no rows.
    NoData = tag::NO_DATA;
    /// PortalSuspended: Execute reached its row limit.
    PortalSuspended = tag::PORTAL_SUSPENDED;
}

message_enum! {
    /// Any message of a server.
    Backend<'a> {
        /// Authentication, of any kind
        Authentication(Authentication<'a>),
        /// BackendKeyData
        BackendKeyData(BackendKeyData<'a>),
        /// BindComplete
        BindComplete(BindComplete),
        /// CloseComplete
        CloseComplete(CloseComplete),
        /// CommandComplete
        CommandComplete(CommandComplete<'a>),
        /// CopyBothResponse
        CopyBothResponse(CopyBothResponse<'a>),
        /// CopyData
        CopyData(CopyData<'a>),
        /// CopyDone
        CopyDone(CopyDone),
        /// CopyInResponse
        CopyInResponse(CopyInResponse<'a>),
        /// CopyOutResponse
        CopyOutResponse(CopyOutResponse<'a>),
        /// DataRow
        DataRow(DataRow<'a>),
        /// EmptyQueryResponse
        EmptyQueryResponse(EmptyQueryResponse),
        /// ErrorResponse
        ErrorResponse(ErrorResponse<'a>),
        /// FunctionCallResponse
        FunctionCallResponse(FunctionCallResponse<'a>),
        /// NegotiateProtocolVersion
        NegotiateProtocolVersion(NegotiateProtocolVersion<'a>),
        /// NoData
        NoData(NoData),
        /// NoticeResponse
        NoticeResponse(NoticeResponse<'a>),
        /// NotificationResponse
        NotificationResponse(NotificationResponse<'a>),
        /// ParameterDescription
        ParameterDescription(ParameterDescription<'a>),
        /// ParameterStatus
        ParameterStatus(ParameterStatus<'a>),
        /// ParseComplete
        ParseComplete(ParseComplete),
        /// PortalSuspended
        PortalSuspended(PortalSuspended),
        /// ReadyForQuery
        ReadyForQuery(ReadyForQuery),
        /// RowDescription
        RowDescription(RowDescription<'a>),
    }
}
