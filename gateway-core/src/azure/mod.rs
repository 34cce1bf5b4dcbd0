//! Entra over HTTPS: the issuer's keys, token verification with key rotation, token sources.
//!
//! ```text
//! TokenVerifier -- JwksCache (one per tenant and format) -- {authority}/{tenant}/[v2.0/].well-known/openid-configuration
//!      |                                      `- jwks_uri
//!      `- identity::verify                     pure: no I/O, no clock
//! TokenSource ---- azure_identity ------------- {authority}/{tenant}/oauth2/v2.0/token, the machine's
//!                                              identity endpoint, the Azure CLI
//! ```
//!
//! Everything goes through one [`https_client`] over the caller's TLS configuration: no library
//! here installs a process-wide crypto provider or follows a redirect. The environment is read for
//! managed identities and developers' sign-in only, which are found by it.

mod http;
mod jwks;
mod token_source;
mod verifier;

pub use http::{HttpsClientError, https_client, metadata_client};
pub use jwks::{FetchError, JwksCache, RefreshSchedule};
pub use token_source::{AccessToken, CredentialKind, TokenSource, TokenSourceError};
pub use verifier::TokenVerifier;
