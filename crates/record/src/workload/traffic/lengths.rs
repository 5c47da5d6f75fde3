//! Distributions of prompt and answer lengths.

use rand::Rng;
use rand_distr::{Distribution, LogNormal, Normal};
use std::fmt;
use std::str::FromStr;

/// The longest prompt or answer that is planned: beyond it a typing error is more likely than a model.
pub const LONGEST: usize = 1 << 24;

/// How lengths of prompts or answers are spread, in tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum LengthDistribution {
    /// All alike.
    Fixed(usize),
    /// Every length of this range as likely as the others.
    Uniform(usize, usize),
    /// Normal, cut off below 1.
    Normal {
        /// The mean.
        mean: f64,
        /// The standard deviation.
        deviation: f64,
    },
    /// Log-normal, which real requests resemble: half are shorter than the median.
    LogNormal {
        /// The median.
        median: f64,
        /// The standard deviation of the natural logarithm.
        sigma: f64,
    },
}

impl LengthDistribution {
    /// A length.
    pub fn sample(self, random: &mut impl Rng) -> usize {
        let whole = |value: f64| (value.round() as usize).clamp(1, LONGEST);
        match self {
            Self::Fixed(length) => length,
            Self::Uniform(least, most) => random.random_range(least..=most),
            Self::Normal { mean, deviation } => {
                Normal::new(mean, deviation).map_or(whole(mean), |d| whole(d.sample(random)).min(self.nearly_most()))
            }
            Self::LogNormal { median, sigma } => LogNormal::new(median.ln(), sigma)
                .map_or(whole(median), |d| whole(d.sample(random)).min(self.nearly_most())),
        }
    }

    /// The length in the middle.
    pub fn middle(self) -> usize {
        match self {
            Self::Fixed(length) => length,
            Self::Uniform(least, most) => (least + most) / 2,
            Self::Normal { mean: middle, .. } | Self::LogNormal { median: middle, .. } => {
                (middle.round() as usize).max(1)
            }
        }
    }

    /// The longest: the few that a normal or log-normal distribution has beyond it are cut to it, as room for caches is made
    /// for it (4 deviations, or 3 of the logarithm).
    pub fn nearly_most(self) -> usize {
        let most = match self {
            Self::Fixed(length) => return length,
            Self::Uniform(_, most) => return most,
            Self::Normal { mean, deviation } => mean + 4.0 * deviation,
            Self::LogNormal { median, sigma } => median * (3.0 * sigma).exp(),
        };
        (most.ceil() as usize).clamp(1, LONGEST)
    }
}

impl fmt::Display for LengthDistribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(length) => write!(f, "{length}"),
            Self::Uniform(least, most) => write!(f, "uniform:{least}:{most}"),
            Self::Normal { mean, deviation } => write!(f, "normal:{mean}:{deviation}"),
            Self::LogNormal { median, sigma } => write!(f, "lognormal:{median}:{sigma}"),
        }
    }
}

impl FromStr for LengthDistribution {
    type Err = String;

    /// Reads `128`, `uniform:64:256`, `normal:128:32`, `lognormal:200:0.8`.
    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split(':').collect();
        let whole = |part: &str| match part.trim().parse::<usize>() {
            Ok(length) if (1..=LONGEST).contains(&length) => Ok(length),
            _ => Err(format!("`{text}`: `{part}` is not a number of tokens from 1 to {LONGEST}")),
        };
        let number = |part: &str, least: f64, most: f64| match part.trim().parse::<f64>() {
            Ok(value) if value >= least && value <= most => Ok(value),
            _ => Err(format!("`{text}`: `{part}` is not a number from {least} to {most}")),
        };
        match parts.as_slice() {
            [length] => Ok(Self::Fixed(whole(length)?)),
            ["uniform", least, most] => match (whole(least)?, whole(most)?) {
                (least, most) if least <= most => Ok(Self::Uniform(least, most)),
                _ => Err(format!("`{text}`: the range is the wrong way round")),
            },
            ["normal", mean, deviation] => Ok(Self::Normal {
                mean: number(mean, 1.0, LONGEST as f64)?,
                deviation: number(deviation, 0.0, LONGEST as f64)?,
            }),
            ["lognormal", median, sigma] => {
                Ok(Self::LogNormal { median: number(median, 1.0, LONGEST as f64)?, sigma: number(sigma, 0.0, 5.0)? })
            }
            _ => Err(format!("`{text}` is none of 128, uniform:64:256, normal:128:32, lognormal:200:0.8")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_xoshiro::Xoshiro256PlusPlus;

    #[test]
    fn texts_read_back_and_others_are_refused() {
        for text in ["128", "uniform:64:256", "normal:128:32", "lognormal:200:0.8"] {
            assert_eq!(text.parse::<LengthDistribution>().unwrap().to_string(), text);
        }
        for bad in
            ["0", "", "-3", "uniform:9:3", "normal:128", "normal:x:1", "lognormal:200:99", "zipf:3", "99999999999"]
        {
            assert!(bad.parse::<LengthDistribution>().is_err(), "{bad}");
        }
    }

    #[test]
    fn lengths_have_the_middle_that_was_asked_for() {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(1);
        for text in ["128", "uniform:64:192", "normal:128:32", "lognormal:128:0.8"] {
            let lengths: LengthDistribution = text.parse().unwrap();
            let mut drawn: Vec<usize> = (0..4001).map(|_| lengths.sample(&mut random)).collect();
            drawn.sort_unstable();
            assert!((drawn[2000] as f64 / 128.0 - 1.0).abs() < 0.05, "{text}: {}", drawn[2000]);
            assert!(drawn[0] >= 1 && drawn[3990] <= lengths.nearly_most());
        }
    }
}
