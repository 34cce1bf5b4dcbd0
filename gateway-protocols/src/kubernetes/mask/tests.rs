use base64::{Engine as _, engine::general_purpose::STANDARD};
use gateway_core::id::ClassName;

use super::*;

fn field(group: &str, resource: &str, path: &[&str]) -> ClassifiedField {
    let step = |step: &&str| match *step {
        "*" => FieldStep::Each,
        key => FieldStep::Key(key.to_owned()),
    };
    ClassifiedField {
        group: group.to_owned(),
        resource: resource.to_owned(),
        path: path.iter().map(step).collect(),
        class: ClassName::parse("secret").unwrap(),
    }
}

fn secrets(group: &str, resource: &str) -> Masks {
    let fields = vec![
        field("", "secrets", &["data", "*"]),
        field("", "secrets", &["stringData", "*"]),
    ];
    Masks::new(fields, asked(group, resource))
}

fn asked(group: &str, resource: &str) -> Asked {
    Asked {
        group: group.to_owned(),
        resource: resource.to_owned(),
    }
}

/// The clear value of every test, in both forms.
const CLEAR: &str = "hunter2";
const CLEAR_DATA: &str = "aHVudGVyMg==";

fn assert_masked(masks: &mut Masks, answer: &str) -> String {
    let masked = masks.answer(answer.as_bytes()).unwrap();
    let text = String::from_utf8(masked.to_vec()).unwrap();
    assert!(!text.contains(CLEAR), "{text}");
    assert!(!text.contains(CLEAR_DATA), "{text}");
    text
}

#[test]
fn secrets_are_masked_in_every_form_of_answer() {
    let object = r#"{"metadata":{"name":"s"},"data":{"p":"aHVudGVyMg=="},"stringData":{"q":"hunter2"},"type":"Opaque"}"#;
    let named = object.replacen('{', r#"{"kind":"Secret","apiVersion":"v1","#, 1);
    let applied = r#"{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"name":"s","annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{\"data\":{\"p\":\"aHVudGVyMg==\"},\"kind\":\"Secret\"}"}}}"#;
    for (resource, answer) in [
        ("secrets", named.clone()),
        ("secrets", object.to_owned()),
        (
            "secrets",
            format!(r#"{{"kind":"SecretList","apiVersion":"v1","items":[{object},{object}]}}"#),
        ),
        (
            "secrets",
            format!(
                r#"{{"kind":"Table","apiVersion":"meta.k8s.io/v1","rows":[{{"cells":["s","Opaque",1],"object":{named}}}]}}"#
            ),
        ),
        (
            "secrets",
            format!(
                r#"{{"kind":"Table","apiVersion":"meta.k8s.io/v1","rows":[{{"cells":["s"],"object":{applied}}}]}}"#
            ),
        ),
        ("secrets", applied.to_owned()),
        (
            "secrets",
            format!(
                r#"{{"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/v1","items":[{applied}]}}"#
            ),
        ),
        // By the object's own kind, whatever was asked for.
        ("others", named.clone()),
        (
            "others",
            format!(r#"{{"kind":"List","apiVersion":"v1","items":[{named}]}}"#),
        ),
        (
            "others",
            format!(r#"{{"kind":"SecretList","apiVersion":"v1","items":[{object}]}}"#),
        ),
    ] {
        let mut masks = secrets("", resource);
        let text = assert_masked(&mut masks, &answer);
        assert!(!masks.counts().is_empty(), "{text}");
    }
}

#[test]
fn a_masked_secret_is_still_a_secret() {
    let answer = r#"{"kind":"Secret","apiVersion":"v1","data":{"p":"aHVudGVyMg==","n":null},"type":"Opaque"}"#;
    let mut masks = secrets("", "secrets");
    let text = assert_masked(&mut masks, answer);
    let marker = MARKER_DATA;
    assert_eq!(STANDARD.encode(MARKER), marker);
    assert_eq!(
        text,
        format!(
            r#"{{"kind":"Secret","apiVersion":"v1","data":{{"p":"{marker}","n":null}},"type":"Opaque"}}"#
        )
    );
    let counts = masks.counts();
    assert_eq!((counts.len(), counts[0].seen, counts[0].masked), (1, 2, 1));
    assert_eq!(counts[0].column, "secrets.data.*");
    assert!(holds_marker(marker) && holds_marker(MARKER));
}

#[test]
fn watch_events_are_masked_line_by_line() {
    let mut masks = secrets("", "secrets");
    for kind in ["ADDED", "MODIFIED", "DELETED"] {
        let line = format!(
            r#"{{"type":"{kind}","object":{{"kind":"Secret","apiVersion":"v1","data":{{"p":"{CLEAR_DATA}"}}}}}}"#
        );
        let masked = masks.event(line.as_bytes()).unwrap();
        let text = String::from_utf8(masked.to_vec()).unwrap();
        assert!(text.contains(kind) && !text.contains(CLEAR_DATA), "{text}");
    }
    let other = masks.event(br#"{"type":"ADDED","object":{},"copy":{}}"#);
    assert_eq!(other, Err(MaskError::NoObject));
    assert!(masks.event(b"[]").is_err());
}

#[test]
fn what_was_applied_and_cannot_be_read_is_masked_whole() {
    for applied in [
        "hunter2",
        "{\\\"data\\\":\\\"hunter2\\\"",
        "[\\\"hunter2\\\"]",
        "{\\\"a\\\":1,\\\"a\\\":\\\"hunter2\\\"}",
    ] {
        let answer = format!(
            r#"{{"kind":"Secret","apiVersion":"v1","metadata":{{"annotations":{{"{LAST_APPLIED}":"{applied}"}}}}}}"#
        );
        assert_masked(&mut secrets("", "secrets"), &answer);
    }
    // A copy in the copy.
    let inner = format!(r#"{{"metadata":{{"annotations":{{"{LAST_APPLIED}":"hunter2"}}}}}}"#);
    let mut text = String::new();
    Json::String(inner).write(&mut text);
    let answer = format!(
        r#"{{"kind":"Secret","apiVersion":"v1","metadata":{{"annotations":{{"{LAST_APPLIED}":{text}}}}}}}"#
    );
    assert_masked(&mut secrets("", "secrets"), &answer);
}

#[test]
fn errors_do_not_echo_what_was_written() {
    let echo = r#"{"kind":"Status","apiVersion":"v1","status":"Failure","message":"data[p]: Invalid value: hunter2","reason":"Invalid","details":{"causes":[{"reason":"FieldValueInvalid","message":"Invalid value: hunter2","field":"data[p]"}]},"code":422}"#;
    assert_masked(&mut secrets("", "secrets"), echo);
    let webhook = r#"{"kind":"Status","apiVersion":"v1","status":"Failure","message":"admission webhook denied: hunter2","code":403}"#;
    assert_masked(&mut secrets("", "secrets"), webhook);
    let policy = r#"{"kind":"Status","apiVersion":"v1","status":"Failure","message":"secrets \"s\" is forbidden: ValidatingAdmissionPolicy 'p' denied request: hunter2","code":403}"#;
    assert_masked(&mut secrets("", "secrets"), policy);
    let rbac = r#"{"kind":"Status","apiVersion":"v1","status":"Failure","message":"secrets \"s\" is forbidden: User \"u\" cannot get resource","code":403}"#;
    assert_eq!(
        secrets("", "secrets").answer(rbac.as_bytes()).unwrap(),
        rbac
    );
    let missing = r#"{"kind":"Status","apiVersion":"v1","status":"Failure","message":"secrets \"s\" not found","code":404}"#;
    let kept = secrets("", "secrets").answer(missing.as_bytes()).unwrap();
    assert_eq!(kept, missing.as_bytes());
}

#[test]
fn what_no_field_covers_stays() {
    for answer in [
        r#"{"kind":"ConfigMap","apiVersion":"v1","data":{"p":"x"}}"#,
        r#"{"kind":"Secret","apiVersion":"other.example/v1","data":{"p":"x"}}"#,
    ] {
        let masked = secrets("", "configmaps").answer(answer.as_bytes()).unwrap();
        assert_eq!(masked, answer.as_bytes());
    }
}

#[test]
fn fields_of_other_kinds_follow_their_path() {
    let fields = vec![
        field("example.com", "customers", &["spec", "email"]),
        field(
            "example.com",
            "customers",
            &["spec", "cards", "*", "number"],
        ),
        field("example.com", "customers", &["spec", "note", "text"]),
    ];
    let mut masks = Masks::new(fields, asked("example.com", "customers"));
    let answer = r#"{"kind":"Customer","apiVersion":"example.com/v1","spec":{"email":["a@b",{"x":7}],"cards":[{"number":41,"id":1}],"note":"hunter2"}}"#;
    let text = assert_masked(&mut masks, answer);
    assert_eq!(
        text,
        format!(
            r#"{{"kind":"Customer","apiVersion":"example.com/v1","spec":{{"email":["{MARKER}",{{"x":null}}],"cards":[{{"number":null,"id":1}}],"note":"{MARKER}"}}}}"#
        )
    );
    let table = r#"{"kind":"Table","apiVersion":"meta.k8s.io/v1","rows":[]}"#;
    assert_eq!(masks.answer(table.as_bytes()), Err(MaskError::Table));
    assert!(!masks.allows_tables());
}

#[test]
fn managed_fields_name_no_element_of_a_masked_set() {
    let fields = vec![field("example.com", "customers", &["spec", "tags", "*"])];
    let mut masks = Masks::new(fields, asked("example.com", "customers"));
    let answer = r#"{"kind":"Customer","apiVersion":"example.com/v1","metadata":{"managedFields":[{"fieldsV1":{"f:spec":{"f:tags":{"v:\"hunter2\"":{}}}}}]},"spec":{"tags":["hunter2"]}}"#;
    assert_masked(&mut masks, answer);
}

#[test]
fn an_answer_that_cannot_be_read_is_not_delivered() {
    for answer in [
        "",
        "no json",
        "[]",
        "\"x\"",
        r#"{"data":{"a":1},"data":{"a":2}}"#,
        r#"{"kind":"SecretList","items":{"a":1}}"#,
        r#"{"kind":"SecretList","items":["x"]}"#,
        r#"{"kind":"Table","rows":{"a":1},"apiVersion":"meta.k8s.io/v1"}"#,
    ] {
        assert!(
            secrets("", "secrets").answer(answer.as_bytes()).is_err(),
            "{answer}"
        );
    }
}

#[test]
fn kinds_belong_to_their_plurals() {
    for (resource, kind, belongs) in [
        ("secrets", "Secret", true),
        ("ingresses", "Ingress", true),
        ("networkpolicies", "NetworkPolicy", true),
        ("gateways", "Gateway", true),
        ("endpoints", "Endpoints", true),
        ("secrets", "SecretStore", false),
        ("secrets", "", false),
        ("secretstores", "Secret", false),
    ] {
        assert_eq!(is_plural(resource, kind), belongs, "{resource} {kind}");
    }
}
