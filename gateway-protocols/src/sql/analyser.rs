//! The walk over one statement's tree: names resolved, effects collected.

use std::collections::BTreeSet;

use gateway_core::{
    catalogue::{Relation, RelationId, RelationKind, Snapshot},
    operation::{Action, Effect, Mistake, Object},
};
use pg_query::{Node, NodeEnum, NodeRef, protobuf};

use super::{
    builtins, mistake,
    tree::{self, Field, Kind, Part},
};

/// Names of common table expressions that a place in the tree can see.
#[derive(Clone, Copy)]
pub(super) struct Scope<'s> {
    names: &'s [&'s str],
    outer: Option<&'s Scope<'s>>,
}

impl<'s> Scope<'s> {
    /// Sees nothing.
    pub(super) const EMPTY: Self = Scope {
        names: &[],
        outer: None,
    };

    /// Sees `names` and whatever `outer` sees.
    pub(super) const fn within(names: &'s [&'s str], outer: &'s Scope<'s>) -> Self {
        Scope {
            names,
            outer: Some(outer),
        }
    }

    /// Whether `name` is a common table expression here.
    pub(super) fn sees(&self, name: &str) -> bool {
        self.names.contains(&name) || self.outer.is_some_and(|outer| outer.sees(name))
    }
}

/// Something in a statement that might reach any classified column of the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reaching {
    /// What it is, in the words of a denial: "calling public.f".
    pub(super) construct: String,
    /// What would work instead.
    pub(super) instead: String,
}

/// A relation that isn't there, where the target would look for one before it runs anything.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Missing {
    /// Byte of the text at which it is named; `None` where the target doesn't tell.
    at: Option<usize>,
    schema: String,
    name: String,
}

impl Missing {
    /// What the target says of it. `text` is the whole of it.
    pub(super) fn mistake(&self, text: &str) -> Mistake {
        mistake::of_relation(text, &self.schema, &self.name, self.at)
    }
}

/// What one statement does.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// Its effects.
    pub(super) effects: BTreeSet<Effect>,
    /// Why it isn't understood; the first reason counts.
    pub(super) opaque: Option<String>,
    /// Relations that it reads or changes rows of, and which aren't there; in the order of the text.
    pub(super) missing: BTreeSet<Missing>,
    /// Relations whose contents or definition it touches.
    pub(super) relations: BTreeSet<RelationId>,
    /// The first thing that might reach anything.
    pub(super) reaching: Option<Reaching>,
    /// It changes the catalogue, or might.
    pub(super) changes_catalogue: bool,
    /// It locks rows or writes.
    pub(super) writes: bool,
    /// Some UPDATE or DELETE has no WHERE.
    pub(super) lacks_where: bool,
    /// Some WHERE is constant.
    pub(super) where_is_constant: bool,
}

/// Walks one statement.
pub(super) struct Analyser<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) found: Findings,
    /// An earlier statement of the text changes the catalogue: names may mean something else by now.
    pub(super) stale: bool,
    /// The one setting whose row of `pg_settings` the query at hand reads.
    pub(super) setting_row: Option<String>,
}

impl<'a> Analyser<'a> {
    pub(super) fn new(snapshot: &'a Snapshot, stale: bool) -> Self {
        Self {
            snapshot,
            found: Findings::default(),
            stale,
            setting_row: None,
        }
    }

    /// Visits one node and what is below it.
    pub(super) fn visit(&mut self, node: NodeRef<'a>, scope: &Scope<'_>) {
        match tree::kind(node) {
            Kind::Statement(statement) => self.statement(statement, node, scope),
            Kind::Part(part) => self.part(part, node, scope),
            Kind::Analysed => self.opaque("a node that the grammar doesn't make"),
        }
    }

    /// Visits the nodes of one field.
    pub(super) fn descend(&mut self, field: &'a impl Field, scope: &Scope<'_>) {
        field.nodes(&mut |node| self.visit(node, scope));
    }

    /// Visits all children but the relation that the statement itself is about.
    pub(super) fn rest(
        &mut self,
        node: NodeRef<'a>,
        own: Option<&'a protobuf::RangeVar>,
        scope: &Scope<'_>,
    ) {
        tree::children(node, &mut |child| match child {
            NodeRef::RangeVar(range) if own.is_some_and(|own| std::ptr::eq(own, range)) => {}
            _ => self.visit(child, scope),
        });
    }

    fn part(&mut self, part: Part<'a>, node: NodeRef<'a>, scope: &Scope<'_>) {
        match part {
            Part::RangeVar(range) => {
                self.relation(Action::SqlSelect, range, scope);
                return;
            }
            Part::FuncCall(call) => match names(&call.funcname).as_slice() {
                ["pg_catalog", "set_config"] => self.set_config(call),
                ["set_config"] if self.user_function("set_config").is_none() => {
                    self.set_config(call);
                }
                name => self.call(name),
            },
            Part::ColumnRef(column) => self.attribute_notation(&column.fields),
            Part::AIndirection(indirection) => self.field_notation(&indirection.indirection),
            Part::AExpr(expr) => self.operator_expression(expr),
            Part::SubLink(link) => match names(&link.oper_name).as_slice() {
                [] if link.testexpr.is_some() => self.operator(&["="]),
                [] => {}
                operator => self.operator(operator),
            },
            Part::SortBy(sort) if !sort.use_op.is_empty() => self.operator(&names(&sort.use_op)),
            Part::CaseExpr(case) if case.arg.is_some() => self.operator(&["="]),
            Part::JoinExpr(join) if join.is_natural || !join.using_clause.is_empty() => {
                self.operator(&["="]);
            }
            Part::TypeName(name) => self.type_name(name),
            Part::RangeTableSample(sample) => match names(&sample.method).as_slice() {
                ["system" | "bernoulli"] | ["pg_catalog", "system" | "bernoulli"] => {}
                method => self.call(method),
            },
            // The relations named here are aliases of the FROM clause, which is visited itself.
            Part::LockingClause(_) => {
                self.found.writes = true;
                return;
            }
            // Older servers read these as calls of functions, which users may define.
            Part::JsonFuncExpr(_) => {
                self.call_if_defined(&["json_value", "json_query", "json_exists"])
            }
            Part::JsonParseExpr(_) => self.call_if_defined(&["json"]),
            Part::JsonScalarExpr(_) => self.call_if_defined(&["json_scalar"]),
            Part::JsonSerializeExpr(_) => self.call_if_defined(&["json_serialize"]),
            Part::JsonObjectConstructor(_) => self.call_if_defined(&["json_object"]),
            Part::JsonArrayConstructor(_) | Part::JsonArrayQueryConstructor(_) => {
                self.call_if_defined(&["json_array"]);
            }
            Part::JsonObjectAgg(_) => self.call_if_defined(&["json_objectagg"]),
            Part::JsonArrayAgg(_) => self.call_if_defined(&["json_arrayagg"]),
            Part::JsonTable(_) => self.call_if_defined(&["json_table"]),
            Part::MergeSupportFunc(_) => self.call_if_defined(&["merge_action"]),
            // Plain structure: whatever matters is below. (The table in `tree` decides what is a
            // part; a new one fails to compile there first.)
            _ => {}
        }
        tree::children(node, &mut |child| self.visit(child, scope));
    }

    /// Records that something isn't understood.
    pub(super) fn opaque(&mut self, reason: impl Into<String>) {
        self.found.effects.insert(Effect {
            action: Action::Opaque,
            object: Object::Target,
        });
        self.found.changes_catalogue = true;
        let reason = self.found.opaque.get_or_insert_with(|| reason.into());
        let construct = format!("a statement that couldn't be understood ({reason})");
        self.reaches(
            construct,
            "name tables and columns that the catalogue has, one query a message",
        );
    }

    /// Records that something might reach any classified column.
    pub(super) fn reaches(&mut self, construct: impl Into<String>, instead: impl Into<String>) {
        if self.found.reaching.is_none() {
            self.found.reaching = Some(Reaching {
                construct: construct.into(),
                instead: instead.into(),
            });
        }
    }

    /// Records an effect.
    pub(super) fn effect(&mut self, action: Action, object: Object) {
        let changes_catalogue = matches!(
            action,
            Action::SqlCreate
                | Action::SqlAlter
                | Action::SqlDrop
                | Action::SqlGrant
                | Action::SqlRole
                | Action::SqlSystem
                | Action::SqlExtension
                | Action::SqlReplication
        );
        let writes_data = matches!(
            action,
            Action::SqlInsert
                | Action::SqlUpdate
                | Action::SqlDelete
                | Action::SqlMerge
                | Action::SqlTruncate
                | Action::SqlCopyIn
                | Action::SqlMaintain
                | Action::SqlFile
        );
        self.found.changes_catalogue |= changes_catalogue;
        self.found.writes |= changes_catalogue || writes_data;
        self.found.effects.insert(Effect { action, object });
    }

    /// Records `action` on an existing relation and returns it. A name that a common table
    /// expression bears is no relation where only reading is meant.
    pub(super) fn relation(
        &mut self,
        action: Action,
        range: &protobuf::RangeVar,
        scope: &Scope<'_>,
    ) -> Option<&'a Relation> {
        let reads = matches!(action, Action::SqlSelect | Action::SqlSession);
        if reads && range.schemaname.is_empty() && scope.sees(&range.relname) {
            return None;
        }
        if !range.catalogname.is_empty() && range.catalogname != self.snapshot.database {
            self.opaque(format!("it names another database, {}", range.catalogname));
        } else if !self.stale && self.known(&range.schemaname, &range.relname).is_none() {
            self.missing(action, range);
        }
        self.named_relation(action, &range.schemaname, &range.relname)
    }

    /// Records `action` on the existing relation `schema.name`, `schema` possibly empty.
    pub(super) fn named_relation(
        &mut self,
        action: Action,
        schema: &str,
        name: &str,
    ) -> Option<&'a Relation> {
        let Some(relation) = self.find(schema, name) else {
            self.effect(action, Object::Database);
            return None;
        };
        self.found.relations.insert(relation.id);
        self.effect(action, object(relation));
        let reads = matches!(
            action,
            Action::SqlSelect | Action::SqlSession | Action::SqlCopyOut
        );
        match relation.schema.as_str() {
            "information_schema" if reads => {}
            "pg_catalog" if reads && builtins::is_harmless_catalogue(&relation.name) => {}
            "pg_catalog" if reads => self.reaches(
                format!("reading pg_catalog.{}", relation.name),
                "read pg_class, pg_attribute and the other catalogues of definitions",
            ),
            "pg_catalog" | "information_schema" | "pg_toast" => {
                self.opaque(format!("it changes the system relation {}", relation.name));
            }
            _ if relation.kind == RelationKind::Other && reads => {
                self.reaches(
                    format!("reading {}.{}", relation.schema, relation.name),
                    "read the table itself",
                );
            }
            // A view that calls users' functions: they may read what the view doesn't depend on.
            _ if relation.has_hidden_calls && relation.kind == RelationKind::View => self.reaches(
                format!(
                    "reading {}.{}, which calls functions",
                    relation.schema, relation.name
                ),
                "read the tables themselves",
            ),
            _ if relation.has_hidden_calls && !reads => self.reaches(
                format!(
                    "writing to {}.{}, which runs triggers",
                    relation.schema, relation.name
                ),
                "leave writes to this table to a service that isn't bound by masks",
            ),
            _ => {}
        }
        Some(relation)
    }

    /// Notes a relation that isn't there, where the target would look for it first of all.
    fn missing(&mut self, action: Action, range: &protobuf::RangeVar) {
        let has_place = match action {
            Action::SqlSelect
            | Action::SqlInsert
            | Action::SqlUpdate
            | Action::SqlDelete
            | Action::SqlMerge => true,
            Action::SqlCopyIn | Action::SqlCopyOut | Action::SqlTruncate => false,
            _ => return,
        };
        self.found.missing.insert(Missing {
            at: usize::try_from(range.location).ok().filter(|_| has_place),
            schema: range.schemaname.clone(),
            name: range.relname.clone(),
        });
    }

    /// The relation `schema.name` of the snapshot, `schema` possibly empty.
    fn known(&self, schema: &str, name: &str) -> Option<&'a Relation> {
        if schema.is_empty() {
            self.snapshot.resolve(name)
        } else {
            self.snapshot.relation(schema, name)
        }
    }

    /// The existing relation `schema.name`, `schema` possibly empty; unknown ones are opaque.
    pub(super) fn find(&mut self, schema: &str, name: &str) -> Option<&'a Relation> {
        if self.stale {
            self.opaque("it follows a change of the catalogue in the same text");
        }
        let relation = self.known(schema, name);
        if relation.is_none() {
            let dot = if schema.is_empty() { "" } else { "." };
            self.opaque(format!("no relation {schema}{dot}{name} is known"));
        }
        relation
    }

    /// Schema that `CREATE` uses for an unqualified name.
    pub(super) fn creation_schema(&self) -> &'a str {
        let system = |schema: &&String| schema.starts_with("pg_");
        self.snapshot
            .search_path
            .iter()
            .find(|s| !system(s))
            .map_or("public", String::as_str)
    }

    /// Records a call of the function `name`, possibly qualified.
    pub(super) fn call(&mut self, name: &[&str]) {
        if let Some(called) = self.called(name) {
            self.calls(called);
        }
    }

    /// The function that a call names, or `None` for a harmless one.
    fn called(&self, name: &[&str]) -> Option<Object> {
        let (schema, name) = match name {
            [.., schema, name] => (*schema, *name),
            [name] => match self.user_function(name) {
                Some(schema) => (schema, *name),
                None => ("pg_catalog", *name),
            },
            [] => return Some(Object::Database),
        };
        let harmless = match schema {
            "pg_catalog" => builtins::is_harmless_function(name),
            "information_schema" => builtins::is_harmless_helper(name),
            _ => false,
        };
        (!harmless).then(|| Object::Function {
            schema: schema.to_owned(),
            name: name.to_owned(),
        })
    }

    fn calls(&mut self, object: Object) {
        if self.stale {
            self.opaque("it follows a change of the catalogue in the same text");
        }
        let function = match &object {
            Object::Function { schema, name } => format!("{schema}.{name}"),
            _ => "a function".to_owned(),
        };
        self.effect(Action::SqlCall, object);
        self.reaches(
            format!("calling {function}"),
            "use plain columns and PostgreSQL's pure built-in functions only",
        );
    }

    /// The schema in which the search path finds a user's function called `name`.
    pub(super) fn user_function(&self, name: &str) -> Option<&'a str> {
        let functions = &self.snapshot.functions;
        self.snapshot.search_path.iter().find_map(|schema| {
            let here =
                |f: &&gateway_core::catalogue::Function| f.name == name && f.schema == *schema;
            functions
                .iter()
                .find(here)
                .map(|function| function.schema.as_str())
        })
    }

    fn call_if_defined(&mut self, candidates: &[&str]) {
        for name in candidates {
            if self.user_function(name).is_some() {
                self.call(&[name]);
            }
        }
    }

    /// `c.f` calls the function `f` with the row `c` where `c` has no column `f` (PostgreSQL 18,
    /// 8.16.5 "Using Composite Types in Queries").
    fn attribute_notation(&mut self, fields: &[Node]) {
        if let [_, .., last] = fields
            && let Some(name) = string(last)
        {
            self.call_if_defined(&[name]);
        }
    }

    /// `(e).f` may call any one-argument function `f`. Fields of user types can't be told from
    /// functions here, except for those of `information_schema._pg_expandarray`.
    fn field_notation(&mut self, fields: &[Node]) {
        for name in fields.iter().filter_map(string) {
            if !matches!(name, "n" | "x") || self.user_function(name).is_some() {
                self.call(&[name]);
            }
        }
    }

    fn operator_expression(&mut self, expr: &protobuf::AExpr) {
        use protobuf::AExprKind as K;
        match K::try_from(expr.kind) {
            Ok(
                K::AexprBetween | K::AexprNotBetween | K::AexprBetweenSym | K::AexprNotBetweenSym,
            ) => {
                for operator in ["<", ">", "<=", ">="] {
                    self.operator(&[operator]);
                }
            }
            Ok(
                K::AexprOp
                | K::AexprOpAny
                | K::AexprOpAll
                | K::AexprDistinct
                | K::AexprNotDistinct
                | K::AexprNullif
                | K::AexprIn
                | K::AexprLike
                | K::AexprIlike
                | K::AexprSimilar,
            ) => self.operator(&names(&expr.name)),
            Ok(K::Undefined) | Err(_) => self.opaque("an unknown kind of operator"),
        }
    }

    /// Records the use of an operator where it may be a user's.
    pub(super) fn operator(&mut self, name: &[&str]) {
        let (schema, name) = match name {
            [.., schema, name] => (Some(*schema), *name),
            [name] => (None, *name),
            [] => return,
        };
        let user = match schema {
            Some("pg_catalog") => None,
            Some(schema) => Some(schema),
            None => self
                .snapshot
                .search_path
                .iter()
                .map(String::as_str)
                .find(|schema| {
                    self.snapshot
                        .operators
                        .iter()
                        .any(|o| o.name == name && o.schema == **schema)
                }),
        };
        if let Some(schema) = user {
            let object = Object::Function {
                schema: schema.to_owned(),
                name: name.to_owned(),
            };
            self.calls(object);
        }
    }

    /// A cast to a user's type may run its input function, casts and domain checks.
    fn type_name(&mut self, type_name: &protobuf::TypeName) {
        let harmless = match names(&type_name.names).as_slice() {
            [name] | ["pg_catalog", name] => builtins::is_base_type(name),
            ["information_schema", name] => builtins::is_standard_domain(name),
            _ => false,
        };
        if !harmless {
            self.reaches(
                "a cast to a type of the user's",
                "use PostgreSQL's base types",
            );
        }
    }
}

/// The object of effects on a relation.
pub(super) fn object(relation: &Relation) -> Object {
    Object::Relation {
        schema: relation.schema.clone(),
        name: relation.name.clone(),
    }
}

/// The text of a name node.
pub(super) fn string(node: &Node) -> Option<&str> {
    match &node.node {
        Some(NodeEnum::String(string)) => Some(&string.sval),
        _ => None,
    }
}

/// A list of name nodes; anything else in it is left out, which never makes a name harmless: it
/// only shortens it.
pub(super) fn names(nodes: &[Node]) -> Vec<&str> {
    nodes.iter().filter_map(string).collect()
}
