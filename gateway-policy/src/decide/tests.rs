use std::time::{Duration, Instant};

use gateway_core::{
    decision::{DecisionPoint as _, Reason},
    id::TargetName,
    operation::{Analysis, SessionOp, Shape},
};

use super::*;
use crate::{
    Bundle,
    testing::{AGENTS, Asked, analysis, bundle, catalogue, files, sql, table, unit},
};

mod families;
mod random;

const ALL: &str = "@id(\"all\") permit (principal, action, resource);\n";

fn select() -> Asked {
    Asked::new(sql([(Action::SqlSelect, table("orders"))]))
}

fn delete() -> Asked {
    Asked::new(sql([(Action::SqlDelete, table("carts"))]))
}

fn with_agents(rules: &str) -> Bundle {
    files(&[("rules.cedar", rules), ("agents.toml", AGENTS)]).unwrap_or_else(|e| panic!("{e}"))
}

fn ids(rules: &[RuleId]) -> Vec<&str> {
    rules.iter().map(RuleId::as_str).collect()
}

fn denial(bundle: &Bundle, asked: &Asked) -> Denial {
    match asked.decide(bundle).verdict {
        Verdict::Deny(denial) => denial,
        other => panic!("expected a denial, got {other:?}"),
    }
}

fn hold(bundle: &Bundle, asked: &Asked) -> Hold {
    match asked.decide(bundle).verdict {
        Verdict::Hold(hold) => hold,
        other => panic!("expected a hold, got {other:?}"),
    }
}

fn allows(bundle: &Bundle, asked: &Asked) -> bool {
    matches!(asked.decide(bundle).verdict, Verdict::Allow)
}

#[test]
fn nothing_is_permitted_by_default_and_the_denial_names_effect_and_object() {
    let bundle = bundle("");
    let setting = Object::Setting {
        name: "work_mem".to_owned(),
    };
    for (action, object, says) in [
        (
            Action::SqlDrop,
            table("orders"),
            "sql.drop on public.orders of shop",
        ),
        (Action::SessionOpen, Object::Target, "session.open on shop"),
        (
            Action::SqlCreate,
            Object::Database,
            "sql.create on database shop of shop",
        ),
        (
            Action::SqlSession,
            setting,
            "sql.session on setting work_mem of shop",
        ),
        (
            Action::SqlSelect,
            table("a\u{1b}[2J"),
            "sql.select on public.a\\u{1b}[2J of shop",
        ),
    ] {
        let denial = denial(&bundle, &Asked::new(sql([(action, object)])));
        assert_eq!(denial.reason, Reason::NotPermitted);
        assert_eq!(
            denial.message,
            format!("{says} is not permitted by any rule")
        );
    }
    let denial = denial(&bundle, &select());
    let hint = "a rule would name Action::\"sql.select\" and Table::\"shop/shop/public/orders\"";
    assert_eq!(denial.hint.as_deref(), Some(hint));
}

#[test]
fn every_effect_must_be_permitted() {
    let bundle =
        bundle("@id(\"reads\") permit (principal, action in Action::\"sql.read\", resource);");
    assert!(allows(&bundle, &select()));
    let both = [
        (Action::SqlSelect, table("orders")),
        (Action::SqlDelete, table("carts")),
    ];
    let denial = denial(&bundle, &Asked::new(sql(both)));
    assert_eq!(
        denial.message,
        "sql.delete on public.carts of shop is not permitted by any rule"
    );
}

#[test]
fn a_forbid_wins_with_its_message_and_id() {
    let rules = format!(
        "{ALL}@id(\"no-drops\") @message(\"drops need a change ticket\")
        forbid (principal, action == Action::\"sql.drop\", resource);"
    );
    let bundle = bundle(&rules);
    let both = [
        (Action::SqlDrop, table("orders")),
        (Action::SqlSelect, table("orders")),
    ];
    let asked = Asked::new(sql(both));
    let denied = denial(&bundle, &asked);
    assert_eq!(denied.reason, Reason::Forbidden);
    assert_eq!(denied.message, "drops need a change ticket");
    assert_eq!(ids(&denied.rules), ["no-drops"]);
    assert_eq!(ids(&asked.decide(&bundle).rules), ["all", "no-drops"]);
    assert!(allows(&bundle, &select()));
}

#[test]
fn a_rule_that_fails_denies_where_cedar_alone_would_allow() {
    // Cedar skips the erring forbid: the literal's entity isn't known here.
    let rules = format!(
        "{ALL}@id(\"errs\") forbid (principal, action == Action::\"sql.select\", resource)
        when {{ Table::\"elsewhere\".name == \"x\" }};"
    );
    let denied = denial(&bundle(&rules), &select());
    assert_eq!(denied.reason, Reason::PolicyError);
    assert!(denied.detail.is_some_and(|detail| detail.contains("errs")));
}

#[test]
fn rules_see_the_hierarchy_of_objects_and_actions() {
    let matches = |scope: &str, asked: &Asked| {
        allows(
            &bundle(&format!(
                "@id(\"r\") permit (principal, action, resource {scope});"
            )),
            asked,
        )
    };
    for (scope, expected) in [
        ("in Environment::\"prod\"", true),
        ("in Environment::\"dev\"", false),
        ("in Target::\"shop\"", true),
        ("in Database::\"shop/shop\"", true),
        ("in Schema::\"shop/shop/public\"", true),
        ("in Schema::\"shop/other/public\"", false),
        ("== Table::\"shop/shop/public/orders\"", true),
        ("== Table::\"shop/shop/public/order\"", false),
        ("is Table", true),
    ] {
        assert_eq!(matches(scope, &select()), expected, "{scope}");
    }
    let tricky = Object::Relation {
        schema: "public/x".to_owned(),
        name: "a%".to_owned(),
    };
    let asked = Asked::new(sql([(Action::SqlSelect, tricky)]));
    assert!(matches("== Table::\"shop/shop/public%2Fx/a%25\"", &asked));

    let by_action = |action: &str, asked: &Asked| {
        let rule = format!("@id(\"r\") permit (principal, action {action}, resource);");
        allows(&bundle(&rule), asked)
    };
    for (action, expected) in [
        ("in Action::\"sql.write\"", true),
        ("in [Action::\"sql.read\", Action::\"sql.write\"]", true),
        ("== Action::\"sql.delete\"", true),
        ("in Action::\"sql.read\"", false),
    ] {
        assert_eq!(by_action(action, &delete()), expected, "{action}");
    }
}

#[test]
fn rules_see_principal_and_context() {
    let asked = |f: &dyn Fn(&mut Asked)| {
        let mut asked = select();
        asked.principal.roles = vec!["A".to_owned()];
        let group = "66666666-6666-4666-8666-666666666666";
        asked.principal.groups = Groups::Known(vec![
            gateway_core::id::ObjectId::parse(group).expect("group"),
        ]);
        f(&mut asked);
        asked
    };
    for condition in [
        "principal.name == \"orders-bot\" && principal.known && principal.kind == \"application\"",
        "principal has owner && principal.owner == \"33333333-3333-4333-8333-333333333333\"",
        "principal has environment && principal.environment == \"prod\"",
        "principal.app_id == \"99999999-9999-4999-8999-999999999999\"",
        "principal in Role::\"A\" && principal in Group::\"66666666-6666-4666-8666-666666666666\"",
        "context.source_ip.isInRange(ip(\"10.0.0.0/8\"))",
        "context.time == datetime(\"2026-01-01T00:00:10.000Z\")",
        "context.token_age_s == 10",
        "context.database == \"shop\" && context.stage == \"query\"",
        "context.statement_count == 1 && context.has_where && !context.where_is_constant",
        "!(context has limit) && !context.read_only && !context.in_transaction",
        "resource.name == \"orders\"",
    ] {
        let rule = format!(
            "@id(\"r\") permit (principal, action == Action::\"sql.select\", resource) when {{ {condition} }};"
        );
        assert!(allows(&with_agents(&rule), &asked(&|_| {})), "{condition}");
    }
    let unknown = asked(&|asked| {
        asked.principal.object = gateway_core::id::ObjectId::from(*asked.principal.app.as_uuid());
    });
    let rule = "@id(\"r\") permit (principal, action, resource) when { !principal.known };";
    assert!(allows(&with_agents(rule), &unknown));
}

#[test]
fn unknown_group_membership_proves_nothing_and_excuses_nothing() {
    let mut asked = select();
    asked.principal.groups = Groups::Overage;
    let group = "Group::\"66666666-6666-4666-8666-666666666666\"";
    let permit = format!("@id(\"g\") permit (principal in {group}, action, resource);");
    assert_eq!(
        denial(&bundle(&permit), &asked).reason,
        Reason::NotPermitted
    );
    let forbid = format!("{ALL}@id(\"g\") forbid (principal in {group}, action, resource);");
    assert_eq!(denial(&bundle(&forbid), &asked).reason, Reason::PolicyError);
    assert!(allows(&bundle(&forbid), &select()));
}

const HOLDS: &str = r#"
@id("deletes") @hold("reviewers") @message("deletes need a reviewer") @expires("5m")
forbid (principal, action == Action::"sql.delete", resource) unless { context.approved };
@id("carts") @hold("dba") @approvers("2")
forbid (principal, action in Action::"sql.write", resource in Schema::"shop/shop/public") unless { context.approved };
"#;

#[test]
fn a_hold_lists_every_hold_rule_that_matched() {
    let bundle = with_agents(&format!("{ALL}{HOLDS}"));
    let held = hold(&bundle, &delete());
    let requirement = |rule: &str, reviewers: &str, approvers| Requirement {
        rule: RuleId::parse(rule).expect("rule id"),
        reviewers: reviewers.to_owned(),
        approvers,
    };
    assert_eq!(
        held.requirements,
        [
            requirement("carts", "dba", 2),
            requirement("deletes", "reviewers", 1)
        ]
    );
    assert_eq!(held.expires_in, Duration::from_secs(300), "the shortest");
    assert_eq!(held.message, "deletes need a reviewer");
    let owner = held
        .excluded_owner
        .expect("the owner may not approve")
        .to_string();
    assert_eq!(owner, "33333333-3333-4333-8333-333333333333");
}

#[test]
fn approval_lifts_exactly_the_holds_it_was_given_for() {
    let bundle = with_agents(&format!("{ALL}{HOLDS}"));
    let again = hold(&bundle, &delete().approved(&["deletes"]));
    assert_eq!(again.requirements.len(), 1);
    assert_eq!(again.requirements[0].rule.as_str(), "carts");
    assert!(allows(&bundle, &delete().approved(&["carts", "deletes"])));
    assert_eq!(
        hold(&bundle, &delete().approved(&["other"]))
            .requirements
            .len(),
        2
    );
}

#[test]
fn nobody_is_asked_about_what_nobody_may_do() {
    let read_only = with_agents(HOLDS);
    assert_eq!(denial(&read_only, &delete()).reason, Reason::NotPermitted);
    let forbid = "@id(\"no\") forbid (principal, action == Action::\"sql.truncate\", resource);";
    let bundle = with_agents(&format!("{ALL}{HOLDS}{forbid}"));
    let both = [
        (Action::SqlDelete, table("carts")),
        (Action::SqlTruncate, table("carts")),
    ];
    for approved in [&[][..], &["carts", "deletes"]] {
        let asked = Asked::new(sql(both.clone())).approved(approved);
        let denied = denial(&bundle, &asked);
        assert_eq!(
            (denied.reason, ids(&denied.rules)),
            (Reason::Forbidden, vec!["no"])
        );
    }
}

#[test]
fn an_unknown_owner_can_not_be_kept_from_approving() {
    let bundle = bundle(&format!("{ALL}{HOLDS}"));
    let denied = denial(&bundle, &delete());
    assert_eq!(denied.reason, Reason::Forbidden);
    assert_eq!(ids(&denied.rules), ["carts", "deletes"]);

    let waived = HOLDS.replace("@hold(", "@owner(\"any\") @hold(");
    let bundle = self::bundle(&format!("{ALL}{waived}"));
    assert_eq!(hold(&bundle, &delete()).excluded_owner, None);

    // A person's own token says who answers for it.
    let mut person = delete();
    person.principal.kind = PrincipalKind::User;
    let bundle = self::bundle(&format!("{ALL}{HOLDS}"));
    assert_eq!(
        hold(&bundle, &person).excluded_owner,
        Some(person.principal.object)
    );
}

#[test]
fn opaque_operations_need_a_permit_by_name_even_if_the_analysis_forgot_the_effect() {
    let opaque = || {
        Asked::new(unit(Analysis {
            inspection: Inspection::Opaque {
                reason: "unknown relation `x`".to_owned(),
            },
            ..analysis()
        }))
    };
    let reads = bundle("@id(\"r\") permit (principal, action in Action::\"sql.read\", resource);");
    let denied = denial(&reads, &opaque());
    assert_eq!(
        denied.message,
        "opaque on shop is not permitted by any rule"
    );
    assert_eq!(denied.detail.as_deref(), Some("unknown relation `x`"));
    assert!(allows(&bundle(ALL), &opaque()));
}

#[test]
fn an_effect_that_the_schema_does_not_know_is_denied() {
    let asked = Asked::new(sql([(Action::SessionOpen, table("orders"))]));
    assert_eq!(denial(&bundle(ALL), &asked).reason, Reason::PolicyError);
}

#[test]
fn session_operations_are_decided() {
    let rule = "@id(\"open\") permit (principal in Role::\"In\", action == Action::\"session.open\", resource)
        when { context.database == \"shop\" };";
    let bundle = bundle(rule);
    let open = |database: &str| {
        Asked::new(Operation::Session(SessionOp::Open {
            database: Some(database.to_owned()),
        }))
    };
    assert!(allows(&bundle, &open("shop").roles(&["In"])));
    assert!(!allows(&bundle, &open("postgres").roles(&["In"])));
    assert!(!allows(&bundle, &open("shop").roles(&["Out"])));
    assert!(!allows(
        &bundle,
        &Asked::new(Operation::Session(SessionOp::Cancel)).roles(&["In"])
    ));
}

/// Reads of `public.customers`, every classified column in reach, in this shape.
fn customers(bundle: &Bundle, shape: Shape) -> Asked {
    let target = TargetName::parse("shop").expect("target");
    let classification = bundle.classify(&target, &catalogue()).expect("fits");
    let columns: Vec<_> = classification.classified.columns().cloned().collect();
    let effect = Effect {
        action: Action::SqlSelect,
        object: table("customers"),
    };
    Asked::new(unit(Analysis {
        effects: vec![effect],
        classified: ClassifiedUse { columns, shape },
        ..analysis()
    }))
}

const CLASSES: &str = r#"
[class.email]
mask = { method = "partial", keep = "domain" }
[class.phone]
mask = { method = "null" }
[[column]]
target = "*"
name = ["*", "customers", "email"]
class = "email"
[[column]]
target = "*"
name = ["*", "customers", "phone"]
class = "phone"
"#;

fn masking(rules: &str) -> Bundle {
    files(&[
        ("rules.cedar", rules),
        ("classification.toml", CLASSES),
        ("agents.toml", AGENTS),
    ])
    .unwrap_or_else(|errors| panic!("{errors}"))
}

#[test]
fn what_is_classified_is_masked_unless_reveal_is_permitted() {
    let read = "@id(\"r\") permit (principal, action == Action::\"sql.select\", resource);\n";
    let plain = || Shape::Plain {
        outputs: Vec::new(),
    };
    let beyond = || Shape::Beyond {
        construct: "lower(email)".to_owned(),
        column: None,
        instead: "SELECT email".to_owned(),
    };
    let email = "@id(\"see\") permit (principal, action == Action::\"reveal\", resource) when { resource.class == \"email\" };\n";
    let both = "@id(\"see\") permit (principal, action == Action::\"reveal\", resource in Table::\"shop/shop/public/customers\");\n";
    for (rules, masked, revealed, beyond_allowed) in [
        (read.to_owned(), vec!["email", "phone"], 0, false),
        (format!("{read}{email}"), vec!["phone"], 1, false),
        (format!("{read}{both}"), vec![], 2, true),
        // A hold on everything, reveal included: approval of the unit doesn't unmask.
        (
            format!(
                "{read}{both}@id(\"h\") @hold(\"x\") forbid (principal, action, resource is Column) unless {{ context.approved }};"
            ),
            vec!["email", "phone"],
            0,
            false,
        ),
    ] {
        let bundle = masking(&rules);
        let decision = customers(&bundle, plain()).decide(&bundle);
        assert!(
            matches!(decision.verdict, Verdict::Allow),
            "{rules} {:?}",
            decision.verdict
        );
        let names: Vec<_> = decision
            .obligations
            .masks
            .values()
            .map(|c| c.name[2].as_str())
            .collect();
        assert_eq!(names, masked, "{rules}");
        assert_eq!(decision.obligations.reveal.len(), revealed);
        let decision = customers(&bundle, beyond()).decide(&bundle);
        match decision.verdict {
            Verdict::Allow => assert!(beyond_allowed, "{rules}"),
            Verdict::Deny(denial) => {
                assert!(!beyond_allowed, "{rules}");
                assert_eq!(denial.reason, Reason::Masking);
            }
            Verdict::Hold(hold) => panic!("{hold:?}"),
        }
    }
}

#[test]
fn obligations_are_there_whatever_the_verdict() {
    let bundle = masking("");
    let decision = customers(
        &bundle,
        Shape::Plain {
            outputs: Vec::new(),
        },
    )
    .decide(&bundle);
    assert!(matches!(decision.verdict, Verdict::Deny(_)));
    assert_eq!(decision.obligations.masks.len(), 2);
    let failing = masking(&format!(
        "{ALL}@id(\"errs\") forbid (principal, action, resource) when {{ Table::\"x\".name == \"x\" }};"
    ));
    let decision = customers(
        &failing,
        Shape::Plain {
            outputs: Vec::new(),
        },
    )
    .decide(&failing);
    assert!(matches!(decision.verdict, Verdict::Deny(_)));
    assert_eq!(
        decision.obligations.masks.len(),
        2,
        "what fails reveals nothing"
    );
}

#[test]
fn the_clock_is_never_remembered() {
    let bundle = bundle(
        "@id(\"young\") permit (principal, action, resource) when { context.token_age_s < 60 };",
    );
    let mut asked = select();
    assert!(allows(&bundle, &asked));
    asked.now.wall = asked.now.wall.saturating_add(Duration::from_secs(60));
    assert!(!allows(&bundle, &asked));
}

#[test]
fn memory_of_decisions_is_bounded() {
    let bundle = bundle(ALL);
    for number in 0..10_000 {
        let object = table(&format!("t{number}"));
        assert!(allows(
            &bundle,
            &Asked::new(sql([(Action::SqlSelect, object)]))
        ));
    }
    assert!(bundle.remembered() <= 2 * 2048);
}

/// `cargo test --release -p gateway-policy -- --ignored --nocapture microseconds`
#[test]
#[ignore = "prints timings, asserts nothing"]
#[allow(clippy::print_stderr, reason = "its purpose is to print")]
fn microseconds_per_decision() {
    let actions: Vec<&str> = Action::ALL.iter().map(|action| action.as_str()).collect();
    for (count, spread) in [(10, true), (500, true), (500, false)] {
        let mut rules = ALL.to_owned();
        for number in 0..count {
            let action = if spread {
                actions[number % actions.len()]
            } else {
                "sql.select"
            };
            rules += &format!(
                "@id(\"r{number}\") permit (principal in Role::\"R{number}\", action == Action::\"{action}\", resource in Target::\"t{number}\");\n"
            );
        }
        let cached = bundle(&rules);
        let clock = "@id(\"clock\") permit (principal in Role::\"x\", action == Action::\"opaque\", resource) when { context.token_age_s > 1 };";
        let uncached = bundle(&format!("{rules}{clock}"));
        for (name, bundle) in [("uncached", &uncached), ("cached", &cached)] {
            let asked = select();
            let best = (0..200)
                .map(|_| {
                    let start = Instant::now();
                    for _ in 0..20 {
                        assert!(allows(bundle, &asked));
                    }
                    start.elapsed() / 20
                })
                .min()
                .expect("some rounds");
            eprintln!("{count} rules, spread {spread}, {name}: {best:?}");
        }
    }
}
