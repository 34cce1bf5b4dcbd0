//! What a protocol must hold to, from outside: laws, golden transcripts, fuzz corpora.
#![cfg(all(feature = "testkit", feature = "postgres"))]

#[cfg(test)]
mod calls;
#[cfg(test)]
mod corpora;
#[cfg(all(test, feature = "kubernetes"))]
mod kubernetes;
#[cfg(feature = "kubernetes")]
#[cfg(test)]
mod kubernetes_doors;
#[cfg(test)]
mod postgres;
#[cfg(feature = "ssh")]
#[cfg(test)]
mod ssh;
#[cfg(test)]
mod toy;
#[cfg(test)]
mod transcripts;
