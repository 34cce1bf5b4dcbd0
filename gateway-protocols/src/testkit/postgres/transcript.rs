//! Golden conversations as text.
//!
//! ```text
//! # what it shows            a comment
//! world classified           the world, before anything else; also: token, observe, mute, used-up
//! C> Query "select id from t" | Sync      the agent sends, all at once
//! ! vote approved            something else happens
//! ```
//! Every other line is what came of it: `T>` what the target received, `T<` what it sent, `C<` what
//! the agent received, `R` what was recorded, `--` connections. [`replay`] runs the inputs and
//! writes the whole text anew; a golden file is one that this doesn't change.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use gateway_core::{
    operation::Operation,
    record::{ApprovalOutcome, CloseReason, Entry, Evidence},
    target::Mode,
    wire::Side,
};

use super::{Postgres, client, show_from_agent, show_from_server};
use crate::testkit::{
    Run, Schedule, Seen, Step, Trace, World,
    world::{GOOD_TOKEN, Proof},
};

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
pub fn replay(text: &str) -> Result<String, Unreadable> {
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
    let subject = Postgres(world.proof);
    let mut page = Page {
        out,
        ..Page::default()
    };
    let mut run = Run::new(&subject, world, Schedule::prompt());
    for (number, line) in lines {
        let steps = if let Some(messages) = line.strip_prefix("C> ") {
            messages_of(messages).map(|bytes| vec![Step::Agent(bytes), Step::Settle])
        } else if let Some(what) = line.strip_prefix("! ") {
            step_of(what)
        } else if line.starts_with('#') || line.is_empty() {
            push(&mut page.out, line);
            continue;
        } else {
            continue;
        };
        let steps = steps.map_err(|why| unreadable(number, why))?;
        push(&mut page.out, line);
        for step in steps {
            run.step(&step).map_err(|why| unreadable(number, why))?;
        }
        let asks = ["SSLRequest", "GSSENCRequest", "! login"];
        page.turn(run.trace(), asks.iter().any(|ask| line.contains(ask)));
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
        _ => return None,
    })
}

/// What came out, as it is written down.
struct Page {
    out: String,
    seen: usize,
    to_target: (BytesMut, bool),
    from_target: (BytesMut, usize),
    to_agent: (BytesMut, usize),
}

impl Default for Page {
    fn default() -> Self {
        Self {
            out: String::new(),
            seen: 0,
            to_target: (BytesMut::new(), true),
            // The answer to the gateway's own SSLRequest.
            from_target: (BytesMut::new(), 1),
            to_agent: (BytesMut::new(), 0),
        }
    }
}

impl Page {
    fn turn(&mut self, trace: &Trace, asks_encryption: bool) {
        self.to_agent.1 += usize::from(asks_encryption);
        for seen in trace.seen.iter().skip(self.seen) {
            let (lane, shown) = self.show(seen, trace);
            if !shown.is_empty() {
                push(&mut self.out, &format!("{lane} {}", shown.join(" | ")));
            }
        }
        self.seen = trace.seen.len();
    }

    fn show(&mut self, seen: &Seen, trace: &Trace) -> (&'static str, Vec<String>) {
        match seen {
            Seen::Out(Side::Agent, bytes) => {
                let (input, answers) = &mut self.to_agent;
                input.extend_from_slice(bytes);
                ("C<", show_from_server(input, answers))
            }
            Seen::Out(Side::Target, bytes) => {
                let (input, startup) = &mut self.to_target;
                input.extend_from_slice(bytes);
                ("T>", show_from_agent(input, startup))
            }
            Seen::FromTarget(bytes) => {
                let (input, answers) = &mut self.from_target;
                input.extend_from_slice(bytes);
                ("T<", show_from_server(input, answers))
            }
            Seen::Aside(bytes) => {
                let mut startup = true;
                let mut input = BytesMut::from(bytes.as_slice());
                ("-- aside:", show_from_agent(&mut input, &mut startup))
            }
            Seen::Evidence(index) => (
                "R ",
                trace
                    .evidence
                    .get(*index)
                    .and_then(record)
                    .into_iter()
                    .collect(),
            ),
            Seen::Told(what) => ("--", vec![format!("told {what}")]),
            Seen::Tls(side) => ("--", vec![format!("TLS with the {side:?}")]),
            Seen::Connected => ("--", vec!["connect to the target".into()]),
            Seen::Withdrawn => ("--", vec!["approval withdrawn".into()]),
            Seen::Closed(reason) => ("--", vec![format!("closed: {reason:?}")]),
        }
    }
}

/// One line of a record; chunks repeat what was delivered.
fn record(evidence: &Evidence) -> Option<String> {
    let Evidence::Record(record) = evidence else {
        return None;
    };
    Some(match &record.entry {
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
    })
}

fn told(operation: &Operation) -> String {
    match operation {
        Operation::Session(_) => operation.class().to_owned(),
        Operation::Sql(sql) => {
            let values = sql.bindings.as_ref().filter(|b| !b.shown.is_empty());
            let values = values
                .map(|b| format!(" {:?}", b.shown))
                .unwrap_or_default();
            format!("{} \"{}\"{values}", operation.class(), sql.text)
        }
    }
}

fn step_of(text: &str) -> Result<Vec<Step>, String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    Ok(match words.as_slice() {
        ["login"] => vec![
            Step::Agent(client::ssl_request()),
            Step::Settle,
            Step::Agent(client::startup(
                0,
                &[("user", "agent"), ("database", "orders")],
            )),
            Step::Settle,
            Step::Agent(client::password(GOOD_TOKEN)),
            Step::Mark,
        ],
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
fn messages_of(line: &str) -> Result<Bytes, String> {
    let mut bytes = BytesMut::new();
    for message in line.split(" | ") {
        let words = words_of(message)?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let encoded = message_of(&words).ok_or_else(|| format!("no message is `{message}`"))?;
        bytes.extend_from_slice(&encoded);
    }
    Ok(bytes.freeze())
}

fn message_of(words: &[&str]) -> Option<Bytes> {
    Some(match words {
        ["SSLRequest"] => client::ssl_request(),
        ["GSSENCRequest"] => client::gss_request(),
        ["CancelRequest", process, length] => {
            client::cancel_request(process.parse().ok()?, &vec![9; length.parse().ok()?])
        }
        ["Startup", version, parameters @ ..] => {
            let minor = version.strip_prefix("3.")?.parse().ok()?;
            let parameters: Option<Vec<_>> = parameters.iter().map(|p| p.split_once('=')).collect();
            client::startup(minor, &parameters?)
        }
        ["Password", token] => client::password(token),
        ["Query", text] => client::query(text),
        ["Parse", name, text] => client::parse(name, text),
        ["Bind", portal, statement, values @ ..] => {
            let binary = values.last() == Some(&"binary");
            let values: Vec<Option<&str>> = values
                .iter()
                .filter(|value| **value != "binary")
                .map(|value| (*value != "NULL").then_some(*value))
                .collect();
            client::bind(portal, statement, &values, binary)
        }
        ["Describe", "S", name] => client::describe_statement(name),
        ["Describe", "P", name] => client::describe_portal(name),
        ["Close", "S", name] => client::close_statement(name),
        ["Close", "P", name] => client::close_portal(name),
        ["Execute", portal, rows] => client::execute(portal, rows.parse().ok()?),
        ["Sync"] => client::sync(),
        ["Flush"] => client::flush(),
        ["Terminate"] => client::terminate(),
        ["CopyData", data] => client::copy_data(data.replace("\\n", "\n").as_bytes()),
        ["CopyDone"] => client::copy_done(),
        ["CopyFail", reason] => client::copy_fail(reason),
        ["FunctionCall", function] => client::function_call(function.parse().ok()?),
        ["Raw", bytes] => Bytes::copy_from_slice(bytes.as_bytes()),
        _ => return None,
    })
}

/// Words between spaces, or between double quotes.
fn words_of(message: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut rest = message.trim();
    while !rest.is_empty() {
        let (word, behind) = match rest.strip_prefix('"') {
            Some(quoted) => quoted
                .split_once('"')
                .ok_or_else(|| format!("an open quote in `{message}`"))?,
            None => rest.split_once(' ').unwrap_or((rest, "")),
        };
        words.push(word.to_owned());
        rest = behind.trim_start();
    }
    Ok(words)
}
