//! The patches of the API server of the tests.

use serde_json::Value;

/// The object after a patch of this content type, or why there is none.
pub(crate) fn apply(
    content_type: &str,
    mut object: Value,
    patch: &Value,
) -> Result<Value, &'static str> {
    match content_type {
        "application/json-patch+json" => {
            for step in patch.as_array().ok_or("a JSON patch is a list")? {
                json_patch(&mut object, step)?;
            }
        }
        // Lists are replaced: what strategic merge does beyond is the real server's affair.
        "application/merge-patch+json"
        | "application/strategic-merge-patch+json"
        | "application/apply-patch+yaml" => merge(&mut object, patch),
        _ => return Err("there is no such patch"),
    }
    Ok(object)
}

/// RFC 7396, section 2 "Processing Merge Patch Documents".
fn merge(target: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    for (key, value) in patch {
        // Directives of strategic merge patches.
        if key.starts_with('$') {
            continue;
        }
        if value.is_null() {
            target.as_object_mut().unwrap().remove(key);
        } else {
            merge(&mut target[key], value);
        }
    }
}

/// One operation of RFC 6902 on objects.
fn json_patch(object: &mut Value, step: &Value) -> Result<(), &'static str> {
    let text = |name: &str| step[name].as_str().ok_or("a step lacks a member");
    let path = text("path")?;
    let value = match text("op")? {
        "test" => {
            let same = object.pointer(path) == Some(&step["value"]);
            return same.then_some(()).ok_or("the test failed");
        }
        "remove" => None,
        "copy" => Some(
            object
                .pointer(text("from")?)
                .cloned()
                .ok_or("nothing to copy")?,
        ),
        "add" | "replace" => Some(step["value"].clone()),
        _ => return Err("there is no such step"),
    };
    let (parent, key) = path.rsplit_once('/').ok_or("the path is the document")?;
    let key = key.replace("~1", "/").replace("~0", "~");
    let parent = object
        .pointer_mut(parent)
        .and_then(Value::as_object_mut)
        .ok_or("no such object")?;
    match value {
        Some(value) => parent.insert(key, value),
        None => parent.remove(&key),
    };
    Ok(())
}
