//! Whether a server falls behind: the backlog grows, and not by chance.
//!
//! The requests in flight are averaged over ten stretches of equal length, as neighbouring values are alike and the means of
//! stretches hardly are (batch means). They grow when a straight line through those means rises by more than chance (a
//! one-sided t test at 0.1 %), or when so many fewer were answered than came that the scatter of arrivals does not explain it;
//! and in both cases only when the backlog has grown by more than half of itself.

use statrs::distribution::{ContinuousCDF, StudentsT};

/// Stretches that are averaged over.
const STRETCHES: usize = 10;
/// Chance of calling a level backlog growing.
const CHANCE: f64 = 0.001;
/// Least growth in requests.
const LEAST_GROWTH: f64 = 8.0;
/// Share of its mean that a backlog grows by at least.
const LEAST_SHARE: f64 = 0.5;
/// Standard deviations of the number of arrivals that answers may stay behind them by chance.
const SCATTER: f64 = 3.3;
/// The first time between two looks at the backlog, in seconds.
const LOOK: f64 = 0.05;
/// Looks that are kept: of twice as many, every other is dropped.
const MOST_LOOKS: usize = 4096;

/// The slope of a straight line through points, and its standard error; `None` for too few points or no spread.
pub fn slope(points: &[(f64, f64)]) -> Option<(f64, f64)> {
    let n = points.len() as f64;
    if points.len() < 3 {
        return None;
    }
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / n;
    let (x, y) = (mean(|p| p.0), mean(|p| p.1));
    let sxx: f64 = points.iter().map(|p| (p.0 - x).powi(2)).sum();
    if sxx <= 0.0 {
        return None;
    }
    let b = points.iter().map(|p| (p.0 - x) * (p.1 - y)).sum::<f64>() / sxx;
    let residual: f64 = points.iter().map(|p| (p.1 - y - b * (p.0 - x)).powi(2)).sum();
    Some((b, (residual / (n - 2.0) / sxx).sqrt()))
}

/// The requests in flight and sent at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
struct BacklogSample {
    seconds: f64,
    in_flight: f64,
    /// Requests that had been sent by then.
    sent: f64,
}

/// Requests in flight over time, in bounded memory.
#[derive(Debug, Clone)]
pub struct Backlog {
    looks: Vec<BacklogSample>,
    gap: f64,
}

impl Default for Backlog {
    fn default() -> Self {
        Self { looks: Vec::new(), gap: LOOK }
    }
}

impl Backlog {
    /// Notes the requests in flight, and all that were sent, so many seconds after the start.
    pub fn look(&mut self, seconds: f64, in_flight: u64, sent: u64) {
        if self.looks.last().is_some_and(|last| seconds - last.seconds < self.gap) {
            return;
        }
        self.looks.push(BacklogSample { seconds, in_flight: in_flight as f64, sent: sent as f64 });
        if self.looks.len() >= 2 * MOST_LOOKS {
            self.looks = self.looks.iter().step_by(2).copied().collect();
            self.gap *= 2.0;
        }
    }

    /// Requests that it grows by each second from `from` seconds on, where it grows without end as far as can be told.
    pub fn growth(&self, from: f64) -> Option<f64> {
        let looks = &self.looks[self.looks.partition_point(|look| look.seconds < from)..];
        let (first, last) = (looks.first()?, looks.last()?);
        let seconds = last.seconds - first.seconds;
        let stretches = means(looks, first.seconds, seconds)?;
        let mean = stretches.iter().map(|(_, in_flight)| in_flight).sum::<f64>() / stretches.len() as f64;
        let is_much = |grown: f64| grown > LEAST_GROWTH && grown > mean * LEAST_SHARE;
        let (b, error) = slope(&stretches)?;
        let t = StudentsT::new(0.0, 1.0, STRETCHES as f64 - 2.0).ok()?;
        let rises = b - t.inverse_cdf(1.0 - CHANCE) * error > 0.0 && is_much(b * seconds);
        let behind = stretches.last()?.1 - stretches.first()?.1;
        let unanswered = behind > SCATTER * (last.sent - first.sent).max(1.0).sqrt() && is_much(behind);
        (rises || unanswered).then_some(b.max(behind / seconds.max(1e-9)))
    }
}

/// The mean of each stretch with its middle; `None` where one of them has no look.
fn means(looks: &[BacklogSample], from: f64, seconds: f64) -> Option<Vec<(f64, f64)>> {
    let width = seconds / STRETCHES as f64;
    if width <= 0.0 {
        return None;
    }
    let mut sums = [(0.0, 0.0); STRETCHES];
    for look in looks {
        let sum = &mut sums[(((look.seconds - from) / width) as usize).min(STRETCHES - 1)];
        sum.0 += look.in_flight;
        sum.1 += 1.0;
    }
    let mean =
        |(at, (sum, count)): (usize, (f64, f64))| (count > 0.0).then(|| ((at as f64 + 0.5) * width, sum / count));
    sums.into_iter().enumerate().map(mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backlog(seconds: f64, of: impl Fn(f64) -> f64) -> Backlog {
        let mut backlog = Backlog::default();
        let count = (seconds / LOOK) as usize;
        for i in 0..count {
            let at = i as f64 * LOOK * 1.001;
            backlog.look(at, of(at) as u64, (50.0 * at) as u64);
        }
        backlog
    }

    #[test]
    fn a_growing_backlog_is_seen_and_a_level_one_is_not() {
        let wave = |at: f64| 3.0 * (at * 1.7).sin();
        assert_eq!(backlog(60.0, |at| 20.0 + wave(at)).growth(0.0), None);
        let growing = backlog(60.0, |at| 5.0 + 2.0 * at + wave(at));
        assert!((growing.growth(0.0).unwrap() / 2.0 - 1.0).abs() < 0.1);
        assert_eq!(slope(&[(1.0, 1.0), (1.0, 2.0), (1.0, 3.0)]), None);
    }

    #[test]
    fn two_seconds_are_enough_for_what_is_gross() {
        // A quarter more comes than is answered: 14 requests more each second.
        assert!(backlog(2.0, |at| 2.0 + 14.0 * at).growth(0.0).is_some());
        assert_eq!(backlog(2.0, |at| 3.0 + (at * 9.0).sin()).growth(0.0), None);
        assert_eq!(backlog(0.3, |at| 100.0 * at).growth(0.0), None, "too short for ten stretches");
    }

    #[test]
    fn one_stall_is_no_growth_and_filling_is_left_out() {
        let stall = backlog(20.0, |at| if (8.0..9.0).contains(&at) { 30.0 } else { 4.0 });
        assert_eq!(stall.growth(0.0), None);
        let fills = backlog(20.0, |at| (at * 20.0).min(60.0));
        assert_eq!(fills.growth(4.0), None);
    }

    #[test]
    fn a_long_step_takes_bounded_memory() {
        let long = backlog(2000.0, |at| at);
        assert!(long.looks.len() < 2 * MOST_LOOKS && (long.growth(0.0).unwrap() - 1.0).abs() < 0.01);
    }
}
