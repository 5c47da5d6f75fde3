//! Offers: what an instance costs, where, in which market, as observed when.

use crate::units::{Bytes, Usd};
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

/// How an offer is bought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Market {
    /// By the hour, for as long as one wants.
    OnDemand,
    /// Left-over capacity that can be taken away.
    Spot,
}

impl Market {
    /// The name in files and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::OnDemand => "on_demand",
            Self::Spot => "spot",
        }
    }
}

/// A row of offers/PROVIDER.csv.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    instance_type: String,
    region: String,
    zone: String,
    market: Market,
    #[serde(with = "rust_decimal::serde::str")]
    usd_per_h: rust_decimal::Decimal,
    accelerator: String,
    accelerator_count: Option<f64>,
    cpu: String,
    vcpus: Option<f64>,
    memory_gib: Option<f64>,
    arch: String,
    observed_at: Option<Date>,
    source: String,
    source_licence: String,
    flags: String,
}

/// One price of one instance type.
#[derive(Debug, Clone, PartialEq)]
pub struct Offer {
    /// `aws`, `gcp` and so on: the name of the file.
    pub provider: String,
    /// The provider's name of the type.
    pub instance_type: String,
    /// Region.
    pub region: String,
    /// Zone, where prices differ by zone.
    pub zone: Option<String>,
    /// How it is bought.
    pub market: Market,
    /// Price of an hour.
    pub usd_per_h: Usd,
    /// Id in accelerators.csv.
    pub accelerator: Option<String>,
    /// How many accelerators; a fraction is a slice of one.
    pub accelerator_count: f64,
    /// Id in cpus.csv, where the type always has the same CPU.
    pub cpu: Option<String>,
    /// Virtual CPUs.
    pub vcpus: Option<f64>,
    /// Memory of the host.
    pub memory: Option<Bytes>,
    /// `x86_64` or `arm64`.
    pub arch: String,
    /// When the price was seen.
    pub observed_at: Option<Date>,
    /// Where it was seen.
    pub source: String,
    /// Licence of the collection that it was read from.
    pub source_licence: String,
    /// What to know about it; see instance-catalog/README.md.
    pub flags: Vec<String>,
}

/// Flags of offers that must not be ranked, and why.
const UNRANKABLE: &[(&str, &str)] = &[
    ("stale_vs_market_2026H2", "the price is known to be out of date"),
    ("stale", "the price is known to be out of date"),
    ("suspect_low_price_sku_mismatch", "the price is suspiciously low for the type"),
    ("gpu_fraction_uncertain", "it is not known which share of a GPU the type has"),
    ("nominal_spot", "the spot price is a constant of the list, not a market price"),
    ("estimate_by_gpuhunt_not_published", "the price is an estimate, not a published one"),
];

impl Offer {
    /// Whether the price can be ranked; otherwise why not.
    pub fn unrankable(&self) -> Option<&'static str> {
        let found = |flag: &String| UNRANKABLE.iter().find(|(name, _)| name == flag).map(|(_, why)| *why);
        self.flags.iter().find_map(found)
    }

    /// Days between the observation and `today`; `None` where the date is not known.
    pub fn age_days(&self, today: Date) -> Option<i64> {
        self.observed_at.map(|seen| (today - seen).get_days() as i64)
    }

    /// `provider:type`, as `--as` takes it.
    pub fn name(&self) -> String {
        format!("{}:{}", self.provider, self.instance_type)
    }
}

/// Reads the rows of a provider's file. The error has the line and what is wrong with it.
pub(super) fn read(provider: &str, text: &str) -> Result<Vec<Offer>, (usize, String)> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let mut offers = Vec::new();
    for (index, row) in reader.deserialize::<Row>().enumerate() {
        let line = index + 2;
        let row = row.map_err(|e| (line, e.to_string()))?;
        offers.push(offer(provider, row).map_err(|message| (line, message))?);
    }
    Ok(offers)
}

fn offer(provider: &str, row: Row) -> Result<Offer, String> {
    if row.usd_per_h <= rust_decimal::Decimal::ZERO {
        return Err(format!("usd_per_h is {}; leave the row out where the price is not known", row.usd_per_h));
    }
    let sizes = [("accelerator_count", row.accelerator_count), ("vcpus", row.vcpus), ("memory_gib", row.memory_gib)];
    for (name, value) in sizes {
        if value.is_some_and(|v| !(v.is_finite() && v > 0.0)) {
            return Err(format!("{name} is {}; it must be above 0, or empty", value.unwrap_or(0.0)));
        }
    }
    let filled = |text: String| Some(text).filter(|t| !t.is_empty());
    let accelerator = filled(row.accelerator);
    if accelerator.is_some() != row.accelerator_count.is_some() {
        return Err("accelerator and accelerator_count must both be given, or neither".to_string());
    }
    Ok(Offer {
        provider: provider.to_string(),
        instance_type: row.instance_type,
        region: row.region,
        zone: filled(row.zone),
        market: row.market,
        usd_per_h: Usd(row.usd_per_h),
        accelerator,
        accelerator_count: row.accelerator_count.unwrap_or(0.0),
        cpu: filled(row.cpu),
        vcpus: row.vcpus,
        memory: row.memory_gib.map(|gib| Bytes(gib * 1024f64.powi(3))),
        arch: row.arch,
        observed_at: row.observed_at,
        source: row.source,
        source_licence: row.source_licence,
        flags: row.flags.split(';').filter(|f| !f.is_empty()).map(str::to_string).collect(),
    })
}
