//! Golden conversations as text, for every protocol with a [`Notation`].
//!
//! ```text
//! # what it shows            a comment
//! world classified           the world, before anything else; also: token, direct, observe, mute,
//!                            used-up, closed
//! C> Query "select id from t" | Sync      the agent sends, all at once
//! ! vote approved            something else happens
//! ```
//! Every other line is what came of it: `T>` what the target received, `T<` what it sent, `C<` what
//! the agent received, `R` what was recorded, `--` connections. [`replay`] runs the inputs and
//! writes the whole text anew; a golden file is one that this doesn't change.
//!
//! Words stand between spaces, or between double or single quotes.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use gateway_core::{
    operation::Operation,
    record::{ApprovalOutcome, Chunk, CloseReason, Entry, Evidence},
    target::Mode,
    wire::Side,
};

use super::{
    run::{Run, Subject},
    schedule::Schedule,
    script::Step,
    trace::{Seen, Trace},
    world::{Proof, World},
};

/// How a protocol's messages are written.
pub trait Notation: Subject {
    /// What is remembered of the streams from line to line.
    type Streams: Default;

    /// The bytes of an agent's message; `None` for words that are none.
    fn message(&self, words: &[&str]) -> Option<Bytes>;

    /// Takes note of an input line before it is run.
    fn note(_streams: &mut Self::Streams, _line: &str) {}

    /// The messages of a stream's next bytes. Bytes in the middle of one wait for the rest.
    fn show(streams: &mut Self::Streams, lane: Lane, bytes: &[u8]) -> Vec<String>;

    /// The line of a chunk on record; `None` where it only repeats what was sent.
    fn chunk(_chunk: &Chunk) -> Option<String> {
        None
    }
}

/// One of the streams that a page shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// What the agent received.
    ToAgent,
    /// What the target received.
    ToTarget,
    /// What the target sent.
    FromTarget,
    /// What the target received on a connection of its own.
    Aside,
}

/// A transcript can't be read.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct Unreadable {
    /// Counts from 1.
    pub line: usize,
    /// Why.
    pub why: String,
}

/// Runs the inputs of a transcript and writes it as it came out.
///
/// # Errors
/// The line that can't be read, or a conversation that doesn't come to rest.
pub fn replay<S: Notation>(
    text: &str,
    subject: impl FnOnce(&World) -> S,
) -> Result<String, Unreadable> {
    let mut world = World::by_text();
    let mut out = String::new();
    let mut lines = (1..).zip(text.lines()).peekable();
    while let Some((number, line)) = lines.next_if(|(_, line)| is_preamble(line)) {
        if let Some(words) = line.strip_prefix("world ") {
            for word in words.split_whitespace() {
                world = change(world, word).ok_or_else(|| unreadable(number, "no such world"))?;
            }
        }
        push(&mut out, line);
    }
    let subject = subject(&world);
    let mut page = Page::<S> {
        out,
        seen: 0,
        streams: S::Streams::default(),
    };
    let mut run = Run::new(&subject, world, Schedule::prompt());
    for (number, line) in lines {
        let steps = if let Some(messages) = line.strip_prefix("C> ") {
            messages_of(&subject, messages).map(|bytes| vec![Step::Agent(bytes), Step::Settle])
        } else if let Some(what) = line.strip_prefix("! ") {
            step_of(&subject, what)
        } else if line.starts_with('#') || line.is_empty() {
            push(&mut page.out, line);
            continue;
        } else {
            continue;
        };
        let steps = steps.map_err(|why| unreadable(number, why))?;
        push(&mut page.out, line);
        S::note(&mut page.streams, line);
        for step in steps {
            run.step(&step).map_err(|why| unreadable(number, why))?;
        }
        page.turn(run.trace());
    }
    Ok(page.out)
}

fn is_preamble(line: &str) -> bool {
    line.starts_with('#') || line.is_empty() || line.starts_with("world ")
}

fn unreadable(line: usize, why: impl Into<String>) -> Unreadable {
    Unreadable {
        line,
        why: why.into(),
    }
}

fn push(out: &mut String, line: &str) {
    out.push_str(line);
    out.push('\n');
}

fn change(world: World, word: &str) -> Option<World> {
    Some(match word {
        "classified" => world.classified(),
        "token" => World {
            proof: Proof::Token,
            ..world
        },
        "direct" => World {
            has_direct_tls: true,
            ..world
        },
        "observe" => World {
            mode: Mode::Observe,
            ..world
        },
        "mute" => World {
            is_mute: true,
            ..world
        },
        "used-up" => World {
            is_used_up: true,
            ..world
        },
        "closed" => {
            let mut world = world;
            world.rules.refuses_sessions = true;
            world
        }
        _ => return None,
    })
}

/// What came out, as it is written down.
struct Page<S: Notation> {
    out: String,
    seen: usize,
    streams: S::Streams,
}

impl<S: Notation> Page<S> {
    fn turn(&mut self, trace: &Trace) {
        for seen in trace.seen.iter().skip(self.seen) {
            let (lane, shown) = self.show(seen, trace);
            if !shown.is_empty() {
                push(&mut self.out, &format!("{lane} {}", shown.join(" | ")));
            }
        }
        self.seen = trace.seen.len();
    }

    fn show(&mut self, seen: &Seen, trace: &Trace) -> (&'static str, Vec<String>) {
        let mut shown = |lane, bytes: &[u8]| S::show(&mut self.streams, lane, bytes);
        match seen {
            Seen::Out(Side::Agent, bytes) => ("C<", shown(Lane::ToAgent, bytes)),
            Seen::Out(Side::Target, bytes) => ("T>", shown(Lane::ToTarget, bytes)),
            Seen::FromTarget(bytes) => ("T<", shown(Lane::FromTarget, bytes)),
            Seen::Aside(bytes) => ("-- aside:", shown(Lane::Aside, bytes)),
            Seen::Evidence(index) => {
                let line = match trace.evidence.get(*index) {
                    Some(Evidence::Record(record)) => Some(recorded(&record.entry)),
                    Some(Evidence::Chunk(chunk)) => S::chunk(chunk),
                    None => None,
                };
                ("R ", line.into_iter().collect())
            }
            Seen::Told(what) => ("--", vec![format!("told {what}")]),
            Seen::Tls(side) => ("--", vec![format!("TLS with the {side:?}")]),
            Seen::Connected => ("--", vec!["connect to the target".into()]),
            Seen::Withdrawn => ("--", vec!["approval withdrawn".into()]),
            Seen::Closed(reason) => ("--", vec![format!("closed: {reason:?}")]),
        }
    }
}

/// One line of a record.
fn recorded(entry: &Entry) -> String {
    match entry {
        Entry::AuthAccepted { .. } => "authenticated".into(),
        Entry::AuthRejected { reason, .. } => format!("login rejected: {reason}"),
        Entry::SessionOpened(opened) => format!("session opened: {}", opened.database),
        Entry::SessionRefused { denial, .. } => format!("session refused: {denial}"),
        Entry::Intent(intent) => {
            let observed = intent
                .not_enforced
                .as_ref()
                .map(|d| format!(" not enforced: {d}"));
            format!(
                "{} allow {}{}",
                intent.unit.0,
                told(&intent.operation),
                observed.unwrap_or_default()
            )
        }
        Entry::Blocked(blocked) => format!(
            "{} block{} {}: {}",
            blocked.unit.0,
            blocked
                .operation
                .as_ref()
                .map(|o| format!(" {}", told(o)))
                .unwrap_or_default(),
            blocked.denial.reason.as_str(),
            blocked.denial
        ),
        Entry::ApprovalRequested(request) => {
            format!("{} hold {}", request.unit.0, told(&request.operation))
        }
        Entry::ApprovalDecided { unit, outcome, .. } => format!("{} {outcome:?}", unit.0),
        Entry::ApprovalConsumed { unit, .. } => format!("{} approval consumed", unit.0),
        Entry::Masked { unit, counts } => {
            let counts = counts
                .iter()
                .map(|c| format!(" {} {}/{}", c.column, c.masked, c.seen));
            format!("{} masked{}", unit.0, counts.collect::<String>())
        }
        Entry::Finished { unit, end, .. } => format!(
            "{} finished {:?} rows={} affected={}",
            unit.0, end.outcome, end.counters.rows_returned, end.counters.rows_affected
        ),
        Entry::SessionClosed { reason, probes, .. } => {
            format!("session closed: {reason:?} probes={probes}")
        }
    }
}

fn told(operation: &Operation) -> String {
    if matches!(operation, Operation::Session(_)) {
        return operation.class().to_owned();
    }
    let values = operation.bindings().filter(|b| !b.shown.is_empty());
    let values = values
        .map(|b| format!(" {:?}", b.shown))
        .unwrap_or_default();
    let text = operation.text().replace('\n', "\\n");
    format!("{} \"{text}\"{values}", operation.class())
}

fn step_of(subject: &impl Notation, text: &str) -> Result<Vec<Step>, String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    Ok(match words.as_slice() {
        ["login"] => subject.login().steps,
        ["vote", "approved"] => vec![Step::Vote(ApprovalOutcome::Approved)],
        ["vote", "rejected"] => vec![Step::Vote(ApprovalOutcome::Rejected)],
        ["wait", seconds] => {
            let seconds = seconds.parse().map_err(|_| "no number of seconds")?;
            vec![Step::Advance(Duration::from_secs(seconds))]
        }
        ["eof"] => vec![Step::AgentEof],
        ["target", "eof"] => vec![Step::TargetEof],
        ["cancel"] => vec![Step::Cancel],
        ["policy", "changes"] => vec![Step::PolicyChanged],
        ["catalogue", "changes"] => vec![Step::CatalogueChanged],
        ["kill"] => vec![Step::Close(CloseReason::Killed)],
        ["log", "stalls"] => vec![Step::Stall(true)],
        ["log", "recovers"] => vec![Step::Stall(false), Step::Settle],
        ["log", "fails"] => vec![Step::EvidenceLost],
        _ => return Err(format!("nothing is called `{text}`")),
    })
}

/// The messages of a `C>` line.
fn messages_of(subject: &impl Notation, line: &str) -> Result<Bytes, String> {
    let mut bytes = BytesMut::new();
    for message in line.split(" | ") {
        let words = words_of(message)?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let encoded = subject
            .message(&words)
            .ok_or_else(|| format!("no message is `{message}`"))?;
        bytes.extend_from_slice(&encoded);
    }
    Ok(bytes.freeze())
}

/// Words between spaces, or between double or single quotes.
fn words_of(message: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut rest = message.trim();
    while !rest.is_empty() {
        let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''));
        let quoted = quote.and_then(|quote| Some((quote, rest.strip_prefix(quote)?)));
        let (word, behind) = match quoted {
            Some((quote, quoted)) => quoted
                .split_once(quote)
                .ok_or_else(|| format!("an open quote in `{message}`"))?,
            None => rest.split_once(' ').unwrap_or((rest, "")),
        };
        words.push(word.to_owned());
        rest = behind.trim_start();
    }
    Ok(words)
}
