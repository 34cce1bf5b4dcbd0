//! Canonical JSON by construction (RFC 8785): sorted keys, no whitespace, no floats, integers below 2^53.
//!
//! Nothing here re-canonicalises: a caller writes the keys of an object in order, and debug builds
//! check it. Keys are ASCII, so byte order is the UTF-16 order of RFC 8785, section 3.2.3 ("Sorting
//! of Object Properties").

/// Largest integer written, 2^53 - 1 (RFC 8785, appendix D, "Number Serialization"). Larger values saturate.
pub const INTEGER_MAX: u64 = (1 << 53) - 1;

/// Writes the members of one JSON object in key order.
#[derive(Debug)]
pub struct Object<'a> {
    out: &'a mut Vec<u8>,
    last: &'static str,
}

/// Encodes one object as canonical JSON.
#[must_use]
pub fn object(fill: impl FnOnce(&mut Object<'_>)) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    write_object(&mut out, fill);
    out
}

fn write_object(out: &mut Vec<u8>, fill: impl FnOnce(&mut Object<'_>)) {
    out.push(b'{');
    fill(&mut Object { out, last: "" });
    out.push(b'}');
}

impl Object<'_> {
    fn key(&mut self, key: &'static str) {
        debug_assert!(
            self.last < key,
            "keys in order: `{}` before `{key}`",
            self.last
        );
        if !self.last.is_empty() {
            self.out.push(b',');
        }
        self.last = key;
        write_string(self.out, key);
        self.out.push(b':');
    }

    /// A string member.
    pub fn text(&mut self, key: &'static str, value: &str) {
        self.key(key);
        write_string(self.out, value);
    }

    /// A string member that is left out when there is no value.
    pub fn text_opt(&mut self, key: &'static str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(key, value);
        }
    }

    /// An integer member; saturates at [`INTEGER_MAX`].
    pub fn int(&mut self, key: &'static str, value: u64) {
        self.key(key);
        self.out
            .extend_from_slice(value.min(INTEGER_MAX).to_string().as_bytes());
    }

    /// An integer member that is left out when there is no value.
    pub fn int_opt(&mut self, key: &'static str, value: Option<u64>) {
        if let Some(value) = value {
            self.int(key, value);
        }
    }

    /// A boolean member.
    pub fn flag(&mut self, key: &'static str, value: bool) {
        self.key(key);
        self.out
            .extend_from_slice(if value { b"true" } else { b"false" });
    }

    /// A boolean member that is left out when false.
    pub fn flag_if(&mut self, key: &'static str, value: bool) {
        if value {
            self.flag(key, true);
        }
    }

    /// Bytes as lower-case hex.
    pub fn hex(&mut self, key: &'static str, value: &[u8]) {
        self.key(key);
        self.out.push(b'"');
        for byte in value {
            self.out.extend_from_slice(hex_pair(*byte).as_slice());
        }
        self.out.push(b'"');
    }

    /// Bytes as lower-case hex, left out when there is no value.
    pub fn hex_opt(&mut self, key: &'static str, value: Option<&[u8]>) {
        if let Some(value) = value {
            self.hex(key, value);
        }
    }

    /// An array of strings in the order given.
    pub fn texts<'s>(&mut self, key: &'static str, values: impl IntoIterator<Item = &'s str>) {
        self.key(key);
        self.out.push(b'[');
        for (position, value) in values.into_iter().enumerate() {
            if position > 0 {
                self.out.push(b',');
            }
            write_string(self.out, value);
        }
        self.out.push(b']');
    }

    /// An array of strings and nulls in the order given.
    pub fn nullable_texts<'s>(
        &mut self,
        key: &'static str,
        values: impl IntoIterator<Item = Option<&'s str>>,
    ) {
        self.key(key);
        self.out.push(b'[');
        for (position, value) in values.into_iter().enumerate() {
            if position > 0 {
                self.out.push(b',');
            }
            match value {
                Some(value) => write_string(self.out, value),
                None => self.out.extend_from_slice(b"null"),
            }
        }
        self.out.push(b']');
    }

    /// A nested object.
    pub fn object(&mut self, key: &'static str, fill: impl FnOnce(&mut Object<'_>)) {
        self.key(key);
        write_object(self.out, fill);
    }

    /// An array of objects, one per item.
    pub fn objects<T>(
        &mut self,
        key: &'static str,
        items: impl IntoIterator<Item = T>,
        mut fill: impl FnMut(&mut Object<'_>, T),
    ) {
        self.key(key);
        self.out.push(b'[');
        for (position, item) in items.into_iter().enumerate() {
            if position > 0 {
                self.out.push(b',');
            }
            write_object(self.out, |object| fill(object, item));
        }
        self.out.push(b']');
    }
}

/// `value` as a JSON string.
#[must_use]
pub fn quoted(value: &str) -> String {
    let mut out = Vec::with_capacity(value.len() + 2);
    write_string(&mut out, value);
    // Escapes are ASCII and everything else is copied: still UTF-8.
    String::from_utf8(out).unwrap_or_default()
}

/// Lower-case hex of `bytes`.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| hex_pair(*byte))
        .map(char::from)
        .collect()
}

fn hex_pair(byte: u8) -> [u8; 2] {
    [hex_digit(byte >> 4), hex_digit(byte & 15)]
}

const fn hex_digit(nibble: u8) -> u8 {
    if nibble < 10 {
        b'0' + nibble
    } else {
        b'a' + nibble - 10
    }
}

/// RFC 8785, section 3.2.2.2 ("Serialization of Strings"): the shortest escapes, and nothing else.
fn write_string(out: &mut Vec<u8>, value: &str) {
    out.push(b'"');
    for byte in value.bytes() {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x09 => out.extend_from_slice(b"\\t"),
            0x0a => out.extend_from_slice(b"\\n"),
            0x0c => out.extend_from_slice(b"\\f"),
            0x0d => out.extend_from_slice(b"\\r"),
            0x00..=0x1f => {
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&hex_pair(byte));
            }
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_string_reads_back_and_uses_the_shortest_escape() {
        let all: String = (0u32..0x180).filter_map(char::from_u32).collect();
        let written = object(|o| o.text("k", &all));
        let read: serde_json::Value = serde_json::from_slice(&written).unwrap();
        assert_eq!(read["k"], all.as_str());
        assert_eq!(
            written,
            serde_json::to_vec(&read).unwrap(),
            "serde_json writes the same escapes"
        );
    }

    #[test]
    fn members_are_written_without_whitespace_and_integers_saturate() {
        let written = object(|o| {
            o.flag("a", true);
            o.texts("b", ["x", "y"]);
            o.object("c", |o| o.int("n", u64::MAX));
            o.hex("d", &[0, 255]);
        });
        assert_eq!(
            written,
            br#"{"a":true,"b":["x","y"],"c":{"n":9007199254740991},"d":"00ff"}"#
        );
    }

    #[test]
    #[should_panic(expected = "keys in order")]
    fn keys_out_of_order_are_caught() {
        let _ = object(|o| {
            o.int("b", 1);
            o.int("a", 1);
        });
    }
}
