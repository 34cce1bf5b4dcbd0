//! The PostgreSQL wire: one agent's session with one target.
//!
//! ```text
//! Login --> Relay --> Ended
//! ```
//! The login's own states stand in `login`. In the relay, the agent's messages are taken one by
//! one: a text is analysed (`cache`, or a question to the shell), submitted, and its bytes released,
//! replaced by a statement that the target must reject, or kept while reviewers think. The target's
//! messages are walked in place and leave as they came, but for rows that are masked, errors that
//! are scrubbed, and answers to the gateway's own questions.

mod agent;
mod cache;
mod login;
mod names;
mod origins;
mod pending;
mod pins;
mod plan;
mod relay;
mod report;
mod startup;
mod target;
mod words;

use bytes::{Bytes, BytesMut};
use gateway_core::{
    limits::Limits,
    wire::{Event, Side, Turn, Wire, WireError},
};

use super::frame::FrameLimits;
use login::Login;
use relay::Relay;

pub use names::{Portal, Statement};

/// A PostgreSQL session, sans-IO. Drive it with a [`gateway_core::gate::Gate`].
#[derive(Debug)]
pub struct Session {
    phase: Phase,
    frame_bytes_max: usize,
    held_input_bytes_max: usize,
}

#[derive(Debug)]
enum Phase {
    Login(Box<Login>),
    Relay(Box<Relay>),
    Ended,
}

impl Session {
    /// A session whose agent has just connected.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        let frames = FrameLimits {
            whole_bytes_max: limits.frame_bytes_max,
            stream_bytes_max: limits.stream_bytes_max,
        };
        Self {
            phase: Phase::Login(Box::new(Login::new(frames))),
            frame_bytes_max: limits.frame_bytes_max,
            held_input_bytes_max: limits.held_input_bytes_max,
        }
    }
}

impl Wire for Session {
    type Inbound = BytesMut;
    type Outbound = Bytes;

    fn receive(
        &mut self,
        from: Side,
        input: &mut BytesMut,
        turn: &mut Turn<'_, Bytes>,
    ) -> Result<(), WireError> {
        match (&mut self.phase, from) {
            (Phase::Login(login), Side::Agent) => login.receive_agent(input, turn),
            (Phase::Login(login), Side::Target) => login.receive_target(input, turn),
            (Phase::Relay(relay), Side::Agent) => relay.receive_agent(input, turn),
            (Phase::Relay(relay), Side::Target) => relay.receive_target(input, turn),
            (Phase::Ended, _) => {
                input.clear();
                Ok(())
            }
        }
    }

    fn notify(&mut self, event: Event, turn: &mut Turn<'_, Bytes>) -> Result<(), WireError> {
        match &mut self.phase {
            Phase::Login(login) => {
                let Some(established) = login.notify(event, turn)? else {
                    return Ok(());
                };
                self.phase = match std::mem::replace(&mut self.phase, Phase::Ended) {
                    Phase::Login(login) => {
                        let (agent, target) = login.into_decoders();
                        Phase::Relay(Box::new(Relay::new(
                            established,
                            agent,
                            target,
                            turn.limits(),
                        )))
                    }
                    other => other,
                };
                Ok(())
            }
            Phase::Relay(relay) => relay.notify(event, turn),
            Phase::Ended => Ok(()),
        }
    }

    fn wants(&self, from: Side, buffered: usize) -> bool {
        let whole = self
            .frame_bytes_max
            .saturating_add(self.held_input_bytes_max);
        match (&self.phase, from) {
            (Phase::Login(_), _) => buffered < self.held_input_bytes_max,
            (Phase::Relay(relay), Side::Agent) if relay.is_waiting() => {
                buffered < self.held_input_bytes_max
            }
            (Phase::Relay(_), _) => buffered < whole,
            (Phase::Ended, _) => false,
        }
    }
}
