//! Speed, use and cost on one offer become a row.

use super::row::RankRow;
use crate::catalog::Market;
use crate::record::Basis;
use crate::sizing::formulas;
use crate::sizing::price::cost::Breakdown;
use crate::sizing::price::demand::Load;
use crate::sizing::price::money::CostInterval;
use crate::sizing::price::pricing::Placed;
use crate::sizing::price::service::Service;
use crate::sizing::speed::energy;
use crate::sizing::speed::points::Point;
use crate::units::Usd;
use crate::units::interval::Interval;
use std::sync::Arc;

/// Where a row's figures are from.
pub(super) struct Figures<'a> {
    /// Speed on whole instances.
    pub placed: &'a Placed,
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
        let Figures { placed, point, basis, hardware, .. } = self;
        let (prompt_tokens, gen_tokens) = lengths;
        let counted = point.counted_tokens().max(f64::MIN_POSITIVE);
        let output = |units: Option<CostInterval>| units.filter(|_| gen_tokens > 0.0);
        let speed = &placed.speed;
        let total = breakdown.and_then(|b| b.total());
        let times = |units: f64| total.and_then(|cost| cost.times(units));
        let prefill = (speed.times.ttft.value / speed.e2e.value).clamp(0.0, 1.0);
        let demand = service.usage.demand();
        let month = demand.and_then(|_| month(total?, placed, 1.0 - service.failure_share));
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
            replicas: placed.copies,
            quant: point.case.quant,
            batch: point.case.batch,
            basis: *basis,
            method: speed.method,
            ground: speed.ground.clone(),
            ttft_s: speed.times.ttft,
            tpot_s: speed.times.tpot,
            e2e_s: speed.e2e,
            requests_per_s: placed.rate,
            fleet: demand.map(|_| placed.fleet(market)),
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
        match self.placed.speed.ground.is_some() && self.point.device == "cpu" {
            true => Vec::new(),
            false => self.point.doubts.clone(),
        }
    }

    fn joules_per_token(&self) -> Option<Interval> {
        let (speed, point) = (&self.placed.speed, self.point);
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
fn month(request: CostInterval, placed: &Placed, success: f64) -> Option<CostInterval> {
    let of = |cost: Usd, requests_per_s: f64| cost.times(formulas::successes_of_month(success, requests_per_s));
    let (fastest, slowest) = placed.demanded;
    let value = of(request.value, placed.fleet(None).requests_per_s)?;
    Some(CostInterval::new(value, of(request.lo, fastest)?, of(request.hi, slowest)?))
}
