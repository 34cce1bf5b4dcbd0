//! The shell of the Kubernetes protocol: HTTP/1.1 and HTTP/2 on both sides.
//!
//! hyper owns both transports; what happens on them becomes [`Event`]s, and [`Command`]s are carried
//! out as they come. Nothing is decided here: what an agent sends never reaches the cluster except
//! as a whole request that the session composed.
//!
//! ```text
//! agent  <- server: one TLS connection = one session; its requests are streams
//! target <- client: one link = a few connections to the API server, shared by the streams
//! ```
//!
//! Streams of one agent connection share its queues: an agent that doesn't read one answer holds up
//! its other answers on the same connection, and nobody else's.

mod answer;
mod client;
mod fault;
mod head;
mod pool;
mod pump;
mod resets;
mod server;
mod target;

use std::{future, io, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{FutureExt as _, future::BoxFuture};
use gateway_core::{
    drive::{ChannelLink, ChannelPeer, channel_link},
    record::CloseReason,
};
use gateway_protocols::kubernetes::{Command, Session, message::Event, session::Options};
use tokio::{net::TcpStream, task::JoinSet};

pub(crate) use target::{KubernetesTarget, TargetError};

use crate::{clock, listen::Accepted, services::Lane, target::TargetService};
use pool::Pool;

/// A session's end of either connection.
type Link = ChannelLink<Event, Command>;
/// The transport's end.
type Peer = ChannelPeer<Event, Command>;

/// Events, and commands, between a transport and its session.
const QUEUE_MAX: usize = 16;
/// Acts that wait for one stream.
const ACTS_MAX: usize = 8;
/// Streams of one agent connection at once.
const STREAMS_MAX: u32 = 100;
/// Longest piece of a body in one event, bytes.
const PIECE_BYTES_MAX: usize = 64 << 10;
/// Longest head of a request or an answer, bytes.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Most header fields of a head.
const HEADERS_MAX: usize = 100;

/// For an agent's connection to close once its session has ended.
const CLOSE_TIME_MAX: Duration = Duration::from_secs(10);

/// Runs one session on an accepted connection.
pub(crate) async fn serve(accepted: Accepted, socket: TcpStream) -> CloseReason {
    let seed = match clock::random() {
        Ok(seed) => seed,
        Err(error) => {
            tracing::error!(%error, "a connection was refused");
            return CloseReason::InternalError;
        }
    };
    let options = Options {
        prefixed: accepted.listener().target.is_none(),
        seed,
    };
    let wire = Session::new(&options);
    let tls = server::acceptor(&accepted.gateway().agent_tls);
    let (link, peer) = channel_link(QUEUE_MAX, Event::weight);
    // A task of its own: if it fails, the session sees its connection end.
    let mut transport = JoinSet::new();
    transport.spawn(server::serve(socket, tls, peer));
    let reason = accepted.run::<KubernetesLane, _>(wire, link).await;
    if tokio::time::timeout(CLOSE_TIME_MAX, transport.join_next())
        .await
        .is_err()
    {
        tracing::warn!("an agent's connection did not close and is aborted");
    }
    reason
}

/// How Kubernetes sessions reach their target.
pub(crate) struct KubernetesLane;

impl Lane for KubernetesLane {
    type Link = Link;

    fn connect(target: Arc<TargetService>) -> BoxFuture<'static, io::Result<Link>> {
        async move {
            let target = target.kubernetes().ok_or(io::ErrorKind::Unsupported)?;
            let pool = Pool::open(Arc::clone(target))
                .await
                .map_err(io::Error::other)?;
            let (link, peer) = channel_link(QUEUE_MAX, Event::weight);
            // Owned by the link: it ends when the session drops that.
            tokio::spawn(client::relay(pool, peer));
            Ok(link)
        }
        .boxed()
    }

    /// A Kubernetes wire sends nothing beside its requests.
    fn aside(_: Arc<TargetService>, _: Command) -> BoxFuture<'static, io::Result<()>> {
        future::ready(Ok(())).boxed()
    }
}

/// A body's data in pieces that fit an event.
fn pieces(mut data: Bytes) -> impl Iterator<Item = Bytes> {
    std::iter::from_fn(move || {
        let piece = data.split_to(data.len().min(PIECE_BYTES_MAX));
        (!piece.is_empty()).then_some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_bounded_and_lose_nothing() {
        let long: Vec<u8> = (0..=255).cycle().take(2 * PIECE_BYTES_MAX + 7).collect();
        let found: Vec<Bytes> = pieces(long.clone().into()).collect();
        let lengths: Vec<usize> = found.iter().map(Bytes::len).collect();
        assert_eq!(lengths, [PIECE_BYTES_MAX, PIECE_BYTES_MAX, 7]);
        assert_eq!(found.concat(), long);
        assert_eq!(pieces(Bytes::new()).count(), 0);
    }
}
