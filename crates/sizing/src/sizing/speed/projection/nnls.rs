//! Non-negative relative least squares: weights of terms so that their sum is off by little in proportion.

use super::terms::MOST;

/// A measured time and the values of its terms.
#[derive(Debug, Clone, Copy)]
pub struct Equation {
    /// Terms in seconds, before they are weighted.
    pub terms: [f64; MOST],
    /// The measured seconds.
    pub seconds: f64,
    /// How much it counts.
    pub weight: f64,
}

/// Rounds of coordinate descent: far more than these small problems take.
const ROUNDS: usize = 20_000;

/// `argmin_(c >= 0) sum w (terms . c / seconds - 1)^2`, by descent along one coefficient at a time, which cannot get stuck
/// as the problem is convex.
pub fn fit(equations: &[Equation]) -> [f64; MOST] {
    let mut normal = [[0.0; MOST]; MOST];
    let mut right = [0.0; MOST];
    for Equation { terms, seconds, weight } in equations {
        for i in 0..MOST {
            let scaled = terms[i] / seconds;
            right[i] += weight * scaled;
            for j in 0..MOST {
                normal[i][j] += weight * scaled * terms[j] / seconds;
            }
        }
    }
    let mut coefficients = [0.0f64; MOST];
    for _ in 0..ROUNDS {
        let mut moved: f64 = 0.0;
        for i in 0..MOST {
            if normal[i][i] <= 0.0 {
                continue;
            }
            let slope = right[i] - (0..MOST).map(|j| normal[i][j] * coefficients[j]).sum::<f64>();
            let next = (coefficients[i] + slope / normal[i][i]).max(0.0);
            // How far this moves the fit, in units of the fit itself.
            moved = moved.max((next - coefficients[i]).abs() * normal[i][i].sqrt());
            coefficients[i] = next;
        }
        if moved < 1e-12 {
            break;
        }
    }
    coefficients
}

/// The sum that the coefficients make of the terms.
pub fn sum(coefficients: &[f64; MOST], terms: &[f64; MOST]) -> f64 {
    coefficients.iter().zip(terms).map(|(c, t)| c * t).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_put_in_comes_out(a in 0.1f64..5.0, b in 0.1f64..5.0, seed in 1u64..1000) {
            let mut state = seed;
            let mut random = || {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                (state >> 40) as f64 / (1u64 << 24) as f64 + 0.05
            };
            let equations: Vec<Equation> = (0..40)
                .map(|_| {
                    let mut terms = [0.0; MOST];
                    (terms[0], terms[1], terms[2]) = (random(), random(), random());
                    Equation { terms, seconds: a * terms[0] + b * terms[1], weight: 1.0 }
                })
                .collect();
            let found = fit(&equations);
            prop_assert!((found[0] - a).abs() < 1e-4 && (found[1] - b).abs() < 1e-4 && found[2] < 1e-4, "{found:?}");
        }
    }

    #[test]
    fn no_coefficient_is_below_zero() {
        let at = |x: f64, seconds: f64| {
            let mut terms = [0.0; MOST];
            (terms[0], terms[1]) = (1.0, x);
            Equation { terms, seconds, weight: 1.0 }
        };
        // Falls with x: the second term would want to be negative.
        let found = fit(&[at(1.0, 3.0), at(2.0, 2.0), at(3.0, 1.0)]);
        assert!(found.iter().all(|c| *c >= 0.0) && found[1] == 0.0, "{found:?}");
        assert_eq!(fit(&[]), [0.0; MOST]);
    }
}
