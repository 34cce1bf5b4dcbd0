//! Whole simple queries through `Gate<postgres::Session>` in memory, against copying their bytes.

#![allow(missing_docs, clippy::unwrap_used, reason = "a bench")]

use std::{hint::black_box, sync::Arc};

use benches::{Memory, Sample, result};
use bytes::BytesMut;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gateway_core::decision::DecisionPoint;
use gateway_policy::PolicyStore;
use gateway_protocols::postgres::message::{Message as _, Query};

fn pass(c: &mut Criterion) {
    let sample = Arc::new(Sample::new(0).unwrap());
    let policy: Arc<dyn DecisionPoint> = Arc::new(PolicyStore::new(Sample::new(0).unwrap().bundle));
    for rows in [1, 10_000] {
        let answer = result(&sample, rows).unwrap();
        let mut group = c.benchmark_group(format!("pass/{rows} rows"));
        group.throughput(Throughput::Bytes(answer.len() as u64));
        let mut query = BytesMut::new();
        Query {
            text: b"select id, name, email, city from customers",
        }
        .encode(&mut query)
        .unwrap();

        // What a relay does that looks at nothing: into a buffer and out of it, both ways.
        let mut buffer = BytesMut::with_capacity(answer.len() + query.len());
        group.bench_function("copy", |b| {
            b.iter(|| {
                let mut delivered = 0;
                for bytes in [&query, &answer] {
                    buffer.extend_from_slice(black_box(bytes));
                    delivered += black_box(buffer.split().freeze()).len();
                }
                delivered
            });
        });
        let mut session = Memory::open(Arc::clone(&sample), Arc::clone(&policy)).unwrap();
        session.answers(answer.clone());
        assert!(
            session.round_trip(&query) > answer.len() / 2,
            "the query is answered"
        );
        group.bench_function("gate, one column masked", |b| {
            b.iter(|| session.round_trip(black_box(&query)))
        });
        drop(group);
        unmasked(c, &sample, &policy, rows);
    }
}

fn unmasked(c: &mut Criterion, sample: &Arc<Sample>, policy: &Arc<dyn DecisionPoint>, rows: usize) {
    // A result of computed columns: nothing in it is classified, so the rows are only walked.
    let answer = result(sample, rows).unwrap();
    let mut answer = answer;
    hide_origins(&mut answer);
    let mut query = BytesMut::new();
    Query {
        text: b"select id, total, status, placed_at from orders",
    }
    .encode(&mut query)
    .unwrap();
    let mut session = Memory::open(Arc::clone(sample), Arc::clone(policy)).unwrap();
    session.answers(answer.clone());
    assert_eq!(
        session.round_trip(&query),
        answer.len(),
        "the answer passes as it is"
    );
    let mut group = c.benchmark_group(format!("pass/{rows} rows"));
    group.throughput(Throughput::Bytes(answer.len() as u64));
    group.bench_function("gate, untouched", |b| {
        b.iter(|| session.round_trip(black_box(&query)))
    });
    group.finish();
}

/// Sets the table of each field of the leading RowDescription to 0: a computed column.
fn hide_origins(answer: &mut BytesMut) {
    let names = [2_usize, 4, 5, 4];
    let mut at = 7;
    for name in names {
        at += name + 1;
        answer.get_mut(at..at + 6).unwrap().fill(0);
        at += 18;
    }
}

criterion_group!(benches, pass);
criterion_main!(benches);
