//! The protobuf that is taken: questions about one's own permissions. Clients ask them in nothing
//! else (kubectl 1.32 to 1.36: `kubectl auth can-i`), and they are forwarded in JSON.

use super::Json;

/// What begins every object in protobuf (Kubernetes 1.32, "Kubernetes API Concepts", "Kubernetes
/// Protobuf encoding").
const MAGIC: &[u8] = b"k8s\0";

/// A field of a message, by number: its name in JSON, and what it holds.
type Schema = &'static [(u64, &'static str, Type)];

#[derive(Clone, Copy)]
enum Type {
    Text,
    Message(Schema),
    /// Taken only while there is nothing in it.
    Nothing,
}

/// `runtime.Unknown` (`k8s.io/apimachinery/pkg/runtime`, generated.proto).
const ENVELOPE: Schema = &[
    (1, "type", Type::Message(TYPE_META)),
    (3, "contentEncoding", Type::Nothing),
    (4, "contentType", Type::Nothing),
];
/// The field of [`ENVELOPE`] that holds the object.
const RAW: u64 = 2;
const TYPE_META: Schema = &[(1, "apiVersion", Type::Text), (2, "kind", Type::Text)];

/// `k8s.io/api/authorization/v1`, generated.proto: `SelfSubjectAccessReview`.
const ACCESS_REVIEW: Schema = &[
    (1, "metadata", Type::Nothing),
    (2, "spec", Type::Message(ACCESS_REVIEW_SPEC)),
    (3, "status", Type::Nothing),
];
const ACCESS_REVIEW_SPEC: Schema = &[
    (1, "resourceAttributes", Type::Message(RESOURCE_ATTRIBUTES)),
    (2, "nonResourceAttributes", Type::Message(PATH_ATTRIBUTES)),
];
const RESOURCE_ATTRIBUTES: Schema = &[
    (1, "namespace", Type::Text),
    (2, "verb", Type::Text),
    (3, "group", Type::Text),
    (4, "version", Type::Text),
    (5, "resource", Type::Text),
    (6, "subresource", Type::Text),
    (7, "name", Type::Text),
    (8, "fieldSelector", Type::Nothing),
    (9, "labelSelector", Type::Nothing),
];
const PATH_ATTRIBUTES: Schema = &[(1, "path", Type::Text), (2, "verb", Type::Text)];

/// `SelfSubjectRulesReview`, of the same file.
const RULES_REVIEW: Schema = &[
    (1, "metadata", Type::Nothing),
    (2, "spec", Type::Message(&[(1, "namespace", Type::Text)])),
    (3, "status", Type::Nothing),
];
/// `k8s.io/api/authentication/v1`, generated.proto: `SelfSubjectReview`.
const SUBJECT_REVIEW: Schema = &[(1, "metadata", Type::Nothing), (2, "status", Type::Nothing)];

/// The object in JSON; `None` for every kind that isn't taken, and for what such a kind doesn't
/// have.
#[must_use]
pub fn decode(body: &[u8]) -> Option<Json> {
    let body = body.strip_prefix(MAGIC)?;
    let mut raw = None;
    let mut head = Vec::new();
    for field in Fields(body) {
        match field? {
            (RAW, Value::Bytes(bytes)) if raw.is_none() => raw = Some(bytes),
            (RAW, _) => return None,
            (number, value) => put(ENVELOPE, number, value, &mut head)?,
        }
    }
    let (_, Json::Object(mut members)) = head.pop().filter(|(name, _)| name == "type")? else {
        return None;
    };
    let kind = members.iter().find(|(name, _)| name == "kind")?.1.as_str();
    let schema = match kind? {
        "SelfSubjectAccessReview" => ACCESS_REVIEW,
        "SelfSubjectRulesReview" => RULES_REVIEW,
        "SelfSubjectReview" => SUBJECT_REVIEW,
        _ => return None,
    };
    let Json::Object(object) = message(schema, raw?)? else {
        return None;
    };
    members.extend(object);
    Some(Json::Object(members))
}

/// A message whose every field is known, and comes once.
fn message(schema: Schema, bytes: &[u8]) -> Option<Json> {
    let mut members = Vec::new();
    for field in Fields(bytes) {
        let (number, value) = field?;
        put(schema, number, value, &mut members)?;
    }
    Some(Json::Object(members))
}

fn put(
    schema: Schema,
    number: u64,
    value: Value<'_>,
    members: &mut Vec<(String, Json)>,
) -> Option<()> {
    let (_, name, kind) = schema.iter().find(|(known, ..)| *known == number)?;
    let value = match (kind, value) {
        (Type::Nothing, value) => return value.is_nothing().then_some(()),
        (Type::Text, Value::Bytes(bytes)) => {
            Json::String(std::str::from_utf8(bytes).ok()?.to_owned())
        }
        (Type::Message(schema), Value::Bytes(bytes)) => message(schema, bytes)?,
        (Type::Text | Type::Message(_), Value::Number(_)) => return None,
    };
    if members.iter().any(|(known, _)| known == name) {
        return None;
    }
    // What is empty is absent: writers of protobuf don't tell them apart.
    if value.as_str() != Some("") {
        members.push(((*name).to_owned(), value));
    }
    Some(())
}

/// A field's value (Protocol Buffers, "Encoding", "Message Structure"): the two wire types that
/// occur.
enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl Value<'_> {
    /// Zero, empty, or a message of nothing but such: one level is all there is.
    fn is_nothing(&self) -> bool {
        match self {
            Self::Number(number) => *number == 0,
            Self::Bytes(bytes) => Fields(bytes)
                .all(|field| matches!(field, Some((_, Value::Number(0) | Value::Bytes([]))))),
        }
    }
}

/// The fields of a message; `None` as an item where it isn't one.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Option<(u64, Value<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field)
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Option<(u64, Value<'a>)> {
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Value::Number(self.varint()?),
            2 => {
                let len = usize::try_from(self.varint()?).ok()?;
                let (bytes, rest) = self.0.split_at_checked(len)?;
                self.0 = rest;
                Value::Bytes(bytes)
            }
            _ => return None,
        };
        Some((tag >> 3, value))
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            let bits = u64::from(byte & 0x7f);
            value |= bits.checked_shl(shift).filter(|v| v >> shift == bits)?;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let len = u8::try_from(bytes.len()).unwrap();
        assert!(len < 128);
        [&[number << 3 | 2, len], bytes].concat()
    }

    fn object(kind: &str, raw: &[u8]) -> Vec<u8> {
        let meta = [
            field(1, b"authorization.k8s.io/v1"),
            field(2, kind.as_bytes()),
        ];
        let envelope = [
            field(1, &meta.concat()),
            field(2, raw),
            field(3, b""),
            field(4, b""),
        ];
        [MAGIC, &envelope.concat()].concat()
    }

    /// As kubectl writes it, with the empty fields that its generated code always has.
    fn review() -> Vec<u8> {
        let metadata = [field(1, b""), field(2, b""), vec![7 << 3, 0], field(8, b"")].concat();
        let attributes = [
            field(1, b"shop"),
            field(2, b"get"),
            field(3, b""),
            field(5, b"pods"),
        ];
        let spec = field(1, &attributes.concat());
        let status = [vec![1 << 3, 0], field(2, b"")].concat();
        let raw = [field(1, &metadata), field(2, &spec), field(3, &status)].concat();
        object("SelfSubjectAccessReview", &raw)
    }

    #[test]
    fn a_review_is_the_same_in_json() {
        let json = decode(&review()).unwrap().to_string();
        assert_eq!(
            json,
            r#"{"apiVersion":"authorization.k8s.io/v1","kind":"SelfSubjectAccessReview","spec":{"resourceAttributes":{"namespace":"shop","verb":"get","resource":"pods"}}}"#
        );
    }

    #[test]
    fn what_is_no_review_to_its_last_field_is_not_taken() {
        let attributes = |more: &[u8]| {
            let spec = field(1, &[&field(2, b"get"), more].concat());
            object("SelfSubjectAccessReview", &field(2, &spec))
        };
        let cases: &[(&str, Vec<u8>)] = &[
            ("no magic", b"{}".to_vec()),
            ("another kind", object("Secret", b"")),
            ("no kind", [MAGIC, &field(2, b"")].concat()),
            ("a field twice", attributes(&field(2, b"delete"))),
            ("an unknown field", attributes(&field(15, b""))),
            ("a selector", attributes(&field(8, &field(1, b"x")))),
            (
                "a named object",
                object("SelfSubjectAccessReview", &field(1, &field(1, b"x"))),
            ),
            ("a number for a text", attributes(&[1 << 3, 1])),
            ("another wire type", attributes(&[1 << 3 | 5, 0, 0, 0, 0])),
            ("not UTF-8", attributes(&field(1, b"\xff"))),
            ("a length past the end", attributes(&[1 << 3 | 2, 100])),
        ];
        for (what, body) in cases {
            assert_eq!(decode(body), None, "{what}");
        }
        let whole = review();
        for end in 0..whole.len() {
            drop(decode(&whole[..end]));
        }
    }
}
