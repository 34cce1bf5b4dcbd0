//! The rows that a leaf has in each listing but that of statements.

use serde_json::{Value, json};

use super::cells::*;
use super::leaf::{Leaf, Range};
use super::statements;

pub(super) fn session(range: &Range, leaves: &[&Leaf], open: &Leaf) -> Vec<Vec<Cell>> {
    let end = last(leaves, &["session.close", "session.interrupted"]);
    let of_kind = |kind| leaves.iter().filter(move |leaf| leaf.kind() == kind);
    let count = |kind| of_kind(kind).count() as u64;
    let statements = |kind| {
        of_kind(kind)
            .map(|leaf| statements::count(leaf))
            .sum::<u64>()
    };
    let unknown: u64 = of_kind("unit.intent")
        .map(|intent| statements::unknown(leaves, intent))
        .sum();
    let masked = leaves
        .iter()
        .filter(|leaf| leaf.kind() == "mask")
        .filter_map(|leaf| leaf.count("masked"))
        .sum();
    let (allowed, blocked) = (statements("unit.intent"), statements("block"));
    let gateway = range.gateway(open);
    let of_gateway =
        |pointer| gateway.map_or(Cell::Text("unknown".into()), |leaf| body(leaf, pointer));
    let id = open.session().unwrap_or_default();
    vec![vec![
        text(id),
        time(open),
        end.map_or(Cell::Empty, time),
        end.map_or(Cell::Empty, |end| {
            Cell::Int(end.at_us().saturating_sub(open.at_us()) / 1000)
        }),
        field(open, "agt"),
        field(open, "app"),
        body(open, "/principal/display_name"),
        Cell::Text("unknown".into()),
        field(open, "tn"),
        field(open, "uti"),
        body(open, "/auth_method"),
        body(open, "/source"),
        of_gateway("/gateway_id"),
        of_gateway("/gateway_version"),
        field(open, "res"),
        field(open, "prt"),
        body(open, "/environment"),
        match open.body("/classified").and_then(Value::as_bool) {
            Some(true) => text("classified"),
            Some(false) => text("none"),
            None => Cell::Text("unknown".into()),
        },
        field(open, "prt"),
        body(open, "/upstream_principal"),
        Cell::Int(allowed + blocked),
        Cell::Int(allowed),
        Cell::Int(blocked),
        Cell::Int(statements("approval.request")),
        Cell::Int(unknown),
        Cell::Int(count("approval.consumed")),
        Cell::Int(masked),
        end.map_or(Cell::Empty, |end| counter(end, "bytes_from_agent")),
        end.map_or(Cell::Empty, |end| counter(end, "bytes_to_agent")),
        end.map_or(Cell::Empty, |end| field(end, "out")),
        body(open, "/durability"),
        text(match end.map(Leaf::kind) {
            Some("session.close") => "complete",
            Some(_) => "interrupted",
            None => "open",
        }),
        Cell::Text(format!("recordings/{id}/stream")),
        end.map_or(Cell::Empty, |end| field(end, "sh")),
        end.map_or(Cell::Empty, |end| counter(end, "chunks")),
        field(open, "pol"),
        field(open, "tr"),
        synthetic(open),
    ]]
}

pub(super) fn approval(_: &Range, leaves: &[&Leaf], request: &Leaf) -> Vec<Vec<Cell>> {
    let same = |kinds: &[&str]| {
        after(leaves, request)
            .find(|leaf| leaf.text("apr") == request.text("apr") && kinds.contains(&leaf.kind()))
    };
    let end = same(&["approval.decision", "approval.expired", "approval.revoked"]);
    let (consumed, intent) = (same(&["approval.consumed"]), same(&["unit.intent"]));
    let votes = end
        .and_then(|end| end.body("/votes"))
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice);
    let votes_of = |member: &str| match votes {
        [] => Cell::Empty,
        votes => Cell::Text(
            votes
                .iter()
                .map(|vote| plain(vote.get(member)))
                .collect::<Vec<_>>()
                .join("; "),
        ),
    };
    let expires = request
        .body("/hold/expires_in_us")
        .and_then(Value::as_u64)
        .map_or(Cell::Empty, |span| {
            Cell::Text(rfc3339(request.at_us().saturating_add(span)))
        });
    let owner = votes
        .iter()
        .any(|vote| vote.get("is_owner") == Some(&Value::Bool(true)));
    let matches = consumed.map_or(Cell::Empty, |consumed| {
        let same_request = intent.is_none_or(|intent| intent.text("rq") == request.text("rq"));
        match (consumed.body("/digest"), request.body("/digest")) {
            (Some(ran), Some(approved)) => Cell::Flag(ran == approved && same_request),
            // Without bodies a difference can be seen, and sameness can't.
            _ if same_request => text("unknown"),
            _ => Cell::Flag(false),
        }
    });
    vec![vec![
        field(request, "apr"),
        time(request),
        end.map_or(Cell::Empty, time),
        consumed.map_or(Cell::Empty, time),
        expires,
        end.map_or(Cell::Empty, |end| {
            Cell::Int(end.at_us().saturating_sub(request.at_us()) / 1_000_000)
        }),
        field(request, "agt"),
        body(request, "/hold/excluded_owner"),
        field(request, "ses"),
        integer(request.unit()),
        field(request, "res"),
        field(request, "op"),
        field(request, "rq"),
        list(request.header.get("rul")),
        field(request, "pol"),
        votes_of("reviewer"),
        votes_of("name"),
        match votes {
            [] => Cell::Empty,
            votes => Cell::Text(
                votes
                    .iter()
                    .map(|vote| joined(vote.get("counts_for")))
                    .collect::<Vec<_>>()
                    .join("; "),
            ),
        },
        if votes.is_empty() {
            Cell::Empty
        } else {
            text("entra_token")
        },
        votes_of("answer"),
        votes_of("comment"),
        Cell::Empty,
        Cell::Flag(false),
        if votes.is_empty() {
            Cell::Empty
        } else {
            Cell::Flag(owner)
        },
        intent.map_or(Cell::Empty, |intent| field(intent, "rq")),
        matches,
        Cell::Int(1),
        Cell::Int(u64::from(consumed.is_some())),
        end.map_or(text("pending"), |end| field(end, "out")),
        synthetic(request),
    ]]
}

/// How many rows a mask has: one per column. A result has at most 1,664 of them (PostgreSQL 16, appendix K,
/// "PostgreSQL Limits").
pub(super) fn masked_columns(mask: &Leaf) -> u64 {
    mask.count("columns").unwrap_or(0).min(1664)
}

/// Where a masked value was, and what found it there.
struct Place<'a> {
    object: &'a str,
    detector: &'a str,
}

impl<'a> Place<'a> {
    /// `schema.table.column` of SQL; elsewhere a field of an API, `group/resource.path.to.field`, or the
    /// name of a detector, which knows no places.
    fn of(path: &'a str, of_sql: bool) -> Self {
        let by_class = |object| Self {
            object,
            detector: "classification",
        };
        if of_sql {
            return by_class(path.rsplit_once('.').map_or("", |(object, _)| object));
        }
        // Groups have dots of their own.
        let resource = match path.split_once('/') {
            Some((group, rest)) if rest.contains('.') => group.len() + 1,
            _ => 0,
        };
        let dot = path.get(resource..).and_then(|rest| rest.find('.'));
        match dot.and_then(|dot| path.get(..resource + dot)) {
            Some(object) => by_class(object),
            None => Self {
                object: "",
                detector: path,
            },
        }
    }
}

pub(super) fn masking(_: &Range, leaves: &[&Leaf], mask: &Leaf) -> Vec<Vec<Cell>> {
    let of_unit = |leaf: &&Leaf, kind: &str| leaf.kind() == kind && leaf.unit() == mask.unit();
    let before = leaves.partition_point(|leaf| leaf.index < mask.index);
    let intent = leaves.iter().copied().take(before);
    let intent = intent.rev().find(|leaf| of_unit(leaf, "unit.intent"));
    let result = after(leaves, mask).find(|leaf| of_unit(leaf, "unit.result"));
    let columns = array(mask.body("/columns"));
    let of_sql = intent
        .and_then(|intent| intent.text("op"))
        .is_some_and(|operation| operation.starts_with("sql."));
    let row = |column: &Value| {
        let path = plain(column.get("column"));
        let place = Place::of(&path, of_sql);
        let count = |name: &str| integer(column.get(name).and_then(Value::as_u64));
        vec![
            time(mask),
            field(mask, "ses"),
            integer(mask.unit()),
            field(mask, "agt"),
            field(mask, "res"),
            text(place.object),
            text(&path),
            Cell::Text(plain(column.get("class"))),
            text(place.detector),
            intent.map_or(Cell::Empty, |intent| list(intent.header.get("rul"))),
            intent.map_or(Cell::Empty, |intent| field(intent, "pol")),
            Cell::Text(plain(column.get("method"))),
            count("seen"),
            count("masked"),
            match result {
                Some(result) if of_sql => counter(result, "rows_returned"),
                _ => Cell::Empty,
            },
            text("response_blocked"),
            synthetic(mask),
        ]
    };
    if mask.body.is_null() {
        // Without its body a leaf says how many columns there were, not which.
        let unknown = json!({"class": "unknown", "column": "unknown", "method": "unknown"});
        return (0..masked_columns(mask)).map(|_| row(&unknown)).collect();
    }
    columns.iter().map(row).collect()
}

pub(super) fn block(_: &Range, _: &[&Leaf], leaf: &Leaf) -> Vec<Vec<Cell>> {
    vec![vec![
        time(leaf),
        field(leaf, "ses"),
        integer(leaf.unit()),
        field(leaf, "agt"),
        field(leaf, "res"),
        field(leaf, "prt"),
        field(leaf, "op"),
        list(leaf.body("/operation/objects")),
        text("before_forward"),
        list(leaf.header.get("rul")),
        Cell::Empty,
        field(leaf, "pol"),
        body(leaf, "/denial/reason"),
        body(leaf, "/denial/message"),
        field(leaf, "rq"),
        body(leaf, "/operation/text"),
        counter(leaf, "bytes_sent_upstream"),
        body(leaf, "/severity"),
        synthetic(leaf),
    ]]
}
