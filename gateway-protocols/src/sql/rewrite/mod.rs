//! Source substitution: classified columns are masked where a statement reads them.
//!
//! Every relation with classified columns that a query reads becomes a subquery of the same name,
//! whose classified columns are expressions that mask them. Whatever the query then does, it does to
//! masks: expressions, aggregates, whole rows, set operations, COPY. Nothing about names has to be
//! resolved for that to hold, because the subquery has no other columns to offer.
//!
//! Two things are not masks, and rest on names being resolved as the server does:
//! - Comparisons by equality with constants, parameters and columns of the same class, and tests for
//!   null, see the value: the subquery offers it under a name of ours, which occurs nowhere else.
//!   A query that compares so may not use the table's whole row.
//! - The table that a statement writes to can't be substituted. Its classified columns may be
//!   assigned to and compared as above; `RETURNING` shows masks; any other mention is refused.
//!
//! What leaves here is deparsed, parsed again, and must be the same tree.

mod dml;
mod scope;
mod select;
mod source;

use std::collections::{BTreeMap, BTreeSet};

use gateway_core::{
    catalogue::{Relation, Snapshot},
    mask::Classified,
    operation::Piece,
};
use pg_query::{DeparseOptions, Node, NodeEnum, NodeRef, protobuf};

use self::source::Mask;
use super::{
    analyser::{names, string},
    literals::literals,
    plain::Obstacle,
    tree::{self, Field},
};

/// What names of ours begin with. A text in which such a name occurs isn't rewritten.
const OURS: &str = "__gateway_";
const MASK: &str = "__gateway_mask_";

/// Rewrites one statement. The caller has made sure that nothing in it reaches classified columns
/// by another way than naming their relations.
///
/// # Errors
/// The construct that stands in the way.
pub(super) fn rewrite(
    node: &Node,
    snapshot: &Snapshot,
    classified: &Classified,
) -> Result<Vec<Piece>, Obstacle> {
    let mut ctes = BTreeSet::new();
    survey(node, &mut |node| {
        if let NodeRef::CommonTableExpr(cte) = node {
            ctes.insert(cte.ctename.clone());
        }
    });
    // Wherever a name of ours may hide: in constants too, for the text is cut at such names.
    if written(node)?.contains(OURS) {
        return Err(obstacle(format!("a name with {OURS}")));
    }
    let mut rewriter = Rewriter {
        snapshot,
        classified,
        ctes,
        masks: Vec::new(),
        touched: 0,
        guarded: BTreeMap::new(),
    };
    let mut tree = node.clone();
    tree::forget_places(&mut tree);
    rewriter.statement(&mut tree)?;
    rewriter.check_rows(&tree)?;
    let text = faithful(&tree)?;
    rewriter.check_touched(&tree)?;
    rewriter.pieces(&text)
}

/// A tree as text.
fn written(tree: &Node) -> Result<String, Obstacle> {
    // The deparser is C: what it can't write is an error, and a panic in its wrapper is one as well.
    std::panic::catch_unwind(|| tree.deparse(DeparseOptions::default()))
        .ok()
        .and_then(Result::ok)
        .ok_or_else(unfaithful)
}

fn unfaithful() -> Obstacle {
    obstacle("a statement that can't be written out again")
}

/// Text of a tree that means the tree.
fn faithful(tree: &Node) -> Result<String, Obstacle> {
    let text = written(tree)?;
    let parsed = super::parse(&text).map_err(|_| unfaithful())?;
    let mut statements = parsed.statements();
    let (Some((Some(again), _)), None) = (statements.next(), statements.next()) else {
        return Err(unfaithful());
    };
    let mut again = again.clone();
    tree::forget_places(&mut again);
    if again == *tree {
        Ok(text)
    } else {
        Err(unfaithful())
    }
}

/// One statement on its way.
struct Rewriter<'a> {
    snapshot: &'a Snapshot,
    classified: &'a Classified,
    /// Names of common table expressions, wherever in the statement they are.
    ctes: BTreeSet<String>,
    /// Masks, by the number in the name that stands for each until the end.
    masks: Vec<Mask>,
    /// Classified relations that were substituted, or found as the table that is written to.
    touched: usize,
    /// Tables whose whole row holds values, by what they are called: the names of their columns.
    guarded: BTreeMap<String, Vec<BTreeSet<String>>>,
}

impl<'a> Rewriter<'a> {
    fn statement(&mut self, node: &mut Node) -> Result<(), Obstacle> {
        match &mut node.node {
            Some(NodeEnum::ExplainStmt(explain)) => self.inner(explain.query.as_deref_mut()),
            Some(NodeEnum::PrepareStmt(prepare)) => self.inner(prepare.query.as_deref_mut()),
            Some(NodeEnum::DeclareCursorStmt(cursor)) => self.inner(cursor.query.as_deref_mut()),
            Some(NodeEnum::CopyStmt(copy)) => self.copy(copy),
            Some(NodeEnum::TruncateStmt(truncate)) => {
                self.touched += self.count(&truncate.relations);
                Ok(())
            }
            Some(NodeEnum::LockStmt(lock)) => {
                self.touched += self.count(&lock.relations);
                Ok(())
            }
            _ => self.query(node, None, select::Mode::Read),
        }
    }

    fn inner(&mut self, query: Option<&mut Node>) -> Result<(), Obstacle> {
        match query {
            Some(query) => self.query(query, None, select::Mode::Read),
            None => Err(obstacle("a statement without a query")),
        }
    }

    /// `COPY`: of a query; of a table, as a query of it; into a table as it is.
    fn copy(&mut self, copy: &mut protobuf::CopyStmt) -> Result<(), Obstacle> {
        if let Some(query) = copy.query.as_deref_mut() {
            return self.query(query, None, select::Mode::Read);
        }
        let relation = copy.relation.as_ref().and_then(|range| self.find(range));
        let Some(relation) = relation.filter(|found| self.classified.touches(found.id)) else {
            return Ok(());
        };
        if copy.is_from {
            if copy.where_clause.is_some() {
                return Err(obstacle("COPY FROM … WHERE"));
            }
            self.touched += 1;
            return Ok(());
        }
        let columns: Vec<&str> = if copy.attlist.is_empty() {
            relation.columns.iter().map(|c| c.name.as_str()).collect()
        } else {
            names(&copy.attlist)
        };
        // COPY of a table leaves its children out.
        let source = self.source(relation, true, &BTreeSet::new())?;
        let list = columns.iter().map(|name| source::quoted(name));
        let list = list.collect::<Vec<_>>().join(", ");
        let mut query = source::parsed(&format!("SELECT {list} FROM __gateway_source"))?;
        if let Some(NodeEnum::SelectStmt(select)) = &mut query.node {
            select.from_clause = vec![source::subselect(source, "__gateway_source", Vec::new())];
        }
        copy.query = Some(Box::new(query));
        copy.relation = None;
        copy.attlist.clear();
        self.touched += 1;
        Ok(())
    }

    /// The relation that a name means, unless a common table expression bears it.
    fn find(&self, range: &protobuf::RangeVar) -> Option<&'a Relation> {
        if !range.schemaname.is_empty() {
            return self.snapshot.relation(&range.schemaname, &range.relname);
        }
        if self.ctes.contains(&range.relname) {
            return None;
        }
        self.snapshot.resolve(&range.relname)
    }

    fn count(&self, relations: &[Node]) -> usize {
        let classified = |node: &&Node| match &node.node {
            Some(NodeEnum::RangeVar(range)) => self
                .find(range)
                .is_some_and(|relation| self.classified.touches(relation.id)),
            _ => false,
        };
        relations.iter().filter(classified).count()
    }

    /// Refuses mentions of whole rows that hold values.
    fn check_rows(&self, tree: &Node) -> Result<(), Obstacle> {
        let mut found = Ok(());
        survey(tree, &mut |node| {
            let NodeRef::ColumnRef(column) = node else {
                return;
            };
            let path = names(&column.fields);
            let star = path.len() != column.fields.len();
            let (table, field) = match (path.as_slice(), star) {
                ([table], false) => (*table, None),
                ([.., table], true) => (*table, None),
                ([.., table, field], false) => (*table, Some(*field)),
                ([], _) => return,
            };
            let Some(tables) = self.guarded.get(table) else {
                return;
            };
            let is_column = |field: &str| {
                field.starts_with(OURS) || tables.iter().all(|columns| columns.contains(field))
            };
            if found.is_ok() && !field.is_some_and(is_column) {
                found = Err(obstacle(format!("the whole row of `{table}`")));
            }
        });
        found
    }

    /// Whether the tree names classified relations as often as they were dealt with.
    fn check_touched(&self, tree: &Node) -> Result<(), Obstacle> {
        let mut mentioned = 0;
        survey(tree, &mut |node| {
            if let NodeRef::RangeVar(range) = node
                && let Some(relation) = self.find(range)
                && self.classified.touches(relation.id)
            {
                mentioned += 1;
            }
        });
        if mentioned == self.touched {
            Ok(())
        } else {
            Err(obstacle("a table named where none is read"))
        }
    }

    /// Cuts the text at the names that stand for masks.
    fn pieces(self, text: &str) -> Result<Vec<Piece>, Obstacle> {
        let mut pieces = Vec::new();
        let fixed = |text: &str| Piece::Fixed {
            text: text.to_owned(),
            sensitive: literals(text),
        };
        let mut parts = text.split(MASK);
        pieces.extend(parts.next().map(fixed));
        for part in parts {
            let digits = part.bytes().take_while(u8::is_ascii_digit).count();
            let (number, rest) = part.split_at_checked(digits).unwrap_or((part, ""));
            let mask = number
                .parse()
                .ok()
                .and_then(|index: usize| self.masks.get(index))
                .ok_or_else(|| obstacle("a mask that is lost"))?;
            pieces.push(Piece::Column {
                id: mask.id,
                masked: mask.masked.clone(),
                clear: mask.clear.clone(),
            });
            pieces.push(fixed(rest));
        }
        Ok(pieces)
    }
}

/// Calls `visit` with every node of a tree. What a locking clause names are aliases.
fn survey<'n>(node: &'n Node, visit: &mut dyn FnMut(NodeRef<'n>)) {
    fn below<'n>(node: NodeRef<'n>, visit: &mut dyn FnMut(NodeRef<'n>)) {
        visit(node);
        if !matches!(node, NodeRef::LockingClause(_)) {
            tree::children(node, &mut |child| below(child, visit));
        }
    }
    node.nodes(&mut |node| below(node, visit));
}

fn obstacle(construct: impl Into<String>) -> Obstacle {
    Obstacle {
        construct: construct.into(),
        column: None,
    }
}

/// Calls `visit` on the nodes below `node` until one fails.
fn each_child(
    node: &mut Node,
    visit: &mut dyn FnMut(&mut Node) -> Result<(), Obstacle>,
) -> Result<(), Obstacle> {
    let mut result = Ok(());
    tree::children_mut(node, &mut |child| {
        if result.is_ok() {
            result = visit(child);
        }
    });
    result
}

/// A reference to a column of something in FROM.
fn column_ref(fields: &[&str]) -> NodeEnum {
    NodeEnum::ColumnRef(protobuf::ColumnRef {
        fields: fields.iter().map(|field| name_node(field)).collect(),
        location: 0,
    })
}

fn name_node(name: &str) -> Node {
    Node {
        node: Some(NodeEnum::String(protobuf::String {
            sval: name.to_owned(),
        })),
    }
}

/// What stands before the star of an item of a select list: `*`, `t.*`.
fn star_of(item: &Node) -> Option<Vec<&str>> {
    let Some(NodeEnum::ResTarget(target)) = &item.node else {
        return None;
    };
    let Some(NodeEnum::ColumnRef(column)) = &target.val.as_deref()?.node else {
        return None;
    };
    let (last, qualifier) = column.fields.split_last()?;
    matches!(last.node, Some(NodeEnum::AStar(_)))
        .then(|| qualifier.iter().filter_map(string).collect())
}
