//! What a peer did that ended its transport, in words for evidence.

use std::io::ErrorKind;

use russh::{AlgorithmKind, Error};

/// Longest part of what a peer offers that is kept, characters.
const OFFER_CHARS_MAX: usize = 200;

/// What ended the transport, when it was more than the peer's leaving or the session's end.
pub(super) fn of(error: &Error) -> Option<String> {
    let what = match error {
        Error::Disconnect | Error::HUP => return None,
        Error::IO(error) if is_leaving(error.kind()) => return None,
        Error::NoCommonAlgo { kind, theirs, .. } => return Some(nothing_common(kind, theirs)),
        Error::Version => "it doesn't begin as SSH 2.0 does",
        Error::Kex | Error::KexInit | Error::UnknownAlgo => "the exchange of keys failed",
        Error::PacketAuth | Error::DecryptionError => "a packet isn't authentic",
        Error::PacketSize(_) => "a packet has a size that none may have",
        Error::StrictKeyExchangeViolation { .. } => "a message cuts into the exchange of keys",
        Error::Inconsistent | Error::WrongChannel => "a message is out of place",
        Error::Pending => "too much is sent during an exchange of keys",
        Error::SshEncoding(_)
        | Error::SshKey(_)
        | Error::Keys(_)
        | Error::Signature(_)
        | Error::Utf8(_)
        | Error::IndexOutOfBounds => "a message is malformed",
        Error::Join(_) => "the gateway's transport failed",
        other => {
            return Some(format!(
                "the transport failed: {}",
                short(&other.to_string())
            ));
        }
    };
    Some(what.to_owned())
}

/// The peer is gone, or was cut off.
const fn is_leaving(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::UnexpectedEof
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
            | ErrorKind::TimedOut
    )
}

fn nothing_common(kind: &AlgorithmKind, theirs: &[String]) -> String {
    let kind = match kind {
        AlgorithmKind::Kex => "key exchange",
        AlgorithmKind::Key => "host key",
        AlgorithmKind::Cipher => "cipher",
        AlgorithmKind::Compression => "compression",
        AlgorithmKind::Mac => "MAC",
    };
    // Not joined first: a packet holds thousands of names.
    let offer: String = theirs
        .iter()
        .flat_map(|name| name.chars().chain([' ']))
        .take(OFFER_CHARS_MAX)
        .collect();
    format!("no {kind} algorithm in common with {}", offer.trim_end())
}

fn short(text: &str) -> String {
    text.chars().take(OFFER_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaving_is_no_fault() {
        for kind in [ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset] {
            assert_eq!(of(&Error::IO(kind.into())), None);
        }
        assert_eq!(of(&Error::Disconnect), None);
        assert!(of(&Error::Version).is_some());
        assert!(of(&Error::IO(ErrorKind::InvalidData.into())).is_some());
    }

    #[test]
    fn what_a_peer_offers_is_named_and_bounded() {
        let error = |theirs| Error::NoCommonAlgo {
            kind: AlgorithmKind::Kex,
            ours: Vec::new(),
            theirs,
        };
        let few = of(&error(vec!["a-sha1".into(), "b".into()]));
        assert_eq!(
            few.as_deref(),
            Some("no key exchange algorithm in common with a-sha1 b")
        );
        let many = of(&error(vec!["x".repeat(50); 1000])).unwrap();
        assert!(many.len() < 300, "{many}");
    }
}
