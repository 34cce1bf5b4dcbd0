//! PostgreSQL's own grammar, with its bounds.

use std::{ops::Range, panic};

use pg_query::{Node, protobuf};

use super::literals;

/// Longest text that is parsed, bytes. A longer one is opaque.
pub const TEXT_BYTES_MAX: usize = 1 << 20;

/// Most tokens of a text that is parsed. One with more is opaque.
///
/// This is what bounds memory and time: each token can cost two nodes of 608 bytes, so a tree takes
/// 250 MB and a fifth of a second at most.
pub const TOKENS_MAX: usize = 200_000;

/// Stack that a thread needs to call [`parse`] and [`super::analyse`], and to drop a [`Parsed`].
///
/// The C parser stops itself 2 MiB below where it was entered ("stack depth limit exceeded"), which
/// bounds the depth of every tree it hands out; decoding, walking and dropping such a tree in Rust
/// is what the rest is for. Measured: the deepest trees of `hopeless_depth_is_opaque_and_never_an_abort`
/// need between 8 and 12 MiB, so this leaves five times that.
pub const ANALYSIS_STACK_BYTES: usize = 64 << 20;

/// A text that the grammar accepts.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    statements: Vec<protobuf::RawStmt>,
    length: usize,
}

impl Parsed {
    /// Number of statements; empty ones (`;;`) don't count.
    #[must_use]
    pub fn len(&self) -> usize {
        self.statements.len()
    }

    /// Whether there is no statement: white space, comments, semicolons.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.statements.is_empty()
    }

    /// The statements with their byte ranges in the text.
    pub(super) fn statements(&self) -> impl Iterator<Item = (Option<&Node>, Range<usize>)> {
        self.statements.iter().map(|raw| {
            let start = usize::try_from(raw.stmt_location)
                .unwrap_or(0)
                .min(self.length);
            // SPEC: RawStmt.stmt_len is 0 for "the rest of the string" (PostgreSQL, parsenodes.h).
            let end = match usize::try_from(raw.stmt_len) {
                Ok(0) | Err(_) => self.length,
                Ok(length) => start.saturating_add(length).min(self.length),
            };
            (raw.stmt.as_deref(), start..end)
        })
    }
}

/// Why a text has no tree.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseFailure {
    /// Longer than [`TEXT_BYTES_MAX`] or [`TOKENS_MAX`].
    #[error("the text is longer than {TEXT_BYTES_MAX} bytes or {TOKENS_MAX} tokens")]
    TooLong,
    /// It holds a zero byte, which no PostgreSQL message can carry.
    #[error("the text holds a zero byte")]
    ZeroByte,
    /// Nested deeper than the parser goes.
    #[error("the statement is nested too deeply to be analysed")]
    TooDeep,
    /// The grammar refuses it: the server's message, which may quote the text.
    #[error("PostgreSQL's grammar doesn't accept it: {0}")]
    Syntax(String),
    /// The tree couldn't be read: a fault of the parser library.
    #[error("the parser failed")]
    Internal,
}

/// Parses a text as the server would with `standard_conforming_strings` on and UTF-8.
///
/// Call it on a thread with [`ANALYSIS_STACK_BYTES`] of stack.
///
/// # Errors
/// [`ParseFailure`]; nothing of the text is then known.
pub fn parse(text: &str) -> Result<Parsed, ParseFailure> {
    if text.len() > TEXT_BYTES_MAX || literals::token_count(text) > TOKENS_MAX {
        return Err(ParseFailure::TooLong);
    }
    // `pg_query::parse` also collects table names with code that may panic on shapes its authors
    // didn't think of. It holds no state across calls, so a panic there is one failed parse.
    let outcome = panic::catch_unwind(|| pg_query::parse(text, pg_query::ParserOptions::DEFAULT));
    match outcome {
        Ok(Ok(result)) => Ok(Parsed {
            statements: result.protobuf.stmts,
            length: text.len(),
        }),
        Ok(Err(pg_query::Error::Conversion(_))) => Err(ParseFailure::ZeroByte),
        Ok(Err(pg_query::Error::Parse(message))) => Err(if message.contains("stack depth limit") {
            ParseFailure::TooDeep
        } else {
            ParseFailure::Syntax(message)
        }),
        Ok(Err(_)) | Err(_) => Err(ParseFailure::Internal),
    }
}
