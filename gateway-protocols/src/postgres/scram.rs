//! SCRAM-SHA-256 and SCRAM-SHA-256-PLUS, the client's side.
//!
//! RFC 5802 with RFC 7677's hash, as PostgreSQL uses them (PostgreSQL 18, "SASL Authentication"):
//! the user name is empty, since the startup packet already had it, and the channel binding is
//! tls-server-end-point (RFC 5929, section 4).
//!
//! Pure: the nonce is an argument, and the one expensive step, [`SaltedPassword::derive`], is a
//! function of its own that belongs off the threads that serve connections.
//!
//! ```text
//! ExpectServerFirst --server-first--> Challenge --SaltedPassword--> ExpectServerFinal --verified--> ()
//! ```

use std::num::NonZeroU32;

use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use zeroize::Zeroizing;

mod end_point;
#[cfg(test)]
mod tests;

pub use end_point::EndPoint;

/// Name of the mechanism without channel binding.
pub const SCRAM_SHA_256: &str = "SCRAM-SHA-256";

/// Name of the mechanism with channel binding.
pub const SCRAM_SHA_256_PLUS: &str = "SCRAM-SHA-256-PLUS";

/// Iteration counts that are accepted. Fewer make a captured exchange cheap to guess from (RFC 7677,
/// section 4, asks for 4096 at least); more let a server spend our processor time.
pub const ITERATIONS: std::ops::RangeInclusive<u32> = 4096..=100_000;

/// Longest message taken from a server, in bytes. PostgreSQL's own are below 200.
const MESSAGE_BYTES_MAX: usize = 1024;

/// Longest salt accepted, in bytes. PostgreSQL's have 16.
const SALT_BYTES_MAX: usize = 256;

const HASH_BYTES: usize = digest::SHA256_OUTPUT_LEN;

/// Why the exchange failed. Every one ends the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ScramError {
    /// A message of the server does not follow RFC 5802's grammar, section 7, or is too long.
    #[error("malformed SCRAM message from the server")]
    Malformed,
    /// The server's nonce does not extend ours.
    #[error("SCRAM nonce from the server does not extend ours")]
    Nonce,
    /// An iteration count outside [`ITERATIONS`].
    #[error("SCRAM iteration count `{0}` is out of bounds")]
    Iterations(u32),
    /// The server refused: most often a wrong password.
    #[error("server refused the SCRAM exchange")]
    Refused,
    /// The server's signature is wrong: it does not know the password's verifier.
    #[error("server did not prove that it knows the password")]
    ServerSignature,
    /// The salt given to [`SaltedPassword::derive`] is empty or too long.
    #[error("SCRAM salt of invalid length")]
    Salt,
    /// The nonce has fewer than 18 or more than 128 characters, or others than RFC 5802 allows.
    #[error("unusable SCRAM nonce")]
    OwnNonce,
    /// The certificate is not one whose tls-server-end-point digest is defined.
    #[error("certificate without a defined tls-server-end-point digest")]
    Certificate,
}

/// What the client says about channel binding: the GS2 header (RFC 5802, section 6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChannelBinding {
    /// There is no TLS, or its certificate has no end point digest.
    Unsupported,
    /// We could bind but the server did not offer `SCRAM-SHA-256-PLUS`. A server that did offer it
    /// refuses this: somebody removed it on the way.
    NotOffered,
    /// Bound to the server's certificate.
    ServerEndPoint(EndPoint),
}

impl ChannelBinding {
    /// The mechanism that goes with it.
    #[must_use]
    pub fn mechanism(&self) -> &'static str {
        match self {
            Self::Unsupported | Self::NotOffered => SCRAM_SHA_256,
            Self::ServerEndPoint(_) => SCRAM_SHA_256_PLUS,
        }
    }

    fn gs2_header(&self) -> &'static str {
        match self {
            Self::Unsupported => "n,,",
            Self::NotOffered => "y,,",
            Self::ServerEndPoint(_) => "p=tls-server-end-point,,",
        }
    }

    /// The `c=` attribute's value.
    fn encoded(&self) -> String {
        let mut binding = self.gs2_header().as_bytes().to_vec();
        match self {
            Self::Unsupported | Self::NotOffered => {}
            Self::ServerEndPoint(end_point) => binding.extend_from_slice(end_point.as_bytes()),
        }
        BASE64.encode(binding)
    }
}

/// The client's nonce: 18 to 128 printable ASCII characters, without commas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nonce(String);

impl Nonce {
    /// A nonce from fresh random bytes; never use the same twice.
    #[must_use]
    pub fn from_entropy(entropy: &[u8; 18]) -> Self {
        Self(BASE64.encode(entropy))
    }

    /// A nonce given as text.
    ///
    /// # Errors
    /// [`ScramError::OwnNonce`].
    pub fn new(text: &str) -> Result<Self, ScramError> {
        let valid = (18..=128).contains(&text.len()) && is_nonce(text.as_bytes());
        valid
            .then(|| Self(text.to_owned()))
            .ok_or(ScramError::OwnNonce)
    }
}

/// The exchange has begun: [`ExpectServerFirst::message`] is to be sent, server-first to come.
#[derive(Debug, Clone)]
#[must_use]
pub struct ExpectServerFirst {
    binding: ChannelBinding,
    nonce: Nonce,
    /// client-first-message-bare
    bare: String,
}

impl ExpectServerFirst {
    /// Begins an exchange.
    pub fn new(binding: ChannelBinding, nonce: Nonce) -> Self {
        let bare = format!("n=,r={}", nonce.0);
        Self {
            binding,
            nonce,
            bare,
        }
    }

    /// The mechanism to name in SASLInitialResponse.
    #[must_use]
    pub fn mechanism(&self) -> &'static str {
        self.binding.mechanism()
    }

    /// client-first-message, the data of SASLInitialResponse.
    #[must_use]
    pub fn message(&self) -> String {
        format!("{}{}", self.binding.gs2_header(), self.bare)
    }

    /// Takes server-first-message, the data of AuthenticationSASLContinue.
    ///
    /// # Errors
    /// [`ScramError::Malformed`], [`ScramError::Nonce`] or [`ScramError::Iterations`].
    pub fn server_first(self, message: &[u8]) -> Result<Challenge, ScramError> {
        let message = bounded_text(message)?;
        // SPEC: RFC 5802, section 7: `r=..,s=..,i=..`, extensions only behind. An extension in front
        // (`m=`) is mandatory and unknown, and PostgreSQL has none behind: both are refused.
        let mut attributes = message.split(',');
        let nonce = attribute(attributes.next(), "r=")?;
        let salt = attribute(attributes.next(), "s=")?;
        let iterations = attribute(attributes.next(), "i=")?;
        if attributes.next().is_some() {
            return Err(ScramError::Malformed);
        }
        let extends = nonce
            .strip_prefix(self.nonce.0.as_str())
            .is_some_and(|server| !server.is_empty());
        if !extends || !is_nonce(nonce.as_bytes()) {
            return Err(ScramError::Nonce);
        }
        let salt = BASE64.decode(salt).map_err(|_| ScramError::Malformed)?;
        if salt.is_empty() || salt.len() > SALT_BYTES_MAX {
            return Err(ScramError::Malformed);
        }
        let iterations = bounded_iterations(iterations)?;
        let without_proof = format!("c={},r={nonce}", self.binding.encoded());
        let auth_message = format!("{},{message},{without_proof}", self.bare);
        Ok(Challenge {
            salt,
            iterations,
            without_proof,
            auth_message,
        })
    }
}

/// The server's challenge: a [`SaltedPassword`] for this salt and count is needed to go on.
#[derive(Debug, Clone)]
#[must_use]
pub struct Challenge {
    salt: Vec<u8>,
    iterations: u32,
    without_proof: String,
    auth_message: String,
}

impl Challenge {
    /// The salt: 1 to 256 bytes.
    #[must_use]
    pub fn salt(&self) -> &[u8] {
        &self.salt
    }

    /// The iteration count, within [`ITERATIONS`].
    #[must_use]
    pub fn iterations(&self) -> u32 {
        self.iterations
    }

    /// Answers the challenge: client-final-message, the data of SASLResponse, and what is then
    /// waited for.
    pub fn client_final(self, password: &SaltedPassword) -> (String, ExpectServerFinal) {
        // SPEC: RFC 5802, section 3, "SCRAM Algorithm Overview".
        let client_key = Zeroizing::new(password.hmac(b"Client Key"));
        let stored_key = digest::digest(&digest::SHA256, client_key.as_ref());
        let stored_key = hmac::Key::new(hmac::HMAC_SHA256, stored_key.as_ref());
        let signature = hmac::sign(&stored_key, self.auth_message.as_bytes());
        let proof: Vec<u8> = client_key
            .iter()
            .zip(signature.as_ref())
            .map(|(key, sign)| key ^ sign)
            .collect();
        let message = format!("{},p={}", self.without_proof, BASE64.encode(proof));
        let server_key = Zeroizing::new(password.hmac(b"Server Key"));
        let server_key = hmac::Key::new(hmac::HMAC_SHA256, server_key.as_ref());
        (
            message,
            ExpectServerFinal {
                server_key,
                auth_message: self.auth_message,
            },
        )
    }
}

/// The proof is to be sent; the server has to prove itself in return.
#[derive(Clone)]
#[must_use]
pub struct ExpectServerFinal {
    server_key: hmac::Key,
    auth_message: String,
}

impl std::fmt::Debug for ExpectServerFinal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExpectServerFinal").finish_non_exhaustive()
    }
}

impl ExpectServerFinal {
    /// Takes server-final-message, the data of AuthenticationSASLFinal. Only after this returned
    /// `Ok` may AuthenticationOk be believed.
    ///
    /// The signature is compared in constant time.
    ///
    /// # Errors
    /// [`ScramError::Refused`], [`ScramError::ServerSignature`] or [`ScramError::Malformed`].
    pub fn verify(self, message: &[u8]) -> Result<(), ScramError> {
        let message = bounded_text(message)?;
        if message.starts_with("e=") {
            return Err(ScramError::Refused);
        }
        let signature = attribute(Some(message), "v=")?;
        let signature = BASE64
            .decode(signature)
            .map_err(|_| ScramError::Malformed)?;
        hmac::verify(&self.server_key, self.auth_message.as_bytes(), &signature)
            .map_err(|_| ScramError::ServerSignature)
    }
}

/// A password made ready for one salt and iteration count. As good as the password for a server
/// that uses these: zeroed when dropped, never shown.
#[derive(Clone)]
pub struct SaltedPassword(Zeroizing<[u8; HASH_BYTES]>);

impl SaltedPassword {
    /// RFC 5802's `Hi`: PBKDF2 with HMAC-SHA-256. Takes tens of milliseconds at the highest count:
    /// not for a thread that serves connections.
    ///
    /// The password goes through SASLprep (RFC 4013) if it is UTF-8 that SASLprep accepts, and is
    /// used as it is otherwise: exactly what PostgreSQL does (`scram_build_secret` in
    /// `fe-auth-scram.c`, with `pg_saslprep`).
    ///
    /// # Errors
    /// [`ScramError::Iterations`] or [`ScramError::Salt`] for values a [`Challenge`] never has.
    pub fn derive(password: &[u8], salt: &[u8], iterations: u32) -> Result<Self, ScramError> {
        let count = NonZeroU32::new(iterations).filter(|_| ITERATIONS.contains(&iterations));
        let count = count.ok_or(ScramError::Iterations(iterations))?;
        if salt.is_empty() || salt.len() > SALT_BYTES_MAX {
            return Err(ScramError::Salt);
        }
        let prepared = prepare(password);
        let mut salted = Zeroizing::new([0; HASH_BYTES]);
        pbkdf2::derive(
            pbkdf2::PBKDF2_HMAC_SHA256,
            count,
            salt,
            &prepared,
            salted.as_mut(),
        );
        Ok(Self(salted))
    }

    /// A salted password that was derived elsewhere; `None` unless it is 32 bytes.
    #[must_use]
    pub fn from_bytes(salted: &[u8]) -> Option<Self> {
        salted
            .try_into()
            .ok()
            .map(|salted| Self(Zeroizing::new(salted)))
    }

    /// The 32 bytes, as secret as the password.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_ref()
    }

    fn hmac(&self, text: &[u8]) -> [u8; HASH_BYTES] {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.0.as_ref());
        let mut out = [0; HASH_BYTES];
        for (to, from) in out.iter_mut().zip(hmac::sign(&key, text).as_ref()) {
            *to = *from;
        }
        out
    }
}

impl std::fmt::Debug for SaltedPassword {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SaltedPassword(..)")
    }
}

/// SASLprep where it applies, the password as it is where not.
fn prepare(password: &[u8]) -> Zeroizing<Vec<u8>> {
    let prepared = std::str::from_utf8(password)
        .ok()
        .and_then(|text| stringprep::saslprep(text).ok());
    Zeroizing::new(match prepared {
        Some(text) if !text.is_empty() => text.into_owned().into_bytes(),
        Some(_) | None => password.to_vec(),
    })
}

/// A message as text, if it is not too long.
fn bounded_text(message: &[u8]) -> Result<&str, ScramError> {
    if message.len() > MESSAGE_BYTES_MAX {
        return Err(ScramError::Malformed);
    }
    std::str::from_utf8(message).map_err(|_| ScramError::Malformed)
}

/// The value of an attribute that must be next.
fn attribute<'a>(found: Option<&'a str>, name: &str) -> Result<&'a str, ScramError> {
    found
        .and_then(|found| found.strip_prefix(name))
        .ok_or(ScramError::Malformed)
}

/// An iteration count: digits without a leading zero or sign, within [`ITERATIONS`].
fn bounded_iterations(text: &str) -> Result<u32, ScramError> {
    let canonical = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    let iterations: u32 = text.parse().map_err(|_| ScramError::Malformed)?;
    match (canonical, ITERATIONS.contains(&iterations)) {
        (true, true) => Ok(iterations),
        (true, false) => Err(ScramError::Iterations(iterations)),
        (false, _) => Err(ScramError::Malformed),
    }
}

/// SPEC: RFC 5802, section 7: `printable = %x21-2B / %x2D-7E`.
fn is_nonce(text: &[u8]) -> bool {
    text.iter()
        .all(|byte| byte.is_ascii_graphic() && *byte != b',')
}
