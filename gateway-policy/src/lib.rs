//! Cedar policies, holds, classification and masks of the access gateway.
//!
//! ```text
//! folder -> BundleFiles -> Bundle --decide--> Decision        (DecisionPoint: total, pure)
//!                                 --classify--> Classification (columns to mask, against a catalogue)
//! ```
//! A bundle is loaded whole or not at all, and every mistake in it is reported with its place.
//! What policies may say is the generated [`schema_text`]; the manual of annotations is
//! [`Rule`]'s documentation.

mod bundle;
pub mod cases;
mod decide;
mod language;
mod mask;
mod store;
#[cfg(test)]
mod testing;

pub use bundle::{Bundle, BundleFiles};
pub use language::{Agent, BundleError, BundleErrors, HoldTerms, Rule, schema_text};
pub use mask::{Classification, ClassifyError, MaskKey, MaskKeyTooShort, UnmatchedEntry};
pub use store::PolicyStore;
