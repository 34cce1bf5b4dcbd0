//! Masking rows.

use bytes::{BufMut as _, BytesMut};
use proptest::prelude::*;

use crate::postgres::frame;
use crate::postgres::message::*;

fn row(cells: &[Option<&[u8]>]) -> Vec<u8> {
    let (mut buffer, mut out) = (BytesMut::new(), BytesMut::new());
    let row = DataRow {
        cells: List::build(&mut buffer, cells.iter().copied()).unwrap(),
    };
    row.encode(&mut out).unwrap();
    out.to_vec()
}

#[test]
fn masked_cells_are_replaced_and_others_are_kept() {
    let original = row(&[Some(b"1"), Some(b"secret"), None, Some(b""), Some(b"last")]);
    let parsed = DataRow::parse(frame::body(&original)).unwrap();
    for (name, masked, action, expected, changed) in [
        (
            "nothing masked",
            &[][..],
            CellAction::Replaced,
            original.clone(),
            0,
        ),
        (
            "asked and kept",
            &[0, 1, 2, 3, 4],
            CellAction::Keep,
            original.clone(),
            0,
        ),
        (
            "one",
            &[1],
            CellAction::Replaced,
            row(&[Some(b"1"), Some(b"XX1"), None, Some(b""), Some(b"last")]),
            1,
        ),
        (
            "first and last",
            &[0, 4],
            CellAction::Replaced,
            row(&[Some(b"XX0"), Some(b"secret"), None, Some(b""), Some(b"XX4")]),
            2,
        ),
        (
            "null and empty",
            &[2, 3],
            CellAction::Replaced,
            row(&[
                Some(b"1"),
                Some(b"secret"),
                Some(b"XX2"),
                Some(b"XX3"),
                Some(b"last"),
            ]),
            2,
        ),
        (
            "to null",
            &[1, 2],
            CellAction::Null,
            row(&[Some(b"1"), None, None, Some(b""), Some(b"last")]),
            2,
        ),
    ] {
        let mut out = BytesMut::from("before");
        let replace = |column, value: Option<&[u8]>, out: &mut BytesMut| {
            assert_eq!(value, parsed.cells.iter().nth(column).unwrap(), "{name}");
            // Appended whatever the answer: only a replacement goes out.
            out.extend_from_slice(format!("XX{column}").as_bytes());
            action
        };
        let result = remask(
            &parsed,
            |column| masked.contains(&column),
            replace,
            &mut out,
        );
        assert_eq!(result, Ok(changed), "{name}");
        assert_eq!(out, wire![b"before", expected], "{name}");
    }
}

#[test]
fn replacement_may_be_empty() {
    let original = row(&[Some(b"secret")]);
    let mut out = BytesMut::new();
    let parsed = DataRow::parse(frame::body(&original)).unwrap();
    assert_eq!(
        remask(&parsed, |_| true, |_, _, _| CellAction::Replaced, &mut out),
        Ok(1)
    );
    assert_eq!(out, row(&[Some(b"")]));
}

proptest! {
    #[test]
    fn no_masked_value_leaves_and_the_shape_stays(
        cells in prop::collection::vec(prop::option::of(prop::collection::vec(1_u8..=255, 0..20)), 0..12),
        masked in prop::collection::vec(any::<bool>(), 12),
    ) {
        let original: Vec<_> = cells.iter().map(|cell| cell.as_deref()).collect();
        let bytes = row(&original);
        let parsed = DataRow::parse(frame::body(&bytes)).unwrap();
        let mut out = BytesMut::new();
        let replace = |_, _: Option<&[u8]>, out: &mut BytesMut| { out.put_u8(0); CellAction::Replaced };
        let changed = remask(&parsed, |column| masked[column], replace, &mut out).unwrap();
        let expected: Vec<_> = original.iter().zip(&masked).map(|(cell, masked)| if *masked { Some(&[0][..]) } else { *cell }).collect();
        prop_assert_eq!(changed, masked.iter().take(cells.len()).filter(|masked| **masked).count());
        prop_assert_eq!(out, row(&expected));
    }
}
