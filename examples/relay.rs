//! The floor that the gateway is measured against: a relay that ends TLS on both sides, as the
//! gateway does, and otherwise only copies. One task per connection, 64 KiB buffers.
//!
//! ```text
//! relay LISTEN TARGET CERTIFICATE KEY CA
//! ```
//! Loopback only. It understands SSLRequest and nothing else.

use std::{error::Error, net::SocketAddr, sync::Arc};

use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional_with_sizes},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Length 8, code 80877103 (PostgreSQL 18, "Message Formats", SSLRequest).
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
const BUFFER_BYTES: usize = 64 << 10;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [listen, target, certificate, key, ca] = arguments.as_slice() else {
        return Err("usage: relay LISTEN TARGET CERTIFICATE KEY CA".into());
    };
    let (listen, target): (SocketAddr, SocketAddr) = (listen.parse()?, target.parse()?);
    if !listen.ip().is_loopback() || !target.ip().is_loopback() {
        return Err("loopback addresses only".into());
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let chain =
        CertificateDer::pem_file_iter(certificate)?.collect::<std::result::Result<_, _>>()?;
    let server = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(key)?)?;
    let mut roots = rustls::RootCertStore::empty();
    for root in CertificateDer::pem_file_iter(ca)? {
        roots.add(root?)?;
    }
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let (acceptor, connector) = (
        TlsAcceptor::from(Arc::new(server)),
        TlsConnector::from(Arc::new(client)),
    );
    let listener = TcpListener::bind(listen).await?;
    loop {
        let (agent, _) = listener.accept().await?;
        let (acceptor, connector) = (acceptor.clone(), connector.clone());
        tokio::spawn(async move {
            // A client that leaves is the ordinary end of a relay.
            drop(relay(agent, target, acceptor, connector).await);
        });
    }
}

async fn relay(
    mut agent: TcpStream,
    target: SocketAddr,
    acceptor: TlsAcceptor,
    connector: TlsConnector,
) -> Result<()> {
    agent.set_nodelay(true)?;
    let mut request = [0; 8];
    agent.read_exact(&mut request).await?;
    if request != SSL_REQUEST {
        return Err("TLS only".into());
    }
    agent.write_all(b"S").await?;
    let mut agent = acceptor.accept(agent).await?;
    let mut server = TcpStream::connect(target).await?;
    server.set_nodelay(true)?;
    server.write_all(&SSL_REQUEST).await?;
    if server.read_u8().await? != b'S' {
        return Err("the target has no TLS".into());
    }
    let mut server = connector
        .connect(ServerName::try_from("localhost")?, server)
        .await?;
    copy_bidirectional_with_sizes(&mut agent, &mut server, BUFFER_BYTES, BUFFER_BYTES).await?;
    Ok(())
}
