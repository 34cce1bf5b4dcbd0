//! Reads TOML tables key by key, and collects every mistake instead of stopping at the first.

use std::{cell::RefCell, fmt::Display, ops::Range, sync::Arc};

use miette::NamedSource;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::Mistake;

/// Mistakes found so far in one file.
pub(super) struct Mistakes {
    source: Arc<NamedSource<Arc<str>>>,
    found: RefCell<Vec<Mistake>>,
}

impl Mistakes {
    pub(super) fn new(name: impl AsRef<str>, text: &str) -> Self {
        let source = NamedSource::new(name, Arc::from(text)).with_language("TOML");
        Self {
            source: Arc::new(source),
            found: RefCell::default(),
        }
    }

    pub(super) fn add(&self, span: Range<usize>, message: impl Into<String>, help: Option<String>) {
        self.found
            .borrow_mut()
            .push(Mistake::new(&self.source, span, message, help));
    }

    pub(super) fn into_inner(self) -> Vec<Mistake> {
        self.found.into_inner()
    }
}

/// One table, being read. Ends with [`Section::finish`], which refuses keys that nobody asked for.
pub(super) struct Section<'a, 'i> {
    table: &'a DeTable<'i>,
    span: Range<usize>,
    name: &'static str,
    known: Vec<&'static str>,
    mistakes: &'a Mistakes,
}

impl<'a, 'i> Section<'a, 'i> {
    pub(super) fn new(
        table: &'a DeTable<'i>,
        span: Range<usize>,
        name: &'static str,
        mistakes: &'a Mistakes,
    ) -> Self {
        Self {
            table,
            span,
            name,
            known: Vec::new(),
            mistakes,
        }
    }

    /// Where the table begins.
    fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// Reports a mistake at the value of `key`, or at the table when the key is absent.
    pub(super) fn complain(&self, key: &str, message: impl Into<String>, help: Option<String>) {
        let span = self
            .table
            .get(key)
            .map_or_else(|| self.span(), Spanned::span);
        self.mistakes.add(span, message, help);
    }

    fn value(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'i>>> {
        self.known.push(key);
        self.table.get(key)
    }

    fn wrong_type<T>(&self, value: &Spanned<DeValue<'i>>, key: &str, wanted: &str) -> Option<T> {
        let found = value.get_ref().type_str();
        self.mistakes.add(
            value.span(),
            format!("`{key}` must be {wanted}, not {found}"),
            None,
        );
        None
    }

    fn missing<T>(&self, key: &str) -> Option<T> {
        let message = format!("`{}` lacks `{key}`", self.name);
        self.mistakes.add(self.span(), message, None);
        None
    }

    fn text(&mut self, key: &'static str) -> Option<(&'a str, Range<usize>)> {
        let value = self.value(key)?;
        match value.get_ref().as_str() {
            Some(text) => Some((text, value.span())),
            None => self.wrong_type(value, key, "a string"),
        }
    }

    /// An optional string, parsed.
    pub(super) fn optional<T, E: Display>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<T> {
        let (text, span) = self.text(key)?;
        parse(text)
            .map_err(|e| self.mistakes.add(span, format!("`{key}`: {e}"), None))
            .ok()
    }

    /// A string that must be there, parsed.
    pub(super) fn required<T, E: Display>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<T> {
        if self.table.get(key).is_none() {
            self.known.push(key);
            return self.missing(key);
        }
        self.optional(key, parse)
    }

    /// A string out of a closed set, or `default`.
    pub(super) fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        default: T,
        choices: &[(&str, T)],
    ) -> T {
        let Some((text, span)) = self.text(key) else {
            return default;
        };
        if let Some((_, chosen)) = choices.iter().find(|(name, _)| *name == text) {
            return *chosen;
        }
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        let message = format!("`{key}` must be {}", one_of(&names));
        self.mistakes.add(span, message, suggestion(text, &names));
        default
    }

    /// A whole number in `range`, or `default`.
    pub(super) fn number(
        &mut self,
        key: &'static str,
        default: u64,
        range: std::ops::RangeInclusive<u64>,
    ) -> u64 {
        let Some(value) = self.value(key) else {
            return default;
        };
        let Some(integer) = value.get_ref().as_integer() else {
            return self
                .wrong_type(value, key, "a whole number")
                .unwrap_or(default);
        };
        match u64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(number) if range.contains(&number) => number,
            _ => {
                let message = format!("`{key}` must be {} to {}", range.start(), range.end());
                self.mistakes.add(value.span(), message, None);
                default
            }
        }
    }

    /// A list of strings, each parsed; empty when absent.
    pub(super) fn list<T, E: Display>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Vec<T> {
        let Some(value) = self.value(key) else {
            return Vec::new();
        };
        let Some(array) = value.get_ref().as_array() else {
            return self
                .wrong_type(value, key, "a list of strings")
                .unwrap_or_default();
        };
        let mut items = Vec::new();
        for item in array.iter() {
            match item.get_ref().as_str().map(&parse) {
                Some(Ok(parsed)) => items.push(parsed),
                Some(Err(e)) => self
                    .mistakes
                    .add(item.span(), format!("`{key}`: {e}"), None),
                None => self
                    .mistakes
                    .add(item.span(), format!("`{key}` holds strings"), None),
            }
        }
        items
    }

    /// A list with at least one string in it.
    pub(super) fn non_empty_list<T, E: Display>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<Vec<T>> {
        if self.table.get(key).is_none() {
            self.known.push(key);
            return self.missing(key);
        }
        let items = self.list(key, parse);
        if items.is_empty() {
            self.complain(key, format!("`{key}` must name at least one"), None);
            return None;
        }
        Some(items)
    }

    /// A table below this one.
    pub(super) fn section(&mut self, key: &'static str) -> Option<Section<'a, 'i>> {
        let value = self.value(key)?;
        match value.get_ref().as_table() {
            Some(table) => Some(Section::new(table, value.span(), key, self.mistakes)),
            None => self.wrong_type(value, key, "a table"),
        }
    }

    /// A table below this one that must be there.
    pub(super) fn required_section(&mut self, key: &'static str) -> Option<Section<'a, 'i>> {
        if self.table.get(key).is_none() {
            self.known.push(key);
            return self.missing(key);
        }
        self.section(key)
    }

    /// The tables of `[[key]]`, at least one.
    pub(super) fn sections(&mut self, key: &'static str) -> Vec<Section<'a, 'i>> {
        let Some(value) = self.value(key) else {
            let message = format!("there is no `[[{key}]]`: at least one is needed");
            self.mistakes.add(self.span(), message, None);
            return Vec::new();
        };
        let Some(array) = value.get_ref().as_array() else {
            let help = Some(format!("write `[[{key}]]`"));
            self.mistakes.add(
                value.span(),
                format!("`{key}` must be a list of tables"),
                help,
            );
            return Vec::new();
        };
        let mut sections = Vec::new();
        for item in array.iter() {
            match item.get_ref().as_table() {
                Some(table) => {
                    sections.push(Section::new(table, item.span(), key, self.mistakes));
                }
                None => self
                    .mistakes
                    .add(item.span(), format!("`{key}` holds tables"), None),
            }
        }
        sections
    }

    /// Refuses every key that was not asked for.
    pub(super) fn finish(self) {
        for (key, _) in self.table.iter() {
            let name: &str = key.get_ref();
            if !self.known.contains(&name) {
                let message = format!("unknown key `{name}` in `{}`", self.name);
                self.mistakes
                    .add(key.span(), message, suggestion(name, &self.known));
            }
        }
    }
}

/// `did you mean ...`, when something known is near; else what is known.
fn suggestion(found: &str, known: &[&str]) -> Option<String> {
    let near = known
        .iter()
        .map(|name| (strsim::damerau_levenshtein(found, name), name))
        .filter(|(distance, name)| *distance <= 1 + name.len() / 4)
        // Of equally near ones the one asked for first: the usual one.
        .min_by_key(|(distance, _)| *distance);
    match near {
        Some((_, name)) => Some(format!("did you mean `{name}`?")),
        None if known.is_empty() => None,
        None => Some(format!("known here: {}", one_of(known))),
    }
}

fn one_of(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => quoted.concat(),
    }
}
