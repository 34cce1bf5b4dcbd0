//! User certificates: a verified principal, signed by the gateway for one key and a short time
//! (OpenSSH 9.2, `PROTOCOL.certkeys`).

use std::time::Duration;

use gateway_core::{
    id::{AppId, ObjectId, TenantId},
    identity::{Authenticated, Groups, Principal, PrincipalKind},
    time::Wall,
};
use russh::keys::{
    Certificate, HashAlg, PrivateKey, PublicKey,
    ssh_key::{
        Fingerprint,
        certificate::{Builder, CertType},
    },
};
use serde::{Deserialize, Serialize};

/// The extension that holds the principal, as JSON. OpenSSH's servers ignore extensions they don't
/// know.
const EXTENSION: &str = "principal@gateway";
/// Longest life of a certificate, however long its token lives.
pub(super) const LIFE_MAX: Duration = Duration::from_secs(3600);

/// The gateway's certificate authority.
pub(super) struct Authority {
    key: PrivateKey,
    fingerprint: Fingerprint,
}

/// No certificate can be given.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IssueError {
    /// What was sent isn't a public key.
    #[error("not a public key in OpenSSH's format")]
    Malformed,
    /// Keys of this kind aren't taken.
    #[error("keys of kind `{0}` are not certified: use ssh-ed25519")]
    Kind(String),
    /// The token has expired.
    #[error("the token has expired")]
    Expired,
    /// Signing failed.
    #[error("the certificate can't be made: {0}")]
    Sign(#[from] russh::keys::ssh_key::Error),
    /// The principal can't be written.
    #[error("the certificate can't be made: {0}")]
    Claims(#[from] serde_json::Error),
    /// No randomness.
    #[error(transparent)]
    Random(#[from] crate::clock::NoRandomness),
}

/// A certificate that was given.
#[derive(Debug)]
pub(crate) struct Issued {
    /// One line of OpenSSH's format.
    pub(crate) certificate: String,
    /// Fingerprint of the certified key: `SHA256:…`.
    pub(crate) fingerprint: String,
    /// When it ends.
    pub(crate) expires_at: Wall,
}

/// Why a certificate proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Rejection {
    /// It can't be read, or isn't a user's.
    #[error("certificate_malformed")]
    Malformed,
    /// Somebody else signed it, or nobody did, or its time is over or hasn't come.
    #[error("certificate_invalid")]
    Invalid,
    /// It has conditions that the gateway doesn't know.
    #[error("certificate_condition")]
    Condition,
    /// The token it was given for has expired.
    #[error("expired")]
    Expired,
}

/// The principal in a certificate.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Claims {
    tenant: TenantId,
    object: ObjectId,
    app: AppId,
    kind: Kind,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    display_name: String,
    roles: Vec<String>,
    /// `None`: unknown, there are too many.
    groups: Option<Vec<ObjectId>>,
    token_id: String,
    client_auth: Option<u8>,
    issued_at: Wall,
    expires_at: Wall,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Application,
    User,
}

impl Authority {
    /// An authority with this key.
    pub(super) fn new(key: PrivateKey) -> Self {
        let fingerprint = key.public_key().fingerprint(HashAlg::Sha256);
        Self { key, fingerprint }
    }

    /// Certifies `public_key` (one line of OpenSSH's format) for `principal`, from `now` until its
    /// token expires, an hour at most. `nonce` is random.
    ///
    /// # Errors
    /// [`IssueError`].
    pub(super) fn issue(
        &self,
        public_key: &str,
        principal: &Principal,
        now: Wall,
        nonce: [u8; 32],
    ) -> Result<Issued, IssueError> {
        let key = PublicKey::from_openssh(public_key).map_err(|_| IssueError::Malformed)?;
        if !super::algorithms::KEYS.contains(&key.algorithm()) {
            return Err(IssueError::Kind(key.algorithm().to_string()));
        }
        let expires_at = principal.expires_at.min(now.saturating_add(LIFE_MAX));
        if expires_at.as_secs() <= now.as_secs() {
            return Err(IssueError::Expired);
        }
        let object = principal.object.to_string();
        let (from, until) = (now.as_secs(), expires_at.as_secs());
        let mut builder = Builder::new(nonce, key.key_data().clone(), from, until)?;
        builder.cert_type(CertType::User)?;
        builder.key_id(format!("{object} {}", principal.token_id))?;
        builder.valid_principal(object.as_str())?;
        builder.extension(EXTENSION, serde_json::to_string(&Claims::of(principal))?)?;
        builder.comment(object.as_str())?;
        Ok(Issued {
            certificate: builder.sign(&self.key)?.to_openssh()?,
            fingerprint: key.fingerprint(HashAlg::Sha256).to_string(),
            expires_at,
        })
    }

    /// Whose certificate this is, in its binary form, at this time. That the peer holds the
    /// certified key is the transport's to check.
    ///
    /// # Errors
    /// [`Rejection`].
    pub(super) fn verify(
        &self,
        certificate: &[u8],
        now: Wall,
    ) -> Result<Authenticated<Principal>, Rejection> {
        let certificate = Certificate::from_bytes(certificate).map_err(|_| Rejection::Malformed)?;
        certificate
            .validate_at(now.as_secs(), [&self.fingerprint])
            .map_err(|_| Rejection::Invalid)?;
        if certificate.cert_type() != CertType::User {
            return Err(Rejection::Malformed);
        }
        if !certificate.critical_options().is_empty() {
            return Err(Rejection::Condition);
        }
        let claims = certificate
            .extensions()
            .get(EXTENSION)
            .ok_or(Rejection::Malformed)?;
        let claims: Claims = serde_json::from_str(claims).map_err(|_| Rejection::Malformed)?;
        if claims.expires_at <= now {
            return Err(Rejection::Expired);
        }
        Ok(Authenticated::by_verified_credential(claims.into()))
    }
}

/// When a certificate, one line of OpenSSH's format, ends. `None` for what is no certificate.
pub(crate) fn end(certificate: &str) -> Option<Wall> {
    let certificate = Certificate::from_openssh(certificate.trim()).ok()?;
    Some(Wall::from_secs(certificate.valid_before()))
}

impl Claims {
    fn of(principal: &Principal) -> Self {
        let principal = principal.clone();
        Self {
            tenant: principal.tenant,
            object: principal.object,
            app: principal.app,
            kind: match principal.kind {
                PrincipalKind::Application => Kind::Application,
                PrincipalKind::User => Kind::User,
            },
            display_name: principal.display_name,
            roles: principal.roles,
            groups: match principal.groups {
                Groups::Known(groups) => Some(groups),
                Groups::Overage => None,
            },
            token_id: principal.token_id,
            client_auth: principal.client_auth,
            issued_at: principal.issued_at,
            expires_at: principal.expires_at,
        }
    }
}

impl From<Claims> for Principal {
    fn from(claims: Claims) -> Self {
        Self {
            tenant: claims.tenant,
            object: claims.object,
            app: claims.app,
            kind: match claims.kind {
                Kind::Application => PrincipalKind::Application,
                Kind::User => PrincipalKind::User,
            },
            display_name: claims.display_name,
            roles: claims.roles,
            groups: claims.groups.map_or(Groups::Overage, Groups::Known),
            token_id: claims.token_id,
            client_auth: claims.client_auth,
            issued_at: claims.issued_at,
            expires_at: claims.expires_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use russh::keys::ssh_key::private::Ed25519Keypair;

    use super::*;

    const NOW: Wall = Wall::from_secs(1_000_000);

    fn key(seed: u8) -> PrivateKey {
        Ed25519Keypair::from_seed(&[seed; 32]).into()
    }

    fn public(seed: u8) -> String {
        key(seed).public_key().to_openssh().unwrap()
    }

    fn principal(groups: Groups, expires_at: Wall) -> Principal {
        let id = "11111111-2222-4333-8444-555555555555";
        Principal {
            tenant: TenantId::parse(id).unwrap(),
            object: ObjectId::parse(id).unwrap(),
            app: AppId::parse(id).unwrap(),
            kind: PrincipalKind::Application,
            display_name: String::new(),
            roles: vec!["Gateway.Connect".into()],
            groups,
            token_id: "uti".into(),
            client_auth: Some(1),
            issued_at: Wall::from_secs(999_000),
            expires_at,
        }
    }

    fn later(seconds: u64) -> Wall {
        NOW.saturating_add(Duration::from_secs(seconds))
    }

    fn issue(authority: &Authority, expires_at: Wall) -> Certificate {
        let principal = principal(Groups::Known(Vec::new()), expires_at);
        let issued = authority
            .issue(&public(2), &principal, NOW, [7; 32])
            .unwrap();
        Certificate::from_openssh(&issued.certificate).unwrap()
    }

    #[test]
    fn a_principal_survives_its_certificate() {
        let authority = Authority::new(key(1));
        let group = ObjectId::parse("99999999-2222-4333-8444-555555555555").unwrap();
        for groups in [Groups::Overage, Groups::Known(vec![group])] {
            let principal = principal(groups, later(100));
            let issued = authority
                .issue(&public(2), &principal, NOW, [7; 32])
                .unwrap();
            let bytes = Certificate::from_openssh(&issued.certificate).unwrap();
            let verified = authority
                .verify(&bytes.to_bytes().unwrap(), later(1))
                .unwrap();
            assert_eq!(*verified.get(), principal);
            assert_eq!(issued.expires_at, later(100));
        }
    }

    #[test]
    fn a_certificate_lives_as_long_as_its_token_and_an_hour_at_most() {
        let authority = Authority::new(key(1));
        for (token, until) in [(later(60), later(60)), (later(90_000), later(3600))] {
            let bytes = issue(&authority, token).to_bytes().unwrap();
            let just_before = Wall::from_secs(until.as_secs() - 1);
            assert!(authority.verify(&bytes, just_before).is_ok());
            for wrong in [until, Wall::from_secs(NOW.as_secs() - 1)] {
                assert_eq!(
                    authority.verify(&bytes, wrong).unwrap_err(),
                    Rejection::Invalid
                );
            }
        }
        let expired = principal(Groups::Overage, NOW);
        let refused = authority.issue(&public(2), &expired, NOW, [7; 32]);
        assert!(matches!(refused, Err(IssueError::Expired)));
    }

    #[test]
    fn what_the_authority_did_not_sign_is_rejected() {
        let authority = Authority::new(key(1));
        let foreign = issue(&Authority::new(key(3)), later(60));
        let rejected = authority.verify(&foreign.to_bytes().unwrap(), NOW);
        assert_eq!(rejected.unwrap_err(), Rejection::Invalid);

        let bytes = issue(&authority, later(60)).to_bytes().unwrap();
        for at in 0..bytes.len() {
            let mut tampered = bytes.clone();
            tampered[at] ^= 1;
            assert!(authority.verify(&tampered, NOW).is_err(), "byte {at}");
        }
        for end in 0..bytes.len() {
            assert!(
                authority.verify(&bytes[..end], NOW).is_err(),
                "cut at {end}"
            );
        }
    }

    #[test]
    fn certificates_of_another_kind_are_rejected() {
        let authority = Authority::new(key(1));
        let claims = principal(Groups::Overage, later(60));
        let claims = serde_json::to_string(&Claims::of(&claims)).unwrap();
        type Change = fn(&mut Builder);
        let changes: [(Change, Rejection); 4] = [
            (
                |b| drop(b.cert_type(CertType::Host).map(drop)),
                Rejection::Malformed,
            ),
            (
                |b| drop(b.critical_option("force-command", "id").map(drop)),
                Rejection::Condition,
            ),
            (
                |b| drop(b.critical_option("source-address", "10.0.0.1").map(drop)),
                Rejection::Condition,
            ),
            (|_| {}, Rejection::Malformed),
        ];
        for (index, (change, expected)) in changes.into_iter().enumerate() {
            let public = key(2).public_key().key_data().clone();
            let (from, until) = (NOW.as_secs(), later(60).as_secs());
            let mut builder = Builder::new([7; 32], public, from, until).unwrap();
            builder.all_principals_valid().unwrap();
            if index < 3 {
                builder.extension(EXTENSION, claims.as_str()).unwrap();
            }
            change(&mut builder);
            let bytes = builder.sign(&key(1)).unwrap().to_bytes().unwrap();
            assert_eq!(
                authority.verify(&bytes, NOW).unwrap_err(),
                expected,
                "{index}"
            );
        }
    }

    #[test]
    fn only_modern_keys_are_certified() {
        let authority = Authority::new(key(1));
        let principal = principal(Groups::Overage, later(60));
        let security_key = "sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAICFo/k5LU8863u66YC9eUO2170QduohPURkQnbLa/dczAAAABHNzaDo= x";
        for nonsense in ["", "ssh-ed25519", "ssh-ed25519 AAAA", security_key] {
            let refused = authority.issue(nonsense, &principal, NOW, [7; 32]);
            assert!(
                matches!(refused, Err(IssueError::Malformed | IssueError::Kind(_))),
                "{nonsense}: {refused:?}"
            );
        }
    }
}
