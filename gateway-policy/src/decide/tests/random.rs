//! Random requests: what is remembered and what is found by scope must change no decision.

use gateway_core::{
    id::{AppId, ClassName, ObjectId, TargetName},
    mask::ClassifiedColumn,
    operation::{
        Analysis, ApiFacts, ApiResource, ApiUnit, CommandFacts, CommandKind, CommandUnit,
        SessionOp, Shape, SqlFacts, SqlStage, SqlUnit,
    },
};
use proptest::prelude::*;

use super::*;
use crate::testing::{field, toy_unit};

/// Rules that read everything a cached bundle may read.
const CURIOUS: &str = r#"
@id("role") permit (principal in Role::"A", action in Action::"sql.read", resource);
@id("group") permit (principal in Group::"66666666-6666-4666-8666-666666666666", action, resource);
@id("kind") permit (principal, action in Action::"sql.write", resource) when { principal.kind == "user" };
@id("app") permit (principal, action == Action::"sql.call", resource) when { principal.app_id == "99999999-9999-4999-8999-999999999999" };
@id("known") permit (principal, action == Action::"session.open", resource) when { principal.known };
@id("ip") forbid (principal, action, resource) when { context.source_ip.isInRange(ip("10.0.0.2/32")) };
@id("database") forbid (principal, action, resource) when { context.database == "other" };
@id("environment") forbid (principal, action, resource in Environment::"dev");
@id("facts") forbid (principal, action in [Action::"sql.read", Action::"sql.write"], resource)
when { context.where_is_constant || !context.has_where || context.statement_count > 2 || context.in_transaction || context.read_only || (context has limit && context.limit > 5) || context.stage == "prepare" };
@id("held") @hold("reviewers") forbid (principal, action == Action::"sql.delete", resource) unless { context.approved };
@id("command") permit (principal, action == Action::"ssh.exec", resource) when { context.template == "status" || (context.plain && context.command == "ls" && context.program == "ls" && !context.pty) };
@id("folder") permit (principal, action in Action::"ssh.transfer", resource is Path) when { resource in Path::"shop/var/log" && context.kind == "file" };
@id("api") permit (principal, action in [Action::"k8s.read", Action::"k8s.secret", Action::"k8s.exec"], resource) when { resource.resource == "secrets" && resource.group == "" && resource.subresource == "" && resource.name != "b" && context.verb == "get" && context.method == "GET" && !context.dry_run && !context.privileged && context.command != "a b" };
@id("namespace") forbid (principal, action in Action::"k8s.read", resource in Namespace::"shop/b");
@id("fields") permit (principal, action == Action::"reveal", resource is Field) when { resource.path == "data.*" && resource.class == "secret" && resource.namespace == "a" && resource.name == "a" && resource.group == "" };
@id("reveal") permit (principal, action == Action::"reveal", resource) when { resource.class == "email" && resource.name == "email" && context has stage && context.stage == "execute" };
"#;

prop_compose! {
    fn asked_of(columns: Vec<std::sync::Arc<ClassifiedColumn>>)(
        (role, group, app, user, known) in any::<(bool, u8, bool, bool, bool)>(),
        (source, database, environment) in any::<(bool, bool, bool)>(),
        (stage, has_where, constant, in_transaction, read_only) in (0_u8..3, any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>()),
        (count, limit) in (0_u32..4, prop::option::of(4_u64..7)),
        effects in prop::collection::btree_set((0_usize..3, 0_usize..4), 0..3),
        opaque in prop::option::of("[ab]"),
        taken in prop::collection::vec(any::<bool>(), columns.len()),
        session in prop::option::weighted(0.2, prop::option::of("[so]hop")),
        other in prop::option::weighted(0.5, any_other()),
        approved: bool,
    ) -> Asked {
        let objects = [table("orders"), table("carts"), Object::Target];
        let actions = [Action::SqlSelect, Action::SqlDelete, Action::SqlCall, Action::SqlUpdate];
        let stage = [
            SqlStage::Query,
            SqlStage::Prepare,
            SqlStage::Execute,
        ][usize::from(stage)];
        let operation = match session {
            _ if other.is_some() => other.expect("is some"),
            Some(database) => Operation::Session(SessionOp::Open { database }),
            None => {
                let effects = effects.into_iter().map(|(object, action)| Effect { action: actions[action], object: objects[object].clone() });
                let columns = columns.iter().zip(taken).filter(|(_, taken)| *taken).map(|(c, _)| c.clone());
                let analysis = Analysis {
                    effects: effects.collect(),
                    inspection: opaque.map_or(Inspection::Full, |reason| Inspection::Opaque { reason }),
                    facts: SqlFacts { statement_count: count, has_where, where_is_constant: constant, limit, read_only },
                    classified: ClassifiedUse { columns: columns.collect(), shape: Shape::Plain { outputs: Vec::new() } },
                    ..analysis()
                };
                let mut operation = unit(analysis);
                if let Operation::Sql(unit) = &mut operation {
                    unit.stage = stage;
                    unit.in_transaction = in_transaction;
                }
                operation
            }
        };
        let mut asked = Asked::new(operation).roles(if role { &["A"] } else { &["B"] });
        asked.principal.groups = match group % 3 {
            0 => Groups::Overage,
            1 => Groups::Known(Vec::new()),
            _ => Groups::Known(vec![ObjectId::parse("66666666-6666-4666-8666-666666666666").expect("group")]),
        };
        if app {
            asked.principal.app = AppId::from(*asked.principal.object.as_uuid());
        }
        if user {
            asked.principal.kind = PrincipalKind::User;
        }
        if !known {
            asked.principal.object = ObjectId::from(*asked.principal.tenant.as_uuid());
        }
        if source {
            asked.facts.source = std::net::IpAddr::from([10, 0, 0, 2]);
        }
        if database {
            asked.facts.database = "other".to_owned();
        }
        if environment {
            asked.target.environment = "dev".to_owned();
        }
        if approved { asked.approved(&["held"]) } else { asked }
    }
}

/// Commands, files and API calls.
fn any_other() -> impl Strategy<Value = Operation> {
    let command = (
        0_u8..3,
        "(ls|ls -l|status a|\\$x)",
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
    );
    let command = command.prop_map(|(kind, text, plain, pty, opaque)| {
        let (kind, action, object) = match kind {
            0 => (CommandKind::Exec, Action::SshExec, Object::Target),
            1 => (CommandKind::Shell, Action::SshShell, Object::Target),
            _ => (CommandKind::File, Action::SshRead, path("/var/log/x")),
        };
        Operation::Command(CommandUnit {
            kind,
            effects: std::sync::Arc::new([Effect { action, object }]),
            inspection: match opaque {
                true => Inspection::Opaque {
                    reason: text.clone(),
                },
                false => Inspection::Full,
            },
            facts: CommandFacts {
                argv: plain.then(|| text.split(' ').map(str::to_owned).collect()),
                program: plain.then(|| text.clone()),
                pty,
            },
            text: text.into(),
        })
    });
    let part = || "(|a|b|secrets)";
    let call = (
        part(),
        part(),
        part(),
        part(),
        part(),
        0_u8..3,
        any::<(bool, bool, bool)>(),
    );
    let call = call.prop_map(
        |(
            group,
            resource,
            subresource,
            namespace,
            name,
            action,
            (dry_run, privileged, command),
        )| {
            let object = Object::Resource {
                group: group.clone(),
                resource: resource.clone(),
                subresource: subresource.clone(),
                namespace: namespace.clone(),
                name: name.clone(),
            };
            let action = [Action::K8sGet, Action::K8sSecret, Action::K8sExec][usize::from(action)];
            let version = "v1".to_owned();
            let resource = ApiResource {
                group,
                version,
                namespace,
                resource,
                subresource,
                name,
            };
            let facts = ApiFacts {
                method: "GET".to_owned(),
                dry_run,
                privileged,
                command: if command {
                    vec!["a".to_owned(), "b".to_owned()]
                } else {
                    Vec::new()
                },
            };
            Operation::Api(toy_unit(
                "get",
                Some(resource),
                vec![Effect { action, object }],
                facts,
            ))
        },
    );
    prop_oneof![command, call]
}

fn path(path: &str) -> Object {
    Object::Path {
        path: path.to_owned(),
    }
}

fn any_asked() -> impl Strategy<Value = Asked> {
    let bundle = masking("");
    let target = TargetName::parse("shop").expect("target");
    let classified = bundle
        .classify(&target, &catalogue())
        .expect("fits")
        .classified;
    let columns: Vec<_> = classified.columns().cloned().collect();
    asked_of(columns)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn cached_judgements_equal_uncached_ones(requests in prop::collection::vec(any_asked(), 1..4)) {
        let warm = masking(CURIOUS);
        let words = |decision: &gateway_core::decision::Decision| format!("{decision:?}");
        let engine = masking(&format!("{CURIOUS}@id(\"clock\") forbid (principal, action, resource) when {{ context.token_age_s < 0 }};"));
        let around: Vec<Asked> = requests
            .iter()
            .flat_map(|asked| std::iter::once(asked.clone()).chain(neighbours(asked)))
            .collect();
        for asked in around.iter().chain(&around) {
            let cached = asked.decide(&warm);
            let mut uncached = asked.decide(&engine);
            uncached.policy = warm.policy();
            prop_assert_eq!(words(&cached), words(&uncached));
        }
    }
}

/// The request with one fact changed, once for each fact that a rule or a message may depend on.
fn neighbours(asked: &Asked) -> Vec<Asked> {
    let other = "77777777-7777-4777-8777-777777777777";
    let id = ObjectId::parse(other).expect("id");
    type Change = Box<dyn Fn(&mut Asked)>;
    let mut changes: Vec<Change> = vec![
        Box::new(move |a| a.principal.tenant = (*id.as_uuid()).into()),
        Box::new(move |a| a.principal.object = id),
        Box::new(move |a| a.principal.app = (*id.as_uuid()).into()),
        Box::new(|a| {
            a.principal.kind = match a.principal.kind {
                PrincipalKind::Application => PrincipalKind::User,
                PrincipalKind::User => PrincipalKind::Application,
            }
        }),
        Box::new(|a| a.principal.roles.push("C".to_owned())),
        Box::new(move |a| {
            a.principal.groups = match a.principal.groups {
                Groups::Overage => Groups::Known(Vec::new()),
                Groups::Known(_) => Groups::Overage,
            }
        }),
        Box::new(move |a| a.principal.groups = Groups::Known(vec![id])),
        Box::new(|a| a.target.name = TargetName::parse("shop2").expect("target")),
        Box::new(|a| a.target.environment.push('x')),
        Box::new(|a| a.facts.source = std::net::IpAddr::from([10, 9, 9, 9])),
        Box::new(|a| a.facts.database.push('x')),
    ];
    if let Operation::Sql(unit) = &asked.operation {
        let unit = unit.clone();
        let mut with = |change: &dyn Fn(&mut SqlUnit, &mut Analysis)| {
            let (mut unit, mut analysis) = (unit.clone(), (*unit.analysis).clone());
            change(&mut unit, &mut analysis);
            unit.analysis = std::sync::Arc::new(analysis);
            let operation = Operation::Sql(unit);
            changes.push(Box::new(move |a| a.operation = operation.clone()));
        };
        with(&|unit, _| {
            unit.stage = match unit.stage {
                SqlStage::Query => SqlStage::Prepare,
                SqlStage::Prepare => SqlStage::Execute,
                SqlStage::Execute => SqlStage::Query,
            }
        });
        with(&|unit, _| unit.in_transaction = !unit.in_transaction);
        with(&|_, a| a.facts.statement_count += 1);
        with(&|_, a| a.facts.has_where = !a.facts.has_where);
        with(&|_, a| a.facts.where_is_constant = !a.facts.where_is_constant);
        with(&|_, a| a.facts.read_only = !a.facts.read_only);
        with(&|_, a| a.facts.limit = a.facts.limit.map_or(Some(9), |limit| Some(limit + 1)));
        with(&|_, a| {
            a.inspection = Inspection::Opaque {
                reason: "other".to_owned(),
            }
        });
        with(&|_, a| {
            a.effects.push(Effect {
                action: Action::SqlFile,
                object: Object::Database,
            })
        });
        for change in [
            |c: &mut ClassifiedColumn| c.id.number += 100,
            |c: &mut ClassifiedColumn| c.id.relation.0 += 1,
            |c: &mut ClassifiedColumn| c.name[0].push('x'),
            |c: &mut ClassifiedColumn| c.name[2].push('x'),
            |c: &mut ClassifiedColumn| c.class = ClassName::parse("other").expect("class"),
        ] {
            if let Some(first) = unit.analysis.classified.columns.first() {
                let mut column = (**first).clone();
                change(&mut column);
                let column = std::sync::Arc::new(column);
                with(&|_, a| a.classified.columns[0] = std::sync::Arc::clone(&column));
            }
        }
    }
    changes.extend(
        others(&asked.operation).into_iter().map(|operation| {
            Box::new(move |a: &mut Asked| a.operation = operation.clone()) as Change
        }),
    );
    changes
        .iter()
        .map(|change| {
            let mut neighbour = asked.clone();
            change(&mut neighbour);
            neighbour
        })
        .collect()
}

/// The command or call with one fact changed, once for each.
fn others(operation: &Operation) -> Vec<Operation> {
    let effect = |action, object| std::sync::Arc::new([Effect { action, object }]);
    let opaque = || Inspection::Opaque {
        reason: "other".to_owned(),
    };
    match operation {
        Operation::Session(_) | Operation::Sql(_) => Vec::new(),
        Operation::Command(unit) => {
            let with = |change: &dyn Fn(&mut CommandUnit)| {
                let mut unit = unit.clone();
                change(&mut unit);
                Operation::Command(unit)
            };
            let mut others = vec![
                with(&|u| u.facts.argv = Some(vec!["x".to_owned(), String::new()])),
                with(&|u| u.facts.program = Some("x".to_owned())),
                with(&|u| u.facts.pty = !u.facts.pty),
                with(&|u| u.inspection = opaque()),
                with(&|u| u.effects = effect(Action::SshRead, path("/var/log/y"))),
                with(&|u| u.effects = effect(Action::SshWrite, path("/var/log/x"))),
                with(&|u| {
                    u.kind = match u.kind {
                        CommandKind::Exec => CommandKind::Shell,
                        CommandKind::Shell => CommandKind::File,
                        CommandKind::File => CommandKind::Exec,
                    }
                }),
            ];
            if unit.kind == CommandKind::Exec {
                others.push(with(&|u| u.text = "other".into()));
            }
            others
        }
        Operation::Api(unit) => {
            let with = |change: &dyn Fn(&mut ApiUnit)| {
                let mut unit = unit.clone();
                change(&mut unit);
                Operation::Api(unit)
            };
            let named = |change: &dyn Fn(&mut ApiResource)| {
                with(&|u| u.resource.iter_mut().for_each(change))
            };
            let classified = |field: ClassifiedField| {
                with(&|u: &mut ApiUnit| u.classified = std::sync::Arc::new([field.clone()]))
            };
            vec![
                with(&|u| u.verb = "list"),
                with(&|u| u.resource = None),
                named(&|r| r.group.push('x')),
                named(&|r| r.resource.push('x')),
                named(&|r| r.namespace.push('x')),
                named(&|r| r.name.push('x')),
                with(&|u| u.facts.method.push('x')),
                with(&|u| u.facts.dry_run = !u.facts.dry_run),
                with(&|u| u.facts.privileged = !u.facts.privileged),
                with(&|u| u.facts.command.push(String::new())),
                with(&|u| u.inspection = opaque()),
                with(&|u| u.effects = effect(Action::K8sGet, path("/x"))),
                classified(field("other", "secret")),
                classified(field("data", "other")),
            ]
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_request_that_differs_in_one_fact_has_another_key(asked in any_asked()) {
        let key = cache::key(&asked.request());
        prop_assert_eq!(key, cache::key(&asked.clone().request()));
        for (number, neighbour) in neighbours(&asked).iter().enumerate() {
            prop_assert_ne!(key, cache::key(&neighbour.request()), "change {}", number);
        }
    }
}

fn any_rule() -> impl Strategy<Value = (bool, &'static str, &'static str, &'static str)> {
    let principals = [
        "true",
        "principal in Role::\"A\"",
        "principal in Role::\"B\"",
        "principal in Group::\"66666666-6666-4666-8666-666666666666\"",
        "principal == Agent::\"11111111-1111-4111-8111-111111111111/22222222-2222-4222-8222-222222222222\"",
        "principal is Agent",
    ];
    let actions = [
        "action in Action::\"sql.read\"",
        "action in [Action::\"sql.write\", Action::\"sql.select\"]",
        "action == Action::\"sql.delete\"",
        "action == Action::\"sql.call\"",
    ];
    let resources = [
        "true",
        "resource is Table",
        "resource in Target::\"shop\"",
        "resource in Environment::\"dev\"",
        "resource == Table::\"shop/shop/public/orders\"",
        "resource in Schema::\"shop/shop/public\"",
        "resource is Table in Database::\"shop/other\"",
    ];
    (
        prop::bool::weighted(0.7),
        prop::sample::select(principals.to_vec()),
        prop::sample::select(actions.to_vec()),
        prop::sample::select(resources.to_vec()),
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn rules_found_by_scope_are_the_rules_that_match(
        rules in prop::collection::vec(any_rule(), 1..12),
        requests in prop::collection::vec(any_asked(), 1..20),
    ) {
        let (mut scoped, mut unscoped) = (String::new(), String::new());
        for (number, (permit, principal, action, resource)) in rules.iter().enumerate() {
            let effect = if *permit { "permit" } else { "forbid" };
            let scope = |clause: &str, variable: &str| {
                if clause == "true" { variable.to_owned() } else { clause.to_owned() }
            };
            let (in_principal, in_resource) = (scope(principal, "principal"), scope(resource, "resource"));
            scoped += &format!("@id(\"r{number}\") {effect} ({in_principal}, {action}, {in_resource});\n");
            unscoped += &format!(
                "@id(\"r{number}\") {effect} (principal, action, resource) when {{ {principal} && {action} && {resource} }};\n"
            );
        }
        let (scoped, unscoped) = (bundle(&scoped), bundle(&unscoped));
        for asked in &requests {
            let mut plain = asked.clone();
            // Without the group, whose forbids are counted by action.
            if matches!(plain.principal.groups, Groups::Overage) {
                plain.principal.groups = Groups::Known(Vec::new());
            }
            let found = plain.decide(&scoped);
            let mut all = plain.decide(&unscoped);
            all.policy = found.policy;
            prop_assert_eq!(format!("{found:?}"), format!("{all:?}"));
        }
    }
}
