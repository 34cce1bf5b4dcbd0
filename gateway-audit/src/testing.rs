//! Sessions to record, for tests.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use gateway_core::approval::{Answer, Vote};
use gateway_core::catalogue::CatalogueVersion;
use gateway_core::decision::{Denial, Hold, Reason, Requirement};
use gateway_core::id::{
    AppId, ApprovalId, ClassName, Digest, EvidenceSeq, ObjectId, RuleId, SessionId, TargetName,
    TenantId, UnitId,
};
use gateway_core::identity::{Groups, Principal, PrincipalKind};
use gateway_core::mask::MaskCount;
use gateway_core::operation::{
    Action, Analysis, ApiFacts, ApiResource, ApiUnit, ClassifiedUse, CommandFacts, CommandKind,
    CommandUnit, Effect, Inspection, Object, Operation, SqlFacts, SqlStage, SqlUnit, Statement,
};
use gateway_core::record::{
    Acknowledge, ApprovalOutcome, ApprovalRequested, Blocked, Chunk, CloseReason, CompletedCommand,
    Counters, Direction, Entry, Evidence, EvidenceSink, Intent, Moment, Outcome, Record,
    SessionOpened, Severity, Track, UnitEnd,
};
use gateway_core::target::{Durability, Masking, Mode, Target};
use gateway_core::time::{Mono, Now, Wall};

use crate::log::{Log, LogOptions};
use crate::note::CheckpointSigner;

pub(crate) const ORIGIN: &str = "log.test/one";

pub(crate) fn signer() -> CheckpointSigner {
    CheckpointSigner::from_seed(ORIGIN, &[7; 32]).unwrap()
}

/// A clock that starts in 2026 and runs.
pub(crate) fn options() -> LogOptions {
    let start = std::time::Instant::now();
    let mut options = LogOptions::new(
        ORIGIN,
        signer(),
        Arc::new(move || {
            let ran = u64::try_from(start.elapsed().as_micros()).unwrap();
            Now {
                wall: Wall::from_micros(1_790_000_000_000_000 + ran),
                mono: Mono::from_micros(ran),
            }
        }),
    );
    options.gateway_id = "gw-1".into();
    options.gateway_version = "0.1.0".into();
    options
}

/// Counts what was acknowledged.
#[derive(Debug, Default)]
pub(crate) struct Acks {
    pub(crate) upto: AtomicU64,
    pub(crate) failed: AtomicBool,
}

impl Acknowledge for Acks {
    fn acknowledged(&self, sequence: EvidenceSeq) {
        self.upto.fetch_max(sequence.0, Ordering::SeqCst);
    }

    fn failed(&self) {
        self.failed.store(true, Ordering::SeqCst);
    }
}

impl Acks {
    pub(crate) fn wait_for(&self, sequence: u64) {
        wait_until(|| self.upto.load(Ordering::SeqCst) >= sequence);
    }
}

impl Acks {
    pub(crate) fn wait_or_failed(&self, sequence: u64) {
        wait_until(|| {
            self.failed.load(Ordering::SeqCst) || self.upto.load(Ordering::SeqCst) >= sequence
        });
    }
}

pub(crate) fn wait_until(mut done: impl FnMut() -> bool) {
    for _ in 0..10_000 {
        if done() {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("nothing happened for 10 s");
}

/// A copy of a log directory as a crash would leave it.
pub(crate) fn snapshot(dir: &std::path::Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    copy_dir(dir, copy.path());
    copy
}

fn copy_dir(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// One session that is being recorded.
pub(crate) struct Script<'a> {
    log: &'a Log,
    pub(crate) session: SessionId,
    pub(crate) acks: Arc<Acks>,
    pub(crate) sequence: u64,
    at_us: u64,
}

impl<'a> Script<'a> {
    pub(crate) fn open(log: &'a Log, number: u8, durability: Durability) -> Self {
        let at_us = 1_790_000_000_000_000 + u64::from(number) * 60_000_000;
        let session = SessionId::new(Wall::from_micros(at_us), [number; 10]);
        let acks = Arc::new(Acks::default());
        EvidenceSink::open(
            log,
            session,
            durability,
            Arc::clone(&acks) as Arc<dyn Acknowledge>,
        );
        Self {
            log,
            session,
            acks,
            sequence: 0,
            at_us,
        }
    }

    pub(crate) fn now(&mut self) -> Now {
        self.at_us += 1_000;
        Now {
            wall: Wall::from_micros(self.at_us),
            mono: Mono::from_micros(self.at_us - 1_790_000_000_000_000),
        }
    }

    pub(crate) fn evidence(&mut self, evidence: Evidence) {
        self.sequence += 1;
        self.log
            .append(self.session, EvidenceSeq(self.sequence), evidence);
        self.log.flush();
    }

    pub(crate) fn entry(&mut self, entry: Entry) {
        let at = self.now();
        self.evidence(Evidence::Record(Box::new(Record { at, entry })));
    }

    pub(crate) fn chunk(&mut self, direction: Direction, data: &[u8]) {
        let at = self.now();
        self.evidence(Evidence::Chunk(Chunk {
            at,
            direction,
            data: Bytes::copy_from_slice(data),
        }));
    }

    pub(crate) fn login(&mut self) {
        self.login_to(target());
    }

    pub(crate) fn login_to(&mut self, target: Target) {
        self.entry(Entry::AuthAccepted {
            principal: principal(),
            method: "token-as-password",
        });
        self.entry(Entry::SessionOpened(Box::new(SessionOpened {
            principal: principal(),
            target,
            database: "shop".into(),
            source: [10, 0, 0, 9].into(),
            rules: vec![rule("open")],
            policy: policy(),
        })));
    }

    pub(crate) fn intent(&mut self, unit: u64, text: &str, approval: Option<ApprovalId>) {
        self.intent_of(unit, sql(text), approval);
    }

    pub(crate) fn intent_of(
        &mut self,
        unit: u64,
        operation: Operation,
        approval: Option<ApprovalId>,
    ) {
        self.entry(Entry::Intent(Box::new(Intent {
            unit: UnitId(unit),
            operation,
            rewritten: None,
            rules: vec![rule("reads")],
            policy: policy(),
            approval,
            not_enforced: None,
        })));
    }

    pub(crate) fn finish(&mut self, unit: u64, outcome: Outcome) {
        let commands = match outcome {
            Outcome::Completed => vec![CompletedCommand {
                tag: "SELECT 2".into(),
                rows: 2,
            }],
            _ => Vec::new(),
        };
        self.end(unit, outcome, commands);
    }

    pub(crate) fn end(&mut self, unit: u64, outcome: Outcome, commands: Vec<CompletedCommand>) {
        let end = UnitEnd {
            counters: Counters {
                rows_returned: 2,
                rows_affected: 0,
                bytes_returned: 64,
                values_masked: 2,
            },
            commands,
            ..UnitEnd::of(outcome)
        };
        let released_at = Some(self.now().wall);
        self.entry(Entry::Finished {
            unit: UnitId(unit),
            released_at,
            end,
        });
    }

    pub(crate) fn close(&mut self) {
        self.entry(Entry::SessionClosed {
            reason: CloseReason::AgentClosed,
            bytes_from_agent: 100,
            bytes_to_agent: 200,
            probes: 1,
        });
        EvidenceSink::close(self.log, self.session);
    }

    /// A masked read, a failure, a block, a held and approved delete, a rejected one.
    pub(crate) fn whole(&mut self) {
        self.login();
        self.intent(
            1,
            "select name, email from customers where email = 'ann@example.com'",
            None,
        );
        self.chunk(Direction::ToAgent, b"T...D ann ***@***");
        self.masked(1, "public.customers.email");
        self.finish(1, Outcome::Completed);
        self.intent(2, "select 1/0", None);
        self.finish(
            2,
            Outcome::Failed {
                code: "22012".into(),
            },
        );
        self.block(3, "=cmd|'/C calc'!A0; drop table customers");
        self.approval(4, ApprovalOutcome::Approved);
        self.approval(5, ApprovalOutcome::Rejected);
        self.close();
    }

    pub(crate) fn moment(&mut self, unit: u64, direction: Direction, track: Track, data: &[u8]) {
        let data = Bytes::copy_from_slice(data);
        let unit = UnitId(unit);
        self.chunk(direction, &Moment { unit, track, data }.encode());
    }

    pub(crate) fn masked(&mut self, unit: u64, column: &str) {
        self.entry(Entry::Masked {
            unit: UnitId(unit),
            counts: vec![MaskCount {
                column: column.into(),
                class: ClassName::parse("email").unwrap(),
                method: "redact",
                seen: 3,
                masked: 2,
            }],
        });
    }

    /// A shell in a terminal, a failed command, a file, a refused command.
    pub(crate) fn ssh(&mut self) {
        self.login_to(Target {
            protocol: "ssh",
            ..target()
        });
        let size = [[0, 0, 0, 120], [0, 0, 0, 40]].concat();
        self.intent_of(1, command(CommandKind::Shell, ""), None);
        self.moment(1, Direction::ToTarget, Track::Resize, &size);
        self.moment(1, Direction::ToAgent, Track::Output, b"$ ");
        self.moment(1, Direction::ToTarget, Track::Input, b"ls\r");
        let hostile = b"ls\r\n\x1b]52;c;cm0=\x07\x1b[31ma\x1b[0m\r\n";
        self.moment(1, Direction::ToAgent, Track::Output, hostile);
        self.masked(1, "card_number");
        self.moment(1, Direction::ToAgent, Track::Exit, b"0");
        self.end(1, Outcome::Completed, Vec::new());
        self.intent_of(2, command(CommandKind::Exec, "grep -q x f"), None);
        self.moment(2, Direction::ToAgent, Track::Exit, b"1");
        let code = "exit 1".into();
        self.end(2, Outcome::Failed { code }, Vec::new());
        self.intent_of(3, command(CommandKind::File, "read /etc/a b"), None);
        self.moment(3, Direction::ToAgent, Track::FileRead, b"contents");
        self.end(3, Outcome::Completed, Vec::new());
        self.block_of(4, command(CommandKind::Exec, "rm -rf /"));
        self.close();
    }

    /// A masked list, a held and approved delete, a write of a secret that the server refuses.
    pub(crate) fn kubernetes(&mut self) {
        self.login_to(Target {
            protocol: "kubernetes",
            ..target()
        });
        self.intent_of(1, api("list", "GET /api/v1/namespaces/shop/secrets"), None);
        let list = br#"{"kind":"SecretList","items":[]}"#;
        self.moment(1, Direction::ToAgent, Track::Response, list);
        self.masked(1, "secrets.data.*");
        self.end(1, Outcome::Completed, Vec::new());
        let delete = api("delete", "DELETE /api/v1/namespaces/shop/secrets/web");
        self.approval_of(2, delete, ApprovalOutcome::Approved);
        let body = r#"{"data":{"key":'aHVudGVyMg=='}}"#;
        let create = format!("POST /api/v1/namespaces/shop/secrets\n{body}");
        self.intent_of(3, api("create", &create), None);
        let code = "422".into();
        self.end(3, Outcome::Failed { code }, Vec::new());
        self.close();
    }

    pub(crate) fn block(&mut self, unit: u64, text: &str) {
        self.block_of(unit, sql(text));
    }

    pub(crate) fn block_of(&mut self, unit: u64, operation: Operation) {
        self.entry(Entry::Blocked(Box::new(Blocked {
            unit: UnitId(unit),
            operation: Some(operation),
            denial: Denial::new(Reason::Forbidden, "drops need a change ticket")
                .with_rules(vec![rule("no-ddl")]),
            policy: policy(),
            severity: Severity::Notice,
        })));
    }

    fn approval(&mut self, unit: u64, outcome: ApprovalOutcome) {
        self.approval_of(unit, sql("delete from orders where id = 7"), outcome);
    }

    pub(crate) fn approval_of(
        &mut self,
        unit: u64,
        operation: Operation,
        outcome: ApprovalOutcome,
    ) {
        let approval = ApprovalId::new(
            Wall::from_micros(self.at_us),
            [u8::try_from(unit).unwrap(); 10],
        );
        let digest = Digest::of(b"bound");
        self.entry(Entry::ApprovalRequested(Box::new(ApprovalRequested {
            approval,
            unit: UnitId(unit),
            operation: operation.clone(),
            hold: Hold {
                requirements: vec![Requirement {
                    rule: rule("deletes"),
                    reviewers: "reviewer".into(),
                    approvers: 1,
                }],
                expires_in: Duration::from_secs(60),
                message: "deletes are reviewed".into(),
                excluded_owner: None,
            },
            digest,
            policy: policy(),
        })));
        let answer = if outcome == ApprovalOutcome::Approved {
            Answer::Approve
        } else {
            Answer::Deny
        };
        let at = self.now().wall;
        self.entry(Entry::ApprovalDecided {
            approval,
            unit: UnitId(unit),
            outcome,
            votes: vec![Vote {
                reviewer: ObjectId::parse("11111111-2222-4333-8444-666666666666").unwrap(),
                name: "Rita".into(),
                counts_for: vec!["reviewer".into()],
                answer,
                comment: "ticket 7".into(),
                at,
                is_owner: false,
            }],
        });
        if outcome == ApprovalOutcome::Approved {
            self.entry(Entry::ApprovalConsumed {
                approval,
                unit: UnitId(unit),
                digest,
            });
            self.intent_of(unit, operation, Some(approval));
            self.finish(unit, Outcome::Completed);
        }
    }
}

pub(crate) fn rejected(number: u64) -> Entry {
    Entry::AuthRejected {
        reason: "expired".into(),
        claimed_user: number.to_string(),
    }
}

fn rule(id: &str) -> RuleId {
    RuleId::parse(id).unwrap()
}

fn policy() -> Digest {
    Digest::of(b"policy")
}

fn principal() -> Principal {
    Principal {
        tenant: TenantId::parse("aaaaaaaa-2222-4333-8444-555555555555").unwrap(),
        object: ObjectId::parse("bbbbbbbb-2222-4333-8444-555555555555").unwrap(),
        app: AppId::parse("cccccccc-2222-4333-8444-555555555555").unwrap(),
        kind: PrincipalKind::Application,
        display_name: "reporting agent".into(),
        roles: vec!["agent".into()],
        groups: Groups::Known(Vec::new()),
        token_id: "uti-1".into(),
        client_auth: Some(1),
        issued_at: Wall::from_secs(1_790_000_000),
        expires_at: Wall::from_secs(1_790_003_600),
    }
}

fn target() -> Target {
    Target {
        name: TargetName::parse("shop").unwrap(),
        environment: "prod".into(),
        protocol: "postgres",
        mode: Mode::Enforce,
        durability: Durability::Strict,
        upstream_principal: "gateway".into(),
        classified: true,
        masking: Masking::Shared,
    }
}

/// A command; a file operation's object is the path behind its first word.
pub(crate) fn command(kind: CommandKind, text: &str) -> Operation {
    let (first, rest) = text.split_once(' ').unwrap_or((text, ""));
    let (action, object) = match kind {
        CommandKind::Exec => (Action::SshExec, Object::Target),
        CommandKind::Shell => (Action::SshShell, Object::Target),
        CommandKind::File => (Action::SshRead, Object::Path { path: rest.into() }),
    };
    Operation::Command(CommandUnit {
        kind,
        text: text.into(),
        effects: [Effect { action, object }].into(),
        inspection: Inspection::Full,
        facts: CommandFacts {
            argv: None,
            program: (kind == CommandKind::Exec).then(|| first.into()),
            pty: kind == CommandKind::Shell,
        },
    })
}

/// A call about secrets in one namespace; what stands between single quotes is taken as sensitive.
pub(crate) fn api(verb: &'static str, text: &str) -> Operation {
    let (request, _) = text.split_once('\n').unwrap_or((text, ""));
    let (method, path) = request.split_once(' ').unwrap();
    let resource = ApiResource {
        version: "v1".into(),
        namespace: "shop".into(),
        resource: "secrets".into(),
        name: path
            .rsplit_once("secrets/")
            .map_or("", |(_, name)| name)
            .into(),
        ..ApiResource::default()
    };
    let object = Object::Resource {
        group: String::new(),
        resource: resource.resource.clone(),
        subresource: String::new(),
        namespace: resource.namespace.clone(),
        name: resource.name.clone(),
    };
    let action = Action::K8sSecret;
    Operation::Api(ApiUnit {
        verb,
        text: text.into(),
        sensitive: quoted(text),
        effects: [Effect { action, object }].into(),
        inspection: Inspection::Full,
        facts: ApiFacts {
            method: method.into(),
            ..ApiFacts::default()
        },
        resource: Some(resource),
        classified: [].into(),
    })
}

/// What stands between single quotes, with them.
fn quoted(text: &str) -> Vec<std::ops::Range<usize>> {
    let quotes: Vec<usize> = text.match_indices('\'').map(|(at, _)| at).collect();
    quotes
        .chunks_exact(2)
        .map(|pair| pair[0]..pair[1] + 1)
        .collect()
}

/// The parts of a text between semicolons, without the spaces around them.
fn spans(text: &str) -> impl Iterator<Item = std::ops::Range<usize>> {
    let mut start = 0;
    text.split(';').map(move |part| {
        let from = start + part.len() - part.trim_start().len();
        start += part.len() + 1;
        from..from + part.trim().len()
    })
}

/// Statements; what stands between single quotes is taken as sensitive.
fn sql(text: &str) -> Operation {
    Operation::Sql(SqlUnit {
        stage: SqlStage::Query,
        text: text.into(),
        analysis: Arc::new(Analysis {
            statements: spans(text)
                .map(|span| Statement {
                    command: "SELECT".into(),
                    span,
                    changes_catalogue: false,
                    controls_transaction: false,
                })
                .collect(),
            effects: vec![Effect {
                action: Action::SqlSelect,
                object: Object::Relation {
                    schema: "public".into(),
                    name: "customers".into(),
                },
            }],
            inspection: Inspection::Full,
            facts: SqlFacts::default(),
            classified: ClassifiedUse::default(),
            sensitive: quoted(text),
            catalogue: CatalogueVersion(Digest::of(b"catalogue")),
            mistake: None,
        }),
        bindings: None,
        in_transaction: false,
    })
}
