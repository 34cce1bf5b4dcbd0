//! Reads one database's catalogue into a core [`Snapshot`].

use std::collections::BTreeMap;

use gateway_core::{
    catalogue::{
        Column, Function, QualifiedName, Relation, RelationId, RelationKind, RolePowers, Snapshot,
    },
    target::Masking,
};
use tokio_postgres::{Client, IsolationLevel, Row, Transaction, types::FromSqlOwned};

use super::{
    ConnectError, derive, queries,
    rights::{self, Provisioning, Rights},
};

/// More rows in one answer than any catalogue that can be analysed has.
const ROWS_MAX: usize = 2_000_000;
/// Domains over domains: deeper than this is a loop or a joke.
const DOMAIN_DEPTH_MAX: usize = 32;

/// A catalogue can't be loaded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    /// The target can't be connected to.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A query failed.
    #[error("reading the catalogue failed: {0}")]
    Query(#[from] tokio_postgres::Error),
    /// The answer isn't what the query asks for, or is too large.
    #[error("the catalogue can't be understood: {0}")]
    Content(String),
    /// It took too long.
    #[error("the catalogue was not read in time")]
    Timeout,
}

/// Reads everything in one read-only transaction, so that all of it is of the same moment. Where
/// the target withholds classified values by itself, the role's rights as well; what the masking
/// views are made of is then no derivation. With the catalogue's fingerprint.
///
/// # Errors
/// [`LoadError`] when a query fails or its answer is not as it should be.
pub(crate) async fn load(
    client: &mut Client,
    masking: Masking,
) -> Result<(Snapshot, Option<Rights>, String), LoadError> {
    let opened = Opened::begin(client).await?;
    let rights = match masking {
        Masking::Shared => None,
        Masking::Guaranteed => Some(opened.rights().await?),
    };
    let snapshot = opened.snapshot(rights.as_ref()).await?;
    let fingerprint = opened
        .transaction
        .query_one(queries::FINGERPRINT, &[])
        .await?;
    opened.transaction.commit().await?;
    Ok((snapshot, rights, get(&fingerprint, "fingerprint")?))
}

/// Reads what [`load`] does for a target that withholds classified values by itself, and what the
/// script needs that makes a target one.
///
/// # Errors
/// As [`load`].
pub(crate) async fn load_for_script(
    client: &mut Client,
) -> Result<(Snapshot, Rights, Provisioning), LoadError> {
    let opened = Opened::begin(client).await?;
    let rights = opened.rights().await?;
    let snapshot = opened.snapshot(Some(&rights)).await?;
    let provisioning = rights::provisioning(&opened.transaction).await?;
    opened.transaction.commit().await?;
    Ok((snapshot, rights, provisioning))
}

/// A transaction that sees one moment and changes nothing, its names pinned.
struct Opened<'a> {
    transaction: Transaction<'a>,
    database: String,
    version: i32,
    search_path: Vec<String>,
}

impl<'a> Opened<'a> {
    async fn begin(client: &'a mut Client) -> Result<Self, LoadError> {
        let transaction = client
            .build_transaction()
            .isolation_level(IsolationLevel::RepeatableRead)
            .read_only(true)
            .start()
            .await?;
        let session = transaction.query_one(queries::SESSION, &[]).await?;
        transaction.execute(queries::PIN, &[]).await?;
        Ok(Self {
            transaction,
            database: get(&session, "database")?,
            version: get(&session, "version")?,
            search_path: get(&session, "search_path")?,
        })
    }

    async fn rights(&self) -> Result<Rights, LoadError> {
        rights::read(&self.transaction, self.version).await
    }

    /// The catalogue. With `rights`, for a target that withholds classified values by itself.
    async fn snapshot(&self, rights: Option<&Rights>) -> Result<Snapshot, LoadError> {
        let transaction = &self.transaction;
        let mut relations = relations(transaction).await?;
        let mut operators = rows(transaction, queries::OPERATORS, qualified_name).await?;
        let mut functions = rows(transaction, queries::FUNCTIONS, function).await?;
        let mut facts = derive::Facts {
            rules: rows(transaction, queries::RULES, derive::Rule::read).await?,
            inherits: rows(transaction, queries::INHERITS, derive::Inherits::read).await?,
            generated: rows(transaction, queries::GENERATED, derive::Generated::read).await?,
            foreign_keys: rows(transaction, queries::FOREIGN_KEYS, derive::ForeignKey::read)
                .await?,
        };
        let role = role(&transaction.query_one(queries::ROLE, &[]).await?)?;

        derive::spread_hidden_calls(&mut relations, &facts);
        if let Some(rights) = rights {
            facts.stop_at(&rights.reviewed());
        }
        let derivations = derive::derivations(&relations, &facts, rights.is_some());
        let mut relations: Vec<Relation> = relations.into_values().collect();
        relations.sort_by(|a, b| (&a.schema, &a.name).cmp(&(&b.schema, &b.name)));
        functions.sort_by(|a, b| (&a.schema, &a.name, a.id).cmp(&(&b.schema, &b.name, b.id)));
        operators.sort();
        Ok(Snapshot {
            database: self.database.clone(),
            server_version: u32::try_from(self.version)
                .map_err(|_| LoadError::Content("negative server version".into()))?,
            search_path: self.search_path.clone(),
            relations,
            functions,
            operators,
            derivations,
            role,
        })
    }
}

async fn relations(
    transaction: &Transaction<'_>,
) -> Result<BTreeMap<RelationId, Relation>, LoadError> {
    let mut relations: BTreeMap<RelationId, Relation> =
        rows(transaction, queries::RELATIONS, relation)
            .await?
            .into_iter()
            .collect();
    let domains: BTreeMap<u32, u32> = rows(transaction, queries::DOMAINS, |row| {
        Ok((get(row, "id")?, get(row, "base")?))
    })
    .await?
    .into_iter()
    .collect();
    for (id, mut column) in rows(transaction, queries::COLUMNS, column).await? {
        column.type_id = base_type(&domains, column.type_id);
        if let Some(relation) = relations.get_mut(&id) {
            relation.columns.push(column);
        }
    }
    Ok(relations)
}

/// Every row of an answer.
pub(super) async fn rows<T>(
    transaction: &Transaction<'_>,
    query: &'static str,
    read: impl Fn(&Row) -> Result<T, LoadError>,
) -> Result<Vec<T>, LoadError> {
    use futures_util::TryStreamExt as _;
    let none: [&str; 0] = [];
    let stream = transaction.query_raw(query, none).await?;
    let mut stream = std::pin::pin!(stream);
    let mut items = Vec::new();
    while let Some(row) = stream.try_next().await? {
        if items.len() >= ROWS_MAX {
            return Err(LoadError::Content(format!("more than {ROWS_MAX} rows")));
        }
        items.push(read(&row)?);
    }
    Ok(items)
}

/// A column of an answer, by name.
pub(super) fn get<T: FromSqlOwned>(row: &Row, name: &str) -> Result<T, LoadError> {
    row.try_get::<_, T>(name)
        .map_err(|e| LoadError::Content(e.to_string()))
}

fn relation(row: &Row) -> Result<(RelationId, Relation), LoadError> {
    let id = RelationId(get(row, "id")?);
    let relation = Relation {
        id,
        schema: get(row, "schema")?,
        name: get(row, "name")?,
        kind: relation_kind(get(row, "kind")?),
        columns: Vec::new(),
        has_hidden_calls: get(row, "hidden")?,
    };
    Ok((id, relation))
}

/// `pg_class.relkind` (PostgreSQL 15, section 53.11 "pg_class").
fn relation_kind(relkind: i8) -> RelationKind {
    match u8::try_from(relkind) {
        Ok(b'r') => RelationKind::Table,
        Ok(b'p') => RelationKind::Partitioned,
        Ok(b'v') => RelationKind::View,
        Ok(b'm') => RelationKind::MaterializedView,
        Ok(b'f') => RelationKind::Foreign,
        Ok(b'S') => RelationKind::Sequence,
        Ok(_) | Err(_) => RelationKind::Other,
    }
}

fn column(row: &Row) -> Result<(RelationId, Column), LoadError> {
    let column = Column {
        number: get(row, "number")?,
        name: get(row, "name")?,
        type_id: get(row, "type_id")?,
        type_name: get(row, "type_name")?,
    };
    Ok((RelationId(get(row, "relation")?), column))
}

fn base_type(domains: &BTreeMap<u32, u32>, mut id: u32) -> u32 {
    for _ in 0..DOMAIN_DEPTH_MAX {
        match domains.get(&id) {
            Some(base) => id = *base,
            None => return id,
        }
    }
    id
}

fn function(row: &Row) -> Result<Function, LoadError> {
    Ok(Function {
        id: get(row, "id")?,
        schema: get(row, "schema")?,
        name: get(row, "name")?,
        arguments: get(row, "arguments")?,
    })
}

fn qualified_name(row: &Row) -> Result<QualifiedName, LoadError> {
    Ok(QualifiedName {
        schema: get(row, "schema")?,
        name: get(row, "name")?,
    })
}

fn role(row: &Row) -> Result<RolePowers, LoadError> {
    Ok(RolePowers {
        name: get(row, "name")?,
        superuser: get(row, "superuser")?,
        replication: get(row, "replication")?,
        powerful_memberships: get(row, "memberships")?,
    })
}
