//! SSH sessions: commands, shells and file transfer.
//!
//! Source of truth: RFC 4254 (The Secure Shell Connection Protocol), draft-ietf-secsh-filexfer-02
//! (SFTP version 3), and OpenSSH's `PROTOCOL` for what its clients send beside them. The transport
//! (RFC 4253) and the user's authentication (RFC 4252) belong to the shell around this wire: it
//! feeds [`Event`]s, carries out [`Command`]s, and decides nothing.

pub mod command;
pub mod frame;
pub mod message;
pub mod reply;
pub mod session;

pub use session::{Command, Event, Outbound, Session};
