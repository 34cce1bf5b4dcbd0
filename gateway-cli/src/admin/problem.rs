//! Errors of the admin API as problem objects (RFC 9457, section 3 "The Problem Details JSON
//! Object").

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use gateway_audit::log::LogFailed;
use gateway_core::approval::VoteError;
use serde::Serialize;

use crate::{approvals::DeskError, gateway::ReloadError};

/// A problem object. Of type `about:blank`: the title is the status's own phrase.
#[derive(Debug, Serialize)]
pub(super) struct Problem {
    title: &'static str,
    status: u16,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
}

impl Problem {
    fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: detail.into(),
            code: None,
        }
    }

    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    pub(super) fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, detail)
    }

    pub(super) fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, detail)
    }

    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    pub(super) fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    }

    /// Adds a stable word for scripts.
    pub(super) fn with_code(mut self, code: &'static str) -> Self {
        self.code = Some(code);
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self)).into_response();
        let json = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(CONTENT_TYPE, json);
        response
    }
}

impl From<DeskError> for Problem {
    fn from(error: DeskError) -> Self {
        let detail = error.to_string();
        match error {
            DeskError::Vote(VoteError::NotPending) => Self::not_found(detail),
            DeskError::Vote(VoteError::AlreadyVoted) => Self::new(StatusCode::CONFLICT, detail),
            DeskError::Vote(
                VoteError::NotAPerson
                | VoteError::OwnRequest
                | VoteError::Owner
                | VoteError::NotAReviewer,
            ) => Self::forbidden(detail),
            DeskError::NotStored => Self::new(StatusCode::INTERNAL_SERVER_ERROR, detail),
            DeskError::Unavailable => Self::unavailable(detail),
        }
    }
}

impl From<LogFailed> for Problem {
    fn from(error: LogFailed) -> Self {
        Self::unavailable(error.to_string())
    }
}

impl From<ReloadError> for Problem {
    fn from(error: ReloadError) -> Self {
        let detail = error.to_string();
        match error {
            ReloadError::Bundle(_) | ReloadError::Classify { .. } => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail).with_code("policy_refused")
            }
            ReloadError::Log(_) | ReloadError::Gone => Self::unavailable(detail),
        }
    }
}
