//! Whether a step keeps a limit, and how sure that is.
//!
//! A limit on the percentile `p` is kept when at most `1 - p` of the requests are beyond it, those that failed among them.
//! The interval of that share is Wilson's (1927). In a queue, slow requests come together: the share is known less well
//! than from as many requests of their own, by the factor that the shares of stretches of time vary beyond chance (the
//! variance of batch means; Law, Simulation Modeling and Analysis, chapter 9).

use crate::record::StepVerdict;
use crate::statistics::paired::wilson_share;

/// Stretches that the variance is taken over.
pub const BLOCKS: usize = 12;

/// The 95 % interval of a share of which `beyond` of `requests` were seen, as if of only so many as `inflation` leaves.
pub fn share_interval(beyond: u64, requests: u64, inflation: f64) -> (f64, f64) {
    if requests == 0 {
        return (0.0, 1.0);
    }
    wilson_share(beyond as f64 / requests as f64, (requests as f64 / inflation.max(1.0)).max(1.0))
}

/// How much more than by chance the shares of stretches vary: 1 where they do not. `blocks` are `(requests, beyond)`.
pub fn inflation(blocks: &[(u64, u64)]) -> f64 {
    let (requests, beyond) = blocks.iter().fold((0, 0), |sum, block| (sum.0 + block.0, sum.1 + block.1));
    let share = beyond as f64 / (requests as f64).max(1.0);
    let variance = share * (1.0 - share);
    if blocks.len() < 3 || variance == 0.0 {
        return 1.0;
    }
    let squares = blocks.iter().map(|(n, x)| (*x as f64 - *n as f64 * share).powi(2) / (*n as f64 * variance));
    (squares.sum::<f64>() / (blocks.len() - 1) as f64).max(1.0)
}

/// The verdict on a share that may be at most `allowed`.
pub fn verdict(share: f64, (lo, hi): (f64, f64), allowed: f64) -> StepVerdict {
    // A share such as 1 - 0.99 is not exact.
    let allowed = allowed + 1e-9;
    match (share <= allowed, lo <= allowed && hi > allowed) {
        (true, false) => StepVerdict::Holds,
        (true, true) => StepVerdict::HoldsBarely,
        (false, true) => StepVerdict::BreaksBarely,
        (false, false) => StepVerdict::Breaks,
    }
}

/// The worst of several verdicts.
pub fn worst(verdicts: impl IntoIterator<Item = StepVerdict>) -> Option<StepVerdict> {
    verdicts.into_iter().max_by_key(|verdict| match verdict {
        StepVerdict::Holds => 0,
        StepVerdict::HoldsBarely => 1,
        StepVerdict::BreaksBarely => 2,
        StepVerdict::Breaks => 3,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_wilsons() {
        // Newcombe 1998, table I, method 3: 81 of 263 gives 0.2553 to 0.3662; 0 of 20 gives 0 to 0.1611.
        let (lo, hi) = share_interval(81, 263, 1.0);
        assert!((lo - 0.2553).abs() < 1e-4 && (hi - 0.3662).abs() < 1e-4);
        let (lo, hi) = share_interval(0, 20, 1.0);
        assert!(lo == 0.0 && (hi - 0.1611).abs() < 1e-4);
        assert_eq!(share_interval(0, 0, 1.0), (0.0, 1.0));
        let wide = share_interval(81, 263, 4.0);
        assert!(wide.0 < 0.21 && wide.1 > 0.42);
    }

    #[test]
    fn what_comes_together_counts_less() {
        assert_eq!(inflation(&[(100, 5); 10]), 1.0);
        let together: Vec<(u64, u64)> = (0..10).map(|block| (100, if block == 3 { 50 } else { 0 })).collect();
        assert!(inflation(&together) > 40.0);
        assert_eq!(inflation(&[(10, 0), (10, 0), (10, 0)]), 1.0);
    }

    #[test]
    fn verdicts_say_how_sure_they_are() {
        let of =
            |beyond, requests| verdict(beyond as f64 / requests as f64, share_interval(beyond, requests, 1.0), 0.01);
        assert_eq!(of(0, 1000), StepVerdict::Holds);
        assert_eq!(of(8, 1000), StepVerdict::HoldsBarely);
        assert_eq!(of(10, 1000), StepVerdict::HoldsBarely);
        assert_eq!(of(13, 1000), StepVerdict::BreaksBarely);
        assert_eq!(of(40, 1000), StepVerdict::Breaks);
        assert_eq!(worst([StepVerdict::Holds, StepVerdict::BreaksBarely]), Some(StepVerdict::BreaksBarely));
    }
}
