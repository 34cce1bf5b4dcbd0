//! The SSH wire: one agent's session with one target.
//!
//! ```text
//! Login --> Relay --> Ended
//!
//! one channel of the relay:
//! Setup --exec, shell--> Held --> Program --> Over
//! Setup --sftp-------------------> Files ----> Over
//! ```
//! The login's own states stand in `login`. A program is one unit: its channel at the target is
//! opened once it is allowed, and everything on it is recorded. Inside a file transfer each operation
//! on a path is a unit, decided by the path that the target resolves.

mod channel;
mod files;
mod login;
mod program;
mod relay;
mod setup;
mod words;

use std::collections::VecDeque;

use bytes::Bytes;
use gateway_core::{
    id::UnitId,
    limits::Limits,
    record::{Moment, Track},
    wire::{Credential, Event as Notice, Payload, Side, Turn, Wire, WireError},
};

use super::message::{Body, ChannelId, Message};
use channel::Bounds;
use login::Login;
use relay::Relay;

pub use channel::{CHANNELS_MAX, EXIT_FAILED, EXIT_REFUSED};
pub use files::{HANDLES_MAX, OpenFile};

/// Events that may wait untaken on one side. Their data is bounded by the transport's packets.
const EVENTS_MAX: usize = 32;

/// What arrives from a side's transport.
#[derive(Clone, Debug)]
pub enum Event {
    /// The agent shows a credential. Once per session, before anything else; the transport has
    /// checked that the agent holds the key of a [`Credential::Certificate`].
    Login {
        /// The user name that the agent gives: which target it wants.
        user: String,
        /// What it shows.
        credential: Credential,
    },
    /// A message about a channel. The agent's come only after [`Command::Accept`]. A transport that
    /// isn't told whether a reply is wanted says it is.
    Message(Message),
    /// The transport refused something by itself: a forward, a type that it doesn't know. To be
    /// recorded.
    Refused {
        /// What, in words; of the peer's own at most the name of a type, cut to a line's length.
        what: String,
    },
    /// The agent asked to be let in and left without having shown a credential that the transport
    /// could pass on. Instead of a [`Event::Login`]; nothing follows.
    GaveUp {
        /// The user name that it gave, empty for none.
        user: String,
        /// A stable reason code: `certificate_expired`, `no_credential`…
        reason: String,
    },
    /// The peer broke the transport's own protocol, which has ended. Nothing follows.
    Broken {
        /// How, in words of up to a few hundred characters.
        what: String,
    },
}

/// What a side's transport is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Accept the login.
    Accept,
    /// Refuse the login. [`Command::Disconnect`] follows.
    Reject,
    /// Send a message about a channel. [`Body::Open`] on the target's side: open a session channel
    /// there, known under this number from here on.
    Message(Message),
    /// Disconnect with these words for a person.
    Disconnect {
        /// One line.
        text: String,
    },
}

impl Command {
    fn disconnect(text: &str) -> Self {
        Self::Disconnect {
            text: format!("gateway: {text}"),
        }
    }
}

/// A command on its way out, and what evidence keeps of it.
#[derive(Clone, Debug)]
pub struct Outbound {
    /// The command.
    pub command: Command,
    /// The stream data in it.
    moment: Option<Moment>,
}

impl Outbound {
    /// A message about a channel.
    fn message(channel: ChannelId, body: Body) -> Self {
        Command::Message(body.on(channel)).into()
    }

    /// The same, recorded as a piece of a track of a unit.
    fn of(self, unit: UnitId, track: Track, data: Bytes) -> Self {
        Self {
            moment: Some(Moment { unit, track, data }),
            ..self
        }
    }
}

impl From<Command> for Outbound {
    fn from(command: Command) -> Self {
        Self {
            command,
            moment: None,
        }
    }
}

impl Payload for Outbound {
    fn weight(&self) -> usize {
        match &self.command {
            Command::Accept | Command::Reject => 1,
            Command::Message(message) => message.body.weight(),
            Command::Disconnect { text } => text.len(),
        }
    }

    fn recorded(&self) -> Option<Bytes> {
        self.moment.as_ref().map(Moment::encode)
    }
}

/// An SSH session, sans-IO. Drive it with a [`gateway_core::gate::Gate`].
#[derive(Debug)]
pub struct Session {
    phase: Phase,
    bounds: Bounds,
}

#[derive(Debug)]
enum Phase {
    Login(Login),
    Relay(Relay),
}

impl Session {
    /// A session whose agent has just connected.
    #[must_use]
    pub const fn new(limits: &Limits) -> Self {
        Self {
            phase: Phase::Login(Login::new()),
            bounds: Bounds::new(limits),
        }
    }
}

impl Wire for Session {
    type Inbound = VecDeque<Event>;
    type Outbound = Outbound;

    fn receive(
        &mut self,
        from: Side,
        input: &mut VecDeque<Event>,
        turn: &mut Turn<'_, Outbound>,
    ) -> Result<(), WireError> {
        match &mut self.phase {
            Phase::Login(login) => login.receive(from, input, turn),
            Phase::Relay(relay) => relay.receive(from, input, turn),
        }
    }

    fn notify(&mut self, event: Notice, turn: &mut Turn<'_, Outbound>) -> Result<(), WireError> {
        match &mut self.phase {
            Phase::Login(login) => {
                if login.notify(event, turn) {
                    self.phase = Phase::Relay(Relay::new(self.bounds));
                }
                Ok(())
            }
            Phase::Relay(relay) => relay.notify(event, turn),
        }
    }

    fn wants(&self, _: Side, buffered: usize) -> bool {
        buffered < EVENTS_MAX
    }
}

#[cfg(test)]
mod tests;
