//! An agent's messages, as bytes.

use bytes::{BufMut as _, Bytes, BytesMut};

use crate::postgres::message::{
    Bind, CancelRequest, Close, CopyData, CopyDone, CopyFail, Describe, EncodeError, Execute,
    Flush, Format, FunctionCall, List, Message as _, Named, Oid, Parse, PasswordMessage, Query,
    Startup, StartupPacket, Sync, Terminate, Version,
};

/// SSLRequest
#[must_use]
pub fn ssl_request() -> Bytes {
    encoded(|out| StartupPacket::SslRequest.encode(out))
}

/// What stands for a ClientHello: a handshake record (RFC 8446, "Record Layer") with nothing in it
/// but the application protocol, empty for none.
#[must_use]
pub fn client_hello(application_protocol: &str) -> Bytes {
    let mut record = BytesMut::from(&[22, 3, 1][..]);
    record.put_u16(u16::try_from(application_protocol.len()).unwrap_or(u16::MAX));
    record.put_slice(application_protocol.as_bytes());
    record.freeze()
}

/// GSSENCRequest
#[must_use]
pub fn gss_request() -> Bytes {
    encoded(|out| StartupPacket::GssEncRequest.encode(out))
}

/// CancelRequest
#[must_use]
pub fn cancel_request(process_id: i32, key: &[u8]) -> Bytes {
    encoded(|out| StartupPacket::Cancel(CancelRequest { process_id, key }).encode(out))
}

/// StartupMessage of version 3.`minor`
#[must_use]
pub fn startup(minor: u16, parameters: &[(&str, &str)]) -> Bytes {
    let parameters = parameters
        .iter()
        .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
        .collect();
    let version = Version { major: 3, minor };
    encoded(|out| {
        StartupPacket::Startup(Startup {
            version,
            parameters,
        })
        .encode(out)
    })
}

/// PasswordMessage
#[must_use]
pub fn password(secret: &str) -> Bytes {
    let password = secret.as_bytes();
    encoded(|out| PasswordMessage { password }.encode(out))
}

/// Query
#[must_use]
pub fn query(text: &str) -> Bytes {
    let text = text.as_bytes();
    encoded(|out| Query { text }.encode(out))
}

/// Parse, with the server choosing all types
#[must_use]
pub fn parse(statement: &str, text: &str) -> Bytes {
    let parse = Parse {
        statement: statement.as_bytes(),
        text: text.as_bytes(),
        parameter_types: List::<Oid>::default(),
    };
    encoded(|out| parse.encode(out))
}

/// Bind, with text parameters and results in one format
#[must_use]
pub fn bind(portal: &str, statement: &str, values: &[Option<&str>], binary: bool) -> Bytes {
    let (mut parameters, mut formats) = (BytesMut::new(), BytesMut::new());
    let values = values.iter().map(|value| value.map(str::as_bytes));
    let format = if binary { Format::Binary } else { Format::Text };
    let (Ok(parameters), Ok(result_formats)) = (
        List::build(&mut parameters, values),
        List::build(&mut formats, [format]),
    ) else {
        return Bytes::new();
    };
    let bind = Bind {
        portal: portal.as_bytes(),
        statement: statement.as_bytes(),
        parameter_formats: List::default(),
        parameters,
        result_formats,
    };
    encoded(|out| bind.encode(out))
}

/// Describe of a statement
#[must_use]
pub fn describe_statement(name: &str) -> Bytes {
    encoded(|out| Describe(Named::Statement(name.as_bytes())).encode(out))
}

/// Describe of a portal
#[must_use]
pub fn describe_portal(name: &str) -> Bytes {
    encoded(|out| Describe(Named::Portal(name.as_bytes())).encode(out))
}

/// Execute
#[must_use]
pub fn execute(portal: &str, rows_max: i32) -> Bytes {
    let portal = portal.as_bytes();
    encoded(|out| Execute { portal, rows_max }.encode(out))
}

/// Close of a statement
#[must_use]
pub fn close_statement(name: &str) -> Bytes {
    encoded(|out| Close(Named::Statement(name.as_bytes())).encode(out))
}

/// Close of a portal
#[must_use]
pub fn close_portal(name: &str) -> Bytes {
    encoded(|out| Close(Named::Portal(name.as_bytes())).encode(out))
}

/// Sync
#[must_use]
pub fn sync() -> Bytes {
    encoded(|out| Sync.encode(out))
}

/// Flush
#[must_use]
pub fn flush() -> Bytes {
    encoded(|out| Flush.encode(out))
}

/// Terminate
#[must_use]
pub fn terminate() -> Bytes {
    encoded(|out| Terminate.encode(out))
}

/// CopyData
#[must_use]
pub fn copy_data(data: &[u8]) -> Bytes {
    encoded(|out| CopyData(data).encode(out))
}

/// CopyDone
#[must_use]
pub fn copy_done() -> Bytes {
    encoded(|out| CopyDone.encode(out))
}

/// CopyFail
#[must_use]
pub fn copy_fail(reason: &str) -> Bytes {
    let reason = reason.as_bytes();
    encoded(|out| CopyFail { reason }.encode(out))
}

/// FunctionCall without arguments
#[must_use]
pub fn function_call(function: Oid) -> Bytes {
    let call = FunctionCall {
        function,
        argument_formats: List::default(),
        arguments: List::default(),
        result_format: Format::Text,
    };
    encoded(|out| call.encode(out))
}

/// Messages one behind the other.
#[must_use]
pub fn all(messages: &[Bytes]) -> Bytes {
    Bytes::from(messages.concat())
}

/// What can't be encoded (a zero byte in a name) is nothing.
fn encoded(encode: impl FnOnce(&mut BytesMut) -> Result<(), EncodeError>) -> Bytes {
    let mut out = BytesMut::new();
    match encode(&mut out) {
        Ok(()) => out.freeze(),
        Err(_) => Bytes::new(),
    }
}
