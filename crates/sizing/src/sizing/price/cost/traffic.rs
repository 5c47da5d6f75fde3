//! Disks and traffic to the users.

use super::HOURS_PER_MONTH;
use super::SECONDS_PER_MONTH;
use crate::catalog::facts::Adder;
use crate::sizing::formulas;
use crate::units::Usd;
use rust_decimal::Decimal;

/// What an hour of `gb` of disk costs: `S p / 730`.
pub fn disk_per_h(gb: f64, usd_per_gb_month: Usd) -> Option<Usd> {
    usd_per_gb_month.times(gb / HOURS_PER_MONTH)
}

/// What `gb` of traffic in a month cost by tiers, each of which holds for the part of the volume within it. `None` where
/// the tiers do not reach so far.
pub fn egress_of_month(gb: f64, tiers: &[&Adder]) -> Option<Usd> {
    let mut sum = Decimal::ZERO;
    let mut covered: f64 = 0.0;
    let mut sorted: Vec<&&Adder> = tiers.iter().collect();
    sorted.sort_by(|a, b| a.tier_from_gb.unwrap_or(0.0).total_cmp(&b.tier_from_gb.unwrap_or(0.0)));
    for tier in sorted {
        let (from, to) = (tier.tier_from_gb.unwrap_or(0.0), tier.tier_to_gb.unwrap_or(f64::INFINITY));
        let within = formulas::gb_in_tier(gb, from, to);
        sum = sum.checked_add(Usd(tier.usd).times(within)?.0)?;
        covered = covered.max(to);
    }
    (covered >= gb).then_some(Usd(sum))
}

/// What the answer of one request costs to send, at `requests_per_s` in all; `None` for the rate is the first tier.
pub fn egress_per_request(bytes: f64, requests_per_s: Option<f64>, tiers: &[&Adder]) -> Option<Usd> {
    match requests_per_s.filter(|rate| rate * SECONDS_PER_MONTH > 0.0) {
        None => {
            let first = tiers.iter().find(|tier| tier.tier_from_gb.unwrap_or(0.0) == 0.0)?;
            Usd(first.usd).times(bytes / formulas::BYTES_PER_GB)
        }
        Some(rate) => {
            egress_of_month(formulas::gb_of_month(rate, bytes), tiers)?.times(1.0 / (rate * SECONDS_PER_MONTH))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Catalog;
    use crate::catalog::facts::AdderKind;

    #[test]
    fn tiers_hold_for_the_part_within_them() {
        let catalog = Catalog::embedded().unwrap();
        let tiers = catalog.adders_of("aws", "us-east-1", AdderKind::Egress);
        let month = |gb: f64| egress_of_month(gb, &tiers).unwrap().to_f64();
        assert!((month(1000.0) - 90.0).abs() < 1e-9);
        assert!((month(20_480.0) - (10_240.0 * 0.09 + 10_240.0 * 0.085)).abs() < 1e-6);
        let tokyo = catalog.adders_of("aws", "ap-northeast-1", AdderKind::Egress);
        assert!((egress_of_month(100.0, &tokyo).unwrap().to_f64() - 11.4).abs() < 1e-9);
        assert_eq!(egress_per_request(1e9, None, &tiers), Some(Usd(Decimal::new(9, 2))));
        let much = egress_per_request(1e9, Some(1.0), &tiers).unwrap().to_f64();
        assert!(much < 0.09 && much > 0.05, "{much}");
        assert_eq!(egress_per_request(1.0, None, &[]), None);
    }

    /// 40 GB of EBS gp3 cost 3.20 USD a month.
    #[test]
    fn a_disk_of_a_month() {
        let catalog = Catalog::embedded().unwrap();
        let disk = catalog.adders_of("aws", "us-east-1", AdderKind::Disk)[0];
        let month = disk_per_h(40.0, Usd(disk.usd)).unwrap().times(HOURS_PER_MONTH).unwrap();
        assert_eq!(month.0.round_dp(6), Decimal::new(320, 2));
    }
}
