//! What must survive a restart: approvals and their one use, in SQLite.
//!
//! Holds who, where, when and the digest that an approval binds to. Statement texts are not here:
//! reviewers see them live, and evidence keeps its own form.

use std::path::Path;

use gateway_core::{
    approval::{ApprovalRequest, Ended},
    id::{ApprovalId, Digest},
    record::ApprovalOutcome,
    state::{StateError, StateStore},
    time::Wall,
};
use parking_lot::Mutex;
use rusqlite::{Connection, params};

/// The schema's version, in `PRAGMA user_version`.
const VERSION: i64 = 1;
/// How long ended approvals are kept, days.
const KEPT_DAYS: u64 = 90;

const SCHEMA: &str = "
CREATE TABLE approval (
    id BLOB PRIMARY KEY,
    session BLOB NOT NULL,
    unit INTEGER NOT NULL,
    target TEXT NOT NULL,
    agent TEXT NOT NULL,
    digest BLOB NOT NULL,
    state TEXT NOT NULL CHECK (state IN
        ('pending', 'approved', 'rejected', 'expired', 'withdrawn', 'consumed')),
    votes TEXT NOT NULL DEFAULT '[]',
    requested_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    decided_at INTEGER,
    consumed_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX approval_requested ON approval (requested_at);
";

/// The store can't be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// SQLite says no.
    #[error("state store: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// Another version of the gateway wrote it.
    #[error("the state store has schema version {found}; this gateway knows {VERSION}")]
    Version {
        /// The version found.
        found: i64,
    },
}

/// The embedded [`StateStore`]. Its methods block.
pub(crate) struct SqliteStore {
    connection: Mutex<Connection>,
    clock: fn() -> Wall,
}

impl SqliteStore {
    /// Opens or creates the store. Requests that were pending are withdrawn: the sessions that
    /// waited are gone.
    ///
    /// # Errors
    /// [`StoreError`] when the file can't be used.
    pub(crate) fn open(path: &Path, clock: fn() -> Wall) -> Result<Self, StoreError> {
        Self::over(Connection::open(path)?, clock)
    }

    fn over(connection: Connection, clock: fn() -> Wall) -> Result<Self, StoreError> {
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        match found {
            0 => {
                connection.execute_batch(SCHEMA)?;
                connection.pragma_update(None, "user_version", VERSION)?;
            }
            VERSION => {}
            found => return Err(StoreError::Version { found }),
        }
        let now = clock();
        let horizon = now
            .as_micros()
            .saturating_sub(KEPT_DAYS * 86_400 * 1_000_000);
        connection.execute(
            "UPDATE approval SET state = 'withdrawn', decided_at = ?1 WHERE state IN ('pending', 'approved')",
            [micros(now)],
        )?;
        connection.execute(
            "DELETE FROM approval WHERE requested_at < ?1",
            [micros(Wall::from_micros(horizon))],
        )?;
        Ok(Self {
            connection: Mutex::new(connection),
            clock,
        })
    }

    /// Notes a request.
    ///
    /// # Errors
    /// [`StateError`] when it can't be stored; the request must not be shown then.
    pub(crate) fn requested(&self, request: &ApprovalRequest) -> Result<(), StateError> {
        let agent = format!("{}/{}", request.agent.tenant, request.agent.object);
        self.execute(
            "INSERT INTO approval (id, session, unit, target, agent, digest, state, requested_at, expires_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'pending', ?7, ?8)",
            params![
                request.id.as_uuid().as_bytes(),
                request.session.as_uuid().as_bytes(),
                i64::try_from(request.unit.0).unwrap_or(i64::MAX),
                request.target.as_str(),
                agent,
                request.digest.0,
                micros(request.requested_at),
                micros(request.expires_at),
            ],
        )
        .map(drop)
    }

    /// Notes how a request ended.
    ///
    /// # Errors
    /// [`StateError`] when it can't be stored, or the request isn't pending there; an approval
    /// doesn't count then.
    pub(crate) fn ended(&self, ended: &Ended) -> Result<(), StateError> {
        let votes = serde_json::to_string(&ended.votes).map_err(|e| StateError(e.to_string()))?;
        let state = match ended.outcome {
            ApprovalOutcome::Approved => "approved",
            ApprovalOutcome::Rejected => "rejected",
            ApprovalOutcome::Expired => "expired",
            ApprovalOutcome::Withdrawn => "withdrawn",
        };
        let changed = self.execute(
            "UPDATE approval SET state = ?2, votes = ?3, decided_at = ?4
             WHERE id = ?1 AND state = 'pending'",
            params![
                ended.request.id.as_uuid().as_bytes(),
                state,
                votes,
                micros((self.clock)())
            ],
        )?;
        if changed == 1 {
            Ok(())
        } else {
            Err(StateError("the request is not pending".into()))
        }
    }

    #[cfg(test)]
    fn state(&self, id: ApprovalId) -> String {
        self.connection
            .lock()
            .query_row(
                "SELECT state FROM approval WHERE id = ?1",
                [id.as_uuid().as_bytes()],
                |row| row.get(0),
            )
            .unwrap()
    }

    fn execute(&self, sql: &str, params: impl rusqlite::Params) -> Result<usize, StateError> {
        self.connection
            .lock()
            .execute(sql, params)
            .map_err(|e| StateError(e.to_string()))
    }
}

impl StateStore for SqliteStore {
    fn consume(&self, approval: ApprovalId, digest: Digest) -> Result<bool, StateError> {
        let changed = self.execute(
            "UPDATE approval SET state = 'consumed', consumed_at = ?3
             WHERE id = ?1 AND digest = ?2 AND state = 'approved'",
            params![
                approval.as_uuid().as_bytes(),
                digest.0,
                micros((self.clock)())
            ],
        )?;
        Ok(changed == 1)
    }
}

/// SQLite's integers are signed.
fn micros(at: Wall) -> i64 {
    i64::try_from(at.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
pub(crate) mod testing {
    use std::time::Duration;

    use gateway_core::{
        decision::Hold,
        id::{AppId, ObjectId, SessionId, TargetName, TenantId, UnitId},
        identity::{Groups, Principal, PrincipalKind},
    };

    use super::*;

    const NIL: &str = "00000000-0000-0000-0000-000000000000";

    pub(crate) fn request(id: u8) -> ApprovalRequest {
        let at = Wall::from_secs(1_800_000_000);
        ApprovalRequest {
            id: ApprovalId::new(at, [id; 10]),
            session: SessionId::new(at, [0; 10]),
            unit: UnitId(1),
            target: TargetName::parse("shop").unwrap(),
            agent: Principal {
                tenant: TenantId::parse(NIL).unwrap(),
                object: ObjectId::parse(NIL).unwrap(),
                app: AppId::parse(NIL).unwrap(),
                kind: PrincipalKind::Application,
                display_name: String::new(),
                roles: Vec::new(),
                groups: Groups::Known(Vec::new()),
                token_id: String::new(),
                client_auth: None,
                issued_at: at,
                expires_at: at,
            },
            text: "delete from carts".into(),
            parameters: Vec::new(),
            effects: Vec::new(),
            hold: Hold {
                requirements: Vec::new(),
                expires_in: Duration::from_secs(60),
                message: String::new(),
                excluded_owner: None,
            },
            digest: Digest::of(b"what runs"),
            requested_at: at,
            expires_at: at.saturating_add(Duration::from_secs(60)),
        }
    }

    pub(crate) fn in_memory(clock: fn() -> Wall) -> SqliteStore {
        SqliteStore::over(Connection::open_in_memory().unwrap(), clock).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::{testing::request, *};

    fn clock() -> Wall {
        Wall::from_secs(1_800_000_001)
    }

    fn ended(request: &ApprovalRequest, outcome: ApprovalOutcome) -> Ended {
        Ended {
            request: request.clone(),
            outcome,
            votes: Vec::new(),
        }
    }

    #[test]
    fn an_approval_is_consumed_once_and_only_for_its_digest() {
        let store = testing::in_memory(clock);
        let request = request(1);
        store.requested(&request).unwrap();
        assert!(
            !store.consume(request.id, request.digest).unwrap(),
            "pending"
        );
        store
            .ended(&ended(&request, ApprovalOutcome::Approved))
            .unwrap();
        assert!(
            !store
                .consume(request.id, Digest::of(b"something else"))
                .unwrap()
        );
        assert!(store.consume(request.id, request.digest).unwrap());
        assert!(!store.consume(request.id, request.digest).unwrap(), "twice");
        assert_eq!(store.state(request.id), "consumed");
    }

    #[test]
    fn only_an_approval_can_be_consumed() {
        let store = testing::in_memory(clock);
        for (id, outcome) in [
            (1, ApprovalOutcome::Rejected),
            (2, ApprovalOutcome::Expired),
            (3, ApprovalOutcome::Withdrawn),
        ] {
            let request = request(id);
            store.requested(&request).unwrap();
            store.ended(&ended(&request, outcome)).unwrap();
            assert!(
                !store.consume(request.id, request.digest).unwrap(),
                "{outcome:?}"
            );
            assert!(
                store
                    .ended(&ended(&request, ApprovalOutcome::Approved))
                    .is_err()
            );
        }
    }

    #[test]
    fn a_restart_withdraws_what_was_pending_and_unused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.db");
        let (pending, approved) = (request(1), request(2));
        {
            let store = SqliteStore::open(&path, clock).unwrap();
            store.requested(&pending).unwrap();
            store.requested(&approved).unwrap();
            store
                .ended(&ended(&approved, ApprovalOutcome::Approved))
                .unwrap();
        }
        let store = SqliteStore::open(&path, clock).unwrap();
        for request in [pending, approved] {
            assert_eq!(store.state(request.id), "withdrawn");
            assert!(!store.consume(request.id, request.digest).unwrap());
        }
    }
}
