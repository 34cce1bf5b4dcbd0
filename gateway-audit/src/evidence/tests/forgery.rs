//! Packages made by somebody who can do everything but sign: none may be accepted.

use base64::{Engine, engine::general_purpose::STANDARD};
use ed25519_dalek::{Signer, SigningKey};
use serde_json::{Value, json};

use super::*;

type Files = BTreeMap<String, Vec<u8>>;

fn refused(files: Files, what: &str) {
    let verdict = check(&forge(files));
    assert!(
        matches!(verdict.outcome, Outcome::Failed | Outcome::Missing),
        "{what}: {verdict:?}"
    );
    assert!(!verdict.problems.is_empty(), "{what}");
}

fn with(files: &Files, name: &str, contents: Vec<u8>) -> Files {
    let mut files = files.clone();
    files.insert(name.to_owned(), contents);
    files
}

/// Every line of every file dropped, doubled, swapped with the next or changed in a byte.
fn lines_changed(contents: &[u8]) -> Vec<Vec<u8>> {
    let lines: Vec<&[u8]> = contents
        .split_inclusive(|byte| *byte == b'\n')
        .take(60)
        .collect();
    let rest: usize = lines.iter().map(|line| line.len()).sum();
    let mut changed = Vec::new();
    let (mut before, mut whole) = (0, |lines: Vec<&[u8]>| {
        let mut bytes = lines.concat();
        bytes.extend_from_slice(&contents[rest..]);
        changed.push(bytes);
    });
    for at in 0..lines.len() {
        let mut variant = lines.clone();
        variant.remove(at);
        whole(variant);
        let mut variant = lines.clone();
        variant.insert(at, lines[at]);
        whole(variant);
        let mut variant = lines.clone();
        variant.swap(at, (at + 1).min(lines.len() - 1));
        whole(variant);
        let len = lines[at].len();
        for (byte, bit) in [
            (0, 4),
            (len / 5, 1),
            (len / 3, 4),
            (len / 2, 32),
            (len - 2, 2),
            (len - 1, 4),
        ] {
            let mut line = lines[at].to_vec();
            line[byte.min(len - 1)] ^= bit;
            let mut variant = lines.clone();
            variant[at] = &line;
            whole(variant);
        }
        before += len;
    }
    assert_eq!(before, rest);
    changed
}

/// Values that `value` isn't.
fn others(value: &Value) -> Vec<Value> {
    match value {
        Value::Null => vec![json!("x"), json!(0)],
        Value::Bool(value) => vec![json!(!value), Value::Null],
        Value::Number(number) => {
            let number = number.as_u64().unwrap();
            vec![
                json!(number + 1),
                json!(number ^ (1 << 40)),
                json!(number.to_string()),
            ]
        }
        Value::String(text) => vec![
            json!(format!("{text} ")),
            json!(text.to_uppercase() + "0"),
            json!(""),
        ],
        Value::Array(items) => vec![json!([]), json!([items.clone(), items.clone()].concat())],
        Value::Object(_) => vec![json!({}), Value::Null],
    }
}

/// Every member of every JSON line removed, changed and joined by another.
fn members_changed(contents: &[u8]) -> Vec<Vec<u8>> {
    let lines: Vec<&[u8]> = contents
        .strip_suffix(b"\n")
        .unwrap_or(contents)
        .split(|byte| *byte == b'\n')
        .collect();
    let mut changed = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Ok(Value::Object(object)) = serde_json::from_slice(line) else {
            continue;
        };
        let mut variants = Vec::new();
        for (member, value) in &object {
            let mut without = object.clone();
            without.remove(member);
            variants.push(without);
            for other in others(value).into_iter().filter(|other| other != value) {
                let mut variant = object.clone();
                variant.insert(member.clone(), other);
                variants.push(variant);
            }
        }
        let mut more = object.clone();
        more.insert("zz".into(), json!(1));
        variants.push(more);
        for variant in variants {
            let line = serde_json::to_vec(&variant).unwrap();
            let mut lines = lines.clone();
            lines[at] = &line;
            let mut bytes = lines.join(&b'\n');
            bytes.push(b'\n');
            changed.push(bytes);
        }
    }
    changed
}

fn bytes_changed(contents: &[u8]) -> Vec<Vec<u8>> {
    let mut changed = vec![
        contents[1..].to_vec(),
        contents[..contents.len() - 1].to_vec(),
    ];
    changed.push([contents, b"x"].concat());
    for at in (0..contents.len()).step_by((contents.len() / 20).max(1)) {
        let mut flipped = contents.to_vec();
        flipped[at] ^= 0x10;
        changed.push(flipped);
    }
    changed
}

/// Every `sample`th of all forgeries; returns how many were tried.
fn forge_everything(sample: usize) -> usize {
    let dir = log_dir_of_all_families();
    let files = unpack(&package(dir.path(), everything()).0);
    let mut tried = 0;
    for (name, contents) in files.iter().filter(|(name, _)| *name != "manifest.json") {
        let mut forgeries = if name.ends_with("/stream") {
            bytes_changed(contents)
        } else {
            lines_changed(contents)
        };
        if name.ends_with(".jsonl") {
            forgeries.extend(members_changed(contents));
        }
        for (number, forgery) in forgeries.into_iter().enumerate().step_by(sample) {
            if forgery != *contents {
                refused(
                    with(&files, name, forgery),
                    &format!("{name} forgery {number}"),
                );
                tried += 1;
            }
        }
    }
    for (number, forgery) in members_changed(&files["manifest.json"])
        .into_iter()
        .enumerate()
    {
        let forgery = forgery.strip_suffix(b"\n").unwrap().to_vec();
        let verdict = check(&pack(&with(&files, "manifest.json", forgery)));
        assert!(
            matches!(verdict.outcome, Outcome::Failed | Outcome::Missing),
            "manifest forgery {number}: {verdict:?}"
        );
        tried += 1;
    }
    tried
}

#[test]
fn no_forged_package_is_accepted() {
    let tried = forge_everything(4);
    assert!(tried >= 2_000, "{tried}");
}

#[test]
#[ignore = "the other forgeries: a minute"]
fn no_forged_package_is_accepted_of_all() {
    let tried = forge_everything(1);
    assert!(tried >= 4_000, "{tried}");
}

/// A package of one short session.
fn small() -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = Log::open(dir.path(), options()).unwrap();
    let mut script = Script::open(&log, 1, Durability::Strict);
    script.login();
    script.intent(1, "select 1", None);
    script.chunk(Direction::ToAgent, b"1");
    script.finish(1, UnitOutcome::Completed);
    script.close();
    log.close().unwrap();
    package(dir.path(), everything()).0
}

/// Changes the bits that `bits` names of every byte, and cuts the package everywhere.
fn change_every_byte(bits: fn(usize) -> Vec<u32>) {
    let package = small();
    assert_eq!(check(&package).outcome, Outcome::NotAnchored);
    let accepted = |changed: &[u8]| {
        let outcome = check(changed).outcome;
        !matches!(outcome, Outcome::Failed | Outcome::Missing)
    };
    for at in 0..package.len() {
        for bit in bits(at) {
            let mut changed = package.clone();
            changed[at] ^= 1 << bit;
            assert!(!accepted(&changed), "bit {bit} of byte {at}");
        }
        assert!(!accepted(&package[..at]), "cut at {at}");
    }
    assert!(!accepted(&[&package[..], b"\0"].concat()));
}

#[test]
fn no_byte_of_a_package_can_be_changed() {
    // Every bit has its turn, whatever the strides of the formats inside.
    change_every_byte(|at| vec![(at.wrapping_mul(0x9e37_79b1) >> 16) as u32 % 8]);
}

#[test]
#[ignore = "as above with every bit: minutes"]
fn no_bit_of_a_package_can_be_changed() {
    change_every_byte(|_| (0..8).collect());
}

#[test]
fn files_that_nothing_accounts_for_are_refused() {
    let dir = log_dir();
    let files = unpack(&package(dir.path(), everything()).0);
    for name in [
        "notes.txt",
        "recordings/x/stream",
        "Sessions.csv",
        "../sessions.csv",
    ] {
        refused(with(&files, name, b"x".to_vec()), name);
    }
}

#[test]
fn two_files_of_one_name_are_refused() {
    let dir = log_dir();
    let files = unpack(&package(dir.path(), everything()).0);
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, contents) in &files {
        zip.start_file(name, file_options()).unwrap();
        zip.write_all(contents).unwrap();
    }
    zip.start_file("sessions.csX", file_options()).unwrap();
    zip.write_all(b"agent,nothing\r\n").unwrap();
    let mut bytes = zip.finish().unwrap().into_inner();
    for at in 0..bytes.len() - 12 {
        if bytes[at..].starts_with(b"sessions.csX") {
            bytes[at + 11] = b'v';
        }
    }
    assert_eq!(check(&bytes).outcome, Outcome::Failed);
}

/// Hiding the beginning: a range that starts later, with a true frontier and true leaves.
#[test]
fn a_range_that_starts_after_its_period_is_refused() {
    let dir = log_dir();
    let whole = unpack(&package(dir.path(), everything()).0);
    let opened = rows(&whole, "sessions")[2]["opened_at"].clone();
    let from: jiff::Timestamp = opened.as_str().unwrap().parse().unwrap();
    let from = Wall::from_micros(u64::try_from(from.as_microsecond()).unwrap());
    let late = Scope {
        from,
        ..everything()
    };
    let mut files = unpack(&package(dir.path(), late).0);
    let mut manifest: Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
    manifest["from_us"] = json!(from.as_micros() - 60_000_000);
    files.insert(
        "manifest.json".into(),
        serde_json::to_vec(&manifest).unwrap(),
    );
    let problems = check(&pack(&files)).problems;
    assert!(
        problems
            .iter()
            .any(|problem| problem.what.contains("start after the period")),
        "{problems:?}"
    );
}

/// Hiding the end: an earlier checkpoint of the same log, truly signed.
#[test]
fn a_package_cannot_claim_time_after_its_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = Log::open(dir.path(), options()).unwrap();
    Script::open(&log, 1, Durability::Strict).whole();
    log.checkpoint().unwrap();
    let mut files = unpack(&package(dir.path(), everything()).0);
    let mut manifest: Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
    let to_us = manifest["to_us"].as_u64().unwrap();
    manifest["to_us"] = json!(to_us + 3_600_000_000u64);
    files.insert(
        "manifest.json".into(),
        serde_json::to_vec(&manifest).unwrap(),
    );
    let problems = check(&pack(&files)).problems;
    assert!(
        problems
            .iter()
            .any(|problem| problem.what.contains("end before the period")),
        "{problems:?}"
    );
}

/// A witness by the specification (c2sp.org/tlog-cosignature): its key line and its signature line.
fn witness(name: &str, seed: u8, time: u64, note: &str) -> (String, String) {
    let key = SigningKey::from_bytes(&[seed; 32]);
    let blob = [&[4][..], key.verifying_key().as_bytes()].concat();
    let id = crate::tree::sha256(&[name.as_bytes(), b"\n", &blob])[..4].to_vec();
    let text = note.split_once("\n\n").unwrap().0;
    let message = format!("cosignature/v1\ntime {time}\n{text}\n");
    let signature = [
        &id[..],
        &time.to_be_bytes(),
        &key.sign(message.as_bytes()).to_bytes(),
    ]
    .concat();
    (
        format!("{name}+{}+{}", crate::json::hex(&id), STANDARD.encode(blob)),
        format!("\u{2014} {name} {}\n", STANDARD.encode(signature)),
    )
}

#[test]
fn a_quorum_of_witnesses_makes_the_difference_between_zero_ten_and_three() {
    let dir = log_dir();
    let files = unpack(&package(dir.path(), everything()).0);
    let manifest: Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
    let note = manifest["checkpoint"].as_str().unwrap();
    let (one, signed_one) = witness("witness.test/one", 1, 1_790_000_500, note);
    let (two, signed_two) = witness("witness.test/two", 2, 1_790_000_501, note);
    let log = signer().verifier().encode();
    let trusting = |quorum: u64| {
        let text = format!("log {log}\nwitness {one}\nwitness {two}\nquorum {quorum}\n");
        Trust::parse(&text).unwrap()
    };
    let exit = |lines: &str, quorum| {
        let mut manifest = manifest.clone();
        manifest["checkpoint"] = json!(format!("{note}{lines}"));
        let package = pack(&with(
            &files,
            "manifest.json",
            serde_json::to_vec(&manifest).unwrap(),
        ));
        verify(Cursor::new(package), &trusting(quorum), None)
            .outcome
            .exit_code()
    };
    let both = format!("{signed_one}{signed_two}");
    let (_, other_note) = witness("witness.test/one", 1, 1, "another\n1\nAAAA\n\n");
    let (_, other_key) = witness("witness.test/one", 9, 1, note);
    let (name, blob) = signed_one.trim_end().rsplit_once(' ').unwrap();
    let mut blob = STANDARD.decode(blob).unwrap();
    *blob.last_mut().unwrap() ^= 1;
    let altered = format!("{name} {}\n", STANDARD.encode(blob));
    for (what, lines, quorum, expected) in [
        ("nobody is asked", "", 0, 10),
        ("one of one", signed_one.as_str(), 1, 0),
        ("two of two", both.as_str(), 2, 0),
        ("one of two", signed_one.as_str(), 2, 3),
        ("none", "", 1, 3),
        ("one twice", &format!("{signed_one}{signed_one}"), 2, 3),
        ("for another checkpoint", &other_note, 1, 3),
        ("by another key", &other_key, 1, 3),
        ("an altered signature", &altered, 1, 3),
    ] {
        assert_eq!(exit(lines, quorum), expected, "{what}");
    }
    let twice = format!("log {log}\nwitness {one}\nwitness {one}\nquorum 2\n");
    assert!(
        Trust::parse(&twice).is_err(),
        "one witness never makes a quorum of two"
    );
}
