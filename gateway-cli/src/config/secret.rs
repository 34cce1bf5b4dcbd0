//! Secrets come from files or from environment variables that the configuration names.

use std::{
    io::Read as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use secrecy::SecretString;

/// Larger than any honest secret, bytes.
const SECRET_BYTES_MAX: usize = 64 << 10;

/// Where a secret is. Holds no secret itself.
#[derive(Clone, Debug)]
pub(crate) enum SecretSource {
    /// In this file; one trailing line end is not part of it.
    File(PathBuf),
    /// In this environment variable.
    Env(String),
}

/// A secret can't be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretError {
    /// The file can't be read.
    #[error("can't read the secret `{}`: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Everybody on the machine may read it.
    #[error("`{}` holds a secret and has mode {mode:03o}: others must have no access (chmod o-rwx)", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is empty, too large or not UTF-8.
    #[error("{place} must hold 1 to {SECRET_BYTES_MAX} bytes of UTF-8")]
    Content {
        /// Where it is.
        place: String,
    },
    /// The variable isn't set.
    #[error("the environment variable `{0}` is not set")]
    Unset(String),
}

impl SecretSource {
    /// Reads the secret; blocks on the file system.
    ///
    /// # Errors
    /// [`SecretError`] when it can't be read, others may read it, or it isn't 1 to 64 KiB of UTF-8.
    pub(crate) fn read(&self) -> Result<SecretString, SecretError> {
        match self {
            Self::File(path) => read_file(path),
            Self::Env(name) => {
                let value = std::env::var(name).map_err(|_| SecretError::Unset(name.clone()))?;
                checked(value, || format!("the environment variable `{name}`"))
            }
        }
    }
}

fn read_file(path: &Path) -> Result<SecretString, SecretError> {
    let failed = |source| SecretError::Read {
        path: path.into(),
        source,
    };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
    if mode & 0o007 != 0 {
        return Err(SecretError::Open {
            path: path.into(),
            mode,
        });
    }
    let mut bytes = Vec::new();
    let limit = u64::try_from(SECRET_BYTES_MAX + 2).unwrap_or(u64::MAX);
    file.take(limit).read_to_end(&mut bytes).map_err(failed)?;
    let place = || format!("`{}`", path.display());
    let mut text = String::from_utf8(bytes).map_err(|_| SecretError::Content { place: place() })?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    checked(text, place)
}

fn checked(text: String, place: impl Fn() -> String) -> Result<SecretString, SecretError> {
    if text.is_empty() || text.len() > SECRET_BYTES_MAX {
        return Err(SecretError::Content { place: place() });
    }
    Ok(SecretString::from(text))
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn secret_files_are_private_and_lose_one_line_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        for (content, mode, expected) in [
            ("s3cret\n", 0o600, Some("s3cret")),
            ("s3cret\r\n", 0o640, Some("s3cret")),
            ("two\n\n", 0o600, Some("two\n")),
            ("s3cret", 0o604, None),
            ("\n", 0o600, None),
        ] {
            std::fs::write(&path, content).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let read = SecretSource::File(path.clone()).read();
            assert_eq!(
                read.ok().as_ref().map(|s| s.expose_secret()),
                expected,
                "{content:?}"
            );
        }
    }
}
