//! What SSH listeners prove themselves with, and the certificates they take for proof.

use std::{path::Path, sync::Arc};

use gateway_core::{
    identity::{Authenticated, Principal},
    time::Wall,
};
use russh::{keys::PublicKey, server::Config};

use super::{
    certificate::{Authority, IssueError, Issued},
    keys::{self, KeyError},
    server,
};
use crate::clock;

/// The gateway's host key and its certificate authority for users.
pub(crate) struct SshIdentity {
    host_key: PublicKey,
    authority: Authority,
    server: Arc<Config>,
}

/// The gateway's SSH keys can't be used.
pub(crate) type IdentityError = KeyError;

impl SshIdentity {
    /// Reads the keys in `data_dir`, or makes them at the first start. Blocks.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub(crate) fn open(data_dir: &Path) -> Result<Self, IdentityError> {
        let host = keys::read_or_make(&data_dir.join("ssh-host.key"), "gateway host key")?;
        let authority = keys::read_or_make(&data_dir.join("ssh-ca.key"), "gateway user CA")?;
        Ok(Self {
            host_key: host.public_key().clone(),
            authority: Authority::new(authority),
            server: server::config(host),
        })
    }

    /// The host key without its comment, as `known_hosts` has it: `ssh-ed25519 AAAA…`.
    ///
    /// # Errors
    /// It can't be written.
    pub(crate) fn host_key(&self) -> Result<String, russh::keys::ssh_key::Error> {
        let bare = PublicKey::from(self.host_key.key_data().clone());
        bare.to_openssh()
    }

    /// What connections of agents are served with.
    pub(super) fn server(&self) -> Arc<Config> {
        Arc::clone(&self.server)
    }

    /// Certifies a public key (one line of OpenSSH's format) for a verified principal, from now
    /// until its token expires, an hour at most.
    ///
    /// # Errors
    /// [`IssueError`].
    pub(crate) fn issue(
        &self,
        public_key: &str,
        principal: &Authenticated<Principal>,
    ) -> Result<Issued, IssueError> {
        let nonce = clock::random()?;
        self.authority
            .issue(public_key, principal.get(), clock::wall(), nonce)
    }

    /// Whose certificate this is, `at` this time.
    ///
    /// # Errors
    /// The reason code of the rejection.
    pub(crate) fn verify(
        &self,
        certificate: &[u8],
        at: Wall,
    ) -> Result<Authenticated<Principal>, String> {
        let verified = self.authority.verify(certificate, at);
        verified.map_err(|rejection| rejection.to_string())
    }
}
