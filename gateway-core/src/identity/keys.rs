//! An issuer's public keys, parsed from its JWKS document.

use std::fmt;

use aws_lc_rs::signature::{ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;

use crate::id::TenantId;

/// The RSA signature keys of one issuer, by key id.
///
/// Entra adds an `issuer` member to each key, with `{tenantid}` standing for the tenant: such a
/// key verifies tokens of that issuer only (Microsoft identity platform, "Access tokens", section
/// "Validate the signing key issuer").
#[derive(Default)]
pub struct KeySet {
    keys: Vec<Key>,
    skipped: usize,
}

/// One public key that may verify RS256 signatures.
struct Key {
    id: String,
    issuer: Option<String>,
    public: ParsedPublicKey,
}

/// Why a JWKS document gives no key set. Never holds document text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// Longer than [`KeySet::DOCUMENT_BYTES_MAX`].
    #[error("key document is larger than {} bytes", KeySet::DOCUMENT_BYTES_MAX)]
    TooLarge,
    /// Not a JWKS document (RFC 7517, section 5, "JWK Set Format").
    #[error("key document is not a JSON Web Key Set")]
    Malformed,
    /// More than [`KeySet::KEYS_MAX`] entries.
    #[error("key document holds more than {} keys", KeySet::KEYS_MAX)]
    TooManyKeys,
    /// Not one RSA signature key of 2048 to 8192 bits with a key id.
    #[error("key document holds no usable RSA signature key")]
    NoUsableKey,
}

/// What a key set says about one signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyVerdict {
    /// Signed by that key.
    Valid,
    /// The key exists, the signature isn't its.
    Invalid,
    /// The key exists for another issuer only.
    OtherIssuer,
    /// No key has this id.
    Unknown,
}

/// RFC 7517, section 5, "JWK Set Format".
#[derive(Deserialize)]
struct Document {
    keys: Vec<Jwk>,
}

/// RFC 7517, section 4, "JSON Web Key (JWK) Format", and RFC 7518, section 6.3.1.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    #[serde(rename = "use")]
    usage: Option<String>,
    alg: Option<String>,
    kid: Option<String>,
    n: Option<String>,
    e: Option<String>,
    issuer: Option<String>,
}

impl KeySet {
    /// The largest JWKS document accepted: 256 KiB. Entra's is about 20 KiB.
    pub const DOCUMENT_BYTES_MAX: usize = 256 * 1024;
    /// The most entries accepted. Entra publishes about ten.
    pub const KEYS_MAX: usize = 64;

    /// Parses a JWKS document. Keys that can't verify RS256 (other kinds, encryption keys, fewer
    /// than 2048 or more than 8192 bits, an exponent other than 65537, no id) are left out and counted by [`KeySet::skipped`].
    ///
    /// # Errors
    /// [`KeySetError`] when the document is too large, isn't a JWKS or holds no usable key.
    pub fn parse(document: &[u8]) -> Result<Self, KeySetError> {
        if document.len() > Self::DOCUMENT_BYTES_MAX {
            return Err(KeySetError::TooLarge);
        }
        let document: Document =
            serde_json::from_slice(document).map_err(|_| KeySetError::Malformed)?;
        if document.keys.len() > Self::KEYS_MAX {
            return Err(KeySetError::TooManyKeys);
        }
        let total = document.keys.len();
        let keys: Vec<Key> = document.keys.into_iter().filter_map(Key::usable).collect();
        if keys.is_empty() {
            return Err(KeySetError::NoUsableKey);
        }
        let skipped = total.saturating_sub(keys.len());
        Ok(Self { keys, skipped })
    }

    /// Number of usable keys.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is no usable key: true of [`KeySet::default`] only.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Number of entries in the document that were left out.
    #[must_use]
    pub const fn skipped(&self) -> usize {
        self.skipped
    }

    /// Whether some key has this id.
    #[must_use]
    pub fn contains(&self, key_id: &str) -> bool {
        self.keys.iter().any(|key| key.id == key_id)
    }

    /// Checks an RSASSA-PKCS1-v1_5 SHA-256 signature (RFC 7518, section 3.3) of a token that says
    /// it comes from `issuer`, with its tenant.
    pub(super) fn check(
        &self,
        key_id: &str,
        issuer: &(String, TenantId),
        message: &[u8],
        signature: &[u8],
    ) -> KeyVerdict {
        let mut verdict = KeyVerdict::Unknown;
        // The same id may be listed for several issuers: the one that fits decides.
        for key in self.keys.iter().filter(|key| key.id == key_id) {
            if !key.serves(issuer) {
                verdict = KeyVerdict::OtherIssuer;
            } else if key.public.verify_sig(message, signature).is_ok() {
                return KeyVerdict::Valid;
            } else {
                return KeyVerdict::Invalid;
            }
        }
        verdict
    }
}

impl Key {
    fn usable(jwk: Jwk) -> Option<Self> {
        let other_use = jwk.usage.is_some_and(|usage| usage != "sig");
        let other_algorithm = jwk.alg.is_some_and(|alg| alg != "RS256");
        if jwk.kty != "RSA" || other_use || other_algorithm {
            return None;
        }
        let id = jwk.kid.filter(|id| !id.is_empty())?;
        let n = URL_SAFE_NO_PAD.decode(jwk.n?).ok()?;
        let e = URL_SAFE_NO_PAD.decode(jwk.e?).ok()?;
        // aws-lc checks the size only when it verifies, and would take an exponent of 3.
        let bits = n.len().saturating_mul(8).saturating_sub(leading_zeros(&n));
        if !(2048..=8192).contains(&bits) || e != [1, 0, 1] {
            return None;
        }
        let public = RsaPublicKeyComponents { n, e }
            .to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256)
            .ok()?;
        Some(Self {
            id,
            issuer: jwk.issuer,
            public,
        })
    }

    fn serves(&self, (issuer, tenant): &(String, TenantId)) -> bool {
        self.issuer
            .as_deref()
            .is_none_or(|template| template.replace("{tenantid}", &tenant.to_string()) == *issuer)
    }
}

/// Zero bits before the first one of a big-endian number; all of its first byte at most.
fn leading_zeros(number: &[u8]) -> usize {
    number
        .first()
        .map_or(0, |byte| usize::try_from(byte.leading_zeros()).unwrap_or(0))
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.keys.iter().map(|key| &key.id))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::identity::testing::{ISSUER, TENANT, signing_key};

    fn key_set(keys: &[Value]) -> Result<KeySet, KeySetError> {
        KeySet::parse(json!({ "keys": keys }).to_string().as_bytes())
    }

    fn changed(member: &str, value: Value) -> Value {
        let mut jwk = signing_key().jwk("k1");
        jwk[member] = value;
        jwk
    }

    #[test]
    fn only_rsa_signature_keys_of_2048_bits_are_taken() {
        let short_modulus = URL_SAFE_NO_PAD.encode([0xC3_u8; 128]);
        let modulus_of_2047_bits = URL_SAFE_NO_PAD.encode([0x43_u8; 256]);
        let unusable = [
            ("elliptic curve", changed("kty", json!("EC"))),
            ("encryption key", changed("use", json!("enc"))),
            ("other algorithm", changed("alg", json!("RS512"))),
            ("symmetric", changed("kty", json!("oct"))),
            ("1024 bits", changed("n", json!(short_modulus))),
            ("2047 bits", changed("n", json!(modulus_of_2047_bits))),
            ("no modulus", changed("n", Value::Null)),
            ("no exponent", changed("e", Value::Null)),
            ("exponent 1", changed("e", json!("AQ"))),
            ("exponent 3", changed("e", json!("Aw"))),
            ("padding in base64url", changed("e", json!("AQAB="))),
            ("no id", changed("kid", Value::Null)),
            ("empty id", changed("kid", json!(""))),
        ];
        for (why, jwk) in unusable {
            assert_eq!(
                key_set(std::slice::from_ref(&jwk)).unwrap_err(),
                KeySetError::NoUsableKey,
                "{why}"
            );
            let beside_a_good_one = key_set(&[jwk, signing_key().jwk("good")]).unwrap();
            assert_eq!(
                (beside_a_good_one.len(), beside_a_good_one.skipped()),
                (1, 1),
                "{why}"
            );
            assert!(!beside_a_good_one.contains("k1"), "{why}");
        }
    }

    #[test]
    fn documents_are_bounded() {
        let many = vec![signing_key().jwk("k"); KeySet::KEYS_MAX + 1];
        assert_eq!(key_set(&many).unwrap_err(), KeySetError::TooManyKeys);
        let large = vec![b' '; KeySet::DOCUMENT_BYTES_MAX + 1];
        assert_eq!(KeySet::parse(&large).unwrap_err(), KeySetError::TooLarge);
    }

    #[test]
    fn what_is_no_key_set_is_refused() {
        for text in [
            "",
            "null",
            "[]",
            "{}",
            r#"{"keys":{}}"#,
            r#"{"keys":[1]}"#,
            "{\"keys\":[]",
        ] {
            assert_eq!(
                KeySet::parse(text.as_bytes()).unwrap_err(),
                KeySetError::Malformed,
                "{text}"
            );
        }
        assert_eq!(key_set(&[]).unwrap_err(), KeySetError::NoUsableKey);
    }

    #[test]
    fn a_key_verifies_only_for_its_own_issuer() {
        let issuer = (ISSUER.to_owned(), TenantId::parse(TENANT).unwrap());
        let signature = signing_key().sign(b"message");
        let template = "https://login.example/{tenantid}/v2.0";
        let cases = [
            (Value::Null, KeyVerdict::Valid),
            (json!(ISSUER), KeyVerdict::Valid),
            (json!(template), KeyVerdict::Valid),
            (
                json!("https://login.example/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0"),
                KeyVerdict::OtherIssuer,
            ),
            (
                json!("https://evil.example/{tenantid}/v2.0"),
                KeyVerdict::OtherIssuer,
            ),
            (json!(""), KeyVerdict::OtherIssuer),
        ];
        for (key_issuer, expected) in cases {
            let keys = key_set(&[changed("issuer", key_issuer.clone())]).unwrap();
            let verdict = keys.check("k1", &issuer, b"message", &signature);
            assert_eq!(verdict, expected, "{key_issuer}");
        }
        let both = key_set(&[
            changed("issuer", json!("https://a.example/")),
            changed("issuer", json!(template)),
        ])
        .unwrap();
        assert_eq!(
            both.check("k1", &issuer, b"message", &signature),
            KeyVerdict::Valid
        );
        assert_eq!(
            both.check("k1", &issuer, b"other", &signature),
            KeyVerdict::Invalid
        );
        assert_eq!(
            both.check("k2", &issuer, b"message", &signature),
            KeyVerdict::Unknown
        );
    }
}
