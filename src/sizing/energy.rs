//! Energy of a generated token: as measured, or on a card that nobody here measured, from its board power.

use super::interval::Interval;
use super::project::Times;
use crate::record::CaseRow;

/// Shares of the board power that cards draw while they decode and while they prefill: what was seen over published
/// measurements, without a calibration of the card's own.
const DECODE_SHARE: (f64, f64) = (0.5, 0.95);
const PREFILL_SHARE: (f64, f64) = (0.75, 1.0);

/// The measured energy of a token in joules; `None` where there was no meter.
pub fn measured(row: &CaseRow) -> Option<Interval> {
    let energy = row.metrics.energy_per_token?;
    let end = |end: Option<crate::units::JoulesPerToken>| end.unwrap_or(energy.value).0;
    Some(Interval::new(energy.value.0, end(energy.lo), end(energy.hi)))
}

/// The energy of a token in joules on a card of `board_w`: its power times the time of a batch, over the tokens of the
/// batch. The range is that of the power and of the time together.
pub fn projected(board_w: f64, times: Times, batch: usize, gen_tokens: f64, counted_tokens: f64) -> Interval {
    let power = |(lo, hi): (f64, f64)| Interval::new(board_w * (lo + hi) / 2.0, board_w * lo, board_w * hi);
    let times_of = |power: Interval, time: Interval| {
        Interval::new(power.value * time.value, power.lo * time.lo, power.hi * time.hi)
    };
    let decode = times.tpot.map(|tpot| tpot * (gen_tokens - 1.0).max(0.0));
    let batch_j = times_of(power(PREFILL_SHARE), times.ttft).plus(times_of(power(DECODE_SHARE), decode));
    batch_j.map(|joules| joules / (batch as f64 * counted_tokens))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_takes_its_share_of_the_batch() {
        let times = Times { ttft: Interval::exact(1.0), tpot: Interval::new(0.1, 0.05, 0.2) };
        let energy = projected(100.0, times, 2, 11.0, 11.0);
        // 87.5 J of prefill and 72.5 J of decode, over 22 tokens.
        assert!((energy.value - 160.0 / 22.0).abs() < 1e-9, "{energy:?}");
        assert!((energy.lo - (75.0 + 25.0) / 22.0).abs() < 1e-9, "{energy:?}");
        assert!((energy.hi - (100.0 + 190.0) / 22.0).abs() < 1e-9, "{energy:?}");
    }
}
