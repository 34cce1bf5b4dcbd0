use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use gateway_core::record::{Direction, Outcome};
use gateway_core::target::Durability;

mod crash;

use super::frame::{BLOCK, FrameBuilder, FrameHeader, HEADER_LEN};
use super::*;
use crate::note::Checkpoint;
use crate::testing::{ORIGIN, Script, options, rejected, signer, snapshot, wait_until};

fn open(dir: &Path) -> (Log, Recovery) {
    Log::open(dir, options()).unwrap()
}

fn kinds(dir: &Path) -> Vec<String> {
    let mut kinds = Vec::new();
    let end = scan::<std::io::Error>(&Layout::new(dir), 0, &mut |stored| {
        if let Entry::Leaf { header, .. } = stored.entry {
            let header: serde_json::Value = serde_json::from_slice(header).unwrap();
            assert_eq!(header["i"], stored.index);
            kinds.push(header["k"].as_str().unwrap().to_owned());
        }
        Ok(())
    })
    .unwrap();
    assert_eq!(end.fault, None);
    kinds
}

fn segment(dir: &Path) -> PathBuf {
    Layout::new(dir).segment(1)
}

/// Offsets at which frames start in the first segment, and where the last one ends.
fn boundaries(dir: &Path) -> Vec<u64> {
    let bytes = fs::read(segment(dir)).unwrap();
    let mut at = vec![0];
    while let Ok(header) =
        FrameHeader::parse(&bytes[usize::try_from(*at.last().unwrap()).unwrap()..])
    {
        at.push(at.last().unwrap() + header.disk_len());
    }
    at
}

fn flip(dir: &Path, offset: u64, bit: u8) {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(segment(dir))
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ (1 << bit)], offset).unwrap();
}

fn corrupt_at(dir: &Path) -> Option<u64> {
    match Log::open(dir, options()) {
        Err(OpenError::Corrupt {
            segment: 1, offset, ..
        }) => Some(offset),
        Err(error) => panic!("expected corruption, got {error}"),
        Ok(_) => None,
    }
}

/// A log of several frames; its last checkpoint covers only the first when `low_floor`.
fn several_frames(low_floor: bool) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path());
    let first = fs::read(dir.path().join("checkpoint")).unwrap();
    let mut script = Script::open(&log, 1, Durability::Strict);
    script.login();
    script.acks.wait_for(script.sequence);
    for unit in 1..=3 {
        script.intent(unit, "select 1", None);
        script.acks.wait_for(script.sequence);
        script.finish(unit, Outcome::Completed);
        script.acks.wait_for(script.sequence);
    }
    script.close();
    log.close().unwrap();
    if low_floor {
        fs::write(dir.path().join("checkpoint"), first).unwrap();
    }
    dir
}

#[test]
fn an_acknowledged_record_is_on_disk_under_strict() {
    let dir = tempfile::tempdir().unwrap();
    let (log, recovery) = open(dir.path());
    assert_eq!(recovery, Recovery::default());
    let mut script = Script::open(&log, 1, Durability::Strict);
    for number in 1..=20 {
        script.entry(rejected(number));
        script.acks.wait_for(number);
        let crashed = snapshot(dir.path());
        let found = kinds(crashed.path())
            .iter()
            .filter(|kind| *kind == "auth.fail")
            .count();
        assert_eq!(found, usize::try_from(number).unwrap());
    }
}

#[test]
fn bounded_durability_acknowledges_within_its_window_and_strict_behind_it() {
    let queue = Queue::new(1 << 30);
    let acks = Arc::new(crate::testing::Acks::default());
    let session = SessionId::parse("01890a5d-ac96-774b-bcce-b302099a8057").unwrap();
    queue.open(
        session,
        Durability::Bounded,
        Arc::clone(&acks) as Arc<dyn Acknowledge>,
    );
    let chunk = |micros, len| {
        Evidence::Chunk(gateway_core::record::Chunk {
            at: Now {
                mono: gateway_core::time::Mono::from_micros(micros),
                ..Now::default()
            },
            direction: Direction::ToAgent,
            data: vec![0; len].into(),
        })
    };
    queue.append(session, EvidenceSeq(1), chunk(0, 100 << 10));
    assert_eq!(acks.upto.load(Ordering::SeqCst), 1, "nothing waits");
    queue.append(session, EvidenceSeq(2), chunk(100_001, 10));
    assert_eq!(
        acks.upto.load(Ordering::SeqCst),
        1,
        "the first is older than 100 ms"
    );
    queue.append(session, EvidenceSeq(3), chunk(0, 200 << 10));
    assert_eq!(
        acks.upto.load(Ordering::SeqCst),
        1,
        "more than 256 KiB wait"
    );
    queue.append(session, EvidenceSeq(5), chunk(0, 1));
    assert!(
        acks.failed.load(Ordering::SeqCst),
        "a gap in the sequence fails the session"
    );
}

#[test]
fn a_whole_session_leaves_its_leaves_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path());
    Script::open(&log, 1, Durability::Strict).whole();
    log.enter(OwnEntry::AdminAction {
        actor: "a".into(),
        action: "b".into(),
        subject: "c".into(),
    })
    .unwrap();
    log.close().unwrap();
    let expected = "log.open auth.ok session.open unit.intent mask unit.result unit.intent unit.result block \
        approval.request approval.decision approval.consumed unit.intent unit.result approval.request \
        approval.decision session.close admin.action log.close";
    assert_eq!(kinds(dir.path()).join(" "), expected);
}

#[test]
fn a_failed_disk_fails_every_session_and_nothing_more_is_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = Log::open(
        dir.path(),
        LogOptions {
            segment_bytes: 64 << 10,
            ..options()
        },
    )
    .unwrap();
    let (mut one, two) = (
        Script::open(&log, 1, Durability::Strict),
        Script::open(&log, 2, Durability::Strict),
    );
    std::os::unix::fs::symlink("/dev/full", Layout::new(dir.path()).segment(2)).unwrap();
    for number in 1.. {
        one.entry(rejected(number));
        std::thread::sleep(Duration::from_millis(1));
        if log.has_failed() {
            break;
        }
    }
    wait_until(|| one.acks.failed.load(Ordering::SeqCst) && two.acks.failed.load(Ordering::SeqCst));
    let acknowledged = one.acks.upto.load(Ordering::SeqCst);
    assert!(acknowledged < one.sequence);
    let late = Script::open(&log, 3, Durability::Bounded);
    assert!(late.acks.failed.load(Ordering::SeqCst));
    assert_eq!(log.checkpoint(), Err(LogFailed));
    assert!(matches!(log.close(), Err(WriteError::Io(_))));
}

#[test]
fn more_evidence_than_the_bound_fails_the_session_that_sends_it() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = Log::open(
        dir.path(),
        LogOptions {
            queue_bytes_max: 4096,
            ..options()
        },
    )
    .unwrap();
    let mut script = Script::open(&log, 1, Durability::Strict);
    script.login();
    script.acks.wait_for(2);
    script.chunk(Direction::ToAgent, &[0; 8192]);
    assert!(script.acks.failed.load(Ordering::SeqCst));
    log.close().unwrap();
    assert_eq!(
        kinds(dir.path()).join(" "),
        "log.open auth.ok session.open session.interrupted log.close"
    );
}

/// A clock that stands until it is moved.
fn hand_clock() -> (Clock, Arc<AtomicU64>) {
    let time = Arc::new(AtomicU64::new(0));
    let hand = Arc::clone(&time);
    let clock = move || {
        let us = hand.load(Ordering::SeqCst);
        Now {
            wall: gateway_core::time::Wall::from_micros(1_790_000_000_000_000 + us),
            mono: gateway_core::time::Mono::from_micros(us),
        }
    };
    (Arc::new(clock), time)
}

#[test]
fn a_heartbeat_and_a_checkpoint_over_it_come_every_ten_seconds() {
    let dir = tempfile::tempdir().unwrap();
    let (clock, time) = hand_clock();
    let (log, _) = Log::open(dir.path(), LogOptions { clock, ..options() }).unwrap();
    let admin = || OwnEntry::AdminAction {
        actor: "a".into(),
        action: "b".into(),
        subject: "c".into(),
    };
    let covered = || {
        let note = fs::read_to_string(dir.path().join("checkpoint")).unwrap();
        signer().verifier().open(&note).unwrap().size
    };
    let beats = || {
        kinds(dir.path())
            .iter()
            .filter(|kind| *kind == "log.heartbeat")
            .count()
    };
    for beat in 1..=4u64 {
        time.store(beat * 10_000_000 - 1, Ordering::SeqCst);
        log.enter(admin()).unwrap();
        // A second entry is written after whatever the first woke the writer for.
        log.enter(admin()).unwrap();
        assert_eq!(beats() as u64, beat - 1, "not before its time");
        time.store(beat * 10_000_000, Ordering::SeqCst);
        log.enter(admin()).unwrap();
        log.enter(admin()).unwrap();
        assert_eq!(beats() as u64, beat);
        let kinds = kinds(dir.path());
        let heartbeat = kinds.iter().rposition(|kind| kind == "log.heartbeat");
        assert!(
            covered() > heartbeat.unwrap() as u64,
            "the checkpoint is over the heartbeat"
        );
    }
}

#[test]
fn a_session_that_is_cut_off_says_so_of_itself_and_of_its_units() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path());
    let mut script = Script::open(&log, 1, Durability::Strict);
    script.login();
    script.intent(1, "delete from t", None);
    script.acks.wait_for(3);
    // Twelve mebibytes of control characters are escaped to more than a body may hold.
    script.intent(2, &"\x01".repeat(12 << 20), None);
    script.finish(1, Outcome::Completed);
    wait_until(|| script.acks.failed.load(Ordering::SeqCst));
    assert_eq!(script.acks.upto.load(Ordering::SeqCst), 3);
    log.close().unwrap();
    assert_eq!(
        kinds(dir.path()).join(" "),
        "log.open auth.ok session.open unit.intent unit.unknown session.interrupted log.close"
    );
    assert_eq!(open(dir.path()).1.sessions_interrupted, 0);
}

#[test]
fn two_sessions_of_one_name_are_never_recorded_as_one() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path());
    let mut first = Script::open(&log, 1, Durability::Strict);
    let second = Script::open(&log, 1, Durability::Strict);
    assert!(second.acks.failed.load(Ordering::SeqCst));
    first.login();
    first.acks.wait_for(2);
}

#[test]
fn an_idle_log_still_signs_checkpoints_over_heartbeats() {
    let dir = tempfile::tempdir().unwrap();
    let interval = Duration::from_millis(20);
    let (log, _) = Log::open(
        dir.path(),
        LogOptions {
            checkpoint_interval: interval,
            ..options()
        },
    )
    .unwrap();
    let read = || {
        signer()
            .verifier()
            .open(&fs::read_to_string(dir.path().join("checkpoint")).unwrap())
            .unwrap()
    };
    wait_until(|| read().size >= 4);
    log.close().unwrap();
    let kinds = kinds(dir.path());
    assert!(kinds.iter().filter(|kind| *kind == "log.heartbeat").count() >= 3);
    assert_eq!(read().size, u64::try_from(kinds.len()).unwrap());
}

#[test]
fn streams_are_anchored_at_least_every_mebibyte() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path());
    let mut script = Script::open(&log, 1, Durability::Strict);
    script.login();
    for _ in 0..40 {
        script.chunk(Direction::ToAgent, &[7; 100_000]);
    }
    script.close();
    log.close().unwrap();
    let anchors = kinds(dir.path())
        .iter()
        .filter(|kind| *kind == "stream.anchor")
        .count();
    assert_eq!(anchors, 3);
}

#[test]
fn a_crash_interrupts_open_sessions_and_makes_open_units_unknown() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path());
    let mut open_one = Script::open(&log, 1, Durability::Strict);
    open_one.login();
    open_one.intent(1, "select 1", None);
    open_one.finish(1, Outcome::Completed);
    open_one.intent(2, "delete from t", None);
    open_one.intent(3, "delete from u", None);
    open_one.acks.wait_for(open_one.sequence);
    let mut closed = Script::open(&log, 2, Durability::Strict);
    closed.whole();
    closed.acks.wait_for(closed.sequence);
    let crashed = snapshot(dir.path());
    let (again, recovery) = open(crashed.path());
    assert_eq!(
        (
            recovery.sessions_interrupted,
            recovery.units_unknown,
            recovery.torn
        ),
        (1, 2, None)
    );
    again.close().unwrap();
    let found = kinds(crashed.path()).join(" ");
    assert!(
        found.ends_with("log.open unit.unknown unit.unknown session.interrupted log.close"),
        "{found}"
    );
    let (_third, recovery) = open(crashed.path());
    assert_eq!(
        (recovery.sessions_interrupted, recovery.units_unknown),
        (0, 0),
        "told once"
    );
}

#[test]
fn a_login_that_a_crash_cut_short_is_not_an_interrupted_session() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path());
    let mut script = Script::open(&log, 1, Durability::Strict);
    script.entry(rejected(1));
    script.acks.wait_for(1);
    let (_, recovery) = open(snapshot(dir.path()).path());
    assert_eq!(recovery.sessions_interrupted, 0);
}

#[test]
fn segments_roll_over_and_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = Log::open(
        dir.path(),
        LogOptions {
            segment_bytes: 32 << 10,
            ..options()
        },
    )
    .unwrap();
    let mut script = Script::open(&log, 1, Durability::Strict);
    for number in 1..=30 {
        script.entry(rejected(number));
        script.acks.wait_for(number);
    }
    script.chunk(Direction::ToAgent, &[1; 100_000]);
    log.close().unwrap();
    assert!(Layout::new(dir.path()).segment_numbers().unwrap().len() > 3);
    assert_eq!(kinds(dir.path()).len(), 32);
    assert_eq!(open(dir.path()).1.leaves, 32);
}

#[test]
fn a_log_is_written_by_one_process() {
    let dir = tempfile::tempdir().unwrap();
    let _log = open(dir.path());
    assert!(matches!(
        Log::open(dir.path(), options()),
        Err(OpenError::Locked)
    ));
}

#[test]
fn truncation_below_the_last_checkpoint_is_never_accepted() {
    let intact = several_frames(false);
    for boundary in boundaries(intact.path()) {
        for len in [boundary.saturating_sub(1), boundary, boundary + 1] {
            let dir = snapshot(intact.path());
            File::options()
                .write(true)
                .open(segment(dir.path()))
                .unwrap()
                .set_len(len)
                .unwrap();
            let ends = boundaries(intact.path());
            let whole = len >= *ends.last().unwrap() - (BLOCK as u64 - HEADER_LEN as u64)
                && len > ends[ends.len() - 2];
            match Log::open(dir.path(), options()) {
                Err(OpenError::Corrupt { .. } | OpenError::RolledBack { .. }) => {
                    assert!(!whole, "{len}")
                }
                Ok((_, recovery)) => assert!(recovery.torn.is_none() && whole, "{len}"),
                Err(error) => panic!("{len}: {error}"),
            }
        }
    }
}

#[test]
fn truncation_above_the_last_checkpoint_is_a_torn_tail_and_costs_one_frame_at_most() {
    let intact = several_frames(true);
    let ends = boundaries(intact.path());
    for pair in ends.windows(2).skip(1) {
        for len in [pair[0], pair[0] + 1, pair[0] + HEADER_LEN as u64 + 1] {
            let dir = snapshot(intact.path());
            File::options()
                .write(true)
                .open(segment(dir.path()))
                .unwrap()
                .set_len(len)
                .unwrap();
            let (log, recovery) = open(dir.path());
            assert_eq!(
                recovery.torn.as_ref().map(|torn| torn.offset),
                (len > pair[0]).then_some(pair[0]),
                "{len}"
            );
            if let Some(torn) = &recovery.torn {
                assert_eq!(
                    u64::try_from(fs::read(&torn.kept).unwrap().len()).unwrap(),
                    torn.len
                );
            }
            log.close().unwrap();
            let found = kinds(dir.path());
            assert_eq!(
                found.iter().any(|kind| kind == "log.recovered"),
                len > pair[0]
            );
        }
    }
}

#[test]
fn a_flipped_bit_is_located_in_every_field_of_every_frame() {
    let intact = several_frames(false);
    let ends = boundaries(intact.path());
    // One byte of each header field, the first and the last byte of the payload.
    let fields = [
        0,
        8,
        12,
        16,
        24,
        32,
        64,
        96,
        100,
        HEADER_LEN as u64,
        HEADER_LEN as u64 + 40,
    ];
    for start in &ends[..ends.len() - 1] {
        for field in fields {
            let dir = snapshot(intact.path());
            flip(dir.path(), start + field, 3);
            assert_eq!(corrupt_at(dir.path()), Some(*start), "field at {field}");
        }
    }
}

/// A valid frame that doesn't belong where it stands.
fn stranger(commit: u64) -> Vec<u8> {
    let mut frame = FrameBuilder::default();
    frame.push(Entry::Leaf {
        header: b"{}",
        body: None,
    });
    frame
        .seal(0, commit, &[0; 32], &crate::tree::leaf_hash(b"{}"))
        .bytes
}

#[test]
fn what_follows_the_last_frame_is_torn_or_corrupt() {
    let mut two_frames = vec![9; BLOCK];
    two_frames.extend_from_slice(&stranger(99));
    let mut long = stranger(99)[..BLOCK - 1].to_vec();
    long[HEADER_LEN] ^= 1;
    long.resize(3 * BLOCK, 5);
    let mut first_block_missing = vec![0; BLOCK];
    first_block_missing.extend_from_slice(&[7; 100]);
    let cases: [(&str, Vec<u8>, bool); 6] = [
        ("nothing", Vec::new(), true),
        ("a few bytes", vec![1, 2, 3], true),
        (
            "a frame whose first block was not written",
            first_block_missing,
            true,
        ),
        ("garbage, then a valid frame", two_frames, false),
        ("a broken frame, then more than the frame", long, false),
        ("a valid frame of another history", stranger(99), false),
    ];
    let intact = several_frames(true);
    let end = *boundaries(intact.path()).last().unwrap();
    for (what, bytes, accepted) in cases {
        let dir = snapshot(intact.path());
        File::options()
            .write(true)
            .open(segment(dir.path()))
            .unwrap()
            .write_all_at(&bytes, end)
            .unwrap();
        match Log::open(dir.path(), options()) {
            Ok((_, recovery)) => {
                assert!(accepted, "{what}");
                assert_eq!(recovery.torn.is_some(), !bytes.is_empty(), "{what}");
            }
            Err(OpenError::Corrupt {
                segment: 1, offset, ..
            }) => assert!(!accepted && offset == end, "{what}"),
            Err(error) => panic!("{what}: {error}"),
        }
    }
}

#[test]
fn refusing_to_open_changes_nothing() {
    let intact = several_frames(false);
    let dir = snapshot(intact.path());
    flip(dir.path(), 5000, 1);
    let before = fs::read(segment(dir.path())).unwrap();
    assert!(corrupt_at(dir.path()).is_some());
    assert_eq!(fs::read(segment(dir.path())).unwrap(), before);
    assert_eq!(
        fs::read_dir(dir.path().join("quarantine")).unwrap().count(),
        0
    );
}

#[test]
fn rollback_fork_and_foreign_checkpoints_are_told_apart() {
    let intact = several_frames(false);
    let size = u64::try_from(kinds(intact.path()).len()).unwrap();
    let signed = |origin: &str, size, root| {
        signer()
            .sign(&Checkpoint {
                origin: origin.into(),
                size,
                root,
            })
            .unwrap()
    };
    type Expected = fn(&OpenError) -> bool;
    let cases: [(&str, Option<String>, Expected); 5] = [
        (
            "rolled back",
            Some(signed(ORIGIN, size + 1, [1; 32])),
            |e| matches!(e, OpenError::RolledBack { .. }),
        ),
        ("forked", Some(signed(ORIGIN, size, [1; 32])), |e| {
            matches!(e, OpenError::Forked { .. })
        }),
        ("another log", Some(signed("other", size, [1; 32])), |e| {
            matches!(e, OpenError::Origin { .. })
        }),
        ("unsigned", Some("log.test/one\n1\nAAAA\n\n".into()), |e| {
            matches!(e, OpenError::Checkpoint(_))
        }),
        ("missing", None, |e| {
            matches!(e, OpenError::CheckpointMissing { .. })
        }),
    ];
    for (what, note, expected) in cases {
        let dir = snapshot(intact.path());
        let path = dir.path().join("checkpoint");
        match note {
            Some(note) => fs::write(path, note).unwrap(),
            None => fs::remove_file(path).unwrap(),
        }
        let error = Log::open(dir.path(), options()).err().unwrap();
        assert!(expected(&error), "{what}: {error}");
    }
}
