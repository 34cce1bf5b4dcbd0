//! Packets of a target into a session (`ssh::Session`); see `gateway_protocols::testkit::fuzz`.
#![no_main]

use gateway_protocols::testkit::fuzz;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Err(broken) = fuzz::ssh::target(data) {
        panic!("{broken}");
    }
});
