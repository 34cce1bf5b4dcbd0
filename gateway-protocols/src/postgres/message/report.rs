//! Errors and notices: the same fields under two tags.

use std::borrow::Cow;

use bytes::{BufMut as _, BytesMut};
use nom::number::complete::be_u8;

use super::tag::backend as tag;
use super::wire::{EncodeError, Message, Parsed, put_string, string};

/// What a field of a report is about (PostgreSQL 18, "Error and Notice Message Fields").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReportField {
    /// `S`: severity, possibly translated.
    Severity,
    /// `V`: severity, never translated.
    SeverityNonLocalized,
    /// `C`: SQLSTATE.
    Code,
    /// `M`: what happened, in one line.
    Message,
    /// `D`: more about it.
    Detail,
    /// `H`: what to do about it.
    Hint,
    /// `P`: character in the statement text, from 1.
    Position,
    /// `p`: character in an internal statement's text.
    InternalPosition,
    /// `q`: the internal statement's text.
    InternalQuery,
    /// `W`: the context it happened in.
    Where,
    /// `s`: schema of the object it is about.
    Schema,
    /// `t`: its table.
    Table,
    /// `c`: its column.
    Column,
    /// `d`: its data type.
    DataType,
    /// `n`: its constraint.
    Constraint,
    /// `F`: source file of the server.
    File,
    /// `L`: line in it.
    Line,
    /// `R`: routine in it.
    Routine,
    /// A code of a later version; clients ignore these.
    Other(u8),
}

impl From<u8> for ReportField {
    fn from(code: u8) -> Self {
        match code {
            b'S' => Self::Severity,
            b'V' => Self::SeverityNonLocalized,
            b'C' => Self::Code,
            b'M' => Self::Message,
            b'D' => Self::Detail,
            b'H' => Self::Hint,
            b'P' => Self::Position,
            b'p' => Self::InternalPosition,
            b'q' => Self::InternalQuery,
            b'W' => Self::Where,
            b's' => Self::Schema,
            b't' => Self::Table,
            b'c' => Self::Column,
            b'd' => Self::DataType,
            b'n' => Self::Constraint,
            b'F' => Self::File,
            b'L' => Self::Line,
            b'R' => Self::Routine,
            code => Self::Other(code),
        }
    }
}

/// The fields of a parsed error or notice, in the order sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportFields<'a> {
    /// Non-zero code and string of each field.
    fields: &'a [u8],
}

impl<'a> ReportFields<'a> {
    /// All fields.
    pub fn iter(&self) -> impl Iterator<Item = (ReportField, &'a [u8])> + use<'a> {
        let mut fields = self.fields;
        std::iter::from_fn(move || {
            let (&code, rest) = fields.split_first()?;
            let (rest, text) = string(rest).ok()?;
            fields = rest;
            Some((code.into(), text))
        })
    }

    /// The first field of a kind.
    #[must_use]
    pub fn get(&self, field: ReportField) -> Option<&'a [u8]> {
        self.iter()
            .find(|(found, _)| *found == field)
            .map(|(_, text)| text)
    }

    /// Appends the report under `tag` with each field as `told` has it, in the order sent; a field
    /// for which it has nothing is left out.
    ///
    /// # Errors
    /// [`EncodeError::InteriorNul`] for a zero byte in what `told` has; `out` is then as it was.
    pub fn encode_with<'t>(
        &self,
        tag: u8,
        out: &mut BytesMut,
        told: impl Fn(ReportField, &'a [u8]) -> Option<Cow<'t, str>>,
    ) -> Result<(), EncodeError>
    where
        'a: 't,
    {
        super::wire::framed(Some(tag), out, |out| {
            let mut rest = self.fields;
            while let Some((&code, after)) = rest.split_first() {
                let Ok((next, text)) = string(after) else {
                    break;
                };
                rest = next;
                if let Some(told) = told(code.into(), text) {
                    out.put_u8(code);
                    put_string(out, told.as_bytes())?;
                }
            }
            out.put_u8(0);
            Ok(())
        })
    }

    fn read(input: &'a [u8]) -> Parsed<'a, Self> {
        let mut behind = input;
        loop {
            let before = behind;
            let (after, code) = be_u8(before)?;
            if code == 0 {
                let (fields, _) = input.split_at(input.len() - before.len());
                return Ok((after, Self { fields }));
            }
            (behind, _) = string(after)?;
        }
    }

    fn write(&self, out: &mut BytesMut) {
        out.extend_from_slice(self.fields);
        out.put_u8(0);
    }
}

/// ErrorResponse, as received. [`Report`] makes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorResponse<'a>(pub ReportFields<'a>);

impl<'a> Message<'a> for ErrorResponse<'a> {
    const TAG: u8 = tag::ERROR_RESPONSE;

    fn read(input: &'a [u8]) -> Parsed<'a, Self> {
        ReportFields::read(input).map(|(input, fields)| (input, Self(fields)))
    }

    fn write(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        self.0.write(out);
        Ok(())
    }
}

/// NoticeResponse, as received. [`Report`] makes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoticeResponse<'a>(pub ReportFields<'a>);

impl<'a> Message<'a> for NoticeResponse<'a> {
    const TAG: u8 = tag::NOTICE_RESPONSE;

    fn read(input: &'a [u8]) -> Parsed<'a, Self> {
        ReportFields::read(input).map(|(input, fields)| (input, Self(fields)))
    }

    fn write(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        self.0.write(out);
        Ok(())
    }
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The statement failed.
    Error,
    /// The session ends.
    Fatal,
    /// All sessions end.
    Panic,
    /// A notice: something may be wrong.
    Warning,
    /// A notice: worth knowing.
    Notice,
    /// A notice for developers.
    Debug,
    /// A notice that was asked for.
    Info,
    /// A notice for operators.
    Log,
}

impl Severity {
    /// The untranslated name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "ERROR",
            Self::Fatal => "FATAL",
            Self::Panic => "PANIC",
            Self::Warning => "WARNING",
            Self::Notice => "NOTICE",
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Log => "LOG",
        }
    }

    /// The message that carries it is an ErrorResponse; otherwise a NoticeResponse.
    #[must_use]
    pub fn is_error(self) -> bool {
        matches!(self, Self::Error | Self::Fatal | Self::Panic)
    }
}

/// A SQLSTATE: five digits and upper-case letters (PostgreSQL 18, "PostgreSQL Error Codes").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SqlState([u8; 5]);

impl SqlState {
    /// `00000`: no error.
    pub const SUCCESS: Self = Self(*b"00000");
    /// `08P01`: the peer broke the protocol.
    pub const PROTOCOL_VIOLATION: Self = Self(*b"08P01");
    /// `08006`: the connection failed.
    pub const CONNECTION_FAILURE: Self = Self(*b"08006");
    /// `0A000`: not supported.
    pub const FEATURE_NOT_SUPPORTED: Self = Self(*b"0A000");
    /// `25P02`: the transaction has failed and only its end is accepted.
    pub const IN_FAILED_TRANSACTION: Self = Self(*b"25P02");
    /// `26000`: no such prepared statement.
    pub const INVALID_STATEMENT_NAME: Self = Self(*b"26000");
    /// `3D000`: no such database.
    pub const INVALID_CATALOG_NAME: Self = Self(*b"3D000");
    /// `34000`: no such portal.
    pub const INVALID_CURSOR_NAME: Self = Self(*b"34000");
    /// `28000`: not allowed to connect.
    pub const INVALID_AUTHORIZATION: Self = Self(*b"28000");
    /// `28P01`: wrong password.
    pub const INVALID_PASSWORD: Self = Self(*b"28P01");
    /// `42501`: not allowed to do this.
    pub const INSUFFICIENT_PRIVILEGE: Self = Self(*b"42501");
    /// `42601`: not SQL.
    pub const SYNTAX_ERROR: Self = Self(*b"42601");
    /// `53300`: too many connections.
    pub const TOO_MANY_CONNECTIONS: Self = Self(*b"53300");
    /// `54000`: past a limit.
    pub const PROGRAM_LIMIT_EXCEEDED: Self = Self(*b"54000");
    /// `57014`: the statement was cancelled.
    pub const QUERY_CANCELED: Self = Self(*b"57014");
    /// `57P01`: an operator ended the session.
    pub const ADMIN_SHUTDOWN: Self = Self(*b"57P01");
    /// `57P03`: cannot connect now.
    pub const CANNOT_CONNECT_NOW: Self = Self(*b"57P03");
    /// `XX000`: an internal error.
    pub const INTERNAL_ERROR: Self = Self(*b"XX000");

    /// A SQLSTATE, if `code` is five digits and upper-case ASCII letters.
    #[must_use]
    pub fn new(code: &str) -> Option<Self> {
        let code: [u8; 5] = code.as_bytes().try_into().ok()?;
        let valid = code
            .iter()
            .all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase());
        valid.then_some(Self(code))
    }

    /// Its five characters.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 5] {
        &self.0
    }
}

/// An error or notice of our own to send.
///
/// ```
/// use bytes::BytesMut;
/// use gateway_protocols::postgres::message::{Report, Severity, SqlState};
///
/// let report = Report {
///     hint: Some("ask for approval"),
///     ..Report::new(Severity::Error, SqlState::INSUFFICIENT_PRIVILEGE, "drops need a change ticket")
/// };
/// let mut out = BytesMut::new();
/// report.encode(&mut out)?;
/// assert_eq!(out.first(), Some(&b'E'));
/// # Ok::<(), gateway_protocols::postgres::message::EncodeError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report<'a> {
    /// Goes out as both severity fields; decides between ErrorResponse and NoticeResponse.
    pub severity: Severity,
    /// SQLSTATE.
    pub code: SqlState,
    /// What happened, in one line.
    pub message: &'a str,
    /// More about it.
    pub detail: Option<&'a str>,
    /// What to do about it.
    pub hint: Option<&'a str>,
    /// Character in the statement text it is about, from 1.
    pub position: Option<u32>,
}

impl<'a> Report<'a> {
    /// A report without its optional fields.
    #[must_use]
    pub fn new(severity: Severity, code: SqlState, message: &'a str) -> Self {
        Self {
            severity,
            code,
            message,
            detail: None,
            hint: None,
            position: None,
        }
    }

    /// Appends an ErrorResponse or NoticeResponse, as the severity has it, to `out`.
    ///
    /// # Errors
    /// [`EncodeError::InteriorNul`] for a zero byte in a text; `out` is then as it was.
    pub fn encode(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        let mut fields = BytesMut::new();
        let position = self.position.map(|position| position.to_string());
        let severity = Some(self.severity.name().as_bytes());
        for (code, text) in [
            (b'S', severity),
            (b'V', severity),
            (b'C', Some(self.code.as_bytes().as_slice())),
            (b'M', Some(self.message.as_bytes())),
            (b'D', self.detail.map(str::as_bytes)),
            (b'H', self.hint.map(str::as_bytes)),
            (b'P', position.as_ref().map(String::as_bytes)),
        ] {
            if let Some(text) = text {
                fields.put_u8(code);
                put_string(&mut fields, text)?;
            }
        }
        let fields = ReportFields { fields: &fields };
        if self.severity.is_error() {
            ErrorResponse(fields).encode(out)
        } else {
            NoticeResponse(fields).encode(out)
        }
    }
}
