//! What the gateway says to the agent in its own name.

use bytes::{Bytes, BytesMut};
use gateway_core::{
    decision::{Denial, Reason},
    operation::Analysis,
    record::CloseReason,
};

use crate::postgres::{
    frame,
    message::{
        Bind, Describe, EncodeError, Format, List, Message, Named, Parse, Query, Report, Severity,
        SqlState,
    },
    reply::Refusal,
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

/// How a refused text is answered: in the target's own words where it couldn't have run there.
pub(super) fn refusal_of(denial: Denial, analysis: &Analysis) -> Refusal {
    let code = code_of(denial.reason);
    // SPEC: the grammar comes before the transaction's state, which comes before all else but
    // for what ends it (PostgreSQL 15, `postgres.c`, `exec_simple_query`).
    let ends = analysis.statements.iter().any(|s| s.controls_transaction);
    let refusal = Refusal {
        yields: !ends,
        ..Refusal::new(denial, code)
    };
    let Some(mistake) = &analysis.mistake else {
        return refusal;
    };
    let Some(code) = SqlState::new(mistake.code) else {
        return refusal;
    };
    Refusal {
        denial: Denial::new(refusal.denial.reason, mistake.message.clone()),
        code,
        position: mistake.position,
        ..refusal
    }
}

/// A refusal as an ErrorResponse.
pub(super) fn refusal(
    severity: Severity,
    code: SqlState,
    denial: &Denial,
    position: Option<u32>,
) -> Bytes {
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
    let report = Report {
        severity,
        code,
        message: &denial.message,
        detail: detail.as_deref(),
        hint: denial.hint.as_deref(),
        position,
    };
    cleaned(&report)
}

/// What the target says of anything in a transaction that has failed.
pub(super) fn aborted() -> Bytes {
    report(
        Severity::Error,
        SqlState::IN_FAILED_TRANSACTION,
        "current transaction is aborted, commands ignored until end of transaction block",
        None,
        None,
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
    cleaned(&Report {
        detail,
        hint,
        ..Report::new(severity, code, message)
    })
}

fn cleaned(report: &Report<'_>) -> Bytes {
    // A zero byte would end the field early; agents' text may hold anything but that.
    let clean = |text: &str| text.replace('\0', "");
    let message = clean(report.message);
    let (detail, hint) = (report.detail.map(clean), report.hint.map(clean));
    let report = Report {
        message: &message,
        detail: detail.as_deref(),
        hint: hint.as_deref(),
        ..*report
    };
    encoded(|out| report.encode(out))
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
