//! The files of a package.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Seek};

use super::Problems;
use super::container::{ContainerError, Member, members};
use super::leaves::sha256;
use super::manifest::{MANIFEST, Manifest};

/// The package's files, each read at most once into the checks.
pub(super) struct Files<P: Read + Seek> {
    package: P,
    /// What is in it, and whether a check has used it.
    members: BTreeMap<String, (Member, bool)>,
    /// What the manifest says is in it.
    listed: BTreeSet<String>,
}

impl<P: Read + Seek> Files<P> {
    /// The files of a container that is as it must be.
    pub(super) fn open(mut package: P, problems: &mut Problems) -> Option<Self> {
        let listing = match members(&mut package) {
            Ok(listing) => listing,
            Err(error) => {
                problems.wrong("package", None, None, error.to_string());
                return None;
            }
        };
        let mut members = BTreeMap::new();
        for member in listing {
            let name = member.name.clone();
            if members.insert(name.clone(), (member, false)).is_some() {
                problems.wrong(&name, None, None, "two files of the package have this name");
                return None;
            }
        }
        Some(Self {
            package,
            members,
            listed: BTreeSet::new(),
        })
    }

    /// A file's contents. Its absence is a loss when the manifest lists it, which was said when
    /// hashes were checked; else somebody removed it from the manifest too.
    pub(super) fn read(&mut self, name: &str, problems: &mut Problems) -> Option<Vec<u8>> {
        let Some((_, used)) = self.members.get_mut(name) else {
            if !self.listed.contains(name) {
                let what = "a package holds this file, and neither this one nor its manifest does";
                problems.wrong(name, None, None, what);
            }
            return None;
        };
        *used = true;
        match self.contents(name) {
            Some(Ok(contents)) => Some(contents),
            Some(Err(error)) => {
                problems.wrong(name, None, None, error.to_string());
                None
            }
            None => None,
        }
    }

    /// A file's contents; `None` when it isn't there.
    fn contents(&mut self, name: &str) -> Option<Result<Vec<u8>, ContainerError>> {
        let (member, _) = self.members.get(name)?;
        Some(member.contents(&mut self.package))
    }

    /// Compares every file with the manifest's hash.
    pub(super) fn check_hashes(&mut self, manifest: &Manifest, problems: &mut Problems) {
        self.listed = manifest.files.keys().cloned().collect();
        for (name, (len, hash)) in &manifest.files {
            match self.contents(name) {
                Some(Ok(contents))
                    if contents.len() as u64 == *len && sha256(&[&contents]) == *hash => {}
                Some(Ok(_)) => {
                    problems.wrong(name, None, None, "its SHA-256 is not the manifest's")
                }
                Some(Err(error)) => problems.wrong(name, None, None, error.to_string()),
                None => {
                    let what = "the manifest lists it, and it is not in the package";
                    problems.missing(name, None, what);
                }
            }
        }
        for name in self
            .members
            .keys()
            .filter(|name| *name != MANIFEST && !manifest.files.contains_key(*name))
        {
            problems.wrong(name, None, None, "the manifest does not list it");
        }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.members.contains_key(name)
    }

    /// What accounts for the files of a folder is missing.
    pub(super) fn skip(&mut self, folder: &str) {
        let of_folder = |name: &str| name.starts_with(folder);
        for (_, (_, used)) in self
            .members
            .iter_mut()
            .filter(|(name, _)| of_folder(name.as_str()))
        {
            *used = true;
        }
    }

    /// What no check has read is unaccounted for.
    pub(super) fn unread(&self, problems: &mut Problems) {
        for (name, _) in self.members.iter().filter(|(_, (_, used))| !used) {
            problems.wrong(name, None, None, "nothing in the log accounts for it");
        }
    }
}
