//! What a shell that owns HTTP and a session tell each other, and the parts of requests.

mod event;

pub use event::{Act, Event, Header, RequestHead, ResponseHead, StreamId, Upgrade};
