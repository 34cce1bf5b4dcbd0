//! SSH certificates for agents: a token proves who asks, a certificate says so to `ssh`.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};

use super::{Authenticated, Gateway, Principal, Problem, Shared, verified};
use crate::{clock, config::Protocol, ssh::IssueError};

/// A key to certify.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CertificateRequest {
    /// One line of OpenSSH's format: `ssh-ed25519 AAAA…`.
    pub(crate) public_key: String,
}

/// A certified key.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CertificateView {
    /// One line of OpenSSH's format: what belongs into `KEY-cert.pub`.
    pub(crate) certificate: String,
    /// When it ends, RFC 3339, UTC.
    pub(crate) expires_at: String,
    /// The key of the gateway's SSH listeners: `ssh-ed25519 AAAA…`.
    pub(crate) host_key: String,
}

/// Whoever calls: an agent or a person, as for a session.
pub(super) struct Agent(Authenticated<Principal>);

impl axum::extract::FromRequestParts<Arc<Gateway>> for Agent {
    type Rejection = Problem;

    async fn from_request_parts(
        parts: &mut axum::http::request::Parts,
        gateway: &Arc<Gateway>,
    ) -> Result<Self, Problem> {
        Ok(Self(verified(parts, gateway).await?))
    }
}

/// `POST /v1/ssh/certificate`. The evidence names the key before the agent has its certificate.
pub(super) async fn certify(
    State(gateway): Shared,
    Agent(principal): Agent,
    Json(request): Json<CertificateRequest>,
) -> Result<Json<CertificateView>, Problem> {
    let has_targets = |protocol| gateway.targets.values().any(|t| t.protocol() == protocol);
    if !has_targets(Protocol::Ssh) {
        return Err(Problem::not_found("this gateway has no SSH targets"));
    }
    let issued = gateway.ssh.issue(&request.public_key, &principal)?;
    let host_key = gateway.ssh.host_key().map_err(IssueError::from)?;
    let expires_at = clock::display(issued.expires_at);
    let subject = format!("{} until {expires_at}", issued.fingerprint);
    gateway
        .record_admin_action(principal.get(), "ssh.certificate", subject)
        .await?;
    Ok(Json(CertificateView {
        certificate: issued.certificate,
        expires_at,
        host_key,
    }))
}

impl From<IssueError> for Problem {
    fn from(error: IssueError) -> Self {
        let detail = error.to_string();
        match error {
            IssueError::Malformed | IssueError::Kind(_) => Self::bad_request(detail),
            IssueError::Expired => Self::unauthorized(detail),
            IssueError::Sign(_) | IssueError::Claims(_) | IssueError::Random(_) => {
                Self::unavailable(detail)
            }
        }
    }
}
