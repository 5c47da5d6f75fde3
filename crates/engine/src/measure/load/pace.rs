//! Waiting until a moment, to some tens of microseconds.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Below this the wait is spent looking at the clock: the system would not wake us in time.
const WATCHED: Duration = Duration::from_micros(8);
/// How often a stop is looked for while nothing is due.
const PATIENCE: Duration = Duration::from_millis(20);

/// Asks the system to wake this thread when it says, rather than up to 50 us later.
pub fn wake_in_time() {
    #[cfg(target_os = "linux")]
    // SAFETY: it sets a number of this thread and touches no memory.
    unsafe {
        libc::prctl(libc::PR_SET_TIMERSLACK, 1);
    }
}

/// Waits until `moment`; `false` where a stop came first.
pub fn wait_until(moment: Instant, stop: &AtomicBool) -> bool {
    loop {
        if stop.load(Ordering::Relaxed) {
            return false;
        }
        let left = moment.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        if left > WATCHED { std::thread::sleep((left - WATCHED).min(PATIENCE)) } else { std::hint::spin_loop() }
    }
}
