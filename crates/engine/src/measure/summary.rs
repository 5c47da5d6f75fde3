//! From the iterations of a case to its row.

use super::steady::drifts;
use crate::device::activity::Activity;
use crate::power::Throttle;
use crate::record::metric::Metrics;
use crate::record::{Distribution, Estimate, InvalidReason, PowerRow, SampleRow};
use crate::statistics::bootstrap::{
    RESAMPLES, clustered_median_interval, median, median_interval, relative_half_width,
};
use crate::statistics::percentile::percentile;
use crate::units::{Quantity, RequestsPerSecond, Seconds, TokensPerSecond};
use crate::workload::{Case, Limits};

/// Interval half-widths beyond this are too wide to rely on, whatever precision was asked for.
const NOISY_HALF_WIDTH: f64 = 0.10;
/// Share of the CPU time that others may use, or the hypervisor may take, before it shows in the numbers.
const FOREIGN_SHARE: f64 = 0.05;
const STOLEN_SHARE: f64 = 0.05;
/// Samples below which nothing can be said of the spread.
const FEW_SAMPLES: usize = 3;

/// Metrics of a case and the reasons of those that are absent.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Summary {
    /// The numbers that follow from the samples.
    pub metrics: Metrics,
    /// `(tag, reason)` of what is absent.
    pub absent: Vec<(String, String)>,
    /// Why the numbers should not be relied on.
    pub invalid: Vec<InvalidReason>,
}

impl Summary {
    fn distribution(
        &mut self,
        tag: &str,
        values: &[f64],
        interval: Option<(f64, f64)>,
    ) -> Option<Distribution<Seconds>> {
        let middle = median(values)?;
        let mut tail = |p: f64, name: &str| match percentile(values, p) {
            Ok(value) => Some(Seconds(value)),
            Err(needed) => {
                self.absent.push((format!("{tag}_{name}"), format!("{} samples of the {needed} needed", values.len())));
                None
            }
        };
        Some(Distribution {
            median: Seconds(middle),
            p90: tail(0.90, "p90"),
            p99: tail(0.99, "p99"),
            // Of resampled clusters, the interval can miss the median of all by a hair.
            lo: interval.map(|(low, _)| Seconds(low.min(middle))),
            hi: interval.map(|(_, high)| Seconds(high.max(middle))),
        })
    }
}

/// `amount / time` with the interval that the time has.
fn rate<Q: Quantity>(amount: f64, time: Option<Distribution<Seconds>>) -> Option<Estimate<Q>> {
    let per = |time: Seconds| Q::from_si(amount / time.0);
    time.map(|time| Estimate { value: per(time.median), lo: time.hi.map(per), hi: time.lo.map(per) })
}

/// The rates that follow from the times of `case`.
pub(super) fn set_rates(metrics: &mut Metrics, case: &Case) {
    let batch = case.batch as f64;
    metrics.prefill_tokens_per_s = rate::<TokensPerSecond>(batch * case.prompt_tokens() as f64, metrics.ttft);
    metrics.decode_tokens_per_s = rate::<TokensPerSecond>(batch, metrics.tpot);
    metrics.requests_per_s = rate::<RequestsPerSecond>(batch, metrics.e2e);
}

/// Summarises the measured iterations of `case`.
pub fn summarise(case: &Case, samples: &[SampleRow], seed: u64) -> Summary {
    let mut summary = Summary::default();
    let series = |value: fn(&SampleRow) -> Option<Seconds>| -> Vec<f64> {
        samples.iter().filter_map(value).map(|v| v.0).collect()
    };
    let mut simple = |tag: &str, value: fn(&SampleRow) -> Option<Seconds>| {
        let values = series(value);
        let interval = median_interval(&values, RESAMPLES, seed);
        summary.distribution(tag, &values, interval)
    };
    let ttft = simple("ttft_s", SampleRow::ttft);
    let tpot = simple("tpot_s", SampleRow::tpot);
    let e2e = simple("e2e_s", SampleRow::e2e);
    let gaps: Vec<Vec<f64>> = samples.iter().map(|s| s.gaps().map(|g| g.0).collect()).collect();
    let clusters: Vec<&[f64]> = gaps.iter().map(Vec::as_slice).collect();
    let interval = clustered_median_interval(&clusters, RESAMPLES, seed);
    let itl = summary.distribution("itl_s", &gaps.concat(), interval);
    if !case.generates() {
        for tag in ["tpot_s", "itl_s", "decode_tokens_per_s"] {
            summary.absent.push((tag.to_string(), "no tokens are generated".to_string()));
        }
    }
    summary.metrics = Metrics { ttft, tpot, itl, e2e, ..Metrics::default() };
    set_rates(&mut summary.metrics, case);
    summary
}

/// What the readings of the device say against relying on a case.
pub fn device_doubts(readings: &[PowerRow]) -> Vec<InvalidReason> {
    let spoiled = |row: &PowerRow| row.throttle.split(' ').any(|name| Throttle::spoiling().any(|t| t.name() == name));
    let reasons = [
        (readings.iter().any(spoiled), InvalidReason::Throttled),
        (readings.iter().any(|row| row.foreign_processes.is_some_and(|n| n > 0)), InvalidReason::ForeignProcess),
    ];
    reasons.into_iter().filter(|(holds, _)| *holds).map(|(_, reason)| reason).collect()
}

/// What speaks against relying on the samples of a case. `activity` is absent for what other loads of the CPU do not
/// slow down.
pub fn doubts(
    samples: &[SampleRow],
    warmed_up: bool,
    activity: Option<Activity>,
    limits: &Limits,
) -> Vec<InvalidReason> {
    let series = |value: fn(&SampleRow) -> Option<Seconds>| -> Vec<f64> {
        samples.iter().filter_map(value).map(|v| v.0).collect()
    };
    let mut doubts = Vec::new();
    // Of what generates no tokens there is one time only.
    let mut both = vec![series(SampleRow::ttft), series(SampleRow::tpot)];
    both.retain(|values| !values.is_empty());
    if !warmed_up && both.iter().any(|values| drifts(values, limits.warmup_tolerance)) {
        doubts.push(InvalidReason::Unsteady);
    }
    if samples.len() < FEW_SAMPLES {
        doubts.push(InvalidReason::TooFewSamples);
    } else if both.iter().any(|values| relative_half_width(values, 1).is_none_or(|w| w > NOISY_HALF_WIDTH)) {
        doubts.push(InvalidReason::Noisy);
    }
    doubts.extend(activity.into_iter().flat_map(activity_doubts));
    doubts
}

/// What else the machine did that shows in what it measures.
pub fn activity_doubts(activity: Activity) -> Vec<InvalidReason> {
    let reasons = [
        (activity.foreign > FOREIGN_SHARE, InvalidReason::ForeignLoad),
        (activity.stolen > STOLEN_SHARE, InvalidReason::StolenCpu),
        (activity.throttles > 0, InvalidReason::Throttled),
    ];
    reasons.into_iter().filter(|(holds, _)| *holds).map(|(_, reason)| reason).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::{Quant, Sweep};

    fn samples(count: usize, jitter: impl Fn(usize) -> f64) -> Vec<SampleRow> {
        (0..count)
            .map(|i| SampleRow {
                case_id: "c".into(),
                iteration: i,
                warmup: false,
                start: Seconds(i as f64),
                token_times: [1.0, 1.25, 1.5].map(|t| Seconds(t * jitter(i))).to_vec(),
            })
            .collect()
    }

    const CASE: Case = Case::new(Quant::F16, 4, 100, 3);

    #[test]
    fn rates_follow_their_definitions() {
        let summary = summarise(&CASE, &samples(10, |_| 1.0), 1);
        let metrics = summary.metrics;
        assert_eq!(metrics.prefill_tokens_per_s.unwrap().value, TokensPerSecond(400.0));
        assert_eq!(metrics.decode_tokens_per_s.unwrap().value, TokensPerSecond(16.0));
        assert!((metrics.requests_per_s.unwrap().value.0 - 4.0 / 1.5).abs() < 1e-12);
        assert_eq!(metrics.itl.unwrap().median, Seconds(0.25));
        let ttft = metrics.ttft.unwrap();
        let (lo, hi) = (ttft.lo.unwrap().0, ttft.hi.unwrap().0);
        assert!(
            lo < 0.9999 && hi > 1.0001 && hi - lo < 1e-3 && ttft.p90.is_none(),
            "equal, and yet not certain: {ttft:?}"
        );
        let why = summary.absent.iter().find(|(tag, _)| tag == "ttft_s_p90").unwrap();
        assert_eq!(why.1, "10 samples of the 46 needed");
    }

    #[test]
    fn intervals_of_rates_are_not_inverted() {
        let summary = summarise(&CASE, &samples(20, |i| 1.0 + 0.01 * (i % 7) as f64), 1);
        let rate = summary.metrics.decode_tokens_per_s.unwrap();
        assert!(rate.lo.unwrap() < rate.value && rate.value < rate.hi.unwrap());
    }

    #[test]
    fn doubts_name_their_cause() {
        let limits = Sweep::named("standard").unwrap().limits;
        assert_eq!(doubts(&samples(10, |_| 1.0), true, None, &limits), []);
        assert_eq!(doubts(&samples(2, |_| 1.0), true, None, &limits), [InvalidReason::TooFewSamples]);
        let wild = samples(10, |i| 1.0 + (i % 4) as f64);
        assert_eq!(doubts(&wild, true, None, &limits), [InvalidReason::Noisy]);
        let slowing = samples(12, |i| 1.0 + 0.01 * i as f64);
        assert_eq!(doubts(&slowing, false, None, &limits), [InvalidReason::Unsteady]);
        assert_eq!(doubts(&slowing, true, None, &limits), []);
        let busy = Activity { foreign: 0.3, stolen: 0.1, throttles: 1 };
        assert_eq!(
            doubts(&samples(10, |_| 1.0), true, Some(busy), &limits),
            [InvalidReason::ForeignLoad, InvalidReason::StolenCpu, InvalidReason::Throttled]
        );
    }

    #[test]
    fn heat_and_strangers_are_doubts_and_a_power_cap_is_not() {
        let reading = |throttle: &str, others| PowerRow {
            throttle: throttle.to_string(),
            foreign_processes: others,
            ..PowerRow::default()
        };
        assert_eq!(device_doubts(&[reading("power_cap clocks_set", Some(0)), reading("", None)]), []);
        assert_eq!(device_doubts(&[reading("", None), reading("power_cap thermal", None)]), [InvalidReason::Throttled]);
        assert_eq!(
            device_doubts(&[reading("power_brake", Some(1))]),
            [InvalidReason::Throttled, InvalidReason::ForeignProcess]
        );
    }
}
