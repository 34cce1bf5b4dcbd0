//! A link to a task that owns a transport of its own: typed events in, typed commands out, over
//! bounded channels.

use std::{
    collections::VecDeque,
    io,
    task::{Context, Poll, ready},
};

use tokio::sync::mpsc;
use tokio_util::sync::PollSender;

use super::link::Link;
use crate::wire::Payload;

/// What a queued command occupies beside its data, bytes, about.
const COMMAND_BYTES: usize = 192;

/// The driver's end.
pub struct ChannelLink<I, O> {
    events: mpsc::Receiver<I>,
    weigh: fn(&I) -> usize,
    input: VecDeque<I>,
    commands: PollSender<O>,
    output: VecDeque<O>,
    output_weight: usize,
    ended: bool,
    finish: bool,
}

/// The transport's end. Events wait while the wire doesn't want them, so a transport that stops
/// reading while it waits passes the pressure on to its peer. Dropping `events` is the end of the
/// connection; `commands` ends when the session does.
#[derive(Debug)]
pub struct ChannelPeer<I, O> {
    /// To the wire.
    pub events: mpsc::Sender<I>,
    /// From the wire.
    pub commands: mpsc::Receiver<O>,
}

/// Both ends, with room for `capacity` events and as many commands. `weigh` is an event's size,
/// bytes.
pub fn channel_link<I, O>(
    capacity: usize,
    weigh: fn(&I) -> usize,
) -> (ChannelLink<I, O>, ChannelPeer<I, O>)
where
    I: Send + 'static,
    O: Payload + Send + 'static,
{
    let (to_wire, events) = mpsc::channel(capacity);
    let (from_wire, commands) = mpsc::channel(capacity);
    let link = ChannelLink {
        events,
        weigh,
        input: VecDeque::new(),
        commands: PollSender::new(from_wire),
        output: VecDeque::new(),
        output_weight: 0,
        ended: false,
        finish: false,
    };
    let peer = ChannelPeer {
        events: to_wire,
        commands,
    };
    (link, peer)
}

impl<I, O> Link for ChannelLink<I, O>
where
    I: Send + 'static,
    O: Payload + Send + 'static,
{
    type Inbound = VecDeque<I>;
    type Outbound = O;

    fn input(&mut self) -> &mut VecDeque<I> {
        &mut self.input
    }

    fn buffered(&self) -> usize {
        self.input.len()
    }

    fn write(&mut self, data: O) {
        self.output_weight += data.weight() + COMMAND_BYTES;
        self.output.push_back(data);
    }

    fn output_weight(&self) -> usize {
        self.output_weight
    }

    fn is_ended(&self) -> bool {
        self.ended
    }

    fn is_at_end(&self) -> bool {
        self.ended
    }

    fn finish(&mut self) {
        self.finish = true;
    }

    fn is_drained(&self) -> bool {
        self.finish && self.output.is_empty()
    }

    fn discard(&mut self) {
        self.output.clear();
        self.output_weight = 0;
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Some(event) = ready!(self.events.poll_recv(cx)) else {
            self.ended = true;
            return Poll::Ready(Ok(0));
        };
        let weight = (self.weigh)(&event).max(1);
        self.input.push_back(event);
        Poll::Ready(Ok(weight))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut wrote = false;
        while !self.output.is_empty() {
            match self.commands.poll_reserve(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
                Poll::Pending => break,
            }
            if let Some(data) = self.output.pop_front() {
                self.output_weight -= data.weight() + COMMAND_BYTES;
                if self.commands.send_item(data).is_err() {
                    return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
                }
                wrote = true;
            }
        }
        if self.finish && self.output.is_empty() && !self.commands.is_closed() {
            self.commands.close();
            wrote = true;
        }
        Poll::Ready(Ok(wrote))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use bytes::Bytes;

    use super::*;

    #[tokio::test]
    async fn output_waits_for_the_transport_and_ends_behind_the_last_command() {
        let (mut link, mut peer) = channel_link::<u8, Bytes>(1, |_| 1);
        for word in ["one", "two"] {
            link.write(Bytes::from(word));
        }
        link.finish();
        assert!(poll_fn(|cx| link.poll_write(cx)).await.unwrap());
        let second = "two".len() + COMMAND_BYTES;
        assert_eq!((link.output_weight(), link.is_drained()), (second, false));
        assert_eq!(peer.commands.recv().await.unwrap(), "one");
        assert!(poll_fn(|cx| link.poll_write(cx)).await.unwrap());
        assert!(link.is_drained());
        assert_eq!(peer.commands.recv().await.unwrap(), "two");
        assert_eq!(peer.commands.recv().await, None);
    }

    #[tokio::test]
    async fn events_arrive_in_order_and_the_end_is_the_senders_end() {
        let (mut link, peer) = channel_link::<u8, Bytes>(2, |event| usize::from(*event));
        peer.events.send(7).await.unwrap();
        drop(peer.events);
        assert_eq!(poll_fn(|cx| link.poll_read(cx)).await.unwrap(), 7);
        assert_eq!(poll_fn(|cx| link.poll_read(cx)).await.unwrap(), 0);
        assert!(link.is_at_end() && link.input().pop_front() == Some(7));
    }

    #[tokio::test]
    async fn a_transport_that_is_gone_is_an_error() {
        let (mut link, peer) = channel_link::<u8, Bytes>(1, |_| 1);
        drop(peer);
        link.write(Bytes::from_static(b"lost"));
        assert!(poll_fn(|cx| link.poll_write(cx)).await.is_err());
    }
}
