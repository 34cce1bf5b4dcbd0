//! Where SQL is analysed: short texts in place, long ones on a few threads behind a bounded queue.
//!
//! A thread hop costs more than the analysis of an ordinary statement (tens of microseconds), so
//! the runtime's workers have the stacks for it. A long text would keep a worker's other sessions
//! waiting, and goes to a thread of its own.

use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread::JoinHandle,
};

use gateway_core::{mask::Classified, operation::Analysis};
use gateway_protocols::sql;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::catalogue::Loaded;

/// Texts waiting for a thread. Beyond it a text isn't analysed, hence refused.
const QUEUE_MAX: usize = 256;

/// Texts shorter than this are analysed in place, bytes: well under a millisecond.
const IN_PLACE_BYTES_MAX: usize = 2 << 10;

/// No analysis: the text must be refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AnalysisError {
    /// Too many texts wait already.
    #[error("too many statements are waiting to be analysed")]
    Overloaded,
    /// The analysis panicked; the thread lives on.
    #[error("the statement could not be analysed")]
    Failed,
}

/// A text and what it is to be read against.
struct Job {
    text: Arc<str>,
    loaded: Arc<Loaded>,
    classified: Arc<Classified>,
    answer: oneshot::Sender<Analysis>,
}

/// A fixed number of analysis threads. They end when the pool is dropped.
pub(crate) struct AnalysisPool {
    queue: Option<SyncSender<Job>>,
    in_place_bytes_max: usize,
    threads: Vec<JoinHandle<()>>,
}

impl AnalysisPool {
    /// Starts `threads` threads, each with [`sql::ANALYSIS_STACK_BYTES`] of stack. `in_place` says
    /// that the callers' threads have as much: short texts are then analysed there.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn start(threads: usize, in_place: bool) -> std::io::Result<Self> {
        let (queue, jobs) = sync_channel(QUEUE_MAX);
        let jobs = Arc::new(Mutex::new(jobs));
        let threads = (0..threads)
            .map(|index| {
                let jobs = Arc::clone(&jobs);
                std::thread::Builder::new()
                    .name(format!("analysis-{index}"))
                    .stack_size(sql::ANALYSIS_STACK_BYTES)
                    .spawn(move || work(&jobs))
            })
            .collect::<std::io::Result<_>>()?;
        Ok(Self {
            queue: Some(queue),
            in_place_bytes_max: if in_place { IN_PLACE_BYTES_MAX } else { 0 },
            threads,
        })
    }

    /// Analyses a text. The caller sets the deadline; an abandoned job is skipped if it hasn't
    /// begun.
    ///
    /// # Errors
    /// [`AnalysisError`]; the text must then be refused.
    pub(crate) async fn analyse(
        &self,
        text: Arc<str>,
        loaded: Arc<Loaded>,
        classified: Arc<Classified>,
    ) -> Result<Analysis, AnalysisError> {
        if text.len() < self.in_place_bytes_max {
            return contained(&text, &loaded, &classified).ok_or(AnalysisError::Failed);
        }
        let (answer, result) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or(AnalysisError::Overloaded)?;
        match queue.try_send(Job {
            text,
            loaded,
            classified,
            answer,
        }) {
            Ok(()) => result.await.map_err(|_| AnalysisError::Failed),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                Err(AnalysisError::Overloaded)
            }
        }
    }
}

impl Drop for AnalysisPool {
    fn drop(&mut self) {
        self.queue = None;
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("an analysis thread panicked outside of an analysis");
            }
        }
    }
}

fn work(jobs: &Mutex<Receiver<Job>>) {
    loop {
        let job = jobs.lock().recv();
        let Ok(Job {
            text,
            loaded,
            classified,
            answer,
        }) = job
        else {
            return;
        };
        if answer.is_closed() {
            continue;
        }
        if let Some(analysis) = contained(&text, &loaded, &classified) {
            // Whoever asked may have gone meanwhile.
            drop(answer.send(analysis));
        }
    }
}

fn contained(text: &Arc<str>, loaded: &Loaded, classified: &Classified) -> Option<Analysis> {
    std::panic::catch_unwind(AssertUnwindSafe(|| {
        sql::analyse(text, &loaded.snapshot, loaded.version, classified)
    }))
    .inspect_err(|_| tracing::error!(bytes = text.len(), "analysing a statement panicked"))
    .ok()
}
