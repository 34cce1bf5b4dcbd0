//! In which form objects are answered: whole, as a table, or their metadata alone.

use serde_json::{Value, json};

/// The form that a request accepts first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Whole,
    Table { whole: bool },
    Metadata,
}

impl Form {
    /// `None` when nothing that is accepted is JSON.
    pub(crate) fn of(accept: &str, include_object: Option<&str>) -> Option<Self> {
        accept.split(',').map(str::trim).find_map(|range| {
            let mut parts = range.split(';').map(str::trim);
            let is_json = matches!(parts.next(), Some("application/json" | "*/*" | ""));
            let form = parts.find_map(|part| part.strip_prefix("as="));
            match form.filter(|_| is_json) {
                Some("Table") => Some(Self::Table {
                    whole: include_object == Some("Object"),
                }),
                Some("PartialObjectMetadata" | "PartialObjectMetadataList") => Some(Self::Metadata),
                Some(_) => None,
                None => is_json.then_some(Self::Whole),
            }
        })
    }

    /// One object in this form.
    pub(crate) fn one(self, object: &Value) -> Value {
        match self {
            Self::Whole => object.clone(),
            Self::Metadata => metadata(object),
            Self::Table { whole } => table(std::slice::from_ref(object), whole, &json!({})),
        }
    }

    /// A list in this form.
    pub(crate) fn list(
        self,
        kind: &str,
        api_version: &str,
        items: &[Value],
        version: u64,
    ) -> Value {
        let list_metadata = json!({"resourceVersion": version.to_string()});
        match self {
            Self::Whole => json!({
                "kind": format!("{kind}List"), "apiVersion": api_version,
                "metadata": list_metadata, "items": items,
            }),
            Self::Metadata => json!({
                "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
                "metadata": list_metadata,
                "items": items.iter().map(metadata).collect::<Vec<_>>(),
            }),
            Self::Table { whole } => table(items, whole, &list_metadata),
        }
    }
}

fn metadata(object: &Value) -> Value {
    json!({
        "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
        "metadata": object["metadata"],
    })
}

fn table(objects: &[Value], whole: bool, list_metadata: &Value) -> Value {
    let column = |name: &str| json!({"name": name, "type": "string", "format": "", "description": name, "priority": 0});
    let secrets = objects.iter().any(|object| object["kind"] == "Secret");
    let mut columns = vec![
        json!({"name": "Name", "type": "string", "format": "name", "description": "", "priority": 0}),
    ];
    if secrets {
        columns.extend([column("Type"), column("Data")]);
    }
    let rows: Vec<Value> = objects
        .iter()
        .map(|object| {
            let mut cells = vec![object["metadata"]["name"].clone()];
            if secrets {
                let count = object["data"].as_object().map_or(0, serde_json::Map::len);
                cells.extend([object["type"].clone(), count.to_string().into()]);
            }
            let object = if whole {
                object.clone()
            } else {
                metadata(object)
            };
            json!({"cells": cells, "object": object})
        })
        .collect();
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": list_metadata,
        "columnDefinitions": columns, "rows": rows,
    })
}
