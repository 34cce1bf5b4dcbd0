//! Parsing of unverified tokens and of key documents is total.
#![no_main]

use gateway_core::identity::{KeySet, UnverifiedToken};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(token) = std::str::from_utf8(data) {
        let _ = UnverifiedToken::parse(token).is_ok();
    }
    let _ = KeySet::parse(data).is_ok();
});
