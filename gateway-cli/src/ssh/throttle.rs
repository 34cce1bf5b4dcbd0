//! Backpressure for a transport that hands out everything it reads: its stream is read only while
//! the session has room for what the next packet may bring. The transport goes on writing
//! meanwhile, so that two full directions never wait for each other.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use futures_util::task::AtomicWaker;
use gateway_protocols::ssh::Event;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::TcpStream,
    sync::mpsc,
};
use tokio_util::sync::PollSender;

/// How long a peer that has left may still be read without progress.
const LEAVING_TIME: Duration = Duration::from_secs(1);

/// Where events of one transport go. A place is reserved before a packet is read, so that the
/// event in it never waits.
#[derive(Clone)]
pub(super) struct Intake(Arc<Mutex<PollSender<Event>>>);

/// The session is over: nobody takes events.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the session is over")]
pub(super) struct SessionOver;

impl Intake {
    pub(super) fn new(events: mpsc::Sender<Event>) -> Self {
        Self(Arc::new(Mutex::new(PollSender::new(events))))
    }

    /// Hands an event over. Waits only for a second event out of one packet.
    ///
    /// # Errors
    /// [`SessionOver`].
    pub(super) async fn emit(&self, event: Event) -> Result<(), SessionOver> {
        self.emit_while(|| Some(()), event).await
    }

    /// Hands the one event out of a packet over, which has its place already.
    ///
    /// # Errors
    /// [`SessionOver`], or that there is no place after all.
    pub(super) fn emit_now(&self, event: Event) -> Result<(), SessionOver> {
        let mut sender = self.0.lock();
        let mut unwoken = Context::from_waker(Waker::noop());
        match sender.poll_reserve(&mut unwoken) {
            Poll::Ready(Ok(())) => sender.send_item(event).map_err(|_| SessionOver),
            Poll::Ready(Err(_)) | Poll::Pending => Err(SessionOver),
        }
    }

    /// Hands an event over if it is still to be: `open` is asked at the last moment, and what it
    /// gives is held until the event is on its way.
    ///
    /// # Errors
    /// [`SessionOver`].
    pub(super) async fn emit_while<G>(
        &self,
        mut open: impl FnMut() -> Option<G>,
        event: Event,
    ) -> Result<(), SessionOver> {
        let mut event = Some(event);
        std::future::poll_fn(|cx| {
            let mut sender = self.0.lock();
            ready!(sender.poll_reserve(cx)).map_err(|_| SessionOver)?;
            if let Some(_held) = open()
                && let Some(event) = event.take()
            {
                sender.send_item(event).map_err(|_| SessionOver)?;
            }
            Poll::Ready(Ok(()))
        })
        .await
    }

    /// Ready while there is a place. Never again once the session is over: what its end has to say
    /// to the peer is still being written then.
    fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        match ready!(self.0.lock().poll_reserve(cx)) {
            Ok(()) => Poll::Ready(()),
            Err(_) => Poll::Pending,
        }
    }
}

/// A socket under an [`Intake`]'s backpressure.
pub(super) struct Throttled {
    socket: TcpStream,
    intake: Intake,
    cut: Arc<CutState>,
}

/// Ends a [`Throttled`] stream, whatever its peer does.
pub(super) struct Cut(Arc<CutState>);

#[derive(Default)]
struct CutState {
    done: AtomicBool,
    waker: AtomicWaker,
    /// Times that something was read.
    reads: AtomicUsize,
}

impl Throttled {
    pub(super) fn new(socket: TcpStream, intake: Intake) -> (Self, Cut) {
        let cut = Arc::new(CutState::default());
        let stream = Self {
            socket,
            intake,
            cut: Arc::clone(&cut),
        };
        (stream, Cut(cut))
    }

    /// An error once the stream is cut.
    fn check(&self, cx: &Context<'_>) -> io::Result<()> {
        self.cut.waker.register(cx.waker());
        if self.cut.done.load(Ordering::Acquire) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Ok(())
    }
}

impl Cut {
    /// Returns once the peer has closed its side and nothing more of what it sent is being read.
    /// Who isn't read isn't seen to leave otherwise: what waits for it must not happen later.
    /// `watch` is another handle of the stream's socket.
    pub(super) async fn peer_left(&self, watch: &TcpStream) {
        loop {
            let closed = match watch.ready(Interest::READABLE).await {
                Ok(ready) => ready.is_read_closed(),
                Err(_) => return,
            };
            let before = self.0.reads.load(Ordering::Relaxed);
            tokio::time::sleep(LEAVING_TIME).await;
            if closed && before == self.0.reads.load(Ordering::Relaxed) {
                return;
            }
        }
    }

    /// Reading and writing fail from now on.
    pub(super) fn now(&self) {
        self.0.done.store(true, Ordering::Release);
        self.0.waker.wake();
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        self.now();
    }
}

impl AsyncRead for Throttled {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.check(cx)?;
        ready!(this.intake.poll_room(cx));
        let read = ready!(Pin::new(&mut this.socket).poll_read(cx, buffer));
        this.cut.reads.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(read)
    }
}

impl AsyncWrite for Throttled {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.check(cx)?;
        Pin::new(&mut this.socket).poll_write(cx, data)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.check(cx)?;
        Pin::new(&mut this.socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    fn event() -> Event {
        Event::Refused {
            what: "nothing".into(),
        }
    }

    async fn pair(capacity: usize) -> (TcpStream, Throttled, Cut, Intake, mpsc::Receiver<Event>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (socket, _) = listener.accept().await.unwrap();
        let (events, taken) = mpsc::channel(capacity);
        let intake = Intake::new(events);
        let (stream, cut) = Throttled::new(socket, intake.clone());
        (peer, stream, cut, intake, taken)
    }

    async fn is_stuck<T>(work: impl Future<Output = T>) -> bool {
        tokio::time::timeout(Duration::from_millis(50), work)
            .await
            .is_err()
    }

    #[tokio::test]
    async fn a_full_session_stops_reading_but_not_writing() {
        let (mut peer, mut stream, _cut, intake, mut taken) = pair(1).await;
        peer.write_all(b"ab").await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), b'a');
        intake.emit(event()).await.unwrap();
        assert!(is_stuck(stream.read_u8()).await);
        stream.write_all(b"out").await.unwrap();
        let mut out = [0; 3];
        peer.read_exact(&mut out).await.unwrap();
        assert_eq!(&out, b"out");
        taken.recv().await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), b'b');
    }

    #[tokio::test]
    async fn the_last_words_are_written_after_the_session() {
        let (mut peer, mut stream, cut, intake, taken) = pair(1).await;
        drop(taken);
        assert!(intake.emit(event()).await.is_err());
        assert!(is_stuck(stream.read_u8()).await);
        stream.write_all(b"bye").await.unwrap();
        let mut out = [0; 3];
        peer.read_exact(&mut out).await.unwrap();
        cut.now();
        assert!(stream.read_u8().await.is_err());
        assert!(stream.write_all(b"more").await.is_err());
    }

    #[tokio::test]
    async fn a_peer_that_leaves_is_noticed_though_it_is_not_read() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut peer = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let socket = listener.accept().await.unwrap().0.into_std().unwrap();
        let watch = TcpStream::from_std(socket.try_clone().unwrap()).unwrap();
        let (events, taken) = mpsc::channel(1);
        let intake = Intake::new(events);
        let socket = TcpStream::from_std(socket).unwrap();
        let (mut stream, cut) = Throttled::new(socket, intake.clone());
        intake.emit(event()).await.unwrap();
        peer.write_all(b"more").await.unwrap();
        tokio::select! {
            () = cut.peer_left(&watch) => panic!("it is still there"),
            _ = stream.read_u8() => panic!("there is no room"),
            () = tokio::time::sleep(2 * LEAVING_TIME) => {}
        }
        drop(peer);
        tokio::time::timeout(4 * LEAVING_TIME, cut.peer_left(&watch))
            .await
            .unwrap();
        drop(taken);
    }
}
