//! How long a burst is felt: a rate that holds, a burst above the limit, and the same rate again until the SLO holds.

use crate::units::Seconds;

/// A window has at least this many requests.
const LEAST_REQUESTS: usize = 20;

/// The requests that matter: when each was due, and whether it was within all limits.
#[derive(Debug, Clone, Default)]
pub struct Recovery {
    requests: Vec<(f64, bool)>,
}

impl Recovery {
    /// Adds a request by when it was due.
    pub fn add(&mut self, intended_s: f64, good: bool) {
        self.requests.push((intended_s, good));
    }

    /// Seconds from `end` (of the burst) until requests keep the SLO again: the middle of the first of two successive
    /// windows in which no more are beyond it than is allowed. `None` where that did not come.
    pub fn after(&self, end: f64, allowed: f64) -> Option<Seconds> {
        let mut requests: Vec<(f64, bool)> = self.requests.iter().copied().filter(|(at, _)| *at >= end).collect();
        requests.sort_by(|a, b| a.0.total_cmp(&b.0));
        // Windows long enough that a single slow request, which is allowed, does not spoil one.
        let size = LEAST_REQUESTS.max((1.0 / allowed.max(1e-3)).ceil() as usize).min(200);
        let good = |window: &[(f64, bool)]| {
            let beyond = window.iter().filter(|(_, good)| !good).count();
            beyond as f64 <= (allowed * window.len() as f64).ceil()
        };
        let windows: Vec<&[(f64, bool)]> = requests.windows(size).collect();
        let first = (0..windows.len().saturating_sub(size)).find(|i| good(windows[*i]) && good(windows[*i + size]))?;
        // It holds from the first request of the window that is within the limits.
        let from = windows[first].iter().find(|(_, good)| *good).map_or(end, |(at, _)| *at);
        Some(Seconds((from - end).max(0.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(felt_until: f64, every_bad: usize) -> Recovery {
        let mut recovery = Recovery::default();
        for i in 0..2000 {
            let at = i as f64 * 0.05;
            recovery.add(at, at > felt_until && (every_bad == 0 || i % every_bad != 0));
        }
        recovery
    }

    #[test]
    fn it_is_over_when_requests_keep_the_limits_again() {
        for felt in [12.0, 30.0, 55.5] {
            let after = with(felt, 0).after(10.0, 0.05).unwrap().0;
            assert!((after - (felt - 10.0)).abs() < 0.3, "{felt}: {after}");
        }
        // One slow request in a hundred is allowed by a limit on p95.
        assert!(with(12.0, 100).after(10.0, 0.05).is_some());
        assert_eq!(with(12.0, 2).after(10.0, 0.05), None);
        assert_eq!(with(1000.0, 0).after(10.0, 0.05), None);
        assert!(with(0.0, 0).after(10.0, 0.05).unwrap().0 < 0.2);
    }
}
