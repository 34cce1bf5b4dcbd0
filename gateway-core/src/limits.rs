//! Every bound of a session in one place.

use std::time::Duration;

/// Bounds of one session. The defaults are the product's; a shell may lower them.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Largest message that is held whole (queries, parses, rows that are masked), bytes.
    pub frame_bytes_max: usize,
    /// Largest message that may be streamed in parts (rows, copy data, bind values), bytes.
    pub stream_bytes_max: usize,
    /// Input buffered from a side whose parsing is stopped (a hold, a question), bytes.
    pub held_input_bytes_max: usize,
    /// Evidence handed to the recorder but not yet acknowledged, and data waiting behind it, bytes.
    pub unacknowledged_bytes_max: usize,
    /// Units, expected replies and questions outstanding at once.
    pub outstanding_max: usize,
    /// Messages of one session that are refused without being operations. Each is a record: a
    /// session that has more of them ends.
    pub refusals_max: u64,
    /// Prepared statements and portals remembered per session.
    pub prepared_max: usize,
    /// Text and analyses remembered per session, bytes.
    pub statement_cache_bytes_max: usize,
    /// From accept to the end of the login.
    pub login_time_max: Duration,
    /// From a question to its answer.
    pub ask_time_max: Duration,
    /// A hold while the target's transaction is open: it keeps the target's locks.
    pub hold_in_transaction_time_max: Duration,
    /// A session's whole life, whatever its token says.
    pub session_time_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            frame_bytes_max: 16 << 20,
            stream_bytes_max: 1 << 30,
            held_input_bytes_max: 64 << 10,
            unacknowledged_bytes_max: 1 << 20,
            outstanding_max: 4096,
            refusals_max: 10_000,
            prepared_max: 4096,
            statement_cache_bytes_max: 1 << 20,
            login_time_max: Duration::from_secs(30),
            ask_time_max: Duration::from_secs(15),
            hold_in_transaction_time_max: Duration::from_secs(60),
            session_time_max: Duration::from_secs(12 * 3600),
        }
    }
}
