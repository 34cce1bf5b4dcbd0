//! A target's catalogue as a value: what names mean, and what derives from what.
//!
//! Snapshots are loaded by a shell; everything here is pure. The JSON form serves tests, `explain`
//! and the fuzzers.

mod closure;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use closure::{Reached, close};

use crate::id::Digest;

/// A relation's object id (`pg_class.oid`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RelationId(pub u32);

/// A column: its relation and its attribute number (`pg_attribute.attnum`, from 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ColumnId {
    /// The relation.
    pub relation: RelationId,
    /// The attribute number.
    pub number: i16,
}

/// Identity of a snapshot: the digest of its canonical JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct CatalogueVersion(pub Digest);

impl fmt::Display for CatalogueVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A catalogue at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The database it describes.
    pub database: String,
    /// `server_version_num`: 150018 is 15.18.
    pub server_version: u32,
    /// `current_schemas(true)` of a fresh session: where unqualified names are looked up, in order.
    pub search_path: Vec<String>,
    /// Every relation the role can see, system catalogues included, sorted by (schema, name).
    pub relations: Vec<Relation>,
    /// Functions and procedures outside `pg_catalog` and `information_schema`.
    pub functions: Vec<Function>,
    /// Operators outside `pg_catalog`.
    pub operators: Vec<QualifiedName>,
    /// Which relations and columns hold what other columns hold.
    pub derivations: Vec<Derivation>,
    /// What the gateway's own role may do.
    pub role: RolePowers,
}

impl Snapshot {
    /// Identity of this snapshot.
    ///
    /// # Errors
    /// Only if serialisation fails, which no value of this type makes it do.
    pub fn version(&self) -> Result<CatalogueVersion, serde_json::Error> {
        serde_json::to_vec(self).map(|json| CatalogueVersion(Digest::of(&json)))
    }

    /// The relation `schema.name`.
    #[must_use]
    pub fn relation(&self, schema: &str, name: &str) -> Option<&Relation> {
        let index = self
            .relations
            .binary_search_by(|r| (r.schema.as_str(), r.name.as_str()).cmp(&(schema, name)))
            .ok()?;
        self.relations.get(index)
    }

    /// The first relation called `name` along the search path, as the server resolves it.
    #[must_use]
    pub fn resolve(&self, name: &str) -> Option<&Relation> {
        self.search_path
            .iter()
            .find_map(|schema| self.relation(schema, name))
    }

    /// The relation with this id. Linear: for closures and messages, not for the hot path.
    #[must_use]
    pub fn relation_by_id(&self, id: RelationId) -> Option<&Relation> {
        self.relations.iter().find(|relation| relation.id == id)
    }
}

/// A name in a schema.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct QualifiedName {
    /// The schema.
    pub schema: String,
    /// The name in it.
    pub name: String,
}

/// What kind of relation (`pg_class.relkind`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RelationKind {
    /// Ordinary table.
    Table,
    /// Partitioned table.
    Partitioned,
    /// View.
    View,
    /// Materialised view.
    MaterializedView,
    /// Foreign table.
    Foreign,
    /// Sequence.
    Sequence,
    /// Composite type, index or TOAST table: nothing to select from directly.
    Other,
}

/// A table, view or other relation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relation {
    /// Its object id.
    pub id: RelationId,
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: RelationKind,
    /// Its columns, by attribute number; dropped ones left out.
    pub columns: Vec<Column>,
    /// It has user triggers, rules other than a view's own, or row security policies: touching it
    /// can call functions.
    pub has_hidden_calls: bool,
}

impl Relation {
    /// The column called `name`.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The id of one of its columns.
    #[must_use]
    pub const fn column_id(&self, column: &Column) -> ColumnId {
        ColumnId {
            relation: self.id,
            number: column.number,
        }
    }
}

/// A column of a relation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// Attribute number, from 1.
    pub number: i16,
    /// Name.
    pub name: String,
    /// Type's object id (`pg_type.oid`); a domain's base type, so that masks fit its wire form.
    pub type_id: u32,
    /// Type as `format_type` prints it.
    pub type_name: String,
}

/// A function outside the system schemas.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Function {
    /// Its object id.
    pub id: u32,
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// `pg_get_function_identity_arguments`.
    pub arguments: String,
}

/// One relation or column holds what a column holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Derivation {
    /// What it comes from.
    pub source: ColumnId,
    /// Where it goes.
    pub derived: DerivedIn,
    /// By what.
    pub how: DerivationKind,
}

/// Where a derived value lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DerivedIn {
    /// In this column, unchanged.
    Column(ColumnId),
    /// Somewhere in this relation: any of its columns may show it.
    Relation(RelationId),
}

/// By what a value is derived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DerivationKind {
    /// A view or materialised view reads it (`pg_depend` of its rewrite rule).
    View,
    /// A partition or inheritance child or parent, by column name.
    Inheritance,
    /// A generated column's expression reads it.
    Generated,
    /// A foreign key references it.
    ForeignKey,
}

/// What the gateway's role may do on the server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolePowers {
    /// The role's name.
    pub name: String,
    /// `rolsuper`.
    pub superuser: bool,
    /// `rolreplication`.
    pub replication: bool,
    /// Memberships that read files, run programs or see other sessions (`pg_read_server_files`…).
    pub powerful_memberships: Vec<String>,
}
