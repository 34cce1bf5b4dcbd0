//! The listings: a pure function of leaves and bodies.

use super::cells::{Cell, text};
use super::leaf::{Leaf, Range};
use super::rows;
use super::statements;

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
    /// How many rows a leaf has, by its header.
    pub(crate) count: fn(&Leaf) -> u64,
    rows: fn(&Range, &[&Leaf], &Leaf) -> Vec<Vec<Cell>>,
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
                for mut row in (self.rows)(range, leaves, leaf) {
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
        count: |_| 1,
        rows: rows::session,
    },
    Listing {
        name: "statements",
        definition: "one row per statement of each unit that was allowed or blocked; \
            outcomes are as the target reported them: a later failure in the same implicit transaction undoes completed ones",
        kinds: &["unit.intent", "block"],
        columns: &[
            "session_id",
            "statement_no",
            "statement_index",
            "received_at",
            "forwarded_at",
            "completed_at",
            "agent_object_id",
            "resource_id",
            "database",
            "protocol",
            "operation",
            "command",
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
        count: statements::count,
        rows: statements::statement,
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
        count: |_| 1,
        rows: rows::approval,
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
        count: rows::masked_columns,
        rows: rows::masking,
    },
    Listing {
        name: "blocks",
        definition: "one row per unit that was refused, whatever the number of its statements",
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
        count: |_| 1,
        rows: rows::block,
    },
];
