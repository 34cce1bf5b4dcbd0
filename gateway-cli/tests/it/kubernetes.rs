//! The gateway between unmodified Kubernetes clients and an API server.

mod boundary;
mod clients;
mod exec;
mod holds;
mod identity;
mod real;
mod secrets;
mod sessions;
