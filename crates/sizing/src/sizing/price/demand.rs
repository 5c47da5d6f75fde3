//! How much is asked of a service, and how many whole instances that takes.

use crate::sizing::formulas;
use serde::Serialize;
use std::path::Path;

/// Requests a second over the day, or users who ask one after the other.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Load {
    /// Requests a second, one value for each equal part of the day (24 of them are hours).
    Rates(Vec<f64>),
    /// Users who wait for an answer and then think: `N / (think + E2E)` requests a second.
    Users {
        /// How many are there at a time.
        users: f64,
        /// Seconds between an answer and the next request.
        think_s: f64,
    },
}

/// What a service has to keep up with.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Demand {
    /// What comes in.
    pub load: Load,
    /// Share of its sustained rate that an instance is loaded to at the peak.
    pub headroom: f64,
    /// Instances that may fail while the rest still carries the peak.
    pub spare: usize,
    /// Instances follow the load over the day, rather than its peak all day.
    pub autoscale: bool,
}

/// How much of the paid time is used.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Usage {
    /// This share, 1 being the bound that no service reaches.
    Share(f64),
    /// As follows from whole instances.
    Demand(Demand),
}

/// Whole instances of one type.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Fleet {
    /// Instances at the peak, spares included.
    pub instances: f64,
    /// Instances over the day in the mean.
    pub mean_instances: f64,
    /// Requests a second in the mean.
    pub requests_per_s: f64,
    /// `mean rate / (mean instances x rate of one)`.
    pub utilisation: f64,
}

impl Load {
    /// Requests a second over the day, of requests that take `e2e_s`.
    pub fn rates(&self, e2e_s: f64) -> Vec<f64> {
        match self {
            Self::Rates(rates) => rates.clone(),
            Self::Users { users, think_s } => vec![formulas::rate_of_users(*users, *think_s, e2e_s)],
        }
    }

    /// Reads a day: CSV with the columns `hour` and `requests_per_s`, 24 rows, or any number of equal parts of the day.
    pub fn read(path: &Path) -> Result<Self, String> {
        let name = path.display();
        let mut reader = csv::Reader::from_path(path).map_err(|e| format!("{name}: {e}"))?;
        let headers = reader.headers().map_err(|e| format!("{name}: {e}"))?.clone();
        let column = headers.iter().position(|h| h.trim() == "requests_per_s");
        let column = column.ok_or(format!("{name}:1: there is no column requests_per_s (and one of the hour)"))?;
        let mut rates = Vec::new();
        for (index, record) in reader.records().enumerate() {
            let line = index + 2;
            let record = record.map_err(|e| format!("{name}:{line}: {e}"))?;
            let rate: f64 = record[column].trim().parse().map_err(|e| format!("{name}:{line}: requests_per_s: {e}"))?;
            if !(rate.is_finite() && rate >= 0.0) {
                return Err(format!("{name}:{line}: requests_per_s is {rate}; it must be 0 or more"));
            }
            rates.push(rate);
        }
        if rates.iter().any(|rate| *rate > 0.0) {
            Ok(Self::Rates(rates))
        } else {
            Err(format!("{name}: no request all day: nothing to plan for"))
        }
    }
}

impl Usage {
    /// A constant share of peak.
    pub fn rate(mean: f64, peak: f64, headroom: f64, spare: usize) -> Self {
        // Two halves of a day whose mean and greatest value are those asked for, where a half can be so low.
        let rates = if peak >= 2.0 * mean {
            let parts = (peak / mean).ceil() as usize;
            let mut rates = vec![(mean * parts as f64 - peak).max(0.0) / (parts.max(2) - 1) as f64; parts.max(2)];
            rates[0] = peak;
            rates
        } else {
            vec![peak, 2.0 * mean - peak]
        };
        Self::Demand(Demand { load: Load::Rates(rates), headroom, spare, autoscale: false })
    }

    /// The demand, where there is one.
    pub fn demand(&self) -> Option<&Demand> {
        match self {
            Self::Share(_) => None,
            Self::Demand(demand) => Some(demand),
        }
    }

    /// The same with the instances of the peak all day.
    pub fn all_day(&self) -> Self {
        match self {
            Self::Demand(demand) => Self::Demand(Demand { autoscale: false, ..demand.clone() }),
            share => share.clone(),
        }
    }

    /// The same demand `factor` times as large.
    pub fn scaled(&self, factor: f64) -> Self {
        let Self::Demand(demand) = self else { return self.clone() };
        let load = match &demand.load {
            Load::Rates(rates) => Load::Rates(rates.iter().map(|rate| rate * factor).collect()),
            Load::Users { users, think_s } => Load::Users { users: users * factor, think_s: *think_s },
        };
        Self::Demand(Demand { load, ..demand.clone() })
    }

    /// Requests a second in the mean; `None` where only a share is known.
    pub fn mean_rate(&self, e2e_s: f64) -> Option<f64> {
        let rates = self.demand()?.load.rates(e2e_s);
        Some(rates.iter().sum::<f64>() / rates.len() as f64)
    }

    /// Whole instances of a type that sustains `requests_per_s`; `None` where that is not above 0.
    pub fn fleet(&self, requests_per_s: f64, e2e_s: f64) -> Option<Fleet> {
        if !(requests_per_s.is_finite() && requests_per_s > 0.0) {
            return None;
        }
        let Self::Demand(demand) = self else {
            let Self::Share(share) = self else { return None };
            return Some(Fleet {
                instances: 1.0,
                mean_instances: 1.0,
                requests_per_s: share * requests_per_s,
                utilisation: *share,
            });
        };
        let rates = demand.load.rates(e2e_s);
        let mean = rates.iter().sum::<f64>() / rates.len() as f64;
        let peak = rates.iter().copied().fold(0.0, f64::max);
        let needed = |rate: f64| formulas::instances_for(rate, requests_per_s, demand.headroom, demand.spare as f64);
        let instances = needed(peak).max(1.0);
        let mean_instances = if demand.autoscale {
            rates.iter().map(|rate| needed(*rate)).sum::<f64>() / rates.len() as f64
        } else {
            instances
        };
        let utilisation = formulas::utilisation(mean, mean_instances, requests_per_s);
        let possible = mean_instances > 0.0 && utilisation.is_finite() && utilisation > 0.0;
        possible.then_some(Fleet { instances, mean_instances, requests_per_s: mean, utilisation: utilisation.min(1.0) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_peak_takes_whole_instances_and_one_may_fail() {
        let demand = Demand { load: Load::Rates(vec![2.0, 10.0]), headroom: 0.7, spare: 0, autoscale: false };
        let fleet = |demand: &Demand| Usage::Demand(demand.clone()).fleet(4.0, 1.0).unwrap();
        // 10 / (4 x 0.7) = 3.6: four instances for a mean of 6 requests a second.
        let four = fleet(&demand);
        assert_eq!((four.instances, four.requests_per_s, four.utilisation), (4.0, 6.0, 6.0 / 16.0));
        let spare = fleet(&Demand { spare: 1, ..demand.clone() });
        assert_eq!((spare.instances, spare.utilisation), (5.0, 6.0 / 20.0));
        let scaled = fleet(&Demand { autoscale: true, ..demand });
        assert_eq!((scaled.instances, scaled.mean_instances), (4.0, 2.5));
        assert_eq!(Usage::Share(0.4).fleet(4.0, 1.0).unwrap().utilisation, 0.4);
        assert!(Usage::Share(1.0).fleet(0.0, 1.0).is_none());
    }

    #[test]
    fn users_ask_again_when_they_have_read() {
        let load = Load::Users { users: 100.0, think_s: 8.0 };
        assert_eq!(load.rates(2.0), [10.0]);
    }

    proptest! {
        #[test]
        fn mean_and_peak_come_back(mean in 1e-3f64..1e3, burst in 1.0f64..20.0) {
            let Usage::Demand(demand) = Usage::rate(mean, mean * burst, 1.0, 0) else { unreachable!() };
            let rates = demand.load.rates(1.0);
            prop_assert!((rates.iter().sum::<f64>() / rates.len() as f64 / mean - 1.0).abs() < 1e-9);
            prop_assert!((rates.iter().copied().fold(0.0, f64::max) / (mean * burst) - 1.0).abs() < 1e-9);
        }

        #[test]
        fn the_peak_fits_what_is_bought(rate in 1e-2f64..1e2, peak in 1e-2f64..1e4, headroom in 0.1f64..1.0) {
            let fleet = Usage::rate(peak / 2.0, peak, headroom, 0).fleet(rate, 1.0).unwrap();
            prop_assert!(fleet.instances * rate * headroom >= peak * (1.0 - 1e-6));
            prop_assert!((fleet.instances - 1.0) * rate * headroom < peak);
            prop_assert!(fleet.utilisation <= headroom + 1e-9 || fleet.instances == 1.0);
        }
    }
}
