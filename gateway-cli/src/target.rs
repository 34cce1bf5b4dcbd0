//! One target at run time: its catalogue, its classification, its credential.

use std::{collections::BTreeMap, sync::Arc};

use gateway_core::{
    catalogue::CatalogueVersion,
    decision::{Denial, Reason},
    id::Digest,
    identity::TokenRules,
    mask::Classified,
    operation::Inspection,
    target::{Mode, Target},
    wire::{Analysed, Route},
};
use gateway_policy::{Bundle, ClassifyError, PolicyStore};
use parking_lot::Mutex;

use crate::{
    analysis::{AnalysisError, AnalysisPool},
    catalogue::{Catalogues, Connector, LoadError, Loaded},
    config::TargetConfig,
    credential::{CredentialError, TargetCredential},
    tls::{self, TlsError},
};

/// Classifications remembered; all are forgotten when there are more.
const CLASSIFICATIONS_MAX: usize = 32;

/// One target at run time.
pub(crate) struct TargetService {
    config: TargetConfig,
    catalogues: Catalogues,
    classifications: Mutex<BTreeMap<String, Classification>>,
}

/// A classification, and what it was made of.
struct Classification {
    catalogue: CatalogueVersion,
    policy: Digest,
    classified: Arc<Classified>,
}

/// A catalogue with the classification in force.
pub(crate) struct Resolved {
    /// The catalogue.
    pub(crate) loaded: Arc<Loaded>,
    /// The classification.
    pub(crate) classified: Arc<Classified>,
}

/// A target can't be set up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SetupError {
    /// Its authorities can't be read.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Its credential can't be used.
    #[error(transparent)]
    Credential(#[from] CredentialError),
}

/// What a target's statements mean can't be found out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ResolveError {
    /// Its catalogue can't be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The classification contradicts the catalogue.
    #[error("the classification does not fit the target: {}", first(.0))]
    Classify(Vec<ClassifyError>),
    /// The text wasn't analysed.
    #[error(transparent)]
    Analysis(#[from] AnalysisError),
}

fn first(errors: &[ClassifyError]) -> String {
    errors.first().map(ToString::to_string).unwrap_or_default()
}

impl TargetService {
    /// Sets a target up; connects nowhere yet.
    ///
    /// # Errors
    /// [`SetupError`] when its files can't be used.
    pub(crate) fn new(
        config: TargetConfig,
        http: &reqwest::Client,
        rules: &TokenRules,
    ) -> Result<Self, SetupError> {
        let tls = Arc::new(tls::client_trusting(&config.ca_file)?);
        let credential = Arc::new(TargetCredential::new(&config.credential, http, rules)?);
        let connector = Connector::new(
            config.address.clone(),
            config.server_name.clone(),
            tls,
            credential,
        );
        Ok(Self {
            config,
            catalogues: Catalogues::new(connector),
            classifications: Mutex::default(),
        })
    }

    /// Its configuration.
    pub(crate) fn config(&self) -> &TargetConfig {
        &self.config
    }

    /// How it is reached.
    pub(crate) fn connector(&self) -> &Connector {
        self.catalogues.connector()
    }

    /// Its catalogues.
    pub(crate) fn catalogues(&self) -> &Catalogues {
        &self.catalogues
    }

    /// The target as decisions see it under `bundle`.
    pub(crate) fn describe(&self, bundle: &Bundle) -> Target {
        self.config.describe(bundle.classifies(&self.config.name))
    }

    /// The catalogue and classification of one database.
    ///
    /// # Errors
    /// [`ResolveError`] when either can't be had; nothing of the database may be served then.
    pub(crate) async fn resolve(
        &self,
        policy: &PolicyStore,
        database: &str,
    ) -> Result<Resolved, ResolveError> {
        let loaded = self.catalogues.get(database).await?;
        let classified = self.classify(&policy.current(), &loaded)?;
        Ok(Resolved { loaded, classified })
    }

    /// The classification of a catalogue under `bundle`; empty where masks are switched off.
    ///
    /// # Errors
    /// [`ResolveError::Classify`] with every contradiction.
    pub(crate) fn classify(
        &self,
        bundle: &Bundle,
        loaded: &Loaded,
    ) -> Result<Arc<Classified>, ResolveError> {
        if !self.config.mask {
            return Ok(Arc::default());
        }
        let database = &loaded.snapshot.database;
        if let Some(known) = self.classifications.lock().get(database)
            && known.catalogue == loaded.version
            && known.policy == bundle.digest()
        {
            return Ok(Arc::clone(&known.classified));
        }
        let classification = bundle
            .classify(&self.config.name, &loaded.snapshot)
            .map_err(ResolveError::Classify)?;
        for entry in &classification.unmatched {
            tracing::warn!(target_name = %self.config.name, %entry, "a classification entry matches nothing");
        }
        let classified = Arc::new(classification.classified);
        let mut known = self.classifications.lock();
        if known.len() >= CLASSIFICATIONS_MAX {
            known.clear();
        }
        known.insert(
            database.clone(),
            Classification {
                catalogue: loaded.version,
                policy: bundle.digest(),
                classified: Arc::clone(&classified),
            },
        );
        Ok(classified)
    }

    /// Where a session for `database` goes, if it may go there at all.
    ///
    /// # Errors
    /// A denial when the database can't be resolved, or the gateway's role there could bypass
    /// what it enforces.
    pub(crate) async fn route(
        &self,
        policy: &PolicyStore,
        database: String,
    ) -> Result<Route, Denial> {
        let bundle = policy.current();
        let target = self.describe(&bundle);
        let resolved = self.resolve(policy, &database).await.map_err(|error| {
            tracing::error!(target_name = %self.config.name, database, %error, "a session was refused");
            let message = format!(
                "target `{}` can't serve database `{database}` now",
                self.config.name
            );
            Denial::new(Reason::NoAnswer, message)
                .with_hint("check the database's name; the gateway's log has the cause")
        })?;
        if let Some(power) = self.forbidden_power(&target, &resolved) {
            tracing::error!(target_name = %self.config.name, power, "the gateway's role is too powerful");
            let message = format!(
                "target `{}` is classified, and the gateway's role there is a {power}",
                self.config.name
            );
            return Err(Denial::new(Reason::Masking, message)
                .with_hint("the operator must give the gateway an ordinary role there"));
        }
        Ok(Route { target, database })
    }

    /// The power that the gateway's role mustn't have on a classified, enforced target.
    pub(crate) fn forbidden_power(
        &self,
        target: &Target,
        resolved: &Resolved,
    ) -> Option<&'static str> {
        let role = &resolved.loaded.snapshot.role;
        if !target.classified || self.config.mode != Mode::Enforce {
            return None;
        }
        if role.superuser {
            Some("superuser")
        } else if role.replication {
            Some("replication role")
        } else {
            None
        }
    }

    /// Analyses a text. One that isn't understood is tried again against a newer catalogue: it may
    /// name what was just created.
    ///
    /// # Errors
    /// [`ResolveError`]; the text must be refused then.
    pub(crate) async fn analyse(
        &self,
        policy: &PolicyStore,
        pool: &AnalysisPool,
        database: &str,
        text: Arc<str>,
    ) -> Result<Analysed, ResolveError> {
        let Resolved { loaded, classified } = self.resolve(policy, database).await?;
        let analysis = pool
            .analyse(
                Arc::clone(&text),
                Arc::clone(&loaded),
                Arc::clone(&classified),
            )
            .await?;
        if analysis.inspection != Inspection::Full {
            let newer = self.catalogues.newer_than(database, &loaded).await?;
            if newer.version != loaded.version {
                let classified = self.classify(&policy.current(), &newer)?;
                let analysis = pool.analyse(text, newer, Arc::clone(&classified)).await?;
                return Ok(Analysed {
                    analysis: Arc::new(analysis),
                    classified,
                });
            }
        }
        Ok(Analysed {
            analysis: Arc::new(analysis),
            classified,
        })
    }
}
