//! The gateway's token handling against the development issuer, over real HTTPS.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests may fail like tests"
)]

use std::{
    future::{Future as _, poll_fn},
    path::PathBuf,
    process::{Child, Command},
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use gateway_core::{
    azure::{
        CredentialKind, FetchError, JwksCache, RefreshSchedule, TokenSource, TokenSourceError,
        TokenVerifier, https_client,
    },
    id::{AppId, TenantId},
    identity::{
        Authenticated, Groups, Principal, PrincipalKind, TokenRejection, TokenRules, TokenVersion,
    },
};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

const TENANT: &str = "11111111-2222-4333-8444-555555555555";
const GATEWAY: &str = "0a0a0a0a-0000-4000-8000-000000000001";
const BILLING_AGENT: &str = "b0b0b0b0-0000-4000-8000-000000000001";
const CLUSTER_AGENT: &str = "b0b0b0b0-0000-4000-8000-000000000002";
const CLI: &str = "b0b0b0b0-0000-4000-8000-0000000000c1";
const SCOPE: &str = "api://gateway/.default";

/// A running issuer; it ends with the test.
struct Issuer {
    process: Child,
    _dir: tempfile::TempDir,
    authority: String,
    tls: rustls::ClientConfig,
    token_file: PathBuf,
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Issuer {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ready = dir.path().join("ready.json");
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/issuer/directory.toml");
        let process = Command::new(env!("CARGO_BIN_EXE_issuer"))
            .args([
                "--config",
                directory,
                "--listen",
                "127.0.0.1:0",
                "--cert-dir",
            ])
            .arg(dir.path())
            .arg("--ready-file")
            .arg(&ready)
            .spawn()
            .unwrap();
        let started = Instant::now();
        while !ready.exists() {
            assert!(
                started.elapsed() < Duration::from_secs(30),
                "issuer did not start"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        let ready: Value = serde_json::from_slice(&std::fs::read(&ready).unwrap()).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_file(ready["ca"].as_str().unwrap()).unwrap())
            .unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let token_file = dir.path().join("federated-token");
        std::fs::write(&token_file, "federated-token-of-the-cluster\n").unwrap();
        let authority = ready["authority"].as_str().unwrap().to_owned();
        Self {
            process,
            _dir: dir,
            authority,
            tls,
            token_file,
        }
    }

    fn rules(&self) -> TokenRules {
        TokenRules::new(&self.authority, [tenant()], [GATEWAY.to_owned()]).unwrap()
    }

    fn verifier(&self, schedule: RefreshSchedule) -> TokenVerifier {
        let http = https_client(self.tls.clone()).unwrap();
        TokenVerifier::new(&http, self.rules(), schedule)
    }

    fn keys(&self, schedule: RefreshSchedule) -> JwksCache {
        let http = https_client(self.tls.clone()).unwrap();
        let rules = self.rules();
        let issuer = rules.issuer(tenant(), TokenVersion::V2).unwrap();
        JwksCache::new(http, &rules, issuer, schedule)
    }

    fn source(&self, client: &str, kind: CredentialKind) -> TokenSource {
        let http = https_client(self.tls.clone()).unwrap();
        let client = AppId::parse(client).unwrap();
        TokenSource::new(http, &self.rules(), tenant(), client, kind).unwrap()
    }

    async fn get(&self, path: &str) -> Value {
        let http = https_client(self.tls.clone()).unwrap();
        let answer = http
            .get(format!("{}{path}", self.authority))
            .send()
            .await
            .unwrap();
        answer.error_for_status().unwrap().json().await.unwrap()
    }

    async fn post(&self, path: &str, body: Value) {
        let http = https_client(self.tls.clone()).unwrap();
        let answer = http
            .post(format!("{}{path}", self.authority))
            .json(&body)
            .send()
            .await;
        answer.unwrap().error_for_status().unwrap();
    }

    async fn forge(&self, forgery: Value) -> String {
        let http = https_client(self.tls.clone()).unwrap();
        let answer = http
            .post(format!("{}/dev/token", self.authority))
            .json(&forgery)
            .send()
            .await;
        let answer: Value = answer
            .unwrap()
            .error_for_status()
            .unwrap()
            .json()
            .await
            .unwrap();
        answer["access_token"].as_str().unwrap().to_owned()
    }

    async fn form(&self, path: &str, fields: &[(&str, &str)]) -> Value {
        let http = https_client(self.tls.clone()).unwrap();
        let url = format!("{}/{TENANT}/oauth2/v2.0/{path}", self.authority);
        http.post(url)
            .form(fields)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap()
    }

    async fn key_requests(&self) -> u64 {
        self.get("/dev/requests").await["keys"].as_u64().unwrap()
    }
}

fn tenant() -> TenantId {
    TenantId::parse(TENANT).unwrap()
}

/// No waiting between refreshes.
fn eager() -> RefreshSchedule {
    RefreshSchedule {
        unknown_key_interval: Duration::ZERO,
        retry_interval: Duration::ZERO,
        ..RefreshSchedule::default()
    }
}

async fn check(verifier: &TokenVerifier, token: &str) -> Result<Principal, TokenRejection> {
    verifier.verify(token).await.map(Authenticated::into_inner)
}

#[tokio::test]
async fn client_secret_and_workload_identity_tokens_are_accepted() {
    let issuer = Issuer::start();
    let verifier = issuer.verifier(RefreshSchedule::default());
    verifier.prefetch().await.unwrap();
    let secret = CredentialKind::ClientSecret(SecretString::from("billing-secret"));
    let federated = CredentialKind::WorkloadIdentity {
        token_file: issuer.token_file.clone(),
    };
    for (client, kind, client_auth) in [(BILLING_AGENT, secret, 1), (CLUSTER_AGENT, federated, 2)] {
        let token = issuer.source(client, kind).token(SCOPE).await.unwrap();
        let principal = check(&verifier, token.secret.expose_secret())
            .await
            .unwrap();
        assert_eq!(principal.app.to_string(), client);
        assert_eq!(principal.kind, PrincipalKind::Application);
        assert_eq!(principal.client_auth, Some(client_auth));
        assert_eq!(principal.roles, ["Gateway.Connect"]);
        let difference = principal
            .expires_at
            .as_secs()
            .abs_diff(token.expires_at.as_secs());
        assert!(difference <= 2, "{difference} s");
    }
    assert_eq!(issuer.key_requests().await, 1);
}

#[tokio::test]
async fn wrong_credentials_are_refused_with_entras_codes() {
    let issuer = Issuer::start();
    let wrong_file = issuer.token_file.with_extension("wrong");
    std::fs::write(&wrong_file, "somebody-elses").unwrap();
    let secret = |text: &str| CredentialKind::ClientSecret(SecretString::from(text.to_owned()));
    let federated = CredentialKind::WorkloadIdentity {
        token_file: wrong_file,
    };
    for (client, kind, scope, expected) in [
        (BILLING_AGENT, secret("wrong"), SCOPE, "7000215"),
        (CLI, secret("billing-secret"), SCOPE, "7000215"),
        (GATEWAY, secret("billing-secret"), SCOPE, "700016"),
        (CLUSTER_AGENT, federated, SCOPE, "700213"),
        (
            BILLING_AGENT,
            secret("billing-secret"),
            "api://other/.default",
            "70011",
        ),
    ] {
        let refused = issuer.source(client, kind).token(scope).await.unwrap_err();
        let TokenSourceError::Refused { codes, .. } = &refused else {
            panic!("{refused:?}")
        };
        assert_eq!(codes, expected);
    }
}

#[tokio::test]
async fn an_untrusted_issuer_is_named_as_such() {
    let mut issuer = Issuer::start();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    issuer.tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let secret = CredentialKind::ClientSecret(SecretString::from("billing-secret"));
    let error = issuer
        .source(BILLING_AGENT, secret)
        .token(SCOPE)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("UnknownIssuer"), "{error}");
    let (_, error) = issuer
        .verifier(RefreshSchedule::default())
        .prefetch()
        .await
        .unwrap_err();
    assert!(matches!(error, FetchError::Read { .. }), "{error:?}");
}

#[tokio::test]
async fn a_person_signs_in_with_a_device_code() {
    let issuer = Issuer::start();
    let verifier = issuer.verifier(RefreshSchedule::default());
    let scope = "api://gateway/gateway.access openid offline_access";
    for (user, groups) in [
        (
            "rita@example.com",
            Some("c0c0c0c0-0000-4000-8000-000000000001"),
        ),
        ("omar@example.com", None),
    ] {
        let started = issuer
            .form("devicecode", &[("client_id", CLI), ("scope", scope)])
            .await;
        let poll = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
            ("client_id", CLI),
            ("device_code", started["device_code"].as_str().unwrap()),
        ];
        assert_eq!(
            issuer.form("token", &poll).await["error"],
            "authorization_pending"
        );
        let code = started["user_code"].as_str().unwrap();
        issuer
            .post(
                &format!("/dev/approve?user_code={code}&user={user}"),
                Value::Null,
            )
            .await;
        let granted = issuer.form("token", &poll).await;
        assert_eq!(granted["scope"], "gateway.access");
        let person = check(&verifier, granted["access_token"].as_str().unwrap())
            .await
            .unwrap();
        assert_eq!(person.kind, PrincipalKind::User);
        let known = groups.map(|id| gateway_core::id::ObjectId::parse(id).unwrap());
        assert_eq!(
            person.groups,
            known.map_or(Groups::Overage, |id| Groups::Known(vec![id]))
        );
        assert_eq!(
            issuer.form("token", &poll).await["error"],
            "invalid_grant",
            "redeemed once"
        );
    }
}

#[tokio::test]
async fn forged_tokens_are_rejected_with_their_reason() {
    let issuer = Issuer::start();
    let verifier = issuer.verifier(RefreshSchedule::default());
    let other = "99999999-2222-4333-8444-555555555555";
    let sts = format!("https://sts.windows.net/{TENANT}/");
    for (forgery, code) in [
        (
            json!({ "header": { "alg": "none" }, "signature": "none" }),
            "algorithm",
        ),
        (
            json!({ "header": { "alg": "HS256" }, "signature": "hs256_public_key" }),
            "algorithm",
        ),
        (json!({ "signature": "hs256_public_key" }), "signature"),
        (json!({ "signature": "none" }), "signature"),
        (json!({ "signature": "other_key" }), "signature"),
        (json!({ "signature": "broken" }), "signature"),
        (json!({ "header": { "kid": "nobodys" } }), "unknown_key"),
        (json!({ "header": { "kid": null } }), "malformed"),
        (json!({ "claims": { "tid": other } }), "tenant"),
        (
            json!({ "claims": { "iss": "https://login.microsoftonline.com/x/v2.0" } }),
            "issuer",
        ),
        (
            json!({ "claims": { "aud": "00000003-0000-0000-c000-000000000000" } }),
            "audience",
        ),
        (json!({ "claims": { "ver": "1.0", "iss": sts } }), "version"),
        (json!({ "claims": { "exp": 1_700_000_000 } }), "expired"),
        (
            json!({ "claims": { "nbf": 4_000_000_000_u64 } }),
            "not_yet_valid",
        ),
        (json!({ "claims": { "azp": null } }), "missing_claim"),
        (
            json!({ "user": "rita@example.com", "claims": { "scp": null } }),
            "missing_claim",
        ),
        (json!({ "claims": { "idtyp": "device" } }), "invalid_claim"),
    ] {
        let token = issuer.forge(forgery.clone()).await;
        let rejection = check(&verifier, &token).await.unwrap_err();
        assert_eq!(rejection.code(), code, "{forgery}");
    }
    let genuine = issuer.forge(json!({ "user": "rita@example.com" })).await;
    assert_eq!(
        check(&verifier, &genuine).await.unwrap().display_name,
        "Rita Reviewer"
    );
}

#[tokio::test]
async fn rotation_is_followed_and_a_withdrawn_key_is_dropped() {
    let issuer = Issuer::start();
    let verifier = issuer.verifier(eager());
    let old = issuer.forge(json!({})).await;
    assert!(check(&verifier, &old).await.is_ok());

    issuer.post("/dev/rotate?drop_old=false", Value::Null).await;
    let new = issuer.forge(json!({})).await;
    assert!(
        check(&verifier, &new).await.is_ok(),
        "an unknown key is looked up"
    );
    assert!(
        check(&verifier, &old).await.is_ok(),
        "the old key is still published"
    );
    assert_eq!(issuer.key_requests().await, 2);

    issuer.post("/dev/rotate?drop_old=true", Value::Null).await;
    assert!(
        check(&verifier, &issuer.forge(json!({})).await)
            .await
            .is_ok()
    );
    assert_eq!(
        check(&verifier, &new).await.unwrap_err(),
        TokenRejection::UnknownKey
    );
}

#[tokio::test]
async fn unknown_keys_cause_one_fetch_a_minute_however_many_ask() {
    let issuer = Issuer::start();
    let verifier = Arc::new(issuer.verifier(RefreshSchedule::default()));
    let token = Arc::new(
        issuer
            .forge(json!({ "header": { "kid": "nobodys" } }))
            .await,
    );
    let asked: Vec<_> = (0..50)
        .map(|_| {
            let (verifier, token) = (Arc::clone(&verifier), Arc::clone(&token));
            tokio::spawn(async move { check(&verifier, &token).await.unwrap_err() })
        })
        .collect();
    for verdict in asked {
        assert_eq!(verdict.await.unwrap(), TokenRejection::UnknownKey);
    }
    assert_eq!(
        issuer.key_requests().await,
        2,
        "the first load, and one refresh"
    );
}

#[tokio::test]
async fn a_cancelled_caller_does_not_cancel_the_refresh() {
    let issuer = Issuer::start();
    let verifier = issuer.verifier(RefreshSchedule::default());
    assert!(
        check(&verifier, &issuer.forge(json!({})).await)
            .await
            .is_ok()
    );
    issuer.post("/dev/rotate?drop_old=true", Value::Null).await;
    let token = issuer.forge(json!({})).await;
    let mut hurried = Box::pin(check(&verifier, &token));
    let once = poll_fn(|context| Poll::Ready(hurried.as_mut().poll(context).is_pending()));
    assert!(once.await, "the refresh is under way");
    drop(hurried);
    assert!(check(&verifier, &token).await.is_ok());
    assert_eq!(issuer.key_requests().await, 2);
}

#[tokio::test]
async fn an_outage_keeps_old_keys_for_a_while_only() {
    let issuer = Issuer::start();
    let schedule = RefreshSchedule {
        refresh_after: Duration::ZERO,
        stale_max: Duration::from_secs(2),
        retry_interval: Duration::ZERO,
        ..RefreshSchedule::default()
    };
    let verifier = issuer.verifier(schedule);
    let token = issuer.forge(json!({})).await;
    assert!(check(&verifier, &token).await.is_ok());
    issuer.post("/dev/fault?kind=down", Value::Null).await;
    assert!(check(&verifier, &token).await.is_ok(), "old keys serve");
    tokio::time::sleep(Duration::from_millis(2100)).await;
    assert_eq!(
        check(&verifier, &token).await.unwrap_err(),
        TokenRejection::KeysUnavailable
    );
    issuer.post("/dev/fault?kind=none", Value::Null).await;
    assert!(
        check(&verifier, &token).await.is_ok(),
        "and the outage ends by itself"
    );
}

#[tokio::test]
async fn due_keys_are_refreshed_behind_the_callers_back() {
    let issuer = Issuer::start();
    let schedule = RefreshSchedule {
        refresh_after: Duration::from_millis(200),
        ..eager()
    };
    let cache = issuer.keys(schedule);
    let first = cache.keys().await.unwrap();
    tokio::time::sleep(Duration::from_millis(250)).await;
    assert!(
        Arc::ptr_eq(&first, &cache.keys().await.unwrap()),
        "nobody waits"
    );
    let deadline = Instant::now() + Duration::from_secs(10);
    while Arc::ptr_eq(&first, &cache.keys().await.unwrap()) {
        assert!(Instant::now() < deadline, "keys were never refreshed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn wrong_metadata_gives_no_keys() {
    let issuer = Issuer::start();
    let cache = issuer.keys(eager());
    for kind in ["other_issuer", "keys_elsewhere", "huge_keys", "down"] {
        issuer
            .post(&format!("/dev/fault?kind={kind}"), Value::Null)
            .await;
        let error = cache.keys().await.unwrap_err();
        let expected = match kind {
            "other_issuer" => matches!(error, FetchError::Issuer),
            "keys_elsewhere" => matches!(error, FetchError::KeysElsewhere),
            _ => matches!(error, FetchError::Read { .. }),
        };
        assert!(expected, "{kind}: {error:?}");
    }
}

#[test]
fn the_issuer_refuses_to_be_reachable_from_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let refused = Command::new(env!("CARGO_BIN_EXE_issuer"))
        .args(["--config", "unread", "--listen", "0.0.0.0:0", "--cert-dir"])
        .arg(dir.path())
        .arg("--ready-file")
        .arg(dir.path().join("ready.json"))
        .output()
        .unwrap();
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("loopback"));
}
