//! The writer thread: numbers leaves, commits frames, signs checkpoints.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use gateway_core::id::{EvidenceSeq, SessionId};
use gateway_core::record::{Chunk, Direction, Evidence};
use gateway_core::time::{Mono, Now};

use super::files::{Appender, Layout};
use super::frame::{BODY_BYTES_MAX, Entry, FrameBuilder};
use super::queue::{Job, Next, Queue, Request};
use super::recovery::{OpenError, Recovery, Resumed, TornTail};
use super::{LeafRef, LogOptions, WriteError};
use crate::json;
use crate::note::Checkpoint;
use crate::record::{
    BodyDigest, Encoded, HEADER_BYTES_MAX, Header, Sealer, SessionContext, body_hash, encode,
    interrupted, stream_anchor, unit_unknown,
};
use crate::stream::{CHUNK_BYTES_MAX, TO_AGENT, TO_TARGET};
use crate::tree::{Frontier, Hash, leaf_hash};

/// A commit is closed at about this size, bytes, so that a full queue doesn't wait for one long sync.
const FRAME_BYTES_TARGET: usize = 1 << 20;
/// A stream's head is put into the log at least this often, in bytes of the stream …
const ANCHOR_BYTES: u64 = 1 << 20;
/// … and in time, while it moves.
const ANCHOR_INTERVAL: Duration = Duration::from_secs(1);

/// A leaf doesn't fit its bounds.
struct TooLarge;

pub(super) struct Writer {
    layout: Layout,
    options: LogOptions,
    queue: Arc<Queue>,
    appender: Appender,
    sealer: Sealer,
    tree: Frontier,
    commit: u64,
    previous: Hash,
    sessions: BTreeMap<SessionId, SessionContext>,
    frame: FrameBuilder,
    /// Size of the tree at the start of the frame.
    frame_start: u64,
    acknowledged: BTreeMap<SessionId, EvidenceSeq>,
    weight: usize,
    /// Sessions to forget once their last acknowledgements are out.
    ended: Vec<SessionId>,
    replies: Vec<(SyncSender<LeafRef>, LeafRef)>,
    /// The last checkpoint, until a frame carries it.
    note: Option<String>,
    beat_due: Mono,
    /// Held for as long as the log is written.
    _lock: File,
}

/// However the writer ends, by a panic too: whatever is handed over from then on is never
/// acknowledged, and everybody hears of it.
struct FailOnExit(Arc<Queue>);

impl Drop for FailOnExit {
    fn drop(&mut self) {
        self.0.fail();
    }
}

impl Writer {
    /// Writes the opening leaves and signs the first checkpoint.
    pub(super) fn start(
        layout: Layout,
        options: LogOptions,
        queue: Arc<Queue>,
        lock: File,
        resumed: Resumed,
    ) -> Result<(Self, Recovery), OpenError> {
        let Resumed { end, torn, open } = resumed;
        let mut fresh = [0; 32];
        aws_lc_rs::rand::fill(&mut fresh).map_err(|_| std::io::Error::other("no randomness"))?;
        let sealer = Sealer::new(&layout.token_key(&fresh)?);
        let appender = Appender::open(
            Arc::clone(&options.storage),
            layout.clone(),
            options.segment_bytes,
            end.segment,
            end.offset,
        )?;
        let now = (options.clock)();
        let mut writer = Self {
            layout,
            queue,
            appender,
            sealer,
            frame_start: end.tree.size(),
            tree: end.tree,
            commit: end.commit,
            previous: end.previous,
            sessions: BTreeMap::new(),
            frame: FrameBuilder::default(),
            acknowledged: BTreeMap::new(),
            weight: 0,
            ended: Vec::new(),
            replies: Vec::new(),
            note: None,
            beat_due: now.mono.saturating_add(options.checkpoint_interval),
            options,
            _lock: lock,
        };
        let mut recovery = Recovery {
            leaves: writer.tree.size(),
            torn,
            ..Recovery::default()
        };
        let opening = writer.opening(now);
        writer.stage_own(opening)?;
        if let Some(torn) = &recovery.torn {
            writer.stage_own(recovered(now, torn))?;
        }
        for (session, state) in open {
            let mut context = SessionContext::resumed(
                session,
                state.agent,
                state.target,
                state.sequence,
                state.units,
                state.chain,
            );
            recovery.units_unknown += writer.interrupt(&mut context, now, "gateway_stopped")?;
            recovery.sessions_interrupted += 1;
        }
        writer.flush()?;
        writer.sign_checkpoint()?;
        Ok((writer, recovery))
    }

    /// Runs until the log is closed or fails.
    pub(super) fn run(mut self) -> Result<(), WriteError> {
        let _fail = FailOnExit(Arc::clone(&self.queue));
        self.work()
    }

    fn work(&mut self) -> Result<(), WriteError> {
        loop {
            let wait = self.beat_due.saturating_since((self.options.clock)().mono);
            match self.queue.next(wait, self.options.linger) {
                Next::Jobs(jobs) => {
                    for job in jobs {
                        self.perform(job)?;
                        if self.frame.payload_len() >= FRAME_BYTES_TARGET {
                            self.flush()?;
                        }
                    }
                    self.flush()?;
                    self.queue.caught_up();
                }
                Next::Idle => {}
                Next::Closed => return self.finish(),
            }
            let now = (self.options.clock)();
            if now.mono >= self.beat_due {
                self.beat(now)?;
            }
        }
    }

    fn perform(&mut self, job: Job) -> Result<(), WriteError> {
        match job {
            Job::Open(session) => {
                self.sessions.insert(session, SessionContext::new(session));
            }
            Job::Evidence {
                session,
                sequence,
                evidence,
            } => {
                self.weight += evidence.weight();
                if self.sessions.contains_key(&session) {
                    match self.stage_evidence(session, &evidence)? {
                        Ok(()) => {
                            self.acknowledged.insert(session, sequence);
                        }
                        Err(TooLarge) => {
                            self.queue.fail_session(session);
                            self.end(session)?;
                        }
                    }
                }
            }
            Job::End(session) => {
                self.end(session)?;
                self.ended.push(session);
            }
            Job::Request(Request::Enter(entry, reply)) => {
                let leaf = self.stage_own(entry.encode((self.options.clock)()))?;
                self.replies.push((reply, leaf));
            }
            Job::Request(Request::Checkpoint(reply)) => {
                self.flush()?;
                let note = self.sign_checkpoint()?;
                // The asker may have given up; the checkpoint stands.
                let _given_up = reply.try_send(note);
            }
        }
        Ok(())
    }

    /// Takes nothing more of a session; one that is still open is interrupted.
    fn end(&mut self, session: SessionId) -> Result<(), WriteError> {
        if let Some(mut context) = self.sessions.remove(&session)
            && context.open
        {
            let now = (self.options.clock)();
            self.interrupt(&mut context, now, "evidence_incomplete")?;
        }
        Ok(())
    }

    /// Says of each unit without a result that it is unknown, and of the session that it was interrupted.
    /// Returns the number of these units.
    fn interrupt(
        &mut self,
        context: &mut SessionContext,
        now: Now,
        why: &'static str,
    ) -> Result<u64, WriteError> {
        let mut units = 0;
        while let Some(unknown) = unit_unknown(context, now) {
            self.stage_own(unknown)?;
            units += 1;
        }
        self.stage_own(interrupted(context, now, why))?;
        Ok(units)
    }

    fn stage_evidence(
        &mut self,
        session: SessionId,
        evidence: &Evidence,
    ) -> Result<Result<(), TooLarge>, WriteError> {
        let Some(context) = self.sessions.get_mut(&session) else {
            return Ok(Ok(()));
        };
        match evidence {
            Evidence::Record(record) => {
                let encoded =
                    encode(record, context, &self.sealer).map_err(|_| WriteError::Randomness)?;
                let staged = self.stage(encoded)?.map(|_| ());
                if let Some(context) = self.sessions.get_mut(&session) {
                    match &staged {
                        Ok(()) => context.settle(&record.entry),
                        Err(TooLarge) => context.withdraw(),
                    }
                }
                Ok(staged)
            }
            Evidence::Chunk(chunk) => {
                stage_chunk(&mut self.frame, session, context, chunk);
                let (bytes, at) = context.anchored;
                if context.open
                    && (context.chain.bytes - bytes >= ANCHOR_BYTES
                        || chunk.at.mono.saturating_since(at.mono) >= ANCHOR_INTERVAL)
                {
                    let anchor = stream_anchor(context, chunk.at);
                    return Ok(self.stage(anchor)?.map(|_| ()));
                }
                Ok(Ok(()))
            }
        }
    }

    /// Numbers a leaf and puts it into the frame.
    fn stage(&mut self, encoded: Encoded) -> Result<Result<LeafRef, TooLarge>, WriteError> {
        let Encoded { header, body } = encoded;
        if body
            .as_ref()
            .is_some_and(|body| body.len() > BODY_BYTES_MAX)
        {
            return Ok(Err(TooLarge));
        }
        let body = match body {
            None => None,
            Some(body) => Some((Sealer::salt().map_err(|_| WriteError::Randomness)?, body)),
        };
        let digest = body.as_ref().map(|(salt, body)| BodyDigest {
            hash: body_hash(salt, body),
            len: u64::try_from(body.len()).unwrap_or(u64::MAX),
        });
        let index = self.tree.size();
        let header = header.encode(index, digest);
        if header.len() > HEADER_BYTES_MAX {
            return Ok(Err(TooLarge));
        }
        // A frame holds one leaf of any size, or several small ones.
        if self.frame.payload_len() + body.as_ref().map_or(0, |(_, body)| body.len())
            > BODY_BYTES_MAX
        {
            self.flush()?;
        }
        let hash = leaf_hash(&header);
        self.tree.push(hash);
        let body = body.as_ref().map(|(salt, body)| (*salt, body.as_slice()));
        self.frame.push(Entry::Leaf {
            header: &header,
            body,
        });
        Ok(Ok(LeafRef { index, hash }))
    }

    /// Stages a leaf of the gateway's own, whose size the caller bounds.
    fn stage_own(&mut self, encoded: Encoded) -> Result<LeafRef, WriteError> {
        if self.frame.payload_len() >= FRAME_BYTES_TARGET {
            self.flush()?;
        }
        self.stage(encoded)?.map_err(|TooLarge| {
            WriteError::Io(std::io::Error::other(
                "a leaf of the gateway's own is too large",
            ))
        })
    }

    /// Makes the frame durable, then tells everybody who waits for it.
    fn flush(&mut self) -> Result<(), WriteError> {
        if !self.frame.is_empty() {
            if let Some(note) = self.note.take() {
                self.frame.push(Entry::Note { text: &note });
            }
            let frame = std::mem::take(&mut self.frame);
            let root = self.tree.root();
            let sealed = frame.seal(self.frame_start, self.commit + 1, &self.previous, &root);
            self.appender.append(&sealed.bytes)?;
            self.commit += 1;
            self.previous = sealed.hash;
            self.frame_start = self.tree.size();
        }
        let acknowledged = std::mem::take(&mut self.acknowledged);
        if self.weight > 0 || !acknowledged.is_empty() {
            self.queue
                .durable(std::mem::take(&mut self.weight), &acknowledged);
        }
        for session in self.ended.drain(..) {
            self.queue.forget(session);
        }
        for (reply, leaf) in self.replies.drain(..) {
            // The asker may have given up; the leaf stands.
            let _given_up = reply.try_send(leaf);
        }
        Ok(())
    }

    /// A heartbeat leaf, then a checkpoint over it.
    fn beat(&mut self, now: Now) -> Result<(), WriteError> {
        let header = own_header("log.heartbeat", now);
        let open = u64::try_from(
            self.sessions
                .values()
                .filter(|context| context.open)
                .count(),
        )
        .unwrap_or(u64::MAX);
        self.stage_own(Encoded {
            header: Header {
                counters: vec![("sessions", open)],
                ..header
            },
            body: None,
        })?;
        self.flush()?;
        self.sign_checkpoint()?;
        self.beat_due = now.mono.saturating_add(self.options.checkpoint_interval);
        Ok(())
    }

    /// Signs what is durable. INVARIANT: called with an empty frame only.
    fn sign_checkpoint(&mut self) -> Result<String, WriteError> {
        debug_assert!(
            self.frame.is_empty(),
            "a checkpoint covers durable leaves only"
        );
        let checkpoint = Checkpoint {
            origin: self.options.origin.clone(),
            size: self.tree.size(),
            root: self.tree.root(),
        };
        let note = self.options.signer.sign(&checkpoint)?;
        self.layout.write_checkpoint(&note)?;
        self.note = Some(note.clone());
        Ok(note)
    }

    fn finish(&mut self) -> Result<(), WriteError> {
        let now = (self.options.clock)();
        for mut context in std::mem::take(&mut self.sessions)
            .into_values()
            .filter(|context| context.open)
        {
            self.interrupt(&mut context, now, "gateway_stopped")?;
        }
        self.stage_own(Encoded {
            header: own_header("log.close", now),
            body: None,
        })?;
        self.flush()?;
        self.sign_checkpoint()?;
        Ok(())
    }

    fn opening(&self, now: Now) -> Encoded {
        let interval =
            u64::try_from(self.options.checkpoint_interval.as_micros()).unwrap_or(u64::MAX);
        let body = json::object(|o| {
            o.int("checkpoint_interval_us", interval);
            o.text("gateway_id", &self.options.gateway_id);
            o.text("gateway_version", &self.options.gateway_version);
            o.text("key", &self.options.signer.verifier().encode());
            o.text("origin", &self.options.origin);
        });
        Encoded {
            header: own_header("log.open", now),
            body: Some(body),
        }
    }
}

impl From<WriteError> for OpenError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Io(error) => Self::Io(error),
            WriteError::Note(error) => Self::Checkpoint(error),
            WriteError::Randomness | WriteError::Panicked => Self::Io(std::io::Error::other(error)),
        }
    }
}

fn stage_chunk(
    frame: &mut FrameBuilder,
    session: SessionId,
    context: &mut SessionContext,
    chunk: &Chunk,
) {
    let direction = match chunk.direction {
        Direction::ToAgent => TO_AGENT,
        Direction::ToTarget => TO_TARGET,
    };
    let at_us = chunk.at.wall.as_micros();
    for bytes in chunk.data.chunks(CHUNK_BYTES_MAX) {
        context.chain.push(direction, at_us, bytes);
        frame.push(Entry::Chunk {
            session,
            number: context.chain.chunks,
            direction,
            at_us,
            bytes,
        });
    }
}

fn own_header(kind: &'static str, now: Now) -> Header {
    Header {
        kind,
        mono_us: now.mono.as_micros(),
        wall_us: now.wall.as_micros(),
        ..Header::default()
    }
}

fn recovered(now: Now, torn: &TornTail) -> Encoded {
    let counters = vec![
        ("offset", torn.offset),
        ("segment", torn.segment),
        ("torn_bytes", torn.len),
    ];
    Encoded {
        header: Header {
            counters,
            ..own_header("log.recovered", now)
        },
        body: None,
    }
}
