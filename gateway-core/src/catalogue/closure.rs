//! The closure of a classification: everything that holds what a classified column holds.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{ColumnId, DerivationKind, DerivedIn, RelationId, Snapshot};

/// What the closure of some columns reaches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    /// Each reached column, with the declared column it comes from and the last step that led to
    /// it; `None` for the declared ones themselves.
    pub columns: BTreeMap<ColumnId, (ColumnId, Option<DerivationKind>)>,
    /// Relations that show a reached column in a way that isn't a plain copy: views, materialised
    /// views, generated columns. All their columns count as reached.
    pub whole: BTreeSet<RelationId>,
}

/// Closes `declared` over the snapshot's derivations.
///
/// A derivation into a relation as a whole reaches all its columns: which of them shows the value
/// isn't known. Terminates: each column enters the queue once.
#[must_use]
pub fn close(snapshot: &Snapshot, declared: impl IntoIterator<Item = ColumnId>) -> Reached {
    let mut reached = Reached::default();
    let mut queue = VecDeque::new();
    for column in declared {
        if reached.columns.insert(column, (column, None)).is_none() {
            queue.push_back(column);
        }
    }
    while let Some(column) = queue.pop_front() {
        let root = reached
            .columns
            .get(&column)
            .map_or(column, |(root, _)| *root);
        for derivation in snapshot.derivations.iter().filter(|d| d.source == column) {
            let next: Vec<ColumnId> = match derivation.derived {
                DerivedIn::Column(derived) => vec![derived],
                DerivedIn::Relation(id) => {
                    reached.whole.insert(id);
                    let columns = snapshot.relation_by_id(id).map_or(&[][..], |r| &r.columns);
                    columns
                        .iter()
                        .map(|c| ColumnId {
                            relation: id,
                            number: c.number,
                        })
                        .collect()
                }
            };
            for derived in next {
                if let std::collections::btree_map::Entry::Vacant(entry) =
                    reached.columns.entry(derived)
                {
                    entry.insert((root, Some(derivation.how)));
                    queue.push_back(derived);
                }
            }
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::{Column, Derivation, Relation, RelationKind};

    fn column(relation: u32, number: i16) -> ColumnId {
        ColumnId {
            relation: RelationId(relation),
            number,
        }
    }

    fn relation(id: u32, columns: i16) -> Relation {
        let columns = (1..=columns)
            .map(|number| Column {
                number,
                name: format!("c{number}"),
                type_id: 25,
                type_name: "text".into(),
            })
            .collect();
        Relation {
            id: RelationId(id),
            schema: "public".into(),
            name: format!("r{id}"),
            kind: RelationKind::Table,
            columns,
            has_hidden_calls: false,
        }
    }

    #[test]
    fn closure_follows_copies_and_taints_whole_views_through_cycles() {
        let snapshot = Snapshot {
            relations: vec![relation(1, 3), relation(2, 2), relation(3, 2)],
            derivations: vec![
                Derivation {
                    source: column(1, 2),
                    derived: DerivedIn::Column(column(2, 1)),
                    how: DerivationKind::ForeignKey,
                },
                Derivation {
                    source: column(2, 1),
                    derived: DerivedIn::Relation(RelationId(3)),
                    how: DerivationKind::View,
                },
                Derivation {
                    source: column(3, 1),
                    derived: DerivedIn::Column(column(1, 2)),
                    how: DerivationKind::Inheritance,
                },
            ],
            ..Snapshot::default()
        };
        let reached = close(&snapshot, [column(1, 2)]);
        let columns: Vec<_> = reached.columns.keys().copied().collect();
        assert_eq!(
            columns,
            [column(1, 2), column(2, 1), column(3, 1), column(3, 2)]
        );
        assert_eq!(reached.whole, BTreeSet::from([RelationId(3)]));
        assert_eq!(
            reached.columns[&column(3, 2)],
            (column(1, 2), Some(DerivationKind::View))
        );
    }
}
