//! Masks in answers: classified fields of objects, wherever an answer shows them.
//!
//! An object is found as itself, as an item of a list, in the row of a table and in the event of a
//! watch; its fields also stand a second time in the annotation that `kubectl apply` leaves. Whose
//! fields they are is told by the object's kind and by the resource that was asked for: what either
//! of them covers is masked.

#[cfg(test)]
mod tests;

use bytes::Bytes;
use gateway_core::mask::{ClassifiedField, FieldStep, MaskCount};

use super::message::json::{Json, JsonError, Names};

/// What stands in the place of a masked string.
pub const MARKER: &str = "**masked by the gateway**";
/// The same in the form of a Secret's `data`: base64.
pub const MARKER_DATA: &str = "KiptYXNrZWQgYnkgdGhlIGdhdGV3YXkqKg==";
/// The whole object as it was applied, in JSON (Kubernetes 1.32, "Declarative Management of
/// Kubernetes Objects Using Configuration Files").
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Why an answer can't be masked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MaskError {
    /// It isn't JSON of one reading.
    #[error("the answer can't be read: {0}")]
    Unreadable(#[from] JsonError),
    /// It isn't an object of the API.
    #[error("the answer is no object of the API")]
    NoObject,
    /// Cells of a table may hold any field.
    #[error("a table may show what is to be masked")]
    Table,
}

/// Whether a string that an agent sends is, or holds, a marker: written back it would replace the
/// value that it stands for.
#[must_use]
pub fn holds_marker(text: &str) -> bool {
    text.contains(MARKER) || text.contains(MARKER_DATA)
}

/// The resource that a request asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// API group; empty for the core group.
    pub group: String,
    /// Plural resource; empty where a path names none.
    pub resource: String,
}

/// The masks of one answer.
#[derive(Debug)]
pub struct Masks {
    fields: Vec<ClassifiedField>,
    counts: Vec<(u64, u64)>,
    asked: Asked,
}

/// What an object is, as far as it says so itself.
#[derive(Clone, Copy, Default)]
struct Kind<'a> {
    group: &'a str,
    kind: &'a str,
}

impl Masks {
    /// Masks for these fields in answers to a request of this resource.
    #[must_use]
    pub fn new(fields: Vec<ClassifiedField>, asked: Asked) -> Self {
        let counts = vec![(0, 0); fields.len()];
        Self {
            fields,
            counts,
            asked,
        }
    }

    /// Whether there is nothing to mask.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Whether tables may be asked for: their cells show nothing that is to be masked. Those of
    /// Secrets show how many values there are.
    #[must_use]
    pub fn allows_tables(&self) -> bool {
        !self
            .fields
            .iter()
            .any(|field| self.is_asked(field) && !is_secret_payload(field))
    }

    /// Masks a whole answer.
    ///
    /// # Errors
    /// [`MaskError`]; nothing of the answer may be delivered then.
    pub fn answer(&mut self, body: &[u8]) -> Result<Bytes, MaskError> {
        let mut json = Json::parse(body, Names::Exact)?;
        self.any(&mut json)?;
        Ok(json.to_string().into())
    }

    /// Masks one line of a watch (Kubernetes 1.32, API reference, "WatchEvent"), without its end.
    ///
    /// # Errors
    /// As [`Masks::answer`].
    pub fn event(&mut self, line: &[u8]) -> Result<Bytes, MaskError> {
        let mut json = Json::parse(line, Names::Exact)?;
        let members = match &mut json {
            Json::Object(members) => members,
            _ => return Err(MaskError::NoObject),
        };
        for (name, value) in members {
            match name.as_str() {
                "type" => {}
                "object" => self.any(value)?,
                _ => return Err(MaskError::NoObject),
            }
        }
        Ok(json.to_string().into())
    }

    /// How often each field was masked.
    #[must_use]
    pub fn counts(&self) -> Vec<MaskCount> {
        self.fields
            .iter()
            .zip(&self.counts)
            .filter(|(_, (seen, _))| *seen > 0)
            .map(|(field, (seen, masked))| MaskCount {
                column: field.name(),
                class: field.class.clone(),
                method: "redact",
                seen: *seen,
                masked: *masked,
            })
            .collect()
    }

    fn any(&mut self, json: &mut Json) -> Result<(), MaskError> {
        let Some(_) = json.as_object() else {
            return Err(MaskError::NoObject);
        };
        let version = json
            .get("apiVersion")
            .and_then(Json::as_str)
            .unwrap_or_default();
        let group = group_of(version).to_owned();
        let kind = json
            .get("kind")
            .and_then(Json::as_str)
            .unwrap_or_default()
            .to_owned();
        if kind == "Status"
            && group.is_empty()
            && json
                .get("status")
                .is_some_and(|status| status.as_str().is_some())
        {
            self.status(json);
            return Ok(());
        }
        if kind == "Table" && group == "meta.k8s.io" {
            return self.table(json);
        }
        // What has items is a list, and may be an object of its own as well.
        if json.get("items").is_some() {
            let item_kind = kind.strip_suffix("List").unwrap_or_default();
            let fallback = Kind {
                group: &group,
                kind: item_kind,
            };
            self.list(json, fallback)?;
        }
        let own = Kind {
            group: &group,
            kind: &kind,
        };
        self.object(json, own);
        Ok(())
    }

    fn list(&mut self, json: &mut Json, fallback: Kind<'_>) -> Result<(), MaskError> {
        let items = match json.get_mut("items") {
            Some(Json::Array(items)) => items,
            Some(Json::Null) => return Ok(()),
            _ => return Err(MaskError::NoObject),
        };
        items
            .iter_mut()
            .try_for_each(|item| self.nested(item, fallback))
    }

    fn table(&mut self, json: &mut Json) -> Result<(), MaskError> {
        if !self.allows_tables() {
            return Err(MaskError::Table);
        }
        let rows = match json.get_mut("rows") {
            Some(Json::Array(rows)) => rows,
            None | Some(Json::Null) => return Ok(()),
            Some(_) => return Err(MaskError::NoObject),
        };
        for row in rows {
            match row.get_mut("object") {
                None | Some(Json::Null) => {}
                Some(object) => self.nested(object, Kind::default())?,
            }
        }
        Ok(())
    }

    /// An object inside of an answer; items of typed lists don't say what they are.
    fn nested(&mut self, json: &mut Json, fallback: Kind<'_>) -> Result<(), MaskError> {
        if json.as_object().is_none() {
            return Err(MaskError::NoObject);
        }
        let version = json.get("apiVersion").and_then(Json::as_str);
        let group = version.map_or(fallback.group, group_of).to_owned();
        let kind = json
            .get("kind")
            .and_then(Json::as_str)
            .unwrap_or(fallback.kind)
            .to_owned();
        if json
            .get("items")
            .is_some_and(|items| items.as_array().is_some())
        {
            return self.any(json);
        }
        let own = Kind {
            group: &group,
            kind: &kind,
        };
        self.object(json, own);
        Ok(())
    }

    fn object(&mut self, json: &mut Json, own: Kind<'_>) {
        let covers: Vec<bool> = self
            .fields
            .iter()
            .map(|field| self.is_asked(field) || is_kind(field, own))
            .collect();
        if !covers.contains(&true) {
            return;
        }
        for ((field, count), _) in self
            .fields
            .iter()
            .zip(&mut self.counts)
            .zip(&covers)
            .filter(|(_, covers)| **covers)
        {
            mask_at(json, &field.path, is_secret_data(field), count);
        }
        self.last_applied(json, own);
        // Who manages a set names its elements.
        let payload =
            |(field, covers): (&ClassifiedField, &bool)| !covers || is_secret_payload(field);
        if !self.fields.iter().zip(&covers).all(payload)
            && let Some(managed) = json
                .get_mut("metadata")
                .and_then(|metadata| metadata.get_mut("managedFields"))
        {
            *managed = Json::Array(Vec::new());
        }
    }

    fn last_applied(&mut self, json: &mut Json, own: Kind<'_>) {
        let metadata = json.get_mut("metadata");
        let annotations = metadata.and_then(|metadata| metadata.get_mut("annotations"));
        let Some(applied) = annotations.and_then(|annotations| annotations.get_mut(LAST_APPLIED))
        else {
            return;
        };
        let inner = applied
            .as_str()
            .and_then(|text| Json::parse(text.as_bytes(), Names::Exact).ok())
            .filter(|inner| inner.as_object().is_some());
        let Some(mut inner) = inner else {
            *applied = Json::String(MARKER.to_owned());
            return;
        };
        // Its own annotation would be a third copy; `kubectl` never leaves one there.
        let nested = inner
            .get_mut("metadata")
            .and_then(|metadata| metadata.get_mut("annotations"))
            .and_then(|annotations| annotations.get_mut(LAST_APPLIED));
        if let Some(nested) = nested {
            *nested = Json::String(MARKER.to_owned());
        }
        for (field, count) in self.fields.iter().zip(&mut self.counts) {
            let asked = field.group == self.asked.group && field.resource == self.asked.resource;
            if asked || is_kind(field, own) {
                mask_at(&mut inner, &field.path, is_secret_data(field), count);
            }
        }
        *applied = Json::String(inner.to_string());
    }

    /// Errors echo what they complain about (422), and so may admission webhooks.
    fn status(&self, json: &mut Json) {
        if !self.fields.iter().any(|field| self.is_asked(field)) {
            return;
        }
        let failed = json.get("status").and_then(Json::as_str) == Some("Failure");
        if !failed {
            return;
        }
        let code = match json.get("code") {
            Some(Json::Number(code)) => code.as_u64(),
            _ => None,
        };
        let message = json
            .get("message")
            .and_then(Json::as_str)
            .unwrap_or_default();
        // These name objects, subjects and versions only; what admission says, webhooks choose.
        let plain = match code {
            Some(401 | 404 | 409 | 410 | 429) => true,
            Some(403) => message.contains(" is forbidden: User \""),
            _ => false,
        } && !message.to_ascii_lowercase().contains("admission");
        if plain {
            return;
        }
        if let Some(message) = json.get_mut("message") {
            *message = Json::String(
                "the server refused the request; its words may hold masked values and are withheld"
                    .to_owned(),
            );
        }
        let causes = json
            .get_mut("details")
            .and_then(|details| details.get_mut("causes"));
        if let Some(Json::Array(causes)) = causes {
            for cause in causes {
                if let Some(message) = cause.get_mut("message") {
                    *message = Json::String(MARKER.to_owned());
                }
            }
        }
    }

    fn is_asked(&self, field: &ClassifiedField) -> bool {
        field.group == self.asked.group && field.resource == self.asked.resource
    }
}

fn is_secret_payload(field: &ClassifiedField) -> bool {
    let first = field.path.first();
    field.group.is_empty()
        && field.resource == "secrets"
        && matches!(first, Some(FieldStep::Key(key)) if key == "data" || key == "stringData")
}

fn is_secret_data(field: &ClassifiedField) -> bool {
    let first = field.path.first();
    is_secret_payload(field) && matches!(first, Some(FieldStep::Key(key)) if key == "data")
}

/// The group of an `apiVersion`.
#[must_use]
pub fn group_of(version: &str) -> &str {
    version.split_once('/').map_or("", |(group, _)| group)
}

/// Whether objects of a kind may be those of a resource: its plural, by any of English's rules.
#[must_use]
pub fn is_plural(resource: &str, kind: &str) -> bool {
    let kind = kind.to_ascii_lowercase();
    if kind.is_empty() {
        return false;
    }
    match resource.strip_prefix(kind.as_str()) {
        Some("" | "s" | "es") => true,
        Some(_) | None => kind
            .strip_suffix('y')
            .and_then(|stem| resource.strip_prefix(stem))
            .is_some_and(|rest| rest == "ies"),
    }
}

fn is_kind(field: &ClassifiedField, own: Kind<'_>) -> bool {
    field.group == own.group && is_plural(&field.resource, own.kind)
}

/// Masks everything at a path. Where the value is a scalar before the path ends, it is masked: it
/// isn't what the classification expects there.
fn mask_at(json: &mut Json, path: &[FieldStep], encoded: bool, count: &mut (u64, u64)) {
    let Some((step, rest)) = path.split_first() else {
        return mask_all(json, encoded, count);
    };
    match (json, step) {
        (Json::Object(members), FieldStep::Each) => {
            for (_, value) in members {
                mask_at(value, rest, encoded, count);
            }
        }
        (Json::Array(elements), FieldStep::Each) => {
            for element in elements {
                mask_at(element, rest, encoded, count);
            }
        }
        (Json::Object(members), FieldStep::Key(key)) => {
            for (_, value) in members.iter_mut().filter(|(name, _)| name == key) {
                mask_at(value, rest, encoded, count);
            }
        }
        // A list where one object was expected: every one of them.
        (Json::Array(elements), FieldStep::Key(_)) => {
            for element in elements {
                mask_at(element, path, encoded, count);
            }
        }
        (scalar, _) => mask_all(scalar, encoded, count),
    }
}

fn mask_all(json: &mut Json, encoded: bool, count: &mut (u64, u64)) {
    match json {
        Json::Object(members) => {
            for (_, value) in members {
                mask_all(value, encoded, count);
            }
        }
        Json::Array(elements) => {
            for element in elements {
                mask_all(element, encoded, count);
            }
        }
        Json::Null => count.0 += 1,
        Json::String(text) => {
            let marker = if encoded { MARKER_DATA } else { MARKER };
            marker.clone_into(text);
            count.0 += 1;
            count.1 += 1;
        }
        Json::Bool(_) | Json::Number(_) => {
            *json = Json::Null;
            count.0 += 1;
            count.1 += 1;
        }
    }
}
