//! A target whose TLS begins without being asked for. PostgreSQL 15 has none: a listener of the
//! test's own, with the server's certificate, stands before it.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    runtime::Runtime,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::{
    clients::open_world_with,
    support::{
        Agent, World,
        wire::{SSL_REQUEST, cancel, query, told, trusting},
    },
};

/// Takes direct TLS for `protocols` and goes on to the server at `port`.
async fn forward(listener: TcpListener, dir: PathBuf, protocols: Vec<Vec<u8>>, port: u16) {
    let acceptor = TlsAcceptor::from(Arc::new(server_tls(&dir, protocols)));
    let connector = TlsConnector::from(Arc::new(trusting(&dir.join("ca.pem"))));
    while let Ok((socket, _)) = listener.accept().await {
        let (acceptor, connector) = (acceptor.clone(), connector.clone());
        tokio::spawn(async move {
            let mut gateway = acceptor.accept(socket).await?;
            let mut server = TcpStream::connect(("127.0.0.1", port)).await?;
            server.write_all(&SSL_REQUEST).await?;
            assert_eq!(server.read_u8().await?, b'S');
            let name = ServerName::try_from("localhost").unwrap();
            let mut server = connector.connect(name, server).await?;
            tokio::io::copy_bidirectional(&mut gateway, &mut server).await
        });
    }
}

fn server_tls(dir: &Path, protocols: Vec<Vec<u8>>) -> ServerConfig {
    let chain = CertificateDer::pem_file_iter(dir.join("server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(dir.join("server.key")).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain.map(Result::unwrap).collect(), key)
        .unwrap();
    tls.alpn_protocols = protocols;
    tls
}

/// A world whose target stands behind direct TLS for `protocols`. It goes away with the runtime.
fn world_behind(runtime: &Runtime, protocols: &[&[u8]]) -> World {
    let protocols = protocols.iter().map(|name| name.to_vec()).collect();
    open_world_with(|settings| {
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::mem::replace(&mut settings.port, port);
        runtime.spawn(forward(listener, settings.dir.clone(), protocols, server));
        settings.target.push("tls_negotiation = \"direct\"".into());
    })
}

#[test]
fn a_target_behind_direct_tls_is_served_and_cancelled() {
    let runtime = Runtime::new().unwrap();
    let world = world_behind(&runtime, &[b"postgresql"]);
    let mut wire = world.wire(Agent::Writer);
    assert_eq!(told(&wire.query("select 1")), "T D(1) C(SELECT 1) Z(I)");
    wire.send(&query("select pg_sleep(30)"));
    std::thread::sleep(Duration::from_millis(500));
    cancel(world.gateway.place(), &wire.cancel_key());
    assert_eq!(told(&wire.until_ready(1)), "T E(57014) Z(I)");
}

#[test]
fn a_target_that_agrees_on_no_protocol_is_refused() {
    let runtime = Runtime::new().unwrap();
    let world = world_behind(&runtime, &[]);
    let token = world.issuer.token(Agent::Writer);
    let refused = world.try_wire(&token, &[]).map(drop).unwrap_err();
    assert!(refused.starts_with("08006 "), "{refused}");
}
