//! The tls-server-end-point channel binding (RFC 5929, section 4).

use aws_lc_rs::digest;

use super::ScramError;

/// The digest of a server certificate that both ends of a TLS connection can compute: 32, 48 or 64
/// bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndPoint(Vec<u8>);

impl EndPoint {
    /// The digest of a certificate given as DER.
    ///
    /// SPEC: RFC 5929, section 4.1: with the hash of the certificate's signature algorithm, and with
    /// SHA-256 in place of MD5 and SHA-1. Signatures without a hash of their own, such as Ed25519,
    /// have no such digest; RSA-PSS, whose hash is a parameter, is not supported.
    ///
    /// # Errors
    /// [`ScramError::Certificate`].
    pub fn of_certificate(der: &[u8]) -> Result<Self, ScramError> {
        let algorithm = signature_algorithm(der).ok_or(ScramError::Certificate)?;
        let hash = hash_of(algorithm).ok_or(ScramError::Certificate)?;
        Ok(Self(digest::digest(hash, der).as_ref().to_vec()))
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The hash to use for a signature algorithm, by the DER contents of its object identifier.
fn hash_of(algorithm: &[u8]) -> Option<&'static digest::Algorithm> {
    // 1.2.840.113549.1.1.* (RFC 8017, appendix C) and 1.2.840.10045.4.* (RFC 5758, section 3.2)
    const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
    const ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04];
    match (algorithm.strip_prefix(RSA), algorithm.strip_prefix(ECDSA)) {
        // MD5, SHA-1 and SHA-256
        (Some([4 | 5 | 11]), _) | (_, Some([1] | [3, 2])) => Some(&digest::SHA256),
        (Some([12]), _) | (_, Some([3, 3])) => Some(&digest::SHA384),
        (Some([13]), _) | (_, Some([3, 4])) => Some(&digest::SHA512),
        _ => None,
    }
}

/// The object identifier of a certificate's signature algorithm.
///
/// SPEC: RFC 5280, section 4.1: `Certificate ::= SEQUENCE { tbsCertificate SEQUENCE,
/// signatureAlgorithm SEQUENCE { algorithm OBJECT IDENTIFIER, .. }, signatureValue }`.
fn signature_algorithm(der: &[u8]) -> Option<&[u8]> {
    const SEQUENCE: u8 = 0x30;
    const OBJECT_IDENTIFIER: u8 = 0x06;
    let (certificate, behind) = element(SEQUENCE, der)?;
    if !behind.is_empty() {
        return None;
    }
    let (_to_be_signed, rest) = element(SEQUENCE, certificate)?;
    let (algorithm, _signature) = element(SEQUENCE, rest)?;
    let (identifier, _parameters) = element(OBJECT_IDENTIFIER, algorithm)?;
    Some(identifier)
}

/// The contents of a DER element of this tag, and what is behind it.
fn element(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&[found, short], rest) = der.split_first_chunk()?;
    if found != tag {
        return None;
    }
    let (length, rest) = match short {
        0..=0x7f => (usize::from(short), rest),
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(short & 0x7f))?;
            let length = bytes
                .iter()
                .fold(0_u32, |length, byte| length << 8 | u32::from(*byte));
            (usize::try_from(length).ok()?, rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}
