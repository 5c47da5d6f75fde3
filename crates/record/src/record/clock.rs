//! The day and time by the clock of this machine.

use jiff::Timestamp;
use std::time::SystemTime;

/// Now. A clock that is set beyond what a calendar holds (after the year 9999) is as far ahead as can be said, rather than
/// the end of the program.
pub fn now() -> Timestamp {
    Timestamp::try_from(SystemTime::now()).unwrap_or(Timestamp::MAX)
}
