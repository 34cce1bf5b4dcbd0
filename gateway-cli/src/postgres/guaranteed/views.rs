//! Masking views: each table with classified columns as agents may see it, masked by the target.

use std::collections::BTreeSet;

use gateway_core::{
    catalogue::{Column, DerivationKind, Relation, RelationKind, Snapshot},
    id::Digest,
    mask::{AtSource, Classified, ClassifiedColumn},
};

use crate::catalogue::MASKED_SCHEMA;

/// The table that holds the key of equality tokens, beside the views.
pub(super) const KEY: &str = "key";
/// PostgreSQL 15, section 4.1.1 "Identifiers and Key Words": 63 bytes; some are for a number.
const NAME_BYTES_MAX: usize = 58;

/// A masking view.
pub(super) struct MaskingView<'a> {
    /// Its name in [`MASKED_SCHEMA`]: the table's, behind its schema's where that isn't `public`.
    pub(super) name: String,
    /// The table.
    pub(super) relation: &'a Relation,
    /// The query that it stands for.
    pub(super) query: String,
    /// It needs the key of equality tokens.
    pub(super) keyed: bool,
    /// Digest of the query, and of which columns the names in it mean.
    digest: Digest,
}

impl MaskingView<'_> {
    /// The comment that says what the view is, given the digest of the rule that the server made.
    pub(super) fn comment(&self, tree: &str) -> String {
        format!("{}{tree}", self.comment_start())
    }

    /// The part of the comment that is known before the view is made.
    pub(super) fn comment_start(&self) -> String {
        format!("access-gateway masking view {} ", self.digest)
    }

    /// Its qualified name.
    pub(super) fn path(&self) -> String {
        format!("{MASKED_SCHEMA}.{}", quoted(&self.name))
    }
}

/// The views of every table with classified columns, by schema and name.
pub(super) fn masking_views<'a>(
    snapshot: &'a Snapshot,
    classified: &Classified,
) -> Vec<MaskingView<'a>> {
    let mut taken = BTreeSet::from([KEY.to_owned()]);
    snapshot
        .relations
        .iter()
        .filter(|relation| {
            matches!(
                relation.kind,
                RelationKind::Table | RelationKind::Partitioned
            )
        })
        .filter(|relation| classified.touches(relation.id) && relation.schema != MASKED_SCHEMA)
        .map(|relation| {
            let name = name(relation, &mut taken);
            view(relation, classified, name)
        })
        .collect()
}

fn name(relation: &Relation, taken: &mut BTreeSet<String>) -> String {
    let mut name = if relation.schema == "public" {
        relation.name.clone()
    } else {
        format!("{}_{}", relation.schema, relation.name)
    };
    while name.len() > NAME_BYTES_MAX {
        name.pop();
    }
    let mut free = name.clone();
    let mut number = 1_u32;
    while !taken.insert(free.clone()) {
        number = number.saturating_add(1);
        free = format!("{name}_{number}");
    }
    free
}

fn view<'a>(relation: &'a Relation, classified: &Classified, name: String) -> MaskingView<'a> {
    let mut keyed = false;
    let mut list = Vec::with_capacity(relation.columns.len());
    for column in &relation.columns {
        let name = quoted(&column.name);
        let value = format!("t.{name}");
        match classified.column(relation.column_id(column)) {
            None => list.push(value),
            Some(how) => {
                keyed |= is_keyed(how);
                list.push(format!("{} AS {name}", masked(how, column, &value)));
            }
        }
    }
    let mut query = format!(
        "SELECT {}\n  FROM {}.{} AS t",
        list.join(",\n       "),
        quoted(&relation.schema),
        quoted(&relation.name)
    );
    if keyed {
        query.push_str(&format!(" CROSS JOIN {MASKED_SCHEMA}.{KEY} AS k"));
    }
    // Two columns that swap their names mean another view with the same text.
    let columns = relation.columns.iter().map(|c| (c.number, &c.name));
    let meant = format!("{query}\n{:?}", columns.collect::<Vec<_>>());
    MaskingView {
        name,
        relation,
        query,
        keyed,
        digest: Digest::of(meant.as_bytes()),
    }
}

/// What a view or a generated column made of a value isn't what the method was chosen for.
fn how(column: &ClassifiedColumn) -> AtSource {
    match column.derived {
        Some(DerivationKind::View | DerivationKind::Generated) => AtSource::Null,
        Some(DerivationKind::Inheritance | DerivationKind::ForeignKey) | None => {
            column.transform.at_source()
        }
    }
}

fn is_keyed(column: &ClassifiedColumn) -> bool {
    matches!(how(column), AtSource::Text(_))
        && matches!(column.transform.method(), "hash" | "pseudonym")
}

/// The expression that masks `value`. Only built-in functions, whose names the script pins.
fn masked(classified: &ClassifiedColumn, column: &Column, value: &str) -> String {
    let text = format!("{value}::text");
    let expression = match how(classified) {
        // Of the column's own type, without naming it: a domain may forbid nulls.
        AtSource::Null => return format!("CASE WHEN false THEN {value} END"),
        AtSource::Text(_) if is_keyed(classified) => token(classified, &text),
        AtSource::Text(with) => literal(&with),
        AtSource::JsonText(with) => format!("to_jsonb({}::text)", literal(&with)),
        AtSource::KeepDomain { hidden } => {
            format!(
                "concat({}, substring({text} from '@[^@]*$'))",
                literal(hidden)
            )
        }
        AtSource::KeepFirst { count, hidden } => {
            let kept = if_twice_as_long(&text, count, "left");
            format!("concat({kept}, {})", literal(hidden))
        }
        AtSource::KeepLast { count, hidden } => {
            let kept = if_twice_as_long(&text, count, "right");
            format!("concat({}, {kept})", literal(hidden))
        }
        AtSource::Truncate { unit } => truncated(unit, column, value),
        AtSource::Bucket { width } => bucket(width, column, value),
    };
    let base = base_type(column.type_id);
    format!("CASE WHEN {value} IS NOT NULL THEN ({expression})::{base} END")
}

/// The type of a mask. What isn't listed is text: `citext`.
const fn base_type(type_id: u32) -> &'static str {
    match type_id {
        19 => "name",
        20 => "int8",
        21 => "int2",
        23 => "int4",
        114 => "json",
        1042 => "bpchar",
        1043 => "varchar",
        1082 => "date",
        1114 => "timestamp",
        1184 => "timestamptz",
        3802 => "jsonb",
        _ => "text",
    }
}

/// Equal values of one class have equal tokens. Nested SHA-256 with two independent secret keys of
/// a block each, as in NMAC; the agent's role can read neither, nor ask for a token of its choice.
fn token(column: &ClassifiedColumn, text: &str) -> String {
    let class = column.class.as_str();
    let said = format!(
        "convert_to({}, 'UTF8') || '\\x00'::bytea || convert_to({text}, 'UTF8')",
        literal(class)
    );
    let tag = format!("encode(sha256(k.outer_key || sha256(k.inner_key || {said})), 'hex')");
    match column.transform.method() {
        "pseudonym" => format!("concat({}, left({tag}, 16))", literal(&format!("{class}-"))),
        _ => tag,
    }
}

fn if_twice_as_long(text: &str, count: usize, kept: &str) -> String {
    let least = count.saturating_mul(2);
    format!("CASE WHEN char_length({text}) >= {least} THEN {kept}({text}, {count}) END")
}

/// The infinities become null. Of a moment, the day in UTC: the time zone is the agent's to set.
fn truncated(unit: &str, column: &Column, value: &str) -> String {
    let unit = literal(unit);
    let truncated = match column.type_id {
        1184 => {
            format!("date_trunc({unit}, {value} AT TIME ZONE 'UTC') AT TIME ZONE 'UTC'")
        }
        _ => format!("date_trunc({unit}, {value}::timestamp)"),
    };
    format!("CASE WHEN isfinite({value}) THEN {truncated} END")
}

/// The multiple of `width` at or below, in numbers that can't overflow; null where the type has no
/// such number.
fn bucket(width: i64, column: &Column, value: &str) -> String {
    let least = match column.type_id {
        21 => i64::from(i16::MIN),
        23 => i64::from(i32::MIN),
        _ => i64::MIN,
    };
    let number = format!("{value}::numeric");
    let floor = format!("({number} - mod(mod({number}, {width}) + {width}, {width}))");
    format!("CASE WHEN {floor} >= {least} THEN {floor} END")
}

/// An identifier (PostgreSQL 15, section 4.1.1 "Identifiers and Key Words").
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A string constant, with `standard_conforming_strings` on (section 4.1.2 "Constants").
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
