//! Connections of one session to the API server: one of HTTP/2, or several of HTTP/1.1.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use gateway_protocols::kubernetes::message::Header;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Method, Request, Response, Uri,
    body::Incoming,
    client::conn::{http1, http2},
    header::{AUTHORIZATION, HOST, HeaderValue},
    http::uri::{PathAndQuery, Scheme},
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::task::JoinSet;

use super::{
    HEAD_BYTES_MAX, HEADERS_MAX, head,
    target::{KubernetesTarget, TargetError},
};

/// Connections of HTTP/1.1 that are kept while nothing uses them.
const IDLE_MAX: usize = 4;
/// Longest answer to a question of the gateway's own, bytes.
const VERSION_BYTES_MAX: usize = 64 << 10;
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIME_MAX: Duration = Duration::from_secs(20);

type Http1 = http1::SendRequest<Full<Bytes>>;
type Http2 = http2::SendRequest<Full<Bytes>>;

/// A request as the session composed it.
pub(super) struct Composed {
    /// The method.
    pub(super) method: &'static str,
    /// Path and query, to be sent as they are.
    pub(super) target: String,
    /// Header fields, to be sent as they are.
    pub(super) headers: Vec<Header>,
    /// The whole body.
    pub(super) body: Bytes,
    /// Whether it asks for an upgrade.
    pub(super) upgrade: bool,
}

/// A request wasn't answered.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    /// The API server can't be reached, or the gateway has nothing to show there.
    #[error("the API server can't be reached: {0}")]
    Target(#[from] TargetError),
    /// HTTP failed.
    #[error("the API server's connection failed: {0}")]
    Http(#[from] hyper::Error),
    /// The API server didn't say what it was asked.
    #[error("the API server answers {0}")]
    Status(hyper::StatusCode),
    /// The request can't be written as HTTP exactly as the session composed it.
    #[error("the request can't be sent as it was decided")]
    Request,
}

impl From<hyper::http::Error> for SendError {
    fn from(_: hyper::http::Error) -> Self {
        Self::Request
    }
}

/// Connections of one session.
pub(super) struct Pool {
    target: Arc<KubernetesTarget>,
    ready: tokio::sync::Mutex<Ready>,
    /// What drives them; gone with the session.
    driving: Mutex<JoinSet<()>>,
}

/// Connections that take requests.
#[derive(Default)]
struct Ready {
    http2: Option<Http2>,
    http1: Vec<Http1>,
}

/// A connection to send one request on. One of HTTP/1.1 belongs to its exchange until the answer
/// is read.
pub(super) enum Lease {
    Http1(Http1),
    Http2(Http2),
}

impl Pool {
    /// Opens the first connection.
    ///
    /// # Errors
    /// [`TargetError`] when there is none.
    pub(super) async fn open(target: Arc<KubernetesTarget>) -> Result<Self, SendError> {
        let pool = Self {
            target,
            ready: tokio::sync::Mutex::default(),
            driving: Mutex::default(),
        };
        let first = pool.connect(false).await?;
        pool.give_back(first).await;
        Ok(pool)
    }

    /// Sends a request. The lease is to be given back once the answer is read.
    ///
    /// A connection that the server closed before it took anything is replaced once: what was
    /// decided is sent at most once.
    ///
    /// # Errors
    /// [`SendError`]; the server may have taken the request then.
    pub(super) async fn send(
        &self,
        request: &Composed,
    ) -> Result<(Response<Incoming>, Lease), SendError> {
        let mut retried = request.upgrade;
        loop {
            let mut lease = if request.upgrade {
                self.connect(true).await?
            } else {
                self.lease().await?
            };
            let composed = self.compose(request, &lease).await?;
            let sent = match &mut lease {
                Lease::Http1(sender) => sender.try_send_request(composed).await,
                Lease::Http2(sender) => sender.try_send_request(composed).await,
            };
            match sent {
                Ok(response) => return Ok((response, lease)),
                Err(error) if error.message().is_some() && !retried => retried = true,
                Err(error) => return Err(error.into_error().into()),
            }
        }
    }

    /// What the API server says it is.
    ///
    /// # Errors
    /// [`SendError`], also when the server doesn't know the gateway.
    pub(super) async fn version(&self) -> Result<String, SendError> {
        #[derive(serde::Deserialize)]
        struct Version {
            #[serde(rename = "gitVersion")]
            git_version: String,
        }
        let request = Composed {
            method: "GET",
            target: "/version".into(),
            headers: vec![Header::new("accept", "application/json")],
            body: Bytes::new(),
            upgrade: false,
        };
        let (response, _) = self.send(&request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), VERSION_BYTES_MAX);
        let body = body
            .collect()
            .await
            .map_err(|_| SendError::Status(status))?;
        match serde_json::from_slice::<Version>(&body.to_bytes()) {
            Ok(version) if status.is_success() => Ok(version.git_version),
            Ok(_) | Err(_) => Err(SendError::Status(status)),
        }
    }

    /// Keeps a connection for later requests, if it still is one.
    pub(super) async fn give_back(&self, lease: Lease) {
        match lease {
            Lease::Http1(mut sender) => {
                if sender.ready().await.is_ok() {
                    let mut ready = self.ready.lock().await;
                    if ready.http1.len() < IDLE_MAX {
                        ready.http1.push(sender);
                    }
                }
            }
            Lease::Http2(sender) => {
                self.ready.lock().await.http2.get_or_insert(sender);
            }
        }
    }

    async fn lease(&self) -> Result<Lease, SendError> {
        let mut ready = self.ready.lock().await;
        if ready.http2.as_ref().is_some_and(Http2::is_closed) {
            ready.http2 = None;
        }
        if let Some(sender) = &ready.http2 {
            return Ok(Lease::Http2(sender.clone()));
        }
        while let Some(sender) = ready.http1.pop() {
            if sender.is_ready() {
                return Ok(Lease::Http1(sender));
            }
        }
        // One at a time: whoever comes next may share an HTTP/2 connection.
        let lease = self.connect(false).await?;
        if let Lease::Http2(sender) = &lease {
            ready.http2 = Some(sender.clone());
        }
        Ok(lease)
    }

    async fn connect(&self, upgradable: bool) -> Result<Lease, SendError> {
        let stream = self.target.connect(upgradable).await?;
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let io = TokioIo::new(stream);
        if is_http2 {
            let (sender, connection) = http2().handshake(io).await?;
            self.drive(connection);
            return Ok(Lease::Http2(sender));
        }
        let (sender, connection) = http1().handshake(io).await?;
        self.drive(connection.with_upgrades());
        Ok(Lease::Http1(sender))
    }

    fn drive(&self, connection: impl Future<Output = hyper::Result<()>> + Send + 'static) {
        let mut driving = self.driving.lock();
        while driving.try_join_next().is_some() {}
        driving.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "an API server's HTTP connection ended");
            }
        });
    }

    /// The request for this connection: the session's head, the host and the gateway's own
    /// credential, and nothing else.
    async fn compose(
        &self,
        request: &Composed,
        lease: &Lease,
    ) -> Result<Request<Full<Bytes>>, SendError> {
        let authority = self.target.authority();
        let mut composed = Request::new(Full::new(request.body.clone()));
        *composed.method_mut() =
            Method::from_bytes(request.method.as_bytes()).map_err(|_| SendError::Request)?;
        *composed.uri_mut() = uri(&request.target, &authority, lease)?;
        head::add(&request.headers, composed.headers_mut())?;
        if matches!(lease, Lease::Http1(_)) {
            let host = HeaderValue::from_str(&authority).map_err(|_| SendError::Request)?;
            composed.headers_mut().insert(HOST, host);
        }
        if let Some(authorization) = self.target.authorization().await? {
            composed.headers_mut().insert(AUTHORIZATION, authorization);
        }
        Ok(composed)
    }
}

/// Path and query alone for HTTP/1.1, with scheme and authority for HTTP/2.
fn uri(target: &str, authority: &str, lease: &Lease) -> Result<Uri, SendError> {
    let path: PathAndQuery = target.parse().map_err(|_| SendError::Request)?;
    // What was decided is what is sent: nothing was cut off or cleaned.
    if path.as_str() != target {
        return Err(SendError::Request);
    }
    let builder = Uri::builder().path_and_query(path);
    Ok(match lease {
        Lease::Http1(_) => builder.build()?,
        Lease::Http2(_) => builder.scheme(Scheme::HTTPS).authority(authority).build()?,
    })
}

fn http1() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX);
    builder
}

fn http2() -> http2::Builder<TokioExecutor> {
    // Its task ends with the connection's last user.
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(HEAD_BYTES_MAX).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIME_MAX);
    builder
}
