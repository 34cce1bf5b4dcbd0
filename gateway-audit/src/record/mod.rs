//! From what core says must be evidenced to leaves: a public header, and a salted, hashed body.

mod body;
mod encode;
mod header;
mod own;
mod seal;

pub(crate) use body::STATEMENTS_LISTED_MAX;
pub(crate) use encode::{
    Encoded, SessionContext, encode, interrupted, stream_anchor, unit_unknown,
};
pub use header::{BodyDigest, HEADER_BYTES_MAX, Header, SCHEMA};
pub use own::OwnEntry;
pub(crate) use seal::{Sealer, body_hash};
