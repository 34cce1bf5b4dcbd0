//! Commands, files and API calls.

use std::sync::Arc;

use gateway_core::operation::{CommandKind, CommandUnit};

use super::*;
use crate::{
    cases::{Analyst as _, Call},
    testing::Toy,
};

/// Rules on all of it, a template, a field and a detection.
fn other_families() -> Bundle {
    files(&[
        (
            "rules.cedar",
            r#"
@id("status") permit (principal, action == Action::"ssh.exec", resource) when { context.template == "status" };
@id("exec") permit (principal, action == Action::"k8s.exec", resource) when { context.template == "status" };
@id("line") permit (principal, action == Action::"k8s.exec", resource) when { context.command == "echo 'a b'" };
@id("logs") permit (principal, action in [Action::"ssh.transfer", Action::"opaque"], resource)
when { context has kind && context.kind == "file" && (resource is Target || resource in Path::"shop/var/log") };
@id("secrets") permit (principal, action in [Action::"k8s.get", Action::"k8s.secret"], resource in K8sKind::"shop//secrets");
@id("reveal") permit (principal in Role::"Seer", action == Action::"reveal", resource is Field) when { resource.path == "data.*" };
@id("not-b") forbid (principal, action == Action::"reveal", resource in Namespace::"shop/b");
"#,
        ),
        (
            "commands.toml",
            "[[command]]\nname = \"status\"\nargv = [\"systemctl\", \"status\", \"{unit:[a-z]+}\"]\n",
        ),
        (
            "classification.toml",
            r#"
class.card.mask = { method = "partial", keep_last = 4 }
[[detect]]
target = "sh*"
kind = "card_number"
class = "card"
[[field]]
target = "shop"
group = "x"
resource = "keys"
path = ["spec", "*", "value"]
class = "card"
"#,
        ),
    ])
    .unwrap_or_else(|errors| panic!("{errors}"))
}

fn command(kind: CommandKind, line: &str, effect: (Action, Object)) -> Operation {
    let (facts, inspection) = Toy.command(line);
    Operation::Command(CommandUnit {
        kind,
        text: line.into(),
        effects: Arc::new([Effect {
            action: effect.0,
            object: effect.1,
        }]),
        inspection,
        facts,
    })
}

fn call(target: &str) -> Operation {
    let call = Call {
        method: "GET",
        target,
        content_type: None,
        body: None,
    };
    Operation::Api(Toy.api(&call).expect("toy call"))
}

#[test]
fn commands_are_permitted_by_template_and_complete_line() {
    let bundle = other_families();
    let exec = |line: &str| command(CommandKind::Exec, line, (Action::SshExec, Object::Target));
    let pod = "/api/v1/namespaces/a/pods/p/exec";
    for (operation, allowed) in [
        (exec("systemctl status nginx"), true),
        (exec("systemctl  status nginx"), false),
        (exec("systemctl status nginx; id"), false),
        (
            call(&format!("{pod}?command=systemctl&command=status&command=a")),
            true,
        ),
        (call(&format!("{pod}?command=systemctl+status+a")), false),
        (call(&format!("{pod}?command=echo&command=a+b")), true),
        (
            call(&format!("{pod}?command=echo&command=a&command=b")),
            false,
        ),
        (
            call(&format!("{pod}?command=echo&command='a&command=b'")),
            false,
        ),
    ] {
        let decision = Asked::new(operation.clone()).decide(&bundle);
        let is_allowed = matches!(decision.verdict, Verdict::Allow);
        assert_eq!(is_allowed, allowed, "{operation:?} {:?}", decision.verdict);
    }
}

#[test]
fn a_path_is_in_every_folder_above_it_if_it_is_canonical() {
    let bundle = other_families();
    for (path, allowed) in [
        ("/var/log", true),
        ("/var/log/a%2Fb/c", true),
        ("/var/logs", false),
        ("/", false),
        ("/var/log/../x", false),
        ("/var/log/", false),
        ("var/log/x", false),
        ("/var/log/x\n", false),
        (&format!("/var/log{}", "/x".repeat(63)), false),
    ] {
        let object = Object::Path {
            path: path.to_owned(),
        };
        let asked = Asked::new(command(CommandKind::File, "", (Action::SshRead, object)));
        let decision = asked.decide(&bundle);
        let is_allowed = matches!(decision.verdict, Verdict::Allow);
        assert_eq!(is_allowed, allowed, "{path} {:?}", decision.verdict);
    }
}

#[test]
fn classified_fields_are_masked_unless_reveal_is_permitted() {
    let bundle = other_families();
    let listed = "x/keys.spec.*.value";
    let (data, string_data) = ("secrets.data.*", "secrets.stringData.*");
    for (target, role, masked, revealed) in [
        (
            "/api/v1/namespaces/a/secrets/s",
            "Reader",
            &[data, string_data, listed][..],
            &[][..],
        ),
        (
            "/api/v1/namespaces/a/secrets/s",
            "Seer",
            &[string_data, listed],
            &[data],
        ),
        (
            "/api/v1/namespaces/b/secrets/s",
            "Seer",
            &[data, string_data, listed],
            &[],
        ),
        ("/api/v1/secrets/s", "Seer", &[string_data, listed], &[data]),
    ] {
        let decision = Asked::new(call(target)).roles(&[role]).decide(&bundle);
        assert!(
            matches!(decision.verdict, Verdict::Allow),
            "{:?}",
            decision.verdict
        );
        let names = |fields: &[ClassifiedField]| -> Vec<String> {
            fields.iter().map(ClassifiedField::name).collect()
        };
        let obligations = &decision.obligations;
        assert_eq!(names(&obligations.fields), masked, "{target} {role}");
        assert_eq!(
            names(&obligations.revealed_fields),
            revealed,
            "{target} {role}"
        );
    }
}

#[test]
fn text_is_looked_through_where_the_bundle_says() {
    let bundle = other_families();
    let exec = command(CommandKind::Exec, "ls", (Action::SshExec, Object::Target));
    let file = command(CommandKind::File, "", (Action::SshRead, Object::Target));
    for (operation, expected) in [
        (exec.clone(), true),
        (file, false),
        (call("/api/v1/namespaces/a/pods/p/log"), true),
        (call("/api/v1/namespaces/a/pods/p/exec?command=ls"), true),
        (call("/api/v1/namespaces/a/pods/p"), false),
    ] {
        let decision = Asked::new(operation.clone()).decide(&bundle);
        assert_eq!(
            decision.obligations.detector.is_some(),
            expected,
            "{operation:?}"
        );
    }
    let mut elsewhere = Asked::new(exec);
    elsewhere.target.name = TargetName::parse("web").expect("target");
    assert!(elsewhere.decide(&bundle).obligations.detector.is_none());
}
