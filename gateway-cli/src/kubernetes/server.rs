//! An agent's connection: its requests become events, the session's commands its answers.

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use gateway_core::drive::ChannelPeer;
use gateway_protocols::kubernetes::{
    Command,
    message::{Act, Event, StreamId},
};
use http_body_util::BodyExt as _;
use hyper::{
    Request, Response,
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
    upgrade::OnUpgrade,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::{
        Notify,
        mpsc::{self, OwnedPermit},
    },
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

use super::{
    ACTS_MAX, HEAD_BYTES_MAX, HEADERS_MAX, Peer, STREAMS_MAX,
    answer::{Aborted, Answer},
    fault, head, pieces,
    pump::pump,
    resets::{Resets, Watched},
};

/// Protocols by name (RFC 7301, "Application-Layer Protocol Negotiation"), best first.
pub(super) const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];
/// From a connection, or the last answer on it, to a request's whole head.
const HEAD_TIME_MAX: Duration = Duration::from_secs(60);
/// For answers under way once the session has ended.
const CLOSE_TIME_MAX: Duration = Duration::from_secs(5);
/// What an HTTP/2 peer may have under way towards us, bytes: per stream, and per connection.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// Written, but not yet taken by an HTTP/2 peer, per stream, bytes.
const SEND_BUFFER: usize = 128 << 10;
/// Streams that a peer may open and reset at once, before it is cut off.
const RESETS_MAX: usize = 20;
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIME_MAX: Duration = Duration::from_secs(20);

/// TLS towards agents, with both versions of HTTP on offer.
pub(super) fn acceptor(tls: &ServerConfig) -> TlsAcceptor {
    let mut tls = tls.clone();
    tls.alpn_protocols = ALPN.map(<[u8]>::to_vec).into();
    TlsAcceptor::from(Arc::new(tls))
}

/// Serves one agent's connection until it or its session ends. The session's own deadlines bound
/// the TLS handshake and the login.
pub(super) async fn serve(socket: TcpStream, tls: TlsAcceptor, peer: Peer) {
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY");
    }
    let ChannelPeer { events, commands } = peer;
    let accepted = tokio::select! {
        accepted = tls.accept(socket) => accepted,
        () = events.closed() => return,
    };
    let stream = match accepted {
        Ok(stream) => stream,
        Err(error) => {
            tracing::debug!(%error, "TLS failed");
            if let Some(what) = fault::of_io(&error) {
                let why = format!("what the agent sent isn't TLS as it should be: {what}");
                let stream = StreamId(1);
                // A session that has ended needs no word.
                drop(events.send(Event::Malformed { stream, why }).await);
            }
            return;
        }
    };
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let (departure, departures) = mpsc::channel(usize::try_from(STREAMS_MAX).unwrap_or(usize::MAX));
    // HTTP/1.1 ends where an upgrade begins, and HTTP/2 has none: one is all there can be.
    let (upgrade, upgrades) = mpsc::channel(1);
    let streams = Arc::new(Streams::default());
    let agent = Arc::new(Agent {
        events: events.clone(),
        departure,
        upgrade,
        streams: Arc::clone(&streams),
        last: AtomicU64::new(0),
    });
    let over = Notify::new();
    tokio::join!(
        async {
            route(commands, &streams).await;
            over.notify_one();
        },
        depart(departures, events),
        carry(stream, is_http2, HEAD_TIME_MAX, agent, upgrades, &over),
    );
}

/// Hands acts to their streams; those of streams that are gone fall away. Ends with the session.
async fn route(mut commands: mpsc::Receiver<Command>, streams: &Streams) {
    while let Some(Command { stream, act, .. }) = commands.recv().await {
        let acts = streams.0.lock().get(&stream).cloned();
        if let Some(acts) = acts {
            drop(acts.send(act).await);
        }
    }
    streams.0.lock().clear();
}

/// Tells the session of streams that their agent gave up.
async fn depart(mut departures: mpsc::Receiver<StreamId>, events: mpsc::Sender<Event>) {
    while let Some(stream) = departures.recv().await {
        let why = "the agent gave the request up".to_owned();
        if events.send(Event::Reset { stream, why }).await.is_err() {
            return;
        }
    }
}

/// Runs HTTP on the connection, then what it is upgraded to.
async fn carry<S>(
    stream: S,
    is_http2: bool,
    head_time_max: Duration,
    agent: Arc<Agent>,
    mut upgrades: mpsc::Receiver<Upgrading>,
    over: &Notify,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let fault = if is_http2 {
        let (stream, resets) = Watched::new(stream);
        let service = service_fn(|request| {
            let (agent, resets) = (Arc::clone(&agent), Arc::clone(&resets));
            async move {
                let answer = exchange(agent, request).await?;
                resets.give();
                Ok::<_, Aborted>(answer)
            }
        });
        let connection = http2().serve_connection(TokioIo::new(stream), service);
        let connection = std::pin::pin!(connection);
        let ended = tokio::select! {
            ended = run(connection, http2::Connection::graceful_shutdown, over) => ended,
            never = agent.report(&resets) => match never {},
        };
        agent.report_untold(&resets).await;
        ended.as_ref().err().and_then(fault::of_connection)
    } else {
        let io = TokioIo::new(stream);
        let service = service_fn(|request| exchange(Arc::clone(&agent), request));
        let connection = http1(head_time_max).serve_connection(io, service);
        let mut connection = connection.with_upgrades();
        let ended = run(
            Pin::new(&mut connection),
            http1::UpgradeableConnection::graceful_shutdown,
            over,
        )
        .await;
        match ended {
            Ok(()) => None,
            // An idle connection has no head that is late.
            Err(error) if error.is_timeout() => connection
                .into_parts()
                .filter(|parts| !parts.read_buf.is_empty())
                .map(|_| "a request's head took too long".to_owned()),
            Err(error) => fault::of_connection(&error),
        }
    };
    if let Some(fault) = fault {
        agent.malformed(&fault).await;
    }
    if let Ok(Upgrading {
        done,
        acts,
        mut place,
    }) = upgrades.try_recv()
        && let Ok(io) = done.await
        && pump(io, place.stream, &agent.events, acts).await
    {
        place.leave_in_order();
    }
}

fn http1(head_time_max: Duration) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(head_time_max)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX);
    builder
}

fn http2() -> http2::Builder<TokioExecutor> {
    // Its tasks end with their streams, and those with the connection.
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(u32::try_from(HEAD_BYTES_MAX).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(RESETS_MAX)
        .max_local_error_reset_streams(RESETS_MAX)
        .max_send_buf_size(SEND_BUFFER)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIME_MAX);
    builder
}

/// Drives a connection to its end, which comes soon once the session is over.
async fn run<C>(
    mut connection: Pin<&mut C>,
    shutdown: fn(Pin<&mut C>),
    over: &Notify,
) -> hyper::Result<()>
where
    C: Future<Output = hyper::Result<()>>,
{
    tokio::select! {
        ended = connection.as_mut() => return ended,
        () = over.notified() => {}
    }
    shutdown(connection.as_mut());
    timeout(CLOSE_TIME_MAX, connection).await.unwrap_or(Ok(()))
}

/// Where each stream's acts go.
#[derive(Default)]
struct Streams(Mutex<BTreeMap<StreamId, mpsc::Sender<Act>>>);

/// What the requests of one connection share.
struct Agent {
    events: mpsc::Sender<Event>,
    departure: mpsc::Sender<StreamId>,
    upgrade: mpsc::Sender<Upgrading>,
    streams: Arc<Streams>,
    last: AtomicU64,
}

/// An upgrade that the session has agreed to.
struct Upgrading {
    done: OnUpgrade,
    acts: mpsc::Receiver<Act>,
    place: Place,
}

/// A stream's place at the session. Dropped before its end, the session is told.
pub(super) struct Place {
    stream: StreamId,
    streams: Arc<Streams>,
    /// Room to say so, taken before the session heard of the stream.
    departure: Option<OwnedPermit<StreamId>>,
}

impl Place {
    /// The exchange is over for both sides.
    pub(super) fn leave_in_order(&mut self) {
        self.departure = None;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.streams.0.lock().remove(&self.stream);
        if let Some(departure) = self.departure.take() {
            departure.send(self.stream);
        }
    }
}

/// One request and the beginning of its answer.
///
/// # Errors
/// [`Aborted`] when the session gave the stream up, or has ended.
async fn exchange(
    agent: Arc<Agent>,
    mut request: Request<Incoming>,
) -> Result<Response<Answer>, Aborted> {
    let upgrading = hyper::upgrade::on(&mut request);
    let (parts, body) = request.into_parts();
    let is_head = parts.method == hyper::Method::HEAD;
    let head = head::of_request(&parts);
    let wants_upgrade = head.upgrade.is_some();
    let (mut place, mut acts) = agent.announce(head).await?;
    let mut uploading = std::pin::pin!(upload(&agent, place.stream, body));
    let mut uploaded = wants_upgrade;
    let head = loop {
        tokio::select! {
            biased;
            act = acts.recv() => match act {
                Some(Act::Respond(head)) => break head,
                Some(_) | None => {
                    place.leave_in_order();
                    return Err(Aborted);
                }
            },
            done = &mut uploading, if !uploaded => {
                done?;
                uploaded = true;
            }
        }
    };
    let answer = |body| head::response(&head, body).map_err(|_| Aborted);
    if head.status == 101 {
        let response = answer(Answer::empty())?;
        let upgrading = Upgrading {
            done: upgrading,
            acts,
            place,
        };
        agent.upgrade.try_send(upgrading).map_err(|_| Aborted)?;
        return Ok(response);
    }
    if is_head || matches!(head.status, 204 | 304) {
        // hyper never asks for a body that HTTP doesn't have.
        while let Some(act) = acts.recv().await {
            if act == Act::End {
                place.leave_in_order();
                return answer(Answer::empty());
            }
        }
        return Err(Aborted);
    }
    answer(Answer::new(acts, place))
}

impl Agent {
    /// Tells the session of what wasn't a request.
    async fn malformed(&self, fault: &str) {
        let event = self.malformed_event(fault);
        // A session that has ended needs no word.
        drop(self.events.send(event).await);
    }

    fn malformed_event(&self, fault: &str) -> Event {
        tracing::debug!(fault, "what an agent sent isn't HTTP");
        Event::Malformed {
            stream: self.next(),
            why: format!("what the agent sent isn't HTTP as it should be: {fault}"),
        }
    }

    /// Tells the session of streams that the library refuses.
    async fn report(&self, resets: &Resets) -> Infallible {
        loop {
            resets.changed().await;
            self.report_untold(resets).await;
        }
    }

    /// As [`Agent::report`], of those until now.
    async fn report_untold(&self, resets: &Resets) {
        while !resets.is_empty() {
            // Given up while it waits, nothing is lost. A session that has ended needs no word.
            let Ok(room) = self.events.reserve().await else {
                return;
            };
            if let Some(fault) = resets.take() {
                room.send(self.malformed_event(&fault));
            }
        }
    }

    fn next(&self) -> StreamId {
        StreamId(self.last.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Tells the session of a new stream.
    async fn announce(
        &self,
        head: gateway_protocols::kubernetes::message::RequestHead,
    ) -> Result<(Place, mpsc::Receiver<Act>), Aborted> {
        let departure = self.departure.clone().reserve_owned().await;
        let departure = departure.map_err(|_| Aborted)?;
        let event = self.events.reserve().await.map_err(|_| Aborted)?;
        // From here on nothing waits: the session knows of the stream, and hears of its end.
        let stream = self.next();
        let (to_stream, acts) = mpsc::channel(ACTS_MAX);
        self.streams.0.lock().insert(stream, to_stream);
        event.send(Event::Request { stream, head });
        let place = Place {
            stream,
            streams: Arc::clone(&self.streams),
            departure: Some(departure),
        };
        Ok((place, acts))
    }
}

/// Hands a request's body over.
///
/// # Errors
/// [`Aborted`] when the body is cut off, or isn't what HTTP allows; or the session has ended.
async fn upload(agent: &Agent, stream: StreamId, mut body: Incoming) -> Result<(), Aborted> {
    let events = &agent.events;
    while let Some(frame) = body.frame().await {
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) => {
                if let Some(fault) = fault::of_body(&error) {
                    agent.malformed(&fault).await;
                }
                return Err(Aborted);
            }
        };
        let Ok(data) = frame.into_data() else {
            continue; // trailers say nothing that a session uses
        };
        for data in pieces(data) {
            let event = Event::Body { stream, data };
            events.send(event).await.map_err(|_| Aborted)?;
        }
    }
    let end = Event::End { stream };
    events.send(end).await.map_err(|_| Aborted)
}
