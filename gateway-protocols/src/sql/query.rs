//! Queries and data changes: scopes, effects and facts.

use gateway_core::operation::{Action, Object};
use pg_query::{Node, NodeEnum, NodeRef, protobuf};

use super::{
    analyser::{Analyser, Scope, names, string},
    settings::{self, Change},
    tree::{self, Field},
};

impl<'a> Analyser<'a> {
    pub(super) fn select(
        &mut self,
        select: &'a protobuf::SelectStmt,
        node: NodeRef<'a>,
        scope: &Scope<'_>,
    ) {
        self.with(select.with_clause.as_ref(), scope, |this, scope| {
            if let Some(into) = &select.into_clause {
                this.creates_from(into, scope);
            }
            if !select.locking_clause.is_empty() {
                this.locks(&select.from_clause, scope);
            }
            this.constant_where(select.where_clause.as_deref());
            let outer = std::mem::replace(&mut this.setting_row, setting_row(select, scope));
            tree::children(node, &mut |child| match child {
                NodeRef::WithClause(_) | NodeRef::IntoClause(_) => {}
                _ => this.visit(child, scope),
            });
            this.setting_row = outer;
        });
    }

    pub(super) fn insert(
        &mut self,
        insert: &'a protobuf::InsertStmt,
        node: NodeRef<'a>,
        scope: &Scope<'_>,
    ) {
        self.with(insert.with_clause.as_ref(), scope, |this, scope| {
            this.changes(Action::SqlInsert, insert.relation.as_ref(), scope);
            let updates = insert.on_conflict_clause.as_ref().is_some_and(|conflict| {
                conflict.action != protobuf::OnConflictAction::OnconflictNothing as i32
            });
            if updates {
                this.changes(Action::SqlUpdate, insert.relation.as_ref(), scope);
            }
            this.returning(
                insert.relation.as_ref(),
                insert.returning_clause.as_ref(),
                scope,
            );
            this.body(node, insert.relation.as_ref(), scope);
        });
    }

    pub(super) fn update(
        &mut self,
        update: &'a protobuf::UpdateStmt,
        node: NodeRef<'a>,
        scope: &Scope<'_>,
    ) {
        self.with(update.with_clause.as_ref(), scope, |this, scope| {
            this.changes(Action::SqlUpdate, update.relation.as_ref(), scope);
            this.found.lacks_where |= update.where_clause.is_none();
            this.constant_where(update.where_clause.as_deref());
            this.returning(
                update.relation.as_ref(),
                update.returning_clause.as_ref(),
                scope,
            );
            this.body(node, update.relation.as_ref(), scope);
        });
    }

    pub(super) fn delete(
        &mut self,
        delete: &'a protobuf::DeleteStmt,
        node: NodeRef<'a>,
        scope: &Scope<'_>,
    ) {
        self.with(delete.with_clause.as_ref(), scope, |this, scope| {
            this.changes(Action::SqlDelete, delete.relation.as_ref(), scope);
            this.found.lacks_where |= delete.where_clause.is_none();
            this.constant_where(delete.where_clause.as_deref());
            this.returning(
                delete.relation.as_ref(),
                delete.returning_clause.as_ref(),
                scope,
            );
            this.body(node, delete.relation.as_ref(), scope);
        });
    }

    pub(super) fn merge(
        &mut self,
        merge: &'a protobuf::MergeStmt,
        node: NodeRef<'a>,
        scope: &Scope<'_>,
    ) {
        use protobuf::CmdType;
        self.with(merge.with_clause.as_ref(), scope, |this, scope| {
            this.changes(Action::SqlMerge, merge.relation.as_ref(), scope);
            for branch in &merge.merge_when_clauses {
                let Some(NodeEnum::MergeWhenClause(branch)) = &branch.node else {
                    this.opaque("an unknown branch of MERGE");
                    continue;
                };
                let action = match CmdType::try_from(branch.command_type) {
                    Ok(CmdType::CmdInsert) => Action::SqlInsert,
                    Ok(CmdType::CmdUpdate) => Action::SqlUpdate,
                    Ok(CmdType::CmdDelete) => Action::SqlDelete,
                    Ok(CmdType::CmdNothing) => continue,
                    _ => {
                        this.opaque("an unknown branch of MERGE");
                        continue;
                    }
                };
                this.changes(action, merge.relation.as_ref(), scope);
            }
            this.returning(
                merge.relation.as_ref(),
                merge.returning_clause.as_ref(),
                scope,
            );
            this.body(node, merge.relation.as_ref(), scope);
        });
    }

    /// `COPY` in all directions.
    pub(super) fn copy(
        &mut self,
        copy: &'a protobuf::CopyStmt,
        node: NodeRef<'a>,
        scope: &Scope<'_>,
    ) {
        let on_server = copy.is_program || !copy.filename.is_empty();
        if on_server {
            self.effect(Action::SqlFile, Object::Target);
            self.reaches(
                "COPY with a file or program of the server",
                "COPY … FROM STDIN",
            );
        }
        let action = match (copy.is_from, on_server) {
            (true, true) => Action::SqlInsert,
            (true, false) => Action::SqlCopyIn,
            (false, true) => Action::SqlSelect,
            (false, false) => Action::SqlCopyOut,
        };
        if let Some(relation) = &copy.relation {
            self.changes(action, Some(relation), scope);
        }
        self.rest(node, copy.relation.as_ref(), scope);
        if copy.query.is_some() && !on_server {
            // What the query reads leaves by COPY.
            let read =
                |effect: &&gateway_core::operation::Effect| effect.action == Action::SqlSelect;
            let read: Vec<Object> = self
                .found
                .effects
                .iter()
                .filter(read)
                .map(|e| e.object.clone())
                .collect();
            for object in read {
                self.effect(Action::SqlCopyOut, object);
            }
        }
    }

    /// `SELECT INTO`, `CREATE TABLE AS` and `CREATE MATERIALIZED VIEW`: the new relation.
    pub(super) fn creates_from(&mut self, into: &'a protobuf::IntoClause, scope: &Scope<'_>) {
        self.creates(into.rel.as_ref());
        self.descend(&into.options, scope);
        self.reaches("creating a table from a query", "SELECT the rows");
    }

    /// Records the creation of a relation, which needn't exist.
    pub(super) fn creates(&mut self, range: Option<&'a protobuf::RangeVar>) {
        let Some(range) = range else {
            self.opaque("it creates something without a name");
            return;
        };
        let temporary = range.relpersistence == "t" || range.schemaname.starts_with("pg_temp");
        let schema = match range.schemaname.as_str() {
            _ if temporary => "pg_temp",
            "" => self.creation_schema(),
            schema => schema,
        };
        let object = Object::Relation {
            schema: schema.to_owned(),
            name: range.relname.clone(),
        };
        self.effect(Action::SqlCreate, object);
    }

    /// Records a change of rows: the relation is one, whatever a common table expression is called.
    fn changes(&mut self, action: Action, range: Option<&protobuf::RangeVar>, scope: &Scope<'_>) {
        match range {
            Some(range) => {
                self.relation(action, range, scope);
            }
            None => self.opaque("it changes rows of something without a name"),
        }
    }

    fn returning(
        &mut self,
        range: Option<&protobuf::RangeVar>,
        clause: Option<&protobuf::ReturningClause>,
        _: &Scope<'_>,
    ) {
        if clause.is_some()
            && let Some(range) = range
        {
            self.relation(Action::SqlSelect, range, &Scope::EMPTY);
        }
    }

    /// Everything of a data change but its own relation and its WITH clause.
    fn body(&mut self, node: NodeRef<'a>, own: Option<&'a protobuf::RangeVar>, scope: &Scope<'_>) {
        tree::children(node, &mut |child| match child {
            NodeRef::RangeVar(range) if own.is_some_and(|own| std::ptr::eq(own, range)) => {}
            NodeRef::WithClause(_) => {}
            _ => self.visit(child, scope),
        });
    }

    /// Visits a WITH clause and runs `body` in a scope that sees its names.
    ///
    /// SPEC: without RECURSIVE an expression sees the ones before it, with it all of them
    /// (PostgreSQL 18, 7.8 "WITH Queries").
    fn with(
        &mut self,
        clause: Option<&'a protobuf::WithClause>,
        scope: &Scope<'_>,
        body: impl FnOnce(&mut Self, &Scope<'_>),
    ) {
        let Some(clause) = clause else {
            body(self, scope);
            return;
        };
        let names: Vec<&str> = clause
            .ctes
            .iter()
            .filter_map(|cte| match &cte.node {
                Some(NodeEnum::CommonTableExpr(cte)) => Some(cte.ctename.as_str()),
                _ => None,
            })
            .collect();
        for (index, cte) in clause.ctes.iter().enumerate() {
            let visible = if clause.recursive { names.len() } else { index };
            let visible = names.get(..visible).unwrap_or_default();
            self.descend(cte, &Scope::within(visible, scope));
        }
        body(self, &Scope::within(&names, scope));
    }

    /// `FOR UPDATE` and its kin: explicit locks on the relations of the FROM clause.
    fn locks(&mut self, from: &'a [Node], scope: &Scope<'_>) {
        for node in from {
            node.nodes(&mut |node| self.lock(node, scope));
        }
    }

    fn lock(&mut self, node: NodeRef<'a>, scope: &Scope<'_>) {
        match node {
            NodeRef::RangeVar(range) => {
                self.relation(Action::SqlSession, range, scope);
            }
            NodeRef::JoinExpr(_) => {
                tree::children(node, &mut |child| self.lock(child, scope));
            }
            _ => {}
        }
    }

    fn constant_where(&mut self, clause: Option<&Node>) {
        self.found.where_is_constant |= clause.is_some_and(is_constant);
    }

    /// Records a change of a setting; `value` is `None` for a return to the default.
    pub(super) fn setting(&mut self, name: &str, value: Option<&[String]>) {
        let name = name.to_ascii_lowercase();
        match settings::change(&name, value, &self.snapshot.search_path) {
            Change::Harmless => {}
            Change::Other => self.reaches(
                format!("setting {name}"),
                "leave this setting at its default",
            ),
            Change::Meaning => {
                self.opaque(format!(
                    "setting {name} to that value changes how SQL is read"
                ));
            }
            Change::Role => {
                self.effect(Action::SqlRole, Object::Target);
                self.reaches(
                    "changing the session's role",
                    "stay with the session's own role",
                );
                return;
            }
        }
        self.effect(Action::SqlSession, Object::Setting { name });
    }

    /// A call of `set_config`: like SET where name and value are constants.
    pub(super) fn set_config(&mut self, call: &protobuf::FuncCall) {
        let argument = |index: usize| call.args.get(index);
        let name = match argument(0).map(|node| &node.node) {
            Some(Some(NodeEnum::ColumnRef(column))) if names(&column.fields) == ["name"] => {
                self.setting_row.clone()
            }
            _ => argument(0).and_then(constant_string),
        };
        match (name, argument(1).and_then(constant_string)) {
            (Some(name), Some(value)) => self.setting(&name, Some(&[value])),
            (name, _) => {
                self.effect(
                    Action::SqlCall,
                    Object::Function {
                        schema: "pg_catalog".into(),
                        name: "set_config".into(),
                    },
                );
                self.reaches(
                    "set_config with a value that isn't constant",
                    "SET name = 'constant'",
                );
                match name {
                    Some(name) => self.setting(&name, Some(&[])),
                    None => self.opaque("set_config with a name that isn't constant"),
                }
            }
        }
    }
}

/// The setting that `SELECT … FROM pg_settings WHERE name = 'constant'` is about: `pg_dump` sends
/// `set_config(name, 'value', false)` that way, to change a setting only where it exists.
fn setting_row(select: &protobuf::SelectStmt, scope: &Scope<'_>) -> Option<String> {
    let [from] = select.from_clause.as_slice() else {
        return None;
    };
    let Some(NodeEnum::RangeVar(range)) = &from.node else {
        return None;
    };
    let Some(NodeEnum::AExpr(expr)) = &select.where_clause.as_ref()?.node else {
        return None;
    };
    let Some(NodeEnum::ColumnRef(column)) = &expr.lexpr.as_ref()?.node else {
        return None;
    };
    let is_row = range.relname == "pg_settings"
        && matches!(range.schemaname.as_str(), "" | "pg_catalog")
        && !scope.sees("pg_settings")
        && range.alias.is_none()
        && expr.kind == protobuf::AExprKind::AexprOp as i32
        && names(&expr.name) == ["="]
        && names(&column.fields) == ["name"];
    is_row
        .then(|| expr.rexpr.as_deref().and_then(constant_string))
        .flatten()
}

/// The value of a string constant, casts to `text` aside.
fn constant_string(node: &Node) -> Option<String> {
    match &node.node {
        Some(NodeEnum::AConst(constant)) => match &constant.val {
            Some(protobuf::a_const::Val::Sval(text)) => Some(text.sval.clone()),
            _ => None,
        },
        Some(NodeEnum::TypeCast(cast)) => {
            let name = cast.type_name.as_ref().map(|name| names(&name.names))?;
            matches!(name.as_slice(), ["text"] | ["pg_catalog", "text"])
                .then(|| cast.arg.as_deref().and_then(constant_string))
                .flatten()
        }
        _ => None,
    }
}

/// The constant that a LIMIT clause names.
pub(super) fn constant_limit(select: &protobuf::SelectStmt) -> Option<u64> {
    if select.limit_option == protobuf::LimitOption::WithTies as i32 {
        return None;
    }
    match &select.limit_count.as_ref()?.node {
        Some(NodeEnum::AConst(constant)) => match &constant.val {
            Some(protobuf::a_const::Val::Ival(number)) => u64::try_from(number.ival).ok(),
            Some(protobuf::a_const::Val::Fval(number)) => number.fval.parse().ok(),
            _ => None,
        },
        _ => None,
    }
}

/// Whether a WHERE clause is constant, or true for every row that it looks at, in the clear cases.
pub(super) fn is_constant(node: &Node) -> bool {
    use protobuf::{BoolExprType, a_const::Val};
    match &node.node {
        Some(NodeEnum::BoolExpr(expr)) => match BoolExprType::try_from(expr.boolop) {
            Ok(BoolExprType::AndExpr | BoolExprType::NotExpr) => expr.args.iter().all(is_constant),
            Ok(BoolExprType::OrExpr) => expr.args.iter().any(is_constant),
            _ => false,
        },
        Some(NodeEnum::AExpr(expr)) if expr.lexpr.is_some() => {
            let operator = names(&expr.name);
            let compares = matches!(operator.as_slice(), [.., "=" | "<=" | ">="]);
            let same = compares && same_column(expr.lexpr.as_deref(), expr.rexpr.as_deref());
            let any_text = matches!(operator.as_slice(), [.., "~~" | "~~*"])
                && expr
                    .rexpr
                    .as_deref()
                    .and_then(constant_string)
                    .is_some_and(|pattern| {
                        !pattern.is_empty() && pattern.bytes().all(|byte| byte == b'%')
                    });
            same || any_text || !mentions_rows(node)
        }
        Some(NodeEnum::NullTest(test)) => {
            match test.arg.as_deref().and_then(|arg| arg.node.as_ref()) {
                Some(NodeEnum::ColumnRef(column)) => {
                    matches!(
                        names(&column.fields).as_slice(),
                        [.., "ctid" | "tableoid" | "xmin"]
                    )
                }
                _ => !mentions_rows(node),
            }
        }
        Some(NodeEnum::AConst(constant)) => !matches!(constant.val, Some(Val::Bsval(_))),
        _ => !mentions_rows(node),
    }
}

/// Whether an expression depends on columns or on a subquery.
fn mentions_rows(node: &Node) -> bool {
    fn below(node: NodeRef<'_>) -> bool {
        if matches!(
            node,
            NodeRef::ColumnRef(_) | NodeRef::SubLink(_) | NodeRef::CurrentOfExpr(_)
        ) {
            return true;
        }
        let mut found = false;
        tree::children(node, &mut |child| found = found || below(child));
        found
    }
    let mut found = false;
    node.nodes(&mut |node| found = found || below(node));
    found
}

fn same_column(left: Option<&Node>, right: Option<&Node>) -> bool {
    let column = |node: Option<&'_ Node>| -> Option<Vec<String>> {
        match node.and_then(|node| node.node.as_ref()) {
            Some(NodeEnum::ColumnRef(column)) => column
                .fields
                .iter()
                .map(|field| string(field).map(str::to_owned))
                .collect(),
            _ => None,
        }
    };
    match (column(left), column(right)) {
        (Some(left), Some(right)) => left == right,
        _ => false,
    }
}
