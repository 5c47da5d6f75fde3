//! What a quota of CPU time delivers. A process that has used its quota up stands until the next period: most iterations
//! run at full speed and a few last for long, so that the median is a speed that is never delivered. What is, is the time
//! that passed, stops included, shared out among the iterations.

use super::summary::{Summary, set_rates};
use crate::device::limits::Throttling;
use crate::record::{Distribution, InvalidReason, STOPPED_BY_QUOTA, SampleRow};
use crate::units::{Seconds, digits_plain};
use crate::workload::Case;

/// Share of the periods in which a process may be stopped before it shows in the numbers.
const STOPPED_SHARE: f64 = 0.05;
/// Periods that a measurement lasts at least.
pub const LEAST_PERIODS: f64 = 20.0;
/// Stretches of time whose speeds are compared for an interval.
const STRETCHES: usize = 20;

/// Replaces the times and rates of a case that a quota stopped with the means over all the time that passed, and raises a
/// doubt. The remark that says so; `None` where the quota did not matter.
pub fn deliver(
    summary: &mut Summary,
    case: &Case,
    samples: &[SampleRow],
    stopped: Option<Throttling>,
) -> Option<String> {
    let stopped = stopped.filter(is_stopped)?;
    summary.invalid.push(InvalidReason::CpuQuota);
    let what = format!(
        "{STOPPED_BY_QUOTA} of {} CPUs in {} of {} periods ({:.0} %)",
        digits_plain(stopped.cpus),
        stopped.stopped,
        stopped.periods,
        stopped.share() * 100.0
    );
    match replace(summary, case, samples) {
        Some(()) => Some(format!("{what}: times are means over all the time that passed")),
        None => Some(what),
    }
}

/// A quota stopped this process in so many periods that it shows in the numbers.
pub fn is_stopped(stopped: &Throttling) -> bool {
    stopped.share() >= STOPPED_SHARE
}

fn replace(summary: &mut Summary, case: &Case, samples: &[SampleRow]) -> Option<()> {
    let end = |row: &SampleRow| Some(row.start.0 + row.e2e()?.0);
    let (first, last) = (samples.first()?, samples.last()?);
    let wall = end(last)? - first.start.0;
    let busy: f64 = samples.iter().filter_map(|row| row.e2e()).map(|time| time.0).sum();
    // What passed between iterations belongs to them too.
    let stretch = (wall / busy).max(1.0);
    let uncertain = spread(samples, wall);
    let mean = |values: Vec<f64>| {
        let count = values.len() as f64;
        (count > 0.0).then(|| values.iter().sum::<f64>() / count * stretch)
    };
    let of = |value: fn(&SampleRow) -> Option<Seconds>| mean(samples.iter().filter_map(value).map(|t| t.0).collect());
    let gaps = mean(samples.iter().flat_map(|row| row.gaps().map(|gap| gap.0).collect::<Vec<_>>()).collect());
    let (ttft, tpot, e2e) = (of(SampleRow::ttft), of(SampleRow::tpot), of(SampleRow::e2e));
    let metrics = &mut summary.metrics;
    let times = [("ttft_s", &mut metrics.ttft, ttft), ("tpot_s", &mut metrics.tpot, tpot)];
    for (tag, time, mean) in
        times.into_iter().chain([("itl_s", &mut metrics.itl, gaps), ("e2e_s", &mut metrics.e2e, e2e)])
    {
        let (Some(time), Some(mean)) = (time.as_mut(), mean) else { continue };
        let tail = |tail: Option<Seconds>| tail.filter(|tail| tail.0 >= mean);
        let had = [("p90", time.p90), ("p99", time.p99)];
        *time = Distribution {
            median: Seconds(mean),
            lo: uncertain.map(|share| Seconds(mean / (1.0 + share))),
            hi: uncertain.map(|share| Seconds(mean * (1.0 + share))),
            p90: tail(time.p90),
            p99: tail(time.p99),
        };
        let lost = had.into_iter().filter(|(_, had)| had.is_some_and(|tail| tail.0 < mean));
        summary.absent.extend(lost.map(|(name, _)| {
            (format!("{tag}_{name}"), "below the mean: stops by the quota are rare and long".to_string())
        }));
    }
    set_rates(&mut summary.metrics, case);
    Some(())
}

/// Half the 95 % interval of the time of an iteration over the time, from stretches of as many iterations each; `None` of
/// too few.
fn spread(samples: &[SampleRow], wall: f64) -> Option<f64> {
    let each = samples.len().div_ceil(STRETCHES);
    let begin = samples.first()?.start.0;
    let starts: Vec<f64> = samples.iter().step_by(each).map(|row| row.start.0 - begin).chain([wall]).collect();
    let counts = samples.chunks(each).map(<[SampleRow]>::len);
    let times: Vec<f64> =
        starts.windows(2).zip(counts).map(|(pair, count)| (pair[1] - pair[0]) / count as f64).collect();
    let count = times.len() as f64;
    if count < 4.0 {
        return None;
    }
    let mean = times.iter().sum::<f64>() / count;
    let variance = times.iter().map(|time| (time - mean).powi(2)).sum::<f64>() / (count - 1.0);
    Some(1.96 * (variance / count).sqrt() / mean)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::summary::summarise;
    use crate::record::case_row::CaseRow;
    use crate::record::plausible::fault;
    use crate::record::{CaseKey, FailureKind, Outcome};
    use crate::workload::Quant;

    /// Three iterations of 3 ms in every period of 0.1 s, of which the third is stopped in its midst.
    fn samples(periods: usize) -> Vec<SampleRow> {
        let row = |index: usize| {
            let (period, place) = (index / 3, index % 3);
            let start = period as f64 * 0.1 + place as f64 * 0.003;
            let late = if place == 2 { 0.091 } else { 0.0 };
            let token_times = [0.001, 0.002 + late, 0.003 + late].map(Seconds).to_vec();
            SampleRow { case_id: "c".into(), iteration: index, warmup: false, start: Seconds(start), token_times }
        };
        (0..3 * periods).map(row).collect()
    }

    fn stopped(stopped: f64) -> Option<Throttling> {
        Some(Throttling { cpus: 0.05, periods: 70.0, stopped, stood: Seconds(6.0) })
    }

    #[test]
    fn a_throttled_case_has_the_rate_that_was_delivered() {
        let case = Case::new(Quant::Int8, 1, 16, 3);
        let samples = samples(70);
        let mut summary = summarise(&case, &samples, 1);
        assert!((summary.metrics.requests_per_s.unwrap().value.0 - 333.3).abs() < 1.0, "what the median says");
        let note = deliver(&mut summary, &case, &samples, stopped(69.0)).unwrap();
        assert!(note.starts_with("stopped by a CPU quota of 0.05 CPUs in 69 of 70 periods (99 %)"), "{note}");
        assert_eq!(summary.invalid, [InvalidReason::CpuQuota]);
        let metrics = summary.metrics;
        let rate = metrics.requests_per_s.unwrap();
        assert!((rate.value.0 - 30.0).abs() < 0.1, "{rate:?}");
        assert!(rate.lo.unwrap() <= rate.value && rate.value <= rate.hi.unwrap());
        let (ttft, tpot, e2e) =
            (metrics.ttft.unwrap().median.0, metrics.tpot.unwrap().median.0, metrics.e2e.unwrap().median.0);
        assert!((ttft + 2.0 * tpot - e2e).abs() < 1e-9, "the parts make the whole");
        assert!((metrics.decode_tokens_per_s.unwrap().value.0 - 1.0 / tpot).abs() < 1e-9);
        let key = CaseKey { engine: "e".into(), model: "m".into(), device: "cpu".into(), case, arrival: None };
        let row = CaseRow {
            outcome: Outcome::Ok,
            reason: None,
            metrics,
            ..CaseRow::unmeasured(key, FailureKind::TimedOut, String::new())
        };
        assert_eq!(fault(&row), None, "what is written can be read");
    }

    #[test]
    fn a_quota_that_hardly_stops_changes_nothing() {
        let case = Case::new(Quant::Int8, 1, 16, 3);
        let samples = samples(4);
        let mut summary = summarise(&case, &samples, 1);
        let before = summary.clone();
        assert_eq!(deliver(&mut summary, &case, &samples, stopped(3.0)), None);
        assert_eq!(deliver(&mut summary, &case, &samples, None), None);
        assert_eq!(summary, before);
    }
}
