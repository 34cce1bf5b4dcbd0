//! The one trait that a protocol implements, and what passes between a wire, its gate and a shell.

use std::sync::Arc;

use bytes::Bytes;
use secrecy::{SecretSlice, SecretString};

use crate::{
    decision::Denial,
    id::{AskId, UnitId},
    identity::{Authenticated, Principal},
    mask::{Classified, Obligations},
    operation::Analysis,
    record::CloseReason,
    target::Target,
};

pub use crate::gate::Turn;

/// One of the two connections of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The agent's.
    Agent,
    /// The target's.
    Target,
}

/// A protocol's state machine: bytes or events in, calls on the [`Turn`] out.
///
/// Pure: no I/O, clock, randomness or global state. A wire decides nothing and sends nothing by
/// itself; it submits operations and releases, passes or replies through its turn.
pub trait Wire {
    /// What arrives from a side: `BytesMut`, or a typed event where another crate owns the transport.
    type Inbound;
    /// What leaves to a side: `Bytes`, or a typed command.
    type Outbound: Payload;

    /// Takes what it can from `input` and leaves the rest.
    ///
    /// Called again with the rest after every other event, so "not now" is to take nothing.
    ///
    /// # Errors
    /// [`WireError`] when the peer broke the protocol beyond an answer in it; the session closes.
    fn receive(
        &mut self,
        from: Side,
        input: &mut Self::Inbound,
        turn: &mut Turn<'_, Self::Outbound>,
    ) -> Result<(), WireError>;

    /// Hears of something that isn't input.
    ///
    /// # Errors
    /// As [`Wire::receive`].
    fn notify(
        &mut self,
        event: Event,
        turn: &mut Turn<'_, Self::Outbound>,
    ) -> Result<(), WireError>;

    /// Whether it would make use of more input from this side, with `buffered` bytes (or events)
    /// of it still untaken. The bound on input memory: `false` stops the driver from reading.
    fn wants(&self, from: Side, buffered: usize) -> bool;
}

/// What the gate must know about outbound data.
pub trait Payload {
    /// Size in memory, bytes.
    fn weight(&self) -> usize;

    /// The bytes to record as delivered; `None` for what has none.
    fn recorded(&self) -> Option<Bytes>;
}

impl Payload for Bytes {
    fn weight(&self) -> usize {
        self.len()
    }

    fn recorded(&self) -> Option<Bytes> {
        Some(self.clone())
    }
}

/// Something that isn't input.
#[derive(Debug)]
pub enum Event {
    /// The session begins.
    Started,
    /// No more input will come from this side.
    Eof(Side),
    /// The TLS handshake asked for on this side is done.
    TlsReady(Side, TlsFacts),
    /// The connection to the target is open.
    Connected,
    /// The connection to the target couldn't be opened, or its TLS failed; words for the operator.
    ConnectFailed(String),
    /// An answer to a question of this wire.
    Answer(AskId, Answer),
    /// A held unit was ruled on.
    Ruled(UnitId, Result<Obligations, Denial>),
    /// This session's cancel key was presented and the policy allows it.
    CancelRequested,
    /// Cached analyses and verdicts are stale: the policy or the catalogue changed.
    Stale,
    /// The session is about to be closed for this reason: the last chance to tell the agent.
    Closing(CloseReason),
}

/// What a TLS handshake established.
#[derive(Clone, Debug, Default)]
pub struct TlsFacts {
    /// The peer's certificate, DER, verified. For channel binding on the target side.
    pub peer_certificate: Option<Vec<u8>>,
    /// The application protocol that both sides agreed on (RFC 7301, "Application-Layer Protocol
    /// Negotiation"); `None` where the client named none.
    pub application_protocol: Option<Vec<u8>>,
}

/// A fact that a wire lacks. The shell answers; no answer within the limit is
/// [`Answer::Unanswered`].
#[derive(Debug)]
pub enum Question {
    /// Which target does this name mean on this listener? -> [`Answer::Route`].
    Route {
        /// What the client asked for, in the protocol's own form.
        requested: String,
    },
    /// Whose credential is this? -> [`Answer::Authenticated`]. The gate records the outcome.
    Authenticate {
        /// The user name the client claims.
        claimed_user: String,
        /// What it shows.
        credential: Credential,
    },
    /// What does this text do? -> [`Answer::Analysed`].
    AnalyseSql {
        /// The exact text.
        text: Arc<str>,
    },
    /// How does the gateway log in at the target? -> [`Answer::TargetLogin`].
    TargetLogin,
    /// The target's password, salted for its SCRAM exchange -> [`Answer::SaltedPassword`]. Off the
    /// reactor: PBKDF2.
    SaltPassword {
        /// The server's salt.
        salt: Vec<u8>,
        /// The server's iteration count.
        iterations: u32,
    },
    /// A cancel key for this session, registered -> [`Answer::CancelKey`].
    CancelKey {
        /// The process id that goes with it: the target's own, by which clients know their session.
        process: i32,
        /// Length of the key, bytes: 4 (protocol 3.0) to 256.
        length: usize,
    },
    /// Cancel whatever session this key belongs to -> [`Answer::Cancelled`], once the target has been
    /// told. Nobody learns whether there was anything to cancel.
    Cancel {
        /// Process id as presented.
        process: i32,
        /// The key as presented.
        key: Vec<u8>,
    },
    /// The target's catalogue was changed by this session; there is no answer to wait for.
    CatalogueChanged,
    /// Use up an approval, once -> [`Answer::Consumed`]. Asked by the gate itself.
    ConsumeApproval {
        /// The approval.
        approval: crate::id::ApprovalId,
        /// What it was given for.
        digest: crate::id::Digest,
    },
}

/// What an agent proves itself with.
#[derive(Clone, Debug)]
pub enum Credential {
    /// An Entra token in the place of a password.
    Password(SecretString),
    /// A client secret; the claimed user is the client's id, `id` or `id@tenant`. The shell exchanges
    /// them for a token (RFC 6749, section 4.4 "Client Credentials Grant").
    ClientSecret(SecretString),
    /// An Entra token as bearer (RFC 6750, section 2.1).
    Bearer(SecretString),
    /// An OpenSSH user certificate that the gateway gave for a token, in its wire form
    /// (OpenSSH 9.2, `PROTOCOL.certkeys`). The peer has proved that it holds the certified key.
    Certificate(Vec<u8>),
}

impl Credential {
    /// How it is named in evidence.
    #[must_use]
    pub const fn method(&self) -> &'static str {
        match self {
            Self::Password(_) => "token-as-password",
            Self::ClientSecret(_) => "client-secret",
            Self::Bearer(_) => "bearer-token",
            Self::Certificate(_) => "ssh-certificate",
        }
    }
}

/// The answer to a [`Question`].
#[derive(Debug)]
pub enum Answer {
    /// The target and the database in it, or why there is none.
    Route(Result<Route, Denial>),
    /// The proven principal, or the stable reason code of the rejection.
    Authenticated(Result<Authenticated<Principal>, String>),
    /// What a text does.
    Analysed(Analysed),
    /// How to log in, or why that can't be had.
    TargetLogin(Result<TargetLogin, String>),
    /// RFC 5802's `SaltedPassword`, 32 bytes for SHA-256.
    SaltedPassword(SecretSlice<u8>),
    /// This session's cancel key.
    CancelKey {
        /// The key to present.
        key: Vec<u8>,
    },
    /// A cancel request has had its effect, if any.
    Cancelled,
    /// Whether this was the approval's one use.
    Consumed(bool),
    /// Nobody answered in time, or the shell couldn't.
    Unanswered,
}

/// Where a session goes.
#[derive(Clone, Debug)]
pub struct Route {
    /// The target.
    pub target: Target,
    /// The database (or other namespace) in it.
    pub database: String,
}

/// A text's analysis, and the classification it was made under.
#[derive(Clone, Debug)]
pub struct Analysed {
    /// What the text does.
    pub analysis: Arc<Analysis>,
    /// The classification in force, for the check on the wire.
    pub classified: Arc<Classified>,
}

/// How the gateway logs in at a target.
#[derive(Debug)]
pub struct TargetLogin {
    /// The role.
    pub user: String,
    /// What proves it.
    pub proof: TargetProof,
    /// A fresh SCRAM client nonce, printable ASCII without commas.
    pub nonce: String,
    /// Its TLS begins without being asked for (PostgreSQL 17 and later, "SSL Session Encryption").
    pub direct_tls: bool,
}

/// What proves the gateway's role at a target.
#[derive(Debug)]
pub enum TargetProof {
    /// A password, by SCRAM only; the wire asks for [`Question::SaltPassword`] and never sees it.
    Password,
    /// A short-lived token in the password message, over verified TLS only.
    Token(SecretString),
}

/// The gate's answer to a submitted operation.
#[derive(Debug)]
#[must_use = "an operation that isn't released or refused leaves the peer waiting"]
pub enum Ruling {
    /// It may be released, under these obligations.
    Allowed {
        /// The unit.
        unit: UnitId,
        /// What must be masked.
        obligations: Obligations,
    },
    /// It may not. Already recorded.
    Refused(Denial),
    /// It waits; [`Event::Ruled`] follows.
    Held {
        /// The unit.
        unit: UnitId,
        /// Words for the agent, naming the approval.
        notice: String,
    },
}

/// Protocol housekeeping that may reach the target without a unit. A closed set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Session start and login on the gateway's own behalf.
    Login,
    /// A message that only delimits or describes: Describe, Close, Flush, Sync, CopyFail.
    Delimiter,
    /// A fixed statement of ours in place of a refused unit, which the target must reject.
    Rejection,
    /// The end of the session.
    Goodbye,
}

/// A question of the gateway's own to the target. A closed set; no agent text, at most the name of
/// an object that the agent made in its own session, or the path that is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// Which columns, of which origin and format, will this portal return?
    DescribePortal,
    /// Where does the file server resolve this path of the agent's to? Opening the file server for
    /// such questions is part of the first one.
    ResolvePath,
}

/// A peer broke the protocol. Sticky: the session is over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{side:?} broke the protocol: {what}")]
pub struct WireError {
    /// Who.
    pub side: Side,
    /// What; never peer bytes.
    pub what: String,
    /// How the session's end is recorded.
    pub reason: CloseReason,
}

impl WireError {
    /// A plain protocol violation.
    #[must_use]
    pub fn protocol(side: Side, what: impl Into<String>) -> Self {
        Self {
            side,
            what: what.into(),
            reason: CloseReason::ProtocolError,
        }
    }

    /// Results that can't be shown to be masked.
    #[must_use]
    pub fn incident(what: impl Into<String>) -> Self {
        Self {
            side: Side::Target,
            what: what.into(),
            reason: CloseReason::Incident,
        }
    }
}
