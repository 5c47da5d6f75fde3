//! Time.

use crate::units::Seconds;
use std::sync::{Arc, Mutex};

/// A clock that only goes forward.
pub trait Clock: Send + Sync {
    /// Seconds since some fixed moment, to the nanosecond.
    fn now(&self) -> Seconds;
}

/// The machine's clock: `CLOCK_MONOTONIC_RAW` on Linux, which no time service bends.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Seconds {
        #[cfg(target_os = "linux")]
        let id = rustix::time::ClockId::MonotonicRaw;
        #[cfg(not(target_os = "linux"))]
        let id = rustix::time::ClockId::Monotonic;
        let time = rustix::time::clock_gettime(id);
        Seconds(time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9)
    }
}

/// A clock that stands still until it is told to advance, for tests.
#[derive(Debug, Clone, Default)]
pub struct FakeClock(Arc<Mutex<f64>>);

impl FakeClock {
    /// Moves the time forward.
    pub fn advance(&self, by: Seconds) {
        if let Ok(mut now) = self.0.lock() {
            *now += by.0;
        }
    }
}

impl Clock for FakeClock {
    fn now(&self) -> Seconds {
        Seconds(self.0.lock().map_or(0.0, |now| *now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_clock_goes_forward() {
        let before = SystemClock.now();
        let after = SystemClock.now();
        assert!(after >= before && (after - before).0 < 1.0);
    }
}
