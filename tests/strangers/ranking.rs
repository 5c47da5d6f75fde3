//! What a ranking makes of imported and measured runs.
