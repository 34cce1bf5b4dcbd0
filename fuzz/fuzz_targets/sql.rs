//! Analysis of any text against an empty catalogue is total.
#![no_main]

use std::sync::Arc;

use gateway_core::{
    catalogue::{CatalogueVersion, Snapshot},
    id::Digest,
    mask::Classified,
};
use gateway_protocols::sql;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let text: Arc<str> = text.into();
    let analyse = move || {
        let version = CatalogueVersion(Digest([0; 32]));
        sql::analyse(&text, &Snapshot::default(), version, &Classified::default())
    };
    let thread = std::thread::Builder::new().stack_size(sql::ANALYSIS_STACK_BYTES);
    let analysis = thread
        .spawn(analyse)
        .expect("a thread")
        .join()
        .expect("an analysis");
    for statement in &analysis.statements {
        assert!(statement.span.start <= statement.span.end && statement.span.end <= data.len());
    }
});
