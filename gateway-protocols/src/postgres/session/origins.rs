//! Origins of result columns that a mask at the source took away: what drivers show as a column's
//! table, and editors need to know.

use bytes::{Bytes, BytesMut};
use gateway_core::{
    catalogue::{ColumnId, RelationId},
    mask::Classified,
    operation::Output,
};

use super::words;
use crate::postgres::message::{Field, List, Message as _, RowDescription};

/// The description with origin and type modifier of the columns that are computed only because they
/// are masked; `None` where there is nothing to say, or the target says otherwise.
pub(super) fn restored(
    description: &RowDescription<'_>,
    outputs: &[Option<Output>],
    classified: &Classified,
) -> Option<Bytes> {
    let fields = &description.fields;
    if fields.len() != outputs.len() {
        return None;
    }
    let mut changed = false;
    let mut told = Vec::with_capacity(fields.len());
    for (field, output) in fields.iter().zip(outputs) {
        let Some(output) = output else {
            told.push(field);
            continue;
        };
        let origin = ColumnId {
            relation: RelationId(field.table),
            number: field.attribute,
        };
        let is_lost = field.table == 0
            && field.data_type == output.type_id
            && classified.column(output.id).is_some();
        if field.table != 0 && origin != output.id {
            return None;
        }
        changed |= is_lost;
        told.push(if is_lost {
            Field {
                table: output.id.relation.0,
                attribute: output.id.number,
                type_modifier: output.type_modifier.unwrap_or(field.type_modifier),
                ..field
            }
        } else {
            field
        });
    }
    if !changed {
        return None;
    }
    Some(words::encoded(|out| {
        let mut buffer = BytesMut::new();
        let fields = List::build(&mut buffer, told)?;
        RowDescription { fields }.encode(out)
    }))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::postgres::{frame, message::Format, session::plan::tests::email};

    fn field(table: u32, attribute: i16, data_type: u32) -> Field<'static> {
        Field {
            name: b"c",
            table,
            attribute,
            data_type,
            type_size: -1,
            type_modifier: -1,
            format: Format::Text,
        }
    }

    #[test]
    fn an_origin_is_restored_where_a_mask_took_it_and_nowhere_else() {
        let column = email();
        let id = column.id;
        let classified = Classified::new(vec![column], BTreeSet::new());
        let output = |id, type_id| {
            Some(Output {
                id,
                type_id,
                type_modifier: Some(34),
            })
        };
        let clear = ColumnId { number: 9, ..id };
        let table = id.relation.0;
        let cases = [
            // masked; computed; of another type; not classified
            (
                vec![field(0, 0, 25)],
                vec![output(id, 25)],
                Some((table, id.number, 34)),
            ),
            (vec![field(0, 0, 25)], vec![None], None),
            (vec![field(0, 0, 23)], vec![output(id, 25)], None),
            (vec![field(0, 0, 25)], vec![output(clear, 25)], None),
            // the target knows better; another number of columns
            (
                vec![field(0, 0, 25), field(7, 1, 25)],
                vec![output(id, 25), output(clear, 25)],
                None,
            ),
            (vec![field(0, 0, 25)], vec![], None),
        ];
        for (fields, outputs, expected) in cases {
            let mut buffer = BytesMut::new();
            let fields = List::build(&mut buffer, fields).unwrap();
            let found = restored(&RowDescription { fields }, &outputs, &classified);
            let found = found.map(|message| {
                let description = RowDescription::parse(frame::body(&message)).unwrap();
                let field = description.fields.iter().next().unwrap();
                (field.table, field.attribute, field.type_modifier)
            });
            assert_eq!(found, expected, "{outputs:?}");
        }
    }
}
