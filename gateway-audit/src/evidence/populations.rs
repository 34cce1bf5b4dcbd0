//! The completeness sheet: where each listing comes from, and what must add up.

use std::collections::{BTreeMap, BTreeSet};

use super::cells::{Cell, rfc3339};
use super::leaf::{Leaf, Range};
use super::tables::{TABLES, Table};

const COLUMNS: &[&str] = &[
    "population",
    "definition",
    "source_kinds",
    "origins",
    "from_index",
    "to_index",
    "leaves_in_range",
    "leaves_selected",
    "rows_exported",
    "file",
    "file_sha256",
    "identity_checked",
    "result",
];

/// One row per listing, then one per identity. `files` are the authoritative listings: name and SHA-256.
pub(crate) fn populations(
    range: &Range,
    tables: &[Table],
    files: &BTreeMap<String, String>,
) -> Table {
    let to_index = range.from_index + range.leaves.len() as u64;
    let sessions = range.sessions();
    let row = |name: &str,
               definition: &str,
               kinds: &[&str],
               listed: Option<(u64, &str)>,
               identity: (String, bool)| {
        let of_kind = range
            .leaves
            .iter()
            .filter(|leaf| kinds.is_empty() || kinds.contains(&leaf.kind()));
        let in_scope = |leaf: &Leaf| {
            leaf.session()
                .is_none_or(|session| sessions.contains_key(session))
        };
        let selected = of_kind
            .clone()
            .filter(|leaf| range.lists(leaf) && in_scope(leaf))
            .count();
        let file = listed.map(|(_, file)| file);
        vec![
            Cell::Text(name.to_owned()),
            Cell::Text(definition.to_owned()),
            Cell::Text(kinds.join(" ")),
            Cell::Text(range.origin.clone()),
            Cell::Int(range.from_index),
            Cell::Int(to_index),
            Cell::Int(of_kind.count() as u64),
            Cell::Int(selected as u64),
            listed.map_or(Cell::Empty, |(rows, _)| Cell::Int(rows)),
            file.map_or(Cell::Empty, |file| Cell::Text(file.to_owned())),
            file.and_then(|file| files.get(file))
                .map_or(Cell::Empty, |hash| Cell::Text(hash.clone())),
            Cell::Text(identity.0),
            Cell::Text(if identity.1 { "holds" } else { "fails" }.to_owned()),
        ]
    };
    let mut rows: Vec<_> = TABLES
        .iter()
        .zip(tables)
        .map(|(listing, table)| {
            let count = table.rows.len() as u64;
            let mut cited: BTreeMap<u64, u64> = BTreeMap::new();
            for cell in table.rows.iter().filter_map(|row| row.iter().rev().nth(1)) {
                *cited.entry(key(cell)).or_default() += 1;
            }
            let expected: BTreeMap<u64, u64> = range
                .leaves
                .iter()
                .filter(|leaf| {
                    listing.kinds.contains(&leaf.kind())
                        && range.lists(leaf)
                        && leaf.session().is_some_and(|id| sessions.contains_key(id))
                })
                .map(|leaf| (leaf.index, (listing.count)(leaf)))
                .filter(|(_, count)| *count > 0)
                .collect();
            let identity = (
                format!(
                    "{count} rows cite {} leaves, each as often as its header says",
                    cited.len()
                ),
                cited == expected,
            );
            let file = format!("{}.jsonl", table.name);
            row(
                table.name,
                listing.definition,
                listing.kinds,
                Some((count, &file)),
                identity,
            )
        })
        .collect();
    rows.extend(
        identities(range)
            .into_iter()
            .map(|(name, kinds, identity)| {
                row(
                    name,
                    "must add up over the whole range",
                    kinds,
                    None,
                    identity,
                )
            }),
    );
    Table {
        name: "populations",
        columns: COLUMNS,
        rows,
    }
}

fn key(cell: &Cell) -> u64 {
    match cell {
        Cell::Int(value) => *value,
        Cell::Empty | Cell::Text(_) | Cell::Flag(_) => u64::MAX,
    }
}

type Identity = (&'static str, &'static [&'static str], (String, bool));

/// What must hold over the headers of the whole range, whatever its scope.
fn identities(range: &Range) -> Vec<Identity> {
    let tally = Tally::of(range);
    let kinds: u64 = tally.kinds.values().sum();
    let len = range.leaves.len() as u64;
    vec![
        (
            "leaves",
            &[],
            (
                format!(
                    "{kinds} leaves of {} kinds = {len} positions",
                    tally.kinds.len()
                ),
                kinds == len,
            ),
        ),
        (
            "period",
            &[],
            (
                format!(
                    "asked from {} until {}; the leaves reach from {} until {}",
                    rfc3339(range.from_us),
                    rfc3339(range.to_us),
                    rfc3339(range.leaves.first().map_or(0, Leaf::at_us)),
                    rfc3339(range.reached_us())
                ),
                range.from_index == 0
                    || range
                        .leaves
                        .first()
                        .is_some_and(|leaf| leaf.at_us() < range.from_us),
            ),
        ),
        (
            "session balance",
            &["session.open", "session.close", "session.interrupted"],
            tally.sessions(range),
        ),
        (
            "statement balance",
            &["unit.intent", "unit.result", "unit.unknown"],
            tally.units(range),
        ),
        (
            "approval balance",
            &["approval.request", "approval.decision", "approval.consumed"],
            tally.approvals(range),
        ),
        ("blocked means nothing sent", &["block"], {
            let sent: u64 = range
                .leaves
                .iter()
                .filter_map(|leaf| leaf.count("bytes_sent_upstream"))
                .sum();
            (
                format!("{sent} bytes of blocked statements went upstream"),
                sent == 0,
            )
        }),
        ("session sequences", &[], sequences(range)),
        ("masked values", &["mask", "unit.result"], masked(range)),
    ]
}

struct Tally<'a> {
    kinds: BTreeMap<&'a str, u64>,
}

impl<'a> Tally<'a> {
    fn of(range: &'a Range) -> Self {
        let mut kinds = BTreeMap::new();
        for leaf in &range.leaves {
            *kinds.entry(leaf.kind()).or_default() += 1;
        }
        Self { kinds }
    }

    fn count(&self, kind: &str) -> u64 {
        self.kinds.get(kind).copied().unwrap_or(0)
    }

    fn sessions(&self, range: &Range) -> (String, bool) {
        let (mut open, mut before) = (BTreeSet::new(), 0);
        let mut twice = false;
        for leaf in &range.leaves {
            match leaf.kind() {
                "session.open" => twice |= !open.insert(leaf.session()),
                "session.close" if leaf.count("opened") == Some(0) => {}
                "session.close" | "session.interrupted" if !open.remove(&leaf.session()) => {
                    before += 1
                }
                _ => {}
            }
        }
        let (opened, interrupted) = (
            self.count("session.open"),
            self.count("session.interrupted"),
        );
        (
            format!(
                "{opened} opened + {before} from before = {} closed + {interrupted} interrupted + {} open",
                (opened + before).saturating_sub(interrupted + open.len() as u64),
                open.len()
            ),
            !twice && (before == 0 || range.from_index > 0),
        )
    }

    fn units(&self, range: &Range) -> (String, bool) {
        let (mut open, mut before, mut twice) = (BTreeSet::new(), 0, false);
        for leaf in &range.leaves {
            let unit = (leaf.session(), leaf.unit());
            match leaf.kind() {
                "unit.intent" => twice |= !open.insert(unit),
                "unit.result" | "unit.unknown" if !open.remove(&unit) => before += 1,
                _ => {}
            }
        }
        (
            format!(
                "{} intents + {before} from before = {} results + {} unknown + {} open",
                self.count("unit.intent"),
                self.count("unit.result"),
                self.count("unit.unknown"),
                open.len()
            ),
            !twice && (before == 0 || range.from_index > 0),
        )
    }

    fn approvals(&self, range: &Range) -> (String, bool) {
        let mut pending = BTreeSet::new();
        let (mut approved, mut approved_open, mut bad) = (0, BTreeSet::new(), false);
        for leaf in &range.leaves {
            let id = leaf.text("apr");
            match leaf.kind() {
                "approval.request" => {
                    pending.insert(id);
                }
                "approval.decision" | "approval.expired" | "approval.revoked" => {
                    bad |= !pending.remove(&id) && range.from_index == 0;
                    if leaf.text("out") == Some("approved") {
                        approved += 1;
                        approved_open.insert(id);
                    }
                }
                "approval.consumed" => bad |= !approved_open.remove(&id) && range.from_index == 0,
                _ => {}
            }
        }
        let consumed = self.count("approval.consumed");
        (
            format!(
                "{} requested = {approved} approved + {} rejected + {} expired + {} withdrawn + {} pending; {consumed} consumed",
                self.count("approval.request"),
                self.count("approval.decision").saturating_sub(approved),
                self.count("approval.expired"),
                self.count("approval.revoked"),
                pending.len()
            ),
            !bad,
        )
    }
}

/// Within each session `sq` counts up by one.
fn sequences(range: &Range) -> (String, bool) {
    let mut last: BTreeMap<&str, u64> = BTreeMap::new();
    let mut gaps = 0u64;
    for leaf in &range.leaves {
        let (Some(session), Some(sequence)) = (leaf.session(), leaf.int("sq")) else {
            continue;
        };
        let expected = match last.get(session) {
            Some(last) => Some(last + 1),
            // A session from before the range continues where it was.
            None if range.from_index > 0 => None,
            None => Some(1),
        };
        gaps += u64::from(expected.is_some_and(|expected| expected != sequence));
        last.insert(session, sequence);
    }
    (
        format!(
            "{} sessions have {gaps} gaps in their sequences",
            last.len()
        ),
        gaps == 0,
    )
}

/// What mask leaves count is what results count, for units whose result is in the range.
fn masked(range: &Range) -> (String, bool) {
    let mut masks: BTreeMap<(Option<&str>, Option<u64>), u64> = BTreeMap::new();
    let mut differ = 0u64;
    let mut total = 0u64;
    for leaf in &range.leaves {
        let unit = (leaf.session(), leaf.unit());
        match leaf.kind() {
            "mask" => *masks.entry(unit).or_default() += leaf.count("masked").unwrap_or(0),
            "unit.result" | "unit.unknown" => {
                if let Some(masked) = masks.remove(&unit) {
                    total += masked;
                    differ += u64::from(
                        leaf.count("values_masked")
                            .is_some_and(|result| result != masked),
                    );
                }
            }
            _ => {}
        }
    }
    (
        format!("{total} values masked; {differ} results count otherwise"),
        differ == 0,
    )
}
