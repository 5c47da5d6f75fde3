//! Data sets for quality and drift.
