//! Bytes of a target into a session (`postgres::Session`); see `gateway_protocols::testkit::fuzz`.
#![no_main]

use gateway_protocols::testkit::fuzz;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Err(broken) = fuzz::session_target(data) {
        panic!("{broken}");
    }
});
