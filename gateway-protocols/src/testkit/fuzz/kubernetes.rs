//! Kubernetes: bodies of its fuzz targets.

use bytes::{Bytes, BytesMut};
use gateway_core::{
    id::ClassName,
    mask::{ClassifiedField, FieldStep},
    record::ApprovalOutcome,
    wire::Side,
};

use super::{Broken, Schedule, Script, session};
use crate::{
    kubernetes::{
        frame::{Decoder, FrameError, Message},
        mask::{Asked, Masks},
        message::{Json, Method, RequestInfo, Target, json::Names, media},
    },
    testkit::{
        Step, Subject as _,
        kubernetes::{Kubernetes, client},
    },
};

/// Small, so that fuzzers reach bounds.
const MESSAGE_BYTES_MAX: usize = 64;
const METHODS: &[Method] = &[
    Method::Get,
    Method::Head,
    Method::Post,
    Method::Put,
    Method::Patch,
    Method::Delete,
];

fn broken(law: &'static str, why: impl Into<String>) -> Result<(), Broken> {
    let why = why.into();
    Err(Broken { law, why })
}

/// Request targets, JSON, frames and masks; the first byte says which.
///
/// # Errors
/// What doesn't hold.
pub fn parsers(data: &[u8]) -> Result<(), Broken> {
    let Some((which, data)) = data.split_first() else {
        return Ok(());
    };
    match which % 4 {
        0 => target(data),
        1 => json(data),
        2 => frames(data),
        _ => masks(data),
    }
}

/// The canonical form is its own canonical form, and asks for the same.
fn target(data: &[u8]) -> Result<(), Broken> {
    let Ok(text) = std::str::from_utf8(data) else {
        return Ok(());
    };
    // Never a panic: nothing else is known of them.
    let _ = media::accept([text].into_iter(), true);
    let Ok(parsed) = Target::parse(text) else {
        return Ok(());
    };
    let canonical = parsed.to_string();
    match Target::parse(&canonical) {
        Ok(again) if again == parsed && again.to_string() == canonical => {}
        other => return broken("target", format!("{text:?}, {canonical:?}, {other:?}")),
    }
    for method in METHODS {
        if let Ok(RequestInfo::Resource(_, path)) = RequestInfo::of(*method, &parsed)
            && (path.resource.is_empty() || path.version.is_empty())
        {
            return broken("target", format!("{text:?} names {path:?}"));
        }
    }
    Ok(())
}

/// What is written is what was read, and has one reading.
fn json(data: &[u8]) -> Result<(), Broken> {
    let Ok(parsed) = Json::parse(data, Names::Folded) else {
        return Ok(());
    };
    let written = parsed.to_string();
    let again = Json::parse(written.as_bytes(), Names::Folded);
    if again.as_ref() != Ok(&parsed) || written.contains('\n') {
        return broken("json", format!("{written}, {again:?}"));
    }
    let (mut marked, mut marks) = (String::new(), Vec::new());
    parsed.write_marked(&mut marked, Some(&mut marks));
    if marked != written || marks.iter().any(|mark| marked.get(mark.clone()).is_none()) {
        return broken("json", format!("{marked}, {marks:?}"));
    }
    Ok(())
}

/// Messages don't depend on how their bytes arrived, and keep their bound.
fn frames(data: &[u8]) -> Result<(), Broken> {
    let seed = data.iter().fold(0, |seed, byte| seed ^ u64::from(*byte));
    for masked in [false, true] {
        let whole = decoded(data, masked, Schedule::prompt());
        let cut = decoded(data, masked, Schedule::seeded(seed));
        if whole != cut {
            return broken("frames", format!("{whole:?} or {cut:?}"));
        }
        let too_long = |message: &Message| match message {
            Message::Data { data, .. } => data.len() > MESSAGE_BYTES_MAX,
            Message::Close(data) | Message::Ping(data) => data.len() > 125,
            Message::Pong => false,
        };
        if whole.0.iter().any(too_long) {
            return broken("frames", "a message past its bound");
        }
    }
    Ok(())
}

fn decoded(
    data: &[u8],
    masked: bool,
    mut schedule: Schedule,
) -> (Vec<Message>, Option<FrameError>) {
    let mut decoder = Decoder::new(masked, MESSAGE_BYTES_MAX);
    let (mut input, mut pending) = (BytesMut::new(), Bytes::copy_from_slice(data));
    let mut messages = Vec::new();
    loop {
        match decoder.decode(&mut input) {
            Ok(Some(message)) => messages.push(message),
            Ok(None) if pending.is_empty() => return (messages, None),
            Ok(None) => {
                let len = schedule.cut(pending.len()).clamp(1, pending.len());
                input.extend_from_slice(&pending.split_to(len));
            }
            Err(error) => return (messages, Some(error)),
        }
    }
}

/// What is masked has nothing left to mask.
fn masks(data: &[u8]) -> Result<(), Broken> {
    let Ok(class) = ClassName::parse("secret") else {
        return Ok(());
    };
    let field = |key: &str| ClassifiedField {
        group: String::new(),
        resource: "secrets".to_owned(),
        path: vec![FieldStep::Key(key.to_owned()), FieldStep::Each],
        class: class.clone(),
    };
    let asked = Asked {
        group: String::new(),
        resource: "secrets".to_owned(),
    };
    let mut masks = Masks::new(vec![field("data"), field("stringData")], asked);
    // Never a panic: a line of a watch is an answer inside of an answer.
    let _ = masks.event(data);
    let Ok(masked) = masks.answer(data) else {
        return Ok(());
    };
    match masks.answer(&masked) {
        Ok(again) if again == masked => Ok(()),
        other => broken("masks", format!("{}, {other:?}", masked.escape_ascii())),
    }
}

/// Any bytes of an agent, in any state.
///
/// # Errors
/// What broke.
pub fn agent(data: &[u8]) -> Result<(), Broken> {
    session(&Kubernetes::default(), &states(), Side::Agent, data)
}

/// Any bytes of a target, in any state.
///
/// # Errors
/// What broke.
pub fn target_side(data: &[u8]) -> Result<(), Broken> {
    session(&Kubernetes::default(), &states(), Side::Target, data)
}

/// States worth being in when something comes.
fn states() -> Vec<Script> {
    const EXEC: &str = "/api/v1/namespaces/n/pods/p/exec?command=cat&stdin=true";
    const HOLD: &str = "DELETE /api/v1/namespaces/n/pods/hold";
    let login = || Kubernetes::default().login();
    let exec = || client::exec(2, EXEC, "v5.channel.k8s.io");
    vec![
        login(),
        Script::new(),
        login().agent(exec()).settle(),
        login().agent(client::bare(2, HOLD, &[])).settle(),
        login()
            .agent(client::head(
                2,
                super::super::GOOD_TOKEN,
                "POST /api/v1/namespaces/n/pods",
                &[],
            ))
            .settle(),
        login()
            .step(Step::Stall(true))
            .agent(client::get(2, "/api/v1/secrets"))
            .settle(),
        login()
            .agent(client::bare(2, HOLD, &[]))
            .vote(ApprovalOutcome::Approved),
        login()
            .agent(client::get(2, "/api/v1/secrets?watch=true"))
            .settle(),
    ]
}
