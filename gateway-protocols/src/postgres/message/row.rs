//! Result rows: their description, their cells, and masking them.

use bytes::{BufMut as _, BytesMut};
use nom::number::complete::{be_i16, be_i32, be_u32};

use super::tag::backend as tag;
use super::wire::{
    Element, EncodeError, Format, List, Message, Oid, Parsed, Value, framed, patch_length,
    put_string, string,
};

/// RowDescription: the columns of the rows to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowDescription<'a> {
    /// The columns in order; the server has at most 1,664.
    pub fields: List<'a, Field<'a>>,
}

/// One column of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// Its name in the result.
    pub name: &'a [u8],
    /// The table it is a plain column of; 0 if it is computed.
    pub table: Oid,
    /// Its attribute number in that table; 0 if it is computed.
    pub attribute: i16,
    /// Its data type.
    pub data_type: Oid,
    /// The type's size in bytes; negative for a variable one.
    pub type_size: i16,
    /// The type's modifier, such as the length of a `varchar`; -1 for none.
    pub type_modifier: i32,
    /// How its values are written; text when a statement is described before it is bound.
    pub format: Format,
}

impl<'a> Element<'a> for Field<'a> {
    fn read(input: &'a [u8]) -> Parsed<'a, Self> {
        let (input, name) = string(input)?;
        let (input, table) = be_u32(input)?;
        let (input, attribute) = be_i16(input)?;
        let (input, data_type) = be_u32(input)?;
        let (input, type_size) = be_i16(input)?;
        let (input, type_modifier) = be_i32(input)?;
        let (input, format) = Element::read(input)?;
        Ok((
            input,
            Self {
                name,
                table,
                attribute,
                data_type,
                type_size,
                type_modifier,
                format,
            },
        ))
    }

    fn write(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        put_string(out, self.name)?;
        out.put_u32(self.table);
        out.put_i16(self.attribute);
        out.put_u32(self.data_type);
        out.put_i16(self.type_size);
        out.put_i32(self.type_modifier);
        Element::write(&self.format, out)
    }
}

impl<'a> Message<'a> for RowDescription<'a> {
    const TAG: u8 = tag::ROW_DESCRIPTION;

    fn read(input: &'a [u8]) -> Parsed<'a, Self> {
        List::read(input).map(|(input, fields)| (input, Self { fields }))
    }

    fn write(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        self.fields.write(out);
        Ok(())
    }
}

/// DataRow: the cells of one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataRow<'a> {
    /// The cells in order.
    pub cells: List<'a, Value<'a>>,
}

impl<'a> Message<'a> for DataRow<'a> {
    const TAG: u8 = tag::DATA_ROW;

    fn read(input: &'a [u8]) -> Parsed<'a, Self> {
        List::read(input).map(|(input, cells)| (input, Self { cells }))
    }

    fn write(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        self.cells.write(out);
        Ok(())
    }
}

/// What becomes of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum CellAction {
    /// The original goes out.
    Keep,
    /// What was appended goes out in its place: all of it, possibly nothing, which is the empty
    /// value.
    Replaced,
    /// NULL goes out in its place.
    Null,
}

/// Appends `row` to `out` as a DataRow with some of its cells replaced.
///
/// `masked` tells by column number, from 0, which cells to ask about; `replace` is given the column,
/// its value and a buffer to append the replacement to. All it appends belongs to the cell, and what
/// is already in the buffer is not its to touch. Cells between masked ones are copied as one run.
///
/// Returns how many cells did not go out as they were.
///
/// # Errors
/// [`EncodeError::TooLong`] when a cell or the row no longer fits its length field; `out` is then
/// as it was.
pub fn remask(
    row: &DataRow<'_>,
    masked: impl Fn(usize) -> bool,
    mut replace: impl FnMut(usize, Option<&[u8]>, &mut BytesMut) -> CellAction,
    out: &mut BytesMut,
) -> Result<usize, EncodeError> {
    let mut changed = 0;
    let cells = row.cells.as_bytes();
    out.reserve(cells.len() + 7);
    framed(Some(DataRow::TAG), out, |out| {
        out.put_u16(row.cells.count());
        // The run of bytes that goes out unchanged but has not yet, and the next cell's offset in it.
        let mut run = cells;
        let mut kept = 0;
        for (column, value) in row.cells.iter().enumerate() {
            let cell_len = 4 + value.map_or(0, <[u8]>::len);
            if !masked(column) {
                kept += cell_len;
                continue;
            }
            let (before, rest) = run.split_at_checked(kept).ok_or(EncodeError::TooLong)?;
            out.extend_from_slice(before);
            (run, kept) = (rest, 0);
            let length_at = out.len();
            out.put_i32(-1); // NULL, until there is a length
            match replace(column, value, out) {
                CellAction::Keep => {
                    out.truncate(length_at);
                    kept = cell_len;
                    continue;
                }
                CellAction::Null => out.truncate(length_at + 4),
                CellAction::Replaced => patch_length(out, length_at, length_at + 4)?,
            }
            changed += 1;
            (_, run) = run.split_at_checked(cell_len).ok_or(EncodeError::TooLong)?;
        }
        out.extend_from_slice(run);
        Ok(())
    })?;
    Ok(changed)
}
