//! What a ranking is asked for.

use crate::catalog::Market;
use crate::record::{Basis, Run};
use crate::sizing::price::cost::own::Own;
use crate::sizing::price::service::Service;
use crate::sizing::speed::points::Wanted;
use crate::units::{Bytes, Seconds, Usd, parse_seconds};
use crate::workload::Quant;
use jiff::civil::Date;
use std::str::FromStr;
use std::sync::Arc;

/// Limits on a time of a case.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Tails {
    /// Most seconds of the 90th percentile.
    pub p90: Option<Seconds>,
    /// Most seconds of the 99th percentile.
    pub p99: Option<Seconds>,
}

/// Limits on the times of a case: on medians, and on percentiles where those were measured.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Slo {
    /// Most seconds to the first token.
    pub ttft: Option<Seconds>,
    /// Most seconds per token.
    pub tpot: Option<Seconds>,
    /// Most seconds for a request.
    pub e2e: Option<Seconds>,
    /// The same of percentiles, in that order.
    pub tails: [Tails; 3],
}

/// The names of the times, in the order of [`Slo::tails`].
const TIMES: [&str; 3] = ["ttft", "tpot", "e2e"];

impl Slo {
    /// A percentile has a limit.
    pub fn has_tails(&self) -> bool {
        self.tails != [Tails::default(); 3]
    }

    /// Every limit, as `(TTFT (median), limit)`.
    pub fn named(&self) -> Vec<(String, Seconds)> {
        let medians = [self.ttft, self.tpot, self.e2e];
        let mut named = Vec::new();
        for ((name, median), tails) in TIMES.iter().zip(medians).zip(self.tails) {
            let name = name.to_uppercase();
            let all = [("(median)", median), ("p90", tails.p90), ("p99", tails.p99)];
            named.extend(all.into_iter().filter_map(|(which, limit)| Some((format!("{name} {which}"), limit?))));
        }
        named
    }
}

impl FromStr for Slo {
    type Err = String;

    /// Reads `ttft=500ms,tpot=50ms,e2e=2s,ttft_p99=1s`.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut slo = Slo::default();
        for part in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
            let (name, limit) = part.split_once('=').ok_or_else(|| format!("`{part}` is not like ttft=500ms"))?;
            let limit = Some(parse_seconds(limit)?);
            let (time, percentile) = name.trim().split_once("_p").unwrap_or((name.trim(), "50"));
            let index = TIMES.iter().position(|known| *known == time);
            match (index, percentile) {
                (Some(0), "50") => slo.ttft = limit,
                (Some(1), "50") => slo.tpot = limit,
                (Some(2), "50") => slo.e2e = limit,
                (Some(index), "90") => slo.tails[index].p90 = limit,
                (Some(index), "99") => slo.tails[index].p99 = limit,
                _ => {
                    return Err(format!(
                        "`{}` is not a limit; there are ttft, tpot and e2e (medians), each with _p90 and _p99",
                        name.trim()
                    ));
                }
            }
        }
        Ok(slo)
    }
}

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
    pub wanted: Wanted,
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
            wanted: Wanted::default(),
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
    fn limits_are_read_with_their_units() {
        let slo: Slo = "ttft=500ms, tpot=0.05s".parse().unwrap();
        assert_eq!((slo.ttft, slo.tpot, slo.e2e), (Some(Seconds(0.5)), Some(Seconds(0.05)), None));
        let tails: Slo = "ttft_p99=1s,e2e_p90=2s".parse().unwrap();
        assert_eq!((tails.tails[0].p99, tails.tails[2].p90), (Some(Seconds(1.0)), Some(Seconds(2.0))));
        assert_eq!(tails.named().iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["TTFT p99", "E2E p90"]);
        for bad in ["ttft", "ttft=5", "ttft=-1s", "p99=1s", "tpot=1h", "tpot=s", "ttft_p95=1s", "itl_p99=1s"] {
            assert!(bad.parse::<Slo>().is_err(), "{bad}");
        }
    }

    #[test]
    fn instances_are_read() {
        assert_eq!(MachinePrice::parse_instance("AWS:m7a.large"), Ok(("aws".into(), "m7a.large".into())));
        assert!(MachinePrice::parse_instance("m7a.large").is_err());
    }
}
