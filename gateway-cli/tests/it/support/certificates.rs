//! One authority and one certificate for `localhost`, for the database and the gateway.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair,
};

/// PEM files of a certificate.
pub(crate) struct Authority {
    pub(crate) ca: PathBuf,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    /// A client's, of the user `gateway`.
    pub(crate) client: PathBuf,
    pub(crate) client_key: PathBuf,
}

/// Makes `ca.pem`, and certificates `server` and `client` with their keys, in `dir`.
pub(crate) fn make(dir: &Path) -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params
        .distinguished_name
        .push(DnType::CommonName, "test authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let mut params = CertificateParams::new(names).unwrap();
    params
        .distinguished_name
        .push(DnType::CommonName, "localhost");
    let certificate = params.signed_by(&key, &ca).unwrap();
    let authority = Authority {
        ca: dir.join("ca.pem"),
        certificate: dir.join("server.pem"),
        key: dir.join("server.key"),
        client: dir.join("client.pem"),
        client_key: dir.join("client.key"),
    };
    std::fs::write(&authority.ca, ca.pem()).unwrap();
    std::fs::write(&authority.certificate, certificate.pem()).unwrap();
    super::write_private(&authority.key, &key.serialize_pem());
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params
        .distinguished_name
        .push(DnType::CommonName, "gateway");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let certificate = params.signed_by(&key, &ca).unwrap();
    std::fs::write(&authority.client, certificate.pem()).unwrap();
    super::write_private(&authority.client_key, &key.serialize_pem());
    authority
}
