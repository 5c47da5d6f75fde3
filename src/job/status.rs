//! How a job that has a result ended.

/// How a job that has a result ended; a command line has an exit status for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Everything that was asked for is there.
    Done,
    /// It, or a part of it, failed.
    Failed,
    /// What was measured breaks what it is held against: an SLO, a baseline.
    Rejected,
    /// Whether it does cannot be told.
    CannotTell,
    /// What was measured cannot be relied on.
    Invalid,
    /// It was stopped before its end; what is finished is kept.
    Interrupted,
}
