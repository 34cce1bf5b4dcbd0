//! What the gateway says to the agent in its own name.

use bytes::{Bytes, BytesMut};
use gateway_core::{
    decision::{Denial, Reason},
    record::CloseReason,
};

use crate::postgres::{
    frame,
    message::{
        Bind, Describe, EncodeError, Format, List, Message, Named, Parse, Query, Report,
        ReportField, ReportFields, Severity, SqlState,
    },
};

/// What stands in for refused text at the target: never parses, in any state of the session.
const REFUSED_TEXT: &[u8] = b"refused by the gateway";
/// The name in messages that are rejected for another reason; agents may use it as well.
const REFUSED_NAME: &[u8] = b"refused by the gateway";

/// The SQLSTATE of a refusal (PostgreSQL 18, "PostgreSQL Error Codes").
pub(super) fn code_of(reason: Reason) -> SqlState {
    match reason {
        Reason::Forbidden
        | Reason::NotPermitted
        | Reason::PolicyError
        | Reason::Masking
        | Reason::Rejected
        | Reason::NotConsumed => SqlState::INSUFFICIENT_PRIVILEGE,
        Reason::Expired | Reason::Withdrawn => SqlState::QUERY_CANCELED,
        Reason::Protocol => SqlState::FEATURE_NOT_SUPPORTED,
        Reason::Limit => SqlState::PROGRAM_LIMIT_EXCEEDED,
        Reason::NoAnswer => SqlState::CONNECTION_FAILURE,
    }
}

/// A refusal as an ErrorResponse.
pub(super) fn refusal(severity: Severity, code: SqlState, denial: &Denial) -> Bytes {
    let rules: Vec<&str> = denial.rules.iter().map(|rule| rule.as_str()).collect();
    let rules = (!rules.is_empty()).then(|| format!("Decided by rule {}.", rules.join(", ")));
    let detail = match (&denial.detail, rules) {
        (Some(detail), Some(rules)) => {
            let stop = if detail.ends_with('.') { "" } else { "." };
            Some(format!("{detail}{stop} {rules}"))
        }
        (Some(detail), None) => Some(detail.clone()),
        (None, rules) => rules,
    };
    report(
        severity,
        code,
        &denial.message,
        detail.as_deref(),
        denial.hint.as_deref(),
    )
}

/// The end of the session as a FATAL error.
pub(super) fn farewell(reason: &CloseReason) -> Bytes {
    let (code, message) = match reason {
        CloseReason::Expired => (
            SqlState::INVALID_AUTHORIZATION,
            "the access token has expired: connect again",
        ),
        CloseReason::PolicyChanged => (
            SqlState::ADMIN_SHUTDOWN,
            "the gateway's policy has changed and no longer allows this session",
        ),
        CloseReason::Killed => (SqlState::ADMIN_SHUTDOWN, "an operator ended this session"),
        CloseReason::Drained => (SqlState::ADMIN_SHUTDOWN, "the gateway is shutting down"),
        CloseReason::TargetClosed => (
            SqlState::CONNECTION_FAILURE,
            "the target closed its connection",
        ),
        CloseReason::Incident => (
            SqlState::INSUFFICIENT_PRIVILEGE,
            "the target's answer can't be shown to be masked: the session was closed",
        ),
        CloseReason::Limit => (
            SqlState::PROGRAM_LIMIT_EXCEEDED,
            "a limit of the gateway was reached",
        ),
        CloseReason::ProtocolError => (SqlState::PROTOCOL_VIOLATION, "protocol violation"),
        CloseReason::AgentClosed
        | CloseReason::Refused
        | CloseReason::EvidenceLost
        | CloseReason::InternalError => {
            (SqlState::INTERNAL_ERROR, "the gateway closed the session")
        }
    };
    report(Severity::Fatal, code, message, None, None)
}

/// A NoticeResponse.
pub(super) fn notice(message: &str) -> Bytes {
    report(Severity::Notice, SqlState::SUCCESS, message, None, None)
}

pub(super) fn report(
    severity: Severity,
    code: SqlState,
    message: &str,
    detail: Option<&str>,
    hint: Option<&str>,
) -> Bytes {
    // A zero byte would end the field early; agents' text may hold anything but that.
    let clean = |text: &str| text.replace('\0', "");
    let (message, detail, hint) = (clean(message), detail.map(clean), hint.map(clean));
    let report = Report {
        detail: detail.as_deref(),
        hint: hint.as_deref(),
        ..Report::new(severity, code, &message)
    };
    encoded(|out| report.encode(out))
}

/// The server's report under `tag` with everything gone that could hold a value.
pub(super) fn scrubbed(tag: u8, fields: &ReportFields<'_>) -> Bytes {
    let code = fields
        .get(ReportField::Code)
        .and_then(|code| std::str::from_utf8(code).ok());
    let message = format!(
        "{} (the text is withheld: the statement is within reach of classified data)",
        class_of(code.unwrap_or_default())
    );
    encoded(|out| fields.encode_scrubbed(tag, &message, out))
}

/// What an error of this SQLSTATE is about, in the manual's own words for the common ones.
fn class_of(code: &str) -> &'static str {
    match code {
        "22P02" => "invalid text representation",
        "22003" => "numeric value out of range",
        "22007" | "22008" => "invalid date or time",
        "22012" => "division by zero",
        "23502" => "a not-null constraint is violated",
        "23503" => "a foreign key constraint is violated",
        "23505" => "a unique constraint is violated",
        "23514" => "a check constraint is violated",
        "25P02" => {
            "current transaction is aborted, commands ignored until end of transaction block"
        }
        "40001" => "could not serialize access",
        "40P01" => "deadlock detected",
        "42501" => "permission denied",
        "42601" => "syntax error",
        "42703" => "a column does not exist",
        "42P01" => "a relation does not exist",
        "57014" => "canceling statement due to user request or timeout",
        _ => "the target reported an error",
    }
}

/// A Query of this text.
pub(super) fn query(text: &str) -> Bytes {
    let text = text.as_bytes();
    encoded(|out| Query { text }.encode(out))
}

/// The Parse in `frames`, with another text.
pub(super) fn parse_of(frames: &Bytes, text: &str) -> Bytes {
    let text = text.as_bytes();
    match Parse::parse(frame::body(frames)) {
        Ok(parse) => encoded(|out| Parse { text, ..parse }.encode(out)),
        // INVARIANT: it was parsed when it came. The target rejects what stands in for it.
        Err(_) => rejected_parse(true),
    }
}

/// A Query that the target must reject.
pub(super) fn rejected_query() -> Bytes {
    encoded(|out| Query { text: REFUSED_TEXT }.encode(out))
}

/// A Parse that the target must reject. The unnamed statement is dropped by it, as by a Parse that
/// fails on its own; a named one stays.
pub(super) fn rejected_parse(unnamed: bool) -> Bytes {
    let statement = if unnamed { &b""[..] } else { REFUSED_NAME };
    encoded(|out| {
        Parse {
            statement,
            text: REFUSED_TEXT,
            parameter_types: List::default(),
        }
        .encode(out)
    })
}

/// A Bind that the target must reject, whatever statements and portals there are: two formats for
/// no parameters at all.
///
/// SPEC: "must match the actual number of parameters" (PostgreSQL 18, "Message Formats", Bind). A
/// name that only we think of wouldn't do: an agent may give it to a statement of its own.
pub(super) fn rejected_bind() -> Bytes {
    encoded(|out| {
        let mut buffer = BytesMut::new();
        Bind {
            portal: REFUSED_NAME,
            statement: REFUSED_NAME,
            parameter_formats: List::build(&mut buffer, [Format::Text, Format::Text])?,
            parameters: List::default(),
            result_formats: List::<Format>::default(),
        }
        .encode(out)
    })
}

/// What stands in for an Execute at the target: the same Bind. An Execute can't be malformed, and
/// one of a name that only we think of might find a portal.
pub(super) fn rejected_execute() -> Bytes {
    rejected_bind()
}

/// The gateway's own question for a portal's columns.
pub(super) fn describe_portal(portal: &[u8]) -> Bytes {
    encoded(|out| Describe(Named::Portal(portal)).encode(out))
}

/// Encodes a message of ours, whose parts are known to fit.
pub(super) fn encoded(encode: impl FnOnce(&mut BytesMut) -> Result<(), EncodeError>) -> Bytes {
    let mut out = BytesMut::new();
    // INVARIANT: constants, names that were parsed from a message, and cleaned text always encode;
    // an empty message would desynchronise the peer, and the reply queue would notice.
    let _ = encode(&mut out).is_ok();
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::rejected_bind;
    use crate::postgres::{frame, message::Frontend};

    #[test]
    fn what_stands_in_for_a_refused_bind_is_wrong_whatever_the_agent_has_prepared() {
        let message = rejected_bind();
        let parsed = Frontend::parse(b'B', frame::body(&message)).unwrap();
        let Frontend::Bind(bind) = parsed else {
            panic!("{parsed:?}");
        };
        assert_eq!(
            (bind.parameter_formats.len(), bind.parameters.len()),
            (2, 0)
        );
    }
}
