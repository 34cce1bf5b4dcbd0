//! Mistakes in a bundle, with their places.

use std::{fmt, ops::Range, sync::Arc};

use miette::{Diagnostic, LabeledSpan, NamedSource, SourceCode};

/// One file of a bundle, as read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source<'a> {
    /// Its name within the bundle's folder.
    pub(crate) name: &'a str,
    /// Its text.
    pub(crate) text: &'a Arc<str>,
}

impl Source<'_> {
    /// A mistake at `span` (bytes) of this file.
    pub(crate) fn mistake(&self, span: Range<usize>, message: impl fmt::Display) -> BundleError {
        let (line, column) = place(self.text, span.start);
        BundleError {
            file: self.name.to_owned(),
            place: Some((line, column)),
            label: Some(LabeledSpan::at(span, "here")),
            source: Some(NamedSource::new(self.name, Arc::clone(self.text))),
            message: message.to_string(),
            help: None,
        }
    }

    /// `file:line` of a byte offset.
    pub(crate) fn file_and_line(&self, offset: usize) -> String {
        format!("{}:{}", self.name, place(self.text, offset).0)
    }
}

/// Line and column of a byte offset, both from 1; the column counts characters.
fn place(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let column = before
        .get(line_start..)
        .map_or(0, |line| line.chars().count());
    (before.matches('\n').count() + 1, column + 1)
}

/// One mistake in a bundle. `Display` is one line: `file:line:column: what`.
#[derive(Clone, Debug)]
pub struct BundleError {
    file: String,
    place: Option<(usize, usize)>,
    label: Option<LabeledSpan>,
    source: Option<NamedSource<Arc<str>>>,
    message: String,
    help: Option<String>,
}

impl BundleError {
    /// A mistake that concerns a whole file.
    pub(crate) fn of_file(file: &str, message: impl fmt::Display) -> Self {
        Self {
            file: file.to_owned(),
            place: None,
            label: None,
            source: None,
            message: message.to_string(),
            help: None,
        }
    }

    /// Adds what would be right.
    pub(crate) fn with_help(mut self, help: Option<impl fmt::Display>) -> Self {
        self.help = help.map(|help| help.to_string());
        self
    }

    /// The file, as named within the bundle's folder.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Line and column, both from 1, where the mistake has a place.
    #[must_use]
    pub const fn place(&self) -> Option<(usize, usize)> {
        self.place
    }

    /// What is wrong, without the place.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What would be right, where that is known.
    #[must_use]
    pub fn suggestion(&self) -> Option<&str> {
        self.help.as_deref()
    }
}

impl fmt::Display for BundleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Some((line, column)) => write!(f, "{}:{line}:{column}: {}", self.file, self.message),
            None => write!(f, "{}: {}", self.file, self.message),
        }
    }
}

impl std::error::Error for BundleError {}

impl Diagnostic for BundleError {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help
            .as_ref()
            .map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.source.as_ref().map(|source| source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        self.label
            .clone()
            .map(|label| Box::new(std::iter::once(label)) as Box<_>)
    }
}

/// Every mistake of a bundle; at least one.
#[derive(Clone, Debug)]
pub struct BundleErrors(Vec<BundleError>);

impl BundleErrors {
    /// `Err` with the mistakes, if there are any.
    pub(crate) fn check(mistakes: Vec<BundleError>) -> Result<(), Self> {
        if mistakes.is_empty() {
            Ok(())
        } else {
            Err(Self(mistakes))
        }
    }

    /// The mistakes, in file order.
    pub fn iter(&self) -> impl Iterator<Item = &BundleError> {
        self.0.iter()
    }
}

impl From<BundleError> for BundleErrors {
    fn from(mistake: BundleError) -> Self {
        Self(vec![mistake])
    }
}

impl fmt::Display for BundleErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        write!(
            f,
            "the policy bundle has {count} mistake{}",
            if count == 1 { "" } else { "s" }
        )?;
        self.0
            .iter()
            .try_for_each(|mistake| write!(f, "\n  {mistake}"))
    }
}

impl std::error::Error for BundleErrors {}

impl Diagnostic for BundleErrors {
    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        Some(Box::new(
            self.0.iter().map(|mistake| mistake as &dyn Diagnostic),
        ))
    }
}

/// The known word closest to `given`, as a suggestion, if one is close.
pub(crate) fn suggest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    known
        .into_iter()
        .map(|word| (strsim::jaro_winkler(given, word), word))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, word)| format!("did you mean `{word}`?"))
}
