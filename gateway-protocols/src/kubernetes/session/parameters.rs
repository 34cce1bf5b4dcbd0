//! Query parameters: those that are known for what is asked, and nothing else.

use super::call::Kind;
use crate::kubernetes::{
    message::{Target, Verb, request},
    reply::Refusal,
};

/// Parameters of every request, and of those of one kind.
const COMMON: &[&str] = &["pretty", "timeout"];
const GET: &[&str] = &["resourceVersion", "includeObject"];
const LIST: &[&str] = &[
    "watch",
    "limit",
    "continue",
    "labelSelector",
    "fieldSelector",
    "resourceVersion",
    "resourceVersionMatch",
    "timeoutSeconds",
    "allowWatchBookmarks",
    "sendInitialEvents",
    "includeObject",
];
const WRITE: &[&str] = &["dryRun", "fieldManager", "fieldValidation"];
const PATCH: &[&str] = &["dryRun", "fieldManager", "fieldValidation", "force"];
pub(super) const DELETE: &[&str] = &[
    "dryRun",
    "gracePeriodSeconds",
    "propagationPolicy",
    "orphanDependents",
];
const LOGS: &[&str] = &[
    "container",
    "follow",
    "previous",
    "sinceSeconds",
    "sinceTime",
    "timestamps",
    "tailLines",
    "limitBytes",
];
const EXEC: &[&str] = &["command", "container", "stdin", "stdout", "stderr", "tty"];
const PATH: &[&str] = &["verbose", "exclude", "hash"];
/// Parameters that are true or false.
const BOOLEANS: &[&str] = &[
    "watch",
    "allowWatchBookmarks",
    "sendInitialEvents",
    "force",
    "orphanDependents",
    "follow",
    "previous",
    "timestamps",
    "stdin",
    "stdout",
    "stderr",
    "tty",
];

/// Known parameters only, and booleans in one spelling.
pub(super) fn check(target: &mut Target, kind: &Kind) -> Result<(), Refusal> {
    let known: &[&[&str]] = match kind {
        Kind::Path => &[PATH],
        Kind::Logs(_) => &[LOGS],
        Kind::Exec(..) => &[EXEC],
        Kind::Resource(verb, _) => match verb {
            Verb::Get => &[GET],
            Verb::List | Verb::Watch => &[LIST],
            Verb::Create | Verb::Update => &[WRITE],
            Verb::Patch => &[PATCH],
            Verb::Delete => &[DELETE],
            Verb::DeleteCollection => &[DELETE, LIST],
        },
    };
    let is_known =
        |name: &str| COMMON.contains(&name) || known.iter().any(|names| names.contains(&name));
    if let Some((name, _)) = target.parameters().iter().find(|(name, _)| !is_known(name)) {
        let name: String = name
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .take(40)
            .collect();
        return Err(Refusal::new(
            400,
            format!("the gateway doesn't know the query parameter `{name}` here"),
        ));
    }
    // Changes nothing but white space, and a watch's events are told apart by lines.
    target.set_parameter("pretty", None);
    for name in BOOLEANS {
        let value = match target
            .parameter(name)
            .map(str::to_ascii_lowercase)
            .as_deref()
        {
            None => continue,
            Some("true" | "1") => "true",
            Some("false" | "0") => "false",
            Some(_) => {
                return Err(Refusal::new(
                    400,
                    format!("`{name}` is neither true nor false"),
                ));
            }
        };
        target.set_parameter(name, Some(value));
    }
    // A delete of a collection doesn't watch.
    if matches!(kind, Kind::Resource(Verb::DeleteCollection, _))
        && request::watch(target).ok() != Some(false)
    {
        return Err(Refusal::new(400, "a delete doesn't watch"));
    }
    Ok(())
}
