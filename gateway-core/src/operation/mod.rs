//! What is being asked, by family. Exhaustive on purpose: a new family makes the compiler list
//! every match to revisit.

mod api;
mod command;
mod rewrite;
mod sql;

use std::{ops::Range, sync::Arc};

use serde::Serialize;

use crate::mask::Obligations;

pub use api::{ApiFacts, ApiResource, ApiUnit};
pub use command::{CommandFacts, CommandKind, CommandUnit};
pub use rewrite::{Output, Piece, Rewrite, Rewritten};
pub use sql::{
    Analysis, Bindings, ClassifiedUse, Inspection, Mistake, Shape, SqlFacts, SqlStage, SqlUnit,
    Statement,
};

/// One unit of work, understood.
#[derive(Clone, Debug)]
pub enum Operation {
    /// Opening a session, or acting on one from outside.
    Session(SessionOp),
    /// A SQL message: all its statements.
    Sql(SqlUnit),
    /// A program or a file operation on a host.
    Command(CommandUnit),
    /// A call of an API.
    Api(ApiUnit),
}

impl Operation {
    /// The `(action, object)` pairs that must all be permitted.
    #[must_use]
    pub fn effects(&self) -> &[Effect] {
        match self {
            Self::Session(op) => op.effects(),
            Self::Sql(unit) => &unit.analysis.effects,
            Self::Command(unit) => &unit.effects,
            Self::Api(unit) => &unit.effects,
        }
    }

    /// What the agent asks for, as reviewers see it and evidence keeps it. Empty for sessions.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Session(_) => "",
            Self::Sql(unit) => &unit.text,
            Self::Command(unit) => &unit.text,
            Self::Api(unit) => &unit.text,
        }
    }

    /// What goes to the target in place of the text under these obligations; `None` where that is
    /// the text itself.
    #[must_use]
    pub fn rewritten(&self, obligations: &Obligations) -> Option<Rewritten> {
        match self {
            Self::Sql(unit) => unit.analysis.classified.rewritten(obligations),
            Self::Session(_) | Self::Command(_) | Self::Api(_) => None,
        }
    }

    /// [`Operation::text`], shared.
    #[must_use]
    pub fn shared_text(&self) -> Option<Arc<str>> {
        match self {
            Self::Session(_) => None,
            Self::Sql(unit) => Some(Arc::clone(&unit.text)),
            Self::Command(unit) => Some(Arc::clone(&unit.text)),
            Self::Api(unit) => Some(Arc::clone(&unit.text)),
        }
    }

    /// Byte ranges of the text that may hold classified values sent by the agent.
    #[must_use]
    pub fn sensitive(&self) -> &[Range<usize>] {
        match self {
            Self::Session(_) | Self::Command(_) => &[],
            Self::Sql(unit) => &unit.analysis.sensitive,
            Self::Api(unit) => &unit.sensitive,
        }
    }

    /// How much was understood.
    #[must_use]
    pub fn inspection(&self) -> &Inspection {
        match self {
            Self::Session(_) => &Inspection::Full,
            Self::Sql(unit) => &unit.analysis.inspection,
            Self::Command(unit) => &unit.inspection,
            Self::Api(unit) => &unit.inspection,
        }
    }

    /// Values that travel beside the text.
    #[must_use]
    pub fn bindings(&self) -> Option<&Bindings> {
        match self {
            Self::Sql(unit) => unit.bindings.as_ref(),
            Self::Session(_) | Self::Command(_) | Self::Api(_) => None,
        }
    }

    /// Digest of what an approval binds to beyond text, values and effects.
    pub(crate) fn circumstances(&self) -> Option<String> {
        match self {
            Self::Session(_) | Self::Sql(_) => None,
            Self::Command(unit) => Some(format!("{:?}", unit.facts)),
            Self::Api(unit) => Some(format!("{:?}", unit.facts)),
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
            Self::Command(unit) => match unit.kind {
                CommandKind::Exec => "ssh.exec",
                CommandKind::Shell => "ssh.shell",
                CommandKind::File => "ssh.file",
            },
            Self::Api(unit) => match &unit.resource {
                Some(_) => "api.resource",
                None => "api.path",
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
    /// Run a command line.
    SshExec = "ssh.exec",
    /// Start an interactive shell.
    SshShell = "ssh.shell",
    /// Read or list files, or ask for their attributes.
    SshRead = "ssh.transfer.read",
    /// Write, rename or remove files, or change their attributes.
    SshWrite = "ssh.transfer.write",
    /// Read one object.
    K8sGet = "k8s.get",
    /// Read a collection.
    K8sList = "k8s.list",
    /// Read a collection's changes.
    K8sWatch = "k8s.watch",
    /// Read a pod's logs.
    K8sLogs = "k8s.logs",
    /// Create an object.
    K8sCreate = "k8s.create",
    /// Replace an object.
    K8sUpdate = "k8s.update",
    /// Change an object, or create it by server-side apply.
    K8sPatch = "k8s.patch",
    /// Delete an object.
    K8sDelete = "k8s.delete",
    /// Delete a collection.
    K8sDeleteCollection = "k8s.deletecollection",
    /// Run a command in a container, or attach to one, ephemeral containers included.
    K8sExec = "k8s.exec",
    /// Reach ports of pods, services or nodes: port-forward and proxies.
    K8sTunnel = "k8s.tunnel",
    /// An answer may show Secrets, whatever the verb; beside the verb's own effect.
    K8sSecret = "k8s.secret",
    /// Write what grants rights or runs in the API server: RBAC, admission webhooks, aggregated
    /// APIs, certificate approval; beside the verb's own effect.
    K8sRbac = "k8s.rbac",
    /// Get a credential: token requests, certificate signing; beside the verb's own effect.
    K8sToken = "k8s.token",
    /// Write a pod that may reach its node; beside the verb's own effect.
    K8sPrivileged = "k8s.privileged",
    /// A path that is no resource: discovery, versions, health.
    K8sPath = "k8s.path",
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
    /// A file or folder of a host, by the absolute path that the host itself resolved it to, or
    /// else as the agent wrote it.
    Path {
        /// The path.
        path: String,
    },
    /// An object or collection of an API.
    Resource {
        /// API group; empty for the core group.
        group: String,
        /// Plural resource.
        resource: String,
        /// Subresource; empty for none.
        subresource: String,
        /// Namespace; empty for none.
        namespace: String,
        /// Object; empty for collections.
        name: String,
    },
    /// A path of an API that names no resource: `/version`.
    ApiPath {
        /// The canonical path.
        path: String,
    },
}
