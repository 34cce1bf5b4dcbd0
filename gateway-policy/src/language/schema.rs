//! The Cedar schema, generated from core's actions so that policies and code can't drift apart.

use std::fmt::Write as _;

use gateway_core::operation::Action;

/// What Cedar knows of one action.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Family {
    /// The group it belongs to, if any.
    pub(crate) group: Option<&'static str>,
    /// Entity types it may be done to.
    pub(crate) resources: &'static [&'static str],
    /// Its context type.
    context: &'static str,
}

/// Name of the action that asks whether a classified column or field may be seen.
pub(crate) const REVEAL: &str = "reveal";

const SQL_OBJECTS: &[&str] = &[
    "Target", "Database", "Schema", "Table", "Function", "Setting",
];

impl Family {
    const fn alone(resources: &'static [&'static str], context: &'static str) -> Self {
        Self {
            group: None,
            resources,
            context,
        }
    }

    const fn of(
        group: &'static str,
        resources: &'static [&'static str],
        context: &'static str,
    ) -> Self {
        Self {
            group: Some(group),
            resources,
            context,
        }
    }
}

/// The family of `action`. Exhaustive: a new action must find its place here.
///
/// A group may not be named as one of its members: so `sql.call`, `k8s.exec` and others stand
/// alone, and what removes is `k8s.remove`, since `k8s.delete` is one of its two verbs.
pub(crate) const fn family(action: Action) -> Family {
    use Action as A;
    const fn sql(group: &'static str) -> Family {
        Family::of(group, SQL_OBJECTS, "SqlContext")
    }
    const fn k8s(group: &'static str) -> Family {
        Family::of(group, &["K8sObject"], "ApiContext")
    }
    match action {
        A::SessionOpen | A::SessionCancel => Family::alone(&["Target"], "SessionContext"),
        A::Opaque => Family::alone(&["Target"], "AnyContext"),
        A::SqlSelect | A::SqlCopyOut => sql("sql.read"),
        A::SqlInsert
        | A::SqlUpdate
        | A::SqlDelete
        | A::SqlMerge
        | A::SqlTruncate
        | A::SqlCopyIn => sql("sql.write"),
        A::SqlCreate | A::SqlAlter | A::SqlDrop | A::SqlMaintain => sql("sql.ddl"),
        A::SqlGrant
        | A::SqlRole
        | A::SqlSystem
        | A::SqlExtension
        | A::SqlReplication
        | A::SqlFile => sql("sql.admin"),
        A::SqlCall | A::SqlSession => Family::alone(SQL_OBJECTS, "SqlContext"),
        A::SshExec | A::SshShell => Family::alone(&["Target"], "CommandContext"),
        A::SshRead | A::SshWrite => Family::of("ssh.transfer", &["Path"], "CommandContext"),
        A::K8sGet | A::K8sList | A::K8sWatch | A::K8sLogs => k8s("k8s.read"),
        A::K8sCreate | A::K8sUpdate | A::K8sPatch => k8s("k8s.write"),
        A::K8sDelete | A::K8sDeleteCollection => k8s("k8s.remove"),
        A::K8sExec | A::K8sTunnel | A::K8sSecret | A::K8sRbac | A::K8sToken | A::K8sPrivileged => {
            Family::alone(&["K8sObject"], "ApiContext")
        }
        A::K8sPath => Family::alone(&["ApiPath"], "ApiContext"),
    }
}

/// The family of [`REVEAL`].
pub(crate) const REVEAL_FAMILY: Family = Family::alone(&["Column", "Field"], "AnyContext");

const ENTITIES: &str = r#"// What policies of the access gateway may talk about. Generated: edits are refused.

// App roles and groups of Entra. Ids: the role's value; the group's object id.
entity Role;
entity Group;

// Who asks. Id: "<tenant id>/<object id>". `known`, `owner` and `environment` come from agents.toml;
// `name` is the object id of an unknown agent; `kind` is "application" or "user".
entity Agent in [Role, Group] = {
  name: String,
  owner?: String,
  environment?: String,
  app_id: String,
  kind: String,
  known: Bool,
};

// What it is done to. Ids are paths: Table::"<target>/<database>/<schema>/<table>", and so on;
// `/` and `%` within a name are written %2F and %25.
entity Environment;
entity Target in [Environment] = { name: String };
entity Database in [Target] = { name: String };
entity Schema in [Database] = { name: String };
entity Table in [Schema] = { schema: String, name: String };
entity Column in [Table] = { schema: String, table: String, name: String, class: String };
entity Function in [Schema] = { schema: String, name: String };
entity Setting in [Target] = { name: String };

// A file or folder of a host, in every folder above it: Path::"<target>/var/log" holds all below
// /var/log. A path that isn't absolute and canonical is in none, and is `opaque` beside.
entity Path in [Path, Target] = { path: String };

// Objects of the Kubernetes API. Ids: Namespace::"<target>/<namespace>";
// K8sKind::"<target>/<group>/<resource>", with an empty group for the core group;
// K8sObject::"<target>/<namespace>/<group>/<resource>/<name>". As in RBAC a subresource is another
// resource, `pods/log`, and K8sKind::"<target>//pods" doesn't hold it. `name` is empty for
// collections. `namespace` is empty for what has none and for lists over all of them: rules that
// forbid by namespace must think of these.
entity Namespace in [Target];
entity K8sKind in [Target];
entity K8sObject in [K8sKind, Namespace] = {
  group: String,
  resource: String,
  subresource: String,
  namespace: String,
  name: String,
};
entity ApiPath in [Target] = { path: String };

// A classified field of the API's objects. Id: Field::"<target>/<group>/<resource>/<path>". `path` is
// like "data.*"; `namespace` and `name` are those of the call, where it is about this resource.
entity Field in [K8sKind, Namespace] = {
  group: String,
  resource: String,
  path: String,
  class: String,
  namespace: String,
  name: String,
};

// `approved` is true when every hold that matched has its quorum; only holds may read it.
// `database` is empty where the protocol has none.
type SessionContext = {
  approved: Bool,
  database: String,
  source_ip: ipaddr,
  time: datetime,
  token_age_s: Long,
};

// Facts of the whole message; where one concerns a statement, the worst statement counts.
// `stage` is "query", "prepare" or "execute"; `limit` is there when the text has a constant one.
type SqlContext = {
  approved: Bool,
  database: String,
  source_ip: ipaddr,
  time: datetime,
  token_age_s: Long,
  stage: String,
  statement_count: Long,
  has_where: Bool,
  where_is_constant: Bool,
  limit?: Long,
  read_only: Bool,
  in_transaction: Bool,
};

// `kind` is "exec", "shell" or "file". `command` is the exact line of an exec, empty for others.
// `plain` lines are words with single spaces, the same to every shell. `template` is the name of the
// template of commands.toml that a plain line fits, `program` the first program of the line as far
// as parsing can tell; empty for none. The host's shell has the last word on what a line means:
// permit complete lines and templates; a rule on anything less is no boundary.
type CommandContext = {
  approved: Bool,
  database: String,
  source_ip: ipaddr,
  time: datetime,
  token_age_s: Long,
  kind: String,
  command: String,
  program: String,
  template: String,
  plain: Bool,
  pty: Bool,
};

// `method` is that of HTTP. `privileged`: the body asks for a pod that may reach its node. `command`
// is what an exec runs, each word quoted for a shell where it isn't plain; `program` its first word,
// `template` the template of commands.toml that its words fit; empty for others.
type ApiContext = {
  approved: Bool,
  database: String,
  source_ip: ipaddr,
  time: datetime,
  token_age_s: Long,
  verb: String,
  method: String,
  dry_run: Bool,
  privileged: Bool,
  command: String,
  program: String,
  template: String,
};

// Of operations of any family: each field is there where the family has it.
type AnyContext = {
  approved: Bool,
  database: String,
  source_ip: ipaddr,
  time: datetime,
  token_age_s: Long,
  stage?: String,
  statement_count?: Long,
  has_where?: Bool,
  where_is_constant?: Bool,
  limit?: Long,
  read_only?: Bool,
  in_transaction?: Bool,
  kind?: String,
  command?: String,
  program?: String,
  template?: String,
  plain?: Bool,
  pty?: Bool,
  verb?: String,
  method?: String,
  dry_run?: Bool,
  privileged?: Bool,
};

"#;

/// The schema in Cedar's own syntax: what policies may say. Bundles carry it as
/// `gateway.cedarschema` for editors.
#[must_use]
pub fn schema_text() -> String {
    let mut text = ENTITIES.to_owned();
    let mut groups: Vec<_> = Action::ALL
        .iter()
        .filter_map(|a| family(*a).group)
        .collect();
    groups.dedup();
    for group in groups {
        // Writing to a String can't fail.
        let _ = writeln!(text, "action \"{group}\";");
    }
    let actions = Action::ALL
        .iter()
        .map(|action| (action.as_str(), family(*action)));
    for (name, family) in actions.chain([(REVEAL, REVEAL_FAMILY)]) {
        let within = family
            .group
            .map(|group| format!(" in [\"{group}\"]"))
            .unwrap_or_default();
        let _ = writeln!(
            text,
            "action \"{name}\"{within} appliesTo {{\n  principal: [Agent],\n  resource: [{}],\n  \
             context: {},\n}};",
            family.resources.join(", "),
            family.context
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checked_in_schemas_are_the_generated_one() {
        let generated = schema_text();
        for file in [
            "gateway.cedarschema",
            "starter/postgres/gateway.cedarschema",
            "starter/ssh/gateway.cedarschema",
            "starter/kubernetes/gateway.cedarschema",
        ] {
            let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
            if std::env::var_os("UPDATE_SCHEMA").is_some() {
                std::fs::write(&path, &generated).expect("schema is written");
            }
            let checked_in = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(
                checked_in == generated,
                "{file} is stale: run with UPDATE_SCHEMA=1"
            );
        }
    }

    #[test]
    fn schema_knows_every_action_and_group() {
        let (schema, _) = cedar_policy::Schema::from_cedarschema_str(&schema_text())
            .map(|(schema, warnings)| (schema, warnings.count()))
            .expect("schema parses");
        let names: Vec<String> = schema
            .actions()
            .map(|uid| uid.id().escaped().to_string())
            .collect();
        for action in Action::ALL {
            assert!(
                names.iter().any(|name| name == action.as_str()),
                "{}",
                action.as_str()
            );
        }
        assert!(names.iter().any(|name| name == "sql.write") && names.iter().any(|n| n == REVEAL));
    }
}
