//! `[[field]]` and `[[detect]]` of `classification.toml`: what is classified outside of tables.

use std::{ops::Range, sync::Arc};

use gateway_core::{
    id::TargetName,
    mask::{ClassifiedField, Detector, FieldStep},
};
use serde::Deserialize;
use toml::Spanned;

use super::{
    classification::{ClassTable, Pattern},
    error::{BundleError, Source, suggest},
};
use crate::mask::{DataKind, Detection, Detectors};

/// Fields of one bundle, at most.
const FIELDS_MAX: usize = 256;
/// Steps of a path, at most.
const STEPS_MAX: usize = 16;
/// Detections of one bundle, at most.
const DETECTIONS_MAX: usize = 64;

/// One `[[field]]`.
#[derive(Clone, Debug)]
pub(crate) struct FieldRule {
    target: Pattern,
    field: ClassifiedField,
}

/// One `[[detect]]`.
#[derive(Clone, Debug)]
pub(crate) struct DetectionRule {
    target: Pattern,
    detection: Detection,
}

/// The fields of `rules` that are classified on `target`.
pub(crate) fn fields_of<'a>(
    rules: &'a [FieldRule],
    target: &'a TargetName,
) -> impl Iterator<Item = &'a ClassifiedField> {
    let here = rules
        .iter()
        .filter(|rule| rule.target.matches(target.as_str()));
    here.map(|rule| &rule.field)
}

/// What finds the data that `rules` look for on `target`, if anything.
pub(crate) fn detector_of(
    rules: &[DetectionRule],
    target: &TargetName,
) -> Option<Arc<dyn Detector>> {
    let here = rules
        .iter()
        .filter(|rule| rule.target.matches(target.as_str()));
    let detections: Arc<[Detection]> = here.map(|rule| rule.detection.clone()).collect();
    (!detections.is_empty()).then(|| Arc::new(Detectors(detections)) as Arc<dyn Detector>)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FieldEntry {
    target: String,
    #[serde(default)]
    group: String,
    resource: Spanned<String>,
    path: Spanned<Vec<String>>,
    class: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DetectEntry {
    target: String,
    kind: Spanned<String>,
    class: Spanned<String>,
}

/// Checks every `[[field]]`; mistakes go to `mistakes`.
pub(super) fn fields(
    source: Source<'_>,
    entries: Vec<FieldEntry>,
    classes: &ClassTable<'_>,
    mistakes: &mut Vec<BundleError>,
) -> Vec<FieldRule> {
    too_many(source, "[[field]]", entries.len(), FIELDS_MAX, mistakes);
    let mut rules = Vec::new();
    for entry in entries {
        let mut refuse = |span: Range<usize>, message: &str| {
            mistakes.push(source.mistake(span, message));
        };
        if entry.resource.get_ref().is_empty() || entry.resource.get_ref().contains(['/', '*']) {
            let message = "`resource` is the plural name of one resource, like `secrets`";
            refuse(entry.resource.span(), message);
        }
        let path = entry.path.get_ref();
        if !(1..=STEPS_MAX).contains(&path.len()) || path.iter().any(String::is_empty) {
            let message =
                format!("`path` has 1 to {STEPS_MAX} steps; `*` is any member or element");
            refuse(entry.path.span(), &message);
        }
        let Some(class) = classes.find(source, &entry.class, mistakes) else {
            continue;
        };
        let step = |step: String| match step.as_str() {
            "*" => FieldStep::Each,
            _ => FieldStep::Key(step),
        };
        rules.push(FieldRule {
            target: Pattern::new(entry.target),
            field: ClassifiedField {
                group: entry.group,
                resource: entry.resource.into_inner(),
                path: entry.path.into_inner().into_iter().map(step).collect(),
                class,
            },
        });
    }
    rules
}

/// Checks every `[[detect]]`; mistakes go to `mistakes`.
pub(super) fn detections(
    source: Source<'_>,
    entries: Vec<DetectEntry>,
    classes: &ClassTable<'_>,
    mistakes: &mut Vec<BundleError>,
) -> Vec<DetectionRule> {
    too_many(
        source,
        "[[detect]]",
        entries.len(),
        DETECTIONS_MAX,
        mistakes,
    );
    let mut rules = Vec::new();
    for entry in entries {
        let name = entry.kind.get_ref();
        let kind = DataKind::ALL.into_iter().find(|kind| kind.as_str() == name);
        if kind.is_none() {
            let known = DataKind::ALL.map(DataKind::as_str);
            let help = suggest(name, known)
                .unwrap_or_else(|| format!("known kinds: {}", known.join(", ")));
            let mistake = source.mistake(entry.kind.span(), format!("unknown kind `{name}`"));
            mistakes.push(mistake.with_help(Some(help)));
        }
        let Some(class) = classes.find(source, &entry.class, mistakes) else {
            continue;
        };
        // A class whose own mask is wrong was reported already.
        let (Some(kind), Some(method)) = (kind, classes.method(&class)) else {
            continue;
        };
        if !method.fits_streams() {
            let message = format!(
                "method `{}` of class `{class}` can't mask what is found in text",
                method.name()
            );
            mistakes.push(source.mistake(entry.class.span(), message));
        }
        rules.push(DetectionRule {
            target: Pattern::new(entry.target),
            detection: Detection {
                kind,
                class,
                method: Arc::clone(method),
            },
        });
    }
    rules
}

fn too_many(
    source: Source<'_>,
    what: &str,
    count: usize,
    max: usize,
    mistakes: &mut Vec<BundleError>,
) {
    if count > max {
        let message = format!("{count} of `{what}`; at most {max}");
        mistakes.push(BundleError::of_file(source.name, message));
    }
}
