//! Fuzz corpora.
