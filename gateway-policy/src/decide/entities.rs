//! Core's values as Cedar entities and contexts.

use std::{
    collections::{HashMap, HashSet},
    fmt::Write as _,
};

use cedar_policy::{
    Context, Entity, EntityId, EntityTypeName, EntityUid, RestrictedExpression as Value,
};
use gateway_core::{
    decision::Request,
    identity::{Groups, Principal, PrincipalKind},
    mask::{ClassifiedColumn, ClassifiedField, FieldStep},
    operation::{
        ApiFacts, ApiUnit, CommandKind, CommandUnit, Object, Operation, SessionOp, SqlStage,
        SqlUnit,
    },
    time::{Now, Wall},
};

use crate::{
    language::{Agent, Reads},
    mask::Civil,
};

/// Entity types, parsed once.
pub(super) struct Vocabulary {
    action: EntityTypeName,
    agent: EntityTypeName,
    role: EntityTypeName,
    group: EntityTypeName,
    environment: EntityTypeName,
    target: EntityTypeName,
    database: EntityTypeName,
    schema: EntityTypeName,
    table: EntityTypeName,
    column: EntityTypeName,
    function: EntityTypeName,
    setting: EntityTypeName,
    path: EntityTypeName,
    namespace: EntityTypeName,
    k8s_kind: EntityTypeName,
    k8s_object: EntityTypeName,
    api_path: EntityTypeName,
    field: EntityTypeName,
}

/// An entity type's name isn't one. A bug, or a Cedar that changed.
#[derive(Debug, thiserror::Error)]
#[error("entity type `{0}` isn't a name")]
pub(crate) struct VocabularyError(&'static str);

/// Cedar's name for the type of an object.
pub(super) const fn type_name(object: &Object) -> &'static str {
    match object {
        Object::Target => "Target",
        Object::Database => "Database",
        Object::Schema { .. } => "Schema",
        Object::Relation { .. } => "Table",
        Object::Function { .. } => "Function",
        Object::Setting { .. } => "Setting",
        Object::Path { .. } => "Path",
        Object::Resource { .. } => "K8sObject",
        Object::ApiPath { .. } => "ApiPath",
    }
}

impl Vocabulary {
    pub(super) fn new() -> Result<Self, VocabularyError> {
        let name = |name: &'static str| name.parse().map_err(|_| VocabularyError(name));
        Ok(Self {
            action: name("Action")?,
            agent: name("Agent")?,
            role: name("Role")?,
            group: name("Group")?,
            environment: name("Environment")?,
            target: name("Target")?,
            database: name("Database")?,
            schema: name("Schema")?,
            table: name("Table")?,
            column: name("Column")?,
            function: name("Function")?,
            setting: name("Setting")?,
            path: name("Path")?,
            namespace: name("Namespace")?,
            k8s_kind: name("K8sKind")?,
            k8s_object: name("K8sObject")?,
            api_path: name("ApiPath")?,
            field: name("Field")?,
        })
    }

    pub(super) fn action(&self, name: &str) -> EntityUid {
        uid(&self.action, name)
    }

    pub(super) fn is_group(&self, uid: &EntityUid) -> bool {
        *uid.type_name() == self.group
    }

    pub(super) fn principal_entity(
        &self,
        principal: &Principal,
        agent: Option<&Agent>,
    ) -> Result<Entity, String> {
        let id = format!("{}/{}", principal.tenant, principal.object);
        let kind = match principal.kind {
            PrincipalKind::Application => "application",
            PrincipalKind::User => "user",
        };
        let mut attributes = vec![
            ("app_id", text(principal.app.to_string())),
            ("kind", text(kind)),
            ("known", Value::new_bool(agent.is_some())),
            (
                "name",
                text(agent.map_or_else(|| principal.object.to_string(), |a| a.name.clone())),
            ),
        ];
        let owner = agent.and_then(|agent| agent.owner);
        attributes.extend(owner.map(|owner| ("owner", text(owner.to_string()))));
        let environment = agent.and_then(|agent| agent.environment.clone());
        attributes.extend(environment.map(|environment| ("environment", text(environment))));
        let mut parents: HashSet<_> = principal
            .roles
            .iter()
            .map(|role| uid(&self.role, role))
            .collect();
        match &principal.groups {
            Groups::Known(groups) => {
                parents.extend(
                    groups
                        .iter()
                        .map(|group| uid(&self.group, &group.to_string())),
                );
            }
            Groups::Overage => {}
        }
        entity(uid(&self.agent, &id), attributes, parents)
    }

    /// The entity id of an object.
    pub(super) fn object(&self, request: &Request<'_>, object: &Object) -> EntityUid {
        let target = request.target.name.as_str();
        let database = request.facts.database.as_str();
        match object {
            Object::Target => uid(&self.target, &path(&[target])),
            Object::Database => uid(&self.database, &path(&[target, database])),
            Object::Schema { schema } => uid(&self.schema, &path(&[target, database, schema])),
            Object::Relation { schema, name } => {
                uid(&self.table, &path(&[target, database, schema, name]))
            }
            Object::Function { schema, name } => {
                uid(&self.function, &path(&[target, database, schema, name]))
            }
            Object::Setting { name } => uid(&self.setting, &path(&[target, name])),
            Object::Path { path } => uid(&self.path, &path_id(target, path)),
            Object::Resource {
                group,
                resource,
                subresource,
                namespace,
                name,
            } => {
                let mut names = vec![target, namespace, group, resource, name];
                names.extend(some(subresource));
                uid(&self.k8s_object, &path(&names))
            }
            Object::ApiPath { path: at } => uid(&self.api_path, &path(&[target, at])),
        }
    }

    /// The kind of objects of an API. As in RBAC, a subresource is a kind of its own.
    fn kind(
        &self,
        request: &Request<'_>,
        group: &str,
        resource: &str,
        subresource: &str,
    ) -> EntityUid {
        let mut names = vec![request.target.name.as_str(), group, resource];
        names.extend(some(subresource));
        uid(&self.k8s_kind, &path(&names))
    }

    fn namespace(&self, request: &Request<'_>, namespace: &str) -> Option<EntityUid> {
        let id = path(&[request.target.name.as_str(), some(namespace)?]);
        Some(uid(&self.namespace, &id))
    }

    pub(super) fn object_entity(
        &self,
        request: &Request<'_>,
        object: &Object,
    ) -> Result<Entity, String> {
        let mut parents = HashSet::from([uid(&self.environment, &request.target.environment)]);
        if *object != Object::Target {
            parents.insert(self.object(request, &Object::Target));
        }
        let mut above = |object: &Object| parents.insert(self.object(request, object));
        let attributes = match object {
            Object::Target => vec![("name", text(request.target.name.as_str()))],
            Object::Database => {
                vec![("name", text(request.facts.database.as_str()))]
            }
            Object::Schema { schema } => {
                above(&Object::Database);
                vec![("name", text(schema.as_str()))]
            }
            Object::Relation { schema, name } | Object::Function { schema, name } => {
                above(&Object::Database);
                above(&Object::Schema {
                    schema: schema.clone(),
                });
                vec![
                    ("schema", text(schema.as_str())),
                    ("name", text(name.as_str())),
                ]
            }
            Object::Setting { name } => vec![("name", text(name.as_str()))],
            Object::Path { path } => {
                let target = request.target.name.as_str();
                parents.extend(folders(path).map(|above| uid(&self.path, &path_id(target, above))));
                vec![("path", text(path.as_str()))]
            }
            Object::Resource {
                group,
                resource,
                subresource,
                namespace,
                name,
            } => {
                parents.insert(self.kind(request, group, resource, subresource));
                parents.extend(self.namespace(request, namespace));
                let qualified = match some(subresource) {
                    None => resource.clone(),
                    Some(subresource) => format!("{resource}/{subresource}"),
                };
                vec![
                    ("group", text(group.as_str())),
                    ("resource", text(qualified)),
                    ("subresource", text(subresource.as_str())),
                    ("namespace", text(namespace.as_str())),
                    ("name", text(name.as_str())),
                ]
            }
            Object::ApiPath { path } => vec![("path", text(path.as_str()))],
        };
        entity(self.object(request, object), attributes, parents)
    }

    /// The entity id of a column.
    pub(super) fn column(&self, request: &Request<'_>, column: &ClassifiedColumn) -> EntityUid {
        let [schema, table, name] = &column.name;
        let target = request.target.name.as_str();
        uid(
            &self.column,
            &path(&[target, &request.facts.database, schema, table, name]),
        )
    }

    pub(super) fn column_entity(
        &self,
        request: &Request<'_>,
        column: &ClassifiedColumn,
    ) -> Result<Entity, String> {
        let [schema, table, name] = &column.name;
        let relation = Object::Relation {
            schema: schema.clone(),
            name: table.clone(),
        };
        let parents = [
            uid(&self.environment, &request.target.environment),
            self.object(request, &Object::Target),
            self.object(request, &Object::Database),
            self.object(
                request,
                &Object::Schema {
                    schema: schema.clone(),
                },
            ),
            self.object(request, &relation),
        ];
        let attributes = vec![
            ("schema", text(schema.as_str())),
            ("table", text(table.as_str())),
            ("name", text(name.as_str())),
            ("class", text(column.class.as_str())),
        ];
        entity(
            self.column(request, column),
            attributes,
            HashSet::from(parents),
        )
    }
}

impl Vocabulary {
    /// The entity id of a field.
    pub(super) fn field(&self, request: &Request<'_>, field: &ClassifiedField) -> EntityUid {
        let mut id = path(&[request.target.name.as_str(), &field.group, &field.resource]);
        for step in &field.path {
            id.push('/');
            match step {
                FieldStep::Key(key) => id.push_str(&path(&[key]).replace('*', "%2A")),
                FieldStep::Each => id.push('*'),
            }
        }
        uid(&self.field, &id)
    }

    pub(super) fn field_entity(
        &self,
        request: &Request<'_>,
        field: &ClassifiedField,
    ) -> Result<Entity, String> {
        let (namespace, name) = match request.operation {
            Operation::Api(ApiUnit {
                resource: Some(of), ..
            }) if (&of.group, &of.resource) == (&field.group, &field.resource) => {
                (of.namespace.as_str(), of.name.as_str())
            }
            Operation::Api(_)
            | Operation::Session(_)
            | Operation::Sql(_)
            | Operation::Command(_) => ("", ""),
        };
        let mut parents = HashSet::from([
            uid(&self.environment, &request.target.environment),
            self.object(request, &Object::Target),
            self.kind(request, &field.group, &field.resource, ""),
        ]);
        parents.extend(self.namespace(request, namespace));
        let steps: Vec<&str> = field
            .path
            .iter()
            .map(|step| match step {
                FieldStep::Key(key) => key.as_str(),
                FieldStep::Each => "*",
            })
            .collect();
        let attributes = vec![
            ("group", text(field.group.as_str())),
            ("resource", text(field.resource.as_str())),
            ("path", text(steps.join("."))),
            ("class", text(field.class.as_str())),
            ("namespace", text(namespace)),
            ("name", text(name)),
        ];
        entity(self.field(request, field), attributes, parents)
    }
}

/// The context of every effect of a request. What no rule reads and is dear to provide is left out.
pub(super) fn context(
    reads: Reads,
    now: Now,
    request: &Request<'_>,
    template: &str,
    approved: bool,
) -> Result<Context, String> {
    let mut pairs = vec![
        ("approved", Value::new_bool(approved)),
        ("database", text(database(request))),
    ];
    if reads.source {
        pairs.push(("source_ip", Value::new_ip(request.facts.source.to_string())));
    }
    if reads.clock {
        let age = now.wall.saturating_since(request.principal.issued_at);
        pairs.push(("time", Value::new_datetime(datetime(now.wall)?)));
        pairs.push(("token_age_s", long(age.as_secs())));
    }
    match request.operation {
        Operation::Session(_) => {}
        Operation::Sql(unit) => pairs.extend(sql_facts(unit)),
        Operation::Command(unit) => pairs.extend(command_facts(unit, template)),
        Operation::Api(unit) => pairs.extend(api_facts(unit, template)),
    }
    Context::from_pairs(
        pairs
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value)),
    )
    .map_err(|error| error.to_string())
}

type Pairs = Vec<(&'static str, Value)>;

fn sql_facts(unit: &SqlUnit) -> Pairs {
    let facts = &unit.analysis.facts;
    let mut pairs = vec![
        ("stage", text(stage(unit.stage))),
        ("statement_count", long(facts.statement_count.into())),
        ("has_where", Value::new_bool(facts.has_where)),
        (
            "where_is_constant",
            Value::new_bool(facts.where_is_constant),
        ),
        ("read_only", Value::new_bool(facts.read_only)),
        ("in_transaction", Value::new_bool(unit.in_transaction)),
    ];
    pairs.extend(facts.limit.map(|limit| ("limit", long(limit))));
    pairs
}

fn command_facts(unit: &CommandUnit, template: &str) -> Pairs {
    let facts = &unit.facts;
    vec![
        ("kind", text(kind(unit.kind))),
        ("command", text(command_line(unit))),
        ("program", text(facts.program.as_deref().unwrap_or(""))),
        ("template", text(template)),
        ("plain", Value::new_bool(facts.argv.is_some())),
        ("pty", Value::new_bool(facts.pty)),
    ]
}

fn api_facts(unit: &ApiUnit, template: &str) -> Pairs {
    let facts = &unit.facts;
    vec![
        ("verb", text(unit.verb)),
        ("method", text(facts.method.as_str())),
        ("dry_run", Value::new_bool(facts.dry_run)),
        ("privileged", Value::new_bool(facts.privileged)),
        ("command", text(quoted(facts))),
        (
            "program",
            text(facts.command.first().map_or("", String::as_str)),
        ),
        ("template", text(template)),
    ]
}

/// The database that is asked for, or that the session is in.
fn database<'a>(request: &Request<'a>) -> &'a str {
    match request.operation {
        Operation::Session(SessionOp::Open {
            database: Some(database),
        }) => database,
        Operation::Session(SessionOp::Open { database: None } | SessionOp::Cancel)
        | Operation::Sql(_)
        | Operation::Command(_)
        | Operation::Api(_) => &request.facts.database,
    }
}

pub(super) const fn stage(stage: SqlStage) -> &'static str {
    match stage {
        SqlStage::Query => "query",
        SqlStage::Prepare => "prepare",
        SqlStage::Execute => "execute",
    }
}

pub(super) const fn kind(kind: CommandKind) -> &'static str {
    match kind {
        CommandKind::Exec => "exec",
        CommandKind::Shell => "shell",
        CommandKind::File => "file",
    }
}

/// The command line, where there is one.
pub(super) fn command_line(unit: &CommandUnit) -> &str {
    match unit.kind {
        CommandKind::Exec => &unit.text,
        CommandKind::Shell | CommandKind::File => "",
    }
}

/// The words of an exec as one line that a POSIX shell would split into the same words: so no two
/// commands look alike.
fn quoted(facts: &ApiFacts) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "@%+=:,./_-".contains(c);
    let words = facts.command.iter().map(|word| {
        if !word.is_empty() && word.chars().all(plain) {
            word.clone()
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// `2026-11-23T14:00:00.000Z` (Cedar, RFC 80 "datetime extension").
fn datetime(wall: Wall) -> Result<String, String> {
    let seconds = i64::try_from(wall.as_secs()).map_err(|_| "the clock is out of range")?;
    let Civil { year, month, day } = Civil::from_days(seconds / 86_400);
    if year > 9999 {
        return Err("the clock is past the year 9999".to_owned());
    }
    let (of_day, millis) = (seconds % 86_400, wall.as_micros() / 1000 % 1000);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    Ok(format!(
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z"
    ))
}

/// Folders of a path at most; deeper ones aren't judged.
const DEPTH_MAX: usize = 64;

/// Whether rules on folders can judge the path: absolute, without empty, `.` and `..` steps and
/// control characters, and of a depth that can be listed.
pub(super) fn is_canonical(path: &str) -> bool {
    let is_step = |step: &str| !matches!(step, "" | "." | "..");
    path == "/"
        || path.strip_prefix('/').is_some_and(|steps| {
            steps.split('/').all(is_step)
                && steps.split('/').count() <= DEPTH_MAX
                && !path.chars().any(char::is_control)
        })
}

/// The folders above a canonical path, `/` among them; none for other paths.
fn folders(path: &str) -> impl Iterator<Item = &str> {
    let judged = if is_canonical(path) { path } else { "" };
    let slashes = judged.match_indices('/').map(|(at, _)| at.max(1));
    slashes
        .filter_map(|end| judged.get(..end))
        .filter(|above| above.len() < judged.len())
}

/// `<target>/var/log`. Other paths are a single name behind `.`, which is no step of a canonical one.
fn path_id(target: &str, at: &str) -> String {
    if is_canonical(at) {
        let escaped = path(&[target]);
        format!("{escaped}{}", at.replace('%', "%25"))
    } else {
        path(&[target, ".", at])
    }
}

fn some(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

/// Names joined by `/`; a `/` or `%` within one is percent-encoded, so that paths are unambiguous.
fn path(names: &[&str]) -> String {
    let mut path = String::with_capacity(names.iter().map(|name| name.len() + 1).sum());
    for (index, name) in names.iter().enumerate() {
        if index > 0 {
            path.push('/');
        }
        for character in name.chars() {
            match character {
                '/' | '%' => {
                    // Writing to a String can't fail.
                    let _ = write!(path, "%{:02X}", u32::from(character));
                }
                other => path.push(other),
            }
        }
    }
    path
}

fn uid(kind: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id))
}

fn text(text: impl Into<String>) -> Value {
    Value::new_string(text.into())
}

/// Saturates: beyond 2^63 all numbers are alike to a policy.
fn long(number: u64) -> Value {
    Value::new_long(i64::try_from(number).unwrap_or(i64::MAX))
}

fn entity(
    uid: EntityUid,
    attributes: Vec<(&str, Value)>,
    parents: HashSet<EntityUid>,
) -> Result<Entity, String> {
    let attributes: HashMap<_, _> = attributes
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    Entity::new(uid, attributes, parents).map_err(|error| error.to_string())
}
