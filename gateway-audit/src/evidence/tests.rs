use std::collections::BTreeMap;
use std::io::{Cursor, Read, Write};

use gateway_core::record::{CompletedCommand, Direction, Outcome as UnitOutcome};
use gateway_core::target::Durability;
use gateway_core::time::Wall;

mod families;
mod forgery;

use super::*;
use crate::log::Log;
use crate::testing::{Script, options, rejected, signer, snapshot};
use crate::verify::{Outcome, Trust, Verdict, verify};

/// A log with a whole session, one that a crash interrupted, and a plain one.
fn log_dir() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = Log::open(dir.path(), options()).unwrap();
    Script::open(&log, 1, Durability::Strict).whole();
    let mut open = Script::open(&log, 2, Durability::Bounded);
    open.login();
    open.intent(1, "select pg_sleep(9)", None);
    open.chunk(Direction::ToAgent, b"partial");
    let mut plain = Script::open(&log, 3, Durability::Strict);
    plain.login();
    plain.intent(1, "select 1", None);
    plain.chunk(Direction::ToAgent, &[b'x'; 100_000]);
    plain.finish(1, UnitOutcome::Completed);
    plain.close();
    log.close().unwrap();
    dir
}

/// As `log_dir`, with sessions of the other families after it.
fn log_dir_of_all_families() -> tempfile::TempDir {
    let dir = log_dir();
    let (log, _) = Log::open(dir.path(), options()).unwrap();
    Script::open(&log, 4, Durability::Strict).ssh();
    Script::open(&log, 5, Durability::Strict).kubernetes();
    log.close().unwrap();
    dir
}

fn everything() -> Scope {
    Scope {
        from: Wall::from_micros(0),
        to: Wall::from_micros(u64::MAX >> 12),
        agent: None,
        target: None,
    }
}

fn package(dir: &std::path::Path, scope: Scope) -> (Vec<u8>, Exported) {
    let mut out = Cursor::new(Vec::new());
    let exported = export(
        dir,
        signer().verifier(),
        &ExportOptions::new(scope),
        &mut out,
    )
    .unwrap();
    (out.into_inner(), exported)
}

fn trust() -> Trust {
    Trust::parse(&format!("# ours\nlog {}\n", signer().verifier().encode())).unwrap()
}

fn check(package: &[u8]) -> Verdict {
    verify(Cursor::new(package), &trust(), None)
}

fn unpack(package: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut archive = zip::ZipArchive::new(Cursor::new(package)).unwrap();
    let mut files = BTreeMap::new();
    for index in 0..archive.len() {
        let mut file = archive.by_index(index).unwrap();
        let mut contents = Vec::new();
        file.read_to_end(&mut contents).unwrap();
        files.insert(file.name().to_owned(), contents);
    }
    files
}

fn pack(files: &BTreeMap<String, Vec<u8>>) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, contents) in files {
        zip.start_file(name, file_options()).unwrap();
        zip.write_all(contents).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// As `pack`, with a manifest that lists what is there: the work of a careful forger.
fn forge(mut files: BTreeMap<String, Vec<u8>>) -> Vec<u8> {
    let mut manifest: serde_json::Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
    files.remove("manifest.json");
    let listed = files.iter().map(|(name, contents)| {
        let hash = crate::json::hex(&crate::tree::sha256(&[contents]));
        serde_json::json!({"bytes": contents.len(), "name": name, "sha256": hash})
    });
    manifest["files"] = listed.collect();
    let sorted: BTreeMap<String, serde_json::Value> = serde_json::from_value(manifest).unwrap();
    files.insert("manifest.json".into(), serde_json::to_vec(&sorted).unwrap());
    pack(&files)
}

fn rows(files: &BTreeMap<String, Vec<u8>>, table: &str) -> Vec<serde_json::Value> {
    let text = std::str::from_utf8(&files[&format!("{table}.jsonl")]).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn a_package_verifies_and_says_that_it_is_not_anchored() {
    let dir = log_dir();
    let (package, exported) = package(dir.path(), everything());
    let verdict = check(&package);
    assert_eq!(verdict.problems, []);
    assert_eq!(verdict.outcome, Outcome::NotAnchored);
    assert_eq!(verdict.outcome.exit_code(), 10);
    assert_eq!(
        (exported.from_index, exported.to_index),
        (0, verdict.leaves)
    );
    assert_eq!(
        exported.rows,
        [
            ("sessions", 3),
            ("statements", 7),
            ("approvals", 2),
            ("masking", 1),
            ("blocks", 1)
        ]
    );
    assert_eq!((exported.recordings, verdict.chunks), (3, 4));
}

#[test]
fn the_package_of_a_log_that_crashed_verifies_and_counts_what_was_lost() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = Log::open(dir.path(), options()).unwrap();
    let mut script = Script::open(&log, 1, Durability::Strict);
    script.login();
    script.intent(1, "delete from t", None);
    script.chunk(Direction::ToAgent, b"partial");
    script.acks.wait_for(script.sequence);
    let mut login = Script::open(&log, 2, Durability::Strict);
    login.entry(rejected(1));
    login.acks.wait_for(1);
    let crashed = snapshot(dir.path());
    Log::open(crashed.path(), options())
        .unwrap()
        .0
        .close()
        .unwrap();
    let (bytes, _) = package(crashed.path(), everything());
    let verdict = check(&bytes);
    assert_eq!(
        (verdict.problems, verdict.outcome),
        (vec![], Outcome::NotAnchored)
    );
    let files = unpack(&bytes);
    assert_eq!(
        rows(&files, "sessions")[0]["recording_status"],
        "interrupted"
    );
    assert_eq!(rows(&files, "sessions")[0]["statements_unknown"], 1);
    assert_eq!(rows(&files, "statements")[0]["outcome"], "unknown");
}

#[test]
fn the_same_log_and_scope_give_the_same_bytes() {
    let dir = log_dir();
    assert_eq!(
        package(dir.path(), everything()),
        package(dir.path(), everything())
    );
}

#[test]
fn listings_say_what_happened() {
    let dir = log_dir();
    let files = unpack(&package(dir.path(), everything()).0);
    let sessions = rows(&files, "sessions");
    assert_eq!(sessions[0]["recording_status"], "complete");
    assert_eq!(sessions[0]["statements_blocked"], 2);
    assert_eq!(sessions[0]["approvals_used"], 1);
    assert_eq!(sessions[0]["gateway_id"], "gw-1");
    assert_eq!(sessions[0]["opened_at"], "2026-09-21T14:14:20.002000Z");
    assert_eq!(sessions[1]["recording_status"], "interrupted");
    let statements = rows(&files, "statements");
    let outcomes: Vec<_> = statements
        .iter()
        .map(|row| row["outcome"].as_str().unwrap())
        .collect();
    assert_eq!(
        outcomes,
        [
            "completed",
            "failed",
            "blocked",
            "blocked",
            "completed",
            "unknown",
            "completed"
        ]
    );
    assert_eq!(statements[1]["error_code"], "22012");
    assert_eq!(statements[5]["durable_before_forward"], true);
    let approvals = rows(&files, "approvals");
    assert_eq!(
        (&approvals[0]["content_match"], &approvals[0]["outcome"]),
        (&true.into(), &"approved".into())
    );
    assert_eq!(
        (&approvals[1]["content_match"], &approvals[1]["outcome"]),
        (&().into(), &"rejected".into())
    );
    assert_eq!(rows(&files, "masking")[0]["values_masked"], 2);
    let blocks = std::str::from_utf8(&files["blocks.csv"]).unwrap();
    assert!(blocks.contains("'=cmd|"), "a formula is defused: {blocks}");
    for row in rows(&files, "populations") {
        assert_eq!(row["result"], "holds", "{row}");
    }
}

#[test]
fn classified_values_that_the_agent_sent_are_nowhere_in_the_log_or_the_package() {
    let dir = log_dir();
    let files = unpack(&package(dir.path(), everything()).0);
    let on_disk = std::fs::read(dir.path().join("segments/0000000001.seg")).unwrap();
    for contents in files.values().chain([&on_disk]) {
        assert!(!contents.windows(7).any(|window| window == b"ann@exa"));
    }
    assert!(
        rows(&files, "statements")[0]["statement_text"]
            .as_str()
            .unwrap()
            .contains("email = hmac:")
    );
}

#[test]
fn a_scoped_package_proves_its_range_without_others_bodies() {
    let dir = log_dir();
    let whole = unpack(&package(dir.path(), everything()).0);
    let from: jiff::Timestamp = rows(&whole, "sessions")[2]["opened_at"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    let from = Wall::from_micros(u64::try_from(from.as_microsecond()).unwrap());
    let (bytes, exported) = package(
        dir.path(),
        Scope {
            from,
            ..everything()
        },
    );
    assert!(exported.from_index > 0);
    let verdict = check(&bytes);
    assert_eq!(
        (verdict.problems, verdict.outcome),
        (vec![], Outcome::NotAnchored)
    );
    let (bytes, exported) = package(
        dir.path(),
        Scope {
            agent: Some("nobody".into()),
            ..everything()
        },
    );
    assert_eq!(exported.rows[0], ("sessions", 0));
    let verdict = check(&bytes);
    assert_eq!(
        (verdict.problems, verdict.outcome),
        (vec![], Outcome::NotAnchored)
    );
    assert!(
        !unpack(&bytes)
            .values()
            .any(|contents| contents.windows(6).any(|window| window == b"pg_sle"))
    );
}

#[test]
fn what_is_missing_is_told_from_what_is_wrong() {
    let dir = log_dir_of_all_families();
    let (bytes, _) = package(dir.path(), everything());
    let strangers = verify(Cursor::new(&bytes), &Trust::default(), None);
    assert_eq!(
        strangers.outcome.exit_code(),
        2,
        "no key to trust: {:?}",
        strangers.problems
    );
    for name in unpack(&bytes).keys() {
        let mut files = unpack(&bytes);
        files.remove(name);
        assert_eq!(
            check(&pack(&files)).outcome,
            Outcome::Missing,
            "{name} was lost"
        );
        if name != "manifest.json" {
            assert_eq!(
                check(&forge(files)).outcome,
                Outcome::Failed,
                "{name} was removed"
            );
        }
    }
    assert_eq!(check(b"not a zip").outcome, Outcome::Failed);
}

#[test]
fn an_earlier_checkpoint_must_be_extended() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = Log::open(dir.path(), options()).unwrap();
    let early = log.checkpoint().unwrap();
    Script::open(&log, 1, Durability::Strict).whole();
    let late = log.checkpoint().unwrap();
    let (bytes, _) = package(dir.path(), everything());
    log.close().unwrap();
    let with = |note: &str| verify(Cursor::new(&bytes), &trust(), Some(note)).outcome;
    assert_eq!(
        (with(&early), with(&late)),
        (Outcome::NotAnchored, Outcome::NotAnchored)
    );
    let after_close = std::fs::read_to_string(dir.path().join("checkpoint")).unwrap();
    assert_eq!(
        with(&after_close),
        Outcome::Failed,
        "the package is shorter than what was seen"
    );
    let fork = tempfile::tempdir().unwrap();
    let (other, _) = Log::open(fork.path(), options()).unwrap();
    assert_eq!(
        with(&other.checkpoint().unwrap()),
        Outcome::Failed,
        "another history"
    );
}

#[test]
fn a_changed_listing_is_located() {
    let dir = log_dir();
    let mut files = unpack(&package(dir.path(), everything()).0);
    let text = String::from_utf8(files["statements.jsonl"].clone()).unwrap();
    files.insert(
        "statements.jsonl".into(),
        text.replacen("select 1/0", "select 1/1", 1).into_bytes(),
    );
    let verdict = check(&forge(files.clone()));
    let problem = &verdict.problems[0];
    assert_eq!(
        (problem.file.as_str(), problem.row, problem.leaf),
        ("statements.jsonl", Some(2), Some(6))
    );
    assert_eq!(
        check(&pack(&files)).outcome,
        Outcome::Failed,
        "the manifest's hash is another"
    );
}

#[test]
fn every_statement_of_a_batch_has_a_row_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = Log::open(dir.path(), options()).unwrap();
    let mut script = Script::open(&log, 1, Durability::Strict);
    script.login();
    let command = |tag: &str, rows| CompletedCommand {
        tag: tag.into(),
        rows,
    };
    let batch = "select 'secret'; update t set a = 'b'; select 1/0; select 4";
    let failed = UnitOutcome::Failed {
        code: "22012".into(),
    };
    script.intent(1, batch, None);
    script.end(
        1,
        failed,
        vec![command("SELECT 1", 1), command("UPDATE 5", 5)],
    );
    script.intent(2, "select 1; select 2", None);
    script.end(2, UnitOutcome::Unknown, vec![command("SELECT 1", 1)]);
    script.block(3, "drop table a; drop table b");
    script.close();
    log.close().unwrap();
    let (bytes, exported) = package(dir.path(), everything());
    let verdict = check(&bytes);
    assert_eq!(verdict.problems, []);
    assert_eq!(exported.rows[1], ("statements", 8));
    assert_eq!(exported.rows[4], ("blocks", 1));
    let files = unpack(&bytes);
    let rows = rows(&files, "statements");
    let text = |row: &serde_json::Value, column: &str| match &row[column] {
        serde_json::Value::String(text) => text.split("hmac:").next().unwrap().to_owned(),
        other => other.to_string(),
    };
    let shown: Vec<String> = rows
        .iter()
        .map(|row| {
            [
                "statement_no",
                "statement_index",
                "statement_text",
                "outcome",
                "rows_affected",
                "error_code",
            ]
            .map(|column| text(row, column))
            .join("|")
        })
        .collect();
    assert_eq!(
        shown,
        [
            "1|1|select |completed|1|null",
            "1|2|update t set a = |completed|5|null",
            "1|3|select 1/0|failed|0|22012",
            "1|4|select 4|not_executed|null|null",
            "2|1|select 1|completed|1|null",
            "2|2|select 2|unknown|0|null",
            "3|1|drop table a|blocked|null|null",
            "3|2|drop table b|blocked|null|null",
        ]
    );
    assert_eq!(rows[0]["forwarded_at"], "2026-09-21T14:14:20.004000Z");
    assert_eq!(rows[7]["forwarded_at"], serde_json::Value::Null);
    let session = &self::rows(&files, "sessions")[0];
    assert_eq!(
        (
            &session["statements_allowed"],
            &session["statements_blocked"],
            &session["statements_unknown"]
        ),
        (&6.into(), &2.into(), &1.into())
    );
}

#[test]
fn a_package_without_bodies_says_so_and_shows_no_text() {
    let dir = log_dir();
    let mut out = Cursor::new(Vec::new());
    let options = ExportOptions {
        bodies: false,
        ..ExportOptions::new(everything())
    };
    export(dir.path(), signer().verifier(), &options, &mut out).unwrap();
    let bytes = out.into_inner();
    let verdict = check(&bytes);
    assert_eq!(verdict.outcome, Outcome::Missing, "{:?}", verdict.problems);
    assert_eq!(verdict.problems.len(), 1, "{:?}", verdict.problems);
    let files = unpack(&bytes);
    assert!(!files.keys().any(|name| name.starts_with("recordings/")));
    let statements = rows(&files, "statements");
    assert_eq!(statements.len(), 7);
    assert_eq!(statements[0]["statement_text"], serde_json::Value::Null);
    assert_eq!(statements[0]["forwarded_at"], "unknown");
    assert_eq!(statements[0]["outcome"], "completed");
}
