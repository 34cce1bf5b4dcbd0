//! A message of the agent on its way to a verdict.

use std::sync::Arc;

use bytes::Bytes;
use gateway_core::{
    catalogue::CatalogueVersion,
    id::Digest,
    operation::{Analysis, Bindings, ClassifiedUse, Inspection, SqlFacts, SqlStage, SqlUnit},
};

use crate::postgres::message::{Bind, Format};

/// Longest parameter value shown to a reviewer, bytes.
const SHOWN_BYTES_MAX: usize = 256;

/// A message that needs a verdict, with the exact bytes to release.
#[derive(Debug)]
pub(super) enum Pending {
    /// Query
    Query { frames: Bytes, text: Arc<str> },
    /// Parse
    Parse {
        frames: Bytes,
        text: Arc<str>,
        name: Bytes,
    },
    /// Bind; with `in_parts` set, `frames` is its head.
    Bind {
        frames: Bytes,
        text: Arc<str>,
        portal: Bytes,
        bindings: Option<Bindings>,
        /// What the target has in place of the statement's text.
        rewritten: Option<Arc<str>>,
        in_parts: bool,
    },
    /// Execute of a portal whose unit has finished.
    Execute {
        frames: Bytes,
        portal: Bytes,
        operation: Box<SqlUnit>,
    },
}

impl Pending {
    pub(super) fn text(&self) -> &Arc<str> {
        match self {
            Self::Query { text, .. } | Self::Parse { text, .. } | Self::Bind { text, .. } => text,
            Self::Execute { operation, .. } => &operation.text,
        }
    }

    pub(super) fn bindings(&self) -> Option<Bindings> {
        match self {
            Self::Query { .. } | Self::Parse { .. } => None,
            Self::Bind { bindings, .. } => bindings.clone(),
            Self::Execute { operation, .. } => operation.bindings.clone(),
        }
    }

    pub(super) fn stage(&self) -> SqlStage {
        match self {
            Self::Query { .. } => SqlStage::Query,
            Self::Parse { .. } => SqlStage::Prepare,
            Self::Bind { .. } | Self::Execute { .. } => SqlStage::Execute,
        }
    }
}

/// What stands for the operation of an Execute whose portal isn't known yet.
pub(super) fn unknown_unit() -> SqlUnit {
    SqlUnit {
        stage: SqlStage::Execute,
        text: Arc::from(""),
        analysis: Arc::new(Analysis {
            statements: Vec::new(),
            effects: Vec::new(),
            inspection: Inspection::Opaque {
                reason: "unknown portal".into(),
            },
            facts: SqlFacts::default(),
            classified: ClassifiedUse::default(),
            sensitive: Vec::new(),
            catalogue: CatalogueVersion(Digest([0; 32])),
            mistake: None,
        }),
        bindings: None,
        in_transaction: false,
    }
}

/// Digest and readable form of a Bind's values.
pub(super) fn bindings(bind: &Bind<'_>) -> Bindings {
    let mut input = Vec::new();
    let mut shown = Vec::with_capacity(bind.parameters.len());
    let format_of = |index: usize| match bind.parameter_formats.len() {
        0 => Format::Text,
        1 => bind.parameter_formats.iter().next().unwrap_or(Format::Text),
        _ => bind
            .parameter_formats
            .iter()
            .nth(index)
            .unwrap_or(Format::Text),
    };
    for (index, value) in bind.parameters.iter().enumerate() {
        let format = format_of(index);
        input.push(u8::from(format == Format::Binary));
        let Some(value) = value else {
            input.push(0);
            shown.push(None);
            continue;
        };
        input.push(1);
        input.extend_from_slice(&(value.len() as u64).to_be_bytes());
        input.extend_from_slice(value);
        shown.push(Some(readable(value, format)));
    }
    Bindings {
        digest: Digest::of(&input),
        shown,
    }
}

fn readable(value: &[u8], format: Format) -> String {
    let cut = value.get(..SHOWN_BYTES_MAX).unwrap_or(value);
    let text = std::str::from_utf8(cut)
        .ok()
        .filter(|_| format == Format::Text);
    let mut shown = match text {
        Some(text) => text.to_owned(),
        None => cut.iter().fold("\\x".to_owned(), |mut hex, byte| {
            use std::fmt::Write;
            // Writing to a String can't fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        }),
    };
    if cut.len() < value.len() {
        shown.push('…');
    }
    shown
}
