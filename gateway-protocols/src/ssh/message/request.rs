//! Requests about a channel (RFC 4254, section 6, "Interactive Sessions").

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use super::{
    complete,
    wire::{MessageError, flag, name, number, put_string, string, text},
};

/// What is asked about a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// `pty-req`: give the program a terminal (section 6.2).
    Pty {
        /// The `TERM` variable.
        term: String,
        /// Its size.
        size: Size,
        /// Its modes.
        modes: Modes,
    },
    /// `env`: set a variable (section 6.4).
    Env {
        /// Its name.
        name: String,
        /// Its value.
        value: Bytes,
    },
    /// `exec`: run a command line by the user's shell (section 6.5).
    Exec(Bytes),
    /// `shell`: start the user's shell.
    Shell,
    /// `subsystem`: start a subsystem by name.
    Subsystem(String),
    /// `window-change`: the terminal's size has changed (section 6.7). Never answered.
    WindowChange(Size),
    /// `signal`: deliver a signal, named without `SIG` (section 6.9). Never answered.
    Signal(String),
    /// `exit-status` (section 6.10). Never answered.
    ExitStatus(u32),
    /// `exit-signal`. Never answered.
    ExitSignal {
        /// The signal's name, without `SIG`.
        signal: String,
        /// Whether there is a core dump.
        core_dumped: bool,
        /// Words for a person.
        text: String,
    },
    /// A request of another type.
    Other {
        /// The type.
        name: String,
        /// What the type adds.
        data: Bytes,
    },
}

/// A terminal's size. Zero stands for unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Columns of characters.
    pub columns: u32,
    /// Rows of characters.
    pub rows: u32,
    /// Width, pixels.
    pub width: u32,
    /// Height, pixels.
    pub height: u32,
}

/// Terminal modes: opcodes 1 to 159, each with its value (RFC 4254, section 8, "Encoding of Terminal
/// Modes").
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Modes(Vec<(u8, u32)>);

/// `TTY_OP_END`.
const MODES_END: u8 = 0;
/// Opcodes from here on are undefined, and so is what follows them.
const MODES_UNDEFINED: u8 = 160;

impl Modes {
    /// Keeps the pairs with a defined opcode.
    #[must_use]
    pub fn new(pairs: impl IntoIterator<Item = (u8, u32)>) -> Self {
        let defined = |pair: &(u8, u32)| (MODES_END + 1..MODES_UNDEFINED).contains(&pair.0);
        Self(pairs.into_iter().filter(defined).collect())
    }

    /// Opcodes and values, in order.
    #[must_use]
    pub fn pairs(&self) -> &[(u8, u32)] {
        &self.0
    }

    /// Parses the string of a `pty-req`: pairs up to `TTY_OP_END`, or an undefined opcode, or the
    /// end.
    ///
    /// # Errors
    /// [`MessageError::Modes`] when an opcode has no value.
    pub fn parse(mut input: Bytes) -> Result<Self, MessageError> {
        let mut pairs = Vec::new();
        while let Ok(opcode) = input.try_get_u8() {
            if opcode == MODES_END || opcode >= MODES_UNDEFINED {
                break;
            }
            let value = input.try_get_u32().map_err(|_| MessageError::Modes)?;
            pairs.push((opcode, value));
        }
        Ok(Self(pairs))
    }

    /// The string of a `pty-req`.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        for (opcode, value) in &self.0 {
            out.put_u8(*opcode);
            out.put_u32(*value);
        }
        out.put_u8(MODES_END);
        out.freeze()
    }
}

impl Size {
    fn parse(input: &mut Bytes) -> Result<Self, MessageError> {
        Ok(Self {
            columns: number(input)?,
            rows: number(input)?,
            width: number(input)?,
            height: number(input)?,
        })
    }

    fn encode(self, out: &mut BytesMut) {
        for part in [self.columns, self.rows, self.width, self.height] {
            out.put_u32(part);
        }
    }
}

impl Request {
    /// The request's type.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Pty { .. } => "pty-req",
            Self::Env { .. } => "env",
            Self::Exec(_) => "exec",
            Self::Shell => "shell",
            Self::Subsystem(_) => "subsystem",
            Self::WindowChange(_) => "window-change",
            Self::Signal(_) => "signal",
            Self::ExitStatus(_) => "exit-status",
            Self::ExitSignal { .. } => "exit-signal",
            Self::Other { name, .. } => name,
        }
    }

    /// Rough size in memory, bytes.
    pub(super) fn weight(&self) -> usize {
        match self {
            Self::Pty { term, modes, .. } => term.len() + modes.0.len() * size_of::<(u8, u32)>(),
            Self::Env { name, value } => name.len() + value.len(),
            Self::Exec(command) => command.len(),
            Self::Subsystem(name) | Self::Signal(name) => name.len(),
            Self::ExitSignal { signal, text, .. } => signal.len() + text.len(),
            Self::Other { name, data } => name.len() + data.len(),
            Self::Shell | Self::WindowChange(_) | Self::ExitStatus(_) => 0,
        }
    }

    /// Parses what follows a request's type and its `want reply`: all of `input`.
    pub(super) fn parse(kind: String, input: &mut Bytes) -> Result<Self, MessageError> {
        let request = match kind.as_str() {
            "pty-req" => Self::Pty {
                term: text(input)?,
                size: Size::parse(input)?,
                modes: Modes::parse(string(input)?)?,
            },
            "env" => Self::Env {
                name: text(input)?,
                value: string(input)?,
            },
            "exec" => Self::Exec(string(input)?),
            "shell" => Self::Shell,
            "subsystem" => Self::Subsystem(name(input)?),
            "window-change" => Self::WindowChange(Size::parse(input)?),
            "signal" => Self::Signal(name(input)?),
            "exit-status" => Self::ExitStatus(number(input)?),
            "exit-signal" => {
                let (signal, core_dumped, text) = (name(input)?, flag(input)?, text(input)?);
                let _language = string(input)?;
                Self::ExitSignal {
                    signal,
                    core_dumped,
                    text,
                }
            }
            _ => {
                let data = input.split_off(0);
                return Ok(Self::Other { name: kind, data });
            }
        };
        complete(input, request)
    }

    /// Appends what follows the type and `want reply`.
    pub(super) fn encode(&self, out: &mut BytesMut) -> Result<(), MessageError> {
        match self {
            Self::Pty { term, size, modes } => {
                put_string(out, term.as_bytes())?;
                size.encode(out);
                put_string(out, &modes.encode())?;
            }
            Self::Env { name, value } => {
                put_string(out, name.as_bytes())?;
                put_string(out, value)?;
            }
            Self::Exec(command) => put_string(out, command)?,
            Self::Subsystem(name) | Self::Signal(name) => put_string(out, name.as_bytes())?,
            Self::WindowChange(size) => size.encode(out),
            Self::ExitStatus(status) => out.put_u32(*status),
            Self::ExitSignal {
                signal,
                core_dumped,
                text,
            } => {
                put_string(out, signal.as_bytes())?;
                out.put_u8(u8::from(*core_dumped));
                put_string(out, text.as_bytes())?;
                put_string(out, b"")?;
            }
            Self::Shell => {}
            Self::Other { data, .. } => out.put_slice(data),
        }
        Ok(())
    }
}
