//! The Merkle tree of RFC 6962, section 2.1 ("Merkle Hash Trees"), kept incrementally.

use aws_lc_rs::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

/// A SHA-256 output.
pub type Hash = [u8; 32];

/// SHA-256 of the concatenation of `parts`.
#[must_use]
pub fn sha256(parts: &[&[u8]]) -> Hash {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(part);
    }
    let mut hash = [0; 32];
    for (to, from) in hash.iter_mut().zip(context.finish().as_ref()) {
        *to = *from;
    }
    hash
}

/// The hash of a leaf: `SHA-256(0x00 || leaf)`.
#[must_use]
pub fn leaf_hash(leaf: &[u8]) -> Hash {
    sha256(&[&[0], leaf])
}

/// The hash of an inner node: `SHA-256(0x01 || left || right)`.
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    sha256(&[&[1], left, right])
}

/// The right edge of a tree: the roots of its perfect subtrees, largest first, one per bit set in its size.
///
/// Enough to append leaves and to tell the root, in at most 64 hashes whatever the size.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frontier {
    size: u64,
    nodes: Vec<Hash>,
}

impl Frontier {
    /// The number of leaves.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The roots of the perfect subtrees, largest first.
    #[must_use]
    pub fn nodes(&self) -> &[Hash] {
        &self.nodes
    }

    /// Appends a leaf by its [`leaf_hash`].
    pub fn push(&mut self, leaf: Hash) {
        let mut hash = leaf;
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.nodes.pop() {
                hash = node_hash(&left, &hash);
            }
        }
        self.nodes.push(hash);
        self.size += 1;
    }

    /// The root; of an empty tree, the hash of the empty string.
    #[must_use]
    pub fn root(&self) -> Hash {
        let mut nodes = self.nodes.iter().rev();
        match nodes.next() {
            None => sha256(&[]),
            Some(last) => nodes.fold(*last, |right, left| node_hash(left, &right)),
        }
    }
}

/// The root of a tree over `leaves` (leaf hashes).
#[must_use]
pub fn root(leaves: &[Hash]) -> Hash {
    let mut frontier = Frontier::default();
    leaves.iter().for_each(|leaf| frontier.push(*leaf));
    frontier.root()
}

/// The audit path of leaf `index` in a tree over `leaves` (RFC 6962, section 2.1.1, "Merkle Audit Paths"); `None` past the end.
#[must_use]
pub fn inclusion_proof(leaves: &[Hash], index: usize) -> Option<Vec<Hash>> {
    if index >= leaves.len() {
        return None;
    }
    let mut proof = Vec::new();
    let (mut range, mut index) = (leaves, index);
    while range.len() > 1 {
        let (left, right) = range.split_at_checked(split(range.len()))?;
        if index < left.len() {
            proof.push(root(right));
            range = left;
        } else {
            proof.push(root(left));
            index -= left.len();
            range = right;
        }
    }
    proof.reverse();
    Some(proof)
}

/// The proof that the tree over all `leaves` extends the one over the first `size` of them (RFC 6962,
/// section 2.1.2, "Merkle Consistency Proofs"); `None` unless `0 < size <= leaves.len()`.
#[must_use]
pub fn consistency_proof(leaves: &[Hash], size: usize) -> Option<Vec<Hash>> {
    if size == 0 || size > leaves.len() {
        return None;
    }
    let mut proof = Vec::new();
    let (mut range, mut size, mut whole) = (leaves, size, true);
    while size < range.len() {
        let (left, right) = range.split_at_checked(split(range.len()))?;
        if size <= left.len() {
            proof.push(root(right));
            range = left;
        } else {
            proof.push(root(left));
            size -= left.len();
            range = right;
            whole = false;
        }
    }
    if !whole {
        proof.push(root(range));
    }
    proof.reverse();
    Some(proof)
}

/// The largest power of two below `len`, for `len` above 1.
const fn split(len: usize) -> usize {
    len.next_power_of_two() / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The reference tree of Certificate Transparency (`merkle_tree_test.cc`): eight leaves and the roots of every prefix.
    const LEAVES: [&str; 8] = [
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    ];
    const ROOTS: [&str; 8] = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];

    fn leaves() -> Vec<Hash> {
        LEAVES.iter().map(|leaf| leaf_hash(&unhex(leaf))).collect()
    }

    fn unhex(text: &str) -> Vec<u8> {
        let pairs = text
            .as_bytes()
            .chunks(2)
            .map(|pair| std::str::from_utf8(pair).unwrap());
        pairs
            .map(|pair| u8::from_str_radix(pair, 16).unwrap())
            .collect()
    }

    #[test]
    fn roots_are_those_of_certificate_transparency() {
        assert_eq!(
            crate::json::hex(&Frontier::default().root()),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        let mut frontier = Frontier::default();
        for (leaf, expected) in leaves().into_iter().zip(ROOTS) {
            frontier.push(leaf);
            assert_eq!(
                crate::json::hex(&frontier.root()),
                expected,
                "size {}",
                frontier.size()
            );
        }
    }

    #[test]
    fn proofs_are_those_of_certificate_transparency() {
        let leaves = leaves();
        let hexed = |proof: Option<Vec<Hash>>| {
            proof
                .unwrap()
                .iter()
                .map(|hash| crate::json::hex(&hash[..4]))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            hexed(inclusion_proof(&leaves[..8], 0)),
            ["96a296d2", "5f083f0a", "6b47aaf2"]
        );
        assert_eq!(
            hexed(inclusion_proof(&leaves[..8], 5)),
            ["bc1a0643", "ca854ea1", "d37ee418"]
        );
        assert_eq!(hexed(inclusion_proof(&leaves[..3], 2)), ["fac54203"]);
        assert_eq!(
            hexed(consistency_proof(&leaves[..8], 1)),
            ["96a296d2", "5f083f0a", "6b47aaf2"]
        );
        assert_eq!(
            hexed(consistency_proof(&leaves[..8], 6)),
            ["0ebc5d34", "ca854ea1", "d37ee418"]
        );
        assert_eq!(
            hexed(consistency_proof(&leaves[..5], 2)),
            ["5f083f0a", "bc1a0643"]
        );
    }

    /// RFC 6962, section 2.1, as written there: the definition against the incremental tree.
    fn definition(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => sha256(&[]),
            [leaf] => *leaf,
            _ => {
                let (left, right) = leaves.split_at(split(leaves.len()));
                node_hash(&definition(left), &definition(right))
            }
        }
    }

    #[test]
    fn the_incremental_tree_is_the_tree_of_the_definition() {
        let leaves: Vec<Hash> = (0u32..130).map(|n| leaf_hash(&n.to_be_bytes())).collect();
        for size in 0..=leaves.len() {
            assert_eq!(
                root(&leaves[..size]),
                definition(&leaves[..size]),
                "size {size}"
            );
        }
    }

    #[test]
    fn proofs_past_the_end_do_not_exist() {
        assert_eq!(inclusion_proof(&leaves(), 8), None);
        assert_eq!(consistency_proof(&leaves(), 0), None);
        assert_eq!(consistency_proof(&leaves(), 9), None);
        assert_eq!(consistency_proof(&leaves(), 8), Some(Vec::new()));
    }
}
