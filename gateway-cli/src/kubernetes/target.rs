//! One Kubernetes API server behind the gateway: how it is reached, and what the gateway proves
//! itself with there.

use std::{
    io,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use hyper::header::HeaderValue;
use parking_lot::Mutex;
use rustls::{ClientConfig, pki_types::ServerName};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{pool::Pool, server::ALPN};
use crate::{
    config::{HostPort, KubernetesCredential, KubernetesUpstream, SecretError},
    tls::{self, TlsError},
};

/// To reach the API server, TLS included.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);
/// How long a token that was read is used: tokens in files are replaced well before they expire.
const TOKEN_TIME_MAX: Duration = Duration::from_secs(10);

/// One API server behind the gateway. Its files are read at every connection, so that renewing them
/// needs no restart.
pub(crate) struct KubernetesTarget {
    address: HostPort,
    server_name: ServerName<'static>,
    ca_file: PathBuf,
    credential: KubernetesCredential,
    token: Mutex<Option<Token>>,
}

/// A token, as a header wants it.
struct Token {
    read: Instant,
    header: HeaderValue,
}

/// A target can't be set up, or can't be reached.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TargetError {
    /// The name that its certificate must bear is none.
    #[error("`{0}` is no name that a certificate can bear")]
    Name(String),
    /// Certificates can't be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The token can't be read.
    #[error(transparent)]
    Token(#[from] SecretError),
    /// The token can't be sent: it holds more than visible ASCII.
    #[error("the token holds characters that no header may have")]
    TokenText,
    /// No connection.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// No connection in time.
    #[error("no connection within {} s", CONNECT_TIME_MAX.as_secs())]
    Time,
}

impl KubernetesTarget {
    /// A target as configured. Reads its files once, to find mistakes early; connects nowhere yet.
    ///
    /// # Errors
    /// [`TargetError`] when a file can't be used.
    pub(crate) fn new(
        address: HostPort,
        upstream: &KubernetesUpstream,
    ) -> Result<Self, TargetError> {
        let name = &upstream.tls.server_name;
        let target = Self {
            address,
            server_name: ServerName::try_from(name.clone())
                .map_err(|_| TargetError::Name(name.clone()))?,
            ca_file: upstream.tls.ca_file.clone(),
            credential: upstream.credential.clone(),
            token: Mutex::default(),
        };
        target.tls()?;
        target.read_token()?;
        Ok(target)
    }

    /// Asks for the server's version, and says how the gateway proved itself.
    ///
    /// # Errors
    /// Why it can't be reached, or doesn't know the gateway.
    pub(crate) async fn reach(self: &Arc<Self>) -> io::Result<String> {
        let pool = Pool::open(Arc::clone(self))
            .await
            .map_err(io::Error::other)?;
        let version = pool.version().await.map_err(io::Error::other)?;
        let proof = match self.credential {
            KubernetesCredential::Certificate(_) => "client certificate",
            KubernetesCredential::Token(_) => "bearer token",
        };
        Ok(format!("server {version}, by {proof}"))
    }

    /// `host:port`, for requests.
    pub(super) fn authority(&self) -> String {
        self.address.to_string()
    }

    /// TLS to the API server: verified, with the client certificate if there is one. Reads files.
    fn tls(&self) -> Result<ClientConfig, TlsError> {
        match &self.credential {
            KubernetesCredential::Certificate(files) => {
                tls::client_authenticated(&self.ca_file, files)
            }
            KubernetesCredential::Token(_) => tls::client_trusting(&self.ca_file),
        }
    }

    /// The token as a header; `None` where there is a certificate instead. Reads files.
    fn read_token(&self) -> Result<Option<HeaderValue>, TargetError> {
        let KubernetesCredential::Token(source) = &self.credential else {
            return Ok(None);
        };
        let token: SecretString = source.read()?;
        let bearer = format!("Bearer {}", token.expose_secret().trim());
        let header = HeaderValue::from_maybe_shared(bytes::Bytes::from(bearer));
        let mut header = header.map_err(|_| TargetError::TokenText)?;
        header.set_sensitive(true);
        Ok(Some(header))
    }

    /// What a request's `Authorization` is; `None` where there is a certificate instead.
    ///
    /// # Errors
    /// [`TargetError`] when the token can't be had.
    pub(super) async fn authorization(
        self: &Arc<Self>,
    ) -> Result<Option<HeaderValue>, TargetError> {
        if let Some(token) = &*self.token.lock()
            && token.read.elapsed() < TOKEN_TIME_MAX
        {
            return Ok(Some(token.header.clone()));
        }
        let this = Arc::clone(self);
        let header = blocking(move || this.read_token()).await??;
        if let Some(header) = &header {
            *self.token.lock() = Some(Token {
                read: Instant::now(),
                header: header.clone(),
            });
        }
        Ok(header)
    }

    /// A new connection. With `upgradable`, one that speaks HTTP/1.1.
    ///
    /// # Errors
    /// [`TargetError`] when there is none, or it can't be verified.
    pub(super) async fn connect(
        self: &Arc<Self>,
        upgradable: bool,
    ) -> Result<TlsStream<TcpStream>, TargetError> {
        let this = Arc::clone(self);
        let mut tls = blocking(move || this.tls()).await??;
        let offered = if upgradable {
            ALPN.split_at(1).1
        } else {
            &ALPN
        };
        tls.alpn_protocols = offered.iter().map(|name| name.to_vec()).collect();
        let connector = TlsConnector::from(Arc::new(tls));
        let connected = timeout(CONNECT_TIME_MAX, async {
            let HostPort { host, port } = &self.address;
            let socket = TcpStream::connect((host.as_str(), *port)).await?;
            socket.set_nodelay(true)?;
            connector.connect(self.server_name.clone(), socket).await
        });
        Ok(connected.await.map_err(|_| TargetError::Time)??)
    }
}

/// Runs what reads files off the reactor.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| io::Error::other("the gateway is shutting down"))
}
