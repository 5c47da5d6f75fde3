//! Offers: a price together with the shape that it is of.

use super::price::{InterruptionBand, Market, Unit};
use super::shape::CountUnit;
use crate::units::{Bytes, Usd};
use jiff::civil::Date;
use rust_decimal::Decimal;
use std::sync::Arc;

/// What an instance type is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Shape {
    /// `aws`, `gcp` and so on: the name of the file.
    pub provider: Arc<str>,
    /// The provider's name of the type.
    pub instance_type: Arc<str>,
    /// Id in accelerators.csv, or the provider's name of one that is not there.
    pub accelerator: Option<Arc<str>>,
    /// How many accelerators; a fraction is a share of one.
    pub accelerator_count: f64,
    /// What is counted.
    pub count_unit: CountUnit,
    /// Id in cpus.csv, where the type always has the same CPU.
    pub cpu: Option<Arc<str>>,
    /// Virtual CPUs.
    pub vcpus: Option<f64>,
    /// Memory of the host.
    pub memory: Option<Bytes>,
    /// `x86_64` or `arm64`.
    pub arch: Arc<str>,
    /// Disk that is in the price.
    pub local_disk: Option<Bytes>,
    /// What to know about it; see instance-catalog/README.md.
    pub flags: Vec<Arc<str>>,
}

impl Shape {
    /// `provider:type`, as `--as` takes it.
    pub fn name(&self) -> String {
        format!("{}:{}", self.provider, self.instance_type)
    }
}

/// One price of one instance type.
#[derive(Debug, Clone, PartialEq)]
pub struct Offer {
    /// What is offered.
    pub shape: Arc<Shape>,
    /// Region.
    pub region: Arc<str>,
    /// Zone, where prices differ by zone.
    pub zone: Option<Arc<str>>,
    /// How it is bought.
    pub market: Market,
    /// Price of a `unit`; `None` where it is not known.
    pub price: Option<Usd>,
    /// What the price is of.
    pub unit: Unit,
    /// Time is billed in steps of this many seconds.
    pub billing_increment_s: Option<f64>,
    /// Least seconds that are billed.
    pub min_charge_s: Option<f64>,
    /// When the price was seen.
    pub observed_at: Option<Date>,
    /// Id in sources.csv.
    pub source: Arc<str>,
    /// How often it is taken away, of spot offers.
    pub interruption: Option<InterruptionBand>,
    /// What to know about the price; see instance-catalog/README.md.
    pub flags: Vec<Arc<str>>,
}

/// Flags of offers that must not be ranked, and why.
const UNRANKABLE: &[(&str, &str)] = &[
    ("suspect_low_price_sku_mismatch", "the price is suspiciously low for the type"),
    ("gpu_fraction_uncertain", "it is not known which share of a GPU the type has"),
    ("nominal_spot", "the spot price is a constant of the list, not a market price"),
    ("estimate_by_gpuhunt_not_published", "the price is an estimate, not a published one"),
    ("spot_above_on_demand", "the spot price is above the on-demand price of the same type and region"),
    ("price_outlier", "the price of a card is out of line with that of the same card elsewhere"),
    ("region_outlier", "the price is out of line with that of the same type in other regions"),
    ("dedicated_tenancy", "the price is of a dedicated host"),
    ("licence_included", "the price includes the licence of an operating system"),
    (
        "spot_or_flexstart_only_list_price",
        "it cannot be bought on demand: the provider has it as spot and flex-start only",
    ),
    ("any_of_several_gpus", "it is not known which of several cards one gets"),
];

/// Flags of prices that are known to be out of date: as stale as one without a date.
const STALE: [&str; 2] = ["stale", "stale_vs_market_2026H2"];

impl Offer {
    /// Whether the price can be ranked at all; otherwise why not.
    pub fn unrankable(&self) -> Option<&'static str> {
        if self.price.is_none() {
            return Some("it has no price");
        }
        let flags = self.flags.iter().chain(&self.shape.flags);
        let found = |flag: &Arc<str>| UNRANKABLE.iter().find(|(name, _)| *name == &**flag).map(|(_, why)| *why);
        flags.into_iter().find_map(found)
    }

    /// Whether the price is known to be out of date, whatever its date.
    pub fn outdated(&self) -> bool {
        self.flags.iter().any(|flag| STALE.contains(&&**flag))
    }

    /// Days between the observation and `today`; `None` where the date is not known. A date after `today` is none: it or
    /// the clock of the machine is wrong. That of a place where it is tomorrow already is of today.
    pub fn age_days(&self, today: Date) -> Option<i64> {
        let days = i64::from((today - self.observed_at?).get_days());
        (days >= -1).then_some(days.max(0))
    }

    /// Price of an hour; `None` where there is none, or it is not of a time.
    pub fn usd_per_h(&self) -> Option<Usd> {
        self.price?.0.checked_mul(Decimal::from(self.unit.per_hour()?)).map(Usd)
    }

    /// `provider:type`, as `--as` takes it.
    pub fn name(&self) -> String {
        self.shape.name()
    }
}
