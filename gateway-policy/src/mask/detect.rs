//! Kinds of data that are known by their form and their check digits, found in streams of text.
//!
//! A second layer: it sees neither a number that terminal escapes or line breaks cut in pieces, nor
//! one that is encoded, and whoever runs a command can have it so. Columns and fields are masked by
//! where they are.

use std::sync::Arc;

use bytes::{Buf as _, BytesMut};
use gateway_core::{
    id::ClassName,
    mask::{Cell, Detector, Format, MaskCount, Scan, Transform as _},
};

use super::{Kind, Method, transform::Mask};

/// PostgreSQL's `text`: what transforms of text go by.
const TEXT_TYPE_ID: u32 = 25;

/// A kind of data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DataKind {
    /// 13 to 19 digits, single spaces or hyphens among them, with the check digit of ISO/IEC 7812-1,
    /// annex B ("Luhn formula").
    CardNumber,
    /// Two letters, two check digits and 11 to 30 capitals and digits, single spaces among them, by
    /// ISO 13616-1 and the check of ISO/IEC 7064, MOD 97-10.
    Iban,
}

impl DataKind {
    pub(crate) const ALL: [Self; 2] = [Self::CardNumber, Self::Iban];

    /// The name in `classification.toml` and evidence.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::CardNumber => "card_number",
            Self::Iban => "iban",
        }
    }

    /// Whether a value of this kind begins the bytes, which follow on no letter or digit. Of several
    /// the longest counts.
    fn find(self, bytes: &[u8], is_all: bool) -> Found {
        match self {
            Self::CardNumber => find(bytes, is_all, &mut Luhn::default(), |b| {
                matches!(b, b' ' | b'-')
            }),
            Self::Iban => find(bytes, is_all, &mut Mod97::default(), |b| b == b' '),
        }
    }
}

/// What begins at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Nothing,
    /// A value of so many bytes.
    Value(usize),
    /// What comes next decides.
    Open,
}

/// Reads a value sign by sign.
trait Check {
    /// Takes the next sign. `false`: no value goes on with it.
    fn take(&mut self, sign: u8) -> bool;

    /// Whether the signs so far can be followed by a separator.
    fn may_pause(&self) -> bool;

    /// Whether the signs so far are a value.
    fn holds(&self) -> bool;
}

/// INVARIANT: looks at no more than twice as many bytes as the check takes signs, and one.
fn find(
    bytes: &[u8],
    is_all: bool,
    check: &mut impl Check,
    is_separator: impl Fn(u8) -> bool,
) -> Found {
    let mut longest = Found::Nothing;
    let mut rest = bytes.iter().copied().enumerate().peekable();
    while let Some((_, sign)) = rest.next() {
        if !check.take(sign) {
            return longest;
        }
        let end = match rest.peek().copied() {
            Some((_, next)) if next.is_ascii_alphanumeric() => continue,
            Some((end, _)) => end,
            None if is_all => bytes.len(),
            None => return Found::Open,
        };
        if check.holds() {
            longest = Found::Value(end);
        }
        match rest.next() {
            Some((_, next)) if is_separator(next) && check.may_pause() => {}
            Some(_) | None => return longest,
        }
    }
    if is_all { longest } else { Found::Open }
}

/// The sum of the Luhn formula, for an even and for an odd number of digits to come.
#[derive(Default)]
struct Luhn {
    count: usize,
    /// With every second digit doubled, beginning with the last, and with the one before it.
    sums: (u32, u32),
}

impl Check for Luhn {
    fn take(&mut self, sign: u8) -> bool {
        if !sign.is_ascii_digit() || self.count == 19 {
            return false;
        }
        let digit = u32::from(sign - b'0');
        let doubled = digit * 2 / 10 + digit * 2 % 10;
        // Whoever was doubled counting from the last digit isn't once another digit follows.
        self.sums = (self.sums.1 + digit, self.sums.0 + doubled);
        self.count += 1;
        true
    }

    fn may_pause(&self) -> bool {
        true
    }

    fn holds(&self) -> bool {
        self.count >= 13 && self.sums.0.is_multiple_of(10)
    }
}

/// The remainder of the number that letters and digits spell, with the first four signs at the end.
#[derive(Default)]
struct Mod97 {
    head: [u8; 4],
    count: usize,
    remainder: u32,
}

fn spelled(remainder: u32, sign: u8) -> u32 {
    match sign {
        b'0'..=b'9' => (remainder * 10 + u32::from(sign - b'0')) % 97,
        _ => (remainder * 100 + u32::from(sign.saturating_sub(b'A')) + 10) % 97,
    }
}

impl Check for Mod97 {
    fn take(&mut self, sign: u8) -> bool {
        let fits = match self.count {
            0 | 1 => sign.is_ascii_uppercase(),
            2 | 3 => sign.is_ascii_digit(),
            count => count < 34 && (sign.is_ascii_uppercase() || sign.is_ascii_digit()),
        };
        if fits {
            match self.head.get_mut(self.count) {
                Some(place) => *place = sign,
                None => self.remainder = spelled(self.remainder, sign),
            }
            self.count += 1;
        }
        fits
    }

    fn may_pause(&self) -> bool {
        self.count >= 4
    }

    fn holds(&self) -> bool {
        self.count >= 15 && self.head.iter().fold(self.remainder, |r, s| spelled(r, *s)) == 1
    }
}

/// One `[[detect]]`, made ready.
#[derive(Clone, Debug)]
pub(crate) struct Detection {
    pub(crate) kind: DataKind,
    pub(crate) class: ClassName,
    /// INVARIANT: makes text of text; checked when the bundle is loaded.
    pub(crate) method: Arc<Method>,
}

impl Detection {
    fn mask(&self, found: &[u8], out: &mut BytesMut) {
        // However it is spaced, it is the same value.
        let value: Vec<u8> = found
            .iter()
            .copied()
            .filter(u8::is_ascii_alphanumeric)
            .collect();
        let mask = Mask {
            method: Arc::clone(&self.method),
            kind: Kind::Text,
            type_id: TEXT_TYPE_ID,
        };
        let cell = Cell {
            bytes: &value,
            format: Format::Text,
            type_id: TEXT_TYPE_ID,
        };
        mask.mask(cell, out);
    }
}

/// Every kind that is looked for on one target.
#[derive(Clone, Debug)]
pub(crate) struct Detectors(pub(crate) Arc<[Detection]>);

impl Detector for Detectors {
    fn scan(&self) -> Box<dyn Scan> {
        Box::new(Stream {
            masked: vec![0; self.0.len()],
            detections: Arc::clone(&self.0),
            kept: BytesMut::new(),
            in_word: false,
        })
    }
}

/// One stream. Keeps back what may be the beginning of a value, and nothing else.
#[derive(Debug)]
struct Stream {
    detections: Arc<[Detection]>,
    /// How often each detection masked.
    masked: Vec<u64>,
    kept: BytesMut,
    /// What went before is a letter or a digit: no value begins here.
    in_word: bool,
}

impl Stream {
    fn advance(&mut self, is_all: bool, out: &mut BytesMut) {
        let mut clear = 0;
        while let Some((&first, _)) = self.kept.get(clear..).and_then(<[u8]>::split_first) {
            let place = self.kept.get(clear..).unwrap_or_default();
            match self.at(place, is_all) {
                Place::Clear => {
                    self.in_word = first.is_ascii_alphanumeric();
                    clear += 1;
                }
                Place::Open => break,
                Place::Value(index, len) => {
                    out.extend_from_slice(&self.kept.split_to(clear));
                    clear = 0;
                    let value = self.kept.split_to(len);
                    if let (Some(detection), Some(count)) =
                        (self.detections.get(index), self.masked.get_mut(index))
                    {
                        detection.mask(&value, out);
                        *count += 1;
                    }
                    self.in_word = true;
                }
            }
        }
        out.extend_from_slice(self.kept.get(..clear).unwrap_or_default());
        self.kept.advance(clear);
    }

    /// What begins at `place`: of several kinds, the first listed.
    fn at(&self, place: &[u8], is_all: bool) -> Place {
        if self.in_word {
            return Place::Clear;
        }
        for (index, detection) in self.detections.iter().enumerate() {
            match detection.kind.find(place, is_all) {
                Found::Nothing => {}
                Found::Value(len) => return Place::Value(index, len),
                Found::Open => return Place::Open,
            }
        }
        Place::Clear
    }
}

/// What is at a place of a stream.
enum Place {
    /// No value begins here.
    Clear,
    /// Perhaps one does.
    Open,
    /// The detection of this index found a value of so many bytes.
    Value(usize, usize),
}

impl Scan for Stream {
    fn push(&mut self, data: &[u8], out: &mut BytesMut) {
        self.kept.extend_from_slice(data);
        self.advance(false, out);
    }

    fn finish(&mut self, out: &mut BytesMut) {
        self.advance(true, out);
    }

    fn counts(&self) -> Vec<MaskCount> {
        let counts = self.detections.iter().zip(&self.masked);
        counts
            .filter(|(_, masked)| **masked > 0)
            .map(|(detection, &masked)| MaskCount {
                column: detection.kind.as_str().to_owned(),
                class: detection.class.clone(),
                method: detection.method.name(),
                seen: masked,
                masked,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use gateway_core::mask::SCAN_BYTES_MAX;
    use proptest::prelude::*;

    use super::*;

    fn detectors() -> Detectors {
        let detection = |kind: DataKind, class: &str, method| Detection {
            kind,
            class: ClassName::parse(class).expect("class"),
            method: Arc::new(method),
        };
        let iban = Method::Redact {
            with: "[iban]".to_owned(),
        };
        Detectors(Arc::new([
            detection(DataKind::CardNumber, "card", Method::KeepLast(4)),
            detection(DataKind::Iban, "account", iban),
        ]))
    }

    /// What comes out, and how many values were masked, when `text` comes in pieces of `sizes`.
    fn scan(text: &[u8], sizes: &[usize]) -> (Vec<u8>, u64) {
        let mut stream = detectors().scan();
        let mut out = BytesMut::new();
        let (mut rest, mut sizes) = (text, sizes.iter().cycle());
        while !rest.is_empty() {
            let size = sizes.next().map_or(rest.len(), |size| *size);
            let (piece, after) = rest.split_at(size.min(rest.len()));
            stream.push(piece, &mut out);
            rest = after;
        }
        stream.finish(&mut out);
        let masked = stream.counts().iter().map(|count| count.masked).sum();
        (out.to_vec(), masked)
    }

    #[test]
    fn values_are_masked_and_their_likes_are_not() {
        for (text, expected) in [
            ("4111111111111111", "****1111"),
            ("pan=4111 1111 1111 1111;", "pan=****1111;"),
            ("4111-1111-1111-1111\r\n", "****1111\r\n"),
            ("id 43 5500005555555559 ok", "id 43 ****5559 ok"),
            ("378282246310005", "****0005"),
            // Another check digit; too short; too long; within a word; two spaces.
            ("4111111111111112", "4111111111111112"),
            ("411111111111", "411111111111"),
            ("41111111111111110000000000", "41111111111111110000000000"),
            ("a4111111111111111", "a4111111111111111"),
            ("4111111111111111b", "4111111111111111b"),
            ("4111  1111 1111 1111", "4111  1111 1111 1111"),
            ("DE89370400440532013000", "[iban]"),
            ("to DE89 3704 0044 0532 0130 00 EUR 5", "to [iban] EUR 5"),
            ("GB82 WEST 1234 5698 7654 32.", "[iban]."),
            ("DE88370400440532013000", "DE88370400440532013000"),
            ("DE8", "DE8"),
            ("root@web:~$ ", "root@web:~$ "),
        ] {
            let (out, masked) = scan(text.as_bytes(), &[usize::MAX]);
            assert_eq!(String::from_utf8_lossy(&out), expected, "{text}");
            assert_eq!(masked > 0, text != expected, "{text}");
        }
    }

    #[test]
    fn a_prompt_is_shown_at_once() {
        let mut stream = detectors().scan();
        let mut out = BytesMut::new();
        stream.push(b"web-1:~$ ", &mut out);
        assert_eq!(&out[..], b"web-1:~$ ");
    }

    #[test]
    fn little_is_kept_back_whatever_comes() {
        for unit in ["4 ", "4-", "AB12 ", "4", "A1"] {
            let mut stream = detectors().scan();
            let mut out = BytesMut::new();
            let text = unit.repeat(1000);
            stream.push(text.as_bytes(), &mut out);
            let (all, _) = scan(text.as_bytes(), &[usize::MAX]);
            assert!(all.len() - out.len() <= SCAN_BYTES_MAX, "{unit}");
        }
    }

    fn any_text() -> impl Strategy<Value = Vec<u8>> {
        let pieces = prop::sample::select(vec![
            "4111111111111111",
            "4111 1111 1111 ",
            "1111",
            "DE89 3704 0044 0532 0130 00",
            "DE89",
            " ",
            "-",
            "7",
            "x",
            "\n",
            "\u{e9}",
        ]);
        prop::collection::vec(pieces, 0..24).prop_map(|pieces| pieces.concat().into_bytes())
    }

    proptest! {
        #[test]
        fn any_chopping_gives_the_same(text in any_text(), sizes in prop::collection::vec(1_usize..9, 1..5)) {
            prop_assert_eq!(scan(&text, &sizes), scan(&text, &[usize::MAX]));
        }

        #[test]
        fn where_nothing_is_found_nothing_changes(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let (out, masked) = scan(&bytes, &[3]);
            prop_assert!(masked > 0 || out == bytes);
        }

        #[test]
        fn every_card_number_on_its_own_is_masked(digits in "[0-9]{12,18}", before in "[ ,:;=]?", after in "[ ,:;\n]?") {
            let check = (b'0'..=b'9').find(|check| {
                let mut luhn = Luhn::default();
                digits.bytes().chain([*check]).for_each(|d| { luhn.take(d); });
                luhn.holds()
            }).map(char::from).expect("some digit fits");
            let text = format!("{before}{digits}{check}{after}");
            let (out, masked) = scan(text.as_bytes(), &[5]);
            prop_assert_eq!(masked, 1);
            prop_assert!(!String::from_utf8_lossy(&out).contains(&digits));
        }
    }
}
