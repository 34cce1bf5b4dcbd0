use std::path::Path;

use bytes::Bytes;
use gateway_core::id::UnitId;
use gateway_core::record::Track;
use gateway_core::target::Durability;
use proptest::prelude::*;

use super::*;
use crate::log::Log;
use crate::testing::{Script, options, signer};

fn indexed(dir: &Path) -> Index {
    let mut index = Index::open(&dir.join("index.sqlite")).unwrap();
    index.refresh(dir, signer().verifier()).unwrap();
    index
}

/// What a session replays as that holds these chunks.
fn recorded(chunks: &[(Direction, Bytes)]) -> (Vec<Timed>, Result<Replayed, ReplayError>) {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = Log::open(dir.path(), options()).unwrap();
    let mut script = Script::open(&log, 1, Durability::Strict);
    script.login();
    for (direction, chunk) in chunks {
        script.chunk(*direction, chunk);
    }
    script.close();
    let session = script.session;
    log.close().unwrap();
    let mut found = Vec::new();
    let index = indexed(dir.path());
    let replayed = replay_moments(dir.path(), &index, session, &mut |timed| found.push(timed));
    (found, replayed)
}

fn moment(unit: u64, track: Track, data: &[u8]) -> Moment {
    Moment {
        unit: UnitId(unit),
        track,
        data: Bytes::copy_from_slice(data),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn moments_come_back_from_the_log_whole_and_in_order(
        pieces in proptest::collection::vec(
            (any::<bool>(), proptest::sample::select(Track::ALL), 0..3usize, 0..4u64), 0..12,
        ),
    ) {
        let sizes = [0, 100, 150_000];
        let moments: Vec<_> = pieces.into_iter().map(|(agent, track, size, unit)| {
            let direction = if agent { Direction::ToAgent } else { Direction::ToTarget };
            (direction, moment(unit, track, &vec![b'x'; sizes[size]]))
        }).collect();
        let chunks: Vec<_> = moments.iter().map(|(direction, moment)| (*direction, moment.encode())).collect();
        let (found, replayed) = recorded(&chunks);
        prop_assert!(replayed.unwrap().whole);
        prop_assert!(found.is_sorted_by_key(|timed| timed.at_us));
        let found: Vec<_> = found.into_iter().map(|timed| (timed.direction, timed.moment)).collect();
        prop_assert_eq!(found, moments);
    }
}

#[test]
fn what_is_no_moment_is_named_and_what_is_cut_off_is_told() {
    let whole = moment(1, Track::Output, b"a").encode();
    let broken = Bytes::from_static(&[99; 20]);
    let chunks = [
        (Direction::ToAgent, whole.clone()),
        (Direction::ToAgent, broken),
    ];
    let (found, replayed) = recorded(&chunks);
    assert_eq!(found.len(), 1);
    assert!(
        matches!(replayed, Err(ReplayError::Moment { chunk: 2, .. })),
        "{replayed:?}"
    );
    let cut = whole.slice(..whole.len() - 1);
    let (found, replayed) = recorded(&[(Direction::ToTarget, cut)]);
    assert_eq!(found, []);
    let replayed = replayed.unwrap();
    assert_eq!((replayed.chunks, replayed.whole), (1, false));
}
