//! What texts do with classified columns, and what becomes of them: masked on the wire, masked where
//! they are read, or refused.

use std::{ops::Range, sync::Arc};

use gateway_core::{
    catalogue::{ColumnId, Snapshot},
    mask::{Classified, ClassifiedColumn},
    operation::{ClassifiedUse, Output, Piece, Rewrite, Shape},
};
use pg_query::{Node, NodeRef};

use super::{
    analyser::Findings,
    literals::literals,
    node_ref, outputs,
    plain::{self, Obstacle},
    rewrite::rewrite,
};

/// What one statement does with classified columns.
pub(super) struct Use {
    columns: Vec<Arc<ClassifiedColumn>>,
    how: How,
}

enum How {
    /// It reaches none.
    Untouched,
    /// Its result is plain columns.
    Plain(Vec<ColumnId>),
    /// It is masked at its sources; what its result's columns were.
    Rewritten(Vec<Piece>, Vec<Option<Output>>),
    /// It can't be masked.
    Beyond {
        construct: String,
        column: Option<String>,
        instead: String,
    },
}

impl Use {
    /// `alone`: no other statement is in the text.
    pub(super) fn of(
        node: Option<&Node>,
        found: &Findings,
        alone: bool,
        snapshot: &Snapshot,
        classified: &Classified,
    ) -> Self {
        let untouched = Self {
            columns: Vec::new(),
            how: How::Untouched,
        };
        if classified.is_empty() {
            return untouched;
        }
        if let Some(reaching) = &found.reaching {
            return Self {
                columns: classified.columns().cloned().collect(),
                how: How::Beyond {
                    construct: reaching.construct.clone(),
                    column: None,
                    instead: reaching.instead.clone(),
                },
            };
        }
        let columns: Vec<Arc<ClassifiedColumn>> = classified
            .columns()
            .filter(|column| found.relations.contains(&column.id.relation))
            .cloned()
            .collect();
        if columns.is_empty() {
            return untouched;
        }
        let how = match node.and_then(node_ref) {
            Some(NodeRef::SelectStmt(select)) if alone => {
                plain::outputs(select, snapshot, classified).ok()
            }
            _ => None,
        };
        let how = match (how, node) {
            (Some(outputs), _) => How::Plain(outputs),
            (None, Some(node)) => match rewrite(node, snapshot, classified) {
                Ok(pieces) => How::Rewritten(pieces, outputs::outputs(node, snapshot)),
                Err(obstacle) => beyond(obstacle, &columns),
            },
            (None, None) => beyond(
                Obstacle {
                    construct: "an empty statement".to_owned(),
                    column: None,
                },
                &columns,
            ),
        };
        Self { columns, how }
    }
}

fn beyond(obstacle: Obstacle, columns: &[Arc<ClassifiedColumn>]) -> How {
    let column = obstacle
        .column
        .or_else(|| columns.first().map(|column| column.path()));
    let name = columns
        .first()
        .map_or("c", |column| column.name[2].as_str());
    How::Beyond {
        construct: obstacle.construct,
        column,
        instead: format!(
            "show the column itself, or compare it by = with constants, parameters and columns of its class: … WHERE {name} = $1"
        ),
    }
}

/// The use that a text makes, by its statements'.
pub(super) fn together(text: &str, uses: Vec<(Range<usize>, Use)>) -> ClassifiedUse {
    let mut columns: Vec<Arc<ClassifiedColumn>> = Vec::new();
    for (_, used) in &uses {
        columns.extend(used.columns.iter().cloned());
    }
    columns.sort_by_key(|column| column.id);
    columns.dedup_by_key(|column| column.id);
    if columns.is_empty() {
        return ClassifiedUse::default();
    }
    let alone = uses.len() == 1;
    let mut pieces = Vec::new();
    let mut outputs = Vec::new();
    for (span, used) in uses {
        if !pieces.is_empty() {
            pieces.push(fixed("; "));
        }
        match used.how {
            How::Untouched => pieces.push(fixed(text.get(span).unwrap_or_default())),
            How::Rewritten(rewritten, shown) => {
                pieces.extend(rewritten);
                // Which of several results a description is of isn't told.
                if alone {
                    outputs = shown;
                }
            }
            // It is the text's only statement.
            How::Plain(outputs) => {
                return ClassifiedUse {
                    columns,
                    shape: Shape::Plain { outputs },
                };
            }
            How::Beyond {
                construct,
                column,
                instead,
            } => {
                return ClassifiedUse {
                    columns,
                    shape: Shape::Beyond {
                        construct,
                        column,
                        instead,
                    },
                };
            }
        }
    }
    ClassifiedUse {
        columns,
        shape: Shape::Rewritten(Arc::new(Rewrite::new(pieces).with_outputs(outputs))),
    }
}

fn fixed(text: &str) -> Piece {
    Piece::Fixed {
        text: text.to_owned(),
        sensitive: literals(text),
    }
}

/// A use of everything that is classified, which can't be masked.
pub(super) fn everything(
    classified: &Classified,
    construct: String,
    instead: String,
) -> ClassifiedUse {
    ClassifiedUse {
        columns: classified.columns().cloned().collect(),
        shape: Shape::Beyond {
            construct,
            column: None,
            instead,
        },
    }
}
