//! What the benches share: the starter policy's sample shop, and one session in memory.

mod memory;
mod sample;

pub use memory::Memory;
pub use sample::{ROW_BYTES, Sample, on_deep_stack, result};
