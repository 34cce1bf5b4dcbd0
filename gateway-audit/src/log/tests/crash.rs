//! Processes that are killed, disks that fail, and disks that lose power.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use super::*;
use crate::log::scan::{Resume, scan_from};

/// Index and hash of every leaf from `from` on, and where they end.
fn leaves(dir: &Path, from: Resume) -> (BTreeMap<u64, String>, Resume) {
    let mut leaves = BTreeMap::new();
    let end = scan_from::<io::Error>(&Layout::new(dir), from, u64::MAX, &mut |stored| {
        if let Some(hash) = stored.leaf_hash {
            leaves.insert(stored.index, crate::json::hex(&hash));
        }
        Ok(())
    });
    (leaves, end.unwrap().covered)
}

/// The child of the next test: appends until it is killed, and prints index and hash of each leaf that
/// is on disk when everything sent before has been acknowledged.
#[test]
fn child_appends_until_killed() {
    let Some(dir) = std::env::var_os("AUDIT_CHILD_DIR") else {
        return;
    };
    let dir = Path::new(&dir);
    let number: u8 = std::env::var("AUDIT_CHILD_NUMBER")
        .unwrap()
        .parse()
        .unwrap();
    let (log, _) = open(dir);
    let mut script = Script::open(&log, number, Durability::Strict);
    let mut out = io::stdout().lock();
    let mut place = Resume::default();
    for count in 1..100_000 {
        script.entry(rejected(count));
        if count % 7 == 0 {
            script.chunk(Direction::ToAgent, &[1; 9_000]);
        }
        if count % 3 == 0 {
            script.acks.wait_for(script.sequence);
            let (acknowledged, next) = leaves(dir, place);
            place = next;
            for (index, hash) in acknowledged {
                writeln!(out, "acked {index} {hash}").unwrap();
            }
            out.flush().unwrap();
        }
    }
}

#[test]
fn kill_nine_loses_no_acknowledged_record_nor_changes_its_place_or_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = BTreeMap::new();
    for round in 1..=6u8 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "log::tests::crash::child_appends_until_killed",
                "--nocapture",
            ])
            .env("AUDIT_CHILD_DIR", dir.path())
            .env("AUDIT_CHILD_NUMBER", round.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut hear = |line: &str| {
            let mut words = line.split(' ');
            // The line may be cut where the child was killed.
            if let (Some("acked"), Some(index), Some(hash)) =
                (words.next(), words.next(), words.next())
                && hash.len() == 64
            {
                let index: u64 = index.parse().unwrap();
                let known = acknowledged.insert(index, hash.to_owned());
                assert!(
                    known.is_none_or(|known| known == hash),
                    "leaf {index} was doubled"
                );
            }
            acknowledged.len()
        };
        let wanted = 40 * usize::from(round) + usize::from(round) * 7;
        while hear(&lines.next().unwrap().unwrap()) < wanted {}
        child.kill().unwrap();
        child.wait().unwrap();
        for line in lines.map_while(Result::ok) {
            hear(&line);
        }
        let (log, _) = open(dir.path());
        log.close().unwrap();
        let (found, _) = leaves(dir.path(), Resume::default());
        for (index, hash) in &acknowledged {
            assert_eq!(found.get(index), Some(hash), "round {round}, leaf {index}");
        }
    }
}

/// A disk whose `fail_at`th sync fails once, and which then claims that all is well.
#[derive(Debug)]
struct Flaky {
    syncs: Arc<AtomicU64>,
    fail_at: u64,
}

#[derive(Debug)]
struct FlakySegment {
    under: Box<dyn Segment>,
    syncs: Arc<AtomicU64>,
    fail_at: u64,
}

impl Storage for Flaky {
    fn open(&self, path: &Path) -> io::Result<Box<dyn Segment>> {
        Ok(Box::new(FlakySegment {
            under: LocalDisk.open(path)?,
            syncs: Arc::clone(&self.syncs),
            fail_at: self.fail_at,
        }))
    }
}

impl Segment for FlakySegment {
    fn size(&self) -> io::Result<u64> {
        self.under.size()
    }

    fn write_bytes(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.under.write_bytes(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        if self.syncs.fetch_add(1, Ordering::SeqCst) + 1 == self.fail_at {
            return Err(io::Error::other("a sync that failed"));
        }
        self.under.sync()
    }
}

#[test]
fn a_failed_sync_is_final_and_tells_every_session() {
    for fail_at in 2..8 {
        let dir = tempfile::tempdir().unwrap();
        let syncs = Arc::new(AtomicU64::new(0));
        let storage = Arc::new(Flaky {
            syncs: Arc::clone(&syncs),
            fail_at,
        });
        let (log, _) = Log::open(
            dir.path(),
            LogOptions {
                storage,
                ..options()
            },
        )
        .unwrap();
        let idle = Script::open(&log, 9, Durability::Strict);
        let mut bounded = Script::open(&log, 8, Durability::Bounded);
        let mut strict = Script::open(&log, 7, Durability::Strict);
        let failed = |script: &Script<'_>| script.acks.failed.load(Ordering::SeqCst);
        let mut acknowledged = 0;
        while !failed(&strict) {
            strict.entry(rejected(strict.sequence));
            wait_until(|| {
                failed(&strict) || strict.acks.upto.load(Ordering::SeqCst) == strict.sequence
            });
            if !failed(&strict) {
                acknowledged = strict.sequence;
            }
            bounded.entry(rejected(1));
        }
        wait_until(|| failed(&idle) && failed(&bounded));
        let upto = bounded.acks.upto.load(Ordering::SeqCst);
        for script in [&mut strict, &mut bounded] {
            script.entry(rejected(1));
            script.chunk(Direction::ToAgent, b"late");
        }
        assert_eq!(log.checkpoint(), Err(LogFailed));
        let (strict, bounded) = (Arc::clone(&strict.acks), Arc::clone(&bounded.acks));
        assert!(matches!(log.close(), Err(WriteError::Io(_))));
        assert_eq!(
            strict.upto.load(Ordering::SeqCst),
            acknowledged,
            "sync {fail_at}"
        );
        assert_eq!(bounded.upto.load(Ordering::SeqCst), upto);
        assert_eq!(
            syncs.load(Ordering::SeqCst),
            fail_at,
            "it is never tried again"
        );
    }
}

/// A disk that holds what is written in memory until it is synced, and loses power during a sync:
/// some of the sectors arrive, in any order, and the machine stops.
#[derive(Debug)]
struct Volatile {
    syncs_left: Arc<AtomicU64>,
    /// Seed of which sectors arrive.
    seed: u64,
}

#[derive(Debug)]
struct VolatileSegment {
    under: Box<dyn Segment>,
    pending: Mutex<Vec<(u64, Vec<u8>)>>,
    syncs_left: Arc<AtomicU64>,
    off: AtomicBool,
    seed: u64,
}

impl Storage for Volatile {
    fn open(&self, path: &Path) -> io::Result<Box<dyn Segment>> {
        Ok(Box::new(VolatileSegment {
            under: LocalDisk.open(path)?,
            pending: Mutex::default(),
            syncs_left: Arc::clone(&self.syncs_left),
            off: AtomicBool::new(false),
            seed: self.seed,
        }))
    }
}

impl Segment for VolatileSegment {
    fn size(&self) -> io::Result<u64> {
        self.under.size()
    }

    fn write_bytes(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.pending.lock().unwrap().push((offset, bytes.to_vec()));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let pending = std::mem::take(&mut *self.pending.lock().unwrap());
        let loses_power = self.syncs_left.fetch_sub(1, Ordering::SeqCst) == 1;
        assert!(
            !self.off.fetch_or(loses_power, Ordering::SeqCst),
            "there is no power"
        );
        let mut dice = self.seed;
        for (offset, bytes) in pending {
            for (sector, at) in bytes.chunks(512).zip((offset..).step_by(512)) {
                dice = dice
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                // A quarter of the seeds loses everything, a quarter nothing, the others some sectors.
                let arrives = match self.seed % 4 {
                    0 => false,
                    1 => true,
                    _ => dice >> 63 == 0,
                };
                if !loses_power || arrives {
                    self.under.write_bytes(sector, at)?;
                }
            }
        }
        if loses_power {
            return Err(io::Error::other("the power is gone"));
        }
        self.under.sync()
    }
}

#[test]
fn power_loss_loses_no_acknowledged_record() {
    let (mut torn, mut kept) = (0, 0);
    for seed in 0..80 {
        let dir = tempfile::tempdir().unwrap();
        let syncs_left = Arc::new(AtomicU64::new(2 + seed % 13));
        let storage = Arc::new(Volatile { syncs_left, seed });
        let (log, _) = Log::open(
            dir.path(),
            LogOptions {
                storage,
                ..options()
            },
        )
        .unwrap();
        let mut script = Script::open(&log, 1, Durability::Strict);
        while !script.acks.failed.load(Ordering::SeqCst) {
            script.entry(rejected(script.sequence + 1));
            if seed % 3 == 0 {
                script.acks.wait_or_failed(script.sequence);
            } else {
                std::thread::yield_now();
            }
        }
        let acknowledged = script.acks.upto.load(Ordering::SeqCst);
        assert!(log.close().is_err());
        let (log, recovery) = Log::open(dir.path(), options()).unwrap();
        log.close().unwrap();
        torn += u64::from(recovery.torn.is_some());
        let found = kinds(dir.path());
        let found = found.iter().filter(|kind| *kind == "auth.fail").count() as u64;
        assert!(
            found >= acknowledged,
            "seed {seed}: {found} of {acknowledged}"
        );
        kept += acknowledged;
    }
    assert!(torn >= 4 && kept > 100, "{torn} torn, {kept} acknowledged");
}
