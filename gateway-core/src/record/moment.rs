//! Stream data that says what it is: one piece of one track of one unit.
//!
//! Protocols whose streams are not one conversation of bytes (terminals, files, HTTP) record their
//! chunks as a sequence of moments: `u8 track, u64 unit, u32 len, bytes`, integers big-endian. A
//! moment may span chunks; a direction's chunks, joined, are whole moments.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use crate::id::UnitId;

/// Bytes before a moment's data.
const HEADER_BYTES: usize = 13;
/// Longest data of one moment, bytes.
pub const MOMENT_BYTES_MAX: usize = 1 << 20;

/// What a moment's bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Track {
    /// Standard input.
    Input,
    /// Standard output, or the terminal's.
    Output,
    /// Standard error.
    Error,
    /// A terminal's new size: `u32` columns, `u32` rows.
    Resize,
    /// The end: the exit status in decimal, or the name of a signal.
    Exit,
    /// Contents of a file that was read: `u64` offset in the file, then the bytes from there on.
    FileRead,
    /// Contents of a file that is written: `u64` offset in the file, then the bytes from there on.
    FileWrite,
    /// Body of a request.
    Request,
    /// Body of a response, masked.
    Response,
    /// A signal for the program, by its name without `SIG`.
    Signal,
}

impl Track {
    /// Every track, in the order of its code.
    pub const ALL: &'static [Self] = &[
        Self::Input,
        Self::Output,
        Self::Error,
        Self::Resize,
        Self::Exit,
        Self::FileRead,
        Self::FileWrite,
        Self::Request,
        Self::Response,
        Self::Signal,
    ];

    /// The code in streams.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Input => 1,
            Self::Output => 2,
            Self::Error => 3,
            Self::Resize => 4,
            Self::Exit => 5,
            Self::FileRead => 6,
            Self::FileWrite => 7,
            Self::Request => 8,
            Self::Response => 9,
            Self::Signal => 10,
        }
    }

    /// The name in listings: `input`, `file_read`…
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Output => "output",
            Self::Error => "error",
            Self::Resize => "resize",
            Self::Exit => "exit",
            Self::FileRead => "file_read",
            Self::FileWrite => "file_write",
            Self::Request => "request",
            Self::Response => "response",
            Self::Signal => "signal",
        }
    }
}

/// One piece of one track of one unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The unit it belongs to.
    pub unit: UnitId,
    /// What the bytes are.
    pub track: Track,
    /// At most [`MOMENT_BYTES_MAX`] of them.
    pub data: Bytes,
}

/// A stream isn't made of moments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MomentError {
    /// There is no such track.
    #[error("{0} is no track of a stream")]
    Track(u8),
    /// Longer than [`MOMENT_BYTES_MAX`].
    #[error("a moment of {0} bytes is too long")]
    TooLong(u32),
}

impl Moment {
    /// The bytes to record. Data beyond [`MOMENT_BYTES_MAX`] goes into further moments.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(HEADER_BYTES + self.data.len());
        let mut pieces = self.data.chunks(MOMENT_BYTES_MAX);
        let mut piece = pieces.next().unwrap_or_default();
        loop {
            out.put_u8(self.track.code());
            out.put_u64(self.unit.0);
            // A piece is at most `MOMENT_BYTES_MAX`.
            out.put_u32(u32::try_from(piece.len()).unwrap_or(u32::MAX));
            out.put_slice(piece);
            match pieces.next() {
                Some(next) => piece = next,
                None => return out.freeze(),
            }
        }
    }

    /// Splits the first moment off `stream`; `None` while it isn't whole yet.
    ///
    /// # Errors
    /// [`MomentError`] when what follows is none.
    pub fn decode(stream: &mut BytesMut) -> Result<Option<Self>, MomentError> {
        let Some(mut header) = stream.get(..HEADER_BYTES) else {
            return Ok(None);
        };
        let code = header.get_u8();
        let unit = UnitId(header.get_u64());
        let len = header.get_u32();
        let track = *Track::ALL
            .iter()
            .find(|track| track.code() == code)
            .ok_or(MomentError::Track(code))?;
        let len = usize::try_from(len)
            .ok()
            .filter(|len| *len <= MOMENT_BYTES_MAX)
            .ok_or(MomentError::TooLong(len))?;
        if stream.len() < HEADER_BYTES + len {
            return Ok(None);
        }
        stream.advance(HEADER_BYTES);
        let data = stream.split_to(len).freeze();
        Ok(Some(Self { unit, track, data }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(track: Track, data: Bytes) -> Moment {
        Moment {
            unit: UnitId(7),
            track,
            data,
        }
    }

    #[test]
    fn moments_survive_any_split_of_their_stream() {
        let moments: Vec<_> = Track::ALL
            .iter()
            .map(|track| moment(*track, Bytes::from_static(b"data")))
            .collect();
        let whole: Vec<u8> = moments.iter().flat_map(Moment::encode).collect();
        for split in 0..whole.len() {
            let (mut stream, mut found) = (BytesMut::new(), Vec::new());
            for part in [&whole[..split], &whole[split..]] {
                stream.extend_from_slice(part);
                while let Some(moment) = Moment::decode(&mut stream).unwrap() {
                    found.push(moment);
                }
            }
            assert_eq!(found, moments, "split at {split}");
        }
    }

    #[test]
    fn long_data_is_split_and_empty_data_is_kept() {
        let long = moment(Track::Output, vec![b'x'; MOMENT_BYTES_MAX + 1].into());
        let mut stream = BytesMut::from(&long.encode()[..]);
        let sizes: Vec<usize> =
            std::iter::from_fn(|| Moment::decode(&mut stream).unwrap().map(|m| m.data.len()))
                .collect();
        assert_eq!(sizes, [MOMENT_BYTES_MAX, 1]);
        let empty = moment(Track::Exit, Bytes::new());
        let mut stream = BytesMut::from(&empty.encode()[..]);
        assert_eq!(Moment::decode(&mut stream), Ok(Some(empty)));
    }

    #[test]
    fn what_is_no_moment_is_an_error() {
        let mut stream = BytesMut::from(&[0; HEADER_BYTES][..]);
        assert_eq!(Moment::decode(&mut stream), Err(MomentError::Track(0)));
        let mut stream = BytesMut::from(&[1, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0, 0, 0][..]);
        assert_eq!(
            Moment::decode(&mut stream),
            Err(MomentError::TooLong(0xff00_0000))
        );
    }
}
