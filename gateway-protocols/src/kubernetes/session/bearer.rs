//! The token of a request, and what the session's own is remembered as.

use aws_lc_rs::constant_time;
use gateway_core::{id::Digest, identity::Principal, wire::Credential};
use secrecy::SecretString;

use super::call::field;
use crate::kubernetes::{message::Header, reply::Refusal};

/// Longest token, bytes.
const TOKEN_BYTES_MAX: usize = 16 << 10;
/// What marks users and groups as the gateway's, in RBAC.
const PREFIX: &str = "entra:";
/// The group of everybody who is somebody (Kubernetes 1.32, "Authenticating").
const AUTHENTICATED: &str = "system:authenticated";

/// A bearer token (RFC 6750, section 2.1 "Authorization Request Header Field").
pub(super) struct Bearer<'a>(&'a str);

impl<'a> Bearer<'a> {
    pub(super) fn read(headers: &'a [Header]) -> Result<Self, Refusal> {
        let missing = || {
            Refusal::new(
                401,
                "the gateway takes an Entra access token as bearer token",
            )
        };
        let value = field(headers, "authorization")?.ok_or_else(missing)?;
        let (scheme, token) = value.split_once(' ').ok_or_else(missing)?;
        // RFC 6750's `b64token`.
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
        let token = token.trim_start_matches(' ');
        let is_token =
            !token.is_empty() && token.len() <= TOKEN_BYTES_MAX && token.bytes().all(plain);
        if scheme.eq_ignore_ascii_case("bearer") && is_token {
            Ok(Self(token))
        } else {
            Err(missing())
        }
    }

    pub(super) fn seen(&self) -> Seen {
        Seen(Digest::of(self.0.as_bytes()))
    }

    pub(super) fn credential(&self) -> Credential {
        Credential::Bearer(SecretString::from(self.0))
    }
}

/// A token, by its digest: the token itself isn't kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen(Digest);

impl Seen {
    pub(super) fn is(&self, other: &Self) -> bool {
        constant_time::verify_slices_are_equal(&self.0.0, &other.0.0).is_ok()
    }
}

/// The fields that say to the API server whose request it is (Kubernetes 1.32, "Authenticating",
/// "User impersonation").
pub(super) fn impersonation(principal: &Principal) -> Vec<Header> {
    let mut headers = vec![
        Header::new(
            "impersonate-user",
            format!("{PREFIX}{}/{}", principal.tenant, principal.object),
        ),
        Header::new("impersonate-group", AUTHENTICATED),
    ];
    // A role that no header can carry grants nothing.
    let plain = |role: &&String| role.bytes().all(|byte| byte.is_ascii_graphic());
    headers.extend(
        principal
            .roles
            .iter()
            .filter(plain)
            .map(|role| Header::new("impersonate-group", format!("{PREFIX}role:{role}"))),
    );
    headers
}
