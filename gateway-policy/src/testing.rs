//! Makers of requests for tests, and a toy analyser for the statements which they use.

use std::{net::IpAddr, path::PathBuf, sync::Arc};

use gateway_core::{
    catalogue::{CatalogueVersion, Relation, Snapshot},
    decision::{Decision, DecisionPoint as _, Request, SessionFacts},
    id::{AppId, Digest, ObjectId, RuleId, TargetName, TenantId},
    identity::{Groups, Principal, PrincipalKind},
    mask::Classified,
    operation::{
        Action, Analysis, ClassifiedUse, Effect, Inspection, Object, Operation, Shape, SqlFacts,
        SqlStage, SqlUnit,
    },
    target::{Durability, Mode, Target},
    time::{Now, Wall},
};

use crate::{Bundle, BundleErrors, BundleFiles};

pub(crate) fn starter() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("starter/postgres")
}

pub(crate) fn catalogue() -> Snapshot {
    let json = std::fs::read_to_string(starter().join("tests/catalogue.json")).expect("catalogue");
    serde_json::from_str(&json).expect("catalogue is a snapshot")
}

/// A bundle of one `rules.cedar`.
pub(crate) fn bundle(rules: &str) -> Bundle {
    files(&[("rules.cedar", rules)]).unwrap_or_else(|errors| panic!("{errors}"))
}

pub(crate) fn files(files: &[(&str, &str)]) -> Result<Bundle, BundleErrors> {
    let files = files
        .iter()
        .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
    Bundle::parse(&BundleFiles::new(files), None)
}

pub(crate) const OWNED: &str = "22222222-2222-4222-8222-222222222222";

pub(crate) const AGENTS: &str = r#"
[[agent]]
tenant = "11111111-1111-4111-8111-111111111111"
object = "22222222-2222-4222-8222-222222222222"
name = "orders-bot"
owner = "33333333-3333-4333-8333-333333333333"
environment = "prod"
"#;

/// Everything a request borrows.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) principal: Principal,
    pub(crate) target: Target,
    pub(crate) operation: Operation,
    pub(crate) facts: SessionFacts,
    pub(crate) approved: Vec<RuleId>,
    pub(crate) now: Now,
}

impl Asked {
    pub(crate) fn new(operation: Operation) -> Self {
        Self {
            principal: Principal {
                tenant: TenantId::parse("11111111-1111-4111-8111-111111111111").expect("tenant"),
                object: ObjectId::parse(OWNED).expect("object"),
                app: AppId::parse("99999999-9999-4999-8999-999999999999").expect("app"),
                kind: PrincipalKind::Application,
                display_name: String::new(),
                roles: vec!["Reader".to_owned()],
                groups: Groups::Known(Vec::new()),
                token_id: String::new(),
                client_auth: None,
                issued_at: Wall::from_secs(1_767_225_600),
                expires_at: Wall::from_secs(1_767_229_200),
            },
            target: Target {
                name: TargetName::parse("shop").expect("target"),
                environment: "prod".to_owned(),
                protocol: "postgres",
                mode: Mode::Enforce,
                durability: Durability::Bounded,
                upstream_principal: "gateway".to_owned(),
                classified: true,
            },
            operation,
            facts: SessionFacts {
                source: IpAddr::from([10, 0, 0, 1]),
                database: "shop".to_owned(),
            },
            approved: Vec::new(),
            // 2026-01-01T00:00:10Z
            now: Now {
                wall: Wall::from_secs(1_767_225_610),
                ..Now::default()
            },
        }
    }

    pub(crate) fn roles(mut self, roles: &[&str]) -> Self {
        self.principal.roles = roles.iter().map(|&role| role.to_owned()).collect();
        self
    }

    pub(crate) fn approved(mut self, rules: &[&str]) -> Self {
        self.approved = rules
            .iter()
            .map(|rule| RuleId::parse(rule).expect("rule id"))
            .collect();
        self
    }

    pub(crate) fn request(&self) -> Request<'_> {
        Request {
            principal: &self.principal,
            target: &self.target,
            operation: &self.operation,
            facts: &self.facts,
            approved: &self.approved,
        }
    }

    pub(crate) fn decide(&self, bundle: &Bundle) -> Decision {
        bundle.decide(self.now, &self.request())
    }
}

pub(crate) fn table(name: &str) -> Object {
    Object::Relation {
        schema: "public".to_owned(),
        name: name.to_owned(),
    }
}

/// A fully understood text with these effects.
pub(crate) fn sql(effects: impl IntoIterator<Item = (Action, Object)>) -> Operation {
    let effects = effects
        .into_iter()
        .map(|(action, object)| Effect { action, object });
    unit(Analysis {
        effects: effects.collect(),
        ..analysis()
    })
}

pub(crate) fn unit(analysis: Analysis) -> Operation {
    Operation::Sql(SqlUnit {
        stage: SqlStage::Query,
        text: "…".into(),
        analysis: Arc::new(analysis),
        bindings: None,
        in_transaction: false,
    })
}

pub(crate) fn analysis() -> Analysis {
    Analysis {
        statements: Vec::new(),
        effects: Vec::new(),
        inspection: Inspection::Full,
        facts: SqlFacts {
            statement_count: 1,
            has_where: true,
            ..SqlFacts::default()
        },
        classified: ClassifiedUse::default(),
        sensitive: Vec::new(),
        catalogue: CatalogueVersion(Digest::of(b"")),
    }
}

/// Understands the starter's test statements, and nothing else: product code has a real parser.
pub(crate) fn toy_analysis(
    text: &Arc<str>,
    snapshot: &Snapshot,
    classified: &Classified,
) -> Analysis {
    let words: Vec<&str> = text.split_whitespace().collect();
    let after = |word: &str| {
        let at = words.iter().position(|w| *w == word).expect("keyword");
        snapshot
            .resolve(words[at + 1])
            .expect("table of the catalogue")
    };
    let (action, relation): (Action, &Relation) = match words[0] {
        "select" => (Action::SqlSelect, after("from")),
        "insert" => (Action::SqlInsert, after("into")),
        "update" => (Action::SqlUpdate, after("update")),
        "delete" => (Action::SqlDelete, after("from")),
        "drop" => (Action::SqlDrop, after("table")),
        other => panic!("the toy analyser doesn't know `{other}`"),
    };
    let columns: Vec<_> = classified
        .columns()
        .filter(|c| c.id.relation == relation.id)
        .cloned()
        .collect();
    let shape = match &columns[..] {
        [] => Shape::Untouched,
        [..] if text.contains('(') => Shape::Beyond {
            construct: "lower(email)".to_owned(),
            column: Some("public.customers.email".to_owned()),
            instead: "select the column itself".to_owned(),
        },
        [first, ..] => Shape::Plain {
            outputs: vec![first.id],
        },
    };
    let object = Object::Relation {
        schema: relation.schema.clone(),
        name: relation.name.clone(),
    };
    Analysis {
        effects: vec![Effect { action, object }],
        facts: SqlFacts {
            statement_count: 1,
            has_where: !matches!(words[0], "update" | "delete") || words.contains(&"where"),
            read_only: words[0] == "select",
            ..SqlFacts::default()
        },
        classified: ClassifiedUse { columns, shape },
        ..analysis()
    }
}
