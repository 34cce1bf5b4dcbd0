//! The conformance kit: scripts, a simulated world with a virtual clock, and the nine laws that
//! every protocol passes.
//!
//! ```text
//! Script -> Run<Subject> (agent, gate, target, shell, sink; all in one thread) -> Trace -> laws
//! ```
//! A [`Subject`] pairs a wire with a fake target that answers honestly. A [`Script`] says what the
//! agent, the reviewers and the operator do; a [`Schedule`] says how the network cuts the bytes and
//! how late everything is. The same script under any schedule must come to the same thing.
//!
//! Everything in between is bytes; [`typed`] says how those of a wire of events stand for them.
//! [`toy`] and [`calls`] are a protocol of each form, with defects that the laws catch.
//!
//! Nothing here is used by a gateway: it is for tests, fuzzers and embedders' own protocols.

pub mod calls;
pub mod fuzz;
#[cfg(feature = "kubernetes")]
pub mod kubernetes;
pub mod laws;
#[cfg(feature = "postgres")]
pub mod postgres;
mod rules;
mod run;
mod schedule;
mod script;
#[cfg(feature = "ssh")]
pub mod ssh;
pub mod toy;
mod trace;
pub mod transcript;
pub mod typed;
mod world;

pub use rules::{Addresses, TextRules};
pub use run::{Run, Subject, TargetPeer, run};
pub use schedule::Schedule;
pub use script::{Script, Step};
pub use trace::{Seen, Sent, Trace};
pub use world::{
    FRESH_TOKEN, GOOD_TOKEN, OTHER_TOKEN, Proof, World, analysis, classification, customers_email,
};
