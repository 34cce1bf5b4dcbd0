//! Bodies of the fuzz targets: any bytes in, no panic, and what must hold of them.
//!
//! `fuzz/` calls these under libFuzzer; `cargo test` replays the committed corpora through them.

use gateway_core::wire::Side;

use super::{
    laws,
    run::Subject,
    schedule::Schedule,
    world::{Proof, World},
};

/// The first bytes steer the schedule and choose the script; the rest is input.
const STEERING_BYTES: usize = 4;

/// Any bytes from one side of a session: in the login, after it, and in the middle of things.
///
/// # Errors
/// What broke.
pub fn session<S: Subject>(
    subject: &S,
    scripts: &[super::Script],
    from: Side,
    data: &[u8],
) -> Result<(), laws::Broken> {
    let (steering, bytes) = data.split_at_checked(STEERING_BYTES).unwrap_or((data, &[]));
    let seed = steering
        .iter()
        .fold(0, |seed, byte| seed << 8 | u64::from(*byte));
    let chosen = steering.last().copied().map_or(0, usize::from);
    let script = chosen
        .checked_rem(scripts.len())
        .and_then(|index| scripts.get(index));
    let script = script.cloned().unwrap_or_default();
    let world = World {
        proof: Proof::Token,
        ..World::by_text().classified()
    };
    laws::total(
        subject,
        &world,
        &script,
        from,
        bytes,
        Schedule::seeded(seed),
    )
}
