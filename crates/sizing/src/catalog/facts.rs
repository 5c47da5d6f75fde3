//! The smaller tables: providers, sources, what comes on top of an instance, and the carbon of regions.

use super::tables::Fault;
use jiff::civil::Date;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

/// Providers whose prices can be compared with each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProviderClass {
    /// The large general clouds.
    Hyperscaler,
    /// Clouds that mostly rent GPUs.
    GpuCloud,
    /// Hosts of many owners.
    Marketplace,
    /// Paid by the second of use.
    Serverless,
    /// Endpoints that the provider keeps.
    Managed,
    /// What the user brought.
    Own,
}

impl ProviderClass {
    /// The name in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hyperscaler => "hyperscaler",
            Self::GpuCloud => "gpu_cloud",
            Self::Marketplace => "marketplace",
            Self::Serverless => "serverless",
            Self::Managed => "managed",
            Self::Own => "own",
        }
    }
}

/// Whether the time after a request, while an instance waits for the next, is paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IdleBilling {
    /// Until the keep-warm time is over.
    Yes,
    /// All the time.
    Always,
    /// Not at all.
    No,
}

/// A row of providers.csv.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provider {
    /// The name of its files.
    pub provider: String,
    /// What people call it.
    pub name: String,
    /// Whom its prices are compared with.
    pub class: ProviderClass,
    /// Power of its halls over power of its machines.
    pub pue: Option<f64>,
    /// Id in sources.csv.
    pub pue_source: String,
    /// Time is billed in steps of this, where the price does not say.
    pub billing_increment_s: Option<f64>,
    /// Least time that is billed, where the price does not say.
    pub min_charge_s: Option<f64>,
    /// Whether the start of a serverless instance is billed.
    #[serde(with = "yes_no")]
    pub bills_setup: Option<bool>,
    /// Whether its waiting is.
    pub bills_idle: Option<IdleBilling>,
    /// What else to know.
    pub note: String,
}

/// The first of some figures that is not a number of at least 0.
fn below_0(figures: &[(&str, Option<f64>)]) -> Option<String> {
    let bad = figures.iter().find(|(_, value)| value.is_some_and(|v| !(v.is_finite() && v >= 0.0)));
    bad.map(|(name, value)| format!("{name} is {}; it must not be below 0", value.unwrap_or_default()))
}

impl Provider {
    /// What is wrong with the numbers of the row.
    pub fn fault(&self) -> Option<Fault> {
        if let Some(pue) = self.pue.filter(|pue| !(1.0..10.0).contains(pue)) {
            return Some(("impossible_pue", format!("pue is {pue}; halls take 1 to 10 times what is in them")));
        }
        let times = [("billing_increment_s", self.billing_increment_s), ("min_charge_s", self.min_charge_s)];
        below_0(&times).map(|why| ("negative_amount", why))
    }
}

mod yes_no {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<bool>, D::Error> {
        match Option::<String>::deserialize(deserializer)?.as_deref() {
            None | Some("") => Ok(None),
            Some("yes") => Ok(Some(true)),
            Some("no") => Ok(Some(false)),
            Some(other) => Err(D::Error::custom(format!("`{other}` is neither yes nor no"))),
        }
    }

    pub(crate) fn serialize<S: Serializer>(value: &Option<bool>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match value {
            None => "",
            Some(true) => "yes",
            Some(false) => "no",
        })
    }
}

/// A row of sources.csv.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// What rows refer to.
    pub id: String,
    /// Where facts were seen.
    pub what: String,
    /// What the collection says of itself.
    pub licence: String,
}

/// What a row of adders.csv is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdderKind {
    /// A disk, by size and month.
    Disk,
    /// Traffic to the internet, by volume, in tiers of a month's volume.
    Egress,
    /// Seconds that a serverless instance waits before it is taken down; `usd` holds the seconds.
    IdleTimeout,
}

/// A row of adders.csv.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Adder {
    /// Provider.
    pub provider: String,
    /// Region; `any` where the others of the provider do not say.
    pub region: String,
    /// What is paid for.
    pub kind: AdderKind,
    /// How much, in USD a `unit` (seconds for [`AdderKind::IdleTimeout`]).
    #[serde(with = "rust_decimal::serde::str")]
    pub usd: Decimal,
    /// `gb_month`, `gb`, `s`.
    pub unit: String,
    /// Start of the tier in GB a month.
    pub tier_from_gb: Option<f64>,
    /// End of the tier in GB a month; empty is no end.
    pub tier_to_gb: Option<f64>,
    /// When it was seen.
    pub observed_at: Option<Date>,
    /// Id in sources.csv.
    pub source: String,
    /// What else to know.
    pub note: String,
}

impl Adder {
    /// What is wrong with the numbers of the row.
    pub fn fault(&self) -> Option<Fault> {
        if self.usd.is_sign_negative() && !self.usd.is_zero() {
            return Some(("negative_amount", format!("usd is {}: nobody is paid for taking it", self.usd)));
        }
        // Dollars a GB and month, or seconds: a thousand dollars, or ten days.
        let most = if self.kind == AdderKind::IdleTimeout { 1_000_000 } else { 1_000 };
        if self.usd > Decimal::from(most) {
            return Some(("implausible_price", format!("usd is {}, beyond {most}: another unit", self.usd)));
        }
        let tiers = [("tier_from_gb", self.tier_from_gb), ("tier_to_gb", self.tier_to_gb)];
        below_0(&tiers).map(|why| ("broken_tiers", why))
    }
}

/// A row of carbon.csv.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CarbonRow {
    /// Provider.
    pub provider: String,
    /// Region.
    pub region: String,
    /// Grams of CO2 equivalent of a kWh of the grid.
    pub g_co2e_per_kwh: f64,
    /// Share of the provider's energy there that is free of carbon.
    pub carbon_free_fraction: Option<f64>,
    /// When it was published.
    pub observed_at: Option<Date>,
    /// Id in sources.csv.
    pub source: String,
}

impl CarbonRow {
    /// What is wrong with the numbers of the row.
    pub fn fault(&self) -> Option<Fault> {
        let share = self.carbon_free_fraction.is_none_or(|share| (0.0..=1.0).contains(&share));
        let grams = self.g_co2e_per_kwh.is_finite() && self.g_co2e_per_kwh >= 0.0;
        (!(share && grams)).then(|| ("impossible_carbon", "grams are below 0, or the share is not one".to_string()))
    }
}
