//! What a query's FROM clause offers, and which column a name means.

use std::{cell::RefCell, collections::BTreeSet, sync::Arc};

use gateway_core::{
    catalogue::{Column, Relation},
    mask::ClassifiedColumn,
};
use pg_query::{Node, NodeEnum};

use super::{Rewriter, column_ref, source::REAL};
use crate::sql::analyser::{names, string};

/// One query's FROM clause, within the ones around it.
pub(super) struct Level<'a, 'o> {
    pub(super) entries: Vec<Entry<'a>>,
    pub(super) outer: Option<&'o Level<'a, 'o>>,
}

/// One thing in FROM.
pub(super) struct Entry<'a> {
    /// What it is called; empty for what has no name of its own.
    pub(super) alias: String,
    /// Called by its own name, so that its schema may stand before it.
    pub(super) own_name: bool,
    /// The relation, where it is one that is known and whose columns can be named here.
    pub(super) table: Option<Table<'a>>,
}

/// A relation in FROM, or the one that a statement writes to.
pub(super) struct Table<'a> {
    pub(super) relation: &'a Relation,
    /// What its columns are called here, in order.
    pub(super) columns: Vec<String>,
    pub(super) role: Role,
    /// Attribute numbers of the columns whose values comparisons must see.
    pub(super) compared: RefCell<BTreeSet<i16>>,
}

/// What becomes of a relation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Nothing of it is classified.
    Clear,
    /// It is read: a subquery stands for it.
    Source,
    /// It is written to, and stays.
    Target,
}

/// A classified column that a name means.
pub(super) struct Meant<'a, 'l> {
    pub(super) entry: &'l Entry<'a>,
    pub(super) table: &'l Table<'a>,
    pub(super) column: &'a Column,
    pub(super) classified: Arc<ClassifiedColumn>,
}

impl<'a> Table<'a> {
    /// The column that is called `name` here.
    fn column(&self, name: &str) -> Option<&'a Column> {
        let index = self.columns.iter().position(|column| column == name)?;
        self.relation.columns.get(index)
    }
}

impl Meant<'_, '_> {
    /// Turns a reference to the column into one to its value, for a comparison.
    pub(super) fn compare(&self, node: &mut Node) {
        if let Some(NodeEnum::TypeCast(cast)) = &mut node.node {
            if let Some(arg) = cast.arg.as_deref_mut() {
                self.compare(arg);
            }
            return;
        }
        if self.table.role == Role::Source {
            self.table.compared.borrow_mut().insert(self.column.number);
            let real = format!("{REAL}{}", self.column.number);
            node.node = Some(column_ref(&[&self.entry.alias, &real]));
        }
    }
}

impl<'a> Level<'a, '_> {
    /// This level and the ones around it, inside out.
    fn outward(&self) -> impl Iterator<Item = &Level<'a, '_>> {
        std::iter::successors(Some(self), |level| level.outer)
    }
}

impl Entry<'_> {
    /// Whether a subquery will stand for it.
    pub(super) fn is_source(&self) -> bool {
        self.table
            .as_ref()
            .is_some_and(|table| table.role == Role::Source)
    }
}

impl<'a> Rewriter<'a> {
    /// The classified column that a node is, its schema taken off, or casts to text: they compare as
    /// it does.
    pub(super) fn classified<'l>(
        &self,
        node: &mut Node,
        level: &'l Level<'a, 'l>,
    ) -> Option<Meant<'a, 'l>> {
        if let Some(NodeEnum::TypeCast(cast)) = &mut node.node {
            let to_text = cast.type_name.as_ref().is_some_and(|name| {
                name.array_bounds.is_empty()
                    && name.typmods.is_empty()
                    && matches!(
                        names(&name.names).as_slice(),
                        ["text" | "varchar"] | ["pg_catalog", "text" | "varchar"]
                    )
            });
            return match cast.arg.as_deref_mut() {
                Some(arg) if to_text => self.classified(arg, level),
                _ => None,
            };
        }
        self.shorten(node, level);
        self.meant(node, level)
    }

    /// The classified column that a reference means; `None` for everything else.
    ///
    /// SPEC: the innermost query in which a name is known wins (PostgreSQL, `parse_relation.c`,
    /// `colNameToVar`). A name that something unknown here may have as well is ambiguous there if
    /// it is known here, and an error.
    pub(super) fn meant<'l>(&self, node: &Node, level: &'l Level<'a, 'l>) -> Option<Meant<'a, 'l>> {
        let Some(NodeEnum::ColumnRef(reference)) = &node.node else {
            return None;
        };
        let path = names(&reference.fields);
        if path.len() != reference.fields.len() {
            return None;
        }
        let (name, qualifier) = path.split_last()?;
        for level in level.outward() {
            let mut candidates = level.entries.iter().filter(|entry| match qualifier {
                [] => true,
                [.., alias] => entry.alias == *alias,
            });
            let found = candidates.find_map(|entry| {
                let table = entry.table.as_ref()?;
                Some((entry, table, table.column(name)?))
            });
            if let Some((entry, table, column)) = found {
                let id = table.relation.column_id(column);
                let classified = self.classified.column(id)?;
                return Some(Meant {
                    entry,
                    table,
                    column,
                    classified: Arc::clone(classified),
                });
            }
            if !qualifier.is_empty()
                && level
                    .entries
                    .iter()
                    .any(|e| qualifier.last() == Some(&e.alias.as_str()))
            {
                return None;
            }
        }
        None
    }

    /// Takes the schema off a reference to something that has only one name from now on.
    pub(super) fn shorten(&self, node: &mut Node, level: &Level<'a, '_>) {
        let Some(NodeEnum::ColumnRef(reference)) = &mut node.node else {
            return;
        };
        let Some(at) = reference.fields.len().checked_sub(3) else {
            return;
        };
        let (Some(schema), Some(table)) = (
            reference.fields.get(at).and_then(string),
            reference.fields.get(at + 1).and_then(string),
        ) else {
            return;
        };
        let is_it = |entry: &Entry<'_>| {
            entry.own_name
                && entry.alias == table
                && entry
                    .table
                    .as_ref()
                    .is_some_and(|table| table.relation.schema == schema)
        };
        if level.outward().any(|level| level.entries.iter().any(is_it)) {
            reference.fields.drain(..=at);
        }
    }
}
