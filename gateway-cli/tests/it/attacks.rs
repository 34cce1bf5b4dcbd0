//! A hostile agent: what it may try to see a classified value, to do what policy denies, to leave no
//! record, or to take the gateway down. Each way was open on a direct connection.

mod crashes;
mod denials;
mod holds;
mod login;
mod prepared;
mod protocol;
mod races;
mod statements;

use crate::support::{
    Agent, World,
    wire::{Reply, Wire},
};

/// What the sample shop's `customers` has beside, in every form an agent may try.
const SHOP: &str = include_str!("attacks/shop.sql");

/// Parts of classified values that no mask shows.
const LEAKS: &[&str] = &[
    "ada@",
    "bo@",
    "cy@",
    "di@",
    "ADA@",
    "701234567",
    "707654321",
    "19800101-1234",
    "19751231-4321",
    "1975-12-31",
    "1970-05-06",
];

/// 1975-12-31 as a binary date.
const BINARY_BIRTHDAY: [u8; 4] = (-8767_i32).to_be_bytes();

/// Whether any classified value is in these messages.
fn leaks(replies: &[Reply]) -> bool {
    let holds = |part: &[u8]| {
        replies
            .iter()
            .any(|reply| reply.body.windows(part.len()).any(|window| window == part))
    };
    LEAKS.iter().any(|value| holds(value.as_bytes())) || holds(&BINARY_BIRTHDAY)
}

/// A world with more in its shop, and an agent in it that may write orders and carts.
fn world_with_writer(sql: &str) -> (World, Wire) {
    let world = World::start();
    if !sql.is_empty() {
        world.postgres.psql(sql);
    }
    let wire = world.wire(Agent::Writer);
    (world, wire)
}
