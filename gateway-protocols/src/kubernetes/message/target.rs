//! Request targets: one canonical form, or none.
//!
//! A path or query that two readers could read in two ways is refused rather than cleaned: a
//! gateway that cleans decides on another request than the server sees.

use std::fmt::Write as _;

/// Longest request target, bytes.
pub const TARGET_BYTES_MAX: usize = 16 << 10;
/// Parameters of one query, at most.
pub const PARAMETERS_MAX: usize = 256;
/// The one parameter that may come again and again: the words of an exec, in order.
const REPEATABLE: &str = "command";

/// Why a request target isn't taken. Holds nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Longer than [`TARGET_BYTES_MAX`].
    #[error("the request target is longer than {TARGET_BYTES_MAX} bytes")]
    TooLong,
    /// RFC 9112, section 3.2: the absolute, authority or asterisk form.
    #[error("the request target isn't a path")]
    Form,
    /// `//`, or a slash at the end.
    #[error("a path segment is empty")]
    Empty,
    /// `.` or `..`.
    #[error("a path segment is `.` or `..`")]
    Dots,
    /// A byte that stands for itself in no path, or an escape: names of resources need none.
    #[error("a character or escape that paths of this API don't need")]
    Character,
    /// A `%` without two hexadecimal digits, or what it stands for is no text.
    #[error("a query parameter is badly escaped")]
    Escape,
    /// Servers and proxies differ in which one counts.
    #[error("a query parameter comes twice")]
    Twice,
    /// More than [`PARAMETERS_MAX`].
    #[error("more than {PARAMETERS_MAX} query parameters")]
    Parameters,
}

/// A parsed request target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    segments: Vec<String>,
    parameters: Vec<(String, String)>,
}

impl Target {
    /// Parses a request target of the origin form.
    ///
    /// # Errors
    /// [`TargetError`] for everything that has no single reading.
    pub fn parse(text: &str) -> Result<Self, TargetError> {
        if text.len() > TARGET_BYTES_MAX {
            return Err(TargetError::TooLong);
        }
        let (path, query) = match text.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (text, None),
        };
        let path = path.strip_prefix('/').ok_or(TargetError::Form)?;
        let segments = match path {
            "" => Vec::new(),
            path => path.split('/').map(segment).collect::<Result<_, _>>()?,
        };
        let parameters = query.map(parameters).transpose()?.unwrap_or_default();
        Ok(Self {
            segments,
            parameters,
        })
    }

    /// The segments of the path; none for `/`.
    #[must_use]
    pub fn segments(&self) -> &[String] {
        &self.segments
    }

    /// Takes the first segment away and returns it.
    pub fn take_first(&mut self) -> Option<String> {
        if self.segments.is_empty() {
            return None;
        }
        Some(self.segments.remove(0))
    }

    /// The parameters, decoded, in order.
    #[must_use]
    pub fn parameters(&self) -> &[(String, String)] {
        &self.parameters
    }

    /// The value of a parameter, decoded.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let mut found = self.parameters.iter();
        found
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// Puts another value in a parameter's place; `None` takes the parameter away.
    pub fn set_parameter(&mut self, name: &str, value: Option<&str>) {
        match value {
            Some(value) => {
                if let Some((_, known)) =
                    self.parameters.iter_mut().find(|(known, _)| known == name)
                {
                    value.clone_into(known);
                }
            }
            None => self.parameters.retain(|(known, _)| known != name),
        }
    }

    /// The canonical path.
    #[must_use]
    pub fn path(&self) -> String {
        format!("/{}", self.segments.join("/"))
    }
}

/// The canonical form: parsed again, it is this very target.
impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.path())?;
        for (index, (name, value)) in self.parameters.iter().enumerate() {
            f.write_char(if index == 0 { '?' } else { '&' })?;
            escape(name, f)?;
            f.write_char('=')?;
            escape(value, f)?;
        }
        Ok(())
    }
}

fn segment(text: &str) -> Result<String, TargetError> {
    match text {
        "" => return Err(TargetError::Empty),
        "." | ".." => return Err(TargetError::Dots),
        _ => {}
    }
    // RFC 3986, section 3.3 "Path": `pchar` without escapes and without `;`.
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,=:@".contains(&byte);
    if text.bytes().all(plain) {
        Ok(text.to_owned())
    } else {
        Err(TargetError::Character)
    }
}

/// The form that Go's `url.ParseQuery` reads, and every other reader reads alike.
fn parameters(query: &str) -> Result<Vec<(String, String)>, TargetError> {
    let mut found: Vec<(String, String)> = Vec::new();
    if query.is_empty() {
        return Ok(found);
    }
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (unescape(name)?, unescape(value)?);
        if name.is_empty() {
            return Err(TargetError::Escape);
        }
        if name != REPEATABLE
            && found
                .iter()
                .any(|(known, _)| known.eq_ignore_ascii_case(&name))
        {
            return Err(TargetError::Twice);
        }
        if found.len() == PARAMETERS_MAX {
            return Err(TargetError::Parameters);
        }
        found.push((name, value));
    }
    Ok(found)
}

fn unescape(text: &str) -> Result<String, TargetError> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let digit = |byte: Option<u8>| {
            byte.and_then(|byte| char::from(byte).to_digit(16))
                .and_then(|digit| u8::try_from(digit).ok())
                .ok_or(TargetError::Escape)
        };
        out.push(match byte {
            b'+' => b' ',
            b'%' => digit(bytes.next())? << 4 | digit(bytes.next())?,
            b';' | b'#' | b'\\' => return Err(TargetError::Character),
            0x21..=0x7e => byte,
            _ => return Err(TargetError::Character),
        });
    }
    let text = String::from_utf8(out).map_err(|_| TargetError::Escape)?;
    if text.contains('\0') {
        return Err(TargetError::Character);
    }
    Ok(text)
}

/// Everything but RFC 3986's unreserved characters as escapes.
fn escape(text: &str, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
    text.bytes().try_for_each(|byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            f.write_char(char::from(byte))
        } else {
            write!(f, "%{byte:02X}")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_canonical_form_parses_to_itself() {
        for (text, canonical) in [
            ("/", "/"),
            ("/?", "/"),
            ("/api/v1/pods", "/api/v1/pods"),
            (
                "/apis/rbac.authorization.k8s.io/v1/clusterroles/system:node",
                "",
            ),
            (
                "/api/v1/pods?limit=500&%77atch=1",
                "/api/v1/pods?limit=500&watch=1",
            ),
            (
                "/a?labelSelector=app+in+(a,b)",
                "/a?labelSelector=app%20in%20%28a%2Cb%29",
            ),
            ("/a?command=sh&command=-c&command=a%0Ab", ""),
            ("/a?watch", "/a?watch="),
            ("/a?x=%C3%A9", ""),
        ] {
            let target = Target::parse(text).unwrap();
            let canonical = if canonical.is_empty() {
                text
            } else {
                canonical
            };
            assert_eq!(target.to_string(), canonical);
            assert_eq!(Target::parse(canonical), Ok(target));
        }
    }

    #[test]
    fn what_has_two_readings_is_refused() {
        for (text, error) in [
            ("http://evil/api/v1/pods", TargetError::Form),
            ("evil:443", TargetError::Form),
            ("*", TargetError::Form),
            ("", TargetError::Form),
            ("//api/v1", TargetError::Empty),
            ("/api//v1", TargetError::Empty),
            ("/api/v1/secrets/", TargetError::Empty),
            ("/api/./v1", TargetError::Dots),
            ("/api/v1/pods/../secrets", TargetError::Dots),
            ("/api/v1/%73ecrets", TargetError::Character),
            ("/api/v1/secrets%2fs", TargetError::Character),
            ("/api/v1/%2e%2e/x", TargetError::Character),
            ("/api/v1\\secrets", TargetError::Character),
            ("/api/v1/secrets;x", TargetError::Character),
            ("/api/v1/se\u{301}crets", TargetError::Character),
            ("/api/v1/secrets%00", TargetError::Character),
            ("/api/v1/pods#x", TargetError::Character),
            ("/a?watch=1;limit=2", TargetError::Character),
            ("/a?watch=1&watch=0", TargetError::Twice),
            ("/a?watch=1&%77atch=0", TargetError::Twice),
            ("/a?watch=1&Watch=0", TargetError::Twice),
            ("/a?x=%zz", TargetError::Escape),
            ("/a?x=%f", TargetError::Escape),
            ("/a?x=%ff", TargetError::Escape),
            ("/a?x=%00", TargetError::Character),
            ("/a?x=a b", TargetError::Character),
            ("/a?=1", TargetError::Escape),
            ("/a?x=1&", TargetError::Escape),
        ] {
            assert_eq!(Target::parse(text), Err(error), "{text}");
        }
        let long = format!("/{}", "a".repeat(TARGET_BYTES_MAX));
        assert_eq!(Target::parse(&long), Err(TargetError::TooLong));
    }
}
