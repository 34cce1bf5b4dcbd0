//! What the gateway itself says to an agent.

use bytes::{BufMut as _, Bytes, BytesMut};
use gateway_core::{
    decision::{Denial, Reason},
    record::CloseReason,
    wire::Side,
};

/// Lines for the error stream. A terminal in raw mode needs its carriage returns.
pub(super) fn lines<'a>(texts: impl IntoIterator<Item = &'a str>, terminal: bool) -> Bytes {
    let mut out = BytesMut::new();
    for text in texts {
        out.put_slice(b"gateway: ");
        out.put_slice(printable(text).as_bytes());
        out.put_slice(if terminal { b"\r\n" } else { b"\n" });
    }
    out.freeze()
}

/// A denial, as lines.
pub(super) fn denied(denial: &Denial) -> impl Iterator<Item = &str> {
    std::iter::once(denial.message.as_str())
        .chain(denial.detail.as_deref())
        .chain(denial.hint.as_deref())
}

/// A denial, as one line.
pub(super) fn sentence(denial: &Denial) -> String {
    let parts: Vec<String> = denied(denial)
        .map(|part| printable(part).trim_end_matches('.').to_owned())
        .collect();
    parts.join(". ")
}

/// Controls are shown escaped: what a policy, a target or a peer says must not move a cursor.
fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let escaped = c.is_control().then(|| c.escape_default());
            let plain = escaped.is_none().then_some(c);
            escaped.into_iter().flatten().chain(plain)
        })
        .collect()
}

/// The refusal of what the gateway doesn't support.
pub(super) fn unsupported(what: &str) -> Denial {
    Denial::new(
        Reason::Protocol,
        format!("the gateway doesn't support {}", printable(what)),
    )
}

/// The record of a transport that ended during the login.
pub(super) fn broken(side: Side, what: &str) -> Denial {
    let side = match side {
        Side::Agent => "agent",
        Side::Target => "target",
    };
    let what = printable(what);
    Denial::new(
        Reason::Protocol,
        format!("the {side}'s transport ended: {what}"),
    )
}

/// The record of something that the target couldn't do.
pub(super) fn failed_at_target(what: &str) -> Denial {
    Denial::new(Reason::Protocol, what)
}

/// The end of the session, for the agent.
pub(super) const fn farewell(reason: &CloseReason) -> &'static str {
    match reason {
        CloseReason::Expired => "the credential has expired: connect again",
        CloseReason::PolicyChanged => {
            "the gateway's policy has changed and no longer allows this session"
        }
        CloseReason::Killed => "an operator ended this session",
        CloseReason::Drained => "the gateway is shutting down",
        CloseReason::TargetClosed => "the target closed its connection",
        CloseReason::Incident => "the target's answer can't be shown to be masked",
        CloseReason::Limit => "a limit of the gateway was reached",
        CloseReason::ProtocolError => "protocol violation",
        CloseReason::AgentClosed
        | CloseReason::Refused
        | CloseReason::EvidenceLost
        | CloseReason::InternalError => "the gateway ended this session",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_said_moves_a_cursor() {
        let denial = Denial::new(Reason::Forbidden, "no\x1b[2J\r\nway.").with_hint("ask");
        assert_eq!(sentence(&denial), "no\\u{1b}[2J\\r\\nway. ask");
        assert_eq!(
            lines(denied(&denial), true),
            "gateway: no\\u{1b}[2J\\r\\nway.\r\ngateway: ask\r\n"
        );
        assert_eq!(lines(["x"], false), "gateway: x\n");
    }
}
