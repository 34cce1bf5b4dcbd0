//! The nine laws. Each runs a script in a world and says what is wrong, if anything.
//!
//! | law | |
//! |---|---|
//! | L1 chop | any split, any lag: the same streams and decisions |
//! | L2 identity | nothing classified, all allowed: both streams byte for byte |
//! | L3 early | nothing reaches the target before its Intent is acknowledged |
//! | L4 denied | nothing denied reaches the target at all |
//! | L5 record | one Intent and one Finished for each unit; what was delivered is on record |
//! | L6 masks | no clear value reaches the agent; rows and columns stay |
//! | L7 bounded | a stalled sink, hold or question stops the intake |
//! | L8 total | any bytes in any state come to rest |
//! | L9 deterministic | the same inputs give the same actions |

use std::collections::BTreeMap;

use bytes::Bytes;
use gateway_core::{
    id::UnitId,
    operation::Operation,
    record::{CloseReason, Direction, Entry, Outcome},
    wire::Side,
};

use super::{
    run::{Run, Subject, run},
    schedule::Schedule,
    script::{Script, Step},
    trace::Trace,
    world::World,
};

/// Texts shorter than this are found in other bytes by chance.
const TEXT_BYTES_MIN: usize = 6;

/// A law was broken.
#[derive(Debug, thiserror::Error)]
#[error("{law}: {why}")]
pub struct Broken {
    /// Which.
    pub law: &'static str,
    /// How.
    pub why: String,
}

type Law = Result<(), Broken>;

fn broken(law: &'static str, why: impl Into<String>) -> Law {
    Err(Broken {
        law,
        why: why.into(),
    })
}

fn traced<S: Subject>(
    law: &'static str,
    subject: &S,
    world: &World,
    script: &Script,
    schedule: Schedule,
) -> Result<Trace, Broken> {
    run(subject, world, script, schedule).map_err(|why| Broken { law, why })
}

/// All laws that hold for any script: L1, L3, L4, L5, L6 and L9.
///
/// # Errors
/// The first law that doesn't hold.
pub fn laws<S: Subject>(
    subject: &S,
    world: &World,
    script: &Script,
    schedule: &Schedule,
) -> Result<(), Broken> {
    chop(subject, world, script, schedule)?;
    deterministic(subject, world, script, schedule)?;
    let trace = traced("L3", subject, world, script, schedule.clone())?;
    early(subject, &trace)?;
    denied(subject, &trace, script)?;
    masks(subject, &trace, script)?;
    record(subject, world, script, schedule)
}

/// L1: the schedule changes neither a stream nor a decision.
///
/// # Errors
/// What it changed.
pub fn chop<S: Subject>(
    subject: &S,
    world: &World,
    script: &Script,
    schedule: &Schedule,
) -> Result<(), Broken> {
    const LAW: &str = "L1 chop";
    let prompt = traced(LAW, subject, world, script, Schedule::prompt())?;
    let other = traced(LAW, subject, world, script, schedule.clone())?;
    for (side, prompt, other) in [
        (Side::Target, heeded(&prompt), heeded(&other)),
        (Side::Agent, &prompt.to_agent, &other.to_agent),
    ] {
        let prompt = subject.canonical(side, prompt);
        let other = subject.canonical(side, other);
        if prompt != other {
            return broken(
                LAW,
                format!(
                    "to {side:?}:\n  prompt {}\n  other  {}",
                    prompt.escape_ascii(),
                    other.escape_ascii()
                ),
            );
        }
    }
    // An ended portal that is executed again belongs to its unit, or to a new one, as its end was
    // known or not.
    let decisions = |trace: &Trace| {
        let mut decisions = trace.decisions();
        decisions.retain(|decision| !script.refusals_race || !decision.starts_with("block"));
        decisions.dedup();
        decisions
    };
    same(LAW, &decisions(&prompt), &decisions(&other))?;
    same(LAW, &prompt.masks(), &other.masks())
}

fn heeded(trace: &Trace) -> &Vec<u8> {
    trace.acted.as_ref().unwrap_or(&trace.to_target)
}

fn same(law: &'static str, prompt: &[String], other: &[String]) -> Law {
    if prompt == other {
        return Ok(());
    }
    broken(law, format!("prompt {prompt:#?}\nother {other:#?}"))
}

/// L2: what the agent says reaches the target as it is, and the other way round. For a world that
/// allows everything and classifies nothing.
///
/// # Errors
/// Which stream differs.
pub fn identity<S: Subject>(
    subject: &S,
    world: &World,
    script: &Script,
    schedule: &Schedule,
) -> Result<(), Broken> {
    const LAW: &str = "L2 identity";
    let trace = traced(LAW, subject, world, script, schedule.clone())?;
    for (way, said, heard) in [
        (
            Direction::ToTarget,
            trace.agent_said(),
            trace.target_heard(),
        ),
        (Direction::ToAgent, trace.target_said(), trace.agent_heard()),
    ] {
        if !subject.is_same(way, said, heard) {
            let (said, heard) = (said.escape_ascii(), heard.escape_ascii());
            return broken(LAW, format!("{way:?}:\n  said  {said}\n  heard {heard}"));
        }
    }
    Ok(())
}

/// L3: at every send to the target, each text in its stream so far has an acknowledged Intent.
///
/// # Errors
/// The text that came too early.
pub fn early<S: Subject>(subject: &S, trace: &Trace) -> Result<(), Broken> {
    let intents = intents(trace);
    for sent in trace.sent.iter().filter(|sent| sent.to == Side::Target) {
        let heard = trace.to_target.get(trace.marks[1]..sent.end);
        let heard = heard.unwrap_or_default();
        for (text, positions) in &intents {
            let due = positions
                .iter()
                .filter(|p| **p <= sent.acknowledged)
                .count();
            let found = subject.occurrences(heard, text);
            if found > due {
                return broken(
                    "L3 early",
                    format!("{text:?} was sent {found} times with {due} intents acknowledged"),
                );
            }
        }
    }
    Ok(())
}

/// L4: no text goes to the target more often than it was allowed, and what a script forbids never.
///
/// # Errors
/// What went.
pub fn denied<S: Subject>(subject: &S, trace: &Trace, script: &Script) -> Result<(), Broken> {
    const LAW: &str = "L4 denied";
    for (text, positions) in intents(trace) {
        let found = subject.occurrences(trace.target_heard(), &text);
        if found > positions.len() {
            return broken(LAW, format!("{text:?} was sent {found} times"));
        }
    }
    for secret in &script.never_to_target {
        if contains(&trace.to_target, secret) {
            return broken(LAW, format!("{} was sent", secret.escape_ascii()));
        }
    }
    Ok(())
}

/// Every text that was ever asked for, with the positions of its Intents. Texts within other texts
/// are left out: they can't be told apart by looking at bytes.
fn intents(trace: &Trace) -> BTreeMap<String, Vec<u64>> {
    let mut texts: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for (position, entry) in trace.entries() {
        let (operation, allowed) = match entry {
            Entry::Intent(intent) => (Some(&intent.operation), true),
            Entry::Blocked(blocked) => (blocked.operation.as_ref(), false),
            Entry::ApprovalRequested(request) => (Some(&request.operation), false),
            _ => (None, false),
        };
        if let Some(text) = operation.map(Operation::text) {
            let positions = texts.entry(text.to_owned()).or_default();
            if allowed {
                positions.push(position);
            }
        }
    }
    let all: Vec<String> = texts.keys().cloned().collect();
    texts.retain(|text, _| {
        text.len() >= TEXT_BYTES_MIN
            && !all
                .iter()
                .any(|other| other != text && other.contains(text.as_str()))
    });
    texts
}

fn contains(bytes: &[u8], secret: &[u8]) -> bool {
    memchr::memmem::find(bytes, secret).is_some()
}

/// L5: evidence has no gap; each allowed unit one Intent and, when the session is over, one
/// Finished behind it; refused units neither; what was delivered to the agent is on record.
///
/// # Errors
/// Which record is missing, or one too many.
pub fn record<S: Subject>(
    subject: &S,
    world: &World,
    script: &Script,
    schedule: &Schedule,
) -> Result<(), Broken> {
    const LAW: &str = "L5 record";
    let ended = script.clone().step(Step::Close(CloseReason::Drained));
    let trace = traced(LAW, subject, world, &ended, schedule.clone())?;
    if trace.gaps > 0 {
        return broken(LAW, "evidence has gaps");
    }
    let mut open: BTreeMap<UnitId, bool> = BTreeMap::new();
    for (_, entry) in trace.entries() {
        match entry {
            Entry::Intent(intent) if open.insert(intent.unit, false).is_some() => {
                return broken(LAW, format!("{:?} has two intents", intent.unit));
            }
            Entry::Blocked(blocked) if open.contains_key(&blocked.unit) => {
                return broken(LAW, format!("{:?} is allowed and blocked", blocked.unit));
            }
            Entry::Finished { unit, .. } => match open.insert(*unit, true) {
                Some(false) => {}
                Some(true) => return broken(LAW, format!("{unit:?} finished twice")),
                None => return broken(LAW, format!("{unit:?} finished without an intent")),
            },
            _ => {}
        }
    }
    if let Some((unit, _)) = open.iter().find(|(_, finished)| !**finished) {
        return broken(LAW, format!("{unit:?} never finished"));
    }
    if closed_because(&trace, &CloseReason::InternalError) {
        return broken(LAW, "the wire made a mistake that the gate had to contain");
    }
    for (way, heard) in [
        (Direction::ToAgent, trace.agent_heard()),
        (Direction::ToTarget, trace.target_heard()),
    ] {
        let chunks = trace.recorded(way);
        if !subject.is_recorded(way, heard, &chunks) {
            let (heard, chunks) = (heard.escape_ascii(), chunks.escape_ascii());
            let why = format!("{way:?} differs:\n  heard    {heard}\n  recorded {chunks}");
            return broken(LAW, why);
        }
    }
    // Whatever was finished normally, was finished before the session was closed from outside.
    let live = traced(LAW, subject, world, script, schedule.clone())?;
    let unknown = |trace: &Trace| {
        let entries = trace.entries();
        entries
            .filter(|(_, entry)| {
                matches!(
                    entry,
                    Entry::Finished { end, .. } if end.outcome == Outcome::Unknown
                )
            })
            .count()
    };
    if !script.ends_early() && unknown(&trace) > unknown(&live) {
        return broken(LAW, "a unit that had run was never finished");
    }
    Ok(())
}

fn closed_because(trace: &Trace, reason: &CloseReason) -> bool {
    trace.closed.as_ref() == Some(reason)
}

/// L6: no value that a script names reaches the agent, and rows keep their number and columns.
///
/// # Errors
/// The value, or how the shape differs.
pub fn masks<S: Subject>(subject: &S, trace: &Trace, script: &Script) -> Result<(), Broken> {
    const LAW: &str = "L6 masks";
    for secret in &script.never_to_agent {
        if contains(&trace.to_agent, secret) {
            return broken(LAW, format!("{} was delivered", secret.escape_ascii()));
        }
    }
    let shape = |stream| subject.shape(stream);
    let heard = shape(trace.agent_heard()).map_err(|why| Broken { law: LAW, why })?;
    if trace.closed.is_some() {
        return Ok(());
    }
    let said = shape(trace.target_said()).map_err(|why| Broken { law: LAW, why })?;
    if said == heard {
        return Ok(());
    }
    broken(LAW, format!("rows {said:?} became {heard:?}"))
}

/// L7: after `script`, the agent repeats `flood` for as long as the gate takes it. It must stop
/// taking before `bytes_max`, and no side's untaken input may pass `untaken_max`.
///
/// # Errors
/// How much it took.
pub fn bounded<S: Subject>(
    subject: &S,
    world: &World,
    script: &Script,
    flood: &Bytes,
    bytes_max: usize,
) -> Result<(), Broken> {
    const LAW: &str = "L7 bounded";
    let mut run = Run::new(subject, world.clone(), Schedule::prompt());
    let failed = |why| Broken { law: LAW, why };
    for step in &script.steps {
        run.step(step).map_err(failed)?;
    }
    let mut taken = 0;
    while run.wants_agent() {
        run.step(&Step::Agent(flood.clone())).map_err(failed)?;
        run.settle().map_err(failed)?;
        taken += flood.len();
        if taken > bytes_max {
            return broken(LAW, format!("took {taken} bytes without a stop"));
        }
    }
    let trace = run.trace();
    let held = trace.outstanding_max.max(trace.untaken_max);
    if held > bytes_max {
        return broken(LAW, format!("held {held} bytes"));
    }
    Ok(())
}

/// L8: any bytes from any side after any script come to rest without a panic.
///
/// # Errors
/// When it doesn't rest.
pub fn total<S: Subject>(
    subject: &S,
    world: &World,
    script: &Script,
    from: Side,
    bytes: &[u8],
    schedule: Schedule,
) -> Result<(), Broken> {
    let bytes = Bytes::copy_from_slice(bytes);
    let step = match from {
        Side::Agent => Step::Agent(bytes),
        Side::Target => Step::Target(bytes),
    };
    let script = script.clone().step(step).settle();
    traced("L8 total", subject, world, &script, schedule).map(drop)
}

/// L9: twice the same.
///
/// # Errors
/// That it wasn't.
pub fn deterministic<S: Subject>(
    subject: &S,
    world: &World,
    script: &Script,
    schedule: &Schedule,
) -> Result<(), Broken> {
    const LAW: &str = "L9 deterministic";
    let first = traced(LAW, subject, world, script, schedule.clone())?;
    let second = traced(LAW, subject, world, script, schedule.clone())?;
    if first.fingerprint() == second.fingerprint() {
        return Ok(());
    }
    broken(LAW, "two runs of the same inputs differ")
}
