//! A PostgreSQL target at run time: its catalogue, its classification, its credential.

use std::{collections::BTreeMap, sync::Arc};

use gateway_core::{
    catalogue::CatalogueVersion,
    decision::{Denial, Reason},
    id::{Digest, TargetName},
    identity::TokenRules,
    mask::Classified,
    operation::Inspection,
    target::{Masking, Mode, Target},
    wire::{Analysed, Route},
};
use gateway_policy::{Bundle, ClassifyError, PolicyStore};
use parking_lot::Mutex;

use crate::{
    analysis::{AnalysisError, AnalysisPool},
    catalogue::{Catalogues, Connector, LoadError, Loaded},
    config::{PostgresUpstream, TargetConfig},
    credential::TargetCredential,
    postgres::APPLICATION_PROTOCOL,
    target::SetupError,
    tls,
};

use super::guaranteed::Proof;

/// Classifications remembered; all are forgotten when there are more.
const CLASSIFICATIONS_MAX: usize = 32;

/// A PostgreSQL target at run time.
pub(crate) struct PostgresTarget {
    name: TargetName,
    mode: Mode,
    mask: bool,
    masking: Masking,
    database: Option<String>,
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

/// What a target's statements mean can't be found out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ResolveError {
    /// Its catalogue can't be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The classification contradicts the catalogue.
    #[error("the classification does not fit the target: {}", first(.0))]
    Classify(Vec<ClassifyError>),
    /// The target isn't proven to withhold what is classified.
    #[error("the guaranteed mode isn't proven: {0}")]
    Unproven(Proof),
    /// A catalogue that was saved says nothing about rights.
    #[error("the guaranteed mode can only be proven while connected to the target")]
    NoRights,
    /// The text wasn't analysed.
    #[error(transparent)]
    Analysis(#[from] AnalysisError),
}

fn first(errors: &[ClassifyError]) -> String {
    errors.first().map(ToString::to_string).unwrap_or_default()
}

impl PostgresTarget {
    /// Sets a target up; connects nowhere yet.
    ///
    /// # Errors
    /// [`SetupError`] when its files can't be used.
    pub(crate) fn new(
        config: &TargetConfig,
        upstream: &PostgresUpstream,
        http: &reqwest::Client,
        rules: &TokenRules,
    ) -> Result<Self, SetupError> {
        let mut tls = tls::client_trusting(&upstream.tls.ca_file)?;
        tls.alpn_protocols = vec![APPLICATION_PROTOCOL.to_vec()];
        let tls = Arc::new(tls);
        let credential = Arc::new(TargetCredential::new(&upstream.credential, http, rules)?);
        let connector = Connector::new(
            config.address.clone(),
            upstream.tls.server_name.clone(),
            tls,
            upstream.direct_tls,
            credential,
        );
        Ok(Self {
            name: config.name.clone(),
            mode: config.mode,
            mask: config.mask,
            masking: upstream.masking,
            database: upstream.database.clone(),
            catalogues: Catalogues::new(connector, upstream.masking),
            classifications: Mutex::default(),
        })
    }

    /// The database of clients that name none.
    pub(crate) fn default_database(&self) -> &str {
        self.database.as_deref().unwrap_or(self.name.as_str())
    }

    /// How it is reached.
    pub(crate) fn connector(&self) -> &Connector {
        self.catalogues.connector()
    }

    /// Its catalogues.
    pub(crate) fn catalogues(&self) -> &Catalogues {
        &self.catalogues
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
    /// [`ResolveError::Classify`] with every contradiction; where the target has to withhold what is
    /// classified, [`ResolveError::Unproven`] while it isn't proven to.
    pub(crate) fn classify(
        &self,
        bundle: &Bundle,
        loaded: &Loaded,
    ) -> Result<Arc<Classified>, ResolveError> {
        if !self.mask {
            return Ok(Arc::default());
        }
        let database = &loaded.snapshot.database;
        if let Some(known) = self.classifications.lock().get(database)
            && known.catalogue == loaded.version
            && known.policy == bundle.digest()
        {
            return Ok(Arc::clone(&known.classified));
        }
        let (classified, proof) = self.prove(bundle, loaded)?;
        if let Some(proof) = proof.filter(|proof| !proof.holds()) {
            return Err(ResolveError::Unproven(proof));
        }
        let classified = Arc::new(classified);
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

    /// What is classified under `bundle`, and where the target has to withhold it, what was found of
    /// every condition. Nothing classified needs no proof.
    ///
    /// # Errors
    /// [`ResolveError::Classify`], or [`ResolveError::NoRights`].
    pub(crate) fn prove(
        &self,
        bundle: &Bundle,
        loaded: &Loaded,
    ) -> Result<(Classified, Option<Proof>), ResolveError> {
        let classification = bundle
            .classify(&self.name, &loaded.snapshot)
            .map_err(ResolveError::Classify)?;
        for entry in &classification.unmatched {
            tracing::warn!(target_name = %self.name, %entry, "a classification entry matches nothing");
        }
        let classified = classification.classified;
        match (self.masking, &loaded.rights) {
            (Masking::Shared, _) => Ok((classified, None)),
            (Masking::Guaranteed, None) => Err(ResolveError::NoRights),
            (Masking::Guaranteed, Some(rights)) => {
                let classified = classified.guaranteed(&rights.reviewed());
                if classified.is_empty() {
                    return Ok((classified, None));
                }
                let proof = Proof::of(&loaded.snapshot, rights, &classified);
                Ok((classified, Some(proof)))
            }
        }
    }

    /// `target`, for a session on `database`, if it may go there at all.
    ///
    /// # Errors
    /// A denial when the database can't be resolved, or the gateway's role there could bypass
    /// what it enforces.
    pub(crate) async fn route(
        &self,
        target: Target,
        policy: &PolicyStore,
        database: String,
    ) -> Result<Route, Denial> {
        let resolved = self.resolve(policy, &database).await.map_err(|error| {
            tracing::error!(target_name = %self.name, database, %error, "a session was refused");
            if let ResolveError::Unproven(proof) = &error {
                return unproven(&self.name, &database, proof);
            }
            let message = format!(
                "target `{}` can't serve database `{database}` now",
                self.name
            );
            Denial::new(Reason::NoAnswer, message)
                .with_hint("check the database's name; the gateway's log has the cause")
        })?;
        if let Some(power) = self.forbidden_power(&target, &resolved) {
            tracing::error!(target_name = %self.name, power, "the gateway's role is too powerful");
            let message = format!(
                "target `{}` is classified, and the gateway's role there is a {power}",
                self.name
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
        if !target.classified || self.mode != Mode::Enforce {
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

fn unproven(target: &TargetName, database: &str, proof: &Proof) -> Denial {
    let message = format!(
        "target `{target}` isn't proven to withhold classified values in database `{database}`"
    );
    Denial::new(Reason::Masking, message)
        .with_detail(proof.to_string())
        .with_hint("the operator finds every clause with `gateway check`")
}
