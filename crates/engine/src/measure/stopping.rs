//! When a measurement has enough samples.

use crate::record::StopReason;
use crate::statistics::bootstrap::relative_half_width;
use crate::units::Seconds;
use crate::workload::Limits;

/// Samples below which nothing stops but the patience of the user: the interval of three is three times as wide as their
/// deviation, that of four twice.
pub const FLOOR: usize = 4;

/// What is known when a sample has come in.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// Why to stop, if so.
    pub stop: Option<StopReason>,
    /// The wider of the relative half-widths of the two series.
    pub half_width: Option<f64>,
}

/// Looks at the samples so far: `series` holds TTFT and TPOT, which must both converge; what generates no tokens has no
/// TPOT. `min_time` is the time that
/// the measurement must last whatever its precision.
pub fn assess(series: [&[f64]; 2], elapsed: Seconds, min_time: Seconds, limits: &Limits) -> Progress {
    let samples = series[0].len();
    let mut half_width: Option<f64> = None;
    for values in series.into_iter().enumerate().filter(|(index, values)| *index == 0 || !values.is_empty()) {
        let values = values.1;
        match relative_half_width(values, samples as u64) {
            Some(width) => half_width = Some(half_width.unwrap_or(0.0).max(width)),
            None => {
                half_width = None;
                break;
            }
        }
    }
    let converged = samples >= limits.min_samples
        && elapsed.0 >= min_time.0.max(limits.min_time_s)
        && half_width.is_some_and(|width| width <= limits.precision);
    let stop = if converged {
        Some(StopReason::Converged)
    } else if samples >= limits.max_samples.max(FLOOR) && elapsed.0 >= min_time.0 {
        Some(StopReason::SampleLimit)
    } else if elapsed.0 >= limits.max_time_s.max(min_time.0) && samples >= FLOOR {
        Some(StopReason::TimeLimit)
    } else {
        None
    };
    Progress { stop, half_width }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Sweep;

    fn limits() -> Limits {
        Limits { max_samples: 50, ..Sweep::named("standard").unwrap().limits }
    }

    fn stop(values: &[f64], elapsed: f64) -> Option<StopReason> {
        assess([values, values], Seconds(elapsed), Seconds(0.0), &limits()).stop
    }

    #[test]
    fn equal_samples_converge_at_the_least_count() {
        assert_eq!(stop(&[1.0; 9], 5.0), None);
        assert_eq!(stop(&[1.0; 10], 5.0), Some(StopReason::Converged));
        assert_eq!(stop(&[1.0; 10], 0.1), None);
    }

    #[test]
    fn noise_runs_into_a_limit() {
        let noisy: Vec<f64> = (0..20).map(|i| 1.0 + (i % 5) as f64).collect();
        assert_eq!(stop(&noisy, 5.0), None);
        assert_eq!(stop(&noisy, 8.0), Some(StopReason::TimeLimit));
        let noisy: Vec<f64> = (0..50).map(|i| 1.0 + (i % 5) as f64).collect();
        assert_eq!(stop(&noisy, 5.0), Some(StopReason::SampleLimit));
    }

    #[test]
    fn three_slow_samples_are_never_enough() {
        assert_eq!(stop(&[30.0; 3], 90.0), None);
        assert_eq!(stop(&[30.0; 4], 120.0), Some(StopReason::TimeLimit));
    }

    #[test]
    fn an_energy_window_makes_a_measurement_last() {
        let values = [1.0; 20];
        let progress = assess([&values, &values], Seconds(3.0), Seconds(5.0), &limits());
        assert_eq!(progress.stop, None);
        let progress = assess([&values, &values], Seconds(5.0), Seconds(5.0), &limits());
        assert_eq!(progress.stop, Some(StopReason::Converged));
    }
}
