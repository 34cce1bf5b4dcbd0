//! Appending evidence to the log: encoded, chained, hashed into the tree and written, in groups.

#![allow(missing_docs, clippy::unwrap_used, reason = "a bench")]

use std::{
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use benches::Sample;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gateway_audit::{
    log::{Log, LogOptions},
    note::CheckpointSigner,
};
use gateway_core::{
    decision::DecisionPoint as _,
    id::{EvidenceSeq, SessionId, UnitId},
    record::{
        Acknowledge, Entry, Evidence, EvidenceSink, Intent, Outcome, Record, SessionOpened, UnitEnd,
    },
    target::Durability,
};

const STATEMENTS: u64 = 500;

/// Waits for the last acknowledgement.
#[derive(Default)]
struct Waiter {
    safe: Mutex<u64>,
    changed: Condvar,
}

impl Waiter {
    fn wait_for(&self, sequence: u64) {
        let safe = self.safe.lock().unwrap();
        let (safe, _) = self
            .changed
            .wait_timeout_while(safe, Duration::from_secs(30), |safe| *safe < sequence)
            .unwrap();
        assert!(*safe >= sequence, "the log doesn't acknowledge");
    }
}

impl Acknowledge for Waiter {
    fn acknowledged(&self, sequence: EvidenceSeq) {
        *self.safe.lock().unwrap() = sequence.0;
        self.changed.notify_all();
    }

    fn failed(&self) {
        *self.safe.lock().unwrap() = 0;
        self.changed.notify_all();
    }
}

/// One session of `STATEMENTS` statements: an Intent and a Finished each.
fn session(sample: &Sample) -> Vec<Evidence> {
    let at = Sample::now();
    let record = |entry| Evidence::Record(Box::new(Record { at, entry }));
    let opened = SessionOpened {
        principal: sample.principal.clone(),
        target: sample.target.clone(),
        database: "shop".to_owned(),
        source: [127, 0, 0, 1].into(),
        rules: Vec::new(),
        policy: sample.bundle.policy(),
    };
    let mut evidence = vec![record(Entry::SessionOpened(Box::new(opened)))];
    let operation = sample
        .query("select id, total from orders where customer_id = 17")
        .unwrap();
    for unit in (1..=STATEMENTS).map(UnitId) {
        evidence.push(record(Entry::Intent(Box::new(Intent {
            unit,
            operation: operation.clone(),
            rewritten: None,
            rules: Vec::new(),
            policy: sample.bundle.policy(),
            approval: None,
            not_enforced: None,
        }))));
        evidence.push(record(Entry::Finished {
            unit,
            released_at: Some(at.wall),
            end: UnitEnd::of(Outcome::Completed),
        }));
    }
    evidence
}

fn append(c: &mut Criterion) {
    let sample = Sample::new(0).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let signer = CheckpointSigner::from_seed("bench", &[7; 32]).unwrap();
    let (log, _) = Log::open(
        folder.path(),
        LogOptions::new("bench", signer, Arc::new(Sample::now)),
    )
    .unwrap();
    let evidence = session(&sample);
    let number = AtomicU8::new(0);
    let mut group = c.benchmark_group("record");
    group.sample_size(10);
    group.throughput(Throughput::Elements(STATEMENTS));
    for (name, durability) in [
        ("bounded", Durability::Bounded),
        ("strict", Durability::Strict),
    ] {
        let mut runs = 0_u64;
        group.bench_function(format!("{STATEMENTS} statements, {name}"), |b| {
            b.iter(|| {
                runs += 1;
                let mut random = [number.fetch_add(1, Ordering::Relaxed); 10];
                random[..8].copy_from_slice(&runs.to_be_bytes());
                let id = SessionId::new(Sample::now().wall, random);
                let waiter = Arc::new(Waiter::default());
                log.open(id, durability, Arc::<Waiter>::clone(&waiter));
                let last = evidence.len() as u64;
                for (sequence, evidence) in (1..).map(EvidenceSeq).zip(&evidence) {
                    log.append(id, sequence, evidence.clone());
                }
                waiter.wait_for(last);
                EvidenceSink::close(&log, id);
            });
        });
    }
    group.finish();
    log.close().unwrap();
}

criterion_group!(benches, append);
criterion_main!(benches);
