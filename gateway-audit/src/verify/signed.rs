//! The trust file, and signatures of checkpoints.

use base64::{Engine, engine::general_purpose::STANDARD};
use ed25519_dalek::{Signature, VerifyingKey};
use sha2::{Digest, Sha256};

const LOG_KEY: u8 = 1;
const WITNESS_KEY: u8 = 4;

/// Whom an auditor believes: text with one statement a line.
///
/// ```text
/// # comment
/// log NAME+HASH+KEY        a log's verifier key (c2sp.org/signed-note)
/// witness NAME+HASH+KEY    a witness's (c2sp.org/tlog-cosignature)
/// quorum 1                 witnesses that must have signed; 0 when not said
/// ```
#[derive(Clone, Debug, Default)]
pub struct Trust {
    logs: Vec<Key>,
    witnesses: Vec<Key>,
    quorum: u64,
}

/// A line of the trust file that can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the trust file: expected `log KEY`, `witness KEY` or `quorum N`")]
pub struct TrustError {
    /// Line number, from 1.
    pub line: usize,
}

#[derive(Clone, Debug)]
struct Key {
    text: String,
    name: String,
    id: [u8; 4],
    key: VerifyingKey,
}

impl Trust {
    /// Reads a trust file.
    ///
    /// # Errors
    /// [`TrustError`] names the first line that isn't understood: nothing is skipped.
    pub fn parse(text: &str) -> Result<Self, TrustError> {
        let mut trust = Self::default();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            trust
                .statement(line)
                .ok_or(TrustError { line: number + 1 })?;
        }
        let enough =
            u64::try_from(trust.witnesses.len()).is_ok_and(|witnesses| trust.quorum <= witnesses);
        if enough {
            Ok(trust)
        } else {
            Err(TrustError {
                line: text.lines().count(),
            })
        }
    }

    fn statement(&mut self, line: &str) -> Option<()> {
        let (word, value) = line.split_once(' ')?;
        match word {
            "log" => self.logs.push(Key::parse(value.trim(), LOG_KEY)?),
            "witness" => {
                let witness = Key::parse(value.trim(), WITNESS_KEY)?;
                // One key under two names would count twice towards the quorum.
                if self.witnesses.iter().any(|known| known.key == witness.key) {
                    return None;
                }
                self.witnesses.push(witness);
            }
            "quorum" => self.quorum = value.trim().parse().ok()?,
            _ => return None,
        }
        Some(())
    }

    /// How many witnesses must have signed.
    #[must_use]
    pub const fn quorum(&self) -> u64 {
        self.quorum
    }
}

impl Key {
    fn parse(text: &str, kind: u8) -> Option<Self> {
        let mut parts = text.splitn(3, '+');
        let (name, id, blob) = (
            parts.next()?,
            parts.next()?,
            STANDARD.decode(parts.next()?).ok()?,
        );
        let (found, key) = blob.split_first()?;
        let hash: [u8; 32] = Sha256::new()
            .chain_update(name)
            .chain_update(b"\n")
            .chain_update(&blob)
            .finalize()
            .into();
        let [a, b, c, d, ..] = hash;
        let expected = [a, b, c, d];
        let named: String = expected.iter().map(|byte| format!("{byte:02x}")).collect();
        if *found != kind || named != id || name.is_empty() {
            return None;
        }
        Some(Self {
            text: text.to_owned(),
            name: name.to_owned(),
            id: expected,
            key: VerifyingKey::from_bytes(key.try_into().ok()?).ok()?,
        })
    }

    /// The signature blob of this key on a note, after the key id.
    fn blob(&self, signatures: &str) -> Option<Vec<u8>> {
        signatures.lines().find_map(|line| {
            let blob = STANDARD
                .decode(line.strip_prefix(&format!("\u{2014} {} ", self.name))?)
                .ok()?;
            let (id, rest) = blob.split_first_chunk::<4>()?;
            (*id == self.id).then(|| rest.to_vec())
        })
    }

    fn signed(&self, message: &[u8], signature: &[u8]) -> bool {
        let Ok(signature) = Signature::from_slice(signature) else {
            return false;
        };
        self.key.verify_strict(message, &signature).is_ok()
    }
}

/// A checkpoint whose signature was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Signed {
    pub(super) origin: String,
    pub(super) size: u64,
    pub(super) root: [u8; 32],
    pub(super) witnesses: u64,
    /// The log's verifier key.
    pub(super) key: String,
}

/// Why a checkpoint doesn't count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    Malformed,
    UnknownLog,
    Signature,
}

/// Opens a signed note: a checkpoint of a trusted log, with the witnesses that signed it.
pub(super) fn open(note: &str, trust: &Trust) -> Result<Signed, Refused> {
    let (text, signatures) = note.split_once("\n\n").ok_or(Refused::Malformed)?;
    let lines = signatures.strip_suffix('\n').ok_or(Refused::Malformed)?;
    if !lines.split('\n').all(is_signature) {
        return Err(Refused::Malformed);
    }
    let text = format!("{text}\n");
    let (origin, size, root) = parse(&text).ok_or(Refused::Malformed)?;
    let key = trust
        .logs
        .iter()
        .find(|key| key.name == origin)
        .ok_or(Refused::UnknownLog)?;
    let signature = key.blob(signatures).ok_or(Refused::Signature)?;
    if !key.signed(text.as_bytes(), &signature) {
        return Err(Refused::Signature);
    }
    let cosigned = |witness: &&Key| {
        // c2sp.org/tlog-cosignature, "Format": u64 time, then the signature over time and note.
        let Some(blob) = witness.blob(signatures) else {
            return false;
        };
        let Some((time, signature)) = blob.split_first_chunk::<8>() else {
            return false;
        };
        let time = u64::from_be_bytes(*time);
        witness.signed(
            format!("cosignature/v1\ntime {time}\n{text}").as_bytes(),
            signature,
        )
    };
    let witnesses = trust.witnesses.iter().filter(cosigned).count() as u64;
    Ok(Signed {
        origin,
        size,
        root,
        witnesses,
        key: key.text.clone(),
    })
}

/// c2sp.org/signed-note, "Format": an em dash, a space, the key's name, a space, base64 of key id and
/// signature.
fn is_signature(line: &str) -> bool {
    let parts = line
        .strip_prefix("\u{2014} ")
        .and_then(|line| line.split_once(' '));
    parts.is_some_and(|(name, blob)| {
        !name.is_empty() && STANDARD.decode(blob).is_ok_and(|blob| blob.len() > 4)
    })
}

fn parse(text: &str) -> Option<(String, u64, [u8; 32])> {
    let lines: Vec<&str> = text.strip_suffix('\n')?.split('\n').collect();
    let [origin, size, root] = lines.as_slice() else {
        return None;
    };
    let size: u64 = size
        .parse()
        .ok()
        .filter(|number: &u64| number.to_string() == *size)?;
    Some((
        (*origin).to_owned(),
        size,
        STANDARD
            .decode(root)
            .ok()
            .filter(|bytes| STANDARD.encode(bytes) == *root)?
            .try_into()
            .ok()?,
    ))
}
