//! A SQL text whose classified columns are masked where they are read.

use std::{ops::Range, sync::Arc};

use crate::catalogue::ColumnId;

/// What goes to the target in place of the agent's text: every read of a classified column is an
/// expression that the target masks itself, so that the value enters nothing the agent can see.
///
/// Made without knowing what policy will reveal, and rendered once it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewrite {
    pieces: Vec<Piece>,
    all_masked: Rewritten,
    outputs: Vec<Option<Output>>,
}

/// What a column of the result is by the agent's own text: plainly a column of a relation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The column.
    pub id: ColumnId,
    /// Its type's object id (`pg_type.oid`); a domain's base type.
    pub type_id: u32,
    /// Its type's modifier (`pg_attribute.atttypmod`); `None` where that isn't known.
    pub type_modifier: Option<i32>,
}

/// A piece of a [`Rewrite`], in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Text that is the same whatever is revealed.
    Fixed {
        /// The text.
        text: String,
        /// Byte ranges within it that may hold classified values sent by the agent.
        sensitive: Vec<Range<usize>>,
    },
    /// A read of a classified column.
    Column {
        /// The column.
        id: ColumnId,
        /// The expression that masks it.
        masked: String,
        /// The column itself.
        clear: String,
    },
}

/// A text as it goes to the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewritten {
    /// The text.
    pub text: Arc<str>,
    /// Byte ranges of the text that may hold classified values sent by the agent: evidence stores
    /// tokens in their place.
    pub sensitive: Arc<[Range<usize>]>,
}

impl Rewrite {
    /// Takes the pieces in order.
    #[must_use]
    pub fn new(pieces: Vec<Piece>) -> Self {
        let all_masked = render(&pieces, |_| true);
        Self {
            pieces,
            all_masked,
            outputs: Vec::new(),
        }
    }

    /// Adds what the columns of the result are by the agent's own text, in order; `None` for those
    /// that are computed.
    #[must_use]
    pub fn with_outputs(mut self, outputs: Vec<Option<Output>>) -> Self {
        self.outputs = outputs;
        self
    }

    /// What the columns of the result are by the agent's own text. Empty where that isn't known. To
    /// be told, not to be relied upon.
    #[must_use]
    pub fn outputs(&self) -> &[Option<Output>] {
        &self.outputs
    }

    /// The text in which the columns for which `masks` says so are masked.
    #[must_use]
    pub fn render(&self, masks: impl Fn(ColumnId) -> bool) -> Rewritten {
        let columns = self.pieces.iter().filter_map(|piece| match piece {
            Piece::Column { id, .. } => Some(*id),
            Piece::Fixed { .. } => None,
        });
        if columns.into_iter().all(&masks) {
            self.all_masked.clone()
        } else {
            render(&self.pieces, masks)
        }
    }
}

fn render(pieces: &[Piece], masks: impl Fn(ColumnId) -> bool) -> Rewritten {
    let mut out = String::new();
    let mut ranges = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Fixed { text, sensitive } => {
                let start = out.len();
                let moved = |range: &Range<usize>| range.start + start..range.end + start;
                ranges.extend(sensitive.iter().map(moved));
                out.push_str(text);
            }
            Piece::Column { id, masked, clear } => {
                out.push_str(if masks(*id) { masked } else { clear });
            }
        }
    }
    Rewritten {
        text: out.into(),
        sensitive: ranges.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::RelationId;

    #[test]
    fn what_is_revealed_is_read_and_what_isnt_is_masked() {
        let id = |number| ColumnId {
            relation: RelationId(7),
            number,
        };
        let fixed = |text: &str, sensitive: &[Range<usize>]| Piece::Fixed {
            text: text.into(),
            sensitive: sensitive.to_vec(),
        };
        let column = |number, masked: &str, clear: &str| Piece::Column {
            id: id(number),
            masked: masked.into(),
            clear: clear.into(),
        };
        let rewrite = Rewrite::new(vec![
            fixed("SELECT ", &[]),
            column(1, "'***'", "a"),
            fixed(", ", &[]),
            column(2, "NULL", "b"),
            fixed(" WHERE c = 'x' OR c = 'y'", &[11..14, 22..25]),
        ]);
        let all = rewrite.render(|_| true);
        assert_eq!(&*all.text, "SELECT '***', NULL WHERE c = 'x' OR c = 'y'");
        let sensitive = |rewritten: &Rewritten| -> Vec<String> {
            let ranges = rewritten.sensitive.iter();
            ranges
                .filter_map(|range| rewritten.text.get(range.clone()).map(Into::into))
                .collect()
        };
        assert_eq!(sensitive(&all), ["'x'", "'y'"]);
        let one = rewrite.render(|column| column == id(2));
        assert_eq!(&*one.text, "SELECT a, NULL WHERE c = 'x' OR c = 'y'");
        assert_eq!(sensitive(&one), ["'x'", "'y'"]);
    }
}
