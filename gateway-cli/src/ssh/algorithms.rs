//! Which algorithms are offered, most preferred first.

use std::borrow::Cow;

use russh::{
    Preferred, cipher, compression,
    kex::{self, Name},
    keys::{Algorithm, EcdsaCurve, PublicKey},
    mac,
};

/// Post-quantum first. Curve25519 stays for clients that know no ML-KEM (OpenSSH before 9.9).
/// The last two names announce strict key exchange, which Terrapin (CVE-2023-48795) needs, and
/// RFC 8308's extension negotiation.
const AGENT_KEX: &[Name] = &[
    kex::MLKEM768X25519_SHA256,
    kex::CURVE25519,
    kex::CURVE25519_PRE_RFC_8731,
    kex::EXTENSION_SUPPORT_AS_SERVER,
    kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER,
];

/// No ChaCha20-Poly1305: with a client that has no strict key exchange, Terrapin cuts into it.
const AGENT_CIPHERS: &[cipher::Name] = &[
    cipher::AES_256_GCM,
    cipher::AES_128_GCM,
    cipher::AES_256_CTR,
    cipher::AES_128_CTR,
];

/// Encrypt-then-MAC only.
const AGENT_MACS: &[mac::Name] = &[mac::HMAC_SHA256_ETM, mac::HMAC_SHA512_ETM];

/// Keys that may be certified, and that hosts may show.
pub(super) const KEYS: &[Algorithm] = &[
    Algorithm::Ed25519,
    Algorithm::Ecdsa {
        curve: EcdsaCurve::NistP256,
    },
    Algorithm::Ecdsa {
        curve: EcdsaCurve::NistP384,
    },
    Algorithm::Ecdsa {
        curve: EcdsaCurve::NistP521,
    },
];

/// No compression: what it costs before authentication is the peer's to choose.
const COMPRESSION: &[compression::Name] = &[compression::NONE];

/// Towards agents.
pub(super) const fn towards_agents() -> Preferred {
    Preferred {
        kex: Cow::Borrowed(AGENT_KEX),
        key: Cow::Borrowed(KEYS),
        host_key_certificates: Cow::Borrowed(&[]),
        cipher: Cow::Borrowed(AGENT_CIPHERS),
        mac: Cow::Borrowed(AGENT_MACS),
        compression: Cow::Borrowed(COMPRESSION),
    }
}

/// Towards a target whose host keys are pinned: it must show one of their kinds. Otherwise
/// russh's own defaults, which have nothing with SHA-1, and suit older servers too.
pub(super) fn towards_target(host_keys: &[PublicKey]) -> Preferred {
    let key = KEYS
        .iter()
        .filter(|algorithm| host_keys.iter().any(|key| key.algorithm() == **algorithm))
        .cloned()
        .collect();
    Preferred {
        key: Cow::Owned(key),
        compression: Cow::Borrowed(COMPRESSION),
        ..Preferred::DEFAULT
    }
}
