//! Price lists and catalogs.
