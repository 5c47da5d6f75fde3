//! How long a burst is felt: a burst above the limit, then a rate that holds, until the SLO holds again.

use super::sample::Sample;
use crate::record::Slo;
use crate::units::Seconds;
use std::collections::BTreeMap;

/// A window has at least this many requests.
const LEAST_REQUESTS: usize = 20;
/// A window has at most this many.
const MOST_REQUESTS: usize = 1000;

/// Requests by their number: when each was due, and which limits it was beyond.
#[derive(Debug, Clone)]
pub struct Recovery {
    /// Share of requests that may be beyond each limit.
    allowed: Vec<f64>,
    requests: BTreeMap<usize, (f64, Vec<bool>)>,
}

/// Requests of a window: so many that the strictest limit lets one through.
pub fn window(allowed: &[f64]) -> usize {
    let strictest = allowed.iter().copied().fold(1.0, f64::min);
    ((1.0 / strictest.max(1e-6)).ceil() as usize).clamp(LEAST_REQUESTS, MOST_REQUESTS)
}

impl Recovery {
    /// With limits that let these shares of requests be beyond them.
    pub fn new(allowed: Vec<f64>) -> Self {
        Self { allowed, requests: BTreeMap::new() }
    }

    /// Adds a request that was answered or failed.
    pub fn add(&mut self, sample: &Sample, slo: &Slo) {
        let within = |kept: bool| sample.is_ok() && kept;
        let each = slo.terms.iter().map(|term| within(sample.time(term.of).is_none_or(|time| time <= term.limit_s.0)));
        let all = slo.goodput.map(|_| within(slo.is_kept_by(|kind| sample.time(kind))));
        self.add_known(sample.index, sample.intended_s, each.chain(all).map(|kept| !kept).collect());
    }

    /// Adds a request by its number: when it was due, and which of the limits it was beyond.
    fn add_known(&mut self, index: usize, intended_s: f64, beyond: Vec<bool>) {
        self.requests.insert(index, (intended_s, beyond));
    }

    /// Seconds from `end` (of the burst) until requests keep the SLO again: the first request of two successive windows, in
    /// each of which no more are beyond each limit than it allows. Only requests before the first that is still under way are
    /// looked at, as those that hang are the ones that have not recovered. `None` where that did not come.
    pub fn after(&self, end: f64) -> Option<Seconds> {
        let done = self.requests.iter().enumerate().take_while(|(place, (index, _))| place == *index);
        let behind: Vec<&(f64, Vec<bool>)> =
            done.map(|(_, (_, request))| request).filter(|(at, _)| *at >= end).collect();
        let size = window(&self.allowed);
        let last = behind.len().checked_sub(2 * size)?;
        // For each limit, how many requests before each place are beyond it: this is asked again and again while a load runs.
        let beyond: Vec<Vec<usize>> = (0..self.allowed.len())
            .map(|limit| {
                let counts = behind.iter().scan(0, |count, (_, beyond)| {
                    *count += usize::from(beyond.get(limit) == Some(&true));
                    Some(*count)
                });
                std::iter::once(0).chain(counts).collect()
            })
            .collect();
        let keeps = |from: usize| {
            self.allowed.iter().zip(&beyond).all(|(allowed, before)| {
                (before[from + size] - before[from]) as f64 <= (allowed * size as f64).floor().max(1.0)
            })
        };
        let first = (0..=last).find(|at| keeps(*at) && keeps(at + size))?;
        // It holds from the first request of the window that is within all limits.
        let within = behind[first..first + size].iter().find(|(_, beyond)| !beyond.contains(&true));
        Some(Seconds((within.map_or(end, |(at, _)| *at) - end).max(0.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(felt_until: f64, every_bad: usize, allowed: f64) -> Recovery {
        let mut recovery = Recovery::new(vec![allowed]);
        for i in 0..2000 {
            let at = i as f64 * 0.05;
            recovery.add_known(i, at, vec![at <= felt_until || (every_bad != 0 && i % every_bad == 0)]);
        }
        recovery
    }

    #[test]
    fn it_is_over_when_requests_keep_the_limits_again() {
        for felt in [12.0, 30.0, 55.5] {
            let after = with(felt, 0, 0.05).after(10.0).unwrap().0;
            assert!((after - (felt - 10.0)).abs() < 0.3, "{felt}: {after}");
        }
        // One slow request in a hundred is allowed by a limit on p95, and two of five by one on a median.
        assert!(with(12.0, 100, 0.05).after(10.0).is_some());
        assert!(with(12.0, 3, 0.5).after(10.0).is_some());
        assert_eq!(with(12.0, 2, 0.05).after(10.0), None);
        assert_eq!(with(1000.0, 0, 0.05).after(10.0), None);
        assert!(with(0.0, 0, 0.05).after(10.0).unwrap().0 < 0.2);
    }

    #[test]
    fn what_hangs_has_not_recovered() {
        let mut recovery = with(12.0, 0, 0.05);
        recovery.requests.remove(&220);
        assert_eq!(recovery.after(10.0), None);
    }
}
