use gateway_core::record::Direction;
use gateway_core::target::Durability;

use super::*;
use crate::log::Log;
use crate::replay::replay;
use crate::testing::{Script, options, signer};

#[test]
fn the_index_follows_the_log_and_rebuilds_to_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("index.sqlite");
    let (log, _) = Log::open(dir.path(), options()).unwrap();
    let mut index = Index::open(&path).unwrap();
    let mut first = Script::open(&log, 1, Durability::Strict);
    first.whole();
    log.checkpoint().unwrap();
    index.refresh(dir.path(), signer().verifier()).unwrap();
    let mut second = Script::open(&log, 2, Durability::Strict);
    second.login();
    second.chunk(Direction::ToTarget, b"copy in");
    second.chunk(Direction::ToAgent, &[1; 150_000]);
    log.checkpoint().unwrap();
    index.refresh(dir.path(), signer().verifier()).unwrap();
    let sessions = index.sessions(&SessionFilter::default()).unwrap();
    let summary: Vec<_> = sessions
        .iter()
        .map(|s| (s.state.as_str(), s.statements, s.blocked, s.held, s.masked))
        .collect();
    assert_eq!(summary, [("open", 0, 0, 0, 0), ("closed", 3, 2, 2, 2)]);
    let ids = [first.session, second.session];
    log.close().unwrap();
    index.refresh(dir.path(), signer().verifier()).unwrap();
    assert_eq!(
        index.sessions(&SessionFilter::default()).unwrap()[0].state,
        "interrupted"
    );
    let mut rebuilt = Index::open(&dir.path().join("other.sqlite")).unwrap();
    rebuilt.refresh(dir.path(), signer().verifier()).unwrap();
    for session in ids {
        let id = session.to_string();
        assert_eq!(rebuilt.leaves(&id).unwrap(), index.leaves(&id).unwrap());
        assert_eq!(rebuilt.session(&id).unwrap(), index.session(&id).unwrap());
    }
    assert_eq!(rebuilt.leaf_count().unwrap(), index.leaf_count().unwrap());
    assert_eq!(index.session("01").unwrap(), None, "ambiguous");
    let nobody = SessionFilter {
        agent: Some("nobody".into()),
        ..SessionFilter::default()
    };
    assert_eq!(index.sessions(&nobody).unwrap(), []);
}

#[test]
fn a_replay_gives_back_what_was_recorded_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = Log::open(dir.path(), options()).unwrap();
    let (mut one, mut two) = (
        Script::open(&log, 1, Durability::Strict),
        Script::open(&log, 2, Durability::Strict),
    );
    one.login();
    two.login();
    one.chunk(Direction::ToTarget, b"copy in");
    two.chunk(Direction::ToAgent, b"not mine");
    one.chunk(Direction::ToAgent, &[1; 150_000]);
    one.close();
    let session = one.session;
    log.close().unwrap();
    let mut index = Index::open(&dir.path().join("index.sqlite")).unwrap();
    index.refresh(dir.path(), signer().verifier()).unwrap();
    let mut chunks = Vec::new();
    let count = replay(dir.path(), &index, session, &mut |chunk| {
        chunks.push((chunk.direction, chunk.bytes.len()))
    })
    .unwrap();
    let (agent, target) = (Direction::ToAgent, Direction::ToTarget);
    assert_eq!(
        chunks,
        [
            (target, 7),
            (agent, 65_536),
            (agent, 65_536),
            (agent, 18_928)
        ]
    );
    assert_eq!(count, 4);
}

#[test]
fn an_index_of_a_replaced_log_is_rebuilt() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = other.path().join("index.sqlite");
    let mut index = Index::open(&path).unwrap();
    for (number, dir) in [(1, &dir), (2, &other)] {
        let (log, _) = Log::open(dir.path(), options()).unwrap();
        Script::open(&log, number, Durability::Strict).whole();
        log.close().unwrap();
    }
    for (number, dir) in [(1, &dir), (2, &other), (1, &dir)] {
        index.refresh(dir.path(), signer().verifier()).unwrap();
        let sessions = index.sessions(&SessionFilter::default()).unwrap();
        assert_eq!(sessions.len(), 1);
        assert!(
            sessions[0].id.ends_with(&format!("{number:02x}").repeat(4)),
            "{sessions:?}"
        );
    }
}

#[test]
fn a_refresh_reads_only_what_follows_the_last_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = Log::open(dir.path(), options()).unwrap();
    Script::open(&log, 1, Durability::Strict).whole();
    log.checkpoint().unwrap();
    let mut index = Index::open(&dir.path().join("index.sqlite")).unwrap();
    index.refresh(dir.path(), signer().verifier()).unwrap();
    let (checkpoint, _) = last_checkpoint(dir.path(), signer().verifier()).unwrap();
    assert_eq!(resume(&index.db).unwrap().size(), checkpoint.size);
    Script::open(&log, 2, Durability::Strict).whole();
    log.checkpoint().unwrap();
    let place = resume(&index.db).unwrap();
    let (checkpoint, _) = last_checkpoint(dir.path(), signer().verifier()).unwrap();
    let mut read = 0u64;
    read_from::<IndexError>(dir.path(), &checkpoint, place.clone(), &mut |stored| {
        assert!(stored.index >= place.size());
        read += u64::from(stored.leaf_hash.is_some());
        Ok(())
    })
    .unwrap();
    assert_eq!(read, checkpoint.size - place.size());
    index.refresh(dir.path(), signer().verifier()).unwrap();
    assert_eq!(index.leaf_count().unwrap(), checkpoint.size);
}
