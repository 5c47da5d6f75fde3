//! What a ranking says of one offer.

use crate::catalog::{Market, Offer};
use crate::record::Basis;
use crate::sizing::price::cost::Breakdown;
use crate::sizing::price::demand::Fleet;
use crate::sizing::price::money::CostInterval;
use crate::sizing::speed::project::Ground;
use crate::units::Usd;
use crate::units::interval::Interval;
use crate::workload::Quant;
use serde::Serialize;
use std::sync::Arc;

/// The flag of prices that are of the card alone.
pub(super) const BILLED_APART: &str = "cpu_and_memory_billed_apart";

/// One line of a ranking.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RankRow {
    /// Provider, `this machine`, or `own`.
    pub provider: Arc<str>,
    /// Instance type, or the host's name.
    pub instance_type: Arc<str>,
    /// Region.
    pub region: Option<Arc<str>>,
    /// Zone.
    pub zone: Option<Arc<str>>,
    /// Market.
    pub market: Option<Market>,
    /// What runs the model: `2x NVIDIA L4`, a CPU.
    pub hardware: Arc<str>,
    /// Price of an hour.
    pub usd_per_h: Option<Usd>,
    /// Copies of the model that run side by side, one on each accelerator.
    pub replicas: usize,
    /// Precision.
    pub quant: Quant,
    /// Sequences that run together in each copy.
    pub batch: usize,
    /// Measured or projected.
    pub basis: Basis,
    /// How the figures came about.
    pub method: &'static str,
    /// What stands behind a projection to a card: its tier, the cards of the fit, the uncalibrated roofline.
    pub ground: Option<Ground>,
    /// To the first token.
    pub ttft_s: Interval,
    /// Per further token.
    pub tpot_s: Interval,
    /// To the last token.
    pub e2e_s: Interval,
    /// What an instance sustains, all copies together.
    pub requests_per_s: Interval,
    /// Whole instances, where a demand is given.
    pub fleet: Option<Fleet>,
    /// Of a request, its components.
    pub components: Option<Breakdown>,
    /// Of a request.
    pub usd_per_request: Option<CostInterval>,
    /// Of a thousand successful requests.
    pub usd_per_thousand_requests: Option<CostInterval>,
    /// Of a million generated tokens, their share of the prompts included.
    pub usd_per_million_tokens: Option<CostInterval>,
    /// Of a million prompt tokens: the share of a request's cost that its prefill has of its time.
    pub usd_per_million_input_tokens: Option<CostInterval>,
    /// Of a million generated tokens, without the prefill.
    pub usd_per_million_output_tokens: Option<CostInterval>,
    /// Of a month of the demand.
    pub usd_per_month: Option<CostInterval>,
    /// Of a user and month, where the demand is of users.
    pub usd_per_user_month: Option<CostInterval>,
    /// Of a generated token, in joules: measured, or from the board power of a card; absent where neither is known.
    pub joules_per_token: Option<Interval>,
    /// Carbon of a thousand requests, in grams of CO2 equivalent; absent where energy or region is not known.
    pub g_co2e_per_thousand_requests: Option<Interval>,
    /// Why there is no cost.
    pub why_no_cost: Option<Arc<str>>,
    /// Days since the price was seen.
    pub price_age_days: Option<i64>,
    /// Where the price was seen.
    pub price_source: Option<Arc<str>>,
    /// The price is older than such prices hold, or of unknown age.
    pub stale: bool,
    /// Its cost cannot be told from the cheapest's: the intervals overlap.
    pub tied_with_first: bool,
    /// No row is both cheaper and faster.
    pub on_front: bool,
    /// What speaks against the figures: doubts of the measurement that they are from.
    pub doubts: Vec<Arc<str>>,
    /// What to know of the price: its flags, and what is not in it.
    pub remarks: Vec<Arc<str>>,
}

impl RankRow {
    /// `provider:type`.
    pub fn name(&self) -> String {
        format!("{}:{}", self.provider, self.instance_type)
    }

    /// Whether a part of what is paid by the hour is not in the price: it cannot be the cheapest by that.
    pub fn is_incomplete(&self) -> bool {
        self.remarks.iter().any(|remark| &**remark == BILLED_APART)
    }
}

/// An offer that was not ranked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Excluded {
    /// `provider:type`.
    pub offer: String,
    /// Region, where the reason holds for the price there.
    pub region: Option<Arc<str>>,
    /// Market, likewise.
    pub market: Option<Market>,
    /// Precision that it was excluded for.
    pub quant: Quant,
    /// Why.
    pub reason: Arc<str>,
}

impl Excluded {
    /// Whatever its place and market.
    pub(super) fn all_of(offer: String, quant: Quant, reason: Arc<str>) -> Self {
        Self { offer, region: None, market: None, quant, reason }
    }

    /// For its price in one place and market.
    pub(super) fn price_of(offer: &Offer, quant: Quant, reason: Arc<str>) -> Self {
        Self { offer: offer.name(), region: Some(offer.region.clone()), market: Some(offer.market), quant, reason }
    }
}
