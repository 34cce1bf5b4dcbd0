//! What is known to get through. Each line is a hole that must close; none is skipped in silence.

/// Row of the threat catalogue, and the row's text.
pub(super) const LEAKS_KNOWN: &[(&str, &str)] = &[
    // A trigger in PL/pgSQL copied the value into a table that nobody has classified.
    ("P14", "select old_value from trail"),
    ("P14", "select * from trail"),
    ("P14", "copy trail to stdout"),
    // A target on which nothing is classified: code that a view, a domain's check or a policy calls runs
    // with no verdict on `sql.call`.
    ("C04", "select 1::purging::integer"),
    ("C04", "select cast(1 as purging)::integer"),
    ("C04", "values (1::purging::integer)"),
    ("C04", "values (cast(1 as purging)::integer)"),
    ("C04", "select 1 where 1::purging::integer = 1"),
    ("C04", "select 1 where cast(1 as purging)::integer = 1"),
    (
        "C04",
        "select id from products order by 1::purging::integer",
    ),
    (
        "C04",
        "select id from products order by cast(1 as purging)::integer",
    ),
    ("C04", "select id from products limit 1::purging::integer"),
    (
        "C04",
        "select id from products limit cast(1 as purging)::integer",
    ),
    (
        "C04",
        "select * from products where id = 1::purging::integer",
    ),
    (
        "C04",
        "select * from products where id = cast(1 as purging)::integer",
    ),
    ("C04", "select * from v_purge"),
    ("C04", "select count(*) from v_purge"),
    ("C04", "copy (select * from v_purge) to stdout"),
    (
        "C04",
        "select * from jsonb_to_record('{\"x\": 1}') as r(x purging)",
    ),
    ("C04", "select 1::purging"),
    ("C04", "select array[1]::purging[]"),
];

/// Whether a row is on the list.
pub(super) fn is_known(threat: &str, text: &str) -> bool {
    LEAKS_KNOWN.contains(&(threat, text))
}
