//! The SQL that makes a target guaranteed, for a DBA to review and run.
//!
//! Deterministic: the same catalogue, rights and policy give the same text. It can be run again;
//! what it finds as it should be stays as it is.

use std::collections::{BTreeMap, BTreeSet};

use gateway_core::{
    catalogue::{CatalogueVersion, Relation, RelationId, RelationKind, Snapshot},
    id::{Digest, TargetName},
    mask::{Classified, ClassifiedColumn},
};

use super::views::{KEY, MaskingView, literal, masking_views, quoted};
use crate::catalogue::{Ceiling, MASKED_SCHEMA, Provisioning, Rights};

/// The role that owns the masking views; nobody logs in as it.
const OWNER: &str = "gateway_masked_owner";
/// Quotes the bodies of `DO`; no identifier or literal may hold it.
const TAG: &str = "$gateway$";

/// What a script is made of.
pub(crate) struct Order<'a> {
    /// The target.
    pub(crate) target: &'a TargetName,
    /// The role to make, or to narrow.
    pub(crate) role: &'a str,
    /// The role whose rights are the most that it gets.
    pub(crate) ceiling: &'a str,
    /// Whether what PUBLIC may do is revoked, or only shown.
    pub(crate) revoke_public: bool,
    /// The catalogue.
    pub(crate) snapshot: &'a Snapshot,
    /// Its version.
    pub(crate) catalogue: CatalogueVersion,
    /// The policy in force.
    pub(crate) policy: Digest,
    /// What the ceiling role may do.
    pub(crate) rights: &'a Rights,
    /// What it may grant on.
    pub(crate) provisioning: &'a Provisioning,
    /// What is classified.
    pub(crate) classified: &'a Classified,
}

/// A name holds what the script quotes with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a name or mask in the masking view of {0} holds `{TAG}`")]
pub(crate) struct Unquotable(String);

/// Writes the script.
///
/// # Errors
/// [`Unquotable`].
pub(crate) fn script(order: &Order<'_>) -> Result<String, Unquotable> {
    let views = masking_views(order.snapshot, order.classified);
    let mut script = Script::default();
    head(&mut script, order);
    role(&mut script, order.role);
    let relations = relations(order.snapshot);
    revoke(&mut script, order);
    grants(&mut script, order, &relations);
    masking(&mut script, order, &relations, &views)?;
    public(&mut script, order, &relations);
    definitions(&mut script);
    verification(&mut script, order);
    Ok(script.0)
}

/// The text so far.
#[derive(Default)]
struct Script(String);

impl Script {
    fn line(&mut self, text: impl AsRef<str>) {
        self.0.push_str(text.as_ref());
        self.0.push('\n');
    }

    /// A comment; names in it can't end it.
    fn note(&mut self, text: impl AsRef<str>) {
        let text = text.as_ref().replace(char::is_control, " ");
        self.line(format!("-- {text}"));
    }

    fn section(&mut self, title: &str) {
        self.line("");
        self.note(title);
    }
}

fn relations(snapshot: &Snapshot) -> BTreeMap<RelationId, &Relation> {
    let relations = snapshot.relations.iter();
    relations.map(|relation| (relation.id, relation)).collect()
}

fn path(relation: &Relation) -> String {
    format!("{}.{}", quoted(&relation.schema), quoted(&relation.name))
}

fn head(script: &mut Script, order: &Order<'_>) {
    let Order {
        target,
        role,
        ceiling,
        snapshot,
        catalogue,
        policy,
        ..
    } = order;
    script.note(format!(
        "Makes the role \"{role}\" one that can't read classified values of target {target}, database \
         \"{}\".",
        snapshot.database
    ));
    script.note("Written by `gateway target provision`. Review it, then run it as a superuser:");
    script.note("  psql --no-psqlrc --dbname DATABASE --file THIS");
    script.note(format!("catalogue {catalogue}, policy {policy}"));
    script.note(format!("The role gets at most what \"{ceiling}\" has."));
    script.note("");
    script.note("Classified, and withheld from it:");
    for column in order.classified.columns() {
        script.note(format!("  {}", described(column)));
    }
    script.line("");
    script.line("\\set ON_ERROR_STOP on");
    script.line("BEGIN;");
    script.line("SET LOCAL search_path = pg_catalog;");
    script.line("SET LOCAL standard_conforming_strings = on;");
    script.line("SET LOCAL client_min_messages = warning;");
}

fn described(column: &ClassifiedColumn) -> String {
    use gateway_core::catalogue::DerivationKind as How;
    let derived = match column.derived {
        None => "",
        Some(How::View) => ", by a view",
        Some(How::Inheritance) => ", by inheritance",
        Some(How::Generated) => ", generated",
        Some(How::ForeignKey) => ", by a foreign key",
    };
    let method = column.transform.method();
    format!("{} ({}, {method}{derived})", column.path(), column.class)
}

fn role(script: &mut Script, role: &str) {
    let (name, text) = (quoted(role), literal(role));
    script.section("The role. It has no password yet: give it one with psql's \\password, which");
    script.note("sends a SCRAM secret and leaves none in logs.");
    do_block(
        script,
        &[
            &format!("IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {text}) THEN"),
            &format!("  CREATE ROLE {name};"),
            "END IF;",
            "IF EXISTS (SELECT FROM pg_roles",
            &format!(
                "           WHERE rolname = {text} AND (rolsuper OR rolreplication OR rolbypassrls)) THEN"
            ),
            &format!("  ALTER ROLE {name} NOSUPERUSER NOREPLICATION NOBYPASSRLS;"),
            "END IF;",
        ],
    );
    script.line(format!("ALTER ROLE {name} LOGIN NOCREATEDB NOCREATEROLE;"));
    script.note("Agents of one role would see each other's statements, with the values in them.");
    script.line(format!("ALTER ROLE {name} SET track_activities = off;"));
    script.note("A member of another role could become it.");
    do_block(
        script,
        &[
            "DECLARE",
            "  held name;",
            "BEGIN",
            "  FOR held IN SELECT r.rolname FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid",
            &format!("              JOIN pg_roles u ON u.oid = m.member WHERE u.rolname = {text}"),
            "  LOOP",
            &format!("    EXECUTE format('REVOKE %I FROM %I', held, {text});"),
            "  END LOOP;",
            "END;",
        ],
    );
}

/// A block that has no declarations of its own begins by itself.
fn do_block(script: &mut Script, lines: &[&str]) {
    script.line(format!("DO {TAG}"));
    let declares = lines.first().is_some_and(|line| *line == "DECLARE");
    if !declares {
        script.line("BEGIN");
    }
    for line in lines {
        let indent = if declares { "" } else { "  " };
        script.line(format!("{indent}{line}"));
    }
    if !declares {
        script.line("END;");
    }
    script.line(format!("{TAG};"));
}

/// Takes everything away in the schemas that are granted from below.
fn revoke(script: &mut Script, order: &Order<'_>) {
    let (role, text) = (quoted(order.role), literal(order.role));
    script.section("Nothing of what it may have had.");
    script.line(format!(
        "REVOKE ALL ON DATABASE {} FROM {role};",
        quoted(&order.snapshot.database)
    ));
    do_block(
        script,
        &[
            "DECLARE",
            "  one name;",
            "BEGIN",
            "  FOR one IN SELECT nspname FROM pg_namespace",
            "             WHERE nspname NOT LIKE 'pg\\_%' AND nspname <> 'information_schema' ORDER BY 1",
            "  LOOP",
            &format!("    EXECUTE format('REVOKE ALL ON SCHEMA %I FROM %I', one, {text});"),
            &format!(
                "    EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA %I FROM %I', one, {text});"
            ),
            &format!(
                "    EXECUTE format('REVOKE ALL ON ALL SEQUENCES IN SCHEMA %I FROM %I', one, {text});"
            ),
            &format!(
                "    EXECUTE format('REVOKE ALL ON ALL ROUTINES IN SCHEMA %I FROM %I', one, {text});"
            ),
            "  END LOOP;",
            "END;",
        ],
    );
}

fn grants(script: &mut Script, order: &Order<'_>, relations: &BTreeMap<RelationId, &Relation>) {
    let role = quoted(order.role);
    script.section("What it may do: everything but what is classified.");
    let database = quoted(&order.snapshot.database);
    script.line(format!("GRANT CONNECT ON DATABASE {database} TO {role};"));
    for schema in &order.provisioning.schemas {
        script.line(format!(
            "GRANT USAGE ON SCHEMA {} TO {role};",
            quoted(schema)
        ));
    }
    for ceiling in &order.provisioning.ceilings {
        if let Some(relation) = relations.get(&ceiling.relation) {
            relation_grants(script, order, relation, ceiling);
        }
    }
    for grant in &order.provisioning.grants {
        script.line(format!("{grant} TO {role};"));
    }
}

fn relation_grants(script: &mut Script, order: &Order<'_>, relation: &Relation, ceiling: &Ceiling) {
    if order.rights.copies.contains(&relation.id) {
        script.note(format!(
            "{} is filled by functions: what it holds isn't known.",
            path(relation)
        ));
        return;
    }
    let matters = |foreign, id| foreign || order.classified.touches(id);
    let code = order
        .rights
        .code
        .iter()
        .filter(|code| code.root == relation.id && matters(code.foreign_rights, code.relation));
    let code: Vec<_> = code.collect();
    for code in &code {
        script.note(format!("not granted, for it would run {}:", code.object));
    }
    let may_read = !code.iter().any(|code| code.on_read);
    let may_write = code.is_empty();
    let classified: BTreeSet<i16> = order
        .classified
        .columns()
        .filter(|column| column.id.relation == relation.id)
        .map(|column| column.id.number)
        .collect();
    let (path, role) = (path(relation), quoted(order.role));
    let [selects, inserts, updates] = &ceiling.columns;
    let readable: BTreeSet<i16> = selects.difference(&classified).copied().collect();
    for (power, columns, granted) in [
        ("SELECT", &readable, may_read),
        ("INSERT", inserts, may_write),
        ("UPDATE", updates, may_write),
    ] {
        if let Some(on) = columns_of(relation, columns) {
            let comment = if granted { "" } else { "-- " };
            script.line(format!("{comment}GRANT {power}{on} ON {path} TO {role};"));
        }
    }
    for (power, held) in [("DELETE", ceiling.delete), ("TRUNCATE", ceiling.truncate)] {
        if held {
            let comment = if may_write { "" } else { "-- " };
            script.line(format!("{comment}GRANT {power} ON {path} TO {role};"));
        }
    }
}

/// ` (a, b)`, nothing for all of the relation's columns, `None` for none.
fn columns_of(relation: &Relation, numbers: &BTreeSet<i16>) -> Option<String> {
    let named = relation
        .columns
        .iter()
        .filter(|c| numbers.contains(&c.number));
    let named: Vec<String> = named.map(|column| quoted(&column.name)).collect();
    if named.is_empty() {
        None
    } else if named.len() == relation.columns.len() {
        Some(String::new())
    } else {
        Some(format!(" ({})", named.join(", ")))
    }
}

fn masking(
    script: &mut Script,
    order: &Order<'_>,
    relations: &BTreeMap<RelationId, &Relation>,
    views: &[MaskingView<'_>],
) -> Result<(), Unquotable> {
    let (role, owner) = (quoted(order.role), quoted(OWNER));
    script.section(
        "Masking views: what is classified as agents may see it, with the rights of a role",
    );
    script.note(
        "that nobody logs in as. They are remade when their table or its masks change; other",
    );
    script.note("roles' grants on a view that is remade are lost: run their scripts again.");
    do_block(
        script,
        &[
            &format!(
                "IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {}) THEN",
                literal(OWNER)
            ),
            &format!("  CREATE ROLE {owner} NOLOGIN;"),
            "END IF;",
        ],
    );
    script.line(format!("CREATE SCHEMA IF NOT EXISTS {MASKED_SCHEMA};"));
    script.line(format!("REVOKE ALL ON SCHEMA {MASKED_SCHEMA} FROM PUBLIC;"));
    script.line(format!(
        "GRANT USAGE ON SCHEMA {MASKED_SCHEMA} TO {owner}, {role};"
    ));
    if views.iter().any(|view| view.keyed) {
        key(script, &owner);
    }
    let ceilings = &order.provisioning.ceilings;
    for view in views {
        let ceiling = ceilings
            .iter()
            .find(|ceiling| ceiling.relation == view.relation.id);
        let Some(ceiling) = ceiling.filter(|ceiling| !ceiling.child) else {
            continue;
        };
        if view.query.contains(TAG) || view.path().contains(TAG) {
            return Err(Unquotable(path(view.relation)));
        }
        masking_view(script, &owner, view);
        let [selects, ..] = &ceiling.columns;
        let shown = view.relation.columns.iter().filter(|column| {
            selects.contains(&column.number)
                || order
                    .classified
                    .column(view.relation.column_id(column))
                    .is_some()
        });
        let shown = shown.map(|column| column.number).collect();
        if let Some(on) = columns_of(view.relation, &shown) {
            script.line(format!("GRANT SELECT{on} ON {} TO {role};", view.path()));
        }
    }
    let stale =
        order.rights.masked.iter().filter(|masked| {
            masked.name != KEY && !views.iter().any(|view| view.name == masked.name)
        });
    for masked in stale.filter(|masked| relations.contains_key(&masked.id)) {
        script.note(format!(
            "{} masks nothing that is classified any more:",
            masked.name
        ));
        script.line(format!(
            "DROP VIEW {MASKED_SCHEMA}.{};",
            quoted(&masked.name)
        ));
    }
    Ok(())
}

/// The key of equality tokens: made here, read by nobody but the views.
fn key(script: &mut Script, owner: &str) {
    let table = format!("{MASKED_SCHEMA}.{KEY}");
    let random = ["uuid_send(gen_random_uuid())"; 4].join(" || ");
    script.line(format!("CREATE TABLE IF NOT EXISTS {table} ("));
    script.line("    one boolean PRIMARY KEY DEFAULT true CHECK (one),");
    script.line("    inner_key bytea NOT NULL, outer_key bytea NOT NULL);");
    script.line(format!("INSERT INTO {table} (inner_key, outer_key)"));
    script.line(format!("SELECT {random},"));
    script.line(format!("       {random}"));
    script.line(format!("WHERE NOT EXISTS (SELECT FROM {table});"));
    script.line(format!("REVOKE ALL ON {table} FROM PUBLIC;"));
    script.line(format!("GRANT SELECT ON {table} TO {owner};"));
}

fn masking_view(script: &mut Script, owner: &str, view: &MaskingView<'_>) {
    let source = path(view.relation);
    let (view_path, start) = (view.path(), literal(&view.comment_start()));
    let text = literal(&view_path);
    let schema = quoted(&view.relation.schema);
    script.line(format!("GRANT USAGE ON SCHEMA {schema} TO {owner};"));
    script.line(format!("GRANT SELECT ON {source} TO {owner};"));
    let query = view.query.replace('\n', "\n  ");
    let tree = format!(
        "SELECT {start} || encode(sha256(convert_to(ev_action::text, 'UTF8')), 'hex')\n      \
         FROM pg_rewrite WHERE ev_class = to_regclass({text}) AND rulename = '_RETURN'"
    );
    do_block(
        script,
        &[
            &format!(
                "IF obj_description(to_regclass({text}), 'pg_class') IS DISTINCT FROM (\n      {tree})"
            ),
            &format!("   OR to_regclass({text}) IS NULL THEN"),
            &format!("  DROP VIEW IF EXISTS {view_path};"),
            &format!("  CREATE VIEW {view_path} WITH (security_barrier = true) AS\n  {query};"),
            &format!("  ALTER VIEW {view_path} OWNER TO {owner};"),
            &format!("  EXECUTE format('COMMENT ON VIEW %s IS %L', {text}, (\n      {tree}));"),
            "END IF;",
        ],
    );
    script.line(format!("REVOKE ALL ON {view_path} FROM PUBLIC;"));
}

fn public(script: &mut Script, order: &Order<'_>, relations: &BTreeMap<RelationId, &Relation>) {
    script.section(
        "What everybody may do, this role included. Others lose it as well: GRANT it back to",
    );
    script
        .note("those that need it. While something here stays, the guaranteed mode isn't entered.");
    let comment = if order.revoke_public {
        ""
    } else {
        script.note("(Left to you: uncomment, or write the script with --revoke-public.)");
        "-- "
    };
    let open = order.provisioning.ceilings.iter().filter(|ceiling| {
        ceiling.public
            && (order.classified.touches(ceiling.relation)
                || order.rights.copies.contains(&ceiling.relation))
    });
    for relation in open.filter_map(|ceiling| relations.get(&ceiling.relation)) {
        script.line(format!(
            "{comment}REVOKE SELECT ON {} FROM PUBLIC;",
            path(relation)
        ));
    }
    for revoke in &order.provisioning.public {
        script.line(format!("{comment}{revoke};"));
    }
}

/// What isn't needed for the proof, and closes its residue.
fn definitions(script: &mut Script) {
    script.section(
        "Literals in definitions (partition bounds, CHECKs, defaults, functions, views) are what",
    );
    script.note(
        "remains readable. If classified values stand in some, change them; or, at the price of",
    );
    script.note("psql's \\d and of dumps by ordinary roles:");
    for function in [
        "pg_get_viewdef(oid)",
        "pg_get_viewdef(oid, boolean)",
        "pg_get_functiondef(oid)",
        "pg_get_triggerdef(oid)",
        "pg_get_ruledef(oid)",
        "pg_get_constraintdef(oid)",
        "pg_get_indexdef(oid)",
        "pg_get_expr(pg_node_tree, oid)",
    ] {
        script.note(format!(
            "REVOKE EXECUTE ON FUNCTION pg_catalog.{function} FROM PUBLIC;"
        ));
    }
    script.note(
        "REVOKE SELECT ON pg_proc, pg_rewrite, pg_constraint, pg_attrdef, pg_trigger FROM PUBLIC;",
    );
    script.note(
        "Functions with the caller's rights can't read what the caller can't. Stricter still:",
    );
    script.note("REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA … FROM PUBLIC;");
}

/// A query that must return nothing.
fn verification(script: &mut Script, order: &Order<'_>) {
    let text = literal(order.role);
    let tables = order.snapshot.relations.iter().filter(|relation| {
        relation.kind != RelationKind::Other && order.classified.touches(relation.id)
    });
    let mut columns = Vec::new();
    for relation in tables {
        for column in &relation.columns {
            if order
                .classified
                .column(relation.column_id(column))
                .is_some()
            {
                let [table, name] = [path(relation), column.name.clone()].map(|t| literal(&t));
                columns.push(format!("({table}, {name})"));
            }
        }
    }
    script.section("Must return no row; `gateway check` proves the rest.");
    if columns.is_empty() {
        columns.push("(NULL, NULL)".to_owned());
    }
    script.line(format!(
        "SELECT 'can read ' || c.relation || '.' || c.name AS wrong\nFROM (VALUES\n  {}) c(relation, name)",
        columns.join(",\n  ")
    ));
    script.line(format!(
        "WHERE c.relation IS NOT NULL\n  AND has_column_privilege({text}, c.relation, c.name, 'SELECT')"
    ));
    script.line("UNION ALL");
    script.line("SELECT 'is a ' || p.power FROM pg_roles r, LATERAL (VALUES");
    script.line("  ('superuser', r.rolsuper), ('role that creates roles', r.rolcreaterole),");
    script.line("  ('role that replicates', r.rolreplication), ('role beyond row security', r.rolbypassrls))");
    script.line(format!(
        "  p(power, held) WHERE p.held AND r.rolname = {text}"
    ));
    script.line("UNION ALL");
    script.line("SELECT 'could become ' || r.rolname FROM pg_roles r");
    script.line(format!(
        "WHERE r.rolname <> {text} AND pg_has_role({text}, r.oid, 'MEMBER')"
    ));
    script.line("UNION ALL");
    script.line("SELECT 'may create in schema ' || n.nspname FROM pg_namespace n");
    script.line(format!(
        "WHERE n.nspname NOT LIKE 'pg\\_%' AND has_schema_privilege({text}, n.oid, 'CREATE');"
    ));
    script.line("COMMIT;");
}
