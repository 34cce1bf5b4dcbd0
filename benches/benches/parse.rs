//! Frames, messages and SQL: what reading costs.

#![allow(missing_docs, clippy::unwrap_used, reason = "a bench")]

use std::{hint::black_box, sync::Arc};

use benches::{Sample, on_deep_stack, result};
use bytes::BytesMut;
use criterion::{BatchSize, Criterion, Throughput};
use gateway_protocols::{
    postgres::{
        frame::{Decoder, FrameLimits, body},
        message::{Backend, Frontend, Message as _, Query, backend_length, frontend_length},
    },
    sql,
};

const LIMITS: FrameLimits = FrameLimits {
    whole_bytes_max: 16 << 20,
    stream_bytes_max: 1 << 30,
};
const SELECT: &str =
    "select id, name, email from customers where city = 'Lyon' order by id limit 10";

fn frames(c: &mut Criterion, sample: &Sample) {
    let rows = result(sample, 10_000).unwrap();
    let mut group = c.benchmark_group("parse/frames");
    group.throughput(Throughput::Bytes(rows.len() as u64));
    group.bench_function("walk 10k rows", |b| {
        b.iter_batched(
            || (Decoder::new(LIMITS), rows.clone()),
            |(mut decoder, mut input)| {
                let mut frames = 0;
                while let Some(frame) = decoder.decode(&mut input, backend_length).unwrap() {
                    black_box(frame);
                    frames += 1;
                }
                frames
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

fn messages(c: &mut Criterion, sample: &Sample) {
    let mut group = c.benchmark_group("parse/messages");
    let mut query = BytesMut::new();
    Query {
        text: SELECT.as_bytes(),
    }
    .encode(&mut query)
    .unwrap();
    group.bench_function("Query", |b| {
        b.iter(|| Frontend::parse(b'Q', black_box(body(&query))).unwrap())
    });
    let answer = result(sample, 1).unwrap();
    let mut input = answer.clone();
    let mut decoder = Decoder::new(LIMITS);
    let description = decoder.decode(&mut input, backend_length).unwrap().unwrap();
    let row = decoder.decode(&mut input, backend_length).unwrap().unwrap();
    group.bench_function("RowDescription", |b| {
        b.iter(|| black_box(Backend::parse(b'T', black_box(body(description.bytes())))).is_ok());
    });
    group.bench_function("DataRow", |b| {
        b.iter(|| black_box(Backend::parse(b'D', black_box(body(row.bytes())))).is_ok());
    });
    group.finish();
    black_box(frontend_length(b'Q'));
}

fn analysis(c: &mut Criterion, sample: &Sample) {
    let mut group = c.benchmark_group("parse/sql");
    let join = "select o.id, sum(i.quantity * i.price) from orders o join order_items i on i.order_id = o.id \
                where o.placed_at > now() - interval '7 days' group by o.id having count(*) > 2 order by 2 desc";
    for (name, text) in [("plain select", SELECT), ("join with aggregates", join)] {
        let text: Arc<str> = text.into();
        group.bench_function(name, |b| {
            b.iter(|| {
                sql::analyse(
                    black_box(&text),
                    &sample.snapshot,
                    sample.version,
                    &sample.classified,
                )
            });
        });
    }
    group.finish();
}

fn main() {
    // Criterion too: analysis runs within its closures.
    on_deep_stack(|| {
        let sample = Sample::new(0).unwrap();
        let mut criterion = Criterion::default().configure_from_args();
        frames(&mut criterion, &sample);
        messages(&mut criterion, &sample);
        analysis(&mut criterion, &sample);
        criterion.final_summary();
    })
    .unwrap();
}
