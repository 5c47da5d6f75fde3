//! Whether a server falls behind: the backlog grows, and not by chance.
//!
//! A straight line is fitted to the requests in flight over time. They are behind when its slope is above 0 by more than
//! chance (a one-sided t test at 0.1 %) and the backlog has grown by more than half of itself. Neighbouring values are
//! alike, which makes the test too sure of itself; a growth that is also large is not a matter of chance.

use statrs::distribution::{ContinuousCDF, StudentsT};

/// Fewest values to judge by.
const FEWEST: usize = 20;
/// Chance of calling a level backlog growing.
const CHANCE: f64 = 0.001;
/// Least growth in requests.
const LEAST_GROWTH: f64 = 8.0;

/// The slope of a straight line through points, and its standard error; `None` for too few points or no spread.
pub fn slope(points: &[(f64, f64)]) -> Option<(f64, f64)> {
    let n = points.len() as f64;
    if points.len() < 3 {
        return None;
    }
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / n;
    let (x, y) = (mean(|p| p.0), mean(|p| p.1));
    let sxx: f64 = points.iter().map(|p| (p.0 - x).powi(2)).sum();
    if sxx <= 0.0 {
        return None;
    }
    let b = points.iter().map(|p| (p.0 - x) * (p.1 - y)).sum::<f64>() / sxx;
    let residual: f64 = points.iter().map(|p| (p.1 - y - b * (p.0 - x)).powi(2)).sum();
    Some((b, (residual / (n - 2.0) / sxx).sqrt()))
}

/// Requests that the backlog grows by each second, where it grows without end as far as can be told. `points` are
/// `(seconds, requests in flight)`.
pub fn growth(points: &[(f64, f64)]) -> Option<f64> {
    if points.len() < FEWEST {
        return None;
    }
    let (b, error) = slope(points)?;
    let t = StudentsT::new(0.0, 1.0, points.len() as f64 - 2.0).ok()?;
    if b - t.inverse_cdf(1.0 - CHANCE) * error <= 0.0 {
        return None;
    }
    let seconds = points.last()?.0 - points.first()?.0;
    let mean = points.iter().map(|p| p.1).sum::<f64>() / points.len() as f64;
    let grown = b * seconds;
    (grown > LEAST_GROWTH && grown > mean * 0.5).then_some(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_growing_backlog_is_seen_and_a_level_one_is_not() {
        let wave = |i: usize| 3.0 * (i as f64 * 1.7).sin();
        let level: Vec<(f64, f64)> = (0..60).map(|i| (i as f64, 20.0 + wave(i))).collect();
        let growing: Vec<(f64, f64)> = (0..60).map(|i| (i as f64, 5.0 + 2.0 * i as f64 + wave(i))).collect();
        assert_eq!(growth(&level), None);
        assert!((growth(&growing).unwrap() - 2.0).abs() < 0.1);
        assert_eq!(growth(&growing[..10]), None);
        assert_eq!(slope(&[(1.0, 1.0), (1.0, 2.0), (1.0, 3.0)]), None);
    }
}
