//! Streams of HTTP/2 that the library refuses by itself: no request comes of them, and nothing
//! shows them but the frame that tells the agent. That is a reset, or, for a head past its limit,
//! an answer that nobody gave.

use std::{
    collections::BTreeMap,
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::Notify,
};

/// RFC 9113, section 4.1 "Frame Format".
const HEAD_BYTES: usize = 9;
/// RFC 9113, section 6.2 "HEADERS". Answers have one each, for they have no trailers.
const HEADERS: u8 = 1;
/// RFC 9113, section 6.4 "RST_STREAM": a code follows the head.
const RST_STREAM: u8 = 3;
const RST_STREAM_BYTES: usize = HEAD_BYTES + 4;

/// Streams that were refused and aren't told yet, by code.
#[derive(Debug, Default)]
pub(super) struct Resets {
    untold: Mutex<BTreeMap<&'static str, u64>>,
    changed: Notify,
    /// Answers that were given, and those that were sent: one that is given may find its stream
    /// gone, and then hides one that nobody gave.
    given: AtomicU64,
    sent: AtomicU64,
}

impl Resets {
    /// Until there is something to tell.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.untold.lock().is_empty()
    }

    /// What is to be told next, in words.
    pub(super) fn take(&self) -> Option<String> {
        let (code, streams) = self.untold.lock().pop_first()?;
        Some(format!("streams ended with {code}: {streams}"))
    }

    /// An answer is about to be sent.
    pub(super) fn give(&self) {
        self.given.fetch_add(1, Ordering::Relaxed);
    }

    fn count(&self, frame: Frame) {
        let fault = match frame {
            Frame::Reset(code) => fault(u32::from_be_bytes(code)),
            Frame::Answer => {
                let given = self.given.load(Ordering::Relaxed);
                let is_given = self.sent.load(Ordering::Relaxed) < given;
                if is_given {
                    self.sent.fetch_add(1, Ordering::Relaxed);
                }
                (!is_given).then_some("a head too large")
            }
        };
        if let Some(fault) = fault {
            *self.untold.lock().entry(fault).or_default() += 1;
            self.changed.notify_one();
        }
    }
}

/// What the peer did wrong (RFC 9113, section 7 "Error Codes"). Streams that end in good order, that
/// the gateway breaks off, or that nobody wants any more, are no fault of it.
const fn fault(code: u32) -> Option<&'static str> {
    Some(match code {
        // NO_ERROR, INTERNAL_ERROR, CANCEL
        0x0 | 0x2 | 0x8 => return None,
        0x1 => "PROTOCOL_ERROR",
        0x3 => "FLOW_CONTROL_ERROR",
        0x5 => "STREAM_CLOSED",
        0x6 => "FRAME_SIZE_ERROR",
        0x7 => "REFUSED_STREAM",
        0xb => "ENHANCE_YOUR_CALM",
        _ => "another code",
    })
}

/// A connection whose writer counts the streams that it resets.
#[derive(Debug)]
pub(super) struct Watched<S> {
    stream: S,
    frames: Frames,
    resets: Arc<Resets>,
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S) -> (Self, Arc<Resets>) {
        let resets = Arc::<Resets>::default();
        let watched = Self {
            stream,
            frames: Frames::default(),
            resets: Arc::clone(&resets),
        };
        (watched, resets)
    }
}

/// A frame that says how a stream is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Frame {
    /// With an error code.
    Reset([u8; 4]),
    /// With an answer's head.
    Answer,
}

/// Where in the frames of one direction its bytes are.
#[derive(Debug, Default)]
struct Frames {
    /// The head that isn't whole, at most [`RST_STREAM_BYTES`].
    head: Vec<u8>,
    /// Of the frame's payload, still to come.
    rest: usize,
}

impl Frames {
    /// Goes on over `data`. What it says of streams goes to `found`.
    fn advance(&mut self, mut data: &[u8], mut found: impl FnMut(Frame)) {
        while !data.is_empty() {
            let passed = self.rest.min(data.len());
            self.rest -= passed;
            let wanted = match self.head.get(3) {
                Some(&RST_STREAM) => RST_STREAM_BYTES,
                Some(_) | None => HEAD_BYTES,
            };
            let (_, more) = data.split_at_checked(passed).unwrap_or_default();
            let taken = wanted.saturating_sub(self.head.len()).min(more.len());
            let (head, more) = more.split_at_checked(taken).unwrap_or_default();
            self.head.extend_from_slice(head);
            data = more;
            match self.head.as_slice() {
                [_, _, _, RST_STREAM, _, _, _, _, _, a, b, c, d] => {
                    found(Frame::Reset([*a, *b, *c, *d]));
                }
                [a, b, c, kind, _, _, _, _, _] if *kind != RST_STREAM => {
                    if *kind == HEADERS {
                        found(Frame::Answer);
                    }
                    let len = u32::from_be_bytes([0, *a, *b, *c]);
                    self.rest = usize::try_from(len).unwrap_or(usize::MAX);
                }
                _ => continue,
            }
            self.head.clear();
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(data)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.stream).poll_write_vectored(cx, parts))?;
        let mut left = written;
        for part in parts {
            let len = left.min(part.len());
            left -= len;
            let (seen, _) = part.split_at_checked(len).unwrap_or_default();
            this.frames.advance(seen, |frame| this.resets.count(frame));
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&len[1..], &[kind, 0, 0, 0, 0, 1], payload].concat()
    }

    #[test]
    fn resets_are_found_however_the_bytes_are_cut() {
        let bytes = [
            frame(4, &[]),
            frame(RST_STREAM, &[0, 0, 0, 1]),
            frame(0, &[RST_STREAM; 300]),
            frame(RST_STREAM, &[0, 0, 0, 8]),
            frame(HEADERS, &[0x88; 5]),
            frame(RST_STREAM, &[0, 0, 0, 1]),
            frame(6, &[0; 8]),
        ]
        .concat();
        for len in 1..=bytes.len() {
            let mut frames = Frames::default();
            let mut found = Vec::new();
            for piece in bytes.chunks(len) {
                frames.advance(piece, |frame| found.push(frame));
            }
            let reset = |code| Frame::Reset([0, 0, 0, code]);
            let expected = [reset(1), reset(8), Frame::Answer, reset(1)];
            assert_eq!(found, expected, "pieces of {len}");
        }
    }

    #[test]
    fn faults_are_counted_until_they_are_told() {
        let resets = Resets::default();
        for code in [1, 8, 1] {
            resets.count(Frame::Reset([0, 0, 0, code]));
        }
        resets.give();
        resets.count(Frame::Answer);
        assert_eq!(
            resets.take().unwrap(),
            "streams ended with PROTOCOL_ERROR: 2"
        );
        assert!(resets.is_empty());
        resets.count(Frame::Answer);
        assert_eq!(
            resets.take().unwrap(),
            "streams ended with a head too large: 1"
        );
    }
}
