//! Whose fault the end of a connection or a body is: an agent that breaks the rules of TLS or HTTP
//! is refused, which is on record; one that just goes away isn't.

use std::{error::Error, io};

/// What the agent did wrong; `None` if it went away, or the gateway gave the connection up.
/// The words are the libraries' own, and hold nothing of what came.
pub(super) fn of_connection(error: &hyper::Error) -> Option<String> {
    if error.is_parse() {
        return Some(error.to_string());
    }
    match cause(error)? {
        Cause::Http2(error) => error.is_library().then(|| error.to_string()),
        Cause::Io(error) => of_io(error),
    }
}

/// As [`of_connection`], of one request's body. What ends a stream of HTTP/2 is told by
/// [`Resets`](super::resets::Resets), and what ends its connection by that.
pub(super) fn of_body(error: &hyper::Error) -> Option<String> {
    match cause(error)? {
        Cause::Http2(_) => None,
        Cause::Io(error) => of_io(error),
    }
}

/// As [`of_connection`], of TLS. rustls reports what it can't accept as invalid data; the alert of
/// a peer that doesn't accept the gateway is the peer's way to leave.
pub(super) fn of_io(error: &io::Error) -> Option<String> {
    let tls = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match (tls, error.kind()) {
        (Some(rustls::Error::AlertReceived(_)), _) => None,
        (Some(_), _) | (None, io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput) => {
            Some(error.to_string())
        }
        (None, _) => None,
    }
}

enum Cause<'a> {
    Http2(&'a h2::Error),
    Io(&'a io::Error),
}

fn cause(error: &hyper::Error) -> Option<Cause<'_>> {
    let mut next = error.source();
    while let Some(source) = next {
        if let Some(error) = source.downcast_ref() {
            return Some(Cause::Http2(error));
        }
        if let Some(error) = source.downcast_ref() {
            return Some(Cause::Io(error));
        }
        next = source.source();
    }
    None
}
