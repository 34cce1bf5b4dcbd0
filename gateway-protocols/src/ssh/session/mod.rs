//! The SSH wire: one agent's session with one target.
//!
//! ```text
//! ExpectLogin --> ExpectPrincipal --> ExpectRoute --policy--> ExpectConnection --> Relay --> Ended
//! ```

use std::collections::VecDeque;

use bytes::Bytes;
use gateway_core::{
    limits::Limits,
    record::Moment,
    wire::{Credential, Event as Notice, Payload, Side, Turn, Wire, WireError},
};

use super::message::Message;

/// What arrives from a side's transport.
#[derive(Debug)]
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
    /// The transport refused something by itself: a global request, a forward. To be recorded.
    Refused {
        /// What, in words without values of the peer.
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
    /// Send a message about a channel. [`super::message::Body::Open`] on the target's side: open a
    /// session channel there, known under this number from here on.
    Message(Message),
    /// Disconnect with these words for a person.
    Disconnect {
        /// One line.
        text: String,
    },
}

/// A command on its way out, and what evidence keeps of it.
#[derive(Clone, Debug)]
pub struct Outbound {
    /// The command.
    pub command: Command,
    /// The stream data in it.
    moment: Option<Moment>,
}

impl Payload for Outbound {
    fn weight(&self) -> usize {
        let moment = self.moment.as_ref().map_or(0, |moment| moment.data.len());
        moment
            + match &self.command {
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
pub struct Session {}

impl Session {
    /// A session whose agent has just connected.
    #[must_use]
    pub fn new(_limits: &Limits) -> Self {
        Self {}
    }
}

impl Wire for Session {
    type Inbound = VecDeque<Event>;
    type Outbound = Outbound;

    fn receive(
        &mut self,
        _from: Side,
        _input: &mut VecDeque<Event>,
        _turn: &mut Turn<'_, Outbound>,
    ) -> Result<(), WireError> {
        Ok(())
    }

    fn notify(&mut self, _event: Notice, _turn: &mut Turn<'_, Outbound>) -> Result<(), WireError> {
        Ok(())
    }

    fn wants(&self, _from: Side, _buffered: usize) -> bool {
        false
    }
}
