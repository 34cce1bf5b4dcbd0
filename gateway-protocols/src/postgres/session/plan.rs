//! What happens to each column of a result: made once per RowDescription, applied to every row.

use std::{collections::BTreeMap, sync::Arc};

use bytes::BytesMut;
use gateway_core::{
    catalogue::{ColumnId, RelationId},
    mask::{
        Cell, Classified, ClassifiedColumn, Format as CellFormat, MaskCount, MaskedCell,
        Obligations,
    },
    operation::Shape,
    wire::WireError,
};

use crate::postgres::message::{CellAction, DataRow, Format, Message, RowDescription, remask};

/// How to deliver the rows of one result.
#[derive(Debug)]
pub(super) struct Plan {
    columns: Vec<Option<MaskedColumn>>,
    any: bool,
}

#[derive(Debug)]
struct MaskedColumn {
    column: Arc<ClassifiedColumn>,
    format: CellFormat,
    type_id: u32,
    seen: u64,
    masked: u64,
}

impl Plan {
    /// Plans a result, and checks what the target says of it against what the analysis predicted.
    ///
    /// # Errors
    /// An incident when a classified origin wasn't predicted, or the shape is another.
    pub(super) fn new(
        description: &RowDescription<'_>,
        obligations: &Obligations,
        classified: &Classified,
        shape: &Shape,
    ) -> Result<Self, WireError> {
        let fields = &description.fields;
        let predicted = match shape {
            Shape::Plain { outputs } if !obligations.masks.is_empty() => Some(outputs),
            Shape::Plain { .. } | Shape::Untouched | Shape::Rewritten(_) | Shape::Beyond { .. } => {
                None
            }
        };
        // What was masked at its source has no origin any more.
        let at_source = matches!(shape, Shape::Rewritten(_));
        if predicted.is_some_and(|outputs| outputs.len() != fields.len()) {
            return Err(WireError::incident(
                "a masked result has another number of columns",
            ));
        }
        let mut columns = Vec::with_capacity(fields.len());
        for (index, field) in fields.iter().enumerate() {
            let origin = ColumnId {
                relation: RelationId(field.table),
                number: field.attribute,
            };
            if let Some(outputs) = predicted
                && outputs.get(index) != Some(&origin)
            {
                return Err(WireError::incident(
                    "a masked result has a column of another origin",
                ));
            }
            let mask = obligations.masks.get(&origin);
            let unforeseen = (mask.is_none() || at_source)
                && classified.column(origin).is_some()
                && !obligations.reveal.contains(&origin);
            // Attribute 0 is the whole row.
            let whole_row = field.attribute == 0
                && classified
                    .columns()
                    .filter(|column| column.id.relation == origin.relation)
                    .any(|column| !obligations.reveal.contains(&column.id));
            if unforeseen || whole_row {
                return Err(WireError::incident(
                    "a result has a classified column that wasn't predicted",
                ));
            }
            columns.push(mask.map(|column| MaskedColumn {
                column: Arc::clone(column),
                format: match field.format {
                    Format::Text => CellFormat::Text,
                    Format::Binary => CellFormat::Binary,
                },
                type_id: field.data_type,
                seen: 0,
                masked: 0,
            }));
        }
        let any = columns.iter().any(Option::is_some);
        Ok(Self { columns, any })
    }

    /// Whether rows leave as they came.
    pub(super) fn is_clear(&self) -> bool {
        !self.any
    }

    /// Appends the masked form of a row's body to `out`.
    ///
    /// # Errors
    /// An incident when the row isn't what its description said.
    pub(super) fn mask(&mut self, body: &[u8], out: &mut BytesMut) -> Result<usize, WireError> {
        let row = DataRow::parse(body)
            .map_err(|error| WireError::incident(format!("a masked row is malformed: {error}")))?;
        if row.cells.len() != self.columns.len() {
            return Err(WireError::incident(
                "a masked row has another number of cells",
            ));
        }
        let columns = std::cell::RefCell::new(&mut self.columns);
        let masked = |index: usize| matches!(columns.borrow().get(index), Some(Some(_)));
        let replace = |index: usize, value: Option<&[u8]>, out: &mut BytesMut| {
            let mut columns = columns.borrow_mut();
            let Some(Some(column)) = columns.get_mut(index) else {
                return CellAction::Null;
            };
            column.seen += 1;
            let Some(bytes) = value else {
                return CellAction::Keep;
            };
            column.masked += 1;
            let cell = Cell {
                bytes,
                format: column.format,
                type_id: column.type_id,
            };
            match column.column.transform.mask(cell, out) {
                MaskedCell::Null => CellAction::Null,
                MaskedCell::Value => CellAction::Replaced,
            }
        };
        remask(&row, masked, replace, out)
            .map_err(|error| WireError::incident(format!("a masked row can't be framed: {error}")))
    }

    /// Adds what was masked to a unit's counts.
    pub(super) fn count_into(&mut self, counts: &mut BTreeMap<ColumnId, MaskCount>) {
        for column in self.columns.iter_mut().flatten() {
            let count = counts.entry(column.column.id).or_insert_with(|| MaskCount {
                column: column.column.path(),
                class: column.column.class.clone(),
                method: column.column.transform.method(),
                seen: 0,
                masked: 0,
            });
            count.seen += std::mem::take(&mut column.seen);
            count.masked += std::mem::take(&mut column.masked);
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
