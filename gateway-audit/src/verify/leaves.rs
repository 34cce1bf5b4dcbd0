//! Leaves, bodies, the tree and stream chains, from their definitions.

use serde_json::Value;
use sha2::{Digest, Sha256};

pub(super) type Hash = [u8; 32];

pub(super) fn sha256(parts: &[&[u8]]) -> Hash {
    let mut hash = Sha256::new();
    parts.iter().for_each(|part| hash.update(part));
    hash.finalize().into()
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N
        || !text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    {
        return None;
    }
    let mut out = [0; N];
    for (to, pair) in out.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *to = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(out)
}

/// Parses a line that must be canonical JSON of an object (RFC 8785): what it says is what was hashed.
pub(super) fn canonical(line: &[u8]) -> Option<Value> {
    let value: Value = serde_json::from_slice(line).ok()?;
    let mut out = Vec::with_capacity(line.len());
    write(&value, &mut out)?;
    (value.is_object() && out == line).then_some(value)
}

fn write(value: &Value, out: &mut Vec<u8>) -> Option<()> {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_unstable_by_key(|(key, _)| key.encode_utf16().collect::<Vec<_>>());
            for (position, (key, value)) in members.into_iter().enumerate() {
                out.push(if position == 0 { b'{' } else { b',' });
                serde_json::to_writer(&mut *out, key).ok()?;
                out.push(b':');
                write(value, out)?;
            }
            if value.as_object().is_some_and(serde_json::Map::is_empty) {
                out.push(b'{');
            }
            out.push(b'}');
        }
        Value::Array(items) => {
            out.push(b'[');
            for (position, item) in items.iter().enumerate() {
                if position > 0 {
                    out.push(b',');
                }
                write(item, out)?;
            }
            out.push(b']');
        }
        // No floats, no negative numbers, nothing a double can't hold.
        Value::Number(number) if number.as_u64().is_none_or(|number| number >= 1 << 53) => {
            return None;
        }
        Value::Number(_) | Value::String(_) | Value::Bool(_) | Value::Null => {
            serde_json::to_writer(&mut *out, value).ok()?;
        }
    }
    Some(())
}

/// The tree of RFC 6962 by its perfect subtrees, from the sizes in a number's bits.
pub(super) struct Tree {
    size: u64,
    nodes: Vec<Hash>,
}

impl Tree {
    /// The tree of `size` leaves with these subtrees; `None` when their number is another.
    pub(super) fn resume(size: u64, nodes: Vec<Hash>) -> Option<Self> {
        (nodes.len() == usize::try_from(size.count_ones()).ok()?).then_some(Self { size, nodes })
    }

    pub(super) fn add(&mut self, header: &[u8]) -> Hash {
        let leaf = sha256(&[&[0], header]);
        let (mut node, mut level) = (leaf, self.size);
        while level & 1 == 1 {
            if let Some(left) = self.nodes.pop() {
                node = sha256(&[&[1], &left, &node]);
            }
            level >>= 1;
        }
        self.nodes.push(node);
        self.size += 1;
        leaf
    }

    pub(super) fn root(&self) -> Hash {
        let mut nodes = self.nodes.iter().rev();
        let Some(last) = nodes.next() else {
            return sha256(&[]);
        };
        let mut root = *last;
        for left in nodes {
            root = sha256(&[&[1], left, &root]);
        }
        root
    }
}

/// The heads of a session's chain after 0, 1, 2 … chunks; `None` when the stream is malformed.
pub(super) fn chain(session: &str, stream: &[u8]) -> Option<Vec<Hash>> {
    let mut head = sha256(&[b"session", session.as_bytes()]);
    let mut heads = vec![head];
    let mut rest = stream;
    while !rest.is_empty() {
        let (fixed, after) = rest.split_first_chunk::<21>()?;
        let (number, len) = (fixed.first_chunk::<8>()?, fixed.last_chunk::<4>()?);
        if u64::from_be_bytes(*number) != heads.len() as u64 {
            return None;
        }
        let (chunk, after) =
            after.split_at_checked(usize::try_from(u32::from_be_bytes(*len)).ok()?)?;
        head = sha256(&[&[0x11], &head, fixed, &sha256(&[chunk])]);
        heads.push(head);
        rest = after;
    }
    Some(heads)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_canonical_objects_are_accepted() {
        for good in [
            &br#"{}"#[..],
            br#"{"a":1,"b":[{},"x\n"]}"#,
            br#"{"a":{"b":null,"c":true}}"#,
        ] {
            assert!(
                canonical(good).is_some(),
                "{}",
                String::from_utf8_lossy(good)
            );
        }
        let bad = [
            &br#"{"b":1,"a":1}"#[..],
            br#"{"a":1,"a":1}"#,
            br#"{ "a":1}"#,
            br#"{"a":1.5}"#,
            br#"{"a":-1}"#,
            br#"{"a":9007199254740992}"#,
            br#"{"a":"\u000a"}"#,
            br#"{"a":"\u0041"}"#,
            br#"[1]"#,
            b"{\"a\":1}\n",
            b"",
        ];
        for bad in bad {
            assert!(canonical(bad).is_none(), "{}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn this_tree_and_the_writers_agree() {
        let mut ours = Tree::resume(0, Vec::new()).unwrap();
        let mut theirs = crate::tree::Frontier::default();
        for n in 0u32..70 {
            assert_eq!(ours.root(), theirs.root());
            let resumed = Tree::resume(theirs.size(), theirs.nodes().to_vec()).unwrap();
            assert_eq!(resumed.root(), theirs.root());
            theirs.push(ours.add(&n.to_be_bytes()));
        }
        assert!(Tree::resume(3, vec![[0; 32]]).is_none());
    }
}
