//! The running gateway: everything that sessions and the admin API share.

use std::{
    collections::BTreeMap,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use gateway_audit::{
    log::{Log, LogFailed, LogOptions, OpenError, Recovery},
    note::{CheckpointSigner, NoteError, VerifierKey},
    record::OwnEntry,
};
use gateway_core::{
    azure::{HttpsClientError, RefreshSchedule, TokenVerifier, https_client},
    drive::Command,
    id::{Digest, TargetName},
    identity::{Principal, TokenRules, TokenRulesError},
    record::CloseReason,
    target::Durability,
};
use gateway_policy::{Bundle, BundleErrors, MaskKey, MaskKeyTooShort, PolicyStore};
use secrecy::ExposeSecret as _;

use crate::{
    analysis::AnalysisPool,
    approvals::ApprovalDesk,
    clock::{self, NoRandomness},
    config::{Bounds, Config, Entra, GatewayConfig, Listener, SecretError, TlsFiles},
    exchange::Exchange,
    sessions::Sessions,
    ssh::{IdentityError, SshIdentity},
    store::{SqliteStore, StoreError},
    target::{SetupError, TargetService},
    tls::{self, TlsError},
};

/// Everything that sessions and the admin API share.
pub(crate) struct Gateway {
    /// Accepts and rejects tokens.
    pub(crate) verifier: TokenVerifier,
    /// Who may do what at the admin API.
    pub(crate) entra: Entra,
    /// Every bound.
    pub(crate) bounds: Bounds,
    /// The servers.
    pub(crate) targets: BTreeMap<TargetName, Arc<TargetService>>,
    /// The policy in force.
    pub(crate) policy: Arc<PolicyStore>,
    /// Tokens for agents that show a client id and its secret.
    pub(crate) exchange: Exchange,
    /// Who is connected.
    pub(crate) sessions: Arc<Sessions>,
    /// What waits for people.
    pub(crate) approvals: ApprovalDesk,
    /// Who reads SQL.
    pub(crate) analysis: AnalysisPool,
    /// The evidence.
    pub(crate) log: Log,
    /// What SSH listeners prove themselves with, and what they take for proof.
    pub(crate) ssh: SshIdentity,
    /// TLS towards agents.
    pub(crate) agent_tls: Arc<rustls::ServerConfig>,
    policy_folder: PathBuf,
    mask_key: Option<MaskKey>,
    /// One reload at a time.
    reloading: tokio::sync::Mutex<()>,
}

/// The gateway can't start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// A file or folder of the gateway's own.
    #[error("`{}`: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The policy folder has mistakes.
    #[error(transparent)]
    Policy(#[from] BundleErrors),
    /// A target can't be set up.
    #[error("target `{name}`: {source}")]
    Target {
        /// Which.
        name: TargetName,
        /// Why.
        source: SetupError,
    },
    /// The evidence log can't be opened.
    #[error("the evidence log can't be opened: {0}")]
    Log(#[from] OpenError),
    /// The evidence log failed at once.
    #[error(transparent)]
    LogFailed(#[from] LogFailed),
    /// The state store can't be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A certificate can't be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Entra's part can't be used.
    #[error(transparent)]
    Rules(#[from] TokenRulesError),
    /// The HTTPS client can't be made.
    #[error(transparent)]
    Http(#[from] HttpsClientError),
    /// The log's key can't be used.
    #[error("the log's signing key can't be used: {0}")]
    Key(#[from] NoteError),
    /// The mask key can't be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The mask key is too short.
    #[error(transparent)]
    MaskKey(#[from] MaskKeyTooShort),
    /// No randomness.
    #[error(transparent)]
    Random(#[from] NoRandomness),
    /// SSH's keys can't be used.
    #[error(transparent)]
    Ssh(#[from] IdentityError),
}

/// What a reload led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reloaded {
    /// The folder holds what is in force already.
    Unchanged(Digest),
    /// Another bundle is in force.
    Changed {
        /// The one before.
        before: Digest,
        /// The one in force.
        after: Digest,
    },
}

/// The bundle that was in force, and the one that is.
struct Swapped {
    before: Arc<Bundle>,
    after: Arc<Bundle>,
}

/// A reload was refused; the bundle in force stays.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReloadError {
    /// The folder has mistakes.
    #[error(transparent)]
    Bundle(#[from] BundleErrors),
    /// Its classification contradicts a target's catalogue.
    #[error("target `{target}`: {source}")]
    Classify {
        /// The target.
        target: TargetName,
        /// Why.
        source: crate::postgres::ResolveError,
    },
    /// The change can't be recorded.
    #[error(transparent)]
    Log(#[from] LogFailed),
    /// The gateway is going down.
    #[error("the gateway is shutting down")]
    Gone,
}

/// The tenants' rules of a configuration.
///
/// # Errors
/// [`TokenRulesError`]; a loaded configuration has none.
pub(crate) fn token_rules(entra: &Entra) -> Result<TokenRules, TokenRulesError> {
    let rules = TokenRules::new(
        &entra.authority,
        entra.tenants.iter().copied(),
        entra.audiences.iter().cloned(),
    )?;
    let rules = rules.with_app_roles(entra.required_roles.iter().cloned());
    match &entra.v1_issuer {
        Some(host) => rules.with_v1_tokens(host),
        None => Ok(rules),
    }
}

/// The key of keyed masks, where one is configured.
///
/// # Errors
/// [`StartError::Secret`] or [`StartError::MaskKey`].
pub(crate) fn mask_key(config: &GatewayConfig) -> Result<Option<MaskKey>, StartError> {
    let Some(source) = &config.mask_key else {
        return Ok(None);
    };
    Ok(Some(MaskKey::new(
        source.read()?.expose_secret().as_bytes(),
    )?))
}

/// Every configured target, set up.
///
/// # Errors
/// The first that can't be.
pub(crate) fn targets(
    targets: BTreeMap<TargetName, crate::config::TargetConfig>,
    http: &reqwest::Client,
    rules: &TokenRules,
) -> Result<BTreeMap<TargetName, Arc<TargetService>>, StartError> {
    targets
        .into_iter()
        .map(
            |(name, config)| match TargetService::new(config, http, rules) {
                Ok(target) => Ok((name, Arc::new(target))),
                Err(source) => Err(StartError::Target { name, source }),
            },
        )
        .collect()
}

impl Gateway {
    /// Opens everything that `config` names; listens nowhere yet. Blocks on files.
    ///
    /// # Errors
    /// [`StartError`].
    pub(crate) fn open(
        config: Config,
        config_digest: Digest,
    ) -> Result<(Arc<Self>, Vec<Listener>, Recovery), StartError> {
        let Config {
            gateway,
            entra,
            tls,
            listeners,
            targets: target_configs,
        } = config;
        let rules = token_rules(&entra)?;
        let http = https_client(tls::client(entra.ca_file.as_deref())?)?;
        let mask_key = mask_key(&gateway)?;
        let bundle = Bundle::load(&gateway.policy, mask_key.as_ref())?;
        let targets = targets(target_configs, &http, &rules)?;
        let agent_tls = agent_tls(&tls)?;

        create_private_dir(&gateway.data_dir)?;
        let store = SqliteStore::open(&gateway.data_dir.join("state.db"), clock::wall)?;
        let (log, recovery) = open_log(&gateway)?;
        log.enter(OwnEntry::ConfigChange {
            before: None,
            after: config_digest,
            channel: "start".into(),
        })?;
        log.enter(OwnEntry::PolicyChange {
            before: None,
            after: bundle.digest(),
            author: None,
            channel: "start".into(),
            reason: String::new(),
        })?;
        let io = |source| StartError::Io {
            path: gateway.data_dir.clone(),
            source,
        };
        let bounds = gateway.bounds.clone();
        let approvals =
            ApprovalDesk::start(Arc::new(store), bounds.approvals_max, clock::wall).map_err(io)?;
        let threads = std::thread::available_parallelism()
            .map_or(2, usize::from)
            .clamp(2, 8);
        let audience = entra.audiences.first().map_or("", String::as_str);
        let gateway = Self {
            exchange: Exchange::new(http.clone(), rules.clone(), audience)?,
            verifier: TokenVerifier::new(&http, rules, RefreshSchedule::default()),
            entra,
            sessions: Arc::new(Sessions::new(
                bounds.sessions_max,
                bounds.sessions_per_source_max,
            )),
            bounds,
            targets,
            policy: Arc::new(PolicyStore::new(bundle)),
            approvals,
            ssh: SshIdentity::open(&gateway.data_dir)?,
            analysis: AnalysisPool::start(threads, true).map_err(io)?,
            log,
            agent_tls,
            policy_folder: gateway.policy,
            mask_key,
            reloading: tokio::sync::Mutex::default(),
        };
        Ok((Arc::new(gateway), listeners, recovery))
    }

    /// The strictest durability a session on this listener may need: its target isn't known when
    /// its evidence begins.
    pub(crate) fn durability(&self, listener: &Listener) -> Durability {
        let possible = |name: &TargetName| listener.target.as_ref().is_none_or(|t| t == name);
        let strict = self
            .targets
            .iter()
            .filter(|(name, _)| possible(name))
            .any(|(_, target)| target.config().durability == Durability::Strict);
        if strict {
            Durability::Strict
        } else {
            Durability::Bounded
        }
    }

    /// The digest of what the policy folder holds now.
    ///
    /// # Errors
    /// Files that can't be read.
    pub(crate) fn folder_digest(&self) -> Result<Digest, BundleErrors> {
        gateway_policy::BundleFiles::read(&self.policy_folder).map(|files| files.digest())
    }

    /// Puts what the policy folder holds in force, if it has no mistake and fits every catalogue
    /// that is loaded. Sessions hear of it before this returns; those on a target that became
    /// classified, or ceased to be, are closed.
    ///
    /// # Errors
    /// [`ReloadError`]; the bundle in force stays.
    pub(crate) async fn reload(
        self: &Arc<Self>,
        author: Option<&Principal>,
        channel: &'static str,
    ) -> Result<Reloaded, ReloadError> {
        let _one_at_a_time = self.reloading.lock().await;
        let author = author.map(|principal| principal.object.to_string());
        let this = Arc::clone(self);
        let swapped = tokio::task::spawn_blocking(move || this.swap_policy(author, channel)).await;
        let Some(Swapped { before, after }) = swapped.map_err(|_| ReloadError::Gone)?? else {
            return Ok(Reloaded::Unchanged(self.policy.current().digest()));
        };
        let reclassified: Vec<TargetName> = self
            .targets
            .keys()
            .filter(|name| before.classifies(name) != after.classifies(name))
            .cloned()
            .collect();
        self.sessions
            .tell(
                |live| {
                    live.route
                        .as_ref()
                        .is_some_and(|(target, _)| reclassified.contains(target))
                },
                || Command::Close(CloseReason::PolicyChanged),
            )
            .await;
        self.sessions
            .tell(|_| true, || Command::PolicyChanged)
            .await;
        Ok(Reloaded::Changed {
            before: before.digest(),
            after: after.digest(),
        })
    }

    /// The bundle before and the one in force now, if the folder's differs. Blocks.
    fn swap_policy(
        &self,
        author: Option<String>,
        channel: &str,
    ) -> Result<Option<Swapped>, ReloadError> {
        let bundle = Bundle::load(&self.policy_folder, self.mask_key.as_ref())?;
        let current = self.policy.current();
        if bundle.digest() == current.digest() {
            return Ok(None);
        }
        for (name, target) in &self.targets {
            let Some(target) = target.postgres() else {
                continue;
            };
            for loaded in target.catalogues().loaded() {
                target
                    .classify(&bundle, &loaded)
                    .map_err(|source| ReloadError::Classify {
                        target: name.clone(),
                        source,
                    })?;
            }
        }
        self.log.enter(OwnEntry::PolicyChange {
            before: Some(current.digest()),
            after: bundle.digest(),
            author,
            channel: channel.into(),
            reason: String::new(),
        })?;
        let before = self.policy.replace(bundle);
        Ok(Some(Swapped {
            before,
            after: self.policy.current(),
        }))
    }

    /// Records what a person did at the admin API. Must succeed before it is done.
    ///
    /// # Errors
    /// [`LogFailed`].
    pub(crate) async fn record_admin_action(
        self: &Arc<Self>,
        actor: &Principal,
        action: &'static str,
        subject: String,
    ) -> Result<(), LogFailed> {
        let entry = OwnEntry::AdminAction {
            actor: actor.object.to_string(),
            action: action.into(),
            subject,
        };
        let this = Arc::clone(self);
        let entered = tokio::task::spawn_blocking(move || this.log.enter(entry)).await;
        entered.map_err(|_| LogFailed)?.map(drop)
    }

    /// Forgets one database's catalogue and tells the sessions that use it.
    pub(crate) async fn catalogue_changed(&self, target: &TargetName, database: &str) {
        if let Some(service) = self
            .targets
            .get(target)
            .and_then(|target| target.postgres())
        {
            service.catalogues().forget(database);
        }
        self.sessions
            .tell(
                |live| {
                    live.route
                        .as_ref()
                        .is_some_and(|(t, d)| t == target && d == database)
                },
                || Command::CatalogueChanged,
            )
            .await;
    }
}

fn agent_tls(files: &TlsFiles) -> Result<Arc<rustls::ServerConfig>, TlsError> {
    tls::server(files).map(Arc::new)
}

/// The folder of the evidence log.
pub(crate) fn log_dir(config: &GatewayConfig) -> PathBuf {
    config.data_dir.join("log")
}

/// The key that the log's checkpoints verify with, of a gateway that has run before.
///
/// # Errors
/// [`StartError`] when its signing key can't be read.
pub(crate) fn verifier_key(config: &GatewayConfig) -> Result<VerifierKey, StartError> {
    let path = seed_path(config);
    let io = |source| StartError::Io {
        path: path.clone(),
        source,
    };
    let seed = parse_seed(&std::fs::read(&path).map_err(io)?).map_err(io)?;
    Ok(CheckpointSigner::from_seed(&origin(config), &seed)?
        .verifier()
        .clone())
}

fn origin(config: &GatewayConfig) -> String {
    format!("gateway/{}", config.id)
}

fn seed_path(config: &GatewayConfig) -> PathBuf {
    config.data_dir.join("log-signing.key")
}

fn parse_seed(bytes: &[u8]) -> std::io::Result<[u8; 32]> {
    let wrong = || std::io::Error::new(std::io::ErrorKind::InvalidData, "is not a 32-byte key");
    <[u8; 32]>::try_from(bytes).map_err(|_| wrong())
}

fn open_log(config: &GatewayConfig) -> Result<(Log, Recovery), StartError> {
    let origin = origin(config);
    let seed = signing_seed(&seed_path(config))?;
    let signer = CheckpointSigner::from_seed(&origin, &seed)?;
    let mut options = LogOptions::new(origin, signer, Arc::new(clock::now));
    options.gateway_id = config.id.clone();
    options.gateway_version = env!("CARGO_PKG_VERSION").into();
    Ok(Log::open(&log_dir(config), options)?)
}

/// The log's Ed25519 seed, made at the first start. Readable by the gateway's user only.
fn signing_seed(path: &Path) -> Result<[u8; 32], StartError> {
    let io = |source| StartError::Io {
        path: path.into(),
        source,
    };
    match std::fs::read(path) {
        Ok(bytes) => parse_seed(&bytes).map_err(io),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let seed = clock::random::<32>()?;
            let mut file = std::fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(path)
                .map_err(io)?;
            file.write_all(&seed).map_err(io)?;
            file.sync_all().map_err(io)?;
            Ok(seed)
        }
        Err(error) => Err(io(error)),
    }
}

fn create_private_dir(path: &Path) -> Result<(), StartError> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| StartError::Io {
            path: path.into(),
            source,
        })
}
