//! Queries about the role's rights: fixed text, no parameters, run with `search_path = pg_catalog`.
//!
//! Sources: PostgreSQL 15 documentation, section 9.26 "System Information Functions and Operators"
//! (access privilege inquiry functions), chapter 53 "System Catalogs", section 22.5 "Predefined
//! Roles". Object ids below 16384 are the server's own (transam.h, `FirstNormalObjectId`).

use super::Clause;

/// The role and every role that it is a member of, directly or not: it could `SET ROLE` to each.
/// What PUBLIC may do is what each of them may do.
macro_rules! me {
    () => {
        "me AS (SELECT oid, rolname FROM pg_roles WHERE pg_has_role(current_user, oid, 'MEMBER'))"
    };
}

/// Functions whose code isn't the server's own and may do more than SQL with the caller's rights:
/// not those in trusted languages, nor those of extensions that compute and nothing else.
/// Aggregates count as what they are made of, for which the caller needs no EXECUTE. Nobody can call
/// a trigger's function.
macro_rules! unsafe_functions {
    () => {
        "trusted AS (
    SELECT d.objid AS oid FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
    WHERE d.classid = 'pg_proc'::regclass AND d.refclassid = 'pg_extension'::regclass
      AND d.deptype = 'e' AND e.extname IN
      ('btree_gin', 'btree_gist', 'citext', 'cube', 'earthdistance', 'fuzzystrmatch', 'hstore',
       'intarray', 'isn', 'ltree', 'pg_trgm', 'pgcrypto', 'plpgsql', 'seg', 'tablefunc',
       'unaccent', 'uuid-ossp', 'vector')
), powerful AS (
    SELECT p.oid, CASE
        WHEN p.prosecdef THEN 'runs with the rights of ' || p.proowner::regrole
        ELSE 'is written in ' || l.lanname END AS why
    FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
    WHERE p.oid >= 16384 AND p.prokind <> 'a'
      AND (p.prosecdef OR NOT l.lanpltrusted AND p.oid NOT IN (SELECT oid FROM trusted))
), unsafe AS (
    SELECT oid, why FROM powerful
    UNION
    SELECT a.aggfnoid::oid, 'is an aggregate over a function that ' || f.why
    FROM pg_aggregate a JOIN powerful f ON f.oid IN
         (a.aggtransfn, a.aggfinalfn, a.aggcombinefn, a.aggserialfn, a.aggdeserialfn,
          a.aggmtransfn, a.aggminvtransfn, a.aggmfinalfn)
    UNION
    SELECT p.oid, 'reads or writes files, or acts on the server' FROM pg_proc p
    WHERE p.oid < 16384 AND (p.proname IN
       ('lo_import', 'lo_export', 'pg_read_file', 'pg_read_binary_file', 'pg_stat_file',
        'pg_current_logfile', 'pg_reload_conf', 'pg_rotate_logfile', 'pg_promote', 'pg_switch_wal', 'pg_create_restore_point',
        'pg_wal_replay_pause', 'pg_wal_replay_resume', 'pg_start_backup', 'pg_stop_backup',
        'pg_backup_start', 'pg_backup_stop', 'pg_config', 'pg_show_all_file_settings',
        'pg_hba_file_rules', 'pg_ident_file_mappings', 'pg_log_backend_memory_contexts',
        'pg_replication_origin_create', 'pg_replication_origin_drop', 'pg_stat_reset',
        'pg_get_backend_memory_contexts', 'pg_get_shmem_allocations')
       OR p.proname LIKE 'pg\\_ls\\_%' OR p.proname LIKE 'pg\\_file\\_%')
), callable AS (
    SELECT f.oid, f.why FROM unsafe f JOIN pg_proc p ON p.oid = f.oid
    WHERE p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)
)"
    };
}

/// What breaks a clause: the clause, the first server version that has what is asked for, and a
/// query for the objects.
pub(super) const FINDINGS: &[(Clause, i32, &str)] = &[
    (
        Clause::Login,
        0,
        "SELECT session_user || ' becomes ' || current_user AS object
         WHERE session_user <> current_user",
    ),
    (
        Clause::Attributes,
        0,
        concat!(
            "WITH ",
            me!(),
            " SELECT quote_ident(r.rolname) || ' has ' || p.power AS object
              FROM pg_roles r JOIN me ON me.oid = r.oid, LATERAL (VALUES
                   ('SUPERUSER', r.rolsuper), ('CREATEROLE', r.rolcreaterole),
                   ('CREATEDB', r.rolcreatedb), ('REPLICATION', r.rolreplication),
                   ('BYPASSRLS', r.rolbypassrls)) p(power, held)
              WHERE p.held ORDER BY r.rolname <> current_user, 1 LIMIT 100"
        ),
    ),
    (
        Clause::Memberships,
        0,
        concat!(
            "WITH ",
            me!(),
            " SELECT rolname::text AS object FROM me WHERE rolname LIKE 'pg\\_%' ORDER BY 1"
        ),
    ),
    // Large objects and default privileges are anybody's to make: they say nothing, and mustn't be a
    // way to make the proof fail.
    (
        Clause::Ownership,
        0,
        concat!(
            "WITH ",
            me!(),
            " SELECT pg_describe_object(d.classid, d.objid, d.objsubid) AS object
              FROM pg_shdepend d JOIN me ON me.oid = d.refobjid
              WHERE d.refclassid = 'pg_authid'::regclass AND d.deptype = 'o' AND d.dbid IN
                    (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
                AND d.classid NOT IN ('pg_largeobject'::regclass, 'pg_default_acl'::regclass)
              ORDER BY 1 LIMIT 100"
        ),
    ),
    (
        Clause::System,
        0,
        concat!(
            "WITH ",
            me!(),
            " SELECT c.oid::regclass::text AS object
              FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
              WHERE (c.relkind = 't'
                     OR c.relname IN ('pg_stat_statements', 'pg_stat_statements_info')
                     OR n.nspname = 'pg_catalog' AND c.relname IN
                        ('pg_statistic', 'pg_statistic_ext_data', 'pg_authid', 'pg_largeobject',
                         'pg_user_mapping', 'pg_shadow', 'pg_file_settings', 'pg_hba_file_rules'))
                    AND EXISTS (SELECT FROM me
                                WHERE has_any_column_privilege(me.oid, c.oid, 'SELECT'))
                 OR n.nspname = 'pg_catalog' AND c.relkind = 'r'
                    AND EXISTS (SELECT FROM me
                                WHERE has_any_column_privilege(me.oid, c.oid, 'INSERT, UPDATE')
                                   OR has_table_privilege(me.oid, c.oid, 'DELETE, TRUNCATE'))
              ORDER BY 1 LIMIT 100"
        ),
    ),
    // CVE-2024-4317: clusters made before 14.12, 15.7 and 16.3 keep views of extended statistics that
    // ask for no privilege. Repaired ones call pg_has_role(oid, text), which is 2710.
    (
        Clause::System,
        140_000,
        "SELECT c.oid::regclass || ' is open as before CVE-2024-4317 was repaired' AS object
         FROM pg_class c JOIN pg_rewrite r ON r.ev_class = c.oid
         WHERE c.relnamespace = 'pg_catalog'::regnamespace
           AND c.relname IN ('pg_stats_ext', 'pg_stats_ext_exprs')
           AND r.ev_action::text NOT LIKE '%:funcid 2710 %'
           AND EXISTS (SELECT FROM pg_statistic_ext) ORDER BY 1",
    ),
    (
        Clause::Functions,
        0,
        concat!(
            "WITH ",
            me!(),
            ", ",
            unsafe_functions!(),
            " SELECT f.oid::regprocedure || ' ' || f.why AS object FROM callable f
              WHERE EXISTS (SELECT FROM me WHERE has_function_privilege(me.oid, f.oid, 'EXECUTE'))
              ORDER BY 1 LIMIT 100"
        ),
    ),
    (
        Clause::Foreign,
        0,
        concat!(
            "WITH ",
            me!(),
            " SELECT 'foreign table ' || c.oid::regclass AS object FROM pg_class c
              WHERE c.relkind = 'f' AND EXISTS (SELECT FROM me
                    WHERE has_any_column_privilege(me.oid, c.oid, 'SELECT, INSERT, UPDATE')
                       OR has_table_privilege(me.oid, c.oid, 'DELETE, TRUNCATE'))
              UNION ALL
              SELECT 'foreign server ' || quote_ident(s.srvname) FROM pg_foreign_server s
              WHERE EXISTS (SELECT FROM me WHERE has_server_privilege(me.oid, s.oid, 'USAGE'))
              UNION ALL
              SELECT 'foreign-data wrapper ' || quote_ident(w.fdwname)
              FROM pg_foreign_data_wrapper w WHERE EXISTS (SELECT FROM me
                    WHERE has_foreign_data_wrapper_privilege(me.oid, w.oid, 'USAGE'))
              ORDER BY 1 LIMIT 100"
        ),
    ),
    (
        Clause::Creation,
        0,
        concat!(
            "WITH ",
            me!(),
            " SELECT 'CREATE on schema ' || quote_ident(n.nspname) AS object FROM pg_namespace n
              WHERE n.nspname NOT LIKE 'pg\\_temp\\_%' AND n.nspname NOT LIKE 'pg\\_toast\\_temp\\_%'
                AND EXISTS (SELECT FROM me WHERE has_schema_privilege(me.oid, n.oid, 'CREATE'))
              UNION ALL
              SELECT p.power || ' on database ' || quote_ident(d.datname)
              FROM pg_database d, (VALUES ('CREATE'), ('TEMPORARY')) p(power)
              WHERE d.datname = current_database()
                AND EXISTS (SELECT FROM me WHERE has_database_privilege(me.oid, d.oid, p.power))
              UNION ALL
              SELECT p.power || ' on ' || c.oid::regclass
              FROM pg_class c, (VALUES ('TRIGGER'), ('REFERENCES')) p(power)
              WHERE c.relkind IN ('r', 'p', 'v', 'f') AND EXISTS (SELECT FROM me
                    WHERE has_table_privilege(me.oid, c.oid, p.power)
                       OR p.power = 'REFERENCES'
                          AND has_any_column_privilege(me.oid, c.oid, p.power))
              ORDER BY 1 LIMIT 100"
        ),
    ),
    // Others of the same role would see statements with the values in them.
    (
        Clause::Settings,
        0,
        "SELECT s.name || ' is ' || s.setting AS object FROM pg_settings s
         WHERE (s.name, s.setting) IN (('track_activities', 'on'), ('lo_compat_privileges', 'on'))
         ORDER BY 1",
    ),
    (
        Clause::Settings,
        150_000,
        concat!(
            "WITH ",
            me!(),
            " SELECT a.privilege_type || ' on parameter ' || p.parname AS object
              FROM pg_parameter_acl p, aclexplode(p.paracl) a
              WHERE a.grantee = 0 OR a.grantee IN (SELECT oid FROM me)
              ORDER BY 1 LIMIT 100"
        ),
    ),
];

/// Columns that it could select.
pub(super) const READABLE: &str = concat!(
    "WITH ",
    me!(),
    " SELECT a.attrelid AS relation, a.attnum AS number
      FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
      WHERE a.attnum > 0 AND NOT a.attisdropped
        AND c.relpersistence <> 't' AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
        AND EXISTS (SELECT FROM me WHERE has_column_privilege(me.oid, a.attrelid, a.attnum, 'SELECT'))
      ORDER BY 1, 2"
);

/// Code that its writes could run. A write to a table touches its children, the tables that foreign
/// keys cascade to (there with the rights of the tables' owners: ri_triggers.c,
/// `ri_PerformCheck`), and through a view what the view is made of. Nobody's EXECUTE is asked for
/// when a trigger fires. A rule's statements have the rights of its table's owner (PostgreSQL 15,
/// section 41.5 "Rules and Privileges"). A policy is evaluated over rows that it hides.
pub(super) const CODE: &str = concat!(
    "WITH RECURSIVE ",
    me!(),
    ", ",
    unsafe_functions!(),
    ", accessed AS (
    SELECT c.oid,
           EXISTS (SELECT FROM me WHERE has_any_column_privilege(me.oid, c.oid, 'INSERT, UPDATE')
                      OR has_table_privilege(me.oid, c.oid, 'DELETE, TRUNCATE')) AS written,
           EXISTS (SELECT FROM me WHERE has_any_column_privilege(me.oid, c.oid, 'SELECT')) AS read
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'f') AND c.relpersistence <> 't'
      AND n.nspname NOT IN ('pg_catalog', 'information_schema')
), touched(root, oid, owners) AS (
    SELECT oid, oid, false FROM accessed WHERE written
    UNION
    SELECT touched.root, next.oid, touched.owners OR next.owners
    FROM touched, LATERAL (
        SELECT i.inhrelid AS oid, false AS owners FROM pg_inherits i WHERE i.inhparent = touched.oid
        UNION ALL
        SELECT k.conrelid, true FROM pg_constraint k
        WHERE k.contype = 'f' AND k.confrelid = touched.oid
          AND (k.confdeltype IN ('c', 'n', 'd') OR k.confupdtype IN ('c', 'n', 'd'))
        UNION ALL
        SELECT d.refobjid, false
        FROM pg_rewrite r JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass
         AND d.objid = r.oid AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> r.ev_class
        WHERE r.ev_class = touched.oid AND r.rulename = '_RETURN'
    ) next
), held AS (
    SELECT adrelid AS relation, 'pg_attrdef'::regclass AS class, oid AS object FROM pg_attrdef
    UNION ALL SELECT conrelid, 'pg_constraint'::regclass, oid FROM pg_constraint WHERE conrelid <> 0
    UNION ALL SELECT indrelid, 'pg_class'::regclass, indexrelid FROM pg_index
), called AS (
    SELECT d.classid, d.objid, d.objsubid, d.refclassid, d.refobjid FROM pg_depend d
    WHERE d.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass) AND NOT EXISTS (
        SELECT FROM pg_depend e
        WHERE e.classid = d.refclassid AND e.objid = d.refobjid AND e.deptype = 'e')
)
SELECT touched.root, touched.oid AS relation,
       'trigger ' || quote_ident(t.tgname) || ' of ' || touched.oid::regclass || ' calls '
       || t.tgfoid::regprocedure AS object,
       touched.owners OR t.tgfoid IN (SELECT oid FROM unsafe) AS foreign_rights, false AS on_read
FROM touched JOIN pg_trigger t ON t.tgrelid = touched.oid
WHERE NOT t.tgisinternal AND t.tgenabled <> 'D'
UNION
SELECT touched.root, touched.oid,
       'rule ' || quote_ident(r.rulename) || ' of ' || touched.oid::regclass, true, false
FROM touched JOIN pg_rewrite r ON r.ev_class = touched.oid
WHERE r.rulename <> '_RETURN' AND r.ev_enabled <> 'D'
UNION
SELECT touched.root, touched.oid,
       pg_describe_object(held.class, held.object, 0) || ' calls '
       || pg_describe_object(called.refclassid, called.refobjid, 0),
       touched.owners, false
FROM touched JOIN held ON held.relation = touched.oid
JOIN called ON called.classid = held.class AND called.objid = held.object
UNION
SELECT a.oid, a.oid,
       pg_describe_object('pg_policy'::regclass, p.oid, 0) || ' calls '
       || pg_describe_object(called.refclassid, called.refobjid, 0),
       false, true
FROM accessed a JOIN pg_policy p ON p.polrelid = a.oid
JOIN called ON called.classid = 'pg_policy'::regclass AND called.objid = p.oid
WHERE a.read OR a.written
UNION
SELECT 0::oid, 0::oid, 'event trigger ' || quote_ident(e.evtname) || ' calls ' || e.evtfoid::regprocedure, true,
       false
FROM pg_event_trigger e
WHERE e.evtenabled <> 'D' AND e.evtfoid IN (SELECT oid FROM unsafe)
ORDER BY 1, 2, 3"
);

/// Materialised views that hold what functions returned, by themselves or through other views: what
/// those read isn't known.
pub(super) const COPIES: &str = concat!(
    "WITH RECURSIVE ",
    unsafe_functions!(),
    ", calling AS (
    SELECT r.ev_class AS oid FROM pg_rewrite r
    JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
     AND d.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass)
    WHERE r.rulename = '_RETURN' AND d.refobjid NOT IN (SELECT oid FROM trusted)
      AND NOT EXISTS (
        SELECT FROM pg_depend e JOIN pg_extension x ON x.oid = e.refobjid
        WHERE d.refclassid = 'pg_operator'::regclass AND e.classid = d.refclassid
          AND e.objid = d.refobjid AND e.refclassid = 'pg_extension'::regclass AND e.deptype = 'e')
    UNION
    SELECT r.ev_class FROM calling
    JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = calling.oid
     AND d.classid = 'pg_rewrite'::regclass
    JOIN pg_rewrite r ON r.oid = d.objid AND r.ev_class <> calling.oid AND r.rulename = '_RETURN'
)
SELECT c.oid AS id FROM calling JOIN pg_class c ON c.oid = calling.oid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'm' ORDER BY 1"
);

/// What is in the schema of masking views. `tree` is the analysed query that a view stands for:
/// it changes whenever the view's meaning is changed.
pub(super) const MASKED: &str = concat!(
    "WITH ",
    me!(),
    " SELECT c.oid AS id, c.relname::text AS name,
             c.relkind = 'v' AND 'security_barrier=true' = ANY (COALESCE(c.reloptions, '{}'))
             AND NOT EXISTS (SELECT FROM unnest(c.reloptions) o WHERE o LIKE 'security_invoker=%')
             AS barrier,
             obj_description(c.oid, 'pg_class') AS comment,
             (SELECT encode(sha256(convert_to(r.ev_action::text, 'UTF8')), 'hex')
              FROM pg_rewrite r WHERE r.ev_class = c.oid AND r.rulename = '_RETURN') AS tree,
             EXISTS (SELECT FROM me WHERE has_any_column_privilege(me.oid, c.oid, 'SELECT'))
             AS readable,
             EXISTS (SELECT FROM me WHERE has_any_column_privilege(me.oid, c.oid, 'INSERT, UPDATE')
                        OR has_table_privilege(me.oid, c.oid, 'DELETE, TRUNCATE')) AS writable
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
      WHERE n.nspname = 'gateway_masked' AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
      ORDER BY 2"
);

/// What the connection's role may do with relations, at most what a provisioned role may do.
pub(super) const CEILINGS: &str = "\
SELECT c.oid AS relation,
       ARRAY(SELECT a.attnum FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0
             AND NOT a.attisdropped AND has_column_privilege(c.oid, a.attnum, 'SELECT')) AS selects,
       ARRAY(SELECT a.attnum FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0
             AND NOT a.attisdropped AND has_column_privilege(c.oid, a.attnum, 'INSERT')) AS inserts,
       ARRAY(SELECT a.attnum FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0
             AND NOT a.attisdropped AND has_column_privilege(c.oid, a.attnum, 'UPDATE')) AS updates,
       has_table_privilege(c.oid, 'DELETE') AS deletes,
       has_table_privilege(c.oid, 'TRUNCATE') AS truncates,
       EXISTS (SELECT FROM aclexplode(c.relacl) x
               WHERE x.grantee = 0 AND x.privilege_type = 'SELECT')
       OR EXISTS (SELECT FROM pg_attribute a, aclexplode(a.attacl) x WHERE a.attrelid = c.oid
                  AND x.grantee = 0 AND x.privilege_type = 'SELECT') AS public,
       EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = c.oid) AS child
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm') AND c.relpersistence <> 't'
  AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'gateway_masked')
  AND has_schema_privilege(n.oid, 'USAGE')
ORDER BY n.nspname, c.relname";

/// Schemas that the connection's role can use.
pub(super) const SCHEMAS: &str = "\
SELECT n.nspname::text AS name FROM pg_namespace n
WHERE n.nspname NOT IN ('information_schema', 'gateway_masked') AND n.nspname NOT LIKE 'pg\\_%'
  AND has_schema_privilege(n.oid, 'USAGE')
ORDER BY 1";

/// What the connection's role may do with sequences and functions. Functions of extensions are
/// left to PUBLIC.
pub(super) const GRANTS: &str = concat!(
    "WITH ",
    unsafe_functions!(),
    " SELECT format('GRANT %s ON SEQUENCE %s', p.power, c.oid::regclass) AS statement
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace,
           (VALUES ('USAGE'), ('SELECT')) p(power)
      WHERE c.relkind = 'S' AND c.relpersistence <> 't' AND n.nspname <> 'gateway_masked'
        AND has_schema_privilege(n.oid, 'USAGE') AND has_sequence_privilege(c.oid, p.power)
      UNION ALL
      SELECT format('GRANT EXECUTE ON ROUTINE %s', p.oid::regprocedure)
      FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
      WHERE p.oid >= 16384 AND n.nspname NOT IN ('pg_catalog', 'information_schema')
        AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)
        AND has_schema_privilege(n.oid, 'USAGE') AND has_function_privilege(p.oid, 'EXECUTE')
        AND p.oid NOT IN (SELECT oid FROM unsafe)
        AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_proc'::regclass
                        AND e.objid = p.oid AND e.deptype = 'e')
      ORDER BY 1"
);

/// What everybody may do and a provisioned role mustn't.
pub(super) const PUBLIC: &str = concat!(
    "WITH ",
    unsafe_functions!(),
    " SELECT format('REVOKE EXECUTE ON ROUTINE %s FROM PUBLIC', p.oid::regprocedure) AS statement
      FROM callable f JOIN pg_proc p ON p.oid = f.oid,
           aclexplode(COALESCE(p.proacl, acldefault('f', p.proowner))) a
      WHERE a.grantee = 0 AND a.privilege_type = 'EXECUTE'
      UNION ALL
      SELECT format('REVOKE CREATE ON SCHEMA %I FROM PUBLIC', n.nspname)
      FROM pg_namespace n, aclexplode(n.nspacl) a
      WHERE a.grantee = 0 AND a.privilege_type = 'CREATE'
      UNION ALL
      SELECT format('REVOKE %s ON DATABASE %I FROM PUBLIC', a.privilege_type, d.datname)
      FROM pg_database d, aclexplode(COALESCE(d.datacl, acldefault('d', d.datdba))) a
      WHERE d.datname = current_database() AND a.grantee = 0
        AND a.privilege_type IN ('CREATE', 'TEMPORARY')
      UNION ALL
      SELECT format('REVOKE %s ON %s FROM PUBLIC', a.privilege_type, c.oid::regclass)
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace, aclexplode(c.relacl) a
      WHERE a.grantee = 0 AND n.nspname NOT IN ('pg_catalog', 'information_schema')
        AND (a.privilege_type IN ('TRIGGER', 'REFERENCES') OR c.relkind = 'f'
             OR c.relname IN ('pg_stat_statements', 'pg_stat_statements_info'))
      UNION ALL
      SELECT format('REVOKE USAGE ON FOREIGN SERVER %I FROM PUBLIC', s.srvname)
      FROM pg_foreign_server s, aclexplode(s.srvacl) a WHERE a.grantee = 0
      UNION ALL
      SELECT format('REVOKE USAGE ON FOREIGN DATA WRAPPER %I FROM PUBLIC', w.fdwname)
      FROM pg_foreign_data_wrapper w, aclexplode(w.fdwacl) a WHERE a.grantee = 0
      ORDER BY 1"
);
