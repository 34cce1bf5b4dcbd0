//! Who the agent is: verified token claims, and the principal made of them.
//!
//! ```text
//! token bytes -> verify (keys, rules, now) -> Authenticated<Principal>
//! ```

mod claims;
mod keys;
mod principal;
mod rules;
#[cfg(test)]
pub(crate) mod testing;
mod verify;

pub use keys::{KeySet, KeySetError};
pub use principal::{Authenticated, Groups, Principal, PrincipalKind};
pub use rules::{TokenIssuer, TokenRules, TokenRulesError, TokenVersion};
pub use verify::{TOKEN_BYTES_MAX, TokenRejection, UnverifiedToken, verify};
