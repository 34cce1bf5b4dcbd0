//! Which columns of a result are plainly columns of relations, as the server would say of the agent's
//! own text: where they are masked at their source, it can't.
//!
//! Only what is told of a result rests on this, never what is masked. What can't be followed has no
//! origin.

use gateway_core::{
    catalogue::{Column, Relation, Snapshot},
    operation::Output,
};
use pg_query::{Node, NodeEnum, protobuf};

use super::analyser::{names, string};

/// Columns of something in FROM: name and origin of each.
type Columns = Vec<(String, Option<Output>)>;

/// What names in FROM mean.
#[derive(Clone, Copy)]
struct Known<'a> {
    snapshot: &'a Snapshot,
    /// Common table expressions, the innermost last; without columns where these can't be followed.
    ctes: &'a [(String, Option<Columns>)],
}

/// One thing in FROM; without columns where these can't be followed.
struct Entry {
    alias: String,
    columns: Option<Columns>,
}

/// The origin of each column of a statement's result, in order; empty where it has no result, or one
/// that can't be followed.
pub(super) fn outputs(node: &Node, snapshot: &Snapshot) -> Vec<Option<Output>> {
    let known = Known {
        snapshot,
        ctes: &[],
    };
    let columns = match &node.node {
        Some(NodeEnum::SelectStmt(select)) => known.select(select),
        Some(NodeEnum::InsertStmt(insert)) => known.returned(
            insert.with_clause.as_ref(),
            insert.relation.as_ref(),
            &[],
            insert.returning_clause.as_ref(),
        ),
        Some(NodeEnum::UpdateStmt(update)) => known.returned(
            update.with_clause.as_ref(),
            update.relation.as_ref(),
            &update.from_clause,
            update.returning_clause.as_ref(),
        ),
        Some(NodeEnum::DeleteStmt(delete)) => known.returned(
            delete.with_clause.as_ref(),
            delete.relation.as_ref(),
            &delete.using_clause,
            delete.returning_clause.as_ref(),
        ),
        _ => None,
    };
    columns
        .unwrap_or_default()
        .into_iter()
        .map(|(_, output)| output)
        .collect()
}

impl Known<'_> {
    fn select(&self, select: &protobuf::SelectStmt) -> Option<Columns> {
        let ctes = self.with(select.with_clause.as_ref());
        let known = Known {
            snapshot: self.snapshot,
            ctes: &ctes,
        };
        if let Some(arm) = &select.larg {
            // SPEC: the columns of a set operation have no origin (PostgreSQL 15, `analyze.c`,
            // `transformSetOperationStmt`).
            let columns = known.select(arm)?;
            return Some(columns.into_iter().map(|(name, _)| (name, None)).collect());
        }
        if !select.values_lists.is_empty() {
            return None;
        }
        let entries = known.entries(&select.from_clause);
        targets(&select.target_list, &entries, merges(&select.from_clause))
    }

    fn returned(
        &self,
        with: Option<&protobuf::WithClause>,
        relation: Option<&protobuf::RangeVar>,
        from: &[Node],
        returning: Option<&protobuf::ReturningClause>,
    ) -> Option<Columns> {
        let ctes = self.with(with);
        let known = Known {
            snapshot: self.snapshot,
            ctes: &ctes,
        };
        // What is written to is a relation, whatever common table expressions there are.
        let bare = Known {
            snapshot: self.snapshot,
            ctes: &[],
        };
        let mut entries = vec![bare.range(relation?)];
        entries.extend(known.entries(from));
        targets(&returning?.exprs, &entries, merges(from))
    }

    /// The common table expressions of a query, behind those around it.
    fn with(&self, clause: Option<&protobuf::WithClause>) -> Vec<(String, Option<Columns>)> {
        let mut ctes = self.ctes.to_vec();
        for node in clause.into_iter().flat_map(|clause| &clause.ctes) {
            let Some(NodeEnum::CommonTableExpr(cte)) = &node.node else {
                continue;
            };
            let known = Known {
                snapshot: self.snapshot,
                ctes: &ctes,
            };
            let query = cte.ctequery.as_deref().and_then(|node| node.node.as_ref());
            let columns = match query {
                Some(NodeEnum::SelectStmt(select)) if !clause.is_some_and(|c| c.recursive) => {
                    known.select(select)
                }
                _ => None,
            };
            let columns = columns.map(|columns| renamed(columns, &names(&cte.aliascolnames)));
            ctes.push((cte.ctename.clone(), columns));
        }
        ctes
    }

    /// The leaves of a FROM clause, in order.
    fn entries(&self, from: &[Node]) -> Vec<Entry> {
        let mut entries = Vec::new();
        for node in from {
            self.enter(node, &mut entries);
        }
        entries
    }

    fn enter(&self, node: &Node, entries: &mut Vec<Entry>) {
        let unknown = |alias: Option<&protobuf::Alias>| Entry {
            alias: alias.map(|a| a.aliasname.clone()).unwrap_or_default(),
            columns: None,
        };
        match &node.node {
            Some(NodeEnum::JoinExpr(join)) => {
                for arm in [&join.larg, &join.rarg].into_iter().flatten() {
                    self.enter(arm, entries);
                }
            }
            Some(NodeEnum::RangeVar(range)) => entries.push(self.range(range)),
            Some(NodeEnum::RangeSubselect(subselect)) => {
                let alias = subselect.alias.as_ref();
                let query = subselect.subquery.as_deref().and_then(|n| n.node.as_ref());
                let columns = match query {
                    Some(NodeEnum::SelectStmt(select)) => self.select(select),
                    _ => None,
                };
                let colnames = alias.map(|a| names(&a.colnames)).unwrap_or_default();
                entries.push(Entry {
                    columns: columns.map(|columns| renamed(columns, &colnames)),
                    ..unknown(alias)
                });
            }
            Some(NodeEnum::RangeFunction(function)) => {
                entries.push(unknown(function.alias.as_ref()));
            }
            _ => entries.push(unknown(None)),
        }
    }

    fn range(&self, range: &protobuf::RangeVar) -> Entry {
        let alias = range.alias.as_ref();
        let cte = |(name, columns): &(String, Option<Columns>)| {
            (range.schemaname.is_empty() && *name == range.relname).then(|| columns.clone())
        };
        let columns = match self.ctes.iter().rev().find_map(cte) {
            Some(columns) => columns,
            None => self.relation(range).map(|relation| {
                let columns = relation.columns.iter();
                columns
                    .map(|column| (column.name.clone(), Some(output(relation, column))))
                    .collect()
            }),
        };
        let colnames = alias.map(|a| names(&a.colnames)).unwrap_or_default();
        Entry {
            alias: alias.map_or_else(|| range.relname.clone(), |a| a.aliasname.clone()),
            columns: columns.map(|columns| renamed(columns, &colnames)),
        }
    }

    fn relation(&self, range: &protobuf::RangeVar) -> Option<&Relation> {
        if range.schemaname.is_empty() {
            self.snapshot.resolve(&range.relname)
        } else {
            self.snapshot.relation(&range.schemaname, &range.relname)
        }
    }
}

/// What a select list shows. `merged`: a join made one column of two.
fn targets(list: &[Node], entries: &[Entry], merged: bool) -> Option<Columns> {
    let mut columns = Vec::new();
    for node in list {
        let Some(NodeEnum::ResTarget(target)) = &node.node else {
            return None;
        };
        let value = target.val.as_deref().and_then(|value| value.node.as_ref());
        let Some(NodeEnum::ColumnRef(reference)) = value else {
            columns.push((target.name.clone(), None));
            continue;
        };
        let (last, qualifier) = reference.fields.split_last()?;
        let alias = qualifier.last().and_then(string);
        let mut of = entries
            .iter()
            .filter(|entry| alias.is_none_or(|alias| entry.alias == alias));
        if matches!(last.node, Some(NodeEnum::AStar(_))) {
            if alias.is_some() {
                columns.extend(of.next()?.columns.clone()?);
            } else if merged {
                return None;
            } else {
                for entry in of {
                    columns.extend(entry.columns.clone()?);
                }
            }
            continue;
        }
        let name = string(last)?;
        let mut found = of
            .filter_map(|entry| entry.columns.as_ref())
            .filter_map(|columns| columns.iter().find(|(column, _)| column == name));
        let output = match (found.next(), found.next()) {
            (Some((_, output)), None) => output.clone(),
            _ => None,
        };
        let shown = if target.name.is_empty() {
            name
        } else {
            &target.name
        };
        columns.push((shown.to_owned(), output));
    }
    Some(columns)
}

/// Whether columns of two arms become one somewhere in a FROM clause.
fn merges(from: &[Node]) -> bool {
    from.iter().any(|node| match &node.node {
        Some(NodeEnum::JoinExpr(join)) => {
            join.is_natural
                || !join.using_clause.is_empty()
                || join.alias.is_some()
                || [&join.larg, &join.rarg]
                    .into_iter()
                    .flatten()
                    .any(|arm| merges(std::slice::from_ref(arm)))
        }
        _ => false,
    })
}

fn renamed(mut columns: Columns, names: &[&str]) -> Columns {
    for ((column, _), name) in columns.iter_mut().zip(names) {
        (*name).clone_into(column);
    }
    columns
}

fn output(relation: &Relation, column: &Column) -> Output {
    Output {
        id: relation.column_id(column),
        type_id: column.type_id,
        type_modifier: type_modifier(&column.type_name),
    }
}

/// The modifier of a type as `format_type` prints it; `None` where that doesn't tell (PostgreSQL 15,
/// `format_type.c`, and the `typmodin` functions of the types).
pub(super) fn type_modifier(type_name: &str) -> Option<i32> {
    /// What lengths count beside themselves: `VARHDRSZ`.
    const HEADER: i32 = 4;
    let name = type_name.trim_end_matches("[]");
    let (before, rest) = name.split_once('(').unwrap_or((name, ""));
    let inner = rest.split_once(')').map_or("", |(inner, _)| inner);
    let (first, second) = inner.split_once(',').unwrap_or((inner, "0"));
    let known = matches!(
        before,
        "character varying"
            | "character"
            | "numeric"
            | "bit"
            | "bit varying"
            | "time"
            | "timestamp"
    );
    match before {
        _ if !known && inner.is_empty() => {
            // A domain's name doesn't tell what it is made of.
            matches!(
                name,
                "text"
                    | "integer"
                    | "bigint"
                    | "smallint"
                    | "date"
                    | "boolean"
                    | "uuid"
                    | "json"
                    | "jsonb"
                    | "bytea"
                    | "real"
                    | "double precision"
            )
            .then_some(-1)
        }
        _ if inner.is_empty() => Some(-1),
        "character varying" | "character" => first.parse::<i32>().ok()?.checked_add(HEADER),
        "numeric" => {
            let precision = first.parse::<i32>().ok()?.checked_mul(1 << 16)?;
            let scale = second.parse::<i32>().ok()? & 0x7ff;
            precision.checked_add(scale)?.checked_add(HEADER)
        }
        "bit" | "bit varying" | "time" | "timestamp" => first.parse().ok(),
        _ => None,
    }
}
