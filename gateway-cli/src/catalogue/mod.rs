//! Catalogue snapshots of targets: loaded over the gateway's own connection, shared, kept fresh.

mod connect;
mod derive;
mod load;
mod queries;
mod rights;
mod watch;

pub(crate) use connect::{ConnectError, Connector};
pub(crate) use load::{LoadError, load, load_for_script};
pub(crate) use rights::{Ceiling, Clause, MASKED_SCHEMA, Masked, Provisioning, Rights};

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use gateway_core::{
    catalogue::{CatalogueVersion, Snapshot},
    id::Digest,
    target::Masking,
};

use watch::Watch;

/// A snapshot and its identity.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// The snapshot.
    pub(crate) snapshot: Snapshot,
    /// What the gateway's role may do, where the target withholds classified values by itself.
    pub(crate) rights: Option<Rights>,
    /// Identity of both.
    pub(crate) version: CatalogueVersion,
    /// What [`queries::FINGERPRINT`] said at the same moment; empty for one that was saved.
    fingerprint: String,
    at: Instant,
    /// How long it may be used.
    age_max: Duration,
}

impl Loaded {
    /// A snapshot that was taken before.
    ///
    /// # Errors
    /// Only if it can't be serialised, which no snapshot is.
    pub(crate) fn of(snapshot: Snapshot) -> Result<Self, serde_json::Error> {
        Self::new(
            (snapshot, None, String::new()),
            Instant::now(),
            Catalogues::AGE_MAX,
        )
    }

    fn new(
        (snapshot, rights, fingerprint): (Snapshot, Option<Rights>, String),
        at: Instant,
        age_max: Duration,
    ) -> Result<Self, serde_json::Error> {
        let mut version = snapshot.version()?;
        if let Some(rights) = &rights {
            // Another right is another catalogue: whatever was concluded from the old one is void.
            let both = serde_json::to_vec(&(version, rights))?;
            version = CatalogueVersion(Digest::of(&both));
        }
        Ok(Self {
            snapshot,
            rights,
            version,
            fingerprint,
            at,
            age_max,
        })
    }
}

/// Snapshots of one target, by database.
///
/// Whoever needs a database's snapshot first loads it; everybody else waits for that one load.
/// Failures aren't remembered. At most [`Catalogues::DATABASES_MAX`] databases are kept: the one
/// used longest ago goes.
pub(crate) struct Catalogues {
    connector: Connector,
    masking: Masking,
    databases: parking_lot::Mutex<BTreeMap<String, Slot>>,
}

#[derive(Clone)]
struct Slot {
    used: Instant,
    loaded: Arc<tokio::sync::Mutex<Option<Arc<Loaded>>>>,
    watch: Arc<tokio::sync::Mutex<Watch>>,
}

impl Catalogues {
    /// Databases kept per target.
    const DATABASES_MAX: usize = 16;
    /// A snapshot older than this is loaded anew before it is used again: changes that didn't come
    /// through this gateway are seen at the latest then. Until then a view that was replaced is
    /// masked as it was, so this is short.
    const AGE_MAX: Duration = Duration::from_secs(2);
    /// Loading may take one part in this many of the target's time; a catalogue that takes long to
    /// read is kept for longer, ...
    const LOAD_SHARE: u32 = 20;
    /// ... but not for longer than this.
    const SLOW_AGE_MAX: Duration = Duration::from_secs(60);
    /// However often somebody finds a snapshot wanting, it is loaded at most this often.
    const RELOAD_EVERY: Duration = Duration::from_secs(1);
    /// One load, connecting included.
    const LOAD_TIME_MAX: Duration = Duration::from_secs(10);

    /// No snapshot yet.
    pub(crate) fn new(connector: Connector, masking: Masking) -> Self {
        Self {
            connector,
            masking,
            databases: parking_lot::Mutex::default(),
        }
    }

    /// How this target is connected to.
    pub(crate) fn connector(&self) -> &Connector {
        &self.connector
    }

    /// A snapshot of `database` that is at most [`Self::AGE_MAX`] old, or twenty times as old as it
    /// took to load, a minute at most.
    ///
    /// # Errors
    /// [`LoadError`] when the database can't be reached or read within ten seconds.
    pub(crate) async fn get(&self, database: &str) -> Result<Arc<Loaded>, LoadError> {
        self.at_most(database, Duration::MAX).await
    }

    /// A snapshot of `database` taken because `stale` lacked something. `stale` itself when it is
    /// less than a second old.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub(crate) async fn newer_than(
        &self,
        database: &str,
        stale: &Arc<Loaded>,
    ) -> Result<Arc<Loaded>, LoadError> {
        if stale.at.elapsed() < Self::RELOAD_EVERY {
            return Ok(Arc::clone(stale));
        }
        self.at_most(
            database,
            stale.at.elapsed().saturating_sub(Duration::from_nanos(1)),
        )
        .await
    }

    /// Every snapshot held now, however old. One that is being loaded is left out.
    pub(crate) fn loaded(&self) -> Vec<Arc<Loaded>> {
        let databases = self.databases.lock();
        let held = databases
            .values()
            .filter_map(|slot| slot.loaded.try_lock().ok()?.clone());
        held.collect()
    }

    /// Forgets the snapshot of `database`: its catalogue has been changed.
    pub(crate) fn forget(&self, database: &str) {
        self.databases.lock().remove(database);
    }

    /// Looks whether the catalogue of `database` is still the one that its snapshot is of. If not, the
    /// snapshot is forgotten. Cheap: to be asked many times a second; it pauses by itself where a look
    /// takes the target long.
    ///
    /// # Errors
    /// [`LoadError`] when the database can't be looked at within five seconds.
    pub(crate) async fn look(&self, database: &str) -> Result<(), LoadError> {
        let slot = self.slot(database);
        let Some(known) = slot.loaded.lock().await.clone() else {
            return Ok(());
        };
        let mut watch = slot.watch.lock().await;
        let fingerprint = &known.fingerprint;
        if watch
            .differs(&self.connector, database, fingerprint)
            .await?
        {
            let mut loaded = slot.loaded.lock().await;
            loaded.take_if(|loaded| Arc::ptr_eq(loaded, &known));
        }
        Ok(())
    }

    /// Gives back the connection that [`Self::look`] keeps.
    pub(crate) async fn rest(&self, database: &str) {
        let slot = self.databases.lock().get(database).cloned();
        if let Some(slot) = slot {
            slot.watch.lock().await.forget();
        }
    }

    async fn at_most(&self, database: &str, age: Duration) -> Result<Arc<Loaded>, LoadError> {
        let slot = self.slot(database).loaded;
        let mut loaded = slot.lock().await;
        if let Some(loaded) = loaded
            .as_ref()
            .filter(|loaded| loaded.at.elapsed() <= age.min(loaded.age_max))
        {
            return Ok(Arc::clone(loaded));
        }
        let at = Instant::now();
        let read = tokio::time::timeout(Self::LOAD_TIME_MAX, async {
            let mut connection = self.connector.connect(database).await?;
            load(&mut connection.client, self.masking).await
        })
        .await
        .map_err(|_| LoadError::Timeout)??;
        let age_max = (at.elapsed() * Self::LOAD_SHARE).clamp(Self::AGE_MAX, Self::SLOW_AGE_MAX);
        let fresh =
            Loaded::new(read, at, age_max).map_err(|e| LoadError::Content(e.to_string()))?;
        let fresh = Arc::new(fresh);
        *loaded = Some(Arc::clone(&fresh));
        Ok(fresh)
    }

    fn slot(&self, database: &str) -> Slot {
        let mut databases = self.databases.lock();
        if let Some(slot) = databases.get_mut(database) {
            slot.used = Instant::now();
            return slot.clone();
        }
        if databases.len() >= Self::DATABASES_MAX {
            let oldest = databases.iter().min_by_key(|(_, slot)| slot.used);
            if let Some(name) = oldest.map(|(name, _)| name.clone()) {
                databases.remove(&name);
            }
        }
        let slot = Slot {
            used: Instant::now(),
            loaded: Arc::default(),
            watch: Arc::default(),
        };
        databases.insert(database.to_owned(), slot.clone());
        slot
    }
}
