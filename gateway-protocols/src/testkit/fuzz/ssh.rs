//! SSH: parsers and sessions.

use bytes::{Bytes, BytesMut};
use gateway_core::{operation::Inspection, wire::Side};

use crate::{
    ssh::{
        command, frame,
        message::{Message, sftp::Packet},
    },
    testkit::{
        Schedule, Script, Step, Subject,
        laws::Broken,
        ssh::{
            Ssh,
            client::{self, all, exec, file, files, on, open, open_file, pty, request, run},
        },
    },
};

fn broken(law: &'static str, why: impl Into<String>) -> Result<(), Broken> {
    Err(Broken {
        law,
        why: why.into(),
    })
}

/// Messages, packets and command lines: where borders are means nothing, what parses comes back
/// from its binary form, and a plain line is what its words say.
///
/// # Errors
/// What differs.
pub fn parsers(data: &[u8]) -> Result<(), Broken> {
    let seed = data.iter().fold(0, |seed, byte| seed ^ u64::from(*byte));
    let whole = decoded(data, Schedule::prompt());
    let cut = decoded(data, Schedule::seeded(seed));
    if whole != cut {
        return broken("frames", format!("{whole:?} or {cut:?}"));
    }
    let data = Bytes::copy_from_slice(data);
    let mut out = BytesMut::new();
    if let Ok(message) = Message::parse(data.clone()) {
        let encoded = message.encode(&mut out).is_ok();
        if !encoded || Message::parse(out.split().freeze()) != Ok(message) {
            return broken("messages", data.escape_ascii().to_string());
        }
    }
    if let Ok(packet) = Packet::parse(data.clone()) {
        let encoded = packet.encode(&mut out).is_ok();
        let body = frame::decode(&mut out).ok().flatten();
        if !encoded || body.map(Packet::parse) != Some(Ok(packet)) {
            return broken("packets", data.escape_ascii().to_string());
        }
    }
    match std::str::from_utf8(&data) {
        Ok(line) => plain_line(line),
        Err(_) => Ok(()),
    }
}

/// All packets, and how it ended.
fn decoded(data: &[u8], mut schedule: Schedule) -> (Vec<Bytes>, Option<String>) {
    let (mut input, mut pending) = (BytesMut::new(), Bytes::copy_from_slice(data));
    let mut packets = Vec::new();
    loop {
        match frame::decode(&mut input) {
            Ok(Some(packet)) => packets.push(packet),
            Ok(None) if pending.is_empty() => return (packets, None),
            Ok(None) => {
                let len = schedule.cut(pending.len()).clamp(1, pending.len());
                input.extend_from_slice(&pending.split_to(len));
            }
            Err(error) => return (packets, Some(error.to_string())),
        }
    }
}

fn plain_line(line: &str) -> Result<(), Broken> {
    let understood = command::understand(line);
    let Some(words) = understood.argv else {
        return Ok(());
    };
    let is_whole = words.join(" ") == line;
    if is_whole
        && understood.program.as_ref() == words.first()
        && understood.inspection == Inspection::Full
    {
        return Ok(());
    }
    broken("commands", line.escape_debug().to_string())
}

/// Any packets of an agent, in any state.
///
/// # Errors
/// What broke.
pub fn agent(data: &[u8]) -> Result<(), Broken> {
    super::session(&Ssh, &states(), Side::Agent, data)
}

/// Any packets of a target, in any state.
///
/// # Errors
/// What broke.
pub fn target(data: &[u8]) -> Result<(), Broken> {
    super::session(&Ssh, &states(), Side::Target, data)
}

/// States worth being in when something comes.
fn states() -> Vec<Script> {
    let login = || Ssh.login();
    let with_file = |path, mode| {
        let opened = [files(1), file(1, 1, open_file(path, mode))];
        login().agent(all(&opened)).settle()
    };
    vec![
        login(),
        Script::new(),
        login().agent(open(1, "session")).settle(),
        login().agent(run(1, "cat")).settle(),
        login().agent(run(1, "hold this")).settle(),
        login()
            .agent(all(&[
                open(1, "session"),
                pty(1),
                request(1, crate::ssh::message::Request::Shell),
            ]))
            .settle(),
        login().agent(files(1)).settle(),
        with_file("notes", "r"),
        with_file("/home/agent/new", "w"),
        with_file("hold", "rw"),
        login()
            .agent(all(&[run(1, "list customers"), exec(1, "again")]))
            .settle(),
        login()
            .agent(run(1, "cat"))
            .settle()
            .agent(on(1, crate::ssh::message::Body::Close)),
        login()
            .step(Step::Stall(true))
            .agent(all(&[run(1, "cat"), client::data(1, "input")])),
    ]
}
