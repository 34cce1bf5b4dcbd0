//! What a shell that owns HTTP and a session tell each other, and the parts of requests.

mod event;
pub mod json;
pub mod media;
pub mod protobuf;
pub mod request;
pub mod target;

pub use event::{Act, Event, Header, RequestHead, ResponseHead, StreamId, Upgrade};
pub use json::{Json, JsonError};
pub use request::{Method, RequestInfo, ResourcePath, Verb};
pub use target::Target;
