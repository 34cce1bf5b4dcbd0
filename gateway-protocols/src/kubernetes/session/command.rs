//! What leaves a session: an act on a stream, and what of it evidence keeps.

use bytes::Bytes;
use gateway_core::{
    id::UnitId,
    record::{Moment, Track},
    wire::Payload,
};

use crate::kubernetes::message::{Act, StreamId};

/// Bytes that a command occupies beside its data, about.
const COMMAND_BYTES: usize = 256;

/// An act on one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The stream.
    pub stream: StreamId,
    /// What to do.
    pub act: Act,
    /// What evidence keeps of it as a stream.
    moment: Option<Moment>,
}

impl Command {
    /// An act of which evidence keeps nothing: heads and ends, and what a record holds already.
    #[must_use]
    pub(crate) const fn new(stream: StreamId, act: Act) -> Self {
        Self {
            stream,
            act,
            moment: None,
        }
    }

    /// A piece of a body that evidence keeps as `data` on `track`.
    #[must_use]
    pub(crate) const fn kept(
        stream: StreamId,
        act: Act,
        unit: UnitId,
        track: Track,
        data: Bytes,
    ) -> Self {
        let moment = Moment { unit, track, data };
        Self {
            stream,
            act,
            moment: Some(moment),
        }
    }
}

impl Payload for Command {
    fn weight(&self) -> usize {
        let act = match &self.act {
            Act::Respond(head) => head
                .headers
                .iter()
                .map(|h| h.name.len() + h.value.len())
                .sum(),
            Act::Request {
                target,
                headers,
                body,
                ..
            } => {
                let headers: usize = headers.iter().map(|h| h.name.len() + h.value.len()).sum();
                target.len() + headers + body.as_ref().map_or(0, Bytes::len)
            }
            Act::Body(data) => data.len(),
            Act::End | Act::Reset => 0,
        };
        COMMAND_BYTES + act
    }

    fn recorded(&self) -> Option<Bytes> {
        self.moment.as_ref().map(Moment::encode)
    }
}
