//! Whether a catalogue has changed since it was read: asked often, over a connection kept for it.

use std::time::{Duration, Instant};

use super::{Connector, LoadError, connect::Connection, queries};

/// One look, connecting included.
const LOOK_TIME_MAX: Duration = Duration::from_secs(5);
/// Looking may take one part in this many of the target's time, ...
const LOOK_SHARE: u32 = 20;
/// ... but pauses are no longer than this.
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// What is known of one database.
#[derive(Default)]
pub(super) struct Watch {
    connection: Option<Connection>,
    /// What had been committed at the latest look (PostgreSQL 15, section 9.27.11 "Transaction ID
    /// and Snapshot Information"), and the fingerprint of the catalogue then.
    seen: Option<(String, String)>,
    /// No look before this.
    paused_until: Option<Instant>,
}

impl Watch {
    /// Whether the catalogue is another one than that with this fingerprint. `false` during a pause.
    ///
    /// # Errors
    /// [`LoadError`] when it can't be looked at; the connection is made anew at the next look.
    pub(super) async fn differs(
        &mut self,
        connector: &Connector,
        database: &str,
        fingerprint: &str,
    ) -> Result<bool, LoadError> {
        let begun = Instant::now();
        if self.paused_until.is_some_and(|until| begun < until) {
            return Ok(false);
        }
        let looked = tokio::time::timeout(LOOK_TIME_MAX, self.look(connector, database)).await;
        self.paused_until = Some(begun + (begun.elapsed() * LOOK_SHARE).min(PAUSE_MAX));
        match looked.map_err(|_| LoadError::Timeout).flatten() {
            Ok(found) => Ok(found != fingerprint),
            Err(error) => {
                self.forget();
                Err(error)
            }
        }
    }

    /// Gives the connection back.
    pub(super) fn forget(&mut self) {
        *self = Self {
            paused_until: self.paused_until,
            ..Self::default()
        };
    }

    /// The catalogue's fingerprint.
    async fn look(&mut self, connector: &Connector, database: &str) -> Result<String, LoadError> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => {
                let connection = connector.connect(database).await?;
                connection.client.execute(queries::PIN_SESSION, &[]).await?;
                none.insert(connection)
            }
        };
        let client = &connection.client;
        let committed: String = client
            .query_one(queries::COMMITTED, &[])
            .await?
            .try_get("committed")?;
        // Asked before the fingerprint: what is committed in between is looked at once more.
        if let Some((before, fingerprint)) = &self.seen
            && *before == committed
        {
            return Ok(fingerprint.clone());
        }
        let fingerprint: String = client
            .query_one(queries::FINGERPRINT, &[])
            .await?
            .try_get("fingerprint")?;
        self.seen = Some((committed, fingerprint.clone()));
        Ok(fingerprint)
    }
}
