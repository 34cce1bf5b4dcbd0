//! The gateway's own connection to a target.

use std::{sync::Arc, time::Duration};

use rustls::ClientConfig;
use secrecy::ExposeSecret as _;
use tokio::{net::TcpStream, task::JoinHandle};
use tokio_postgres::{
    Client, Config,
    config::{ChannelBinding, SslMode, SslNegotiation},
    tls::MakeTlsConnect,
};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::{
    config::HostPort,
    credential::{CredentialError, TargetCredential},
    listen::keep_alive,
};

/// To reach the target's port, name resolution included.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);

/// How one target is reached: address, TLS and the gateway's own credential.
#[derive(Clone)]
pub(crate) struct Connector {
    address: HostPort,
    server_name: String,
    tls: Arc<ClientConfig>,
    direct_tls: bool,
    credential: Arc<TargetCredential>,
}

/// The target can't be connected to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// No TCP connection.
    #[error("can't connect to {address}: {why}")]
    Tcp {
        /// Where.
        address: HostPort,
        /// Why.
        why: String,
    },
    /// The gateway has nothing to log in with.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// TLS or login failed.
    #[error("can't log in at {address}: {why}")]
    Login {
        /// Where.
        address: HostPort,
        /// Why.
        why: LoginFailure,
    },
}

/// A failed TLS handshake or login, with its cause.
#[derive(Debug, thiserror::Error)]
#[error("{}", describe(.0))]
pub(crate) struct LoginFailure(#[source] tokio_postgres::Error);

/// tokio-postgres puts the interesting half into the source.
fn describe(error: &tokio_postgres::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// A connection of the gateway's own. Its driver ends with it.
pub(crate) struct Connection {
    /// The client.
    pub(crate) client: Client,
    driver: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Connector {
    /// A connector; nothing is connected yet.
    pub(crate) fn new(
        address: HostPort,
        server_name: String,
        tls: Arc<ClientConfig>,
        direct_tls: bool,
        credential: Arc<TargetCredential>,
    ) -> Self {
        Self {
            address,
            server_name,
            tls,
            direct_tls,
            credential,
        }
    }

    /// The gateway's credential at this target.
    pub(crate) fn credential(&self) -> &Arc<TargetCredential> {
        &self.credential
    }

    /// TLS towards this target, and the name its certificate must carry.
    pub(crate) fn tls(&self) -> (&Arc<ClientConfig>, &str) {
        (&self.tls, &self.server_name)
    }

    /// Whether TLS begins without being asked for.
    pub(crate) const fn is_tls_direct(&self) -> bool {
        self.direct_tls
    }

    /// A TCP connection to the target.
    ///
    /// # Errors
    /// [`ConnectError::Tcp`] when there is none within five seconds.
    pub(crate) async fn tcp(&self) -> Result<TcpStream, ConnectError> {
        let address = (self.address.host.as_str(), self.address.port);
        let failed = |why: String| ConnectError::Tcp {
            address: self.address.clone(),
            why,
        };
        let stream = tokio::time::timeout(CONNECT_TIME_MAX, TcpStream::connect(address))
            .await
            .map_err(|_| failed("no answer in time".into()))?
            .map_err(|e| failed(e.to_string()))?;
        stream
            .set_nodelay(true)
            .map_err(|e| failed(e.to_string()))?;
        keep_alive(&stream);
        Ok(stream)
    }

    /// A connection to `database` over verified TLS. A password goes by SCRAM with channel binding
    /// or not at all; a token goes in the password message.
    ///
    /// # Errors
    /// [`ConnectError`]. The caller sets the deadline for TLS and login.
    pub(crate) async fn connect(&self, database: &str) -> Result<Connection, ConnectError> {
        let stream = self.tcp().await?;
        let secret = self.credential.secret().await?;
        let failed = |why| ConnectError::Login {
            address: self.address.clone(),
            why: LoginFailure(why),
        };
        let mut config = Config::new();
        config
            .user(self.credential.user())
            .password(secret.expose_secret())
            .dbname(database)
            .application_name("access-gateway catalogue")
            .ssl_mode(SslMode::Require)
            .ssl_negotiation(if self.direct_tls {
                SslNegotiation::Direct
            } else {
                SslNegotiation::Postgres
            })
            .channel_binding(if self.credential.is_password() {
                ChannelBinding::Require
            } else {
                ChannelBinding::Disable
            });
        let mut tls = MakeRustlsConnect::new(ClientConfig::clone(&self.tls));
        let tls = MakeTlsConnect::<TcpStream>::make_tls_connect(&mut tls, &self.server_name)
            .map_err(|e| ConnectError::Tcp {
                address: self.address.clone(),
                why: e.to_string(),
            })?;
        let (client, connection) = config.connect_raw(stream, tls).await.map_err(failed)?;
        let driver = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "catalogue connection ended");
            }
        });
        Ok(Connection { client, driver })
    }
}
