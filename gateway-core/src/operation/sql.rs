//! The SQL family: what a text does, found out before any of it runs.

use std::{ops::Range, sync::Arc};

use serde::Serialize;

use super::{Effect, Rewrite, Rewritten};
use crate::{
    catalogue::{CatalogueVersion, ColumnId},
    id::Digest,
    mask::{ClassifiedColumn, Obligations},
};

/// One SQL message on its way to the target.
#[derive(Clone, Debug)]
pub struct SqlUnit {
    /// Which message carries it.
    pub stage: SqlStage,
    /// The exact text the agent sent.
    pub text: Arc<str>,
    /// What the text does.
    pub analysis: Arc<Analysis>,
    /// Parameter values, where the stage has them.
    pub bindings: Option<Bindings>,
    /// Whether the target holds, or may hold, transaction state when this arrives: inside a block,
    /// or behind an execution whose batch isn't closed.
    pub in_transaction: bool,
}

/// The message that carries a SQL unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SqlStage {
    /// Simple query: parsed, planned and run at once.
    Query,
    /// Parse: analysed by the server, not yet planned or run. A hold doesn't stop it.
    Prepare,
    /// Bind and Execute: planned with values, and run.
    Execute,
}

/// Parameter values of an execution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bindings {
    /// SHA-256 over formats and values, each prefixed with its length.
    pub digest: Digest,
    /// The values as people read them: text where they are text, `\\x` and hex where they aren't,
    /// cut at 256 bytes each. Reviewers see them; evidence stores tokens in their place where the
    /// analysis says that the text is within reach of classified data.
    pub shown: Vec<Option<String>>,
}

/// Everything the grammar and the catalogue say about one text.
#[derive(Clone, Debug)]
pub struct Analysis {
    /// The statements of the text, in order. Empty for an empty query.
    pub statements: Vec<Statement>,
    /// Effects of all statements, sorted, without duplicates.
    pub effects: Vec<Effect>,
    /// How much was understood.
    pub inspection: Inspection,
    /// Facts that policies may ask for.
    pub facts: SqlFacts,
    /// What the text does with classified data.
    pub classified: ClassifiedUse,
    /// Byte ranges of the text that may hold classified values sent by the agent (literals of
    /// statements within reach of classified relations): evidence stores tokens in their place.
    pub sensitive: Vec<Range<usize>>,
    /// The catalogue this analysis is true for.
    pub catalogue: CatalogueVersion,
    /// Why the target itself would run nothing of the text, where that is known.
    pub mistake: Option<Mistake>,
}

/// What the target itself answers to a text that it can't run: it isn't SQL, or names what isn't
/// there. A refusal of such a text is told in these words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// SQLSTATE, five characters.
    pub code: &'static str,
    /// The target's message. It may quote the text.
    pub message: String,
    /// Character of the text that it is about, from 1.
    pub position: Option<u32>,
}

/// One statement of a text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Statement {
    /// The command, as its CommandComplete tag begins: `SELECT`, `CREATE TABLE`.
    pub command: String,
    /// Byte range within the text.
    pub span: Range<usize>,
    /// Whether it changes the catalogue, so that snapshots are stale once it has run.
    pub changes_catalogue: bool,
    /// Whether it begins or ends a transaction block.
    pub controls_transaction: bool,
}

/// How much of an operation was understood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Inspection {
    /// Every statement was parsed and every name resolved.
    Full,
    /// Something wasn't; the effect `opaque` stands for it.
    Opaque {
        /// What, in words for the agent and the reviewer.
        reason: String,
    },
}

/// Facts of a SQL text for policies. Where a fact concerns one statement, the text's worst counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SqlFacts {
    /// Number of statements.
    pub statement_count: u32,
    /// Every `UPDATE` and `DELETE` has a `WHERE`. True when there is none of them.
    pub has_where: bool,
    /// Some `WHERE` is constant or constant-true at its top level (`1 = 1`, `true`, `id = id`).
    pub where_is_constant: bool,
    /// The constant `LIMIT` of the outermost query, when it has one.
    pub limit: Option<u64>,
    /// Nothing in the text writes, by the grammar; functions may still.
    pub read_only: bool,
}

/// What a text does with classified data.
#[derive(Clone, Debug, Default)]
pub struct ClassifiedUse {
    /// Classified columns within the text's reach, sorted by id. Empty: none, and `shape` is moot.
    pub columns: Vec<Arc<ClassifiedColumn>>,
    /// How the result can be masked.
    pub shape: Shape,
}

impl ClassifiedUse {
    /// What goes to the target in place of the agent's text under these obligations; `None` where
    /// that is the text itself.
    #[must_use]
    pub fn rewritten(&self, obligations: &Obligations) -> Option<Rewritten> {
        match &self.shape {
            Shape::Rewritten(rewrite) if !obligations.masks.is_empty() => {
                Some(rewrite.render(|column| obligations.masks.contains_key(&column)))
            }
            Shape::Untouched | Shape::Plain { .. } | Shape::Rewritten(_) | Shape::Beyond { .. } => {
                None
            }
        }
    }
}

/// How the result of a text that reaches classified columns can be masked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Shape {
    /// The text reaches nothing classified.
    #[default]
    Untouched,
    /// One `SELECT` of plain columns from one relation with simple predicates: each output column
    /// has a known origin, in order.
    Plain {
        /// Origin of each output column.
        outputs: Vec<ColumnId>,
    },
    /// The target masks the columns itself, where a rewritten text reads them.
    Rewritten(Arc<Rewrite>),
    /// Anything else: refused unless every column in reach may be revealed.
    Beyond {
        /// What can't be traced: `lower(email)`, `a join`, `COPY`.
        construct: String,
        /// The column it is about, `schema.table.column`, where one can be named.
        column: Option<String>,
        /// What would work instead.
        instead: String,
    },
}
