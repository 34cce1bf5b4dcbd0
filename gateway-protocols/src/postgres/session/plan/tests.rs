use std::collections::BTreeSet;

use bytes::Bytes;
use gateway_core::{
    catalogue::CatalogueVersion,
    id::{ClassName, Digest},
    mask::Transform,
    operation::{Analysis, ClassifiedUse, Inspection, SqlFacts},
    wire::Analysed,
};

use super::*;
use crate::postgres::message::{Field, List};

/// An analysis of a text that touches nothing.
pub(in crate::postgres::session) fn analysed() -> Analysed {
    let analysis = Analysis {
        statements: Vec::new(),
        effects: Vec::new(),
        inspection: Inspection::Full,
        facts: SqlFacts::default(),
        classified: ClassifiedUse::default(),
        sensitive: Vec::new(),
        catalogue: CatalogueVersion(Digest::of(b"")),
        mistake: None,
    };
    Analysed {
        analysis: Arc::new(analysis),
        classified: Arc::default(),
    }
}

#[derive(Debug)]
struct Stars;

impl Transform for Stars {
    fn mask(&self, _: Cell<'_>, out: &mut BytesMut) -> MaskedCell {
        out.extend_from_slice(b"***");
        MaskedCell::Value
    }

    fn method(&self) -> &'static str {
        "redact"
    }
}

fn id(number: i16) -> ColumnId {
    ColumnId {
        relation: RelationId(7),
        number,
    }
}

pub(in crate::postgres::session) fn email() -> ClassifiedColumn {
    ClassifiedColumn {
        id: id(2),
        name: ["public".into(), "customers".into(), "email".into()],
        class: ClassName::parse("email").unwrap(),
        transform: Arc::new(Stars),
        derived: None,
    }
}

fn field(table: u32, attribute: i16) -> Field<'static> {
    Field {
        name: b"c",
        table,
        attribute,
        data_type: 25,
        type_size: -1,
        type_modifier: -1,
        format: Format::Text,
    }
}

fn plan(fields: &[Field<'static>], masked: bool, shape: &Shape) -> Result<Plan, WireError> {
    let classified = Classified::new(vec![email()], BTreeSet::new());
    let column = Arc::clone(classified.column(id(2)).unwrap());
    let mut obligations = Obligations::default();
    if masked {
        obligations.masks.insert(id(2), column);
    } else {
        obligations.reveal.insert(id(2));
    }
    let mut buffer = BytesMut::new();
    let fields = List::build(&mut buffer, fields.iter().copied()).unwrap();
    Plan::new(&RowDescription { fields }, &obligations, &classified, shape)
}

fn plain(outputs: &[i16]) -> Shape {
    Shape::Plain {
        outputs: outputs.iter().map(|&number| id(number)).collect(),
    }
}

fn row(cells: &[Option<&[u8]>]) -> Bytes {
    let mut buffer = BytesMut::new();
    let cells = List::build(&mut buffer, cells.iter().copied()).unwrap();
    let mut out = BytesMut::new();
    DataRow { cells }.encode(&mut out).unwrap();
    out.freeze()
}

#[test]
fn masked_cells_leave_masked_and_null_stays_null() {
    let mut plan = plan(&[field(7, 1), field(7, 2)], true, &plain(&[1, 2])).unwrap();
    assert!(!plan.is_clear());
    let mut out = BytesMut::new();
    let clear = row(&[Some(b"1"), Some(b"ann@example.org")]);
    plan.mask(&clear[5..], &mut out).unwrap();
    plan.mask(&row(&[Some(b"2"), None])[5..], &mut out).unwrap();
    let expected = [row(&[Some(b"1"), Some(b"***")]), row(&[Some(b"2"), None])].concat();
    assert_eq!(out, expected);
    let mut counts = BTreeMap::new();
    plan.count_into(&mut counts);
    let count = counts.values().next().unwrap();
    assert_eq!((count.seen, count.masked), (2, 1));
}

#[test]
fn whatever_was_not_predicted_is_an_incident() {
    let cases: &[(&str, &[Field<'static>], bool, Shape)] = &[
        (
            "one column more",
            &[field(7, 1), field(7, 2), field(7, 3)],
            true,
            plain(&[1, 2]),
        ),
        (
            "another origin",
            &[field(7, 1), field(7, 3)],
            true,
            plain(&[1, 2]),
        ),
        (
            "no origin",
            &[field(7, 1), field(0, 0)],
            true,
            plain(&[1, 2]),
        ),
        (
            "classified, not foreseen",
            &[field(7, 2)],
            false,
            Shape::Untouched,
        ),
        ("the whole row", &[field(7, 0)], false, Shape::Untouched),
    ];
    for (name, fields, masked, shape) in cases {
        let result = if *masked {
            plan(fields, true, shape)
        } else {
            let classified = Classified::new(vec![email()], BTreeSet::new());
            let mut buffer = BytesMut::new();
            let fields = List::build(&mut buffer, fields.iter().copied()).unwrap();
            let none = Obligations::default();
            Plan::new(&RowDescription { fields }, &none, &classified, shape)
        };
        assert!(result.is_err(), "{name}");
    }
}

#[test]
fn a_row_that_is_not_as_described_is_an_incident() {
    let mut plan = plan(&[field(7, 1), field(7, 2)], true, &plain(&[1, 2])).unwrap();
    let mut out = BytesMut::new();
    assert!(plan.mask(&row(&[Some(b"1")])[5..], &mut out).is_err());
    assert!(plan.mask(&[0, 2, 0, 0, 0, 9, 1], &mut out).is_err());
    assert!(out.is_empty());
}

#[test]
fn revealed_columns_leave_as_they_came() {
    let plan = plan(&[field(7, 2)], false, &plain(&[2])).unwrap();
    assert!(plan.is_clear());
}
