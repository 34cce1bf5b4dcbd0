//! Random requests: what is remembered and what is found by scope must change no decision.

use gateway_core::{
    id::{AppId, ClassName, ObjectId, TargetName},
    mask::ClassifiedColumn,
    operation::{Analysis, SessionOp, Shape, SqlFacts, SqlStage, SqlUnit},
};
use proptest::prelude::*;

use super::*;

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
    changes
        .iter()
        .map(|change| {
            let mut neighbour = asked.clone();
            change(&mut neighbour);
            neighbour
        })
        .collect()
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
