//! The moments of a session's stream, in the order in which they became whole.

use bytes::BytesMut;
use gateway_core::record::{Direction, Moment, MomentError};

/// Protocols whose streams are one conversation of bytes; those of all others are made of moments.
const CONVERSATIONS: [&str; 1] = ["postgres"];

/// Whether the streams of `protocol` are made of [`Moment`]s.
#[must_use]
pub fn has_moments(protocol: &str) -> bool {
    !CONVERSATIONS.contains(&protocol)
}

/// Finds the moments in a session's chunks. Holds less than one moment per direction, and one chunk.
#[derive(Clone, Debug, Default)]
pub struct Moments {
    to_agent: BytesMut,
    to_target: BytesMut,
}

impl Moments {
    /// Takes the next chunk of the session, and visits the moments that are whole with it.
    ///
    /// # Errors
    /// [`MomentError`] when the stream isn't made of moments. Nothing after it can be read.
    pub fn push(
        &mut self,
        direction: Direction,
        chunk: &[u8],
        visit: &mut dyn FnMut(Moment),
    ) -> Result<(), MomentError> {
        let stream = match direction {
            Direction::ToAgent => &mut self.to_agent,
            Direction::ToTarget => &mut self.to_target,
        };
        stream.extend_from_slice(chunk);
        while let Some(moment) = Moment::decode(stream)? {
            visit(moment);
        }
        Ok(())
    }

    /// Whether no moment is cut off at the end.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.to_agent.is_empty() && self.to_target.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use gateway_core::id::UnitId;
    use gateway_core::record::Track;
    use proptest::prelude::*;

    use super::*;

    fn moments() -> impl Strategy<Value = Vec<(Direction, Moment)>> {
        let direction = prop_oneof![Just(Direction::ToAgent), Just(Direction::ToTarget)];
        let track = proptest::sample::select(Track::ALL);
        let data = proptest::collection::vec(any::<u8>(), 0..40);
        let moment =
            (direction, track, data, 0..4u64).prop_map(|(direction, track, data, unit)| {
                let unit = UnitId(unit);
                let data = data.into();
                (direction, Moment { unit, track, data })
            });
        proptest::collection::vec(moment, 0..20)
    }

    proptest! {
        #[test]
        fn each_direction_gives_its_moments_back_from_chunks_of_any_size(
            moments in moments(),
            sizes in proptest::collection::vec(1..40usize, 1..9),
        ) {
            let (mut reader, mut found) = (Moments::default(), Vec::new());
            let mut sizes = sizes.iter().cycle();
            for (direction, moment) in &moments {
                let encoded = moment.encode();
                let mut rest = &encoded[..];
                while !rest.is_empty() {
                    let (chunk, after) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
                    reader.push(*direction, chunk, &mut |moment| found.push((*direction, moment))).unwrap();
                    rest = after;
                }
            }
            prop_assert!(reader.is_whole());
            prop_assert_eq!(found, moments);
        }

        #[test]
        fn any_bytes_are_moments_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut reader = Moments::default();
            let mut read = 0;
            let result = reader.push(Direction::ToAgent, &bytes, &mut |moment| read += moment.encode().len());
            prop_assert!(read <= bytes.len());
            prop_assert!(result.is_err() || reader.is_whole() == (read == bytes.len()));
        }
    }
}
