//! Golden conversations. `BLESS=1 cargo test …` writes them anew; the difference is to be reviewed.

use std::{fs, path::Path};

use gateway_protocols::testkit::{
    postgres::Postgres,
    transcript::{Unreadable, replay},
};

type Replay = fn(&str) -> Result<String, Unreadable>;

/// Folders of `testdata`, how many transcripts each has at least, and how they are run.
const PROTOCOLS: &[(&str, usize, Replay)] = &[
    ("postgres", 20, |golden| {
        replay(golden, |world| Postgres(world.proof))
    }),
    #[cfg(feature = "kubernetes")]
    ("kubernetes", 18, |golden| {
        replay(golden, |_| {
            gateway_protocols::testkit::kubernetes::Kubernetes::default()
        })
    }),
    #[cfg(feature = "ssh")]
    ("ssh", 18, |golden| {
        replay(golden, |_| gateway_protocols::testkit::ssh::Ssh)
    }),
];

#[test]
fn every_transcript_comes_out_as_it_is_written() {
    for (protocol, count_min, replay) in PROTOCOLS {
        come_out(protocol, *count_min, *replay);
    }
}

fn come_out(protocol: &str, count_min: usize, replay: Replay) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("testdata")
        .join(protocol);
    let bless = std::env::var_os("BLESS").is_some();
    let mut paths: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "transcript"))
        .collect();
    paths.sort();
    assert!(
        paths.len() >= count_min,
        "{protocol}: transcripts are missing"
    );
    let mut wrong = Vec::new();
    for path in paths {
        let golden = fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let replayed = replay(&golden).unwrap_or_else(|error| panic!("{name}: {error}"));
        if replayed == golden {
            continue;
        }
        if bless {
            fs::write(&path, replayed).unwrap();
        } else {
            wrong.push(format!("--- {name} came out as\n{replayed}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
