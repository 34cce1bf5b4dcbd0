//! The checks of a package, in the order in which they rest on each other.

use std::collections::BTreeMap;
use std::io::{Read, Seek};

use serde_json::Value;
use zip::ZipArchive;

use super::leaves::{Hash, Tree, canonical, chain, hex, sha256, unhex};
use super::signed::{Refused, Signed, open};
use super::{Outcome, Problems, Trust, Verdict};
use crate::evidence::{Cell, FORMAT, Leaf, Range, TABLES, Table, populations, to_csv, to_jsonl};

const MANIFEST: &str = "manifest.json";
const HEADERS: &str = "leaves/headers.jsonl";
const BODIES: &str = "leaves/bodies.jsonl";

/// Longest file of a package that is read, bytes.
const FILE_BYTES_MAX: u64 = 4 << 30;

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
    if !bodies(&mut files, &mut range, problems) {
        return verdict;
    }
    verdict.rows = listings(&mut files, &range, problems);
    approvals(&range, problems);
    verdict.chunks = streams(&mut files, &range, problems);
    files.unread(problems);
    verdict
}

/// The archive's files, each read at most once into the checks.
struct Files<P: Read + Seek> {
    archive: ZipArchive<P>,
    /// What is in the archive, and whether a check has used it.
    used: BTreeMap<String, bool>,
}

impl<P: Read + Seek> Files<P> {
    fn open(package: P, problems: &mut Problems) -> Option<Self> {
        let archive = match ZipArchive::new(package) {
            Ok(archive) => archive,
            Err(error) => {
                problems.wrong(
                    "package",
                    None,
                    None,
                    format!("not a readable zip file: {error}"),
                );
                return None;
            }
        };
        let used = archive
            .file_names()
            .map(|name| (name.to_owned(), false))
            .collect();
        Some(Self { archive, used })
    }

    /// A file's contents; its absence is a problem.
    fn read(&mut self, name: &str, problems: &mut Problems) -> Option<Vec<u8>> {
        let Some(used) = self.used.get_mut(name) else {
            problems.missing(name, None, "the file is not in the package");
            return None;
        };
        *used = true;
        match self.contents(name) {
            Ok(contents) => Some(contents),
            Err(what) => {
                problems.wrong(name, None, None, what);
                None
            }
        }
    }

    fn contents(&mut self, name: &str) -> Result<Vec<u8>, String> {
        let file = self
            .archive
            .by_name(name)
            .map_err(|error| error.to_string())?;
        let mut contents = Vec::new();
        file.take(FILE_BYTES_MAX + 1)
            .read_to_end(&mut contents)
            .map_err(|error| error.to_string())?;
        if contents.len() as u64 > FILE_BYTES_MAX {
            return Err("the file is too long".into());
        }
        Ok(contents)
    }

    fn check_hashes(&mut self, manifest: &Manifest, problems: &mut Problems) {
        for (name, (len, hash)) in &manifest.files {
            if !self.used.contains_key(name) {
                problems.missing(
                    name,
                    None,
                    "the manifest lists it, and it is not in the package",
                );
                continue;
            }
            match self.contents(name) {
                Ok(contents) if contents.len() as u64 == *len && sha256(&[&contents]) == *hash => {}
                Ok(_) => problems.wrong(name, None, None, "its SHA-256 is not the manifest's"),
                Err(what) => problems.wrong(name, None, None, what),
            }
        }
        for name in self
            .used
            .keys()
            .filter(|name| *name != MANIFEST && !manifest.files.contains_key(*name))
        {
            problems.wrong(name, None, None, "the manifest does not list it");
        }
    }

    fn unread(&self, problems: &mut Problems) {
        for (name, _) in self.used.iter().filter(|(_, used)| !**used) {
            problems.wrong(name, None, None, "nothing in the log accounts for it");
        }
    }
}

struct Manifest {
    origin: String,
    checkpoint: String,
    from_index: u64,
    to_index: u64,
    from_us: u64,
    to_us: u64,
    agent: Option<String>,
    target: Option<String>,
    frontier: Vec<Hash>,
    files: BTreeMap<String, (u64, Hash)>,
}

impl Manifest {
    fn read<P: Read + Seek>(files: &mut Files<P>, problems: &mut Problems) -> Option<Self> {
        let contents = files.read(MANIFEST, problems)?;
        let manifest = canonical(&contents).and_then(|value| Self::parse(&value));
        if manifest.is_none() {
            problems.wrong(
                MANIFEST,
                None,
                None,
                format!("not a manifest of format `{FORMAT}`"),
            );
        }
        manifest
    }

    fn parse(value: &Value) -> Option<Self> {
        let text = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        let int = |name: &str| value.get(name).and_then(Value::as_u64);
        if text("format")? != FORMAT {
            return None;
        }
        let mut files = BTreeMap::new();
        for file in value.get("files")?.as_array()? {
            let entry = (
                file.get("bytes")?.as_u64()?,
                unhex(file.get("sha256")?.as_str()?)?,
            );
            if files
                .insert(file.get("name")?.as_str()?.to_owned(), entry)
                .is_some()
            {
                return None;
            }
        }
        let frontier = value
            .get("frontier")?
            .as_array()?
            .iter()
            .map(|node| unhex(node.as_str()?))
            .collect::<Option<_>>()?;
        Some(Self {
            origin: text("origin")?,
            checkpoint: text("checkpoint")?,
            from_index: int("from_index")?,
            to_index: int("to_index")?,
            from_us: int("from_us")?,
            to_us: int("to_us")?,
            agent: text("agent"),
            target: text("target"),
            frontier,
            files,
        })
    }
}

fn signed(manifest: &Manifest, trust: &Trust, problems: &mut Problems) -> Option<Signed> {
    match open(&manifest.checkpoint, trust) {
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
    if !contents.is_empty() && contents.last() != Some(&b'\n') {
        problems.wrong(HEADERS, None, None, "the last line is cut");
    }
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

fn lines(contents: &[u8]) -> impl Iterator<Item = &[u8]> {
    contents
        .strip_suffix(b"\n")
        .unwrap_or(contents)
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
}

/// Checks each body against its header. Whether none in scope is missing: without them all there
/// is nothing to rebuild listings from.
fn bodies<P: Read + Seek>(
    files: &mut Files<P>,
    range: &mut Range,
    problems: &mut Problems,
) -> bool {
    let Some(contents) = files.read(BODIES, problems) else {
        return false;
    };
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
                problems.missing(
                    BODIES,
                    Some(leaf.index),
                    "the leaf's body is not in the package",
                );
            }
            None => {}
        }
    }
    complete
}

/// A body line whose hash and length are those in its leaf's header.
fn body(line: &[u8], range: &Range) -> Option<(u64, Value)> {
    let line = canonical(line)?;
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

/// Rebuilds every listing and compares it byte for byte.
fn listings<P: Read + Seek>(files: &mut Files<P>, range: &Range, problems: &mut Problems) -> u64 {
    let mut tables: Vec<Table> = TABLES.iter().map(|listing| listing.build(range)).collect();
    let hashes = tables.iter().map(|table| {
        (
            format!("{}.jsonl", table.name),
            hex(&sha256(&[&to_jsonl(table)])),
        )
    });
    let hashes = hashes.collect();
    let sheet = populations(range, &tables, &hashes);
    for (row, cells) in (1..).zip(&sheet.rows) {
        if cells.last() != Some(&Cell::Text("holds".into())) {
            problems.wrong(
                "populations.jsonl",
                Some(row),
                None,
                "an identity does not hold",
            );
        }
    }
    tables.push(sheet);
    for table in &tables {
        let expected = to_jsonl(table);
        let name = format!("{}.jsonl", table.name);
        if let Some(found) = files.read(&name, problems) {
            compare(&name, &expected, &found, table, 0, problems);
        }
        let name = format!("{}.csv", table.name);
        match (to_csv(table), files.read(&name, problems)) {
            (Ok(expected), Some(found)) => compare(&name, &expected, &found, table, 1, problems),
            (Err(error), _) => problems.wrong(&name, None, None, error.to_string()),
            (Ok(_), None) => {}
        }
    }
    tables.iter().map(|table| table.rows.len() as u64).sum()
}

/// Names the first line that differs, and the leaf that its row should cite.
fn compare(
    name: &str,
    expected: &[u8],
    found: &[u8],
    table: &Table,
    heading: u64,
    problems: &mut Problems,
) {
    if expected == found {
        return;
    }
    let (mut expected, mut found) = (
        expected.split(|b| *b == b'\n'),
        found.split(|b| *b == b'\n'),
    );
    let mut line = 0u64;
    loop {
        line += 1;
        let (ours, theirs) = (expected.next(), found.next());
        if ours != theirs || ours.is_none() {
            break;
        }
    }
    let row = usize::try_from(line - heading.min(line - 1))
        .ok()
        .and_then(|row| table.rows.get(row.saturating_sub(1)));
    let leaf = row
        .and_then(|row| row.iter().rev().nth(1))
        .and_then(|cell| match cell {
            Cell::Int(index) => Some(*index),
            Cell::Empty | Cell::Text(_) | Cell::Flag(_) => None,
        });
    problems.wrong(name, Some(line), leaf, "it is not what the leaves say");
}

/// What was approved is what ran, and nobody approved an agent of their own.
fn approvals(range: &Range, problems: &mut Problems) {
    let Some(listing) = TABLES.iter().find(|listing| listing.name == "approvals") else {
        return;
    };
    let table = listing.build(range);
    let column = |name: &str| table.columns.iter().position(|column| *column == name);
    let (matched, owner, index) = (
        column("content_match"),
        column("approver_is_owner"),
        column("leaf_index"),
    );
    for (row, cells) in (1..).zip(&table.rows) {
        let cell = |column: Option<usize>| column.and_then(|column| cells.get(column));
        let leaf = match cell(index) {
            Some(Cell::Int(index)) => Some(*index),
            _ => None,
        };
        if cell(matched) == Some(&Cell::Flag(false)) {
            problems.wrong(
                "approvals.jsonl",
                Some(row),
                leaf,
                "what ran is not what was approved",
            );
        }
        if cell(owner) == Some(&Cell::Flag(true)) {
            problems.wrong(
                "approvals.jsonl",
                Some(row),
                leaf,
                "the agent's owner approved",
            );
        }
    }
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
    }
    checked
}
