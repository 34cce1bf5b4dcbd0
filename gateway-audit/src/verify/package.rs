//! The checks of a package, in the order in which they rest on each other.

use std::collections::BTreeMap;
use std::io::{Read, Seek};

use serde_json::Value;

use super::files::Files;
use super::leaves::{Tree, canonical, chain, hex, sha256, unhex};
use super::manifest::{MANIFEST, Manifest, member_names};
use super::signed::{Refused, Signed, open};
use super::{Outcome, Problems, Trust, Verdict, listings};
use crate::evidence::{Leaf, Range, cast_name, made_of_moments};
use crate::replay::casts;

const HEADERS: &str = "leaves/headers.jsonl";
const BODIES: &str = "leaves/bodies.jsonl";

pub(super) fn check(
    package: impl Read + Seek,
    trust: &Trust,
    previous: Option<&str>,
    problems: &mut Problems,
) -> Verdict {
    let mut verdict = Verdict {
        outcome: Outcome::Failed,
        problems: Vec::new(),
        origin: String::new(),
        leaves: 0,
        rows: 0,
        chunks: 0,
        witnesses: 0,
    };
    let Some(mut files) = Files::open(package, problems) else {
        return verdict;
    };
    let Some(manifest) = Manifest::read(&mut files, problems) else {
        return verdict;
    };
    verdict.origin.clone_from(&manifest.origin);
    files.check_hashes(&manifest, problems);
    let signed = signed(&manifest, trust, problems);
    verdict.witnesses = signed.as_ref().map_or(0, |signed| signed.witnesses);
    let Some(mut range) = range(
        &mut files,
        &manifest,
        signed.as_ref(),
        trust,
        previous,
        problems,
    ) else {
        return verdict;
    };
    verdict.leaves = range.leaves.len() as u64;
    period(&manifest, &range, problems);
    if !bodies(&mut files, &manifest, &mut range, problems) {
        return verdict;
    }
    verdict.rows = listings::check(&mut files, &range, problems);
    if manifest.bodies {
        verdict.chunks = streams(&mut files, &range, problems);
    }
    files.unread(problems);
    verdict
}

fn signed(manifest: &Manifest, trust: &Trust, problems: &mut Problems) -> Option<Signed> {
    match open(&manifest.checkpoint, trust) {
        Ok(signed) if signed.key != manifest.key => {
            problems.wrong(MANIFEST, None, None, "it names another key than the log's");
        }
        Ok(signed) if signed.origin == manifest.origin && signed.size == manifest.to_index => {
            return Some(signed);
        }
        Ok(signed) => problems.wrong(
            MANIFEST,
            None,
            None,
            format!(
                "its checkpoint is of log `{}` at {} leaves",
                signed.origin, signed.size
            ),
        ),
        Err(Refused::Malformed) => {
            problems.wrong(MANIFEST, None, None, "its checkpoint is malformed")
        }
        Err(Refused::Signature) => problems.wrong(
            MANIFEST,
            None,
            None,
            "its checkpoint is not signed by the log's key",
        ),
        Err(Refused::UnknownLog) => {
            problems.missing(
                "trust",
                None,
                format!("no key for log `{}` in the trust file", manifest.origin),
            );
        }
    }
    None
}

/// Reads every header, and recomputes the root from them.
fn range<P: Read + Seek>(
    files: &mut Files<P>,
    manifest: &Manifest,
    signed: Option<&Signed>,
    trust: &Trust,
    previous: Option<&str>,
    problems: &mut Problems,
) -> Option<Range> {
    let contents = files.read(HEADERS, problems)?;
    let Some(mut tree) = Tree::resume(manifest.from_index, manifest.frontier.clone()) else {
        problems.wrong(
            MANIFEST,
            None,
            None,
            "its frontier does not fit its first index",
        );
        return None;
    };
    let previous = previous.map(|note| open(note, trust));
    let mut at_previous = None;
    let mut leaves = Vec::new();
    let mut index = manifest.from_index;
    let mut note_root = |index: u64, tree: &Tree| {
        if matches!(&previous, Some(Ok(previous)) if previous.size == index) {
            at_previous = Some(tree.root());
        }
    };
    note_root(index, &tree);
    for (row, line) in (1..).zip(lines(&contents)) {
        let hash = tree.add(line);
        match canonical(line) {
            Some(header) if header.get("i").and_then(Value::as_u64) == Some(index) => {
                leaves.push(Leaf {
                    index,
                    hash: hex(&hash),
                    header,
                    body: Value::Null,
                });
            }
            Some(_) => problems.wrong(
                HEADERS,
                Some(row),
                Some(index),
                "the leaf has another index",
            ),
            None => problems.wrong(
                HEADERS,
                Some(row),
                Some(index),
                "the leaf is not canonical JSON",
            ),
        }
        index += 1;
        note_root(index, &tree);
    }
    whole_lines(HEADERS, &contents, problems);
    if index != manifest.to_index {
        problems.wrong(
            HEADERS,
            None,
            Some(index),
            format!("the leaves end at {index}, not {}", manifest.to_index),
        );
    }
    if let Some(signed) = signed
        && tree.root() != signed.root
    {
        problems.wrong(
            HEADERS,
            None,
            None,
            "the leaves do not hash to the signed root: one was changed, added or removed",
        );
    }
    match &previous {
        None => {}
        Some(Err(_)) => problems.wrong(
            "previous",
            None,
            None,
            "the earlier checkpoint is not signed by a trusted log",
        ),
        Some(Ok(previous)) => match at_previous {
            Some(root) if root == previous.root && previous.origin == manifest.origin => {}
            Some(_) => problems.wrong(
                "previous",
                None,
                None,
                "this log does not extend the earlier checkpoint",
            ),
            None if previous.size > index => {
                problems.wrong(
                    "previous",
                    None,
                    None,
                    "the log is shorter than the earlier checkpoint",
                );
            }
            None => problems.missing(
                "previous",
                None,
                "the earlier checkpoint lies before this package",
            ),
        },
    }
    Some(Range {
        origin: manifest.origin.clone(),
        from_index: manifest.from_index,
        leaves,
        from_us: manifest.from_us,
        to_us: manifest.to_us,
        agent: manifest.agent.clone(),
        target: manifest.target.clone(),
    })
}

/// The leaves must reach from before the period to its end: a range that starts later or ends earlier
/// would hide what lies between.
fn period(manifest: &Manifest, range: &Range, problems: &mut Problems) {
    let (first, last) = (
        range.leaves.first().map_or(u64::MAX, Leaf::at_us),
        range.leaves.iter().map(Leaf::at_us).max().unwrap_or(0),
    );
    if manifest.from_index > 0 && first >= manifest.from_us {
        let what = "the leaves start after the period does";
        problems.wrong(HEADERS, Some(1), Some(manifest.from_index), what);
    }
    if manifest.to_us > last.saturating_add(1) {
        let what = "the leaves end before the period does";
        problems.wrong(MANIFEST, None, None, what);
    }
}

/// A file of lines ends one, and none is empty.
fn whole_lines(name: &str, contents: &[u8], problems: &mut Problems) {
    let ends = contents.is_empty() || contents.ends_with(b"\n");
    let empty = contents.starts_with(b"\n") || contents.windows(2).any(|pair| pair == b"\n\n");
    if !ends || empty {
        problems.wrong(name, None, None, "a line is cut or empty");
    }
}

fn lines(contents: &[u8]) -> impl Iterator<Item = &[u8]> {
    contents
        .strip_suffix(b"\n")
        .unwrap_or(contents)
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
}

/// Checks each body against its header. Whether listings can be rebuilt: a body that is in scope and
/// isn't there was removed, unless the manifest declares that there are none.
fn bodies<P: Read + Seek>(
    files: &mut Files<P>,
    manifest: &Manifest,
    range: &mut Range,
    problems: &mut Problems,
) -> bool {
    let Some(contents) = files.read(BODIES, problems) else {
        return false;
    };
    whole_lines(BODIES, &contents, problems);
    if !manifest.bodies {
        problems.missing(
            BODIES,
            None,
            "the manifest declares that bodies and recordings are left out",
        );
        if !contents.is_empty() {
            problems.wrong(BODIES, None, None, "there are bodies all the same");
        }
        return true;
    }
    let mut found = BTreeMap::new();
    for (row, line) in (1..).zip(lines(&contents)) {
        let Some((index, body)) = body(line, range) else {
            problems.wrong(
                BODIES,
                Some(row),
                None,
                "the body is not that of a leaf in the range",
            );
            continue;
        };
        if found
            .last_key_value()
            .is_some_and(|(last, _)| *last >= index)
        {
            let what = "the body is not in log order";
            problems.wrong(BODIES, Some(row), Some(index), what);
        }
        found.insert(index, body);
    }
    let sessions: Vec<String> = range
        .sessions()
        .keys()
        .map(|&session| session.to_owned())
        .collect();
    let mut complete = true;
    for leaf in &mut range.leaves {
        let in_scope = leaf.session().is_none_or(|session| {
            sessions
                .binary_search_by(|other| other.as_str().cmp(session))
                .is_ok()
        });
        match found.remove(&leaf.index) {
            Some(body) if in_scope => leaf.body = body,
            Some(_) => problems.wrong(BODIES, None, Some(leaf.index), "the body is out of scope"),
            None if in_scope && leaf.text("bh").is_some() => {
                complete = false;
                let what = "the leaf's body was removed";
                problems.wrong(BODIES, None, Some(leaf.index), what);
            }
            None => {}
        }
    }
    complete
}

/// A body line whose hash and length are those in its leaf's header.
fn body(line: &[u8], range: &Range) -> Option<(u64, Value)> {
    let line = canonical(line)?;
    if member_names(&line)?.count() != 3 {
        return None;
    }
    let (text, index) = (line.get("body")?.as_str()?, line.get("i")?.as_u64()?);
    let salt: [u8; 16] = unhex(line.get("salt")?.as_str()?)?;
    let position = range
        .leaves
        .binary_search_by_key(&index, |leaf| leaf.index)
        .ok()?;
    let leaf = range.leaves.get(position)?;
    let hash = sha256(&[&[0x10], &salt, text.as_bytes()]);
    if leaf.text("bh")? != hex(&hash) || leaf.int("bl")? != text.len() as u64 {
        return None;
    }
    Some((index, canonical(text.as_bytes())?))
}

/// Every stream hashes to every head that its session's leaves carry.
fn streams<P: Read + Seek>(files: &mut Files<P>, range: &Range, problems: &mut Problems) -> u64 {
    let mut checked = 0;
    for (session, leaves) in range.sessions() {
        let heads = |leaf: &Leaf| {
            Some((
                leaf.index,
                leaf.count("chunks")?,
                leaf.text("sh")?.to_owned(),
            ))
        };
        let anchors: Vec<_> = leaves.iter().filter_map(|leaf| heads(leaf)).collect();
        let last = anchors
            .iter()
            .map(|(_, chunks, _)| *chunks)
            .max()
            .unwrap_or(0);
        if last == 0 {
            continue;
        }
        let name = format!("recordings/{session}/stream");
        let Some(contents) = files.read(&name, problems) else {
            files.skip(&format!("recordings/{session}/"));
            continue;
        };
        let Some(chain) = chain(session, &contents) else {
            problems.wrong(
                &name,
                None,
                None,
                "the stream's chunks are malformed or not in order",
            );
            continue;
        };
        checked += chain.len() as u64 - 1;
        for (index, chunks, head) in &anchors {
            let found = usize::try_from(*chunks)
                .ok()
                .and_then(|chunks| chain.get(chunks));
            if found.map(|head| hex(head)).as_deref() != Some(head.as_str()) {
                problems.wrong(
                    &name,
                    None,
                    Some(*index),
                    format!("the first {chunks} chunks are not those the leaf commits to"),
                );
            }
        }
        if chain.len() as u64 - 1 > last {
            problems.wrong(&name, None, None, "chunks follow that no leaf commits to");
        }
        if made_of_moments(&leaves) {
            for (unit, cast) in casts(&contents) {
                let name = cast_name(session, unit.0);
                let found = files.read(&name, problems);
                if found.is_some_and(|found| found != cast.as_bytes()) {
                    problems.wrong(&name, None, None, "it is not what the stream says");
                }
            }
        }
    }
    checked
}
