use std::sync::Arc;

use gateway_core::id::ClassName;
use proptest::prelude::*;

use super::*;
use crate::MaskKey;

fn key() -> MaskKey {
    MaskKey::new(&[7; 32]).expect("32 bytes")
}

fn class(name: &str) -> ClassName {
    ClassName::parse(name).expect("class")
}

fn masked(method: Method, type_id: u32, format: Format, bytes: &[u8]) -> Option<Vec<u8>> {
    let kind = Kind::of(type_id, "");
    assert!(method.fits(kind), "{method:?} on {kind:?}");
    let mask = Mask {
        method: Arc::new(method),
        kind,
        type_id,
    };
    let mut out = BytesMut::from(&b"before"[..]);
    let cell = Cell {
        bytes,
        format,
        type_id,
    };
    match mask.mask(cell, &mut out) {
        MaskedCell::Null => {
            assert_eq!(&out[..], b"before", "NULL appends nothing");
            None
        }
        MaskedCell::Value => Some(out.strip_prefix(b"before").expect("appended").to_vec()),
    }
}

#[test]
fn text_masks_keep_what_they_declare_and_no_more() {
    let redact = || Method::Redact {
        with: "[\"x\"]".to_owned(),
    };
    for (method, type_id, clear, expected) in [
        (redact(), 25, "secret", Some("[\"x\"]")),
        (redact(), 19, "secret", Some("[\"x\"]")),
        (redact(), 114, "{}", Some("\"[\\\"x\\\"]\"")),
        (
            Method::KeepDomain,
            25,
            "ada@example.org",
            Some("****@example.org"),
        ),
        (
            Method::KeepDomain,
            25,
            "a-very-long-name@example.org",
            Some("****@example.org"),
        ),
        (
            Method::KeepDomain,
            25,
            "\"a@b\"@example.org",
            Some("****@example.org"),
        ),
        (Method::KeepDomain, 25, "no address", Some("****")),
        (Method::KeepDomain, 25, "", Some("****")),
        (Method::KeepLast(4), 25, "+15550101234", Some("****1234")),
        (Method::KeepLast(4), 1043, "12345678", Some("****5678")),
        (Method::KeepLast(4), 25, "1234567", Some("****")),
        (Method::KeepLast(2), 25, "äöüß", Some("****üß")),
        (Method::KeepFirst(2), 25, "äöüß", Some("äö****")),
        (Method::KeepFirst(2), 25, "äöü", Some("****")),
        (Method::Null, 25, "x", None),
    ] {
        let expected = expected.map(|text| text.as_bytes().to_vec());
        for format in [Format::Text, Format::Binary] {
            let got = masked(method.clone(), type_id, format, clear.as_bytes());
            assert_eq!(got, expected, "{method:?} on {clear}");
        }
    }
    let jsonb = masked(redact(), 3802, Format::Binary, b"\x01{}").expect("value");
    assert_eq!(jsonb, b"\x01\"[\\\"x\\\"]\"");
    assert_eq!(
        masked(Method::KeepLast(2), 25, Format::Text, b"abcd\xff"),
        None
    );
}

#[test]
fn keyed_masks_are_equal_for_equal_values_of_one_class_only() {
    let hash = |name: &str, value: &[u8]| {
        let method = Method::Hash {
            key: key(),
            class: class(name),
        };
        masked(method, 25, Format::Text, value).expect("value")
    };
    assert_eq!(hash("email", b"a"), hash("email", b"a"));
    assert_eq!(hash("email", b"a").len(), 64);
    assert_ne!(hash("email", b"a"), hash("email", b"b"));
    assert_ne!(hash("email", b"a"), hash("phone", b"a"));
    let method = Method::Pseudonym {
        key: key(),
        class: class("email"),
    };
    let pseudonym = masked(method, 25, Format::Text, b"a").expect("value");
    assert!(pseudonym.starts_with(b"email-") && pseudonym.len() == 22);
    assert_eq!(format!("{:?}", key()), "MaskKey(..)");
}

#[test]
fn dates_fall_to_the_first_of_their_interval() {
    use Interval::{Month, Year};
    for (interval, type_id, clear, expected) in [
        (Year, 1082, "1984-06-15", Some("1984-01-01")),
        (Month, 1082, "1984-06-15", Some("1984-06-01")),
        (Year, 1082, "0044-03-15 BC", Some("0044-01-01 BC")),
        (Year, 1082, "12024-03-15", Some("12024-01-01")),
        (Year, 1082, "infinity", None),
        (Year, 1082, "-infinity", None),
        (Year, 1082, "15/06/1984", None),
        (
            Year,
            1114,
            "1984-06-15 10:11:12.5",
            Some("1984-01-01 00:00:00"),
        ),
        (
            Month,
            1184,
            "1984-06-15 10:11:12+02",
            Some("1984-06-01 00:00:00+00"),
        ),
        (
            Year,
            1184,
            "0044-03-15 10:11:12+02 BC",
            Some("0044-01-01 00:00:00+00 BC"),
        ),
    ] {
        let got = masked(
            Method::Truncate(interval),
            type_id,
            Format::Text,
            clear.as_bytes(),
        );
        assert_eq!(
            got,
            expected.map(|text| text.as_bytes().to_vec()),
            "{clear}"
        );
    }
    let days = |days: i32| {
        masked(
            Method::Truncate(Year),
            1082,
            Format::Binary,
            &days.to_be_bytes(),
        )
    };
    // 1984-06-15 is day -5679 of PostgreSQL's epoch, 1984-01-01 day -5844.
    assert_eq!(days(-5679), Some((-5844_i32).to_be_bytes().to_vec()));
    assert_eq!(days(i32::MAX), None);
    assert_eq!(days(i32::MIN), None);
    let micros = |micros: i64| {
        masked(
            Method::Truncate(Month),
            1184,
            Format::Binary,
            &micros.to_be_bytes(),
        )
    };
    assert_eq!(
        micros(31 * DAY_MICROS + 5),
        Some((31 * DAY_MICROS).to_be_bytes().to_vec())
    );
    assert_eq!(micros(-1), Some((-31 * DAY_MICROS).to_be_bytes().to_vec()));
    assert_eq!(micros(i64::MIN), None);
    assert_eq!(
        masked(Method::Truncate(Year), 1082, Format::Binary, b"123"),
        None
    );
}

#[test]
fn integers_fall_to_their_bucket() {
    let bucket = || Method::Bucket(100);
    for (type_id, clear, expected) in [
        (23, "1234", Some("1200")),
        (23, "-1", Some("-100")),
        (21, "-32768", None),
        (20, "9223372036854775807", Some("9223372036854775800")),
        (20, "-9223372036854775808", None),
        (23, "12x", None),
    ] {
        let got = masked(bucket(), type_id, Format::Text, clear.as_bytes());
        assert_eq!(
            got,
            expected.map(|text| text.as_bytes().to_vec()),
            "{clear}"
        );
    }
    let int2 = masked(bucket(), 21, Format::Binary, &250_i16.to_be_bytes());
    assert_eq!(int2, Some(200_i16.to_be_bytes().to_vec()));
    let int4 = masked(bucket(), 23, Format::Binary, &(-1_i32).to_be_bytes());
    assert_eq!(int4, Some((-100_i32).to_be_bytes().to_vec()));
    let int8 = masked(bucket(), 20, Format::Binary, &i64::MAX.to_be_bytes());
    assert_eq!(
        int8,
        Some(9_223_372_036_854_775_800_i64.to_be_bytes().to_vec())
    );
}

#[test]
fn a_cell_of_another_type_becomes_null() {
    let mask = Mask {
        method: Arc::new(Method::KeepDomain),
        kind: Kind::Text,
        type_id: 25,
    };
    let mut out = BytesMut::new();
    let cell = Cell {
        bytes: b"a@b",
        format: Format::Text,
        type_id: 23,
    };
    assert_eq!(mask.mask(cell, &mut out), MaskedCell::Null);
    assert!(out.is_empty());
}

fn any_mask() -> impl Strategy<Value = (Method, u32)> {
    let method = prop_oneof![
        Just(Method::Redact {
            with: "[redacted]".to_owned()
        }),
        Just(Method::KeepDomain),
        (1_usize..9).prop_map(Method::KeepFirst),
        (1_usize..9).prop_map(Method::KeepLast),
        Just(Method::Null),
        Just(Method::Truncate(Interval::Year)),
        Just(Method::Truncate(Interval::Month)),
        (2_i64..1_000_000).prop_map(Method::Bucket),
        Just(Method::Hash {
            key: key(),
            class: class("c")
        }),
    ];
    let type_id = prop::sample::select(vec![
        16, 19, 20, 21, 23, 25, 114, 1042, 1043, 1082, 1114, 1184, 3802,
    ]);
    (method, type_id).prop_filter("the method fits", |(method, type_id)| {
        method.fits(Kind::of(*type_id, ""))
    })
}

proptest! {
    #[test]
    fn masks_are_total_and_make_text_of_valid_length(
        (method, type_id) in any_mask(),
        binary: bool,
        bytes in prop::collection::vec(any::<u8>(), 0..24),
        text in "[0-9@.: +-]{0,24}",
    ) {
        let format = if binary { Format::Binary } else { Format::Text };
        for clear in [&bytes[..], text.as_bytes()] {
            if let Some(out) = masked(method.clone(), type_id, format, clear) {
                let fixed = match (binary, type_id) {
                    (true, 21) => Some(2),
                    (true, 23 | 1082) => Some(4),
                    (true, 20 | 1114 | 1184) => Some(8),
                    _ => None,
                };
                prop_assert!(fixed.is_none_or(|len| out.len() == len));
                prop_assert!(fixed.is_some() || str::from_utf8(&out).is_ok());
            }
        }
    }

    #[test]
    fn length_of_a_partial_mask_tells_nothing_of_what_is_hidden(
        hidden in "[a-z]{4,64}",
        other in "[a-z]{4,64}",
    ) {
        for method in [Method::KeepDomain, Method::KeepLast(4), Method::KeepFirst(4)] {
            let lengths = [&hidden, &other].map(|local| {
                let value = match method {
                    Method::KeepFirst(_) => format!("same{local}"),
                    _ => format!("{local}@b.c"),
                };
                masked(method.clone(), 25, Format::Text, value.as_bytes()).map(|out| out.len())
            });
            prop_assert_eq!(lengths[0], lengths[1]);
        }
    }
}
