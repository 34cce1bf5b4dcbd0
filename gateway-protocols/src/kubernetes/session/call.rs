//! One request, from its head to what is submitted: understood whole, or refused.

use bytes::Bytes;
use gateway_core::{
    operation::{ApiFacts, ApiUnit},
    wire::Turn,
};

use super::{
    Command,
    body::{Body, is_dry_run, no_body, object_name},
    effects, exchange,
    exec::Handshake,
    parameters,
};
use crate::kubernetes::{
    mask::Asked,
    message::{
        Header, Method, RequestHead, RequestInfo, ResourcePath, StreamId, Target, Upgrade, Verb,
        media::{self, BodyType},
    },
    reply::Refusal,
};

/// Header fields of one request, at most; and their names and values together, bytes.
const HEADERS_MAX: usize = 128;
const HEADER_BYTES_MAX: usize = 64 << 10;
/// Longest `user-agent` that is passed on, bytes.
const USER_AGENT_BYTES_MAX: usize = 256;
/// The OpenAPI document's only form for old clients: public, and no object is in it.
const OPENAPI_PROTO: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

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
        parameters::check(&mut target, &kind)?;
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

    /// Refuses it, where its client looks for the reason.
    pub(super) fn refuse(&self, stream: StreamId, refusal: &Refusal, turn: &mut Turn<'_, Command>) {
        match &self.kind {
            Kind::Exec(_, handshake) => handshake.refuse(stream, refusal, turn),
            Kind::Path | Kind::Resource(..) | Kind::Logs(_) => {
                exchange::refuse(stream, refusal, turn);
            }
        }
    }

    /// Takes the body to its end: what is submitted, and what is forwarded if that is allowed.
    pub(super) fn complete(self, body: &[u8]) -> Result<(ApiUnit, Ready)> {
        let body = match &self.kind {
            Kind::Resource(verb, path) => Body::read(body, self.media, *verb, path, &self.target)?,
            Kind::Path | Kind::Logs(_) | Kind::Exec(..) => no_body(body)?,
        };
        let target = self.target.to_string();
        let facts = ApiFacts {
            dry_run: is_dry_run(&self.kind, &self.target, body.as_ref())?,
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
                .with_hint("kubectl 1.31 and later speak WebSocket."));
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
