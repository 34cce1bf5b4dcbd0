//! The starter policy, its sample catalogue, an agent, and results of the sample shop.

use std::{error::Error, io, path::Path, sync::Arc, thread};

use bytes::BytesMut;
use gateway_core::{
    catalogue::{CatalogueVersion, Snapshot},
    id::{AppId, ObjectId, TargetName, TenantId},
    identity::{Groups, Principal, PrincipalKind},
    mask::Classified,
    operation::{Operation, SqlStage, SqlUnit},
    target::{Durability, Masking, Mode, Target},
    time::{Mono, Now, Wall},
    wire::Analysed,
};
use gateway_policy::{Bundle, BundleFiles};
use gateway_protocols::{
    postgres::message::{
        CommandComplete, DataRow, Field, Format, List, Message as _, ReadyForQuery, RowDescription,
        TransactionStatus,
    },
    sql,
};

/// Bytes of one DataRow of [`result`].
pub const ROW_BYTES: usize = 79;

/// Everything a decision about the sample shop needs.
#[derive(Debug)]
pub struct Sample {
    /// The starter policy, with as many more rules as were asked for.
    pub bundle: Bundle,
    /// The shop's tables.
    pub snapshot: Snapshot,
    /// Its identity.
    pub version: CatalogueVersion,
    /// Its classified columns.
    pub classified: Arc<Classified>,
    /// An agent of the starter policy.
    pub principal: Principal,
    /// The shop.
    pub target: Target,
}

impl Sample {
    /// Loads the starter policy with `rules` permits of other roles and tables beside its own.
    ///
    /// # Errors
    /// When the starter policy can't be read: it is part of the repository.
    pub fn new(rules: usize) -> Result<Self, Box<dyn Error>> {
        let folder =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../gateway-policy/starter/postgres");
        let names = [
            "access.cedar",
            "structure.cedar",
            "writes.cedar",
            "agents.toml",
            "classification.toml",
        ];
        let mut files = Vec::new();
        for name in names {
            files.push((name.to_owned(), std::fs::read_to_string(folder.join(name))?));
        }
        let more: String = (0..rules).map(other_rule).collect();
        files.push(("more.cedar".to_owned(), more));
        let bundle = Bundle::parse(&BundleFiles::new(files), None)?;
        let snapshot: Snapshot = serde_json::from_str(&std::fs::read_to_string(
            folder.join("tests/catalogue.json"),
        )?)?;
        let name = TargetName::parse("shop")?;
        let classified = bundle
            .classify(&name, &snapshot)
            .map_err(|_| "the classification")?
            .classified;
        Ok(Self {
            bundle,
            version: snapshot.version()?,
            snapshot,
            classified: Arc::new(classified),
            principal: principal()?,
            target: Target {
                name,
                environment: "prod".to_owned(),
                protocol: "postgres",
                mode: Mode::Enforce,
                durability: Durability::Bounded,
                upstream_principal: "gateway".to_owned(),
                classified: true,
                masking: Masking::Shared,
            },
        })
    }

    /// Analyses a text, on a stack that is deep enough.
    ///
    /// # Errors
    /// When the thread can't be had.
    pub fn analyse(&self, text: &Arc<str>) -> io::Result<Analysed> {
        let work = || sql::analyse(text, &self.snapshot, self.version, &self.classified);
        Ok(Analysed {
            analysis: Arc::new(on_deep_stack(work)?),
            classified: Arc::clone(&self.classified),
        })
    }

    /// The operation of a simple query.
    ///
    /// # Errors
    /// When the thread can't be had.
    pub fn query(&self, text: &str) -> io::Result<Operation> {
        let text: Arc<str> = text.into();
        Ok(Operation::Sql(SqlUnit {
            stage: SqlStage::Query,
            analysis: self.analyse(&text)?.analysis,
            text,
            bindings: None,
            in_transaction: false,
        }))
    }

    /// A fixed time, within the agent's token's life.
    #[must_use]
    pub const fn now() -> Now {
        Now {
            wall: Wall::from_secs(1_800_000_000),
            mono: Mono::from_micros(1),
        }
    }
}

fn other_rule(number: usize) -> String {
    format!(
        "@id(\"other-{number}\") permit (principal in Role::\"Team.{}\", action in Action::\"sql.read\", \
         resource is Table) when {{ resource.schema == \"schema_{number}\" }};\n",
        number % 50
    )
}

fn principal() -> Result<Principal, Box<dyn Error>> {
    Ok(Principal {
        tenant: TenantId::parse("11111111-1111-4111-8111-111111111111")?,
        object: ObjectId::parse("22222222-2222-4222-8222-222222222222")?,
        app: AppId::parse("33333333-3333-4333-8333-333333333333")?,
        kind: PrincipalKind::Application,
        display_name: String::new(),
        roles: vec!["Gateway.Connect".to_owned(), "Orders.Write".to_owned()],
        groups: Groups::Known(Vec::new()),
        token_id: String::new(),
        client_auth: None,
        issued_at: Wall::from_secs(1_799_999_000),
        expires_at: Wall::from_secs(1_800_003_600),
    })
}

/// Runs `work` on a thread with the stack that SQL analysis needs; its panics go on here.
///
/// # Errors
/// When the thread can't be had.
pub fn on_deep_stack<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let builder = thread::Builder::new().stack_size(sql::ANALYSIS_STACK_BYTES);
        let done = builder.spawn_scoped(scope, work)?.join();
        Ok(done.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

/// A server's whole answer to `select id, name, email, city from customers`: `rows` rows of
/// [`ROW_BYTES`] each between RowDescription and ReadyForQuery.
///
/// # Errors
/// None in practice: everything fits its length field.
pub fn result(sample: &Sample, rows: usize) -> Result<BytesMut, Box<dyn Error>> {
    let customers = sample
        .snapshot
        .relation("public", "customers")
        .ok_or("no customers")?;
    let (mut out, mut buffer) = (BytesMut::new(), BytesMut::new());
    let mut fields = Vec::new();
    for name in ["id", "name", "email", "city"] {
        let column = customers.column(name).ok_or("no such column")?;
        fields.push(Field {
            name: name.as_bytes(),
            table: customers.id.0,
            attribute: column.number,
            data_type: column.type_id,
            type_size: -1,
            type_modifier: -1,
            format: Format::Text,
        });
    }
    RowDescription {
        fields: List::build(&mut buffer, fields)?,
    }
    .encode(&mut out)?;
    for row in 0..rows {
        let id = format!("{row:08}");
        let cells = [
            id.as_bytes(),
            b"Clara Kowalski",
            b"clara.kowalski@mail.example",
            b"Utrecht",
        ];
        DataRow {
            cells: List::build(&mut buffer, cells.map(Some))?,
        }
        .encode(&mut out)?;
    }
    CommandComplete {
        tag: format!("SELECT {rows}").as_bytes(),
    }
    .encode(&mut out)?;
    ReadyForQuery {
        status: TransactionStatus::Idle,
    }
    .encode(&mut out)?;
    Ok(out)
}
