//! Makes a package from a log directory, also while the log is written.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Seek, Write};
use std::path::Path;

use gateway_core::time::Wall;
use serde_json::Value;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, System, ZipWriter};

use super::leaf::{Leaf, Range, made_of_moments};
use super::populations::populations;
use super::tables::{TABLES, Table};
use super::{FILE_BYTES_MAX, FILES_MAX, cast_name, to_csv, to_jsonl};
use crate::json::{self, hex};
use crate::log::{Entry, Position, ReadError, Salt, Stored, last_checkpoint, read, read_frame};
use crate::note::{Checkpoint, VerifierKey};
use crate::replay::casts;
use crate::tree::{Frontier, sha256};

/// What a package lists.
#[derive(Clone, Debug)]
pub struct Scope {
    /// Records from this time on …
    pub from: Wall,
    /// … and before this one.
    pub to: Wall,
    /// Of this agent only: its Entra object id.
    pub agent: Option<String>,
    /// Of this target only: its name.
    pub target: Option<String>,
}

/// How a package is made.
#[derive(Clone, Debug)]
pub struct ExportOptions {
    /// What it lists. The headers of all leaves from the first one on are in it whatever the scope.
    pub scope: Scope,
    /// Leaves in the range at most: they are held in memory.
    pub leaves_max: usize,
    /// Whether bodies and recordings of what is in scope are in it. Without them it says who did what
    /// class of thing when, and how it ended, and shows no text; its verification ends in "material
    /// missing".
    pub bodies: bool,
}

impl ExportOptions {
    /// A package of `scope` over at most two million leaves.
    #[must_use]
    pub const fn new(scope: Scope) -> Self {
        Self {
            scope,
            leaves_max: 2_000_000,
            bodies: true,
        }
    }
}

/// Why a package couldn't be made.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The log can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A verified leaf isn't JSON: it was written by something else.
    #[error("leaf {index} is not JSON")]
    Leaf {
        /// Its index.
        index: u64,
    },
    /// The range holds more leaves than fit.
    #[error("more than {leaves_max} leaves in the range: export shorter periods")]
    TooLarge {
        /// The bound.
        leaves_max: usize,
    },
    /// A file of the package would be 4 GiB or longer.
    #[error("`{name}` would be longer than {FILE_BYTES_MAX} bytes: export shorter periods")]
    FileTooLarge {
        /// Its name.
        name: String,
    },
    /// The package would have more than two million files.
    #[error("more than {FILES_MAX} files: export shorter periods")]
    TooManyFiles,
    /// The package can't be written.
    #[error("the package can't be written: {0}")]
    Write(#[from] io::Error),
    /// The archive can't be written.
    #[error("the package can't be written: {0}")]
    Archive(#[from] zip::result::ZipError),
    /// A listing can't be written.
    #[error("a listing can't be written: {0}")]
    Listing(#[from] csv::Error),
}

/// What a package holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// The log's name.
    pub origin: String,
    /// First leaf in it.
    pub from_index: u64,
    /// First leaf not in it: the size of its checkpoint.
    pub to_index: u64,
    /// Rows by listing.
    pub rows: Vec<(&'static str, u64)>,
    /// Recordings.
    pub recordings: u64,
}

/// Writes the package of `options.scope` over the log in `dir`, up to its last checkpoint.
///
/// The same log, checkpoint and scope give the same bytes.
///
/// # Errors
/// [`ExportError`]; the output is then incomplete and must be thrown away.
pub fn export(
    dir: &Path,
    key: &VerifierKey,
    options: &ExportOptions,
    out: impl Write + Seek,
) -> Result<Exported, ExportError> {
    let (checkpoint, note) = last_checkpoint(dir, key)?;
    let gathered = Gathered::read(dir, &checkpoint, options)?;
    let mut package = Package {
        zip: ZipWriter::new(out),
        files: BTreeMap::new(),
    };
    let scope = &options.scope;
    let (mut range, bodies) = gathered.range(&checkpoint.origin, scope)?;
    let in_scope: BTreeSet<String> = range
        .sessions()
        .keys()
        .map(|&session| session.to_owned())
        .collect();
    let shipped = |leaf: &Leaf| {
        leaf.session()
            .is_none_or(|session| in_scope.contains(session))
    };
    let (mut header_lines, mut body_lines) = (Vec::new(), Vec::new());
    for ((leaf, raw), body) in range.leaves.iter_mut().zip(&gathered.leaves).zip(bodies) {
        header_lines.extend_from_slice(&raw.header);
        header_lines.push(b'\n');
        if let (true, Some((salt, text))) = (options.bodies && shipped(leaf), body) {
            leaf.body = parse(text.as_bytes(), leaf.index)?;
            body_lines.extend(json::object(|o| {
                o.text("body", text);
                o.int("i", leaf.index);
                o.hex("salt", &salt);
            }));
            body_lines.push(b'\n');
        }
    }
    package.add("leaves/headers.jsonl", &header_lines)?;
    package.add("leaves/bodies.jsonl", &body_lines)?;
    drop((header_lines, body_lines));
    let tables: Vec<Table> = TABLES.iter().map(|listing| listing.build(&range)).collect();
    for table in &tables {
        package.add_table(table)?;
    }
    let hashes = package
        .files
        .iter()
        .map(|(name, file)| (name.clone(), hex(&file.hash)))
        .collect();
    package.add_table(&populations(&range, &tables, &hashes))?;
    let mut recordings = 0;
    for (session, leaves) in range.sessions().iter().filter(|_| options.bodies) {
        let anchored = anchored_chunks(leaves);
        if anchored > 0 {
            let positions = gathered.chunks.get(*session).map_or(&[][..], Vec::as_slice);
            let stream = stream(dir, session, positions, anchored)?;
            package.add(&format!("recordings/{session}/stream"), &stream)?;
            if made_of_moments(leaves) {
                for (unit, cast) in casts(&stream) {
                    package.add(&cast_name(session, unit.0), cast.as_bytes())?;
                }
            }
            recordings += 1;
        }
    }
    let manifest = manifest(
        &package,
        &gathered,
        &range,
        &checkpoint,
        &note,
        key,
        options,
    );
    package.add("manifest.json", &manifest)?;
    package.zip.finish()?;
    Ok(Exported {
        origin: checkpoint.origin,
        from_index: gathered.before.size(),
        to_index: checkpoint.size,
        rows: tables
            .iter()
            .map(|table| (table.name, table.rows.len() as u64))
            .collect(),
        recordings,
    })
}

/// The number of chunks that the last head of a session in the range covers.
fn anchored_chunks(leaves: &[&Leaf]) -> u64 {
    let heads = leaves.iter().filter(|leaf| leaf.text("sh").is_some());
    heads
        .filter_map(|leaf| leaf.count("chunks"))
        .max()
        .unwrap_or(0)
}

struct Raw {
    header: Vec<u8>,
    body: Option<(Salt, Vec<u8>)>,
    hash: [u8; 32],
}

/// What a pass over the log keeps.
struct Gathered {
    /// The tree before the range.
    before: Frontier,
    /// No leaf of the period was met yet.
    all_early: bool,
    leaves: Vec<Raw>,
    /// Frames that hold chunks, by session.
    chunks: BTreeMap<String, Vec<Position>>,
}

impl Gathered {
    fn read(
        dir: &Path,
        checkpoint: &Checkpoint,
        options: &ExportOptions,
    ) -> Result<Self, ExportError> {
        let mut gathered = Self {
            before: Frontier::default(),
            all_early: true,
            leaves: Vec::new(),
            chunks: BTreeMap::new(),
        };
        let from_us = options.scope.from.as_micros();
        read::<ExportError>(dir, checkpoint, &mut |stored| {
            gathered.keep(stored, checkpoint.size, from_us, options)
        })?;
        Ok(gathered)
    }

    fn keep(
        &mut self,
        stored: &Stored<'_>,
        size: u64,
        from_us: u64,
        options: &ExportOptions,
    ) -> Result<(), ExportError> {
        match (stored.entry, stored.leaf_hash) {
            (Entry::Leaf { header, body }, Some(hash)) if stored.index < size => {
                if self.all_early {
                    let header = parse(header, stored.index)?;
                    self.all_early = header.get("t").and_then(Value::as_u64) < Some(from_us);
                    // The last leaf before the period is kept: it shows that the range starts early enough.
                    if self.all_early
                        && let Some(last) = self.leaves.pop()
                    {
                        self.before.push(last.hash);
                    }
                }
                if self.leaves.len() >= options.leaves_max {
                    return Err(ExportError::TooLarge {
                        leaves_max: options.leaves_max,
                    });
                }
                let body = body.map(|(salt, body)| (salt, body.to_vec()));
                self.leaves.push(Raw {
                    header: header.to_vec(),
                    body,
                    hash,
                });
            }
            (Entry::Chunk { session, .. }, _) => {
                let positions = self.chunks.entry(session.to_string()).or_default();
                if positions.last() != Some(&stored.position) {
                    positions.push(stored.position);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The leaves with their headers, and beside them salt and text of their bodies.
    #[expect(
        clippy::type_complexity,
        reason = "two lists of the same length, used once"
    )]
    fn range(
        &self,
        origin: &str,
        scope: &Scope,
    ) -> Result<(Range, Vec<Option<(Salt, &str)>>), ExportError> {
        let (mut leaves, mut bodies) = (Vec::new(), Vec::new());
        for (index, raw) in (self.before.size()..).zip(&self.leaves) {
            let header = parse(&raw.header, index)?;
            leaves.push(Leaf {
                index,
                hash: hex(&raw.hash),
                header,
                body: Value::Null,
            });
            let body = raw.body.as_ref().map(|(salt, body)| {
                std::str::from_utf8(body)
                    .map(|body| (*salt, body))
                    .map_err(|_| ExportError::Leaf { index })
            });
            bodies.push(body.transpose()?);
        }
        let mut range = Range {
            origin: origin.to_owned(),
            from_index: self.before.size(),
            leaves,
            from_us: scope.from.as_micros(),
            to_us: scope.to.as_micros(),
            agent: scope.agent.clone(),
            target: scope.target.clone(),
        };
        // No package claims a time that its leaves don't reach.
        range.to_us = range.to_us.min(range.reached_us());
        Ok((range, bodies))
    }
}

fn parse(bytes: &[u8], index: u64) -> Result<Value, ExportError> {
    serde_json::from_slice(bytes).map_err(|_| ExportError::Leaf { index })
}

/// A session's chunks up to number `upto`.
fn stream(
    dir: &Path,
    session: &str,
    positions: &[Position],
    upto: u64,
) -> Result<Vec<u8>, ReadError> {
    let mut out = Vec::new();
    for position in positions {
        read_frame(dir, *position, &mut |entry| {
            if let Entry::Chunk {
                session: owner,
                number,
                direction,
                at_us,
                bytes,
            } = entry
                && number <= upto
                && owner.to_string() == session
            {
                out.extend_from_slice(&number.to_be_bytes());
                out.push(direction);
                out.extend_from_slice(&at_us.to_be_bytes());
                out.extend_from_slice(
                    &u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes(),
                );
                out.extend_from_slice(bytes);
            }
        })?;
    }
    Ok(out)
}

/// How every file is kept: stored, and with nothing that depends on where or when a package is made.
/// The same contents compress to many streams, and stored to one: no bit of a package is free.
pub(crate) fn file_options() -> SimpleFileOptions {
    SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .last_modified_time(DateTime::default())
        .system(System::Unix)
}

struct Packed {
    len: u64,
    hash: [u8; 32],
}

struct Package<W: Write + Seek> {
    zip: ZipWriter<W>,
    files: BTreeMap<String, Packed>,
}

impl<W: Write + Seek> Package<W> {
    fn add(&mut self, name: &str, contents: &[u8]) -> Result<(), ExportError> {
        let len = u64::try_from(contents.len()).unwrap_or(u64::MAX);
        if self.files.len() == FILES_MAX {
            return Err(ExportError::TooManyFiles);
        }
        if len > FILE_BYTES_MAX {
            return Err(ExportError::FileTooLarge { name: name.into() });
        }
        self.zip.start_file(name, file_options())?;
        self.zip.write_all(contents)?;
        self.files.insert(
            name.to_owned(),
            Packed {
                len,
                hash: sha256(&[contents]),
            },
        );
        Ok(())
    }

    fn add_table(&mut self, table: &Table) -> Result<(), ExportError> {
        self.add(&format!("{}.jsonl", table.name), &to_jsonl(table))?;
        self.add(&format!("{}.csv", table.name), &to_csv(table)?)
    }
}

fn manifest<W: Write + Seek>(
    package: &Package<W>,
    gathered: &Gathered,
    range: &Range,
    checkpoint: &Checkpoint,
    note: &str,
    key: &VerifierKey,
    options: &ExportOptions,
) -> Vec<u8> {
    json::object(|o| {
        o.text_opt("agent", range.agent.as_deref());
        o.text(
            "bodies",
            if options.bodies {
                "in_scope"
            } else {
                "excluded"
            },
        );
        o.text("checkpoint", note);
        o.objects("files", &package.files, |o, (name, file)| {
            o.int("bytes", file.len);
            o.text("name", name);
            o.hex("sha256", &file.hash);
        });
        o.text("format", super::FORMAT);
        o.int("from_index", gathered.before.size());
        o.int("from_us", range.from_us);
        let nodes: Vec<String> = gathered
            .before
            .nodes()
            .iter()
            .map(|node| hex(node))
            .collect();
        o.texts("frontier", nodes.iter().map(String::as_str));
        o.text("key", &key.encode());
        o.text("origin", &checkpoint.origin);
        o.text_opt("target", range.target.as_deref());
        o.int("to_index", checkpoint.size);
        o.int("to_us", range.to_us);
    })
}
