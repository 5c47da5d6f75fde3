//! What no measurement can be. A record that was edited, cut, or written by a program with other ideas is refused with the
//! name of what is wrong: a number that is believed would win a ranking.

use super::case_row::CaseRow;
use super::metric::{METRICS, Metric};
use super::outcome::Outcome;

/// Values of one quantity that were rounded apart may differ by this share.
const ROUNDING: f64 = 1e-3;

/// The least and the most that a quantity can be, by the ending of its name; `None` for names without a unit.
///
/// The most is far beyond any hardware: it finds slips of a unit and overflow, not good luck.
pub(super) fn range(name: &str) -> Option<(f64, f64)> {
    let kinds: [(&str, f64); 13] = [
        // Rates before times: both end in `_s`.
        ("tokens_per_s", 1e12),
        ("_per_s", 1e12),
        ("bytes", 1e18),
        ("_ops", 1e27),
        ("_fraction", 1e3),
        ("tokens_per_j", 1e9),
        ("_per_token_j", 1e9),
        ("_j", 1e15),
        ("_w", 1e9),
        ("_mhz", 1e6),
        ("_s", 1e9),
        ("_usd", 1e12),
        ("_per_token", 1e12),
    ];
    kinds.into_iter().find(|(ending, _)| name.ends_with(ending)).map(|(_, most)| (0.0, most))
}

/// Whether `value` lies within an interval, but for rounding; an end that is absent bounds nothing.
pub(super) fn within(value: f64, lo: Option<f64>, hi: Option<f64>) -> bool {
    let room = value.abs() * ROUNDING;
    lo.is_none_or(|lo| lo <= value + room) && hi.is_none_or(|hi| hi >= value - room)
}

/// A value with its name.
type Named<'a> = (&'a str, f64);

/// The first pair of values, given in the order that they must have, of which the second is below the first.
pub(super) fn out_of_order<'a>(values: &[(&'a str, Option<f64>)]) -> Option<(Named<'a>, Named<'a>)> {
    let known: Vec<(&str, f64)> = values.iter().filter_map(|(name, value)| Some((*name, (*value)?))).collect();
    let wrong = |pair: &&[(&'a str, f64)]| pair[1].1 < pair[0].1 - pair[0].1.abs() * ROUNDING;
    known.windows(2).find(wrong).map(|pair| (pair[0], pair[1]))
}

/// Why a row of cases.csv cannot be what was measured, naming the column; `None` where nothing speaks against it.
pub fn fault(row: &CaseRow) -> Option<String> {
    if row.outcome == Outcome::Ok && row.reason.is_some() {
        return Some("column `reason`: a case that was measured has no reason not to be".to_string());
    }
    METRICS.iter().find_map(|group| fault_of_group(row, group)).or_else(|| fault_between(row))
}

fn fault_of_group(row: &CaseRow, group: &[Metric]) -> Option<String> {
    let get = |ending: &str| {
        let metric = group.iter().find(|metric| metric.tag.strip_prefix(group[0].tag) == Some(ending))?;
        (metric.get)(&row.metrics).map(|value| (metric.tag, value))
    };
    for metric in group {
        let Some(value) = (metric.get)(&row.metrics) else { continue };
        if let Some(why) = fault_of_value(group[0].tag, value) {
            return Some(format!("column `{}`: {why}", metric.tag));
        }
    }
    let (main, median) = get("")?;
    let (lo, hi) = (get("_lo"), get("_hi"));
    if let (Some((lo_tag, lo)), Some((hi_tag, hi))) = (lo, hi)
        && lo > hi
    {
        return Some(format!("column `{lo_tag}`: {lo} is above `{hi_tag}`, {hi}"));
    }
    if !within(median, lo.map(|(_, lo)| lo), hi.map(|(_, hi)| hi)) {
        let end = |end: Option<(&str, f64)>| end.map_or("nothing".to_string(), |(_, value)| value.to_string());
        return Some(format!("column `{main}`: {median} does not lie within its interval, {} to {}", end(lo), end(hi)));
    }
    let (p90, p99) = (get("_p90"), get("_p99"));
    let percentiles = [(main, Some(median)), ("p90", p90.map(|(_, v)| v)), ("p99", p99.map(|(_, v)| v))];
    out_of_order(&percentiles).map(|((least, below), (name, value))| {
        format!(
            "column `{main}_{name}`: {value} is less than {below}, {}",
            if least == main { "the median" } else { least }
        )
    })
}

/// What is wrong with one value of the quantity called `tag`, be it the value itself, an end of its interval or a percentile.
fn fault_of_value(tag: &str, value: f64) -> Option<String> {
    if !value.is_finite() {
        return Some(format!("{value} is not a finite number"));
    }
    let (least, most) = range(tag).unwrap_or((0.0, f64::MAX));
    // What is left without the idle power may be less than nothing.
    if value < least && !tag.starts_with("net_") {
        return Some(format!("{value} cannot be"));
    }
    if value.abs() > most {
        return Some(format!("{value} is more than can be ({most:e} at most)"));
    }
    // No request takes no time, and nothing comes at no rate.
    let takes_time = tag.starts_with("ttft_s") || tag.starts_with("e2e_s");
    let comes_at_a_rate = tag.contains("tokens_per_s") || tag.contains("requests_per_s");
    ((takes_time || comes_at_a_rate) && value == 0.0).then(|| "0 cannot be".to_string())
}

/// What contradicts across columns.
fn fault_between(row: &CaseRow) -> Option<String> {
    let metrics = &row.metrics;
    let generated = row.key.case.gen_tokens();
    if generated > 1 && metrics.tpot.is_some_and(|tpot| tpot.median.0 == 0.0) {
        return Some(format!("column `tpot_s`: 0 cannot be of {generated} generated tokens"));
    }
    let (ttft, e2e) = (metrics.ttft?.median.0, metrics.e2e?.median.0);
    // Of several files the one may be a mean and the other a median; a factor is a slip all the same.
    (e2e < ttft * 0.9).then(|| format!("column `e2e_s`: {e2e} is less than the time to the first token, {ttft}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::metric::{Distribution, Estimate};
    use crate::record::{CaseKey, FailureKind};
    use crate::units::{Joules, Seconds, TokensPerSecond};
    use crate::workload::{Case, Quant};

    fn row() -> CaseRow {
        let case = Case::new(Quant::Int8, 4, 128, 32);
        let key = CaseKey { engine: "candle".into(), model: "m".into(), device: "cpu".into(), case, arrival: None };
        let mut row = CaseRow::unmeasured(key, FailureKind::TimedOut, String::new());
        (row.outcome, row.reason) = (Outcome::Ok, None);
        let time = |median: f64| Distribution {
            median: Seconds(median),
            lo: Some(Seconds(median * 0.9)),
            hi: Some(Seconds(median * 1.1)),
            p90: Some(Seconds(median * 1.05)),
            p99: Some(Seconds(median * 1.2)),
        };
        (row.metrics.ttft, row.metrics.tpot, row.metrics.e2e) = (Some(time(0.5)), Some(time(0.01)), Some(time(0.8)));
        row
    }

    #[test]
    fn a_row_that_was_measured_has_no_fault_and_rounding_is_none() {
        assert_eq!(fault(&row()), None);
        let mut rounded = row();
        rounded.metrics.ttft =
            Some(Distribution { median: Seconds(0.2476), lo: Some(Seconds(0.2477)), ..Distribution::default() });
        assert_eq!(fault(&rounded), None);
        let mut net = row();
        net.metrics.net_energy = Some(Estimate { value: Joules(-0.5), lo: None, hi: None });
        assert_eq!(fault(&net), None);
    }

    #[test]
    fn what_cannot_be_names_its_column() {
        let changed = |change: fn(&mut Distribution<Seconds>)| {
            let mut row = row();
            row.metrics.ttft.iter_mut().for_each(change);
            fault(&row).unwrap_or_default()
        };
        assert_eq!(changed(|t| t.lo = Some(Seconds(0.9))), "column `ttft_s_lo`: 0.9 is above `ttft_s_hi`, 0.55");
        assert!(changed(|t| t.median = Seconds(0.3)).contains("`ttft_s`: 0.3 does not lie within"));
        assert!(changed(|t| (t.lo, t.hi, t.p90) = (None, Some(Seconds(0.1)), None)).contains("within its interval"));
        assert!(changed(|t| t.p99 = Some(Seconds(0.51))).contains("`ttft_s_p99`: 0.51 is less than 0.525, p90"));
        assert!(changed(|t| t.p90 = Some(Seconds(0.4))).contains("`ttft_s_p90`: 0.4 is less than 0.5, the median"));
        assert!(changed(|t| t.median = Seconds(-1.0)).contains("`ttft_s`: -1 cannot be"));
        assert!(changed(|t| t.p99 = Some(Seconds(1e12))).contains("more than can be"));
        assert!(changed(|t| t.hi = Some(Seconds(f64::NAN))).contains("not a finite number"));
        let mut other = row();
        other.metrics.tpot = Some(Distribution::default());
        assert_eq!(fault(&other).unwrap(), "column `tpot_s`: 0 cannot be of 32 generated tokens");
        other = row();
        other.metrics.e2e = Some(Distribution { median: Seconds(0.2), ..Distribution::default() });
        assert!(fault(&other).unwrap().contains("less than the time to the first token"));
        other = row();
        other.metrics.decode_tokens_per_s =
            Some(Estimate { value: TokensPerSecond(400.0), lo: Some(TokensPerSecond(500.0)), hi: None });
        assert!(fault(&other).unwrap().contains("`decode_tokens_per_s`: 400 does not lie within"));
        other = row();
        other.reason = Some(FailureKind::Crashed);
        assert!(fault(&other).unwrap().contains("`reason`"));
    }
}
