//! The one shape of query whose result can be masked on the wire.

use gateway_core::{
    catalogue::{Column, ColumnId, Relation, Snapshot},
    mask::Classified,
};
use pg_query::{Node, NodeEnum, protobuf};

use super::analyser::names;

/// What keeps a query from being plain: the construct, and the column it is about where one can be
/// named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Obstacle {
    pub(super) construct: String,
    pub(super) column: Option<String>,
}

/// A query from one relation, being checked.
struct Query<'a> {
    relation: &'a Relation,
    classified: &'a Classified,
    /// What the relation is called in the query: its alias, or its own names.
    qualifiers: Qualifiers<'a>,
}

enum Qualifiers<'a> {
    Alias(&'a str),
    Name,
}

/// The origin of each output column of a plain query.
///
/// Plain is: one relation that isn't `whole`; columns, `*` and aliases of columns; a WHERE that is
/// an AND of comparisons of one column with constants or parameters, classified columns by equality
/// and null tests only; ORDER BY, LIMIT and OFFSET on unclassified columns and constants; nothing
/// else. The caller has made sure that no user function, operator or type occurs.
pub(super) fn outputs(
    select: &protobuf::SelectStmt,
    snapshot: &Snapshot,
    classified: &Classified,
) -> Result<Vec<ColumnId>, Obstacle> {
    let query = from(select, snapshot, classified)?;
    let mut outputs = Vec::new();
    for target in &select.target_list {
        query.target(target, &mut outputs)?;
    }
    if let Some(condition) = &select.where_clause {
        query.condition(condition)?;
    }
    for sort in &select.sort_clause {
        query.sort(sort, &outputs)?;
    }
    for bound in [&select.limit_count, &select.limit_offset]
        .into_iter()
        .flatten()
    {
        if !is_constant(bound) {
            return Err(query.about("a computed LIMIT or OFFSET", bound));
        }
    }
    Ok(outputs.into_iter().map(|(_, id)| id).collect())
}

/// Checks everything about the query's frame and finds its relation.
fn from<'a>(
    select: &'a protobuf::SelectStmt,
    snapshot: &'a Snapshot,
    classified: &'a Classified,
) -> Result<Query<'a>, Obstacle> {
    let protobuf::SelectStmt {
        distinct_clause,
        into_clause,
        target_list: _,
        from_clause,
        where_clause: _,
        group_clause,
        group_distinct: _,
        having_clause,
        window_clause,
        values_lists,
        sort_clause: _,
        limit_offset: _,
        limit_count: _,
        limit_option: _,
        locking_clause,
        with_clause,
        op,
        all: _,
        larg,
        rarg,
    } = select;
    let set_operation = *op > protobuf::SetOperation::SetopNone as i32;
    let frame = [
        (
            set_operation || larg.is_some() || rarg.is_some(),
            "UNION, INTERSECT or EXCEPT",
        ),
        (with_clause.is_some(), "WITH"),
        (into_clause.is_some(), "SELECT INTO"),
        (!values_lists.is_empty(), "VALUES"),
        (!distinct_clause.is_empty(), "DISTINCT"),
        (!group_clause.is_empty(), "GROUP BY"),
        (having_clause.is_some(), "HAVING"),
        (!window_clause.is_empty(), "WINDOW"),
        (!locking_clause.is_empty(), "FOR UPDATE or FOR SHARE"),
        (from_clause.len() > 1, "a join"),
    ];
    if let Some((_, construct)) = frame.iter().find(|(present, _)| *present) {
        return Err(obstacle(*construct));
    }
    let range = match from_clause.first().and_then(|from| from.node.as_ref()) {
        Some(NodeEnum::RangeVar(range)) => range,
        Some(NodeEnum::JoinExpr(_)) => return Err(obstacle("a join")),
        Some(NodeEnum::RangeSubselect(_)) => return Err(obstacle("a subquery in FROM")),
        Some(NodeEnum::RangeTableSample(_)) => return Err(obstacle("TABLESAMPLE")),
        _ => return Err(obstacle("a query without one table in FROM")),
    };
    let relation = if range.schemaname.is_empty() {
        snapshot.resolve(&range.relname)
    } else {
        snapshot.relation(&range.schemaname, &range.relname)
    };
    let relation = relation.ok_or_else(|| obstacle("an unknown relation"))?;
    if classified.is_whole(relation.id) {
        return Err(obstacle(format!(
            "{}.{}, a view or table that computes its columns,",
            relation.schema, relation.name
        )));
    }
    let qualifiers = match &range.alias {
        Some(alias) if !alias.colnames.is_empty() => {
            return Err(obstacle("a list of column aliases in FROM"));
        }
        Some(alias) => Qualifiers::Alias(&alias.aliasname),
        None => Qualifiers::Name,
    };
    Ok(Query {
        relation,
        classified,
        qualifiers,
    })
}

impl<'a> Query<'a> {
    /// Adds the output columns of one item of the select list, each with its name.
    fn target(
        &self,
        target: &'a Node,
        outputs: &mut Vec<(&'a str, ColumnId)>,
    ) -> Result<(), Obstacle> {
        let Some(NodeEnum::ResTarget(target)) = &target.node else {
            return Err(obstacle("an unknown item of the select list"));
        };
        let Some(value) = target.val.as_deref() else {
            return Err(obstacle("an empty item of the select list"));
        };
        if self.is_star(value) {
            outputs.extend(
                self.relation
                    .columns
                    .iter()
                    .map(|column| (column.name.as_str(), self.relation.column_id(column))),
            );
            return Ok(());
        }
        let column = self
            .column(value)
            .ok_or_else(|| self.about(describe(value), value))?;
        let name = if target.name.is_empty() {
            &column.name
        } else {
            &target.name
        };
        outputs.push((name, self.relation.column_id(column)));
        Ok(())
    }

    fn is_star(&self, node: &Node) -> bool {
        let Some(NodeEnum::ColumnRef(column)) = &node.node else {
            return false;
        };
        match column.fields.split_last() {
            Some((last, qualifier)) => {
                matches!(last.node, Some(NodeEnum::AStar(_)))
                    && qualifier.len() == names(qualifier).len()
                    && (qualifier.is_empty() || self.is_qualifier(&names(qualifier)))
            }
            None => false,
        }
    }

    fn is_qualifier(&self, qualifier: &[&str]) -> bool {
        match (&self.qualifiers, qualifier) {
            (Qualifiers::Alias(alias), [name]) => name == alias,
            (Qualifiers::Alias(_), _) => false,
            (Qualifiers::Name, [name]) => *name == self.relation.name,
            (Qualifiers::Name, [schema, name]) => {
                *schema == self.relation.schema && *name == self.relation.name
            }
            (Qualifiers::Name, _) => false,
        }
    }

    /// The column that a reference means; `None` for anything else: system columns, whole rows,
    /// functions in attribute notation, expressions.
    fn column(&self, node: &Node) -> Option<&'a Column> {
        let Some(NodeEnum::ColumnRef(reference)) = &node.node else {
            return None;
        };
        let path = names(&reference.fields);
        if path.len() != reference.fields.len() {
            return None;
        }
        let (name, qualifier) = path.split_last()?;
        let relation = self.relation;
        (qualifier.is_empty() || self.is_qualifier(qualifier))
            .then(|| relation.column(name))
            .flatten()
    }

    fn is_classified(&self, column: &Column) -> bool {
        self.classified
            .column(self.relation.column_id(column))
            .is_some()
    }

    /// One condition of WHERE, or an AND of them.
    fn condition(&self, node: &Node) -> Result<(), Obstacle> {
        use protobuf::AExprKind as K;
        let refused = || self.about(format!("the condition {}", describe(node)), node);
        match &node.node {
            Some(NodeEnum::BoolExpr(expr))
                if expr.boolop == protobuf::BoolExprType::AndExpr as i32 =>
            {
                expr.args.iter().try_for_each(|arg| self.condition(arg))
            }
            Some(NodeEnum::NullTest(test)) => {
                let arg = test.arg.as_deref().ok_or_else(refused)?;
                self.column(arg).map(drop).ok_or_else(refused)
            }
            Some(NodeEnum::ColumnRef(_)) => match self.column(node) {
                Some(column) if !self.is_classified(column) => Ok(()),
                _ => Err(refused()),
            },
            Some(NodeEnum::AExpr(expr)) => {
                let (Some(left), Some(right)) = (expr.lexpr.as_deref(), expr.rexpr.as_deref())
                else {
                    return Err(refused());
                };
                let operator = names(&expr.name);
                let equality = matches!(operator.as_slice(), ["="] | ["pg_catalog", "="]);
                let ordinary = matches!(
                    operator.as_slice(),
                    [
                        ..,
                        "=" | "<>" | "<" | ">" | "<=" | ">=" | "~~" | "!~~" | "~~*" | "!~~*"
                    ]
                );
                let (column, other, by_value) = match K::try_from(expr.kind) {
                    Ok(K::AexprOp) => match (self.column(left), self.column(right)) {
                        (Some(column), None) => (column, right, equality),
                        (None, Some(column)) => (column, left, equality),
                        _ => return Err(refused()),
                    },
                    Ok(K::AexprIn | K::AexprOpAny) => {
                        (self.column(left).ok_or_else(refused)?, right, equality)
                    }
                    Ok(K::AexprLike | K::AexprIlike) => {
                        (self.column(left).ok_or_else(refused)?, right, false)
                    }
                    Ok(K::AexprBetween | K::AexprNotBetween) => {
                        let column = self.column(left).ok_or_else(refused)?;
                        if self.is_classified(column) || !is_constant(right) {
                            return Err(refused());
                        }
                        return Ok(());
                    }
                    _ => return Err(refused()),
                };
                if !is_constant(other) || !ordinary || (self.is_classified(column) && !by_value) {
                    return Err(refused());
                }
                Ok(())
            }
            _ => Err(refused()),
        }
    }

    /// One item of ORDER BY.
    ///
    /// SPEC: a bare name means an output column before it means an input column, an integer an
    /// output column's position (PostgreSQL 18, "SELECT", "ORDER BY Clause").
    fn sort(&self, sort: &'a Node, outputs: &[(&str, ColumnId)]) -> Result<(), Obstacle> {
        let Some(NodeEnum::SortBy(sort)) = &sort.node else {
            return Err(obstacle("an unknown item of ORDER BY"));
        };
        let Some(by) = sort.node.as_deref().filter(|_| sort.use_op.is_empty()) else {
            return Err(obstacle("ORDER BY … USING"));
        };
        let refused = |by: &Node| self.about(format!("ORDER BY {}", describe(by)), by);
        let clear = |id: &ColumnId| self.classified.column(*id).is_none();
        let allowed = match &by.node {
            Some(NodeEnum::AConst(constant)) => match &constant.val {
                Some(protobuf::a_const::Val::Ival(position)) => usize::try_from(position.ival)
                    .ok()
                    .and_then(|position| outputs.get(position.checked_sub(1)?))
                    .is_some_and(|(_, id)| clear(id)),
                _ => false,
            },
            Some(NodeEnum::ColumnRef(reference)) => {
                let path = names(&reference.fields);
                let named: Vec<&ColumnId> = match path.as_slice() {
                    [name] if reference.fields.len() == 1 => outputs
                        .iter()
                        .filter(|(output, _)| output == name)
                        .map(|(_, id)| id)
                        .collect(),
                    _ => Vec::new(),
                };
                if named.is_empty() {
                    self.column(by)
                        .is_some_and(|column| !self.is_classified(column))
                } else {
                    named.into_iter().all(clear)
                }
            }
            _ => false,
        };
        if allowed { Ok(()) } else { Err(refused(by)) }
    }

    /// An obstacle that names the first classified column below `node`.
    fn about(&self, construct: impl Into<String>, node: &Node) -> Obstacle {
        let mut found = None;
        mentioned(node, &mut |name| {
            if found.is_none()
                && let Some(column) = self.relation.column(name)
                && let Some(column) = self.classified.column(self.relation.column_id(column))
            {
                found = Some(column.path());
            }
        });
        Obstacle {
            construct: construct.into(),
            column: found,
        }
    }
}

/// Calls `visit` with the last name of each column reference in `node`.
pub(super) fn mentioned(node: &Node, visit: &mut dyn FnMut(&str)) {
    fn below(node: pg_query::NodeRef<'_>, visit: &mut dyn FnMut(&str)) {
        if let pg_query::NodeRef::ColumnRef(column) = node
            && let Some(name) = names(&column.fields).last()
        {
            visit(name);
        }
        super::tree::children(node, &mut |child| below(child, visit));
    }
    super::tree::Field::nodes(node, &mut |node| below(node, visit));
}

fn obstacle(construct: impl Into<String>) -> Obstacle {
    Obstacle {
        construct: construct.into(),
        column: None,
    }
}

/// Whether an expression is a constant or parameter, possibly cast, or a list of such.
pub(super) fn is_constant(node: &Node) -> bool {
    match &node.node {
        Some(NodeEnum::AConst(_) | NodeEnum::ParamRef(_)) => true,
        Some(NodeEnum::TypeCast(cast)) => cast.arg.as_deref().is_some_and(is_constant),
        Some(NodeEnum::List(list)) => list.items.iter().all(is_constant),
        Some(NodeEnum::AArrayExpr(array)) => array.elements.iter().all(is_constant),
        _ => false,
    }
}

/// An expression in words: enough to find it in the text.
pub(super) fn describe(node: &Node) -> String {
    match &node.node {
        Some(NodeEnum::FuncCall(call)) => {
            let function = names(&call.funcname).join(".");
            match call.args.as_slice() {
                [argument] if matches!(argument.node, Some(NodeEnum::ColumnRef(_))) => {
                    format!("`{function}({})`", reference(argument))
                }
                [] if call.agg_star => format!("`{function}(*)`"),
                _ => format!("`{function}(…)`"),
            }
        }
        Some(NodeEnum::ColumnRef(_)) => format!("`{}`", reference(node)),
        Some(NodeEnum::AExpr(expr)) => format!("`{}`", names(&expr.name).join(".")),
        Some(NodeEnum::TypeCast(_)) => "a cast".to_owned(),
        Some(NodeEnum::CaseExpr(_)) => "`CASE`".to_owned(),
        Some(NodeEnum::CoalesceExpr(_)) => "`COALESCE`".to_owned(),
        Some(NodeEnum::SubLink(_)) => "a subquery".to_owned(),
        Some(NodeEnum::BoolExpr(_)) => "`OR` or `NOT`".to_owned(),
        Some(NodeEnum::AConst(_) | NodeEnum::ParamRef(_)) => "a constant".to_owned(),
        Some(NodeEnum::AIndirection(_)) => "a field of a value".to_owned(),
        Some(NodeEnum::RowExpr(_)) => "`ROW`".to_owned(),
        _ => "an expression".to_owned(),
    }
}

fn reference(node: &Node) -> String {
    match &node.node {
        Some(NodeEnum::ColumnRef(column)) => {
            let star = matches!(
                column.fields.last().and_then(|last| last.node.as_ref()),
                Some(NodeEnum::AStar(_))
            );
            let mut path = names(&column.fields);
            if star {
                path.push("*");
            }
            path.join(".")
        }
        _ => String::new(),
    }
}
