//! What a driver needs of a connection.

use std::{
    io,
    task::{Context, Poll},
};

use crate::wire::{Payload, TlsFacts};

/// One connection of a session, in the form in which its wire sees it. Nothing here waits: every
/// `poll_` method does what it can, and registers the task for the rest.
pub trait Link: Send + 'static {
    /// What arrives: the wire's `Inbound`.
    type Inbound;
    /// What leaves: the wire's `Outbound`.
    type Outbound: Payload;

    /// What arrived and wasn't taken yet.
    fn input(&mut self) -> &mut Self::Inbound;

    /// How much of it there is: bytes or events.
    fn buffered(&self) -> usize;

    /// Queues output. The driver keeps its amount near its high-water mark.
    fn write(&mut self, data: Self::Outbound);

    /// Weight of the queued output, bytes.
    fn output_weight(&self) -> usize;

    /// Whether reading is over, or impossible for now.
    fn is_ended(&self) -> bool;

    /// Whether the peer has closed its side.
    fn is_at_end(&self) -> bool;

    /// Close, once the output is written.
    fn finish(&mut self);

    /// Whether everything is written and the connection closed, or gone.
    fn is_drained(&self) -> bool;

    /// The peer is gone: nothing more can be written.
    fn discard(&mut self);

    /// Reads once into the input. Ready with the weight of what arrived; 0 at the end.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>>;

    /// Writes what there is. Ready with `true` when something moved.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>>;

    /// Starts TLS once the output before it is written; [`Link::poll_handshake`] tells the rest.
    /// What arrived and wasn't taken is the handshake's. Links without a TLS of their own have
    /// nothing to start.
    fn start_tls(&mut self) {}

    /// Drives a handshake that was started; ready once, when it is done.
    fn poll_handshake(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<TlsFacts>> {
        Poll::Pending
    }
}
