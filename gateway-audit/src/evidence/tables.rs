//! The listings: a pure function of leaves and bodies.

use serde_json::Value;

use super::leaf::{Leaf, Range};

/// One cell of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cell {
    /// Not applicable.
    Empty,
    /// Text.
    Text(String),
    /// A count.
    Int(u64),
    /// Yes or no.
    Flag(bool),
}

/// A listing with its rows.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    pub(crate) name: &'static str,
    pub(crate) columns: &'static [&'static str],
    pub(crate) rows: Vec<Vec<Cell>>,
}

/// A listing that can be built.
pub(crate) struct Listing {
    pub(crate) name: &'static str,
    /// What one row is.
    pub(crate) definition: &'static str,
    /// The kinds of leaves that rows cite.
    pub(crate) kinds: &'static [&'static str],
    columns: &'static [&'static str],
    row: fn(&Range, &[&Leaf], &Leaf) -> Vec<Vec<Cell>>,
}

impl Listing {
    /// Builds every row, in log order; each ends with the leaf that it cites.
    pub(crate) fn build(&self, range: &Range) -> Table {
        let mut cited: Vec<(u64, Vec<Cell>)> = Vec::new();
        for leaves in range.sessions().values() {
            for leaf in leaves
                .iter()
                .filter(|leaf| self.kinds.contains(&leaf.kind()) && range.lists(leaf))
            {
                for mut row in (self.row)(range, leaves, leaf) {
                    row.extend([text(&range.origin), Cell::Int(leaf.index), text(&leaf.hash)]);
                    cited.push((leaf.index, row));
                }
            }
        }
        cited.sort_by_key(|(index, _)| *index);
        Table {
            name: self.name,
            columns: self.columns,
            rows: cited.into_iter().map(|(_, row)| row).collect(),
        }
    }
}

/// Every listing of a package.
pub(crate) const TABLES: [Listing; 5] = [
    Listing {
        name: "sessions",
        definition: "one row per session that opened",
        kinds: &["session.open"],
        columns: &[
            "session_id",
            "opened_at",
            "closed_at",
            "duration_ms",
            "agent_object_id",
            "agent_app_id",
            "agent_name",
            "agent_owner_object_id",
            "tenant_id",
            "token_uti",
            "auth_method",
            "source_ip",
            "gateway_id",
            "gateway_version",
            "resource_id",
            "resource_type",
            "environment",
            "data_classification",
            "protocol",
            "upstream_principal",
            "statements_total",
            "statements_allowed",
            "statements_blocked",
            "statements_held",
            "statements_unknown",
            "approvals_used",
            "values_masked",
            "bytes_from_agent",
            "bytes_to_agent",
            "close_reason",
            "recording_mode",
            "recording_status",
            "recording_path",
            "stream_head_sha256",
            "chunks",
            "policy_sha256",
            "trace_id",
            "synthetic",
            "log_origin",
            "leaf_index",
            "leaf_sha256",
        ],
        row: session,
    },
    Listing {
        name: "statements",
        definition: "one row per statement or command that was allowed or blocked",
        kinds: &["unit.intent", "block"],
        columns: &[
            "session_id",
            "statement_no",
            "received_at",
            "forwarded_at",
            "completed_at",
            "agent_object_id",
            "resource_id",
            "database",
            "protocol",
            "operation",
            "objects",
            "statement_text",
            "statement_truncated",
            "request_sha256",
            "params_sha256",
            "decision",
            "rule_ids",
            "policy_sha256",
            "approval_id",
            "outcome",
            "error_code",
            "rows_returned",
            "rows_affected",
            "bytes_returned",
            "values_masked",
            "inspection",
            "durable_before_forward",
            "latency_ms",
            "synthetic",
            "log_origin",
            "leaf_index",
            "leaf_sha256",
        ],
        row: statement,
    },
    Listing {
        name: "approvals",
        definition: "one row per request for approval",
        kinds: &["approval.request"],
        columns: &[
            "approval_id",
            "requested_at",
            "decided_at",
            "consumed_at",
            "expires_at",
            "seconds_to_decision",
            "agent_object_id",
            "agent_owner_object_id",
            "session_id",
            "statement_no",
            "resource_id",
            "operation",
            "request_sha256",
            "rule_id",
            "policy_sha256",
            "approver_object_id",
            "approver_name",
            "approver_role",
            "approver_auth",
            "decision",
            "comment",
            "ticket_ref",
            "break_glass",
            "approver_is_owner",
            "executed_sha256",
            "content_match",
            "uses_allowed",
            "uses_consumed",
            "outcome",
            "synthetic",
            "log_origin",
            "leaf_index",
            "leaf_sha256",
        ],
        row: approval,
    },
    Listing {
        name: "masking",
        definition: "one row per column masked in a result",
        kinds: &["mask"],
        columns: &[
            "at",
            "session_id",
            "statement_no",
            "agent_object_id",
            "resource_id",
            "object",
            "column_or_path",
            "data_class",
            "detector",
            "rule_id",
            "policy_sha256",
            "method",
            "values_seen",
            "values_masked",
            "rows",
            "on_failure",
            "synthetic",
            "log_origin",
            "leaf_index",
            "leaf_sha256",
        ],
        row: masking,
    },
    Listing {
        name: "blocks",
        definition: "one row per statement or command that was refused",
        kinds: &["block"],
        columns: &[
            "at",
            "session_id",
            "statement_no",
            "agent_object_id",
            "resource_id",
            "protocol",
            "operation",
            "objects",
            "stage",
            "rule_id",
            "rule_title",
            "policy_sha256",
            "reason_code",
            "message_to_agent",
            "request_sha256",
            "statement_text",
            "bytes_sent_upstream",
            "severity",
            "synthetic",
            "log_origin",
            "leaf_index",
            "leaf_sha256",
        ],
        row: block,
    },
];

fn session(range: &Range, leaves: &[&Leaf], open: &Leaf) -> Vec<Vec<Cell>> {
    let end = last(leaves, &["session.close", "session.interrupted"]);
    let count = |kinds: &[&str]| {
        leaves
            .iter()
            .filter(|leaf| kinds.contains(&leaf.kind()))
            .count() as u64
    };
    let masked = leaves
        .iter()
        .filter(|leaf| leaf.kind() == "mask")
        .filter_map(|leaf| leaf.count("masked"))
        .sum();
    let (allowed, blocked) = (count(&["unit.intent"]), count(&["block"]));
    let gateway = range
        .leaves
        .iter()
        .rfind(|leaf| leaf.kind() == "log.open" && leaf.index < open.index);
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
        Cell::Int(count(&["approval.request"])),
        Cell::Int(count(&["unit.unknown"])),
        Cell::Int(count(&["approval.consumed"])),
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

fn statement(_: &Range, leaves: &[&Leaf], leaf: &Leaf) -> Vec<Vec<Cell>> {
    let same_unit = |kinds: &[&str]| {
        leaves.iter().find(|other| {
            other.index > leaf.index && other.unit() == leaf.unit() && kinds.contains(&other.kind())
        })
    };
    let blocked = leaf.kind() == "block";
    let result = if blocked {
        None
    } else {
        same_unit(&["unit.result", "unit.unknown"])
    };
    let open = first(leaves, "session.open");
    let strict = open.and_then(|open| open.body("/durability")) == Some(&Value::from("strict"));
    let shown = leaf.body("/operation/text").and_then(Value::as_str);
    let count = |name| result.map_or(Cell::Empty, |result| counter(result, name));
    vec![vec![
        field(leaf, "ses"),
        integer(leaf.unit()),
        time(leaf),
        if blocked { Cell::Empty } else { time(leaf) },
        result.map_or(Cell::Empty, |result| time(result)),
        field(leaf, "agt"),
        field(leaf, "res"),
        open.map_or(Cell::Text("unknown".into()), |open| body(open, "/database")),
        field(leaf, "prt"),
        field(leaf, "op"),
        list(leaf.body("/operation/objects")),
        shown.map_or(Cell::Empty, text),
        shown.map_or(Cell::Empty, |shown| Cell::Flag(super::csv::is_cut(shown))),
        field(leaf, "rq"),
        body(leaf, "/operation/parameters_sha256"),
        field(leaf, "dec"),
        list(leaf.header.get("rul")),
        field(leaf, "pol"),
        field(leaf, "apr"),
        if blocked {
            text("blocked")
        } else {
            result.map_or(text("open"), |result| field(result, "out"))
        },
        result.map_or(Cell::Empty, |result| body(result, "/error_code")),
        count("rows_returned"),
        count("rows_affected"),
        count("bytes_returned"),
        count("values_masked"),
        body(leaf, "/operation/inspection"),
        if blocked {
            Cell::Empty
        } else {
            Cell::Flag(strict)
        },
        result.map_or(Cell::Empty, |result| {
            Cell::Int(result.at_us().saturating_sub(leaf.at_us()) / 1000)
        }),
        synthetic(leaf),
    ]]
}

fn approval(_: &Range, leaves: &[&Leaf], request: &Leaf) -> Vec<Vec<Cell>> {
    let same = |kinds: &[&str]| {
        leaves
            .iter()
            .copied()
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
        let same_digest = consumed.body("/digest").is_some()
            && consumed.body("/digest") == request.body("/digest");
        let same_request = intent.is_none_or(|intent| intent.text("rq") == request.text("rq"));
        Cell::Flag(same_digest && same_request)
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

fn masking(_: &Range, leaves: &[&Leaf], mask: &Leaf) -> Vec<Vec<Cell>> {
    let of_unit = |kind: &str| {
        leaves
            .iter()
            .find(|leaf| leaf.kind() == kind && leaf.unit() == mask.unit())
    };
    let (intent, result) = (of_unit("unit.intent"), of_unit("unit.result"));
    let columns = mask
        .body("/columns")
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice);
    let row = |column: &Value| {
        let path = plain(column.get("column"));
        let count = |name: &str| integer(column.get(name).and_then(Value::as_u64));
        vec![
            time(mask),
            field(mask, "ses"),
            integer(mask.unit()),
            field(mask, "agt"),
            field(mask, "res"),
            Cell::Text(
                path.rsplit_once('.')
                    .map_or("", |(object, _)| object)
                    .to_owned(),
            ),
            Cell::Text(path),
            Cell::Text(plain(column.get("class"))),
            text("classification"),
            intent.map_or(Cell::Empty, |intent| list(intent.header.get("rul"))),
            intent.map_or(Cell::Empty, |intent| field(intent, "pol")),
            Cell::Text(plain(column.get("method"))),
            count("seen"),
            count("masked"),
            result.map_or(Cell::Empty, |result| counter(result, "rows_returned")),
            text("response_blocked"),
            synthetic(mask),
        ]
    };
    columns.iter().map(row).collect()
}

fn block(_: &Range, _: &[&Leaf], leaf: &Leaf) -> Vec<Vec<Cell>> {
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

fn first<'a>(leaves: &[&'a Leaf], kind: &str) -> Option<&'a Leaf> {
    leaves.iter().copied().find(|leaf| leaf.kind() == kind)
}

fn last<'a>(leaves: &[&'a Leaf], kinds: &[&str]) -> Option<&'a Leaf> {
    leaves
        .iter()
        .copied()
        .rfind(|leaf| kinds.contains(&leaf.kind()))
}

fn text(value: &str) -> Cell {
    Cell::Text(value.to_owned())
}

fn integer(value: Option<u64>) -> Cell {
    value.map_or(Cell::Empty, Cell::Int)
}

fn field(leaf: &Leaf, name: &str) -> Cell {
    leaf.text(name).map_or(Cell::Empty, text)
}

fn counter(leaf: &Leaf, name: &str) -> Cell {
    integer(leaf.count(name))
}

fn body(leaf: &Leaf, pointer: &str) -> Cell {
    leaf.body(pointer)
        .map_or(Cell::Empty, |value| Cell::Text(plain(Some(value))))
}

fn list(value: Option<&Value>) -> Cell {
    value.map_or(Cell::Empty, |value| Cell::Text(joined(Some(value))))
}

fn joined(value: Option<&Value>) -> String {
    let items = value
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice);
    items
        .iter()
        .map(|item| plain(Some(item)))
        .collect::<Vec<_>>()
        .join(" ")
}

/// A JSON value without the quotes of a string.
fn plain(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

fn synthetic(leaf: &Leaf) -> Cell {
    Cell::Flag(leaf.header.get("syn") == Some(&Value::Bool(true)))
}

fn time(leaf: &Leaf) -> Cell {
    Cell::Text(rfc3339(leaf.at_us()))
}

/// RFC 3339, UTC, microseconds; `unknown` for a time past the calendar.
pub(super) fn rfc3339(micros: u64) -> String {
    i64::try_from(micros)
        .ok()
        .and_then(|micros| jiff::Timestamp::from_microsecond(micros).ok())
        .map_or_else(
            || "unknown".to_owned(),
            |at| at.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string(),
        )
}
