//! Own hardware against rented: after which month it has paid for itself.

use super::PlanOption;
use crate::catalog::{Catalog, Market};
use crate::record::Run;
use crate::sizing::price::cost::own::Own;
use crate::sizing::price::own::with_measured_power;
use crate::sizing::rank::request::RankRequest;
use crate::units::Usd;
use crate::units::money::CostInterval;
use serde::Serialize;

/// Own hardware for the demand, against the cheapest rented.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PurchaseOption {
    /// What it is called.
    pub own: String,
    /// Machines.
    pub machines: f64,
    /// What they cost to buy.
    pub capital: Usd,
    /// What a month of them costs then.
    pub running_usd_per_month: Usd,
    /// `provider:type` of what would be rented.
    pub rented: String,
    /// What a month of that costs.
    pub rented_usd_per_month: CostInterval,
    /// Months until what was spent is equal; `None` where it never is within the life of the hardware.
    pub break_even_month: Option<f64>,
    /// The same where renting costs the most and the least that it may.
    pub break_even_range: (Option<f64>, Option<f64>),
    /// Months that it is used.
    pub life_months: f64,
}

impl PurchaseOption {
    pub(super) fn sentence(&self) -> String {
        let (early, late) = self.break_even_range;
        let month = |month: Option<f64>| month.map_or("never".to_string(), |m| format!("month {}", m.ceil()));
        match self.break_even_month {
            Some(m) => format!(
                "{} x {} ({} to buy, {} a month to run) is cheaper than renting {} from month {} on ({} to {}).",
                self.machines,
                self.own,
                self.capital,
                self.running_usd_per_month,
                self.rented,
                m.ceil(),
                month(early),
                month(late)
            ),
            None => format!(
                "{} x {} ({} to buy, {} a month to run) does not pay for itself within its {} months against renting {}.",
                self.machines, self.own, self.capital, self.running_usd_per_month, self.life_months, self.rented
            ),
        }
    }
}

/// Months after which `capital` and `running` a month are together what renting costs: `K / (R - O)`, with interest
/// `-ln(1 - K r / (R - O)) / ln(1 + r)` at `r` a month. `None` where that is never.
pub fn break_even_months(capital: f64, running: f64, rented: f64, interest_per_year: f64) -> Option<f64> {
    let saved = rented - running;
    if saved <= 0.0 {
        return None;
    }
    let r = (1.0 + interest_per_year).powf(1.0 / 12.0) - 1.0;
    match r {
        0.0 => Some(capital / saved),
        r => {
            let left = 1.0 - capital * r / saved;
            (left > 0.0).then(|| -left.ln() / (1.0 + r).ln())
        }
    }
}

pub(super) fn against(
    options: &[PlanOption],
    run: &Run,
    catalog: &Catalog,
    request: &RankRequest,
    best: &PlanOption,
) -> Vec<PurchaseOption> {
    let mine = options.iter().filter(|option| option.row.market == Some(Market::OnPrem));
    let of = |option: &PlanOption| {
        let own = request.own.iter().find(|own| own.name == *option.row.instance_type)?;
        compare(&with_measured_power(own, run, catalog).ok()?, option, best)
    };
    mine.filter_map(of).collect()
}

fn compare(own: &Own, option: &PlanOption, best: &PlanOption) -> Option<PurchaseOption> {
    let machines = option.fleet.instances;
    let capital = Usd(own.capital_usd).times(machines)?;
    let running = own.hour()?.running_per_month(option.fleet.utilisation)?.times(machines)?;
    let rented = best.row.usd_per_month?;
    let life_months = own.life_years * 12.0;
    let at = |rented: Usd| {
        let months = break_even_months(capital.to_f64(), running.to_f64(), rented.to_f64(), own.interest_per_year);
        months.filter(|months| *months <= life_months)
    };
    Some(PurchaseOption {
        own: own.name.clone(),
        machines,
        capital,
        running_usd_per_month: running,
        rented: best.row.name(),
        rented_usd_per_month: rented,
        break_even_month: at(rented.value),
        break_even_range: (at(rented.hi), at(rented.lo)),
        life_months,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_costs_more_to_run_than_to_rent_never_pays() {
        assert_eq!(break_even_months(1000.0, 10.0, 10.0, 0.0), None);
        assert_eq!(break_even_months(1000.0, 10.0, 110.0, 0.0), Some(10.0));
        assert_eq!(break_even_months(1000.0, 0.0, 1.0, 0.5), None, "the interest eats all that is saved");
    }

    proptest! {
        #[test]
        fn by_the_month_it_is_the_same(capital in 1e3f64..1e6, saved in 1e2f64..1e5, interest in 0.0f64..0.2) {
            let Some(months) = break_even_months(capital, 50.0, 50.0 + saved, interest) else { return Ok(()) };
            prop_assume!(months < 2000.0);
            let r = (1.0 + interest).powf(1.0 / 12.0) - 1.0;
            let mut debt = capital;
            let mut month = 0;
            while debt > 1e-6 && month < 3000 {
                debt = debt * (1.0 + r) - saved;
                month += 1;
            }
            prop_assert!((f64::from(month) - months.ceil()).abs() <= 1.0, "{month} against {months}");
        }
    }
}
