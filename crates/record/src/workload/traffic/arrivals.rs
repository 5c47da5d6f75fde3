//! Arrival processes: the times at which requests are due, as seconds from the start, known before anything is sent.

use rand::{Rng, SeedableRng};
use rand_distr::{Distribution, Exp1, Gamma};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::fmt;
use std::str::FromStr;

/// How requests come in an open loop of a given mean rate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Arrivals {
    /// Gaps are exponential: many independent users.
    Poisson,
    /// Gaps are equal.
    Constant,
    /// Gaps are gamma distributed with this shape, as in vLLM's `--burstiness`: below 1 comes in bursts, 1 is Poisson,
    /// above 1 is more even. The coefficient of variation of the gaps is `1 / sqrt(shape)`.
    Gamma {
        /// The shape.
        shape: f64,
    },
    /// A Poisson process whose rate goes in a straight line from this one to the rate of the step.
    Ramp {
        /// Requests a second at the start.
        from: f64,
    },
}

impl Arrivals {
    /// The name in records: `open_poisson` and so on.
    pub fn name(self) -> &'static str {
        match self {
            Self::Poisson => "open_poisson",
            Self::Constant => "open_constant",
            Self::Gamma { .. } => "open_gamma",
            Self::Ramp { .. } => "open_ramp",
        }
    }

    /// Requests a second over the whole step.
    pub fn mean_rate(self, rate: f64) -> f64 {
        match self {
            Self::Ramp { from } => (from + rate) / 2.0,
            _ => rate,
        }
    }
}

impl fmt::Display for Arrivals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Poisson => write!(f, "poisson"),
            Self::Constant => write!(f, "constant"),
            Self::Gamma { shape } => write!(f, "gamma:{shape}"),
            Self::Ramp { from } => write!(f, "ramp:{from}"),
        }
    }
}

impl FromStr for Arrivals {
    type Err = String;

    /// Reads `poisson`, `constant`, `gamma:0.5`, `ramp:2`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, number) = text.split_once(':').map_or((text, None), |(name, number)| (name, Some(number)));
        // Beyond these a gap is longer than a clock counts, or all are alike.
        let within = |what: &str, least: f64, most: f64| match number.map(str::parse::<f64>) {
            Some(Ok(value)) if (least..=most).contains(&value) => Ok(value),
            _ => Err(format!("`{text}`: {name} needs {what} from {least} to {most}, such as {name}:0.5")),
        };
        match (name, number) {
            ("poisson", None) => Ok(Self::Poisson),
            ("constant", None) => Ok(Self::Constant),
            ("gamma", _) => Ok(Self::Gamma { shape: within("a shape", 0.001, 1e6)? }),
            ("ramp", _) => Ok(Self::Ramp { from: within("a first rate", 1e-6, 1e9)? }),
            _ => Err(format!("`{text}` is none of poisson, constant, gamma:SHAPE, ramp:FROM")),
        }
    }
}

/// The times of one step, one after the other, without an end of its own unless a ramp gives it one.
#[derive(Debug, Clone)]
pub struct Schedule {
    arrivals: Arrivals,
    rate: f64,
    /// Seconds over which a ramp rises.
    seconds: f64,
    random: Xoshiro256PlusPlus,
    count: u64,
    /// Seconds of the last request, or of a ramp the expected number of requests by then.
    reached: f64,
}

impl Schedule {
    /// Requests at `rate` a second; a ramp reaches it after `seconds`.
    pub fn new(arrivals: Arrivals, rate: f64, seconds: f64, seed: u64) -> Self {
        let random = Xoshiro256PlusPlus::seed_from_u64(seed ^ 0x5eed_0f7a_ff1c);
        Self { arrivals, rate, seconds, random, count: 0, reached: 0.0 }
    }
}

impl Iterator for Schedule {
    type Item = f64;

    fn next(&mut self) -> Option<f64> {
        self.count += 1;
        match self.arrivals {
            // From the number rather than by adding up, so that nothing drifts over a long run.
            Arrivals::Constant => return Some((self.count - 1) as f64 / self.rate),
            Arrivals::Poisson => self.reached += self.random.sample::<f64, _>(Exp1) / self.rate,
            Arrivals::Gamma { shape } => {
                let gaps = Gamma::new(shape, 1.0 / (shape * self.rate)).ok()?;
                self.reached += gaps.sample(&mut self.random);
            }
            Arrivals::Ramp { from } => {
                self.reached += self.random.sample::<f64, _>(Exp1);
                // The time at which `from t + slope t^2 / 2` requests are expected.
                let slope = (self.rate - from) / self.seconds;
                let inner = from * from + 2.0 * slope * self.reached;
                let time = if inner < 0.0 { f64::INFINITY } else { 2.0 * self.reached / (from + inner.sqrt()) };
                return (time <= self.seconds).then_some(time);
            }
        }
        Some(self.reached)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn gaps(arrivals: Arrivals, count: usize) -> Vec<f64> {
        let times: Vec<f64> = Schedule::new(arrivals, 50.0, 1.0, 7).take(count).collect();
        times.windows(2).map(|pair| pair[1] - pair[0]).collect()
    }

    fn mean_and_variation(values: &[f64]) -> (f64, f64) {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64;
        (mean, variance.sqrt() / mean)
    }

    #[test]
    fn gaps_have_the_mean_and_the_spread_that_were_asked_for() {
        for (arrivals, variation) in [
            (Arrivals::Poisson, 1.0),
            (Arrivals::Constant, 0.0),
            (Arrivals::Gamma { shape: 0.25 }, 2.0),
            (Arrivals::Gamma { shape: 4.0 }, 0.5),
        ] {
            let (mean, spread) = mean_and_variation(&gaps(arrivals, 200_000));
            assert!((mean * 50.0 - 1.0).abs() < 0.02, "{arrivals}: mean {mean}");
            assert!((spread - variation).abs() < 0.02, "{arrivals}: variation {spread}");
        }
    }

    #[test]
    fn a_ramp_rises_in_a_straight_line_and_ends() {
        let times: Vec<f64> = Schedule::new(Arrivals::Ramp { from: 100.0 }, 900.0, 100.0, 3).collect();
        let within = |from: f64, to: f64| times.iter().filter(|t| (from..to).contains(*t)).count() as f64;
        assert!((times.len() as f64 / 50_000.0 - 1.0).abs() < 0.02);
        assert!((within(0.0, 50.0) / 15_000.0 - 1.0).abs() < 0.03);
        assert!((within(50.0, 100.0) / 35_000.0 - 1.0).abs() < 0.03);
        let falling: Vec<f64> = Schedule::new(Arrivals::Ramp { from: 900.0 }, 100.0, 100.0, 3).collect();
        assert!((falling.len() as f64 / 50_000.0 - 1.0).abs() < 0.02);
    }

    #[test]
    fn names_read_back_and_others_are_refused() {
        for text in ["poisson", "constant", "gamma:0.5", "ramp:2"] {
            assert_eq!(text.parse::<Arrivals>().unwrap().to_string(), text);
        }
        for bad in ["", "gamma", "gamma:0", "gamma:x", "gamma:1e-300", "gamma:NaN", "ramp:-1", "poisson:3", "uniform"] {
            assert!(bad.parse::<Arrivals>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn times_never_go_back(seed: u64, shape in 0.05f64..20.0, rate in 0.01f64..1e5) {
            for arrivals in [Arrivals::Poisson, Arrivals::Constant, Arrivals::Gamma { shape }, Arrivals::Ramp { from: shape }] {
                let times: Vec<f64> = Schedule::new(arrivals, rate, 10.0, seed).take(200).collect();
                prop_assert!(times.windows(2).all(|pair| pair[1] >= pair[0]));
                prop_assert!(times.iter().all(|t| t.is_finite() && *t >= 0.0));
            }
        }
    }
}
