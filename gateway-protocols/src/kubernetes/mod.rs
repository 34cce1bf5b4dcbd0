//! The Kubernetes API: HTTP calls of resources, watches, logs, and exec over WebSocket.
//!
//! HTTP/1.1 and HTTP/2 themselves belong to the shell: it hands over [`message::Event`]s and
//! carries out [`Command`]s. What comes and goes inside of an upgraded connection is read here.
//!
//! Source of truth: Kubernetes 1.32, "Kubernetes API Concepts" and
//! `k8s.io/apiserver/pkg/endpoints/request`; RFC 6455 for [`frame`].

pub mod frame;
pub mod mask;
pub mod message;
pub mod reply;
pub mod session;

pub use session::{Command, Options, Session, understand};
