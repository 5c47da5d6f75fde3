//! The two loops of attention between its products: a softmax over scores and a weighted sum of rows.

use super::dispatch::dispatched;

dispatched!(
    /// Replaces `scores` by the softmax of `scale * scores`.
    pub(super) fn softmax(scores: &mut [f32], scale: f32) = softmax_body
);
dispatched!(
    /// `out[j] = sum over t of weights[t] * rows[t * width + j]`, with `width = out.len()`.
    pub(super) fn weighted_sum(weights: &[f32], rows: &[f32], out: &mut [f32]) = weighted_sum_body
);

const LANES: usize = 16;

#[inline(always)]
fn softmax_body(scores: &mut [f32], scale: f32) {
    let mut most = f32::NEG_INFINITY;
    for &score in scores.iter() {
        most = if score > most { score } else { most };
    }
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
    let inverse = 1.0 / sum;
    for score in scores.iter_mut() {
        *score *= inverse;
    }
}

#[inline(always)]
fn weighted_sum_body(weights: &[f32], rows: &[f32], out: &mut [f32]) {
    const STRIP: usize = 64;
    let width = out.len();
    let mut start = 0;
    while start < width {
        let strip = STRIP.min(width - start);
        let mut sums = [0f32; STRIP];
        if strip == STRIP {
            for (weight, row) in weights.iter().zip(rows.chunks_exact(width)) {
                let row = &row[start..start + STRIP];
                for lane in 0..STRIP {
                    sums[lane] += weight * row[lane];
                }
            }
        } else {
            for (weight, row) in weights.iter().zip(rows.chunks_exact(width)) {
                for (sum, value) in sums.iter_mut().zip(&row[start..start + strip]) {
                    *sum += weight * value;
                }
            }
        }
        out[start..start + strip].copy_from_slice(&sums[..strip]);
        start += strip;
    }
}

/// `e^x` for `x <= 0` to about 2e-7 relative, without branches so that it vectorises; 0 below -87.
///
/// The usual reduction `e^x = 2^n e^r`, `|r| <= ln 2 / 2`, with a degree-6 polynomial for `e^r` (its Taylor terms).
#[inline(always)]
fn exp(x: f32) -> f32 {
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
    fn softmax_sums_to_one_and_keeps_ratios() {
        for len in [1usize, 5, 16, 33, 200] {
            let raw: Vec<f32> = (0..len).map(|i| ((i * 37) % 17) as f32 - 8.0).collect();
            let mut scores = raw.clone();
            softmax(&mut scores, 0.25);
            let total: f64 = raw.iter().map(|v| (*v as f64 * 0.25).exp()).sum();
            for (got, raw) in scores.iter().zip(&raw) {
                assert!((*got as f64 - (*raw as f64 * 0.25).exp() / total).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn weighted_sums_are_plain_sums() {
        for width in [1usize, 8, 64, 80, 128] {
            let rows: Vec<f32> = (0..5 * width).map(|i| (i % 7) as f32 - 3.0).collect();
            let weights = [0.5, -1.0, 2.0, 0.0, 0.25];
            let mut out = vec![9.0; width];
            weighted_sum(&weights, &rows, &mut out);
            for (j, got) in out.iter().enumerate() {
                let want: f32 = (0..5).map(|t| weights[t] * rows[t * width + j]).sum();
                assert!((got - want).abs() < 1e-5);
            }
        }
    }
}
