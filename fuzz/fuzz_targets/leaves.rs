//! The verifier's own parsers and checks; see `gateway_audit::verify::fuzz`.
#![no_main]

use gateway_audit::verify::fuzz;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Err(broken) = fuzz::leaves(data) {
        panic!("{broken}");
    }
});
