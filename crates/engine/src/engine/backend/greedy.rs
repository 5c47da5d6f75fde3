//! Greedy choice of the next token, and the check that logits are numbers.

use super::cpu::values::with_f32_values;
use candle_core::{Result, Tensor};

/// The tokens that a batch of logits gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GreedyTokens {
    /// One token for each sequence.
    pub tokens: Vec<u32>,
    /// No logit was infinite or not a number.
    pub finite: bool,
}

/// The largest of each row of `logits: (batch, vocab)`; the first where several are equal.
pub fn greedy(logits: &Tensor) -> Result<GreedyTokens> {
    let (batch, vocab) = logits.dims2()?;
    with_f32_values(logits, |values| {
        let mut finite = true;
        let tokens = (0..batch)
            .map(|row| {
                let (token, row_finite) = largest(&values[row * vocab..(row + 1) * vocab]);
                finite &= row_finite;
                token
            })
            .collect();
        GreedyTokens { tokens, finite }
    })
}

/// Index of the largest value, and whether all are finite. Two passes that vectorise: this runs once a token
/// within the measured time.
fn largest(row: &[f32]) -> (u32, bool) {
    const LANES: usize = 16;
    let mut most = [f32::NEG_INFINITY; LANES];
    // x * 0 is 0 for a finite x and not a number otherwise, and so is their sum.
    let mut differences = [0f32; LANES];
    let (chunks, rest) = row.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            most[lane] = if chunk[lane] > most[lane] { chunk[lane] } else { most[lane] };
            differences[lane] += chunk[lane] * 0.0;
        }
    }
    let mut best = most.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut difference: f32 = differences.iter().sum();
    for value in rest {
        best = best.max(*value);
        difference += value * 0.0;
    }
    let index = row.iter().position(|value| *value == best).unwrap_or(0);
    (index as u32, difference == 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn the_first_largest_is_taken() {
        let mut row: Vec<f32> = (0..37).map(|i| (i % 11) as f32).collect();
        assert_eq!(largest(&row), (10, true));
        row[36] = 99.0;
        assert_eq!(largest(&row), (36, true));
        row[3] = f32::NAN;
        assert_eq!(largest(&row), (36, false));
        row[3] = f32::INFINITY;
        assert!(!largest(&row).1);
    }

    #[test]
    fn each_row_is_its_own() {
        let logits = Tensor::new(&[[0f32, 2.0, 1.0], [5.0, 2.0, 1.0]], &Device::Cpu).unwrap();
        assert_eq!(greedy(&logits).unwrap(), GreedyTokens { tokens: vec![1, 0], finite: true });
    }
}
