//! What people and scripts see: the only module that writes to standard output and error.

use std::io::{self, ErrorKind, IsTerminal as _, Write as _};

use serde::Serialize;

/// One line on standard output.
pub(crate) fn line(text: impl AsRef<str>) {
    put(&mut io::stdout().lock(), text.as_ref());
}

/// A piece of text on standard output, at once.
pub(crate) fn piece(text: &str) {
    let mut out = io::stdout().lock();
    kept(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
}

/// Whether standard output is a terminal.
pub(crate) fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// One line on standard error.
pub(crate) fn note(text: impl AsRef<str>) {
    put(&mut io::stderr().lock(), text.as_ref());
}

/// A value as indented JSON on standard output.
pub(crate) fn json(value: &impl Serialize) {
    match serde_json::to_string_pretty(value) {
        Ok(text) => line(text),
        Err(error) => note(format!("error: this can't be shown as JSON: {error}")),
    }
}

/// A diagnostic with its source, on standard error.
pub(crate) fn diagnostic(diagnostic: &dyn miette::Diagnostic) {
    let mut text = String::new();
    let theme = if io::stderr().is_terminal() {
        miette::GraphicalTheme::unicode()
    } else {
        miette::GraphicalTheme::unicode_nocolor()
    };
    let handler = miette::GraphicalReportHandler::new_themed(theme).with_links(false);
    if handler.render_report(&mut text, diagnostic).is_err() {
        text = diagnostic.to_string();
    }
    note(text.trim_end());
}

/// A table: cells are padded, the last column isn't. Cells may hold anything: see [`printable`].
pub(crate) fn table<const N: usize>(header: [&str; N], rows: &[[String; N]]) {
    let width = |cell: &str| cell.chars().count();
    let mut widths = header.map(width);
    for row in rows {
        for (max, cell) in widths.iter_mut().zip(row) {
            *max = (*max).max(width(cell));
        }
    }
    let render = |cells: &[&str; N]| {
        let padded: Vec<String> = cells
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        padded.join("  ").trim_end().to_owned()
    };
    line(render(&header));
    for row in rows {
        let cells: Vec<String> = row.iter().map(|cell| printable(cell)).collect();
        if let Ok(cells) = <[String; N]>::try_from(cells) {
            line(render(&cells.each_ref().map(String::as_str)));
        }
    }
}

/// Text that others wrote, safe for a terminal: control characters and the marks that reorder
/// text become visible escapes.
pub(crate) fn printable(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
        {
            safe.extend(c.escape_default());
        } else {
            safe.push(c);
        }
    }
    safe
}

fn put(out: &mut dyn io::Write, text: &str) {
    kept(writeln!(out, "{text}"));
}

/// A closed pipe (`gateway ... | head`) is no error; there is nobody to tell of others.
fn kept(written: io::Result<()>) {
    if let Err(error) = written
        && error.kind() != ErrorKind::BrokenPipe
    {
        tracing::debug!(%error, "output was lost");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_of_terminals_are_made_visible() {
        assert_eq!(printable("a\u{1b}[2Jb\n"), "a\\u{1b}[2Jb\\n");
        assert_eq!(printable("select 'ü'"), "select 'ü'");
        assert_eq!(printable("x\u{202e}y"), "x\\u{202e}y");
    }
}
