//! What a gate says.

use serde::Serialize;
use std::fmt;

/// The answer of a rule, and of a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The whole interval is within the limit.
    Pass,
    /// The whole interval is beyond it.
    Fail,
    /// The limit is within the interval.
    CannotTell,
    /// The measurement cannot be relied on, or there is none.
    Invalid,
}

impl Verdict {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::CannotTell => "cannot tell",
            Self::Invalid => "invalid",
        }
    }

    /// The verdict of all: what failed for certain fails the whole, then what is not valid, then what cannot be told.
    pub fn of_all(all: impl IntoIterator<Item = Self>) -> Self {
        let weight = |verdict: Self| match verdict {
            Self::Pass => 0,
            Self::CannotTell => 1,
            Self::Invalid => 2,
            Self::Fail => 3,
        };
        all.into_iter().max_by_key(|verdict| weight(*verdict)).unwrap_or(Self::Invalid)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.words())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_is_that_of_all_and_nothing_is_not_a_pass() {
        use Verdict::*;
        assert_eq!(Verdict::of_all([Pass, CannotTell, Pass]), CannotTell);
        assert_eq!(Verdict::of_all([Invalid, CannotTell]), Invalid);
        assert_eq!(Verdict::of_all([Invalid, Fail]), Fail);
        assert_eq!(Verdict::of_all([]), Invalid);
    }
}
