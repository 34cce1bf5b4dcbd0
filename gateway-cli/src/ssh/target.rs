//! One SSH server behind the gateway.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use gateway_core::drive::{ChannelLink, channel_link};
use gateway_protocols::ssh::{Event, Outbound};
use russh::{
    SshId,
    client::{self, AuthResult},
    keys::{PrivateKey, PrivateKeyWithHashAlg, PublicKey},
};
use tokio::{net::TcpStream, sync::Semaphore};

use super::{
    CAPACITY, PACKET_BYTES_MAX, WINDOW_BYTES, algorithms,
    client::{Channels, TargetHandler, Transport},
    keys::{self, KeyError},
    throttle::{Intake, Throttled},
    weigh,
};
use crate::config::{HostPort, SshUpstream};

/// To connect and log in, name resolution included.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);

/// Logins at once. OpenSSH's server drops connections at random from its tenth on that hasn't logged
/// in (sshd_config(5), `MaxStartups`), and for it all agents are one client.
const LOGINS_MAX: usize = 8;

/// One SSH server behind the gateway.
pub(crate) struct SshTarget {
    address: HostPort,
    user: String,
    key_file: PathBuf,
    host_keys: Arc<[PublicKey]>,
    config: Arc<client::Config>,
    logins: Semaphore,
}

/// The gateway's key, or the host's, can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TargetError {
    /// The gateway's.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The host's.
    #[error("`host_keys` holds `{0}`, which is no supported host key: expects `ssh-ed25519 AAAA…`")]
    HostKey(String),
}

/// The target can't be reached.
#[derive(Debug, thiserror::Error)]
enum ConnectError {
    #[error("no answer in time")]
    Late,
    #[error("{0}")]
    Tcp(#[from] io::Error),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("the host shows a key that is not one of `host_keys`")]
    HostKey,
    #[error("the host refuses the gateway's key for `{0}`")]
    Refused(String),
    #[error("{0}")]
    Ssh(russh::Error),
    #[error("the gateway is shutting down")]
    Gone,
}

impl From<russh::Error> for ConnectError {
    fn from(error: russh::Error) -> Self {
        match error {
            russh::Error::UnknownKey => Self::HostKey,
            other => Self::Ssh(other),
        }
    }
}

impl SshTarget {
    /// Reads the gateway's key; connects nowhere yet. Blocks.
    ///
    /// # Errors
    /// [`TargetError`].
    pub(crate) fn new(address: HostPort, upstream: &SshUpstream) -> Result<Self, TargetError> {
        keys::read(&upstream.key_file)?;
        let host_keys = upstream
            .host_keys
            .iter()
            .map(|text| host_key(text))
            .collect::<Result<Arc<[_]>, _>>()?;
        let config = client::Config {
            client_id: SshId::Standard("SSH-2.0-gateway".into()),
            window_size: WINDOW_BYTES,
            maximum_packet_size: PACKET_BYTES_MAX,
            preferred: algorithms::towards_target(&host_keys),
            inactivity_timeout: None,
            nodelay: true,
            ..client::Config::default()
        };
        Ok(Self {
            address,
            user: upstream.user.clone(),
            key_file: upstream.key_file.clone(),
            host_keys,
            config: Arc::new(config),
            logins: Semaphore::new(LOGINS_MAX),
        })
    }

    /// A connection, logged in.
    ///
    /// # Errors
    /// Why there is none, in words for operators.
    pub(crate) async fn connect(&self) -> io::Result<ChannelLink<Event, Outbound>> {
        self.try_connect()
            .await
            .map_err(|why| io::Error::other(format!("can't connect to {}: {why}", self.address)))
    }

    async fn try_connect(&self) -> Result<ChannelLink<Event, Outbound>, ConnectError> {
        let deadline = tokio::time::Instant::now() + CONNECT_TIME_MAX;
        let _turn = tokio::time::timeout_at(deadline, self.logins.acquire())
            .await
            .map_err(|_| ConnectError::Late)?
            .map_err(|_| ConnectError::Gone)?;
        let place = (self.address.host.as_str(), self.address.port);
        let socket = tokio::time::timeout_at(deadline, TcpStream::connect(place))
            .await
            .map_err(|_| ConnectError::Late)??;
        socket.set_nodelay(true)?;
        let (link, peer) = channel_link(CAPACITY, weigh);
        let intake = Intake::new(peer.events.clone());
        let (stream, cut) = Throttled::new(socket, intake.clone());
        let channels = Channels::default();
        let host_keys = Arc::clone(&self.host_keys);
        let handler = TargetHandler::new(intake, channels.clone(), host_keys);
        let handle = tokio::time::timeout_at(deadline, self.log_in(stream, handler))
            .await
            .map_err(|_| ConnectError::Late)??;
        let transport = Transport {
            handle,
            channels,
            peer,
            cut,
        };
        // Owned by nobody on purpose: it ends with the link, at most a few seconds later.
        tokio::spawn(transport.run());
        Ok(link)
    }

    /// The key is read anew each time, so that rotating it needs no restart.
    async fn log_in(
        &self,
        stream: Throttled,
        handler: TargetHandler,
    ) -> Result<client::Handle<TargetHandler>, ConnectError> {
        let path = self.key_file.clone();
        let key: PrivateKey = tokio::task::spawn_blocking(move || keys::read(&path))
            .await
            .map_err(|_| ConnectError::Gone)??;
        let mut handle = client::connect_stream(Arc::clone(&self.config), stream, handler).await?;
        let key = PrivateKeyWithHashAlg::new(Arc::new(key), None);
        match handle.authenticate_publickey(&self.user, key).await? {
            AuthResult::Success => Ok(handle),
            AuthResult::Failure { .. } => Err(ConnectError::Refused(self.user.clone())),
        }
    }

    /// Connects, logs in, and says how the host proved itself.
    ///
    /// # Errors
    /// Why it can't be reached.
    pub(crate) async fn reach(&self) -> io::Result<String> {
        self.connect().await?;
        Ok(format!("host key is pinned, logged in as `{}`", self.user))
    }
}

fn host_key(text: &str) -> Result<PublicKey, TargetError> {
    PublicKey::from_openssh(text)
        .ok()
        .filter(|key| algorithms::KEYS.contains(&key.algorithm()))
        .ok_or_else(|| TargetError::HostKey(text.to_owned()))
}
