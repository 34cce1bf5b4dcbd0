//! What must add up, counted from the headers without the exporter's functions.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Problems;
use super::listings::Row;
use crate::evidence::{Leaf, Range};

const SHEET: &str = "populations.jsonl";

/// A unit: session and number.
type Unit<'a> = (&'a str, u64);

/// The sums of a range.
#[derive(Debug, Default)]
pub(super) struct Balance {
    /// Leaves at which something doesn't add up.
    pub(super) broken: Vec<(u64, String)>,
    /// The numbers that each identity of the completeness sheet must name, in its order.
    sums: BTreeMap<&'static str, Vec<u64>>,
}

#[derive(Default)]
struct Walk<'a> {
    kinds: BTreeMap<&'a str, u64>,
    sequences: BTreeMap<&'a str, u64>,
    gaps: u64,
    open: BTreeSet<&'a str>,
    opened: BTreeSet<&'a str>,
    closed: u64,
    sessions_before: u64,
    running: BTreeSet<Unit<'a>>,
    ran: BTreeSet<Unit<'a>>,
    units_before: u64,
    pending: BTreeMap<&'a str, Option<&'a str>>,
    approved: BTreeMap<&'a str, Option<&'a str>>,
    consumed: BTreeMap<&'a str, Option<&'a str>>,
    approvals: u64,
    rejected: u64,
    masks: BTreeMap<Unit<'a>, u64>,
    masked: u64,
    masked_otherwise: u64,
    sent: u64,
    broken: Vec<(u64, String)>,
}

impl Balance {
    pub(super) fn of(range: &Range) -> Self {
        let mut walk = Walk::default();
        for leaf in &range.leaves {
            walk.step(leaf, range.from_index > 0);
        }
        let kind = |kind: &str| walk.kinds.get(kind).copied().unwrap_or(0);
        let len = range.leaves.len() as u64;
        let sums = BTreeMap::from([
            (
                "leaves",
                vec![walk.kinds.values().sum(), walk.kinds.len() as u64, len],
            ),
            (
                "session balance",
                vec![
                    kind("session.open"),
                    walk.sessions_before,
                    walk.closed,
                    kind("session.interrupted"),
                    walk.open.len() as u64,
                ],
            ),
            (
                "statement balance",
                vec![
                    kind("unit.intent"),
                    walk.units_before,
                    kind("unit.result"),
                    kind("unit.unknown"),
                    walk.running.len() as u64,
                ],
            ),
            (
                "approval balance",
                vec![
                    kind("approval.request"),
                    walk.approvals,
                    walk.rejected,
                    kind("approval.expired"),
                    kind("approval.revoked"),
                    walk.pending.len() as u64,
                    kind("approval.consumed"),
                ],
            ),
            ("blocked means nothing sent", vec![walk.sent]),
            (
                "session sequences",
                vec![walk.sequences.len() as u64, walk.gaps],
            ),
            ("masked values", vec![walk.masked, walk.masked_otherwise]),
        ]);
        Self {
            broken: walk.broken,
            sums,
        }
    }

    /// The completeness sheet names these sums, and everything in it holds.
    pub(super) fn compare(&self, sheet: &[Row], problems: &mut Problems) {
        let text = |row: &Row, column: &str| {
            row.get(column)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        for (number, row) in (1..).zip(sheet) {
            if text(row, "result") != "holds" {
                let what = format!("`{}` does not hold", text(row, "population"));
                problems.wrong(SHEET, Some(number), None, what);
            }
        }
        for (name, sums) in &self.sums {
            let row = (1..)
                .zip(sheet)
                .find(|(_, row)| text(row, "population") == *name);
            match row {
                None if sheet.is_empty() => {}
                None => problems.wrong(SHEET, None, None, format!("there is no `{name}`")),
                Some((_, row)) if numbers(&text(row, "identity_checked")) == *sums => {}
                Some((number, _)) => {
                    let what = format!("the leaves give {sums:?} for `{name}`");
                    problems.wrong(SHEET, Some(number), None, what);
                }
            }
        }
    }
}

/// The numbers in a sentence.
fn numbers(text: &str) -> Vec<u64> {
    text.split(|c: char| !c.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .collect()
}

impl<'a> Walk<'a> {
    /// `later`: the range doesn't start with the log, so that some beginnings lie before it.
    fn step(&mut self, leaf: &'a Leaf, later: bool) {
        let kind = leaf.kind();
        *self.kinds.entry(kind).or_default() += 1;
        self.sent += leaf.count("bytes_sent_upstream").unwrap_or(0);
        let Some(session) = leaf.session() else {
            return;
        };
        self.sequence(session, leaf, later);
        let unit = leaf.unit().map(|unit| (session, unit));
        let approval = leaf.text("apr");
        match (kind, unit, approval) {
            ("session.open", ..) => {
                let first = self.opened.insert(session) && self.open.insert(session);
                self.expect(first, leaf, "the session opens twice");
            }
            ("session.close", ..) if leaf.count("opened") == Some(0) => {}
            ("session.close" | "session.interrupted", ..) => {
                let known = self.open.remove(session);
                self.sessions_before += u64::from(!known);
                self.closed += u64::from(kind == "session.close");
                let ends = known || (later && !self.opened.contains(session));
                self.expect(ends, leaf, "a session that is not open ends");
                let running = self
                    .running
                    .range((session, 0)..=(session, u64::MAX))
                    .next()
                    .is_none();
                self.expect(
                    running,
                    leaf,
                    "a session ends with units whose end is not told",
                );
            }
            ("unit.intent", Some(unit), approval) => {
                let first = self.running.insert(unit) && self.ran.insert(unit);
                self.expect(first, leaf, "the unit runs twice");
                if let Some(approval) = approval {
                    let approved = self.consumed.remove(approval);
                    let same = approved == Some(leaf.text("rq")) || (approved.is_none() && later);
                    self.expect(same, leaf, "what runs is not what was approved");
                }
            }
            ("unit.result" | "unit.unknown", Some(unit), _) => {
                let known = self.running.remove(&unit);
                self.units_before += u64::from(!known);
                let ends = known || (later && !self.ran.contains(&unit));
                self.expect(ends, leaf, "a unit that does not run ends");
                if let Some(masked) = self.masks.remove(&unit) {
                    self.masked += masked;
                    self.masked_otherwise += u64::from(
                        leaf.count("values_masked")
                            .is_some_and(|count| count != masked),
                    );
                }
            }
            ("mask", Some(unit), _) => {
                *self.masks.entry(unit).or_default() += leaf.count("masked").unwrap_or(0);
            }
            ("approval.request", _, Some(approval)) => {
                let first = self.pending.insert(approval, leaf.text("rq")).is_none();
                self.expect(first, leaf, "the approval is requested twice");
            }
            ("approval.decision" | "approval.expired" | "approval.revoked", _, Some(approval)) => {
                let request = self.pending.remove(approval);
                self.expect(
                    request.is_some() || later,
                    leaf,
                    "nobody asked for the approval",
                );
                if leaf.text("out") == Some("approved") {
                    self.approvals += 1;
                    if let Some(request) = request {
                        self.approved.insert(approval, request);
                    }
                } else if kind == "approval.decision" {
                    self.rejected += 1;
                }
            }
            ("approval.consumed", _, Some(approval)) => match self.approved.remove(approval) {
                Some(request) => {
                    self.consumed.insert(approval, request);
                }
                None => self.expect(later, leaf, "an approval is used that was not given"),
            },
            _ => {}
        }
    }

    fn sequence(&mut self, session: &'a str, leaf: &Leaf, later: bool) {
        let Some(sequence) = leaf.int("sq") else {
            return;
        };
        let follows = match self.sequences.insert(session, sequence) {
            Some(last) => sequence == last.saturating_add(1),
            None => later || sequence == 1,
        };
        self.gaps += u64::from(!follows);
        self.expect(follows, leaf, "leaves of the session are missing before it");
    }

    fn expect(&mut self, holds: bool, leaf: &Leaf, what: &str) {
        if !holds {
            self.broken.push((leaf.index, what.to_owned()));
        }
    }
}
