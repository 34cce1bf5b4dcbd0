//! Data changes: the table written to stays, and shows nothing.

use std::{cell::RefCell, collections::BTreeSet};

use pg_query::{Node, NodeEnum, protobuf};

use super::{
    Rewriter, column_ref, obstacle,
    scope::{Entry, Level, Role, Table},
    select::Mode,
    source::quoted,
    star_of,
};
use crate::sql::plain::Obstacle;

impl<'a> Rewriter<'a> {
    pub(super) fn insert(
        &mut self,
        insert: &mut protobuf::InsertStmt,
        outer: Option<&Level<'a, '_>>,
    ) -> Result<(), Obstacle> {
        self.with(insert.with_clause.as_mut(), outer, Mode::Write)?;
        if let Some(select) = insert.select_stmt.as_deref_mut() {
            self.query(select, outer, Mode::Write)?;
        }
        let level = Level {
            entries: vec![self.target(insert.relation.as_mut())?],
            outer,
        };
        if let Some(conflict) = insert.on_conflict_clause.as_deref_mut() {
            if let Some(infer) = conflict.infer.as_deref_mut() {
                self.all(&mut infer.index_elems, &level, Mode::Decide)?;
                self.one(infer.where_clause.as_deref_mut(), &level, Mode::Decide)?;
            }
            self.all(&mut conflict.target_list, &level, Mode::Write)?;
            self.one(conflict.where_clause.as_deref_mut(), &level, Mode::Decide)?;
        }
        self.returning(insert.returning_clause.as_mut(), &[], &level)
    }

    pub(super) fn update(
        &mut self,
        update: &mut protobuf::UpdateStmt,
        outer: Option<&Level<'a, '_>>,
    ) -> Result<(), Obstacle> {
        self.with(update.with_clause.as_mut(), outer, Mode::Write)?;
        let level = self.changed(update.relation.as_mut(), &update.from_clause, outer)?;
        self.joins(&mut update.from_clause, &level, Mode::Write)?;
        self.all(&mut update.target_list, &level, Mode::Write)?;
        self.one(update.where_clause.as_deref_mut(), &level, Mode::Decide)?;
        self.returning(
            update.returning_clause.as_mut(),
            &update.from_clause,
            &level,
        )?;
        self.substitute_behind_target(&mut update.from_clause, level)
    }

    pub(super) fn delete(
        &mut self,
        delete: &mut protobuf::DeleteStmt,
        outer: Option<&Level<'a, '_>>,
    ) -> Result<(), Obstacle> {
        self.with(delete.with_clause.as_mut(), outer, Mode::Write)?;
        let level = self.changed(delete.relation.as_mut(), &delete.using_clause, outer)?;
        self.joins(&mut delete.using_clause, &level, Mode::Write)?;
        self.one(delete.where_clause.as_deref_mut(), &level, Mode::Decide)?;
        self.returning(
            delete.returning_clause.as_mut(),
            &delete.using_clause,
            &level,
        )?;
        self.substitute_behind_target(&mut delete.using_clause, level)
    }

    pub(super) fn merge(
        &mut self,
        merge: &mut protobuf::MergeStmt,
        outer: Option<&Level<'a, '_>>,
    ) -> Result<(), Obstacle> {
        self.with(merge.with_clause.as_mut(), outer, Mode::Write)?;
        let source = merge
            .source_relation
            .take()
            .ok_or_else(|| obstacle("MERGE without a source"))?;
        let mut from = [*source];
        let level = self.changed(merge.relation.as_mut(), &from, outer)?;
        self.joins(&mut from, &level, Mode::Write)?;
        self.one(merge.join_condition.as_deref_mut(), &level, Mode::Decide)?;
        for branch in &mut merge.merge_when_clauses {
            let Some(NodeEnum::MergeWhenClause(branch)) = &mut branch.node else {
                return Err(obstacle("an unknown branch of MERGE"));
            };
            self.one(branch.condition.as_deref_mut(), &level, Mode::Decide)?;
            self.all(&mut branch.target_list, &level, Mode::Write)?;
            self.all(&mut branch.values, &level, Mode::Write)?;
        }
        if let Some(clause) = &merge.returning_clause
            && clause.exprs.iter().any(|item| star_of(item).is_some())
        {
            return Err(obstacle("RETURNING * of MERGE"));
        }
        self.returning(merge.returning_clause.as_mut(), &from, &level)?;
        self.substitute_behind_target(&mut from, level)?;
        let [source] = from;
        merge.source_relation = Some(Box::new(source));
        Ok(())
    }

    /// The table written to, and what stands beside it.
    fn changed<'o>(
        &mut self,
        target: Option<&mut protobuf::RangeVar>,
        from: &[Node],
        outer: Option<&'o Level<'a, 'o>>,
    ) -> Result<Level<'a, 'o>, Obstacle> {
        let mut entries = vec![self.target(target)?];
        entries.extend(self.entries(from, Mode::Write)?);
        Ok(Level { entries, outer })
    }

    fn target(&mut self, range: Option<&mut protobuf::RangeVar>) -> Result<Entry<'a>, Obstacle> {
        let range = range.ok_or_else(|| obstacle("a change of something without a name"))?;
        // Whatever common table expressions there are: what is written to is a relation.
        let relation = if range.schemaname.is_empty() {
            self.snapshot.resolve(&range.relname)
        } else {
            self.snapshot.relation(&range.schemaname, &range.relname)
        };
        let relation =
            relation.ok_or_else(|| obstacle(format!("the unknown table {}", range.relname)))?;
        relation.schema.clone_into(&mut range.schemaname);
        let alias = range.alias.as_ref();
        let entry = Entry {
            alias: alias.map_or_else(|| range.relname.clone(), |a| a.aliasname.clone()),
            own_name: alias.is_none(),
            table: Some(Table {
                relation,
                columns: relation.columns.iter().map(|c| c.name.clone()).collect(),
                role: if self.classified.touches(relation.id) {
                    Role::Target
                } else {
                    Role::Clear
                },
                compared: RefCell::new(BTreeSet::new()),
            }),
        };
        if self.classified.touches(relation.id) {
            self.touched += 1;
            self.guard(&entry);
            // PostgreSQL 18: RETURNING has these two names as well.
            for name in ["old", "new"] {
                self.guarded
                    .entry(name.into())
                    .or_default()
                    .push(BTreeSet::new());
            }
        }
        Ok(entry)
    }

    fn returning(
        &mut self,
        clause: Option<&mut protobuf::ReturningClause>,
        from: &[Node],
        level: &Level<'a, '_>,
    ) -> Result<(), Obstacle> {
        let Some(clause) = clause else {
            return Ok(());
        };
        if !clause.options.is_empty() {
            return Err(obstacle("RETURNING WITH"));
        }
        self.close(&mut clause.exprs, from, level)?;
        for item in &mut clause.exprs {
            if let Some(NodeEnum::ResTarget(target)) = &mut item.node
                && let Some(value) = target.val.as_deref_mut()
                && matches!(value.node, Some(NodeEnum::ColumnRef(_)))
                && let Some(meant) = self.classified(value, level)
                && meant.table.role == Role::Target
            {
                if target.name.is_empty() {
                    meant.column.name.clone_into(&mut target.name);
                }
                let clear = format!(
                    "{}.{}",
                    quoted(&meant.entry.alias),
                    quoted(&meant.column.name)
                );
                let mask = self.mask(&meant.classified, meant.column, clear);
                value.node = Some(column_ref(&[&mask]));
                continue;
            }
            self.expression(item, level, Mode::Read)?;
        }
        // Comparisons in RETURNING may have asked for values only now.
        self.close(&mut clause.exprs, from, level)
    }

    fn substitute_behind_target(
        &mut self,
        from: &mut [Node],
        mut level: Level<'a, '_>,
    ) -> Result<(), Obstacle> {
        level.entries.remove(0);
        self.substitute(from, &level)
    }
}
