//! What is being asked, by family. Exhaustive on purpose: a new family makes the compiler list
//! every match to revisit.

mod sql;

use serde::Serialize;

pub use sql::{
    Analysis, Bindings, ClassifiedUse, Inspection, Shape, SqlFacts, SqlStage, SqlUnit, Statement,
};

/// One unit of work, understood.
#[derive(Clone, Debug)]
pub enum Operation {
    /// Opening a session, or acting on one from outside.
    Session(SessionOp),
    /// A SQL message: all its statements.
    Sql(SqlUnit),
}

impl Operation {
    /// The `(action, object)` pairs that must all be permitted.
    #[must_use]
    pub fn effects(&self) -> &[Effect] {
        match self {
            Self::Session(op) => op.effects(),
            Self::Sql(unit) => &unit.analysis.effects,
        }
    }

    /// The operation class of evidence headers: `session.open`, `sql.query`…
    #[must_use]
    pub fn class(&self) -> &'static str {
        match self {
            Self::Session(SessionOp::Open { .. }) => "session.open",
            Self::Session(SessionOp::Cancel) => "session.cancel",
            Self::Sql(unit) => match unit.stage {
                SqlStage::Query => "sql.query",
                SqlStage::Prepare => "sql.prepare",
                SqlStage::Execute => "sql.execute",
            },
        }
    }
}

/// An operation on the session itself.
#[derive(Clone, Debug)]
pub enum SessionOp {
    /// The agent wants a session on the target.
    Open {
        /// The database (or other namespace) it names; `None` where the protocol has none.
        database: Option<String>,
    },
    /// A cancel key of this session was presented on another connection.
    Cancel,
}

impl SessionOp {
    fn effects(&self) -> &[Effect] {
        const OPEN: &[Effect] = &[Effect {
            action: Action::SessionOpen,
            object: Object::Target,
        }];
        const CANCEL: &[Effect] = &[Effect {
            action: Action::SessionCancel,
            object: Object::Target,
        }];
        match self {
            Self::Open { .. } => OPEN,
            Self::Cancel => CANCEL,
        }
    }
}

/// One thing an operation does to one object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Effect {
    /// What is done.
    pub action: Action,
    /// To what.
    pub object: Object,
}

macro_rules! actions {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)+) => {
        /// What an effect does. `as_str` is its name in policies and evidence.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Action { $($(#[$doc])* $name,)+ }

        impl Action {
            /// Every action, in declaration order.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The name in policies and evidence.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }
        }
    };
}

actions! {
    /// Open a session on a target.
    SessionOpen = "session.open",
    /// Cancel what a session is running.
    SessionCancel = "session.cancel",
    /// Something that couldn't be parsed or resolved; must be permitted by name.
    Opaque = "opaque",
    /// Read rows.
    SqlSelect = "sql.select",
    /// Read rows by `COPY … TO STDOUT`.
    SqlCopyOut = "sql.copy_out",
    /// `INSERT`.
    SqlInsert = "sql.insert",
    /// `UPDATE`, `SELECT … FOR UPDATE` excluded.
    SqlUpdate = "sql.update",
    /// `DELETE`.
    SqlDelete = "sql.delete",
    /// `MERGE`, beside the effects of its branches.
    SqlMerge = "sql.merge",
    /// `TRUNCATE`.
    SqlTruncate = "sql.truncate",
    /// `COPY … FROM STDIN`.
    SqlCopyIn = "sql.copy_in",
    /// `CREATE …`, `SELECT INTO`.
    SqlCreate = "sql.create",
    /// `ALTER …`, `COMMENT`, `SECURITY LABEL`, renames.
    SqlAlter = "sql.alter",
    /// `DROP …`.
    SqlDrop = "sql.drop",
    /// `VACUUM`, `ANALYZE`, `REINDEX`, `CLUSTER`, `REFRESH`, `CHECKPOINT`.
    SqlMaintain = "sql.maintain",
    /// `GRANT`, `REVOKE`, default privileges, policies, ownership.
    SqlGrant = "sql.grant",
    /// Roles, `SET ROLE`, `SET SESSION AUTHORIZATION`.
    SqlRole = "sql.role",
    /// `ALTER SYSTEM`, databases, tablespaces, `LOAD`, event triggers, languages.
    SqlSystem = "sql.system",
    /// Extensions.
    SqlExtension = "sql.extension",
    /// Publications, subscriptions, replication.
    SqlReplication = "sql.replication",
    /// Files and programs on the server, foreign servers.
    SqlFile = "sql.file",
    /// Call a function or procedure, `DO`.
    SqlCall = "sql.call",
    /// Settings, transactions, `LISTEN`, cursors, prepared statements, explicit locks.
    SqlSession = "sql.session",
}

impl Serialize for Action {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// What an effect is done to. Names are as the catalogue spells them, unquoted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Object {
    /// The target as a whole.
    Target,
    /// The session's database.
    Database,
    /// A schema.
    Schema {
        /// Its name.
        schema: String,
    },
    /// A table, view, sequence or other relation.
    Relation {
        /// Its schema.
        schema: String,
        /// Its name.
        name: String,
    },
    /// A function or procedure; overloads share one object.
    Function {
        /// Its schema.
        schema: String,
        /// Its name.
        name: String,
    },
    /// A run-time setting.
    Setting {
        /// Its name, lower case.
        name: String,
    },
}
