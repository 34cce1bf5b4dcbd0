//! The tags of all messages, and how long a message of each may be.
//!
//! Source: PostgreSQL 18, "Message Formats"; lengths from `SocketBackend` in `tcop/postgres.c` for
//! what a server takes, from `pqParseInput3` in `fe-protocol3.c` for what libpq takes.

use crate::postgres::frame::LengthRule;

/// Tags a client sends.
pub mod frontend {
    /// Bind
    pub const BIND: u8 = b'B';
    /// Close
    pub const CLOSE: u8 = b'C';
    /// CopyData
    pub const COPY_DATA: u8 = b'd';
    /// CopyDone
    pub const COPY_DONE: u8 = b'c';
    /// CopyFail
    pub const COPY_FAIL: u8 = b'f';
    /// Describe
    pub const DESCRIBE: u8 = b'D';
    /// Execute
    pub const EXECUTE: u8 = b'E';
    /// Flush
    pub const FLUSH: u8 = b'H';
    /// FunctionCall
    pub const FUNCTION_CALL: u8 = b'F';
    /// GSSResponse, PasswordMessage, SASLInitialResponse and SASLResponse: which, only the
    /// authentication under way tells.
    pub const AUTHENTICATION_RESPONSE: u8 = b'p';
    /// Parse
    pub const PARSE: u8 = b'P';
    /// Query
    pub const QUERY: u8 = b'Q';
    /// Sync
    pub const SYNC: u8 = b'S';
    /// Terminate
    pub const TERMINATE: u8 = b'X';
}

/// Tags a server sends.
pub mod backend {
    /// Every Authentication message; its kind is in the body.
    pub const AUTHENTICATION: u8 = b'R';
    /// BackendKeyData
    pub const BACKEND_KEY_DATA: u8 = b'K';
    /// BindComplete
    pub const BIND_COMPLETE: u8 = b'2';
    /// CloseComplete
    pub const CLOSE_COMPLETE: u8 = b'3';
    /// CommandComplete
    pub const COMMAND_COMPLETE: u8 = b'C';
    /// CopyBothResponse
    pub const COPY_BOTH_RESPONSE: u8 = b'W';
    /// CopyData
    pub const COPY_DATA: u8 = b'd';
    /// CopyDone
    pub const COPY_DONE: u8 = b'c';
    /// CopyInResponse
    pub const COPY_IN_RESPONSE: u8 = b'G';
    /// CopyOutResponse
    pub const COPY_OUT_RESPONSE: u8 = b'H';
    /// DataRow
    pub const DATA_ROW: u8 = b'D';
    /// EmptyQueryResponse
    pub const EMPTY_QUERY_RESPONSE: u8 = b'I';
    /// ErrorResponse
    pub const ERROR_RESPONSE: u8 = b'E';
    /// FunctionCallResponse
    pub const FUNCTION_CALL_RESPONSE: u8 = b'V';
    /// NegotiateProtocolVersion
    pub const NEGOTIATE_PROTOCOL_VERSION: u8 = b'v';
    /// NoData
    pub const NO_DATA: u8 = b'n';
    /// NoticeResponse
    pub const NOTICE_RESPONSE: u8 = b'N';
    /// NotificationResponse
    pub const NOTIFICATION_RESPONSE: u8 = b'A';
    /// ParameterDescription
    pub const PARAMETER_DESCRIPTION: u8 = b't';
    /// ParameterStatus
    pub const PARAMETER_STATUS: u8 = b'S';
    /// ParseComplete
    pub const PARSE_COMPLETE: u8 = b'1';
    /// PortalSuspended
    pub const PORTAL_SUSPENDED: u8 = b's';
    /// ReadyForQuery
    pub const READY_FOR_QUERY: u8 = b'Z';
    /// RowDescription
    pub const ROW_DESCRIPTION: u8 = b'T';
}

/// `PQ_SMALL_MESSAGE_LIMIT` in `libpq/libpq.h`: messages of names and numbers only.
const FRONTEND_SHORT_BYTES_MAX: usize = 10_000;

/// `PG_MAX_AUTH_TOKEN_LENGTH` in `libpq/auth.h`: any answer to an authentication request.
const AUTHENTICATION_BYTES_MAX: usize = 65_535;

/// What libpq allows a message that is not on its list of long ones.
const BACKEND_SHORT_BYTES_MAX: usize = 30_000;

/// How long a client's message of this tag may be, as the server has it; `None` for an unknown tag.
///
/// Bind and CopyData may stream.
#[must_use]
pub fn frontend_length(tag: u8) -> Option<LengthRule> {
    use frontend::{
        AUTHENTICATION_RESPONSE, BIND, CLOSE, COPY_DATA, COPY_DONE, COPY_FAIL, DESCRIBE, EXECUTE,
        FLUSH, FUNCTION_CALL, PARSE, QUERY, SYNC, TERMINATE,
    };
    match tag {
        BIND | COPY_DATA => Some(LengthRule::Streamed),
        PARSE | QUERY | FUNCTION_CALL => Some(LengthRule::Whole),
        AUTHENTICATION_RESPONSE => Some(LengthRule::AtMost(AUTHENTICATION_BYTES_MAX)),
        CLOSE | COPY_DONE | COPY_FAIL | DESCRIBE | EXECUTE | FLUSH | SYNC | TERMINATE => {
            Some(LengthRule::AtMost(FRONTEND_SHORT_BYTES_MAX))
        }
        _ => None,
    }
}

/// How long a server's message of this tag may be; `None` for an unknown tag.
///
/// DataRow and CopyData may stream.
#[must_use]
pub fn backend_length(tag: u8) -> Option<LengthRule> {
    use backend::{
        AUTHENTICATION, BACKEND_KEY_DATA, BIND_COMPLETE, CLOSE_COMPLETE, COMMAND_COMPLETE,
        COPY_BOTH_RESPONSE, COPY_DATA, COPY_DONE, COPY_IN_RESPONSE, COPY_OUT_RESPONSE, DATA_ROW,
        EMPTY_QUERY_RESPONSE, ERROR_RESPONSE, FUNCTION_CALL_RESPONSE, NEGOTIATE_PROTOCOL_VERSION,
        NO_DATA, NOTICE_RESPONSE, NOTIFICATION_RESPONSE, PARAMETER_DESCRIPTION, PARAMETER_STATUS,
        PARSE_COMPLETE, PORTAL_SUSPENDED, READY_FOR_QUERY, ROW_DESCRIPTION,
    };
    match tag {
        DATA_ROW | COPY_DATA => Some(LengthRule::Streamed),
        // 65,535 parameter types take 256 KiB, so ParameterDescription counts as long too.
        ROW_DESCRIPTION
        | ERROR_RESPONSE
        | NOTICE_RESPONSE
        | NOTIFICATION_RESPONSE
        | FUNCTION_CALL_RESPONSE
        | PARAMETER_DESCRIPTION => Some(LengthRule::Whole),
        AUTHENTICATION
        | BACKEND_KEY_DATA
        | BIND_COMPLETE
        | CLOSE_COMPLETE
        | COMMAND_COMPLETE
        | COPY_BOTH_RESPONSE
        | COPY_DONE
        | COPY_IN_RESPONSE
        | COPY_OUT_RESPONSE
        | EMPTY_QUERY_RESPONSE
        | NEGOTIATE_PROTOCOL_VERSION
        | NO_DATA
        | PARAMETER_STATUS
        | PARSE_COMPLETE
        | PORTAL_SUSPENDED
        | READY_FOR_QUERY => Some(LengthRule::AtMost(BACKEND_SHORT_BYTES_MAX)),
        _ => None,
    }
}
