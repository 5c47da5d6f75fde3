//! Why hardware is not ranked: in words, and whether it is that the model does not fit, which tables put first.

use super::project::Refusal;
use serde::{Serialize, Serializer};
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// Why hardware is not ranked; it reads as its words.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ExclusionReason {
    /// Weights and cache are too large for it; with the figures.
    DoesNotFit(Arc<str>),
    /// Anything else.
    Other(Arc<str>),
}

impl Deref for ExclusionReason {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::DoesNotFit(words) | Self::Other(words) => words,
        }
    }
}

impl fmt::Display for ExclusionReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl Serialize for ExclusionReason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }
}

impl<T: Into<Arc<str>>> From<T> for ExclusionReason {
    fn from(words: T) -> Self {
        Self::Other(words.into())
    }
}

impl From<Refusal<'_>> for ExclusionReason {
    fn from(refusal: Refusal<'_>) -> Self {
        let words = refusal.to_string().into();
        match refusal {
            Refusal::DoesNotFit { .. } => Self::DoesNotFit(words),
            _ => Self::Other(words),
        }
    }
}
