//! Kubernetes: what reading a request costs, masking a list, and a command's frames.

#![allow(missing_docs, clippy::unwrap_used, reason = "a bench")]

use std::hint::black_box;

use bytes::BytesMut;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gateway_core::{
    id::ClassName,
    mask::{ClassifiedField, FieldStep},
};
use gateway_protocols::kubernetes::{
    frame::{Decoder, Opcode, encode},
    mask::{Asked, Masks},
    message::{Json, Method, RequestInfo, Target, json::Names},
};

const PIECE_BYTES: usize = 32 << 10;

fn requests(c: &mut Criterion) {
    let mut group = c.benchmark_group("kubernetes/parse");
    let target = "/api/v1/namespaces/shop/pods?labelSelector=app%3Dweb&limit=500&watch=true";
    group.bench_function("request target", |b| {
        b.iter(|| {
            let target = Target::parse(black_box(target)).unwrap();
            let info = RequestInfo::of(Method::Get, &target).unwrap();
            (target.to_string(), info)
        });
    });
    let deployment = r#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web","labels":{"app":"web"}},"spec":{"replicas":3,"selector":{"matchLabels":{"app":"web"}},"template":{"metadata":{"labels":{"app":"web"}},"spec":{"containers":[{"name":"web","image":"nginx:1.27","ports":[{"containerPort":80}],"resources":{"limits":{"cpu":"500m","memory":"128Mi"}}}]}}}}"#;
    group.throughput(Throughput::Bytes(deployment.len() as u64));
    group.bench_function("body", |b| {
        b.iter(|| {
            let json = Json::parse(black_box(deployment.as_bytes()), Names::Folded).unwrap();
            json.to_string()
        });
    });
    group.finish();
}

fn masks(c: &mut Criterion) {
    let class = ClassName::parse("secret").unwrap();
    let field = ClassifiedField {
        group: String::new(),
        resource: "secrets".into(),
        path: vec![FieldStep::Key("data".into()), FieldStep::Each],
        class,
    };
    let asked = Asked {
        group: String::new(),
        resource: "secrets".into(),
    };
    let value = "QUJDRA==".repeat(64);
    let item = format!(
        r#"{{"metadata":{{"name":"s","namespace":"shop"}},"data":{{"tls.crt":"{value}","tls.key":"{value}"}}}}"#
    );
    let items = vec![item; 500].join(",");
    let list = format!(r#"{{"kind":"SecretList","apiVersion":"v1","items":[{items}]}}"#);
    let mut group = c.benchmark_group("kubernetes/mask");
    group.throughput(Throughput::Bytes(list.len() as u64));
    group.bench_function("list of 500 Secrets", |b| {
        b.iter(|| {
            let mut masks = Masks::new(vec![field.clone()], asked.clone());
            masks.answer(black_box(list.as_bytes())).unwrap()
        });
    });
    group.finish();
}

fn frames(c: &mut Criterion) {
    let mut group = c.benchmark_group("kubernetes/frames");
    let output = vec![7; PIECE_BYTES];
    group.throughput(Throughput::Bytes(PIECE_BYTES as u64));
    for (what, key) in [
        ("from a server", None),
        ("from a client", Some([1, 2, 3, 4])),
    ] {
        let bytes = encode(Opcode::Binary, &[&[1], &output], key);
        group.bench_function(what, |b| {
            b.iter(|| {
                let mut input = BytesMut::from(&bytes[..]);
                let mut decoder = Decoder::new(key.is_some(), 1 << 20);
                decoder.decode(&mut input).unwrap().unwrap()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, requests, masks, frames);
criterion_main!(benches);
