//! JSON with one reading only: no duplicate members, bounded depth and size, one way to write it.

use std::{cell::Cell, collections::BTreeSet, fmt, ops::Range};

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

/// Objects and arrays inside one another, at most.
pub const DEPTH_MAX: usize = 64;
/// Values of one document, at most: what bounds the memory that its parsing takes.
pub const VALUES_MAX: usize = 1 << 20;

/// A document, or a part of one. Members keep their order.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number; what neither `i64` nor `u64` holds is kept as `f64`.
    Number(serde_json::Number),
    /// A string.
    String(String),
    /// An array.
    Array(Vec<Json>),
    /// An object; no two members have one name.
    Object(Vec<(String, Json)>),
}

/// Which names of members are taken for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// Only equal ones.
    Exact,
    /// Those that differ in case only, too: some readers match names without regard to case.
    Folded,
}

/// Why a text isn't taken. Holds nothing of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// RFC 8259 isn't kept.
    #[error("not JSON at line {line}, column {column}")]
    Syntax {
        /// Counts from 1.
        line: usize,
        /// Counts from 1; bytes.
        column: usize,
    },
    /// RFC 8259, section 4 "Objects": what readers make of it differs.
    #[error("an object has one member twice, or in two cases")]
    Duplicate,
    /// More than [`DEPTH_MAX`].
    #[error("nested deeper than {DEPTH_MAX}")]
    Depth,
    /// More than [`VALUES_MAX`].
    #[error("more than {VALUES_MAX} values")]
    Values,
}

impl Json {
    /// Parses a whole text.
    ///
    /// # Errors
    /// [`JsonError`].
    pub fn parse(text: &[u8], names: Names) -> Result<Self, JsonError> {
        let reading = Reading {
            names,
            values_left: Cell::new(VALUES_MAX),
            problem: Cell::new(None),
        };
        let mut deserializer = serde_json::Deserializer::from_slice(text);
        let seed = Seed {
            reading: &reading,
            depth_left: DEPTH_MAX,
        };
        let parsed = seed
            .deserialize(&mut deserializer)
            .and_then(|json| deserializer.end().map(|()| json));
        parsed.map_err(|error| {
            reading.problem.get().unwrap_or(JsonError::Syntax {
                line: error.line(),
                column: error.column(),
            })
        })
    }

    /// The member of this name, if it is an object that has one.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Self> {
        let members = self.as_object()?;
        members
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value)
    }

    /// As [`Json::get`], to change it.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Self> {
        match self {
            Self::Object(members) => members
                .iter_mut()
                .find(|(known, _)| known == name)
                .map(|(_, value)| value),
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::String(_) | Self::Array(_) => None,
        }
    }

    /// The members, if it is an object.
    #[must_use]
    pub fn as_object(&self) -> Option<&[(String, Self)]> {
        match self {
            Self::Object(members) => Some(members),
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::String(_) | Self::Array(_) => None,
        }
    }

    /// The elements, if it is an array.
    #[must_use]
    pub fn as_array(&self) -> Option<&[Self]> {
        match self {
            Self::Array(elements) => Some(elements),
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::String(_) | Self::Object(_) => {
                None
            }
        }
    }

    /// The text, if it is a string.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::Array(_) | Self::Object(_) => None,
        }
    }

    /// Whether any string in it, names of members included, fulfils `is`.
    pub fn any_string(&self, is: &impl Fn(&str) -> bool) -> bool {
        match self {
            Self::String(text) => is(text),
            Self::Array(elements) => elements.iter().any(|element| element.any_string(is)),
            Self::Object(members) => members
                .iter()
                .any(|(name, value)| is(name) || value.any_string(is)),
            Self::Null | Self::Bool(_) | Self::Number(_) => false,
        }
    }

    /// Appends its only form: no white space, members in their order.
    pub fn write(&self, out: &mut String) {
        self.write_marked(out, None);
    }

    /// As [`Json::write`]; notes where in `out` the insides of its strings and its numbers stand.
    pub fn write_marked(&self, out: &mut String, mut marks: Option<&mut Vec<Range<usize>>>) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(true) => out.push_str("true"),
            Self::Bool(false) => out.push_str("false"),
            Self::Number(number) => {
                let start = out.len();
                out.push_str(&number.to_string());
                if let Some(marks) = marks {
                    marks.push(start..out.len());
                }
            }
            Self::String(text) => {
                let start = out.len() + 1;
                write_string(text, out);
                if let Some(marks) = marks {
                    marks.push(start..out.len() - 1);
                }
            }
            Self::Array(elements) => {
                out.push('[');
                for (index, element) in elements.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    element.write_marked(out, marks.as_deref_mut());
                }
                out.push(']');
            }
            Self::Object(members) => {
                out.push('{');
                for (index, (name, value)) in members.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    write_string(name, out);
                    out.push(':');
                    value.write_marked(out, marks.as_deref_mut());
                }
                out.push('}');
            }
        }
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = String::new();
        self.write(&mut out);
        f.write_str(&out)
    }
}

/// Appends `text` as a JSON string (RFC 8259, section 7 "Strings"), escaping what must be.
pub fn write_string(text: &str, out: &mut String) {
    out.push('"');
    for char in text.chars() {
        match char {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // YAML readers, too, must find one string; these would end a line for some of them.
            '\0'..='\x1f' | '\x7f'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' => {
                out.push_str(&format!("\\u{:04x}", u32::from(char)));
            }
            _ => out.push(char),
        }
    }
    out.push('"');
}

struct Reading {
    names: Names,
    values_left: Cell<usize>,
    problem: Cell<Option<JsonError>>,
}

impl Reading {
    fn refuse<E: de::Error>(&self, problem: JsonError) -> E {
        self.problem.set(Some(problem));
        E::custom("refused")
    }
}

#[derive(Clone, Copy)]
struct Seed<'a> {
    reading: &'a Reading,
    depth_left: usize,
}

impl Seed<'_> {
    fn deeper<E: de::Error>(self) -> Result<Self, E> {
        match self.depth_left.checked_sub(1) {
            Some(depth_left) => Ok(Self { depth_left, ..self }),
            None => Err(self.reading.refuse(JsonError::Depth)),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        let left = &self.reading.values_left;
        match left.get().checked_sub(1) {
            Some(less) => left.set(less),
            None => return Err(self.reading.refuse(JsonError::Values)),
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Json, E> {
        serde_json::Number::from_f64(value)
            .map(Json::Number)
            .ok_or_else(|| E::custom("a number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Json, E> {
        Ok(Json::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Json, A::Error> {
        let seed = self.deeper()?;
        let mut elements = Vec::new();
        while let Some(element) = access.next_element_seed(seed)? {
            elements.push(element);
        }
        Ok(Json::Array(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Json, A::Error> {
        let seed = self.deeper()?;
        let mut members = Vec::new();
        let mut seen = BTreeSet::new();
        while let Some(name) = access.next_key::<String>()? {
            let known = match self.reading.names {
                Names::Exact => name.clone(),
                Names::Folded => fold(&name),
            };
            if !seen.insert(known) {
                return Err(self.reading.refuse(JsonError::Duplicate));
            }
            members.push((name, access.next_value_seed(seed)?));
        }
        Ok(Json::Object(members))
    }
}

/// Upper case first: it takes the long s and the Kelvin sign for the letters they stand for, as
/// Go's `EqualFold` does.
fn fold(name: &str) -> String {
    name.chars()
        .flat_map(char::to_uppercase)
        .flat_map(char::to_lowercase)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<String, JsonError> {
        Json::parse(text.as_bytes(), Names::Folded).map(|json| json.to_string())
    }

    #[test]
    fn what_is_written_is_what_was_read() {
        for text in [
            "null",
            r#"{"a":[1,-2,3.5,true,false,null,"x"],"b":{}}"#,
            r#"{"z":1,"a":2}"#,
            r#""\"\\\n\u0001é""#,
            "18446744073709551615",
            "-9223372036854775808",
        ] {
            assert_eq!(parse(text).as_deref(), Ok(text));
        }
        assert_eq!(
            parse(" { \"a\" : \"\\u0041\" } ").as_deref(),
            Ok(r#"{"a":"A"}"#)
        );
    }

    #[test]
    fn a_member_twice_is_refused_in_any_case() {
        for text in [
            r#"{"a":1,"a":2}"#,
            r#"{"kind":1,"Kind":2}"#,
            r#"{"kind":1,"\u212aind":2}"#,
            r#"{"x":{"status":1,"\u017ftatus":2}}"#,
            r#"{"a":1,"\u0061":2}"#,
        ] {
            assert_eq!(parse(text), Err(JsonError::Duplicate), "{text}");
        }
        let exact = Json::parse(br#"{"a":1,"A":2}"#, Names::Exact);
        assert!(exact.is_ok());
        let twice = Json::parse(br#"{"a":1,"a":2}"#, Names::Exact);
        assert_eq!(twice, Err(JsonError::Duplicate));
    }

    #[test]
    fn bounds_are_kept() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(&nested(DEPTH_MAX)).is_ok());
        assert_eq!(parse(&nested(DEPTH_MAX + 1)), Err(JsonError::Depth));
        let many = format!("[{}0]", "0,".repeat(VALUES_MAX));
        assert_eq!(parse(&many), Err(JsonError::Values));
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for text in [
            "",
            "{",
            "{}{}",
            "{a:1}",
            "[1,]",
            "01",
            "1e999",
            "'a'",
            "\"\u{1}\"",
            "NaN",
        ] {
            assert!(
                matches!(parse(text), Err(JsonError::Syntax { .. })),
                "{text}"
            );
        }
        assert!(Json::parse(b"\"\xff\"", Names::Exact).is_err());
    }

    #[test]
    fn marks_are_the_insides_of_values() {
        let json = Json::parse(br#"{"a":"x\"y","b":[12,"z"],"c":true}"#, Names::Exact).unwrap();
        let (mut out, mut marks) = (String::from("> "), Vec::new());
        json.write_marked(&mut out, Some(&mut marks));
        let marked: Vec<&str> = marks
            .iter()
            .map(|range| out.get(range.clone()).unwrap())
            .collect();
        assert_eq!(marked, [r#"x\"y"#, "12", "z"]);
    }
}
