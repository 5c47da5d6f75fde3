//! The softmax of attention, and the exponential that other functions use too.

use super::dispatch::dispatched;

dispatched!(
    /// Replaces `scores` by `e^(scale * (score - most))`, where `most` is the largest of them, and gives `scale * most` and the
    /// sum of what is there now: divided by it, they are a softmax.
    pub(super) fn exponentials(scores: &mut [f32], scale: f32, total: &mut Total) = exponentials_body
);

/// What the shares of a softmax are of.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Total {
    /// The largest score, scaled.
    pub(super) most: f32,
    /// The sum of exponentials, each of its distance to the largest.
    pub(super) sum: f32,
}
const LANES: usize = 16;

#[inline(always)]
fn exponentials_body(scores: &mut [f32], scale: f32, total: &mut Total) {
    let mut most = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = scores.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            most[lane] = if chunk[lane] > most[lane] { chunk[lane] } else { most[lane] };
        }
    }
    let most = most.iter().chain(rest).fold(f32::NEG_INFINITY, |most, score| if *score > most { *score } else { most });
    let shift = most * scale;
    let mut sums = [0f32; LANES];
    let (chunks, rest) = scores.as_chunks_mut::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            let value = exp(chunk[lane] * scale - shift);
            chunk[lane] = value;
            sums[lane] += value;
        }
    }
    let mut sum: f32 = sums.iter().sum();
    for score in rest {
        *score = exp(*score * scale - shift);
        sum += *score;
    }
    *total = Total { most: shift, sum };
}

/// `e^x` for `x <= 0` to about 2e-7 relative, without branches so that it vectorises; 0 below -87.
///
/// The usual reduction `e^x = 2^n e^r`, `|r| <= ln 2 / 2`, with a degree-6 polynomial for `e^r` (its Taylor terms).
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    let clamped = if x > -87.0 { x } else { -87.0 };
    let n = (clamped * std::f32::consts::LOG2_E + 0.5).floor();
    // ln 2 in two parts, so that the difference keeps its low bits.
    let r = clamped - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let poly = 1.0 + r * (1.0 + r * (0.5 + r * (1.0 / 6.0 + r * (1.0 / 24.0 + r * (1.0 / 120.0 + r / 720.0)))));
    let power = f32::from_bits(((n as i32 + 127) << 23) as u32);
    let value = poly * power;
    if x > -87.0 { value } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_close_enough_for_a_softmax() {
        for i in 0..=8_700_000 {
            let x = -(i as f32) / 100_000.0;
            let (got, want) = (exp(x) as f64, (x as f64).exp());
            assert!((got / want - 1.0).abs() < 5e-7 || want < 2e-38, "{x}: {got} {want}");
        }
        assert_eq!(exp(-200.0), 0.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
    }

    #[test]
    fn shares_sum_to_one_and_keep_ratios() {
        for len in [1usize, 5, 16, 33, 200] {
            let raw: Vec<f32> = (0..len).map(|i| ((i * 37) % 17) as f32 - 8.0).collect();
            let mut scores = raw.clone();
            let mut parts = Total::default();
            exponentials(&mut scores, 0.25, &mut parts);
            assert!((parts.most - 0.25 * raw.iter().copied().fold(f32::MIN, f32::max)).abs() < 1e-6);
            scores.iter_mut().for_each(|score| *score /= parts.sum);
            let total: f64 = raw.iter().map(|v| (*v as f64 * 0.25).exp()).sum();
            for (got, raw) in scores.iter().zip(&raw) {
                assert!((*got as f64 - (*raw as f64 * 0.25).exp() / total).abs() < 1e-6);
            }
        }
    }
}
