//! A gate around the wire, everything it did, and short names for it.

use std::{collections::VecDeque, net::Ipv4Addr, sync::Arc, time::Duration};

use bytes::BytesMut;
use gateway_core::{
    decision::{
        Decision, DecisionPoint, Denial, Hold, Reason, Request as Asked, Requirement, Verdict,
    },
    gate::{Action, Gate, Input, Setup},
    id::{
        AppId, ApprovalId, ClassName, Digest, EvidenceSeq, ObjectId, RuleId, SessionId, TargetName,
        TenantId,
    },
    identity::{Authenticated, Groups, Principal, PrincipalKind},
    mask::{Detector, MaskCount, Obligations, Scan},
    operation::{Operation, SessionOp},
    record::{ApprovalOutcome, CloseReason, Direction, Entry, Evidence, Moment, Outcome, Track},
    target::{Durability, Masking, Mode, Target},
    time::{Mono, Now, Wall},
    wire::{Answer, Credential, Question, Route, Side},
};
use secrecy::ExposeSecret as _;

use crate::ssh::{
    frame,
    message::{
        Body, ChannelId, Modes, Request, Size,
        sftp::{Packet, Reply},
    },
    session::{Command, Event, Outbound, Session},
};

/// Nothing was heard.
pub(super) const SETUP: [&str; 0] = [];

/// Denies what names `deny`, holds what names `hold`, refuses sessions on `closed`, and masks
/// `secret` in what programs print.
#[derive(Debug)]
struct Rules;

impl DecisionPoint for Rules {
    fn decide(&self, _: Now, request: &Asked<'_>) -> Decision {
        let rule = RuleId::parse("look").unwrap();
        let text = request.operation.text();
        let closed = matches!(
            request.operation,
            Operation::Session(SessionOp::Open { .. })
        ) && request.target.name.as_str() == "closed";
        let verdict = if closed {
            let denial = Denial::new(Reason::Forbidden, "sessions are forbidden");
            Verdict::Deny(denial.with_hint("Ask somebody."))
        } else if text.contains("deny") {
            Verdict::Deny(Denial::new(Reason::Forbidden, "it is forbidden").with_hint("Don't."))
        } else if text.contains("hold") && !request.approved.contains(&rule) {
            Verdict::Hold(Hold {
                requirements: vec![Requirement {
                    rule,
                    reviewers: "Approver".into(),
                    approvers: 1,
                }],
                expires_in: Duration::from_secs(300),
                message: "a person must look".into(),
                excluded_owner: None,
            })
        } else {
            Verdict::Allow
        };
        Decision {
            verdict,
            obligations: Obligations {
                detector: Some(Arc::new(Secrets)),
                ..Obligations::default()
            },
            rules: Vec::new(),
            policy: self.policy(),
        }
    }

    fn policy(&self) -> Digest {
        Digest::of(b"policy")
    }
}

/// Finds `secret`.
#[derive(Debug)]
struct Secrets;

impl Detector for Secrets {
    fn scan(&self) -> Box<dyn Scan> {
        Box::new(SecretScan::default())
    }
}

#[derive(Debug, Default)]
struct SecretScan {
    kept: Vec<u8>,
    found: u64,
}

impl Scan for SecretScan {
    fn push(&mut self, data: &[u8], out: &mut BytesMut) {
        for byte in data {
            self.kept.push(*byte);
            if self.kept == b"secret" {
                self.kept.clear();
                self.found += 1;
                out.extend_from_slice(b"***");
            }
            while !b"secret".starts_with(&self.kept) {
                out.extend_from_slice(&self.kept[..1]);
                self.kept.remove(0);
            }
        }
    }

    fn finish(&mut self, out: &mut BytesMut) {
        out.extend_from_slice(&self.kept);
        self.kept.clear();
    }

    fn counts(&self) -> Vec<MaskCount> {
        let count = MaskCount {
            column: "secret".into(),
            class: ClassName::parse("secret").unwrap(),
            method: "redact",
            seen: self.found,
            masked: self.found,
        };
        vec![count]
    }
}

/// A session under test.
pub(super) struct Bench {
    gate: Gate<Session>,
    now: Now,
    agent: VecDeque<Event>,
    target: VecDeque<Event>,
    to_agent: Vec<String>,
    to_target: Vec<String>,
    /// Channel data is packets of a file transfer.
    pub(super) is_transfer: bool,
    pub(super) entries: Vec<Entry>,
    pub(super) moments: Vec<(Direction, Moment)>,
    approvals: Vec<ApprovalId>,
    pub(super) withdrawn: usize,
    pub(super) connecting: bool,
    pub(super) closed: Option<CloseReason>,
}

impl Bench {
    pub(super) fn new() -> Self {
        let wall = Wall::from_secs(1_790_000_000);
        let limits = Arc::default();
        let setup = Setup {
            session: SessionId::new(wall, [1; 10]),
            source: Ipv4Addr::LOCALHOST.into(),
            decision: Arc::new(Rules),
            limits: Arc::clone(&limits),
        };
        let mut bench = Self {
            gate: Gate::new(Session::new(&limits), setup),
            now: Now {
                wall,
                mono: Mono::from_micros(1),
            },
            agent: VecDeque::new(),
            target: VecDeque::new(),
            to_agent: Vec::new(),
            to_target: Vec::new(),
            is_transfer: false,
            entries: Vec::new(),
            moments: Vec::new(),
            approvals: Vec::new(),
            withdrawn: 0,
            connecting: false,
            closed: None,
        };
        bench.give(Input::Start);
        bench
    }

    /// A session that is open on both sides, with nothing heard yet.
    pub(super) fn open_session() -> Self {
        let mut bench = Self::new();
        bench.login("good", "web");
        bench.connected();
        bench.heard(Side::Agent);
        bench
    }

    pub(super) fn login(&mut self, token: &str, user: &str) {
        let credential = Credential::Password(token.to_owned().into());
        let user = user.into();
        self.event(Side::Agent, Event::Login { user, credential });
    }

    pub(super) fn connected(&mut self) {
        self.give(Input::Connected);
    }

    pub(super) fn connect_failed(&mut self, why: &str) {
        self.give(Input::ConnectFailed(why.into()));
    }

    pub(super) fn eof(&mut self, side: Side) {
        self.give(Input::Eof(side));
    }

    pub(super) fn close(&mut self, reason: CloseReason) {
        self.give(Input::Close(reason));
    }

    pub(super) fn open(kind: &str) -> Body {
        let (kind, data) = (kind.into(), bytes::Bytes::new());
        Body::Open { kind, data }
    }

    pub(super) fn agent(&mut self, channel: u32, body: Body) {
        self.say(Side::Agent, channel, body);
    }

    pub(super) fn target(&mut self, channel: u32, body: Body) {
        self.say(Side::Target, channel, body);
    }

    pub(super) fn say(&mut self, side: Side, channel: u32, body: Body) {
        self.event(side, Event::Message(body.on(ChannelId(channel))));
    }

    /// The agent asks for something, and wants a reply.
    pub(super) fn ask(&mut self, channel: u32, request: Request) {
        let want_reply = true;
        self.agent(
            channel,
            Body::Request {
                want_reply,
                request,
            },
        );
    }

    /// The target says something of its own accord.
    pub(super) fn remark(&mut self, channel: u32, request: Request) {
        let want_reply = false;
        self.target(
            channel,
            Body::Request {
                want_reply,
                request,
            },
        );
    }

    pub(super) fn event(&mut self, side: Side, event: Event) {
        match side {
            Side::Agent => self.agent.push_back(event),
            Side::Target => self.target.push_back(event),
        }
        self.settle();
    }

    /// Every request for approval ends so.
    pub(super) fn vote(&mut self, outcome: ApprovalOutcome) {
        for approval in std::mem::take(&mut self.approvals) {
            self.give(Input::ApprovalEnded {
                approval,
                outcome,
                votes: Vec::new(),
            });
        }
    }

    /// Whether the gate reads on from the agent.
    pub(super) fn wants_agent(&self) -> bool {
        self.gate.wants(Side::Agent, self.agent.len())
    }

    /// What a side heard since this was asked last.
    pub(super) fn heard(&mut self, side: Side) -> Vec<String> {
        std::mem::take(match side {
            Side::Agent => &mut self.to_agent,
            Side::Target => &mut self.to_target,
        })
    }

    /// Whether a refusal on record says this.
    pub(super) fn recorded(&self, words: &str) -> bool {
        self.entries.iter().any(|entry| match entry {
            Entry::Blocked(blocked) => blocked.denial.message.contains(words),
            Entry::SessionRefused { denial, .. } => denial.message.contains(words),
            _ => false,
        })
    }

    /// Logins on record that failed: who and why.
    pub(super) fn rejected(&self) -> Vec<String> {
        let rejected = |entry: &Entry| match entry {
            Entry::AuthRejected {
                reason,
                claimed_user,
            } => Some(format!("{claimed_user}: {reason}")),
            _ => None,
        };
        self.entries.iter().filter_map(rejected).collect()
    }

    /// Texts of the units that were allowed, and how they ended, in that order.
    pub(super) fn ended(&self) -> Vec<(String, Outcome)> {
        let intents = self.entries.iter().filter_map(|entry| match entry {
            Entry::Intent(intent) => Some(intent),
            _ => None,
        });
        intents
            .filter_map(|intent| {
                let outcome = self.entries.iter().find_map(|entry| match entry {
                    Entry::Finished { unit, end, .. } if *unit == intent.unit => {
                        Some(end.outcome.clone())
                    }
                    _ => None,
                });
                Some((intent.operation.text().to_owned(), outcome?))
            })
            .collect()
    }

    /// What is on record of one track, joined.
    pub(super) fn track(&self, track: Track) -> Vec<u8> {
        let moments = self
            .moments
            .iter()
            .filter(|(_, moment)| moment.track == track);
        moments
            .flat_map(|(_, moment)| moment.data.to_vec())
            .collect()
    }

    fn give(&mut self, input: Input<'_, VecDeque<Event>>) {
        self.gate.handle(self.now, input);
        self.settle();
    }

    /// Offers what is there, and does what is to be done, until nothing happens.
    fn settle(&mut self) {
        loop {
            for (from, data) in [
                (Side::Agent, &mut self.agent),
                (Side::Target, &mut self.target),
            ] {
                if !data.is_empty() {
                    self.gate.handle(self.now, Input::Data { from, data });
                }
            }
            let mut quiet = true;
            while let Some(action) = self.gate.poll_action() {
                quiet = false;
                self.act(action);
            }
            if quiet {
                return;
            }
        }
    }

    fn act(&mut self, action: Action<Outbound>) {
        match action {
            Action::Send { to, data } => {
                let shown = self.show(&data.command);
                match to {
                    Side::Agent => self.to_agent.push(shown),
                    Side::Target => self.to_target.push(shown),
                }
            }
            Action::Evidence(sequence, evidence) => {
                self.keep(evidence);
                self.gate
                    .handle(self.now, Input::Acknowledged(EvidenceSeq(sequence.0)));
            }
            Action::Ask(id, question) => {
                let answer = answer(&question, self.now.wall);
                self.gate.handle(self.now, Input::Answer(id, answer));
            }
            Action::RequestApproval(request) => self.approvals.push(request.id),
            Action::WithdrawApproval(_) => self.withdrawn += 1,
            Action::Connect => self.connecting = true,
            Action::Close(reason) => self.closed = Some(reason),
            Action::StartTls(_) | Action::Aside(_) => panic!("not in this protocol"),
        }
    }

    fn keep(&mut self, evidence: Evidence) {
        match evidence {
            Evidence::Record(record) => self.entries.push(record.entry),
            Evidence::Chunk(chunk) => {
                let mut stream = BytesMut::from(&chunk.data[..]);
                while let Some(moment) = Moment::decode(&mut stream).unwrap() {
                    self.moments.push((chunk.direction, moment));
                }
                assert!(stream.is_empty());
            }
        }
    }

    fn show(&self, command: &Command) -> String {
        let message = match command {
            Command::Accept => return "accept".into(),
            Command::Reject => return "reject".into(),
            Command::Disconnect { text } => return format!("disconnect {text}"),
            Command::Message(message) => message,
        };
        let what = match &message.body {
            Body::Open { kind, .. } => format!("open {kind}"),
            Body::Opened => "opened".into(),
            Body::OpenFailed { reason, .. } => format!("open failed {reason}"),
            Body::Data(data) if self.is_transfer => show_packet(data.clone()),
            Body::Data(data) => format!("data {}", data.escape_ascii()),
            Body::ExtendedData { data, .. } => format!("error {}", data.escape_ascii()),
            Body::Eof => "eof".into(),
            Body::Close => "close".into(),
            Body::Success => "success".into(),
            Body::Failure => "failure".into(),
            Body::Request { request, .. } => show_request(request),
        };
        format!("{} {what}", message.channel.0)
    }
}

fn show_request(request: &Request) -> String {
    match request {
        Request::Pty { term, size, .. } => format!("pty {term} {}x{}", size.columns, size.rows),
        Request::Env { name, value } => format!("env {name}={}", value.escape_ascii()),
        Request::Exec(command) => format!("exec {}", command.escape_ascii()),
        Request::Subsystem(name) => format!("subsystem {name}"),
        Request::WindowChange(size) => format!("resize {}x{}", size.columns, size.rows),
        Request::Signal(signal) => format!("signal {signal}"),
        Request::ExitStatus(status) => format!("exit {status}"),
        Request::ExitSignal { signal, .. } => format!("killed by {signal}"),
        Request::Shell => "shell".into(),
        Request::Other { name, .. } => format!("request {name}"),
    }
}

fn show_packet(data: bytes::Bytes) -> String {
    let mut input = BytesMut::from(&data[..]);
    let body = frame::decode(&mut input).unwrap().unwrap();
    assert!(input.is_empty(), "one packet each");
    match Packet::parse(body).unwrap() {
        Packet::Request { id, request } => format!("{id} {request:?}"),
        Packet::Reply { id, reply } => match reply {
            Reply::Status(status) => format!("{id} {} {}", status.code.as_str(), status.message),
            reply => format!("{id} {reply:?}"),
        },
        Packet::Init { version, .. } => format!("init {version}"),
        Packet::Version {
            version,
            extensions,
        } => format!("version {version} {}", extensions.len()),
    }
}

fn answer(question: &Question, wall: Wall) -> Answer {
    match question {
        Question::Route { requested } if requested == "nowhere" => Answer::Route(Err(Denial::new(
            Reason::Protocol,
            "there is no target \"nowhere\"",
        ))),
        Question::Route { requested } => Answer::Route(Ok(Route {
            target: Target {
                name: TargetName::parse(requested).unwrap(),
                environment: "test".into(),
                protocol: "ssh",
                mode: Mode::Enforce,
                durability: Durability::Strict,
                upstream_principal: "gateway".into(),
                classified: false,
                masking: Masking::Shared,
            },
            database: String::new(),
        })),
        Question::Authenticate {
            credential: Credential::Password(token),
            ..
        } => Answer::Authenticated(match token.expose_secret() {
            "good" => Ok(Authenticated::by_verified_credential(principal(wall))),
            _ => Err("signature".into()),
        }),
        Question::ConsumeApproval { .. } => Answer::Consumed(true),
        other => panic!("{other:?}"),
    }
}

fn principal(wall: Wall) -> Principal {
    Principal {
        tenant: TenantId::parse("11111111-2222-4333-8444-555555555555").unwrap(),
        object: ObjectId::parse("22222222-2222-4333-8444-555555555555").unwrap(),
        app: AppId::parse("33333333-2222-4333-8444-555555555555").unwrap(),
        kind: PrincipalKind::Application,
        display_name: String::new(),
        roles: Vec::new(),
        groups: Groups::Known(Vec::new()),
        token_id: "token".into(),
        client_auth: Some(2),
        issued_at: wall,
        expires_at: wall.saturating_add(Duration::from_secs(3600)),
    }
}

pub(super) fn env(name: &str, value: &str) -> Request {
    let (name, value) = (name.into(), value.to_owned().into());
    Request::Env { name, value }
}

pub(super) fn pty() -> Request {
    Request::Pty {
        term: "xterm".into(),
        size: size(80, 24),
        modes: Modes::new([(53, 1)]),
    }
}

pub(super) const fn size(columns: u32, rows: u32) -> Size {
    Size {
        columns,
        rows,
        width: 0,
        height: 0,
    }
}

pub(super) fn exec(command: &str) -> Request {
    Request::Exec(command.to_owned().into())
}
