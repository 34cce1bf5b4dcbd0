//! The gateway's own queries: fixed text, no parameters. All but the first run with
//! `search_path = pg_catalog`, so that no name in them means anything else.

/// What a fresh session of this role sees, and what the role may do. Every name is qualified, for
/// it runs before the search path is pinned.
pub(super) const SESSION: &str = "\
SELECT pg_catalog.current_database()::pg_catalog.text AS database,
       pg_catalog.current_setting('server_version_num')::pg_catalog.int4 AS version,
       pg_catalog.current_schemas(true)::pg_catalog.text[] AS search_path";

/// Pins the names of everything after it, until the transaction ends.
pub(super) const PIN: &str = "SELECT pg_catalog.set_config('search_path', 'pg_catalog', true)";

/// The same for the whole session.
pub(super) const PIN_SESSION: &str =
    "SELECT pg_catalog.set_config('search_path', 'pg_catalog', false)";

/// Which transactions have ended: while this is the same, nothing was committed.
pub(super) const COMMITTED: &str = "SELECT pg_current_snapshot()::text AS committed";

/// Two of these differ if anything was committed in between that changes what names mean, or what
/// derives from what. Rows of the server's own aren't looked at, nor what one session has for itself;
/// ANALYZE, VACUUM and statistics change none of them.
pub(super) const FINGERPRINT: &str = "\
SELECT concat_ws(':', count(*), sum(hashint8extended(changed::text::bigint, id::bigint))) AS fingerprint FROM (
    SELECT oid AS id, xmin AS changed FROM pg_class
    WHERE oid >= 16384 AND relpersistence <> 't' AND relkind <> 't'
    UNION ALL SELECT a.attrelid, a.xmin FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
    WHERE a.attrelid >= 16384 AND a.attnum > 0 AND c.relpersistence <> 't' AND c.relkind <> 't'
    UNION ALL SELECT inhrelid, xmin FROM pg_inherits
    UNION ALL SELECT oid, xmin FROM pg_namespace
    UNION ALL SELECT oid, xmin FROM pg_rewrite WHERE oid >= 16384
    UNION ALL SELECT oid, xmin FROM pg_attrdef
    UNION ALL SELECT oid, xmin FROM pg_constraint WHERE oid >= 16384
    UNION ALL SELECT oid, xmin FROM pg_trigger
    UNION ALL SELECT oid, xmin FROM pg_policy
    UNION ALL SELECT oid, xmin FROM pg_proc WHERE oid >= 16384
    UNION ALL SELECT oid, xmin FROM pg_operator WHERE oid >= 16384
    UNION ALL SELECT oid, xmin FROM pg_cast WHERE oid >= 16384
    UNION ALL SELECT oid, xmin FROM pg_type WHERE oid >= 16384 AND typtype <> 'c' AND typelem = 0
) AS objects";

/// The role's own powers, and the roles it is a member of that read files, run programs, or see
/// or end other sessions (PostgreSQL 15, section 22.5 \"Predefined Roles\").
pub(super) const ROLE: &str = "\
SELECT me.rolname::text AS name, me.rolsuper AS superuser, me.rolreplication AS replication,
       ARRAY(SELECT r.rolname::text FROM pg_roles r
             WHERE r.oid <> me.oid AND pg_has_role(me.oid, r.oid, 'MEMBER')
               AND (r.rolsuper OR r.rolreplication OR r.rolname IN
                    ('pg_read_server_files', 'pg_write_server_files', 'pg_execute_server_program',
                     'pg_signal_backend', 'pg_monitor', 'pg_read_all_stats', 'pg_stat_scan_tables',
                     'pg_create_subscription'))
             ORDER BY r.rolname) AS memberships
FROM pg_roles me WHERE me.rolname = current_user";

/// Relations. Temporary ones belong to one session, TOAST tables to none.
///
/// `hidden`: user triggers, rules other than a view's own, row security; a rule, and for other
/// objects a default, constraint or index, that uses a function or operator which isn't built in.
/// Built-in objects have no dependency rows (\"pinned\", PostgreSQL 15, section 53.18 \"pg_depend\").
/// For defaults, constraints and indexes functions of extensions are let off: a default
/// `uuid_generate_v4()` is no way around anything.
pub(super) const RELATIONS: &str = "\
WITH code AS (
    SELECT r.ev_class AS relation, 'pg_rewrite'::regclass AS class, r.oid AS object, true AS rule
    FROM pg_rewrite r
    UNION ALL SELECT adrelid, 'pg_attrdef'::regclass, oid, false FROM pg_attrdef
    UNION ALL SELECT conrelid, 'pg_constraint'::regclass, oid, false FROM pg_constraint WHERE conrelid <> 0
    UNION ALL SELECT indrelid, 'pg_class'::regclass, indexrelid, false FROM pg_index
), calling AS (
    SELECT DISTINCT code.relation FROM code
    JOIN pg_depend d ON d.classid = code.class AND d.objid = code.object
     AND d.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass)
    WHERE code.rule OR NOT EXISTS (
        SELECT FROM pg_depend e WHERE e.classid = d.refclassid AND e.objid = d.refobjid AND e.deptype = 'e')
)
SELECT c.oid AS id, n.nspname::text AS schema, c.relname::text AS name, c.relkind AS kind,
       c.relrowsecurity
       OR c.oid IN (SELECT relation FROM calling)
       OR EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal)
       OR EXISTS (SELECT FROM pg_rewrite r WHERE r.ev_class = c.oid AND r.rulename <> '_RETURN')
       AS hidden
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relpersistence <> 't' AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S', 'c', 'i', 'I')";

/// Columns of relations that one can select from, in order.
pub(super) const COLUMNS: &str = "\
SELECT a.attrelid AS relation, a.attnum AS number, a.attname::text AS name,
       a.atttypid AS type_id, format_type(a.atttypid, a.atttypmod) AS type_name
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
WHERE a.attnum > 0 AND NOT a.attisdropped
  AND c.relpersistence <> 't' AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S', 'c')
ORDER BY a.attrelid, a.attnum";

/// Domains and what they are made of.
pub(super) const DOMAINS: &str =
    "SELECT oid AS id, typbasetype AS base FROM pg_type WHERE typtype = 'd'";

/// Functions and procedures that are not the server's own.
pub(super) const FUNCTIONS: &str = "\
SELECT p.oid AS id, n.nspname::text AS schema, p.proname::text AS name,
       pg_get_function_identity_arguments(p.oid) AS arguments
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname NOT IN ('pg_catalog', 'information_schema')";

/// Operators that are not the server's own.
pub(super) const OPERATORS: &str = "\
SELECT DISTINCT n.nspname::text AS schema, o.oprname::text AS name
FROM pg_operator o JOIN pg_namespace n ON n.oid = o.oprnamespace
WHERE n.nspname <> 'pg_catalog'";

/// What each view reads: relation and column, 0 for the relation as such.
///
/// A whole-row reference (`SELECT c FROM customers c`) leaves no dependency on any column beside
/// others' (PostgreSQL 15, dependency.c, `find_expr_references_walker`), so the view's own tree is
/// asked: `whole` is true when it has such a reference, or no reference that we can read.
pub(super) const RULES: &str = "\
SELECT DISTINCT r.ev_class AS view, d.refobjid AS relation, d.refobjsubid AS number,
       r.ev_action::text LIKE '%:varattno 0 %' OR r.ev_action::text NOT LIKE '%:varattno %' AS whole
FROM pg_rewrite r
JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
 AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> r.ev_class
WHERE r.rulename = '_RETURN'";

/// Children and parents: partitions and inheritance.
pub(super) const INHERITS: &str = "SELECT inhrelid AS child, inhparent AS parent FROM pg_inherits";

/// Columns that generated columns read. Up to PostgreSQL 14 the column itself depends on
/// them, from 15 on its `pg_attrdef` entry does.
pub(super) const GENERATED: &str = "\
SELECT DISTINCT a.attrelid AS relation, d.refobjsubid::int2 AS source, a.attnum AS generated
FROM pg_attribute a
JOIN pg_attrdef ad ON ad.adrelid = a.attrelid AND ad.adnum = a.attnum
JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = a.attrelid
 AND d.refobjsubid > 0 AND d.refobjsubid <> a.attnum
 AND (d.classid = 'pg_attrdef'::regclass AND d.objid = ad.oid
      OR d.classid = 'pg_class'::regclass AND d.objid = a.attrelid AND d.objsubid = a.attnum)
WHERE a.attgenerated <> '' AND NOT a.attisdropped";

/// Foreign keys, column by column.
pub(super) const FOREIGN_KEYS: &str = "\
SELECT c.conrelid AS referencing, k.referencing_column,
       c.confrelid AS referenced, k.referenced_column
FROM pg_constraint c, unnest(c.conkey, c.confkey) AS k(referencing_column, referenced_column)
WHERE c.contype = 'f'";
