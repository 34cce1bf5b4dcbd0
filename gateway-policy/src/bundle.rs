//! A policy bundle: loaded whole or not at all.

use std::{collections::BTreeMap, fmt, fs, io::Read as _, path::Path, sync::Arc};

use gateway_core::{
    catalogue::Snapshot,
    decision::{Decision, DecisionPoint, Request, Verdict},
    id::{Digest, RuleId, TargetName},
    mask::{ClassifiedField, Detector, Obligations},
    operation::{Action, CommandKind, Operation},
    time::Now,
};

use crate::{
    decide::{Cache, Engine, Given, Judgement, classified},
    language::{
        Agent, Agents, BundleError, BundleErrors, Classes, Commands, Rule, Source, detector_of,
        fields_of, parse, schema_text,
    },
    mask::{Classification, ClassifyError, MaskKey, classify},
};

/// Files of one bundle, at most.
const FILES_MAX: usize = 1024;
/// Largest file, bytes.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// Files beside `*.cedar` that belong to a bundle.
const NAMED_FILES: [&str; 4] = [
    "agents.toml",
    "classification.toml",
    "commands.toml",
    "gateway.cedarschema",
];

/// The files of a bundle, by name: what its digest covers.
#[derive(Clone, Debug, Default)]
pub struct BundleFiles(BTreeMap<String, Arc<str>>);

impl BundleFiles {
    /// Takes files that were read elsewhere. Names other than `*.cedar`, `agents.toml`,
    /// `classification.toml`, `commands.toml` and `gateway.cedarschema` are left out.
    pub fn new(files: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(
            files
                .into_iter()
                .filter(|(name, _)| belongs(name))
                .map(|(name, text)| (name, text.into()))
                .collect(),
        )
    }

    /// Reads the files of a folder, not of folders in it.
    ///
    /// # Errors
    /// Files that can't be read, aren't UTF-8, exceed 4 MiB, or are more than 1,024.
    pub fn read(folder: &Path) -> Result<Self, BundleErrors> {
        let whole =
            |error: std::io::Error| BundleError::of_file(&folder.display().to_string(), error);
        let mut files = BTreeMap::new();
        let mut mistakes = Vec::new();
        for entry in fs::read_dir(folder).map_err(whole)? {
            let entry = entry.map_err(whole)?;
            let name = match entry.file_name().into_string() {
                Ok(name) => name,
                Err(name) => {
                    let name = name.to_string_lossy();
                    mistakes.push(BundleError::of_file(&name, "the name isn't UTF-8"));
                    continue;
                }
            };
            if !belongs(&name) {
                continue;
            }
            if files.len() >= FILES_MAX {
                let message = format!("more than {FILES_MAX} files");
                return Err(BundleError::of_file(&folder.display().to_string(), message).into());
            }
            match read_text(&entry.path()) {
                Ok(text) => {
                    files.insert(name, text.into());
                }
                Err(error) => mistakes.push(BundleError::of_file(&name, error)),
            }
        }
        BundleErrors::check(mistakes)?;
        Ok(Self(files))
    }

    /// SHA-256 over this gateway's schema and every file, in order of names: for each its name and
    /// its bytes, each preceded by its length as 64 bits big-endian.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let schema = schema_text();
        let schema = [("", schema.as_str())];
        let files = self.0.iter().map(|(name, text)| (name.as_str(), &**text));
        let mut content = Vec::new();
        for part in schema
            .into_iter()
            .chain(files)
            .flat_map(|(name, text)| [name, text])
        {
            content.extend(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            content.extend(part.as_bytes());
        }
        Digest::of(&content)
    }

    pub(crate) fn sources(&self) -> impl Iterator<Item = Source<'_>> {
        self.0.iter().map(|(name, text)| Source { name, text })
    }
}

fn belongs(name: &str) -> bool {
    NAMED_FILES.contains(&name) || (name.ends_with(".cedar") && !name.starts_with('.'))
}

fn read_text(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    fs::File::open(path)?
        .take(FILE_BYTES_MAX + 1)
        .read_to_string(&mut text)?;
    if u64::try_from(text.len()).is_ok_and(|len| len <= FILE_BYTES_MAX) {
        Ok(text)
    } else {
        Err(std::io::Error::other(format!(
            "larger than {FILE_BYTES_MAX} bytes"
        )))
    }
}

/// A checked policy bundle. Decides; immutable, but for a bounded memory of decisions.
///
/// ```
/// use gateway_policy::{Bundle, BundleFiles};
///
/// let rules = r#"
///     @id("agents-may-read")
///     permit (principal in Role::"Agents", action in Action::"sql.read", resource);
/// "#;
/// let files = BundleFiles::new([("reads.cedar".to_owned(), rules.to_owned())]);
/// let bundle = Bundle::parse(&files, None)?;
/// assert_eq!(bundle.rules().count(), 1);
///
/// let typo = rules.replace("sql.read", "sql.reed");
/// let files = BundleFiles::new([("reads.cedar".to_owned(), typo)]);
/// let errors = Bundle::parse(&files, None).expect_err("the action doesn't exist");
/// assert!(errors.to_string().contains("reads.cedar:3:"));
/// # Ok::<(), gateway_policy::BundleErrors>(())
/// ```
pub struct Bundle {
    digest: Digest,
    engine: Engine,
    agents: Agents,
    classes: Classes,
    commands: Commands,
    cache: Cache,
}

impl Bundle {
    /// Reads and checks the bundle in a folder. `key` is needed by classes that are masked by
    /// `hash` or `pseudonym`.
    ///
    /// # Errors
    /// Every mistake in the bundle, with its place.
    pub fn load(folder: &Path, key: Option<&MaskKey>) -> Result<Self, BundleErrors> {
        Self::parse(&BundleFiles::read(folder)?, key)
    }

    /// Checks a bundle that was read already.
    ///
    /// # Errors
    /// Every mistake in the bundle, with its place.
    pub fn parse(files: &BundleFiles, key: Option<&MaskKey>) -> Result<Self, BundleErrors> {
        let language = parse(files, key)?;
        let engine =
            Engine::new(language.rules).map_err(|error| BundleError::of_file("*.cedar", error))?;
        Ok(Self {
            digest: files.digest(),
            engine,
            agents: language.agents,
            classes: language.classes,
            commands: language.commands,
            cache: Cache::default(),
        })
    }

    /// Identity of the bundle's content.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// Every rule, by id.
    pub fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.engine.rules()
    }

    /// The rule with this id.
    #[must_use]
    pub fn rule(&self, id: &RuleId) -> Option<&Rule> {
        self.engine.rule(id)
    }

    /// Every agent that the bundle lists, by identity.
    pub fn agents(&self) -> impl Iterator<Item = &Agent> {
        self.agents.iter()
    }

    /// Whether the classification says anything about this target.
    #[must_use]
    pub fn classifies(&self, target: &TargetName) -> bool {
        self.classes
            .entries
            .iter()
            .any(|entry| entry.target.matches(target.as_str()))
    }

    /// Resolves the classification of `target` against the catalogue of one of its databases.
    ///
    /// # Errors
    /// Every contradiction between classification and catalogue; the target may not be served then.
    pub fn classify(
        &self,
        target: &TargetName,
        snapshot: &Snapshot,
    ) -> Result<Classification, Vec<ClassifyError>> {
        classify(&self.classes, target, snapshot)
    }

    /// The name of the first template of `commands.toml` that the operation's words fit. Only plain
    /// command lines have words.
    #[must_use]
    pub fn template(&self, operation: &Operation) -> Option<&str> {
        let name = self.commands.template(operation);
        (!name.is_empty()).then_some(name)
    }

    /// Number of decisions remembered, for tests.
    #[cfg(test)]
    pub(crate) fn remembered(&self) -> usize {
        self.cache.len()
    }

    fn judge(&self, now: Now, request: &Request<'_>, fields: &[ClassifiedField]) -> Arc<Judgement> {
        let judge = || {
            let given = Given {
                agents: &self.agents,
                template: self.commands.template(request.operation),
                fields,
            };
            self.engine.judge(given, now, request)
        };
        if self.engine.reads.clock {
            Arc::new(judge())
        } else {
            self.cache.get_or(request, fields, judge)
        }
    }

    /// Classified fields that the answer to the operation may hold: those that the protocol knows,
    /// and those that the classification lists.
    fn fields(&self, request: &Request<'_>) -> Vec<ClassifiedField> {
        let Operation::Api(unit) = request.operation else {
            return Vec::new();
        };
        let listed = fields_of(&self.classes.fields, &request.target.name);
        let mut fields: Vec<_> = unit.classified.iter().chain(listed).cloned().collect();
        fields.sort();
        fields.dedup();
        fields
    }

    /// What must look through the text that the operation gives out.
    fn detector(&self, request: &Request<'_>) -> Option<Arc<dyn Detector>> {
        let is_text = match request.operation {
            Operation::Command(unit) => match unit.kind {
                CommandKind::Exec | CommandKind::Shell => true,
                CommandKind::File => false,
            },
            Operation::Api(unit) => unit
                .effects
                .iter()
                .any(|effect| matches!(effect.action, Action::K8sLogs | Action::K8sExec)),
            Operation::Session(_) | Operation::Sql(_) => false,
        };
        is_text
            .then(|| detector_of(&self.classes.detections, &request.target.name))
            .flatten()
    }
}

impl DecisionPoint for Bundle {
    fn decide(&self, now: Now, request: &Request<'_>) -> Decision {
        let fields = self.fields(request);
        let judgement = self.judge(now, request, &fields);
        let mut verdict = judgement.verdict.clone();
        let mut obligations = Obligations::default();
        if let Some(used) = classified(request.operation) {
            obligations = Obligations::split(used, |column| judgement.reveal.contains(&column.id));
            // Before any hold: nobody is asked about what couldn't be masked.
            if let (Verdict::Allow | Verdict::Hold(_), Err(denial)) =
                (&verdict, obligations.check(used))
            {
                verdict = Verdict::Deny(denial);
            }
        }
        (obligations.revealed_fields, obligations.fields) = fields
            .into_iter()
            .partition(|field| judgement.reveal_fields.contains(field));
        obligations.detector = self.detector(request);
        Decision {
            verdict,
            obligations,
            rules: judgement.rules.clone(),
            policy: self.digest,
        }
    }

    fn policy(&self) -> Digest {
        self.digest
    }
}

impl fmt::Debug for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bundle")
            .field("digest", &self.digest)
            .finish_non_exhaustive()
    }
}
