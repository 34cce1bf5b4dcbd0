//! The gateway as a library: one PostgreSQL session over byte slices, with our own policy, our own
//! evidence sink, and no socket, thread pool or async runtime.
//!
//! A [`Gate`] is given inputs and hands out actions. Whoever drives it owns everything else: here
//! the agent, the target, the analyser and the clock are a few lines each. Run it with
//! `cargo run -p examples --example embed`.
//!
//! What to look for: the forbidden statement never reaches the target, the masked value never
//! reaches the agent, and every statement is evidence before it is sent.

#![allow(clippy::print_stdout, reason = "an example tells what happens")]

use std::{
    collections::BTreeSet,
    error::Error,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    thread,
};

use bytes::{Bytes, BytesMut};
use gateway_core::{
    catalogue::{ColumnId, Snapshot},
    decision::{Decision, DecisionPoint, Denial, Reason, Request, Verdict},
    gate::{Action, Gate, Input, Setup},
    id::{AppId, ClassName, Digest, ObjectId, SessionId, TargetName, TenantId},
    identity::{Authenticated, Groups, Principal, PrincipalKind},
    limits::Limits,
    mask::{Cell, Classified, ClassifiedColumn, MaskedCell, Obligations, Transform},
    operation::{Action as SqlAction, ClassifiedUse, Operation},
    record::{Entry, Evidence},
    target::{Durability, Masking, Mode, Target},
    time::{Mono, Now, Wall},
    wire::{
        Analysed, Answer, Credential, Question, Route, Side, TargetLogin, TargetProof, TlsFacts,
    },
};
use gateway_protocols::{
    postgres::{
        Session,
        message::{
            Authentication, BackendKeyData, CommandComplete, DataRow, Field, Format, List, Message,
            PasswordMessage, Query, ReadyForQuery, Report, RowDescription, Severity, SqlState,
            Startup, StartupPacket, TransactionStatus, Version,
        },
    },
    sql,
};
use secrecy::ExposeSecret as _;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// A policy is anything that decides. This one is a closure over the request.
struct Policy<F>(F);

impl<F: Fn(&Request<'_>) -> Verdict + Send + Sync> DecisionPoint for Policy<F> {
    fn decide(&self, _now: Now, request: &Request<'_>) -> Decision {
        let used = match request.operation {
            Operation::Sql(unit) => &unit.analysis.classified,
            Operation::Session(_) | Operation::Command(_) | Operation::Api(_) => {
                &ClassifiedUse::default()
            }
        };
        Decision {
            verdict: (self.0)(request),
            // Nobody sees classified columns in clear.
            obligations: Obligations::split(used, |_column| false),
            rules: Vec::new(),
            policy: self.policy(),
        }
    }

    fn policy(&self) -> Digest {
        Digest::of(b"version 1 of our policy")
    }
}

fn no_drops(request: &Request<'_>) -> Verdict {
    let effects = request.operation.effects();
    if effects
        .iter()
        .any(|effect| effect.action == SqlAction::SqlDrop)
    {
        return Verdict::Deny(Denial::new(Reason::Forbidden, "drops need a change ticket"));
    }
    Verdict::Allow
}

/// A mask of our own.
#[derive(Debug)]
struct Stars;

impl Transform for Stars {
    fn mask(&self, _cell: Cell<'_>, out: &mut BytesMut) -> MaskedCell {
        out.extend_from_slice(b"***");
        MaskedCell::Value
    }

    fn method(&self) -> &'static str {
        "stars"
    }
}

/// A session in memory: the gate, both input buffers, and what it has sent so far.
struct InProcess {
    gate: Gate<Session>,
    target: SampleTarget,
    snapshot: Snapshot,
    classified: Arc<Classified>,
    from_agent: BytesMut,
    from_target: BytesMut,
    to_agent: BytesMut,
    evidence: Vec<Evidence>,
}

impl InProcess {
    fn new(policy: impl DecisionPoint + 'static) -> Result<Self> {
        // Any catalogue will do; this one is kept for tests of policies.
        let catalogue = include_str!("../gateway-policy/starter/postgres/tests/catalogue.json");
        let snapshot: Snapshot = serde_json::from_str(catalogue)?;
        let customers = snapshot
            .relation("public", "customers")
            .ok_or("no customers")?;
        let email = ClassifiedColumn {
            id: ColumnId {
                relation: customers.id,
                number: customers.column("email").ok_or("no email")?.number,
            },
            name: ["public", "customers", "email"].map(str::to_owned),
            class: ClassName::parse("email")?,
            transform: Arc::new(Stars),
            derived: None,
        };
        let limits = Limits::default();
        let setup = Setup {
            session: SessionId::new(now().wall, [0; 10]),
            source: IpAddr::V4(Ipv4Addr::LOCALHOST),
            decision: Arc::new(policy),
            limits: Arc::new(limits.clone()),
        };
        Ok(Self {
            gate: Gate::new(Session::new(&limits), setup),
            target: SampleTarget { email: email.id },
            snapshot,
            classified: Arc::new(Classified::new(vec![email], BTreeSet::new())),
            from_agent: BytesMut::new(),
            from_target: BytesMut::new(),
            to_agent: BytesMut::new(),
            evidence: Vec::new(),
        })
    }

    /// The agent sends bytes; returns what it gets back once everything has settled.
    fn agent_sends(&mut self, bytes: &[u8]) -> Result<Bytes> {
        self.from_agent.extend_from_slice(bytes);
        loop {
            // The gate takes what it can of each side, and is offered the rest again later.
            let untaken = (self.from_agent.len(), self.from_target.len());
            self.handle(|this| Input::Data {
                from: Side::Agent,
                data: &mut this.0,
            });
            self.handle(|this| Input::Data {
                from: Side::Target,
                data: &mut this.1,
            });
            let mut acted = false;
            while let Some(action) = self.gate.poll_action() {
                self.perform(action)?;
                acted = true;
            }
            if !acted && untaken == (self.from_agent.len(), self.from_target.len()) {
                return Ok(self.to_agent.split().freeze());
            }
        }
    }

    fn handle(&mut self, input: impl FnOnce(&mut (BytesMut, BytesMut)) -> Input<'_, BytesMut>) {
        let mut buffers = (self.from_agent.split(), self.from_target.split());
        self.gate.handle(now(), input(&mut buffers));
        (self.from_agent, self.from_target) = buffers;
    }

    fn perform(&mut self, action: Action<Bytes>) -> Result<()> {
        match action {
            Action::Send {
                to: Side::Agent,
                data,
            } => self.to_agent.extend_from_slice(&data),
            Action::Send {
                to: Side::Target,
                data,
            } => {
                self.target.receive(&data, &mut self.from_target)?;
            }
            // Nothing leaves before the evidence ahead of it is acknowledged.
            Action::Evidence(position, evidence) => {
                self.evidence.push(evidence);
                self.gate.handle(now(), Input::Acknowledged(position));
            }
            Action::Ask(id, question) => {
                let answer = self.answer(question)?;
                self.gate.handle(now(), Input::Answer(id, answer));
            }
            Action::Connect => self.gate.handle(now(), Input::Connected),
            // Whoever owns the transport does TLS on it. There is none here to protect.
            Action::StartTls(side) => {
                self.gate
                    .handle(now(), Input::TlsReady(side, TlsFacts::default()));
            }
            Action::Close(reason) => println!("closed: {reason:?}"),
            Action::RequestApproval(_) | Action::WithdrawApproval(_) | Action::Aside(_) => {}
        }
        Ok(())
    }

    fn answer(&self, question: Question) -> Result<Answer> {
        Ok(match question {
            Question::Route { requested } => Answer::Route(Ok(Route {
                target: sample_target()?,
                database: requested,
            })),
            // A gateway verifies an Entra token here: `gateway_core::identity::verify`.
            Question::Authenticate { credential, .. } => Answer::Authenticated(match credential {
                Credential::Password(token) if token.expose_secret() == "our token" => {
                    Ok(Authenticated::by_verified_credential(sample_agent()?))
                }
                _ => Err("unknown_token".to_owned()),
            }),
            Question::AnalyseSql { text } => Answer::Analysed(self.analyse(&text)?),
            Question::TargetLogin => Answer::TargetLogin(Ok(TargetLogin {
                user: "gateway".to_owned(),
                proof: TargetProof::Token("the gateway's own token".into()),
                nonce: "not used with a token".to_owned(),
                direct_tls: false,
            })),
            Question::CancelKey { length, .. } => Answer::CancelKey {
                key: vec![7; length],
            },
            _ => Answer::Unanswered,
        })
    }

    /// PostgreSQL's own grammar, on a thread whose stack is deep enough for any statement.
    fn analyse(&self, text: &Arc<str>) -> Result<Analysed> {
        let version = self.snapshot.version()?;
        let analysis = thread::scope(|scope| {
            let work = || sql::analyse(text, &self.snapshot, version, &self.classified);
            let builder = thread::Builder::new().stack_size(sql::ANALYSIS_STACK_BYTES);
            builder
                .spawn_scoped(scope, work)?
                .join()
                .map_err(|_| "the analysis panicked".into())
        })
        .map_err(|error: Box<dyn Error>| error)?;
        Ok(Analysed {
            analysis: Arc::new(analysis),
            classified: Arc::clone(&self.classified),
        })
    }
}

/// A PostgreSQL server of a few lines: lets the gateway in, has one customer.
struct SampleTarget {
    email: ColumnId,
}

impl SampleTarget {
    fn receive(&self, data: &[u8], out: &mut BytesMut) -> Result<()> {
        let ready = ReadyForQuery {
            status: TransactionStatus::Idle,
        };
        match data.first() {
            // A startup packet has no tag; an SSLRequest is the one of 8 bytes.
            Some(0) if data.len() == 8 => out.extend_from_slice(b"S"),
            Some(0) => Authentication::CleartextPassword.encode(out)?,
            Some(&PasswordMessage::TAG) => {
                Authentication::Ok.encode(out)?;
                BackendKeyData {
                    process_id: 1,
                    key: b"cancel me",
                }
                .encode(out)?;
                ready.encode(out)?;
            }
            Some(&Query::TAG) => {
                println!("  target gets   {}", text(data));
                // What stands in for a refused statement is no SQL: any server rejects it.
                if data.ends_with(b"where id = 7\0") {
                    self.customer(out)?;
                } else {
                    let code = SqlState::new("42601").ok_or("a code has five characters")?;
                    Report::new(Severity::Error, code, "syntax error").encode(out)?;
                }
                ready.encode(out)?;
            }
            other => return Err(format!("the target didn't expect {other:?}").into()),
        }
        Ok(())
    }

    fn customer(&self, out: &mut BytesMut) -> Result<()> {
        let field = |name: &'static str, attribute, data_type| Field {
            name: name.as_bytes(),
            table: self.email.relation.0,
            attribute,
            data_type,
            type_size: -1,
            type_modifier: -1,
            format: Format::Text,
        };
        let (int4, textual) = (23, 25);
        let mut buffer = BytesMut::new();
        let fields = [
            field("id", 1, int4),
            field("email", self.email.number, textual),
        ];
        RowDescription {
            fields: List::build(&mut buffer, fields)?,
        }
        .encode(out)?;
        let cells = [Some(b"7".as_slice()), Some(b"ada@example.org")];
        DataRow {
            cells: List::build(&mut buffer, cells)?,
        }
        .encode(out)?;
        CommandComplete { tag: b"SELECT 1" }.encode(out)?;
        Ok(())
    }
}

fn now() -> Now {
    // A real driver reads its clocks here, once per wake-up.
    Now {
        wall: Wall::from_secs(1_800_000_000),
        mono: Mono::from_micros(1),
    }
}

fn sample_target() -> Result<Target> {
    Ok(Target {
        name: TargetName::parse("shop")?,
        environment: "dev".to_owned(),
        protocol: "postgres",
        mode: Mode::Enforce,
        durability: Durability::Strict,
        upstream_principal: "gateway".to_owned(),
        classified: true,
        masking: Masking::Shared,
    })
}

fn sample_agent() -> Result<Principal> {
    Ok(Principal {
        tenant: TenantId::parse("11111111-1111-4111-8111-111111111111")?,
        object: ObjectId::parse("22222222-2222-4222-8222-222222222222")?,
        app: AppId::parse("33333333-3333-4333-8333-333333333333")?,
        kind: PrincipalKind::Application,
        display_name: String::new(),
        roles: Vec::new(),
        groups: Groups::Known(Vec::new()),
        token_id: String::new(),
        client_auth: None,
        issued_at: now().wall,
        expires_at: Wall::from_secs(now().wall.as_secs() + 3600),
    })
}

/// What of some bytes people can read.
fn text(bytes: &[u8]) -> String {
    let readable = bytes.iter().map(|&b| {
        if b.is_ascii_graphic() || b == b' ' {
            b
        } else {
            b'.'
        }
    });
    String::from_utf8(readable.collect()).unwrap_or_default()
}

/// Bytes of one message.
fn encoded<'a>(message: &impl Message<'a>) -> Result<BytesMut> {
    let mut out = BytesMut::new();
    message.encode(&mut out)?;
    Ok(out)
}

fn main() -> Result<()> {
    let mut session = InProcess::new(Policy(no_drops))?;
    session.gate.handle(now(), Input::Start);

    // The agent is an unmodified client: TLS, a startup packet, its token as the password.
    let mut packet = BytesMut::new();
    StartupPacket::SslRequest.encode(&mut packet)?;
    session.agent_sends(&packet.split())?;
    let parameters: Vec<(&[u8], &[u8])> = vec![(b"user", b"agent"), (b"database", b"shop")];
    StartupPacket::Startup(Startup {
        version: Version::V3_0,
        parameters,
    })
    .encode(&mut packet)?;
    session.agent_sends(&packet)?;
    session.agent_sends(&encoded(&PasswordMessage {
        password: b"our token",
    })?)?;

    for statement in [
        "select id, email from customers where id = 7",
        "drop table customers",
    ] {
        println!("agent sends     {statement}");
        let reply = session.agent_sends(&encoded(&Query {
            text: statement.as_bytes(),
        })?)?;
        println!("  agent gets    {}", text(&reply));
        if text(&reply).contains("ada@") {
            return Err("a masked value got out".into());
        }
    }

    let mut blocked = 0;
    for evidence in &session.evidence {
        match evidence {
            Evidence::Record(record) => {
                println!("evidence        {}", name(&record.entry));
                blocked += u32::from(matches!(record.entry, Entry::Blocked(_)));
            }
            Evidence::Chunk(chunk) => println!("evidence        {} bytes", chunk.data.len()),
        }
    }
    if blocked == 1 {
        Ok(())
    } else {
        Err("the drop wasn't blocked".into())
    }
}

fn name(entry: &Entry) -> String {
    let debug = format!("{entry:?}");
    debug
        .split([' ', '('])
        .next()
        .unwrap_or_default()
        .to_owned()
}

#[test]
fn embedding_works_as_told() {
    main().unwrap();
}
