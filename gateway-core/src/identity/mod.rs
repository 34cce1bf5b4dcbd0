//! Who the agent is: verified token claims, and the principal made of them.
//!
//! ```text
//! token bytes -> verify (keys, rules, now) -> Authenticated<Principal>
//! ```

mod principal;

pub use principal::{Authenticated, Groups, Principal, PrincipalKind};
