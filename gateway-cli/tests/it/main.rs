//! The gateway binary against a real PostgreSQL, a real psql and the development issuer.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests may fail like tests"
)]

mod admin;
mod attacks;
mod catalogue;
mod check;
mod clients;
mod corpus;
mod evidence;
mod guaranteed;
mod holds;
mod kubernetes;
mod lifecycle;
mod protocol;
mod psql;
mod ssh;
mod support;
mod tokens;
