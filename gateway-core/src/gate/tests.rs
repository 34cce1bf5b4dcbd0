//! What the gate holds to, whatever its wire does: a puppet wire does as each test says.

use std::{
    collections::VecDeque,
    net::Ipv4Addr,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use bytes::Bytes;

use super::*;
use crate::{
    catalogue::CatalogueVersion,
    decision::{Decision, Denial, Hold, Reason, Request, Requirement},
    id::{AppId, Digest, ObjectId, RuleId, TargetName, TenantId, UnitId},
    identity::{Authenticated, Groups, Principal, PrincipalKind},
    limits::Limits,
    mask::Obligations,
    operation::{
        Analysis, ClassifiedUse, CommandFacts, CommandKind, CommandUnit, Inspection, SqlFacts,
        SqlStage, SqlUnit,
    },
    record::{Direction, Entry},
    target::{Durability, Masking, Mode, Target},
    time::Wall,
    wire::{Analysed, Credential, Route},
};

type Act = Box<dyn FnOnce(&mut Turn<'_, Bytes>)>;

/// Does what it is given, and remembers what it hears.
#[derive(Default)]
struct Puppet {
    ruled: Vec<(UnitId, bool)>,
    authenticated: Vec<Result<(), String>>,
}

impl Wire for Puppet {
    type Inbound = VecDeque<Act>;
    type Outbound = Bytes;

    fn receive(
        &mut self,
        _: Side,
        input: &mut VecDeque<Act>,
        turn: &mut Turn<'_, Bytes>,
    ) -> Result<(), WireError> {
        while let Some(act) = input.pop_front() {
            act(turn);
        }
        Ok(())
    }

    fn notify(&mut self, event: Event, _: &mut Turn<'_, Bytes>) -> Result<(), WireError> {
        match event {
            Event::Ruled(unit, ruled) => self.ruled.push((unit, ruled.is_ok())),
            Event::Answer(_, Answer::Authenticated(answer)) => {
                self.authenticated.push(answer.map(drop));
            }
            _ => {}
        }
        Ok(())
    }

    fn wants(&self, _: Side, _: usize) -> bool {
        true
    }
}

/// Denies `deny`, holds `hold`, allows the rest; `top` until it is told to be stricter.
#[derive(Default)]
struct ByText {
    is_strict: AtomicBool,
}

impl DecisionPoint for ByText {
    fn decide(&self, _: Now, request: &Request<'_>) -> Decision {
        let rule = RuleId::parse("hold").unwrap();
        let verdict = match request.operation.text() {
            "top" if self.is_strict.load(Ordering::Relaxed) => {
                Verdict::Deny(Denial::new(Reason::Forbidden, "no longer"))
            }
            "deny" => Verdict::Deny(Denial::new(Reason::Forbidden, "no")),
            "hold" if !request.approved.contains(&rule) => Verdict::Hold(Hold {
                requirements: vec![Requirement {
                    rule,
                    reviewers: "Approver".into(),
                    approvers: 1,
                }],
                expires_in: Duration::from_secs(300),
                message: "wait".into(),
                excluded_owner: None,
            }),
            _ => Verdict::Allow,
        };
        Decision {
            verdict,
            obligations: Obligations::default(),
            rules: Vec::new(),
            policy: self.policy(),
        }
    }

    fn policy(&self) -> Digest {
        Digest::of(b"policy")
    }
}

/// A gate with an open session, and everything it did since.
struct Bench {
    gate: Gate<Puppet>,
    decision: Arc<ByText>,
    now: Now,
    sent: Vec<(Side, Bytes)>,
    entries: Vec<Entry>,
    emitted: EvidenceSeq,
    asked: Vec<(AskId, Question)>,
    approvals: Vec<ApprovalRequest>,
    withdrawn: usize,
    closed: Option<CloseReason>,
}

impl Bench {
    fn open(mode: Mode) -> Self {
        let wall = Wall::from_secs(1_790_000_000);
        let decision = Arc::new(ByText::default());
        let setup = Setup {
            session: SessionId::new(wall, [1; 10]),
            source: Ipv4Addr::LOCALHOST.into(),
            decision: Arc::clone(&decision) as _,
            limits: Arc::default(),
        };
        let mut bench = Self {
            decision,
            gate: Gate::new(Puppet::default(), setup),
            now: Now {
                wall,
                mono: Mono::from_micros(1),
            },
            sent: Vec::new(),
            entries: Vec::new(),
            emitted: EvidenceSeq(0),
            asked: Vec::new(),
            approvals: Vec::new(),
            withdrawn: 0,
            closed: None,
        };
        bench.give(Input::Start);
        bench.act(|turn| {
            turn.ask(Question::Route {
                requested: "db".into(),
            });
        });
        bench.answer(Answer::Route(Ok(route(mode))));
        bench.act(|turn| {
            turn.ask(Question::Authenticate {
                claimed_user: "a".into(),
                credential: Credential::Password("t".to_owned().into()),
            });
        });
        let principal = Authenticated::by_verified_credential(principal(wall));
        bench.answer(Answer::Authenticated(Ok(principal)));
        bench.act(|turn| {
            turn.open().unwrap();
            turn.established();
        });
        bench.acknowledge();
        bench
    }

    fn give(&mut self, input: Input<'_, VecDeque<Act>>) {
        self.gate.handle(self.now, input);
        while let Some(action) = self.gate.poll_action() {
            match action {
                Action::Send { to, data } => self.sent.push((to, data)),
                Action::Evidence(sequence, evidence) => {
                    assert_eq!(sequence.0, self.emitted.0 + 1, "evidence has no gaps");
                    self.emitted = sequence;
                    if let Evidence::Record(record) = evidence {
                        self.entries.push(record.entry);
                    }
                }
                Action::Ask(id, question) => self.asked.push((id, question)),
                Action::RequestApproval(request) => self.approvals.push(*request),
                Action::WithdrawApproval(_) => self.withdrawn += 1,
                Action::Close(reason) => self.closed = Some(reason),
                Action::Connect | Action::StartTls(_) | Action::Aside(_) => {}
            }
        }
    }

    fn act(&mut self, act: impl FnOnce(&mut Turn<'_, Bytes>) + 'static) {
        let mut data: VecDeque<Act> = VecDeque::from([Box::new(act) as Act]);
        self.give(Input::Data {
            from: Side::Agent,
            data: &mut data,
        });
    }

    fn answer(&mut self, answer: Answer) {
        let (id, _) = self.asked.pop().unwrap();
        self.give(Input::Answer(id, answer));
    }

    fn acknowledge(&mut self) {
        self.give(Input::Acknowledged(self.emitted));
    }

    fn approve(&mut self) {
        let approval = self.approvals.last().unwrap().id;
        self.give(Input::ApprovalEnded {
            approval,
            outcome: ApprovalOutcome::Approved,
            votes: Vec::new(),
        });
    }

    fn to_target(&self) -> Vec<&[u8]> {
        let target = self.sent.iter().filter(|(to, _)| *to == Side::Target);
        target.map(|(_, data)| data.as_ref()).collect()
    }

    fn count(&self, is: impl Fn(&Entry) -> bool) -> usize {
        self.entries.iter().filter(|entry| is(entry)).count()
    }
}

fn route(mode: Mode) -> Route {
    Route {
        target: Target {
            name: TargetName::parse("orders").unwrap(),
            environment: "test".into(),
            protocol: "puppet",
            mode,
            durability: Durability::Strict,
            upstream_principal: "gateway".into(),
            classified: false,
            masking: Masking::Shared,
        },
        database: "db".into(),
    }
}

fn principal(now: Wall) -> Principal {
    let id = "11111111-2222-4333-8444-555555555555";
    Principal {
        tenant: TenantId::parse(id).unwrap(),
        object: ObjectId::parse(id).unwrap(),
        app: AppId::parse(id).unwrap(),
        kind: PrincipalKind::Application,
        display_name: String::new(),
        roles: Vec::new(),
        groups: Groups::Known(Vec::new()),
        token_id: String::new(),
        client_auth: None,
        issued_at: now,
        expires_at: now.saturating_add(Duration::from_secs(3600)),
    }
}

fn analysis() -> Arc<Analysis> {
    Arc::new(Analysis {
        statements: Vec::new(),
        effects: Vec::new(),
        inspection: Inspection::Full,
        facts: SqlFacts::default(),
        classified: ClassifiedUse::default(),
        sensitive: Vec::new(),
        catalogue: CatalogueVersion(Digest::of(b"")),
        mistake: None,
    })
}

fn analysed() -> Analysed {
    Analysed {
        analysis: analysis(),
        classified: Arc::default(),
    }
}

fn sql(text: &str) -> Operation {
    Operation::Sql(SqlUnit {
        stage: SqlStage::Query,
        text: text.into(),
        analysis: analysis(),
        bindings: None,
        in_transaction: false,
    })
}

fn command(text: &str) -> Operation {
    Operation::Command(CommandUnit {
        kind: CommandKind::Exec,
        text: text.into(),
        effects: Arc::new([]),
        inspection: Inspection::Full,
        facts: CommandFacts::default(),
    })
}

fn unit_of(ruling: &Ruling) -> UnitId {
    match ruling {
        Ruling::Allowed { unit, .. } | Ruling::Held { unit, .. } => *unit,
        Ruling::Refused(denial) => panic!("{denial}"),
    }
}

/// Submits a text and releases it, whatever the ruling was.
fn submit_and_release(turn: &mut Turn<'_, Bytes>, text: &'static str) {
    let ruling = turn.submit(sql(text));
    turn.release(unit_of(&ruling), Bytes::from_static(text.as_bytes()));
}

fn is_finished(entry: &Entry) -> bool {
    matches!(entry, Entry::Finished { .. })
}

#[test]
fn nothing_reaches_the_target_before_its_intent_is_acknowledged() {
    let mut bench = Bench::open(Mode::Enforce);
    bench.act(|turn| submit_and_release(turn, "select"));
    assert!(bench.to_target().is_empty());
    bench.give(Input::Acknowledged(EvidenceSeq(bench.emitted.0 - 1)));
    assert!(bench.to_target().is_empty(), "an earlier acknowledgement");
    bench.acknowledge();
    assert_eq!(bench.to_target(), [b"select"]);
}

#[test]
fn nothing_reaches_the_agent_before_it_is_on_record() {
    let mut bench = Bench::open(Mode::Enforce);
    bench.act(|turn| turn.reply(Bytes::from_static(b"row")));
    assert!(bench.sent.is_empty());
    bench.acknowledge();
    assert_eq!(bench.sent.len(), 1);
}

#[test]
fn an_acknowledgement_of_what_was_never_emitted_frees_nothing_later() {
    let mut bench = Bench::open(Mode::Enforce);
    bench.give(Input::Acknowledged(EvidenceSeq(u64::MAX)));
    bench.act(|turn| submit_and_release(turn, "select"));
    assert!(bench.to_target().is_empty());
}

#[test]
fn what_is_not_allowed_cannot_be_released() {
    type Misdeed = fn(&mut Turn<'_, Bytes>);
    let misdeeds: [(&str, Misdeed); 4] = [
        ("held", |turn| submit_and_release(turn, "hold")),
        ("never submitted", |turn| {
            turn.release(UnitId(99), Bytes::from_static(b"x"));
        }),
        ("finished", |turn| {
            let ruling = turn.submit(sql("select"));
            let unit = unit_of(&ruling);
            turn.finish(unit, UnitEnd::of(Outcome::Completed));
            turn.release(unit, Bytes::from_static(b"x"));
        }),
        ("finished twice", |turn| {
            let ruling = turn.submit(sql("select"));
            let unit = unit_of(&ruling);
            turn.finish(unit, UnitEnd::of(Outcome::Completed));
            turn.finish(unit, UnitEnd::of(Outcome::Completed));
        }),
    ];
    for (what, misdeed) in misdeeds {
        let mut bench = Bench::open(Mode::Enforce);
        bench.act(misdeed);
        bench.acknowledge();
        assert!(bench.to_target().is_empty(), "{what}");
        assert_eq!(bench.closed, Some(CloseReason::InternalError), "{what}");
    }
}

#[test]
fn every_allowed_unit_finishes_exactly_once_whatever_ends_the_session() {
    for reason in [
        CloseReason::Killed,
        CloseReason::TargetClosed,
        CloseReason::Expired,
    ] {
        let mut bench = Bench::open(Mode::Enforce);
        bench.act(|turn| {
            submit_and_release(turn, "one");
            let _ = turn.submit(sql("two"));
            let _ = turn.submit(sql("hold"));
        });
        bench.give(Input::Close(reason));
        bench.acknowledge();
        assert_eq!(bench.count(is_finished), 2);
        assert_eq!(bench.count(|e| matches!(e, Entry::Blocked(_))), 1);
        assert_eq!(bench.withdrawn, 1);
        bench.give(Input::Close(CloseReason::Killed));
        assert_eq!(bench.count(is_finished), 2);
    }
}

#[test]
fn an_approved_unit_is_analysed_again_consumed_once_and_recorded_first() {
    let mut bench = Bench::open(Mode::Enforce);
    bench.act(|turn| {
        let _ = turn.submit(sql("hold"));
    });
    bench.approve();
    bench.answer(Answer::Analysed(analysed()));
    assert!(bench.gate.wire.ruled.is_empty(), "not before it is used up");
    bench.answer(Answer::Consumed(true));
    assert_eq!(bench.gate.wire.ruled, [(UnitId(1), true)]);
    assert_eq!(
        bench.count(|e| matches!(e, Entry::ApprovalConsumed { .. })),
        1
    );
    assert_eq!(bench.count(|e| matches!(e, Entry::Intent(_))), 1);
    bench.give(Input::ApprovalEnded {
        approval: bench.approvals[0].id,
        outcome: ApprovalOutcome::Approved,
        votes: Vec::new(),
    });
    assert_eq!(bench.gate.wire.ruled.len(), 1, "a second yes does nothing");
}

#[test]
fn an_approval_without_an_answer_or_a_use_is_a_no() {
    for analysis in [None, Some(analysed())] {
        let mut bench = Bench::open(Mode::Enforce);
        bench.act(|turn| {
            let _ = turn.submit(sql("hold"));
        });
        bench.approve();
        match analysis {
            None => bench.answer(Answer::Unanswered),
            Some(analysed) => {
                bench.answer(Answer::Analysed(analysed));
                bench.answer(Answer::Consumed(false));
            }
        }
        assert_eq!(bench.gate.wire.ruled, [(UnitId(1), false)]);
        assert_eq!(bench.count(|e| matches!(e, Entry::Intent(_))), 0);
    }
}

#[test]
fn a_yes_after_the_agent_left_runs_nothing() {
    let mut bench = Bench::open(Mode::Enforce);
    bench.act(|turn| {
        let ruling = turn.submit(sql("hold"));
        turn.withdraw(unit_of(&ruling));
    });
    bench.approve();
    assert!(bench.gate.wire.ruled.is_empty());
    assert_eq!(bench.count(|e| matches!(e, Entry::Intent(_))), 0);
}

#[test]
fn a_hold_expires_at_its_deadline_and_not_before() {
    let mut bench = Bench::open(Mode::Enforce);
    bench.act(|turn| {
        let _ = turn.submit(sql("hold"));
    });
    for (seconds, ruled) in [(299, 0), (2, 1)] {
        bench.now.mono = bench.now.mono.saturating_add(Duration::from_secs(seconds));
        bench.give(Input::Timeout);
        assert_eq!(bench.gate.wire.ruled.len(), ruled);
    }
}

#[test]
fn an_observed_target_records_what_it_would_have_refused() {
    let mut bench = Bench::open(Mode::Observe);
    bench.act(|turn| {
        submit_and_release(turn, "deny");
        submit_and_release(turn, "hold");
    });
    bench.acknowledge();
    assert_eq!(bench.to_target().len(), 2);
    let unenforced = |entry: &Entry| matches!(entry, Entry::Intent(i) if i.not_enforced.is_some());
    assert_eq!(bench.count(unenforced), 2);
}

#[test]
fn a_lost_log_sends_nothing_more() {
    let mut bench = Bench::open(Mode::Enforce);
    bench.act(|turn| {
        submit_and_release(turn, "select");
        turn.reply(Bytes::from_static(b"row"));
    });
    bench.give(Input::EvidenceLost);
    bench.acknowledge();
    assert!(bench.sent.is_empty());
    assert_eq!(bench.closed, Some(CloseReason::EvidenceLost));
}

#[test]
fn the_session_ends_with_its_token() {
    let mut bench = Bench::open(Mode::Enforce);
    let expires = bench.gate.poll_timeout().unwrap();
    let in_an_hour = bench.now.mono.saturating_add(Duration::from_secs(3600));
    assert_eq!(expires, in_an_hour);
    bench.now.mono = expires;
    bench.give(Input::Timeout);
    bench.acknowledge();
    assert_eq!(bench.closed, Some(CloseReason::Expired));
}

#[test]
fn a_stalled_log_stops_the_intake() {
    let mut bench = Bench::open(Mode::Enforce);
    let row = Bytes::from(vec![0; 64 << 10]);
    for _ in 0..64 {
        if !bench.gate.wants(Side::Target, 0) {
            return;
        }
        let row = row.clone();
        bench.act(move |turn| turn.reply(row));
    }
    panic!("4 MiB are outstanding");
}

#[test]
fn streams_are_recorded_in_their_direction() {
    let mut bench = Bench::open(Mode::Enforce);
    bench.gate.handle(
        bench.now,
        Input::Data {
            from: Side::Agent,
            data: &mut VecDeque::from([Box::new(|turn: &mut Turn<'_, Bytes>| {
                let ruling = turn.submit(sql("copy"));
                turn.release_stream(unit_of(&ruling), Bytes::from_static(b"data"));
            }) as Act]),
        },
    );
    let mut directions = Vec::new();
    while let Some(action) = bench.gate.poll_action() {
        if let Action::Evidence(_, Evidence::Chunk(chunk)) = action {
            directions.push((chunk.direction, chunk.data));
        }
    }
    assert_eq!(
        directions,
        [(Direction::ToTarget, Bytes::from_static(b"data"))]
    );
}

#[test]
fn a_stricter_policy_ends_what_runs_for_long() {
    for (operation, closed) in [
        (command("top"), Some(CloseReason::PolicyChanged)),
        (sql("top"), None),
    ] {
        let mut bench = Bench::open(Mode::Enforce);
        bench.act(move |turn| {
            let ruling = turn.submit(operation);
            turn.release(unit_of(&ruling), Bytes::from_static(b"top"));
        });
        bench.give(Input::PolicyChanged);
        assert_eq!(bench.closed, None, "the policy says the same");
        bench.decision.is_strict.store(true, Ordering::Relaxed);
        bench.give(Input::PolicyChanged);
        bench.acknowledge();
        assert_eq!(bench.closed, closed);
    }
}

#[test]
fn a_session_has_one_principal_for_life() {
    let mut bench = Bench::open(Mode::Enforce);
    let mut show = |change: fn(&mut Principal)| {
        bench.act(|turn| {
            turn.ask(Question::Authenticate {
                claimed_user: String::new(),
                credential: Credential::Bearer("t".to_owned().into()),
            });
        });
        let mut shown = principal(bench.now.wall);
        change(&mut shown);
        let shown = Authenticated::by_verified_credential(shown);
        bench.answer(Answer::Authenticated(Ok(shown)));
        let heard = bench.gate.wire.authenticated.pop();
        (heard.unwrap(), bench.gate.poll_timeout())
    };
    let (fresh, first_end) = show(|_| {});
    assert_eq!(fresh, Ok(()));
    let longer = |shown: &mut Principal| {
        shown.expires_at = shown.expires_at.saturating_add(Duration::from_secs(60));
    };
    let (fresh, end) = show(longer);
    assert_eq!(fresh, Ok(()));
    assert!(end > first_end, "a fresh credential prolongs the session");
    let (other, end_after) = show(|shown| {
        shown.object = ObjectId::parse("99999999-2222-4333-8444-555555555555").unwrap();
    });
    assert_eq!(other, Err("another_principal".to_owned()));
    assert_eq!(end_after, end);
}

#[test]
fn a_session_that_only_draws_refusals_ends() {
    let mut bench = Bench::open(Mode::Enforce);
    let refusals = Limits::default().refusals_max;
    for _ in 0..refusals {
        bench.act(|turn| turn.refuse(Denial::new(Reason::Protocol, "no")));
    }
    assert_eq!(bench.closed, None);
    bench.act(|turn| turn.refuse(Denial::new(Reason::Protocol, "no")));
    bench.acknowledge();
    assert_eq!(bench.closed, Some(CloseReason::Limit));
}
