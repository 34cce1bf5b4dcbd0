//! Answers of the gateway's own, in the API's form: a `Status` (Kubernetes 1.32, API reference,
//! "Status").

use bytes::Bytes;
use gateway_core::decision::{Denial, Reason};

use super::message::{Header, ResponseHead, json::write_string};

/// A refusal as it is told to the agent: the code of HTTP and of the `Status`, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// 400 to 599.
    pub status: u16,
    /// Why.
    pub denial: Denial,
}

impl Refusal {
    /// A refusal of what breaks the protocol's rules or isn't supported.
    #[must_use]
    pub fn new(status: u16, message: impl Into<String>) -> Self {
        Self {
            status,
            denial: Denial::new(Reason::Protocol, message),
        }
    }

    /// A refusal for this reason.
    #[must_use]
    pub const fn of(status: u16, denial: Denial) -> Self {
        Self { status, denial }
    }

    /// Adds what would work.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.denial = self.denial.with_hint(hint);
        self
    }

    /// The answer's head, for a body of this many bytes.
    #[must_use]
    pub fn head(&self, body_len: usize) -> ResponseHead {
        let mut headers = vec![
            Header::new("content-type", "application/json"),
            Header::new("content-length", body_len.to_string()),
        ];
        if self.status == 401 {
            headers.push(Header::new("www-authenticate", "Bearer"));
        }
        ResponseHead {
            status: self.status,
            headers,
        }
    }

    /// The `Status` itself. `kubectl` shows `Error from server (reason): message`.
    #[must_use]
    pub fn body(&self) -> Bytes {
        let mut out = String::from(
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"#,
        );
        write_string(&message(&self.denial), &mut out);
        out.push_str(r#","reason":"#);
        write_string(reason(self.status), &mut out);
        out.push_str(r#","details":{"causes":[{"reason":"#);
        write_string(self.denial.reason.as_str(), &mut out);
        out.push_str(r#","message":"#);
        let rules: Vec<&str> = self.denial.rules.iter().map(|rule| rule.as_str()).collect();
        write_string(&rules.join(", "), &mut out);
        out.push_str(r#"}]},"code":"#);
        out.push_str(&self.status.to_string());
        out.push('}');
        Bytes::from(out)
    }
}

/// Message, detail and hint in one line: clients show the message only.
fn message(denial: &Denial) -> String {
    let mut text = denial.message.clone();
    if let Some(detail) = &denial.detail {
        text.push_str(": ");
        text.push_str(detail);
    }
    if let Some(hint) = &denial.hint {
        text.push_str(" (");
        text.push_str(hint);
        text.push(')');
    }
    text
}

/// The machine-readable reason that belongs to a code (`k8s.io/apimachinery`, `StatusReason`).
const fn reason(status: u16) -> &'static str {
    match status {
        400 => "BadRequest",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "NotFound",
        405 => "MethodNotAllowed",
        406 => "NotAcceptable",
        413 => "RequestEntityTooLarge",
        415 => "UnsupportedMediaType",
        422 => "Invalid",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        504 => "Timeout",
        _ => "InternalError",
    }
}

#[cfg(test)]
mod tests {
    use gateway_core::id::RuleId;

    use super::*;
    use crate::kubernetes::message::json::{Json, Names};

    #[test]
    fn a_refusal_is_a_status_that_kubectl_understands() {
        let denial = Denial::new(Reason::Forbidden, "rule \"no-exec\" forbids k8s.exec")
            .with_rules(vec![RuleId::parse("no-exec").unwrap()])
            .with_hint("Ask the owner.");
        let refusal = Refusal::of(403, denial);
        let body = refusal.body();
        assert_eq!(
            body,
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"rule \"no-exec\" forbids k8s.exec (Ask the owner.)","reason":"Forbidden","details":{"causes":[{"reason":"forbidden","message":"no-exec"}]},"code":403}"#
        );
        assert!(Json::parse(&body, Names::Folded).is_ok());
        assert_eq!(refusal.head(body.len()).status, 403);
    }
}
