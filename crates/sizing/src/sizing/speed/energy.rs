//! Energy of a generated token: as measured, or on a card that nobody here measured, from its board power.

use super::project::Times;
use crate::record::CaseRow;
use crate::units::interval::Interval;

/// Shares of the board power that cards draw while they prefill: what was seen over published measurements, without a
/// calibration of the card's own.
const PREFILL_SHARE: (f64, f64) = (0.75, 1.0);

/// The board of an accelerator.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Board {
    /// Its power in watts.
    pub w: f64,
    /// Least and greatest share of that while it decodes.
    decode: (f64, f64),
}

impl Board {
    /// Of a card of this generation. Boards grew more than what a step of decoding draws, so that newer ones stay further
    /// below theirs, most of all with small models. Published: H100 267 to 680 of 700 W and B200 452 to 943 of 1,000 W
    /// (vLLM, six and eight models at 1 to 128 sequences, api.serialalice.pt, 2026-06), B200 606 W at 128 sequences of 3.8 B;
    /// RTX PRO 6000 Blackwell 141 W (1.5 B alone), 224 W (3 B alone) and 573 W (27 B, 32 sequences) of 600 W
    /// (hongping-zh.github.io, 2026-06; Light-Heart-Labs MMBT, 2026-04); RTX 5090 350 of 575 W (geerlingguy/ai-benchmarks
    /// #18); V100 190 of 300 W (1CatAI/1Cat-vLLM #535).
    pub fn new(w: f64, architecture: &str) -> Self {
        let decode = if architecture.starts_with("Blackwell") {
            (0.25, 0.95)
        } else if architecture.starts_with("Hopper") {
            (0.38, 0.97)
        } else {
            (0.5, 0.95)
        };
        Self { w, decode }
    }
}

/// The measured energy of a token in joules; `None` where there was no meter.
pub fn measured(row: &CaseRow) -> Option<Interval> {
    Some(row.metrics.energy_per_token?.closed().map(|joules| joules.0))
}

/// The energy of a token in joules on a card: the power of its board times the time of a batch, over the tokens of the
/// batch. The range is that of the power and of the time together.
pub fn projected(board: Board, times: Times, batch: usize, gen_tokens: f64, counted_tokens: f64) -> Interval {
    let power = |(lo, hi): (f64, f64)| Interval::new(board.w * (lo + hi) / 2.0, board.w * lo, board.w * hi);
    let times_of = |power: Interval, time: Interval| {
        Interval::new(power.value * time.value, power.lo * time.lo, power.hi * time.hi)
    };
    let decode = times.tpot.map(|tpot| tpot * (gen_tokens - 1.0).max(0.0));
    let batch_j = times_of(power(PREFILL_SHARE), times.ttft).plus(times_of(power(board.decode), decode));
    batch_j.map(|joules| joules / (batch as f64 * counted_tokens))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_takes_its_share_of_the_batch() {
        let times = Times { ttft: Interval::exact(1.0), tpot: Interval::new(0.1, 0.05, 0.2) };
        let energy = projected(Board::new(100.0, "Ada Lovelace"), times, 2, 11.0, 11.0);
        // 87.5 J of prefill and 72.5 J of decode, over 22 tokens.
        assert!((energy.value - 160.0 / 22.0).abs() < 1e-9, "{energy:?}");
        assert!((energy.lo - (75.0 + 25.0) / 22.0).abs() < 1e-9, "{energy:?}");
        assert!((energy.hi - (100.0 + 190.0) / 22.0).abs() < 1e-9, "{energy:?}");
    }

    #[test]
    fn newer_boards_decode_further_below_their_limit() {
        // What was published of decoding alone lies within the range, and what the middle says within it too.
        let second = Times { ttft: Interval::exact(0.0), tpot: Interval::exact(1.0) };
        let watts = |w: f64, architecture: &str| projected(Board::new(w, architecture), second, 1, 2.0, 1.0);
        for (w, architecture, seen) in [
            (1000.0, "Blackwell", vec![452.0, 606.0, 943.0]),
            (600.0, "Blackwell", vec![224.0, 281.0]),
            (575.0, "Blackwell", vec![350.0]),
            (700.0, "Hopper", vec![267.0, 517.0]),
            (300.0, "Volta", vec![190.0]),
        ] {
            let range = watts(w, architecture);
            assert!(seen.iter().all(|seen| (range.lo..=range.hi).contains(seen)), "{w} {range:?}");
        }
        assert!((watts(1000.0, "Blackwell").value / 606.0 - 1.0).abs() < 0.02);
    }
}
