//! Body of the fuzz target `leaves`: any bytes in, no panic, and what must hold of them.
//!
//! `fuzz/` calls it under libFuzzer; `cargo test` replays the committed corpus through it.

use std::io::{Cursor, Write};

use zip::{ZipWriter, result::ZipError};

use super::leaves::{canonical, sha256};
use super::{Outcome, Trust, Verdict, verify};
use crate::evidence::{FORMAT, file_options};
use crate::json;

/// The files that the input is, after its first part: each ends at a NUL byte, but for the last, which
/// takes the rest. No line of JSON or CSV holds that byte.
const FILES: [&str; 6] = [
    "leaves/headers.jsonl",
    "leaves/bodies.jsonl",
    "statements.jsonl",
    "statements.csv",
    "populations.jsonl",
    "recordings/01a0c451-5660-7101-8101-010101010101/stream",
];

/// Later than any record, and no more than JSON holds: microseconds since the Unix epoch.
const FOREVER_US: u64 = json::INTEGER_MAX;

/// Verifies a package that nobody vouches for: its checkpoint and its files are `data`.
///
/// The manifest fits the files, as a careful forger's would, so that every check behind it is reached.
/// What is accepted as canonical must be what another encoder writes for it, and a package without
/// the key of a trusted log must never verify.
///
/// # Errors
/// What doesn't hold.
pub fn leaves(data: &[u8]) -> Result<Verdict, String> {
    for line in data.split(|byte| matches!(byte, b'\n' | 0)) {
        one_form(line)?;
    }
    let mut parts = data.splitn(FILES.len() + 1, |byte| *byte == 0);
    let note = parts.next().unwrap_or_default();
    let note = std::str::from_utf8(note).unwrap_or_default();
    let files: Vec<_> = FILES.into_iter().zip(parts).collect();
    let package = package(note, &files).map_err(|error| error.to_string())?;
    let trust = Trust::parse(note).unwrap_or_default();
    let verdict = verify(Cursor::new(package), &trust, Some(note));
    // Bytes that are an archive of their own making.
    let whole = verify(Cursor::new(data), &trust, None);
    for outcome in [verdict.outcome, whole.outcome] {
        if !matches!(outcome, Outcome::Failed | Outcome::Missing) {
            return Err(format!("{outcome:?} without a trusted log's signature"));
        }
    }
    Ok(verdict)
}

/// A line that is accepted is the only way to write what it says.
fn one_form(line: &[u8]) -> Result<(), String> {
    let Some(value) = canonical(line) else {
        return Ok(());
    };
    let encoded = serde_json::to_vec(&value).map_err(|error| error.to_string())?;
    // serde_json sorts members by UTF-8 and RFC 8785 by UTF-16: they differ beyond U+FFFF only.
    let same_order = line.iter().all(|byte| *byte < 0xf0);
    if encoded.len() == line.len() && (encoded == line || !same_order) {
        return Ok(());
    }
    let (line, encoded) = (line.escape_ascii(), encoded.escape_ascii());
    Err(format!("{line} is accepted for {encoded}"))
}

fn package(note: &str, files: &[(&str, &[u8])]) -> Result<Vec<u8>, ZipError> {
    let headers = files.first().map_or(&[][..], |(_, contents)| contents);
    let lines = headers.split(|byte| *byte == b'\n');
    let leaves = lines.filter(|line| !line.is_empty()).count();
    // Without bodies the listings are rebuilt from any headers, whatever they say of their bodies.
    let bodies = files
        .get(1)
        .is_some_and(|(_, contents)| !contents.is_empty());
    let manifest = json::object(|o| {
        o.text("bodies", if bodies { "in_scope" } else { "excluded" });
        o.text("checkpoint", note);
        o.objects("files", files, |o, (name, contents)| {
            o.int("bytes", contents.len() as u64);
            o.text("name", name);
            o.hex("sha256", &sha256(&[contents]));
        });
        o.text("format", FORMAT);
        o.int("from_index", 0);
        o.int("from_us", 0);
        o.texts("frontier", []);
        o.text("key", "");
        o.text("origin", "");
        o.int("to_index", leaves as u64);
        o.int("to_us", FOREVER_US);
    });
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, contents) in files.iter().chain([&("manifest.json", &manifest[..])]) {
        zip.start_file(*name, file_options())?;
        zip.write_all(contents)?;
    }
    Ok(zip.finish()?.into_inner())
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    #[test]
    fn every_committed_input_holds() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/leaves");
        let (mut leaves_most, mut rows_most, mut chunks_most) = (0, 0, 0);
        for entry in fs::read_dir(corpus).unwrap() {
            let path = entry.unwrap().path();
            let verdict = leaves(&fs::read(&path).unwrap())
                .unwrap_or_else(|broken| panic!("{}: {broken}", path.display()));
            leaves_most = leaves_most.max(verdict.leaves);
            rows_most = rows_most.max(verdict.rows);
            chunks_most = chunks_most.max(verdict.chunks);
        }
        let reached = leaves_most > 5 && rows_most > 1 && chunks_most > 1;
        assert!(
            reached,
            "the inputs no longer reach the checks: {leaves_most} {rows_most} {chunks_most}"
        );
    }

    #[test]
    fn members_beyond_the_basic_plane_are_not_taken_for_a_second_form() {
        let by_utf_16 = "{\"\u{10000}\":1,\"\u{ffff}\":2}";
        let by_utf_8 = "{\"\u{ffff}\":2,\"\u{10000}\":1}";
        assert!(canonical(by_utf_16.as_bytes()).is_some());
        assert!(canonical(by_utf_8.as_bytes()).is_none());
        assert_eq!(one_form(by_utf_16.as_bytes()), Ok(()));
    }
}
