//! A link over a socket: plain, in a TLS handshake, or TLS.

use std::{
    collections::VecDeque,
    future::Future,
    io::{self, IoSlice},
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use futures_util::future::BoxFuture;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::link::Link;
use crate::wire::TlsFacts;

/// Room made before each read, bytes. Given back when the connection idles.
const READ_BYTES: usize = 32 << 10;
/// Buffers per vectored write.
const SLICES_MAX: usize = 32;

type Handshake = BoxFuture<'static, io::Result<(TlsStream<Socket>, TlsFacts)>>;

enum Stream {
    /// Gone.
    Absent,
    Plain(TcpStream),
    /// A handshake that starts once the output before it is written.
    Upgrading(Socket, Upgrade),
    Handshake(Handshake),
    Tls(Box<TlsStream<Socket>>),
}

/// What TLS on a link will be, once the wire asks for it.
pub enum Upgrade {
    /// The server's side.
    Accept(TlsAcceptor),
    /// The client's side, and the name that the certificate must bear.
    Connect(TlsConnector, rustls::pki_types::ServerName<'static>),
    /// There is none: asking for it ends the link.
    Impossible,
}

/// A link over a TCP connection.
pub struct TcpLink {
    stream: Stream,
    /// Taken when the wire starts TLS.
    upgrade: Upgrade,
    input: BytesMut,
    output: VecDeque<Bytes>,
    output_bytes: usize,
    /// Bytes may sit in the TLS session until they are flushed.
    flush: bool,
    /// No more will be read.
    ended: bool,
    /// No more will be written once the output is: shut the connection down.
    finish: bool,
}

impl TcpLink {
    /// A link over an open connection.
    #[must_use]
    pub fn new(socket: TcpStream, upgrade: Upgrade) -> Self {
        // Latency matters more than packets; the writes are batched here already.
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY");
        }
        Self {
            stream: Stream::Plain(socket),
            upgrade,
            input: BytesMut::new(),
            output: VecDeque::new(),
            output_bytes: 0,
            flush: false,
            ended: false,
            finish: false,
        }
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        let result = match &mut self.stream {
            Stream::Absent => return Ok(false),
            Stream::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Stream::Upgrading(socket, _) => Pin::new(socket).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
            Stream::Handshake(_) => Poll::Ready(Ok(())),
        };
        match result {
            Poll::Ready(_) => {
                self.stream = Stream::Absent;
                Ok(true)
            }
            Poll::Pending => Ok(false),
        }
    }

    fn consume_output(&mut self, mut written: usize) {
        self.output_bytes -= written;
        while let Some(first) = self.output.front_mut() {
            if written < first.len() {
                first.advance(written);
                return;
            }
            written -= first.len();
            self.output.pop_front();
        }
    }
}

impl Link for TcpLink {
    type Inbound = BytesMut;
    type Outbound = Bytes;

    fn input(&mut self) -> &mut BytesMut {
        &mut self.input
    }

    fn buffered(&self) -> usize {
        self.input.len()
    }

    fn write(&mut self, data: Bytes) {
        if !data.is_empty() {
            self.output_bytes += data.len();
            self.output.push_back(data);
        }
    }

    fn output_weight(&self) -> usize {
        self.output_bytes
    }

    fn is_ended(&self) -> bool {
        self.ended || !matches!(self.stream, Stream::Plain(_) | Stream::Tls(_))
    }

    fn is_at_end(&self) -> bool {
        self.ended
    }

    fn finish(&mut self) {
        self.finish = true;
    }

    fn is_drained(&self) -> bool {
        matches!(self.stream, Stream::Absent)
    }

    fn discard(&mut self) {
        self.output.clear();
        self.output_bytes = 0;
        self.flush = false;
        if self.finish {
            self.stream = Stream::Absent;
        }
    }

    fn start_tls(&mut self) {
        let upgrade = std::mem::replace(&mut self.upgrade, Upgrade::Impossible);
        self.stream = match std::mem::replace(&mut self.stream, Stream::Absent) {
            Stream::Plain(tcp) => {
                let early = self.input.split().freeze();
                Stream::Upgrading(Socket { early, tcp }, upgrade)
            }
            other => other,
        };
    }

    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<TlsFacts>> {
        if matches!(self.stream, Stream::Upgrading(..)) && self.output.is_empty() {
            self.stream = match std::mem::replace(&mut self.stream, Stream::Absent) {
                Stream::Upgrading(socket, upgrade) => Stream::Handshake(handshake(socket, upgrade)),
                other => other,
            };
        }
        let Stream::Handshake(handshake) = &mut self.stream else {
            return Poll::Pending;
        };
        match ready!(handshake.as_mut().poll(cx)) {
            Ok((stream, facts)) => {
                self.stream = Stream::Tls(Box::new(stream));
                Poll::Ready(Ok(facts))
            }
            Err(error) => {
                self.stream = Stream::Absent;
                self.discard();
                Poll::Ready(Err(error))
            }
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.input.reserve(READ_BYTES);
        let result = match &mut self.stream {
            Stream::Plain(socket) => pin!(socket.read_buf(&mut self.input)).poll(cx),
            Stream::Tls(stream) => pin!(stream.read_buf(&mut self.input)).poll(cx),
            Stream::Absent | Stream::Upgrading(..) | Stream::Handshake(_) => Poll::Pending,
        };
        match result {
            Poll::Ready(Ok(read)) => self.ended = read == 0,
            Poll::Ready(Err(_)) => self.ended = true,
            Poll::Pending if self.input.is_empty() => self.input = BytesMut::new(),
            Poll::Pending => {}
        }
        result
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut wrote = false;
        while !self.output.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let mut count = 0;
            for (slot, data) in slices.iter_mut().zip(&self.output) {
                *slot = IoSlice::new(data);
                count += 1;
            }
            let slices = slices.get(..count).unwrap_or_default();
            let written = match &mut self.stream {
                Stream::Plain(socket) => Pin::new(socket).poll_write_vectored(cx, slices),
                Stream::Upgrading(socket, _) => Pin::new(socket).poll_write_vectored(cx, slices),
                Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_write_vectored(cx, slices),
                Stream::Absent | Stream::Handshake(_) => Poll::Pending,
            };
            match written {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => {
                    self.consume_output(written);
                    self.flush = matches!(self.stream, Stream::Tls(_));
                    wrote = true;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => break,
            }
        }
        if self.flush
            && let Stream::Tls(stream) = &mut self.stream
            && let Poll::Ready(result) = Pin::new(stream.as_mut()).poll_flush(cx)
        {
            result?;
            self.flush = false;
        }
        if self.finish && self.output.is_empty() && !self.flush {
            wrote |= self.poll_shutdown(cx)?;
        }
        Poll::Ready(Ok(wrote))
    }
}

/// A socket, and what was read from it before TLS was asked for: the handshake's first bytes.
struct Socket {
    early: Bytes,
    tcp: TcpStream,
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.early.is_empty() {
            return Pin::new(&mut this.tcp).poll_read(cx, buffer);
        }
        let len = this.early.len().min(buffer.remaining());
        buffer.put_slice(&this.early.split_to(len));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().tcp).poll_write(cx, data)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().tcp).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_shutdown(cx)
    }
}

fn handshake(socket: Socket, upgrade: Upgrade) -> Handshake {
    Box::pin(async move {
        match upgrade {
            Upgrade::Accept(acceptor) => {
                let stream = TlsStream::Server(acceptor.accept(socket).await?);
                let facts = facts(&stream);
                Ok((stream, facts))
            }
            Upgrade::Connect(connector, name) => {
                let stream = TlsStream::Client(connector.connect(name, socket).await?);
                let facts = facts(&stream);
                Ok((stream, facts))
            }
            Upgrade::Impossible => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "TLS isn't configured",
            )),
        }
    })
}

fn facts(stream: &TlsStream<Socket>) -> TlsFacts {
    let (_, session) = stream.get_ref();
    let certificates = session.peer_certificates();
    TlsFacts {
        peer_certificate: certificates
            .and_then(|chain| chain.first())
            .map(|certificate| certificate.as_ref().to_vec()),
        application_protocol: session.alpn_protocol().map(<[u8]>::to_vec),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::{io::AsyncWriteExt as _, net::TcpListener};

    use super::*;

    #[tokio::test]
    async fn a_handshake_reads_what_had_arrived_before_it() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let connecting = TcpStream::connect(listener.local_addr().unwrap());
        let (accepted, connected) = tokio::join!(listener.accept(), connecting);
        let mut socket = Socket {
            early: Bytes::from_static(b"client"),
            tcp: accepted.unwrap().0,
        };
        let mut peer = connected.unwrap();
        peer.write_all(b" hello").await.unwrap();
        peer.shutdown().await.unwrap();
        let mut heard = Vec::new();
        let (start, rest) = (socket.read_u8().await, socket.read_to_end(&mut heard).await);
        assert_eq!((start.unwrap(), rest.unwrap()), (b'c', 11));
        assert_eq!(heard, b"lient hello");
    }
}
