//! OpenSSH's clients and others through the gateway to a real sshd.

mod clients;
mod files;
mod login;
mod programs;
mod refusals;
mod strangers;
