//! Claims about the analysis, on a small shop with PostgreSQL 15's own catalogues around it.

use std::thread;

use bytes::BytesMut;
use gateway_core::{
    catalogue::{
        Column, ColumnId, Derivation, DerivationKind, DerivedIn, Function, QualifiedName, Relation,
        RelationId, RelationKind, RolePowers, close,
    },
    id::ClassName,
    mask::{AtSource, Cell, ClassifiedColumn, MaskedCell, Transform},
    operation::Shape,
};

use super::*;

mod classified;
mod depth;
mod effects;
mod mistakes;
mod outputs;
mod rewritten;
mod table;

fn relation(schema: &str, name: &str, id: u32, kind: RelationKind, columns: &str) -> Relation {
    let columns = columns
        .split(',')
        .filter(|name| !name.is_empty())
        .zip(1..)
        .map(|(name, number)| Column {
            number,
            name: name.to_owned(),
            type_id: 25,
            type_name: "text".to_owned(),
        })
        .collect();
    Relation {
        id: RelationId(id),
        schema: schema.to_owned(),
        name: name.to_owned(),
        kind,
        columns,
        has_hidden_calls: name == "order_items",
    }
}

const CUSTOMERS: u32 = 100_001;

/// The shop: PostgreSQL 15's catalogues from a fixture, tables of our own.
fn shop() -> Snapshot {
    use RelationKind as K;
    let mut relations: Vec<Relation> = include_str!("../../testdata/sql/catalogue-15.txt")
        .lines()
        .map(|line| {
            let mut parts = line.split(' ');
            let mut next = || parts.next().unwrap_or_default();
            let (schema, name, id, kind) = (next(), next(), next(), next());
            let kind = if kind == "v" { K::View } else { K::Table };
            relation(schema, name, id.parse().unwrap(), kind, next())
        })
        .collect();
    for (id, (schema, name, kind, columns)) in (CUSTOMERS..).zip([
        ("public", "customers", K::Table, "id,name,email,phone,ssn"),
        (
            "public",
            "orders",
            K::Table,
            "id,customer_id,total,status,note",
        ),
        (
            "public",
            "order_items",
            K::Table,
            "order_id,line,product,quantity",
        ),
        ("public", "customer_emails", K::View, "id,e"),
        (
            "public",
            "customers_eu",
            K::Partitioned,
            "ssn,id,name,email,phone",
        ),
        ("public", "products", K::Table, "id,name,price"),
        ("public", "secrets", K::Table, "id,value"),
        (
            "public",
            "ticket",
            K::Sequence,
            "last_value,log_cnt,is_called",
        ),
        ("app", "jobs", K::Table, "id,payload"),
        ("public", "events", K::Partitioned, "id,at,kind"),
        ("public", "events_2026", K::Table, "id,at,kind"),
    ]) {
        relations.push(relation(schema, name, id, kind, columns));
    }
    relations.sort_by(|a, b| (&a.schema, &a.name).cmp(&(&b.schema, &b.name)));
    let email = ColumnId {
        relation: RelationId(CUSTOMERS),
        number: 3,
    };
    let key = ColumnId {
        relation: RelationId(CUSTOMERS),
        number: 1,
    };
    let function = |schema: &str, name: &str| Function {
        id: 1,
        schema: schema.to_owned(),
        name: name.to_owned(),
        arguments: String::new(),
    };
    Snapshot {
        database: "shop".to_owned(),
        server_version: 150_018,
        search_path: vec!["pg_catalog".to_owned(), "public".to_owned()],
        relations,
        functions: vec![
            function("public", "lower"),
            function("public", "purge"),
            function("public", "json_exists"),
            function("app", "purge"),
        ],
        operators: vec![QualifiedName {
            schema: "public".to_owned(),
            name: "@@@".to_owned(),
        }],
        derivations: vec![
            Derivation {
                source: email,
                derived: DerivedIn::Relation(RelationId(CUSTOMERS + 3)),
                how: DerivationKind::View,
            },
            Derivation {
                source: email,
                derived: DerivedIn::Column(ColumnId {
                    relation: RelationId(CUSTOMERS + 4),
                    number: 4,
                }),
                how: DerivationKind::Inheritance,
            },
            Derivation {
                source: key,
                derived: DerivedIn::Column(ColumnId {
                    relation: RelationId(CUSTOMERS + 1),
                    number: 2,
                }),
                how: DerivationKind::ForeignKey,
            },
        ],
        role: RolePowers::default(),
    }
}

#[derive(Debug)]
struct Redact;

impl Transform for Redact {
    fn mask(&self, _: Cell<'_>, _: &mut BytesMut) -> MaskedCell {
        MaskedCell::Null
    }

    fn method(&self) -> &'static str {
        "redact"
    }

    fn at_source(&self) -> AtSource {
        AtSource::Text("***".into())
    }
}

/// `customers.email` and `customers.ssn`, closed over the snapshot.
fn classification(snapshot: &Snapshot) -> Classified {
    let declared = [3, 5].map(|number| ColumnId {
        relation: RelationId(CUSTOMERS),
        number,
    });
    let reached = close(snapshot, declared);
    let columns = reached
        .columns
        .iter()
        .map(|(id, (_, derived))| {
            let relation = snapshot.relation_by_id(id.relation).unwrap();
            let column = relation
                .columns
                .iter()
                .find(|c| c.number == id.number)
                .unwrap();
            ClassifiedColumn {
                id: *id,
                name: [
                    relation.schema.clone(),
                    relation.name.clone(),
                    column.name.clone(),
                ],
                class: ClassName::parse("personal").unwrap(),
                transform: Arc::new(Redact),
                derived: *derived,
            }
        })
        .collect();
    Classified::new(columns, reached.whole)
}

/// Runs `work` on a thread with the stack that the analysis asks for.
fn on_analysis_stack<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        thread::Builder::new()
            .stack_size(ANALYSIS_STACK_BYTES)
            .spawn_scoped(scope, work)
            .unwrap()
            .join()
            .unwrap()
    })
}

fn analysed(text: &str, snapshot: &Snapshot, classified: &Classified) -> Analysis {
    let version = CatalogueVersion(gateway_core::id::Digest::of(b"test"));
    analyse(&Arc::from(text), snapshot, version, classified)
}

fn effects_of(analysis: &Analysis) -> String {
    let object = |object: &Object| match object {
        Object::Target => "*".to_owned(),
        Object::Database => "database".to_owned(),
        Object::Schema { schema } => format!("{schema}.*"),
        Object::Relation { schema, name } => format!("{schema}.{name}"),
        Object::Function { schema, name } => format!("{schema}.{name}()"),
        Object::Setting { name } => format!("${name}"),
        Object::Path { .. } | Object::Resource { .. } | Object::ApiPath { .. } => {
            panic!("no object of SQL")
        }
    };
    let effects: Vec<String> = analysis
        .effects
        .iter()
        .map(|effect| {
            let action = effect.action.as_str();
            format!(
                "{} {}",
                action.trim_start_matches("sql."),
                object(&effect.object)
            )
        })
        .collect();
    effects.join(", ")
}

/// The benign corpora, one query a paragraph.
fn corpus() -> impl Iterator<Item = &'static str> {
    [
        include_str!("../../testdata/sql/psql-15.sql"),
        include_str!("../../testdata/sql/pg_dump-15.sql"),
        include_str!("../../testdata/sql/drivers.sql"),
    ]
    .into_iter()
    .flat_map(|file| file.split("\n----\n"))
}
