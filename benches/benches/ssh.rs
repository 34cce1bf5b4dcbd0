//! SSH: what reading packets and command lines costs, and output on its way through a gate.

#![allow(missing_docs, clippy::unwrap_used, reason = "a bench")]

use std::{collections::VecDeque, hint::black_box, net::Ipv4Addr, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gateway_core::{
    decision::{Decision, DecisionPoint, Request as Asked, Verdict},
    gate::{Action, Gate, Input, Setup},
    id::{AppId, Digest, ObjectId, SessionId, TargetName, TenantId},
    identity::{Authenticated, Groups, Principal, PrincipalKind},
    limits::Limits,
    mask::Obligations,
    target::{Durability, Masking, Mode, Target},
    time::{Mono, Now, Wall},
    wire::{Answer, Credential, Payload as _, Question, Route, Side},
};
use gateway_protocols::ssh::{
    Event, Outbound, Session, command, frame,
    message::{
        Body, ChannelId, Request,
        sftp::{Attributes, Name, Packet, Reply, Request as File},
    },
};

const CHANNEL: ChannelId = ChannelId(1);
const PIECE_BYTES: usize = 32 << 10;

fn parse(c: &mut Criterion) {
    let mut group = c.benchmark_group("ssh/parse");
    let write = Packet::Request {
        id: 1,
        request: File::Write {
            handle: Bytes::from_static(b"\0\0\0\0"),
            offset: 0,
            data: vec![7; PIECE_BYTES].into(),
        },
    };
    let name = Name {
        name: Bytes::from_static(b"report-2026.csv"),
        long_name: Bytes::from_static(b"-rw-r--r-- 1 agent agent 4096 Jan 1 00:00 report-2026.csv"),
        attributes: Attributes {
            size: Some(4096),
            permissions: Some(0o100_644),
            ..Attributes::default()
        },
    };
    let names = Packet::Reply {
        id: 1,
        reply: Reply::Names(vec![name; 100]),
    };
    for (what, packet) in [("write of 32 KiB", &write), ("100 names", &names)] {
        let mut bytes = BytesMut::new();
        packet.encode(&mut bytes).unwrap();
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(what, |b| {
            b.iter(|| {
                let mut input = bytes.clone();
                let body = frame::decode(&mut input).unwrap().unwrap();
                Packet::parse(black_box(body)).unwrap()
            });
        });
    }
    drop(group);
    let mut group = c.benchmark_group("ssh/command");
    for line in [
        "systemctl status nginx.service",
        "cd /srv && tar -czf - 'old data' | ssh backup \"cat > $(date +%F).tgz\"",
    ] {
        group.bench_function(line, |b| b.iter(|| command::understand(black_box(line))));
    }
    group.finish();
}

fn pass(c: &mut Criterion) {
    let mut session = Memory::open();
    let piece = Bytes::from(vec![7; PIECE_BYTES]);
    assert!(session.output(&piece) >= PIECE_BYTES, "output is delivered");
    let mut group = c.benchmark_group("ssh/pass");
    group.throughput(Throughput::Bytes(PIECE_BYTES as u64));
    group.bench_function("32 KiB of output", |b| {
        b.iter(|| session.output(black_box(&piece)));
    });
    group.finish();
}

struct AllowAll;

impl DecisionPoint for AllowAll {
    fn decide(&self, _: Now, _: &Asked<'_>) -> Decision {
        Decision {
            verdict: Verdict::Allow,
            obligations: Obligations::default(),
            rules: Vec::new(),
            policy: self.policy(),
        }
    }

    fn policy(&self) -> Digest {
        Digest([0; 32])
    }
}

/// A session in memory in which a program runs; evidence is acknowledged at once.
struct Memory {
    gate: Gate<Session>,
    events: [VecDeque<Event>; 2],
    delivered: usize,
}

impl Memory {
    fn open() -> Self {
        let limits = Arc::new(Limits::default());
        let setup = Setup {
            session: SessionId::new(now().wall, [0; 10]),
            source: Ipv4Addr::LOCALHOST.into(),
            decision: Arc::new(AllowAll),
            limits: Arc::clone(&limits),
        };
        let mut memory = Self {
            gate: Gate::new(Session::new(&limits), setup),
            events: [VecDeque::new(), VecDeque::new()],
            delivered: 0,
        };
        memory.gate.handle(now(), Input::Start);
        memory.hear(
            Side::Agent,
            Event::Login {
                user: "web".to_owned(),
                credential: Credential::Password("token".to_owned().into()),
            },
        );
        let (kind, data) = ("session".to_owned(), Bytes::new());
        let exec = Body::Request {
            want_reply: true,
            request: Request::Exec(Bytes::from_static(b"cat")),
        };
        for (side, body) in [
            (Side::Agent, Body::Open { kind, data }),
            (Side::Agent, exec),
            (Side::Target, Body::Opened),
        ] {
            memory.hear(side, Event::Message(body.on(CHANNEL)));
        }
        memory
    }

    /// The program prints this; returns what the agent gets, bytes.
    fn output(&mut self, data: &Bytes) -> usize {
        self.delivered = 0;
        let message = Body::Data(data.clone()).on(CHANNEL);
        self.hear(Side::Target, Event::Message(message));
        self.delivered
    }

    fn hear(&mut self, from: Side, event: Event) {
        let [agent, target] = &mut self.events;
        let data = match from {
            Side::Agent => agent,
            Side::Target => target,
        };
        data.push_back(event);
        self.gate.handle(now(), Input::Data { from, data });
        while let Some(action) = self.gate.poll_action() {
            self.perform(action);
        }
    }

    fn perform(&mut self, action: Action<Outbound>) {
        let input = match action {
            Action::Send {
                to: Side::Agent,
                data,
            } => {
                self.delivered += data.weight();
                return;
            }
            Action::Evidence(position, _) => Input::Acknowledged(position),
            Action::Ask(id, question) => Input::Answer(id, answer(&question)),
            Action::Connect => Input::Connected,
            Action::Send { .. }
            | Action::StartTls(_)
            | Action::Close(_)
            | Action::RequestApproval(_)
            | Action::WithdrawApproval(_)
            | Action::Aside(_) => return,
        };
        self.gate.handle(now(), input);
    }
}

fn now() -> Now {
    Now {
        wall: Wall::from_secs(1_790_000_000),
        mono: Mono::from_micros(1),
    }
}

fn answer(question: &Question) -> Answer {
    match question {
        Question::Route { requested } => Answer::Route(Ok(Route {
            target: Target {
                name: TargetName::parse(requested).unwrap(),
                environment: "bench".to_owned(),
                protocol: "ssh",
                mode: Mode::Enforce,
                durability: Durability::Strict,
                upstream_principal: "gateway".to_owned(),
                classified: false,
                masking: Masking::Shared,
            },
            database: String::new(),
        })),
        Question::Authenticate { .. } => {
            Answer::Authenticated(Ok(Authenticated::by_verified_credential(principal())))
        }
        _ => Answer::Unanswered,
    }
}

fn principal() -> Principal {
    Principal {
        tenant: TenantId::parse("11111111-2222-4333-8444-555555555555").unwrap(),
        object: ObjectId::parse("22222222-2222-4333-8444-555555555555").unwrap(),
        app: AppId::parse("33333333-2222-4333-8444-555555555555").unwrap(),
        kind: PrincipalKind::Application,
        display_name: String::new(),
        roles: Vec::new(),
        groups: Groups::Known(Vec::new()),
        token_id: "token".to_owned(),
        client_auth: Some(2),
        issued_at: now().wall,
        expires_at: now().wall.saturating_add(Duration::from_secs(3600)),
    }
}

criterion_group!(benches, parse, pass);
criterion_main!(benches);
