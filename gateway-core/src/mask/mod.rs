//! Masking vocabulary: which columns are classified, how each is masked, and the check that a
//! decision masks everything that needs it. Methods themselves are a policy matter ([`Transform`]).

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use bytes::BytesMut;
use serde::Serialize;

use crate::{
    catalogue::{ColumnId, DerivationKind, RelationId},
    decision::{Denial, Reason},
    id::ClassName,
    operation::{ClassifiedUse, Shape},
};

/// How a value is sent (PostgreSQL's format codes 0 and 1; other protocols have the same two).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The type's text form.
    Text,
    /// The type's binary form.
    Binary,
}

/// A value about to be masked.
#[derive(Clone, Copy, Debug)]
pub struct Cell<'a> {
    /// The value's bytes as the target sent them; never SQL NULL.
    pub bytes: &'a [u8],
    /// Their format.
    pub format: Format,
    /// The type's object id, as the target announced it.
    pub type_id: u32,
}

/// What a transform made of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaskedCell {
    /// SQL NULL.
    Null,
    /// The bytes that the transform appended: a valid value of the type in the cell's format.
    Value,
}

/// Turns a clear value into a masked one. Total: a value it can't mask becomes [`MaskedCell::Null`].
pub trait Transform: fmt::Debug + Send + Sync {
    /// Appends the masked form of `cell` to `out`, or nothing for NULL.
    fn mask(&self, cell: Cell<'_>, out: &mut BytesMut) -> MaskedCell;

    /// The method's name for evidence: `redact`, `partial`…
    fn method(&self) -> &'static str;

    /// What a target can compute in the mask's place where a text is rewritten. Null, unless the
    /// method says otherwise.
    fn at_source(&self) -> AtSource {
        AtSource::Null
    }
}

/// A mask that the target computes, from the value or without it. A null stays null.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AtSource {
    /// Null.
    Null,
    /// This text, in the place of every text.
    Text(String),
    /// A JSON string, in the place of every JSON value.
    JsonText(String),
    /// `hidden` and what follows the last `@` with it.
    KeepDomain {
        /// What stands for the hidden characters.
        hidden: &'static str,
    },
    /// The first `count` characters of a text at least twice as long, then `hidden`.
    KeepFirst {
        /// Characters kept.
        count: usize,
        /// What stands for the hidden characters.
        hidden: &'static str,
    },
    /// `hidden`, then the last `count` characters of a text at least twice as long.
    KeepLast {
        /// Characters kept.
        count: usize,
        /// What stands for the hidden characters.
        hidden: &'static str,
    },
    /// A date or timestamp, down to the first moment of its year or month.
    Truncate {
        /// `year` or `month`.
        unit: &'static str,
    },
    /// An integer, down to a multiple of the width.
    Bucket {
        /// From 1.
        width: i64,
    },
}

/// A column that the classification covers, declared or derived.
#[derive(Clone, Debug)]
pub struct ClassifiedColumn {
    /// The column.
    pub id: ColumnId,
    /// Its schema, table and column names.
    pub name: [String; 3],
    /// Its class.
    pub class: ClassName,
    /// How it is masked.
    pub transform: Arc<dyn Transform>,
    /// Why it is covered: `None` when declared, else the derivation that led to it.
    pub derived: Option<DerivationKind>,
}

impl ClassifiedColumn {
    /// `schema.table.column`, for messages and evidence.
    #[must_use]
    pub fn path(&self) -> String {
        self.name.join(".")
    }
}

/// One step of a path into a JSON object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FieldStep {
    /// The member of this name.
    Key(String),
    /// Every member, or every element.
    Each,
}

/// A field of an API's objects that is classified. Its strings are replaced by a fixed mask, and
/// every other scalar by null.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ClassifiedField {
    /// API group of the objects; empty for the core group.
    pub group: String,
    /// Plural resource.
    pub resource: String,
    /// Where in the object: everything below it is classified.
    pub path: Vec<FieldStep>,
    /// Its class.
    pub class: ClassName,
}

impl ClassifiedField {
    /// `group/resource.path.to.*`, for messages and evidence.
    #[must_use]
    pub fn name(&self) -> String {
        let mut name = if self.group.is_empty() {
            self.resource.clone()
        } else {
            format!("{}/{}", self.group, self.resource)
        };
        for step in &self.path {
            name.push('.');
            name.push_str(match step {
                FieldStep::Key(key) => key,
                FieldStep::Each => "*",
            });
        }
        name
    }
}

/// Finds kinds of data in text that has no structure, and masks them: a second layer, never in the
/// place of a mask by column or field.
pub trait Detector: fmt::Debug + Send + Sync {
    /// A scan of one stream.
    fn scan(&self) -> Box<dyn Scan>;
}

/// The scan of one stream. Where its pieces begin and end has no influence on what it finds.
pub trait Scan: fmt::Debug + Send {
    /// Takes bytes, and appends to `out` what can't be part of a match any more, masked. At most
    /// [`SCAN_BYTES_MAX`] bytes stay behind.
    fn push(&mut self, data: &[u8], out: &mut BytesMut);

    /// The stream is over: appends the rest.
    fn finish(&mut self, out: &mut BytesMut);

    /// What was masked so far.
    fn counts(&self) -> Vec<MaskCount>;
}

/// Bytes that a [`Scan`] keeps back at most.
pub const SCAN_BYTES_MAX: usize = 256;

/// The classification of one target, resolved against one catalogue snapshot.
#[derive(Clone, Debug, Default)]
pub struct Classified {
    columns: BTreeMap<ColumnId, Arc<ClassifiedColumn>>,
    relations: BTreeSet<RelationId>,
    whole: BTreeSet<RelationId>,
    guaranteed: bool,
}

impl Classified {
    /// Takes the columns, and the relations which show some of them as more than a plain copy.
    #[must_use]
    pub fn new(columns: Vec<ClassifiedColumn>, whole: BTreeSet<RelationId>) -> Self {
        let columns: BTreeMap<_, _> = columns.into_iter().map(|c| (c.id, Arc::new(c))).collect();
        let relations = columns.keys().map(|id| id.relation).collect();
        Self {
            columns,
            relations,
            whole,
            guaranteed: false,
        }
    }

    /// The same where it is proven that the target itself refuses every read of these columns, but
    /// for the relations in `reviewed`: what those show was reviewed, and isn't classified.
    #[must_use]
    pub fn guaranteed(mut self, reviewed: &BTreeSet<RelationId>) -> Self {
        self.columns
            .retain(|id, _| !reviewed.contains(&id.relation));
        self.relations.retain(|id| !reviewed.contains(id));
        self.whole.retain(|id| !reviewed.contains(id));
        self.guaranteed = true;
        self
    }

    /// Whether the target itself refuses every read of these columns: no text needs a mask then.
    #[must_use]
    pub fn is_guaranteed(&self) -> bool {
        self.guaranteed
    }

    /// Whether nothing is classified.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    /// The classified column with this id.
    #[must_use]
    pub fn column(&self, id: ColumnId) -> Option<&Arc<ClassifiedColumn>> {
        self.columns.get(&id)
    }

    /// Every classified column, by id.
    pub fn columns(&self) -> impl Iterator<Item = &Arc<ClassifiedColumn>> {
        self.columns.values()
    }

    /// Whether the relation has classified columns.
    #[must_use]
    pub fn touches(&self, relation: RelationId) -> bool {
        self.relations.contains(&relation)
    }

    /// Whether the relation shows classified values in a way the wire can't trace (a view).
    #[must_use]
    pub fn is_whole(&self, relation: RelationId) -> bool {
        self.whole.contains(&relation)
    }
}

/// What an allowed operation still owes: masks for what may not be seen.
#[derive(Clone, Debug, Default)]
pub struct Obligations {
    /// Classified columns in reach that policy reveals to this principal.
    pub reveal: BTreeSet<ColumnId>,
    /// Classified columns in reach that must be masked.
    pub masks: BTreeMap<ColumnId, Arc<ClassifiedColumn>>,
    /// Classified fields of the API's objects that must be masked.
    pub fields: Vec<ClassifiedField>,
    /// Classified fields that policy reveals to this principal.
    pub revealed_fields: Vec<ClassifiedField>,
    /// What to look for in text without structure; `None` where nothing is.
    pub detector: Option<Arc<dyn Detector>>,
}

impl Obligations {
    /// Splits the classified columns in reach by what may be revealed.
    pub fn split(used: &ClassifiedUse, mut reveal: impl FnMut(&ClassifiedColumn) -> bool) -> Self {
        let mut obligations = Self::default();
        for column in &used.columns {
            if reveal(column) {
                obligations.reveal.insert(column.id);
            } else {
                obligations.masks.insert(column.id, Arc::clone(column));
            }
        }
        obligations
    }

    /// Whether every field that the protocol itself classifies is masked or revealed.
    ///
    /// # Errors
    /// A [`Denial`] that names the forgotten field.
    pub fn check_fields(&self, classified: &[ClassifiedField]) -> Result<(), Denial> {
        let decided = |field| self.fields.contains(field) || self.revealed_fields.contains(field);
        match classified.iter().find(|field| !decided(field)) {
            None => Ok(()),
            Some(forgotten) => Err(Denial::new(
                Reason::Masking,
                format!(
                    "field {} is classified and no mask was decided for it",
                    forgotten.name()
                ),
            )),
        }
    }

    /// Whether these obligations can be kept for this use of classified data.
    ///
    /// The gate calls it on every allowed operation, so that no decision point can forget a mask.
    ///
    /// # Errors
    /// A [`Denial`] that names column, construct and what would work.
    pub fn check(&self, used: &ClassifiedUse) -> Result<(), Denial> {
        let covered = |id: ColumnId| self.reveal.contains(&id) || self.masks.contains_key(&id);
        if let Some(forgotten) = used.columns.iter().find(|column| !covered(column.id)) {
            return Err(Denial::new(
                Reason::Masking,
                format!(
                    "column {} is classified and no mask was decided for it",
                    forgotten.path()
                ),
            ));
        }
        match &used.shape {
            Shape::Untouched if used.columns.is_empty() => Ok(()),
            Shape::Untouched => Err(Denial::new(
                Reason::Masking,
                "classified columns are in reach but the statement's shape is unknown",
            )),
            Shape::Plain { .. } | Shape::Rewritten(_) => Ok(()),
            Shape::Beyond { .. } if self.masks.is_empty() => Ok(()),
            Shape::Beyond {
                construct,
                column,
                instead,
            } => {
                let column = column
                    .clone()
                    .or_else(|| self.masks.values().next().map(|column| column.path()))
                    .unwrap_or_default();
                Err(Denial::new(
                    Reason::Masking,
                    format!("{construct} could disclose the classified column {column}"),
                )
                .with_detail(format!(
                    "The column is masked for you, and its mask can't be followed through {construct}."
                ))
                .with_hint(instead.clone()))
            }
        }
    }
}

/// How often a column was masked in one unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MaskCount {
    /// `schema.table.column`.
    pub column: String,
    /// Its class.
    pub class: ClassName,
    /// The method that masked it.
    pub method: &'static str,
    /// Values seen, NULLs included. 0 where the target masked them: they were never sent.
    pub seen: u64,
    /// Values replaced; NULLs stay NULL.
    pub masked: u64,
}
