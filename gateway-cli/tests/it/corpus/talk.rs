//! Saying a row to a server, in every form that the protocol has for it.

use std::{fmt::Write as _, time::Duration};

use super::forms::unhex;
use crate::support::wire::{
    Reply, Wire, bind, close, describe, execute, message, parse, query, sync,
};

/// How a row's SQL is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Form {
    /// A simple query a step.
    Simple,
    /// The same behind `select 1;` in one message.
    Behind,
    /// Parse, Bind, Execute, Sync a step; nothing described, results in text.
    Extended,
    /// Described once, executed later, with results in binary.
    Binary,
    /// All steps before one Sync, behind a harmless one.
    Pipelined,
    /// As `Simple`, a byte a write.
    Chopped,
    /// Messages as the row has them.
    Script,
}

/// Whether a row is messages rather than SQL.
pub(super) fn is_script(steps: &[String]) -> bool {
    steps.iter().any(|step| step.starts_with('\\'))
}

/// The answers to a row in one form.
pub(super) fn say(wire: &mut Wire, form: Form, steps: &[String]) -> Vec<Reply> {
    let mut replies = Vec::new();
    match form {
        Form::Simple => {
            for step in steps {
                replies.extend(converse(wire, &query(step), 1));
            }
        }
        Form::Behind => {
            for step in steps {
                replies.extend(converse(wire, &query(&format!("select 1; {step}")), 1));
            }
        }
        Form::Chopped => {
            for step in steps {
                let (last, first) = query(step)
                    .split_last()
                    .map(|(l, f)| (*l, f.to_vec()))
                    .unwrap();
                for byte in first {
                    wire.send(&[byte]);
                }
                replies.extend(converse(wire, &[last], 1));
            }
        }
        Form::Extended => {
            for step in steps {
                let bytes = [
                    parse("", step),
                    bind("", "", &[], 0),
                    execute("", 0),
                    sync(),
                ];
                replies.extend(converse(wire, &bytes.concat(), 1));
            }
        }
        Form::Binary => {
            for step in steps {
                let bytes = [parse("", step), describe(b'S', ""), sync()];
                replies.extend(converse(wire, &bytes.concat(), 1));
                let bytes = [bind("", "", &[], 1), execute("", 0), sync()];
                replies.extend(converse(wire, &bytes.concat(), 1));
            }
        }
        Form::Pipelined => {
            let mut bytes = Vec::new();
            for step in std::iter::once("select 1").chain(steps.iter().map(String::as_str)) {
                bytes.extend(parse("", step));
                bytes.extend(bind("", "", &[], 0));
                bytes.extend(describe(b'P', ""));
                bytes.extend(execute("", 0));
            }
            bytes.extend(sync());
            replies = converse(wire, &bytes, 1);
        }
        Form::Script => {
            let mut bytes = Vec::new();
            let mut readies = 0;
            for step in steps {
                let (step, ready) = encode(step);
                bytes.extend(step);
                readies += ready;
            }
            replies = converse(wire, &bytes, readies);
        }
    }
    replies
}

/// Sends, and hears what comes up to the `readies`th ReadyForQuery, the end of the connection or a
/// silence. What a COPY asks for is given.
fn converse(wire: &mut Wire, bytes: &[u8], readies: usize) -> Vec<Reply> {
    wire.send(bytes);
    let mut replies = Vec::new();
    let mut ready = 0;
    while ready < readies {
        let reply = wire.receive();
        let tag = reply.tag;
        replies.push(reply);
        match tag {
            'Z' => ready += 1,
            '$' | '?' => break,
            // A Sync is for the extended protocol; in the simple one it brings a second ready, which
            // the next conversation would take for its own.
            'G' => {
                let extended = bytes.first() == Some(&b'P') || bytes.first() == Some(&b'B');
                let end = if extended { sync() } else { Vec::new() };
                wire.send(&[message(b'd', b"1\t1\n"), message(b'c', b""), end].concat());
            }
            _ => {}
        }
    }
    replies
}

/// One message, and how many ReadyForQuery answer it:
/// `\Q sql`, `\P name|sql`, `\B portal|statement|format|value...`, `\D S|name`, `\E portal|rows`,
/// `\C P|name`, `\S` Sync, `\H` Flush, `\X` Terminate, `\d` CopyData, `\c` CopyDone, `\f` CopyFail,
/// `\F oid|text` a function call, `\hex 00ff` bytes as they are; a step without `\` is a query.
fn encode(step: &str) -> (Vec<u8>, usize) {
    let Some(step) = step.strip_prefix('\\') else {
        return (query(step), 1);
    };
    let (word, rest) = step.split_once(' ').unwrap_or((step, ""));
    let parts: Vec<&str> = rest.split('|').collect();
    let pair = || rest.split_once('|').unwrap();
    let bytes = match word {
        "Q" => return (query(rest), 1),
        "S" => return (sync(), 1),
        "P" => parse(pair().0, pair().1),
        "B" => bind(parts[0], parts[1], &parts[3..], parts[2].parse().unwrap()),
        "D" => describe(pair().0.as_bytes()[0], pair().1),
        "C" => close(pair().0.as_bytes()[0], pair().1),
        "E" => execute(pair().0, pair().1.parse().unwrap()),
        "H" => message(b'H', b""),
        "X" => message(b'X', b""),
        "d" => message(b'd', format!("{rest}\n").as_bytes()),
        "c" => message(b'c', b""),
        "f" => message(b'f', b"no\0"),
        "F" => return (call(pair().0, pair().1), 1),
        "hex" => unhex(rest.as_bytes()),
        other => panic!("no message `{other}`"),
    };
    (bytes, 0)
}

/// A FunctionCall with one argument, all in text.
fn call(oid: &str, argument: &str) -> Vec<u8> {
    let oid: u32 = oid.parse().unwrap();
    let mut body = oid.to_be_bytes().to_vec();
    body.extend_from_slice(&[0, 0, 0, 1]);
    body.extend_from_slice(&u32::try_from(argument.len()).unwrap().to_be_bytes());
    body.extend_from_slice(argument.as_bytes());
    body.extend_from_slice(&[0, 0]);
    message(b'F', &body)
}

/// Whether the session is over, or has said nothing for too long.
pub(super) fn is_over(replies: &[Reply]) -> bool {
    replies.iter().any(|reply| matches!(reply.tag, '$' | '?'))
}

/// Whether every transaction is over.
pub(super) fn is_idle(replies: &[Reply]) -> bool {
    let last = replies.iter().rev().find(|reply| reply.tag == 'Z');
    last.is_some_and(|reply| reply.body == b"I")
}

/// Whether the gateway or the server refused for want of privilege.
pub(super) fn is_refused(replies: &[Reply]) -> bool {
    replies
        .iter()
        .any(|reply| reply.tag == 'E' && reply.field(b'C') == "42501")
}

/// What must be the same on both sides: all but object ids made here and process ids.
pub(super) fn comparable(replies: &[Reply]) -> String {
    let mut out = String::new();
    for reply in replies {
        let body = match reply.tag {
            // Types made by the shop have other ids on the other side.
            'T' => {
                let columns = columns(&reply.body).into_iter();
                let columns = columns.map(|column| {
                    let (name, _) = column.name.split_once(':').unwrap_or_default();
                    format!("{name}:{}", column.attribute)
                });
                columns.collect::<Vec<_>>().join(",")
            }
            'A' => reply.body[4..].escape_ascii().to_string(),
            _ => reply.body.escape_ascii().to_string(),
        };
        let _ = writeln!(out, "{} {body}", reply.tag);
    }
    out
}

/// A column of a RowDescription.
pub(super) struct Described {
    /// Name, type and format: what a client needs.
    pub(super) name: String,
    /// Which one of its relation's columns it is.
    attribute: u16,
}

/// The columns of a RowDescription.
pub(super) fn columns(body: &[u8]) -> Vec<Described> {
    let mut rest = &body[2..];
    let mut columns = Vec::new();
    while let Some(end) = rest.iter().position(|byte| *byte == 0) {
        // Relation 4, attribute 2, type 4, its size 2, its modifier 4, format 2 (PostgreSQL 15,
        // "Message Formats").
        let name = format!(
            "{}:{:?}:{:?}",
            rest[..end].escape_ascii(),
            &rest[end + 7..end + 11],
            &rest[end + 17..end + 19]
        );
        let attribute = u16::from_be_bytes([rest[end + 5], rest[end + 6]]);
        columns.push(Described { name, attribute });
        rest = &rest[end + 19..];
    }
    columns
}

/// How long a silence is.
pub(super) const SILENCE: Duration = Duration::from_secs(2);
