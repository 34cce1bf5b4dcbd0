//! How the API server of the tests answers.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Method, Request, Response, StatusCode, Version,
    body::{Frame, Incoming},
    header::{CONNECTION, CONTENT_TYPE, UPGRADE},
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::{
    ADMIN_TOKEN, GATEWAY_TOKEN, Seen, State, discovery, exec, patch, store::Kind, view::Form,
};

type Body = UnsyncBoxBody<Bytes, Infallible>;
type Answer = Result<Response<Body>, Refusal>;

/// An error as the API has them.
struct Refusal {
    code: u16,
    reason: &'static str,
    message: String,
}

fn refuse(code: u16, reason: &'static str, message: impl Into<String>) -> Refusal {
    Refusal {
        code,
        reason,
        message: message.into(),
    }
}

pub(crate) async fn accept(socket: TcpListener, tls: TlsAcceptor, state: Arc<State>) {
    loop {
        let Ok((stream, _)) = socket.accept().await else {
            continue;
        };
        let (tls, state) = (tls.clone(), Arc::clone(&state));
        tokio::spawn(async move {
            let Ok(stream) = tls.accept(stream).await else {
                return;
            };
            let connection = stream.get_ref().1;
            let certified = connection.peer_certificates().is_some();
            let is_http2 = connection.alpn_protocol() == Some(b"h2");
            let service = service_fn(move |request| {
                let state = Arc::clone(&state);
                async move { Ok::<_, Infallible>(answer(state, certified, request).await) }
            });
            let io = TokioIo::new(stream);
            // A client that goes away is no mistake of a test.
            if is_http2 {
                let builder = http2::Builder::new(TokioExecutor::new());
                drop(builder.serve_connection(io, service).await);
            } else {
                let connection = http1::Builder::new().serve_connection(io, service);
                drop(connection.with_upgrades().await);
            }
        });
    }
}

async fn answer(state: Arc<State>, certified: bool, request: Request<Incoming>) -> Response<Body> {
    match handle(state, certified, request).await {
        Ok(response) => response,
        Err(refusal) => {
            let status = json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                "message": refusal.message, "reason": refusal.reason, "code": refusal.code,
            });
            reply(StatusCode::from_u16(refusal.code).unwrap(), &status)
        }
    }
}

fn reply(status: StatusCode, body: &Value) -> Response<Body> {
    Response::builder()
        .status(status)
        .header(CONTENT_TYPE, "application/json")
        .body(Full::from(body.to_string()).boxed_unsync())
        .unwrap()
}

/// A body of what is sent while it lasts.
fn stream(content_type: &str, pieces: mpsc::Receiver<Bytes>) -> Response<Body> {
    let frames = futures_util::stream::unfold(pieces, |mut pieces| async {
        let piece = pieces.recv().await?;
        Some((Ok::<_, Infallible>(Frame::data(piece)), pieces))
    });
    Response::builder()
        .header(CONTENT_TYPE, content_type)
        .body(StreamBody::new(frames).boxed_unsync())
        .unwrap()
}

/// What a request asks for.
struct Call {
    method: Method,
    kind: &'static Kind,
    namespace: String,
    name: String,
    subresource: String,
    query: Vec<(String, String)>,
    accept: String,
    content_type: String,
    body: String,
    user: String,
}

impl Call {
    fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.query.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    fn is_set(&self, name: &str) -> bool {
        matches!(
            self.parameter(name),
            Some("1" | "true" | "True" | "TRUE" | "t" | "T")
        )
    }

    fn json(&self) -> Result<Value, Refusal> {
        if self.content_type.contains("protobuf") {
            let why = "only JSON";
            return Err(refuse(415, "UnsupportedMediaType", why));
        }
        serde_json::from_str(&self.body).map_err(|e| refuse(400, "BadRequest", e.to_string()))
    }

    fn form(&self) -> Result<Form, Refusal> {
        let accept = if self.accept.is_empty() {
            "*/*"
        } else {
            &self.accept
        };
        Form::of(accept, self.parameter("includeObject"))
            .ok_or_else(|| refuse(406, "NotAcceptable", "only JSON"))
    }
}

async fn handle(state: Arc<State>, certified: bool, mut request: Request<Incoming>) -> Answer {
    let upgrading = hyper::upgrade::on(&mut request);
    let (parts, body) = request.into_parts();
    let headers: Vec<(String, String)> = parts
        .headers
        .iter()
        .map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            (name.as_str().to_owned(), value)
        })
        .collect();
    let header = |name: &str| -> String {
        let found = headers.iter().find(|(n, _)| n == name);
        found.map(|(_, value)| value.clone()).unwrap_or_default()
    };
    let is_upgrade = parts.headers.contains_key(UPGRADE);
    let body = if is_upgrade {
        String::new()
    } else {
        let collected = body.collect().await;
        let collected = collected.map_err(|_| refuse(400, "BadRequest", "no body"))?;
        String::from_utf8_lossy(&collected.to_bytes()).into_owned()
    };
    let target = parts.uri.path_and_query().map_or("", |path| path.as_str());
    let path = percent_decoded(parts.uri.path());
    let query = parts.uri.query().unwrap_or_default();
    let query: Vec<(String, String)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = percent_decoded(&value.replace('+', " "));
            (percent_decoded(key), value)
        })
        .collect();
    let shown = header("authorization");
    let owner = match shown.strip_prefix("Bearer ") {
        Some(ADMIN_TOKEN) => "admin",
        Some(GATEWAY_TOKEN) => "gateway",
        None if certified => "gateway",
        Some(_) | None => "",
    };
    let impersonated = header("impersonate-user");
    let user = if owner == "gateway" && !impersonated.is_empty() {
        impersonated
    } else {
        owner.to_owned()
    };
    state.seen.lock().push(Seen {
        method: parts.method.to_string(),
        target: target.to_owned(),
        headers: headers.clone(),
        body: body.clone(),
        user: user.clone(),
        http2: parts.version == Version::HTTP_2,
    });
    if owner.is_empty() {
        return Err(refuse(401, "Unauthorized", "Unauthorized"));
    }
    if path != "/version" && user == "gateway" {
        return Err(refuse(403, "Forbidden", "the gateway acts as itself"));
    }
    if parts.method == Method::GET
        && let Some(document) = discovery::document(path.trim_end_matches('/'))
    {
        return Ok(reply(StatusCode::OK, &document));
    }
    let (kind, namespace, name, subresource) = resolve(&path).ok_or_else(|| {
        refuse(
            404,
            "NotFound",
            "the server could not find the requested resource",
        )
    })?;
    let call = Call {
        method: parts.method,
        kind,
        namespace,
        name,
        subresource,
        query,
        accept: header("accept"),
        content_type: header("content-type"),
        body,
        user,
    };
    if is_upgrade {
        return upgrade(&state, &call, &headers, upgrading);
    }
    match call.subresource.as_str() {
        "" => verb(&state, &call),
        "log" => log(&state, &call),
        "exec" => Err(refuse(400, "BadRequest", "Upgrade request required")),
        _ => Err(refuse(404, "NotFound", "no such subresource")),
    }
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = text.bytes();
    let mut decoded = Vec::new();
    while let Some(byte) = bytes.next() {
        let hex = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16));
        if byte == b'%' {
            match (hex(bytes.next()), hex(bytes.next())) {
                (Some(high), Some(low)) => decoded.push(u8::try_from(high * 16 + low).unwrap()),
                _ => return String::new(),
            }
        } else {
            decoded.push(byte);
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// Kind, namespace, name and subresource of a path.
fn resolve(path: &str) -> Option<(&'static Kind, String, String, String)> {
    let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let (group, rest) = match segments.as_slice() {
        ["api", "v1", rest @ ..] => ("", rest),
        ["apis", group, "v1", rest @ ..] => (*group, rest),
        _ => return None,
    };
    let (namespace, rest) = match rest {
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
        rest => ("", rest),
    };
    let (plural, name, subresource) = match rest {
        [plural] => (*plural, "", ""),
        [plural, name] => (*plural, *name, ""),
        [plural, name, subresource] => (*plural, *name, *subresource),
        _ => return None,
    };
    let kind = Kind::find(group, plural)?;
    Some((kind, namespace.into(), name.into(), subresource.into()))
}

fn verb(state: &Arc<State>, call: &Call) -> Answer {
    let kind = call.kind;
    let form = call.form()?;
    if kind.review {
        return review(call);
    }
    let mut store = state.store.lock();
    let dry_run = call.parameter("dryRun").is_some();
    let found = || {
        let message = format!("{} \"{}\" not found", kind.plural, call.name);
        refuse(404, "NotFound", message)
    };
    let existing = store.get(kind, &call.namespace, &call.name).cloned();
    match (&call.method, call.name.is_empty()) {
        (&Method::GET, true) if call.is_set("watch") => {
            drop(store);
            Ok(watch(state, call, form))
        }
        (&Method::GET, true) => {
            let selected = |object: &Value| selects(call, object);
            let mut items = store.list(kind, &call.namespace);
            items.retain(selected);
            let version = store.version();
            let list = form.list(kind.kind, &kind.api_version(), &items, version);
            Ok(reply(StatusCode::OK, &list))
        }
        (&Method::GET, false) => {
            let object = existing.ok_or_else(found)?;
            Ok(reply(StatusCode::OK, &form.one(&object)))
        }
        (&Method::POST, true) => {
            let mut object = call.json()?;
            store.complete(kind, &call.namespace, &mut object);
            check(&object)?;
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            if store.get(kind, &call.namespace, name).is_some() {
                let message = format!("{} \"{name}\" already exists", kind.plural);
                return Err(refuse(409, "AlreadyExists", message));
            }
            if !dry_run {
                store.put(kind, object.clone());
            }
            Ok(reply(StatusCode::CREATED, &form.one(&object)))
        }
        (&Method::PUT, false) => {
            let before = existing.ok_or_else(found)?;
            let mut object = call.json()?;
            object["metadata"]["uid"] = before["metadata"]["uid"].clone();
            store.complete(kind, &call.namespace, &mut object);
            check(&object)?;
            if !dry_run {
                store.put(kind, object.clone());
            }
            Ok(reply(StatusCode::OK, &form.one(&object)))
        }
        (&Method::PATCH, false) => {
            let applied = call.content_type == "application/apply-patch+yaml";
            let before = match existing {
                Some(object) => object,
                None if applied => json!({"metadata": {"name": call.name}}),
                None => return Err(found()),
            };
            let patched = patch::apply(&call.content_type, before, &call.json()?);
            let mut object = patched.map_err(|why| refuse(415, "UnsupportedMediaType", why))?;
            store.complete(kind, &call.namespace, &mut object);
            check(&object)?;
            if !dry_run {
                store.put(kind, object.clone());
            }
            Ok(reply(StatusCode::OK, &form.one(&object)))
        }
        (&Method::DELETE, false) => {
            let object = existing.ok_or_else(found)?;
            if !dry_run {
                store.remove(kind, &call.namespace, &call.name);
            }
            let status = json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
                "details": {"name": call.name, "kind": kind.plural, "uid": object["metadata"]["uid"]},
            });
            Ok(reply(StatusCode::OK, &status))
        }
        (&Method::DELETE, true) => {
            let items = store.list(kind, &call.namespace);
            for object in &items {
                let name = object["metadata"]["name"].as_str().unwrap_or_default();
                store.remove(kind, &call.namespace, name);
            }
            let list = form.list(kind.kind, &kind.api_version(), &items, store.version());
            Ok(reply(StatusCode::OK, &list))
        }
        _ => Err(refuse(405, "MethodNotAllowed", "method not allowed")),
    }
}

/// Equality selectors of labels and of the object's name.
fn selects(call: &Call, object: &Value) -> bool {
    let terms = |name: &str| -> BTreeMap<String, String> {
        let text = call.parameter(name).unwrap_or_default();
        text.split(',')
            .filter_map(|term| term.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.trim_start_matches('=').to_owned()))
            .collect()
    };
    let labels = terms("labelSelector")
        .into_iter()
        .all(|(key, value)| object["metadata"]["labels"][key] == value);
    let fields = terms("fieldSelector").into_iter().all(|(key, value)| {
        let pointer = format!("/{}", key.replace('.', "/"));
        object.pointer(&pointer).and_then(Value::as_str) == Some(&value)
    });
    labels && fields
}

/// Secrets hold base64. What is wrong is told with the value, as servers do.
fn check(object: &Value) -> Result<(), Refusal> {
    use base64::Engine as _;
    if object["kind"] != "Secret" {
        return Ok(());
    }
    for value in object["data"]
        .as_object()
        .into_iter()
        .flat_map(|data| data.values())
    {
        let text = value.as_str().unwrap_or_default();
        if base64::engine::general_purpose::STANDARD
            .decode(text)
            .is_err()
        {
            let message = format!("Secret is invalid: data: Invalid value: \"{text}\"");
            return Err(refuse(422, "Invalid", message));
        }
    }
    Ok(())
}

/// Everything is allowed but deleting nodes.
fn review(call: &Call) -> Answer {
    let mut review = call.json()?;
    let asked = &review["spec"]["resourceAttributes"];
    let allowed = asked["verb"] != "delete" || asked["resource"] != "nodes";
    review["status"] = json!({"allowed": allowed});
    Ok(reply(StatusCode::CREATED, &review))
}

fn watch(state: &Arc<State>, call: &Call, form: Form) -> Response<Body> {
    let (to_body, pieces) = mpsc::channel(16);
    let plural = call.kind.plural;
    let from_now = call
        .parameter("resourceVersion")
        .is_some_and(|version| version != "0" && !version.is_empty());
    let mut position = if from_now {
        state.store.lock().happened.len()
    } else {
        0
    };
    let namespace = call.namespace.clone();
    let state = Arc::clone(state);
    tokio::spawn(async move {
        state.streams.fetch_add(1, Ordering::AcqRel);
        loop {
            let changed = Arc::clone(&state.store.lock().changed);
            let notified = changed.notified();
            let news: Vec<_> = {
                let store = state.store.lock();
                let news = store.happened.get(position..).unwrap_or_default().to_vec();
                position = store.happened.len();
                news
            };
            for happened in news {
                let in_namespace =
                    namespace.is_empty() || happened.object["metadata"]["namespace"] == *namespace;
                if happened.plural == plural && in_namespace {
                    let event =
                        json!({"type": happened.what, "object": form.one(&happened.object)});
                    if to_body.send(format!("{event}\n").into()).await.is_err() {
                        break;
                    }
                }
            }
            tokio::select! {
                () = notified => {}
                () = tokio::time::sleep(Duration::from_millis(100)) => {}
                () = to_body.closed() => break,
            }
        }
        state.streams.fetch_sub(1, Ordering::AcqRel);
    });
    stream("application/json", pieces)
}

/// Three lines; following, one more every 100 ms for as long as somebody reads.
fn log(state: &Arc<State>, call: &Call) -> Answer {
    let (to_body, pieces) = mpsc::channel(16);
    let follow = call.is_set("follow");
    let user = call.user.clone();
    let state = Arc::clone(state);
    tokio::spawn(async move {
        state.streams.fetch_add(1, Ordering::AcqRel);
        let lines = format!("started\nread by {user}\npaid with 4111 1111 1111 1111\n");
        let mut open = to_body.send(lines.into()).await.is_ok();
        let mut line = 0;
        while follow && open {
            line += 1;
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(100)) => {
                    open = to_body.send(format!("tick {line}\n").into()).await.is_ok();
                }
                () = to_body.closed() => open = false,
            }
        }
        state.streams.fetch_sub(1, Ordering::AcqRel);
    });
    Ok(stream("text/plain", pieces))
}

fn upgrade(
    state: &Arc<State>,
    call: &Call,
    headers: &[(String, String)],
    upgrading: hyper::upgrade::OnUpgrade,
) -> Answer {
    let header = |name: &str| {
        let found = headers.iter().find(|(n, _)| n == name);
        found.map_or("", |(_, value)| value.as_str())
    };
    if call.subresource != "exec" || !header("upgrade").eq_ignore_ascii_case("websocket") {
        return Err(refuse(403, "Forbidden", "only exec by WebSocket"));
    }
    let offered: Vec<&str> = header("sec-websocket-protocol")
        .split(',')
        .map(str::trim)
        .collect();
    let protocol = exec::PROTOCOLS
        .into_iter()
        .find(|protocol| offered.contains(protocol))
        .ok_or_else(|| refuse(400, "BadRequest", "no such sub-protocol"))?;
    let command = call
        .query
        .iter()
        .filter(|(key, _)| key == "command")
        .map(|(_, value)| value.clone())
        .collect();
    let (state, user) = (Arc::clone(state), call.user.clone());
    tokio::spawn(async move {
        state.streams.fetch_add(1, Ordering::AcqRel);
        if let Ok(io) = upgrading.await {
            exec::run(io, command, user).await;
        }
        state.streams.fetch_sub(1, Ordering::AcqRel);
    });
    Ok(Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "websocket")
        .header(
            "sec-websocket-accept",
            derive_accept_key(header("sec-websocket-key").as_bytes()),
        )
        .header("sec-websocket-protocol", protocol)
        .body(Full::default().boxed_unsync())
        .unwrap())
}
