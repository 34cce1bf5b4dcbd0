//! Mistakes in the configuration: each with its place.

use std::{ops::Range, path::PathBuf, sync::Arc};

use miette::{Diagnostic, LabeledSpan, NamedSource, SourceCode};

/// The configuration can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file can't be read.
    #[error("can't read `{}`: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is larger than any honest configuration.
    #[error("`{}` is larger than {max} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit.
        max: u64,
    },
    /// It says something wrong, at these places.
    #[error("{} mistake{} in the configuration", .0.len(), if .0.len() == 1 { "" } else { "s" })]
    Mistakes(Vec<Mistake>),
}

/// One mistake, its place and, where there is one, a way out.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Mistake {
    /// What is wrong: one sentence, lower case.
    pub(crate) message: String,
    /// What would be right.
    pub(crate) help: Option<String>,
    span: Range<usize>,
    text: Arc<NamedSource<Arc<str>>>,
}

impl Mistake {
    /// A mistake at `span` of `text`.
    pub(super) fn new(
        text: &Arc<NamedSource<Arc<str>>>,
        span: Range<usize>,
        message: impl Into<String>,
        help: Option<String>,
    ) -> Self {
        Self {
            message: message.into(),
            help,
            span,
            text: Arc::clone(text),
        }
    }

    /// The file.
    pub(crate) fn file(&self) -> &str {
        self.text.name()
    }

    /// Line and column of its start, both from 1; columns count characters.
    pub(crate) fn position(&self) -> (usize, usize) {
        let before = self.text.inner().get(..self.span.start).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before
            .rsplit('\n')
            .next()
            .unwrap_or_default()
            .chars()
            .count()
            + 1;
        (line, column)
    }
}

impl Diagnostic for Mistake {
    fn help<'a>(&'a self) -> Option<Box<dyn std::fmt::Display + 'a>> {
        self.help
            .as_ref()
            .map(|help| Box::new(help) as Box<dyn std::fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(self.text.as_ref())
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let length = self.span.len().max(1);
        Some(Box::new(std::iter::once(LabeledSpan::new(
            None,
            self.span.start,
            length,
        ))))
    }
}
