//! Entra's own endpoints: discovery, keys, tokens, device codes.

use std::{sync::Arc, time::Duration};

use axum::{
    Form, Json, Router,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    config::{App, Tenant, Version},
    keys::Signature,
    state::{DeviceCode, DeviceState, Fault, Issuer, now_s},
    tokens::{Common, random_text},
};

const DEVICE_CODE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const DEVICE_CODE_LIFETIME: Duration = Duration::from_secs(900);

pub(crate) fn routes() -> Router<Arc<Issuer>> {
    Router::new()
        .route(
            "/{tenant}/v2.0/.well-known/openid-configuration",
            get(|issuer, tenant| discovery(issuer, tenant, Version::V2)),
        )
        .route(
            "/{tenant}/discovery/v2.0/keys",
            get(|issuer, tenant| keys(issuer, tenant, Version::V2)),
        )
        .route(
            "/{tenant}/.well-known/openid-configuration",
            get(|issuer, tenant| discovery(issuer, tenant, Version::V1)),
        )
        .route(
            "/{tenant}/discovery/keys",
            get(|issuer, tenant| keys(issuer, tenant, Version::V1)),
        )
        .route("/{tenant}/oauth2/v2.0/token", post(token))
        .route("/{tenant}/oauth2/v2.0/devicecode", post(device_code))
}

/// An answer in the form of Entra's error responses.
pub(crate) struct Refusal {
    status: StatusCode,
    error: &'static str,
    code: u32,
    text: &'static str,
}

impl Refusal {
    const fn new(status: StatusCode, error: &'static str, code: u32, text: &'static str) -> Self {
        Self {
            status,
            error,
            code,
            text,
        }
    }

    const fn bad(error: &'static str, code: u32, text: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error, code, text)
    }

    fn internal<E>(_: E) -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "server_error",
            90033,
            "Internal error.",
        )
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let description = format!("AADSTS{}: {}", self.code, self.text);
        let body = json!({
            "error": self.error, "error_description": description, "error_codes": [self.code],
        });
        (self.status, Json(body)).into_response()
    }
}

const NO_TENANT: Refusal = Refusal::bad("invalid_tenant", 90002, "Tenant not found.");
const NO_APP: Refusal = Refusal::bad(
    "unauthorized_client",
    700_016,
    "Application not found in the directory.",
);
const BAD_SCOPE: Refusal = Refusal::bad(
    "invalid_scope",
    70011,
    "The provided value for the input parameter 'scope' is not valid.",
);
const BAD_CLIENT: Refusal = Refusal::new(
    StatusCode::UNAUTHORIZED,
    "invalid_client",
    7_000_215,
    "Invalid client secret provided.",
);
const BAD_ASSERTION: Refusal = Refusal::new(
    StatusCode::UNAUTHORIZED,
    "invalid_client",
    700_213,
    "No matching federated identity record found for presented assertion.",
);

async fn discovery(
    State(issuer): State<Arc<Issuer>>,
    Path(tenant): Path<String>,
    version: Version,
) -> Result<Json<Value>, Refusal> {
    let tenant = issuer.directory.tenant(&tenant).ok_or(NO_TENANT)?;
    let fault = issuer.with(|live| {
        live.requests.discovery += 1;
        live.fault
    });
    let authority = &issuer.authority;
    let (issuer_host, keys_host) = match fault {
        Fault::Down => return Err(Refusal::internal(())),
        Fault::OtherIssuer => ("https://issuer.invalid", authority.as_str()),
        Fault::KeysElsewhere => (authority.as_str(), "https://keys.invalid"),
        Fault::None | Fault::HugeKeys => (authority.as_str(), authority.as_str()),
    };
    let id = tenant.id;
    let keys = match version {
        Version::V1 => "discovery/keys",
        Version::V2 => "discovery/v2.0/keys",
    };
    Ok(Json(json!({
        "issuer": version.issuer(issuer_host, id),
        "jwks_uri": format!("{keys_host}/{id}/{keys}"),
        "token_endpoint": format!("{authority}/{id}/oauth2/v2.0/token"),
        "device_authorization_endpoint": format!("{authority}/{id}/oauth2/v2.0/devicecode"),
        "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt"],
        "response_types_supported": ["code"],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["RS256"],
    })))
}

async fn keys(
    State(issuer): State<Arc<Issuer>>,
    Path(tenant): Path<String>,
    version: Version,
) -> Result<Json<Value>, Refusal> {
    issuer.directory.tenant(&tenant).ok_or(NO_TENANT)?;
    let template = version.issuer(&issuer.authority, "{tenantid}");
    let (fault, keys) = issuer.with(|live| {
        live.requests.keys += 1;
        let keys: Result<Vec<Value>, _> = live.keys.iter().map(|key| key.jwk(&template)).collect();
        (live.fault, keys)
    });
    let keys = keys.map_err(Refusal::internal)?;
    match fault {
        Fault::Down => Err(Refusal::internal(())),
        Fault::HugeKeys => Ok(Json(
            json!({ "keys": keys, "padding": "x".repeat(1024 * 1024) }),
        )),
        Fault::None | Fault::OtherIssuer | Fault::KeysElsewhere => {
            Ok(Json(json!({ "keys": keys })))
        }
    }
}

#[derive(Deserialize)]
struct TokenForm {
    grant_type: Option<String>,
    client_id: Option<String>,
    client_secret: Option<String>,
    client_assertion: Option<String>,
    client_assertion_type: Option<String>,
    scope: Option<String>,
    device_code: Option<String>,
}

async fn token(
    State(issuer): State<Arc<Issuer>>,
    Path(tenant): Path<String>,
    Form(form): Form<TokenForm>,
) -> Result<Json<Value>, Refusal> {
    issuer.with(|live| live.requests.token += 1);
    let tenant = issuer.directory.tenant(&tenant).ok_or(NO_TENANT)?;
    let app = form
        .client_id
        .as_deref()
        .and_then(|id| tenant.app(id))
        .ok_or(NO_APP)?;
    match form.grant_type.as_deref() {
        Some("client_credentials") => client_credentials(&issuer, tenant, app, &form),
        Some(DEVICE_CODE_GRANT) => redeem_device_code(&issuer, tenant, app, &form),
        _ => Err(Refusal::bad(
            "unsupported_grant_type",
            70003,
            "The grant type is not supported.",
        )),
    }
}

fn client_credentials(
    issuer: &Issuer,
    tenant: &Tenant,
    app: &App,
    form: &TokenForm,
) -> Result<Json<Value>, Refusal> {
    let client_auth = match (&form.client_secret, &form.client_assertion) {
        (Some(secret), None) if app.secret.as_ref() == Some(secret) => "1",
        (None, Some(assertion)) if form.client_assertion_type.as_deref() == Some(JWT_BEARER) => {
            // The platform's token file usually ends in a newline.
            if app.assertion.as_deref().map(str::trim) != Some(assertion.trim()) {
                return Err(BAD_ASSERTION);
            }
            "2"
        }
        _ => return Err(BAD_CLIENT),
    };
    let scope = form
        .scope
        .as_deref()
        .filter(|scope| scope.ends_with("/.default"))
        .ok_or(BAD_SCOPE)?;
    let (resource, _) = tenant.scopes(scope).ok_or(BAD_SCOPE)?;
    let common = issuer.common(tenant, resource, app);
    let claims = common.app_claims(client_auth).map_err(Refusal::internal)?;
    let token = issuer
        .sign(&json!({}), &claims, Signature::Rs256)
        .map_err(Refusal::internal)?;
    Ok(granted(&common, &token, None))
}

fn granted(common: &Common<'_>, token: &str, scope: Option<&str>) -> Json<Value> {
    let mut answer = json!({
        "token_type": "Bearer", "expires_in": common.lifetime_s,
        "ext_expires_in": common.lifetime_s, "access_token": token,
    });
    if let Some(scope) = scope {
        crate::tokens::set(&mut answer, "scope", json!(scope));
    }
    Json(answer)
}

#[derive(Deserialize)]
struct DeviceForm {
    client_id: Option<String>,
    scope: Option<String>,
}

/// RFC 8628, sections 3.1 and 3.2.
async fn device_code(
    State(issuer): State<Arc<Issuer>>,
    Path(tenant): Path<String>,
    Form(form): Form<DeviceForm>,
) -> Result<Json<Value>, Refusal> {
    let tenant = issuer.directory.tenant(&tenant).ok_or(NO_TENANT)?;
    let app = form
        .client_id
        .as_deref()
        .and_then(|id| tenant.app(id))
        .ok_or(NO_APP)?;
    let scope = form.scope.unwrap_or_default();
    tenant.scopes(&scope).ok_or(BAD_SCOPE)?;
    let device_code = random_text().map_err(Refusal::internal)?;
    let user_code: String = random_text()
        .map_err(Refusal::internal)?
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .take(9)
        .collect::<String>()
        .to_ascii_uppercase();
    let now_s = now_s();
    let pending = DeviceCode {
        tenant: tenant.id,
        client_id: app.client_id,
        scope,
        user_code: user_code.clone(),
        expires_s: now_s.saturating_add(DEVICE_CODE_LIFETIME.as_secs()),
        state: DeviceState::Pending,
    };
    if !issuer.with(|live| live.add_device_code(device_code.clone(), pending, now_s)) {
        return Err(Refusal::internal(()));
    }
    let verification_uri = format!("{}/dev/approve", issuer.authority);
    let message = format!(
        "To sign in, use a web browser to open the page {verification_uri} and enter the code {user_code} to authenticate."
    );
    Ok(Json(json!({
        "device_code": device_code, "user_code": user_code, "verification_uri": verification_uri,
        "expires_in": DEVICE_CODE_LIFETIME.as_secs(), "interval": 1, "message": message,
    })))
}

/// RFC 8628, sections 3.4 and 3.5.
fn redeem_device_code(
    issuer: &Issuer,
    tenant: &Tenant,
    app: &App,
    form: &TokenForm,
) -> Result<Json<Value>, Refusal> {
    let code = form.device_code.as_deref().unwrap_or_default();
    let taken = issuer.with(|live| live.redeem_device_code(code));
    let device = taken
        .filter(|device| device.tenant == tenant.id && device.client_id == app.client_id)
        .ok_or(Refusal::bad(
            "invalid_grant",
            70000,
            "The provided device code is not valid.",
        ))?;
    let username = match device.state {
        _ if device.expires_s <= now_s() => {
            return Err(Refusal::bad(
                "expired_token",
                70020,
                "The device code has expired.",
            ));
        }
        DeviceState::Pending => {
            return Err(Refusal::bad(
                "authorization_pending",
                70016,
                "The user has not finished authenticating yet.",
            ));
        }
        DeviceState::Declined => {
            return Err(Refusal::bad(
                "authorization_declined",
                70018,
                "The user has declined.",
            ));
        }
        DeviceState::Approved(username) => username,
    };
    let user = tenant.user(&username).ok_or(Refusal::internal(()))?;
    let (resource, scopes) = tenant.scopes(&device.scope).ok_or(BAD_SCOPE)?;
    let common = issuer.common(tenant, resource, app);
    let claims = common
        .user_claims(user, &scopes)
        .map_err(Refusal::internal)?;
    let token = issuer
        .sign(&json!({}), &claims, Signature::Rs256)
        .map_err(Refusal::internal)?;
    Ok(granted(&common, &token, Some(&scopes.join(" "))))
}
