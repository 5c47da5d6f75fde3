//! Hardware that is bought.
//!
//! An hour costs `capital + P_kW PUE p_kWh + facility + staff`, the capital spread over the life: without interest
//! `K (1 - s) / (Y 8760)`, with interest `(K - s K / (1 + i)^Y) i / (1 - (1 + i)^-Y) / 8760`.

use super::component::{Breakdown, Component};
use super::rented::Hours;
use super::{HOURS_PER_MONTH, HOURS_PER_YEAR};
use crate::catalog::text;
use crate::units::Usd;
use crate::units::money::CostInterval;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

/// Amounts above which something else is meant, and sums of which a decimal holds.
const MOST_USD: Decimal = Decimal::from_parts(3_567_587_328, 232, 0, false, 0);
const MOST_W: f64 = 1e9;
const MOST_YEARS: f64 = 50.0;
const MOST_PUE: f64 = 10.0;
const MOST_USD_PER_KWH: Decimal = Decimal::from_parts(5, 0, 0, false, 0);

/// Hardware of one's own, as a TOML file says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Own {
    /// What to call it.
    pub name: String,
    /// Id in accelerators.csv.
    pub accelerator: Option<String>,
    /// How many.
    pub accelerator_count: Option<f64>,
    /// Id in cpus.csv, of a machine without accelerators.
    pub cpu: Option<String>,
    /// Hardware threads.
    pub vcpus: Option<f64>,
    /// Memory of the host.
    pub memory_gib: Option<f64>,
    /// What the machine costs.
    #[serde(with = "rust_decimal::serde::float")]
    pub capital_usd: Decimal,
    /// Share of that which it can be sold for in the end.
    #[serde(default)]
    pub salvage_fraction: f64,
    /// Years that it is used.
    pub life_years: f64,
    /// Interest, 0.08 being 8 % a year.
    #[serde(default)]
    pub interest_per_year: f64,
    /// Power of the whole machine while it works; where it is not given, that of a run on this hardware.
    pub active_w: Option<f64>,
    /// Power while it waits; the active power where it is not given, which is the most that it can be.
    pub idle_w: Option<f64>,
    /// Power of what is beside the cards, on top of a measured power of theirs.
    pub host_w: Option<f64>,
    /// Power of the hall over power of its machines.
    pub pue: f64,
    /// Price of electricity.
    #[serde(with = "rust_decimal::serde::float")]
    pub usd_per_kwh: Decimal,
    /// Rooms, network and repairs of the machine.
    #[serde(default, with = "rust_decimal::serde::float")]
    pub facility_usd_per_h: Decimal,
    /// Its share of the people who run it.
    #[serde(default, with = "rust_decimal::serde::float")]
    pub staff_usd_per_month: Decimal,
    /// Carbon of its electricity.
    pub g_co2e_per_kwh: Option<f64>,
    /// Carbon of making it.
    pub embodied_kg_co2e: Option<f64>,
    /// Where the figures are from.
    #[serde(default)]
    pub source: String,
}

/// What an hour of own hardware costs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OwnHour {
    /// Capital with its interest.
    pub capital: Usd,
    /// Electricity while it works.
    pub active_energy: Usd,
    /// Electricity while it waits.
    pub idle_energy: Usd,
    /// Rooms and staff.
    pub facility: Usd,
}

impl Own {
    /// What cannot be.
    pub fn fault(&self) -> Option<String> {
        let positive = [
            ("life_years", Some(self.life_years)),
            ("active_w", self.active_w),
            ("host_w", self.host_w),
            ("accelerator_count", self.accelerator_count),
            ("vcpus", self.vcpus),
            ("memory_gib", self.memory_gib),
        ];
        for (name, value) in positive {
            if let Some(value) = value.filter(|v| !(v.is_finite() && *v > 0.0)) {
                return Some(format!("{name} is {value}; it must be above 0"));
            }
        }
        if text::fault(&self.name).is_some() {
            return Some(format!("name is `{}`; give it letters and digits", text::shown(&self.name)));
        }
        if self.life_years > MOST_YEARS {
            return Some(format!(
                "life_years is {}; nobody keeps a machine for more than {MOST_YEARS}",
                self.life_years
            ));
        }
        if !(1.0..=MOST_PUE).contains(&self.pue) {
            return Some(format!("pue is {}; it cannot be below 1 nor above {MOST_PUE}", self.pue));
        }
        for (name, value) in [("g_co2e_per_kwh", self.g_co2e_per_kwh), ("embodied_kg_co2e", self.embodied_kg_co2e)] {
            if let Some(value) = value.filter(|v| !(v.is_finite() && *v >= 0.0)) {
                return Some(format!("{name} is {value}; it must not be below 0"));
            }
        }
        if self.usd_per_kwh > MOST_USD_PER_KWH {
            return Some(format!("usd_per_kwh is {}, above {MOST_USD_PER_KWH}: is it in cents?", self.usd_per_kwh));
        }
        if !(0.0..1.0).contains(&self.salvage_fraction) || !(0.0..1.0).contains(&self.interest_per_year) {
            return Some("salvage_fraction and interest_per_year are shares from 0 to below 1".to_string());
        }
        if self.idle_w.is_some_and(|w| !(w >= 0.0 && w <= self.active_w.unwrap_or(MOST_W))) {
            return Some("idle_w must be between 0 and active_w".to_string());
        }
        let money = [self.capital_usd, self.usd_per_kwh, self.facility_usd_per_h, self.staff_usd_per_month];
        if money.iter().any(|usd| usd.is_sign_negative()) || self.capital_usd.is_zero() {
            return Some("capital_usd must be above 0, and no other amount below".to_string());
        }
        if money.iter().any(|usd| *usd > MOST_USD) || self.active_w.is_some_and(|w| w > MOST_W) {
            return Some(format!("an amount is above {MOST_USD} USD, or a power above {MOST_W} W"));
        }
        match (&self.accelerator, self.accelerator_count, &self.cpu) {
            (Some(_), Some(_), _) | (None, None, Some(_)) => {
                let busy = self.hour().map(|hour| hour.busy());
                busy.and_then(Usd::hourly_fault).map(|why| format!("it comes to {why}"))
            }
            _ => Some("give accelerator and accelerator_count, or cpu with vcpus and memory_gib".to_string()),
        }
    }

    /// What an hour costs; `None` beyond what a decimal holds, or where its power is not known.
    pub fn hour(&self) -> Option<OwnHour> {
        let years = self.life_years;
        let capital_share = match self.interest_per_year {
            0.0 => (1.0 - self.salvage_fraction) / years,
            i => {
                let grown = (1.0 + i).powf(years);
                (1.0 - self.salvage_fraction / grown) * i / (1.0 - 1.0 / grown)
            }
        };
        let kwh = |watts: f64| Usd(self.usd_per_kwh).times(watts / 1000.0 * self.pue);
        let staff = Usd(self.staff_usd_per_month).times(1.0 / HOURS_PER_MONTH)?;
        Some(OwnHour {
            capital: Usd(self.capital_usd).times(capital_share / HOURS_PER_YEAR)?,
            active_energy: kwh(self.active_w?)?,
            idle_energy: kwh(self.idle_w.or(self.active_w)?)?,
            facility: Usd(self.facility_usd_per_h.checked_add(staff.0)?),
        })
    }
}

impl OwnHour {
    /// All of it while the machine works.
    pub fn busy(&self) -> Usd {
        Usd(self.capital.0 + self.active_energy.0 + self.facility.0)
    }

    /// What each further month costs once the machine is bought, at a utilisation.
    pub fn running_per_month(&self, utilisation: f64) -> Option<Usd> {
        let energy = self.active_energy.times(utilisation)?.0 + self.idle_energy.times(1.0 - utilisation)?.0;
        Usd(energy.checked_add(self.facility.0)?).times(HOURS_PER_MONTH)
    }

    /// What an hour costs by component while it works.
    pub fn working(&self) -> [(Component, Usd); 3] {
        [
            (Component::Compute, self.capital),
            (Component::Energy, self.active_energy),
            (Component::Facility, self.facility),
        ]
    }

    /// What an hour costs by component while it waits.
    pub fn waiting(&self) -> [(Component, Usd); 1] {
        [(Component::Idle, Usd(self.capital.0 + self.idle_energy.0 + self.facility.0))]
    }

    /// What a request costs that takes these hours. Waiting takes capital, rooms and the idle power with it.
    pub fn cost(&self, hours: [Hours; 3]) -> Option<Breakdown> {
        let mut breakdown = Breakdown::default();
        let working =
            self.working().map(|(component, price)| (component, price, (|h: &Hours| h.busy) as fn(&Hours) -> f64));
        let waiting =
            self.waiting().map(|(component, price)| (component, price, (|h: &Hours| h.idle) as fn(&Hours) -> f64));
        for (component, price, part) in working.into_iter().chain(waiting) {
            let [value, one, other] =
                [price.times(part(&hours[0]))?, price.times(part(&hours[1]))?, price.times(part(&hours[2]))?];
            breakdown.add(component, CostInterval::new(value, one, other))?;
        }
        Some(breakdown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data_file::parse_toml;
    use crate::sizing::price::cost::rented;
    use crate::sizing::price::demand::Usage;
    use crate::units::interval::Interval;

    fn node() -> Own {
        parse_toml("own.toml", include_str!("../../../../../../instance-catalog/own/8xh100.toml")).unwrap()
    }

    /// The worked example: 8 H100 for 310,000 USD over 4 years, 10.2 kW, PUE 1.3, 0.09 USD/kWh.
    #[test]
    fn the_worked_example_comes_out() {
        let hour = node().hour().unwrap();
        let per_gpu = |usd: Usd| usd.to_f64() / 8.0;
        assert!((per_gpu(hour.capital) - 1.106).abs() < 5e-4, "{}", per_gpu(hour.capital));
        assert!((per_gpu(hour.active_energy) - 0.149).abs() < 5e-4, "{}", per_gpu(hour.active_energy));
        assert!((per_gpu(hour.facility) - 0.18).abs() < 5e-3);
        assert!((per_gpu(hour.busy()) - 1.43).abs() < 6e-3, "{}", per_gpu(hour.busy()));
        // At half the use, and a draw that does not fall, a useful hour costs twice that.
        let at = |share: f64| {
            let hours =
                rented::hours_interval(Interval::exact(1.0 / 3600.0), Interval::exact(1.0), &Usage::Share(share));
            let hour = OwnHour { idle_energy: hour.active_energy, ..hour };
            hour.cost(hours.unwrap()).unwrap().total().unwrap().value.to_f64() / 8.0
        };
        assert!((at(0.5) - 2.87).abs() < 1e-2, "{}", at(0.5));
        assert!((at(1.0) - per_gpu(hour.busy())).abs() < 1e-9);
    }

    #[test]
    fn interest_and_salvage_are_an_annuity() {
        let own = Own { interest_per_year: 0.08, salvage_fraction: 0.1, ..node() };
        let yearly = own.hour().unwrap().capital.to_f64() * HOURS_PER_YEAR;
        // Paid over four years at 8 %, the payments are worth the price less the present worth of what is left.
        let worth: f64 = (1..=4).map(|year| yearly / 1.08f64.powi(year)).sum();
        assert!((worth - (310_000.0 - 31_000.0 / 1.08f64.powi(4))).abs() < 1.0, "{worth}");
    }

    #[test]
    fn what_cannot_be_is_said() {
        for (own, part) in [
            (Own { life_years: 0.0, ..node() }, "life_years"),
            (Own { pue: 0.9, ..node() }, "pue"),
            (Own { salvage_fraction: 1.0, ..node() }, "salvage"),
            (Own { life_years: -4.0, ..node() }, "life_years"),
            (Own { life_years: f64::NAN, ..node() }, "life_years"),
            (Own { life_years: 4000.0, ..node() }, "life_years"),
            (Own { life_years: 1e-6, ..node() }, "no machine costs"),
            (Own { pue: f64::NAN, ..node() }, "pue"),
            (Own { pue: 130.0, ..node() }, "pue"),
            (Own { interest_per_year: f64::NAN, ..node() }, "interest"),
            (Own { interest_per_year: 8.0, ..node() }, "interest"),
            (Own { salvage_fraction: -0.1, ..node() }, "salvage"),
            (Own { active_w: Some(f64::INFINITY), ..node() }, "active_w"),
            (Own { active_w: Some(-1.0), ..node() }, "active_w"),
            (Own { usd_per_kwh: Decimal::from(-1), ..node() }, "no other amount below"),
            (Own { usd_per_kwh: Decimal::from(9), ..node() }, "cents"),
            (Own { staff_usd_per_month: Decimal::from(-1), ..node() }, "no other amount below"),
            (Own { capital_usd: Decimal::from(-310_000), ..node() }, "capital"),
            (Own { g_co2e_per_kwh: Some(-1.0), ..node() }, "g_co2e_per_kwh"),
            (Own { embodied_kg_co2e: Some(f64::NAN), ..node() }, "embodied"),
            (Own { accelerator_count: Some(f64::NAN), ..node() }, "accelerator_count"),
            (Own { name: "\u{1b}[31m".into(), ..node() }, "name"),
            (Own { idle_w: Some(1e7), ..node() }, "idle_w"),
            (Own { capital_usd: Decimal::ZERO, ..node() }, "capital"),
            (Own { accelerator: None, ..node() }, "accelerator"),
        ] {
            assert!(own.fault().unwrap().contains(part), "{part}");
        }
        assert_eq!(node().fault(), None);
    }
}
