//! How a step went over time, in a bounded number of slices however long it is.

use crate::record::Moment;

/// Slices that are kept: when there are twice as many, each two become one.
const MOST: usize = 128;
/// The first length of a slice, in seconds.
const FIRST: f64 = 0.05;

/// The requests that were due within one slice.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct TimeSlice {
    pub(super) due: u64,
    pub(super) failed: u64,
    pub(super) beyond: u64,
    ttft: (f64, u64),
    e2e: (f64, u64),
    in_flight: u64,
}

impl TimeSlice {
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

/// A request that is over, as a slice counts it.
#[derive(Debug, Clone, Copy, Default)]
pub struct CompletedRequest {
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

/// Slices of equal length, by when requests were due.
#[derive(Debug, Clone)]
pub struct TimeSlices {
    width: f64,
    slices: Vec<TimeSlice>,
}

impl Default for TimeSlices {
    fn default() -> Self {
        Self { width: FIRST, slices: Vec::new() }
    }
}

impl TimeSlices {
    fn at(&mut self, seconds: f64) -> &mut TimeSlice {
        while (seconds / self.width) as usize >= 2 * MOST {
            self.width *= 2.0;
            self.slices = self
                .slices
                .chunks(2)
                .map(|pair| pair.iter().copied().reduce(TimeSlice::and).unwrap_or_default())
                .collect();
        }
        let index = (seconds.max(0.0) / self.width) as usize;
        if index >= self.slices.len() {
            let in_flight = self.slices.last().map_or(0, |last| last.in_flight);
            self.slices.resize(index + 1, TimeSlice { in_flight, ..TimeSlice::default() });
        }
        &mut self.slices[index]
    }

    /// Adds a request.
    pub fn add(&mut self, request: CompletedRequest) {
        let slice = self.at(request.intended_s);
        slice.due += 1;
        slice.failed += request.failed as u64;
        slice.beyond += request.beyond as u64;
        for (sum, value) in [(&mut slice.ttft, request.ttft_s), (&mut slice.e2e, request.e2e_s)] {
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
        let size = self.slices.len().div_ceil(blocks).max(1);
        let sums = self.slices.chunks(size).map(|chunk| {
            let slice = chunk.iter().copied().reduce(TimeSlice::and).unwrap_or_default();
            (slice.due, slice.beyond)
        });
        sums.filter(|(due, _)| *due > 0).collect()
    }

    /// As a record keeps them, from `from` seconds on.
    pub fn record(&self, from: f64) -> Vec<Moment> {
        let mean = |(sum, count): (f64, u64)| (count > 0).then(|| sum / count as f64);
        let time_slices = self.slices.iter().enumerate().map(|(index, slice)| Moment {
            at_s: (index as f64 + 0.5) * self.width,
            due: slice.due,
            failed: slice.failed,
            beyond: slice.beyond,
            ttft_s: mean(slice.ttft),
            e2e_s: mean(slice.e2e),
            in_flight: slice.in_flight,
        });
        time_slices.filter(|moment| moment.at_s >= from).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_however_long_it_goes_on() {
        let mut time_slices = TimeSlices::default();
        for second in 0..10_000 {
            time_slices.add(CompletedRequest {
                intended_s: second as f64,
                beyond: second % 10 == 0,
                ..CompletedRequest::default()
            });
            time_slices.in_flight(second as f64, second);
        }
        let record = time_slices.record(0.0);
        assert!(record.len() <= 2 * MOST);
        assert_eq!(record.iter().map(|m| m.due).sum::<u64>(), 10_000);
        assert_eq!(record.iter().map(|m| m.beyond).sum::<u64>(), 1_000);
        assert_eq!(time_slices.blocks(10).iter().map(|b| b.0).sum::<u64>(), 10_000);
        assert!((8..=11).contains(&time_slices.blocks(10).len()));
        assert!(record.windows(2).all(|pair| pair[1].in_flight > pair[0].in_flight));
    }
}
