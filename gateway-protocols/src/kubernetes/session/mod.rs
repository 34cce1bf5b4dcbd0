//! The Kubernetes wire: one agent connection to one cluster.
//!
//! ```text
//! Login --> Relay --> Ended
//! ```
//! The first request with a token opens the session, and every later one must show a token of the
//! same principal. A request is read whole (`call`), submitted, and built anew for the target from
//! nothing but what was understood; its answer is checked, masked and delivered (`exchange`). An
//! exec ends both WebSocket connections here (`exec`).

mod bearer;
mod body;
mod call;
mod command;
mod effects;
mod exchange;
mod exec;
mod login;
mod parameters;
mod relay;
#[cfg(test)]
mod tests;
mod understand;

use std::collections::VecDeque;

use gateway_core::wire::{self, Side, Turn, Wire, WireError};

use super::message::Event;
use login::Login;
use relay::Relay;

pub use command::Command;
pub use understand::understand;

/// Events that are kept untaken from one side, at most: at 64 KiB each, about 1 MiB.
const UNTAKEN_MAX: usize = 16;

/// How a session is made.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whether the first segment of every path names the target: a listener that targets share.
    pub prefixed: bool,
    /// Fresh randomness: the keys of WebSocket connections come from it.
    pub seed: [u8; 32],
}

/// A Kubernetes session, sans-IO. Drive it with a [`gateway_core::gate::Gate`].
#[derive(Debug)]
pub struct Session {
    phase: Phase,
    seed: [u8; 32],
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
    pub fn new(options: &Options) -> Self {
        Self {
            phase: Phase::Login(Box::new(Login::new(options.prefixed))),
            seed: options.seed,
        }
    }
}

/// Takes what isn't HTTP from behind what has to wait: its connection may end before the wait does.
fn take_malformed(input: &mut VecDeque<Event>) -> Option<String> {
    let is_malformed = |event: &Event| matches!(event, Event::Malformed { .. });
    match input.remove(input.iter().position(is_malformed)?) {
        Some(Event::Malformed { why, .. }) => Some(why),
        Some(_) | None => None,
    }
}

impl Wire for Session {
    type Inbound = VecDeque<Event>;
    type Outbound = Command;

    fn receive(
        &mut self,
        from: Side,
        input: &mut VecDeque<Event>,
        turn: &mut Turn<'_, Command>,
    ) -> Result<(), WireError> {
        match (&mut self.phase, from) {
            (Phase::Login(login), Side::Agent) => {
                login.receive_agent(input, turn);
                Ok(())
            }
            // Nothing was asked of it yet.
            (Phase::Login(_), Side::Target) => match input.pop_front() {
                None => Ok(()),
                Some(_) => Err(WireError::protocol(from, "an answer to nothing")),
            },
            (Phase::Relay(relay), _) => relay.receive(from, input, turn),
            (Phase::Ended, _) => {
                input.clear();
                Ok(())
            }
        }
    }

    fn notify(
        &mut self,
        event: wire::Event,
        turn: &mut Turn<'_, Command>,
    ) -> Result<(), WireError> {
        match &mut self.phase {
            Phase::Login(login) => {
                let established = login.notify(event, turn);
                if login.is_ended() {
                    self.phase = Phase::Ended;
                }
                if let Some(established) = established {
                    let mut relay = Relay::new(&established, self.seed, turn.limits());
                    relay.begin(established.stream, &established.head, turn);
                    self.phase = Phase::Relay(Box::new(relay));
                }
                Ok(())
            }
            Phase::Relay(relay) => relay.notify(event, turn),
            Phase::Ended => Ok(()),
        }
    }

    fn wants(&self, _from: Side, buffered: usize) -> bool {
        match &self.phase {
            Phase::Login(_) | Phase::Relay(_) => buffered < UNTAKEN_MAX,
            Phase::Ended => false,
        }
    }
}
