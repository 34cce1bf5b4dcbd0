//! TLS under axum: handshakes run beside the accept loop, connections are few and don't live long.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::serve::Listener;
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinSet,
    time::Sleep,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// Connections at once, handshakes included.
const CONNECTIONS_MAX: usize = 256;
/// For a TLS handshake.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);
/// A connection's whole life: a slow client can't keep its place.
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(60);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Hands finished TLS connections to axum. Its accepting task ends with it.
pub(super) struct TlsListener {
    ready: mpsc::Receiver<(Connection, SocketAddr)>,
    address: io::Result<SocketAddr>,
    _accepting: JoinSet<()>,
}

impl TlsListener {
    pub(super) fn start(socket: TcpListener, tls: Arc<ServerConfig>) -> Self {
        let address = socket.local_addr();
        let (finished, ready) = mpsc::channel(CONNECTIONS_MAX);
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(socket, TlsAcceptor::from(tls), finished));
        Self {
            ready,
            address,
            _accepting: accepting,
        }
    }
}

impl Listener for TlsListener {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        match self.ready.recv().await {
            Some(accepted) => accepted,
            // The accepting task runs as long as this listener does.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.address
            .as_ref()
            .copied()
            .map_err(|error| io::Error::from(error.kind()))
    }
}

async fn accept(
    socket: TcpListener,
    tls: TlsAcceptor,
    finished: mpsc::Sender<(Connection, SocketAddr)>,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut handshakes = JoinSet::new();
    loop {
        tokio::select! {
            accepted = socket.accept() => match accepted {
                Ok((stream, peer)) => {
                    let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                        tracing::warn!(%peer, "the admin API has as many connections as it may");
                        continue;
                    };
                    handshakes.spawn(handshake(stream, peer, tls.clone(), place, finished.clone()));
                }
                Err(error) => {
                    tracing::error!(%error, "accepting an admin connection failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = handshakes.join_next() => {}
        }
    }
}

async fn handshake(
    stream: TcpStream,
    peer: SocketAddr,
    tls: TlsAcceptor,
    place: OwnedSemaphorePermit,
    finished: mpsc::Sender<(Connection, SocketAddr)>,
) {
    match tokio::time::timeout(HANDSHAKE_TIME_MAX, tls.accept(stream)).await {
        Ok(Ok(stream)) => {
            let connection = Connection {
                stream,
                deadline: Box::pin(tokio::time::sleep(CONNECTION_TIME_MAX)),
                _place: place,
            };
            // Nobody takes it when the API is stopping.
            drop(finished.send((connection, peer)).await);
        }
        Ok(Err(error)) => tracing::debug!(%peer, %error, "an admin handshake failed"),
        Err(_) => tracing::debug!(%peer, "an admin handshake took too long"),
    }
}

/// One TLS connection: holds its place, and fails once its time is up.
pub(super) struct Connection {
    stream: TlsStream<TcpStream>,
    deadline: Pin<Box<Sleep>>,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.deadline.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
