//! `ssh::message`, `ssh::frame` and `ssh::command`; see `gateway_protocols::testkit::fuzz`.
#![no_main]

use gateway_protocols::testkit::fuzz;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Err(broken) = fuzz::ssh::parsers(data) {
        panic!("{broken}");
    }
});
