//! What requests amount to, as it is submitted.

use gateway_core::operation::{ApiUnit, Object};

use super::call::Call;
use crate::kubernetes::{
    message::{Header, RequestHead, Upgrade},
    reply::Refusal,
};

const TYPES: &[(&str, &str)] = &[
    ("PATCH", "application/merge-patch+json"),
    ("POST", "application/json"),
    ("PUT", "application/json"),
    ("DELETE", "application/json"),
];

fn head(line: &str, fields: &[(&str, &str)]) -> RequestHead {
    let (method, target) = line.split_once(' ').unwrap();
    let upgrade = fields.iter().any(|(name, _)| *name == "upgrade");
    RequestHead {
        method: method.into(),
        target: target.into(),
        headers: fields
            .iter()
            .map(|(name, value)| Header::new(*name, *value))
            .collect(),
        upgrade: upgrade.then_some(Upgrade::WebSocket),
    }
}

fn unit_of(head: &RequestHead, body: &str) -> Result<ApiUnit, Refusal> {
    let (unit, ready) = Call::read(head, None)?.complete(body.as_bytes())?;
    // What is decided on is what is forwarded.
    let (method, target, headers, body) = ready.request(true, &[]);
    let mut forwarded = format!("{method} {target}");
    if let Some(body) = body {
        let media = headers
            .iter()
            .find(|header| header.name == "content-type")
            .unwrap();
        let media = std::str::from_utf8(&media.value).unwrap();
        forwarded += &format!("\ncontent-type: {media}\n\n");
        forwarded += std::str::from_utf8(&body).unwrap();
    }
    assert_eq!(*unit.text, *forwarded);
    Ok(unit)
}

fn unit(line: &str, body: &str) -> Result<ApiUnit, Refusal> {
    let method = line.split(' ').next().unwrap();
    let media = TYPES.iter().find(|(known, _)| *known == method);
    let fields: Vec<(&str, &str)> = media
        .filter(|_| !body.is_empty())
        .map(|(_, media)| ("content-type", *media))
        .into_iter()
        .collect();
    unit_of(&head(line, &fields), body)
}

fn effects(unit: &ApiUnit) -> String {
    let actions: Vec<&str> = unit
        .effects
        .iter()
        .map(|effect| effect.action.as_str())
        .collect();
    let object = match &unit.effects[0].object {
        Object::Resource {
            group,
            resource,
            subresource,
            namespace,
            name,
        } => format!("{group}/{resource}/{subresource} {namespace}/{name}"),
        Object::ApiPath { path } => path.clone(),
        other => format!("{other:?}"),
    };
    format!("{} {object}", actions.join(" "))
}

#[test]
fn requests_have_the_effects_that_policies_decide_on() {
    const POD: &str = r#"{"kind":"Pod","metadata":{"name":"p"},"spec":{"containers":[{"securityContext":{"capabilities":{"drop":["ALL"]},"privileged":false}}]}}"#;
    for (line, body, expected) in [
        ("GET /version", "", "k8s.path /version"),
        ("GET /api/v1/pods", "", "k8s.list /pods/ /"),
        ("GET /api/v1/namespaces/n/pods/p", "", "k8s.get /pods/ n/p"),
        (
            "GET /api/v1/namespaces/n/pods?watch=1",
            "",
            "k8s.watch /pods/ n/",
        ),
        (
            "GET /api/v1/namespaces/n/pods/p/log",
            "",
            "k8s.logs /pods/log n/p",
        ),
        ("GET /api/v1/secrets", "", "k8s.list k8s.secret /secrets/ /"),
        (
            "GET /api/v1/watch/secrets",
            "",
            "k8s.watch k8s.secret /secrets/ /",
        ),
        (
            "PATCH /api/v1/namespaces/n/secrets/s?dryRun=All",
            "{}",
            "k8s.patch k8s.secret /secrets/ n/s",
        ),
        (
            "DELETE /api/v1/namespaces/n/secrets/s",
            "",
            "k8s.delete k8s.secret /secrets/ n/s",
        ),
        (
            "DELETE /api/v1/namespaces/n/pods",
            "",
            "k8s.deletecollection /pods/ n/",
        ),
        (
            "POST /api/v1/namespaces/n/pods",
            POD,
            "k8s.create /pods/ n/p",
        ),
        (
            "POST /api/v1/namespaces/n/pods",
            r#"{"kind":"Pod","metadata":{"generateName":"p-"},"spec":{"hostPID":true}}"#,
            "k8s.create k8s.privileged /pods/ n/",
        ),
        (
            "POST /apis/apps/v1/namespaces/n/deployments",
            r#"{"kind":"Deployment","apiVersion":"apps/v1","metadata":{"name":"d"},"spec":{"template":{"spec":{"containers":[{"securityContext":{"capabilities":{"add":["SYS_ADMIN"]}}}]}}}}"#,
            "k8s.create k8s.privileged apps/deployments/ n/d",
        ),
        (
            "PATCH /api/v1/namespaces/n/pods/p/ephemeralcontainers",
            "{}",
            "k8s.patch k8s.exec /pods/ephemeralcontainers n/p",
        ),
        (
            "POST /apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
            r#"{"metadata":{"name":"b"}}"#,
            "k8s.create k8s.rbac rbac.authorization.k8s.io/clusterrolebindings/ /b",
        ),
        (
            "GET /apis/rbac.authorization.k8s.io/v1/clusterroles/system:node",
            "",
            "k8s.get rbac.authorization.k8s.io/clusterroles/ /system:node",
        ),
        (
            "PUT /apis/certificates.k8s.io/v1/certificatesigningrequests/c/approval",
            "{}",
            "k8s.update k8s.rbac k8s.token certificates.k8s.io/certificatesigningrequests/approval /c",
        ),
        (
            "POST /api/v1/namespaces/n/serviceaccounts/s/token",
            r#"{"kind":"TokenRequest","apiVersion":"authentication.k8s.io/v1"}"#,
            "k8s.create k8s.token /serviceaccounts/token n/s",
        ),
        (
            "POST /api/v1/namespaces/n/secrets",
            r#"{"kind":"Secret","metadata":{"name":"s"},"type":"kubernetes.io/service-account-token"}"#,
            "k8s.create k8s.secret k8s.token /secrets/ n/s",
        ),
        (
            "POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
            r#"{"kind":"SelfSubjectAccessReview","apiVersion":"authorization.k8s.io/v1"}"#,
            "k8s.create authorization.k8s.io/selfsubjectaccessreviews/ /",
        ),
    ] {
        let unit = unit(line, body).unwrap_or_else(|refusal| panic!("{line}: {refusal:?}"));
        assert_eq!(effects(&unit), expected, "{line}");
        let secret = expected.contains("k8s.secret");
        assert_eq!(unit.classified.len(), if secret { 2 } else { 0 }, "{line}");
    }
}

#[test]
fn an_exec_is_one_whatever_the_method_would_say() {
    let fields = [
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-protocol", "v4.channel.k8s.io"),
    ];
    let line = "GET /api/v1/namespaces/n/pods/p/exec?command=sh&command=-c&command=a%0Ab&stdin=1";
    let unit = unit_of(&head(line, &fields), "").unwrap();
    assert_eq!(effects(&unit), "k8s.exec /pods/exec n/p");
    assert_eq!(unit.facts.command, ["sh", "-c", "a\nb"]);
    assert!(unit.text.ends_with("stdin=true"));
}

#[test]
fn parameters_are_forwarded_in_one_form() {
    for (asked, forwarded) in [
        (
            "GET /api/v1/pods?pretty=true&watch=1&limit=5",
            "GET /api/v1/pods?watch=true&limit=5",
        ),
        (
            "GET /api/v1/namespaces/n/pods/p/log?follow=TRUE&%74imestamps=0",
            "GET /api/v1/namespaces/n/pods/p/log?follow=true&timestamps=false",
        ),
    ] {
        let unit = unit(asked, "").unwrap();
        assert_eq!(&*unit.text, forwarded);
    }
}

#[test]
fn privileges_are_found_in_every_kind_of_patch() {
    const TARGET: &str = "PATCH /api/v1/namespaces/n/pods/p";
    for (media, body, privileged) in [
        (
            "application/merge-patch+json",
            r#"{"spec":{"hostNetwork":true}}"#,
            true,
        ),
        (
            "application/merge-patch+json",
            r#"{"spec":{"hostNetwork":false}}"#,
            false,
        ),
        (
            "application/strategic-merge-patch+json",
            r#"{"spec":{"volumes":[{"hostPath":{"path":"/"}}]}}"#,
            true,
        ),
        (
            "application/json-patch+json",
            r#"[{"op":"add","path":"/spec/hostIPC","value":true}]"#,
            true,
        ),
        (
            "application/json-patch+json",
            r#"[{"op":"add","path":"/spec/volumes/-","value":{"hostPath":{}}}]"#,
            true,
        ),
        (
            "application/json-patch+json",
            r#"[{"op":"add","path":"/metadata/labels/a","value":"b"}]"#,
            false,
        ),
        (
            "application/apply-patch+yaml",
            r#"{"spec":{"nodeName":"n"}}"#,
            true,
        ),
        (
            "application/merge-patch+json",
            r#"{"spec":{"local":{"path":"/"}}}"#,
            true,
        ),
        (
            "application/merge-patch+json",
            r#"{"metadata":{"labels":{"local":"a"}}}"#,
            false,
        ),
        (
            "application/merge-patch+json",
            r#"{"spec":{"securityContext":{"seccompProfile":{"type":"Unconfined"}}}}"#,
            true,
        ),
        (
            "application/merge-patch+json",
            r#"{"spec":{"securityContext":{"seccompProfile":{"type":"RuntimeDefault"}}}}"#,
            false,
        ),
        (
            "application/json-patch+json",
            r#"[{"op":"replace","path":"/spec/securityContext/seccompProfile/type","value":"Unconfined"}]"#,
            true,
        ),
        (
            "application/merge-patch+json",
            r#"{"spec":{"containers":[{"name":"c","ports":[{"containerPort":80,"hostPort":80}]}]}}"#,
            true,
        ),
    ] {
        let unit = unit_of(&head(TARGET, &[("content-type", media)]), body).unwrap();
        assert_eq!(unit.facts.privileged, privileged, "{body}");
        assert_eq!(
            effects(&unit).contains("k8s.privileged"),
            privileged,
            "{body}"
        );
    }
}

#[test]
fn values_of_secrets_are_marked_in_what_is_recorded() {
    for (line, media, body) in [
        (
            "POST /api/v1/namespaces/n/secrets",
            "application/json",
            r#"{"kind":"Secret","metadata":{"name":"s","annotations":{"a":"CLEAR"}},"data":{"a":"CLEAR","b":["CLEAR",7]},"other":"CLEAR","type":"Opaque"}"#,
        ),
        (
            "PATCH /api/v1/namespaces/n/secrets/s",
            "application/json-patch+json",
            r#"[{"op":"add","path":"/data/a","value":"CLEAR"},{"op":"add","path":"/metadata","value":{"annotations":{"a":"CLEAR"}}}]"#,
        ),
        (
            "PATCH /api/v1/namespaces/n/secrets/s",
            "application/merge-patch+json",
            r#"{"stringData":{"a":"CLEAR \" CLEAR"}}"#,
        ),
    ] {
        let unit = unit_of(&head(line, &[("content-type", media)]), body).unwrap();
        let mut rest = unit.text.to_string();
        for range in unit.sensitive.iter().rev() {
            rest.replace_range(range.clone(), "");
        }
        assert!(!rest.contains("CLEAR") && !rest.contains('7'), "{rest}");
        assert!(rest.contains("op") || rest.contains('{'));
    }
    let plain = unit(
        "POST /api/v1/namespaces/n/configmaps",
        r#"{"data":{"a":"x"}}"#,
    )
    .unwrap();
    assert!(plain.sensitive.is_empty());
}

#[test]
fn bodies_that_contradict_their_path_are_refused() {
    for (line, body, status) in [
        (
            "POST /api/v1/namespaces/n/pods",
            r#"{"kind":"Secret"}"#,
            400,
        ),
        (
            "POST /api/v1/namespaces/n/pods",
            r#"{"kind":"PodList","items":[]}"#,
            400,
        ),
        (
            "POST /api/v1/namespaces/n/pods",
            r#"{"kind":"List","items":[]}"#,
            400,
        ),
        (
            "POST /api/v1/namespaces/n/pods",
            r#"{"metadata":{"namespace":"m"}}"#,
            400,
        ),
        (
            "POST /api/v1/namespaces/n/pods",
            r#"{"metadata":{"name":7}}"#,
            400,
        ),
        (
            "POST /api/v1/namespaces/n/pods",
            r#"{"metadata":{"name":"a/b"}}"#,
            400,
        ),
        (
            "PUT /api/v1/namespaces/n/pods/p",
            r#"{"metadata":{"name":"q"}}"#,
            400,
        ),
        (
            "PATCH /api/v1/namespaces/n/pods/p",
            r#"{"metadata":{"name":"q"}}"#,
            400,
        ),
        (
            "POST /apis/apps/v1/namespaces/n/deployments",
            r#"{"apiVersion":"apps/v1beta1"}"#,
            400,
        ),
        (
            "POST /api/v1/namespaces/n/pods",
            r#"{"apiVersion":"apps/v1"}"#,
            400,
        ),
        ("POST /api/v1/namespaces/n/pods", "[]", 400),
        ("PUT /api/v1/namespaces/n/pods/p/eviction", "[]", 400),
        ("POST /api/v1/namespaces/n/pods", "", 400),
        (
            "POST /api/v1/namespaces/n/pods",
            r#"{"kind":"Pod","KIND":"x"}"#,
            400,
        ),
        ("POST /api/v1/namespaces/n/pods?dryRun=Some", "{}", 400),
        ("POST /api/v1/namespaces/n/pods?dryRun=all", "{}", 400),
        ("POST /api/v1/namespaces/n/pods?force=true", "{}", 400),
        ("GET /api/v1/namespaces/n/pods", "{}", 400),
        (
            "DELETE /api/v1/namespaces/n/pods/p",
            r#"{"kind":"Pod","spec":{}}"#,
            400,
        ),
        (
            "DELETE /api/v1/namespaces/n/pods/p?dryRun=All",
            r#"{"gracePeriodSeconds":0}"#,
            400,
        ),
        ("DELETE /api/v1/namespaces/n/pods?watch=true", "", 400),
        ("POST /version", "{}", 405),
        ("POST /api/v1/namespaces/n/pods/p/exec", "", 400),
        ("POST /api/v1/namespaces/n/pods/p/attach", "", 403),
        ("GET /api/v1/namespaces/n/services/s/proxy/x", "", 403),
        ("OPTIONS /api/v1/pods", "", 405),
        ("get /api/v1/pods", "", 405),
    ] {
        let refused = unit(line, body).map(|unit| unit.text);
        assert_eq!(
            refused.map_err(|refusal| refusal.status),
            Err(status),
            "{line} {body}"
        );
    }
    let options = r#"{"kind":"DeleteOptions","apiVersion":"v1","propagationPolicy":"Background","dryRun":["All"]}"#;
    let deleted = unit("DELETE /api/v1/namespaces/n/pods/p", options).unwrap();
    assert!(deleted.facts.dry_run);
}

#[test]
fn fields_that_say_who_asks_or_change_what_is_asked_are_refused() {
    for (name, status) in [
        ("impersonate-user", 403),
        ("impersonate-extra-scopes", 403),
        ("x-remote-user", 403),
        ("x-remote-extra-a", 403),
        ("x-http-method-override", 400),
        ("content-encoding", 415),
    ] {
        let refused = unit_of(&head("GET /api/v1/pods", &[(name, "x")]), "");
        assert_eq!(
            refused.map_err(|refusal| refusal.status).unwrap_err(),
            status,
            "{name}"
        );
    }
    let many: Vec<(&str, &str)> = (0..200).map(|_| ("x-many", "x")).collect();
    assert!(Call::read(&head("GET /api/v1/pods", &many), None).is_err());
    let twice = [
        ("content-type", "application/json"),
        ("content-type", "application/yaml"),
    ];
    assert!(Call::read(&head("POST /api/v1/pods", &twice), None).is_err());
}
