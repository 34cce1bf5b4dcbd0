//! TLS configurations. Each names its provider; nothing is installed process-wide.

use std::{path::Path, path::PathBuf, sync::Arc};

use rustls::{
    ClientConfig, ConfigBuilder, RootCertStore, ServerConfig,
    client::WantsClientCert,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

use crate::config::TlsFiles;

/// A TLS configuration can't be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    /// A PEM file can't be read, or holds none of what is looked for.
    #[error("can't read {what} from `{}`: {why}", path.display())]
    Pem {
        /// `a certificate`, `a key`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// rustls refuses what the files hold: certificate and key don't match, unusable roots.
    #[error("`{}` can't be used: {source}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// The machine's own certificate authorities can't be used.
    #[error("the machine's certificate authorities can't be used: {0}")]
    Platform(rustls::Error),
}

/// The one provider of every configuration: post-quantum key exchange first.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// What listeners use: TLS 1.2 and 1.3, no client certificates.
///
/// # Errors
/// [`TlsError`] when the files can't be read or don't belong together.
pub(crate) fn server(files: &TlsFiles) -> Result<ServerConfig, TlsError> {
    let chain = certificates(&files.certificate)?;
    let key = key(&files.key)?;
    let unusable = |source| TlsError::Unusable {
        path: files.certificate.clone(),
        source,
    };
    ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(unusable)
}

/// Trusts exactly the authorities in `ca_file`; names are always verified.
///
/// # Errors
/// [`TlsError`] when the file can't be read or holds no usable authority.
pub(crate) fn client_trusting(ca_file: &Path) -> Result<ClientConfig, TlsError> {
    Ok(trusting(ca_file)?.with_no_client_auth())
}

/// As [`client_trusting`], and shows a certificate of its own to servers that ask.
///
/// # Errors
/// [`TlsError`] when the files can't be read or don't belong together.
pub(crate) fn client_authenticated(
    ca_file: &Path,
    files: &TlsFiles,
) -> Result<ClientConfig, TlsError> {
    trusting(ca_file)?
        .with_client_auth_cert(certificates(&files.certificate)?, key(&files.key)?)
        .map_err(|source| TlsError::Unusable {
            path: files.certificate.clone(),
            source,
        })
}

fn trusting(ca_file: &Path) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, TlsError> {
    let unusable = |source| TlsError::Unusable {
        path: ca_file.into(),
        source,
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca_file)? {
        roots.add(certificate).map_err(unusable)?;
    }
    Ok(ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_root_certificates(roots))
}

/// Trusts the authorities in `ca_file`, or without one those of the machine.
///
/// # Errors
/// [`TlsError`] when they can't be read.
pub(crate) fn client(ca_file: Option<&Path>) -> Result<ClientConfig, TlsError> {
    match ca_file {
        Some(file) => client_trusting(file),
        None => {
            let verifier =
                rustls_platform_verifier::Verifier::new(provider()).map_err(TlsError::Platform)?;
            Ok(ClientConfig::builder_with_provider(provider())
                .with_safe_default_protocol_versions()
                .map_err(TlsError::Platform)?
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(verifier))
                .with_no_client_auth())
        }
    }
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path).map_err(|e| TlsError::Pem {
        what: "a key",
        path: path.into(),
        why: e.to_string(),
    })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |why: String| TlsError::Pem {
        what: "a certificate",
        path: path.into(),
        why,
    };
    let chain: Vec<_> = CertificateDer::pem_file_iter(path)
        .map_err(|e| failed(e.to_string()))?
        .collect::<Result<_, _>>()
        .map_err(|e| failed(e.to_string()))?;
    if chain.is_empty() {
        return Err(failed("it holds no certificate".into()));
    }
    Ok(chain)
}
