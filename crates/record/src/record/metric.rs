//! THE metric table: one row here is a column of cases.csv, a key in JSON, a line on the terminal and in the report.

pub use crate::units::interval::Estimate;

use crate::units::interval::Interval;
use crate::units::{
    Bytes, Fraction, Joules, JoulesPerToken, Quantity, RequestsPerSecond, Seconds, TokensPerJoule, TokensPerSecond,
    Watts,
};

/// Which way is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    /// Less is better.
    Lower,
    /// More is better.
    Higher,
    /// Neither: it describes.
    Neutral,
}

/// A median of samples with its 95 % interval, and the percentiles that there are enough samples for.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Distribution<Q> {
    /// The median.
    pub median: Q,
    /// Lower end of the 95 % interval of the median.
    pub lo: Option<Q>,
    /// Upper end of the 95 % interval of the median.
    pub hi: Option<Q>,
    /// The 90th percentile.
    pub p90: Option<Q>,
    /// The 99th percentile.
    pub p99: Option<Q>,
}

impl<Q: Copy> Distribution<Q> {
    /// The median with its interval; an end that is not known is the median itself.
    pub fn interval(&self) -> Interval<Q> {
        Estimate { value: self.median, lo: self.lo, hi: self.hi }.closed()
    }
}

/// One column.
pub struct Metric {
    /// Column name and JSON key, ending in the unit.
    pub tag: &'static str,
    /// What people call it.
    pub label: &'static str,
    /// Which way is good.
    pub better: Better,
    /// It is the value itself, not an end of its interval or a percentile of it.
    pub main: bool,
    /// The SI value, where there is one.
    pub get: fn(&Metrics) -> Option<f64>,
    /// Sets the SI value.
    pub set: fn(&mut Metrics, f64),
    /// The value as people read it.
    pub human: fn(f64) -> String,
}

fn human<Q: Quantity>(value: f64) -> String {
    Q::from_si(value).human()
}

macro_rules! column {
    ($tag:expr, $label:expr, $better:ident, $main:literal, $unit:ty, $get:expr, $set:expr) => {
        Metric {
            tag: $tag,
            label: $label,
            better: Better::$better,
            main: $main,
            get: $get,
            set: $set,
            human: human::<$unit>,
        }
    };
}

macro_rules! columns {
    (distribution, $field:ident, $unit:ty, $tag:literal, $label:literal, $better:ident) => {
        &[
            column!($tag, $label, $better, true, $unit, |m| m.$field.map(|d| d.median.si()), |m, v| {
                m.$field.get_or_insert_default().median = <$unit>::from_si(v)
            }),
            columns!(@part lo, $field, $unit, concat!($tag, "_lo"), concat!($label, ", low end"), $better),
            columns!(@part hi, $field, $unit, concat!($tag, "_hi"), concat!($label, ", high end"), $better),
            columns!(@part p90, $field, $unit, concat!($tag, "_p90"), concat!($label, " p90"), $better),
            columns!(@part p99, $field, $unit, concat!($tag, "_p99"), concat!($label, " p99"), $better),
        ]
    };
    (estimate, $field:ident, $unit:ty, $tag:literal, $label:literal, $better:ident) => {
        &[
            column!($tag, $label, $better, true, $unit, |m| m.$field.map(|d| d.value.si()), |m, v| {
                m.$field.get_or_insert_default().value = <$unit>::from_si(v)
            }),
            columns!(@part lo, $field, $unit, concat!($tag, "_lo"), concat!($label, ", low end"), $better),
            columns!(@part hi, $field, $unit, concat!($tag, "_hi"), concat!($label, ", high end"), $better),
        ]
    };
    (value, $field:ident, $unit:ty, $tag:literal, $label:literal, $better:ident) => {
        &[column!($tag, $label, $better, true, $unit, |m| m.$field.map(|v| v.si()), |m, v| {
            m.$field = Some(<$unit>::from_si(v))
        })]
    };
    (@part $part:ident, $field:ident, $unit:ty, $tag:expr, $label:expr, $better:ident) => {
        column!($tag, $label, $better, false, $unit, |m| m.$field.and_then(|d| d.$part).map(|v| v.si()), |m, v| {
            m.$field.get_or_insert_default().$part = Some(<$unit>::from_si(v))
        })
    };
    (@type distribution, $unit:ty) => { Distribution<$unit> };
    (@type estimate, $unit:ty) => { Estimate<$unit> };
    (@type value, $unit:ty) => { $unit };
}

macro_rules! metrics {
    ($($(#[$doc:meta])* $field:ident: $kind:ident $unit:ty, $tag:literal, $label:literal, $better:ident;)*) => {
        /// The metrics of one case. What is absent is `None`, never zero; the row says why.
        #[derive(Debug, Clone, Copy, PartialEq, Default)]
        pub struct Metrics {
            $($(#[$doc])* pub $field: Option<columns!(@type $kind, $unit)>,)*
        }

        /// Every column, in the order of cases.csv.
        pub static METRICS: &[&[Metric]] = &[$(columns!($kind, $field, $unit, $tag, $label, $better)),*];
    };
}

metrics! {
    /// First token received - start of the request; one value an iteration.
    ttft: distribution Seconds, "ttft_s", "TTFT", Lower;
    /// `(E2E - TTFT) / (gen - 1)`; one value an iteration.
    tpot: distribution Seconds, "tpot_s", "TPOT", Lower;
    /// Pooled gaps between consecutive tokens; its interval is resampled by whole iterations.
    itl: distribution Seconds, "itl_s", "ITL", Lower;
    /// Last token received - start of the request.
    e2e: distribution Seconds, "e2e_s", "E2E", Lower;
    /// `batch x prompt / TTFT`.
    prefill_tokens_per_s: estimate TokensPerSecond, "prefill_tokens_per_s", "prefill", Higher;
    /// `batch x (gen - 1) / (last token - first token)`.
    decode_tokens_per_s: estimate TokensPerSecond, "decode_tokens_per_s", "decode", Higher;
    /// `batch / E2E`: requests that this closed loop of `batch` sequences completes.
    requests_per_s: estimate RequestsPerSecond, "requests_per_s", "requests", Higher;
    /// Reading or making the weights; the same for all cases of one load.
    load: value Seconds, "load_s", "load time", Lower;
    /// Highest memory of the engine on the device while the case ran: of its buffers on a card; on the CPU, the peak
    /// resident set of the process.
    peak_device: value Bytes, "peak_device_bytes", "peak memory", Lower;
    /// Highest memory in use on the card while the case was measured, by whomever: as NVML counts it.
    peak_used: value Bytes, "peak_used_bytes", "memory in use", Lower;
    /// Weights as stored.
    weights: value Bytes, "weight_bytes", "weights", Neutral;
    /// Key-value cache of the case.
    cache: value Bytes, "cache_bytes", "KV cache", Neutral;
    /// Weights and cache that one decode step reads, at the middle of the generation.
    decode_read: value Bytes, "decode_read_bytes", "read per step", Neutral;
    /// Operations of one prefill.
    prefill_ops: value Count, "prefill_ops", "prefill operations", Neutral;
    /// Share of the measured read bandwidth that decoding reached.
    achieved_bandwidth: value Fraction, "achieved_bandwidth_fraction", "of bandwidth roof", Higher;
    /// Share of the measured arithmetic rate that the prefill reached.
    achieved_flops: value Fraction, "achieved_flops_fraction", "of compute roof", Higher;
    /// Energy of the measured windows; its interval is the error that its sensor can have.
    energy: estimate Joules, "energy_j", "energy", Lower;
    /// The same without what the idle device would have used.
    net_energy: estimate Joules, "net_energy_j", "net energy", Lower;
    /// Energy of the windows / tokens generated in them.
    energy_per_token: estimate JoulesPerToken, "energy_per_token_j", "energy per token", Lower;
    /// Net energy / tokens.
    net_energy_per_token: estimate JoulesPerToken, "net_energy_per_token_j", "net energy per token", Lower;
    /// Mean power over the windows.
    power: estimate Watts, "power_w", "power", Lower;
    /// Tokens generated / energy: tokens per second per watt.
    tokens_per_j: estimate TokensPerJoule, "tokens_per_j", "tokens per joule", Higher;
}

/// A plain number.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Count(pub f64);

impl Quantity for Count {
    const SUFFIX: &'static str = "";
    fn si(self) -> f64 {
        self.0
    }
    fn from_si(value: f64) -> Self {
        Self(value)
    }
    fn human(self) -> String {
        format!("{:.3e}", self.0)
    }
}

/// Every column, flat.
pub fn all() -> impl Iterator<Item = &'static Metric> {
    METRICS.iter().flat_map(|group| group.iter())
}

/// The column called `tag`.
pub fn named(tag: &str) -> Option<&'static Metric> {
    all().find(|metric| metric.tag == tag)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn tags_are_unique_and_end_in_a_unit() {
        let tags: Vec<&str> = all().map(|m| m.tag).collect();
        assert_eq!(tags.iter().collect::<HashSet<_>>().len(), tags.len());
        let units = ["_s", "_bytes", "_j", "_w", "_fraction", "_ops"];
        for metric in all().filter(|m| m.main) {
            assert!(units.iter().any(|unit| metric.tag.ends_with(unit)), "{}", metric.tag);
        }
    }

    #[test]
    fn what_is_set_is_got_back_and_the_rest_stays_absent() {
        for metric in all() {
            let mut metrics = Metrics::default();
            assert_eq!((metric.get)(&metrics), None, "{}", metric.tag);
            (metric.set)(&mut metrics, 2.5);
            assert_eq!((metric.get)(&metrics), Some(2.5), "{}", metric.tag);
            assert!(!(metric.human)(2.5).is_empty());
        }
        assert!(named("tpot_s_p99").is_some_and(|m| !m.main));
        assert!(named("nothing").is_none());
    }
}
