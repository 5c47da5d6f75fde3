//! A power limit that the command holds: put back when it is done with it, and when a signal ends it before that.

use super::error::JobError;
use super::stop::{AtEnd, Stop};
use crate::power::PowerError;
use crate::power::limit::{LimitGuard, LimitRange};
use crate::units::Watts;

/// A guard of a card's power limit, and what is done where the process ends without coming to it.
pub(crate) struct HeldLimit {
    guard: LimitGuard,
    /// The guard may have been killed before; then nobody else puts the limit back.
    at_end: AtEnd,
}

impl HeldLimit {
    /// Of a card, by its number as CUDA counts.
    pub(crate) fn of_card(index: usize, stop: &Stop) -> Result<Self, JobError> {
        let guard = LimitGuard::start(&std::env::current_exe()?, index)?;
        let at_end = stop.at_end(guard.put_back());
        Ok(Self { guard, at_end })
    }

    /// What the card takes.
    pub(crate) fn range(&self) -> &LimitRange {
        &self.guard.range
    }

    /// Sets a limit, until another is set.
    pub(crate) fn set(&mut self, limit: Watts) -> Result<(), PowerError> {
        self.guard.set(limit)
    }

    /// Restores the limit that was found, and says whether that worked.
    pub(crate) fn restore(self) -> Result<(), PowerError> {
        let restored = self.guard.restore();
        drop(self.at_end);
        restored
    }
}
