//! What a client sends once it is connected.

use bytes::{BufMut as _, BytesMut};
use nom::number::complete::{be_i32, be_u8, be_u32};

use super::tag::frontend as tag;
use super::wire::{
    Element, EncodeError, Format, List, Message, MessageError, Oid, Parsed, Value, fail,
    put_string, rest, string,
};
use super::{empty_messages, message_enum, raw_messages};

/// Query: the text of one or more statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Query<'a> {
    /// Statement text, in the client's encoding.
    pub text: &'a [u8],
}

impl<'a> Message<'a> for Query<'a> {
    const TAG: u8 = tag::QUERY;

    fn read(input: &'a [u8]) -> Parsed<'a, Self> {
        let (input, text) = string(input)?;
        Ok((input, Self { text }))
    }

    fn write(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        put_string(out, self.text)
    }
}

/// Parse: prepare a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parse<'a> {
    /// Name of the prepared statement; empty for the unnamed one.
    pub statement: &'a [u8],
    /// Statement text.
    pub text: &'a [u8],
    /// Types of the first parameters; 0 leaves one to the server.
    pub parameter_types: List<'a, Oid>,
}

impl<'a> Message<'a> for Parse<'a> {
    const TAG: u8 = tag::PARSE;

    fn read(input: &'a [u8]) -> Parsed<'a, Self> {
        let (input, statement) = string(input)?;
        let (input, text) = string(input)?;
        let (input, parameter_types) = List::read(input)?;
        Ok((
            input,
            Self {
                statement,
                text,
                parameter_types,
            },
        ))
    }

    fn write(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        put_string(out, self.statement)?;
        put_string(out, self.text)?;
        self.parameter_types.write(out);
        Ok(())
    }
}

/// Bind: give a prepared statement its values, which makes a portal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bind<'a> {
    /// Name of the portal to make; empty for the unnamed one.
    pub portal: &'a [u8],
    /// Name of the prepared statement.
    pub statement: &'a [u8],
    /// None: all parameters are text. One: all have it. Otherwise one for each parameter; that the
    /// numbers agree is for the server to check.
    pub parameter_formats: List<'a, Format>,
    /// The parameters' values.
    pub parameters: List<'a, Value<'a>>,
    /// As `parameter_formats`, for the columns of the result.
    pub result_formats: List<'a, Format>,
}

impl<'a> Message<'a> for Bind<'a> {
    const TAG: u8 = tag::BIND;

    fn read(input: &'a [u8]) -> Parsed<'a, Self> {
        let (input, portal) = string(input)?;
        let (input, statement) = string(input)?;
        let (input, parameter_formats) = List::read(input)?;
        let (input, parameters) = List::read(input)?;
        let (input, result_formats) = List::read(input)?;
        Ok((
            input,
            Self {
                portal,
                statement,
                parameter_formats,
                parameters,
                result_formats,
            },
        ))
    }

    fn write(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        put_string(out, self.portal)?;
        put_string(out, self.statement)?;
        self.parameter_formats.write(out);
        self.parameters.write(out);
        self.result_formats.write(out);
        Ok(())
    }
}

/// The portal and statement a Bind names, read from the start of its body.
///
/// For a Bind that streams: `head` is the body behind the header of its [`Frame::Head`]. Names that
/// do not fit in a head are refused; the server cuts names at 63 bytes.
///
/// # Errors
/// [`MessageError::Unterminated`] when a name ends behind the head.
///
/// [`Frame::Head`]: crate::postgres::frame::Frame::Head
pub fn bind_names(head: &[u8]) -> Result<(&[u8], &[u8]), MessageError> {
    let both = |head| -> Parsed<'_, _> {
        let (head, portal) = string(head)?;
        let (_, statement) = string(head)?;
        Ok((&[], (portal, statement)))
    };
    super::wire::complete(both(head))
}

/// A prepared statement or a portal, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named<'a> {
    /// A prepared statement; the empty name is the unnamed one.
    Statement(&'a [u8]),
    /// A portal; the empty name is the unnamed one.
    Portal(&'a [u8]),
}

impl<'a> Named<'a> {
    fn read(input: &'a [u8]) -> Parsed<'a, Self> {
        let (input, kind) = be_u8(input)?;
        let (input, name) = string(input)?;
        match kind {
            b'S' => Ok((input, Self::Statement(name))),
            b'P' => Ok((input, Self::Portal(name))),
            kind => fail(MessageError::Undefined {
                field: "kind of named object",
                value: kind.into(),
            }),
        }
    }

    fn write(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        let (kind, name) = match self {
            Self::Statement(name) => (b'S', name),
            Self::Portal(name) => (b'P', name),
        };
        out.put_u8(kind);
        put_string(out, name)
    }
}

/// Describe: ask for the parameters of a statement, or the columns of a statement or portal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Describe<'a>(pub Named<'a>);

impl<'a> Message<'a> for Describe<'a> {
    const TAG: u8 = tag::DESCRIBE;

    fn read(input: &'a [u8]) -> Parsed<'a, Self> {
        let (input, named) = Named::read(input)?;
        Ok((input, Self(named)))
    }

    fn write(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        self.0.write(out)
    }
}

/// Close: forget a statement or portal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Close<'a>(pub Named<'a>);

impl<'a> Message<'a> for Close<'a> {
    const TAG: u8 = tag::CLOSE;

    fn read(input: &'a [u8]) -> Parsed<'a, Self> {
        let (input, named) = Named::read(input)?;
        Ok((input, Self(named)))
    }

    fn write(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        self.0.write(out)
    }
}

/// Execute: run a portal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Execute<'a> {
    /// Name of the portal; empty for the unnamed one.
    pub portal: &'a [u8],
    /// The most rows to return before PortalSuspended; 0 or less for all.
    pub rows_max: i32,
}

impl<'a> Message<'a> for Execute<'a> {
    const TAG: u8 = tag::EXECUTE;

    fn read(input: &'a [u8]) -> Parsed<'a, Self> {
        let (input, portal) = string(input)?;
        let (input, rows_max) = be_i32(input)?;
        Ok((input, Self { portal, rows_max }))
    }

    fn write(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        put_string(out, self.portal)?;
        out.put_i32(self.rows_max);
        Ok(())
    }
}

/// FunctionCall: call a function by its identifier, past any statement text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FunctionCall<'a> {
    /// The function.
    pub function: Oid,
    /// As in [`Bind`].
    pub argument_formats: List<'a, Format>,
    /// The arguments' values.
    pub arguments: List<'a, Value<'a>>,
    /// How the result is to be written.
    pub result_format: Format,
}

impl<'a> Message<'a> for FunctionCall<'a> {
    const TAG: u8 = tag::FUNCTION_CALL;

    fn read(input: &'a [u8]) -> Parsed<'a, Self> {
        let (input, function) = be_u32(input)?;
        let (input, argument_formats) = List::read(input)?;
        let (input, arguments) = List::read(input)?;
        let (input, result_format) = Element::read(input)?;
        Ok((
            input,
            Self {
                function,
                argument_formats,
                arguments,
                result_format,
            },
        ))
    }

    fn write(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        out.put_u32(self.function);
        self.argument_formats.write(out);
        self.arguments.write(out);
        Element::write(&self.result_format, out)
    }
}

/// CopyFail: give up sending rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyFail<'a> {
    /// Why; the server repeats it in its error.
    pub reason: &'a [u8],
}

impl<'a> Message<'a> for CopyFail<'a> {
    const TAG: u8 = tag::COPY_FAIL;

    fn read(input: &'a [u8]) -> Parsed<'a, Self> {
        let (input, reason) = string(input)?;
        Ok((input, Self { reason }))
    }

    fn write(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        put_string(out, self.reason)
    }
}

empty_messages! {
    /// Flush: send what there is without ending the exchange.
    Flush = tag::FLUSH;
    /// Sync: end the exchange; after an error the server skips to here.
    Sync = tag::SYNC;
    /// Terminate: the client leaves.
    Terminate = tag::TERMINATE;
    /// CopyDone: all rows are sent. Both sides use the same tag.
    CopyDone = tag::COPY_DONE;
}

raw_messages! {
    /// CopyData: a piece of a COPY stream, cut anywhere. Both sides use the same tag.
    CopyData = tag::COPY_DATA;
    /// Any answer to an authentication request. The request tells which: see [`PasswordMessage`],
    /// [`SaslInitialResponse`], [`SaslResponse`].
    AuthenticationResponse = tag::AUTHENTICATION_RESPONSE;
    /// SASLResponse: a further message of the mechanism's exchange. GSSResponse has the same form.
    SaslResponse = tag::AUTHENTICATION_RESPONSE;
}

/// PasswordMessage: a clear password, or an MD5 digest in its place.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PasswordMessage<'a> {
    /// The secret.
    pub password: &'a [u8],
}

impl<'a> Message<'a> for PasswordMessage<'a> {
    const TAG: u8 = tag::AUTHENTICATION_RESPONSE;

    fn read(input: &'a [u8]) -> Parsed<'a, Self> {
        let (input, password) = string(input)?;
        Ok((input, Self { password }))
    }

    fn write(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        put_string(out, self.password)
    }
}

/// SASLInitialResponse: the chosen mechanism and the first message of its exchange.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SaslInitialResponse<'a> {
    /// Name of the mechanism.
    pub mechanism: &'a [u8],
    /// The mechanism's first message, if it has one.
    pub data: Value<'a>,
}

impl<'a> Message<'a> for SaslInitialResponse<'a> {
    const TAG: u8 = tag::AUTHENTICATION_RESPONSE;

    fn read(input: &'a [u8]) -> Parsed<'a, Self> {
        let (input, mechanism) = string(input)?;
        let (input, data) = Element::read(input)?;
        Ok((input, Self { mechanism, data }))
    }

    fn write(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        put_string(out, self.mechanism)?;
        Element::write(&self.data, out)
    }
}

// Secrets: what prints them is their length.
impl std::fmt::Debug for PasswordMessage<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PasswordMessage({} bytes)", self.password.len())
    }
}

impl std::fmt::Debug for SaslInitialResponse<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SaslInitialResponse({})", self.mechanism.escape_ascii())
    }
}

message_enum! {
    /// Any message of a connected client.
    Frontend<'a> {
        /// Bind
        Bind(Bind<'a>),
        /// Close
        Close(Close<'a>),
        /// CopyData
        CopyData(CopyData<'a>),
        /// CopyDone
        CopyDone(CopyDone),
        /// CopyFail
        CopyFail(CopyFail<'a>),
        /// Describe
        Describe(Describe<'a>),
        /// Execute
        Execute(Execute<'a>),
        /// Flush
        Flush(Flush),
        /// FunctionCall
        FunctionCall(FunctionCall<'a>),
        /// GSSResponse, PasswordMessage, SASLInitialResponse or SASLResponse
        AuthenticationResponse(AuthenticationResponse<'a>),
        /// Parse
        Parse(Parse<'a>),
        /// Query
        Query(Query<'a>),
        /// Sync
        Sync(Sync),
        /// Terminate
        Terminate(Terminate),
    }
}
