//! From the credential to the open session: the agent proves itself to the gateway's transport and
//! the shell, the policy opens the session, and the shell's transport reaches the target. Only then
//! is the login accepted, so that an agent hears at once what can't be had.
//!
//! ```text
//! ExpectLogin --Login--> ExpectPrincipal --> ExpectRoute --policy--> ExpectConnection --> relay
//! ```

use std::collections::VecDeque;

use gateway_core::{
    decision::{Denial, Reason},
    id::AskId,
    record::CloseReason,
    wire::{Answer, Event as Notice, Question, Side, Turn, WireError},
};

use super::{Command, Event, Outbound, words};

/// Longest user name, bytes; a target's name is shorter.
const USER_BYTES_MAX: usize = 256;

/// A login under way.
#[derive(Debug)]
pub(super) struct Login {
    state: State,
    /// The user name that the agent gave.
    user: String,
}

#[derive(Debug)]
enum State {
    ExpectLogin,
    ExpectPrincipal(AskId),
    ExpectRoute(AskId),
    ExpectConnection,
    Ended,
}

impl Login {
    pub(super) const fn new() -> Self {
        Self {
            state: State::ExpectLogin,
            user: String::new(),
        }
    }

    pub(super) fn receive(
        &mut self,
        from: Side,
        input: &mut VecDeque<Event>,
        turn: &mut Turn<'_, Outbound>,
    ) -> Result<(), WireError> {
        while let Some(event) = input.pop_front() {
            match event {
                Event::Login { user, credential } if from == Side::Agent => {
                    if !matches!(self.state, State::ExpectLogin) {
                        return Err(WireError::protocol(from, "a second login"));
                    }
                    self.user = user;
                    if self.user.len() > USER_BYTES_MAX {
                        turn.reject_login("malformed", &self.user);
                        self.end("the user name is too long", turn);
                        return Ok(());
                    }
                    let ask = turn.ask(Question::Authenticate {
                        claimed_user: self.user.clone(),
                        credential,
                    });
                    self.state = State::ExpectPrincipal(ask);
                }
                Event::Refused { what } => turn.refuse(words::unsupported(&what)),
                Event::GaveUp { user, reason }
                    if from == Side::Agent && matches!(self.state, State::ExpectLogin) =>
                {
                    turn.reject_login(&reason, &user);
                    self.end(&format!("nobody was let in: {reason}"), turn);
                }
                Event::Broken { what } => {
                    turn.refuse_session(words::broken(from, &what));
                    self.end(words::farewell(&CloseReason::ProtocolError), turn);
                }
                Event::Login { .. } | Event::GaveUp { .. } | Event::Message(_) => {
                    return Err(WireError::protocol(from, "a message before the login"));
                }
            }
        }
        Ok(())
    }

    /// `true` when the login is complete.
    pub(super) fn notify(&mut self, event: Notice, turn: &mut Turn<'_, Outbound>) -> bool {
        match event {
            Notice::Answer(id, answer) => self.on_answer(id, answer, turn),
            Notice::Connected => {
                if matches!(self.state, State::ExpectConnection) {
                    turn.established();
                    turn.reply(Command::Accept.into());
                    self.state = State::Ended;
                    return true;
                }
            }
            Notice::ConnectFailed(why) => {
                let message = "the target can't be reached";
                let denial = Denial::new(Reason::Protocol, format!("{message}: {why}"));
                turn.refuse_session(denial);
                self.end(message, turn);
            }
            Notice::Eof(Side::Agent) => {
                self.state = State::Ended;
                turn.close(CloseReason::AgentClosed);
            }
            Notice::Eof(Side::Target) => {
                let message = "the target closed its connection during the login";
                turn.refuse_session(Denial::new(Reason::Protocol, message));
                self.end(message, turn);
            }
            Notice::Closing(reason) => {
                if !matches!(self.state, State::Ended) {
                    self.turn_away(words::farewell(&reason), turn);
                }
            }
            Notice::Started
            | Notice::TlsReady(..)
            | Notice::Ruled(..)
            | Notice::CancelRequested
            | Notice::Stale => {}
        }
        false
    }

    fn on_answer(&mut self, id: AskId, answer: Answer, turn: &mut Turn<'_, Outbound>) {
        match (&self.state, answer) {
            (State::ExpectPrincipal(asked), Answer::Authenticated(Ok(_))) if *asked == id => {
                // The target is looked for only once the agent has proven itself.
                let requested = self.user.clone();
                self.state = State::ExpectRoute(turn.ask(Question::Route { requested }));
            }
            (State::ExpectPrincipal(asked), Answer::Authenticated(Err(reason))) if *asked == id => {
                turn.reject_login(&reason, &self.user);
                self.end(&format!("the credential was refused: {reason}"), turn);
            }
            (State::ExpectRoute(asked), Answer::Route(Err(denial))) if *asked == id => {
                let text = words::sentence(&denial);
                turn.refuse_session(denial);
                self.end(&text, turn);
            }
            (State::ExpectRoute(asked), Answer::Route(Ok(_))) if *asked == id => {
                match turn.open() {
                    Ok(()) => {
                        turn.connect();
                        self.state = State::ExpectConnection;
                    }
                    Err(denial) => self.end(&words::sentence(&denial), turn),
                }
            }
            (State::ExpectPrincipal(asked) | State::ExpectRoute(asked), Answer::Unanswered)
                if *asked == id =>
            {
                let message = "the gateway couldn't complete the login in time";
                turn.refuse_session(Denial::new(Reason::NoAnswer, message));
                self.end(message, turn);
            }
            // An answer that nobody waits for any more.
            _ => {}
        }
    }

    fn end(&mut self, text: &str, turn: &mut Turn<'_, Outbound>) {
        self.turn_away(text, turn);
        turn.close(CloseReason::Refused);
    }

    fn turn_away(&mut self, text: &str, turn: &mut Turn<'_, Outbound>) {
        turn.greet(Command::Reject.into());
        turn.greet(Command::disconnect(text).into());
        self.state = State::Ended;
    }
}
