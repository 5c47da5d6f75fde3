//! When a warm-up is over: three consecutive blocks of iterations agree.

use crate::statistics::bootstrap::median;
use crate::units::Seconds;

/// Blocks that must agree.
const BLOCKS: usize = 3;
/// A block is as many iterations as take this long, at least one: short iterations are too noisy one by one.
const BLOCK_LENGTH: Seconds = Seconds(0.1);

/// Watches the iterations of a warm-up. The first one never counts: candle repacks weights on first use, so that it
/// can take several times as long as the third.
#[derive(Debug, Default)]
pub struct SteadyState {
    seen: usize,
    block: Vec<f64>,
    medians: Vec<f64>,
}

impl SteadyState {
    /// Adds the duration of an iteration.
    pub fn add(&mut self, duration: Seconds) {
        self.seen += 1;
        if self.seen == 1 {
            return;
        }
        self.block.push(duration.0);
        if self.block.iter().sum::<f64>() >= BLOCK_LENGTH.0 {
            self.medians.extend(median(&self.block));
            self.block.clear();
        }
    }

    /// Whether the last three blocks agree within `tolerance` (the largest within that share of the smallest).
    pub fn is_steady(&self, tolerance: f64) -> bool {
        let Some(last) = self.medians.len().checked_sub(BLOCKS).map(|from| &self.medians[from..]) else {
            return false;
        };
        let least = last.iter().copied().fold(f64::INFINITY, f64::min);
        let most = last.iter().copied().fold(0.0, f64::max);
        most <= least * (1.0 + tolerance)
    }
}

/// Whether measured values still change with time: the medians of their first and last third differ by more than
/// `tolerance`, and the thirds hardly overlap.
pub fn drifts(values: &[f64], tolerance: f64) -> bool {
    let third = values.len() / 3;
    if third < 2 {
        return false;
    }
    let (first, last) = (&values[..third], &values[values.len() - third..]);
    let (Some(early), Some(late)) = (median(first), median(last)) else { return false };
    let differ = (late / early - 1.0).abs() > tolerance;
    let apart = |low: &[f64], high: &[f64]| {
        let top = low.iter().copied().fold(0.0, f64::max);
        high.iter().filter(|v| **v > top).count() * 4 >= high.len() * 3
    };
    differ && if late > early { apart(first, last) } else { apart(last, first) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_blocks_that_agree_are_steady() {
        let mut state = SteadyState::default();
        for duration in [6.0, 1.5, 1.02, 1.0] {
            state.add(Seconds(duration));
            assert!(!state.is_steady(0.05), "{duration}");
        }
        state.add(Seconds(1.01));
        assert!(state.is_steady(0.05));
    }

    #[test]
    fn short_iterations_are_grouped() {
        let mut state = SteadyState::default();
        for _ in 0..30 {
            state.add(Seconds(0.01));
        }
        assert!(!state.is_steady(0.02), "29 iterations are two blocks of 0.1 s and a rest");
        for _ in 0..5 {
            state.add(Seconds(0.01));
        }
        assert!(state.is_steady(0.02));
    }

    #[test]
    fn drift_is_told_from_noise() {
        let slowing: Vec<f64> = (0..12).map(|i| 1.0 + 0.02 * i as f64).collect();
        assert!(drifts(&slowing, 0.03));
        let noisy: Vec<f64> = (0..12).map(|i| 1.0 + 0.2 * ((i * 7) % 5) as f64).collect();
        assert!(!drifts(&noisy, 0.03));
        assert!(!drifts(&[1.0, 2.0, 3.0], 0.03));
    }
}
