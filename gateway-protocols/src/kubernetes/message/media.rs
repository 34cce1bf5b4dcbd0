//! Media types: answers and bodies are JSON, whatever else a client would take or send.

/// What a body is, by its content type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyType {
    /// A whole object.
    Object,
    /// A whole object in protobuf: taken where [`protobuf`](super::protobuf) knows its kind, and
    /// forwarded in JSON.
    Protobuf,
    /// RFC 7386.
    MergePatch,
    /// Kubernetes' own merge patch.
    StrategicMergePatch,
    /// RFC 6902.
    JsonPatch,
    /// Server-side apply. Its type says YAML; taken where the body is JSON, which is YAML, too.
    Apply,
}

impl BodyType {
    /// The type of a `content-type` field's value; `None` for what isn't taken.
    #[must_use]
    pub fn parse(value: &str) -> Option<Self> {
        let (media, parameters) = split(value);
        let utf8 = parameters.iter().all(|(name, value)| {
            name == "charset" && value.trim_matches('"').eq_ignore_ascii_case("utf-8")
        });
        match media.as_str() {
            _ if !utf8 => None,
            "application/json" => Some(Self::Object),
            "application/vnd.kubernetes.protobuf" => Some(Self::Protobuf),
            "application/merge-patch+json" => Some(Self::MergePatch),
            "application/strategic-merge-patch+json" => Some(Self::StrategicMergePatch),
            "application/json-patch+json" => Some(Self::JsonPatch),
            "application/apply-patch+yaml" => Some(Self::Apply),
            _ => None,
        }
    }

    /// The content type that it is forwarded with.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Object | Self::Protobuf => "application/json",
            Self::MergePatch => "application/merge-patch+json",
            Self::StrategicMergePatch => "application/strategic-merge-patch+json",
            Self::JsonPatch => "application/json-patch+json",
            Self::Apply => "application/apply-patch+yaml",
        }
    }
}

/// Forms of a JSON answer that may be asked for (Kubernetes 1.32, "Kubernetes API Concepts",
/// "Alternate representations of resources").
const FORMS: &[&str] = &[
    "Table",
    "PartialObjectMetadata",
    "PartialObjectMetadataList",
    "APIGroupDiscoveryList",
];

/// The `accept` to send in the place of `values`: their JSON variants in order, without
/// preferences; `None` when nothing is left. Plain JSON only, unless `forms` are allowed.
#[must_use]
pub fn accept<'a>(values: impl Iterator<Item = &'a str>, forms: bool) -> Option<String> {
    let mut kept: Vec<String> = Vec::new();
    let mut asked = false;
    for range in values.flat_map(|value| value.split(',')) {
        if range.trim().is_empty() {
            continue;
        }
        asked = true;
        if let Some(range) = json_range(range, forms)
            && !kept.contains(&range)
        {
            kept.push(range);
        }
    }
    match (asked, kept.is_empty()) {
        (false, _) => Some("application/json".to_owned()),
        (true, true) => None,
        (true, false) => Some(kept.join(",")),
    }
}

fn json_range(range: &str, forms: bool) -> Option<String> {
    let (media, parameters) = split(range);
    if !matches!(media.as_str(), "application/json" | "application/*" | "*/*") {
        return None;
    }
    let mut form: [Option<&str>; 3] = [None; 3];
    for (name, value) in &parameters {
        let place = match name.as_str() {
            "as" => 0,
            "g" => 1,
            "v" => 2,
            // Preferences and charsets: order says enough, and JSON is UTF-8.
            "q" | "charset" | "pretty" => continue,
            _ => return None,
        };
        if let Some(place) = form.get_mut(place) {
            *place = Some(value);
        }
    }
    let plain = |text: &str| {
        text.bytes()
            .all(|b| b.is_ascii_alphanumeric() || b".-".contains(&b))
    };
    match form {
        [None, None, None] => Some("application/json".to_owned()),
        [Some(kind), Some(group), Some(version)]
            if forms && FORMS.contains(&kind) && plain(group) && plain(version) =>
        {
            Some(format!("application/json;as={kind};v={version};g={group}"))
        }
        _ => None,
    }
}

/// Whether an answer's content type is JSON.
#[must_use]
pub fn is_json(value: &str) -> bool {
    split(value).0 == "application/json"
}

/// Whether an answer's content type is plain text.
#[must_use]
pub fn is_text(value: &str) -> bool {
    split(value).0 == "text/plain"
}

/// Type and parameters, in lower case but for the values.
fn split(value: &str) -> (String, Vec<(String, String)>) {
    let mut parts = value.split(';');
    let media = parts.next().unwrap_or_default().trim().to_ascii_lowercase();
    let parameters = parts
        .filter(|part| !part.trim().is_empty())
        .map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            (name.trim().to_ascii_lowercase(), value.trim().to_owned())
        })
        .collect();
    (media, parameters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_json_is_asked_for() {
        for (value, expected) in [
            ("", Some("application/json")),
            ("*/*", Some("application/json")),
            ("application/json, */*", Some("application/json")),
            ("application/vnd.kubernetes.protobuf", None),
            ("application/yaml", None),
            ("application/cbor", None),
            (
                "application/vnd.kubernetes.protobuf,application/json;q=0.5",
                Some("application/json"),
            ),
            ("application/json;stream=watch", None),
            (
                "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json",
                Some(
                    "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json",
                ),
            ),
            (
                "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json",
                Some(
                    "application/json;as=APIGroupDiscoveryList;v=v2;g=apidiscovery.k8s.io,application/json",
                ),
            ),
            ("application/json;as=Other;v=v1;g=x", None),
        ] {
            assert_eq!(
                accept([value].into_iter(), true).as_deref(),
                expected,
                "{value}"
            );
        }
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
        let plain = accept([table].into_iter(), false);
        assert_eq!(plain.as_deref(), Some("application/json"));
    }

    #[test]
    fn bodies_are_json_by_their_type() {
        for (value, expected) in [
            ("application/json", Some(BodyType::Object)),
            ("Application/JSON; charset=UTF-8", Some(BodyType::Object)),
            ("application/json; charset=utf-7", None),
            ("application/merge-patch+json", Some(BodyType::MergePatch)),
            ("application/apply-patch+yaml", Some(BodyType::Apply)),
            ("application/yaml", None),
            ("application/apply-patch+cbor", None),
            (
                "application/vnd.kubernetes.protobuf",
                Some(BodyType::Protobuf),
            ),
            ("text/plain", None),
        ] {
            assert_eq!(BodyType::parse(value), expected, "{value}");
        }
    }
}
