//! The container of a package: a zip file in the one form that the exporter writes.
//!
//! Zip has room for what nobody reads: headers repeat the directory, fields are optional, gaps are
//! legal, and a compressed stream says one thing in many ways. What one reader skips can be changed
//! unseen, and another reader may unpack it. So a package has exactly one container per list of files
//! (PKWARE APPNOTE 6.3.10, section 4.3.6, "Overall .ZIP file format"): files are stored, one behind the
//! other from the first byte on; behind them are the central directory and the end records, and
//! nothing else; every field has the value that it has here.

use std::io::{self, BufReader, Read, Seek, SeekFrom};

use crate::evidence::{FILE_BYTES_MAX, FILES_MAX};

/// 1980-01-01, the format's first day, in its own encoding (section 4.4.6, "date and time fields").
const DATE: u16 = 0x21;
/// Unix, and the first version of the format (section 4.4.2, "version made by").
const MADE_BY: u16 = 0x030a;
const NEEDED: u16 = 10;
/// A regular file that its owner may write and everybody may read (section 4.4.15, "external file
/// attributes"), as Unix has it.
const ATTRIBUTES: u32 = 0o100_644 << 16;

const LOCAL: &[u8; 4] = b"PK\x03\x04";
const LOCAL_BYTES: u64 = 30;

/// Why a container is refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum ContainerError {
    #[error("it can't be read: {0}")]
    Read(#[from] io::Error),
    #[error("at byte {at} it is not the zip file that an exporter writes")]
    Form { at: u64 },
    #[error("it has more than {FILES_MAX} files")]
    Members,
}

/// One file in a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) name: String,
    /// Where its header is.
    at: u64,
    len: u32,
    crc: u32,
}

/// The files of a package, in their order. Contents are not read yet.
///
/// # Errors
/// [`ContainerError`].
pub(super) fn members(package: &mut (impl Read + Seek)) -> Result<Vec<Member>, ContainerError> {
    package.seek(SeekFrom::Start(0))?;
    let mut package = BufReader::new(package);
    let (mut members, mut at) = (Vec::new(), 0);
    while let Some(member) = Member::read(&mut package, at)? {
        if members.len() == FILES_MAX {
            return Err(ContainerError::Members);
        }
        at = member.end();
        package.seek_relative(i64::from(member.len))?;
        members.push(member);
    }
    package.seek(SeekFrom::Start(at))?;
    let expected = ending(&members, at);
    let mut found = Vec::new();
    package
        .take(expected.len() as u64 + 1)
        .read_to_end(&mut found)?;
    if found == expected {
        return Ok(members);
    }
    let same = expected.iter().zip(&found).take_while(|(a, b)| a == b);
    let at = at + same.count() as u64;
    Err(ContainerError::Form { at })
}

impl Member {
    /// The member whose header is at `at`, where `package` stands; `None` where another record is.
    fn read(package: &mut impl Read, at: u64) -> Result<Option<Self>, ContainerError> {
        let form = || ContainerError::Form { at };
        let mut signature = [0; 4];
        package.read_exact(&mut signature)?;
        if signature != *LOCAL {
            return Ok(None);
        }
        let mut rest = [0; LOCAL_BYTES as usize - 4];
        package.read_exact(&mut rest)?;
        let int = |from: usize| {
            let bytes = rest.get(from..from + 4)?.try_into().ok()?;
            Some(u32::from_le_bytes(bytes))
        };
        let (crc, len) = int(10).zip(int(18)).ok_or_else(form)?;
        let name_len = rest.get(22..24).and_then(|bytes| bytes.try_into().ok());
        let name_len = name_len.map_or(0, u16::from_le_bytes);
        let mut name = vec![0; usize::from(name_len)];
        package.read_exact(&mut name)?;
        let name = String::from_utf8(name).map_err(|_| form())?;
        // Other names need another flag, and some readers see another name.
        let plain = name
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'\\');
        let member = Self { name, at, len, crc };
        let canonical = plain && !member.name.is_empty() && u64::from(len) <= FILE_BYTES_MAX;
        let expected = [&signature[..], &rest[..]].concat() == member.local();
        (canonical && expected)
            .then_some(Some(member))
            .ok_or_else(form)
    }

    /// Its contents, which are what its checksum says.
    ///
    /// # Errors
    /// [`ContainerError`].
    pub(super) fn contents(
        &self,
        package: &mut (impl Read + Seek),
    ) -> Result<Vec<u8>, ContainerError> {
        let start = self.end() - u64::from(self.len);
        package.seek(SeekFrom::Start(start))?;
        let mut contents = Vec::new();
        package
            .take(u64::from(self.len))
            .read_to_end(&mut contents)?;
        let whole = contents.len() as u64 == u64::from(self.len);
        if whole && crc32fast::hash(&contents) == self.crc {
            Ok(contents)
        } else {
            Err(ContainerError::Form { at: self.at })
        }
    }

    fn end(&self) -> u64 {
        self.at + LOCAL_BYTES + self.name.len() as u64 + u64::from(self.len)
    }

    /// The fixed part of its header (section 4.3.7, "Local file header").
    fn local(&self) -> Vec<u8> {
        let mut out = LOCAL.to_vec();
        out.extend(NEEDED.to_le_bytes());
        self.common(&mut out);
        out.extend(0u16.to_le_bytes());
        out
    }

    /// Flags, method, time, checksum, sizes and length of the name, which both headers have.
    fn common(&self, out: &mut Vec<u8>) {
        for field in [0, 0, 0, DATE] {
            out.extend(field.to_le_bytes());
        }
        for field in [self.crc, self.len, self.len] {
            out.extend(field.to_le_bytes());
        }
        // Read from two bytes.
        let len = u16::try_from(self.name.len()).unwrap_or(u16::MAX);
        out.extend(len.to_le_bytes());
    }

    /// Its entry in the directory (section 4.3.12, "Central directory structure"; 4.5.3, "Zip64 Extended
    /// Information Extra Field" for a header beyond 4 GiB).
    fn entry(&self, out: &mut Vec<u8>) {
        let near = u32::try_from(self.at).ok().filter(|at| *at < u32::MAX);
        out.extend(b"PK\x01\x02");
        out.extend(MADE_BY.to_le_bytes());
        out.extend(NEEDED.to_le_bytes());
        self.common(out);
        let extra_len: u16 = if near.is_some() { 0 } else { 12 };
        for field in [extra_len, 0, 0, 0] {
            out.extend(field.to_le_bytes());
        }
        out.extend(ATTRIBUTES.to_le_bytes());
        out.extend(near.unwrap_or(u32::MAX).to_le_bytes());
        out.extend(self.name.as_bytes());
        if near.is_none() {
            out.extend([1u16, 8].map(u16::to_le_bytes).concat());
            out.extend(self.at.to_le_bytes());
        }
    }
}

/// Everything behind the files: the directory at `start` and the end records (sections 4.3.14 to 4.3.16).
fn ending(members: &[Member], start: u64) -> Vec<u8> {
    let mut out = Vec::new();
    for member in members {
        member.entry(&mut out);
    }
    let (count, bytes) = (members.len() as u64, out.len() as u64);
    let far = count > u64::from(u16::MAX) || start.max(bytes) > u64::from(u32::MAX);
    if far {
        out.extend(b"PK\x06\x06");
        out.extend(44u64.to_le_bytes());
        out.extend([NEEDED, NEEDED].map(u16::to_le_bytes).concat());
        out.extend([0u32, 0].map(u32::to_le_bytes).concat());
        out.extend([count, count, bytes, start].map(u64::to_le_bytes).concat());
        out.extend(b"PK\x06\x07");
        out.extend(0u32.to_le_bytes());
        out.extend((start + bytes).to_le_bytes());
        out.extend(1u32.to_le_bytes());
    }
    let count = u16::try_from(count).unwrap_or(u16::MAX);
    let short = |value| u32::try_from(value).unwrap_or(u32::MAX);
    let bytes = if far { u32::MAX } else { short(bytes) };
    out.extend(b"PK\x05\x06");
    out.extend([0, 0, count, count].map(u16::to_le_bytes).concat());
    out.extend([bytes, short(start)].map(u32::to_le_bytes).concat());
    out.extend(0u16.to_le_bytes());
    out
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};

    use proptest::prelude::*;
    use zip::ZipWriter;

    use super::*;
    use crate::evidence::file_options;

    fn packed(files: &[(String, Vec<u8>)]) -> Vec<u8> {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, contents) in files {
            zip.start_file(name, file_options()).unwrap();
            zip.write_all(contents).unwrap();
        }
        zip.finish().unwrap().into_inner()
    }

    fn read(package: &[u8]) -> Result<Vec<(String, Vec<u8>)>, ContainerError> {
        let mut package = Cursor::new(package);
        let members = members(&mut package)?;
        let contents = |member: Member| Ok((member.name.clone(), member.contents(&mut package)?));
        members.into_iter().map(contents).collect()
    }

    fn files() -> impl Strategy<Value = Vec<(String, Vec<u8>)>> {
        let contents = proptest::collection::vec(any::<u8>(), 0..200);
        let files = proptest::collection::btree_map("[a-z]{1,9}(/[a-z.]{1,9})?", contents, 0..9);
        files.prop_map(|files| files.into_iter().collect())
    }

    proptest! {
        #[test]
        fn what_an_exporter_writes_is_read_and_no_changed_bit_of_it(files in files(), seed: usize) {
            let package = packed(&files);
            prop_assert_eq!(read(&package).unwrap(), files);
            for at in 0..package.len() {
                let mut changed = package.clone();
                changed[at] ^= 1 << ((seed ^ at) % 8);
                prop_assert!(read(&changed).is_err(), "byte {at}");
            }
            prop_assert!(read(&package[..seed % package.len()]).is_err());
            prop_assert!(read(&[&package[..], b"x"].concat()).is_err());
            prop_assert!(read(&[b"x", &package[..]].concat()).is_err());
        }
    }

    #[test]
    fn more_files_than_two_bytes_count_have_the_long_end_record() {
        let files: Vec<_> = (0..65_536)
            .map(|file| (format!("{file}"), Vec::new()))
            .collect();
        for count in [65_535, 65_536] {
            assert_eq!(read(&packed(&files[..count])).unwrap().len(), count);
        }
    }

    #[test]
    #[ignore = "writes 5 GiB of zeros into a sparse file"]
    fn packages_beyond_four_gibibytes_are_read() {
        let mut zip = ZipWriter::new(tempfile::tempfile().unwrap());
        let zeros = vec![0; 1 << 20];
        for (name, mebibytes) in [("a", 4095), ("b", 1000), ("c", 1)] {
            zip.start_file(name, file_options()).unwrap();
            (0..mebibytes).for_each(|_| zip.write_all(&zeros).unwrap());
        }
        let mut package = zip.finish().unwrap();
        let members = members(&mut package).unwrap();
        assert!(members[2].at > u64::from(u32::MAX));
        assert_eq!(members[2].contents(&mut package).unwrap(), zeros);
    }
}
