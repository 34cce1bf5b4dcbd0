//! Test only: a signing key and tokens shaped like Entra's.

use std::sync::OnceLock;

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeySize,
    signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

pub(crate) const TENANT: &str = "11111111-2222-4333-8444-555555555555";
pub(crate) const ISSUER: &str = "https://login.example/11111111-2222-4333-8444-555555555555/v2.0";
pub(crate) const AUTHORITY: &str = "https://login.example";
pub(crate) const AUDIENCE: &str = "0a0a0a0a-0000-4000-8000-000000000001";
pub(crate) const NOW_S: u64 = 1_790_000_000;

/// An RSA-2048 key pair; made once per process.
pub(crate) struct SigningKey(RsaKeyPair);

pub(crate) fn signing_key() -> &'static SigningKey {
    static KEY: OnceLock<SigningKey> = OnceLock::new();
    KEY.get_or_init(SigningKey::generate)
}

impl SigningKey {
    pub(crate) fn generate() -> Self {
        Self(RsaKeyPair::generate(KeySize::Rsa2048).unwrap())
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let mut signature = vec![0; self.0.public_modulus_len()];
        self.0
            .sign(
                &RSA_PKCS1_SHA256,
                &SystemRandom::new(),
                message,
                &mut signature,
            )
            .unwrap();
        signature
    }

    /// The DER form of the public key (RFC 8017, appendix A.1.1), as an attacker knows it.
    pub(crate) fn public_der(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    /// The JWKS entry. A 2048-bit `RSAPublicKey` always is `30 82 xx xx 02 82 01 01 00 <256
    /// bytes> 02 03 01 00 01`.
    pub(crate) fn jwk(&self, kid: &str) -> Value {
        let modulus = &self.public_der()[9..9 + 256];
        json!({ "kty": "RSA", "use": "sig", "kid": kid, "e": "AQAB", "n": URL_SAFE_NO_PAD.encode(modulus) })
    }

    pub(crate) fn token(&self, header: &Value, claims: &Value) -> String {
        let input = signing_input(header, claims);
        let signature = URL_SAFE_NO_PAD.encode(self.sign(input.as_bytes()));
        format!("{input}.{signature}")
    }
}

pub(crate) fn signing_input(header: &Value, claims: &Value) -> String {
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}", encode(header), encode(claims))
}

pub(crate) fn header() -> Value {
    json!({ "typ": "JWT", "alg": "RS256", "kid": "k1" })
}

/// Claims of an app-only v2.0 token.
pub(crate) fn app_claims() -> Value {
    json!({
        "ver": "2.0", "iss": ISSUER, "aud": AUDIENCE, "tid": TENANT,
        "azp": "bbbbbbbb-0000-4000-8000-000000000001", "azpacr": "1",
        "oid": "aaaaaaaa-0000-4000-8000-000000000001", "sub": "aaaaaaaa-0000-4000-8000-000000000001",
        "idtyp": "app", "roles": ["Gateway.Connect"], "uti": "dGhlLXRva2VuLWlk",
        "iat": NOW_S - 10, "nbf": NOW_S - 10, "exp": NOW_S + 3600,
    })
}

/// Claims of a person's delegated v2.0 token.
pub(crate) fn user_claims() -> Value {
    let mut claims = app_claims();
    for (name, value) in [
        ("idtyp", Value::Null),
        ("sub", json!("pairwise-subject")),
        ("scp", json!("gateway.access")),
        ("name", json!("Rita Reviewer")),
        ("preferred_username", json!("rita@example.com")),
        (
            "groups",
            json!([
                "cccccccc-0000-4000-8000-000000000002",
                "cccccccc-0000-4000-8000-000000000001"
            ]),
        ),
    ] {
        claims[name] = value;
    }
    claims
}
