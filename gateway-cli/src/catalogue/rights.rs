//! What the gateway's own role may do in a database: facts for the proof that it can't read what is
//! classified. Read in the transaction that reads the catalogue, so that both are of one moment.

use std::collections::BTreeSet;

use gateway_core::catalogue::{ColumnId, RelationId};
use serde::Serialize;
use tokio_postgres::{Row, Transaction};

use super::load::{LoadError, get, rows};

mod queries;

/// The schema of the masking views that `gateway target provision` makes.
pub(crate) const MASKED_SCHEMA: &str = "gateway_masked";

/// A condition of the guaranteed mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Clause {
    /// Who it is.
    Login,
    /// Role attributes.
    Attributes,
    /// Predefined roles.
    Memberships,
    /// Owned objects.
    Ownership,
    /// Classified columns.
    Columns,
    /// System relations that hold values.
    System,
    /// Functions.
    Functions,
    /// Triggers, rules, policies and checks.
    Code,
    /// Materialised views of unknown contents.
    Copies,
    /// Foreign data.
    Foreign,
    /// What it may create.
    Creation,
    /// Settings.
    Settings,
    /// The masking views.
    Views,
}

impl Clause {
    /// Every one, in the order in which they are shown.
    pub(crate) const ALL: [Self; 13] = [
        Self::Login,
        Self::Attributes,
        Self::Memberships,
        Self::Ownership,
        Self::Columns,
        Self::System,
        Self::Functions,
        Self::Code,
        Self::Copies,
        Self::Foreign,
        Self::Creation,
        Self::Settings,
        Self::Views,
    ];

    /// Its name in reports and evidence.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Attributes => "attributes",
            Self::Memberships => "memberships",
            Self::Ownership => "ownership",
            Self::Columns => "columns",
            Self::System => "system",
            Self::Functions => "functions",
            Self::Code => "code",
            Self::Copies => "copies",
            Self::Foreign => "foreign",
            Self::Creation => "creation",
            Self::Settings => "settings",
            Self::Views => "views",
        }
    }

    /// What must hold, of the role and every role that it could become.
    pub(crate) const fn claim(self) -> &'static str {
        match self {
            Self::Login => "sessions run as the role that logs in",
            Self::Attributes => "no SUPERUSER, CREATEROLE, CREATEDB, REPLICATION, BYPASSRLS",
            Self::Memberships => "member of no predefined role",
            Self::Ownership => "owns nothing",
            Self::Columns => "no SELECT on a classified column or what derives from it",
            Self::System => "no access to statistics, large objects' pages or others' statements",
            Self::Functions => {
                "no EXECUTE on functions that act with others' rights or outside SQL"
            }
            Self::Code => "its writes run no code with others' rights or beside classified values",
            Self::Copies => "no SELECT on materialised views that functions fill",
            Self::Foreign => "no foreign tables, servers or wrappers",
            Self::Creation => "creates nothing: no CREATE, TEMPORARY, TRIGGER, REFERENCES",
            Self::Settings => "settings that hide its statements and large objects are in force",
            Self::Views => "masking views are as provisioned, and only read",
        }
    }
}

/// What the gateway's role may do in one database.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Rights {
    /// What breaks a clause whatever is classified: the clause and the object.
    pub(crate) found: BTreeSet<(Clause, String)>,
    /// Every column it could select.
    pub(crate) readable: BTreeSet<ColumnId>,
    /// Code that its writes could run.
    pub(crate) code: BTreeSet<Code>,
    /// Materialised views that functions fill, readable or not.
    pub(crate) copies: BTreeSet<RelationId>,
    /// What is in [`MASKED_SCHEMA`].
    pub(crate) masked: Vec<Masked>,
}

/// A trigger, rule, policy, check or default that a write, or for policies any access, could run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Code {
    /// The relation that is written to; 0 where it is none in particular.
    pub(crate) root: RelationId,
    /// The relation whose code it is.
    pub(crate) relation: RelationId,
    /// In words.
    pub(crate) object: String,
    /// It has rights that the role hasn't.
    pub(crate) foreign_rights: bool,
    /// It runs when the relation is only read, too.
    pub(crate) on_read: bool,
}

/// A relation in [`MASKED_SCHEMA`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Masked {
    /// Its id.
    pub(crate) id: RelationId,
    /// Its name.
    pub(crate) name: String,
    /// It is a view, a security barrier, and has its owner's rights.
    pub(crate) barrier: bool,
    /// Its comment.
    pub(crate) comment: Option<String>,
    /// SHA-256 of its rewrite rule, hex.
    pub(crate) tree: Option<String>,
    /// The role can select from it.
    pub(crate) readable: bool,
    /// The role can write to it.
    pub(crate) writable: bool,
}

impl Rights {
    /// Views that `gateway target provision` made, or that pretend to be: what they show was
    /// reviewed, if [`Clause::Views`] holds.
    pub(crate) fn reviewed(&self) -> BTreeSet<RelationId> {
        self.masked.iter().map(|masked| masked.id).collect()
    }
}

/// Reads the rights of the connection's role; names are looked up in `pg_catalog` only.
///
/// # Errors
/// [`LoadError`] when a query fails or its answer is not as it should be.
pub(super) async fn read(
    transaction: &Transaction<'_>,
    server_version: i32,
) -> Result<Rights, LoadError> {
    let mut found = BTreeSet::new();
    for (clause, since, query) in queries::FINDINGS {
        if server_version >= *since {
            let objects = rows(transaction, query, |row| get::<String>(row, "object")).await?;
            found.extend(objects.into_iter().map(|object| (*clause, object)));
        }
    }
    let readable = rows(transaction, queries::READABLE, readable).await?;
    let code = rows(transaction, queries::CODE, code).await?;
    let copies = rows(transaction, queries::COPIES, |row| {
        Ok(RelationId(get(row, "id")?))
    });
    Ok(Rights {
        found,
        readable: readable.into_iter().collect(),
        code: code.into_iter().collect(),
        copies: copies.await?.into_iter().collect(),
        masked: rows(transaction, queries::MASKED, masked).await?,
    })
}

fn readable(row: &Row) -> Result<ColumnId, LoadError> {
    Ok(ColumnId {
        relation: RelationId(get(row, "relation")?),
        number: get(row, "number")?,
    })
}

fn code(row: &Row) -> Result<Code, LoadError> {
    Ok(Code {
        root: RelationId(get(row, "root")?),
        relation: RelationId(get(row, "relation")?),
        object: get(row, "object")?,
        foreign_rights: get(row, "foreign_rights")?,
        on_read: get(row, "on_read")?,
    })
}

fn masked(row: &Row) -> Result<Masked, LoadError> {
    Ok(Masked {
        id: RelationId(get(row, "id")?),
        name: get(row, "name")?,
        barrier: get(row, "barrier")?,
        comment: get(row, "comment")?,
        tree: get(row, "tree")?,
        readable: get(row, "readable")?,
        writable: get(row, "writable")?,
    })
}

/// What the configured role may do with a relation: what a provisioned role may do at most.
#[derive(Clone, Debug)]
pub(crate) struct Ceiling {
    /// The relation.
    pub(crate) relation: RelationId,
    /// Columns it can select, insert into and update.
    pub(crate) columns: [BTreeSet<i16>; 3],
    /// `DELETE`.
    pub(crate) delete: bool,
    /// `TRUNCATE`.
    pub(crate) truncate: bool,
    /// Everybody can select from it, or from some of its columns.
    pub(crate) public: bool,
    /// It is a partition or an inheritance child.
    pub(crate) child: bool,
}

/// What only provisioning asks.
#[derive(Clone, Debug)]
pub(crate) struct Provisioning {
    /// Relations outside the system's schemas that the role can do something with.
    pub(crate) ceilings: Vec<Ceiling>,
    /// Schemas outside the system's that the role can use.
    pub(crate) schemas: Vec<String>,
    /// `GRANT` statements for sequences and functions, without grantee.
    pub(crate) grants: Vec<String>,
    /// `REVOKE … FROM PUBLIC` statements for what a provisioned role mustn't inherit.
    pub(crate) public: Vec<String>,
}

/// Reads what a script needs beside the rights.
///
/// # Errors
/// As [`read`].
pub(super) async fn provisioning(transaction: &Transaction<'_>) -> Result<Provisioning, LoadError> {
    let text = |row: &Row| get::<String>(row, "statement");
    Ok(Provisioning {
        ceilings: rows(transaction, queries::CEILINGS, ceiling).await?,
        schemas: rows(transaction, queries::SCHEMAS, |row| get(row, "name")).await?,
        grants: rows(transaction, queries::GRANTS, text).await?,
        public: rows(transaction, queries::PUBLIC, text).await?,
    })
}

fn ceiling(row: &Row) -> Result<Ceiling, LoadError> {
    let columns = |name| get::<Vec<i16>>(row, name).map(|numbers| numbers.into_iter().collect());
    Ok(Ceiling {
        relation: RelationId(get(row, "relation")?),
        columns: [
            columns("selects")?,
            columns("inserts")?,
            columns("updates")?,
        ],
        delete: get(row, "deletes")?,
        truncate: get(row, "truncates")?,
        public: get(row, "public")?,
        child: get(row, "child")?,
    })
}
