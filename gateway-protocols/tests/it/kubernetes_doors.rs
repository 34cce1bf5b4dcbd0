//! Ways around a decision or a mask that a Kubernetes agent might try.

use gateway_core::{
    id::ClassName,
    mask::{ClassifiedField, FieldStep},
    operation::Action,
    record::Entry,
};
use gateway_protocols::{
    kubernetes::{
        mask::{Asked, Masks},
        message::{Method, RequestInfo, Target},
    },
    testkit::{
        Schedule, Script, Subject, Trace, World,
        kubernetes::{Kubernetes, client::*},
        run,
    },
};

const SUBJECT: Kubernetes = Kubernetes { prefixed: false };

fn traced(script: &Script) -> Trace {
    let world = World::by_text().of("kubernetes").classified();
    run(&SUBJECT, &world, script, Schedule::prompt()).unwrap()
}

fn heard(trace: &Trace) -> String {
    String::from_utf8_lossy(trace.target_heard()).into_owned()
}

#[test]
fn a_patch_takes_no_masked_value_elsewhere() {
    for operation in [
        r#"{"op":"copy","from":"/data/p","path":"/metadata/annotations/leak"}"#,
        r#"{"op":"copy","from":"/data","path":"/metadata/annotations"}"#,
        r#"{"op":"move","from":"/data/p","path":"/metadata/labels/leak"}"#,
        r#"{"op":"test","path":"/data/p","value":"aHVudGVyMg=="}"#,
        r#"{"op":"copy","from":"","path":"/metadata/annotations/leak"}"#,
    ] {
        let line = "PATCH /api/v1/namespaces/shop/secrets/s?dryRun=All";
        let patch = send(
            2,
            line,
            "application/json-patch+json",
            &format!("[{operation}]"),
        );
        let trace = traced(&SUBJECT.login().agent(patch));
        assert!(!heard(&trace).contains("PATCH"), "{operation}");
    }
}

#[test]
fn a_field_selector_names_an_object_only_where_the_server_reads_it_so() {
    // `k8s.io/apimachinery/pkg/fields`, `splitTerms`: a backslash escapes the comma, so this is one
    // term, and every Secret fulfils it.
    let escaped = "/api/v1/secrets?fieldSelector=type%21%3Dx%5C%2Cmetadata.name%3Dmine";
    let target = Target::parse(escaped).unwrap();
    match RequestInfo::of(Method::Get, &target) {
        Ok(RequestInfo::Resource(_, path)) => assert_eq!(path.name, ""),
        Ok(RequestInfo::Path) => panic!("it is a list"),
        Err(_) => {}
    }
}

#[test]
fn a_proxy_is_a_tunnel_in_every_group() {
    for path in [
        "/apis/cluster.karmada.io/v1alpha1/clusters/member/proxy/api/v1/secrets",
        "/apis/cluster.core.oam.dev/v1alpha1/clustergateways/member/proxy/api/v1/secrets",
    ] {
        let trace = traced(&SUBJECT.login().agent(get(2, path)));
        assert!(!heard(&trace).contains("/proxy/"), "{path}");
    }
}

#[test]
fn an_eviction_is_a_delete() {
    let body = r#"{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"web"}}"#;
    let line = "POST /api/v1/namespaces/shop/pods/web/eviction";
    let trace = traced(
        &SUBJECT
            .login()
            .agent(send(2, line, "application/json", body)),
    );
    let effects: Vec<Action> = trace
        .entries()
        .filter_map(|(_, entry)| match entry {
            Entry::Intent(intent) => Some(intent.operation.effects()),
            _ => None,
        })
        .flatten()
        .map(|effect| effect.action)
        .collect();
    assert!(effects.contains(&Action::K8sDelete), "{effects:?}");
}

#[test]
fn words_of_an_admission_policy_are_withheld() {
    let field = ClassifiedField {
        group: String::new(),
        resource: "secrets".into(),
        path: vec![FieldStep::Key("data".into()), FieldStep::Each],
        class: ClassName::parse("secret").unwrap(),
    };
    let asked = Asked {
        group: String::new(),
        resource: "secrets".into(),
    };
    // `k8s.io/apiserver/pkg/admission/plugin/policy/validating`: reason Forbidden has code 403.
    let status = r#"{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403,"message":"secrets \"s\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: hunter2 is too short"}"#;
    let answer = Masks::new(vec![field], asked)
        .answer(status.as_bytes())
        .unwrap();
    let answer = String::from_utf8(answer.to_vec()).unwrap();
    assert!(!answer.contains("hunter2"), "{answer}");
}
