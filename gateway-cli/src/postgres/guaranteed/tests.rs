use std::collections::BTreeSet;

use gateway_core::{
    catalogue::{Column, ColumnId, Relation, RelationId, RelationKind},
    mask::{AtSource, Cell, ClassifiedColumn, MaskedCell, Transform},
};

use super::*;
use crate::catalogue::Rights;

#[derive(Debug)]
struct Domain;

impl Transform for Domain {
    fn mask(&self, _: Cell<'_>, _: &mut bytes::BytesMut) -> MaskedCell {
        MaskedCell::Null
    }

    fn method(&self) -> &'static str {
        "partial"
    }

    fn at_source(&self) -> AtSource {
        AtSource::KeepDomain { hidden: "****" }
    }
}

fn customers(swapped: bool) -> (Snapshot, Classified) {
    let column = |number, name: &str| Column {
        number,
        name: name.into(),
        type_id: 25,
        type_name: "text".into(),
    };
    let (email, city) = if swapped { (3, 2) } else { (2, 3) };
    let mut columns = vec![
        column(1, "id"),
        column(email, "email"),
        column(city, "ci\"ty"),
    ];
    columns.sort_by(|a, b| a.name.cmp(&b.name));
    let relation = Relation {
        id: RelationId(7),
        schema: "public".into(),
        name: "customers".into(),
        kind: RelationKind::Table,
        columns,
        has_hidden_calls: false,
    };
    let classified = ClassifiedColumn {
        id: ColumnId {
            relation: RelationId(7),
            number: email,
        },
        name: ["public", "customers", "email"].map(str::to_owned),
        class: gateway_core::id::ClassName::parse("email").unwrap(),
        transform: std::sync::Arc::new(Domain),
        derived: None,
    };
    let snapshot = Snapshot {
        relations: vec![relation],
        ..Snapshot::default()
    };
    (snapshot, Classified::new(vec![classified], BTreeSet::new()))
}

#[test]
fn a_readable_column_fails_by_name_and_nothing_else_does() {
    let (snapshot, classified) = customers(false);
    let mut rights = Rights::default();
    assert!(Proof::of(&snapshot, &rights, &classified).holds());
    rights.readable.insert(ColumnId {
        relation: RelationId(7),
        number: 3,
    });
    assert!(Proof::of(&snapshot, &rights, &classified).holds());
    rights.readable.insert(ColumnId {
        relation: RelationId(7),
        number: 2,
    });
    let proof = Proof::of(&snapshot, &rights, &classified);
    assert_eq!(
        proof.to_string(),
        "clause `columns` fails: public.customers.email"
    );
}

#[test]
fn many_objects_are_counted_rather_than_named() {
    let (snapshot, classified) = customers(false);
    let mut rights = Rights::default();
    for number in 0..8 {
        rights
            .found
            .insert((Clause::Functions, format!("f{number}")));
    }
    assert_eq!(
        Proof::of(&snapshot, &rights, &classified).to_string(),
        "clause `functions` fails: f0, f1, f2, f3, f4 and 3 more"
    );
}

#[test]
fn a_view_is_another_when_its_columns_swap_names() {
    let view = |swapped| {
        let (snapshot, classified) = customers(swapped);
        let views = views::masking_views(&snapshot, &classified);
        (views[0].query.clone(), views[0].comment("t"))
    };
    let ((query, comment), (same, other)) = (view(false), view(true));
    assert!(query.contains("t.\"ci\"\"ty\",\n"), "{query}");
    assert_eq!(query, same);
    assert_ne!(comment, other);
}

#[test]
fn a_masking_view_must_be_the_one_that_would_be_made_now() {
    let (snapshot, classified) = customers(false);
    let views = views::masking_views(&snapshot, &classified);
    let good = Masked {
        id: RelationId(9),
        name: "customers".into(),
        barrier: true,
        comment: Some(views[0].comment("tree")),
        tree: Some("tree".into()),
        readable: true,
        writable: false,
    };
    for (masked, holds) in [
        (good.clone(), true),
        (
            Masked {
                barrier: false,
                ..good.clone()
            },
            false,
        ),
        (
            Masked {
                writable: true,
                ..good.clone()
            },
            false,
        ),
        (
            Masked {
                tree: Some("other".into()),
                ..good.clone()
            },
            false,
        ),
        (
            Masked {
                tree: None,
                comment: None,
                ..good.clone()
            },
            false,
        ),
        (
            Masked {
                comment: None,
                ..good.clone()
            },
            false,
        ),
        (
            Masked {
                name: "other".into(),
                ..good.clone()
            },
            false,
        ),
        (
            Masked {
                name: "key".into(),
                readable: false,
                ..good
            },
            true,
        ),
    ] {
        let rights = Rights {
            masked: vec![masked.clone()],
            ..Rights::default()
        };
        let proof = Proof::of(&snapshot, &rights, &classified);
        assert_eq!(proof.holds(), holds, "{masked:?}: {proof}");
    }
}
