//! Every committed fuzz input, through the body of its target.

use std::{fs, path::Path};

use gateway_protocols::testkit::{fuzz, laws::Broken};

#[test]
fn every_committed_input_holds() {
    type Body = fn(&[u8]) -> Result<(), Broken>;
    let targets: &[(&str, Body)] = &[
        ("frames", fuzz::frames),
        #[cfg(feature = "kubernetes")]
        ("kubernetes_agent", fuzz::kubernetes::agent),
        #[cfg(feature = "kubernetes")]
        ("kubernetes_parsers", fuzz::kubernetes::parsers),
        #[cfg(feature = "kubernetes")]
        ("kubernetes_target", fuzz::kubernetes::target_side),
        ("messages", fuzz::messages),
        ("session_agent", fuzz::session_agent),
        ("session_target", fuzz::session_target),
        #[cfg(feature = "ssh")]
        ("ssh_agent", fuzz::ssh::agent),
        #[cfg(feature = "ssh")]
        ("ssh_parsers", fuzz::ssh::parsers),
        #[cfg(feature = "ssh")]
        ("ssh_target", fuzz::ssh::target),
        #[cfg(feature = "pg-native")]
        ("sql", fuzz::sql),
    ];
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    for (target, body) in targets {
        let mut count = 0;
        for entry in fs::read_dir(corpus.join(target)).unwrap() {
            let path = entry.unwrap().path();
            let input = fs::read(&path).unwrap();
            body(&input).unwrap_or_else(|broken| panic!("{}: {broken}", path.display()));
            count += 1;
        }
        assert!(count > 0, "{target} has no inputs");
    }
}

mod random {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// A fuzzer's poor relation, for machines without one.
        #[test]
        fn any_bytes_hold(data in prop::collection::vec(any::<u8>(), 0..120), tag in 0u8..128) {
            fuzz::frames(&data).unwrap();
            let tagged = [&[tag], &data[..]].concat();
            fuzz::messages(&tagged).unwrap();
            #[cfg(feature = "ssh")]
            fuzz::ssh::parsers(&tagged).unwrap();
        }
    }
}
