//! Heads of requests and answers, between hyper's types and the session's.

use bytes::Bytes;
use gateway_protocols::kubernetes::message::{Header, RequestHead, ResponseHead, Upgrade};
use hyper::{
    HeaderMap, Response, StatusCode, Version,
    header::{CONNECTION, HeaderName, HeaderValue, UPGRADE},
    http::{Error, request},
};

/// A request's head, as it came.
pub(super) fn of_request(parts: &request::Parts) -> RequestHead {
    RequestHead {
        method: parts.method.as_str().to_owned(),
        target: target(parts),
        headers: fields(&parts.headers),
        upgrade: upgrade(parts),
    }
}

/// The request target. HTTP/2 has no forms of it: every request names scheme and authority
/// (RFC 9113, section 8.3.1 "Request Pseudo-Header Fields"), CONNECT apart.
fn target(parts: &request::Parts) -> String {
    match parts.uri.path_and_query() {
        Some(path) if parts.version == Version::HTTP_2 || parts.uri.authority().is_none() => {
            path.as_str().to_owned()
        }
        Some(_) | None => parts.uri.to_string(),
    }
}

/// What the connection is asked to become. A bare `Upgrade` asks for nothing (RFC 9110,
/// section 7.8 "Upgrade").
fn upgrade(parts: &request::Parts) -> Option<Upgrade> {
    let asked = parts
        .headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|option| option.trim().eq_ignore_ascii_case("upgrade"));
    if parts.version != Version::HTTP_11 || !asked {
        return None;
    }
    let mut protocols = parts.headers.get_all(UPGRADE).iter();
    let only = protocols.next()?.to_str().ok()?.trim();
    Some(match protocols.next() {
        None if only.eq_ignore_ascii_case("websocket") => Upgrade::WebSocket,
        None => Upgrade::Other(only.to_owned()),
        Some(_) => Upgrade::Other("several protocols".to_owned()),
    })
}

/// An answer's head, as it came.
pub(super) fn of_response<B>(response: &Response<B>) -> ResponseHead {
    ResponseHead {
        status: response.status().as_u16(),
        headers: fields(response.headers()),
    }
}

fn fields(headers: &HeaderMap) -> Vec<Header> {
    headers
        .iter()
        .map(|(name, value)| Header {
            name: name.as_str().to_owned(),
            value: Bytes::copy_from_slice(value.as_bytes()),
        })
        .collect()
}

/// An answer with this head.
///
/// # Errors
/// The head can't be written as HTTP.
pub(super) fn response<B>(head: &ResponseHead, body: B) -> Result<Response<B>, Error> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(head.status)?;
    add(&head.headers, response.headers_mut())?;
    Ok(response)
}

/// Adds fields to a head.
///
/// # Errors
/// A name or a value can't be written as HTTP.
pub(super) fn add(fields: &[Header], headers: &mut HeaderMap) -> Result<(), Error> {
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes())?;
        let value = HeaderValue::from_maybe_shared(field.value.clone())?;
        headers.append(name, value);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    fn head(version: Version, uri: &str, fields: &[(&str, &str)]) -> RequestHead {
        let mut request = Request::builder().version(version).uri(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        of_request(&request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn the_target_is_what_was_sent() {
        let cases = [
            (
                Version::HTTP_11,
                "/api?watch=1&watch=%31",
                "/api?watch=1&watch=%31",
            ),
            (Version::HTTP_11, "//api/../x", "//api/../x"),
            (Version::HTTP_11, "http://evil/api", "http://evil/api"),
            (Version::HTTP_11, "evil:443", "evil:443"),
            (Version::HTTP_11, "*", "*"),
            (Version::HTTP_2, "https://gateway/api/%73", "/api/%73"),
        ];
        for (version, uri, expected) in cases {
            assert_eq!(head(version, uri, &[]).target, expected);
        }
    }

    type Fields<'a> = &'a [(&'a str, &'a str)];

    #[test]
    fn an_upgrade_needs_both_of_its_fields() {
        let websocket = Some(Upgrade::WebSocket);
        let other = |name: &str| Some(Upgrade::Other(name.to_owned()));
        let upgrade = ("upgrade", "websocket");
        let cases: &[(Fields<'_>, Option<Upgrade>)] = &[
            (&[], None),
            (&[upgrade], None),
            (&[("connection", "keep-alive"), upgrade], None),
            (&[("connection", "Upgrade")], None),
            (&[("connection", "Upgrade"), upgrade], websocket.clone()),
            (
                &[("connection", "close, UPGRADE"), ("upgrade", "WebSocket")],
                websocket,
            ),
            (
                &[("connection", "upgrade"), ("upgrade", "SPDY/3.1")],
                other("SPDY/3.1"),
            ),
            (
                &[("connection", "upgrade"), upgrade, ("upgrade", "h2c")],
                other("several protocols"),
            ),
        ];
        for (fields, expected) in cases {
            assert_eq!(
                head(Version::HTTP_11, "/", fields).upgrade,
                *expected,
                "{fields:?}"
            );
        }
        let both = [("connection", "upgrade"), upgrade];
        assert_eq!(head(Version::HTTP_10, "/", &both).upgrade, None);
        assert_eq!(head(Version::HTTP_2, "https://g/", &both).upgrade, None);
    }

    #[test]
    fn what_no_header_can_hold_is_an_error() {
        let head = ResponseHead {
            status: 200,
            headers: vec![Header::new("a", "b\r\nc: d")],
        };
        assert!(response(&head, ()).is_err());
    }
}
