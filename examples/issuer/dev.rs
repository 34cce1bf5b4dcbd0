//! What Entra doesn't have: forged tokens, rotation and faults on demand, a person who says yes.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Query, State},
    http::StatusCode,
    routing::{get, post},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    keys::{Signature, SigningKey},
    state::{DeviceState, Fault, Issuer, Requests, now_s},
    tokens::set,
};

type Answer<T> = Result<T, (StatusCode, &'static str)>;

pub(crate) fn routes() -> Router<Arc<Issuer>> {
    Router::new()
        .route("/dev/token", post(forge))
        .route("/dev/rotate", post(rotate))
        .route("/dev/fault", post(fault))
        .route("/dev/requests", get(requests))
        .route("/dev/approve", get(approve).post(approve))
}

/// A token of `app` or, with `user`, of a person; `header` and `claims` then override single
/// members, and null removes one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Forgery {
    /// Tenant id. The first tenant if absent.
    tenant: Option<String>,
    /// Client id. The first application if absent.
    app: Option<String>,
    /// User name.
    user: Option<String>,
    /// Scopes asked for; all of the first resource if absent.
    scope: Option<String>,
    #[serde(default)]
    header: Value,
    #[serde(default)]
    claims: Value,
    #[serde(default)]
    signature: Signature,
}

async fn forge(
    State(issuer): State<Arc<Issuer>>,
    Json(forgery): Json<Forgery>,
) -> Answer<Json<Value>> {
    let missing = |what| (StatusCode::NOT_FOUND, what);
    let tenant = match &forgery.tenant {
        Some(id) => issuer.directory.tenant(id),
        None => issuer.directory.tenants.first(),
    };
    let tenant = tenant.ok_or(missing("no such tenant"))?;
    let app = match &forgery.app {
        Some(id) => tenant.app(id),
        None => tenant.apps.first(),
    };
    let app = app.ok_or(missing("no such app"))?;
    let scope = match forgery.scope {
        Some(scope) => scope,
        None => {
            let resource = tenant
                .resources
                .first()
                .ok_or(missing("tenant has no resource"))?;
            format!("{}/.default", resource.client_id)
        }
    };
    let (resource, scopes) = tenant.scopes(&scope).ok_or(missing("no such scope"))?;
    let common = issuer.common(tenant, resource, app);
    let claims = match &forgery.user {
        Some(name) => {
            let user = tenant.user(name).ok_or(missing("no such user"))?;
            common.user_claims(user, &scopes)
        }
        None => common.app_claims("1"),
    };
    let mut claims = claims.map_err(internal)?;
    for (name, value) in forgery.claims.as_object().into_iter().flatten() {
        set(&mut claims, name, value.clone());
    }
    let token = issuer
        .sign(&forgery.header, &claims, forgery.signature)
        .map_err(internal)?;
    Ok(Json(json!({ "access_token": token, "claims": claims })))
}

#[derive(Deserialize)]
struct Rotation {
    /// Also withdraw all earlier keys.
    #[serde(default)]
    drop_old: bool,
}

async fn rotate(
    State(issuer): State<Arc<Issuer>>,
    Query(rotation): Query<Rotation>,
) -> Answer<Json<Value>> {
    let key = SigningKey::generate().map_err(internal)?;
    let kid = key.kid.clone();
    issuer.with(|live| {
        if rotation.drop_old {
            live.keys.clear();
        }
        live.keys.push(key);
    });
    Ok(Json(json!({ "kid": kid })))
}

#[derive(Deserialize)]
struct FaultQuery {
    kind: Fault,
}

async fn fault(State(issuer): State<Arc<Issuer>>, Query(query): Query<FaultQuery>) -> StatusCode {
    issuer.with(|live| live.fault = query.kind);
    StatusCode::NO_CONTENT
}

async fn requests(State(issuer): State<Arc<Issuer>>) -> Json<Requests> {
    Json(issuer.with(|live| live.requests))
}

#[derive(Deserialize)]
struct Approval {
    user_code: String,
    /// User name of the person who signs in; absent means declined.
    user: Option<String>,
}

async fn approve(
    State(issuer): State<Arc<Issuer>>,
    Query(approval): Query<Approval>,
) -> Answer<String> {
    let missing = |what| (StatusCode::NOT_FOUND, what);
    let now_s = now_s();
    issuer.with(|live| {
        let device = live
            .device_codes
            .values_mut()
            .find(|device| device.user_code == approval.user_code && device.expires_s > now_s)
            .ok_or(missing("no such code"))?;
        let tenants = &issuer.directory.tenants;
        let tenant = tenants.iter().find(|tenant| tenant.id == device.tenant);
        let tenant = tenant.ok_or(missing("no such tenant"))?;
        let app = tenant
            .apps
            .iter()
            .find(|app| app.client_id == device.client_id);
        let app = app.ok_or(missing("no such app"))?;
        let Some(username) = approval.user else {
            device.state = DeviceState::Declined;
            return Ok(format!("You did not sign in to {}.", app.name));
        };
        let user = tenant.user(&username).ok_or(missing("no such user"))?;
        device.state = DeviceState::Approved(user.username.clone());
        Ok(format!(
            "{} has signed in to {}. You may close this page.",
            user.name, app.name
        ))
    })
}

fn internal<E>(_: E) -> (StatusCode, &'static str) {
    (StatusCode::INTERNAL_SERVER_ERROR, "internal error")
}
