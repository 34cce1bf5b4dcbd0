//! An API server of the tests: HTTP verbs over objects in memory, watches, logs and exec. Strict
//! about who asks, and it remembers everything that reaches it. The real kubectl keeps it honest.

mod discovery;
mod exec;
mod patch;
mod serve;
mod store;
mod view;

use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use serde_json::Value;
use tokio::{net::TcpListener, runtime::Runtime};
use tokio_rustls::TlsAcceptor;

use super::certificates::Authority;
use store::{Kind, Store};

pub(crate) use store::{SECRET, SECRET_BASE64};

/// Whoever shows this may do everything.
pub(crate) const ADMIN_TOKEN: &str = "admin-token";
/// Whoever shows this is the gateway: it may impersonate, and nothing else.
pub(crate) const GATEWAY_TOKEN: &str = "gateway-token";

/// A request that reached the server.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    /// Path and query as they came.
    pub(crate) target: String,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
    /// Who the server takes it to be from: `gateway`, `admin`, or whom the gateway impersonates.
    pub(crate) user: String,
    pub(crate) http2: bool,
}

impl Seen {
    /// All values of a header.
    pub(crate) fn header(&self, name: &str) -> Vec<&str> {
        self.headers
            .iter()
            .filter(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
            .collect()
    }
}

/// What all connections share.
struct State {
    store: Mutex<Store>,
    seen: Mutex<Vec<Seen>>,
    /// Watches, logs and programs that run.
    streams: AtomicUsize,
}

/// A running server.
pub(crate) struct ApiServer {
    state: Arc<State>,
    pub(crate) port: u16,
    runtime: Option<Runtime>,
}

impl ApiServer {
    /// Starts one with the sample's objects. `http2` is whether it offers HTTP/2.
    pub(crate) fn start(authority: &Authority, http2: bool) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let tls = TlsAcceptor::from(Arc::new(tls(authority, http2)));
        let state = Arc::new(State {
            store: Mutex::new(Store::sample()),
            seen: Mutex::default(),
            streams: AtomicUsize::new(0),
        });
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let socket = runtime.block_on(TcpListener::bind(address)).unwrap();
        let port = socket.local_addr().unwrap().port();
        runtime.spawn(serve::accept(socket, tls, Arc::clone(&state)));
        Self {
            state,
            port,
            runtime: Some(runtime),
        }
    }

    /// Everything that has reached it but discovery.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        let seen = self.state.seen.lock();
        let plain = |target: &str| target.split('?').next().unwrap_or_default().to_owned();
        seen.iter()
            .filter(|seen| discovery::document(&plain(&seen.target)).is_none())
            .cloned()
            .collect()
    }

    /// Everything that has reached it with this method.
    pub(crate) fn seen_of(&self, method: &str) -> Vec<Seen> {
        let mut seen = self.seen();
        seen.retain(|seen| seen.method == method);
        seen
    }

    /// Forgets what has reached it.
    pub(crate) fn forget(&self) {
        self.state.seen.lock().clear();
    }

    /// Watches, logs and programs that run.
    pub(crate) fn streams(&self) -> usize {
        self.state.streams.load(Ordering::Acquire)
    }

    /// An object, if there is one.
    pub(crate) fn object(&self, plural: &str, namespace: &str, name: &str) -> Option<Value> {
        let group = if plural == "deployments" { "apps" } else { "" };
        let kind = Kind::find(group, plural).unwrap();
        self.state.store.lock().get(kind, namespace, name).cloned()
    }
}

impl ApiServer {
    /// Ends it, with all of its connections.
    pub(crate) fn stop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.stop();
    }
}

fn tls(authority: &Authority, http2: bool) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let certificates = |path: &Path| -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_file_iter(path)
            .unwrap()
            .map(Result::unwrap)
            .collect()
    };
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates(&authority.ca));
    let clients = WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(&provider))
        .allow_unauthenticated()
        .build()
        .unwrap();
    let key = PrivateKeyDer::from_pem_file(&authority.key).unwrap();
    let mut tls = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(clients)
        .with_single_cert(certificates(&authority.certificate), key)
        .unwrap();
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    if http2 {
        tls.alpn_protocols.insert(0, b"h2".to_vec());
    }
    tls
}
