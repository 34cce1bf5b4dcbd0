//! Signing keys: generation, rotation, publication.

use aws_lc_rs::{
    digest, hmac,
    rand::SystemRandom,
    rsa::KeySize,
    signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::BoxError;

/// An RSA-2048 signing key.
pub(crate) struct SigningKey {
    pair: RsaKeyPair,
    pub(crate) kid: String,
}

/// How a token is signed, or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Signature {
    /// RS256 with the current key.
    #[default]
    Rs256,
    /// An empty third part.
    None,
    /// HS256 with the DER public key as secret (the classic algorithm confusion).
    Hs256PublicKey,
    /// RS256 with a key that was never published.
    OtherKey,
    /// RS256, then one bit flipped.
    Broken,
}

impl SigningKey {
    pub(crate) fn generate() -> Result<Self, BoxError> {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(|_| "cannot generate a key")?;
        let thumbprint = digest::digest(&digest::SHA256, pair.public_key().as_ref());
        let kid = URL_SAFE_NO_PAD.encode(thumbprint);
        Ok(Self { pair, kid })
    }

    /// The JWKS entry, with Entra's `issuer` member.
    pub(crate) fn jwk(&self, issuer_template: &str) -> Result<Value, BoxError> {
        // RFC 8017, appendix A.1.1: a 2048-bit `RSAPublicKey` with exponent 65537 is 9 bytes of
        // DER headers, 256 bytes of modulus, and the exponent.
        let der = self.pair.public_key().as_ref();
        let modulus = der.get(9..9 + 256).ok_or("unexpected public key length")?;
        Ok(json!({
            "kty": "RSA", "use": "sig", "kid": self.kid, "e": "AQAB",
            "n": URL_SAFE_NO_PAD.encode(modulus), "issuer": issuer_template,
        }))
    }

    /// The compact form of a token.
    pub(crate) fn token(
        &self,
        header: &Value,
        claims: &Value,
        how: Signature,
    ) -> Result<String, BoxError> {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let input = format!("{}.{}", part(header), part(claims));
        let signature = match how {
            Signature::None => Vec::new(),
            Signature::Rs256 => self.sign(input.as_bytes())?,
            Signature::OtherKey => Self::generate()?.sign(input.as_bytes())?,
            Signature::Broken => {
                let mut signature = self.sign(input.as_bytes())?;
                signature.iter_mut().take(1).for_each(|byte| *byte ^= 1);
                signature
            }
            Signature::Hs256PublicKey => {
                let public = self.pair.public_key().as_ref();
                let key = hmac::Key::new(hmac::HMAC_SHA256, public);
                hmac::sign(&key, input.as_bytes()).as_ref().to_vec()
            }
        };
        Ok(format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, BoxError> {
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair
            .sign(
                &RSA_PKCS1_SHA256,
                &SystemRandom::new(),
                message,
                &mut signature,
            )
            .map_err(|_| "cannot sign")?;
        Ok(signature)
    }
}
