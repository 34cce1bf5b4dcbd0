//! Makers of requests for tests, and a toy analyser for the statements which they use.

use std::{net::IpAddr, path::PathBuf, sync::Arc};

use gateway_core::{
    catalogue::{CatalogueVersion, Relation, Snapshot},
    decision::{Decision, DecisionPoint as _, Request, SessionFacts},
    id::{AppId, ClassName, Digest, ObjectId, RuleId, TargetName, TenantId},
    identity::{Groups, Principal, PrincipalKind},
    mask::{Classified, ClassifiedField, FieldStep},
    operation::{
        Action, Analysis, ApiFacts, ApiResource, ApiUnit, ClassifiedUse, CommandFacts, Effect,
        Inspection, Object, Operation, Shape, SqlFacts, SqlStage, SqlUnit,
    },
    target::{Durability, Masking, Mode, Target},
    time::{Now, Wall},
};

use crate::{
    Bundle, BundleErrors, BundleFiles,
    cases::{Analyst, Call},
};

pub(crate) fn starters() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("starter")
}

pub(crate) fn starter() -> PathBuf {
    starters().join("postgres")
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
                masking: Masking::Shared,
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
        mistake: None,
    }
}

/// Understands what the starters' tests ask for, and nothing else: product code has real parsers.
pub(crate) struct Toy;

impl Analyst for Toy {
    fn sql(&self, text: &Arc<str>, snapshot: &Snapshot, classified: &Classified) -> Analysis {
        toy_analysis(text, snapshot, classified)
    }

    fn command(&self, line: &str) -> (CommandFacts, Inspection) {
        let plain = |c: char| c.is_ascii_alphanumeric() || "@%+=:,./_-".contains(c);
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let is_plain = words
            .iter()
            .all(|word| !word.is_empty() && word.chars().all(plain));
        let inspection = match line.contains(['$', '`', '*', '?', '\n', '(', '{', '#', '~']) {
            true => Inspection::Opaque {
                reason: "the line has an expansion".to_owned(),
            },
            false => Inspection::Full,
        };
        let facts = CommandFacts {
            program: words.first().cloned(),
            argv: is_plain.then_some(words),
            pty: false,
        };
        (facts, inspection)
    }

    fn api(&self, call: &Call<'_>) -> Result<ApiUnit, String> {
        toy_call(call)
    }
}

/// Reads paths of the form `/api/v1/namespaces/shop/pods/web-0/log?watch=true`, as the wire does.
fn toy_call(call: &Call<'_>) -> Result<ApiUnit, String> {
    let (path, query) = call.target.split_once('?').unwrap_or((call.target, ""));
    if !path.starts_with('/')
        || path.contains(['%', ';', '\\'])
        || path.contains("//")
        || path.contains("/.")
        || path.ends_with('/')
    {
        return Err("the path can be read two ways".to_owned());
    }
    let steps: Vec<&str> = path.split('/').skip(1).collect();
    let (group, rest) = match &steps[..] {
        ["api", _, rest @ ..] => ("", rest),
        ["apis", group, _, rest @ ..] => (*group, rest),
        _ => ("", &[][..]),
    };
    let (namespace, rest) = match rest {
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
        ["namespaces", name] => (*name, rest),
        rest => ("", rest),
    };
    let part = |index: usize| rest.get(index).copied().unwrap_or_default();
    let (resource, name, subresource) = (part(0), part(1), part(2));
    let body = call.body.unwrap_or_default();
    let facts = ApiFacts {
        method: call.method.to_owned(),
        dry_run: query.contains("dryRun=All"),
        privileged: body.contains("\"privileged\":true") || body.contains("hostPath"),
        command: query
            .split('&')
            .filter_map(|pair| pair.strip_prefix("command="))
            .map(|word| word.replace("%2F", "/").replace('+', " "))
            .collect(),
    };
    if resource.is_empty() {
        let effect = Effect {
            action: Action::K8sPath,
            object: Object::ApiPath {
                path: path.to_owned(),
            },
        };
        return Ok(toy_unit("get", None, vec![effect], facts));
    }
    let verb = match (call.method, name) {
        ("GET", _) if query.contains("watch=true") => "watch",
        ("GET", "") => "list",
        ("GET", _) => "get",
        ("POST", _) => "create",
        ("PUT", _) => "update",
        ("PATCH", _) => "patch",
        ("DELETE", "") => "deletecollection",
        ("DELETE", _) => "delete",
        _ => return Err("the method isn't known".to_owned()),
    };
    let writes = !matches!(verb, "get" | "list" | "watch");
    let own = match subresource {
        "exec" | "attach" => "k8s.exec".to_owned(),
        "portforward" | "proxy" => "k8s.tunnel".to_owned(),
        "log" => "k8s.logs".to_owned(),
        _ => format!("k8s.{verb}"),
    };
    let mut actions = vec![own];
    let grants = ["rbac.authorization.k8s.io", "admissionregistration.k8s.io"];
    for (applies, action) in [
        (resource == "secrets", "k8s.secret"),
        (writes && grants.contains(&group), "k8s.rbac"),
        (writes && subresource == "token", "k8s.token"),
        (writes && facts.privileged, "k8s.privileged"),
    ] {
        actions.extend(applies.then(|| action.to_owned()));
    }
    let effects = actions.iter().map(|action| Effect {
        action: *Action::ALL
            .iter()
            .find(|known| known.as_str() == action)
            .expect("action"),
        object: Object::Resource {
            group: group.to_owned(),
            resource: resource.to_owned(),
            subresource: subresource.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        },
    });
    let resource = ApiResource {
        group: group.to_owned(),
        version: "v1".to_owned(),
        namespace: namespace.to_owned(),
        resource: resource.to_owned(),
        subresource: subresource.to_owned(),
        name: name.to_owned(),
    };
    Ok(toy_unit(verb, Some(resource), effects.collect(), facts))
}

pub(crate) fn toy_unit(
    verb: &'static str,
    resource: Option<ApiResource>,
    effects: Vec<Effect>,
    facts: ApiFacts,
) -> ApiUnit {
    let is_secret = resource.as_ref().is_some_and(|of| of.resource == "secrets");
    let payload = ["data", "stringData"].map(|key| field(key, "secret"));
    ApiUnit {
        verb,
        resource,
        text: "…".into(),
        sensitive: Vec::new(),
        effects: effects.into(),
        inspection: Inspection::Full,
        facts,
        classified: if is_secret {
            payload.into()
        } else {
            Arc::new([])
        },
    }
}

/// `secrets.<key>.*`.
pub(crate) fn field(key: &str, class: &str) -> ClassifiedField {
    ClassifiedField {
        group: String::new(),
        resource: "secrets".to_owned(),
        path: vec![FieldStep::Key(key.to_owned()), FieldStep::Each],
        class: ClassName::parse(class).expect("class"),
    }
}

fn toy_analysis(text: &Arc<str>, snapshot: &Snapshot, classified: &Classified) -> Analysis {
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
        [..] if words.contains(&"like") => Shape::Beyond {
            construct: "deciding by `email`".to_owned(),
            column: Some("public.customers.email".to_owned()),
            instead: "compare the column by =".to_owned(),
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
