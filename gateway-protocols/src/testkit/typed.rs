//! Wires whose input and output are typed: the bytes that stand for them in scripts and streams.
//!
//! Everything in the kit is bytes: scripts, what a schedule cuts, streams, traces, fuzz inputs. For
//! a wire of bytes they are what the wire gets. For a wire of events, each side's stream is a
//! sequence of packets of one event or command each:
//!
//! ```text
//! u32 length of the body (big-endian) | body: the protocol's own form of an event
//! ```

use std::collections::{BTreeMap, VecDeque};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use gateway_core::{
    id::UnitId,
    record::{Moment, Track},
    wire::{Payload, Side},
};

use super::schedule::Schedule;

/// Longest body of a packet, bytes. What claims to be longer is no packet.
pub const PACKET_BYTES_MAX: usize = 1 << 24;
/// Bytes before a body.
const HEADER_BYTES: usize = 4;

/// What a wire takes, fed from bytes.
pub trait Inbound: Default {
    /// Moves what is whole at the start of `bytes` over. Data whose borders mean nothing may be
    /// cut there, as the schedule says.
    fn feed(&mut self, from: Side, bytes: &mut BytesMut, schedule: &mut Schedule);

    /// How much of it is untaken, in the unit of [`gateway_core::wire::Wire::wants`].
    fn untaken(&self) -> usize;

    /// Gives back the untaken bytes that a TLS handshake is to read; events have none.
    fn hand_back(&mut self) -> BytesMut {
        BytesMut::new()
    }
}

/// What a wire sends, as bytes.
pub trait Outbound: Payload {
    /// The bytes that stand for it in the stream of this side.
    fn encode(&self, to: Side) -> Bytes;
}

/// An event that a typed wire takes.
pub trait Typed: Sized {
    /// The event of a packet's body; `None` for bytes that stand for none: no transport would hand
    /// that over, and neither does the kit.
    fn parse(from: Side, body: &Bytes) -> Option<Self>;

    /// Data in it that could as well have come in several events.
    fn data(&mut self) -> Option<&mut Bytes> {
        None
    }
}

impl Inbound for BytesMut {
    fn feed(&mut self, _: Side, bytes: &mut BytesMut, _: &mut Schedule) {
        self.unsplit(bytes.split());
    }

    fn untaken(&self) -> usize {
        self.len()
    }

    fn hand_back(&mut self) -> BytesMut {
        self.split()
    }
}

impl Outbound for Bytes {
    fn encode(&self, _: Side) -> Bytes {
        self.clone()
    }
}

impl<E: Typed> Inbound for VecDeque<E> {
    fn feed(&mut self, from: Side, bytes: &mut BytesMut, schedule: &mut Schedule) {
        while let Some(body) = take_packet(bytes) {
            let mut rest = None;
            // Once for each piece of its data.
            while let Some(mut event) = E::parse(from, &body) {
                if let Some(data) = event.data() {
                    let rest = rest.get_or_insert_with(|| data.clone());
                    *data = rest.split_to(schedule.cut(rest.len()));
                }
                self.push_back(event);
                if rest.as_ref().is_none_or(Bytes::is_empty) {
                    break;
                }
            }
        }
    }

    fn untaken(&self) -> usize {
        self.len()
    }
}

/// A packet around a body of at most [`PACKET_BYTES_MAX`].
#[must_use]
pub fn packet(body: &[u8]) -> Bytes {
    let mut packet = BytesMut::with_capacity(HEADER_BYTES + body.len());
    packet.put_u32(u32::try_from(body.len()).unwrap_or(u32::MAX));
    packet.put_slice(body);
    packet.freeze()
}

/// Takes a packet's body; `None` while it isn't whole. A stream that goes on with no packet is
/// dropped.
pub fn take_packet(stream: &mut BytesMut) -> Option<Bytes> {
    let header = stream.first_chunk::<HEADER_BYTES>()?;
    let len = usize::try_from(u32::from_be_bytes(*header)).unwrap_or(usize::MAX);
    if len > PACKET_BYTES_MAX {
        stream.clear();
        return None;
    }
    if stream.len() - HEADER_BYTES < len {
        return None;
    }
    stream.advance(HEADER_BYTES);
    Some(stream.split_to(len).freeze())
}

/// What the chunks of a wire of moments say: the data of each track of each unit.
///
/// # Errors
/// The chunks aren't made of whole moments.
pub fn moments(chunks: &[u8]) -> Result<BTreeMap<(UnitId, Track), Vec<u8>>, String> {
    let mut rest = BytesMut::from(chunks);
    let mut tracks: BTreeMap<_, Vec<u8>> = BTreeMap::new();
    while let Some(moment) = Moment::decode(&mut rest).map_err(|error| error.to_string())? {
        let track = tracks.entry((moment.unit, moment.track)).or_default();
        track.extend_from_slice(&moment.data);
    }
    match rest.len() {
        0 => Ok(tracks),
        left => Err(format!("{left} bytes are no moment")),
    }
}

/// The bodies of every whole packet of a stream.
pub fn packets(stream: &[u8]) -> impl Iterator<Item = Bytes> {
    let mut rest = BytesMut::from(stream);
    std::iter::from_fn(move || take_packet(&mut rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    struct Data(Bytes);

    impl Typed for Data {
        fn parse(_: Side, body: &Bytes) -> Option<Self> {
            (!body.starts_with(b"?")).then(|| Self(body.clone()))
        }

        fn data(&mut self) -> Option<&mut Bytes> {
            Some(&mut self.0)
        }
    }

    fn fed(stream: &[u8], schedule: &mut Schedule) -> Vec<Data> {
        let mut events = VecDeque::<Data>::new();
        events.feed(Side::Agent, &mut BytesMut::from(stream), schedule);
        events.into()
    }

    #[test]
    fn packets_come_out_whole_and_what_is_none_is_left_out() {
        let stream = [packet(b"one"), packet(b"?"), packet(b""), packet(b"two")].concat();
        let events = fed(&stream, &mut Schedule::prompt());
        assert_eq!(events, ["one", "", "two"].map(|data| Data(data.into())));
        assert_eq!(packets(&stream).count(), 4);
    }

    #[test]
    fn a_packet_waits_for_its_end_and_an_endless_one_is_dropped() {
        let whole = packet(b"one");
        for len in 0..whole.len() {
            let mut stream = BytesMut::from(&whole[..len]);
            assert_eq!(take_packet(&mut stream), None);
            assert_eq!(stream.len(), len);
        }
        let mut endless = BytesMut::from(&[0xff; 9][..]);
        assert_eq!(take_packet(&mut endless), None);
        assert!(endless.is_empty());
    }

    #[test]
    fn data_arrives_in_any_pieces() {
        let stream = packet(b"one two three four");
        let mut cut = 0;
        for seed in 0..20 {
            let events = fed(&stream, &mut Schedule::seeded(seed));
            cut = cut.max(events.len());
            let joined: Vec<u8> = events.iter().flat_map(|data| data.0.to_vec()).collect();
            assert_eq!(joined, b"one two three four");
        }
        assert!(cut > 2);
    }
}
