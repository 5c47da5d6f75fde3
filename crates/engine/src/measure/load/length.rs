//! How long a step of a search has to be to tell what it is run for.
//!
//! An overload of the share `p` adds `p` seconds to the times of requests each second. A limit that is `s` above the time of a
//! request alone is reached after `s / p`, and the percentile `P` of the step after `s / (p P)`: rates that are to be told
//! apart within 5 % under a limit of a second take steps of twenty seconds. The first steps double the rate and tell so little
//! apart that they can be short.

use super::search::{PlannedStep, Purpose};
use crate::record::Slo;
use crate::record::{LatencyKind, StepRecord};
use crate::statistics::percentile::samples_needed;

/// Requests that a step needs to say anything of every percentile of an SLO.
fn requests_needed(slo: &Slo) -> usize {
    let samples = |p: f64| samples_needed(p.clamp(0.01, 0.9999));
    let terms = slo.terms.iter().map(|term| samples(term.percentile));
    terms.chain(slo.goodput.map(samples)).max().unwrap_or(1)
}

/// A percentile is looked at with so many requests beyond it, were it just kept.
const BEYOND_AT_LIMIT: f64 = 10.0;
/// The fewest requests of a step.
const LEAST_REQUESTS: usize = 50;
/// The least seconds of a step.
const LEAST_SECONDS: f64 = 2.0;
/// The least seconds of the step that says what is certain.
const LEAST_REPEAT: f64 = 20.0;
/// That step, as a multiple of those that found its rate.
const REPEAT: f64 = 3.0;
/// Seconds of a step at most for the sake of what it tells apart.
const MOST_SECONDS: f64 = 600.0;
/// Times of a request that a step lasts for at least, as a queue has to fill first.
const FILLS: f64 = 10.0;
/// The most seconds that are given to that.
const MOST_FILL: f64 = 60.0;
/// Share of a limit that counts as room above a request alone at least.
const LEAST_ROOM: f64 = 0.25;

/// What the lengths of steps follow from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Length {
    /// Seconds of a request alone.
    pub e2e_s: f64,
    /// Seconds by which the times of requests have to grow before the SLO is broken, over the share of requests that have to
    /// be seen beyond it.
    pub room_s: f64,
    /// Share of requests that the strictest limit lets be beyond it.
    pub allowed: f64,
    /// Requests without which a percentile says nothing.
    pub needed: usize,
    /// Rates within this share are not told apart in the end.
    pub precision: f64,
    /// Requests of each step, where the user said so.
    pub requests: Option<usize>,
}

/// What is certain is judged by long steps, on both sides of the limit.
fn is_long(planned: &PlannedStep) -> bool {
    [Purpose::Repeat, Purpose::Recheck].contains(&planned.purpose)
}

impl Length {
    /// Its length as a multiple of that of a step which looks for the limit.
    pub fn times(planned: &PlannedStep) -> f64 {
        if is_long(planned) { REPEAT } else { 1.0 }
    }

    /// For an SLO, of a server whose requests alone take what `alone` says.
    pub fn new(slo: &Slo, alone: &StepRecord, precision: f64, requests: Option<usize>) -> Self {
        let e2e_s = alone.e2e_s.mean.unwrap_or(0.0);
        let room = |term: &crate::record::SloTerm| {
            let limit = term.limit_s.0;
            let alone = match term.of {
                LatencyKind::Ttft => alone.ttft_s.mean.unwrap_or(0.0),
                LatencyKind::E2e => e2e_s,
                // A limit on the time of a token is reached with the batch, which fills within a request.
                LatencyKind::Tpot => return e2e_s,
            };
            (limit - alone).max(limit * LEAST_ROOM) / term.percentile.max(0.1)
        };
        Self {
            e2e_s,
            room_s: slo.terms.iter().map(room).fold(0.0, f64::max),
            allowed: slo.least_allowed().max(1e-4),
            needed: requests_needed(slo),
            precision,
            requests,
        }
    }

    /// The share within which rates can be told apart at all in steps of a length that somebody waits for.
    pub fn resolvable(&self) -> f64 {
        self.precision.max(self.room_s / MOST_SECONDS)
    }

    /// Measured requests of a step.
    pub fn requests(&self, planned: &PlannedStep) -> usize {
        let times = Self::times(planned);
        if let Some(requests) = self.requests {
            // What is called certain has had the time to break.
            let tells = if is_long(planned) { planned.rate * self.tells(planned) } else { 0.0 };
            return (requests as f64 * times).max(tells).ceil() as usize;
        }
        // Coarse steps tell coarse differences, for which fewer requests do.
        let share = (self.resolvable() / planned.resolution).clamp(0.0, 1.0);
        let in_all = (BEYOND_AT_LIMIT / self.allowed).max(self.needed as f64);
        let for_tail = (in_all * share).max(1.0 / self.allowed).max(LEAST_REQUESTS as f64);
        let for_time = planned.rate * self.least_seconds(planned);
        (for_tail * times).max(for_time).ceil() as usize
    }

    /// Seconds within which an overload of the share that is to be told shows.
    fn tells(&self, planned: &PlannedStep) -> f64 {
        (self.room_s / planned.resolution).min(MOST_SECONDS)
    }

    /// Seconds below which a step does not tell what it is for.
    fn least_seconds(&self, planned: &PlannedStep) -> f64 {
        let fills = (FILLS * self.e2e_s).clamp(LEAST_SECONDS, MOST_FILL);
        let tells = self.tells(planned);
        if is_long(planned) { (REPEAT * fills.max(tells)).max(LEAST_REPEAT) } else { fills.max(tells) }
    }

    /// Seconds that a step takes with its warm-up, as long as nothing ends it early.
    pub fn seconds(&self, planned: &PlannedStep) -> f64 {
        self.warm_up_s() + self.requests(planned) as f64 / planned.rate
    }

    /// Seconds at the same load before what is measured.
    pub fn warm_up_s(&self) -> f64 {
        (3.0 * self.e2e_s).clamp(0.5, 60.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Latency;

    fn length(slo: &str, alone_s: f64, precision: f64) -> Length {
        let time = Latency { mean: Some(alone_s), count: 12, ..Latency::default() };
        let alone = StepRecord { e2e_s: time, ttft_s: time, ..StepRecord::default() };
        Length::new(&slo.parse().unwrap(), &alone, precision, None)
    }

    fn at(rate: f64, resolution: f64, purpose: Purpose) -> PlannedStep {
        PlannedStep { rate, resolution, purpose }
    }

    #[test]
    fn an_overload_has_the_time_to_show() {
        // A second at 5 %: 20 s, and a little more for a percentile.
        let length = length("e2e_p90=1s", 0.02, 0.05);
        let seconds = |planned: &PlannedStep| length.requests(planned) as f64 / planned.rate;
        let narrow = seconds(&at(50.0, 0.05, Purpose::Narrow));
        assert!((20.0..24.0).contains(&narrow), "{narrow}");
        assert!(seconds(&at(50.0, 0.5, Purpose::Seek)) < 3.0);
        assert!(seconds(&at(50.0, 0.05, Purpose::Repeat)) >= 3.0 * narrow - 0.1);
        // However slow the requests come, there are as many as the percentile takes.
        assert!(length.requests(&at(0.1, 0.05, Purpose::Narrow)) >= 100);
    }

    #[test]
    fn a_long_limit_coarsens_what_can_be_told_apart() {
        let length = length("ttft=120s", 1.0, 0.01);
        assert!((length.resolvable() - 119.0 / 0.5 / 600.0).abs() < 1e-9, "{}", length.resolvable());
        let planned = at(1.0, length.resolvable(), Purpose::Narrow);
        assert!(length.requests(&planned) as f64 <= 601.0);
    }

    #[test]
    fn what_the_user_asks_for_is_kept_and_repeated_longer() {
        let own = Length { requests: Some(200), ..length("e2e_p99=1s", 0.02, 0.05) };
        assert_eq!(own.requests(&at(5.0, 0.5, Purpose::Seek)), 200);
        assert_eq!(own.requests(&at(5.0, 0.05, Purpose::Repeat)), 600);
        assert!(own.requests(&at(500.0, 0.05, Purpose::Repeat)) > 9000, "20 s, for 5 % of a second");
    }
}
