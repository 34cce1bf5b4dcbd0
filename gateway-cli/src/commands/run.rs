//! `gateway run`.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use clap::{Args, ValueEnum};
use gateway_core::{
    catalogue::CatalogueVersion,
    drive::Command,
    id::{Digest, TargetName},
    record::CloseReason,
};
use serde::Serialize;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};
use tracing_subscriber::EnvFilter;

use super::{ConfigArgs, Exit, Failure};
use crate::{
    admin::Admin,
    config::Listener,
    gateway::{Gateway, Reloaded},
    listen,
    postgres::ResolveError,
    sessions::Live,
};

/// How often the policy folder is looked at.
const POLICY_POLL: Duration = Duration::from_secs(2);
/// How often the catalogues that sessions use are looked at.
const CATALOGUE_POLL: Duration = Duration::from_millis(100);
/// How long one that can't be looked at is left alone.
const CATALOGUE_PAUSE: Duration = Duration::from_secs(2);

/// Serve.
#[derive(Debug, Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Write the addresses in use to this file, as JSON, once connections are accepted.
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
    /// How the log on standard error looks. `GATEWAY_LOG` filters it (`info`, `gateway=debug`).
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

/// What scripts read once the gateway serves.
#[derive(Debug, Serialize)]
struct Ready {
    listeners: Vec<ReadyListener>,
    admin: Option<SocketAddr>,
    policy: String,
}

#[derive(Debug, Serialize)]
struct ReadyListener {
    address: SocketAddr,
    protocol: &'static str,
    target: Option<String>,
}

impl RunArgs {
    pub(super) fn run(self) -> Result<Exit, Failure> {
        start_log(self.log_format);
        let config = self.config.load()?;
        let digest = config_digest(&self.config.config)?;
        let admin = config.gateway.admin;
        tokio::runtime::Builder::new_multi_thread()
            // Short texts are analysed in place; address space, not memory.
            .thread_stack_size(gateway_protocols::sql::ANALYSIS_STACK_BYTES)
            .enable_all()
            .build()
            .map_err(|e| Failure::other("no runtime", e))?
            .block_on(async {
                let opened =
                    tokio::task::spawn_blocking(move || Gateway::open(config, digest)).await;
                let (gateway, listeners, recovery) =
                    opened.map_err(|e| Failure::other("starting failed", e))??;
                tracing::info!(?recovery, "the evidence log is open");
                serve(gateway, listeners, admin, self.ready_file.as_deref()).await
            })
    }
}

async fn serve(
    gateway: Arc<Gateway>,
    listeners: Vec<Listener>,
    admin: Option<SocketAddr>,
    ready_file: Option<&Path>,
) -> Result<Exit, Failure> {
    // A mistake in the tenant or the authority shows here; an outage must not keep us from starting.
    if let Err((tenant, error)) = gateway.verifier.prefetch().await {
        tracing::error!(%tenant, %error, "the issuer's keys can't be fetched: nobody can log in yet");
    }
    let (stop, stopping) = watch::channel(false);
    let mut bound = Vec::new();
    for listener in listeners {
        let address = listener.address;
        let socket = listen::bind(listener).await;
        bound.push(socket.map_err(|e| Failure::other(format!("can't listen on {address}"), e))?);
    }
    let mut ready = Ready {
        listeners: Vec::new(),
        admin: None,
        policy: gateway.policy.current().digest().to_string(),
    };
    let mut tasks = JoinSet::new();
    for listener in bound {
        let address = listener
            .address()
            .map_err(|e| Failure::other("a listener", e))?;
        let Listener {
            protocol, target, ..
        } = listener.listener();
        ready.listeners.push(ReadyListener {
            address,
            protocol: protocol.as_str(),
            target: target.as_ref().map(ToString::to_string),
        });
        tasks.spawn(listener.serve(Arc::clone(&gateway), stopping.clone()));
    }
    if let Some(address) = admin {
        let admin = Admin::bind(address)
            .await
            .map_err(|e| Failure::other(format!("can't listen on {address}"), e))?;
        ready.admin = Some(
            admin
                .address()
                .map_err(|e| Failure::other("the admin API", e))?,
        );
        let (gateway, stopping) = (Arc::clone(&gateway), stopping.clone());
        tasks.spawn(async move {
            if let Err(error) = admin.serve(gateway, stopping).await {
                tracing::error!(%error, "the admin API has failed");
            }
        });
    }
    announce(&ready, ready_file)?;

    let mut keepers = JoinSet::new();
    keepers.spawn(watch_policy(Arc::clone(&gateway)));
    keepers.spawn(watch_catalogues(Arc::clone(&gateway)));
    wait_for_the_end(&gateway).await?;
    keepers.shutdown().await;
    // Every receiver may be gone already; then there is nothing to stop.
    let _ = stop.send(true);
    tokio::select! {
        () = finish(&mut tasks) => {}
        ended = second_signal() => {
            ended?;
            tracing::warn!("asked twice: sessions are aborted");
            tasks.shutdown().await;
        }
    }
    close_log(gateway).await
}

fn start_log(format: LogFormat) {
    let filter = EnvFilter::try_from_env("GATEWAY_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
}

fn config_digest(path: &Path) -> Result<Digest, Failure> {
    let bytes = std::fs::read(path).map_err(|e| Failure::other(path.display(), e))?;
    Ok(Digest::of(&bytes))
}

fn announce(ready: &Ready, ready_file: Option<&Path>) -> Result<(), Failure> {
    for listener in &ready.listeners {
        let (protocol, target) = (listener.protocol, listener.target.as_deref());
        tracing::info!(address = %listener.address, protocol, target, "accepting agents");
    }
    if let Some(address) = ready.admin {
        tracing::info!(%address, "serving the admin API");
    }
    let Some(path) = ready_file else {
        return Ok(());
    };
    let json = serde_json::to_vec(ready).map_err(|e| Failure::other("the ready file", e))?;
    // Renamed into place, so that nobody reads half of it.
    let draft = path.with_extension("draft");
    std::fs::write(&draft, json)
        .and_then(|()| std::fs::rename(&draft, path))
        .map_err(|e| Failure::other(path.display(), e))
}

/// Returns at SIGTERM, SIGINT or the failure of the log; SIGHUP reloads the policy.
async fn wait_for_the_end(gateway: &Arc<Gateway>) -> Result<(), Failure> {
    let mut terminate = on(SignalKind::terminate())?;
    let mut interrupt = on(SignalKind::interrupt())?;
    let mut hangup = on(SignalKind::hangup())?;
    let mut health = interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = hangup.recv() => reload(gateway, "signal").await,
            _ = health.tick() => if gateway.log.has_failed() {
                tracing::error!("the evidence log has failed: the gateway ends");
                return Ok(());
            },
        }
    }
}

async fn second_signal() -> Result<(), Failure> {
    let mut terminate = on(SignalKind::terminate())?;
    let mut interrupt = on(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

fn on(kind: SignalKind) -> Result<tokio::signal::unix::Signal, Failure> {
    signal(kind).map_err(|e| Failure::other("signals can't be handled", e))
}

async fn finish(tasks: &mut JoinSet<()>) {
    while let Some(ended) = tasks.join_next().await {
        if ended.is_err_and(|e| e.is_panic()) {
            tracing::error!("a listener's task panicked");
        }
    }
}

async fn reload(gateway: &Arc<Gateway>, channel: &'static str) {
    match gateway.reload(None, channel).await {
        Ok(Reloaded::Unchanged(_)) => {}
        Ok(Reloaded::Changed { before, after }) => {
            tracing::info!(%before, %after, "another policy is in force");
        }
        Err(error) => tracing::error!(%error, "the policy was refused; the old one stays"),
    }
}

/// Looks at the folder rather than being told: works on every file system, and through the
/// symbolic links by which Kubernetes swaps mounted configuration.
async fn watch_policy(gateway: Arc<Gateway>) {
    let mut ticks = interval(POLICY_POLL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut tried = gateway.policy.current().digest();
    loop {
        ticks.tick().await;
        let this = Arc::clone(&gateway);
        let Ok(read) = tokio::task::spawn_blocking(move || this.folder_digest()).await else {
            return;
        };
        match read {
            Ok(digest) if digest == tried => {}
            Ok(digest) => {
                tried = digest;
                reload(&gateway, "file").await;
            }
            Err(error) => tracing::warn!(%error, "the policy folder can't be read"),
        }
    }
}

/// Target and database of sessions.
type Route = (TargetName, String);

/// Finds out about changes of catalogues that didn't come through this gateway.
async fn watch_catalogues(gateway: Arc<Gateway>) {
    let mut ticks = interval(CATALOGUE_POLL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut known: BTreeMap<Route, CatalogueVersion> = BTreeMap::new();
    let mut paused: BTreeMap<Route, Instant> = BTreeMap::new();
    loop {
        ticks.tick().await;
        let live = gateway.sessions.list();
        let used: BTreeSet<_> = live
            .into_iter()
            .filter_map(|(_, live)| live.route)
            .collect();
        for (target, database) in known.keys().filter(|route| !used.contains(route)) {
            let service = gateway.targets.get(target);
            if let Some(service) = service.and_then(|service| service.postgres()) {
                service.catalogues().rest(database).await;
            }
        }
        known.retain(|route, _| used.contains(route));
        paused.retain(|_, until| Instant::now() < *until);
        // Together: one that doesn't answer must not keep the others waiting.
        let looks = used
            .into_iter()
            .filter(|route| !paused.contains_key(route))
            .map(|route| look_at_catalogue(&gateway, route));
        for (route, version) in futures_util::future::join_all(looks).await {
            let Some(version) = version else {
                paused.insert(route, Instant::now() + CATALOGUE_PAUSE);
                continue;
            };
            // The first look tells as well: a session may have begun with what was there before it.
            if known.insert(route.clone(), version) != Some(version) {
                let concerned = |live: &Live| live.route.as_ref() == Some(&route);
                let command = || Command::CatalogueChanged;
                gateway.sessions.tell(concerned, command).await;
            }
        }
    }
}

/// The version of a catalogue, as it is now where anything in it is classified. Its sessions are
/// closed where it isn't proven any more that the target withholds what is classified.
async fn look_at_catalogue(gateway: &Gateway, route: Route) -> (Route, Option<CatalogueVersion>) {
    let (target, database) = &route;
    let service = gateway.targets.get(target);
    let Some(service) = service.and_then(|service| service.postgres()) else {
        return (route, None);
    };
    let resolved = async {
        let resolved = service.resolve(&gateway.policy, database).await?;
        if resolved.classified.is_empty() {
            return Ok(resolved);
        }
        service.catalogues().look(database).await?;
        service.resolve(&gateway.policy, database).await
    };
    let version = match resolved.await {
        Ok(resolved) => Some(resolved.loaded.version),
        Err(error) => {
            tracing::warn!(%target, database, %error, "a catalogue can't be refreshed");
            if matches!(error, ResolveError::Unproven(_)) {
                // What the sessions may do was allowed because of a proof that is gone.
                let command = || Command::Close(CloseReason::Incident);
                let concerned = |live: &Live| live.route.as_ref() == Some(&route);
                gateway.sessions.tell(concerned, command).await;
            }
            None
        }
    };
    (route, version)
}

/// The log is closed last, when nobody else has a hold on it.
async fn close_log(gateway: Arc<Gateway>) -> Result<Exit, Failure> {
    let Some(gateway) = Arc::into_inner(gateway) else {
        return Err(Failure::plain(
            "something still runs; the evidence log is closed by recovery",
        ));
    };
    let closed = tokio::task::spawn_blocking(move || gateway.log.close()).await;
    match closed.map_err(|e| Failure::other("closing the evidence log", e))? {
        Ok(()) => {
            tracing::info!("the evidence log is closed");
            Ok(Exit::Done)
        }
        Err(error) => Err(Failure::plain(error.to_string())),
    }
}
