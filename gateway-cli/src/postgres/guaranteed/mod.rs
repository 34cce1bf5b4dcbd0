//! The guaranteed mode: the target itself refuses every read of a classified column, and the
//! gateway proves it before it serves anybody.
//!
//! M is the classification's closure: classified columns, and by the catalogue what views,
//! materialised views, generated columns, foreign keys, partitions and inheritance make of them.
//! While every [`Clause`] holds for the role that sessions run as, PostgreSQL evaluates no
//! expression over a value of M on an agent's behalf, whatever the agent sends: the masking views
//! show what was reviewed, and literals in the text of definitions are the residue.
//!
//! The proof is as old as the catalogue it was made from: a right that a DBA grants meanwhile is
//! seen with the next one, and an origin that shows on the wire closes the session at once.

mod script;
mod views;

use std::fmt;

use gateway_core::{catalogue::Snapshot, mask::Classified};

use crate::catalogue::{Clause, Masked, Rights};

pub(crate) use script::{Order, script};

/// Objects that a message names per clause.
const NAMED_MAX: usize = 5;

/// What was found of every clause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proof {
    /// Each clause, and the objects that break it: none if it holds.
    pub(crate) clauses: Vec<(Clause, Vec<String>)>,
}

impl Proof {
    /// Proves that a role with these rights can't read what is classified.
    pub(crate) fn of(snapshot: &Snapshot, rights: &Rights, classified: &Classified) -> Self {
        let clauses = Clause::ALL.into_iter().map(|clause| {
            let found = rights.found.iter().filter(|(of, _)| *of == clause);
            let mut found: Vec<String> = found.map(|(_, object)| object.clone()).collect();
            match clause {
                Clause::Columns => found.extend(readable(rights, classified)),
                Clause::Code => found.extend(code(rights, classified)),
                Clause::Copies => found.extend(copies(snapshot, rights)),
                Clause::Views => found.extend(masked(snapshot, rights, classified)),
                Clause::Login
                | Clause::Attributes
                | Clause::Memberships
                | Clause::Ownership
                | Clause::System
                | Clause::Functions
                | Clause::Foreign
                | Clause::Creation
                | Clause::Settings => {}
            }
            (clause, found)
        });
        Self {
            clauses: clauses.collect(),
        }
    }

    /// Whether every clause holds.
    pub(crate) fn holds(&self) -> bool {
        self.clauses.iter().all(|(_, found)| found.is_empty())
    }
}

/// The clauses that fail, each with some of the objects that break it.
impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failed = self.clauses.iter().filter(|(_, found)| !found.is_empty());
        for (index, (clause, found)) in failed.enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            let named: Vec<&str> = found.iter().take(NAMED_MAX).map(String::as_str).collect();
            let (name, named) = (clause.name(), named.join(", "));
            write!(f, "{separator}clause `{name}` fails: {named}")?;
            match found.len().saturating_sub(NAMED_MAX) {
                0 => {}
                more => write!(f, " and {more} more")?,
            }
        }
        Ok(())
    }
}

fn readable<'a>(
    rights: &'a Rights,
    classified: &'a Classified,
) -> impl Iterator<Item = String> + 'a {
    classified
        .columns()
        .filter(|column| rights.readable.contains(&column.id))
        .map(|column| column.path())
}

/// Code with others' rights may do anything; beside classified values it sees rows that the role
/// can't read.
fn code<'a>(rights: &'a Rights, classified: &'a Classified) -> impl Iterator<Item = String> + 'a {
    rights
        .code
        .iter()
        .filter(|code| code.foreign_rights || classified.touches(code.relation))
        .map(|code| code.object.clone())
}

fn copies<'a>(snapshot: &'a Snapshot, rights: &'a Rights) -> impl Iterator<Item = String> + 'a {
    let readable = |id| rights.readable.iter().any(|column| column.relation == id);
    let copies = rights
        .copies
        .iter()
        .copied()
        .filter(move |id| readable(*id));
    copies
        .filter_map(|id| snapshot.relation_by_id(id))
        .map(|relation| format!("{}.{}", relation.schema, relation.name))
}

/// What is wrong with the masking views. One that nobody asks for is no harm while it can't be read.
fn masked(snapshot: &Snapshot, rights: &Rights, classified: &Classified) -> Vec<String> {
    let expected = views::masking_views(snapshot, classified);
    let wrong = |masked: &Masked| {
        let expected = expected.iter().find(|view| view.name == masked.name);
        let comment = expected
            .zip(masked.tree.as_deref())
            .map(|(view, tree)| view.comment(tree));
        if masked.writable {
            Some("can be written to")
        } else if !masked.readable {
            None
        } else if !masked.barrier {
            Some("is no security barrier view with its owner's rights")
        } else if expected.is_none() {
            Some("masks nothing that is classified")
        } else if comment.is_none() || comment != masked.comment {
            Some("isn't as `gateway target provision` would make it now")
        } else {
            None
        }
    };
    let masked = rights.masked.iter();
    masked
        .filter_map(|masked| wrong(masked).map(|why| format!("{} {why}", masked.name)))
        .collect()
}

#[cfg(test)]
mod tests;
