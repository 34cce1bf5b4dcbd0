//! The body of an answer, as it streams.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use gateway_protocols::kubernetes::message::Act;
use hyper::body::{Body, Frame};
use tokio::sync::mpsc;

use super::server::Place;

/// An exchange that doesn't end as it should: hyper cuts the stream, so that nothing looks whole
/// that isn't.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the exchange was given up")]
pub(super) struct Aborted;

/// A body of the acts of its stream. Dropped before its end, the agent is gone.
pub(super) struct Answer {
    /// `None` once it is over.
    open: Option<(mpsc::Receiver<Act>, Place)>,
}

impl Answer {
    /// The acts from behind the head on.
    pub(super) const fn new(acts: mpsc::Receiver<Act>, place: Place) -> Self {
        Self {
            open: Some((acts, place)),
        }
    }

    /// No body.
    pub(super) const fn empty() -> Self {
        Self { open: None }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Aborted;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        let Some((acts, place)) = &mut self.open else {
            return Poll::Ready(None);
        };
        let ended = match ready!(acts.poll_recv(cx)) {
            Some(Act::Body(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
            Some(Act::End) => None,
            Some(Act::Reset | Act::Respond(_) | Act::Request { .. }) | None => Some(Err(Aborted)),
        };
        place.leave_in_order();
        self.open = None;
        Poll::Ready(ended)
    }

    fn is_end_stream(&self) -> bool {
        self.open.is_none()
    }
}
