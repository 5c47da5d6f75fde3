//! Numbers of few bits: the nearest of each format, ties to the even one, as hardware rounds.

/// The greatest number of E4M3 (OCP OFP8: no infinity, one pattern for none).
pub const MOST_E4M3: f32 = 448.0;

/// The greatest number of E2M1 (OCP MX).
pub const MOST_E2M1: f32 = 6.0;

/// Bits of the smallest exponent of E4M3: below 2^-6 numbers are 2^-9 apart.
const LEAST_E4M3: i32 = -6;
const LEAST_E2M1: i32 = 0;

/// The nearest number with `mantissa` bits behind its first, whose exponents begin at `least`, up to `most`.
fn nearest(value: f32, mantissa: i32, least: i32, most: f32) -> f32 {
    if value == 0.0 || value.is_nan() {
        return value;
    }
    // The exponent as the bits have it; what is subnormal is below every format's.
    let exponent = ((value.to_bits() >> 23) & 0xff) as i32 - 127;
    let step = pow2(exponent.max(least) - mantissa);
    let rounded = (value / step).round_ties_even() * step;
    rounded.clamp(-most, most)
}

/// `2^exponent`, of exponents that are those of normal numbers.
pub fn pow2(exponent: i32) -> f32 {
    f32::from_bits(((exponent + 127).clamp(1, 254) as u32) << 23)
}

/// The nearest number of E4M3; what is beyond the greatest is the greatest.
pub fn e4m3(value: f32) -> f32 {
    nearest(value, 3, LEAST_E4M3, MOST_E4M3)
}

/// The nearest number of E2M1: 0, 0.5, 1, 1.5, 2, 3, 4 or 6, or one of them below 0.
pub fn e2m1(value: f32) -> f32 {
    nearest(value, 1, LEAST_E2M1, MOST_E2M1)
}

/// The quantiles that NF4 rounds to (QLoRA, arXiv 2305.14314, appendix E).
const NF4: [f32; 16] = [
    -1.0,
    -0.696_192_8,
    -0.525_073_05,
    -0.394_917_5,
    -0.284_441_38,
    -0.184_773_43,
    -0.091_050_04,
    0.0,
    0.079_580_3,
    0.160_930_2,
    0.246_112_3,
    0.337_915_24,
    0.440_709_83,
    0.562_617,
    0.722_956_84,
    1.0,
];

/// The nearest quantile of NF4.
pub fn nf4(value: f32) -> f32 {
    let above = NF4.partition_point(|known| *known < value);
    let below = NF4[above.saturating_sub(1)];
    let above = NF4[above.min(NF4.len() - 1)];
    if value - below <= above - value { below } else { above }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every number of a format with a sign bit, `exponents` bits of exponent of this bias and `mantissas` of mantissa.
    fn all(exponents: u32, mantissas: u32, bias: i32, has_nan: bool) -> Vec<f32> {
        let mut numbers = Vec::new();
        for code in 0..1u32 << (exponents + mantissas) {
            let (exponent, mantissa) = (code >> mantissas, code & ((1 << mantissas) - 1));
            if has_nan && code == (1 << (exponents + mantissas)) - 1 {
                continue;
            }
            let fraction = mantissa as f32 / (1 << mantissas) as f32;
            let value = match exponent {
                0 => fraction * 2f32.powi(1 - bias),
                exponent => (1.0 + fraction) * 2f32.powi(exponent as i32 - bias),
            };
            numbers.extend([value, -value]);
        }
        numbers
    }

    #[test]
    fn every_number_of_a_format_is_itself_and_others_the_nearest() {
        let (fp8, fp4) = (all(4, 3, 7, true), all(2, 1, 1, false));
        assert_eq!(fp8.iter().copied().fold(0.0, f32::max), MOST_E4M3);
        assert_eq!(fp4.iter().copied().fold(0.0, f32::max), MOST_E2M1);
        for (numbers, round) in [(&fp8, e4m3 as fn(f32) -> f32), (&fp4, e2m1)] {
            for number in numbers {
                assert_eq!(round(*number), *number);
            }
            for step in 0..20_000 {
                let value = (step as f32 - 10_000.0) * 0.0531;
                let most = numbers.iter().copied().fold(0.0, f32::max);
                let best =
                    numbers.iter().map(|known| (known - value.clamp(-most, most)).abs()).fold(f32::MAX, f32::min);
                assert!((round(value) - value.clamp(-most, most)).abs() <= best, "{value}: {}", round(value));
            }
        }
        // Ties go to the even one.
        assert_eq!((e2m1(2.5), e2m1(3.5), e2m1(5.0), e2m1(0.25), e2m1(0.75)), (2.0, 4.0, 4.0, 0.0, 1.0));
        assert_eq!((e4m3(17.0), e4m3(19.0), e4m3(1e9)), (16.0, 20.0, 448.0));
        assert!(e4m3(f32::NAN).is_nan());
        for known in NF4 {
            assert_eq!(nf4(known), known);
        }
        assert_eq!((nf4(0.9), nf4(-2.0), nf4(0.03)), (1.0, -1.0, 0.0));
    }
}
