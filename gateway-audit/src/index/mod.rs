//! A SQLite index over the log: for listing and finding, never cited as evidence.
//!
//! It holds what the log holds, and can be deleted at any time: [`Index::refresh`] rebuilds it.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::Value;

use crate::json::hex;
use crate::log::{Entry, Position, ReadError, Resume, Stored, last_checkpoint, read_from};
use crate::note::{Checkpoint, VerifierKey};

#[cfg(test)]
mod tests;

/// Raised whenever the tables change: an index of another version is rebuilt.
const VERSION: i64 = 2;

const SCHEMA: &str = "
    create table leaves (
        idx integer primary key, kind text not null, session text, unit integer, at_us integer not null,
        hash text not null, header text not null, body text
    ) strict;
    create index leaves_by_session on leaves (session, idx);
    create table chunks (
        session text not null, number integer not null, segment integer not null, position integer not null,
        primary key (session, number)
    ) strict, without rowid;
    create table sessions (
        id text primary key, opened_us integer not null, ended_us integer, state text not null, reason text,
        agent text, target text, protocol text, statements integer not null default 0,
        blocked integer not null default 0, held integer not null default 0, masked integer not null default 0
    ) strict;
    create index sessions_by_time on sessions (opened_us);
    create table resume (one integer primary key check (one = 1), place text not null) strict;
";

/// Why the index couldn't be used.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The log can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// SQLite refused.
    #[error("the session index can't be used: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The index holds another leaf than the log: the log was replaced.
    #[error("leaf {index} is not the one that was indexed")]
    Replaced {
        /// Its index.
        index: u64,
    },
    /// Where to go on can't be written down.
    #[error("the index can't note how far it has read")]
    Place,
    /// A leaf isn't JSON: it was written by something else.
    #[error("leaf {index} is not JSON")]
    Leaf {
        /// Its index.
        index: u64,
    },
}

/// One session, as the log tells it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct SessionRow {
    /// Session id.
    pub id: String,
    /// UTC microseconds.
    pub opened_us: u64,
    /// UTC microseconds; `None` while it is open.
    pub ended_us: Option<u64>,
    /// `open`, `closed`, `interrupted` or `refused`.
    pub state: String,
    /// Why it ended.
    pub reason: Option<String>,
    /// Entra object id of the agent.
    pub agent: Option<String>,
    /// Target name.
    pub target: Option<String>,
    /// Protocol.
    pub protocol: Option<String>,
    /// Statements allowed.
    pub statements: u64,
    /// Statements blocked.
    pub blocked: u64,
    /// Statements held for approval.
    pub held: u64,
    /// Values masked.
    pub masked: u64,
}

/// One leaf of a session.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct LeafRow {
    /// Log index.
    pub index: u64,
    /// Kind, as in the header.
    pub kind: String,
    /// Unit number.
    pub unit: Option<u64>,
    /// UTC microseconds.
    pub at_us: u64,
    /// SHA-256 of the leaf, hex.
    pub hash: String,
    /// Header, JSON.
    pub header: Value,
    /// Body, JSON; `null` when the leaf has none.
    pub body: Value,
}

/// Which sessions to list. The newest come first.
#[derive(Clone, Debug, Default)]
pub struct SessionFilter {
    /// Of this agent only.
    pub agent: Option<String>,
    /// Of this target only.
    pub target: Option<String>,
    /// Opened at this time or later, UTC microseconds.
    pub since_us: Option<u64>,
    /// At most this many; 0 means 100.
    pub limit: u32,
}

/// An open index.
#[derive(Debug)]
pub struct Index {
    db: Connection,
}

impl Index {
    /// Opens or creates the index file at `path`; one of another version is emptied.
    ///
    /// # Errors
    /// [`IndexError::Sqlite`].
    pub fn open(path: &Path) -> Result<Self, IndexError> {
        let db = Connection::open(path)?;
        db.pragma_update(None, "journal_mode", "wal")?;
        // The log is the truth: an index that a power cut damages is rebuilt.
        db.pragma_update(None, "synchronous", "off")?;
        db.busy_timeout(std::time::Duration::from_secs(5))?;
        if db.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0))? != VERSION {
            let change = db.unchecked_transaction()?;
            empty(&change)?;
            change.pragma_update(None, "user_version", VERSION)?;
            change.commit()?;
        }
        Ok(Self { db })
    }

    /// Takes in what the log in `dir` has beyond the index. Reads and checks what follows the
    /// checkpoint of the last refresh; all of it when the log isn't the one that was read then.
    ///
    /// # Errors
    /// [`IndexError`]; the index is then as before.
    pub fn refresh(&mut self, dir: &Path, key: &VerifierKey) -> Result<(), IndexError> {
        let (checkpoint, _) = last_checkpoint(dir, key)?;
        let change = self.db.transaction()?;
        let from = resume(&change)?;
        if from.size() <= checkpoint.size && catch_up(&change, dir, &checkpoint, from).is_ok() {
            return Ok(change.commit()?);
        }
        empty(&change)?;
        catch_up(&change, dir, &checkpoint, Resume::default())?;
        Ok(change.commit()?)
    }

    /// Sessions that match, newest first.
    ///
    /// # Errors
    /// [`IndexError::Sqlite`].
    pub fn sessions(&self, filter: &SessionFilter) -> Result<Vec<SessionRow>, IndexError> {
        let limit = if filter.limit == 0 { 100 } else { filter.limit };
        let mut query = self.db.prepare(
            "select * from sessions where (?1 is null or agent = ?1) and (?2 is null or target = ?2)
             and opened_us >= ?3 order by opened_us desc, id desc limit ?4",
        )?;
        let since = filter.since_us.unwrap_or(0);
        let rows = query.query_map(
            params![filter.agent, filter.target, since, limit],
            session_row,
        )?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// One session by its id, or by an unambiguous beginning of it.
    ///
    /// # Errors
    /// [`IndexError::Sqlite`].
    pub fn session(&self, id: &str) -> Result<Option<SessionRow>, IndexError> {
        let mut query = self
            .db
            .prepare("select * from sessions where substr(id, 1, length(?1)) = ?1 limit 2")?;
        let mut rows = query
            .query_map([id], session_row)?
            .collect::<Result<Vec<_>, _>>()?;
        Ok(if rows.len() == 1 { rows.pop() } else { None })
    }

    /// The leaves of one session, in log order.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn leaves(&self, session: &str) -> Result<Vec<LeafRow>, IndexError> {
        let mut query = self
            .db
            .prepare("select idx, kind, unit, at_us, hash, header, body from leaves where session = ?1 order by idx")?;
        let rows = query.query_map([session], |row| {
            let index: u64 = row.get(0)?;
            let texts: (String, Option<String>) = (row.get(5)?, row.get(6)?);
            Ok((
                index,
                row.get(1)?,
                row.get(2)?,
                row.get(3)?,
                row.get(4)?,
                texts,
            ))
        })?;
        let mut leaves = Vec::new();
        for row in rows {
            let (index, kind, unit, at_us, hash, (header, body)) = row?;
            let json =
                |text: &str| serde_json::from_str(text).map_err(|_| IndexError::Leaf { index });
            let body = body.as_deref().map_or(Ok(Value::Null), json)?;
            leaves.push(LeafRow {
                index,
                kind,
                unit,
                at_us,
                hash,
                header: json(&header)?,
                body,
            });
        }
        Ok(leaves)
    }

    /// The frames that hold chunks of a session, in order, without duplicates.
    pub(crate) fn frames(&self, session: &str) -> Result<Vec<Position>, IndexError> {
        let mut query = self.db.prepare(
            "select distinct segment, position from chunks where session = ?1 order by segment, position",
        )?;
        let position = |row: &Row<'_>| {
            Ok(Position {
                segment: row.get(0)?,
                offset: row.get(1)?,
            })
        };
        Ok(query
            .query_map([session], position)?
            .collect::<Result<_, _>>()?)
    }

    /// The number of leaves taken in.
    ///
    /// # Errors
    /// [`IndexError::Sqlite`].
    pub fn leaf_count(&self) -> Result<u64, IndexError> {
        Ok(self
            .db
            .query_row("select count(*) from leaves", [], |row| row.get(0))
            .optional()?
            .unwrap_or(0))
    }
}

fn session_row(row: &Row<'_>) -> rusqlite::Result<SessionRow> {
    Ok(SessionRow {
        id: row.get("id")?,
        opened_us: row.get("opened_us")?,
        ended_us: row.get("ended_us")?,
        state: row.get("state")?,
        reason: row.get("reason")?,
        agent: row.get("agent")?,
        target: row.get("target")?,
        protocol: row.get("protocol")?,
        statements: row.get("statements")?,
        blocked: row.get("blocked")?,
        held: row.get("held")?,
        masked: row.get("masked")?,
    })
}

/// Replaces whatever is there by empty tables.
fn empty(db: &Connection) -> Result<(), IndexError> {
    db.execute_batch(
        "drop table if exists leaves; drop table if exists chunks; drop table if exists sessions;
         drop table if exists resume;",
    )?;
    Ok(db.execute_batch(SCHEMA)?)
}

/// Where the last refresh left off: at the checkpoint of then.
fn resume(db: &Connection) -> Result<Resume, IndexError> {
    let place: Option<String> = db
        .query_row("select place from resume", [], |row| row.get(0))
        .optional()?;
    // A place that can't be read costs a full reading, no more.
    Ok(place
        .and_then(|place| serde_json::from_str(&place).ok())
        .unwrap_or_default())
}

fn catch_up(
    db: &Connection,
    dir: &Path,
    checkpoint: &Checkpoint,
    from: Resume,
) -> Result<(), IndexError> {
    let known: u64 = db.query_row("select coalesce(max(idx) + 1, 0) from leaves", [], |row| {
        row.get(0)
    })?;
    let (place, _) =
        read_from::<IndexError>(dir, checkpoint, from, &mut |stored| take(db, stored, known))?;
    let place = serde_json::to_string(&place).map_err(|_| IndexError::Place)?;
    db.execute("insert or replace into resume values (1, ?1)", [place])?;
    Ok(())
}

fn take(db: &Connection, stored: &Stored<'_>, known: u64) -> Result<(), IndexError> {
    match stored.entry {
        // Beyond the last checkpoint a crash may have replaced what was read before it.
        Entry::Leaf { .. } if stored.index < known => {
            let hash: String = db
                .prepare_cached("select hash from leaves where idx = ?1")?
                .query_row([stored.index], |row| row.get(0))?;
            if hash == hex(&stored.leaf_hash.unwrap_or_default()) {
                Ok(())
            } else {
                Err(IndexError::Replaced {
                    index: stored.index,
                })
            }
        }
        Entry::Leaf { header, body } => {
            let body = body.map(|(_, body)| body);
            leaf(
                db,
                stored.index,
                stored.leaf_hash.unwrap_or_default(),
                header,
                body,
            )
        }
        Entry::Chunk {
            session, number, ..
        } => {
            let Position { segment, offset } = stored.position;
            db.prepare_cached("insert or replace into chunks values (?1, ?2, ?3, ?4)")?
                .execute(params![session.to_string(), number, segment, offset])?;
            Ok(())
        }
        Entry::Note { .. } => Ok(()),
    }
}

fn leaf(
    db: &Connection,
    index: u64,
    hash: [u8; 32],
    header: &[u8],
    body: Option<&[u8]>,
) -> Result<(), IndexError> {
    let not_json = || IndexError::Leaf { index };
    let parsed: Value = serde_json::from_slice(header).map_err(|_| not_json())?;
    let utf8 = |bytes| std::str::from_utf8(bytes).map_err(|_| not_json());
    let text = |name: &str| parsed.get(name).and_then(Value::as_str);
    let (kind, at_us) = (
        text("k").unwrap_or_default(),
        parsed.get("t").and_then(Value::as_u64).unwrap_or(0),
    );
    let unit = parsed.get("st").and_then(Value::as_u64);
    let body = body.map(utf8).transpose()?;
    db.prepare_cached("insert into leaves values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?
        .execute(params![
            index,
            kind,
            text("ses"),
            unit,
            at_us,
            hex(&hash),
            utf8(header)?,
            body
        ])?;
    let Some(session) = text("ses") else {
        return Ok(());
    };
    let statements = parsed
        .pointer("/n/statements")
        .and_then(Value::as_u64)
        .unwrap_or(1);
    match kind {
        "session.open" | "session.refused" => {
            let state = if kind == "session.open" {
                "open"
            } else {
                "refused"
            };
            db.prepare_cached(
                "insert or ignore into sessions (id, opened_us, state, agent, target, protocol) values (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![session, at_us, state, text("agt"), text("res"), text("prt")])?;
        }
        "session.close" | "session.interrupted" => {
            let state = if kind == "session.close" {
                "closed"
            } else {
                "interrupted"
            };
            db.prepare_cached("update sessions set ended_us = ?2, state = ?3, reason = ?4 where id = ?1 and state = 'open'")?
                .execute(params![session, at_us, state, text("out")])?;
        }
        "unit.intent" => add(
            db,
            "update sessions set statements = statements + ?2 where id = ?1",
            session,
            statements,
        )?,
        "block" => add(
            db,
            "update sessions set blocked = blocked + ?2 where id = ?1",
            session,
            statements,
        )?,
        "approval.request" => add(
            db,
            "update sessions set held = held + ?2 where id = ?1",
            session,
            statements,
        )?,
        "mask" => {
            let masked = parsed
                .pointer("/n/masked")
                .and_then(Value::as_u64)
                .unwrap_or(0);
            add(
                db,
                "update sessions set masked = masked + ?2 where id = ?1",
                session,
                masked,
            )?;
        }
        _ => {}
    }
    Ok(())
}

fn add(db: &Connection, update: &str, session: &str, count: u64) -> Result<(), IndexError> {
    db.prepare_cached(update)?
        .execute(params![session, count])?;
    Ok(())
}
