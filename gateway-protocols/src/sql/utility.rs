//! Every statement of the grammar and what it does.

use gateway_core::{
    catalogue::{DerivationKind, DerivedIn},
    operation::{Action, Object},
};
use pg_query::{Node, NodeEnum, NodeRef, protobuf};
use protobuf::ObjectType;

use super::{
    analyser::{Analyser, Scope, names, object, string},
    tree::Statement,
};

impl<'a> Analyser<'a> {
    /// Records what one statement does, at whatever depth it stands.
    pub(super) fn statement(
        &mut self,
        statement: Statement<'a>,
        node: NodeRef<'a>,
        scope: &Scope<'_>,
    ) {
        use Statement as S;
        if !is_ordinary(statement) {
            self.reaches(
                "a utility statement",
                "use SELECT of plain columns from one table",
            );
        }
        match statement {
            S::SelectStmt(select) => self.select(select, node, scope),
            S::InsertStmt(insert) => self.insert(insert, node, scope),
            S::UpdateStmt(update) => self.update(update, node, scope),
            S::DeleteStmt(delete) => self.delete(delete, node, scope),
            S::MergeStmt(merge) => self.merge(merge, node, scope),
            S::CopyStmt(copy) => self.copy(copy, node, scope),
            S::ReturnStmt(_) | S::ExplainStmt(_) => self.rest(node, None, scope),

            // Transactions, cursors, prepared statements, settings, notifications, locks.
            S::TransactionStmt(transaction) => {
                use protobuf::TransactionStmtKind as T;
                match T::try_from(transaction.kind) {
                    Ok(
                        T::TransStmtPrepare
                        | T::TransStmtCommitPrepared
                        | T::TransStmtRollbackPrepared,
                    ) => {
                        self.opaque("two-phase commit ends the transaction in another session");
                    }
                    Ok(T::Undefined) | Err(_) => self.opaque("an unknown transaction command"),
                    Ok(_) => {}
                }
                self.session(node, scope);
            }
            S::DeclareCursorStmt(_) | S::PrepareStmt(_) | S::ConstraintsSetStmt(_) => {
                self.session(node, scope);
            }
            S::ClosePortalStmt(_)
            | S::DeallocateStmt(_)
            | S::UnlistenStmt(_)
            | S::NotifyStmt(_)
            | S::ListenStmt(_)
            | S::FetchStmt(_)
            | S::DiscardStmt(_) => self.session(node, scope),
            S::ExecuteStmt(_) => {
                self.opaque("EXECUTE runs a statement that was prepared earlier");
                self.session(node, scope);
            }
            S::VariableSetStmt(set) => self.set(set),
            S::VariableShowStmt(show) => {
                let name = show.name.to_ascii_lowercase();
                self.effect(Action::SqlSession, Object::Setting { name });
            }
            S::LockStmt(lock) => self.lock_tables(lock),

            // Code.
            S::DoStmt(_) => {
                self.effect(Action::SqlCall, Object::Database);
                self.opaque("DO runs code that isn't SQL");
            }
            S::CallStmt(_) => {
                // The call itself is below; what the procedure does to the catalogue isn't known.
                self.found.changes_catalogue = true;
                self.rest(node, None, scope);
            }

            // Tables and what looks like them.
            S::CreateStmt(create) => {
                self.creates(create.relation.as_ref());
                for parent in &create.inh_relations {
                    if let Some(NodeEnum::RangeVar(parent)) = &parent.node {
                        self.relation(Action::SqlAlter, parent, &Scope::EMPTY);
                    }
                }
                self.rest(node, create.relation.as_ref(), &Scope::EMPTY);
            }
            S::CreateForeignTableStmt(_) => {
                self.effect(Action::SqlFile, Object::Target);
                self.rest(node, None, scope);
            }
            S::CreateTableAsStmt(create) => {
                if let Some(into) = &create.into {
                    self.creates_from(into, scope);
                } else {
                    self.opaque("it creates something without a name");
                }
                self.descend(&create.query, scope);
            }
            S::ViewStmt(view) => {
                self.creates(view.view.as_ref());
                if view
                    .view
                    .as_ref()
                    .is_some_and(|view| view.relpersistence == "t")
                {
                    self.opaque("a temporary view can stand in for another relation");
                }
                self.rest(node, view.view.as_ref(), &Scope::EMPTY);
            }
            S::CreateSeqStmt(create) => {
                self.creates(create.sequence.as_ref());
                self.rest(node, create.sequence.as_ref(), scope);
            }
            S::AlterSeqStmt(alter) => {
                self.own(Action::SqlAlter, alter.sequence.as_ref());
                self.rest(node, alter.sequence.as_ref(), scope);
            }
            S::CompositeTypeStmt(create) => {
                let schema = create
                    .typevar
                    .as_ref()
                    .map_or("", |range| range.schemaname.as_str());
                self.in_schema(Action::SqlCreate, schema);
                self.rest(node, create.typevar.as_ref(), scope);
            }
            S::AlterTableStmt(alter) => {
                let index = alter.objtype == ObjectType::ObjectIndex as i32;
                if alter.objtype == ObjectType::ObjectType as i32 {
                    let schema = alter
                        .relation
                        .as_ref()
                        .map_or("", |range| &range.schemaname);
                    self.in_schema(Action::SqlAlter, schema);
                } else if index {
                    self.effect(Action::SqlAlter, Object::Database);
                } else {
                    self.own(Action::SqlAlter, alter.relation.as_ref());
                }
                if alter.cmds.iter().any(changes_rights) {
                    self.own_unless(index, Action::SqlGrant, alter.relation.as_ref());
                }
                for command in &alter.cmds {
                    self.alter_command(command);
                }
                self.rest(node, alter.relation.as_ref(), &Scope::EMPTY);
            }
            S::IndexStmt(index) => {
                self.own(Action::SqlCreate, index.relation.as_ref());
                self.rest(node, index.relation.as_ref(), scope);
            }
            S::CreateStatsStmt(_) => {
                self.effect(Action::SqlCreate, Object::Database);
                self.rest(node, None, scope);
            }
            S::RuleStmt(rule) => {
                self.own(Action::SqlAlter, rule.relation.as_ref());
                self.rest(
                    node,
                    rule.relation.as_ref(),
                    &Scope::within(&["old", "new"], scope),
                );
            }
            S::CreateTrigStmt(trigger) => {
                self.own(Action::SqlAlter, trigger.relation.as_ref());
                self.call(&names(&trigger.funcname));
                self.rest(node, trigger.relation.as_ref(), scope);
            }
            S::TruncateStmt(truncate) => self.truncate(truncate),
            S::RefreshMatViewStmt(refresh) => {
                self.own(Action::SqlMaintain, refresh.relation.as_ref())
            }
            S::ClusterStmt(cluster) => self.maintains(cluster.relation.as_ref()),
            S::ReindexStmt(reindex) => {
                let table = protobuf::ReindexObjectType::ReindexObjectTable as i32;
                self.maintains(reindex.relation.as_ref().filter(|_| reindex.kind == table));
            }
            S::VacuumStmt(vacuum) => {
                if vacuum.rels.is_empty() {
                    self.effect(Action::SqlMaintain, Object::Database);
                }
                for rel in &vacuum.rels {
                    match &rel.node {
                        Some(NodeEnum::VacuumRelation(rel)) => {
                            self.maintains(rel.relation.as_ref())
                        }
                        _ => self.opaque("an unknown target of VACUUM"),
                    }
                }
            }
            S::CheckPointStmt(_) => self.effect(Action::SqlMaintain, Object::Target),

            // Objects by kind.
            S::DropStmt(drop) => {
                for object in &drop.objects {
                    self.named(Action::SqlDrop, drop.remove_type, None, Some(object));
                }
                if drop.behavior == protobuf::DropBehavior::DropCascade as i32 {
                    self.effect(Action::SqlDrop, Object::Database);
                }
            }
            S::CommentStmt(comment) => {
                self.named(
                    Action::SqlAlter,
                    comment.objtype,
                    None,
                    comment.object.as_deref(),
                );
            }
            S::SecLabelStmt(label) => {
                self.named(
                    Action::SqlAlter,
                    label.objtype,
                    None,
                    label.object.as_deref(),
                );
            }
            S::RenameStmt(rename) => self.named(
                Action::SqlAlter,
                rename.rename_type,
                rename.relation.as_ref(),
                rename.object.as_deref(),
            ),
            S::AlterObjectSchemaStmt(alter) => {
                self.named(
                    Action::SqlAlter,
                    alter.object_type,
                    alter.relation.as_ref(),
                    alter.object.as_deref(),
                );
                self.in_schema(Action::SqlCreate, &alter.newschema);
            }
            S::AlterObjectDependsStmt(alter) => self.named(
                Action::SqlAlter,
                alter.object_type,
                alter.relation.as_ref(),
                alter.object.as_deref(),
            ),
            S::AlterOwnerStmt(alter) => self.named(
                Action::SqlGrant,
                alter.object_type,
                alter.relation.as_ref(),
                alter.object.as_deref(),
            ),

            // Schemas, types, functions, operators, text search.
            S::CreateSchemaStmt(create) => {
                let schema = create.schemaname.clone();
                self.effect(Action::SqlCreate, Object::Schema { schema });
                if create.authrole.is_some() {
                    self.effect(Action::SqlGrant, Object::Database);
                }
                if !create.schema_elts.is_empty() {
                    self.opaque(
                        "CREATE SCHEMA with elements resolves names in the new schema first",
                    );
                }
                self.rest(node, None, scope);
            }
            S::DefineStmt(define) => {
                self.in_schema(Action::SqlCreate, qualifier(&define.defnames));
                self.rest(node, None, scope);
            }
            S::CreateDomainStmt(create) => {
                self.in_schema(Action::SqlCreate, qualifier(&create.domainname));
                self.rest(node, None, scope);
            }
            S::CreateEnumStmt(create) => {
                self.in_schema(Action::SqlCreate, qualifier(&create.type_name));
            }
            S::CreateRangeStmt(create) => {
                self.in_schema(Action::SqlCreate, qualifier(&create.type_name));
                self.rest(node, None, scope);
            }
            S::CreateOpClassStmt(create) => {
                self.in_schema(Action::SqlCreate, qualifier(&create.opclassname));
                self.rest(node, None, scope);
            }
            S::CreateOpFamilyStmt(create) => {
                self.in_schema(Action::SqlCreate, qualifier(&create.opfamilyname));
            }
            S::CreateConversionStmt(create) => {
                self.in_schema(Action::SqlCreate, qualifier(&create.conversion_name));
            }
            S::CreateCastStmt(_) | S::CreateTransformStmt(_) => {
                self.effect(Action::SqlCreate, Object::Database);
                self.rest(node, None, scope);
            }
            S::CreateFunctionStmt(create) => {
                self.function(Action::SqlCreate, &names(&create.funcname));
                self.rest(node, None, &Scope::EMPTY);
            }
            S::AlterFunctionStmt(alter) => {
                let name = alter
                    .func
                    .as_ref()
                    .map(|func| names(&func.objname))
                    .unwrap_or_default();
                self.function(Action::SqlAlter, &name);
                self.rest(node, None, scope);
            }
            S::AlterDomainStmt(alter) => {
                self.in_schema(Action::SqlAlter, qualifier(&alter.type_name));
                self.rest(node, None, scope);
            }
            S::AlterEnumStmt(alter) => {
                self.in_schema(Action::SqlAlter, qualifier(&alter.type_name));
            }
            S::AlterTypeStmt(alter) => {
                self.in_schema(Action::SqlAlter, qualifier(&alter.type_name));
                self.rest(node, None, scope);
            }
            S::AlterCollationStmt(alter) => {
                self.in_schema(Action::SqlAlter, qualifier(&alter.collname));
            }
            S::AlterStatsStmt(alter) => {
                self.in_schema(Action::SqlAlter, qualifier(&alter.defnames));
            }
            S::AlterOperatorStmt(alter) => {
                let name = alter
                    .opername
                    .as_ref()
                    .map_or(&[][..], |name| &name.objname);
                self.in_schema(Action::SqlAlter, qualifier(name));
                self.rest(node, None, scope);
            }
            S::AlterOpFamilyStmt(alter) => {
                self.in_schema(Action::SqlAlter, qualifier(&alter.opfamilyname));
                self.rest(node, None, scope);
            }
            S::AlterTsdictionaryStmt(alter) => {
                self.in_schema(Action::SqlAlter, qualifier(&alter.dictname));
            }
            S::AlterTsconfigurationStmt(alter) => {
                self.in_schema(Action::SqlAlter, qualifier(&alter.cfgname));
            }
            // A subcommand of ALTER TABLE, whose effect is recorded there.
            S::ReplicaIdentityStmt(_) => self.rest(node, None, scope),

            // Rights and roles.
            S::GrantStmt(grant) => self.grant(grant),
            S::AlterDefaultPrivilegesStmt(_) | S::ReassignOwnedStmt(_) => {
                self.effect(Action::SqlGrant, Object::Database);
            }
            S::DropOwnedStmt(_) => {
                self.effect(Action::SqlDrop, Object::Database);
                self.effect(Action::SqlGrant, Object::Database);
            }
            S::CreatePolicyStmt(policy) => {
                self.own(Action::SqlGrant, policy.table.as_ref());
                self.rest(node, policy.table.as_ref(), scope);
            }
            S::AlterPolicyStmt(policy) => {
                self.own(Action::SqlGrant, policy.table.as_ref());
                self.rest(node, policy.table.as_ref(), scope);
            }
            S::CreateRoleStmt(_)
            | S::AlterRoleStmt(_)
            | S::AlterRoleSetStmt(_)
            | S::DropRoleStmt(_)
            | S::GrantRoleStmt(_) => self.effect(Action::SqlRole, Object::Target),

            // The system.
            S::AlterSystemStmt(_)
            | S::CreatedbStmt(_)
            | S::AlterDatabaseStmt(_)
            | S::AlterDatabaseRefreshCollStmt(_)
            | S::AlterDatabaseSetStmt(_)
            | S::DropdbStmt(_)
            | S::CreateTableSpaceStmt(_)
            | S::DropTableSpaceStmt(_)
            | S::AlterTableSpaceOptionsStmt(_)
            | S::AlterTableMoveAllStmt(_)
            | S::LoadStmt(_)
            | S::AlterEventTrigStmt(_) => self.effect(Action::SqlSystem, Object::Target),
            S::CreateEventTrigStmt(trigger) => {
                self.effect(Action::SqlSystem, Object::Target);
                self.call(&names(&trigger.funcname));
            }
            S::CreatePlangStmt(_) | S::CreateAmStmt(_) => {
                self.effect(Action::SqlSystem, Object::Target);
            }
            S::CreateExtensionStmt(_)
            | S::AlterExtensionStmt(_)
            | S::AlterExtensionContentsStmt(_) => {
                self.effect(Action::SqlExtension, Object::Target);
            }
            S::CreateFdwStmt(_)
            | S::AlterFdwStmt(_)
            | S::CreateForeignServerStmt(_)
            | S::AlterForeignServerStmt(_)
            | S::CreateUserMappingStmt(_)
            | S::AlterUserMappingStmt(_)
            | S::DropUserMappingStmt(_) => self.effect(Action::SqlFile, Object::Target),
            S::ImportForeignSchemaStmt(import) => {
                self.effect(Action::SqlFile, Object::Target);
                self.in_schema(Action::SqlCreate, &import.local_schema);
            }
            S::CreatePublicationStmt(_) | S::AlterPublicationStmt(_) => {
                self.effect(Action::SqlReplication, Object::Target);
                self.rest(node, None, scope);
            }
            S::CreateSubscriptionStmt(_)
            | S::AlterSubscriptionStmt(_)
            | S::DropSubscriptionStmt(_) => {
                self.effect(Action::SqlReplication, Object::Target);
            }
        }
    }

    fn session(&mut self, node: NodeRef<'a>, scope: &Scope<'_>) {
        self.effect(Action::SqlSession, Object::Target);
        self.rest(node, None, scope);
    }

    fn set(&mut self, set: &'a protobuf::VariableSetStmt) {
        use protobuf::VariableSetKind as V;
        match V::try_from(set.kind) {
            Ok(V::VarSetValue) => {
                let value: Option<Vec<String>> = set.args.iter().map(setting_value).collect();
                match value {
                    Some(value) => self.setting(&set.name, Some(&value)),
                    None => self.opaque("a setting whose value isn't a constant"),
                }
            }
            Ok(V::VarSetMulti) => self.setting(&set.name, Some(&[])),
            // FROM CURRENT occurs in function definitions only.
            Ok(V::VarSetDefault | V::VarReset | V::VarSetCurrent) => self.setting(&set.name, None),
            Ok(V::VarResetAll) => self.effect(Action::SqlSession, Object::Target),
            Ok(V::Undefined) | Err(_) => self.opaque("an unknown form of SET"),
        }
    }

    /// `LOCK`; `ACCESS SHARE` is what every reader takes, so it touches nothing classified.
    fn lock_tables(&mut self, lock: &'a protobuf::LockStmt) {
        let share = lock.mode == pg_query::LockMode::AccessShareLock as i32;
        for relation in &lock.relations {
            let Some(NodeEnum::RangeVar(range)) = &relation.node else {
                self.opaque("an unknown target of LOCK");
                continue;
            };
            if let Some(relation) = self.find(&range.schemaname, &range.relname) {
                if share {
                    self.effect(Action::SqlSession, object(relation));
                } else {
                    // It keeps others from their work for as long as the session likes.
                    self.effect(Action::SqlMaintain, object(relation));
                    self.found.relations.insert(relation.id);
                }
            }
        }
    }

    fn truncate(&mut self, truncate: &'a protobuf::TruncateStmt) {
        let mut queue = Vec::new();
        for relation in &truncate.relations {
            match &relation.node {
                Some(NodeEnum::RangeVar(range)) => {
                    queue.extend(self.relation(Action::SqlTruncate, range, &Scope::EMPTY));
                }
                _ => self.opaque("an unknown target of TRUNCATE"),
            }
        }
        if truncate.behavior != protobuf::DropBehavior::DropCascade as i32 {
            return;
        }
        // What references a truncated table is truncated too. Each relation enters the queue once.
        let mut seen: std::collections::BTreeSet<_> = queue.iter().map(|r| r.id).collect();
        while let Some(relation) = queue.pop() {
            for derivation in &self.snapshot.derivations {
                if derivation.source.relation != relation.id
                    || derivation.how != DerivationKind::ForeignKey
                {
                    continue;
                }
                let id = match derivation.derived {
                    DerivedIn::Column(column) => column.relation,
                    DerivedIn::Relation(id) => id,
                };
                if seen.insert(id)
                    && let Some(referencing) = self.snapshot.relation_by_id(id)
                {
                    let (schema, name) = (&referencing.schema, &referencing.name);
                    queue.extend(self.named_relation(Action::SqlTruncate, schema, name));
                }
            }
        }
    }

    /// Records an effect on the existing relation that a statement is about.
    fn own(&mut self, action: Action, range: Option<&'a protobuf::RangeVar>) {
        match range {
            Some(range) => {
                self.relation(action, range, &Scope::EMPTY);
            }
            None => self.opaque("a statement about a relation names none"),
        }
    }

    fn own_unless(&mut self, unknown: bool, action: Action, range: Option<&'a protobuf::RangeVar>) {
        if unknown {
            self.effect(action, Object::Database);
        } else {
            self.own(action, range);
        }
    }

    fn maintains(&mut self, range: Option<&'a protobuf::RangeVar>) {
        self.own_unless(range.is_none(), Action::SqlMaintain, range);
    }

    fn in_schema(&mut self, action: Action, schema: &str) {
        let schema = if schema.is_empty() {
            self.creation_schema()
        } else {
            schema
        }
        .to_owned();
        self.effect(action, Object::Schema { schema });
    }

    fn function(&mut self, action: Action, name: &[&str]) {
        let (schema, name) = match name {
            [.., schema, name] => (*schema, *name),
            // An existing one is found along the search path, a new one goes where CREATE puts it.
            [name] => {
                let existing = self
                    .user_function(name)
                    .filter(|_| action != Action::SqlCreate);
                (existing.unwrap_or_else(|| self.creation_schema()), *name)
            }
            [] => {
                self.opaque("a function without a name");
                return;
            }
        };
        let object = Object::Function {
            schema: schema.to_owned(),
            name: name.to_owned(),
        };
        self.effect(action, object);
    }

    /// Relations that subcommands of `ALTER TABLE` name beside the altered one: attached, detached
    /// and inherited tables change too.
    fn alter_command(&mut self, command: &'a Node) {
        let Some(NodeEnum::AlterTableCmd(command)) = &command.node else {
            self.opaque("an unknown subcommand of ALTER TABLE");
            return;
        };
        match command.def.as_ref().and_then(|def| def.node.as_ref()) {
            Some(NodeEnum::PartitionCmd(partition)) => {
                self.own(Action::SqlAlter, partition.name.as_ref());
            }
            Some(NodeEnum::RangeVar(range)) => self.own(Action::SqlAlter, Some(range)),
            _ => {}
        }
    }

    fn grant(&mut self, grant: &'a protobuf::GrantStmt) {
        let all = grant.targtype != protobuf::GrantTargetType::AclTargetObject as i32;
        for item in &grant.objects {
            match (&item.node, ObjectType::try_from(grant.objtype)) {
                (Some(NodeEnum::RangeVar(range)), _) => self.own(Action::SqlGrant, Some(range)),
                (Some(NodeEnum::String(schema)), Ok(kind))
                    if all || kind == ObjectType::ObjectSchema =>
                {
                    let schema = schema.sval.clone();
                    self.effect(Action::SqlGrant, Object::Schema { schema });
                }
                (Some(NodeEnum::ObjectWithArgs(function)), _) => {
                    self.function(Action::SqlGrant, &names(&function.objname));
                }
                _ => self.effect(Action::SqlGrant, Object::Database),
            }
        }
        if grant.objects.is_empty() {
            self.effect(Action::SqlGrant, Object::Database);
        }
    }

    /// Records `action` on an object of kind `kind` that is named by `relation` or by `node`.
    fn named(
        &mut self,
        action: Action,
        kind: i32,
        relation: Option<&'a protobuf::RangeVar>,
        node: Option<&'a Node>,
    ) {
        use ObjectType as O;
        let Ok(kind) = O::try_from(kind) else {
            self.opaque("an unknown kind of object");
            return;
        };
        let name = node.map(object_name).unwrap_or_default();
        match kind {
            O::ObjectTable
            | O::ObjectView
            | O::ObjectMatview
            | O::ObjectSequence
            | O::ObjectForeignTable => match relation {
                Some(range) => self.own(action, Some(range)),
                None => self.qualified(action, &name),
            },
            // Members of a relation: the last name is theirs.
            O::ObjectColumn
            | O::ObjectAttribute
            | O::ObjectRule
            | O::ObjectTrigger
            | O::ObjectTabconstraint
            | O::ObjectDefault
            | O::ObjectPolicy => {
                let action = if kind == O::ObjectPolicy {
                    Action::SqlGrant
                } else {
                    action
                };
                match (relation, name.split_last()) {
                    (Some(range), _) if kind != O::ObjectAttribute => {
                        self.own(action, Some(range));
                    }
                    (None, Some((_, table))) => self.qualified(action, table),
                    _ => self.effect(action, Object::Database),
                }
            }
            O::ObjectFunction | O::ObjectProcedure | O::ObjectRoutine | O::ObjectAggregate => {
                self.function(action, &name);
            }
            O::ObjectSchema => match name.as_slice() {
                [schema] => {
                    self.effect(
                        action,
                        Object::Schema {
                            schema: (*schema).to_owned(),
                        },
                    );
                }
                _ => self.effect(action, Object::Database),
            },
            O::ObjectType
            | O::ObjectDomain
            | O::ObjectCollation
            | O::ObjectConversion
            | O::ObjectOperator
            | O::ObjectOpclass
            | O::ObjectOpfamily
            | O::ObjectStatisticExt
            | O::ObjectTsconfiguration
            | O::ObjectTsdictionary
            | O::ObjectTsparser
            | O::ObjectTstemplate
            | O::ObjectIndex
            | O::ObjectCast
            | O::ObjectTransform
            | O::ObjectAmop
            | O::ObjectAmproc
            | O::ObjectDomconstraint
            | O::ObjectDefacl
            | O::ObjectLargeobject => self.effect(action, Object::Database),
            O::ObjectRole => self.effect(Action::SqlRole, Object::Target),
            O::ObjectDatabase
            | O::ObjectTablespace
            | O::ObjectLanguage
            | O::ObjectEventTrigger
            | O::ObjectAccessMethod
            | O::ObjectParameterAcl => self.effect(Action::SqlSystem, Object::Target),
            O::ObjectFdw | O::ObjectForeignServer | O::ObjectUserMapping => {
                self.effect(Action::SqlFile, Object::Target);
            }
            O::ObjectExtension => self.effect(Action::SqlExtension, Object::Target),
            O::ObjectPublication
            | O::ObjectPublicationNamespace
            | O::ObjectPublicationRel
            | O::ObjectSubscription => self.effect(Action::SqlReplication, Object::Target),
            O::Undefined => self.opaque("an unknown kind of object"),
        }
    }

    fn qualified(&mut self, action: Action, name: &[&str]) {
        match name {
            [.., schema, name] => {
                self.named_relation(action, schema, name);
            }
            [name] => {
                self.named_relation(action, "", name);
            }
            [] => self.opaque("a relation without a name"),
        }
    }
}

/// Whether a statement is one that may stand beside classified data: queries, data changes and
/// housekeeping whose every part is judged for itself. All others are refused there whole.
const fn is_ordinary(statement: Statement<'_>) -> bool {
    use Statement as S;
    matches!(
        statement,
        S::SelectStmt(_)
            | S::InsertStmt(_)
            | S::UpdateStmt(_)
            | S::DeleteStmt(_)
            | S::MergeStmt(_)
            | S::CopyStmt(_)
            | S::ExplainStmt(_)
            | S::TransactionStmt(_)
            | S::DeclareCursorStmt(_)
            | S::PrepareStmt(_)
            | S::ConstraintsSetStmt(_)
            | S::ClosePortalStmt(_)
            | S::DeallocateStmt(_)
            | S::UnlistenStmt(_)
            | S::NotifyStmt(_)
            | S::DiscardStmt(_)
            | S::VariableSetStmt(_)
            | S::VariableShowStmt(_)
            | S::LockStmt(_)
    )
}

/// Whether a subcommand of `ALTER TABLE` is about rights: owner and row security.
fn changes_rights(command: &Node) -> bool {
    use protobuf::AlterTableType as T;
    matches!(
        &command.node,
        Some(NodeEnum::AlterTableCmd(command)) if matches!(
            T::try_from(command.subtype),
            Ok(T::AtChangeOwner
                | T::AtEnableRowSecurity
                | T::AtDisableRowSecurity
                | T::AtForceRowSecurity
                | T::AtNoForceRowSecurity)
        )
    )
}

/// The schema of a possibly qualified name; empty where it names none.
fn qualifier(name: &[Node]) -> &str {
    match names(name).as_slice() {
        [.., schema, _] => schema,
        _ => "",
    }
}

fn object_name(node: &Node) -> Vec<&str> {
    match &node.node {
        Some(NodeEnum::List(list)) => names(&list.items),
        Some(NodeEnum::ObjectWithArgs(object)) => names(&object.objname),
        Some(NodeEnum::TypeName(name)) => names(&name.names),
        _ => string(node).into_iter().collect(),
    }
}

/// A value of SET: constants and bare words are both strings to it.
fn setting_value(node: &Node) -> Option<String> {
    use protobuf::a_const::Val;
    match &node.node {
        Some(NodeEnum::AConst(constant)) => match constant.val.as_ref()? {
            Val::Sval(text) => Some(text.sval.clone()),
            Val::Ival(number) => Some(number.ival.to_string()),
            Val::Fval(number) => Some(number.fval.clone()),
            Val::Boolval(value) => Some(value.boolval.to_string()),
            Val::Bsval(bits) => Some(bits.bsval.clone()),
        },
        // SET TIME ZONE INTERVAL '…'
        Some(NodeEnum::TypeCast(cast)) => cast.arg.as_deref().and_then(setting_value),
        _ => None,
    }
}
