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

/// Name of the action that asks whether a classified column may be seen.
pub(crate) const REVEAL: &str = "reveal";

const SQL_OBJECTS: &[&str] = &[
    "Target", "Database", "Schema", "Table", "Function", "Setting",
];

/// The family of `action`. Exhaustive: a new action must find its place here.
pub(crate) const fn family(action: Action) -> Family {
    use Action as A;
    let group = match action {
        A::SessionOpen | A::SessionCancel => {
            return Family {
                group: None,
                resources: &["Target"],
                context: "SessionContext",
            };
        }
        A::Opaque => {
            return Family {
                group: None,
                resources: &["Target"],
                context: "SqlContext",
            };
        }
        A::SqlSelect | A::SqlCopyOut => "sql.read",
        A::SqlInsert
        | A::SqlUpdate
        | A::SqlDelete
        | A::SqlMerge
        | A::SqlTruncate
        | A::SqlCopyIn => "sql.write",
        A::SqlCreate | A::SqlAlter | A::SqlDrop | A::SqlMaintain => "sql.ddl",
        A::SqlGrant
        | A::SqlRole
        | A::SqlSystem
        | A::SqlExtension
        | A::SqlReplication
        | A::SqlFile => "sql.admin",
        // A group may not be named as one of its members.
        A::SqlCall | A::SqlSession => {
            return Family {
                group: None,
                resources: SQL_OBJECTS,
                context: "SqlContext",
            };
        }
    };
    Family {
        group: Some(group),
        resources: SQL_OBJECTS,
        context: "SqlContext",
    }
}

/// The family of [`REVEAL`].
pub(crate) const REVEAL_FAMILY: Family = Family {
    group: None,
    resources: &["Column"],
    context: "SqlContext",
};

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

// `approved` is true when every hold that matched has its quorum; only holds may read it.
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
