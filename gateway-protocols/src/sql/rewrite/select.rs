//! Queries: FROM clauses substituted, comparisons given what they must see.

use std::{cell::RefCell, collections::BTreeSet};

use pg_query::{Node, NodeEnum, protobuf};

use super::{
    Rewriter, column_ref, each_child, name_node, obstacle,
    scope::{Entry, Level, Role, Table},
    source, star_of,
};
use crate::sql::{
    analyser::names,
    plain::{Obstacle, describe, is_constant},
};

/// What becomes of what an expression yields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// It is shown: masks may be part of it.
    Read,
    /// It decides what is shown: a mask in it would decide wrongly.
    Decide,
    /// It is stored: a mask in it would destroy what it stands for.
    Write,
}

impl<'a> Rewriter<'a> {
    /// A query, or a data change with or without RETURNING in its place.
    pub(super) fn query(
        &mut self,
        node: &mut Node,
        outer: Option<&Level<'a, '_>>,
        mode: Mode,
    ) -> Result<(), Obstacle> {
        match &mut node.node {
            Some(NodeEnum::SelectStmt(select)) => self.select(select, outer, mode),
            Some(NodeEnum::InsertStmt(insert)) => self.insert(insert, outer),
            Some(NodeEnum::UpdateStmt(update)) => self.update(update, outer),
            Some(NodeEnum::DeleteStmt(delete)) => self.delete(delete, outer),
            Some(NodeEnum::MergeStmt(merge)) => self.merge(merge, outer),
            _ => Err(obstacle("a statement of this kind")),
        }
    }

    pub(super) fn with(
        &mut self,
        clause: Option<&mut protobuf::WithClause>,
        outer: Option<&Level<'a, '_>>,
        mode: Mode,
    ) -> Result<(), Obstacle> {
        for cte in clause.into_iter().flat_map(|clause| &mut clause.ctes) {
            let Some(NodeEnum::CommonTableExpr(cte)) = &mut cte.node else {
                return Err(obstacle("an unknown part of WITH"));
            };
            if let Some(query) = cte.ctequery.as_deref_mut() {
                self.query(query, outer, mode)?;
            }
        }
        Ok(())
    }

    pub(super) fn select(
        &mut self,
        select: &mut protobuf::SelectStmt,
        outer: Option<&Level<'a, '_>>,
        mode: Mode,
    ) -> Result<(), Obstacle> {
        if select.into_clause.is_some() {
            return Err(obstacle("SELECT INTO"));
        }
        self.with(select.with_clause.as_mut(), outer, mode)?;
        for arm in [&mut select.larg, &mut select.rarg].into_iter().flatten() {
            self.select(arm, outer, mode)?;
        }
        let level = Level {
            entries: self.entries(&select.from_clause, mode)?,
            outer,
        };
        if mode == Mode::Write
            && select
                .target_list
                .iter()
                .any(|item| star_of(item).is_some_and(|q| q.is_empty()))
            && level.entries.iter().any(Entry::is_source)
        {
            return Err(obstacle("storing * of a table with classified columns"));
        }
        self.joins(&mut select.from_clause, &level, mode)?;
        self.all(&mut select.target_list, &level, mode)?;
        self.one(select.where_clause.as_deref_mut(), &level, Mode::Decide)?;
        self.one(select.having_clause.as_deref_mut(), &level, Mode::Decide)?;
        for nodes in [
            &mut select.distinct_clause,
            &mut select.group_clause,
            &mut select.window_clause,
            &mut select.values_lists,
            &mut select.sort_clause,
        ] {
            self.all(nodes, &level, mode)?;
        }
        for bound in [&mut select.limit_count, &mut select.limit_offset] {
            self.one(bound.as_deref_mut(), &level, Mode::Decide)?;
        }
        self.close(&mut select.target_list, &select.from_clause, &level)?;
        self.substitute(&mut select.from_clause, &level)
    }

    /// What a FROM clause offers, one entry for each leaf of its joins, in order.
    pub(super) fn entries(
        &mut self,
        from: &[Node],
        mode: Mode,
    ) -> Result<Vec<Entry<'a>>, Obstacle> {
        let mut entries = Vec::new();
        for node in from {
            self.enter(node, mode, &mut entries)?;
        }
        Ok(entries)
    }

    fn enter(
        &mut self,
        node: &Node,
        mode: Mode,
        entries: &mut Vec<Entry<'a>>,
    ) -> Result<(), Obstacle> {
        let alias_of = |alias: Option<&protobuf::Alias>| Entry {
            alias: alias.map(|a| a.aliasname.clone()).unwrap_or_default(),
            own_name: false,
            table: None,
        };
        match &node.node {
            Some(NodeEnum::JoinExpr(join)) => {
                let first = entries.len();
                for arm in [&join.larg, &join.rarg].into_iter().flatten() {
                    self.enter(arm, mode, entries)?;
                }
                self.check_columns_of_join(join, entries.get(first..).unwrap_or_default())?;
                // It hides the names below from everything but the join's own condition.
                let joined = entries.get(first..).unwrap_or_default();
                if join.alias.is_some() && joined.iter().any(Entry::is_source) {
                    return Err(obstacle("an alias of a join"));
                }
            }
            Some(NodeEnum::RangeVar(range)) => {
                let alias = range.alias.as_ref();
                let entry = Entry {
                    alias: alias.map_or_else(|| range.relname.clone(), |a| a.aliasname.clone()),
                    own_name: alias.is_none(),
                    table: self.table(range, Role::Source)?,
                };
                if mode == Mode::Write {
                    self.guard(&entry);
                }
                entries.push(entry);
            }
            Some(NodeEnum::RangeSubselect(subselect)) => {
                entries.push(alias_of(subselect.alias.as_ref()));
            }
            Some(NodeEnum::RangeFunction(function)) => {
                entries.push(alias_of(function.alias.as_ref()));
            }
            Some(NodeEnum::RangeTableFunc(function)) => {
                entries.push(alias_of(function.alias.as_ref()));
            }
            Some(NodeEnum::JsonTable(table)) => entries.push(alias_of(table.alias.as_ref())),
            Some(NodeEnum::RangeTableSample(_)) => return Err(obstacle("TABLESAMPLE")),
            _ => return Err(obstacle("an unknown part of FROM")),
        }
        Ok(())
    }

    /// A relation that FROM names, or that is written to; `None` for common table expressions.
    pub(super) fn table(
        &self,
        range: &protobuf::RangeVar,
        role: Role,
    ) -> Result<Option<Table<'a>>, Obstacle> {
        // Which of the two a name means depends on where it stands.
        if range.schemaname.is_empty() && self.ctes.contains(&range.relname) {
            let hidden = self.snapshot.resolve(&range.relname);
            return match hidden.filter(|relation| self.classified.touches(relation.id)) {
                Some(_) => Err(obstacle(format!(
                    "WITH {}, a name that a classified table bears,",
                    range.relname
                ))),
                None => Ok(None),
            };
        }
        let relation = self
            .find(range)
            .ok_or_else(|| obstacle(format!("the unknown table {}", range.relname)))?;
        let mut columns: Vec<String> = relation.columns.iter().map(|c| c.name.clone()).collect();
        let renamed = range.alias.as_ref().map(|alias| names(&alias.colnames));
        for (column, name) in columns.iter_mut().zip(renamed.unwrap_or_default()) {
            name.clone_into(column);
        }
        let role = if self.classified.touches(relation.id) {
            role
        } else {
            Role::Clear
        };
        Ok(Some(Table {
            relation,
            columns,
            role,
            compared: RefCell::default(),
        }))
    }

    /// A join by name compares what has the name: masks, where the column is classified.
    fn check_columns_of_join(
        &self,
        join: &protobuf::JoinExpr,
        entries: &[Entry<'a>],
    ) -> Result<(), Obstacle> {
        let using = names(&join.using_clause);
        for table in entries.iter().filter_map(|entry| entry.table.as_ref()) {
            for (name, column) in table.columns.iter().zip(&table.relation.columns) {
                let id = table.relation.column_id(column);
                let Some(classified) = self.classified.column(id) else {
                    continue;
                };
                let elsewhere =
                    |other: &Table<'_>| !std::ptr::eq(other, table) && other.columns.contains(name);
                let natural = join.is_natural
                    && entries
                        .iter()
                        .any(|e| e.table.as_ref().is_none_or(elsewhere));
                if natural || using.contains(&name.as_str()) {
                    return Err(Obstacle {
                        construct: format!(
                            "a join by the name {name} (write ON a.{name} = b.{name})"
                        ),
                        column: Some(classified.path()),
                    });
                }
            }
        }
        Ok(())
    }

    /// What stands between and inside the things in FROM.
    pub(super) fn joins(
        &mut self,
        from: &mut [Node],
        level: &Level<'a, '_>,
        mode: Mode,
    ) -> Result<(), Obstacle> {
        from.iter_mut()
            .try_for_each(|node| self.join(node, level, mode))
    }

    fn join(&mut self, node: &mut Node, level: &Level<'a, '_>, mode: Mode) -> Result<(), Obstacle> {
        match &mut node.node {
            Some(NodeEnum::JoinExpr(join)) => {
                for arm in [&mut join.larg, &mut join.rarg].into_iter().flatten() {
                    self.join(arm, level, mode)?;
                }
                self.one(join.quals.as_deref_mut(), level, Mode::Decide)
            }
            Some(NodeEnum::RangeVar(_)) => Ok(()),
            Some(NodeEnum::RangeSubselect(subselect)) => {
                let outer = if subselect.lateral {
                    Some(level)
                } else {
                    level.outer
                };
                match subselect.subquery.as_deref_mut() {
                    Some(query) => self.query(query, outer, mode),
                    None => Ok(()),
                }
            }
            _ => self.expression(node, level, mode),
        }
    }

    pub(super) fn all(
        &mut self,
        nodes: &mut [Node],
        level: &Level<'a, '_>,
        mode: Mode,
    ) -> Result<(), Obstacle> {
        nodes
            .iter_mut()
            .try_for_each(|node| self.expression(node, level, mode))
    }

    pub(super) fn one(
        &mut self,
        node: Option<&mut Node>,
        level: &Level<'a, '_>,
        mode: Mode,
    ) -> Result<(), Obstacle> {
        node.map_or(Ok(()), |node| self.expression(node, level, mode))
    }

    pub(super) fn expression(
        &mut self,
        node: &mut Node,
        level: &Level<'a, '_>,
        mode: Mode,
    ) -> Result<(), Obstacle> {
        // Only where it decides: shown, it would tell of every row at once.
        if mode == Mode::Decide
            && let Some(NodeEnum::AExpr(expr)) = &mut node.node
            && is_equality(expr)
            && self.comparison(expr, level)?
        {
            return Ok(());
        }
        match &mut node.node {
            Some(NodeEnum::ColumnRef(_)) => return self.reference(node, level, mode),
            Some(NodeEnum::SubLink(link)) => {
                self.one(link.testexpr.as_deref_mut(), level, Mode::Decide)?;
                let subselect = link.subselect.as_deref_mut();
                return subselect.map_or(Ok(()), |query| self.query(query, Some(level), mode));
            }
            Some(NodeEnum::NullTest(test)) => {
                if let Some(arg) = test.arg.as_deref_mut()
                    && let Some(meant) = self.classified(arg, level)
                {
                    meant.compare(arg);
                    return Ok(());
                }
            }
            Some(NodeEnum::CaseWhen(when)) => {
                self.one(when.expr.as_deref_mut(), level, Mode::Decide)?;
                return self.one(when.result.as_deref_mut(), level, mode);
            }
            Some(NodeEnum::FuncCall(call)) => {
                self.one(call.agg_filter.as_deref_mut(), level, Mode::Decide)?;
                self.all(&mut call.args, level, mode)?;
                if let Some(over) = call.over.as_deref_mut() {
                    self.all(&mut over.partition_clause, level, mode)?;
                    self.all(&mut over.order_clause, level, mode)?;
                    self.one(over.start_offset.as_deref_mut(), level, mode)?;
                    self.one(over.end_offset.as_deref_mut(), level, mode)?;
                }
                self.all(&mut call.agg_order, level, mode)?;
                return Ok(());
            }
            Some(NodeEnum::SelectStmt(_)) => return self.query(node, Some(level), mode),
            Some(NodeEnum::RangeVar(_)) => return Err(obstacle("a table in an expression")),
            _ => {}
        }
        each_child(node, &mut |child| self.expression(child, level, mode))
    }

    fn reference(
        &mut self,
        node: &mut Node,
        level: &Level<'a, '_>,
        mode: Mode,
    ) -> Result<(), Obstacle> {
        self.shorten(node, level);
        let Some(meant) = self.meant(node, level) else {
            return Ok(());
        };
        let verb = match mode {
            Mode::Read if meant.table.role == Role::Source => return Ok(()),
            Mode::Read => "reading",
            Mode::Decide => "deciding by",
            Mode::Write => "storing",
        };
        Err(Obstacle {
            construct: format!("{verb} {}", describe(node)),
            column: Some(meant.classified.path()),
        })
    }

    /// Whether this comparison by equality may see values, which it then does.
    fn comparison(
        &mut self,
        expr: &mut protobuf::AExpr,
        level: &Level<'a, '_>,
    ) -> Result<bool, Obstacle> {
        let spreads = matches!(
            protobuf::AExprKind::try_from(expr.kind),
            Ok(protobuf::AExprKind::AexprOpAny | protobuf::AExprKind::AexprOpAll)
        );
        let (Some(left), Some(right)) = (expr.lexpr.as_deref_mut(), expr.rexpr.as_deref_mut())
        else {
            return Ok(false);
        };
        let first = self.classified(left, level);
        let second = self.classified(right, level);
        match (first, second) {
            (Some(first), Some(second))
                if first.classified.class == second.classified.class && !spreads =>
            {
                first.compare(left);
                second.compare(right);
                Ok(true)
            }
            (Some(first), Some(second)) if !spreads => Err(Obstacle {
                construct: format!(
                    "comparing columns of the classes {} and {}",
                    first.classified.class.as_str(),
                    second.classified.class.as_str()
                ),
                column: Some(first.classified.path()),
            }),
            (Some(meant), None) if is_constant(right) => {
                meant.compare(left);
                Ok(true)
            }
            // `'x' = ANY (column)` would compare with parts of the value.
            (None, Some(meant)) if is_constant(left) && !spreads => {
                meant.compare(right);
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Nothing below an entry whose whole row holds values may show that row: its stars are spelled
    /// out, and [`Rewriter::check_rows`] looks for the rest.
    pub(super) fn close(
        &mut self,
        targets: &mut Vec<Node>,
        from: &[Node],
        level: &Level<'a, '_>,
    ) -> Result<(), Obstacle> {
        let holds = |entry: &Entry<'a>| {
            entry.table.as_ref().is_some_and(|table| {
                table.role == Role::Target || !table.compared.borrow().is_empty()
            })
        };
        if !level.entries.iter().any(holds) {
            return Ok(());
        }
        for entry in level.entries.iter().filter(|entry| holds(entry)) {
            self.guard(entry);
        }
        let mut spelled = Vec::with_capacity(targets.len());
        for target in std::mem::take(targets) {
            let entries: Vec<&Entry<'a>> = match star_of(&target).as_deref() {
                None => {
                    spelled.push(target);
                    continue;
                }
                Some([]) if from.iter().any(joins_by_name) => {
                    return Err(obstacle("* over a join by name"));
                }
                Some([]) => level.entries.iter().collect(),
                Some([.., alias]) => {
                    let mut named = level.entries.iter().filter(|entry| entry.alias == *alias);
                    match named.next() {
                        Some(entry) if holds(entry) => vec![entry],
                        _ => {
                            spelled.push(target);
                            continue;
                        }
                    }
                }
            };
            for entry in entries {
                match &entry.table {
                    Some(table) if holds(entry) => {
                        let columns = table.columns.iter();
                        spelled.extend(columns.map(|column| output(&entry.alias, column)));
                    }
                    _ if entry.alias.is_empty() => {
                        return Err(obstacle("* over a nameless source"));
                    }
                    _ => spelled.push(all_of(&entry.alias)),
                }
            }
        }
        *targets = spelled;
        Ok(())
    }

    /// From now on nobody may mention this entry's whole row.
    pub(super) fn guard(&mut self, entry: &Entry<'a>) {
        if let Some(table) = entry
            .table
            .as_ref()
            .filter(|table| table.role != Role::Clear)
        {
            let columns: BTreeSet<String> = table.columns.iter().cloned().collect();
            self.guarded
                .entry(entry.alias.clone())
                .or_default()
                .push(columns);
        }
    }

    /// Puts subqueries in the place of relations with classified columns.
    pub(super) fn substitute(
        &mut self,
        from: &mut [Node],
        level: &Level<'a, '_>,
    ) -> Result<(), Obstacle> {
        let mut entries = level.entries.iter();
        for node in from {
            self.substitute_in(node, &mut entries)?;
        }
        Ok(())
    }

    fn substitute_in<'l>(
        &mut self,
        node: &mut Node,
        entries: &mut impl Iterator<Item = &'l Entry<'a>>,
    ) -> Result<(), Obstacle>
    where
        'a: 'l,
    {
        if let Some(NodeEnum::JoinExpr(join)) = &mut node.node {
            for arm in [&mut join.larg, &mut join.rarg].into_iter().flatten() {
                self.substitute_in(arm, entries)?;
            }
            return Ok(());
        }
        let entry = entries
            .next()
            .ok_or_else(|| obstacle("an unknown part of FROM"))?;
        let (Some(NodeEnum::RangeVar(range)), Some(table)) = (&mut node.node, &entry.table) else {
            return Ok(());
        };
        match table.role {
            Role::Source => {
                let query = self.source(table.relation, !range.inh, &table.compared.borrow())?;
                let alias = range.alias.take();
                let (alias, colnames) = match alias {
                    Some(alias) => (alias.aliasname, alias.colnames),
                    None => (range.relname.clone(), Vec::new()),
                };
                *node = source::subselect(query, &alias, colnames);
                self.touched += 1;
            }
            // It means what it meant when it was looked up, whatever is created meanwhile.
            Role::Clear | Role::Target => table.relation.schema.clone_into(&mut range.schemaname),
        }
        Ok(())
    }
}

/// `t.column`, as an item of a select list.
fn output(alias: &str, column: &str) -> Node {
    item(column_ref(&[alias, column]))
}

/// `t.*`, as an item of a select list.
fn all_of(alias: &str) -> Node {
    let star = Node {
        node: Some(NodeEnum::AStar(protobuf::AStar {})),
    };
    item(NodeEnum::ColumnRef(protobuf::ColumnRef {
        fields: vec![name_node(alias), star],
        location: 0,
    }))
}

fn item(value: NodeEnum) -> Node {
    Node {
        node: Some(NodeEnum::ResTarget(Box::new(protobuf::ResTarget {
            val: Some(Box::new(Node { node: Some(value) })),
            ..protobuf::ResTarget::default()
        }))),
    }
}

/// Whether columns of two arms become one somewhere in a FROM clause.
fn joins_by_name(node: &Node) -> bool {
    match &node.node {
        Some(NodeEnum::JoinExpr(join)) => {
            join.is_natural
                || !join.using_clause.is_empty()
                || join.alias.is_some()
                || [&join.larg, &join.rarg]
                    .into_iter()
                    .flatten()
                    .any(|arm| joins_by_name(arm))
        }
        _ => false,
    }
}

/// `=`, `<>`, IN, ANY, ALL, IS DISTINCT FROM.
fn is_equality(expr: &protobuf::AExpr) -> bool {
    use protobuf::AExprKind as K;
    matches!(
        names(&expr.name).as_slice(),
        ["=" | "<>"] | ["pg_catalog", "=" | "<>"]
    ) && matches!(
        K::try_from(expr.kind),
        Ok(K::AexprOp
            | K::AexprIn
            | K::AexprOpAny
            | K::AexprOpAll
            | K::AexprDistinct
            | K::AexprNotDistinct)
    )
}
