//! Effects in words for agents and reviewers: names, never values.

use gateway_core::{
    decision::Request,
    operation::{Effect, Object},
};

/// Effects spelled out in one message, at most.
const LISTED_MAX: usize = 8;

/// `sql.drop on public.orders of shop`.
pub(super) fn effect(effect: &Effect, request: &Request<'_>) -> String {
    let target = request.target.name.as_str();
    let action = effect.action.as_str();
    match &effect.object {
        Object::Target => format!("{action} on {target}"),
        Object::Database => {
            format!(
                "{action} on database {} of {target}",
                printable(&request.facts.database)
            )
        }
        Object::Schema { schema } => {
            format!("{action} on schema {} of {target}", printable(schema))
        }
        Object::Relation { schema, name } => {
            format!(
                "{action} on {}.{} of {target}",
                printable(schema),
                printable(name)
            )
        }
        Object::Function { schema, name } => {
            format!(
                "{action} on function {}.{} of {target}",
                printable(schema),
                printable(name)
            )
        }
        Object::Setting { name } => format!("{action} on setting {} of {target}", printable(name)),
        Object::Path { path } | Object::ApiPath { path } => {
            format!("{action} on {} of {target}", printable(path))
        }
        Object::Resource {
            group,
            resource,
            subresource,
            namespace,
            name,
        } => {
            let mut words = format!("{action} on {resource}");
            for (before, part) in [
                (".", group),
                ("/", subresource),
                (" ", name),
                (" in namespace ", namespace),
            ] {
                if !part.is_empty() {
                    words.push_str(before);
                    words.push_str(part);
                }
            }
            format!("{} of {target}", printable(&words))
        }
    }
}

/// Effects, separated by semicolons.
pub(super) fn list<'a>(
    effects: impl IntoIterator<Item = &'a Effect>,
    request: &Request<'_>,
) -> String {
    let mut effects = effects.into_iter();
    let listed: Vec<_> = effects
        .by_ref()
        .take(LISTED_MAX)
        .map(|e| effect(e, request))
        .collect();
    let more = effects.count();
    let tail = if more == 0 {
        String::new()
    } else {
        format!("; and {more} more")
    };
    format!("{}{tail}", listed.join("; "))
}

/// What a hold says when no rule has a message.
pub(super) fn held(effects: &[Effect], request: &Request<'_>) -> String {
    format!("needs approval: {}", list(effects, request))
}

/// Names can hold anything: control characters are shown escaped.
fn printable(name: &str) -> String {
    name.chars()
        .flat_map(|c| {
            let escaped = c.is_control().then(|| c.escape_default());
            let plain = escaped.is_none().then_some(c);
            escaped.into_iter().flatten().chain(plain)
        })
        .collect()
}
