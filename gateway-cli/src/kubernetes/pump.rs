//! The bytes of an upgraded connection, both ways.

use std::{io, time::Duration};

use bytes::BytesMut;
use gateway_protocols::kubernetes::message::{Act, Event, StreamId};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf},
    sync::mpsc,
    time::timeout,
};

use super::PIECE_BYTES_MAX;

/// For the peer to close its side once ours is closed.
const CLOSE_TIME_MAX: Duration = Duration::from_secs(5);

type Stream = TokioIo<Upgraded>;

/// Carries bytes until both directions are over, or the stream is given up. Whether the session has
/// heard of the peer's end.
pub(super) async fn pump(
    io: Upgraded,
    stream: StreamId,
    events: &mpsc::Sender<Event>,
    acts: mpsc::Receiver<Act>,
) -> bool {
    let (reader, writer) = tokio::io::split(TokioIo::new(io));
    let mut reading = std::pin::pin!(read(reader, stream, events));
    let mut writing = std::pin::pin!(write(writer, acts));
    let written = tokio::select! {
        () = &mut reading => {
            writing.await;
            return true;
        }
        written = &mut writing => written,
    };
    // What still comes is the answer to our close.
    written && timeout(CLOSE_TIME_MAX, reading).await.is_ok()
}

async fn read(mut reader: ReadHalf<Stream>, stream: StreamId, events: &mpsc::Sender<Event>) {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(PIECE_BYTES_MAX);
        let mut limited = (&mut reader).take(u64::try_from(PIECE_BYTES_MAX).unwrap_or(u64::MAX));
        let event = match limited.read_buf(&mut buffer).await {
            Ok(0) => Event::End { stream },
            Ok(_) => Event::Body {
                stream,
                data: buffer.split().freeze(),
            },
            Err(error) => Event::Reset {
                stream,
                why: error.to_string(),
            },
        };
        let more = matches!(event, Event::Body { .. });
        if events.send(event).await.is_err() || !more {
            return;
        }
    }
}

/// Whether the direction was closed in good order.
async fn write(mut writer: WriteHalf<Stream>, mut acts: mpsc::Receiver<Act>) -> bool {
    loop {
        let done: io::Result<()> = match acts.recv().await {
            Some(Act::Body(data)) => {
                async {
                    writer.write_all(&data).await?;
                    writer.flush().await
                }
                .await
            }
            Some(Act::End) => return writer.shutdown().await.is_ok(),
            Some(Act::Reset | Act::Respond(_) | Act::Request { .. }) | None => return false,
        };
        if done.is_err() {
            return false;
        }
    }
}
