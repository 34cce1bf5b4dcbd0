//! Bodies of requests: JSON of one reading that agrees with the path it was sent to.

use super::{call::Kind, parameters};
use crate::kubernetes::{
    mask::{group_of, holds_marker, is_plural},
    message::{Json, ResourcePath, Target, Verb, json::Names, media::BodyType, protobuf},
    reply::Refusal,
};

/// The API server's own bound on request bodies (`MaxRequestBodyBytes`), bytes.
pub(super) const BODY_BYTES_MAX: usize = 3 << 20;
/// Members of a `DeleteOptions` (Kubernetes 1.32, API reference).
const DELETE_OPTIONS: &[&str] = &[
    "kind",
    "apiVersion",
    "gracePeriodSeconds",
    "preconditions",
    "propagationPolicy",
    "orphanDependents",
    "dryRun",
];

type Result<T> = std::result::Result<T, Refusal>;

/// A body as it is forwarded.
#[derive(Clone, Debug)]
pub(super) struct Body {
    pub(super) media: BodyType,
    pub(super) json: Json,
}

impl Body {
    /// Reads the body of a request of a resource; `None` for none.
    pub(super) fn read(
        bytes: &[u8],
        media: Option<BodyType>,
        verb: Verb,
        path: &ResourcePath,
        target: &Target,
    ) -> Result<Option<Self>> {
        let media = media.unwrap_or(BodyType::Object);
        let is_object = matches!(media, BodyType::Object | BodyType::Protobuf);
        let expected = match verb {
            Verb::Get | Verb::List | Verb::Watch => return no_body(bytes),
            Verb::Delete | Verb::DeleteCollection if bytes.is_empty() => return Ok(None),
            Verb::Delete | Verb::DeleteCollection | Verb::Create | Verb::Update => is_object,
            Verb::Patch => !is_object,
        };
        if !expected {
            return Err(Refusal::new(
                415,
                "a content type that this request doesn't take",
            ));
        }
        let json = parse(bytes, media)?;
        if json.any_string(&holds_marker) {
            // Not 422: kubectl shows no message of that one.
            let refusal = Refusal::new(400, "a masked value can't be written back");
            return Err(refusal.with_hint("Leave masked fields out, or patch the others."));
        }
        match (media, &json) {
            (BodyType::JsonPatch, Json::Array(operations)) => check_json_patch(operations)?,
            (BodyType::JsonPatch, _) => return Err(Refusal::new(400, "a JSON patch is an array")),
            (_, Json::Object(members)) => match verb {
                Verb::Delete | Verb::DeleteCollection => check_delete_options(members, target)?,
                _ => check_object(&json, path)?,
            },
            (_, _) => return Err(Refusal::new(400, "the body is no object")),
        }
        Ok(Some(Self { media, json }))
    }
}

fn parse(bytes: &[u8], media: BodyType) -> Result<Json> {
    if media == BodyType::Protobuf {
        return protobuf::decode(bytes).ok_or_else(|| {
            Refusal::new(415, "the gateway takes objects of this kind in JSON only")
                .with_hint("Write it to a file (`--dry-run=client -o yaml`), then apply that.")
        });
    }
    Json::parse(bytes, Names::Folded).map_err(|error| match media {
        BodyType::Apply => {
            Refusal::new(415, "the gateway takes applied configurations in JSON only")
        }
        _ => Refusal::new(400, format!("the body can't be taken: {error}")),
    })
}

/// The server takes options from the body, if there is one, and then not from the query.
fn check_delete_options(members: &[(String, Json)], target: &Target) -> Result<()> {
    if members
        .iter()
        .any(|(name, _)| !DELETE_OPTIONS.contains(&name.as_str()))
    {
        return Err(Refusal::new(400, "a delete takes DeleteOptions only"));
    }
    if target
        .parameters()
        .iter()
        .any(|(name, _)| parameters::DELETE.contains(&name.as_str()))
    {
        return Err(Refusal::new(
            400,
            "options of a delete stand in its body or its query, not in both",
        ));
    }
    Ok(())
}

/// `dryRun` has one value that means something (Kubernetes 1.32, "Kubernetes API Concepts",
/// "Dry-run").
pub(super) fn is_dry_run(kind: &Kind, target: &Target, body: Option<&Body>) -> Result<bool> {
    let other = || Refusal::new(400, "`dryRun` has one value: `All`");
    let in_query = match target.parameter("dryRun") {
        None => false,
        Some("All") => true,
        Some(_) => return Err(other()),
    };
    let deletes = matches!(
        kind,
        Kind::Resource(Verb::Delete | Verb::DeleteCollection, _)
    );
    let in_body = match body.and_then(|body| body.json.get("dryRun")) {
        Some(value) if deletes => match value.as_array() {
            Some([]) => false,
            Some([one]) if one.as_str() == Some("All") => true,
            _ => return Err(other()),
        },
        _ => false,
    };
    Ok(in_query || in_body)
}

pub(super) fn no_body(bytes: &[u8]) -> Result<Option<Body>> {
    if bytes.is_empty() {
        Ok(None)
    } else {
        Err(Refusal::new(400, "this request takes no body"))
    }
}

/// Operations that read fields are refused: `test` tells whether a guess at a masked value is right,
/// and `copy` and `move` bring it to where nothing is masked (RFC 6902, section 4 "Operations").
fn check_json_patch(operations: &[Json]) -> Result<()> {
    let writes = |operation: &Json| {
        let op = operation.get("op").and_then(Json::as_str);
        matches!(op, Some("add" | "remove" | "replace"))
    };
    if operations.iter().all(writes) {
        return Ok(());
    }
    let refusal = Refusal::new(
        400,
        "a JSON patch may add, remove and replace, nothing else",
    );
    Err(refusal.with_hint("To guard against other writers, replace /metadata/resourceVersion."))
}

/// What an object says of itself must be what the path says of it.
fn check_object(json: &Json, path: &ResourcePath) -> Result<()> {
    let differs = |what: &str| {
        Err(Refusal::new(
            400,
            format!("the body's {what} isn't the one of the path"),
        ))
    };
    let text = |value: Option<&Json>| match value {
        None | Some(Json::Null) => Ok(None),
        Some(Json::String(text)) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
        Some(_) => Err(Refusal::new(
            400,
            "kind, apiVersion, name and namespace are strings",
        )),
    };
    let kind = text(json.get("kind"))?;
    if json.get("items").is_some() && kind.as_deref().is_none_or(|kind| kind.ends_with("List")) {
        return Err(Refusal::new(
            400,
            "one object at a time: lists aren't taken",
        ));
    }
    let metadata = json.get("metadata");
    let name = text(metadata.and_then(|metadata| metadata.get("name")))?;
    if name.is_some_and(|name| !path.name.is_empty() && name != path.name) {
        return differs("name");
    }
    let namespace = text(metadata.and_then(|metadata| metadata.get("namespace")))?;
    // The namespace of a namespace is the one of its path, and no part of the object.
    let expected = if path.resource == "namespaces" {
        ""
    } else {
        path.namespace.as_str()
    };
    if namespace.is_some_and(|namespace| namespace != expected) {
        return differs("namespace");
    }
    // Calls of subresources have kinds of their own, in groups of their own.
    if !path.subresource.is_empty() {
        return Ok(());
    }
    if kind.is_some_and(|kind| !is_plural(&path.resource, &kind)) {
        return differs("kind");
    }
    let version = text(json.get("apiVersion"))?;
    let same = |version: &str| {
        group_of(version) == path.group
            && version
                .rsplit_once('/')
                .map_or(version, |(_, version)| version)
                == path.version
    };
    if version.is_some_and(|version| !same(&version)) {
        return differs("apiVersion");
    }
    Ok(())
}

/// The object's name: the path's, or the one that a new object brings along.
pub(super) fn object_name(verb: Verb, path: &ResourcePath, body: Option<&Body>) -> Result<String> {
    if verb != Verb::Create || !path.name.is_empty() {
        return Ok(path.name.clone());
    }
    let name = body
        .and_then(|body| body.json.get("metadata"))
        .and_then(|metadata| metadata.get("name"))
        .and_then(Json::as_str)
        .unwrap_or_default();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
    if name.len() > 253 || !name.bytes().all(plain) {
        return Err(Refusal::new(400, "a name that no object has"));
    }
    Ok(name.to_owned())
}
