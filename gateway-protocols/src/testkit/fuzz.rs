//! Bodies of the fuzz targets: any bytes in, no panic, and what must hold of them.
//!
//! `fuzz/` calls these under libFuzzer; `cargo test` replays the committed corpora through them.

#[cfg(feature = "kubernetes")]
pub mod kubernetes;
#[cfg(feature = "ssh")]
pub mod ssh;

use gateway_core::wire::Side;

use super::{
    laws::{self, Broken},
    run::Subject,
    schedule::Schedule,
    script::Script,
    world::{Proof, World},
};

/// The first bytes steer the schedule and choose the script; the rest is input.
const STEERING_BYTES: usize = 4;

/// Any bytes from one side of a session: in the login, after it, and in the middle of things.
///
/// # Errors
/// What broke.
pub fn session<S: Subject>(
    subject: &S,
    scripts: &[Script],
    from: Side,
    data: &[u8],
) -> Result<(), Broken> {
    let (steering, bytes) = data.split_at_checked(STEERING_BYTES).unwrap_or((data, &[]));
    let seed = steering
        .iter()
        .fold(0, |seed, byte| seed << 8 | u64::from(*byte));
    let chosen = steering.last().copied().map_or(0, usize::from);
    let script = chosen
        .checked_rem(scripts.len())
        .and_then(|index| scripts.get(index));
    let script = script.cloned().unwrap_or_default();
    let world = World {
        proof: Proof::Token,
        ..World::by_text().classified()
    };
    laws::total(
        subject,
        &world,
        &script,
        from,
        bytes,
        Schedule::seeded(seed),
    )
}

/// Analysis of any text against an empty catalogue ends, and its statements lie within the text.
///
/// It runs on a thread with the stack that analysis asks for.
///
/// # Errors
/// A statement that lies elsewhere, or that there was no thread.
#[cfg(feature = "pg-native")]
pub fn sql(data: &[u8]) -> Result<(), Broken> {
    use gateway_core::{
        catalogue::{CatalogueVersion, Snapshot},
        id::Digest,
        mask::Classified,
    };

    use crate::sql;

    let broken = |why: String| Broken { law: "sql", why };
    let Ok(text) = std::str::from_utf8(data) else {
        return Ok(());
    };
    let text: std::sync::Arc<str> = text.into();
    let analyse = move || {
        let version = CatalogueVersion(Digest([0; 32]));
        sql::analyse(&text, &Snapshot::default(), version, &Classified::default())
    };
    let analysis = std::thread::Builder::new()
        .stack_size(sql::ANALYSIS_STACK_BYTES)
        .spawn(analyse)
        .map_err(|error| broken(error.to_string()))?
        .join()
        .map_err(|_| broken("analysis panicked".to_owned()))?;
    let within = |span: &std::ops::Range<usize>| span.start <= span.end && span.end <= data.len();
    match analysis
        .statements
        .iter()
        .find(|statement| !within(&statement.span))
    {
        Some(statement) => Err(broken(format!(
            "{:?} of {} bytes",
            statement.span,
            data.len()
        ))),
        None => Ok(()),
    }
}

#[cfg(feature = "postgres")]
pub use postgres::{frames, messages, session_agent, session_target};

#[cfg(feature = "postgres")]
mod postgres {
    use bytes::{Bytes, BytesMut};
    use gateway_core::wire::Side;

    use crate::{
        postgres::{
            frame::{Decoder, FrameLimits},
            message::{Backend, Frontend, StartupPacket, backend_length, frontend_length},
        },
        testkit::{
            Schedule, Script, Step, Subject,
            laws::Broken,
            postgres::{Postgres, client},
            world::Proof,
        },
    };

    /// Small, so that fuzzers reach messages in parts.
    const LIMITS: FrameLimits = FrameLimits {
        whole_bytes_max: 64,
        stream_bytes_max: 4096,
    };

    fn broken(law: &'static str, why: String) -> Result<(), Broken> {
        Err(Broken { law, why })
    }

    /// Frames don't depend on how their bytes arrived, but for where parts are cut, and put together
    /// they are the input.
    ///
    /// # Errors
    /// What differs.
    pub fn frames(data: &[u8]) -> Result<(), Broken> {
        let seed = data.iter().fold(0, |seed, byte| seed ^ u64::from(*byte));
        let whole = decoded(data, Schedule::prompt());
        let cut = decoded(data, Schedule::seeded(seed));
        if whole != cut {
            return broken("frames", format!("{whole:?} or {cut:?}"));
        }
        if data.starts_with(&whole.0) {
            return Ok(());
        }
        broken("frames", "not the bytes that came in".to_owned())
    }

    /// All bytes in frames, and how it ended.
    fn decoded(data: &[u8], mut schedule: Schedule) -> (Vec<u8>, Option<String>) {
        let mut decoder = Decoder::new(LIMITS);
        let (mut input, mut pending) = (BytesMut::new(), Bytes::copy_from_slice(data));
        let mut bytes = Vec::new();
        loop {
            match decoder.decode(&mut input, frontend_length) {
                Ok(Some(frame)) => bytes.extend_from_slice(frame.bytes()),
                Ok(None) if pending.is_empty() => return (bytes, None),
                Ok(None) => {
                    let len = schedule.cut(pending.len()).max(1);
                    input.extend_from_slice(&pending.split_to(len.min(pending.len())));
                }
                Err(error) => return (bytes, Some(error.to_string())),
            }
        }
    }

    /// What parses encodes to the same bytes. The first byte is the tag, or a startup packet's mark.
    ///
    /// # Errors
    /// What it encodes to instead.
    pub fn messages(data: &[u8]) -> Result<(), Broken> {
        let Some((&tag, body)) = data.split_first() else {
            return Ok(());
        };
        let mut out = BytesMut::new();
        let length = |extra: usize| {
            u32::try_from(body.len() + extra)
                .unwrap_or(u32::MAX)
                .to_be_bytes()
        };
        if let Ok(message) = Frontend::parse(tag, body)
            && frontend_length(tag).is_some()
        {
            let encoded = message.encode(&mut out).is_ok();
            check(
                "frontend",
                encoded,
                &out,
                &[&[tag], &length(4)[..], body].concat(),
            )?;
        }
        out.clear();
        if let Ok(message) = Backend::parse(tag, body)
            && backend_length(tag).is_some()
        {
            let encoded = message.encode(&mut out).is_ok();
            check(
                "backend",
                encoded,
                &out,
                &[&[tag], &length(4)[..], body].concat(),
            )?;
        }
        out.clear();
        let packet = [&length(4)[..], body].concat();
        if let Ok(parsed) = StartupPacket::parse(&packet) {
            let encoded = parsed.encode(&mut out).is_ok();
            check("startup", encoded, &out, &packet)?;
        }
        Ok(())
    }

    fn check(what: &'static str, encoded: bool, out: &[u8], input: &[u8]) -> Result<(), Broken> {
        if encoded && out == input {
            return Ok(());
        }
        let (out, input) = (out.escape_ascii(), input.escape_ascii());
        broken("messages", format!("{what}: {input} became {out}"))
    }

    /// Any bytes of an agent, in any state.
    ///
    /// # Errors
    /// What broke.
    pub fn session_agent(data: &[u8]) -> Result<(), Broken> {
        super::session(&Postgres(Proof::Token), &states(), Side::Agent, data)
    }

    /// Any bytes of a target, in any state.
    ///
    /// # Errors
    /// What broke.
    pub fn session_target(data: &[u8]) -> Result<(), Broken> {
        super::session(&Postgres(Proof::Token), &states(), Side::Target, data)
    }

    /// States worth being in when something comes.
    fn states() -> Vec<Script> {
        let login = || Postgres(Proof::Token).login();
        let in_tls = || Script::new().agent(client::ssl_request()).settle();
        let startup = client::startup(0, &[("user", "agent"), ("database", "orders")]);
        vec![
            login(),
            Script::new(),
            in_tls(),
            in_tls().agent(startup).settle(),
            login().agent(client::query("copy t from stdin")).settle(),
            login().agent(client::query("delete from t")).settle(),
            login().agent(client::query("begin")).settle(),
            login()
                .agent(client::all(&[
                    client::query("begin"),
                    client::parse("s", "select id, email from customers"),
                    client::bind("p", "s", &[], false),
                    client::execute("p", 1),
                    client::flush(),
                ]))
                .settle(),
            login().agent(client::parse("s", "selekt")).settle(),
            login()
                .step(Step::Stall(true))
                .agent(client::query("select id from t")),
        ]
    }
}
