//! Everything around a gate that isn't a peer: policy, analysis, and the shell's answers.

use std::{
    collections::BTreeSet,
    fmt,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};

use bytes::BytesMut;
use gateway_core::{
    catalogue::{CatalogueVersion, ColumnId, RelationId},
    decision::{Denial, Reason},
    id::{AppId, ClassName, Digest, InvalidId, ObjectId, SessionId, TargetName, TenantId},
    identity::{Authenticated, Groups, Principal, PrincipalKind},
    limits::Limits,
    mask::{Cell, Classified, ClassifiedColumn, MaskedCell, Transform},
    operation::{
        Action, Analysis, ClassifiedUse, Effect, Inspection, Mistake, Object, Shape, SqlFacts,
        Statement,
    },
    target::{Durability, Masking, Mode, Target},
    time::{Mono, Now, Wall},
    wire::{Analysed, Answer, Credential, Question, Route, TargetLogin, TargetProof},
};
use secrecy::{ExposeSecret as _, SecretString};

use super::rules::TextRules;

/// The agent's token.
pub const GOOD_TOKEN: &str = "good-token";
/// The agent's next token, as good as the first.
pub const FRESH_TOKEN: &str = "fresh-token";
/// Another agent's token, which is as good.
pub const OTHER_TOKEN: &str = "other-token";
/// When every conversation starts, seconds since the Unix epoch.
const EPOCH_S: u64 = 1_790_000_000;

/// How the gateway proves itself at the fake target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// SCRAM; the password is `pencil`.
    Password,
    /// A token; no costly derivation, for fuzzers.
    Token,
}

/// The world of one conversation.
#[derive(Clone)]
pub struct World {
    /// What a text does.
    pub analyse: Arc<dyn Fn(&str) -> Analysed + Send + Sync>,
    /// Who decides.
    pub rules: TextRules,
    /// Every bound.
    pub limits: Arc<Limits>,
    /// How the gateway logs in.
    pub proof: Proof,
    /// The protocol that the target is configured for.
    pub protocol: &'static str,
    /// Whether the target's TLS begins without being asked for.
    pub has_direct_tls: bool,
    /// The target's mode.
    pub mode: Mode,
    /// Whether questions for an analysis stay without an answer.
    pub is_mute: bool,
    /// Whether approvals turn out to have been used before.
    pub is_used_up: bool,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").finish_non_exhaustive()
    }
}

impl World {
    /// A world ruled by the words of a text ([`TextRules`]), with nothing classified.
    #[must_use]
    pub fn by_text() -> Self {
        Self {
            analyse: Arc::new(|text| analysis(text, &Arc::default())),
            rules: TextRules::default(),
            limits: Arc::default(),
            proof: Proof::Password,
            protocol: "postgres",
            has_direct_tls: false,
            mode: Mode::Enforce,
            is_mute: false,
            is_used_up: false,
        }
    }

    /// A world that allows everything.
    #[must_use]
    pub fn allowing_all() -> Self {
        let mut world = Self::by_text();
        world.rules.allows_all = true;
        world
    }

    /// The same world with the column `customers.email` classified, every field that a protocol
    /// classifies by itself, and [`super::Addresses`] in text; all masked for everybody.
    #[must_use]
    pub fn classified(mut self) -> Self {
        let classified = Arc::new(classification());
        self.rules.masks = true;
        Self {
            analyse: Arc::new(move |text| analysis(text, &classified)),
            ..self
        }
    }

    /// The same world in front of a target of another protocol.
    #[must_use]
    pub fn of(self, protocol: &'static str) -> Self {
        Self { protocol, ..self }
    }

    /// The same world with other bounds.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self {
            limits: Arc::new(limits),
            ..self
        }
    }

    /// The shell's answer; `None` where there is none to give.
    #[must_use]
    pub fn answer(&self, question: &Question) -> Option<Answer> {
        match question {
            Question::Route { requested } => Some(Answer::Route(self.route(requested))),
            Question::Authenticate { credential, .. } => {
                Some(Answer::Authenticated(authenticated(credential)))
            }
            Question::AnalyseSql { .. } if self.is_mute => None,
            Question::AnalyseSql { text } => Some(Answer::Analysed((self.analyse)(text))),
            Question::TargetLogin => Some(Answer::TargetLogin(Ok(TargetLogin {
                user: "gateway".into(),
                proof: match self.proof {
                    Proof::Password => TargetProof::Password,
                    Proof::Token => TargetProof::Token(SecretString::from("target-token")),
                },
                nonce: "fyko+d2lbbFgONRv9qkxdawL".into(),
                direct_tls: self.has_direct_tls,
            }))),
            Question::SaltPassword { salt, iterations } => Some(salted(salt, *iterations)),
            Question::CancelKey { length, .. } => Some(Answer::CancelKey {
                key: vec![0xc5; *length],
            }),
            Question::ConsumeApproval { .. } => Some(Answer::Consumed(!self.is_used_up)),
            Question::Cancel { .. } => Some(Answer::Cancelled),
            Question::CatalogueChanged => None,
        }
    }

    fn route(&self, requested: &str) -> Result<Route, Denial> {
        let refused = |what: &str| Denial::new(Reason::Protocol, what.to_owned());
        if requested == "nowhere" {
            return Err(refused("there is no database \"nowhere\""));
        }
        let target = Target {
            name: TargetName::parse("orders").map_err(|error| refused(&error.to_string()))?,
            environment: "test".into(),
            protocol: self.protocol,
            mode: self.mode,
            durability: Durability::Strict,
            upstream_principal: "gateway".into(),
            classified: false,
            masking: Masking::Shared,
        };
        Ok(Route {
            target,
            database: requested.to_owned(),
        })
    }
}

#[cfg(feature = "postgres")]
fn salted(salt: &[u8], iterations: u32) -> Answer {
    use crate::postgres::scram::SaltedPassword;
    match SaltedPassword::derive(b"pencil", salt, iterations) {
        Ok(salted) => Answer::SaltedPassword(salted.as_bytes().to_vec().into()),
        Err(_) => Answer::Unanswered,
    }
}

#[cfg(not(feature = "postgres"))]
fn salted(_: &[u8], _: u32) -> Answer {
    Answer::Unanswered
}

/// Both clocks at the start of every conversation, plus `elapsed`.
pub(super) fn clock(elapsed: Duration) -> Now {
    Now {
        wall: Wall::from_secs(EPOCH_S).saturating_add(elapsed),
        mono: Mono::from_micros(1_000_000).saturating_add(elapsed),
    }
}

pub(super) fn session() -> SessionId {
    SessionId::new(Wall::from_secs(EPOCH_S), [7; 10])
}

pub(super) const SOURCE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));

fn authenticated(credential: &Credential) -> Result<Authenticated<Principal>, String> {
    let token = match credential {
        Credential::Password(token) | Credential::Bearer(token) => token.expose_secret().as_bytes(),
        Credential::ClientSecret(secret) if secret.expose_secret() == "good-secret" => {
            GOOD_TOKEN.as_bytes()
        }
        Credential::ClientSecret(_) => return Err("client_secret".to_owned()),
        Credential::Certificate(certificate) => certificate,
    };
    let object = [
        (GOOD_TOKEN, "22222222-2222-4333-8444-555555555555"),
        (FRESH_TOKEN, "22222222-2222-4333-8444-555555555555"),
        (OTHER_TOKEN, "22222222-2222-4333-8444-666666666666"),
    ]
    .into_iter()
    .find_map(|(known, object)| (known.as_bytes() == token).then_some(object))
    .ok_or_else(|| "signature".to_owned())?;
    principal(object)
        .map(Authenticated::by_verified_credential)
        .map_err(|error| error.to_string())
}

fn principal(object: &str) -> Result<Principal, InvalidId> {
    Ok(Principal {
        tenant: TenantId::parse("11111111-2222-4333-8444-555555555555")?,
        object: ObjectId::parse(object)?,
        app: AppId::parse("33333333-2222-4333-8444-555555555555")?,
        kind: PrincipalKind::Application,
        display_name: String::new(),
        roles: Vec::new(),
        groups: Groups::Known(Vec::new()),
        token_id: "token".into(),
        client_auth: Some(2),
        issued_at: Wall::from_secs(EPOCH_S - 60),
        expires_at: Wall::from_secs(EPOCH_S + 3_600),
    })
}

/// The masked column's id: `customers.email`.
#[must_use]
pub const fn customers_email() -> ColumnId {
    ColumnId {
        relation: RelationId(16_400),
        number: 2,
    }
}

/// A classification with `customers.email` in it.
#[must_use]
pub fn classification() -> Classified {
    let column = ClassName::parse("email")
        .ok()
        .map(|class| ClassifiedColumn {
            id: customers_email(),
            name: ["public".into(), "customers".into(), "email".into()],
            class,
            transform: Arc::new(Stars),
            derived: None,
        });
    Classified::new(column.into_iter().collect(), BTreeSet::new())
}

#[derive(Debug)]
struct Stars;

impl Transform for Stars {
    fn mask(&self, _: Cell<'_>, out: &mut BytesMut) -> MaskedCell {
        out.extend_from_slice(b"***");
        MaskedCell::Value
    }

    fn method(&self) -> &'static str {
        "redact"
    }
}

/// What a text of the fake target's little language does: enough for every path of a session, and
/// honest about it. `select id, email from customers` is plain; any other text that names `email` is
/// beyond masking.
#[must_use]
pub fn analysis(text: &str, classified: &Arc<Classified>) -> Analysed {
    let lower = text.to_ascii_lowercase();
    let statements: Vec<Statement> = spans(&lower)
        .map(|(start, statement)| {
            let command = statement.split_whitespace().next().unwrap_or_default();
            Statement {
                command: command.to_uppercase(),
                span: start..start + statement.len(),
                changes_catalogue: matches!(command, "create" | "alter" | "drop"),
                controls_transaction: matches!(command, "begin" | "commit" | "rollback"),
            }
        })
        .collect();
    let action = match statements.first().map(|s| s.command.as_str()) {
        Some("INSERT") => Action::SqlInsert,
        Some("DELETE") => Action::SqlDelete,
        Some("DROP") => Action::SqlDrop,
        Some("CREATE") => Action::SqlCreate,
        Some("COPY") if lower.contains("from stdin") => Action::SqlCopyIn,
        Some("COPY") => Action::SqlCopyOut,
        Some("BEGIN" | "COMMIT" | "ROLLBACK" | "SET") | None => Action::SqlSession,
        Some(_) => Action::SqlSelect,
    };
    let used = match classified.column(customers_email()) {
        Some(column) if lower.contains("customers") && lower.contains("email") => ClassifiedUse {
            columns: vec![Arc::clone(column)],
            shape: shape(&lower),
        },
        Some(_) | None => ClassifiedUse::default(),
    };
    let analysis = Analysis {
        effects: vec![Effect {
            action,
            object: Object::Target,
        }],
        inspection: Inspection::Full,
        facts: SqlFacts {
            statement_count: u32::try_from(statements.len()).unwrap_or(u32::MAX),
            ..SqlFacts::default()
        },
        classified: used,
        sensitive: Vec::new(),
        catalogue: CatalogueVersion(Digest::of(b"catalogue")),
        mistake: lower.find("nowhere").map(|at| Mistake {
            code: "42P01",
            message: "relation \"nowhere\" does not exist".to_owned(),
            position: u32::try_from(at + 1).ok(),
        }),
        statements,
    };
    Analysed {
        analysis: Arc::new(analysis),
        classified: Arc::clone(classified),
    }
}

fn shape(text: &str) -> Shape {
    let id = ColumnId {
        number: 1,
        ..customers_email()
    };
    if text.starts_with("select id, email from customers") {
        return Shape::Plain {
            outputs: vec![id, customers_email()],
        };
    }
    Shape::Beyond {
        construct: "this text".into(),
        column: None,
        instead: "select id, email from customers".into(),
    }
}

fn spans(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut start = 0;
    text.split(';').filter_map(move |part| {
        let at = start;
        start += part.len() + 1;
        let trimmed = part.trim();
        (!trimmed.is_empty()).then_some((at, trimmed))
    })
}
