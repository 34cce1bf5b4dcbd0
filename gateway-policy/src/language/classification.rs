//! `classification.toml`: what belongs to which class, and how each class is masked.

use std::{collections::BTreeMap, sync::Arc};

use gateway_core::id::ClassName;
use serde::Deserialize;
use toml::Spanned;

use super::{
    error::{BundleError, Source, suggest},
    fields::{self, DetectEntry, DetectionRule, FieldEntry, FieldRule},
};
use crate::mask::{Interval, MaskKey, Method};

/// The file's name within a bundle.
pub(crate) const FILE: &str = "classification.toml";

/// Longest replacement text of `redact`, bytes: what PostgreSQL's `name` type holds.
const WITH_BYTES_MAX: usize = 63;
/// Most characters that `partial` keeps.
const KEEP_MAX: u8 = 8;

const METHODS: [&str; 6] = [
    "redact",
    "partial",
    "null",
    "generalise",
    "hash",
    "pseudonym",
];

/// The classification as written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Classes {
    /// How each class is masked.
    pub(crate) methods: BTreeMap<ClassName, Arc<Method>>,
    /// Which columns belong to which class.
    pub(crate) entries: Vec<Entry>,
    /// Which fields of APIs belong to which class.
    pub(crate) fields: Vec<FieldRule>,
    /// What is looked for in text.
    pub(crate) detections: Vec<DetectionRule>,
}

/// The classes that a file defines.
pub(super) struct ClassTable<'a> {
    names: Vec<&'a str>,
    methods: &'a BTreeMap<ClassName, Arc<Method>>,
}

impl ClassTable<'_> {
    /// The class that an entry names, or a mistake.
    pub(super) fn find(
        &self,
        source: Source<'_>,
        named: &Spanned<String>,
        mistakes: &mut Vec<BundleError>,
    ) -> Option<ClassName> {
        let name = named.get_ref();
        if !self.names.contains(&name.as_str()) {
            let help = suggest(name, self.names.iter().copied());
            let mistake = source.mistake(named.span(), format!("unknown class `{name}`"));
            mistakes.push(mistake.with_help(help));
        }
        ClassName::parse(name).ok()
    }

    pub(super) fn method(&self, class: &ClassName) -> Option<&Arc<Method>> {
        self.methods.get(class)
    }
}

/// One `[[column]]`.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) target: Pattern,
    /// Schema, table, column.
    pub(crate) name: [Pattern; 3],
    pub(crate) class: ClassName,
    /// `classification.toml:12`.
    pub(crate) place: String,
}

impl Entry {
    /// How many of its four patterns are literal: the most specific entry wins.
    pub(crate) fn specificity(&self) -> usize {
        std::iter::once(&self.target)
            .chain(&self.name)
            .filter(|p| p.is_literal())
            .count()
    }
}

/// A name in which `*` stands for any characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern(String);

impl Pattern {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    fn is_literal(&self) -> bool {
        !self.0.contains('*')
    }

    /// Whether `name` matches. Linear in `name` for each `*`.
    pub(crate) fn matches(&self, name: &str) -> bool {
        let mut pieces = self.0.split('*');
        let first = pieces.next().unwrap_or_default();
        let Some(mut rest) = name.strip_prefix(first) else {
            return false;
        };
        let Some(last) = pieces.next_back() else {
            return rest.is_empty();
        };
        for piece in pieces {
            match rest.split_once(piece) {
                Some((_, after)) => rest = after,
                None => return false,
            }
        }
        rest.ends_with(last)
    }
}

impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    class: BTreeMap<String, ClassEntry>,
    #[serde(default)]
    column: Vec<ColumnEntry>,
    #[serde(default)]
    field: Vec<FieldEntry>,
    #[serde(default)]
    detect: Vec<DetectEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClassEntry {
    mask: Spanned<MaskEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MaskEntry {
    method: Spanned<String>,
    with: Option<String>,
    keep: Option<String>,
    keep_first: Option<u8>,
    keep_last: Option<u8>,
    to: Option<String>,
    bucket: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ColumnEntry {
    target: String,
    name: Spanned<Vec<String>>,
    class: Spanned<String>,
}

/// Parses the file; mistakes go to `mistakes`. `key` is what keyed methods use.
pub(crate) fn parse(
    source: Source<'_>,
    key: Option<&MaskKey>,
    mistakes: &mut Vec<BundleError>,
) -> Classes {
    let file: File = match toml::from_str(source.text) {
        Ok(file) => file,
        Err(error) => {
            mistakes.push(source.mistake(error.span().unwrap_or(0..0), error.message()));
            return Classes::default();
        }
    };
    let mut methods = BTreeMap::new();
    for (name, entry) in &file.class {
        let span = entry.mask.span();
        let class = match ClassName::parse(name) {
            Ok(class) => class,
            Err(error) => {
                mistakes.push(source.mistake(span, format!("class `{name}`: {error}")));
                continue;
            }
        };
        match method(entry.mask.get_ref(), &class, key) {
            Ok(method) => {
                methods.insert(class, Arc::new(method));
            }
            Err((message, help)) => {
                mistakes.push(source.mistake(span, message).with_help(help));
            }
        }
    }
    let table = ClassTable {
        names: file.class.keys().map(String::as_str).collect(),
        methods: &methods,
    };
    let mut entries = Vec::new();
    for column in file.column {
        let class = table.find(source, &column.class, mistakes);
        let name_span = column.name.span();
        let Ok(name) = <[String; 3]>::try_from(column.name.into_inner()) else {
            let mistake =
                source.mistake(name_span, "`name` has three parts: schema, table, column");
            mistakes.push(mistake.with_help(Some("`*` stands for any characters in a part")));
            continue;
        };
        let Some(class) = class else {
            continue;
        };
        entries.push(Entry {
            target: Pattern::new(column.target),
            name: name.map(Pattern::new),
            class,
            place: source.file_and_line(column.class.span().start),
        });
    }
    Classes {
        fields: fields::fields(source, file.field, &table, mistakes),
        detections: fields::detections(source, file.detect, &table, mistakes),
        entries,
        methods,
    }
}

type Refusal = (String, Option<String>);

/// Makes the method, or says what is wrong with it.
fn method(entry: &MaskEntry, class: &ClassName, key: Option<&MaskKey>) -> Result<Method, Refusal> {
    let name = entry.method.get_ref().as_str();
    let refuse = |message: &str| (format!("mask of class `{class}`: {message}"), None);
    let options = [
        ("with", entry.with.is_some(), "redact"),
        ("keep", entry.keep.is_some(), "partial"),
        ("keep_first", entry.keep_first.is_some(), "partial"),
        ("keep_last", entry.keep_last.is_some(), "partial"),
        ("to", entry.to.is_some(), "generalise"),
        ("bucket", entry.bucket.is_some(), "generalise"),
    ];
    if METHODS.contains(&name)
        && let Some((option, ..)) = options.iter().find(|(_, given, of)| *given && *of != name)
    {
        return Err(refuse(&format!("`{option}` isn't an option of `{name}`")));
    }
    let keyed = || {
        key.cloned()
            .ok_or_else(|| refuse("the method needs a mask key, and none is configured"))
    };
    let kept = |count: u8| match count {
        1..=KEEP_MAX => Ok(usize::from(count)),
        _ => Err(refuse(&format!(
            "at least 1 and at most {KEEP_MAX} characters can be kept"
        ))),
    };
    match name {
        "redact" => {
            let with = entry
                .with
                .clone()
                .unwrap_or_else(|| "[redacted]".to_owned());
            if with.len() > WITH_BYTES_MAX || with.contains('\0') {
                return Err(refuse(&format!(
                    "`with` is at most {WITH_BYTES_MAX} bytes, without NUL"
                )));
            }
            Ok(Method::Redact { with })
        }
        "partial" => match (entry.keep.as_deref(), entry.keep_first, entry.keep_last) {
            (Some("domain"), None, None) => Ok(Method::KeepDomain),
            (None, Some(count), None) => kept(count).map(Method::KeepFirst),
            (None, None, Some(count)) => kept(count).map(Method::KeepLast),
            _ => Err(refuse(
                "`partial` takes one of `keep = \"domain\"`, `keep_first = n` and `keep_last = n`",
            )),
        },
        "null" => Ok(Method::Null),
        "generalise" => match (entry.to.as_deref(), entry.bucket) {
            (Some("year"), None) => Ok(Method::Truncate(Interval::Year)),
            (Some("month"), None) => Ok(Method::Truncate(Interval::Month)),
            (None, Some(width @ 2..)) => Ok(Method::Bucket(i64::from(width))),
            _ => Err(refuse(
                "`generalise` takes `to = \"year\"` or `\"month\"` for dates, or `bucket = n` from 2 for integers",
            )),
        },
        "hash" => keyed().map(|key| Method::Hash {
            key,
            class: class.clone(),
        }),
        "pseudonym" => keyed().map(|key| Method::Pseudonym {
            key,
            class: class.clone(),
        }),
        _ => Err((
            format!("unknown mask method `{name}`"),
            suggest(name, METHODS),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_match_any_characters() {
        for (pattern, name, expected) in [
            ("*", "", true),
            ("*", "ssn", true),
            ("ssn", "ssn", true),
            ("ssn", "ssn2", false),
            ("ssn*", "ssn_enc", true),
            ("*_id", "national_id", true),
            ("a*b*c", "a-bb-c", true),
            ("a*b*c", "a-c-b", false),
            ("ab*ba", "aba", false),
            ("*.b", "a.b", true),
        ] {
            assert_eq!(
                Pattern::new(pattern).matches(name),
                expected,
                "{pattern} on {name}"
            );
        }
    }
}
