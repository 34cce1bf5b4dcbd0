//! The bypass corpus, second half: every way to have an effect that policy denies.

use std::collections::BTreeMap;

use super::{
    arena::{Arena, OWNER, Side, Target},
    known::is_known,
    rows::{self, Row},
    talk::{Form, SILENCE, is_idle, is_over, is_script, say},
    text,
};
use crate::support::{
    Agent,
    wire::{Wire, told},
};

#[test]
fn no_denied_effect_takes_place_through_the_gateway() {
    let started = std::time::Instant::now();
    let arena = Arena::start();
    let mut rows = rows::parse(&text("effects.txt"));
    if let Ok(only) = std::env::var("CORPUS_ONLY") {
        rows.retain(|row| row.threat == only || row.text.contains(&only));
    }
    // One after the other: some rows touch what all databases share.
    let mut direct = Direct::new(&arena);
    let silent: Vec<String> = rows
        .iter()
        .filter_map(|row| direct.complaint(row))
        .collect();
    let mut gateway = Through::new(&arena);
    let mut attempts = BTreeMap::<String, usize>::new();
    let mut through = Vec::new();
    for row in &rows {
        let (tried, found) = gateway.tries(row);
        *attempts.entry(row.threat.clone()).or_default() += tried;
        through.extend(found);
    }
    for (threat, attempts) in &attempts {
        let rows = rows.iter().filter(|row| row.threat == *threat).count();
        println!("{threat}: {rows} rows, {attempts} attempts");
    }
    let (known, new): (Vec<_>, Vec<_>) = through
        .into_iter()
        .partition(|(row, _): &(Row, String)| is_known(&row.threat, &row.text));
    for (_, how) in &known {
        println!("known: {how}");
    }
    println!(
        "{} rows, {} attempts, {} known and {} new effects; took {:?}",
        rows.len(),
        attempts.values().sum::<usize>(),
        known.len(),
        new.len(),
        started.elapsed()
    );
    let new: Vec<String> = new.into_iter().map(|(_, how)| how).collect();
    assert!(
        silent.is_empty() && new.is_empty(),
        "{} without effect directly:\n{}\n{} took effect:\n{}",
        silent.len(),
        silent.join("\n"),
        new.len(),
        new.join("\n"),
    );
}

/// What there is, as one text.
fn state(wire: &mut Wire) -> Option<Vec<u8>> {
    let replies = wire.query(&text("digest.sql"));
    let row = replies.iter().find(|reply| reply.tag == 'D');
    row.map(|row| row.body.clone())
}

/// Shows effects without a gateway.
struct Direct<'a> {
    arena: &'a Arena,
    wire: Option<Wire>,
}

impl<'a> Direct<'a> {
    const fn new(arena: &'a Arena) -> Self {
        Self { arena, wire: None }
    }

    fn complaint(&mut self, row: &Row) -> Option<String> {
        if row.is("errors-direct") {
            return None;
        }
        let steps = row.steps(0);
        let (changed, words) = if row.is("fresh") || is_script(&steps) {
            self.afresh(row, &steps)
        } else {
            self.undone(row, &steps)
        };
        (!changed).then(|| format!("{} | {}\n    {words}", row.threat, row.text))
    }

    /// In a transaction that is rolled back.
    fn undone(&mut self, row: &Row, steps: &[String]) -> (bool, String) {
        let mut wire = self.wire.take().unwrap_or_else(|| {
            let mut wire = self.arena.superuser(&Side::A.direct());
            wire.patience(SILENCE);
            wire
        });
        wire.query("begin");
        let before = state(&mut wire);
        if !row.is("superuser") {
            wire.query(&format!("set local session authorization {OWNER}"));
        }
        let replies = say(&mut wire, Form::Simple, steps);
        wire.query("set local session authorization default");
        let after = state(&mut wire);
        let words = told(&replies);
        // What is gone can't be told; after an error nothing can.
        let failed = words.ends_with("Z(E)");
        if !is_over(&replies) && is_idle(&wire.query("rollback")) {
            self.wire = Some(wire);
        }
        (!failed && before.is_some() && before != after, words)
    }

    /// In a database of its own.
    fn afresh(&self, row: &Row, steps: &[String]) -> (bool, String) {
        let database = self.arena.scratch();
        let mut superuser = self.arena.superuser(database);
        let before = state(&mut superuser);
        let role = if row.is("superuser") {
            "postgres"
        } else {
            OWNER
        };
        let mut wire = self.arena.direct(database, role);
        wire.patience(SILENCE);
        let steps: Vec<String> = steps
            .iter()
            .map(|step| self.arena.resolve(step, database))
            .collect();
        let replies = say(&mut wire, form(&steps), &steps);
        drop(wire);
        let after = state(&mut superuser);
        (before.is_some() && before != after, told(&replies))
    }
}

fn form(steps: &[String]) -> Form {
    if is_script(steps) {
        Form::Script
    } else {
        Form::Simple
    }
}

/// Tries for effects as an agent that may only read.
struct Through<'a> {
    arena: &'a Arena,
    superuser: Wire,
    state: Option<Vec<u8>>,
    sessions: BTreeMap<&'static str, Wire>,
    tried: usize,
}

impl<'a> Through<'a> {
    fn new(arena: &'a Arena) -> Self {
        let mut superuser = arena.superuser(&Side::A.database());
        let state = state(&mut superuser);
        assert!(state.is_some(), "the state can be told");
        Self {
            arena,
            superuser,
            state,
            sessions: BTreeMap::new(),
            tried: 0,
        }
    }

    fn tries(&mut self, row: &Row) -> (usize, Vec<(Row, String)>) {
        let steps = row.steps(0);
        let forms = if is_script(&steps) {
            vec![Form::Script]
        } else {
            let other = [Form::Behind, Form::Binary, Form::Pipelined, Form::Chopped];
            vec![
                Form::Simple,
                Form::Extended,
                other[row.number % other.len()],
            ]
        };
        let mut tried = 0;
        let mut words = Vec::new();
        for target in [Target::Owner, Target::Plain] {
            for form in &forms {
                tried += 1;
                self.tried += 1;
                let heard = self.ask(row, target, *form);
                words.push(format!("{form:?} {}: {heard}", target.name()));
            }
        }
        let now = state(&mut self.superuser);
        if now == self.state {
            return (tried, Vec::new());
        }
        // Gone is gone: the next row needs it again.
        self.sessions.clear();
        self.arena.renew(Side::A);
        self.superuser = self.arena.superuser(&Side::A.database());
        self.state = state(&mut self.superuser);
        let how = format!(
            "{} | {}\n    {}",
            row.threat,
            row.text,
            words.join("\n    ")
        );
        (tried, vec![(row.clone(), how)])
    }

    fn ask(&mut self, row: &Row, target: Target, form: Form) -> String {
        let mut wire = self.sessions.remove(target.name()).unwrap_or_else(|| {
            let mut wire = self.arena.through(Agent::Reader, target, Side::A);
            wire.patience(SILENCE);
            wire
        });
        let steps = row.steps(self.tried);
        let steps: Vec<String> = steps
            .iter()
            .map(|step| self.arena.resolve(step, &Side::A.database()))
            .collect();
        let replies = say(&mut wire, form, &steps);
        let words = told(&replies);
        if !is_over(&replies)
            && !row.is("session")
            && (is_idle(&replies) || is_idle(&wire.query("rollback")))
        {
            self.sessions.insert(target.name(), wire);
        }
        words
    }
}
