//! What a ranking is asked for.

use crate::catalog::Market;
use crate::record::{Basis, Run, Slo};
use crate::sizing::price::cost::own::Own;
use crate::sizing::price::service::Service;
use crate::sizing::speed::points::RequestedLengths;
use crate::units::{Bytes, Usd};
use crate::workload::Quant;
use jiff::civil::Date;
use std::sync::Arc;

/// What the user says of the machine that was measured, where it cannot be recognised or the price differs.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MachinePrice {
    /// `(provider, instance type)`.
    pub instance: Option<(String, String)>,
    /// Price of an hour.
    pub usd_per_h: Option<Usd>,
}

impl MachinePrice {
    /// Reads `provider:type`.
    pub fn parse_instance(text: &str) -> Result<(String, String), String> {
        match text.split_once(':') {
            Some((provider, name)) if !provider.is_empty() && !name.is_empty() => {
                Ok((provider.to_lowercase(), name.to_string()))
            }
            _ => Err(format!("`{text}` is not like provider:type, for example aws:m7a.large")),
        }
    }
}

/// How old prices may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Freshness {
    /// Older prices are left out; without it they are ranked with a warning from 30 days on (spot: 1).
    pub max_age_days: Option<i64>,
    /// Old prices are ranked whatever their age, those that are known to be out of date too.
    pub allow_stale: bool,
}

/// A ranking to make.
#[derive(Debug, Clone, PartialEq)]
pub struct RankRequest {
    /// Quantization levels to rank; empty is the highest precision that was measured, at most 16 bits.
    pub quants: Vec<Quant>,
    /// Lengths of the requests.
    pub wanted: RequestedLengths,
    /// Limits that a row must keep.
    pub slo: Slo,
    /// Markets to rank; empty is on demand only.
    pub markets: Vec<Market>,
    /// Only these providers.
    pub providers: Vec<String>,
    /// Only these regions.
    pub regions: Vec<String>,
    /// Only these accelerators.
    pub gpus: Vec<String>,
    /// Least memory of an accelerator, or of a host without one.
    pub least_memory: Option<Bytes>,
    /// Only figures of this basis.
    pub only: Option<Basis>,
    /// Every region of a type, rather than its cheapest.
    pub all_regions: bool,
    /// The machine that was measured.
    pub machine: MachinePrice,
    /// Hardware of one's own, to rank beside the offers.
    pub own: Vec<Own>,
    /// What is known of the service.
    pub service: Service,
    /// How old prices may be.
    pub freshness: Freshness,
    /// The day that ages are counted to.
    pub today: Date,
    /// Further measurements that projections learn from, beside those that are ranked and those that the program carries.
    pub evidence: Arc<Vec<Run>>,
}

impl RankRequest {
    /// The default ranking of a day.
    pub fn on(today: Date) -> Self {
        Self {
            quants: Vec::new(),
            wanted: RequestedLengths::default(),
            slo: Slo::default(),
            markets: Vec::new(),
            providers: Vec::new(),
            regions: Vec::new(),
            gpus: Vec::new(),
            least_memory: None,
            only: None,
            all_regions: false,
            machine: MachinePrice::default(),
            own: Vec::new(),
            service: Service::default(),
            freshness: Freshness::default(),
            today,
            evidence: Arc::default(),
        }
    }

    /// Whether a market is among those that were asked for.
    pub fn wants(&self, market: Market) -> bool {
        if self.markets.is_empty() { market == Market::OnDemand } else { self.markets.contains(&market) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_are_read() {
        assert_eq!(MachinePrice::parse_instance("AWS:m7a.large"), Ok(("aws".into(), "m7a.large".into())));
        assert!(MachinePrice::parse_instance("m7a.large").is_err());
    }
}
