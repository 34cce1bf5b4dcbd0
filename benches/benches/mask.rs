//! Masking rows, against copying them.

#![allow(missing_docs, clippy::unwrap_used, reason = "a bench")]

use std::hint::black_box;

use benches::{ROW_BYTES, Sample, result};
use bytes::BytesMut;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gateway_core::mask::{Cell, Format, MaskedCell};
use gateway_protocols::postgres::{
    frame::{Decoder, FrameLimits, body},
    message::{CellAction, DataRow, Message as _, backend_length, remask},
};

const ROWS: usize = 1_000;
const EMAIL: usize = 2;

fn mask(c: &mut Criterion) {
    let sample = Sample::new(0).unwrap();
    let email = sample
        .classified
        .columns()
        .find(|column| column.name[2] == "email")
        .unwrap();
    let limits = FrameLimits {
        whole_bytes_max: 16 << 20,
        stream_bytes_max: 1 << 30,
    };
    let mut input = result(&sample, ROWS).unwrap();
    let mut decoder = Decoder::new(limits);
    let mut rows = Vec::new();
    while let Some(frame) = decoder.decode(&mut input, backend_length).unwrap() {
        if frame.bytes().first() == Some(&DataRow::TAG) {
            rows.push(frame.bytes().clone());
        }
    }
    assert!(rows.iter().all(|row| row.len() == ROW_BYTES));

    let mut out = BytesMut::with_capacity(ROWS * ROW_BYTES * 2);
    let mut group = c.benchmark_group("mask/1k rows");
    group.throughput(Throughput::Elements(ROWS as u64));
    group.bench_function("copied", |b| {
        b.iter(|| {
            out.clear();
            rows.iter()
                .for_each(|row| out.extend_from_slice(black_box(row)));
            out.len()
        });
    });
    group.bench_function("one column masked", |b| {
        b.iter(|| {
            out.clear();
            for row in &rows {
                let row = DataRow::parse(body(black_box(row))).unwrap();
                let replace = |_: usize, value: Option<&[u8]>, out: &mut BytesMut| match value {
                    None => CellAction::Keep,
                    Some(bytes) => {
                        let cell = Cell {
                            bytes,
                            format: Format::Text,
                            type_id: 25,
                        };
                        match email.transform.mask(cell, out) {
                            MaskedCell::Null => CellAction::Null,
                            MaskedCell::Value => CellAction::Replaced,
                        }
                    }
                };
                remask(&row, |column| column == EMAIL, replace, &mut out).unwrap();
            }
            out.len()
        });
    });
    group.finish();
}

criterion_group!(benches, mask);
criterion_main!(benches);
