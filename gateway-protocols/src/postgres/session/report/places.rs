//! Where in the agent's text something stands that the target has in another text.

use std::borrow::Cow;

/// Longer texts aren't compared, bytes: it is done while others wait.
const TEXT_BYTES_MAX: usize = 64 << 10;
/// Words that a place is told by, at most.
const WORDS_MAX: usize = 8;

/// One word of a text: a name, a number, a quoted piece, a single other character.
#[derive(Debug)]
struct Word<'t> {
    /// Its first character, from 1.
    at: u32,
    text: &'t str,
}

/// The position in `agent` of what stands at `position` in `sent`, both in characters from 1.
///
/// `sent` is `agent` written anew, so a place is found by the words that begin there, as few as
/// occur only once in either text. None where there are no such words: rather none than a wrong one.
pub(super) fn mapped(sent: &str, position: u32, agent: &str) -> Option<u32> {
    if sent.len().max(agent.len()) > TEXT_BYTES_MAX {
        return None;
    }
    let (sent, agent) = (split(sent), split(agent));
    let place = sent.iter().position(|word| word.at == position)?;
    let mut here: Vec<usize> = (0..sent.len()).collect();
    let mut there: Vec<usize> = (0..agent.len()).collect();
    for further in 0..WORDS_MAX {
        let word = sent.get(place + further)?.name();
        let same = |words: &[Word<'_>], at: usize| {
            words
                .get(at + further)
                .is_some_and(|other| other.name() == word)
        };
        here.retain(|at| same(&sent, *at));
        there.retain(|at| same(&agent, *at));
        match (here.as_slice(), there.as_slice()) {
            (_, []) => return None,
            ([_], [one]) => return agent.get(*one).map(|word| word.at),
            _ => {}
        }
    }
    None
}

/// Names that a text mentions, as PostgreSQL reads them. Constants are none.
pub(super) fn names(text: &str) -> impl Iterator<Item = Cow<'_, str>> {
    let words = split(text).into_iter();
    words
        .filter(|word| {
            let first = word.text.chars().next().unwrap_or_default();
            first == '"' || first == '_' || first.is_alphabetic()
        })
        .map(|word| word.name())
}

impl<'t> Word<'t> {
    /// What it says: names without quotes, and in lower case where they have none.
    fn name(&self) -> Cow<'t, str> {
        let inner = self
            .text
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'));
        match inner {
            Some(inner) => inner.replace("\"\"", "\"").into(),
            None if self.text.starts_with('\'') => self.text.into(),
            None => self.text.to_ascii_lowercase().into(),
        }
    }
}

/// The words of a text (PostgreSQL 18, 4.1 "Lexical Structure"), good enough to compare two texts:
/// neither white space nor comments.
fn split(text: &str) -> Vec<Word<'_>> {
    let mut words = Vec::new();
    let mut at: u32 = 1;
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let len = length(rest, first);
        let Some((word, after)) = rest.split_at_checked(len) else {
            break;
        };
        let comment = word.starts_with("--") || word.starts_with("/*");
        if !first.is_whitespace() && !comment {
            words.push(Word { at, text: word });
        }
        let characters = u32::try_from(word.chars().count()).unwrap_or(u32::MAX);
        at = at.saturating_add(characters);
        rest = after;
    }
    words
}

/// Bytes of the word that `text` begins with, one character at least.
fn length(text: &str, first: char) -> usize {
    let up_to = |end: Option<usize>| end.unwrap_or(text.len());
    let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
    match first {
        '\'' | '"' => quoted(text, first),
        '-' if text.starts_with("--") => up_to(text.find(['\n', '\r'])),
        '/' if text.starts_with("/*") => up_to(text.find("*/").map(|end| end + 2)),
        _ if is_word(first) => up_to(text.find(|c| !is_word(c))),
        _ => first.len_utf8(),
    }
}

/// Bytes of a quoted word, its quotes included; a doubled quote doesn't end it.
fn quoted(text: &str, quote: char) -> usize {
    let mut inside = false;
    let mut before = ' ';
    for (index, c) in text.char_indices() {
        if c == quote {
            inside = !inside;
        } else if !inside && before == quote {
            return index;
        }
        before = c;
    }
    text.len()
}
