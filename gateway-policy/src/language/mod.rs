//! The bundle's files as written by people: parsed, checked, with places for every mistake.

mod agents;
mod classification;
mod commands;
mod error;
mod fields;
mod rules;
mod schema;

use std::collections::BTreeSet;

use cedar_policy::{Schema, Validator};

pub use agents::Agent;
pub(crate) use agents::Agents;
pub(crate) use classification::{Classes, Entry};
pub(crate) use commands::Commands;
pub(crate) use error::Source;
pub use error::{BundleError, BundleErrors};
pub(crate) use fields::{detector_of, fields_of};
pub use rules::{HoldTerms, Rule};
pub(crate) use rules::{ParsedRule, Reads};
pub use schema::schema_text;
pub(crate) use schema::{REVEAL, REVEAL_FAMILY, family};

use crate::{bundle::BundleFiles, mask::MaskKey};

/// The schema's name within a bundle.
const SCHEMA_FILE: &str = "gateway.cedarschema";

/// Everything a bundle says, checked.
pub(crate) struct Language {
    pub(crate) rules: Vec<ParsedRule>,
    pub(crate) agents: Agents,
    pub(crate) classes: Classes,
    pub(crate) commands: Commands,
}

/// Parses and checks all files.
///
/// # Errors
/// Every mistake found.
pub(crate) fn parse(files: &BundleFiles, key: Option<&MaskKey>) -> Result<Language, BundleErrors> {
    let schema = schema_text();
    let validator = Schema::from_cedarschema_str(&schema)
        .map(|(schema, _)| Validator::new(schema))
        .map_err(|error| BundleError::of_file(SCHEMA_FILE, error))?;
    let mut mistakes = Vec::new();
    let mut ids = BTreeSet::new();
    let mut rules = Vec::new();
    let mut agents = Agents::default();
    let mut classes = Classes::default();
    let mut commands = Commands::default();
    for source in files.sources() {
        match source.name {
            agents::FILE => agents = agents::parse(source, &mut mistakes),
            classification::FILE => classes = classification::parse(source, key, &mut mistakes),
            commands::FILE => commands = commands::parse(source, &mut mistakes),
            SCHEMA_FILE if **source.text != *schema => {
                let mistake = BundleError::of_file(SCHEMA_FILE, "isn't this gateway's schema");
                mistakes
                    .push(mistake.with_help(Some("replace it by the gateway's own, or remove it")));
            }
            SCHEMA_FILE => {}
            _ => rules.extend(rules::parse(source, &validator, &mut ids, &mut mistakes)),
        }
    }
    if rules.len() > rules::RULES_MAX {
        let message = format!("{} rules; at most {}", rules.len(), rules::RULES_MAX);
        mistakes.push(BundleError::of_file("*.cedar", message));
    }
    BundleErrors::check(mistakes)?;
    Ok(Language {
        rules,
        agents,
        classes,
        commands,
    })
}

#[cfg(test)]
mod tests;
