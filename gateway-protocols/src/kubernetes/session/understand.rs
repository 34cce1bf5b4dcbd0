//! What a request does, without a session: for policy tests and explanations.

use gateway_core::operation::ApiUnit;

use super::call::Call;
use crate::kubernetes::{message::RequestHead, reply::Refusal};

/// Reads a request as a session would, to its end.
///
/// # Errors
/// The answer that the session would give in the server's place.
pub fn understand(head: &RequestHead, body: &[u8]) -> Result<ApiUnit, Refusal> {
    let (unit, _) = Call::read(head, None)?.complete(body)?;
    Ok(unit)
}
