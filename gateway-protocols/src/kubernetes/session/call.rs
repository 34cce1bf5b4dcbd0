//! One request, from its head to what is submitted: understood whole, or refused.

use bytes::Bytes;
use gateway_core::operation::{ApiFacts, ApiUnit};

use super::effects::{self, Body};
use crate::kubernetes::{
    mask::{Asked, group_of, holds_marker, is_plural},
    message::{
        Header, Json, Method, RequestHead, RequestInfo, ResourcePath, Target, Upgrade, Verb,
        json::Names,
        media::{self, BodyType},
        request,
    },
    reply::Refusal,
};

use super::exec::Handshake;

/// The API server's own bound on request bodies (`MaxRequestBodyBytes`), bytes.
pub(super) const BODY_BYTES_MAX: usize = 3 << 20;
/// Header fields of one request, at most; and their names and values together, bytes.
const HEADERS_MAX: usize = 128;
const HEADER_BYTES_MAX: usize = 64 << 10;
/// Longest `user-agent` that is passed on, bytes.
const USER_AGENT_BYTES_MAX: usize = 256;
/// The OpenAPI document's only form for old clients: public, and no object is in it.
const OPENAPI_PROTO: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

/// Parameters of every request, and of those of one kind.
const COMMON: &[&str] = &["pretty", "timeout"];
const GET: &[&str] = &["resourceVersion", "includeObject"];
const LIST: &[&str] = &[
    "watch",
    "limit",
    "continue",
    "labelSelector",
    "fieldSelector",
    "resourceVersion",
    "resourceVersionMatch",
    "timeoutSeconds",
    "allowWatchBookmarks",
    "sendInitialEvents",
    "includeObject",
];
const WRITE: &[&str] = &["dryRun", "fieldManager", "fieldValidation"];
const PATCH: &[&str] = &["dryRun", "fieldManager", "fieldValidation", "force"];
const DELETE: &[&str] = &[
    "dryRun",
    "gracePeriodSeconds",
    "propagationPolicy",
    "orphanDependents",
];
const LOGS: &[&str] = &[
    "container",
    "follow",
    "previous",
    "sinceSeconds",
    "sinceTime",
    "timestamps",
    "tailLines",
    "limitBytes",
];
const EXEC: &[&str] = &["command", "container", "stdin", "stdout", "stderr", "tty"];
const PATH: &[&str] = &["verbose", "exclude", "hash"];
/// Parameters that are true or false.
const BOOLEANS: &[&str] = &[
    "watch",
    "allowWatchBookmarks",
    "sendInitialEvents",
    "force",
    "orphanDependents",
    "follow",
    "previous",
    "timestamps",
    "stdin",
    "stdout",
    "stderr",
    "tty",
];
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
/// First segments of paths whose answers are public documents, without any object.
const PUBLIC_PATHS: &[&str] = &[
    "api", "apis", "version", "healthz", "livez", "readyz", "openapi",
];

/// A request whose head is understood.
#[derive(Debug)]
pub(super) struct Call {
    method: Method,
    target: Target,
    kind: Kind,
    media: Option<BodyType>,
    accept: Vec<String>,
    user_agent: Option<String>,
}

/// What a request is for.
#[derive(Debug)]
pub(super) enum Kind {
    /// A path that names no resource.
    Path,
    /// Objects, one or many.
    Resource(Verb, ResourcePath),
    /// A container's output.
    Logs(ResourcePath),
    /// A command in a container.
    Exec(ResourcePath, Handshake),
}

/// A request that is understood to its end, to be forwarded as it stands here.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) call: Call,
    body: Option<Bytes>,
}

type Result<T> = std::result::Result<T, Refusal>;

impl Call {
    /// Reads a head. `prefix` is the first segment of every path on a shared listener.
    pub(super) fn read(head: &RequestHead, prefix: Option<&str>) -> Result<Self> {
        let method = Method::parse(&head.method)
            .ok_or_else(|| Refusal::new(405, "the gateway doesn't know this method"))?;
        check_headers(&head.headers)?;
        let mut target =
            Target::parse(&head.target).map_err(|error| Refusal::new(400, error.to_string()))?;
        if prefix.is_some() && target.take_first().as_deref() != prefix {
            return Err(Refusal::new(
                404,
                "this connection belongs to another target",
            ));
        }
        let info = RequestInfo::of(method, &target)
            .map_err(|error| Refusal::new(400, error.to_string()))?;
        let kind = kind(head, method, info)?;
        check_parameters(&mut target, &kind)?;
        let media = match field(&head.headers, "content-type")? {
            None => None,
            Some(value) => Some(
                BodyType::parse(value)
                    .ok_or_else(|| Refusal::new(415, "the gateway takes bodies in JSON only"))?,
            ),
        };
        let accept: Vec<String> = texts(&head.headers, "accept").map(str::to_owned).collect();
        let call = Self {
            method,
            target,
            kind,
            media,
            accept,
            user_agent: field(&head.headers, "user-agent")?
                .filter(|value| value.len() <= USER_AGENT_BYTES_MAX)
                .map(str::to_owned),
        };
        if call.accepts(true).is_none() {
            let refusal = Refusal::new(406, "the gateway delivers answers in JSON only");
            return Err(refusal.with_hint("Accept application/json."));
        }
        Ok(call)
    }

    pub(super) const fn kind(&self) -> &Kind {
        &self.kind
    }

    /// Takes the body to its end: what is submitted, and what is forwarded if that is allowed.
    pub(super) fn complete(self, body: &[u8]) -> Result<(ApiUnit, Ready)> {
        let body = self.body(body)?;
        let target = self.target.to_string();
        let facts = ApiFacts {
            dry_run: self.is_dry_run(body.as_ref())?,
            command: self.command(),
            ..ApiFacts::default()
        };
        let unit = match &self.kind {
            Kind::Path => Ok(effects::path_unit(self.method, self.target.path(), &target)),
            Kind::Resource(verb, path) => {
                let name = object_name(*verb, path, body.as_ref())?;
                effects::resource_unit(
                    self.method,
                    *verb,
                    path,
                    &name,
                    &target,
                    body.as_ref(),
                    facts,
                )
            }
            Kind::Logs(path) | Kind::Exec(path, _) => effects::resource_unit(
                self.method,
                Verb::Get,
                path,
                &path.name,
                &target,
                None,
                facts,
            ),
        };
        let unit = unit.map_err(|error| Refusal::new(500, error.to_string()))?;
        let body = body.map(|body| Bytes::from(body.json.to_string()));
        Ok((unit, Ready { call: self, body }))
    }

    fn body(&self, bytes: &[u8]) -> Result<Option<Body>> {
        let Kind::Resource(verb, path) = &self.kind else {
            return no_body(bytes);
        };
        let expected = match verb {
            Verb::Get | Verb::List | Verb::Watch => return no_body(bytes),
            Verb::Delete | Verb::DeleteCollection if bytes.is_empty() => return Ok(None),
            Verb::Delete | Verb::DeleteCollection | Verb::Create | Verb::Update => {
                self.media.unwrap_or(BodyType::Object) == BodyType::Object
            }
            Verb::Patch => self.media.is_some_and(|media| media != BodyType::Object),
        };
        let media = self.media.unwrap_or(BodyType::Object);
        if !expected {
            return Err(Refusal::new(
                415,
                "a content type that this request doesn't take",
            ));
        }
        let json = Json::parse(bytes, Names::Folded).map_err(|error| match media {
            BodyType::Apply => {
                Refusal::new(415, "the gateway takes applied configurations in JSON only")
            }
            _ => Refusal::new(400, format!("the body can't be taken: {error}")),
        })?;
        if json.any_string(&holds_marker) {
            let refusal = Refusal::new(422, "a masked value can't be written back");
            return Err(refusal.with_hint("Leave masked fields out, or patch the others."));
        }
        match (media, &json) {
            (BodyType::JsonPatch, Json::Array(operations)) => check_json_patch(operations)?,
            (BodyType::JsonPatch, _) => return Err(Refusal::new(400, "a JSON patch is an array")),
            (_, Json::Object(members)) => match verb {
                Verb::Delete | Verb::DeleteCollection => self.check_delete_options(members)?,
                _ => check_object(&json, path)?,
            },
            (_, _) => return Err(Refusal::new(400, "the body is no object")),
        }
        Ok(Some(Body { media, json }))
    }

    /// The server takes options from the body, if there is one, and then not from the query.
    fn check_delete_options(&self, members: &[(String, Json)]) -> Result<()> {
        if members
            .iter()
            .any(|(name, _)| !DELETE_OPTIONS.contains(&name.as_str()))
        {
            return Err(Refusal::new(400, "a delete takes DeleteOptions only"));
        }
        if self
            .target
            .parameters()
            .iter()
            .any(|(name, _)| DELETE.contains(&name.as_str()))
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
    fn is_dry_run(&self, body: Option<&Body>) -> Result<bool> {
        let other = || Refusal::new(400, "`dryRun` has one value: `All`");
        let in_query = match self.target.parameter("dryRun") {
            None => false,
            Some("All") => true,
            Some(_) => return Err(other()),
        };
        let deletes = matches!(
            self.kind,
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

    fn command(&self) -> Vec<String> {
        match &self.kind {
            Kind::Exec(..) => self
                .target
                .parameters()
                .iter()
                .filter(|(name, _)| name == "command")
                .map(|(_, word)| word.clone())
                .collect(),
            Kind::Path | Kind::Resource(..) | Kind::Logs(_) => Vec::new(),
        }
    }

    /// The `accept` to send: plain JSON only, unless other `forms` of it may be asked for.
    fn accepts(&self, forms: bool) -> Option<String> {
        match &self.kind {
            Kind::Logs(_) | Kind::Exec(..) => Some("*/*".to_owned()),
            Kind::Path if self.is_openapi_v2() => Some(OPENAPI_PROTO.to_owned()),
            Kind::Path if self.is_public() && !self.is_document() => Some("*/*".to_owned()),
            Kind::Path | Kind::Resource(..) => {
                media::accept(self.accept.iter().map(String::as_str), forms)
            }
        }
    }

    fn is_openapi_v2(&self) -> bool {
        let path: Vec<&str> = self.target.segments().iter().map(String::as_str).collect();
        path == ["openapi", "v2"]
            && self
                .accept
                .iter()
                .flat_map(|value| value.split(','))
                .any(|range| range.trim().starts_with(OPENAPI_PROTO))
    }

    /// Whether what it asks for is a public document, without any object.
    pub(super) fn is_public(&self) -> bool {
        let first = self.target.segments().first().map_or("", String::as_str);
        matches!(self.kind, Kind::Path) && PUBLIC_PATHS.contains(&first)
    }

    fn is_document(&self) -> bool {
        let first = self.target.segments().first().map_or("", String::as_str);
        matches!(first, "api" | "apis" | "openapi")
    }

    /// Whether the answer's body is empty whatever its head says.
    pub(super) const fn is_head(&self) -> bool {
        matches!(self.method, Method::Head)
    }

    /// Method and canonical target, for the record of a refusal.
    pub(super) fn asked_for(&self) -> String {
        format!("{} {}", self.method.as_str(), self.target)
    }

    pub(super) fn asked(&self) -> Asked {
        match &self.kind {
            Kind::Resource(_, path) | Kind::Logs(path) | Kind::Exec(path, _) => Asked {
                group: path.group.clone(),
                resource: path.resource.clone(),
            },
            Kind::Path => Asked::default(),
        }
    }
}

impl Ready {
    /// Bytes of its body.
    pub(super) fn body_len(&self) -> usize {
        self.body.as_ref().map_or(0, Bytes::len)
    }

    /// The request to the target, built from nothing but what was understood.
    pub(super) fn request(
        &self,
        tables: bool,
        impersonation: &[Header],
    ) -> (&'static str, String, Vec<Header>, Option<Bytes>) {
        let call = &self.call;
        let accept = call.accepts(tables);
        let accept = accept.unwrap_or_else(|| "application/json".to_owned());
        let mut headers = vec![
            Header::new("accept", accept),
            Header::new("accept-encoding", "identity"),
        ];
        if self.body.is_some() {
            let media = call.media.unwrap_or(BodyType::Object);
            headers.push(Header::new("content-type", media.as_str()));
        }
        if let Some(agent) = &call.user_agent {
            headers.push(Header::new("user-agent", agent.clone()));
        }
        headers.extend_from_slice(impersonation);
        (
            call.method.as_str(),
            call.target.to_string(),
            headers,
            self.body.clone(),
        )
    }
}

/// Fields that would change what a request means to the server, or who it is from.
fn check_headers(headers: &[Header]) -> Result<()> {
    let bytes: usize = headers
        .iter()
        .map(|header| header.name.len() + header.value.len())
        .sum();
    if headers.len() > HEADERS_MAX || bytes > HEADER_BYTES_MAX {
        return Err(Refusal::new(431, "too many header fields"));
    }
    for header in headers {
        let name = header.name.as_str();
        if name.starts_with("impersonate-") || name.starts_with("x-remote-") {
            return Err(Refusal::new(
                403,
                "the gateway says who a request is from: impersonation isn't supported",
            ));
        }
        if matches!(
            name,
            "x-http-method-override" | "x-http-method" | "x-method-override"
        ) {
            return Err(Refusal::new(400, "a request has one method"));
        }
        if matches!(name, "content-encoding" | "content-range" | "range") {
            return Err(Refusal::new(415, "bodies are taken whole and unencoded"));
        }
    }
    Ok(())
}

/// The text values of a field.
pub(super) fn texts<'a>(headers: &'a [Header], name: &'a str) -> impl Iterator<Item = &'a str> {
    headers
        .iter()
        .filter(move |header| header.name == name)
        .filter_map(|header| std::str::from_utf8(&header.value).ok())
}

/// The one value of a field.
pub(super) fn field<'a>(headers: &'a [Header], name: &str) -> Result<Option<&'a str>> {
    let mut found = headers.iter().filter(|header| header.name == name);
    let Some(first) = found.next() else {
        return Ok(None);
    };
    if found.next().is_some() {
        return Err(Refusal::new(400, format!("more than one {name}")));
    }
    let visible = first.value.iter().all(|byte| matches!(byte, 0x20..=0x7e));
    match std::str::from_utf8(&first.value) {
        Ok(value) if visible => Ok(Some(value)),
        _ => Err(Refusal::new(400, format!("{name} isn't plain text"))),
    }
}

fn kind(head: &RequestHead, method: Method, info: RequestInfo) -> Result<Kind> {
    let (verb, path) = match info {
        RequestInfo::Path => {
            if head.upgrade.is_some() {
                return Err(Refusal::new(403, "nothing to upgrade to on this path"));
            }
            if !matches!(method, Method::Get | Method::Head) {
                return Err(Refusal::new(
                    405,
                    "paths that name no resource are for reading",
                ));
            }
            return Ok(Kind::Path);
        }
        RequestInfo::Resource(verb, path) => (verb, path),
    };
    let core = path.group.is_empty();
    match path.subresource.as_str() {
        "proxy" | "portforward" | "attach" => {
            return Err(Refusal::new(
                403,
                format!(
                    "the gateway doesn't support {}/{} yet",
                    path.resource, path.subresource
                ),
            ));
        }
        "exec" => {
            let Some(upgrade) = &head.upgrade else {
                return Err(Refusal::new(400, "an exec is a WebSocket connection"));
            };
            if matches!(upgrade, Upgrade::Other(_)) {
                return Err(Refusal::new(
                    403,
                    "the gateway supports exec over WebSocket only, not SPDY",
                )
                .with_hint(
                    "Use kubectl 1.31 or later, or set KUBECTL_REMOTE_COMMAND_WEBSOCKETS=true.",
                ));
            }
            if method != Method::Get || path.resource != "pods" || !core {
                return Err(Refusal::new(
                    400,
                    "an exec is a WebSocket connection to a pod",
                ));
            }
            let handshake = Handshake::read(&head.headers)?;
            return Ok(Kind::Exec(path, handshake));
        }
        _ => {}
    }
    if head.upgrade.is_some() {
        return Err(Refusal::new(
            403,
            "the gateway supports upgrades for exec only",
        ));
    }
    if core && path.resource == "pods" && path.subresource == "log" {
        if method != Method::Get {
            return Err(Refusal::new(405, "logs are for reading"));
        }
        return Ok(Kind::Logs(path));
    }
    Ok(Kind::Resource(verb, path))
}

/// Known parameters only, and booleans in one spelling.
fn check_parameters(target: &mut Target, kind: &Kind) -> Result<()> {
    let known: &[&[&str]] = match kind {
        Kind::Path => &[PATH],
        Kind::Logs(_) => &[LOGS],
        Kind::Exec(..) => &[EXEC],
        Kind::Resource(verb, _) => match verb {
            Verb::Get => &[GET],
            Verb::List | Verb::Watch => &[LIST],
            Verb::Create | Verb::Update => &[WRITE],
            Verb::Patch => &[PATCH],
            Verb::Delete => &[DELETE],
            Verb::DeleteCollection => &[DELETE, LIST],
        },
    };
    let is_known =
        |name: &str| COMMON.contains(&name) || known.iter().any(|names| names.contains(&name));
    if let Some((name, _)) = target.parameters().iter().find(|(name, _)| !is_known(name)) {
        let name: String = name
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .take(40)
            .collect();
        return Err(Refusal::new(
            400,
            format!("the gateway doesn't know the query parameter `{name}` here"),
        ));
    }
    for name in BOOLEANS {
        let value = match target
            .parameter(name)
            .map(str::to_ascii_lowercase)
            .as_deref()
        {
            None => continue,
            Some("true" | "1") => "true",
            Some("false" | "0") => "false",
            Some(_) => {
                return Err(Refusal::new(
                    400,
                    format!("`{name}` is neither true nor false"),
                ));
            }
        };
        target.set_parameter(name, Some(value));
    }
    // A delete of a collection doesn't watch.
    if matches!(kind, Kind::Resource(Verb::DeleteCollection, _))
        && request::watch(target).ok() != Some(false)
    {
        return Err(Refusal::new(400, "a delete doesn't watch"));
    }
    Ok(())
}

fn no_body(bytes: &[u8]) -> Result<Option<Body>> {
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
fn object_name(verb: Verb, path: &ResourcePath, body: Option<&Body>) -> Result<String> {
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
