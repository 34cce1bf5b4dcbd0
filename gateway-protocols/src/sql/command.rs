//! The command that a statement is, as its CommandComplete tag begins.

use pg_query::protobuf;
use protobuf::ObjectType as O;

use super::tree::Statement;

/// The command's tag without counts (PostgreSQL 18, "cmdtaglist.h"): `SELECT`, `CREATE TABLE`.
///
/// `SELECT INTO` and `CREATE TABLE AS` are named for what they do, though both complete as `SELECT`.
pub(super) fn command(statement: Statement<'_>) -> String {
    use Statement as S;
    let fixed = match statement {
        S::SelectStmt(select) if select.into_clause.is_some() => "SELECT INTO",
        S::SelectStmt(_) => "SELECT",
        S::InsertStmt(_) => "INSERT",
        S::UpdateStmt(_) => "UPDATE",
        S::DeleteStmt(_) => "DELETE",
        S::MergeStmt(_) => "MERGE",
        S::ReturnStmt(_) => "RETURN",
        S::CopyStmt(_) => "COPY",
        S::ExplainStmt(_) => "EXPLAIN",
        S::TransactionStmt(transaction) => return transaction_command(transaction).to_owned(),
        S::DeclareCursorStmt(_) => "DECLARE CURSOR",
        S::ClosePortalStmt(close) if close.portalname.is_empty() => "CLOSE CURSOR ALL",
        S::ClosePortalStmt(_) => "CLOSE CURSOR",
        S::FetchStmt(fetch) if fetch.ismove => "MOVE",
        S::FetchStmt(_) => "FETCH",
        S::PrepareStmt(_) => "PREPARE",
        S::ExecuteStmt(_) => "EXECUTE",
        S::DeallocateStmt(all) if all.isall => "DEALLOCATE ALL",
        S::DeallocateStmt(_) => "DEALLOCATE",
        S::DiscardStmt(discard) => match protobuf::DiscardMode::try_from(discard.target) {
            Ok(protobuf::DiscardMode::DiscardAll) => "DISCARD ALL",
            Ok(protobuf::DiscardMode::DiscardPlans) => "DISCARD PLANS",
            Ok(protobuf::DiscardMode::DiscardSequences) => "DISCARD SEQUENCES",
            Ok(protobuf::DiscardMode::DiscardTemp) => "DISCARD TEMP",
            _ => "DISCARD",
        },
        S::VariableSetStmt(set) => match protobuf::VariableSetKind::try_from(set.kind) {
            Ok(protobuf::VariableSetKind::VarReset | protobuf::VariableSetKind::VarResetAll) => {
                "RESET"
            }
            _ => "SET",
        },
        S::VariableShowStmt(_) => "SHOW",
        S::ConstraintsSetStmt(_) => "SET CONSTRAINTS",
        S::NotifyStmt(_) => "NOTIFY",
        S::ListenStmt(_) => "LISTEN",
        S::UnlistenStmt(_) => "UNLISTEN",
        S::LockStmt(_) => "LOCK TABLE",
        S::DoStmt(_) => "DO",
        S::CallStmt(_) => "CALL",
        S::TruncateStmt(_) => "TRUNCATE TABLE",
        S::VacuumStmt(vacuum) if vacuum.is_vacuumcmd => "VACUUM",
        S::VacuumStmt(_) => "ANALYZE",
        S::ClusterStmt(_) => "CLUSTER",
        S::ReindexStmt(_) => "REINDEX",
        S::CheckPointStmt(_) => "CHECKPOINT",
        S::RefreshMatViewStmt(_) => "REFRESH MATERIALIZED VIEW",
        S::CreateStmt(_) => "CREATE TABLE",
        S::CreateForeignTableStmt(_) => "CREATE FOREIGN TABLE",
        S::CreateTableAsStmt(create) => match O::try_from(create.objtype) {
            Ok(O::ObjectMatview) => "CREATE MATERIALIZED VIEW",
            _ => "CREATE TABLE AS",
        },
        S::ViewStmt(_) => "CREATE VIEW",
        S::CreateSeqStmt(_) => "CREATE SEQUENCE",
        S::AlterSeqStmt(_) => "ALTER SEQUENCE",
        S::CompositeTypeStmt(_) | S::CreateEnumStmt(_) | S::CreateRangeStmt(_) => "CREATE TYPE",
        S::IndexStmt(_) => "CREATE INDEX",
        S::CreateStatsStmt(_) => "CREATE STATISTICS",
        S::AlterStatsStmt(_) => "ALTER STATISTICS",
        S::RuleStmt(_) => "CREATE RULE",
        S::CreateTrigStmt(_) => "CREATE TRIGGER",
        S::CreateEventTrigStmt(_) => "CREATE EVENT TRIGGER",
        S::AlterEventTrigStmt(_) => "ALTER EVENT TRIGGER",
        S::CreateSchemaStmt(_) => "CREATE SCHEMA",
        S::DefineStmt(define) => return of_kind("CREATE", define.kind),
        S::CreateDomainStmt(_) => "CREATE DOMAIN",
        S::AlterDomainStmt(_) => "ALTER DOMAIN",
        S::CreateOpClassStmt(_) => "CREATE OPERATOR CLASS",
        S::CreateOpFamilyStmt(_) => "CREATE OPERATOR FAMILY",
        S::AlterOpFamilyStmt(_) => "ALTER OPERATOR FAMILY",
        S::AlterOperatorStmt(_) => "ALTER OPERATOR",
        S::CreateConversionStmt(_) => "CREATE CONVERSION",
        S::CreateCastStmt(_) => "CREATE CAST",
        S::CreateTransformStmt(_) => "CREATE TRANSFORM",
        S::CreateFunctionStmt(create) if create.is_procedure => "CREATE PROCEDURE",
        S::CreateFunctionStmt(_) => "CREATE FUNCTION",
        S::AlterFunctionStmt(alter) => return of_kind("ALTER", alter.objtype),
        S::AlterEnumStmt(_) | S::AlterTypeStmt(_) => "ALTER TYPE",
        S::AlterCollationStmt(_) => "ALTER COLLATION",
        S::AlterTsdictionaryStmt(_) => "ALTER TEXT SEARCH DICTIONARY",
        S::AlterTsconfigurationStmt(_) => "ALTER TEXT SEARCH CONFIGURATION",
        S::ReplicaIdentityStmt(_) => "ALTER TABLE",
        S::AlterTableStmt(alter) => return of_kind("ALTER", alter.objtype),
        S::DropStmt(drop) => return of_kind("DROP", drop.remove_type),
        S::CommentStmt(_) => "COMMENT",
        S::SecLabelStmt(_) => "SECURITY LABEL",
        S::RenameStmt(rename) => {
            let member = matches!(
                O::try_from(rename.rename_type),
                Ok(O::ObjectColumn | O::ObjectTabconstraint | O::ObjectAttribute)
            );
            let kind = if member {
                rename.relation_type
            } else {
                rename.rename_type
            };
            return of_kind("ALTER", kind);
        }
        S::AlterObjectSchemaStmt(alter) => return of_kind("ALTER", alter.object_type),
        S::AlterObjectDependsStmt(alter) => return of_kind("ALTER", alter.object_type),
        S::AlterOwnerStmt(alter) => return of_kind("ALTER", alter.object_type),
        S::GrantStmt(grant) if grant.is_grant => "GRANT",
        S::GrantStmt(_) => "REVOKE",
        S::GrantRoleStmt(grant) if grant.is_grant => "GRANT ROLE",
        S::GrantRoleStmt(_) => "REVOKE ROLE",
        S::AlterDefaultPrivilegesStmt(_) => "ALTER DEFAULT PRIVILEGES",
        S::ReassignOwnedStmt(_) => "REASSIGN OWNED",
        S::DropOwnedStmt(_) => "DROP OWNED",
        S::CreatePolicyStmt(_) => "CREATE POLICY",
        S::AlterPolicyStmt(_) => "ALTER POLICY",
        S::CreateRoleStmt(_) => "CREATE ROLE",
        S::AlterRoleStmt(_) | S::AlterRoleSetStmt(_) => "ALTER ROLE",
        S::DropRoleStmt(_) => "DROP ROLE",
        S::AlterSystemStmt(_) => "ALTER SYSTEM",
        S::CreatedbStmt(_) => "CREATE DATABASE",
        S::AlterDatabaseStmt(_)
        | S::AlterDatabaseRefreshCollStmt(_)
        | S::AlterDatabaseSetStmt(_) => "ALTER DATABASE",
        S::DropdbStmt(_) => "DROP DATABASE",
        S::CreateTableSpaceStmt(_) => "CREATE TABLESPACE",
        S::DropTableSpaceStmt(_) => "DROP TABLESPACE",
        S::AlterTableSpaceOptionsStmt(_) => "ALTER TABLESPACE",
        S::AlterTableMoveAllStmt(alter) => return of_kind("ALTER", alter.objtype),
        S::LoadStmt(_) => "LOAD",
        S::CreatePlangStmt(_) => "CREATE LANGUAGE",
        S::CreateAmStmt(_) => "CREATE ACCESS METHOD",
        S::CreateExtensionStmt(_) => "CREATE EXTENSION",
        S::AlterExtensionStmt(_) | S::AlterExtensionContentsStmt(_) => "ALTER EXTENSION",
        S::CreateFdwStmt(_) => "CREATE FOREIGN DATA WRAPPER",
        S::AlterFdwStmt(_) => "ALTER FOREIGN DATA WRAPPER",
        S::CreateForeignServerStmt(_) => "CREATE SERVER",
        S::AlterForeignServerStmt(_) => "ALTER SERVER",
        S::CreateUserMappingStmt(_) => "CREATE USER MAPPING",
        S::AlterUserMappingStmt(_) => "ALTER USER MAPPING",
        S::DropUserMappingStmt(_) => "DROP USER MAPPING",
        S::ImportForeignSchemaStmt(_) => "IMPORT FOREIGN SCHEMA",
        S::CreatePublicationStmt(_) => "CREATE PUBLICATION",
        S::AlterPublicationStmt(_) => "ALTER PUBLICATION",
        S::CreateSubscriptionStmt(_) => "CREATE SUBSCRIPTION",
        S::AlterSubscriptionStmt(_) => "ALTER SUBSCRIPTION",
        S::DropSubscriptionStmt(_) => "DROP SUBSCRIPTION",
    };
    fixed.to_owned()
}

/// Whether a statement begins or ends a transaction block; savepoints don't.
pub(super) fn controls_transaction(statement: Statement<'_>) -> bool {
    use protobuf::TransactionStmtKind as T;
    match statement {
        Statement::TransactionStmt(transaction) => !matches!(
            T::try_from(transaction.kind),
            Ok(T::TransStmtSavepoint | T::TransStmtRelease | T::TransStmtRollbackTo)
        ),
        _ => false,
    }
}

fn transaction_command(transaction: &protobuf::TransactionStmt) -> &'static str {
    use protobuf::TransactionStmtKind as T;
    match T::try_from(transaction.kind) {
        Ok(T::TransStmtBegin) => "BEGIN",
        Ok(T::TransStmtStart) => "START TRANSACTION",
        Ok(T::TransStmtCommit) => "COMMIT",
        Ok(T::TransStmtRollback | T::TransStmtRollbackTo) => "ROLLBACK",
        Ok(T::TransStmtSavepoint) => "SAVEPOINT",
        Ok(T::TransStmtRelease) => "RELEASE",
        Ok(T::TransStmtPrepare) => "PREPARE TRANSACTION",
        Ok(T::TransStmtCommitPrepared) => "COMMIT PREPARED",
        Ok(T::TransStmtRollbackPrepared) => "ROLLBACK PREPARED",
        Ok(T::Undefined) | Err(_) => "UNKNOWN",
    }
}

fn of_kind(verb: &str, kind: i32) -> String {
    format!(
        "{verb} {}",
        kind_name(O::try_from(kind).unwrap_or(O::Undefined))
    )
}

const fn kind_name(kind: O) -> &'static str {
    match kind {
        O::Undefined => "OBJECT",
        O::ObjectAccessMethod => "ACCESS METHOD",
        O::ObjectAggregate => "AGGREGATE",
        O::ObjectCast => "CAST",
        O::ObjectCollation => "COLLATION",
        O::ObjectConversion => "CONVERSION",
        O::ObjectDatabase => "DATABASE",
        O::ObjectDomain | O::ObjectDomconstraint => "DOMAIN",
        O::ObjectEventTrigger => "EVENT TRIGGER",
        O::ObjectExtension => "EXTENSION",
        O::ObjectFdw => "FOREIGN DATA WRAPPER",
        O::ObjectForeignServer => "SERVER",
        O::ObjectForeignTable => "FOREIGN TABLE",
        O::ObjectFunction => "FUNCTION",
        O::ObjectIndex => "INDEX",
        O::ObjectLanguage => "LANGUAGE",
        O::ObjectLargeobject => "LARGE OBJECT",
        O::ObjectMatview => "MATERIALIZED VIEW",
        O::ObjectOpclass => "OPERATOR CLASS",
        O::ObjectOperator | O::ObjectAmop => "OPERATOR",
        O::ObjectOpfamily => "OPERATOR FAMILY",
        O::ObjectParameterAcl => "PARAMETER",
        O::ObjectPolicy => "POLICY",
        O::ObjectProcedure | O::ObjectAmproc => "PROCEDURE",
        O::ObjectPublication | O::ObjectPublicationNamespace | O::ObjectPublicationRel => {
            "PUBLICATION"
        }
        O::ObjectRole => "ROLE",
        O::ObjectRoutine => "ROUTINE",
        O::ObjectRule => "RULE",
        O::ObjectSchema => "SCHEMA",
        O::ObjectSequence => "SEQUENCE",
        O::ObjectSubscription => "SUBSCRIPTION",
        O::ObjectStatisticExt => "STATISTICS",
        O::ObjectTable | O::ObjectColumn | O::ObjectTabconstraint | O::ObjectDefault => "TABLE",
        O::ObjectTablespace => "TABLESPACE",
        O::ObjectTransform => "TRANSFORM",
        O::ObjectTrigger => "TRIGGER",
        O::ObjectTsconfiguration => "TEXT SEARCH CONFIGURATION",
        O::ObjectTsdictionary => "TEXT SEARCH DICTIONARY",
        O::ObjectTsparser => "TEXT SEARCH PARSER",
        O::ObjectTstemplate => "TEXT SEARCH TEMPLATE",
        O::ObjectType | O::ObjectAttribute => "TYPE",
        O::ObjectUserMapping => "USER MAPPING",
        O::ObjectDefacl => "DEFAULT PRIVILEGES",
        O::ObjectView => "VIEW",
    }
}
