//! What is wrong with a catalog: where, what, and what to do about it.

use serde::Serialize;
use std::fmt;

/// Whether a catalog with such a finding can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// It must be mended before money is spent on it.
    Error,
    /// It can be used; rankings show what is to be known.
    Warning,
}

/// One thing that a check found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// A short name that does not change, such as `spot_above_on_demand`.
    pub kind: &'static str,
    /// The file.
    pub file: String,
    /// The line, from 1; 0 is the file as a whole.
    pub line: usize,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
}

impl Finding {
    /// An error.
    pub fn error(kind: &'static str, at: (&str, usize), message: impl Into<String>, remedy: impl Into<String>) -> Self {
        let (file, line) = (at.0.to_string(), at.1);
        Self { severity: Severity::Error, kind, file, line, message: message.into(), remedy: remedy.into() }
    }

    /// A warning.
    pub fn warning(
        kind: &'static str,
        at: (&str, usize),
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { severity: Severity::Warning, ..Self::error(kind, at, message, remedy) }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}; {}", self.file, self.line, self.message, self.remedy)
    }
}
