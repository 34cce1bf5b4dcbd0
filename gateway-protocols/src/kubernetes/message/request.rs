//! What a request asks for, computed as the API server computes it (Kubernetes 1.32,
//! `k8s.io/apiserver/pkg/endpoints/request`, `RequestInfoFactory.NewRequestInfo`).

use super::target::Target;

/// Names below a namespace that are parts of the namespace itself, not resources in it.
const NAMESPACE_SUBRESOURCES: &[&str] = &["status", "finalize"];

/// The methods that the API knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// `GET`
    Get,
    /// `HEAD`
    Head,
    /// `POST`
    Post,
    /// `PUT`
    Put,
    /// `PATCH`
    Patch,
    /// `DELETE`
    Delete,
}

impl Method {
    /// Parses a method, which is told apart by case (RFC 9110, section 9.1 "Overview").
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "GET" => Some(Self::Get),
            "HEAD" => Some(Self::Head),
            "POST" => Some(Self::Post),
            "PUT" => Some(Self::Put),
            "PATCH" => Some(Self::Patch),
            "DELETE" => Some(Self::Delete),
            _ => None,
        }
    }

    /// As it is sent.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// What is asked of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// One object.
    Get,
    /// A collection.
    List,
    /// The changes of a collection.
    Watch,
    /// A new object, or the call of a subresource.
    Create,
    /// Another object in its place.
    Update,
    /// Changes of an object.
    Patch,
    /// Its end.
    Delete,
    /// The end of a collection.
    DeleteCollection,
}

impl Verb {
    /// Its name in RBAC and in policies.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
        }
    }

    /// Whether it changes something.
    #[must_use]
    pub const fn writes(self) -> bool {
        match self {
            Self::Get | Self::List | Self::Watch => false,
            Self::Create | Self::Update | Self::Patch | Self::Delete | Self::DeleteCollection => {
                true
            }
        }
    }
}

/// A resource as a path names it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourcePath {
    /// API group; empty for the core group.
    pub group: String,
    /// API version.
    pub version: String,
    /// Namespace; empty for none.
    pub namespace: String,
    /// Plural resource.
    pub resource: String,
    /// Subresource; empty for none.
    pub subresource: String,
    /// Object; empty for a collection.
    pub name: String,
}

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestInfo {
    /// Something of a resource.
    Resource(Verb, ResourcePath),
    /// A path that names no resource: discovery, versions, health.
    Path,
}

/// Why there is no telling what a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The server refuses it, too.
    #[error("the path has a verb but no resource")]
    NoResource,
    /// `/api/v1/proxy/…`: gone since Kubernetes 1.10.
    #[error("the proxy verb of old API servers")]
    ProxyVerb,
    /// No resource has parts below its subresources but proxies.
    #[error("the path goes on below a subresource")]
    TooDeep,
    /// The method does nothing to what the path names.
    #[error("no such method on a path of this kind")]
    Method,
    /// The server takes everything but `false` and `0` for true; whoever writes something else
    /// means something else.
    #[error("`watch` is neither true nor false")]
    Watch,
}

impl RequestInfo {
    /// What `method` on `target` asks for.
    ///
    /// # Errors
    /// [`RequestError`].
    pub fn of(method: Method, target: &Target) -> Result<Self, RequestError> {
        let segments: Vec<&str> = target.segments().iter().map(String::as_str).collect();
        let (group, rest) = match segments.as_slice() {
            ["api", rest @ ..] if rest.len() >= 2 => ("", rest),
            ["apis", group, rest @ ..] if rest.len() >= 2 => (*group, rest),
            _ => return Ok(Self::Path),
        };
        let [version, rest @ ..] = rest else {
            return Ok(Self::Path);
        };
        let (watch_prefix, rest) = match rest {
            ["proxy", ..] => return Err(RequestError::ProxyVerb),
            ["watch", rest @ ..] if !rest.is_empty() => (true, rest),
            ["watch"] => return Err(RequestError::NoResource),
            rest => (false, rest),
        };
        let (namespace, rest) = match rest {
            ["namespaces", namespace, below, ..] if !NAMESPACE_SUBRESOURCES.contains(below) => {
                (*namespace, rest.get(2..).unwrap_or_default())
            }
            ["namespaces", namespace, ..] => (*namespace, rest),
            rest => ("", rest),
        };
        let mut path = ResourcePath {
            group: group.to_owned(),
            version: (*version).to_owned(),
            namespace: namespace.to_owned(),
            ..ResourcePath::default()
        };
        match rest {
            [resource] => (*resource).clone_into(&mut path.resource),
            [resource, name] => {
                (*resource).clone_into(&mut path.resource);
                (*name).clone_into(&mut path.name);
            }
            [resource, name, subresource, below @ ..] => {
                // What a proxy reaches is a path of its own.
                if !below.is_empty() && *subresource != "proxy" {
                    return Err(RequestError::TooDeep);
                }
                (*resource).clone_into(&mut path.resource);
                (*name).clone_into(&mut path.name);
                (*subresource).clone_into(&mut path.subresource);
            }
            [] => return Err(RequestError::NoResource),
        }
        let verb = verb(method, watch_prefix, &mut path, target)?;
        Ok(Self::Resource(verb, path))
    }
}

fn verb(
    method: Method,
    watch_prefix: bool,
    path: &mut ResourcePath,
    target: &Target,
) -> Result<Verb, RequestError> {
    let one = !path.name.is_empty();
    let verb = match (method, one) {
        (Method::Get, _) if watch_prefix => Verb::Watch,
        (_, _) if watch_prefix => return Err(RequestError::Method),
        (Method::Get | Method::Head, true) => Verb::Get,
        (Method::Get | Method::Head, false) => match watch(target)? {
            true if method == Method::Head => return Err(RequestError::Method),
            true => Verb::Watch,
            false => Verb::List,
        },
        (Method::Post, false) => Verb::Create,
        (Method::Post, true) if !path.subresource.is_empty() => Verb::Create,
        (Method::Put, true) => Verb::Update,
        (Method::Patch, true) => Verb::Patch,
        (Method::Delete, true) => Verb::Delete,
        (Method::Delete, false) => Verb::DeleteCollection,
        (Method::Post, true) | (Method::Put | Method::Patch, false) => {
            return Err(RequestError::Method);
        }
    };
    // A collection of one is that one.
    if !one
        && matches!(verb, Verb::List | Verb::Watch)
        && let Some(name) = target.parameter("fieldSelector").and_then(selected_name)
    {
        name.clone_into(&mut path.name);
    }
    Ok(verb)
}

/// The `watch` parameter, as `true`, `false`, `1` or `0` in any case.
///
/// # Errors
/// [`RequestError::Watch`] for any other value.
pub fn watch(target: &Target) -> Result<bool, RequestError> {
    match target
        .parameter("watch")
        .map(str::to_ascii_lowercase)
        .as_deref()
    {
        None | Some("false" | "0") => Ok(false),
        Some("true" | "1") => Ok(true),
        Some(_) => Err(RequestError::Watch),
    }
}

/// The name that a field selector demands exactly. None where anything is escaped: then a comma may
/// stand within a term (`k8s.io/apimachinery/pkg/fields`, `splitTerms`).
fn selected_name(selector: &str) -> Option<&str> {
    if selector.contains('\\') {
        return None;
    }
    selector.split(',').find_map(|term| {
        let value = term.strip_prefix("metadata.name=")?;
        let value = value.strip_prefix('=').unwrap_or(value);
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
        (!value.is_empty() && value.bytes().all(plain) && !matches!(value, "." | ".."))
            .then_some(value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(method: Method, target: &str) -> Result<String, RequestError> {
        let target = Target::parse(target).unwrap();
        Ok(match RequestInfo::of(method, &target)? {
            RequestInfo::Path => "path".to_owned(),
            RequestInfo::Resource(verb, path) => format!(
                "{} {}/{} ns={} {}/{} name={}",
                verb.as_str(),
                path.group,
                path.version,
                path.namespace,
                path.resource,
                path.subresource,
                path.name
            ),
        })
    }

    #[test]
    fn requests_ask_for_what_the_api_server_says_they_do() {
        use Method::{Delete, Get, Head, Patch, Post, Put};
        for (method, target, expected) in [
            // The table of the API server's own tests, where the forms are still served.
            (Get, "/api/v1/namespaces", "list /v1 ns= namespaces/ name="),
            (
                Get,
                "/api/v1/namespaces/other",
                "get /v1 ns=other namespaces/ name=other",
            ),
            (
                Get,
                "/api/v1/namespaces/other/pods",
                "list /v1 ns=other pods/ name=",
            ),
            (
                Get,
                "/api/v1/namespaces/other/pods/foo",
                "get /v1 ns=other pods/ name=foo",
            ),
            (
                Head,
                "/api/v1/namespaces/other/pods/foo",
                "get /v1 ns=other pods/ name=foo",
            ),
            (Get, "/api/v1/pods", "list /v1 ns= pods/ name="),
            (Head, "/api/v1/pods", "list /v1 ns= pods/ name="),
            (Post, "/api/v1/pods", "create /v1 ns= pods/ name="),
            (
                Put,
                "/api/v1/namespaces/other/pods/foo",
                "update /v1 ns=other pods/ name=foo",
            ),
            (
                Patch,
                "/api/v1/namespaces/other/pods/foo",
                "patch /v1 ns=other pods/ name=foo",
            ),
            (
                Delete,
                "/api/v1/namespaces/other/pods/foo",
                "delete /v1 ns=other pods/ name=foo",
            ),
            (
                Delete,
                "/api/v1/namespaces/other/pods",
                "deletecollection /v1 ns=other pods/ name=",
            ),
            (
                Get,
                "/api/v1/namespaces/other/pods/foo/log",
                "get /v1 ns=other pods/log name=foo",
            ),
            (
                Post,
                "/api/v1/namespaces/other/pods/foo/exec",
                "create /v1 ns=other pods/exec name=foo",
            ),
            (
                Put,
                "/api/v1/namespaces/other/finalize",
                "update /v1 ns=other namespaces/finalize name=other",
            ),
            (
                Put,
                "/api/v1/namespaces/other/status",
                "update /v1 ns=other namespaces/status name=other",
            ),
            (
                Get,
                "/api/v1/watch/namespaces/other/pods",
                "watch /v1 ns=other pods/ name=",
            ),
            (
                Get,
                "/api/v1/watch/namespaces/other/pods/foo",
                "watch /v1 ns=other pods/ name=foo",
            ),
            (
                Get,
                "/api/v1/namespaces/other/pods?watch=1",
                "watch /v1 ns=other pods/ name=",
            ),
            (Get, "/api/v1/pods?watch=TRUE", "watch /v1 ns= pods/ name="),
            (Get, "/api/v1/pods?watch=false", "list /v1 ns= pods/ name="),
            (
                Get,
                "/api/v1/secrets?fieldSelector=metadata.name%3Ds",
                "list /v1 ns= secrets/ name=s",
            ),
            (
                Get,
                "/api/v1/secrets?fieldSelector=a%3Db,metadata.name%3D%3Ds",
                "list /v1 ns= secrets/ name=s",
            ),
            (
                Get,
                "/api/v1/secrets?fieldSelector=type!%3Dx%5C,metadata.name%3Ds",
                "list /v1 ns= secrets/ name=",
            ),
            (
                Get,
                "/api/v1/secrets?fieldSelector=metadata.name!%3Ds",
                "list /v1 ns= secrets/ name=",
            ),
            (
                Get,
                "/apis/apps/v1/namespaces/x/deployments/d/scale",
                "get apps/v1 ns=x deployments/scale name=d",
            ),
            (
                Get,
                "/api/v1/nodes/n/proxy/configz",
                "get /v1 ns= nodes/proxy name=n",
            ),
            (Get, "/", "path"),
            (Get, "/api", "path"),
            (Get, "/api/v1", "path"),
            (Get, "/apis/apps/v1", "path"),
            (Get, "/version", "path"),
            (Get, "/API/v1/secrets", "path"),
            (Post, "/healthz/ping", "path"),
        ] {
            assert_eq!(info(method, target).as_deref(), Ok(expected), "{target}");
        }
    }

    #[test]
    fn requests_without_a_meaning_are_refused() {
        for (method, target, error) in [
            (Method::Get, "/api/v1/watch", RequestError::NoResource),
            (
                Method::Get,
                "/api/v1/proxy/nodes/n",
                RequestError::ProxyVerb,
            ),
            (
                Method::Get,
                "/apis/apps/v1/proxy/x",
                RequestError::ProxyVerb,
            ),
            (Method::Post, "/api/v1/watch/pods", RequestError::Method),
            (Method::Put, "/api/v1/pods", RequestError::Method),
            (Method::Patch, "/api/v1/pods", RequestError::Method),
            (
                Method::Post,
                "/api/v1/namespaces/x/pods/p",
                RequestError::Method,
            ),
            (Method::Get, "/api/v1/pods?watch=", RequestError::Watch),
            (Method::Get, "/api/v1/pods?watch=yes", RequestError::Watch),
            (
                Method::Get,
                "/api/v1/namespaces/x/pods/p/log/more",
                RequestError::TooDeep,
            ),
        ] {
            assert_eq!(info(method, target), Err(error), "{target}");
        }
    }
}
