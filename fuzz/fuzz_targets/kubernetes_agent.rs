//! `kubernetes`; see `gateway_protocols::testkit::fuzz`.
#![no_main]

use gateway_protocols::testkit::fuzz;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Err(broken) = fuzz::kubernetes::agent(data) {
        panic!("{broken}");
    }
});
