//! Recordings as asciicast v3 (<https://docs.asciinema.org/manual/asciicast/v3/>), for players.
//!
//! A player writes what a recording says to the viewer's terminal. So output is what a [`Screen`] shows
//! of it; the exact bytes are in the stream. Typed input is the text as it was typed, which players
//! don't print. The lines are ASCII but for visible characters, whatever was recorded.

use std::collections::{BTreeMap, BTreeSet};

use gateway_core::id::UnitId;
use gateway_core::record::{Direction, Moment, Track};

use super::moments::Moments;
use super::screen::Screen;
use super::text::Decoder;
use crate::evidence::escaped;
use crate::stream::TO_TARGET;

/// Columns or rows that a player is told at most: it makes a screen of that size.
const SIZE_MAX: u32 = 1024;
/// Longest cast of a package, bytes. A longer one is cut, and says so.
const CAST_BYTES_MAX: usize = 64 << 20;

/// The casts of the units with a terminal, by unit, from a stream as packages hold it: `u64` number,
/// `u8` direction, `u64` UTC microseconds, `u32` length (big-endian), bytes, for each chunk. None
/// when the stream isn't made of moments.
pub(crate) fn casts(stream: &[u8]) -> BTreeMap<UnitId, String> {
    let mut terminals = BTreeSet::new();
    let mut casts: BTreeMap<UnitId, (Cast, String)> = BTreeMap::new();
    let found = each_moment(stream, &mut |_, moment| {
        if moment.track == Track::Resize {
            terminals.insert(moment.unit);
        }
    });
    if found.is_none() {
        return BTreeMap::new();
    }
    each_moment(stream, &mut |at_us, moment| {
        if !terminals.contains(&moment.unit) {
            return;
        }
        let new = || (Cast::new(Some(moment.unit)), String::new());
        let (cast, out) = casts.entry(moment.unit).or_insert_with(new);
        if out.len() < CAST_BYTES_MAX {
            cast.push(at_us, moment, out);
            if out.len() >= CAST_BYTES_MAX {
                cast.line(at_us, "m", "cut: the stream holds the rest", out);
            }
        }
    });
    let finished = casts.into_iter().map(|(unit, (mut cast, mut out))| {
        if out.len() < CAST_BYTES_MAX {
            cast.finish(&mut out);
        }
        (unit, out)
    });
    finished.collect()
}

/// Visits every moment with its time; `None` when the stream isn't made of them.
fn each_moment(stream: &[u8], visit: &mut dyn FnMut(u64, &Moment)) -> Option<()> {
    let (mut moments, mut rest) = (Moments::default(), stream);
    while !rest.is_empty() {
        let (_, after) = rest.split_first_chunk::<8>()?;
        let ([direction], after) = after.split_first_chunk::<1>()?;
        let (at_us, after) = after.split_first_chunk::<8>()?;
        let (len, after) = after.split_first_chunk::<4>()?;
        let len = usize::try_from(u32::from_be_bytes(*len)).ok()?;
        let (chunk, after) = after.split_at_checked(len)?;
        let direction = match *direction {
            TO_TARGET => Direction::ToTarget,
            _ => Direction::ToAgent,
        };
        let at_us = u64::from_be_bytes(*at_us);
        let each = &mut |moment| visit(at_us, &moment);
        moments.push(direction, chunk, each).ok()?;
        rest = after;
    }
    Some(())
}

/// Writes a cast, line by line. The same moments give the same lines.
#[derive(Clone, Debug)]
pub struct Cast {
    only: Option<UnitId>,
    /// Of the last line, UTC microseconds; `None` before the first.
    at_us: Option<u64>,
    /// Whose output was written last.
    last: Option<UnitId>,
    units: BTreeMap<UnitId, Unit>,
}

/// What is going on in one unit that hasn't ended.
#[derive(Clone, Debug, Default)]
struct Unit {
    output: Screen,
    error: Screen,
    input: Decoder,
    /// It has a terminal, which makes carriage returns itself.
    terminal: bool,
    /// The last character was a carriage return.
    returned: bool,
}

impl Cast {
    /// A cast of one unit, or of all of a session in one, with a marker where another unit goes on.
    #[must_use]
    pub const fn new(only: Option<UnitId>) -> Self {
        Self {
            only,
            at_us: None,
            last: None,
            units: BTreeMap::new(),
        }
    }

    /// Appends the lines of one moment, which became whole at `at_us`. Tracks that no terminal shows
    /// (files, bodies) have none.
    pub fn push(&mut self, at_us: u64, moment: &Moment, out: &mut String) {
        let Moment { unit, track, data } = moment;
        if self.only.is_some_and(|only| only != *unit) {
            return;
        }
        match track {
            Track::Input | Track::Output | Track::Error => {
                let state = self.units.entry(*unit).or_default();
                let (code, text) = state.text(*track, data);
                if !text.is_empty() {
                    self.turn(at_us, *unit, out);
                    self.line(at_us, code, &text, out);
                }
            }
            Track::Resize => {
                self.units.entry(*unit).or_default().terminal = true;
                let Some((columns, rows)) = size(data) else {
                    return;
                };
                if self.at_us.is_none() {
                    header(columns, rows, at_us, out);
                    self.at_us = Some(at_us);
                    self.last = Some(*unit);
                } else {
                    self.turn(at_us, *unit, out);
                    self.line(at_us, "r", &format!("{columns}x{rows}"), out);
                }
            }
            Track::Signal => {
                let what = format!("unit {}: signal {}", unit.0, String::from_utf8_lossy(data));
                self.line(at_us, "m", &what, out);
            }
            Track::Exit => {
                let mut state = self.units.remove(unit).unwrap_or_default();
                let text = state.rest();
                self.turn(at_us, *unit, out);
                if !text.is_empty() {
                    self.line(at_us, "o", &text, out);
                }
                let end = String::from_utf8_lossy(data);
                if self.only.is_some() && end.parse::<u32>().is_ok() {
                    self.line(at_us, "x", &end, out);
                } else {
                    self.line(at_us, "m", &format!("unit {} ended: {end}", unit.0), out);
                }
            }
            Track::FileRead | Track::FileWrite | Track::Request | Track::Response => {}
        }
    }

    /// The recording is over: appends what units that never ended still held back.
    pub fn finish(&mut self, out: &mut String) {
        for (unit, mut state) in std::mem::take(&mut self.units) {
            let text = state.rest();
            if !text.is_empty() {
                let at_us = self.at_us.unwrap_or_default();
                self.turn(at_us, unit, out);
                self.line(at_us, "o", &text, out);
            }
        }
    }

    /// Says whose lines follow.
    fn turn(&mut self, at_us: u64, unit: UnitId, out: &mut String) {
        if self.last.is_some_and(|last| last != unit) {
            self.line(at_us, "m", &format!("unit {}", unit.0), out);
        }
        self.last = Some(unit);
    }

    fn line(&mut self, at_us: u64, code: &str, data: &str, out: &mut String) {
        if self.at_us.is_none() {
            header(80, 24, at_us, out);
        }
        let passed = at_us.saturating_sub(self.at_us.unwrap_or(at_us));
        self.at_us = Some(at_us.max(self.at_us.unwrap_or(at_us)));
        let (seconds, micros) = (passed / 1_000_000, passed % 1_000_000);
        out.push_str(&format!(
            "[{seconds}.{micros:06},\"{code}\",{}]\n",
            escaped(data)
        ));
    }
}

impl Unit {
    /// The event and its text for a piece of one track.
    fn text(&mut self, track: Track, data: &[u8]) -> (&'static str, String) {
        let mut text = String::new();
        if track == Track::Input {
            let each = &mut |decoded: Result<char, u8>| text.push(decoded.unwrap_or('\u{fffd}'));
            self.input.push(data, each);
            return ("i", text);
        }
        let screen = if track == Track::Error {
            &mut self.error
        } else {
            &mut self.output
        };
        screen.show(data, &mut text);
        ("o", self.lines(text))
    }

    /// What the screens still held.
    fn rest(&mut self) -> String {
        let mut text = String::new();
        self.output.finish(&mut text);
        self.error.finish(&mut text);
        self.lines(text)
    }

    /// Without a terminal a program ends lines by line feeds, and a player needs carriage returns too.
    fn lines(&mut self, text: String) -> String {
        if self.terminal {
            return text;
        }
        let mut lines = String::with_capacity(text.len());
        for c in text.chars() {
            if c == '\n' && !self.returned {
                lines.push('\r');
            }
            self.returned = c == '\r';
            lines.push(c);
        }
        lines
    }
}

/// Columns and rows, within what a player can be asked for.
fn size(data: &[u8]) -> Option<(u32, u32)> {
    let (columns, rows) = data.split_first_chunk::<4>()?;
    let bounded = |bytes: [u8; 4]| u32::from_be_bytes(bytes).clamp(1, SIZE_MAX);
    Some((bounded(*columns), bounded(rows.try_into().ok()?)))
}

fn header(columns: u32, rows: u32, at_us: u64, out: &mut String) {
    out.push_str(&format!(
        "{{\"version\":3,\"term\":{{\"cols\":{columns},\"rows\":{rows}}},\"timestamp\":{}}}\n",
        at_us / 1_000_000
    ));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn moment(unit: u64, track: Track, data: &[u8]) -> Moment {
        Moment {
            unit: UnitId(unit),
            track,
            data: data.to_vec().into(),
        }
    }

    fn resize(unit: u64, columns: u32, rows: u32) -> Moment {
        let data = [columns.to_be_bytes(), rows.to_be_bytes()].concat();
        moment(unit, Track::Resize, &data)
    }

    fn cast(only: Option<u64>, moments: &[Moment]) -> String {
        let (mut cast, mut out) = (Cast::new(only.map(UnitId)), String::new());
        for (at, moment) in (0..).zip(moments) {
            cast.push(1_790_000_000_000_000 + at * 1_500_000, moment, &mut out);
        }
        cast.finish(&mut out);
        out
    }

    #[test]
    fn a_shell_becomes_a_cast_that_says_what_was_typed_and_shown() {
        let moments = [
            resize(7, 120, 40),
            moment(7, Track::Output, b"$ "),
            moment(7, Track::Input, b"ls\x1b[A\r"),
            moment(7, Track::Output, b"\x1b]0;t\x07a\r\n"),
            resize(7, u32::MAX, 0),
            moment(7, Track::FileRead, b"no terminal shows this"),
            moment(7, Track::Output, b"\xe2\x82"),
            moment(7, Track::Exit, b"3"),
        ];
        let expected = "{\"version\":3,\"term\":{\"cols\":120,\"rows\":40},\"timestamp\":1790000000}\n\
            [1.500000,\"o\",\"$ \"]\n\
            [1.500000,\"i\",\"ls\\u001b[A\\r\"]\n\
            [1.500000,\"o\",\"a\\r\\n\"]\n\
            [1.500000,\"r\",\"1024x1\"]\n\
            [4.500000,\"o\",\"\\\\xe2\\\\x82\"]\n\
            [0.000000,\"x\",\"3\"]\n";
        assert_eq!(cast(Some(7), &moments), expected);
        assert_eq!(cast(Some(8), &moments), "");
    }

    #[test]
    fn output_without_a_terminal_has_whole_line_ends_and_units_are_told_apart() {
        let moments = [
            moment(1, Track::Output, b"a\nb\r"),
            moment(2, Track::Error, b"c"),
            moment(1, Track::Output, b"\n"),
            moment(1, Track::Signal, b"INT"),
            moment(1, Track::Exit, b"TERM"),
            moment(2, Track::Output, b"\x1b[3"),
        ];
        let expected = "{\"version\":3,\"term\":{\"cols\":80,\"rows\":24},\"timestamp\":1790000000}\n\
            [0.000000,\"o\",\"a\\r\\nb\\r\"]\n\
            [1.500000,\"m\",\"unit 2\"]\n\
            [0.000000,\"o\",\"c\"]\n\
            [1.500000,\"m\",\"unit 1\"]\n\
            [0.000000,\"o\",\"\\n\"]\n\
            [1.500000,\"m\",\"unit 1: signal INT\"]\n\
            [1.500000,\"m\",\"unit 1 ended: TERM\"]\n\
            [0.000000,\"m\",\"unit 2\"]\n\
            [0.000000,\"o\",\"␛[3\"]\n";
        assert_eq!(cast(None, &moments), expected);
    }

    /// A stream as packages hold it, in chunks of `size` bytes.
    fn stream(moments: &[Moment], size: usize) -> Vec<u8> {
        let mut stream = Vec::new();
        let chunks = moments.iter().flat_map(|moment| {
            let at = 1_790_000_000_000_000u64 + moment.unit.0 * 1_000_000;
            let encoded = moment.encode().to_vec();
            let chunks: Vec<Vec<u8>> = encoded.chunks(size).map(<[u8]>::to_vec).collect();
            chunks.into_iter().map(move |chunk| (at, chunk))
        });
        for (number, (at, chunk)) in (1u64..).zip(chunks) {
            stream.extend(number.to_be_bytes());
            stream.push(1);
            stream.extend(at.to_be_bytes());
            stream.extend(u32::try_from(chunk.len()).unwrap().to_be_bytes());
            stream.extend(chunk);
        }
        stream
    }

    #[test]
    fn a_stream_has_a_cast_of_each_unit_with_a_terminal() {
        let moments = [
            resize(1, 80, 24),
            moment(2, Track::Output, b"no terminal"),
            moment(3, Track::Output, b"early\n"),
            resize(3, 90, 30),
            moment(1, Track::Output, b"one"),
            moment(1, Track::Exit, b"0"),
        ];
        let whole = casts(&stream(&moments, 1000));
        assert_eq!(whole.keys().map(|unit| unit.0).collect::<Vec<_>>(), [1, 3]);
        let one = &whole[&UnitId(1)];
        assert!(one.ends_with("\"one\"]\n[0.000000,\"x\",\"0\"]\n"), "{one}");
        assert!(whole[&UnitId(3)].contains("\"r\",\"90x30\""));
        assert_eq!(casts(&stream(&moments, 5)), whole, "whatever the chunks");
        assert_eq!(casts(&stream(&moments, 5)[1..]), BTreeMap::new());
        let mut broken = stream(&moments, 1000);
        broken[21] = 99;
        assert_eq!(casts(&broken), BTreeMap::new(), "no such track");
    }

    proptest! {
        #[test]
        fn every_line_is_an_event_that_hides_nothing(
            pieces in proptest::collection::vec((0..3u64, proptest::sample::select(Track::ALL), ".{0,9}"), 0..20),
        ) {
            let moments: Vec<_> = pieces.iter()
                .map(|(unit, track, data)| moment(*unit, *track, data.as_bytes()))
                .collect();
            for only in [None, Some(1)] {
                for (number, line) in cast(only, &moments).lines().enumerate() {
                    prop_assert!(!line.chars().any(crate::evidence::invisible), "{line}");
                    let value: Value = serde_json::from_str(line).unwrap();
                    if number == 0 {
                        prop_assert_eq!(&value["version"], 3);
                    } else {
                        let code = value[1].as_str().unwrap();
                        prop_assert!(value[0].is_f64() && "oirmx".contains(code) && value[2].is_string());
                    }
                }
            }
        }
    }
}
