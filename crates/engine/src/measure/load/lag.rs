//! Whether the generator sent its requests in time, against what the times are measured for.
//!
//! Times count from when a request was due: a lag makes them longer, and a server look slower than it is. It is held against
//! the limits that are judged and against the time of a request; where requests are bunched by it, against the gaps between
//! them too. What it adds of a time is a doubt from a twentieth on, and voids the step from a tenth on.

use super::limit::MOST_LAG_OF_LIMIT;
use super::step::Load;
use super::tally::Tally;
use crate::record::LatencyKind;
use crate::record::Slo;

/// Share of a time that is left out of account.
const SMALL: f64 = 0.05;
/// The same where requests are bunched: the lag is longer than the gaps between them.
const SMALL_IF_BUNCHED: f64 = 0.01;

/// What a lag does to what was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lag {
    /// It can be left out of account.
    Small,
    /// It is a part of the times that counts.
    Doubtful,
    /// The times are the generator's.
    Spoils,
}

/// Judges the lag of a step.
pub fn judge(load: &Load, seconds: f64, slo: &Slo, tally: &Tally) -> Lag {
    let first = if tally.ttft.count() > 0 { &tally.ttft } else { &tally.e2e };
    // In a closed loop a request is due when it is sent.
    let (true, Some(lag), Some(time)) = (load.is_open(), tally.lag.mean(), first.so_far(0.5)) else {
        return Lag::Small;
    };
    let limits: Vec<(f64, f64)> = slo
        .terms
        .iter()
        .filter(|term| term.of != LatencyKind::Tpot)
        .map(|term| (term.percentile, term.limit_s.0))
        .collect();
    let strictest = limits.iter().map(|(_, limit)| *limit).fold(f64::INFINITY, f64::min);
    let judged = if strictest.is_finite() { strictest } else { time };
    let gap = seconds / tally.lag.count().max(1) as f64;
    let tail = |(percentile, limit): &(f64, f64)| {
        tally.lag.so_far(*percentile).is_some_and(|lag| lag > MOST_LAG_OF_LIMIT * limit)
    };
    let bunched = lag > gap && lag > SMALL_IF_BUNCHED * time;
    match lag {
        lag if lag > MOST_LAG_OF_LIMIT * judged => Lag::Spoils,
        lag if lag > SMALL * judged.min(time) || bunched || limits.iter().any(tail) => Lag::Doubtful,
        _ => Lag::Small,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::traffic::Arrivals;

    fn judged(slo: &str, lag_ms: f64, ttft_ms: f64, rate: f64) -> Lag {
        let mut tally = Tally::default();
        for _ in 0..100 {
            tally.lag.add(lag_ms / 1000.0);
            tally.ttft.add(ttft_ms / 1000.0);
        }
        let load = Load::Open { arrivals: Arrivals::Poisson, rate };
        judge(&load, 100.0 / rate, &slo.parse().unwrap(), &tally)
    }

    #[test]
    fn a_lag_is_sized_against_what_is_measured() {
        // Server and generator on the same cores: 0.4 ms of 30 ms is nothing that shows.
        assert_eq!(judged("", 0.4, 30.0, 20.0), Lag::Small);
        assert_eq!(judged("ttft_p90=500ms", 0.4, 30.0, 20.0), Lag::Small);
        assert_eq!(judged("", 0.4, 6.0, 20.0), Lag::Doubtful);
        assert_eq!(judged("", 0.4, 3.0, 20.0), Lag::Spoils);
        // The limit is what is judged; the times that are reported beside it are in doubt.
        assert_eq!(judged("ttft_p90=500ms", 0.4, 3.0, 20.0), Lag::Doubtful);
        assert_eq!(judged("ttft_p90=500ms", 60.0, 30.0, 20.0), Lag::Spoils);
        // Requests that are sent in bunches are not the traffic that was asked for.
        assert_eq!(judged("", 0.4, 30.0, 5000.0), Lag::Doubtful);
    }

    #[test]
    fn users_are_never_late() {
        let load = Load::Closed { users: 4, think: std::time::Duration::ZERO };
        let mut tally = Tally::default();
        tally.lag.add(1.0);
        tally.ttft.add(0.001);
        assert_eq!(judge(&load, 1.0, &Slo::default(), &tally), Lag::Small);
    }
}
