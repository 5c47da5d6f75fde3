//! What a ranking says of one offer, and how speed, use and cost on it become that.

use crate::catalog::{Market, Offer};
use crate::record::Basis;
use crate::sizing::formulas;
use crate::sizing::price::cost::Breakdown;
use crate::sizing::price::demand::{Fleet, Load};
use crate::sizing::price::pricing::SizedOffer;
use crate::sizing::price::service::Service;
use crate::sizing::speed::energy;
use crate::sizing::speed::exclusion::ExclusionReason;
use crate::sizing::speed::points::Point;
use crate::sizing::speed::project::Provenance;
use crate::units::Usd;
use crate::units::interval::Interval;
use crate::units::money::CostInterval;
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
    pub ground: Option<Provenance>,
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
    pub reason: ExclusionReason,
}

impl Excluded {
    /// Whatever its place and market.
    pub(super) fn all_of(offer: String, quant: Quant, reason: ExclusionReason) -> Self {
        Self { offer, region: None, market: None, quant, reason }
    }

    /// For its price in one place and market.
    pub(super) fn price_of(offer: &Offer, quant: Quant, reason: ExclusionReason) -> Self {
        Self { offer: offer.name(), region: Some(offer.region.clone()), market: Some(offer.market), quant, reason }
    }
}

/// Where a row's figures are from.
pub(super) struct Figures<'a> {
    /// Speed on whole instances.
    pub sized: &'a SizedOffer,
    /// The measured point that it follows from.
    pub point: &'a Point,
    /// By whom the speed was measured, if at all.
    pub basis: Basis,
    /// What runs the model.
    pub hardware: Arc<str>,
    /// Power of the hardware while it waits, where that was measured.
    pub idle_w: Option<f64>,
}

impl Figures<'_> {
    /// The row of a market at a cost; what is known of the offer is added by whoever has it.
    pub(super) fn row(
        &self,
        service: &Service,
        lengths: (f64, f64),
        market: Option<Market>,
        breakdown: Option<Breakdown>,
    ) -> RankRow {
        let Figures { sized, point, basis, hardware, .. } = self;
        let (prompt_tokens, gen_tokens) = lengths;
        let counted = point.counted_tokens().max(f64::MIN_POSITIVE);
        let output = |units: Option<CostInterval>| units.filter(|_| gen_tokens > 0.0);
        let speed = &sized.speed;
        let total = breakdown.and_then(|b| b.total());
        let times = |units: f64| total.and_then(|cost| cost.times(units));
        let prefill = (speed.times.ttft.value / speed.e2e.value).clamp(0.0, 1.0);
        let demand = service.usage.demand();
        let month = demand.and_then(|_| month(total?, sized, 1.0 - service.failure_share));
        let users = demand.and_then(|demand| match demand.load {
            Load::Users { users, .. } => Some(users),
            Load::Rates(_) => None,
        });
        RankRow {
            provider: "".into(),
            instance_type: "".into(),
            region: None,
            zone: None,
            market,
            hardware: hardware.clone(),
            usd_per_h: None,
            replicas: sized.copies,
            quant: point.case.quant,
            batch: point.case.batch,
            basis: *basis,
            method: speed.method,
            ground: speed.ground.clone(),
            ttft_s: speed.times.ttft,
            tpot_s: speed.times.tpot,
            e2e_s: speed.e2e,
            requests_per_s: sized.rate,
            fleet: demand.map(|_| sized.fleet(market)),
            components: breakdown,
            usd_per_request: total,
            usd_per_thousand_requests: times(1e3),
            usd_per_million_tokens: times(1e6 / if gen_tokens > 0.0 { gen_tokens } else { counted }),
            usd_per_million_input_tokens: times(1e6 * prefill / prompt_tokens),
            usd_per_million_output_tokens: output(times(1e6 * (1.0 - prefill) / gen_tokens)),
            usd_per_month: month,
            usd_per_user_month: users.and_then(|users| month?.times(1.0 / users)),
            joules_per_token: self.joules_per_token(),
            g_co2e_per_thousand_requests: None,
            why_no_cost: None,
            price_age_days: None,
            price_source: None,
            stale: false,
            tied_with_first: false,
            on_front: false,
            doubts: self.doubts(),
            remarks: Vec::new(),
        }
    }

    /// Doubts of the measurement that the figures follow from; what is projected to a card does not follow from a CPU.
    fn doubts(&self) -> Vec<Arc<str>> {
        if self.sized.speed.ground.is_some() && self.point.device == "cpu" {
            Vec::new()
        } else {
            self.point.doubts.clone()
        }
    }

    fn joules_per_token(&self) -> Option<Interval> {
        let (speed, point) = (&self.sized.speed, self.point);
        match self.basis {
            Basis::Measured | Basis::Imported => point.joules_per_token,
            Basis::Projected => Some(energy::projected(
                speed.board?,
                speed.times,
                point.case.batch,
                point.gen_tokens,
                point.counted_tokens(),
            )),
        }
    }
}

/// What a month of the demand costs, each end of the cost of a successful request with the requests that succeed there.
fn month(request: CostInterval, sized: &SizedOffer, success: f64) -> Option<CostInterval> {
    let of = |cost: Usd, requests_per_s: f64| cost.times(formulas::successes_of_month(success, requests_per_s));
    let (fastest, slowest) = sized.demanded;
    let value = of(request.value, sized.fleet(None).requests_per_s)?;
    Some(CostInterval::new(value, of(request.lo, fastest)?, of(request.hi, slowest)?))
}
