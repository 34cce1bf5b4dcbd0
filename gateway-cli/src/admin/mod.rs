//! The admin API: JSON over HTTPS, for people with an Entra token; agents get SSH certificates
//! here.
//!
//! | | | needs |
//! |---|---|---|
//! | GET | `/v1/approvals`, `/v1/approvals/{id}` | reviewer or operator |
//! | POST | `/v1/approvals/{id}/approve`, `…/deny` | a person whom the request asks |
//! | GET | `/v1/sessions` | operator |
//! | POST | `/v1/sessions/{id}/kill` | operator |
//! | POST | `/v1/policy/reload` | operator |
//! | POST | `/v1/ssh/certificate` | what a session needs |
//! | GET | `/healthz`, `/readyz` | nothing |
//!
//! Errors are problem objects (RFC 9457). Whatever changes something leaves an `admin.action` leaf
//! first.

pub(crate) mod dto;
mod listener;
mod problem;
pub(crate) mod ssh;

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, FromRequestParts, Path, State},
    http::{StatusCode, header::AUTHORIZATION, request::Parts},
    routing::{get, post},
};
use gateway_core::{
    approval::Answer,
    id::{ApprovalId, SessionId},
    identity::{Authenticated, Principal, PrincipalKind},
    record::CloseReason,
};
use tokio::{net::TcpListener, sync::watch};

use crate::{
    approvals::Voted,
    gateway::{Gateway, Reloaded},
};
use dto::{ApprovalView, Health, ReloadView, SessionView, VoteRequest, VoteView};
use listener::TlsListener;
use problem::Problem;

/// Largest request body, bytes.
const BODY_BYTES_MAX: usize = 64 << 10;
/// Longest comment, characters.
const COMMENT_CHARS_MAX: usize = 2000;

type Shared = State<Arc<Gateway>>;

/// The bound admin API, not yet serving.
pub(crate) struct Admin {
    socket: TcpListener,
}

impl Admin {
    /// Binds the address.
    ///
    /// # Errors
    /// The address can't be bound.
    pub(crate) async fn bind(address: SocketAddr) -> std::io::Result<Self> {
        Ok(Self {
            socket: TcpListener::bind(address).await?,
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The system can't say.
    pub(crate) fn address(&self) -> std::io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Serves until `stopping` turns true.
    ///
    /// # Errors
    /// The socket failed.
    pub(crate) async fn serve(
        self,
        gateway: Arc<Gateway>,
        mut stopping: watch::Receiver<bool>,
    ) -> std::io::Result<()> {
        let listener = TlsListener::start(self.socket, Arc::clone(&gateway.agent_tls));
        axum::serve(listener, router(gateway))
            .with_graceful_shutdown(async move {
                // An error is the sender gone: stop as well.
                drop(stopping.wait_for(|stopping| *stopping).await);
            })
            .await
    }
}

fn router(gateway: Arc<Gateway>) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/v1/approvals", get(list_approvals))
        .route("/v1/approvals/{id}", get(show_approval))
        .route("/v1/approvals/{id}/approve", post(approve))
        .route("/v1/approvals/{id}/deny", post(deny))
        .route("/v1/sessions", get(list_sessions))
        .route("/v1/sessions/{id}/kill", post(kill_session))
        .route("/v1/policy/reload", post(reload_policy))
        .route("/v1/ssh/certificate", post(ssh::certify))
        .fallback(|| async { Problem::not_found("no such resource") })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(gateway)
}

/// Whoever calls: a verified person.
struct Caller(Authenticated<Principal>);

impl FromRequestParts<Arc<Gateway>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(
        parts: &mut Parts,
        gateway: &Arc<Gateway>,
    ) -> Result<Self, Problem> {
        let principal = verified(parts, gateway).await?;
        if principal.get().kind != PrincipalKind::User {
            return Err(Problem::forbidden(
                "the admin API is for people, not for applications",
            ));
        }
        Ok(Self(principal))
    }
}

/// Whose bearer token a request carries.
async fn verified(parts: &Parts, gateway: &Gateway) -> Result<Authenticated<Principal>, Problem> {
    let token = parts
        .headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "))
        .ok_or_else(|| Problem::unauthorized("a bearer token is needed"))?;
    gateway
        .verifier
        .verify(token.trim())
        .await
        .map_err(|rejection| {
            Problem::unauthorized(rejection.to_string()).with_code(rejection.code())
        })
}

impl Caller {
    fn principal(&self) -> &Principal {
        self.0.get()
    }

    fn has_one_of(&self, roles: &[String]) -> bool {
        self.principal()
            .roles
            .iter()
            .any(|role| roles.contains(role))
    }

    fn demand_operator(&self, gateway: &Gateway) -> Result<(), Problem> {
        if self.has_one_of(&gateway.entra.operator_roles) {
            return Ok(());
        }
        Err(Problem::forbidden(format!(
            "this needs one of the app roles {}",
            gateway.entra.operator_roles.join(", ")
        )))
    }

    fn demand_reviewer(&self, gateway: &Gateway) -> Result<(), Problem> {
        if self.has_one_of(&gateway.entra.reviewer_roles) {
            return Ok(());
        }
        self.demand_operator(gateway).map_err(|_| {
            Problem::forbidden(format!(
                "this needs one of the app roles {}",
                gateway.entra.reviewer_roles.join(", ")
            ))
        })
    }
}

async fn healthz() -> Json<Health> {
    Json(Health { status: "ok" })
}

async fn readyz(State(gateway): Shared) -> Result<Json<Health>, Problem> {
    if gateway.log.has_failed() {
        return Err(Problem::unavailable("the evidence log has failed"));
    }
    Ok(Json(Health { status: "ok" }))
}

async fn list_approvals(
    State(gateway): Shared,
    caller: Caller,
) -> Result<Json<Vec<ApprovalView>>, Problem> {
    caller.demand_reviewer(&gateway)?;
    let pending = gateway.approvals.list().await?;
    Ok(Json(pending.iter().map(ApprovalView::from).collect()))
}

async fn show_approval(
    State(gateway): Shared,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<ApprovalView>, Problem> {
    caller.demand_reviewer(&gateway)?;
    let pending = gateway.approvals.get(approval_id(&id)?).await?;
    let pending = pending.ok_or_else(|| Problem::not_found("no pending approval has this id"))?;
    Ok(Json(ApprovalView::from(&pending)))
}

async fn approve(
    gateway: Shared,
    caller: Caller,
    id: Path<String>,
    vote: Json<VoteRequest>,
) -> Result<Json<VoteView>, Problem> {
    cast(gateway, caller, id, vote, Answer::Approve).await
}

async fn deny(
    gateway: Shared,
    caller: Caller,
    id: Path<String>,
    vote: Json<VoteRequest>,
) -> Result<Json<VoteView>, Problem> {
    cast(gateway, caller, id, vote, Answer::Deny).await
}

/// The book itself judges whether this person may vote on this request.
async fn cast(
    State(gateway): Shared,
    caller: Caller,
    Path(id): Path<String>,
    Json(vote): Json<VoteRequest>,
    answer: Answer,
) -> Result<Json<VoteView>, Problem> {
    let id = approval_id(&id)?;
    if vote.comment.chars().count() > COMMENT_CHARS_MAX {
        return Err(Problem::bad_request(format!(
            "the comment is longer than {COMMENT_CHARS_MAX} characters"
        )));
    }
    let action = match answer {
        Answer::Approve => "approval.approve",
        Answer::Deny => "approval.deny",
    };
    gateway
        .record_admin_action(caller.principal(), action, id.to_string())
        .await?;
    let voted = gateway
        .approvals
        .vote(id, caller.0, answer, vote.comment)
        .await?;
    Ok(Json(match voted {
        Voted::Counted => VoteView {
            id: id.to_string(),
            state: "pending".into(),
        },
        Voted::Ended(outcome) => VoteView {
            id: id.to_string(),
            state: dto::outcome(outcome).into(),
        },
    }))
}

async fn list_sessions(
    State(gateway): Shared,
    caller: Caller,
) -> Result<Json<Vec<SessionView>>, Problem> {
    caller.demand_operator(&gateway)?;
    let live = gateway.sessions.list();
    Ok(Json(
        live.iter()
            .map(|(id, live)| SessionView::new(*id, live))
            .collect(),
    ))
}

async fn kill_session(
    State(gateway): Shared,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    caller.demand_operator(&gateway)?;
    let id = SessionId::parse(&id).map_err(|e| Problem::bad_request(e.to_string()))?;
    gateway
        .record_admin_action(caller.principal(), "session.kill", id.to_string())
        .await?;
    if gateway.sessions.close(id, CloseReason::Killed).await {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Problem::not_found("no live session has this id"))
    }
}

async fn reload_policy(
    State(gateway): Shared,
    caller: Caller,
) -> Result<Json<ReloadView>, Problem> {
    caller.demand_operator(&gateway)?;
    gateway
        .record_admin_action(caller.principal(), "policy.reload", String::new())
        .await?;
    let view = match gateway.reload(Some(caller.principal()), "api").await? {
        Reloaded::Unchanged(digest) => ReloadView {
            changed: false,
            policy: digest.to_string(),
        },
        Reloaded::Changed { after, .. } => ReloadView {
            changed: true,
            policy: after.to_string(),
        },
    };
    Ok(Json(view))
}

fn approval_id(text: &str) -> Result<ApprovalId, Problem> {
    ApprovalId::parse(text).map_err(|e| Problem::bad_request(e.to_string()))
}
