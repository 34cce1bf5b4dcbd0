//! The classification of a target, resolved against its catalogue.

use std::{collections::BTreeMap, sync::Arc};

use gateway_core::{
    catalogue::{Column, ColumnId, Relation, RelationKind, Snapshot, close},
    id::{ClassName, TargetName},
    mask::{Classified, ClassifiedColumn},
};

use super::{Kind, Method, transform::Mask};
use crate::language::{Classes, Entry};

/// A target's classified columns, and what to tell its operators.
#[derive(Clone, Debug)]
pub struct Classification {
    /// Declared and derived columns, each with its mask.
    pub classified: Classified,
    /// Entries for this target that matched no column of this database: perhaps a misspelling.
    pub unmatched: Vec<UnmatchedEntry>,
}

/// An entry of the classification that matched nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: no column of database `{database}` matches {pattern}")]
pub struct UnmatchedEntry {
    /// `classification.toml:<line>`.
    pub place: String,
    /// The database.
    pub database: String,
    /// `schema.table.column`, as written.
    pub pattern: String,
}

/// The classification contradicts the catalogue; nothing of the target may be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClassifyError {
    /// A method can't make valid values of the column's type.
    #[error(
        "{place}: method `{method}` of class `{class}` can't mask {column}, which is {type_name}; \
         it fits {fits}"
    )]
    Misfit {
        /// `classification.toml:<line>`.
        place: String,
        /// `schema.table.column`.
        column: String,
        /// Its type.
        type_name: String,
        /// Its class.
        class: ClassName,
        /// The class's method.
        method: &'static str,
        /// Types which the method fits, in words.
        fits: &'static str,
    },
    /// Two equally specific entries give one column different classes.
    #[error(
        "{column} is of class `{first}` ({first_place}) and of class `{second}` ({second_place})"
    )]
    Ambiguous {
        /// `schema.table.column`.
        column: String,
        /// One class.
        first: ClassName,
        /// Where it is given.
        first_place: String,
        /// The other class.
        second: ClassName,
        /// Where it is given.
        second_place: String,
    },
    /// An entry names a class that has no mask. Loading a bundle refuses that.
    #[error("{place}: class `{class}` has no mask")]
    NoMask {
        /// `classification.toml:<line>`.
        place: String,
        /// The class.
        class: ClassName,
    },
}

/// Resolves the classification of `target` against `snapshot`.
///
/// # Errors
/// Every contradiction found.
pub(crate) fn classify(
    classes: &Classes,
    target: &TargetName,
    snapshot: &Snapshot,
) -> Result<Classification, Vec<ClassifyError>> {
    let entries: Vec<&Entry> = classes
        .entries
        .iter()
        .filter(|entry| entry.target.matches(target.as_str()))
        .collect();
    let mut errors = Vec::new();
    let mut matched = vec![false; entries.len()];
    let mut declared: BTreeMap<ColumnId, Declared<'_>> = BTreeMap::new();
    for (relation, column) in columns(snapshot) {
        let mut best: Option<&Entry> = None;
        for (entry, matched) in entries.iter().zip(&mut matched) {
            if !entry.name_matches(relation, column) {
                continue;
            }
            *matched = true;
            best = match best {
                Some(best) if best.specificity() > entry.specificity() => Some(best),
                Some(best) if best.specificity() == entry.specificity() => {
                    if best.class != entry.class {
                        errors.push(ClassifyError::Ambiguous {
                            column: path(relation, column).join("."),
                            first: best.class.clone(),
                            first_place: best.place.clone(),
                            second: entry.class.clone(),
                            second_place: entry.place.clone(),
                        });
                    }
                    Some(best)
                }
                Some(_) | None => Some(entry),
            };
        }
        let Some(entry) = best else { continue };
        match classes.methods.get(&entry.class) {
            Some(method) => {
                errors.extend(misfit(entry, method, relation, column));
                declared.insert(relation.column_id(column), Declared { entry, method });
            }
            None => errors.push(ClassifyError::NoMask {
                place: entry.place.clone(),
                class: entry.class.clone(),
            }),
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let unmatched = entries
        .iter()
        .zip(matched)
        .filter(|(_, matched)| !matched)
        .map(|(entry, _)| UnmatchedEntry {
            place: entry.place.clone(),
            database: snapshot.database.clone(),
            pattern: entry.name.each_ref().map(ToString::to_string).join("."),
        })
        .collect();
    Ok(Classification {
        classified: closed(snapshot, &declared),
        unmatched,
    })
}

struct Declared<'a> {
    entry: &'a Entry,
    method: &'a Arc<Method>,
}

/// The declared columns and everything that holds what they hold.
fn closed(snapshot: &Snapshot, declared: &BTreeMap<ColumnId, Declared<'_>>) -> Classified {
    let reached = close(snapshot, declared.keys().copied());
    let by_id: BTreeMap<ColumnId, _> = columns(snapshot)
        .map(|(relation, column)| (relation.column_id(column), (relation, column)))
        .collect();
    let columns = reached.columns.iter().filter_map(|(id, (root, derived))| {
        let Declared { entry, method } = declared.get(root)?;
        let (relation, column) = by_id.get(id)?;
        let kind = Kind::of(column.type_id, &column.type_name);
        // What a derived column shows may have another type than what it derives from.
        let method = if method.fits(kind) {
            Arc::clone(method)
        } else {
            Arc::new(Method::Null)
        };
        Some(ClassifiedColumn {
            id: *id,
            name: path(relation, column),
            class: entry.class.clone(),
            transform: Arc::new(Mask {
                method,
                kind,
                type_id: column.type_id,
            }),
            derived: *derived,
        })
    });
    Classified::new(columns.collect(), reached.whole.clone())
}

fn misfit(
    entry: &Entry,
    method: &Method,
    relation: &Relation,
    column: &Column,
) -> Option<ClassifyError> {
    if method.fits(Kind::of(column.type_id, &column.type_name)) {
        return None;
    }
    Some(ClassifyError::Misfit {
        place: entry.place.clone(),
        column: path(relation, column).join("."),
        type_name: column.type_name.clone(),
        class: entry.class.clone(),
        method: method.name(),
        fits: method.fits_in_words(),
    })
}

impl Entry {
    fn name_matches(&self, relation: &Relation, column: &Column) -> bool {
        let [schema, table, name] = &self.name;
        schema.matches(&relation.schema)
            && table.matches(&relation.name)
            && name.matches(&column.name)
    }
}

/// Every column that can be selected, with its relation.
fn columns(snapshot: &Snapshot) -> impl Iterator<Item = (&Relation, &Column)> {
    snapshot
        .relations
        .iter()
        .filter(|relation| match relation.kind {
            RelationKind::Table
            | RelationKind::Partitioned
            | RelationKind::View
            | RelationKind::MaterializedView
            | RelationKind::Foreign => true,
            RelationKind::Sequence | RelationKind::Other => false,
        })
        .flat_map(|relation| {
            relation
                .columns
                .iter()
                .map(move |column| (relation, column))
        })
}

fn path(relation: &Relation, column: &Column) -> [String; 3] {
    [
        relation.schema.clone(),
        relation.name.clone(),
        column.name.clone(),
    ]
}

#[cfg(test)]
mod tests;
