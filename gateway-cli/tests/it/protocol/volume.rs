//! Values of up to a gigabyte, in and out, in bounded memory.

use std::time::Duration;

use crate::{
    clients::open_world,
    support::{
        Agent, World,
        wire::{Wire, execute, message, parse, query, sync, told},
    },
};

/// Close to the largest value that the server can send.
const LARGE_BYTES: usize = 1_000_000_000;
/// What is sent to it.
const SENT_BYTES: usize = 256 << 20;
/// More than buffers and the allocator need.
const GROWTH_KIB_MAX: usize = 64 << 10;

fn patient(world: &World) -> Wire {
    let mut wire = world.wire(Agent::Writer);
    wire.patience(Duration::from_secs(120));
    wire.query("select 1");
    wire
}

#[track_caller]
fn assert_bounded(world: &World, before: usize) {
    let grown = world.gateway.resident_kib().saturating_sub(before);
    assert!(grown < GROWTH_KIB_MAX, "{grown} KiB");
}

#[test]
fn a_value_of_a_gigabyte_comes_through_in_bounded_memory() {
    let world = open_world();
    let mut wire = patient(&world);
    let before = world.gateway.resident_kib();
    wire.send(&query(&format!("select repeat('x', {LARGE_BYTES})")));
    assert_eq!(wire.receive().tag, 'T');
    assert_eq!(wire.receive_length(), ('D', 2 + 4 + LARGE_BYTES));
    assert_bounded(&world, before);
    assert_eq!(told(&wire.until_ready(1)), "C(SELECT 1) Z(I)");
    assert_eq!(told(&wire.query("select 2")), "T D(2) C(SELECT 1) Z(I)");
}

#[test]
fn large_values_reach_the_target_in_bounded_memory() {
    let world = open_world();
    let mut wire = patient(&world);
    let before = world.gateway.resident_kib();
    let len = u32::try_from(SENT_BYTES).unwrap().to_be_bytes();
    let value = vec![b'x'; SENT_BYTES];
    let bind = [&[0, 0, 0, 0, 0, 1][..], &len, &value, &[0, 0]].concat();
    wire.send(&parse("", "select length($1::text)"));
    wire.send(&message(b'B', &bind));
    assert_bounded(&world, before);
    wire.send(&[execute("", 0), sync()].concat());
    assert_eq!(
        told(&wire.until_ready(1)),
        format!("1 2 D({SENT_BYTES}) C(SELECT 1) Z(I)")
    );

    wire.query("create temp table large (v text)");
    wire.send(&query("copy large from stdin"));
    let mut rows = value;
    rows.push(b'\n');
    wire.send(&message(b'd', &rows));
    assert_bounded(&world, before);
    wire.send(&message(b'c', b""));
    assert_eq!(told(&wire.until_ready(1)), "G C(COPY 1) Z(I)");
    wire.send(&query("copy large to stdout"));
    assert_eq!(wire.receive().tag, 'H');
    assert_eq!(wire.receive_length(), ('d', SENT_BYTES + 1));
    assert_eq!(told(&wire.until_ready(1)), "c C(COPY 1) Z(I)");
    assert_bounded(&world, before);
}
