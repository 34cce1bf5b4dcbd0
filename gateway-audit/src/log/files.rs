//! The files of a log directory.
//!
//! ```text
//! lock                     held while a gateway writes
//! checkpoint               the newest signed checkpoint: the floor of recovery
//! segments/0000000001.seg  frames; zero-filled ahead of the writer
//! quarantine/...           torn tails, kept as found
//! tokens.key               key of the `hmac:` tokens in bodies
//! ```

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::frame::BLOCK;

/// Zeros are written this far ahead of the frames, bytes, so that a commit doesn't change the file's size.
pub(crate) const ZERO_AHEAD: u64 = 1 << 20;

/// The paths of a log directory.
#[derive(Clone, Debug)]
pub(crate) struct Layout(PathBuf);

impl Layout {
    pub(crate) fn new(dir: &Path) -> Self {
        Self(dir.to_owned())
    }

    pub(crate) fn create(&self) -> io::Result<()> {
        fs::create_dir_all(self.segments())?;
        fs::create_dir_all(self.quarantine())?;
        sync_dir(&self.0)
    }

    pub(crate) fn segments(&self) -> PathBuf {
        self.0.join("segments")
    }

    pub(crate) fn segment(&self, number: u64) -> PathBuf {
        self.segments().join(format!("{number:010}.seg"))
    }

    pub(crate) fn quarantine(&self) -> PathBuf {
        self.0.join("quarantine")
    }

    /// Takes the writer's lock; `None` when another process holds it.
    pub(crate) fn lock(&self) -> io::Result<Option<File>> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(self.0.join("lock"))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// The newest checkpoint, when one was ever written.
    pub(crate) fn read_checkpoint(&self) -> io::Result<Option<String>> {
        match fs::read_to_string(self.0.join("checkpoint")) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Replaces the checkpoint, durably and whole.
    pub(crate) fn write_checkpoint(&self, note: &str) -> io::Result<()> {
        self.replace("checkpoint", note.as_bytes())
    }

    /// The key of `hmac:` tokens, made on first use.
    pub(crate) fn token_key(&self, fresh: &[u8; 32]) -> io::Result<[u8; 32]> {
        let path = self.0.join("tokens.key");
        match File::open(&path) {
            Ok(mut file) => {
                let mut key = [0; 32];
                file.read_exact(&mut key)?;
                Ok(key)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.replace("tokens.key", fresh)?;
                Ok(*fresh)
            }
            Err(error) => Err(error),
        }
    }

    /// Keeps the bytes of a torn tail, durably, and says where.
    pub(crate) fn keep_tail(&self, segment: u64, offset: u64, tail: &[u8]) -> io::Result<PathBuf> {
        let path = self
            .quarantine()
            .join(format!("{segment:010}-{offset}.tail"));
        let mut file = private(&path)?;
        file.write_all(tail)?;
        file.sync_all()?;
        sync_dir(&self.quarantine())?;
        Ok(path)
    }

    /// Writes a small file beside the old one and renames it over it.
    fn replace(&self, name: &str, contents: &[u8]) -> io::Result<()> {
        let new = self.0.join(format!("{name}.new"));
        let mut file = private(&new)?;
        file.write_all(contents)?;
        file.sync_all()?;
        fs::rename(new, self.0.join(name))?;
        sync_dir(&self.0)
    }

    /// The numbers of the segments present, ascending.
    pub(crate) fn segment_numbers(&self) -> io::Result<Vec<u64>> {
        let mut numbers = Vec::new();
        for entry in fs::read_dir(self.segments())? {
            let name = entry?.file_name();
            let number = name
                .to_str()
                .and_then(|name| name.strip_suffix(".seg")?.parse().ok());
            numbers.extend::<Option<u64>>(number);
        }
        numbers.sort_unstable();
        Ok(numbers)
    }
}

fn private(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path)
}

/// Makes renames and new files in `dir` durable.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// The disk under the segments: all that durability rests on.
///
/// The port exists so that a deployment can put another device under its log, and so that a disk that
/// fails, lies or loses power can be had on demand.
pub trait Storage: Send + Sync + std::fmt::Debug {
    /// Opens the segment at `path` for writing, and creates it when it doesn't exist. That it exists
    /// is durable when this returns.
    ///
    /// # Errors
    /// Whatever the disk says; the log then fails for good.
    fn open(&self, path: &Path) -> io::Result<Box<dyn Segment>>;
}

/// One open segment. It is written by one thread, at ascending offsets.
pub trait Segment: Send + std::fmt::Debug {
    /// Its length, bytes.
    ///
    /// # Errors
    /// Whatever the disk says.
    fn size(&self) -> io::Result<u64>;

    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// Whatever the disk says; how much was written is then unknown.
    fn write_bytes(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Returns once everything written is durable.
    ///
    /// # Errors
    /// Whatever the disk says; the caller must never try again, since a second call may claim what the
    /// first one lost.
    fn sync(&self) -> io::Result<()>;
}

/// The local file system: `pwrite` and `fdatasync`.
#[derive(Clone, Copy, Debug, Default)]
pub struct LocalDisk;

impl Storage for LocalDisk {
    fn open(&self, path: &Path) -> io::Result<Box<dyn Segment>> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(path)?;
        if let Some(dir) = path.parent() {
            sync_dir(dir)?;
        }
        Ok(Box::new(file))
    }
}

impl Segment for File {
    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn write_bytes(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}

/// Writes frames at the end of the last segment.
#[derive(Debug)]
pub(crate) struct Appender {
    storage: Arc<dyn Storage>,
    layout: Layout,
    segment_bytes: u64,
    number: u64,
    file: Box<dyn Segment>,
    /// Where the next frame starts.
    offset: u64,
    /// The file is written, zeros included, up to here.
    zeroed: u64,
}

impl Appender {
    /// Continues segment `number` at `offset`; creates it when it doesn't exist.
    pub(crate) fn open(
        storage: Arc<dyn Storage>,
        layout: Layout,
        segment_bytes: u64,
        number: u64,
        offset: u64,
    ) -> io::Result<Self> {
        let file = storage.open(&layout.segment(number))?;
        let zeroed = file.size()?.max(offset);
        Ok(Self {
            storage,
            layout,
            segment_bytes,
            number,
            file,
            offset,
            zeroed,
        })
    }

    /// Writes one frame and makes it durable. A frame longer than a segment gets a segment of its own.
    ///
    /// An error is final: what reached the disk is unknown, and a second sync could claim what the
    /// first one lost.
    pub(crate) fn append(&mut self, frame: &[u8]) -> io::Result<()> {
        let len = u64::try_from(frame.len()).unwrap_or(u64::MAX);
        if self.offset > 0 && self.offset.saturating_add(len) > self.segment_bytes {
            *self = Self::open(
                Arc::clone(&self.storage),
                self.layout.clone(),
                self.segment_bytes,
                self.number + 1,
                0,
            )?;
        }
        self.file.write_bytes(frame, self.offset)?;
        self.offset += len;
        if self.offset > self.zeroed {
            let ahead = ZERO_AHEAD.min(self.segment_bytes.saturating_sub(self.offset));
            zero(&*self.file, self.offset, self.offset + ahead)?;
            self.zeroed = self.offset + ahead;
        }
        self.file.sync()
    }
}

/// Overwrites `from..to` of `file` with zeros.
pub(crate) fn zero(file: &dyn Segment, from: u64, to: u64) -> io::Result<()> {
    let zeros = vec![0; usize::try_from(ZERO_AHEAD.min(to.saturating_sub(from))).unwrap_or(BLOCK)];
    let mut at = from;
    while at < to {
        let len = usize::try_from(to - at)
            .unwrap_or(usize::MAX)
            .min(zeros.len());
        let Some(part) = zeros.get(..len) else { break };
        file.write_bytes(part, at)?;
        at += u64::try_from(len).unwrap_or(u64::MAX);
    }
    Ok(())
}

/// Reads up to `len` bytes at `offset`; fewer at the end of the file.
pub(crate) fn read_at(file: &mut File, offset: u64, len: usize) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.take(u64::try_from(len).unwrap_or(u64::MAX))
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}
