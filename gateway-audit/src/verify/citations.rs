//! Rows against the leaves that they cite: all leaves of the period and scope, each as often as its
//! header says, and with the identifiers that its header holds.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Problems;
use super::listings::Row;
use crate::evidence::{Leaf, Range};

/// What a listing is about.
struct About {
    kinds: &'static [&'static str],
    /// Column and header field.
    fields: &'static [(&'static str, &'static str)],
}

fn about(listing: &str) -> Option<About> {
    Some(match listing {
        "sessions" => About {
            kinds: &["session.open"],
            fields: &[
                ("session_id", "ses"),
                ("agent_object_id", "agt"),
                ("agent_app_id", "app"),
                ("tenant_id", "tn"),
                ("token_uti", "uti"),
                ("resource_id", "res"),
                ("protocol", "prt"),
                ("policy_sha256", "pol"),
            ],
        },
        "statements" => About {
            kinds: &["unit.intent", "block"],
            fields: &[
                ("session_id", "ses"),
                ("statement_no", "st"),
                ("agent_object_id", "agt"),
                ("resource_id", "res"),
                ("protocol", "prt"),
                ("operation", "op"),
                ("request_sha256", "rq"),
                ("decision", "dec"),
                ("rule_ids", "rul"),
                ("policy_sha256", "pol"),
                ("approval_id", "apr"),
            ],
        },
        "approvals" => About {
            kinds: &["approval.request"],
            fields: &[
                ("approval_id", "apr"),
                ("session_id", "ses"),
                ("statement_no", "st"),
                ("agent_object_id", "agt"),
                ("resource_id", "res"),
                ("operation", "op"),
                ("request_sha256", "rq"),
                ("rule_id", "rul"),
                ("policy_sha256", "pol"),
            ],
        },
        "masking" => About {
            kinds: &["mask"],
            fields: &[
                ("session_id", "ses"),
                ("statement_no", "st"),
                ("agent_object_id", "agt"),
                ("resource_id", "res"),
            ],
        },
        "blocks" => About {
            kinds: &["block"],
            fields: &[
                ("session_id", "ses"),
                ("statement_no", "st"),
                ("agent_object_id", "agt"),
                ("resource_id", "res"),
                ("protocol", "prt"),
                ("operation", "op"),
                ("request_sha256", "rq"),
                ("rule_id", "rul"),
                ("policy_sha256", "pol"),
            ],
        },
        _ => return None,
    })
}

/// How many rows a leaf must have in a listing.
fn due(listing: &str, leaf: &Leaf) -> u64 {
    match listing {
        "statements" => leaf.count("statements").unwrap_or(1).clamp(1, 1024),
        "masking" => leaf.count("columns").unwrap_or(0).min(1664),
        _ => 1,
    }
}

/// Checks the rows of one listing against the leaves.
pub(super) fn cited(
    file: &str,
    listing: &str,
    rows: &[Row],
    range: &Range,
    problems: &mut Problems,
) {
    let Some(About { kinds, fields }) = about(listing) else {
        problems.wrong(file, None, None, "nothing is known about this listing");
        return;
    };
    let scope = scope(range);
    let mut due: BTreeMap<u64, (u64, &Leaf)> = range
        .leaves
        .iter()
        .filter(|leaf| kinds.contains(&leaf.kind()))
        .filter(|leaf| leaf.at_us() >= range.from_us && leaf.at_us() < range.to_us)
        .filter(|leaf| {
            leaf.session()
                .is_some_and(|session| scope.contains(session))
        })
        .map(|leaf| (leaf.index, (due(listing, leaf), leaf)))
        .collect();
    let mut last = 0;
    for (number, row) in (1..).zip(rows) {
        let index = row.get("leaf_index").and_then(Value::as_u64);
        let Some((left, leaf)) = index.and_then(|index| due.get_mut(&index)) else {
            let what = "it cites a leaf that is not of this listing";
            problems.wrong(file, Some(number), index, what);
            continue;
        };
        let Some(one_less) = left.checked_sub(1) else {
            problems.wrong(file, Some(number), index, "its leaf has fewer rows");
            continue;
        };
        *left = one_less;
        let in_order = leaf.index >= last;
        last = leaf.index;
        let is = |column: &str, expected: &Value| row.get(column) == Some(expected);
        if !is("leaf_sha256", &leaf.hash.as_str().into())
            || !is("log_origin", &range.origin.as_str().into())
            || !in_order
        {
            problems.wrong(file, Some(number), index, "it does not cite its leaf");
        }
        for (column, field) in fields {
            if row.get(*column) != Some(&shown(leaf.header.get(*field))) {
                let what = format!("`{column}` is not what the leaf's header says");
                problems.wrong(file, Some(number), index, what);
            }
        }
    }
    for (index, (left, _)) in due.into_iter().filter(|(_, (left, _))| *left > 0) {
        let what = format!("{left} rows of the leaf are not listed");
        problems.wrong(file, None, Some(index), what);
    }
}

/// A header field as a cell: arrays are joined by spaces.
fn shown(field: Option<&Value>) -> Value {
    match field {
        None => Value::Null,
        Some(Value::Array(items)) => {
            let items: Vec<_> = items.iter().filter_map(Value::as_str).collect();
            Value::String(items.join(" "))
        }
        Some(value) => value.clone(),
    }
}

/// The sessions of which some leaf names the agent, and some the target, that the package is about.
fn scope(range: &Range) -> BTreeSet<&str> {
    let of = |field: &str, wanted: Option<&str>| -> BTreeSet<&str> {
        let named = |leaf: &&Leaf| wanted.is_none() || leaf.text(field) == wanted;
        range
            .leaves
            .iter()
            .filter(named)
            .filter_map(Leaf::session)
            .collect()
    };
    let (agent, target) = (
        of("agt", range.agent.as_deref()),
        of("res", range.target.as_deref()),
    );
    agent.intersection(&target).copied().collect()
}
