//! Latency against the load that is carried, with the knee: the point beyond which latency grows faster than throughput.

use super::Plot;
use super::chart::{Axis, Chart, Dot, Line, Scale};
use super::curves::{lines, measured, sizes_of_samples};
use crate::record::{CaseRow, Run};
use crate::units::interval::Interval;

/// The time of a request at one percentile: value and interval.
type Percentile = (&'static str, fn(&CaseRow) -> Option<Interval>);

const PERCENTILES: [Percentile; 3] = [
    ("", |row| Some(row.metrics.e2e?.interval().map(|time| time.0))),
    (" p90", |row| row.metrics.e2e?.p90.map(|time| Interval::exact(time.0))),
    (" p99", |row| row.metrics.e2e?.p99.map(|time| Interval::exact(time.0))),
];

fn carried(row: &CaseRow) -> f64 {
    row.metrics.requests_per_s.map_or(f64::NAN, |rate| rate.value.0)
}

/// Where requests a second over their time are the most (Kleinrock's power): more load costs more latency than it brings.
/// `None` where that is at an end of what was measured, so that the knee may lie beyond.
pub fn knee(dots: &[Dot]) -> Option<Dot> {
    let power = |dot: &Dot| dot.x / dot.y.value;
    let (place, best) = dots.iter().enumerate().max_by(|a, b| power(a.1).total_cmp(&power(b.1)))?;
    (place > 0 && place + 1 < dots.len()).then_some(*best)
}

/// Latency of a request against requests a second, over the batch sizes; `None` for a run of one batch size.
pub fn plot(run: &Run) -> Option<Plot> {
    let mut all: Vec<Line> = Vec::new();
    let mut places = Vec::new();
    for (percentile, value) in PERCENTILES {
        for mut line in lines(run, carried, value) {
            line.dots.retain(|dot| dot.x.is_finite());
            if let Some(knee) = knee(&line.dots).filter(|_| percentile.is_empty() && places.len() < 4) {
                places.push((knee.x, format!("knee of {}", line.name)));
            }
            all.push(Line { name: format!("{}{percentile}", line.name), ..line });
        }
    }
    if all.iter().all(|line| line.dots.len() < 2) {
        return None;
    }
    let arrivals = run.arrivals();
    let kind = if run.record.arrival.starts_with("closed") {
        "a closed loop: the next request waits for the last, so that tails are not those of users"
    } else {
        &arrivals
    };
    let tails = if measured(run).any(|row| row.metrics.e2e.is_some_and(|e2e| e2e.p90.is_some())) {
        ""
    } else {
        " Percentiles need 46 (p90) or 473 (p99) iterations a case."
    };
    let chart = Chart {
        name: "latency-against-load".to_string(),
        title: "Latency of a request against the load that is carried".to_string(),
        description: format!(
            "Time of a whole request against requests a second, from the least batch to the greatest, for {} lines. Dashed \
             lines are knees, where requests a second over their time are the most.",
            all.len()
        ),
        note: format!("Load: {kind}. Bars: 95 % intervals of the median; {}.{tails}", sizes_of_samples(run)),
        x: Axis::new("requests/s that are carried", Scale::Linear),
        y: Axis::new("E2E, s", Scale::Linear),
        lines: all,
        places,
    };
    chart.plot()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_knee_is_within_what_was_measured() {
        let dots: Vec<Dot> = [(1.0, 1.0), (2.0, 1.1), (3.0, 1.3), (3.2, 2.6)].map(|(x, y)| Dot::exact(x, y)).to_vec();
        assert_eq!(knee(&dots).unwrap().x, 3.0);
        assert_eq!(knee(&dots[..3]), None, "it may lie beyond");
        assert_eq!(knee(&[]), None);
    }
}
