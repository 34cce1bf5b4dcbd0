//! The PostgreSQL frontend/backend protocol, version 3 (3.0 and 3.2).
//!
//! Source of truth: PostgreSQL 18 documentation, "Frontend/Backend Protocol".

pub mod frame;
pub mod message;
pub mod reply;
pub mod scram;
pub mod session;

pub use session::Session;
