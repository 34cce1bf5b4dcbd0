//! Private keys in files: OpenSSH's format, for the gateway's user only.

use std::{
    io::{self, Read as _, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use russh::keys::{
    PrivateKey,
    ssh_key::{self, LineEnding, private::Ed25519Keypair},
};

use crate::clock::{self, NoRandomness};

/// Larger than any honest key, bytes.
const KEY_BYTES_MAX: u64 = 64 << 10;

/// A private key can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    /// The file.
    #[error("`{}`: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others may read it.
    #[error("`{}` holds a private key and has mode {mode:03o}: only its owner may have access (chmod 600)", path.display())]
    Open {
        /// Which.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It holds no usable key.
    #[error("`{}` holds no usable private key: {why}", path.display())]
    Unusable {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// No randomness for a new key.
    #[error(transparent)]
    Random(#[from] NoRandomness),
}

/// Reads a private key: Ed25519 or ECDSA, not encrypted, not accessible to others. Blocks.
///
/// # Errors
/// [`KeyError`].
pub(super) fn read(path: &Path) -> Result<PrivateKey, KeyError> {
    let io = |source| KeyError::Io {
        path: path.into(),
        source,
    };
    let unusable = |why: String| KeyError::Unusable {
        path: path.into(),
        why,
    };
    let file = std::fs::File::open(path).map_err(io)?;
    let mode = file.metadata().map_err(io)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Open {
            path: path.into(),
            mode,
        });
    }
    let mut text = String::new();
    file.take(KEY_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(io)?;
    let key = PrivateKey::from_openssh(&text).map_err(|error| unusable(error.to_string()))?;
    if key.is_encrypted() {
        return Err(unusable("it is encrypted".into()));
    }
    let algorithm = key.algorithm();
    if !super::algorithms::KEYS.contains(&algorithm) {
        return Err(unusable(format!(
            "keys of kind `{algorithm}` are not supported: use ssh-ed25519"
        )));
    }
    Ok(key)
}

/// Reads a private key, or makes an Ed25519 one where there is none yet. Blocks.
///
/// # Errors
/// [`KeyError`].
pub(super) fn read_or_make(path: &Path, comment: &str) -> Result<PrivateKey, KeyError> {
    match read(path) {
        Err(KeyError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            make(path, comment)
        }
        read => read,
    }
}

/// The public half, in one line of OpenSSH's format, of the private key at `path`, which is made if
/// there is none. Blocks.
///
/// # Errors
/// [`KeyError`].
pub(crate) fn public_key_of(path: &Path) -> Result<String, KeyError> {
    let key = read_or_make(path, "gateway")?;
    key.public_key()
        .to_openssh()
        .map_err(|error| KeyError::Unusable {
            path: path.into(),
            why: error.to_string(),
        })
}

fn make(path: &Path, comment: &str) -> Result<PrivateKey, KeyError> {
    let io = |source| KeyError::Io {
        path: path.into(),
        source,
    };
    let unusable = |error: ssh_key::Error| KeyError::Unusable {
        path: path.into(),
        why: error.to_string(),
    };
    let mut key = PrivateKey::from(Ed25519Keypair::from_seed(&clock::random()?));
    key.set_comment(comment);
    let text = key.to_openssh(LineEnding::LF).map_err(unusable)?;
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(io)?;
    file.write_all(text.as_bytes()).map_err(io)?;
    file.sync_all().map_err(io)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_kept_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let made = read_or_make(&path, "host").unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let again = read_or_make(&path, "host").unwrap();
        assert_eq!(made.public_key(), again.public_key());

        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(read(&path), Err(KeyError::Open { .. })));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        std::fs::write(&path, "-----BEGIN OPENSSH PRIVATE KEY-----\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(matches!(
            read_or_make(&path, ""),
            Err(KeyError::Unusable { .. })
        ));
    }
}
