//! The link to a cluster: the session's requests are sent, their answers become events.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use gateway_core::drive::ChannelPeer;
use gateway_protocols::kubernetes::{
    Command,
    message::{Act, Event, StreamId},
};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::{
    sync::mpsc,
    task::{AbortHandle, JoinSet},
    time::timeout,
};

use super::{
    ACTS_MAX, Peer, head, pieces,
    pool::{Composed, Pool, SendError},
    pump::pump,
};

/// From a request to its answer's head. The API server's own limit is a minute; what takes longer
/// (watches, logs, exec) answers at once and then streams, for as long as it likes.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(120);

/// An exchange under way.
struct Exchange {
    task: AbortHandle,
    acts: mpsc::Sender<Act>,
}

/// Carries out the session's commands until it ends.
pub(super) async fn relay(pool: Pool, peer: Peer) {
    let ChannelPeer {
        events,
        mut commands,
    } = peer;
    let pool = Arc::new(pool);
    let mut open: BTreeMap<StreamId, Exchange> = BTreeMap::new();
    let mut exchanges = JoinSet::new();
    loop {
        tokio::select! {
            command = commands.recv() => {
                let Some(Command { stream, act, .. }) = command else { return };
                match act {
                    Act::Request { method, target, headers, body, upgrade } => {
                        let body = body.unwrap_or_default();
                        let request = Composed { method, target, headers, body, upgrade };
                        let (to_exchange, acts) = mpsc::channel(ACTS_MAX);
                        let work = exchange(Arc::clone(&pool), stream, request, events.clone(), acts);
                        let task = exchanges.spawn(work);
                        open.insert(stream, Exchange { task, acts: to_exchange });
                    }
                    Act::Reset => {
                        if let Some(exchange) = open.remove(&stream) {
                            exchange.task.abort();
                        }
                    }
                    act @ (Act::Body(_) | Act::End | Act::Respond(_)) => {
                        if let Some(exchange) = open.get(&stream) {
                            tokio::select! {
                                // An exchange that is over takes nothing more.
                                _ = exchange.acts.send(act) => {}
                                // A server that takes nothing doesn't outlive its session.
                                () = events.closed() => return,
                            }
                        }
                    }
                }
            }
            Some(ended) = exchanges.join_next() => {
                if let Ok(stream) = ended {
                    open.remove(&stream);
                }
            }
            () = events.closed() => return,
        }
    }
}

/// One exchange, from the request to the end of its answer. Gives its stream back.
async fn exchange(
    pool: Arc<Pool>,
    stream: StreamId,
    request: Composed,
    events: mpsc::Sender<Event>,
    acts: mpsc::Receiver<Act>,
) -> StreamId {
    if let Err(error) = carry(&pool, stream, &request, &events, acts).await {
        let why = error.to_string();
        // A session that has ended needs no word.
        drop(events.send(Event::Reset { stream, why }).await);
    }
    stream
}

/// Why there is no answer, or no more of it.
#[derive(Debug, thiserror::Error)]
enum ExchangeError {
    #[error("the API server doesn't answer")]
    Time,
    #[error(transparent)]
    Send(#[from] SendError),
    #[error("the API server's answer was cut off: {0}")]
    Answer(#[from] hyper::Error),
    #[error("the upgraded connection was cut off")]
    Upgraded,
    #[error("the session has ended")]
    Ended,
}

impl<T> From<mpsc::error::SendError<T>> for ExchangeError {
    fn from(_: mpsc::error::SendError<T>) -> Self {
        Self::Ended
    }
}

async fn carry(
    pool: &Pool,
    stream: StreamId,
    request: &Composed,
    events: &mpsc::Sender<Event>,
    acts: mpsc::Receiver<Act>,
) -> Result<(), ExchangeError> {
    let answered = timeout(ANSWER_TIME_MAX, pool.send(request)).await;
    let (response, lease) = answered.map_err(|_| ExchangeError::Time)??;
    let head = head::of_response(&response);
    let is_upgraded = head.status == 101;
    events.send(Event::Response { stream, head }).await?;
    if is_upgraded {
        let io = hyper::upgrade::on(response).await?;
        return match pump(io, stream, events, acts).await {
            true => Ok(()),
            false => Err(ExchangeError::Upgraded),
        };
    }
    download(stream, response.into_body(), events).await?;
    pool.give_back(lease).await;
    Ok(())
}

/// Hands an answer's body over.
async fn download(
    stream: StreamId,
    mut body: Incoming,
    events: &mpsc::Sender<Event>,
) -> Result<(), ExchangeError> {
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else {
            continue; // trailers say nothing that a session uses
        };
        for data in pieces(data) {
            events.send(Event::Body { stream, data }).await?;
        }
    }
    events.send(Event::End { stream }).await?;
    Ok(())
}
