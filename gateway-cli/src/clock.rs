//! The clocks and the randomness of the binary: the only place that reads either.

use std::{
    sync::OnceLock,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use gateway_core::time::{Mono, Now, Wall};

/// The wall clock. Before 1970 it reads as 1970, when no token is valid yet.
pub(crate) fn wall() -> Wall {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    Wall::default().saturating_add(since_epoch)
}

/// Both clocks.
pub(crate) fn now() -> Now {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    let elapsed = ORIGIN.get_or_init(Instant::now).elapsed();
    Now {
        wall: wall(),
        mono: Mono::default().saturating_add(elapsed),
    }
}

/// A wall time as RFC 3339 text, UTC, to the second. For people; records keep microseconds.
pub(crate) fn display(at: Wall) -> String {
    i64::try_from(at.as_secs())
        .ok()
        .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
        .map_or_else(|| "?".to_owned(), |timestamp| timestamp.to_string())
}

/// No random bytes: the system is out of order.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the system gives no random bytes")]
pub(crate) struct NoRandomness;

/// Random bytes from the system.
///
/// # Errors
/// [`NoRandomness`].
pub(crate) fn random<const N: usize>() -> Result<[u8; N], NoRandomness> {
    let mut bytes = [0; N];
    fill_random(&mut bytes)?;
    Ok(bytes)
}

/// Fills `bytes` from the system.
///
/// # Errors
/// [`NoRandomness`].
pub(crate) fn fill_random(bytes: &mut [u8]) -> Result<(), NoRandomness> {
    rustls::crypto::aws_lc_rs::default_provider()
        .secure_random
        .fill(bytes)
        .map_err(|_| NoRandomness)
}
