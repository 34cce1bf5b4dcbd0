//! The two corpora that judge the PostgreSQL lane. `bypass`: what a hostile agent may say to read a
//! classified value or to have a denied effect, each shown to work on a direct connection first.
//! `benign`: what honest programs say, which must come through unaltered but for masked cells.
//!
//! The shop stands twice, `a` and `b`, with nothing different but its classified values. What an agent
//! gets to hear of `a` and of `b` must be the same, byte for byte: that no form of a value gets
//! through, however it is encoded, follows. Searching for the values in many forms says it once more.
#![allow(
    clippy::print_stdout,
    reason = "how many rows were tried is told where tests tell"
)]

mod arena;
mod benign;
mod effects;
mod forms;
mod known;
mod messages;
mod reads;
mod rows;
mod talk;

/// Texts of the corpora are read when a test runs: a new row needs no build.
fn text(name: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/corpus");
    std::fs::read_to_string(path.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}
