//! The protocol as a whole: every way to begin a connection, every mix of messages, and what ends one.

mod beginnings;
mod direct_target;
mod endings;
mod exchanges;
mod secrets;
mod volume;
