//! One channel of the agent's, and what runs in it.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use gateway_core::{
    decision::{Denial, Reason},
    id::UnitId,
    limits::Limits,
    mask::Obligations,
    operation::{
        Action, CommandFacts, CommandKind, CommandUnit, Effect, Inspection, Object, Operation,
    },
    record::Track,
    wire::{Ruling, Side, Turn, WireError},
};

use super::{Outbound, files::Files, program::Program, setup::Setup, words};
use crate::ssh::{
    command,
    message::{Body, ChannelId, Request, STDERR},
};

/// Channels of one session at once.
pub const CHANNELS_MAX: usize = 16;

/// Exit status of what the gateway refused: what shells give for a command that may not be run
/// (POSIX.1, "Exit Status for Commands").
pub const EXIT_REFUSED: u32 = 126;

/// Exit status of what was allowed and couldn't be started: what `ssh` gives for failures of its own.
pub const EXIT_FAILED: u32 = 255;

/// Longest command line, bytes: no more fits into one argument of a shell on Linux
/// (`MAX_ARG_STRLEN`).
const COMMAND_BYTES_MAX: usize = 128 * 1024;

/// Signals that may be asked for (RFC 4254, section 6.10, "Returning Exit Status").
const SIGNALS: &[&str] = &[
    "ABRT", "ALRM", "FPE", "HUP", "ILL", "INT", "KILL", "PIPE", "QUIT", "SEGV", "TERM", "USR1",
    "USR2",
];

/// Bounds of one channel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Input kept while it can't go on, bytes.
    pub(super) waiting_bytes_max: usize,
    /// Replies of the target outstanding.
    pub(super) outstanding_max: usize,
}

impl Bounds {
    pub(super) const fn new(limits: &Limits) -> Self {
        Self {
            waiting_bytes_max: limits.held_input_bytes_max,
            outstanding_max: limits.outstanding_max,
        }
    }
}

/// What became of a target's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// The work goes on.
    GoesOn,
    /// The program has been started: input may follow.
    Started,
    /// The target's channel is gone, and its units have ended.
    Ended,
}

/// The agent's end of a channel. Silent once it is closed.
#[derive(Debug)]
pub(super) struct AgentEnd {
    pub(super) id: ChannelId,
    /// The agent's terminal may be in raw mode.
    terminal: bool,
    told_eof: bool,
    told_close: bool,
    closed: bool,
}

impl AgentEnd {
    pub(super) fn say(&self, body: Body, turn: &mut Turn<'_, Outbound>) {
        if !self.told_close {
            turn.reply(Outbound::message(self.id, body));
        }
    }

    /// As [`AgentEnd::say`], recorded.
    pub(super) fn deliver(
        &self,
        body: Body,
        (unit, track, data): (UnitId, Track, Bytes),
        turn: &mut Turn<'_, Outbound>,
    ) {
        if !self.told_close {
            turn.reply(Outbound::message(self.id, body).of(unit, track, data));
        }
    }

    /// Words of the gateway's own on the error stream. Evidence has them as a denial or notice.
    pub(super) fn tell<'a>(
        &self,
        texts: impl IntoIterator<Item = &'a str>,
        turn: &mut Turn<'_, Outbound>,
    ) {
        let data = words::lines(texts, self.terminal);
        self.say(Body::ExtendedData { kind: STDERR, data }, turn);
    }

    fn answer(&self, want_reply: bool, met: bool, turn: &mut Turn<'_, Outbound>) {
        if want_reply {
            self.say(if met { Body::Success } else { Body::Failure }, turn);
        }
    }

    pub(super) fn eof(&mut self, turn: &mut Turn<'_, Outbound>) {
        if !self.told_eof {
            self.say(Body::Eof, turn);
            self.told_eof = true;
        }
    }

    pub(super) fn close(&mut self, turn: &mut Turn<'_, Outbound>) {
        self.say(Body::Close, turn);
        self.told_close = true;
    }

    /// The end of something that didn't run.
    pub(super) fn fail<'a>(
        &mut self,
        texts: impl IntoIterator<Item = &'a str>,
        status: u32,
        turn: &mut Turn<'_, Outbound>,
    ) {
        self.tell(texts, turn);
        let exit = Body::Request {
            want_reply: false,
            request: Request::ExitStatus(status),
        };
        self.say(exit, turn);
        self.eof(turn);
        self.close(turn);
    }
}

/// A channel.
#[derive(Debug)]
pub(super) struct Channel {
    agent: AgentEnd,
    work: Work,
    /// Input that came before it could go on.
    waiting: BytesMut,
    /// The agent has no more input.
    at_eof: bool,
}

#[derive(Debug)]
enum Work {
    /// Nothing is started yet.
    Setup(Setup),
    /// A program waits for reviewers.
    Held {
        unit: UnitId,
        setup: Setup,
        start: Request,
    },
    Program(Box<Program>),
    Files(Box<Files>),
    /// Nothing runs any more, and the target has no channel.
    Over,
}

impl Channel {
    pub(super) fn new(id: ChannelId) -> Self {
        Self {
            agent: AgentEnd {
                id,
                terminal: false,
                told_eof: false,
                told_close: false,
                closed: false,
            },
            work: Work::Setup(Setup::default()),
            waiting: BytesMut::new(),
            at_eof: false,
        }
    }

    /// Whether both ends are closed on both sides.
    pub(super) const fn is_over(&self) -> bool {
        self.agent.closed && matches!(self.work, Work::Over)
    }

    /// Whether no more input can be taken for now.
    pub(super) fn is_full(&self, bounds: Bounds) -> bool {
        match &self.work {
            Work::Files(files) => files.is_full(bounds),
            Work::Setup(_) | Work::Held { .. } | Work::Program(_) => {
                self.waiting.len() >= bounds.waiting_bytes_max
            }
            Work::Over => false,
        }
    }

    /// Whether this unit waits here.
    pub(super) fn holds(&self, unit: UnitId) -> bool {
        match &self.work {
            Work::Held { unit: held, .. } => *held == unit,
            Work::Files(files) => files.holds(unit),
            Work::Setup(_) | Work::Program(_) | Work::Over => false,
        }
    }

    pub(super) fn on_agent(
        &mut self,
        body: Body,
        bounds: Bounds,
        turn: &mut Turn<'_, Outbound>,
    ) -> Result<(), WireError> {
        if self.agent.closed {
            return Err(broken("a message on a closed channel"));
        }
        match body {
            Body::Data(_) | Body::ExtendedData { .. } if self.at_eof => {
                return Err(broken("data behind its end"));
            }
            Body::Data(data) => self.on_input(&data, bounds, turn)?,
            Body::ExtendedData { .. } => {
                turn.refuse(words::unsupported("extended data from an agent"));
            }
            Body::Eof => {
                self.at_eof = true;
                self.go_on(bounds, turn)?;
            }
            Body::Close => self.on_close(turn),
            Body::Request {
                want_reply,
                request,
            } => self.on_request(want_reply, request, bounds, turn)?,
            Body::Open { .. }
            | Body::Opened
            | Body::OpenFailed { .. }
            | Body::Success
            | Body::Failure => return Err(broken("an answer to nothing")),
        }
        Ok(())
    }

    fn on_input(
        &mut self,
        data: &Bytes,
        bounds: Bounds,
        turn: &mut Turn<'_, Outbound>,
    ) -> Result<(), WireError> {
        match &mut self.work {
            Work::Program(program) if program.takes_input() => {
                program.input(data.clone(), turn);
            }
            Work::Files(files) => files.on_agent(data, &mut self.agent, bounds, turn)?,
            Work::Setup(_) | Work::Held { .. } | Work::Program(_) => {
                self.waiting.extend_from_slice(data);
            }
            // The agent doesn't know yet that it is over.
            Work::Over => {}
        }
        Ok(())
    }

    /// Passes on what waited, and the end of input behind it.
    fn go_on(&mut self, bounds: Bounds, turn: &mut Turn<'_, Outbound>) -> Result<(), WireError> {
        match &mut self.work {
            Work::Program(program) if program.takes_input() => {
                if !self.waiting.is_empty() {
                    program.input(self.waiting.split().freeze(), turn);
                }
                if self.at_eof {
                    program.end_input(turn);
                }
            }
            Work::Files(files) => {
                if self.at_eof {
                    files.end_input();
                }
                let waiting = self.waiting.split().freeze();
                files.on_agent(&waiting, &mut self.agent, bounds, turn)?;
            }
            Work::Setup(_) | Work::Held { .. } | Work::Program(_) | Work::Over => {}
        }
        Ok(())
    }

    fn on_close(&mut self, turn: &mut Turn<'_, Outbound>) {
        match &mut self.work {
            Work::Setup(_) | Work::Over => self.work = Work::Over,
            Work::Held { unit, .. } => {
                turn.withdraw(*unit);
                self.work = Work::Over;
            }
            Work::Program(program) => program.abandon(turn),
            Work::Files(files) => files.abandon(turn),
        }
        self.agent.close(turn);
        self.agent.closed = true;
        self.waiting.clear();
    }

    fn on_request(
        &mut self,
        want_reply: bool,
        request: Request,
        bounds: Bounds,
        turn: &mut Turn<'_, Outbound>,
    ) -> Result<(), WireError> {
        let name = request.name().to_owned();
        let result = match (request, &mut self.work) {
            (Request::Pty { term, size, modes }, Work::Setup(setup)) => {
                setup.terminal(term, size, modes)
            }
            (Request::Env { name, value }, Work::Setup(setup)) => setup.variable(name, value),
            (start @ (Request::Exec(_) | Request::Shell), Work::Setup(setup)) => {
                let setup = std::mem::take(setup);
                self.agent.terminal = setup.has_terminal();
                self.agent.answer(want_reply, true, turn);
                self.start(setup, start, turn);
                return Ok(());
            }
            (Request::Subsystem(name), Work::Setup(_)) if name == "sftp" => {
                self.agent.answer(want_reply, true, turn);
                self.work = Work::Files(Box::new(Files::new(self.agent.id, turn)));
                return self.go_on(bounds, turn);
            }
            (Request::Subsystem(name), Work::Setup(_)) => Err(format!("the subsystem {name}")),
            // These are never answered.
            (Request::WindowChange(size), work) => {
                match work {
                    Work::Setup(setup) | Work::Held { setup, .. } => setup.resize(size),
                    Work::Program(program) => program.resize(size, turn),
                    Work::Files(_) | Work::Over => {}
                }
                return Ok(());
            }
            (Request::Signal(signal), Work::Program(program))
                if SIGNALS.contains(&signal.as_str()) =>
            {
                program.signal(signal, turn);
                return Ok(());
            }
            // The agent doesn't know yet that it is over.
            (_, Work::Over) => {
                self.agent.answer(want_reply, false, turn);
                return Ok(());
            }
            (_, Work::Setup(_)) => Err(format!("requests of type {name}")),
            (_, Work::Held { .. } | Work::Program(_) | Work::Files(_)) => {
                Err(format!("requests of type {name} once something is started"))
            }
        };
        if let Err(what) = &result {
            turn.refuse(words::unsupported(what));
        }
        self.agent.answer(want_reply, result.is_ok(), turn);
        Ok(())
    }

    fn start(&mut self, setup: Setup, start: Request, turn: &mut Turn<'_, Outbound>) {
        let unit = match operation(&start, setup.has_terminal()) {
            Ok(unit) => unit,
            Err(denial) => {
                turn.refuse(denial.clone());
                return self.turn_down(&denial, turn);
            }
        };
        match turn.submit(Operation::Command(unit)) {
            Ruling::Allowed { unit, obligations } => {
                self.run(unit, setup, start, &obligations, turn);
            }
            Ruling::Refused(denial) => self.turn_down(&denial, turn),
            Ruling::Held { unit, notice } => {
                self.agent.tell([notice.as_str()], turn);
                self.work = Work::Held { unit, setup, start };
            }
        }
    }

    fn run(
        &mut self,
        unit: UnitId,
        setup: Setup,
        start: Request,
        obligations: &Obligations,
        turn: &mut Turn<'_, Outbound>,
    ) {
        let program = Program::new(self.agent.id, unit, setup, start, obligations, turn);
        self.work = Work::Program(Box::new(program));
    }

    fn turn_down(&mut self, denial: &Denial, turn: &mut Turn<'_, Outbound>) {
        self.agent.fail(words::denied(denial), EXIT_REFUSED, turn);
        self.waiting.clear();
        self.work = Work::Over;
    }

    pub(super) fn on_ruled(
        &mut self,
        unit: UnitId,
        ruled: Result<Obligations, Denial>,
        bounds: Bounds,
        turn: &mut Turn<'_, Outbound>,
    ) -> Result<(), WireError> {
        if let Work::Files(files) = &mut self.work {
            return files.on_ruled(unit, ruled, &mut self.agent, bounds, turn);
        }
        match (std::mem::replace(&mut self.work, Work::Over), ruled) {
            (Work::Held { setup, start, .. }, Ok(obligations)) => {
                self.run(unit, setup, start, &obligations, turn);
            }
            (Work::Held { .. }, Err(denial)) => self.turn_down(&denial, turn),
            (other, _) => self.work = other,
        }
        Ok(())
    }

    pub(super) fn on_target(
        &mut self,
        body: Body,
        bounds: Bounds,
        turn: &mut Turn<'_, Outbound>,
    ) -> Result<(), WireError> {
        let flow = match &mut self.work {
            Work::Program(program) => program.on_target(body, &mut self.agent, turn)?,
            Work::Files(files) => files.on_target(body, &mut self.agent, bounds, turn)?,
            Work::Setup(_) | Work::Held { .. } | Work::Over => {
                return Err(WireError::protocol(
                    Side::Target,
                    "a channel that isn't open",
                ));
            }
        };
        match flow {
            Flow::GoesOn => {}
            Flow::Started => self.go_on(bounds, turn)?,
            Flow::Ended => {
                self.work = Work::Over;
                self.waiting.clear();
                self.agent.close(turn);
            }
        }
        Ok(())
    }
}

fn broken(what: &str) -> WireError {
    WireError::protocol(Side::Agent, what)
}

/// What starting this does.
fn operation(start: &Request, pty: bool) -> Result<CommandUnit, Denial> {
    let effect = |action| Effect {
        action,
        object: Object::Target,
    };
    let Request::Exec(line) = start else {
        return Ok(CommandUnit {
            kind: CommandKind::Shell,
            text: Arc::from(""),
            effects: Arc::new([effect(Action::SshShell)]),
            inspection: Inspection::Full,
            facts: CommandFacts {
                pty,
                ..CommandFacts::default()
            },
        });
    };
    if line.len() > COMMAND_BYTES_MAX {
        let message = format!("a command line of more than {COMMAND_BYTES_MAX} bytes");
        return Err(Denial::new(Reason::Limit, message));
    }
    let text = std::str::from_utf8(line)
        .map_err(|_| words::unsupported("command lines that aren't UTF-8"))?;
    if text.contains('\0') {
        // What a shell would get ends before it.
        return Err(words::unsupported("command lines with a zero byte"));
    }
    let understood = command::understand(text);
    let mut effects = vec![effect(Action::SshExec)];
    if matches!(understood.inspection, Inspection::Opaque { .. }) {
        effects.push(effect(Action::Opaque));
    }
    Ok(CommandUnit {
        kind: CommandKind::Exec,
        text: Arc::from(text),
        effects: effects.into(),
        inspection: understood.inspection,
        facts: CommandFacts {
            argv: understood.argv,
            program: understood.program,
            pty,
        },
    })
}
