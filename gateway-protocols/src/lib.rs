//! Sans-IO wire protocols of the access gateway, one feature each.

#[cfg(feature = "kubernetes")]
pub mod kubernetes;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "pg-native")]
pub mod sql;
#[cfg(feature = "ssh")]
pub mod ssh;
#[cfg(feature = "testkit")]
pub mod testkit;
