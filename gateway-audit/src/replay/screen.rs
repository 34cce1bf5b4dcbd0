//! Terminal output that is safe to show: what a recording makes of the reviewer's terminal is text,
//! colours and movement on the screen, and nothing else.
//!
//! A terminal obeys its output (ECMA-48; xterm, "XTerm Control Sequences"): it sets titles and the
//! clipboard, answers queries into its own input, follows links, hides the screen. Output of an
//! agent's session is the agent's, so a [`Screen`] passes on a closed list, hides whole sequences
//! that would print nothing, counting them, and shows everything else: whoever writes half a
//! sequence can't swallow what comes behind it.
//!
//! | in the recording | on the screen |
//! |---|---|
//! | printable characters, line feed, carriage return, tab, backspace | as they are |
//! | `ESC [` … of cursor movement, erasing, inserting, deleting, scrolling | as they are; erasing the scrollback is hidden |
//! | `ESC [` … `m` | as it is, without concealing |
//! | `ESC 7`, `ESC 8`, `ESC M` | as they are |
//! | complete other sequences: modes, queries, reports, character sets, OSC, DCS, APC, PM, SOS | hidden, counted |
//! | anything else of `ESC` | visible: `␛]52;…` |
//! | other control characters | visible: `^G` |
//! | C1 controls, bidirectional marks, zero-width characters | visible: `\u{202e}` |
//! | bytes that are no UTF-8 | visible: `\x9b` |
//!
//! What is shown isn't what ran: text can be overwritten and coloured away on any screen. The record
//! of that is the stream, which holds the bytes of both directions.

use super::text::{Decoder, hides};

/// Longest control sequence that is followed, bytes.
const SEQUENCE_BYTES_MAX: usize = 64;
/// Longest control string (OSC, DCS, APC, PM, SOS) that is hidden, bytes. Longer ones are shown.
const STRING_BYTES_MAX: usize = 4096;
/// Longest parameter of a sequence that is passed on, digits.
const PARAMETER_DIGITS_MAX: usize = 4;

/// One stream of output on its way to a reviewer's terminal. Holds at most 4 KiB.
#[derive(Clone, Debug, Default)]
pub struct Screen {
    decoder: Decoder,
    state: State,
    /// The sequence so far, without its ESC.
    pending: String,
    hidden: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Ground,
    /// After ESC, and after intermediates that follow it.
    Escape,
    /// After `ESC [`.
    Sequence,
    /// After `ESC ]` (true) or another introducer of a string: BEL ends the first kind too.
    String { osc: bool },
    /// After an ESC in a string.
    StringEscape { osc: bool },
}

impl Screen {
    /// Appends what may be shown of `bytes` to `out`. Where pieces of a stream begin and end has no
    /// influence on what is shown of the whole.
    pub fn show(&mut self, bytes: &[u8], out: &mut String) {
        let mut decoder = std::mem::take(&mut self.decoder);
        decoder.push(bytes, &mut |decoded| match decoded {
            Ok(c) => self.step(c, out),
            Err(byte) => {
                self.reveal(out);
                out.push_str(&format!("\\x{byte:02x}"));
            }
        });
        self.decoder = decoder;
    }

    /// The stream is over: shows what was still waiting for its end.
    pub fn finish(&mut self, out: &mut String) {
        let mut decoder = std::mem::take(&mut self.decoder);
        self.reveal(out);
        decoder.finish(&mut |byte| out.push_str(&format!("\\x{byte:02x}")));
    }

    /// How many sequences were hidden so far.
    #[must_use]
    pub const fn hidden(&self) -> u64 {
        self.hidden
    }

    fn step(&mut self, c: char, out: &mut String) {
        match self.state {
            State::Ground => self.ground(c, out),
            State::Escape => self.escape(c, out),
            State::Sequence => self.sequence(c, out),
            State::String { osc } => self.string(c, osc, out),
            State::StringEscape { osc } => {
                if c == '\\' {
                    self.hide();
                } else {
                    self.state = State::String { osc };
                    self.abandon('\u{1b}', out);
                    self.step(c, out);
                }
            }
        }
    }

    fn ground(&mut self, c: char, out: &mut String) {
        match c {
            '\u{1b}' => self.state = State::Escape,
            '\n' | '\r' | '\t' | '\u{8}' => out.push(c),
            c => visible(c, out),
        }
    }

    /// ECMA-48, section 5.3 ("Elements of the C1 set", in their 7-bit form) and section 5.5
    /// ("Independent control functions"); ECMA-35, section 13 ("Structure of escape sequences").
    fn escape(&mut self, c: char, out: &mut String) {
        let first = self.pending.is_empty();
        match c {
            '[' if first => self.state = State::Sequence,
            ']' if first => self.state = State::String { osc: true },
            'P' | 'X' | '^' | '_' if first => self.state = State::String { osc: false },
            ' '..='/' if self.pending.len() < SEQUENCE_BYTES_MAX => {}
            '7' | '8' | 'M' if first => {
                self.pass(c, out);
                return;
            }
            '0'..='~' => {
                self.hide();
                return;
            }
            c => {
                self.abandon(c, out);
                return;
            }
        }
        self.pending.push(c);
    }

    /// ECMA-48, section 5.4 ("Control sequences"): parameters, intermediates, one final.
    fn sequence(&mut self, c: char, out: &mut String) {
        let intermediate = self.pending.ends_with(|last| matches!(last, ' '..='/'));
        match c {
            '0'..='?' if !intermediate && self.pending.len() < SEQUENCE_BYTES_MAX => {}
            ' '..='/' if self.pending.len() < SEQUENCE_BYTES_MAX => {}
            '@'..='~' => {
                match safe(self.pending.get(1..).unwrap_or_default(), c) {
                    Some(parameters) => {
                        self.pending = format!("[{parameters}");
                        self.pass(c, out);
                    }
                    None => self.hide(),
                }
                return;
            }
            c => {
                self.abandon(c, out);
                return;
            }
        }
        self.pending.push(c);
    }

    /// ECMA-48, section 5.6 ("Control strings"). BEL ends an OSC for xterm. A line feed in one is
    /// nobody's title: it ends the hiding.
    fn string(&mut self, c: char, osc: bool, out: &mut String) {
        match c {
            '\u{7}' if osc => self.hide(),
            '\u{1b}' => self.state = State::StringEscape { osc },
            c if c < ' ' || self.pending.len() >= STRING_BYTES_MAX => self.abandon(c, out),
            c => self.pending.push(c),
        }
    }

    /// The sequence that `c` ends is one that may be shown.
    fn pass(&mut self, c: char, out: &mut String) {
        out.push('\u{1b}');
        out.push_str(&self.pending);
        out.push(c);
        self.reset();
    }

    fn hide(&mut self) {
        self.hidden += 1;
        self.reset();
    }

    fn reset(&mut self) {
        self.state = State::Ground;
        self.pending.clear();
    }

    /// `c` doesn't continue the sequence: what there is of it is shown, and `c` stands for itself.
    fn abandon(&mut self, c: char, out: &mut String) {
        self.reveal(out);
        self.ground(c, out);
    }

    fn reveal(&mut self, out: &mut String) {
        if self.state == State::Ground {
            return;
        }
        out.push('␛');
        self.pending.chars().for_each(|c| visible(c, out));
        if matches!(self.state, State::StringEscape { .. }) {
            out.push('␛');
        }
        self.reset();
    }
}

/// A character that stands for itself, or an escape of it that does.
fn visible(c: char, out: &mut String) {
    match c {
        '\0'..='\u{1f}' | '\u{7f}' => {
            out.push('^');
            out.push(char::from(u8::try_from(c).unwrap_or(0) ^ 0x40));
        }
        c if hides(c) => out.push_str(&format!("\\u{{{:04x}}}", u32::from(c))),
        c => out.push(c),
    }
}

/// The parameters of a control sequence that may be shown; `None` when it may not.
fn safe(parameters: &str, last: char) -> Option<String> {
    let plain = parameters
        .split([';', ':'])
        .all(|digits| digits.len() <= PARAMETER_DIGITS_MAX);
    let plain = plain && parameters.bytes().all(|byte| matches!(byte, b'0'..=b';'));
    match last {
        _ if !plain => None,
        'm' => colours(parameters),
        _ if parameters.contains(':') => None,
        // The scrollback is the reviewer's own.
        'J' => matches!(parameters, "" | "0" | "1" | "2").then(|| parameters.to_owned()),
        // With more parameters these track the mouse or set margins.
        'S' | 'T' | 's' | 'u' if parameters.contains(';') => None,
        '@'..='I'
        | 'K'..='M'
        | 'P'
        | 'S'
        | 'T'
        | 'X'
        | 'Z'
        | '`'
        | 'a'
        | 'b'
        | 'd'..='f'
        | 's'
        | 'u' => Some(parameters.to_owned()),
        _ => None,
    }
}

/// ECMA-48, section 8.3.117 ("SGR - SELECT GRAPHIC RENDITION") without 8, "concealed characters". 38, 48
/// and 58 take a colour from the parameters behind them (ITU-T T.416, section 13.1.8).
fn colours(parameters: &str) -> Option<String> {
    let (mut kept, mut operands) = (Vec::new(), 0);
    let mut codes = parameters.split(';').peekable();
    while let Some(code) = codes.next() {
        if operands > 0 {
            operands -= 1;
        } else if code
            .split(':')
            .next()
            .map(|code| code.trim_start_matches('0'))
            == Some("8")
        {
            continue;
        } else if matches!(code, "38" | "48" | "58") {
            operands = match codes.peek() {
                Some(&"5") => 2,
                Some(&"2") => 4,
                _ => 0,
            };
        }
        kept.push(code);
    }
    (!kept.is_empty()).then(|| kept.join(";"))
}

#[cfg(test)]
mod tests;
