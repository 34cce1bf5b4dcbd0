//! Checkpoints as C2SP signed notes (c2sp.org/tlog-checkpoint, c2sp.org/signed-note), signed with Ed25519.

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::{Engine, engine::general_purpose::STANDARD};

use crate::tree::{Hash, sha256};

/// Signature type of an Ed25519 key (c2sp.org/signed-note, "Signature types").
const ED25519_TYPE: u8 = 1;

/// A note is at most this long, bytes.
pub const NOTE_BYTES_MAX: usize = 16 << 10;

/// Why a key or a note was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// The seed isn't 32 bytes, or the library refused it.
    #[error("the checkpoint signing key is not usable")]
    Key,
    /// A key name is empty, or holds white space or `+`.
    #[error("a key name must not be empty nor hold white space or `+`")]
    Name,
    /// A verifier key isn't `name+hash+base64`.
    #[error("a verifier key must read `name+hash+key`")]
    VerifierKey,
    /// The note isn't three lines, an empty line and signatures.
    #[error("the checkpoint is malformed")]
    Malformed,
    /// No signature by the key, or a wrong one.
    #[error("the checkpoint is not signed by the expected key")]
    Signature,
    /// Signing failed.
    #[error("the checkpoint could not be signed")]
    Signing,
}

/// What a checkpoint commits to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name: one line, unique per log.
    pub origin: String,
    /// The number of leaves.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
}

impl Checkpoint {
    /// The signed text: exactly three lines.
    #[must_use]
    pub fn text(&self) -> String {
        format!(
            "{}\n{}\n{}\n",
            self.origin,
            self.size,
            STANDARD.encode(self.root)
        )
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let (origin, size, root) = (lines.next()?, lines.next()?, lines.next()?);
        if lines.next().is_some() || origin.is_empty() || (size.starts_with('0') && size != "0") {
            return None;
        }
        let size = if size.bytes().all(|b| b.is_ascii_digit()) {
            size.parse().ok()?
        } else {
            return None;
        };
        Some(Self {
            origin: origin.to_owned(),
            size,
            root: STANDARD.decode(root).ok()?.try_into().ok()?,
        })
    }
}

/// Signs checkpoints. `Debug` shows the verifier key only.
pub struct CheckpointSigner {
    verifier: VerifierKey,
    pair: Ed25519KeyPair,
}

impl std::fmt::Debug for CheckpointSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("CheckpointSigner")
            .field(&self.verifier.encode())
            .finish()
    }
}

impl CheckpointSigner {
    /// A signer from a key name (the log's origin, by custom) and a 32-byte Ed25519 seed (RFC 8032, section 5.1.5).
    ///
    /// # Errors
    /// [`NoteError::Name`] for a name that can't stand in a note; [`NoteError::Key`] for an unusable seed.
    pub fn from_seed(name: &str, seed: &[u8; 32]) -> Result<Self, NoteError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| NoteError::Key)?;
        let public = pair
            .public_key()
            .as_ref()
            .try_into()
            .map_err(|_| NoteError::Key)?;
        Ok(Self {
            verifier: VerifierKey::new(name, public)?,
            pair,
        })
    }

    /// The public half.
    #[must_use]
    pub const fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// The signed note of `checkpoint`: its text, an empty line, one signature line.
    ///
    /// # Errors
    /// [`NoteError::Signing`] when the library fails to sign.
    pub fn sign(&self, checkpoint: &Checkpoint) -> Result<String, NoteError> {
        let text = checkpoint.text();
        let signature = self
            .pair
            .try_sign(text.as_bytes())
            .map_err(|_| NoteError::Signing)?;
        let mut blob = self.verifier.id.to_vec();
        blob.extend_from_slice(signature.as_ref());
        Ok(format!(
            "{text}\n\u{2014} {} {}\n",
            self.verifier.name,
            STANDARD.encode(blob)
        ))
    }
}

/// The public key of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    id: [u8; 4],
    public: [u8; 32],
}

impl VerifierKey {
    fn new(name: &str, public: [u8; 32]) -> Result<Self, NoteError> {
        if name.is_empty() || name.chars().any(|c| c.is_whitespace() || c == '+') {
            return Err(NoteError::Name);
        }
        let [a, b, c, d, ..] = sha256(&[name.as_bytes(), b"\n", &[ED25519_TYPE], &public]);
        Ok(Self {
            name: name.to_owned(),
            id: [a, b, c, d],
            public,
        })
    }

    /// `name+hash+base64(type || key)` (c2sp.org/signed-note, "Verifier keys").
    #[must_use]
    pub fn encode(&self) -> String {
        let mut key = vec![ED25519_TYPE];
        key.extend_from_slice(&self.public);
        format!(
            "{}+{}+{}",
            self.name,
            crate::json::hex(&self.id),
            STANDARD.encode(key)
        )
    }

    /// Checks the signature of a note and reads its checkpoint. Lines by other keys are ignored.
    ///
    /// # Errors
    /// [`NoteError::Malformed`] when it isn't a checkpoint; [`NoteError::Signature`] when this key didn't sign it.
    pub fn open(&self, note: &str) -> Result<Checkpoint, NoteError> {
        if note.len() > NOTE_BYTES_MAX {
            return Err(NoteError::Malformed);
        }
        let (text, signatures) = note.split_once("\n\n").ok_or(NoteError::Malformed)?;
        let text = format!("{text}\n");
        let checkpoint = Checkpoint::parse(&text).ok_or(NoteError::Malformed)?;
        let prefix = format!("\u{2014} {} ", self.name);
        for line in signatures.lines() {
            let Some(blob) = line
                .strip_prefix(&prefix)
                .and_then(|blob| STANDARD.decode(blob).ok())
            else {
                continue;
            };
            let Some((id, signature)) = blob.split_first_chunk::<4>() else {
                continue;
            };
            if *id == self.id {
                let key = UnparsedPublicKey::new(&ED25519, &self.public);
                return key
                    .verify(text.as_bytes(), signature)
                    .map(|()| checkpoint)
                    .map_err(|_| NoteError::Signature);
            }
        }
        Err(NoteError::Signature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer() -> CheckpointSigner {
        CheckpointSigner::from_seed("log.example/one", &[7; 32]).unwrap()
    }

    fn checkpoint() -> Checkpoint {
        Checkpoint {
            origin: "log.example/one".into(),
            size: 42,
            root: [9; 32],
        }
    }

    #[test]
    fn a_signed_checkpoint_opens_under_its_key_and_has_the_c2sp_form() {
        let note = signer().sign(&checkpoint()).unwrap();
        assert_eq!(signer().verifier().open(&note), Ok(checkpoint()));
        let lines: Vec<&str> = note.split('\n').collect();
        assert_eq!(lines[..2], ["log.example/one", "42"]);
        assert_eq!(lines[3], "");
        assert!(lines[4].starts_with("\u{2014} log.example/one "), "{note}");
        assert_eq!(lines.len(), 6);
    }

    #[test]
    fn a_changed_checkpoint_never_opens() {
        let note = signer().sign(&checkpoint()).unwrap();
        for at in 0..note.len() {
            let mut bytes = note.clone().into_bytes();
            bytes[at] ^= 1;
            let Ok(changed) = String::from_utf8(bytes) else {
                continue;
            };
            assert!(signer().verifier().open(&changed).is_err(), "byte {at}");
        }
        let other = CheckpointSigner::from_seed("log.example/one", &[8; 32]).unwrap();
        assert_eq!(other.verifier().open(&note), Err(NoteError::Signature));
    }

    #[test]
    fn the_verifier_key_has_the_form_of_the_specification() {
        // c2sp.org/signed-note: the key id is SHA-256(name || 0x0A || type || key), first four bytes.
        let encoded = signer().verifier().encode();
        let parts: Vec<&str> = encoded.split('+').collect();
        assert_eq!(parts[0], "log.example/one");
        assert_eq!(parts[1].len(), 8);
        assert_eq!(
            STANDARD
                .decode(encoded.splitn(3, '+').nth(2).unwrap())
                .unwrap()
                .len(),
            33
        );
    }

    #[test]
    fn names_that_cannot_stand_in_a_note_are_refused() {
        for name in ["", "a b", "a+b", "a\n"] {
            assert_eq!(
                CheckpointSigner::from_seed(name, &[1; 32]).err(),
                Some(NoteError::Name),
                "{name:?}"
            );
        }
    }
}
