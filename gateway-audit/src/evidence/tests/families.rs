//! Commands and calls of APIs in the listings, and their streams in the package.

use super::*;

/// A log with one session of each kind.
fn sessions() -> BTreeMap<String, Vec<u8>> {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = Log::open(dir.path(), options()).unwrap();
    Script::open(&log, 1, Durability::Strict).ssh();
    Script::open(&log, 2, Durability::Strict).kubernetes();
    log.close().unwrap();
    let (bytes, _) = package(dir.path(), everything());
    let verdict = check(&bytes);
    assert_eq!(
        (verdict.problems, verdict.outcome),
        (vec![], Outcome::NotAnchored)
    );
    unpack(&bytes)
}

fn shown(files: &BTreeMap<String, Vec<u8>>, table: &str, columns: &[&str]) -> Vec<String> {
    let cell = |row: &serde_json::Value, column: &str| match &row[column] {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let line = |row| {
        let cells = columns.iter().map(|column| cell(row, column));
        cells.collect::<Vec<_>>().join("|")
    };
    rows(files, table).iter().map(line).collect()
}

#[test]
fn commands_and_calls_have_rows_that_say_what_ran_and_how_it_ended() {
    let files = sessions();
    let columns = [
        "protocol",
        "operation",
        "command",
        "objects",
        "outcome",
        "error_code",
        "rows_returned",
        "values_masked",
    ];
    assert_eq!(
        shown(&files, "statements", &columns),
        [
            "ssh|ssh.shell|shell|target|completed|null|null|2",
            "ssh|ssh.exec|grep|target|failed|exit 1|null|2",
            "ssh|ssh.file|file|\"/etc/a b\"|completed|null|null|2",
            "ssh|ssh.exec|rm|target|blocked|null|null|null",
            "kubernetes|api.resource|list|namespaces/shop/secrets|completed|null|null|2",
            "kubernetes|api.resource|delete|namespaces/shop/secrets/web|completed|null|null|2",
            "kubernetes|api.resource|create|namespaces/shop/secrets|failed|422|null|2",
        ]
    );
    let texts = shown(&files, "statements", &["statement_text"]);
    assert_eq!(texts[1], "grep -q x f");
    assert_eq!(texts[5], "DELETE /api/v1/namespaces/shop/secrets/web");
    let create = texts[6].split_once("hmac:").unwrap();
    assert_eq!(
        create.0,
        "POST /api/v1/namespaces/shop/secrets\n{\"data\":{\"key\":"
    );
    for contents in files.values() {
        let secret = contents.windows(8).any(|window| window == b"aHVudGVy");
        assert!(
            !secret,
            "a value that the agent sent for a classified field"
        );
    }
    assert_eq!(
        shown(
            &files,
            "blocks",
            &["protocol", "operation", "statement_text"]
        ),
        ["ssh|ssh.exec|rm -rf /"]
    );
    assert_eq!(
        shown(
            &files,
            "approvals",
            &["operation", "content_match", "outcome"]
        ),
        ["api.resource|true|approved"]
    );
    assert_eq!(
        shown(
            &files,
            "masking",
            &["object", "column_or_path", "detector", "rows"]
        ),
        [
            "|card_number|card_number|null",
            "secrets|secrets.data.*|classification|null"
        ]
    );
    let sessions = ["protocol", "statements_total", "values_masked", "chunks"];
    assert_eq!(
        shown(&files, "sessions", &sessions),
        ["ssh|4|2|7", "kubernetes|3|2|1"]
    );
}

#[test]
fn a_terminal_has_a_cast_beside_its_stream_and_nothing_else_has() {
    let files = sessions();
    let casts: Vec<_> = files
        .iter()
        .filter(|(name, _)| name.ends_with(".cast"))
        .collect();
    let [(name, cast)] = casts[..] else {
        panic!("{:?}", files.keys());
    };
    assert!(name.ends_with("/unit-1.cast"), "{name}");
    let cast = std::str::from_utf8(cast).unwrap();
    assert!(
        cast.starts_with("{\"version\":3,\"term\":{\"cols\":120,\"rows\":40}"),
        "{cast}"
    );
    assert!(
        cast.contains("\"o\",\"ls\\r\\n\\u001b[31ma\\u001b[0m\\r\\n\""),
        "{cast}"
    );
    assert!(cast.ends_with("\"x\",\"0\"]\n"), "{cast}");
}
