//! The open session: messages find their channel.

use std::collections::{BTreeMap, VecDeque};

use gateway_core::{
    decision::{Denial, Reason},
    record::CloseReason,
    wire::{Event as Notice, Side, Turn, WireError},
};

use super::{
    CHANNELS_MAX, Command, Event, Outbound,
    channel::{Bounds, Channel},
    words,
};
use crate::ssh::message::{Body, ChannelId, Message, OPEN_PROHIBITED, OPEN_SHORTAGE};

/// The channels of an open session.
#[derive(Debug)]
pub(super) struct Relay {
    channels: BTreeMap<ChannelId, Channel>,
    bounds: Bounds,
}

impl Relay {
    pub(super) const fn new(bounds: Bounds) -> Self {
        Self {
            channels: BTreeMap::new(),
            bounds,
        }
    }

    /// Takes events until one must wait: then the others behind it wait too.
    pub(super) fn receive(
        &mut self,
        from: Side,
        input: &mut VecDeque<Event>,
        turn: &mut Turn<'_, Outbound>,
    ) -> Result<(), WireError> {
        while !(from == Side::Agent && input.front().is_some_and(|event| self.must_wait(event))) {
            match input.pop_front() {
                Some(Event::Message(message)) if from == Side::Agent => {
                    self.on_agent(message, turn)?;
                }
                Some(Event::Message(message)) => self.on_target(message, turn)?,
                Some(Event::Refused { what }) => turn.refuse(words::unsupported(&what)),
                Some(Event::Broken { what }) => return Err(WireError::protocol(from, what)),
                Some(Event::Login { .. } | Event::GaveUp { .. }) => {
                    return Err(WireError::protocol(from, "a second login"));
                }
                None => return Ok(()),
            }
        }
        // What waits can't go on any more.
        if let Some(Event::Broken { what }) = input.back() {
            return Err(WireError::protocol(from, what.as_str()));
        }
        Ok(())
    }

    fn must_wait(&self, event: &Event) -> bool {
        match event {
            Event::Message(message) if matches!(message.body, Body::Data(_)) => self
                .channels
                .get(&message.channel)
                .is_some_and(|channel| channel.is_full(self.bounds)),
            Event::Message(_)
            | Event::Login { .. }
            | Event::GaveUp { .. }
            | Event::Refused { .. }
            | Event::Broken { .. } => false,
        }
    }

    fn on_agent(
        &mut self,
        message: Message,
        turn: &mut Turn<'_, Outbound>,
    ) -> Result<(), WireError> {
        let Message { channel: id, body } = message;
        if let Body::Open { kind, .. } = body {
            return self.open(id, &kind, turn);
        }
        let Some(channel) = self.channels.get_mut(&id) else {
            return Err(WireError::protocol(
                Side::Agent,
                "a channel that isn't open",
            ));
        };
        channel.on_agent(body, self.bounds, turn)?;
        self.forget_if_over(id);
        Ok(())
    }

    fn open(
        &mut self,
        id: ChannelId,
        kind: &str,
        turn: &mut Turn<'_, Outbound>,
    ) -> Result<(), WireError> {
        if self.channels.contains_key(&id) {
            return Err(WireError::protocol(Side::Agent, "a channel opened twice"));
        }
        let refusal = if kind != "session" {
            let kind: String = kind.chars().take(64).collect();
            let denial = words::unsupported(&format!("channels of type {kind}"));
            Some((OPEN_PROHIBITED, denial))
        } else if self.channels.len() >= CHANNELS_MAX {
            let message = format!("more than {CHANNELS_MAX} channels at once");
            Some((OPEN_SHORTAGE, Denial::new(Reason::Limit, message)))
        } else {
            None
        };
        let body = match refusal {
            Some((reason, denial)) => {
                let text = words::sentence(&denial);
                turn.refuse(denial);
                Body::OpenFailed { reason, text }
            }
            None => {
                self.channels.insert(id, Channel::new(id));
                Body::Opened
            }
        };
        turn.reply(Outbound::message(id, body));
        Ok(())
    }

    fn on_target(
        &mut self,
        message: Message,
        turn: &mut Turn<'_, Outbound>,
    ) -> Result<(), WireError> {
        let Message { channel: id, body } = message;
        let Some(channel) = self.channels.get_mut(&id) else {
            return Err(WireError::protocol(
                Side::Target,
                "a channel that isn't open",
            ));
        };
        channel.on_target(body, self.bounds, turn)?;
        self.forget_if_over(id);
        Ok(())
    }

    fn forget_if_over(&mut self, id: ChannelId) {
        if self.channels.get(&id).is_some_and(Channel::is_over) {
            self.channels.remove(&id);
        }
    }

    pub(super) fn notify(
        &mut self,
        event: Notice,
        turn: &mut Turn<'_, Outbound>,
    ) -> Result<(), WireError> {
        match event {
            Notice::Ruled(unit, ruled) => {
                let mut channels = self.channels.values_mut();
                if let Some(channel) = channels.find(|channel| channel.holds(unit)) {
                    channel.on_ruled(unit, ruled, self.bounds, turn)?;
                }
            }
            Notice::Eof(Side::Agent) => turn.close(CloseReason::AgentClosed),
            Notice::Eof(Side::Target) => {
                let text = words::farewell(&CloseReason::TargetClosed);
                turn.reply(Command::disconnect(text).into());
                turn.close(CloseReason::TargetClosed);
            }
            Notice::Closing(reason) => {
                turn.reply(Command::disconnect(words::farewell(&reason)).into());
            }
            Notice::Started
            | Notice::TlsReady(..)
            | Notice::Connected
            | Notice::ConnectFailed(_)
            | Notice::Answer(..)
            | Notice::CancelRequested
            | Notice::Stale => {}
        }
        Ok(())
    }
}
