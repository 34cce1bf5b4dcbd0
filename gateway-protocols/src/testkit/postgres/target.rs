//! A server that answers as PostgreSQL does: login by SCRAM or token, both query protocols,
//! skipping to Sync after an error, portals that end with their transaction, COPY.
//!
//! It speaks protocol 3.2; in the database `aged` it negotiates 3.0, in `odd` a version that nobody
//! asked for.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::OnceLock,
};

use aws_lc_rs::{digest, hmac};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::{Bytes, BytesMut};
use gateway_core::wire::TlsFacts;

use super::{
    LIMITS,
    engine::{self, Aside, Cell, Column, Engine, Failure, Results},
    startup_packet,
};
use crate::{
    postgres::{
        frame::{Decoder, body},
        message::{
            Authentication, BackendKeyData, Bind, BindComplete, CloseComplete, CommandComplete,
            CopyData, CopyDone, CopyInResponse, CopyOutResponse, DataRow, Describe,
            EmptyQueryResponse, Execute, Field, Format, Frontend, List, Mechanisms, Message, Named,
            NegotiateProtocolVersion, NoData, NotificationResponse, ParameterDescription,
            ParameterStatus, Parse, ParseComplete, PasswordMessage, PortalSuspended, ReadyForQuery,
            Report, RowDescription, SaslInitialResponse, Severity, SqlState, StartupPacket,
            TransactionStatus, Version, frontend_length,
        },
        scram::{SCRAM_SHA_256, SaltedPassword},
    },
    testkit::{run::TargetPeer, world::Proof},
};

const SALT: &[u8] = b"0123456789abcdef";
const ITERATIONS: u32 = 4096;
const SERVER_NONCE: &str = "3rfcNHYJY1ZVvWVs7j";

/// The fake server.
#[derive(Debug)]
pub struct PostgresTarget {
    proof: Proof,
    state: State,
    version: Version,
    frames: Decoder,
    engine: Engine,
    statements: BTreeMap<Vec<u8>, String>,
    portals: BTreeMap<Vec<u8>, Portal>,
    skipping: bool,
    copy: Option<Copy>,
    /// Answers that are kept up to a Sync, a Flush, an error or the start of a COPY.
    kept: BytesMut,
    /// What was neither skipped nor a question.
    acted: Vec<u8>,
}

#[derive(Debug)]
enum State {
    ExpectSslRequest,
    ExpectTls,
    ExpectStartup,
    ExpectToken,
    ExpectSaslInitial,
    /// With client-first-message-bare and server-first-message.
    ExpectSaslResponse(String, String),
    Ready,
    Closed,
}

#[derive(Debug)]
struct Portal {
    text: String,
    parameters: Vec<Cell>,
    binary: bool,
    rows: Option<VecDeque<Vec<Cell>>>,
    sent: usize,
}

/// A COPY FROM STDIN under way; what is left of its Query, if it came by one.
#[derive(Debug)]
struct Copy {
    rows: usize,
    rest: Option<Vec<String>>,
}

impl TargetPeer for PostgresTarget {
    fn receive(&mut self, input: &mut BytesMut, out: &mut BytesMut) {
        while self.receive_one(input, out) {}
    }

    fn secured(&mut self) -> TlsFacts {
        self.state = State::ExpectStartup;
        TlsFacts {
            application_protocol: Some(b"postgresql".to_vec()),
            ..TlsFacts::default()
        }
    }

    fn acted(&self) -> Option<&[u8]> {
        Some(&self.acted)
    }

    fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }
}

impl PostgresTarget {
    /// A server that asks for this proof.
    #[must_use]
    pub fn new(proof: Proof) -> Self {
        Self {
            proof,
            state: State::ExpectSslRequest,
            version: Version::V3_0,
            frames: Decoder::new(LIMITS),
            engine: Engine::default(),
            statements: BTreeMap::new(),
            portals: BTreeMap::new(),
            skipping: false,
            copy: None,
            kept: BytesMut::new(),
            acted: Vec::new(),
        }
    }

    fn receive_one(&mut self, input: &mut BytesMut, out: &mut BytesMut) -> bool {
        match self.state {
            State::ExpectSslRequest => {
                let Some(packet) = startup_packet(input) else {
                    return false;
                };
                let ssl = matches!(StartupPacket::parse(&packet), Ok(StartupPacket::SslRequest));
                out.extend_from_slice(if ssl { b"S" } else { b"E" });
                self.state = if ssl { State::ExpectTls } else { State::Closed };
                true
            }
            State::ExpectTls | State::Closed => false,
            State::ExpectStartup => {
                let Some(packet) = startup_packet(input) else {
                    return false;
                };
                self.on_startup(&packet, out);
                true
            }
            State::ExpectToken
            | State::ExpectSaslInitial
            | State::ExpectSaslResponse(..)
            | State::Ready => match self.frames.decode(input, frontend_length) {
                Ok(Some(frame)) => {
                    self.on_message(frame.bytes(), out);
                    true
                }
                Ok(None) => false,
                Err(error) => {
                    self.fatal(&error.to_string(), out);
                    false
                }
            },
        }
    }

    fn on_startup(&mut self, packet: &[u8], out: &mut BytesMut) {
        let Ok(StartupPacket::Startup(startup)) = StartupPacket::parse(packet) else {
            return self.fatal("a bad startup packet", out);
        };
        if startup.parameter("user") != Some(b"gateway") {
            return self.fatal("only the gateway's role logs in here", out);
        }
        self.version = startup.version;
        let offered = match startup.parameter("database") {
            Some(b"aged") => Some(Version::V3_0),
            Some(b"odd") => Some(Version { major: 3, minor: 9 }),
            _ => None,
        };
        if let Some(offered) = offered {
            self.version = offered;
            put(
                out,
                &NegotiateProtocolVersion {
                    newest: offered.number(),
                    unknown_options: Vec::new(),
                },
            );
        }
        match self.proof {
            Proof::Token => {
                put(out, &Authentication::CleartextPassword);
                self.state = State::ExpectToken;
            }
            Proof::Password => {
                let mut names = BytesMut::new();
                if let Ok(mechanisms) = Mechanisms::build(&mut names, [SCRAM_SHA_256.as_bytes()]) {
                    put(out, &Authentication::Sasl(mechanisms));
                }
                self.state = State::ExpectSaslInitial;
            }
        }
    }

    fn on_message(&mut self, frame: &Bytes, out: &mut BytesMut) {
        let tag = frame.first().copied().unwrap_or_default();
        match &self.state {
            State::ExpectToken => {
                let token = PasswordMessage::parse(body(frame)).map(|message| message.password);
                if token == Ok(b"target-token".as_slice()) {
                    self.log_in(out);
                } else {
                    self.fatal("a wrong token", out);
                }
            }
            State::ExpectSaslInitial => self.on_sasl_initial(body(frame), out),
            State::ExpectSaslResponse(bare, first) => {
                let (bare, first) = (bare.clone(), first.clone());
                match std::str::from_utf8(body(frame))
                    .ok()
                    .and_then(|m| prove(&bare, &first, m))
                {
                    Some(last) => {
                        put(out, &Authentication::SaslFinal(last.as_bytes()));
                        self.log_in(out);
                    }
                    None => self.fatal("a wrong password", out),
                }
            }
            _ => match Frontend::parse(tag, body(frame)) {
                Ok(message) => {
                    let heeded = self.heeds(&message);
                    if heeded {
                        self.acted.extend_from_slice(frame);
                    }
                    let mut kept = self.kept.split();
                    let before = kept.len();
                    self.on_command(&message, &mut kept);
                    let speaks = !matches!(
                        message,
                        Frontend::Parse(_)
                            | Frontend::Bind(_)
                            | Frontend::Describe(_)
                            | Frontend::Execute(_)
                            | Frontend::Close(_)
                    ) || self.skipping && kept.len() > before
                        || self.copy.is_some();
                    if speaks {
                        out.extend_from_slice(&kept);
                    } else {
                        self.kept = kept;
                    }
                }
                Err(error) => self.fatal(&error.to_string(), out),
            },
        }
    }

    /// Whether it acts on a message: it skips after an error, ignores copy data outside COPY, and a
    /// Describe changes nothing.
    fn heeds(&self, message: &Frontend<'_>) -> bool {
        match message {
            Frontend::Sync(_) | Frontend::Terminate(_) => true,
            Frontend::Describe(_) | Frontend::Flush(_) => false,
            Frontend::CopyData(_) | Frontend::CopyDone(_) | Frontend::CopyFail(_) => {
                self.copy.is_some()
            }
            _ => !self.skipping,
        }
    }

    fn on_sasl_initial(&mut self, body: &[u8], out: &mut BytesMut) {
        let bare = SaslInitialResponse::parse(body)
            .ok()
            .and_then(|initial| initial.data)
            .and_then(|data| std::str::from_utf8(data).ok())
            .and_then(|data| data.strip_prefix("n,,"))
            .map(str::to_owned);
        let nonce = bare.as_deref().and_then(|bare| bare.strip_prefix("n=,r="));
        let (Some(bare), Some(nonce)) = (&bare, nonce) else {
            return self.fatal("a bad client-first-message", out);
        };
        let salt = BASE64.encode(SALT);
        let first = format!("r={nonce}{SERVER_NONCE},s={salt},i={ITERATIONS}");
        put(out, &Authentication::SaslContinue(first.as_bytes()));
        self.state = State::ExpectSaslResponse(bare.clone(), first);
    }

    fn log_in(&mut self, out: &mut BytesMut) {
        put(out, &Authentication::Ok);
        for (name, value) in [
            ("server_version", "15.18"),
            ("client_encoding", "UTF8"),
            ("standard_conforming_strings", "on"),
        ] {
            report(out, name, value);
        }
        put(
            out,
            &BackendKeyData {
                process_id: 77,
                key: if self.version >= Version::V3_2 {
                    &[7; 256]
                } else {
                    &[7; 4]
                },
            },
        );
        self.state = State::Ready;
        self.ready(out);
    }

    fn on_command(&mut self, message: &Frontend<'_>, out: &mut BytesMut) {
        if self.copy.is_some() {
            return self.on_copy(message, out);
        }
        if self.skipping && !matches!(message, Frontend::Sync(_) | Frontend::Terminate(_)) {
            return;
        }
        let result = match message {
            Frontend::Query(query) => {
                let text = String::from_utf8_lossy(query.text).into_owned();
                self.statements.remove(&b""[..]);
                self.run_query(split(&text), out);
                return;
            }
            Frontend::Sync(_) => {
                self.skipping = false;
                self.engine.commit_implicit();
                return self.ready(out);
            }
            Frontend::Terminate(_) => {
                self.state = State::Closed;
                return;
            }
            Frontend::Parse(parse) => self.parse(parse, out),
            Frontend::Bind(bind) => self.bind(bind, out),
            Frontend::Describe(describe) => self.describe(describe, out),
            Frontend::Execute(execute) => self.execute(execute, out),
            Frontend::Close(close) => {
                match close.0 {
                    Named::Statement(name) => drop(self.statements.remove(name)),
                    Named::Portal(name) => drop(self.portals.remove(name)),
                }
                put(out, &CloseComplete);
                Ok(())
            }
            // Ignored outside COPY.
            Frontend::Flush(_)
            | Frontend::CopyData(_)
            | Frontend::CopyDone(_)
            | Frontend::CopyFail(_) => Ok(()),
            Frontend::FunctionCall(_) | Frontend::AuthenticationResponse(_) => {
                return self.fatal("the gateway never sends this", out);
            }
        };
        if let Err(failure) = result {
            self.fail(&failure, out);
            self.skipping = true;
        }
    }

    fn run_query(&mut self, mut texts: VecDeque<String>, out: &mut BytesMut) {
        if texts.is_empty() {
            put(out, &EmptyQueryResponse);
        }
        while let Some(text) = texts.pop_front() {
            let results = self.engine.run(&text, &[]);
            self.say_asides(out);
            match results {
                Ok(Results::CopyIn) => {
                    let rest = Some(texts.into());
                    return self.begin_copy(rest, out);
                }
                Ok(results) => {
                    if let (Results::Rows(_), Ok(Some(columns))) =
                        (&results, engine::columns(&text))
                    {
                        describe_rows(&columns, false, out);
                    }
                    give(&results, false, out);
                }
                Err(failure) => {
                    self.fail(&failure, out);
                    break;
                }
            }
        }
        self.engine.commit_implicit();
        self.ready(out);
    }

    fn parse(&mut self, parse: &Parse<'_>, out: &mut BytesMut) -> Result<(), Failure> {
        if parse.statement.is_empty() {
            self.statements.remove(&b""[..]);
        }
        let text = String::from_utf8_lossy(parse.text).into_owned();
        self.engine.check(&text)?;
        if self.statements.contains_key(parse.statement) {
            let name = String::from_utf8_lossy(parse.statement);
            return Err(Failure(
                "42P05",
                format!("prepared statement \"{name}\" already exists"),
            ));
        }
        self.statements.insert(parse.statement.to_vec(), text);
        put(out, &ParseComplete);
        Ok(())
    }

    fn bind(&mut self, bind: &Bind<'_>, out: &mut BytesMut) -> Result<(), Failure> {
        let text = self.statement(bind.statement)?.to_owned();
        self.engine.check(&text)?;
        if !bind.portal.is_empty() && self.portals.contains_key(bind.portal) {
            return Err(Failure("42P03", "the cursor already exists".into()));
        }
        let parameters = bind
            .parameters
            .iter()
            .map(|value| value.map(|value| String::from_utf8_lossy(value).into_owned()))
            .collect();
        let portal = Portal {
            text,
            parameters,
            binary: bind.result_formats.iter().next() == Some(Format::Binary),
            rows: None,
            sent: 0,
        };
        self.portals.insert(bind.portal.to_vec(), portal);
        put(out, &BindComplete);
        Ok(())
    }

    fn statement(&self, name: &[u8]) -> Result<&str, Failure> {
        self.statements
            .get(name)
            .map(String::as_str)
            .ok_or_else(|| {
                let name = String::from_utf8_lossy(name);
                Failure(
                    "26000",
                    format!("prepared statement \"{name}\" does not exist"),
                )
            })
    }

    fn describe(&mut self, describe: &Describe<'_>, out: &mut BytesMut) -> Result<(), Failure> {
        let (text, binary) = match describe.0 {
            Named::Statement(name) => {
                let text = self.statement(name)?.to_owned();
                let mut buffer = BytesMut::new();
                let types = text.contains("$1").then_some(23);
                if let Ok(types) = List::build(&mut buffer, types) {
                    put(out, &ParameterDescription { types });
                }
                (text, false)
            }
            Named::Portal(name) => {
                let portal = self.portals.get(name).ok_or_else(no_portal)?;
                (portal.text.clone(), portal.binary)
            }
        };
        match engine::columns(&text)? {
            Some(columns) => describe_rows(&columns, binary, out),
            None => put(out, &NoData),
        }
        Ok(())
    }

    fn execute(&mut self, execute: &Execute<'_>, out: &mut BytesMut) -> Result<(), Failure> {
        let portal = self.portals.get_mut(execute.portal).ok_or_else(no_portal)?;
        self.engine.check(&portal.text)?;
        if portal.rows.is_none() {
            let results = self.engine.run(&portal.text, &portal.parameters)?;
            match results {
                Results::Rows(rows) => portal.rows = Some(rows.into()),
                Results::CopyIn => {
                    self.begin_copy(None, out);
                    return Ok(());
                }
                other => {
                    portal.rows = Some(VecDeque::new());
                    self.say_asides(out);
                    give(&other, false, out);
                    return Ok(());
                }
            }
        }
        let rows = portal.rows.get_or_insert_default();
        let max = usize::try_from(execute.rows_max)
            .ok()
            .filter(|max| *max > 0);
        let count = max.unwrap_or(usize::MAX).min(rows.len());
        for row in rows.drain(..count) {
            data_row(&row, portal.binary, out);
        }
        portal.sent += count;
        if max.is_some_and(|max| count == max) {
            put(out, &PortalSuspended);
        } else {
            complete(&format!("SELECT {count}"), out);
        }
        Ok(())
    }

    fn begin_copy(&mut self, rest: Option<Vec<String>>, out: &mut BytesMut) {
        self.copy = Some(Copy { rows: 0, rest });
        let mut buffer = BytesMut::new();
        if let Ok(columns) = List::build(&mut buffer, [Format::Text]) {
            let format = Format::Text;
            put(out, &CopyInResponse { format, columns });
        }
    }

    fn on_copy(&mut self, message: &Frontend<'_>, out: &mut BytesMut) {
        let Some(mut copy) = self.copy.take() else {
            return;
        };
        let result = match message {
            Frontend::CopyData(data) => match self.engine.copy(data.0) {
                Ok(count) => {
                    copy.rows += count;
                    self.copy = Some(copy);
                    return;
                }
                Err(failure) => Err(failure),
            },
            Frontend::Flush(_) | Frontend::Sync(_) => {
                self.copy = Some(copy);
                return;
            }
            Frontend::Terminate(_) => {
                self.state = State::Closed;
                return;
            }
            Frontend::CopyDone(_) => Ok(format!("COPY {}", copy.rows)),
            Frontend::CopyFail(_) => Err(Failure("57014", "COPY from stdin failed".into())),
            _ => Err(Failure("08P01", "unexpected message during COPY".into())),
        };
        match (result, copy.rest) {
            (Ok(tag), Some(rest)) => {
                complete(&tag, out);
                if rest.is_empty() {
                    self.engine.commit_implicit();
                    self.ready(out);
                } else {
                    self.run_query(rest.into(), out);
                }
            }
            (Ok(tag), None) => complete(&tag, out),
            (Err(failure), rest) => {
                self.fail(&failure, out);
                match rest {
                    Some(_) => self.ready(out),
                    None => self.skipping = true,
                }
            }
        }
    }

    fn fail(&mut self, failure: &Failure, out: &mut BytesMut) {
        if failure.0 == engine::SHUTDOWN {
            error(Severity::Fatal, failure.0, &failure.1, out);
            self.state = State::Closed;
            return;
        }
        self.engine.fail();
        error(Severity::Error, failure.0, &failure.1, out);
    }

    fn fatal(&mut self, why: &str, out: &mut BytesMut) {
        error(Severity::Fatal, "08P01", why, out);
        self.state = State::Closed;
    }

    fn say_asides(&mut self, out: &mut BytesMut) {
        self.engine.asides.retain(|aside| match aside {
            Aside::Notice(text) => {
                let report = Report::new(Severity::Notice, SqlState::SUCCESS, text);
                let _ = report.encode(out);
                false
            }
            Aside::Report(name, value) => {
                report(out, name, value);
                false
            }
            Aside::Notification(..) => true,
        });
    }

    fn ready(&mut self, out: &mut BytesMut) {
        if self.is_closed() {
            return;
        }
        for aside in std::mem::take(&mut self.engine.asides) {
            if let Aside::Notification(channel, payload) = aside {
                put(
                    out,
                    &NotificationResponse {
                        process_id: 78,
                        channel: channel.as_bytes(),
                        payload: payload.as_bytes(),
                    },
                );
            }
        }
        let status = self.engine.status;
        if status != TransactionStatus::InTransaction {
            self.portals.clear();
        }
        put(out, &ReadyForQuery { status });
    }
}

fn no_portal() -> Failure {
    Failure("34000", "portal does not exist".into())
}

/// Checks client-final-message; server-final-message if it is right (RFC 5802, section 3).
fn prove(bare: &str, first: &str, message: &str) -> Option<String> {
    static SALTED: OnceLock<Option<SaltedPassword>> = OnceLock::new();
    let salted = SALTED.get_or_init(|| SaltedPassword::derive(b"pencil", SALT, ITERATIONS).ok());
    let salted = hmac::Key::new(hmac::HMAC_SHA256, salted.as_ref()?.as_bytes());
    let (without_proof, proof) = message.rsplit_once(",p=")?;
    let proof = BASE64.decode(proof).ok()?;
    let auth_message = format!("{bare},{first},{without_proof}");
    let client_key = hmac::sign(&salted, b"Client Key");
    let stored = digest::digest(&digest::SHA256, client_key.as_ref());
    let stored_key = hmac::Key::new(hmac::HMAC_SHA256, stored.as_ref());
    let signature = hmac::sign(&stored_key, auth_message.as_bytes());
    let proven = proof.iter().zip(signature.as_ref()).map(|(p, s)| p ^ s);
    if !proven.eq(client_key.as_ref().iter().copied()) {
        return None;
    }
    let server_key = hmac::sign(&salted, b"Server Key");
    let server_key = hmac::Key::new(hmac::HMAC_SHA256, server_key.as_ref());
    let signature = hmac::sign(&server_key, auth_message.as_bytes());
    Some(format!("v={}", BASE64.encode(signature.as_ref())))
}

fn split(text: &str) -> VecDeque<String> {
    let parts = text.split(';').map(str::trim);
    parts
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Constants and texts without zero bytes always encode; anything else is left out and missed.
fn put<'a>(out: &mut BytesMut, message: &impl Message<'a>) {
    let _ = message.encode(out);
}

fn report(out: &mut BytesMut, name: &str, value: &str) {
    let (name, value) = (name.as_bytes(), value.as_bytes());
    put(out, &ParameterStatus { name, value });
}

fn error(severity: Severity, code: &str, message: &str, out: &mut BytesMut) {
    let code = SqlState::new(code).unwrap_or(SqlState::INTERNAL_ERROR);
    let _ = Report::new(severity, code, message).encode(out);
}

fn complete(tag: &str, out: &mut BytesMut) {
    let tag = tag.as_bytes();
    put(out, &CommandComplete { tag });
}

fn give(results: &Results, binary: bool, out: &mut BytesMut) {
    match results {
        Results::Empty => put(out, &EmptyQueryResponse),
        Results::Rows(rows) => {
            for row in rows {
                data_row(row, binary, out);
            }
            complete(&format!("SELECT {}", rows.len()), out);
        }
        Results::Done(tag) => complete(tag, out),
        // Begun by its caller.
        Results::CopyIn => {}
        Results::CopyOut(lines) => {
            let mut buffer = BytesMut::new();
            if let Ok(columns) = List::build(&mut buffer, [Format::Text]) {
                let format = Format::Text;
                put(out, &CopyOutResponse { format, columns });
            }
            for line in lines {
                put(out, &CopyData(line.as_bytes()));
            }
            put(out, &CopyDone);
            complete(&format!("COPY {}", lines.len()), out);
        }
    }
}

fn describe_rows(columns: &[Column], binary: bool, out: &mut BytesMut) {
    let format = if binary { Format::Binary } else { Format::Text };
    let fields = columns.iter().map(|column| Field {
        name: column.name.as_bytes(),
        table: column.table,
        attribute: column.attribute,
        data_type: column.data_type,
        type_size: if column.data_type == 23 { 4 } else { -1 },
        type_modifier: -1,
        format,
    });
    let mut buffer = BytesMut::new();
    if let Ok(fields) = List::build(&mut buffer, fields) {
        put(out, &RowDescription { fields });
    }
}

fn data_row(row: &[Cell], binary: bool, out: &mut BytesMut) {
    let cells: Vec<Option<Vec<u8>>> = row
        .iter()
        .map(|cell| {
            cell.as_ref().map(|text| match text.parse::<i32>() {
                Ok(number) if binary => number.to_be_bytes().to_vec(),
                _ => text.clone().into_bytes(),
            })
        })
        .collect();
    let mut buffer = BytesMut::new();
    if let Ok(cells) = List::build(&mut buffer, cells.iter().map(Option::as_deref)) {
        put(out, &DataRow { cells });
    }
}
