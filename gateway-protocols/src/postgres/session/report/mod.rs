//! The target's errors and notices where the statement is within reach of classified data: rebuilt,
//! so that they stay useful and hold no value.
//!
//! A message is told only if it is known to the letter (`phrases`), names in it only if the agent
//! wrote them or the classification has them, types only if they are PostgreSQL's own. What code in
//! the database says (it has a context, then) may be anything: of that even the names of the objects
//! it is about are kept only if the agent wrote them.

mod phrases;
mod places;

use std::{borrow::Cow, collections::BTreeSet};

use bytes::Bytes;
use gateway_core::mask::Classified;

use super::words;
use crate::postgres::message::{ReportField, ReportFields};

/// What a rebuilt report may speak of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told<'a> {
    /// The agent's text; empty where none is known.
    pub(super) text: &'a str,
    /// What the target has in its place, where that is another.
    pub(super) sent: Option<&'a str>,
    /// What is classified.
    pub(super) classified: &'a Classified,
}

/// The report under `tag` with everything gone that could hold a value.
pub(super) fn scrubbed(tag: u8, fields: &ReportFields<'_>, told: Told<'_>) -> Bytes {
    let from_code = comes_from_code(fields);
    let names = Names::of(fields, told, from_code);
    let code = text_of(fields, ReportField::Code).unwrap_or_default();
    let message = text_of(fields, ReportField::Message)
        .and_then(|message| phrases::message(code, message, &names))
        .unwrap_or_else(|| {
            let class = phrases::class(code, tag);
            format!(
                "{class} (the text is withheld: the statement is within reach of classified data)"
            )
        });
    let known = |text: &str| phrases::more(text, &names).filter(|_| !from_code);
    words::encoded(|out| {
        fields.encode_with(tag, out, |field, text| {
            let text = std::str::from_utf8(text).ok()?;
            match field {
                ReportField::Severity
                | ReportField::SeverityNonLocalized
                | ReportField::Code
                | ReportField::File
                | ReportField::Line
                | ReportField::Routine => Some(Cow::Borrowed(text)),
                ReportField::Message => Some(Cow::Borrowed(message.as_str())),
                ReportField::Detail | ReportField::Hint | ReportField::Where => {
                    known(text).map(Cow::Owned)
                }
                ReportField::Position => placed(text, told).map(Cow::Owned),
                ReportField::Schema
                | ReportField::Table
                | ReportField::Column
                | ReportField::DataType
                | ReportField::Constraint => {
                    (!from_code || names.has(text)).then_some(Cow::Borrowed(text))
                }
                ReportField::InternalPosition
                | ReportField::InternalQuery
                | ReportField::Other(_) => None,
            }
        })
    })
}

/// Whether a report was made while a function ran: then it has a context (PostgreSQL 18, "Error and
/// Notice Message Fields"). Contexts are translated, so what is known to be harmless is listed.
pub(super) fn comes_from_code(fields: &ReportFields<'_>) -> bool {
    let harmless =
        |context: &[u8]| context.starts_with(b"COPY ") || context.starts_with(b"JSON data, ");
    fields.get(ReportField::InternalQuery).is_some()
        || fields
            .get(ReportField::Where)
            .is_some_and(|context| !harmless(context))
}

fn text_of<'a>(fields: &ReportFields<'a>, field: ReportField) -> Option<&'a str> {
    fields
        .get(field)
        .and_then(|text| std::str::from_utf8(text).ok())
}

/// The position in the agent's text; none where that can't be told.
fn placed(position: &str, told: Told<'_>) -> Option<String> {
    let Some(sent) = told.sent else {
        return Some(position.to_owned());
    };
    let position = position.parse().ok()?;
    places::mapped(sent, position, told.text).map(|position| position.to_string())
}

/// Names that may be told.
struct Names<'a> {
    known: BTreeSet<Cow<'a, str>>,
}

impl<'a> Names<'a> {
    fn of(fields: &ReportFields<'a>, told: Told<'a>, from_code: bool) -> Self {
        let mut known: BTreeSet<Cow<'a, str>> = places::names(told.text).collect();
        for column in told.classified.columns() {
            known.extend(column.name.iter().map(|name| Cow::Borrowed(name.as_str())));
        }
        if !from_code {
            for field in [
                ReportField::Schema,
                ReportField::Table,
                ReportField::Column,
                ReportField::DataType,
                ReportField::Constraint,
            ] {
                known.extend(text_of(fields, field).map(Cow::Borrowed));
            }
        }
        Self { known }
    }

    fn has(&self, name: &str) -> bool {
        self.known.contains(name)
    }
}

#[cfg(test)]
mod tests;
