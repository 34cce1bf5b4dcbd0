//! Sans-IO wire protocols of the access gateway, one feature each.

#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "pg-native")]
pub mod sql;
#[cfg(feature = "testkit")]
pub mod testkit;
