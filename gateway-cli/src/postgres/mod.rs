//! PostgreSQL's side of the shell: its target, and sessions over plain sockets.

mod guaranteed;
mod target;

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{FutureExt as _, future::BoxFuture};
use gateway_core::{
    drive::{TcpLink, Upgrade},
    record::CloseReason,
};
use gateway_protocols::postgres::Session;
use rustls::{ServerConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

pub(crate) use guaranteed::{Order, Proof, script};
pub(crate) use target::{PostgresTarget, ResolveError, Resolved};

use crate::{listen::Accepted, services::Lane, target::TargetService};

/// What TLS is negotiated for (PostgreSQL 17, "SSL Session Encryption"): with agents and targets that
/// name it, and always where TLS begins without being asked for.
const APPLICATION_PROTOCOL: &[u8] = b"postgresql";
/// To deliver a cancel request, connecting and TLS included.
const ASIDE_TIME_MAX: Duration = Duration::from_secs(10);

/// Runs one session on an accepted connection.
pub(crate) async fn serve(accepted: Accepted, socket: TcpStream) -> CloseReason {
    let tls = acceptor(&accepted.gateway().agent_tls);
    let wire = Session::new(accepted.limits());
    let link = TcpLink::new(socket, Upgrade::Accept(tls));
    accepted.run::<PostgresLane, _>(wire, link).await
}

/// TLS towards agents.
fn acceptor(tls: &ServerConfig) -> TlsAcceptor {
    let mut tls = tls.clone();
    tls.alpn_protocols = vec![APPLICATION_PROTOCOL.to_vec()];
    TlsAcceptor::from(Arc::new(tls))
}

/// How PostgreSQL sessions reach their target.
pub(crate) struct PostgresLane;

impl Lane for PostgresLane {
    type Link = TcpLink;

    fn connect(target: Arc<TargetService>) -> BoxFuture<'static, io::Result<TcpLink>> {
        async move {
            let target = target.postgres().ok_or(io::ErrorKind::Unsupported)?;
            let (tls, name) = target.connector().tls();
            let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
            let upgrade = Upgrade::Connect(TlsConnector::from(Arc::clone(tls)), name);
            let socket = target.connector().tcp().await.map_err(io::Error::other)?;
            Ok(TcpLink::new(socket, upgrade))
        }
        .boxed()
    }

    fn aside(target: Arc<TargetService>, data: Bytes) -> BoxFuture<'static, io::Result<()>> {
        async move { tokio::time::timeout(ASIDE_TIME_MAX, send_aside(&target, &data)).await? }
            .boxed()
    }
}

/// A cancel request over verified TLS, as every PostgreSQL server since 7.3 takes it after an
/// SSLRequest (release 15, section 55.2.8 "Canceling Requests in Progress").
async fn send_aside(target: &TargetService, data: &[u8]) -> io::Result<()> {
    /// Length 8, code 80877103 (section 55.7 "Message Formats").
    const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
    let target = target.postgres().ok_or(io::ErrorKind::Unsupported)?;
    let mut stream = target.connector().tcp().await.map_err(io::Error::other)?;
    if !target.connector().is_tls_direct() {
        stream.write_all(&SSL_REQUEST).await?;
        if stream.read_u8().await? != b'S' {
            return Err(io::Error::other("the target has no TLS"));
        }
    }
    let (tls, name) = target.connector().tls();
    let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
    let mut stream = TlsConnector::from(Arc::clone(tls))
        .connect(name, stream)
        .await?;
    stream.write_all(data).await?;
    stream.flush().await?;
    // The server closes once it has signalled, and says nothing; how it closes doesn't matter.
    let _ = stream.read(&mut [0]).await;
    Ok(())
}
