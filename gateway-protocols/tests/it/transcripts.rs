//! Golden conversations. `BLESS=1 cargo test …` writes them anew; the difference is to be reviewed.

use std::{fs, path::Path};

use gateway_protocols::testkit::postgres::transcript::replay;

#[test]
fn every_transcript_comes_out_as_it_is_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/postgres");
    let bless = std::env::var_os("BLESS").is_some();
    let mut paths: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "transcript"))
        .collect();
    paths.sort();
    assert!(paths.len() >= 20, "transcripts are missing");
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
