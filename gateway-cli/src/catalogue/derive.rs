//! What derives from what: the catalogue's facts into core derivations. Pure.

use std::collections::{BTreeMap, BTreeSet};

use gateway_core::catalogue::{
    ColumnId, Derivation, DerivationKind, DerivedIn, Relation, RelationId,
};
use tokio_postgres::Row;

use super::load::{LoadError, get};

/// What the catalogue says about origins.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) rules: Vec<Rule>,
    pub(super) inherits: Vec<Inherits>,
    pub(super) generated: Vec<Generated>,
    pub(super) foreign_keys: Vec<ForeignKey>,
}

/// A rule of `view` reads a column (or, with number 0, something) of `relation`.
#[derive(Debug)]
pub(super) struct Rule {
    view: RelationId,
    relation: RelationId,
    number: i32,
    /// The rule may read more columns than it depends on.
    whole: bool,
}

impl Rule {
    pub(super) fn read(row: &Row) -> Result<Self, LoadError> {
        Ok(Self {
            view: RelationId(get(row, "view")?),
            relation: RelationId(get(row, "relation")?),
            number: get(row, "number")?,
            whole: get(row, "whole")?,
        })
    }
}

/// `child` is a partition or an inheritance child of `parent`.
#[derive(Debug)]
pub(super) struct Inherits {
    child: RelationId,
    parent: RelationId,
}

impl Inherits {
    pub(super) fn read(row: &Row) -> Result<Self, LoadError> {
        Ok(Self {
            child: RelationId(get(row, "child")?),
            parent: RelationId(get(row, "parent")?),
        })
    }
}

/// The column `generated` of `relation` is generated from its column `source`.
#[derive(Debug)]
pub(super) struct Generated {
    relation: RelationId,
    source: i16,
    generated: i16,
}

impl Generated {
    pub(super) fn read(row: &Row) -> Result<Self, LoadError> {
        Ok(Self {
            relation: RelationId(get(row, "relation")?),
            source: get(row, "source")?,
            generated: get(row, "generated")?,
        })
    }
}

/// One column pair of a foreign key.
#[derive(Debug)]
pub(super) struct ForeignKey {
    referencing: ColumnId,
    referenced: ColumnId,
}

impl ForeignKey {
    pub(super) fn read(row: &Row) -> Result<Self, LoadError> {
        let column = |relation, number| -> Result<ColumnId, LoadError> {
            Ok(ColumnId {
                relation: RelationId(get(row, relation)?),
                number: get(row, number)?,
            })
        };
        Ok(Self {
            referencing: column("referencing", "referencing_column")?,
            referenced: column("referenced", "referenced_column")?,
        })
    }
}

impl Facts {
    /// Forgets what `reviewed` views are made of: what they show is no copy.
    pub(super) fn stop_at(&mut self, reviewed: &BTreeSet<RelationId>) {
        self.rules.retain(|rule| !reviewed.contains(&rule.view));
    }
}

/// Every derivation, sorted. What is generated taints its relation, for no mask follows it there;
/// where values are `withheld` altogether, it taints its own column.
pub(super) fn derivations(
    relations: &BTreeMap<RelationId, Relation>,
    facts: &Facts,
    withheld: bool,
) -> Vec<Derivation> {
    let mut all = Vec::new();
    for rule in &facts.rules {
        let derived = DerivedIn::Relation(rule.view);
        for source in read_by(relations, rule) {
            all.push(Derivation {
                source,
                derived,
                how: DerivationKind::View,
            });
        }
    }
    for Inherits { child, parent } in &facts.inherits {
        let (Some(child), Some(parent)) = (relations.get(child), relations.get(parent)) else {
            continue;
        };
        for column in &parent.columns {
            if let Some(twin) = child.column(&column.name) {
                let pair = (parent.column_id(column), child.column_id(twin));
                all.extend(both_ways(pair, DerivationKind::Inheritance));
            }
        }
    }
    for Generated {
        relation,
        source,
        generated,
    } in &facts.generated
    {
        let column = |number| ColumnId {
            relation: *relation,
            number,
        };
        all.push(Derivation {
            source: column(*source),
            // Not a plain copy: a mask that fits the source may show the generated value.
            derived: if withheld {
                DerivedIn::Column(column(*generated))
            } else {
                DerivedIn::Relation(*relation)
            },
            how: DerivationKind::Generated,
        });
    }
    for key in &facts.foreign_keys {
        all.extend(both_ways(
            (key.referenced, key.referencing),
            DerivationKind::ForeignKey,
        ));
    }
    all.sort_by_key(|d| (d.source, order(d.derived)));
    all.dedup();
    all
}

/// The columns of the rule's relation that the view may show.
fn read_by(relations: &BTreeMap<RelationId, Relation>, rule: &Rule) -> Vec<ColumnId> {
    let Some(relation) = relations.get(&rule.relation) else {
        return Vec::new();
    };
    match i16::try_from(rule.number) {
        Ok(number) if number > 0 && !rule.whole => {
            vec![ColumnId {
                relation: rule.relation,
                number,
            }]
        }
        // The relation is mentioned (`count(*)`, `EXISTS`), and no column of it is shown.
        Ok(0) if !rule.whole => Vec::new(),
        _ => relation
            .columns
            .iter()
            .map(|column| relation.column_id(column))
            .collect(),
    }
}

fn both_ways((a, b): (ColumnId, ColumnId), how: DerivationKind) -> [Derivation; 2] {
    [
        Derivation {
            source: a,
            derived: DerivedIn::Column(b),
            how,
        },
        Derivation {
            source: b,
            derived: DerivedIn::Column(a),
            how,
        },
    ]
}

fn order(derived: DerivedIn) -> (RelationId, i16) {
    match derived {
        DerivedIn::Column(id) => (id.relation, id.number),
        DerivedIn::Relation(id) => (id, 0),
    }
}

/// Touching a parent touches its children, and touching a view touches what it reads: whatever
/// calls functions there is called then. Terminates: each pass marks at least one more relation.
pub(super) fn spread_hidden_calls(relations: &mut BTreeMap<RelationId, Relation>, facts: &Facts) {
    let reaches = |relations: &BTreeMap<RelationId, Relation>, id: &RelationId| {
        relations
            .get(id)
            .is_some_and(|relation| relation.has_hidden_calls)
    };
    loop {
        let from_children = facts.inherits.iter().map(|i| (i.parent, i.child));
        let from_views = facts.rules.iter().map(|r| (r.view, r.relation));
        let newly: Vec<RelationId> = from_children
            .chain(from_views)
            .filter(|(outer, inner)| reaches(relations, inner) && !reaches(relations, outer))
            .map(|(outer, _)| outer)
            .collect();
        let mut marked = false;
        for id in newly {
            if let Some(relation) = relations.get_mut(&id) {
                marked |= !relation.has_hidden_calls;
                relation.has_hidden_calls = true;
            }
        }
        if !marked {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use gateway_core::catalogue::{Column, RelationKind};

    use super::*;

    fn relation(id: u32, columns: &[&str], hidden: bool) -> (RelationId, Relation) {
        let columns = (1i16..)
            .zip(columns)
            .map(|(number, name)| Column {
                number,
                name: (*name).into(),
                type_id: 25,
                type_name: "text".into(),
            })
            .collect();
        let relation = Relation {
            id: RelationId(id),
            schema: "public".into(),
            name: format!("r{id}"),
            kind: RelationKind::Table,
            columns,
            has_hidden_calls: hidden,
        };
        (RelationId(id), relation)
    }

    fn rule(view: u32, relation: u32, number: i32, whole: bool) -> Rule {
        Rule {
            view: RelationId(view),
            relation: RelationId(relation),
            number,
            whole,
        }
    }

    fn reached(facts: &Facts) -> Vec<(u32, i16, u32, i16)> {
        let relations = BTreeMap::from([
            relation(1, &["id", "email"], false),
            relation(2, &["email", "id"], false),
            relation(9, &["x"], false),
        ]);
        derivations(&relations, facts, false)
            .into_iter()
            .map(|d| {
                let (RelationId(to), number) = order(d.derived);
                (d.source.relation.0, d.source.number, to, number)
            })
            .collect()
    }

    #[test]
    fn views_derive_from_the_columns_they_read_and_whole_rows_from_all() {
        for (rules, expected) in [
            (vec![rule(9, 1, 0, false)], vec![]),
            (vec![rule(9, 1, 1, false)], vec![(1, 1, 9, 0)]),
            (vec![rule(9, 1, 1, true)], vec![(1, 1, 9, 0), (1, 2, 9, 0)]),
            (vec![rule(9, 1, 0, true)], vec![(1, 1, 9, 0), (1, 2, 9, 0)]),
        ] {
            assert_eq!(
                reached(&Facts {
                    rules,
                    ..Facts::default()
                }),
                expected
            );
        }
    }

    #[test]
    fn inheritance_pairs_columns_by_name_in_both_directions() {
        let inherits = vec![Inherits {
            child: RelationId(2),
            parent: RelationId(1),
        }];
        let pairs = reached(&Facts {
            inherits,
            ..Facts::default()
        });
        assert_eq!(
            pairs,
            [(1, 1, 2, 2), (1, 2, 2, 1), (2, 1, 1, 2), (2, 2, 1, 1)]
        );
    }

    #[test]
    fn hidden_calls_spread_from_children_and_through_views() {
        let mut relations = BTreeMap::from([
            relation(1, &[], false),
            relation(2, &[], true),
            relation(3, &[], false),
            relation(4, &[], false),
        ]);
        let facts = Facts {
            inherits: vec![Inherits {
                child: RelationId(2),
                parent: RelationId(1),
            }],
            rules: vec![rule(3, 1, 1, false), rule(2, 4, 1, false)],
            ..Facts::default()
        };
        spread_hidden_calls(&mut relations, &facts);
        let hidden: Vec<bool> = relations.values().map(|r| r.has_hidden_calls).collect();
        assert_eq!(hidden, [true, true, true, false]);
    }
}
