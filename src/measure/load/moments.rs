//! How a step went over time, in at most so many stretches however long it is.

use crate::record::Moment;

/// Stretches that are kept: twice as many are halved when they are full.
const MOST: usize = 128;
/// The first length of a stretch, in seconds.
const FIRST: f64 = 0.05;

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Stretch {
    pub(super) due: u64,
    pub(super) failed: u64,
    pub(super) beyond: u64,
    ttft: (f64, u64),
    e2e: (f64, u64),
    in_flight: u64,
}

impl Stretch {
    fn and(self, later: Self) -> Self {
        let sum = |a: (f64, u64), b: (f64, u64)| (a.0 + b.0, a.1 + b.1);
        Self {
            due: self.due + later.due,
            failed: self.failed + later.failed,
            beyond: self.beyond + later.beyond,
            ttft: sum(self.ttft, later.ttft),
            e2e: sum(self.e2e, later.e2e),
            in_flight: later.in_flight,
        }
    }
}

/// What is told of one request.
#[derive(Debug, Clone, Copy, Default)]
pub struct Told {
    /// When it was due.
    pub intended_s: f64,
    /// It failed.
    pub failed: bool,
    /// It was beyond a limit, or failed.
    pub beyond: bool,
    /// Its TTFT, where it was answered.
    pub ttft_s: Option<f64>,
    /// Its E2E, likewise.
    pub e2e_s: Option<f64>,
}

/// Stretches of equal length, by when requests were due.
#[derive(Debug, Clone)]
pub struct Moments {
    width: f64,
    stretches: Vec<Stretch>,
}

impl Default for Moments {
    fn default() -> Self {
        Self { width: FIRST, stretches: Vec::new() }
    }
}

impl Moments {
    fn at(&mut self, seconds: f64) -> &mut Stretch {
        while (seconds / self.width) as usize >= 2 * MOST {
            self.width *= 2.0;
            self.stretches = self
                .stretches
                .chunks(2)
                .map(|pair| pair.iter().copied().reduce(Stretch::and).unwrap_or_default())
                .collect();
        }
        let index = (seconds.max(0.0) / self.width) as usize;
        if index >= self.stretches.len() {
            let in_flight = self.stretches.last().map_or(0, |last| last.in_flight);
            self.stretches.resize(index + 1, Stretch { in_flight, ..Stretch::default() });
        }
        &mut self.stretches[index]
    }

    /// Adds a request.
    pub fn add(&mut self, told: Told) {
        let stretch = self.at(told.intended_s);
        stretch.due += 1;
        stretch.failed += told.failed as u64;
        stretch.beyond += told.beyond as u64;
        for (sum, value) in [(&mut stretch.ttft, told.ttft_s), (&mut stretch.e2e, told.e2e_s)] {
            if let Some(value) = value {
                sum.0 += value;
                sum.1 += 1;
            }
        }
    }

    /// Notes how many requests are in flight.
    pub fn in_flight(&mut self, seconds: f64, count: u64) {
        self.at(seconds).in_flight = count;
    }

    /// Requests, and those beyond a limit, in about `blocks` blocks.
    pub fn blocks(&self, blocks: usize) -> Vec<(u64, u64)> {
        let size = self.stretches.len().div_ceil(blocks).max(1);
        let sums = self.stretches.chunks(size).map(|chunk| {
            let stretch = chunk.iter().copied().reduce(Stretch::and).unwrap_or_default();
            (stretch.due, stretch.beyond)
        });
        sums.filter(|(due, _)| *due > 0).collect()
    }

    /// As a record keeps them, from `from` seconds on.
    pub fn record(&self, from: f64) -> Vec<Moment> {
        let mean = |(sum, count): (f64, u64)| (count > 0).then(|| sum / count as f64);
        let moments = self.stretches.iter().enumerate().map(|(index, stretch)| Moment {
            at_s: (index as f64 + 0.5) * self.width,
            due: stretch.due,
            failed: stretch.failed,
            beyond: stretch.beyond,
            ttft_s: mean(stretch.ttft),
            e2e_s: mean(stretch.e2e),
            in_flight: stretch.in_flight,
        });
        moments.filter(|moment| moment.at_s >= from).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_however_long_it_goes_on() {
        let mut moments = Moments::default();
        for second in 0..10_000 {
            moments.add(Told { intended_s: second as f64, beyond: second % 10 == 0, ..Told::default() });
            moments.in_flight(second as f64, second);
        }
        let record = moments.record(0.0);
        assert!(record.len() <= 2 * MOST);
        assert_eq!(record.iter().map(|m| m.due).sum::<u64>(), 10_000);
        assert_eq!(record.iter().map(|m| m.beyond).sum::<u64>(), 1_000);
        assert_eq!(moments.blocks(10).iter().map(|b| b.0).sum::<u64>(), 10_000);
        assert!((8..=11).contains(&moments.blocks(10).len()));
        assert!(record.windows(2).all(|pair| pair[1].in_flight > pair[0].in_flight));
    }
}
