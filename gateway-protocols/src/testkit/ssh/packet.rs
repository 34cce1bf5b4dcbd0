//! SSH's events and commands in the kit's streams.
//!
//! ```text
//! RFC 4254's message numbers   a message about a channel, in its binary form
//! 50 | string user | u8 method | credential      the agent's login
//! 51, 52                       the login is rejected, accepted
//! 53 | string user | reason    the agent gave up its login
//! 80 | text                    the transport refused something by itself
//! 81 | text                    the transport's own protocol was broken
//! 1 | text                     disconnect
//! ```

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use gateway_core::wire::{Credential, Side};
use secrecy::SecretString;

use crate::{
    ssh::{
        Command, Event, Outbound as SshOutbound,
        message::{Body, Message},
    },
    testkit::typed::{Outbound, Typed, packet, packets},
};

const DISCONNECT: u8 = 1;
const LOGIN: u8 = 50;
const REJECT: u8 = 51;
const ACCEPT: u8 = 52;
const GAVE_UP: u8 = 53;
const REFUSED: u8 = 80;
const BROKEN: u8 = 81;

const PASSWORD: u8 = 0;
const CERTIFICATE: u8 = 1;

/// What a packet of any stream says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// The agent's user name and token.
    Login(String, Proof),
    /// The login was accepted.
    Accept,
    /// The login was rejected.
    Reject,
    /// Something about a channel.
    Message(Message),
    /// What the agent's transport refused by itself.
    Refused(String),
    /// The agent's user name, and why it left without a login.
    GaveUp(String, String),
    /// How a peer broke its transport's own protocol.
    Broken(String),
    /// The end, with words for a person.
    Disconnect(String),
}

/// What an agent shows: a password, or a certificate's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "named as in `Credential`")]
pub enum Proof {
    Password(String),
    Certificate(Vec<u8>),
}

impl Said {
    /// What the bodies of a stream's packets say; what says nothing is left out.
    pub fn of(stream: &[u8]) -> impl Iterator<Item = Self> {
        packets(stream).filter_map(|body| Self::parse(&body))
    }

    fn parse(body: &Bytes) -> Option<Self> {
        let mut rest = body.clone();
        let code = rest.try_get_u8().ok()?;
        let text = |rest: &Bytes| String::from_utf8(rest.to_vec()).ok();
        let user = |rest: &mut Bytes| {
            let len = usize::try_from(rest.try_get_u32().ok()?).ok()?;
            (len <= rest.len())
                .then(|| rest.split_to(len))
                .as_ref()
                .and_then(text)
        };
        Some(match code {
            LOGIN => {
                let user = user(&mut rest)?;
                let proof = match rest.try_get_u8().ok()? {
                    PASSWORD => Proof::Password(text(&rest)?),
                    CERTIFICATE => Proof::Certificate(rest.to_vec()),
                    _ => return None,
                };
                Self::Login(user, proof)
            }
            ACCEPT => Self::Accept,
            REJECT => Self::Reject,
            REFUSED => Self::Refused(text(&rest)?),
            GAVE_UP => Self::GaveUp(user(&mut rest)?, text(&rest)?),
            BROKEN => Self::Broken(text(&rest)?),
            DISCONNECT => Self::Disconnect(text(&rest)?),
            _ => Self::Message(Message::parse(body.clone()).ok()?),
        })
    }

    /// The packet that says it.
    ///
    /// Empty for a message that has no binary form.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut body = BytesMut::new();
        match self {
            Self::Login(user, proof) => {
                body.put_u8(LOGIN);
                put_user(&mut body, user);
                let (method, data) = match proof {
                    Proof::Password(password) => (PASSWORD, password.as_bytes()),
                    Proof::Certificate(certificate) => (CERTIFICATE, certificate.as_slice()),
                };
                body.put_u8(method);
                body.put_slice(data);
            }
            Self::Accept => body.put_u8(ACCEPT),
            Self::Reject => body.put_u8(REJECT),
            Self::Refused(what) => {
                body.put_u8(REFUSED);
                body.put_slice(what.as_bytes());
            }
            Self::GaveUp(user, reason) => {
                body.put_u8(GAVE_UP);
                put_user(&mut body, user);
                body.put_slice(reason.as_bytes());
            }
            Self::Broken(what) => {
                body.put_u8(BROKEN);
                body.put_slice(what.as_bytes());
            }
            Self::Disconnect(text) => {
                body.put_u8(DISCONNECT);
                body.put_slice(text.as_bytes());
            }
            Self::Message(message) => {
                if message.encode(&mut body).is_err() {
                    return Bytes::new();
                }
            }
        }
        packet(&body)
    }
}

fn put_user(body: &mut BytesMut, user: &str) {
    body.put_u32(u32::try_from(user.len()).unwrap_or(u32::MAX));
    body.put_slice(user.as_bytes());
}

impl Typed for Event {
    fn parse(from: Side, body: &Bytes) -> Option<Self> {
        match (from, Said::parse(body)?) {
            (Side::Agent, Said::Login(user, proof)) => Some(Self::Login {
                user,
                credential: match proof {
                    Proof::Password(password) => Credential::Password(SecretString::from(password)),
                    Proof::Certificate(certificate) => Credential::Certificate(certificate),
                },
            }),
            (_, Said::Message(message)) => Some(Self::Message(message)),
            (_, Said::Refused(what)) => Some(Self::Refused { what }),
            (Side::Agent, Said::GaveUp(user, reason)) => Some(Self::GaveUp { user, reason }),
            (_, Said::Broken(what)) => Some(Self::Broken { what }),
            (
                _,
                Said::Login(..)
                | Said::GaveUp(..)
                | Said::Accept
                | Said::Reject
                | Said::Disconnect(_),
            ) => None,
        }
    }

    fn data(&mut self) -> Option<&mut Bytes> {
        match self {
            Self::Message(Message {
                body: Body::Data(data) | Body::ExtendedData { data, .. },
                ..
            }) => Some(data),
            _ => None,
        }
    }
}

impl Outbound for SshOutbound {
    fn encode(&self, _: Side) -> Bytes {
        let said = match &self.command {
            Command::Accept => Said::Accept,
            Command::Reject => Said::Reject,
            Command::Message(message) => Said::Message(message.clone()),
            Command::Disconnect { text } => Said::Disconnect(text.clone()),
        };
        said.encode()
    }
}
