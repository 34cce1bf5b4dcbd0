//! What the gateway logs in to a target with.

use gateway_core::{
    azure::{CredentialKind, HttpsClientError, TokenSource, TokenSourceError, metadata_client},
    identity::TokenRules,
    wire::TargetProof,
};
use gateway_protocols::postgres::scram::{SaltedPassword, ScramError};
use parking_lot::Mutex;
use secrecy::{ExposeSecret as _, SecretSlice, SecretString};
use subtle::ConstantTimeEq as _;

use crate::{
    config::{Credential, EntraIdentity, SecretError, SecretSource},
    tls::{self, TlsError},
};

/// One target's credential. A password is read from its source at every login, so that rotating
/// it needs no restart.
pub(crate) struct TargetCredential {
    user: String,
    kind: Kind,
}

enum Kind {
    Password {
        source: SecretSource,
        salted: Mutex<Option<Salted>>,
    },
    Token {
        source: TokenSource,
        scope: String,
    },
}

/// The last salted password: a server's salt doesn't change until the password does.
struct Salted {
    password: SecretString,
    salt: Vec<u8>,
    iterations: u32,
    salted: SecretSlice<u8>,
}

/// The gateway has nothing to log in with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CredentialError {
    /// The secret can't be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// Entra gives no token.
    #[error("no token for the gateway's own identity: {0}")]
    Token(#[from] TokenSourceError),
    /// The platform's TLS can't be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// No client for the machine's identity endpoint.
    #[error(transparent)]
    Client(#[from] HttpsClientError),
    /// The target asks for SCRAM of a token, or with parameters out of bounds.
    #[error("the target's SCRAM parameters can't be used: {0}")]
    Scram(#[from] ScramError),
    /// A token can't be salted.
    #[error("the target asks for SCRAM, and the credential is a token")]
    NotAPassword,
    /// The thread that reads or derives is gone.
    #[error("the gateway is shutting down")]
    Gone,
}

impl TargetCredential {
    /// A credential as configured. Reads the client secret, but gets no token yet.
    ///
    /// # Errors
    /// [`CredentialError`] when a secret can't be read or Entra's part is misconfigured.
    pub(crate) fn new(
        credential: &Credential,
        http: &reqwest::Client,
        rules: &TokenRules,
    ) -> Result<Self, CredentialError> {
        let token = |identity: &EntraIdentity, kind| -> Result<Kind, CredentialError> {
            let (tenant, client) = (identity.tenant, identity.client);
            let source = TokenSource::new(http.clone(), rules, tenant, client, kind)?;
            Ok(Kind::Token {
                source,
                scope: identity.scope.clone(),
            })
        };
        let kind = match credential {
            Credential::Password { password, .. } => {
                password.read()?;
                Kind::Password {
                    source: password.clone(),
                    salted: Mutex::default(),
                }
            }
            Credential::ClientSecret {
                identity, secret, ..
            } => token(identity, CredentialKind::ClientSecret(secret.read()?))?,
            Credential::WorkloadIdentity {
                identity,
                token_file,
                ..
            } => {
                let token_file = token_file.clone();
                token(identity, CredentialKind::WorkloadIdentity { token_file })?
            }
            Credential::ManagedIdentity { client, scope, .. } => {
                let http = metadata_client(tls::client(None)?)?;
                Kind::Token {
                    source: TokenSource::managed_identity(http, *client)?,
                    scope: scope.clone(),
                }
            }
            Credential::Developer { scope, .. } => Kind::Token {
                source: TokenSource::developer()?,
                scope: scope.clone(),
            },
        };
        Ok(Self {
            user: credential.user().to_owned(),
            kind,
        })
    }

    /// The role.
    pub(crate) fn user(&self) -> &str {
        &self.user
    }

    /// Whether it is a password: SCRAM only.
    pub(crate) const fn is_password(&self) -> bool {
        matches!(self.kind, Kind::Password { .. })
    }

    /// The password or a fresh token.
    ///
    /// # Errors
    /// [`CredentialError`] when it can't be had now.
    pub(crate) async fn secret(&self) -> Result<SecretString, CredentialError> {
        match &self.kind {
            Kind::Password { source, .. } => {
                let source = source.clone();
                let read = tokio::task::spawn_blocking(move || source.read()).await;
                Ok(read.map_err(|_| CredentialError::Gone)??)
            }
            Kind::Token { source, scope } => Ok(source.token(scope).await?.secret),
        }
    }

    /// What a session proves its login with; a password itself stays here.
    ///
    /// # Errors
    /// [`CredentialError`] when Entra gives no token.
    pub(crate) async fn proof(&self) -> Result<TargetProof, CredentialError> {
        match &self.kind {
            Kind::Password { .. } => Ok(TargetProof::Password),
            Kind::Token { source, scope } => {
                Ok(TargetProof::Token(source.token(scope).await?.secret))
            }
        }
    }

    /// The password, salted for a SCRAM exchange. PBKDF2 runs off the reactor, once per password
    /// and salt.
    ///
    /// # Errors
    /// [`CredentialError`] for parameters out of bounds, or when the password can't be read.
    pub(crate) async fn salted_password(
        &self,
        salt: Vec<u8>,
        iterations: u32,
    ) -> Result<SecretSlice<u8>, CredentialError> {
        let Kind::Password { salted: last, .. } = &self.kind else {
            return Err(CredentialError::NotAPassword);
        };
        let password = self.secret().await?;
        if let Some(last) = &*last.lock()
            && last.salt == salt
            && last.iterations == iterations
            && same(&last.password, &password)
        {
            return Ok(last.salted.clone());
        }
        let derived = tokio::task::spawn_blocking(move || {
            let clear = password.expose_secret().as_bytes();
            let salted = SaltedPassword::derive(clear, &salt, iterations)?;
            let salted = SecretSlice::from(salted.as_bytes().to_vec());
            Ok::<_, ScramError>(Salted {
                password,
                salt,
                iterations,
                salted,
            })
        });
        let derived = derived.await.map_err(|_| CredentialError::Gone)??;
        let salted = derived.salted.clone();
        *last.lock() = Some(derived);
        Ok(salted)
    }
}

fn same(a: &SecretString, b: &SecretString) -> bool {
    a.expose_secret()
        .as_bytes()
        .ct_eq(b.expose_secret().as_bytes())
        .into()
}
