//! Between sessions and the writer: hand-over, acknowledgement, failure.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use gateway_core::id::{EvidenceSeq, SessionId};
use gateway_core::record::{Acknowledge, Entry as RecordEntry, Evidence};
use gateway_core::target::Durability;
use gateway_core::time::Mono;
use parking_lot::{Condvar, Mutex};

use super::frame::BODY_BYTES_MAX;
use super::{LeafRef, LogFailed};
use crate::record::OwnEntry;

/// `bounded` durability: evidence accepted but not yet synced, bytes.
pub const BOUNDED_BYTES_MAX: usize = 256 << 10;
/// `bounded` durability: age of the oldest evidence that isn't synced.
pub const BOUNDED_LAG_MAX: Duration = Duration::from_millis(100);

/// The shell's own requests that may wait at once.
const REQUESTS_MAX: usize = 64;

/// Work for the writer, in order.
#[derive(Debug)]
pub(super) enum Job {
    Open(SessionId),
    Evidence {
        session: SessionId,
        sequence: EvidenceSeq,
        evidence: Evidence,
    },
    /// Nothing more comes of this session.
    End(SessionId),
    Request(Request),
}

/// What the shell asks of the writer, and waits for.
#[derive(Debug)]
pub(super) enum Request {
    Enter(OwnEntry, SyncSender<LeafRef>),
    Checkpoint(SyncSender<String>),
}

/// What the writer does next.
#[derive(Debug)]
pub(super) enum Next {
    Jobs(VecDeque<Job>),
    /// The time given has passed without work.
    Idle,
    /// Everything has been taken, and no more comes.
    Closed,
}

struct Handle {
    durability: Durability,
    acknowledge: Arc<dyn Acknowledge>,
    expected: u64,
    ended: bool,
}

/// What the writer does between its work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Sleep {
    /// It works.
    #[default]
    Awake,
    /// It waits for work.
    Idle,
    /// It lets work gather that nobody waits for.
    Lingering,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    sessions: BTreeMap<SessionId, Handle>,
    /// Weight of evidence that isn't durable: queued, or being written.
    weight: usize,
    requests: usize,
    /// Time of the oldest evidence being written.
    in_flight: Option<Mono>,
    /// Time of the oldest evidence queued.
    queued: Option<Mono>,
    /// Somebody waits for something that is queued.
    urgent: bool,
    sleep: Sleep,
    closing: bool,
    failed: bool,
}

/// Bounded by bytes: each session by its own gate, all of them together by `bytes_max`.
pub(super) struct Queue {
    state: Mutex<State>,
    wake: Condvar,
    bytes_max: usize,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue")
            .field("bytes_max", &self.bytes_max)
            .finish_non_exhaustive()
    }
}

impl Queue {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            state: Mutex::default(),
            wake: Condvar::new(),
            bytes_max,
        }
    }

    pub(super) fn open(
        &self,
        session: SessionId,
        durability: Durability,
        acknowledge: Arc<dyn Acknowledge>,
    ) {
        let mut state = self.state.lock();
        // A second session of the same name would be recorded as one: it is refused.
        if state.failed || state.closing || state.sessions.contains_key(&session) {
            drop(state);
            acknowledge.failed();
            return;
        }
        state.sessions.insert(
            session,
            Handle {
                durability,
                acknowledge,
                expected: 1,
                ended: false,
            },
        );
        self.push(&mut state, Job::Open(session));
    }

    pub(super) fn append(&self, session: SessionId, sequence: EvidenceSeq, evidence: Evidence) {
        let mut state = self.state.lock();
        let at = time_of(&evidence);
        let weight = evidence.weight();
        let full = state.weight.saturating_add(weight) > self.bytes_max || weight > BODY_BYTES_MAX;
        let behind = state
            .in_flight
            .or(state.queued)
            .map_or(Duration::ZERO, |oldest| at.saturating_since(oldest));
        let near =
            state.weight.saturating_add(weight) <= BOUNDED_BYTES_MAX && behind <= BOUNDED_LAG_MAX;
        // A session that was failed has heard so: what it still sends has nowhere to go.
        let Some(handle) = state.sessions.get_mut(&session) else {
            return;
        };
        if full || sequence.0 != handle.expected || handle.ended {
            self.fail_session_locked(state, session);
            return;
        }
        handle.expected += 1;
        if let Some(durability) = opened_with(&evidence) {
            handle.durability = durability;
        }
        let safe_now = match handle.durability {
            Durability::Strict => None,
            Durability::Bounded => near.then(|| Arc::clone(&handle.acknowledge)),
        };
        // INVARIANT: told under the lock, so that no acknowledgement follows a failure. What is told
        // only wakes a task.
        if let Some(acknowledge) = &safe_now {
            acknowledge.acknowledged(sequence);
        }
        state.weight += weight;
        state.queued.get_or_insert(at);
        state.urgent |= safe_now.is_none();
        state.jobs.push_back(Job::Evidence {
            session,
            sequence,
            evidence,
        });
    }

    /// Sees to it that what was appended is written: now where somebody waits for it, else within
    /// the linger, which starts now if it hasn't.
    pub(super) fn flush(&self) {
        let state = self.state.lock();
        let starts = state.sleep == Sleep::Idle && !state.jobs.is_empty();
        if starts || (state.urgent && state.sleep == Sleep::Lingering) {
            self.wake.notify_one();
        }
    }

    pub(super) fn close_session(&self, session: SessionId) {
        let mut state = self.state.lock();
        if let Some(handle) = state.sessions.get_mut(&session) {
            handle.ended = true;
            self.push(&mut state, Job::End(session));
        }
    }

    /// Hands over a request and waits for its reply.
    pub(super) fn ask<T>(
        &self,
        request: impl FnOnce(SyncSender<T>) -> Request,
    ) -> Result<T, LogFailed> {
        let (sender, reply) = sync_channel(1);
        let mut state = self.state.lock();
        if state.failed || state.closing || state.requests >= REQUESTS_MAX {
            return Err(LogFailed);
        }
        state.requests += 1;
        self.push(&mut state, Job::Request(request(sender)));
        drop(state);
        let answer = reply.recv().map_err(|_| LogFailed);
        self.state.lock().requests -= 1;
        answer
    }

    fn push(&self, state: &mut State, job: Job) {
        state.jobs.push_back(job);
        state.urgent = true;
        if state.sleep != Sleep::Awake {
            self.wake.notify_one();
        }
    }

    pub(super) fn close(&self) {
        self.state.lock().closing = true;
        self.wake.notify_one();
    }

    pub(super) fn has_failed(&self) -> bool {
        self.state.lock().failed
    }

    /// Waits for work for at most `wait`; once there is some that nobody waits for, for `linger`
    /// more.
    pub(super) fn next(&self, wait: Duration, linger: Duration) -> Next {
        let mut state = self.state.lock();
        if state.jobs.is_empty() && !state.closing {
            state.sleep = Sleep::Idle;
            // A spurious wake-up looks like idleness, which is harmless: the writer checks its clock.
            self.wake.wait_for(&mut state, wait);
        }
        if !linger.is_zero() && !state.jobs.is_empty() && !state.urgent && !state.closing {
            state.sleep = Sleep::Lingering;
            self.wake.wait_for(&mut state, linger);
        }
        state.sleep = Sleep::Awake;
        state.urgent = false;
        if !state.jobs.is_empty() {
            state.in_flight = state.queued.take();
            return Next::Jobs(std::mem::take(&mut state.jobs));
        }
        if state.closing {
            Next::Closed
        } else {
            Next::Idle
        }
    }

    /// Evidence of `weight` bytes became durable, per session up to the sequence given.
    pub(super) fn durable(&self, weight: usize, acknowledged: &BTreeMap<SessionId, EvidenceSeq>) {
        let mut state = self.state.lock();
        state.weight = state.weight.saturating_sub(weight);
        let told: Vec<_> = acknowledged
            .iter()
            .filter_map(|(session, sequence)| {
                let handle = state.sessions.get(session)?;
                Some((Arc::clone(&handle.acknowledge), *sequence))
            })
            .collect();
        drop(state);
        for (acknowledge, sequence) in told {
            acknowledge.acknowledged(sequence);
        }
    }

    /// Everything taken last has been written.
    pub(super) fn caught_up(&self) {
        self.state.lock().in_flight = None;
    }

    /// The writer has dealt with a session's end.
    pub(super) fn forget(&self, session: SessionId) {
        self.state.lock().sessions.remove(&session);
    }

    /// Fails one session: something of it can't be recorded.
    pub(super) fn fail_session(&self, session: SessionId) {
        self.fail_session_locked(self.state.lock(), session);
    }

    fn fail_session_locked(
        &self,
        mut state: parking_lot::MutexGuard<'_, State>,
        session: SessionId,
    ) {
        let handle = state.sessions.remove(&session);
        self.push(&mut state, Job::End(session));
        drop(state);
        if let Some(handle) = handle {
            handle.acknowledge.failed();
        }
    }

    /// Fails the log: every session hears of it, and waiting requests end.
    pub(super) fn fail(&self) {
        let mut state = self.state.lock();
        state.failed = true;
        let sessions = std::mem::take(&mut state.sessions);
        let jobs = std::mem::take(&mut state.jobs);
        drop(state);
        // Dropping a request's sender ends its wait.
        drop(jobs);
        for handle in sessions.into_values() {
            handle.acknowledge.failed();
        }
    }
}

/// The durability that holds from this piece of evidence on, where it opens a session.
fn opened_with(evidence: &Evidence) -> Option<Durability> {
    match evidence {
        Evidence::Record(record) => match &record.entry {
            RecordEntry::SessionOpened(opened) => Some(opened.target.durability),
            _ => None,
        },
        Evidence::Chunk(_) => None,
    }
}

const fn time_of(evidence: &Evidence) -> Mono {
    match evidence {
        Evidence::Record(record) => record.at.mono,
        Evidence::Chunk(chunk) => chunk.at.mono,
    }
}
