//! What changing a run-time setting may do.

/// What a change of a setting means for the analysis of later texts and for classified data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Neither changes how texts are read nor shows anything: allowed beside classified data.
    Harmless,
    /// Texts are still read as before, but the setting isn't on the list of harmless ones.
    Other,
    /// Later texts would be read in another way than they are analysed.
    Meaning,
    /// The session's role.
    Role,
}

/// Settings that can be given any value beside classified data: they neither change what a text
/// means, nor write to a log or to the client, nor name functions or files.
const HARMLESS: &[&str] = &[
    "application_name",
    "check_function_bodies",
    "constraint_exclusion",
    "cursor_tuple_fraction",
    "datestyle",
    "deadlock_timeout",
    "default_statistics_target",
    "default_transaction_deferrable",
    "default_transaction_isolation",
    "default_transaction_read_only",
    "effective_cache_size",
    "extra_float_digits",
    "from_collapse_limit",
    "geqo",
    "hash_mem_multiplier",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "intervalstyle",
    "jit",
    "join_collapse_limit",
    "lock_timeout",
    "maintenance_work_mem",
    "max_parallel_workers_per_gather",
    "plan_cache_mode",
    "quote_all_identifiers",
    "random_page_cost",
    "restrict_nonsystem_relation_kind",
    "row_security",
    "seq_page_cost",
    "session characteristics",
    "statement_timeout",
    "synchronize_seqscans",
    "synchronous_commit",
    "tcp_keepalives_count",
    "tcp_keepalives_idle",
    "tcp_keepalives_interval",
    "temp_buffers",
    "timezone",
    "transaction",
    "transaction_deferrable",
    "transaction_isolation",
    "transaction_read_only",
    "transaction_timeout",
    "work_mem",
    "xmloption",
];

/// Judges setting `name` (lower case) to `value`.
///
/// `value` is `None` for a return to the default: the value that the session began with, which the
/// gateway pins. `path` is the search path that texts are analysed with.
///
/// `search_path` may be emptied (what `pg_dump` does: unqualified names of the user's schemas then
/// fail on the server) or set to what it is; anything else changes what names mean.
pub(super) fn change(name: &str, value: Option<&[String]>, path: &[String]) -> Change {
    let is = |accepted: &[&str]| match value {
        None => true,
        Some([value]) => accepted.iter().any(|a| value.eq_ignore_ascii_case(a)),
        Some(_) => false,
    };
    let pinned = |harmless| {
        if harmless {
            Change::Harmless
        } else {
            Change::Meaning
        }
    };
    match name {
        "role" | "session_authorization" => Change::Role,
        "standard_conforming_strings" => pinned(is(&["on", "true", "yes", "1"])),
        "client_encoding" | "names" => pinned(is(&["utf8", "utf-8", "unicode"])),
        "backslash_quote" => pinned(is(&["safe_encoding"])),
        "transform_null_equals" => pinned(is(&["off", "false", "no", "0"])),
        "search_path" => pinned(value.is_none_or(|value| {
            matches!(value, [only] if only.is_empty()) || same_path(value, path)
        })),
        "bytea_output" if is(&["hex"]) => Change::Harmless,
        // Below NOTICE the server would send plans and rewritten queries (`debug_print_plan`).
        "client_min_messages" if is(&["notice", "warning", "error"]) => Change::Harmless,
        _ if name.starts_with("enable_") || HARMLESS.contains(&name) => Change::Harmless,
        _ => Change::Other,
    }
}

/// Whether a search path given as text is the effective one, implicit schemas aside.
fn same_path(value: &[String], path: &[String]) -> bool {
    let explicit = path.iter().filter(|schema| schema.as_str() != "pg_catalog");
    !value.iter().any(|schema| schema.contains([',', '"', '$'])) && value.iter().eq(explicit)
}

#[cfg(test)]
mod tests {
    use super::{Change, change};

    #[test]
    fn settings_that_change_how_texts_are_read_are_told_from_harmless_ones() {
        let path = ["pg_catalog".to_owned(), "public".to_owned()];
        let cases: &[(&str, Option<&[&str]>, Change)] = &[
            ("application_name", Some(&["x"]), Change::Harmless),
            ("timezone", None, Change::Harmless),
            ("enable_seqscan", Some(&["off"]), Change::Harmless),
            (
                "standard_conforming_strings",
                Some(&["on"]),
                Change::Harmless,
            ),
            (
                "standard_conforming_strings",
                Some(&["off"]),
                Change::Meaning,
            ),
            ("standard_conforming_strings", None, Change::Harmless),
            ("client_encoding", Some(&["SJIS"]), Change::Meaning),
            ("client_encoding", Some(&["UTF8"]), Change::Harmless),
            ("search_path", Some(&[""]), Change::Harmless),
            ("search_path", Some(&["public"]), Change::Harmless),
            ("search_path", Some(&["evil", "public"]), Change::Meaning),
            ("search_path", Some(&[]), Change::Meaning),
            ("client_min_messages", Some(&["log"]), Change::Other),
            ("debug_print_plan", Some(&["on"]), Change::Other),
            ("role", Some(&["dba"]), Change::Role),
            ("my.setting", Some(&["x"]), Change::Other),
        ];
        for (name, value, expected) in cases {
            let value: Option<Vec<String>> =
                value.map(|value| value.iter().map(|&part| part.to_owned()).collect());
            assert_eq!(
                change(name, value.as_deref(), &path),
                *expected,
                "{name} {value:?}"
            );
        }
    }
}
