//! The grammar's nodes as a tree: every node type of libpg_query, what it is and what hangs off it.
//!
//! The table at the end names every field of every node that the raw grammar can produce. Patterns
//! there have no `..`, and the matches have no `_`: a release of `pg_query` that adds a node or a
//! field doesn't compile until somebody has looked at it.

use pg_query::{Node, NodeEnum, NodeRef, protobuf};

/// A field of a node: passes on the nodes directly below it.
pub(super) trait Field {
    /// Calls `visit` with each node directly below this field.
    fn nodes<'a>(&'a self, visit: &mut dyn FnMut(NodeRef<'a>));
}

/// A field of a node that may be changed.
pub(super) trait FieldMut {
    /// Calls `visit` with each [`Node`] directly below this field.
    fn nodes_mut(&mut self, visit: &mut dyn FnMut(&mut Node));

    /// Sets every place in the text to 0, here and below: what is left is the meaning. `name` is
    /// the field's own.
    fn forget_places(&mut self, name: &str);
}

/// Fields that say where in the text a node stood.
const PLACES: &[&str] = &[
    "location",
    "stmt_location",
    "stmt_len",
    "list_start",
    "list_end",
    "rexpr_list_start",
    "rexpr_list_end",
    "arg_location",
    "payload_location",
    "conninfo_location",
    "name_location",
];

impl FieldMut for Node {
    fn nodes_mut(&mut self, visit: &mut dyn FnMut(&mut Node)) {
        visit(self);
    }

    fn forget_places(&mut self, _: &str) {
        forget_places(self);
    }
}

impl<T: FieldMut> FieldMut for Vec<T> {
    fn nodes_mut(&mut self, visit: &mut dyn FnMut(&mut Node)) {
        for field in self {
            field.nodes_mut(visit);
        }
    }

    fn forget_places(&mut self, name: &str) {
        for field in self {
            field.forget_places(name);
        }
    }
}

impl<T: FieldMut> FieldMut for Option<T> {
    fn nodes_mut(&mut self, visit: &mut dyn FnMut(&mut Node)) {
        if let Some(field) = self {
            field.nodes_mut(visit);
        }
    }

    fn forget_places(&mut self, name: &str) {
        if let Some(field) = self {
            field.forget_places(name);
        }
    }
}

impl<T: FieldMut> FieldMut for Box<T> {
    fn nodes_mut(&mut self, visit: &mut dyn FnMut(&mut Node)) {
        (**self).nodes_mut(visit);
    }

    fn forget_places(&mut self, name: &str) {
        (**self).forget_places(name);
    }
}

impl FieldMut for i32 {
    fn nodes_mut(&mut self, _: &mut dyn FnMut(&mut Node)) {}

    fn forget_places(&mut self, name: &str) {
        if PLACES.contains(&name) {
            *self = 0;
        }
    }
}

macro_rules! leaves_mut {
    ($($leaf:ty),+) => {
        $(impl FieldMut for $leaf {
            fn nodes_mut(&mut self, _: &mut dyn FnMut(&mut Node)) {}
            fn forget_places(&mut self, _: &str) {}
        })+
    };
}

leaves_mut!(bool, i64, u32, String, protobuf::a_const::Val);

impl Field for Node {
    fn nodes<'a>(&'a self, visit: &mut dyn FnMut(NodeRef<'a>)) {
        if let Some(node) = &self.node {
            visit(node.to_ref());
        }
    }
}

impl<T: Field> Field for Vec<T> {
    fn nodes<'a>(&'a self, visit: &mut dyn FnMut(NodeRef<'a>)) {
        for field in self {
            field.nodes(visit);
        }
    }
}

impl<T: Field> Field for Option<T> {
    fn nodes<'a>(&'a self, visit: &mut dyn FnMut(NodeRef<'a>)) {
        if let Some(field) = self {
            field.nodes(visit);
        }
    }
}

impl<T: Field> Field for Box<T> {
    fn nodes<'a>(&'a self, visit: &mut dyn FnMut(NodeRef<'a>)) {
        (**self).nodes(visit);
    }
}

macro_rules! leaves {
    ($($leaf:ty),+) => {
        $(impl Field for $leaf {
            fn nodes<'a>(&'a self, _: &mut dyn FnMut(NodeRef<'a>)) {}
        })+
    };
}

leaves!(bool, i32, i64, u32, String, protobuf::a_const::Val);

/// What a node is.
#[derive(Clone, Copy)]
pub(super) enum Kind<'a> {
    /// A statement, at whatever depth.
    Statement(Statement<'a>),
    /// A part of a statement: expressions, clauses, names.
    Part(Part<'a>),
    /// A node that only the server's analysis or planning makes, never the grammar.
    Analysed,
}

macro_rules! tree {
    (
        statements: { $($stmt:ident($stmt_type:ident) { $($stmt_field:ident),* },)+ }
        parts: { $($part:ident($part_type:ident) { $($part_field:ident),* },)+ }
        analysed: { $($analysed:ident($analysed_type:ident),)+ }
    ) => {
        /// A statement of the grammar.
        #[allow(dead_code, reason = "most statements are told apart by their kind alone")]
        #[allow(clippy::enum_variant_names, reason = "the names are the grammar's")]
        #[derive(Clone, Copy)]
        pub(super) enum Statement<'a> { $($stmt(&'a protobuf::$stmt_type),)+ }

        /// A node of the grammar that is no statement.
        #[allow(dead_code, reason = "most parts matter for what is below them only")]
        #[derive(Clone, Copy)]
        pub(super) enum Part<'a> { $($part(&'a protobuf::$part_type),)+ }

        /// Sorts a node.
        pub(super) fn kind(node: NodeRef<'_>) -> Kind<'_> {
            match node {
                $(NodeRef::$stmt(node) => Kind::Statement(Statement::$stmt(node)),)+
                $(NodeRef::$part(node) => Kind::Part(Part::$part(node)),)+
                $(NodeRef::$analysed(_) => Kind::Analysed,)+
            }
        }

        /// The types of statements, as the grammar calls them.
        #[cfg(test)]
        pub(super) const STATEMENT_TYPES: &[&str] = &[$(stringify!($stmt)),+];

        #[cfg(test)]
        impl Statement<'_> {
            /// Its type, as the grammar calls it.
            pub(super) const fn type_name(&self) -> &'static str {
                match self { $(Self::$stmt(_) => stringify!($stmt),)+ }
            }
        }

        /// Calls `visit` with each node directly below `node`. Nodes that only the server makes
        /// have none: nobody may look into what nobody has understood.
        pub(super) fn children<'a>(node: NodeRef<'a>, visit: &mut dyn FnMut(NodeRef<'a>)) {
            match node {
                $(NodeRef::$stmt(protobuf::$stmt_type { $($stmt_field),* }) => {
                    $($stmt_field.nodes(visit);)*
                })+
                $(NodeRef::$part(protobuf::$part_type { $($part_field),* }) => {
                    $($part_field.nodes(visit);)*
                })+
                $(NodeRef::$analysed(_) => {})+
            }
        }

        /// Calls `visit` with each [`Node`] directly below `node`.
        pub(super) fn children_mut(node: &mut Node, visit: &mut dyn FnMut(&mut Node)) {
            match &mut node.node {
                $(Some(NodeEnum::$stmt(node)) => node.nodes_mut(visit),)+
                $(Some(NodeEnum::$part(node)) => node.nodes_mut(visit),)+
                $(Some(NodeEnum::$analysed(_)) => {})+
                None => {}
            }
        }

        /// Sets every place in the text to 0, in `node` and below.
        pub(super) fn forget_places(node: &mut Node) {
            match &mut node.node {
                $(Some(NodeEnum::$stmt(node)) => node.forget_places(""),)+
                $(Some(NodeEnum::$part(node)) => node.forget_places(""),)+
                $(Some(NodeEnum::$analysed(_)) => {})+
                None => {}
            }
        }

        $(impl FieldMut for protobuf::$stmt_type {
            fn nodes_mut(&mut self, visit: &mut dyn FnMut(&mut Node)) {
                let protobuf::$stmt_type { $($stmt_field),* } = self;
                let _ = &visit;
                $($stmt_field.nodes_mut(visit);)*
            }

            fn forget_places(&mut self, _: &str) {
                let protobuf::$stmt_type { $($stmt_field),* } = self;
                $($stmt_field.forget_places(stringify!($stmt_field));)*
            }
        })+
        $(impl FieldMut for protobuf::$part_type {
            fn nodes_mut(&mut self, visit: &mut dyn FnMut(&mut Node)) {
                let protobuf::$part_type { $($part_field),* } = self;
                let _ = &visit;
                $($part_field.nodes_mut(visit);)*
            }

            fn forget_places(&mut self, _: &str) {
                let protobuf::$part_type { $($part_field),* } = self;
                $($part_field.forget_places(stringify!($part_field));)*
            }
        })+
        $(impl FieldMut for protobuf::$analysed_type {
            fn nodes_mut(&mut self, _: &mut dyn FnMut(&mut Node)) {}
            fn forget_places(&mut self, _: &str) {}
        })+

        $(impl Field for protobuf::$stmt_type {
            fn nodes<'a>(&'a self, visit: &mut dyn FnMut(NodeRef<'a>)) {
                visit(NodeRef::$stmt(self));
            }
        })+
        $(impl Field for protobuf::$part_type {
            fn nodes<'a>(&'a self, visit: &mut dyn FnMut(NodeRef<'a>)) {
                visit(NodeRef::$part(self));
            }
        })+
        $(impl Field for protobuf::$analysed_type {
            fn nodes<'a>(&'a self, visit: &mut dyn FnMut(NodeRef<'a>)) {
                visit(NodeRef::$analysed(self));
            }
        })+
    };
}

tree! {
    statements: {
    InsertStmt(InsertStmt) {
        relation, cols, select_stmt, on_conflict_clause, returning_clause, with_clause,
        r#override
    },
    DeleteStmt(DeleteStmt) { relation, using_clause, where_clause, returning_clause, with_clause },
    UpdateStmt(UpdateStmt) {
        relation, target_list, where_clause, from_clause, returning_clause, with_clause
    },
    MergeStmt(MergeStmt) {
        relation, source_relation, join_condition, merge_when_clauses, returning_clause,
        with_clause
    },
    SelectStmt(SelectStmt) {
        distinct_clause, into_clause, target_list, from_clause, where_clause, group_clause,
        group_distinct, having_clause, window_clause, values_lists, sort_clause,
        limit_offset, limit_count, limit_option, locking_clause, with_clause, op, all, larg,
        rarg
    },
    ReturnStmt(ReturnStmt) { returnval },
    CreateSchemaStmt(CreateSchemaStmt) { schemaname, authrole, schema_elts, if_not_exists },
    AlterTableStmt(AlterTableStmt) { relation, cmds, objtype, missing_ok },
    ReplicaIdentityStmt(ReplicaIdentityStmt) { identity_type, name },
    AlterCollationStmt(AlterCollationStmt) { collname },
    AlterDomainStmt(AlterDomainStmt) { subtype, type_name, name, def, behavior, missing_ok },
    GrantStmt(GrantStmt) {
        is_grant, targtype, objtype, objects, privileges, grantees, grant_option, grantor,
        behavior
    },
    GrantRoleStmt(GrantRoleStmt) { granted_roles, grantee_roles, is_grant, opt, grantor, behavior },
    AlterDefaultPrivilegesStmt(AlterDefaultPrivilegesStmt) { options, action },
    CopyStmt(CopyStmt) {
        relation, query, attlist, is_from, is_program, filename, options, where_clause
    },
    VariableSetStmt(VariableSetStmt) { kind, name, args, jumble_args, is_local, location },
    VariableShowStmt(VariableShowStmt) { name },
    CreateStmt(CreateStmt) {
        relation, table_elts, inh_relations, partbound, partspec, of_typename, constraints,
        nnconstraints, options, oncommit, tablespacename, access_method, if_not_exists
    },
    CreateTableSpaceStmt(CreateTableSpaceStmt) { tablespacename, owner, location, options },
    DropTableSpaceStmt(DropTableSpaceStmt) { tablespacename, missing_ok },
    AlterTableSpaceOptionsStmt(AlterTableSpaceOptionsStmt) { tablespacename, options, is_reset },
    AlterTableMoveAllStmt(AlterTableMoveAllStmt) {
        orig_tablespacename, objtype, roles, new_tablespacename, nowait
    },
    CreateExtensionStmt(CreateExtensionStmt) { extname, if_not_exists, options },
    AlterExtensionStmt(AlterExtensionStmt) { extname, options },
    AlterExtensionContentsStmt(AlterExtensionContentsStmt) { extname, action, objtype, object },
    CreateFdwStmt(CreateFdwStmt) { fdwname, func_options, options },
    AlterFdwStmt(AlterFdwStmt) { fdwname, func_options, options },
    CreateForeignServerStmt(CreateForeignServerStmt) {
        servername, servertype, version, fdwname, if_not_exists, options
    },
    AlterForeignServerStmt(AlterForeignServerStmt) { servername, version, options, has_version },
    CreateForeignTableStmt(CreateForeignTableStmt) { base_stmt, servername, options },
    CreateUserMappingStmt(CreateUserMappingStmt) { user, servername, if_not_exists, options },
    AlterUserMappingStmt(AlterUserMappingStmt) { user, servername, options },
    DropUserMappingStmt(DropUserMappingStmt) { user, servername, missing_ok },
    ImportForeignSchemaStmt(ImportForeignSchemaStmt) {
        server_name, remote_schema, local_schema, list_type, table_list, options
    },
    CreatePolicyStmt(CreatePolicyStmt) {
        policy_name, table, cmd_name, permissive, roles, qual, with_check
    },
    AlterPolicyStmt(AlterPolicyStmt) { policy_name, table, roles, qual, with_check },
    CreateAmStmt(CreateAmStmt) { amname, handler_name, amtype },
    CreateTrigStmt(CreateTrigStmt) {
        replace, isconstraint, trigname, relation, funcname, args, row, timing, events,
        columns, when_clause, transition_rels, deferrable, initdeferred, constrrel
    },
    CreateEventTrigStmt(CreateEventTrigStmt) { trigname, eventname, whenclause, funcname },
    AlterEventTrigStmt(AlterEventTrigStmt) { trigname, tgenabled },
    CreatePlangStmt(CreatePLangStmt) {
        replace, plname, plhandler, plinline, plvalidator, pltrusted
    },
    CreateRoleStmt(CreateRoleStmt) { stmt_type, role, options },
    AlterRoleStmt(AlterRoleStmt) { role, options, action },
    AlterRoleSetStmt(AlterRoleSetStmt) { role, database, setstmt },
    DropRoleStmt(DropRoleStmt) { roles, missing_ok },
    CreateSeqStmt(CreateSeqStmt) { sequence, options, owner_id, for_identity, if_not_exists },
    AlterSeqStmt(AlterSeqStmt) { sequence, options, for_identity, missing_ok },
    DefineStmt(DefineStmt) { kind, oldstyle, defnames, args, definition, if_not_exists, replace },
    CreateDomainStmt(CreateDomainStmt) { domainname, type_name, coll_clause, constraints },
    CreateOpClassStmt(CreateOpClassStmt) {
        opclassname, opfamilyname, amname, datatype, items, is_default
    },
    CreateOpFamilyStmt(CreateOpFamilyStmt) { opfamilyname, amname },
    AlterOpFamilyStmt(AlterOpFamilyStmt) { opfamilyname, amname, is_drop, items },
    DropStmt(DropStmt) { objects, remove_type, behavior, missing_ok, concurrent },
    TruncateStmt(TruncateStmt) { relations, restart_seqs, behavior },
    CommentStmt(CommentStmt) { objtype, object, comment },
    SecLabelStmt(SecLabelStmt) { objtype, object, provider, label },
    DeclareCursorStmt(DeclareCursorStmt) { portalname, options, query },
    ClosePortalStmt(ClosePortalStmt) { portalname },
    FetchStmt(FetchStmt) { direction, how_many, portalname, ismove },
    IndexStmt(IndexStmt) {
        idxname, relation, access_method, table_space, index_params, index_including_params,
        options, where_clause, exclude_op_names, idxcomment, index_oid, old_number,
        old_create_subid, old_first_relfilelocator_subid, unique, nulls_not_distinct,
        primary, isconstraint, iswithoutoverlaps, deferrable, initdeferred, transformed,
        concurrent, if_not_exists, reset_default_tblspc
    },
    CreateStatsStmt(CreateStatsStmt) {
        defnames, stat_types, exprs, relations, stxcomment, transformed, if_not_exists
    },
    AlterStatsStmt(AlterStatsStmt) { defnames, stxstattarget, missing_ok },
    CreateFunctionStmt(CreateFunctionStmt) {
        is_procedure, replace, funcname, parameters, return_type, options, sql_body
    },
    AlterFunctionStmt(AlterFunctionStmt) { objtype, func, actions },
    DoStmt(DoStmt) { args },
    CallStmt(CallStmt) { funccall, funcexpr, outargs },
    RenameStmt(RenameStmt) {
        rename_type, relation_type, relation, object, subname, newname, behavior, missing_ok
    },
    AlterObjectDependsStmt(AlterObjectDependsStmt) {
        object_type, relation, object, extname, remove
    },
    AlterObjectSchemaStmt(AlterObjectSchemaStmt) {
        object_type, relation, object, newschema, missing_ok
    },
    AlterOwnerStmt(AlterOwnerStmt) { object_type, relation, object, newowner },
    AlterOperatorStmt(AlterOperatorStmt) { opername, options },
    AlterTypeStmt(AlterTypeStmt) { type_name, options },
    RuleStmt(RuleStmt) { relation, rulename, where_clause, event, instead, actions, replace },
    NotifyStmt(NotifyStmt) { conditionname, payload, payload_location },
    ListenStmt(ListenStmt) { conditionname },
    UnlistenStmt(UnlistenStmt) { conditionname },
    TransactionStmt(TransactionStmt) { kind, options, savepoint_name, gid, chain, location },
    CompositeTypeStmt(CompositeTypeStmt) { typevar, coldeflist },
    CreateEnumStmt(CreateEnumStmt) { type_name, vals },
    CreateRangeStmt(CreateRangeStmt) { type_name, params },
    AlterEnumStmt(AlterEnumStmt) {
        type_name, old_val, new_val, new_val_neighbor, new_val_is_after,
        skip_if_new_val_exists
    },
    ViewStmt(ViewStmt) { view, aliases, query, replace, options, with_check_option },
    LoadStmt(LoadStmt) { filename },
    CreatedbStmt(CreatedbStmt) { dbname, options },
    AlterDatabaseStmt(AlterDatabaseStmt) { dbname, options },
    AlterDatabaseRefreshCollStmt(AlterDatabaseRefreshCollStmt) { dbname },
    AlterDatabaseSetStmt(AlterDatabaseSetStmt) { dbname, setstmt },
    DropdbStmt(DropdbStmt) { dbname, missing_ok, options },
    AlterSystemStmt(AlterSystemStmt) { setstmt },
    ClusterStmt(ClusterStmt) { relation, indexname, params },
    VacuumStmt(VacuumStmt) { options, rels, is_vacuumcmd },
    ExplainStmt(ExplainStmt) { query, options },
    CreateTableAsStmt(CreateTableAsStmt) { query, into, objtype, is_select_into, if_not_exists },
    RefreshMatViewStmt(RefreshMatViewStmt) { concurrent, skip_data, relation },
    CheckPointStmt(CheckPointStmt) {  },
    DiscardStmt(DiscardStmt) { target },
    LockStmt(LockStmt) { relations, mode, nowait },
    ConstraintsSetStmt(ConstraintsSetStmt) { constraints, deferred },
    ReindexStmt(ReindexStmt) { kind, relation, name, params },
    CreateConversionStmt(CreateConversionStmt) {
        conversion_name, for_encoding_name, to_encoding_name, func_name, def
    },
    CreateCastStmt(CreateCastStmt) { sourcetype, targettype, func, context, inout },
    CreateTransformStmt(CreateTransformStmt) { replace, type_name, lang, fromsql, tosql },
    PrepareStmt(PrepareStmt) { name, argtypes, query },
    ExecuteStmt(ExecuteStmt) { name, params },
    DeallocateStmt(DeallocateStmt) { name, isall, location },
    DropOwnedStmt(DropOwnedStmt) { roles, behavior },
    ReassignOwnedStmt(ReassignOwnedStmt) { roles, newrole },
    AlterTsdictionaryStmt(AlterTsDictionaryStmt) { dictname, options },
    AlterTsconfigurationStmt(AlterTsConfigurationStmt) {
        kind, cfgname, tokentype, dicts, r#override, replace, missing_ok
    },
    CreatePublicationStmt(CreatePublicationStmt) { pubname, options, pubobjects, for_all_tables },
    AlterPublicationStmt(AlterPublicationStmt) {
        pubname, options, pubobjects, for_all_tables, action
    },
    CreateSubscriptionStmt(CreateSubscriptionStmt) {
        subname, conninfo, publication, options, conninfo_location
    },
    AlterSubscriptionStmt(AlterSubscriptionStmt) {
        kind, subname, conninfo, publication, options, conninfo_location
    },
    DropSubscriptionStmt(DropSubscriptionStmt) { subname, missing_ok, behavior },
    }
    parts: {
    Alias(Alias) { aliasname, colnames },
    RangeVar(RangeVar) { catalogname, schemaname, relname, inh, relpersistence, alias, location },
    IntoClause(IntoClause) {
        rel, col_names, access_method, options, on_commit, table_space_name, view_query,
        skip_data
    },
    GroupingFunc(GroupingFunc) { xpr, args, refs, agglevelsup, location },
    MergeSupportFunc(MergeSupportFunc) { xpr, msftype, msfcollid, location },
    NamedArgExpr(NamedArgExpr) { xpr, arg, name, argnumber, location },
    BoolExpr(BoolExpr) { xpr, boolop, args, location },
    SubLink(SubLink) { xpr, sub_link_type, sub_link_id, testexpr, oper_name, subselect, location },
    CaseExpr(CaseExpr) { xpr, casetype, casecollid, arg, args, defresult, location },
    CaseWhen(CaseWhen) { xpr, expr, result, location },
    RowExpr(RowExpr) { xpr, args, row_typeid, row_format, colnames, location },
    CoalesceExpr(CoalesceExpr) { xpr, coalescetype, coalescecollid, args, location },
    MinMaxExpr(MinMaxExpr) { xpr, minmaxtype, minmaxcollid, inputcollid, op, args, location },
    SqlvalueFunction(SqlValueFunction) { xpr, op, r#type, typmod, location },
    XmlExpr(XmlExpr) {
        xpr, op, name, named_args, arg_names, args, xmloption, indent, r#type, typmod,
        location
    },
    JsonFormat(JsonFormat) { format_type, encoding, location },
    JsonReturning(JsonReturning) { format, typid, typmod },
    JsonValueExpr(JsonValueExpr) { raw_expr, formatted_expr, format },
    JsonIsPredicate(JsonIsPredicate) { expr, format, item_type, unique_keys, location },
    JsonBehavior(JsonBehavior) { btype, expr, coerce, location },
    NullTest(NullTest) { xpr, arg, nulltesttype, argisrow, location },
    BooleanTest(BooleanTest) { xpr, arg, booltesttype, location },
    SetToDefault(SetToDefault) { xpr, type_id, type_mod, collation, location },
    CurrentOfExpr(CurrentOfExpr) { xpr, cvarno, cursor_name, cursor_param },
    JoinExpr(JoinExpr) {
        jointype, is_natural, larg, rarg, using_clause, join_using_alias, quals, alias,
        rtindex
    },
    TypeName(TypeName) {
        names, type_oid, setof, pct_type, typmods, typemod, array_bounds, location
    },
    ColumnRef(ColumnRef) { fields, location },
    ParamRef(ParamRef) { number, location },
    AExpr(AExpr) { kind, name, lexpr, rexpr, rexpr_list_start, rexpr_list_end, location },
    TypeCast(TypeCast) { arg, type_name, location },
    CollateClause(CollateClause) { arg, collname, location },
    RoleSpec(RoleSpec) { roletype, rolename, location },
    FuncCall(FuncCall) {
        funcname, args, agg_order, agg_filter, over, agg_within_group, agg_star,
        agg_distinct, func_variadic, funcformat, location
    },
    AStar(AStar) {  },
    AIndices(AIndices) { is_slice, lidx, uidx },
    AIndirection(AIndirection) { arg, indirection },
    AArrayExpr(AArrayExpr) { elements, list_start, list_end, location },
    ResTarget(ResTarget) { name, indirection, val, location },
    MultiAssignRef(MultiAssignRef) { source, colno, ncolumns },
    SortBy(SortBy) { node, sortby_dir, sortby_nulls, use_op, location },
    WindowDef(WindowDef) {
        name, refname, partition_clause, order_clause, frame_options, start_offset,
        end_offset, location
    },
    RangeSubselect(RangeSubselect) { lateral, subquery, alias },
    RangeFunction(RangeFunction) { lateral, ordinality, is_rowsfrom, functions, alias, coldeflist },
    RangeTableFunc(RangeTableFunc) {
        lateral, docexpr, rowexpr, namespaces, columns, alias, location
    },
    RangeTableFuncCol(RangeTableFuncCol) {
        colname, type_name, for_ordinality, is_not_null, colexpr, coldefexpr, location
    },
    RangeTableSample(RangeTableSample) { relation, method, args, repeatable, location },
    ColumnDef(ColumnDef) {
        colname, type_name, compression, inhcount, is_local, is_not_null, is_from_type,
        storage, storage_name, raw_default, cooked_default, identity, identity_sequence,
        generated, coll_clause, coll_oid, constraints, fdwoptions, location
    },
    TableLikeClause(TableLikeClause) { relation, options, relation_oid },
    IndexElem(IndexElem) {
        name, expr, indexcolname, collation, opclass, opclassopts, ordering, nulls_ordering
    },
    DefElem(DefElem) { defnamespace, defname, arg, defaction, location, arg_location },
    LockingClause(LockingClause) { locked_rels, strength, wait_policy },
    XmlSerialize(XmlSerialize) { xmloption, expr, type_name, indent, location },
    PartitionElem(PartitionElem) { name, expr, collation, opclass, location },
    PartitionSpec(PartitionSpec) { strategy, part_params, location },
    PartitionBoundSpec(PartitionBoundSpec) {
        strategy, is_default, modulus, remainder, listdatums, lowerdatums, upperdatums,
        location
    },
    PartitionRangeDatum(PartitionRangeDatum) { kind, value, location },
    PartitionCmd(PartitionCmd) { name, bound, concurrent },
    GroupingSet(GroupingSet) { kind, content, location },
    WithClause(WithClause) { ctes, recursive, location },
    InferClause(InferClause) { index_elems, where_clause, conname, location },
    OnConflictClause(OnConflictClause) { action, infer, target_list, where_clause, location },
    CtesearchClause(CteSearchClause) {
        search_col_list, search_breadth_first, search_seq_column, location
    },
    CtecycleClause(CteCycleClause) {
        cycle_col_list, cycle_mark_column, cycle_mark_value, cycle_mark_default,
        cycle_path_column, location, cycle_mark_type, cycle_mark_typmod,
        cycle_mark_collation, cycle_mark_neop
    },
    CommonTableExpr(CommonTableExpr) {
        ctename, aliascolnames, ctematerialized, ctequery, search_clause, cycle_clause,
        location, cterecursive, cterefcount, ctecolnames, ctecoltypes, ctecoltypmods,
        ctecolcollations
    },
    MergeWhenClause(MergeWhenClause) {
        match_kind, command_type, r#override, condition, target_list, values
    },
    ReturningOption(ReturningOption) { option, value, location },
    ReturningClause(ReturningClause) { options, exprs },
    TriggerTransition(TriggerTransition) { name, is_new, is_table },
    JsonOutput(JsonOutput) { type_name, returning },
    JsonArgument(JsonArgument) { val, name },
    JsonFuncExpr(JsonFuncExpr) {
        op, column_name, context_item, pathspec, passing, output, on_empty, on_error,
        wrapper, quotes, location
    },
    JsonTablePathSpec(JsonTablePathSpec) { string, name, name_location, location },
    JsonTable(JsonTable) {
        context_item, pathspec, passing, columns, on_error, alias, lateral, location
    },
    JsonTableColumn(JsonTableColumn) {
        coltype, name, type_name, pathspec, format, wrapper, quotes, columns, on_empty,
        on_error, location
    },
    JsonKeyValue(JsonKeyValue) { key, value },
    JsonParseExpr(JsonParseExpr) { expr, output, unique_keys, location },
    JsonScalarExpr(JsonScalarExpr) { expr, output, location },
    JsonSerializeExpr(JsonSerializeExpr) { expr, output, location },
    JsonObjectConstructor(JsonObjectConstructor) {
        exprs, output, absent_on_null, unique, location
    },
    JsonArrayConstructor(JsonArrayConstructor) { exprs, output, absent_on_null, location },
    JsonArrayQueryConstructor(JsonArrayQueryConstructor) {
        query, output, format, absent_on_null, location
    },
    JsonAggConstructor(JsonAggConstructor) { output, agg_filter, agg_order, over, location },
    JsonObjectAgg(JsonObjectAgg) { constructor, arg, absent_on_null, unique },
    JsonArrayAgg(JsonArrayAgg) { constructor, arg, absent_on_null },
    RawStmt(RawStmt) { stmt, stmt_location, stmt_len },
    AlterTableCmd(AlterTableCmd) {
        subtype, name, num, newowner, def, behavior, missing_ok, recurse
    },
    AtalterConstraint(AtAlterConstraint) {
        conname, alter_enforceability, is_enforced, alter_deferrability, deferrable,
        initdeferred, alter_inheritability, noinherit
    },
    ObjectWithArgs(ObjectWithArgs) { objname, objargs, objfuncargs, args_unspecified },
    AccessPriv(AccessPriv) { priv_name, cols },
    Constraint(Constraint) {
        contype, conname, deferrable, initdeferred, is_enforced, skip_validation,
        initially_valid, is_no_inherit, raw_expr, cooked_expr, generated_when,
        generated_kind, nulls_not_distinct, keys, without_overlaps, including, exclusions,
        options, indexname, indexspace, reset_default_tblspc, access_method, where_clause,
        pktable, fk_attrs, pk_attrs, fk_with_period, pk_with_period, fk_matchtype,
        fk_upd_action, fk_del_action, fk_del_set_cols, old_conpfeqop, old_pktable_oid,
        location
    },
    CreateOpClassItem(CreateOpClassItem) {
        itemtype, name, number, order_family, class_args, storedtype
    },
    StatsElem(StatsElem) { name, expr },
    FunctionParameter(FunctionParameter) { name, arg_type, mode, defexpr, location },
    VacuumRelation(VacuumRelation) { relation, oid, va_cols },
    PublicationTable(PublicationTable) { relation, where_clause, columns },
    PublicationObjSpec(PublicationObjSpec) { pubobjtype, name, pubtable, location },
    Integer(Integer) { ival },
    Float(Float) { fval },
    Boolean(Boolean) { boolval },
    String(String) { sval },
    BitString(BitString) { bsval },
    List(List) { items },
    AConst(AConst) { isnull, location, val },
    }
    analysed: {
    TableFunc(TableFunc), Var(Var), Param(Param), Aggref(Aggref), WindowFunc(WindowFunc),
    WindowFuncRunCondition(WindowFuncRunCondition), SubscriptingRef(SubscriptingRef),
    FuncExpr(FuncExpr), OpExpr(OpExpr), DistinctExpr(DistinctExpr), NullIfExpr(NullIfExpr),
    ScalarArrayOpExpr(ScalarArrayOpExpr), SubPlan(SubPlan),
    AlternativeSubPlan(AlternativeSubPlan), FieldSelect(FieldSelect),
    FieldStore(FieldStore), RelabelType(RelabelType), CoerceViaIo(CoerceViaIo),
    ArrayCoerceExpr(ArrayCoerceExpr), ConvertRowtypeExpr(ConvertRowtypeExpr),
    CollateExpr(CollateExpr), CaseTestExpr(CaseTestExpr), ArrayExpr(ArrayExpr),
    RowCompareExpr(RowCompareExpr), JsonConstructorExpr(JsonConstructorExpr),
    JsonExpr(JsonExpr), JsonTablePath(JsonTablePath), JsonTablePathScan(JsonTablePathScan),
    JsonTableSiblingJoin(JsonTableSiblingJoin), MergeAction(MergeAction),
    CoerceToDomain(CoerceToDomain), CoerceToDomainValue(CoerceToDomainValue),
    NextValueExpr(NextValueExpr), InferenceElem(InferenceElem),
    ReturningExpr(ReturningExpr), TargetEntry(TargetEntry), RangeTblRef(RangeTblRef),
    FromExpr(FromExpr), OnConflictExpr(OnConflictExpr), Query(Query),
    RangeTblEntry(RangeTblEntry), RtepermissionInfo(RtePermissionInfo),
    RangeTblFunction(RangeTblFunction), TableSampleClause(TableSampleClause),
    WithCheckOption(WithCheckOption), SortGroupClause(SortGroupClause),
    WindowClause(WindowClause), RowMarkClause(RowMarkClause),
    SetOperationStmt(SetOperationStmt), PlassignStmt(PlAssignStmt),
    InlineCodeBlock(InlineCodeBlock), CallContext(CallContext), IntList(IntList),
    OidList(OidList),
    }
}
