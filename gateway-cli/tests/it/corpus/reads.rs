//! The bypass corpus, first half: every way to read a classified value.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{
    arena::{Arena, OWNER, Side, Target},
    forms::Forms,
    known::is_known,
    rows::{self, Row},
    talk::{Form, SILENCE, comparable, is_idle, is_over, is_refused, is_script, say},
    text,
};
use crate::support::{
    Agent,
    wire::{Reply, Wire, told},
};

/// Sessions that try rows at the same time.
const WORKERS: usize = 4;
/// Every so many rows are also said a byte at a time.
const CHOPPED_EVERY: usize = 10;
/// Every so many rows are also tried with a role that doesn't own the shop.
const GRANTED_EVERY: usize = 3;

/// What became of all rows.
#[derive(Default)]
struct Tally {
    /// By threat row: rows, and attempts through the gateway.
    rows: BTreeMap<String, (usize, usize)>,
    refused: usize,
    answered: usize,
    closed: usize,
    /// Rows that tell nothing on a direct connection.
    silent: Vec<String>,
    /// Rows that got through, by threat row and text.
    leaks: BTreeMap<(String, String), Vec<String>>,
}

#[test]
fn no_way_to_read_a_classified_value_leads_through_the_gateway() {
    let started = std::time::Instant::now();
    let arena = Arena::start();
    let forms = Side::BOTH.map(|side| Forms::of(&arena, side));
    let mut rows = rows::parse(&text("reads.txt"));
    if let Ok(only) = std::env::var("CORPUS_ONLY") {
        rows.retain(|row| row.threat == only || row.text.contains(&only));
    }
    let direct_only = std::env::var_os("CORPUS_DIRECT_ONLY").is_some();
    let tally = Mutex::new(Tally::default());
    let try_all = |rows: &[Row]| {
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..WORKERS {
                scope.spawn(|| {
                    let mut worker = Worker::new(&arena, &forms);
                    while let Some(row) = rows.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let silent = worker.direct(row);
                        let attempts = if direct_only {
                            Vec::new()
                        } else {
                            worker.through(row)
                        };
                        tally.lock().unwrap().add(row, silent, attempts);
                    }
                });
            }
        });
    };
    // What is known to get through is on record too: those rows come last.
    let (known, rows): (Vec<Row>, Vec<Row>) = rows
        .into_iter()
        .partition(|row| is_known(&row.threat, &row.text));
    try_all(&rows);
    let recorded = recorded(&arena, &forms);
    try_all(&known);
    let tally = tally.into_inner().unwrap();
    let mut leaks = tally.report(rows.len() + known.len());
    leaks.extend(recorded);
    println!("reads took {:?}", started.elapsed());
    let silent = &tally.silent;
    assert!(
        silent.is_empty() && leaks.is_empty(),
        "{} told nothing directly:\n{}\n{} got through:\n{}",
        silent.len(),
        silent.join("\n"),
        leaks.len(),
        leaks.join("\n"),
    );
}

/// Pieces of classified values in the evidence and in the gateway's log, but for what rows say.
fn recorded(arena: &Arena, forms: &[Forms; 2]) -> Vec<String> {
    let said = text("reads.txt");
    let found = arena.files().into_iter().filter_map(|(path, bytes)| {
        let found = forms
            .iter()
            .find_map(|forms| forms.find_lettered(&bytes, &said))?;
        let mut pieces = bytes.windows(found.len());
        let at = pieces
            .position(|piece| piece == found.as_bytes())
            .unwrap_or(0);
        let around = &bytes[at.saturating_sub(300)..(at + 60).min(bytes.len())];
        Some(format!(
            "R09 {found} stands in {}: {}",
            path.display(),
            around.escape_ascii()
        ))
    });
    found.collect()
}

impl Tally {
    fn add(&mut self, row: &Row, silent: Option<String>, attempts: Vec<Attempt>) {
        let counts = self.rows.entry(row.threat.clone()).or_default();
        counts.0 += 1;
        counts.1 += attempts.len();
        self.silent.extend(silent);
        for attempt in attempts {
            match attempt.outcome {
                Outcome::Refused => self.refused += 1,
                Outcome::Answered => self.answered += 1,
                Outcome::Closed => self.closed += 1,
            }
            if let Some(leak) = attempt.leak {
                let key = (row.threat.clone(), row.text.clone());
                self.leaks.entry(key).or_default().push(leak);
            }
        }
    }

    /// Prints what was tried; gives what got through and isn't known to.
    fn report(&self, rows: usize) -> Vec<String> {
        let attempts: usize = self.rows.values().map(|(_, attempts)| attempts).sum();
        for (threat, (rows, attempts)) in &self.rows {
            println!("{threat}: {rows} rows, {attempts} attempts");
        }
        println!(
            "{rows} rows, {attempts} attempts through the gateway: {} refused, {} answered, {} closed, {} got through",
            self.refused,
            self.answered,
            self.closed,
            self.leaks.len(),
        );
        let mut new = Vec::new();
        for ((threat, text), how) in &self.leaks {
            let line = format!("{threat} | {text}\n    {}", how.join("\n    "));
            if is_known(threat, text) {
                println!("known: {line}");
            } else {
                new.push(line);
            }
        }
        new
    }
}

enum Outcome {
    Refused,
    Answered,
    Closed,
}

struct Attempt {
    outcome: Outcome,
    leak: Option<String>,
}

/// Tries one row after the other, with sessions of its own.
struct Worker<'a> {
    arena: &'a Arena,
    forms: &'a [Forms; 2],
    direct: [Option<Wire>; 2],
    through: BTreeMap<&'static str, Wire>,
    attempts: usize,
}

impl<'a> Worker<'a> {
    fn new(arena: &'a Arena, forms: &'a [Forms; 2]) -> Self {
        Self {
            arena,
            forms,
            direct: [None, None],
            through: BTreeMap::new(),
            attempts: 0,
        }
    }

    /// Shows that the row tells something without a gateway; gives a complaint if not.
    fn direct(&mut self, row: &Row) -> Option<String> {
        if row.is("errors-direct") {
            return None;
        }
        let script = is_script(&row.steps(0));
        let forms: &[Form] = if script {
            &[Form::Script]
        } else {
            &[Form::Simple, Form::Extended, Form::Binary]
        };
        let mut heard = Vec::new();
        for form in forms {
            self.attempts += 1;
            let steps = row.steps(self.attempts);
            let steps = wrapped(row, steps);
            let [a, b] = Side::BOTH.map(|side| self.ask_directly(row, side, *form, &steps));
            let told_by_value =
                self.forms[0].heard(&a).is_some() && self.forms[1].heard(&b).is_some();
            if told_by_value || comparable(&a) != comparable(&b) {
                return None;
            }
            heard.push(format!("{form:?}: {}", words(&a)));
        }
        Some(format!(
            "{} | {}\n    {}",
            row.threat,
            row.text,
            heard.join("\n    ")
        ))
    }

    fn ask_directly(&mut self, row: &Row, side: Side, form: Form, steps: &[String]) -> Vec<Reply> {
        let slot = usize::from(side == Side::B);
        let own = row.is("superuser") || row.is("granted") || row.is("session");
        let mut wire = match self.direct[slot].take() {
            Some(wire) if !own => wire,
            kept => {
                self.direct[slot] = kept;
                let role = match () {
                    () if row.is("superuser") => "postgres",
                    () if row.is("granted") => "gateway",
                    () => OWNER,
                };
                let mut wire = self.arena.direct(&side.direct(), role);
                wire.patience(SILENCE);
                wire
            }
        };
        let steps: Vec<String> = steps
            .iter()
            .map(|step| self.arena.resolve(step, &side.direct()))
            .collect();
        let replies = say(&mut wire, form, &steps);
        if !own && !is_over(&replies) {
            wire.query("rollback");
            let cleaned = wire.query("discard all");
            if is_idle(&cleaned) && !is_over(&cleaned) {
                self.direct[slot] = Some(wire);
            }
        }
        replies
    }

    /// Tries the row through the gateway, in every form.
    fn through(&mut self, row: &Row) -> Vec<Attempt> {
        let steps = row.steps(0);
        if is_script(&steps) {
            return vec![
                self.attempt(row, Target::Owner, Form::Script),
                self.attempt(row, Target::Granted, Form::Script),
            ];
        }
        let mut forms = vec![Form::Simple, Form::Extended, Form::Binary];
        forms.push(if row.number.is_multiple_of(2) {
            Form::Behind
        } else {
            Form::Pipelined
        });
        if row.number.is_multiple_of(CHOPPED_EVERY) {
            forms.push(Form::Chopped);
        }
        let mut attempts: Vec<Attempt> = forms
            .into_iter()
            .map(|form| self.attempt(row, Target::Owner, form))
            .collect();
        if row.number.is_multiple_of(GRANTED_EVERY) {
            attempts.push(self.attempt(row, Target::Granted, Form::Simple));
        }
        attempts
    }

    /// Both sides must tell the same, and neither a value.
    fn attempt(&mut self, row: &Row, target: Target, form: Form) -> Attempt {
        self.attempts += 1;
        let steps = wrapped(row, row.steps(self.attempts));
        let [a, b] = Side::BOTH.map(|side| self.ask(row, target, side, form, &steps));
        let value = self.forms[0].heard(&a).or_else(|| self.forms[1].heard(&b));
        let differs = || {
            let (a, b) = (comparable(&a), comparable(&b));
            let at = a.lines().zip(b.lines()).find(|(a, b)| a != b);
            (a != b).then(|| at.map_or_else(|| format!("{a} / {b}"), |(a, b)| format!("{a} / {b}")))
        };
        let leak = value
            .map(|value| format!("{form:?} {}: tells `{value}`: {}", target.name(), words(&a)))
            .or_else(|| differs().map(|at| format!("{form:?} {}: differs: {at}", target.name())));
        let outcome = match () {
            () if is_over(&a) || is_over(&b) => Outcome::Closed,
            () if is_refused(&a) && is_refused(&b) => Outcome::Refused,
            () => Outcome::Answered,
        };
        if std::env::var_os("CORPUS_SHOW").is_some() {
            println!(
                "{form:?} {} {} | {}\n    {}",
                target.name(),
                row.threat,
                row.text,
                words(&a)
            );
        }
        Attempt { outcome, leak }
    }

    fn ask(
        &mut self,
        row: &Row,
        target: Target,
        side: Side,
        form: Form,
        steps: &[String],
    ) -> Vec<Reply> {
        let key = match (target, side) {
            (Target::Owner, Side::A) => "owner a",
            (Target::Owner, Side::B) => "owner b",
            (_, Side::A) => "granted a",
            (_, Side::B) => "granted b",
        };
        let mut wire = self.through.remove(key).unwrap_or_else(|| {
            let mut wire = self.arena.through(Agent::Writer, target, side);
            wire.patience(SILENCE);
            wire
        });
        let steps: Vec<String> = steps
            .iter()
            .map(|step| self.arena.resolve(step, &side.direct()))
            .collect();
        let replies = say(&mut wire, form, &steps);
        if is_over(&replies) || row.is("session") {
            return replies;
        }
        if is_idle(&replies) || is_idle(&wire.query("rollback")) {
            self.through.insert(key, wire);
        }
        replies
    }
}

/// A row that changes something is undone.
fn wrapped(row: &Row, steps: Vec<String>) -> Vec<String> {
    if !row.is("tx") {
        return steps;
    }
    let begin = std::iter::once("begin".to_owned());
    let rollback = std::iter::once("rollback".to_owned());
    begin.chain(steps).chain(rollback).collect()
}

/// A conversation, cut to what a line holds.
fn words(replies: &[Reply]) -> String {
    let mut words = told(replies);
    for reply in replies
        .iter()
        .filter(|reply| matches!(reply.tag, 'E' | 'N'))
    {
        words.push_str(&format!(
            " {}: {} {}",
            reply.field(b'C'),
            reply.field(b'M'),
            reply.field(b'D')
        ));
    }
    words.chars().take(400).collect()
}
