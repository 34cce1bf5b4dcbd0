//! Settings that the analysis of SQL text rests on: a target that reports another value ends the
//! session, whatever made it change.

use gateway_core::wire::WireError;

use crate::postgres::message::ParameterStatus;

/// Pinned settings and the value each must have.
const PINNED: &[(&[u8], &[u8])] = &[
    (b"client_encoding", b"UTF8"),
    (b"standard_conforming_strings", b"on"),
];

/// Checks one report.
///
/// # Errors
/// [`WireError::incident`] when a pinned setting has another value.
pub(super) fn check(status: &ParameterStatus<'_>) -> Result<(), WireError> {
    for (name, value) in PINNED {
        if status.name == *name && status.value != *value {
            let name = String::from_utf8_lossy(name);
            return Err(WireError::incident(format!(
                "the target changed the setting {name}"
            )));
        }
    }
    Ok(())
}
