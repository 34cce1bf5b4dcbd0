//! Masks applied to cells.

use bytes::{BufMut as _, BytesMut};
use gateway_core::mask::{AtSource, Cell, Format, MaskedCell, Transform};

use super::{
    Interval, Kind, Method,
    date::{Civil, POSTGRES_EPOCH_DAYS},
};

/// What stands for hidden characters: of one length, whatever it hides.
const HIDDEN: &str = "****";

const DAY_MICROS: i64 = 86_400_000_000;

/// A class's method bound to one column's type. A cell of another type, or one that isn't a valid
/// value of it, becomes NULL.
#[derive(Debug)]
pub(super) struct Mask {
    pub(super) method: std::sync::Arc<Method>,
    pub(super) kind: Kind,
    pub(super) type_id: u32,
}

impl Transform for Mask {
    fn mask(&self, cell: Cell<'_>, out: &mut BytesMut) -> MaskedCell {
        if cell.type_id != self.type_id {
            return MaskedCell::Null;
        }
        let start = out.len();
        match self.write(cell, out) {
            Some(()) => MaskedCell::Value,
            None => {
                out.truncate(start);
                MaskedCell::Null
            }
        }
    }

    fn method(&self) -> &'static str {
        self.method.name()
    }

    /// The keyed methods become a fixed text: their key doesn't go to targets.
    fn at_source(&self) -> AtSource {
        match &*self.method {
            method if !method.fits(self.kind) => AtSource::Null,
            Method::Null => AtSource::Null,
            Method::Redact { with } => match self.kind {
                Kind::Json | Kind::Jsonb => AtSource::JsonText(with.clone()),
                _ => AtSource::Text(with.clone()),
            },
            Method::KeepDomain => AtSource::KeepDomain { hidden: HIDDEN },
            Method::KeepFirst(count) => AtSource::KeepFirst {
                count: *count,
                hidden: HIDDEN,
            },
            Method::KeepLast(count) => AtSource::KeepLast {
                count: *count,
                hidden: HIDDEN,
            },
            Method::Truncate(Interval::Year) => AtSource::Truncate { unit: "year" },
            Method::Truncate(Interval::Month) => AtSource::Truncate { unit: "month" },
            Method::Bucket(width) => AtSource::Bucket { width: *width },
            Method::Hash { .. } | Method::Pseudonym { .. } => AtSource::Text(HIDDEN.to_owned()),
        }
    }
}

impl Mask {
    fn write(&self, cell: Cell<'_>, out: &mut BytesMut) -> Option<()> {
        match (&*self.method, self.kind) {
            (Method::Null, _) => None,
            (Method::Redact { with }, Kind::Text | Kind::Name) => {
                out.put_slice(with.as_bytes());
                Some(())
            }
            (Method::Redact { with }, Kind::Json | Kind::Jsonb) => {
                if self.kind == Kind::Jsonb && cell.format == Format::Binary {
                    // SPEC: PostgreSQL, jsonb_send: version 1, then the text form.
                    out.put_u8(1);
                }
                out.put_slice(serde_json::to_string(with).ok()?.as_bytes());
                Some(())
            }
            (Method::KeepDomain, Kind::Text) => {
                out.put_slice(HIDDEN.as_bytes());
                if let Some((_, domain)) = str::from_utf8(cell.bytes).ok()?.rsplit_once('@') {
                    out.put_u8(b'@');
                    out.put_slice(domain.as_bytes());
                }
                Some(())
            }
            (Method::KeepFirst(count), Kind::Text) => {
                let text = str::from_utf8(cell.bytes).ok()?;
                out.put_slice(first_chars(text, *count).as_bytes());
                out.put_slice(HIDDEN.as_bytes());
                Some(())
            }
            (Method::KeepLast(count), Kind::Text) => {
                let text = str::from_utf8(cell.bytes).ok()?;
                out.put_slice(HIDDEN.as_bytes());
                out.put_slice(last_chars(text, *count).as_bytes());
                Some(())
            }
            (Method::Hash { key, class }, Kind::Text) => {
                put_hex(out, key.tag(class, cell.bytes).as_ref());
                Some(())
            }
            (Method::Pseudonym { key, class }, Kind::Text) => {
                out.put_slice(class.as_str().as_bytes());
                out.put_u8(b'-');
                put_hex(out, key.tag(class, cell.bytes).as_ref().get(..8)?);
                Some(())
            }
            (Method::Truncate(interval), Kind::Date | Kind::Timestamp | Kind::TimestampTz) => {
                self.truncate(*interval, cell, out)
            }
            (Method::Bucket(width), Kind::Int2 | Kind::Int4 | Kind::Int8) => {
                self.bucket(*width, cell, out)
            }
            // INVARIANT: `fits` was checked when the column was classified. What doesn't fit is NULL.
            (
                Method::Redact { .. }
                | Method::KeepDomain
                | Method::KeepFirst(_)
                | Method::KeepLast(_)
                | Method::Truncate(_)
                | Method::Bucket(_)
                | Method::Hash { .. }
                | Method::Pseudonym { .. },
                _,
            ) => None,
        }
    }

    fn truncate(&self, interval: Interval, cell: Cell<'_>, out: &mut BytesMut) -> Option<()> {
        match (cell.format, self.kind) {
            (Format::Text, kind) => {
                let text = str::from_utf8(cell.bytes).ok()?;
                let (year, month, rest) = iso_date(text)?;
                let month = match interval {
                    Interval::Year => "01",
                    Interval::Month => month,
                };
                out.put_slice(year.as_bytes());
                out.put_slice(b"-");
                out.put_slice(month.as_bytes());
                out.put_slice(b"-01");
                match kind {
                    Kind::Date => {}
                    // The session's offset is dropped: it would tell summer from winter.
                    Kind::TimestampTz => out.put_slice(b" 00:00:00+00"),
                    _ => out.put_slice(b" 00:00:00"),
                }
                if rest.ends_with(" BC") {
                    out.put_slice(b" BC");
                }
                Some(())
            }
            // SPEC: PostgreSQL, date_send: days since 2000-01-01; the extremes are ±infinity.
            (Format::Binary, Kind::Date) => {
                let days = i32::from_be_bytes(cell.bytes.try_into().ok()?);
                let days = finite(days, i32::MIN, i32::MAX)?;
                out.put_i32(i32::try_from(first_day(interval, i64::from(days))).ok()?);
                Some(())
            }
            // SPEC: PostgreSQL, timestamp_send: microseconds since 2000-01-01; likewise.
            (Format::Binary, _) => {
                let micros = i64::from_be_bytes(cell.bytes.try_into().ok()?);
                let micros = finite(micros, i64::MIN, i64::MAX)?;
                let day = first_day(interval, micros.div_euclid(DAY_MICROS));
                out.put_i64(day.checked_mul(DAY_MICROS)?);
                Some(())
            }
        }
    }

    fn bucket(&self, width: i64, cell: Cell<'_>, out: &mut BytesMut) -> Option<()> {
        let value: i64 = match (cell.format, self.kind) {
            (Format::Text, _) => str::from_utf8(cell.bytes).ok()?.parse().ok()?,
            (Format::Binary, Kind::Int2) => i16::from_be_bytes(cell.bytes.try_into().ok()?).into(),
            (Format::Binary, Kind::Int4) => i32::from_be_bytes(cell.bytes.try_into().ok()?).into(),
            (Format::Binary, _) => i64::from_be_bytes(cell.bytes.try_into().ok()?),
        };
        let floor = value.checked_sub(value.rem_euclid(width))?;
        // The floor of a value near the type's minimum may lie outside the type.
        let fits = match self.kind {
            Kind::Int2 => i16::try_from(floor).is_ok(),
            Kind::Int4 => i32::try_from(floor).is_ok(),
            _ => true,
        };
        match (cell.format, self.kind) {
            _ if !fits => return None,
            (Format::Text, _) => out.put_slice(floor.to_string().as_bytes()),
            (Format::Binary, Kind::Int2) => out.put_i16(i16::try_from(floor).ok()?),
            (Format::Binary, Kind::Int4) => out.put_i32(i32::try_from(floor).ok()?),
            (Format::Binary, _) => out.put_i64(floor),
        }
        Some(())
    }
}

/// The first `count` characters of a text at least twice as long; of a shorter one, none.
fn first_chars(text: &str, count: usize) -> &str {
    if text
        .chars()
        .nth(count.saturating_mul(2).saturating_sub(1))
        .is_none()
    {
        return "";
    }
    let end = text
        .char_indices()
        .nth(count)
        .map_or(text.len(), |(at, _)| at);
    text.get(..end).unwrap_or_default()
}

/// The last `count` characters of a text at least twice as long; of a shorter one, none.
fn last_chars(text: &str, count: usize) -> &str {
    if text
        .chars()
        .nth(count.saturating_mul(2).saturating_sub(1))
        .is_none()
    {
        return "";
    }
    let start = count
        .checked_sub(1)
        .and_then(|nth| text.char_indices().nth_back(nth));
    start.and_then(|(at, _)| text.get(at..)).unwrap_or_default()
}

/// Year and month of `YYYY-MM-DD…` (DateStyle ISO), and what follows.
fn iso_date(text: &str) -> Option<(&str, &str, &str)> {
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (year, rest) = text.split_once('-')?;
    let (month, rest) = rest.split_once('-')?;
    let day = rest.get(..2)?;
    let sound = (4..=7).contains(&year.len()) && month.len() == 2;
    (sound && is_digits(year) && is_digits(month) && is_digits(day)).then_some((year, month, rest))
}

/// First day of the interval that holds a day; both counted from PostgreSQL's epoch.
fn first_day(interval: Interval, days: i64) -> i64 {
    let date = Civil::from_days(days.saturating_add(POSTGRES_EPOCH_DAYS));
    let month = match interval {
        Interval::Year => 1,
        Interval::Month => date.month,
    };
    Civil {
        month,
        day: 1,
        ..date
    }
    .to_days()
        - POSTGRES_EPOCH_DAYS
}

fn finite<T: PartialEq + Copy>(value: T, min: T, max: T) -> Option<T> {
    (value != min && value != max).then_some(value)
}

fn put_hex(out: &mut BytesMut, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        for nibble in [byte >> 4, byte & 15] {
            out.put_u8(DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'0'));
        }
    }
}

#[cfg(test)]
mod tests;
