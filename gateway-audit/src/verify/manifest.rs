//! What a package says of itself.

use std::collections::BTreeMap;
use std::io::{Read, Seek};

use serde_json::Value;

use super::Problems;
use super::files::Files;
use super::leaves::{Hash, canonical, unhex};
use crate::evidence::FORMAT;

/// The manifest's name in the package.
pub(super) const MANIFEST: &str = "manifest.json";

/// The manifest of a package.
pub(super) struct Manifest {
    pub(super) origin: String,
    pub(super) checkpoint: String,
    pub(super) from_index: u64,
    pub(super) to_index: u64,
    pub(super) from_us: u64,
    pub(super) to_us: u64,
    pub(super) agent: Option<String>,
    pub(super) target: Option<String>,
    /// Whether bodies and recordings are in it.
    pub(super) bodies: bool,
    pub(super) key: String,
    pub(super) frontier: Vec<Hash>,
    pub(super) files: BTreeMap<String, (u64, Hash)>,
}

impl Manifest {
    pub(super) fn read<P: Read + Seek>(
        files: &mut Files<P>,
        problems: &mut Problems,
    ) -> Option<Self> {
        if !files.has(MANIFEST) {
            problems.missing(MANIFEST, None, "the file is not in the package");
            return None;
        }
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
        if text("format")? != FORMAT
            || !member_names(value)?.all(|member| MEMBERS.contains(&member))
        {
            return None;
        }
        let bodies = match text("bodies")?.as_str() {
            "in_scope" => true,
            "excluded" => false,
            _ => return None,
        };
        let mut files = BTreeMap::new();
        for file in value.get("files")?.as_array()? {
            if !member_names(file)?.all(|member| FILE_MEMBERS.contains(&member)) {
                return None;
            }
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
            bodies,
            key: text("key")?,
            frontier,
            files,
        })
    }
}

/// The members of a manifest: nothing in it goes unchecked.
const MEMBERS: [&str; 13] = [
    "agent",
    "bodies",
    "checkpoint",
    "files",
    "format",
    "from_index",
    "from_us",
    "frontier",
    "key",
    "origin",
    "target",
    "to_index",
    "to_us",
];
const FILE_MEMBERS: [&str; 3] = ["bytes", "name", "sha256"];

pub(super) fn member_names(value: &Value) -> Option<impl Iterator<Item = &str>> {
    Some(value.as_object()?.keys().map(String::as_str))
}
