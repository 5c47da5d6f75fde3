//! Weights and activations rounded as levels of other engines round them, computed on in `f32`: what a level costs in answers,
//! without a card that computes in it.

pub mod formats;

use crate::workload::rounding::{NumberFormat, Rounding, ScaleGroup};
use formats::{MOST_E2M1, MOST_E4M3, e2m1, e4m3, nf4, pow2};
use half::f16;
use rayon::prelude::*;

/// The greatest magnitude.
fn greatest(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |most: f32, value| most.max(value.abs()))
}

/// A scale as checkpoints keep it, in 16 bits.
fn kept(scale: f32) -> f32 {
    f16::from_f32(scale.min(f16::MAX.to_f32())).to_f32()
}

/// What a number of a group becomes whose greatest magnitude is `most`, by the scale of the group; `whole` is the scale of the
/// tensor, of formats that have one too.
fn by_scale(format: NumberFormat, most: f32, whole: f32) -> impl Fn(f32) -> f32 {
    let scale = match format {
        NumberFormat::E4M3 => most / MOST_E4M3,
        NumberFormat::Int8 => most / 127.0,
        // -8 to 7 around 0: 15 steps for twice the greatest.
        NumberFormat::Int4 | NumberFormat::Int4WithZero => kept(most / 7.5),
        NumberFormat::Nf4 => most,
        // The power of two that brings the greatest to the exponent of 4, the greatest of the format.
        NumberFormat::Mxfp4 if most > 0.0 => pow2(((most.to_bits() >> 23) & 0xff) as i32 - 127 - 2),
        NumberFormat::Mxfp4 => 0.0,
        NumberFormat::Nvfp4 if whole > 0.0 => e4m3(most / MOST_E2M1 / whole) * whole,
        NumberFormat::Nvfp4 => 0.0,
    };
    move |value: f32| {
        if !(scale > 0.0 && scale.is_finite()) {
            return 0.0;
        }
        let scaled = value / scale;
        scale
            * match format {
                NumberFormat::E4M3 => e4m3(scaled),
                NumberFormat::Int8 => scaled.round_ties_even().clamp(-127.0, 127.0),
                NumberFormat::Int4 | NumberFormat::Int4WithZero => scaled.round_ties_even().clamp(-8.0, 7.0),
                NumberFormat::Nf4 => nf4(scaled),
                NumberFormat::Mxfp4 | NumberFormat::Nvfp4 => e2m1(scaled),
            }
    }
}

/// A group between its least and its greatest, in 15 steps with a whole number for zero.
fn with_zero(values: &mut [f32]) {
    let (least, most) = values.iter().fold((0f32, 0f32), |(least, most), value| (least.min(*value), most.max(*value)));
    let scale = kept((most - least) / 15.0);
    if !(scale > 0.0 && scale.is_finite()) {
        values.fill(0.0);
        return;
    }
    let zero = (-least / scale).round_ties_even();
    for value in values {
        *value = ((*value / scale).round_ties_even() + zero).clamp(0.0, 15.0) - zero;
        *value *= scale;
    }
}

fn group(values: &mut [f32], format: NumberFormat, whole: f32) {
    if format == NumberFormat::Int4WithZero {
        return with_zero(values);
    }
    let round = by_scale(format, greatest(values), whole);
    values.iter_mut().for_each(|value| *value = round(*value));
}

/// Rounds the rows of a matrix, or the positions of activations, of `cols` numbers each. A last group that is not full has a
/// scale of its own.
pub fn round(values: &mut [f32], cols: usize, rounding: Rounding) {
    if values.is_empty() || cols == 0 {
        return;
    }
    let Rounding { format, group: grouped } = rounding;
    // What scales of blocks are themselves scaled by, so that the greatest is the greatest of E4M3.
    let whole = match format {
        NumberFormat::Nvfp4 => values.par_chunks(cols).map(greatest).reduce(|| 0.0, f32::max) / (MOST_E2M1 * MOST_E4M3),
        _ => 0.0,
    };
    match grouped {
        ScaleGroup::Tensor => {
            let most = values.par_chunks(cols).map(greatest).reduce(|| 0.0, f32::max);
            let round = by_scale(format, most, whole);
            values.par_chunks_mut(cols).for_each(|row| row.iter_mut().for_each(|value| *value = round(*value)));
        }
        ScaleGroup::Row => values.par_chunks_mut(cols).for_each(|row| group(row, format, whole)),
        ScaleGroup::Numbers(size) => values
            .par_chunks_mut(cols)
            .for_each(|row| row.chunks_mut(size.max(1)).for_each(|numbers| group(numbers, format, whole))),
        ScaleGroup::Square(side) => {
            values.par_chunks_mut(cols * side.max(1)).for_each(|rows| squares(rows, cols, side.max(1), format));
        }
    }
}

/// Rows that are a side of squares high.
fn squares(rows: &mut [f32], cols: usize, side: usize, format: NumberFormat) {
    for first in (0..cols).step_by(side) {
        let end = (first + side).min(cols);
        let most = rows.chunks(cols).map(|row| greatest(&row[first..end])).fold(0.0, f32::max);
        let round = by_scale(format, most, 0.0);
        for row in rows.chunks_mut(cols) {
            row[first..end].iter_mut().for_each(|value| *value = round(*value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rounded(values: &[f32], cols: usize, format: NumberFormat, group: ScaleGroup) -> Vec<f32> {
        let mut values = values.to_vec();
        round(&mut values, cols, Rounding { format, group });
        values
    }

    #[test]
    fn groups_have_scales_of_their_own() {
        // The greatest of a row is 448 steps; 1 and -3 are numbers of E4M3 at that scale, 0.3 is not.
        let values = [448.0, 1.0, -3.0, 0.3, 4.48, 0.01, -0.03, 0.003];
        let by_row = rounded(&values, 4, NumberFormat::E4M3, ScaleGroup::Row);
        assert_eq!(by_row[..3], [448.0, 1.0, -3.0]);
        assert!((by_row[3] - 0.3125).abs() < 1e-6 && (by_row[4] - 4.48).abs() < 1e-6, "{by_row:?}");
        // Of one scale for all, the small row is coarser.
        let by_tensor = rounded(&values, 4, NumberFormat::E4M3, ScaleGroup::Tensor);
        assert_eq!(by_tensor[4], 4.5);
        assert_eq!(by_tensor[7], 0.00390625);
        // Squares of two: the first two columns share 448, the others 3.
        let by_square = rounded(&values, 4, NumberFormat::E4M3, ScaleGroup::Square(2));
        assert_eq!((by_square[0], by_square[4]), (448.0, 4.5));
        assert!((by_square[6] + 0.03).abs() < 1e-3);
        // A power of two for 32, by the exponent of the greatest: 5.9 is 4 to 6 at a scale of 1.
        let mx = rounded(&[5.9, 0.2, -1.2, 2.4], 4, NumberFormat::Mxfp4, ScaleGroup::Numbers(32));
        assert_eq!(mx, [6.0, 0.0, -1.0, 2.0]);
        let mx = rounded(&[0.59, 0.02, -0.12, 0.24], 4, NumberFormat::Mxfp4, ScaleGroup::Numbers(32));
        assert_eq!(mx, [0.5, 0.0, -0.125, 0.25]);
        // Between the least and the greatest, zero itself stays.
        let zeroed = rounded(&[0.0, 15.0, 7.2, 3.0], 4, NumberFormat::Int4WithZero, ScaleGroup::Numbers(128));
        assert_eq!(zeroed, [0.0, 15.0, 7.0, 3.0]);
        assert_eq!(rounded(&[0.0; 4], 2, NumberFormat::Nvfp4, ScaleGroup::Numbers(16)), [0.0; 4]);
        assert_eq!(rounded(&[0.0; 4], 2, NumberFormat::Mxfp4, ScaleGroup::Numbers(32)), [0.0; 4]);
    }

    const FORMATS: [(NumberFormat, f32); 7] = [
        (NumberFormat::E4M3, 1.0 / 16.0),
        (NumberFormat::Int8, 1.0 / 127.0),
        (NumberFormat::Int4, 1.0 / 7.0),
        (NumberFormat::Int4WithZero, 1.0 / 7.0),
        (NumberFormat::Nf4, 0.16),
        (NumberFormat::Mxfp4, 0.26),
        (NumberFormat::Nvfp4, 0.2),
    ];

    proptest! {
        #[test]
        fn what_is_rounded_is_near_and_rounds_to_itself(
            values in prop::collection::vec(-100f32..100.0, 64),
            scale in -4i32..3,
        ) {
            let values: Vec<f32> = values.iter().map(|value| value * 10f32.powi(scale)).collect();
            for (format, share) in FORMATS {
                let once = rounded(&values, 32, format, ScaleGroup::Numbers(16));
                for (group, values) in once.chunks(16).zip(values.chunks(16)) {
                    let most = greatest(values);
                    for (rounded, value) in group.iter().zip(values) {
                        prop_assert!((rounded - value).abs() <= share * most * 1.01, "{format:?}: {value} {rounded} {most}");
                    }
                }
                // Scales that stay what they are leave every number where it is.
                if matches!(format, NumberFormat::E4M3 | NumberFormat::Int8 | NumberFormat::Nf4) {
                    let twice = rounded(&once, 32, format, ScaleGroup::Numbers(16));
                    for (one, two) in once.iter().zip(&twice) {
                        prop_assert!((one - two).abs() <= 1e-6 * one.abs());
                    }
                }
            }
        }
    }
}
