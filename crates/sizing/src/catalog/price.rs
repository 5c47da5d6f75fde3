//! Prices: what an instance costs, where, in which market, as observed when.

use super::tables::Fault;
use super::text;
use crate::units::Usd;
use crate::units::interval::Interval;
use jiff::civil::Date;
use rust_decimal::Decimal;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};

/// How an offer is bought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Market {
    /// By the hour, for as long as one wants.
    #[serde(rename = "on_demand")]
    OnDemand,
    /// Left-over capacity that can be taken away.
    #[serde(rename = "spot")]
    Spot,
    /// Paid for a year, used or not.
    #[serde(rename = "reserved_1y")]
    Reserved1y,
    /// Paid for three years, used or not.
    #[serde(rename = "reserved_3y")]
    Reserved3y,
    /// Paid while requests run, and for starts and idle time as the provider says.
    #[serde(rename = "serverless")]
    Serverless,
    /// An endpoint that the provider keeps, by the hour.
    #[serde(rename = "managed")]
    Managed,
    /// Bought, not rented. Never a row of a price list.
    #[serde(rename = "on_prem")]
    OnPrem,
}

impl Market {
    /// Those that a price list can have.
    pub const LISTED: [Market; 6] =
        [Market::OnDemand, Market::Spot, Market::Reserved1y, Market::Reserved3y, Market::Serverless, Market::Managed];

    /// The name in files and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::OnDemand => "on_demand",
            Self::Spot => "spot",
            Self::Reserved1y => "reserved_1y",
            Self::Reserved3y => "reserved_3y",
            Self::Serverless => "serverless",
            Self::Managed => "managed",
            Self::OnPrem => "on_prem",
        }
    }

    /// Days after which a price of this market is stale: what is bid for changes by the day, lists by the month.
    pub fn fresh_days(self) -> i64 {
        match self {
            Self::Spot => 1,
            _ => 30,
        }
    }
}

/// What a price is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// An hour of the instance.
    Hour,
    /// A second of the instance.
    Second,
    /// A request.
    Request,
    /// A token.
    Token,
}

impl Unit {
    /// How many there are in an hour; `None` where it is not of a time.
    pub fn per_hour(self) -> Option<u32> {
        match self {
            Self::Hour => Some(1),
            Self::Second => Some(3600),
            Self::Request | Self::Token => None,
        }
    }

    /// The name in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Second => "second",
            Self::Request => "request",
            Self::Token => "token",
        }
    }
}

/// How often spot instances of a type are taken away, in the bands that AWS publishes: shares of a month's instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum InterruptionBand {
    /// Below 5 % a month.
    #[serde(rename = "<5%")]
    Under5,
    /// 5 to 10 % a month.
    #[serde(rename = "5-10%")]
    From5To10,
    /// 10 to 15 % a month.
    #[serde(rename = "10-15%")]
    From10To15,
    /// 15 to 20 % a month.
    #[serde(rename = "15-20%")]
    From15To20,
    /// Above 20 % a month.
    #[serde(rename = ">20%")]
    Over20,
}

impl InterruptionBand {
    /// The share of instances that are taken away in a month: middle, lower and upper end. The open band above 20 % is
    /// taken to end at 50 %.
    pub fn share_per_month(self) -> Interval {
        let (lo, hi) = match self {
            Self::Under5 => (0.0, 0.05),
            Self::From5To10 => (0.05, 0.10),
            Self::From10To15 => (0.10, 0.15),
            Self::From15To20 => (0.15, 0.20),
            Self::Over20 => (0.20, 0.50),
        };
        Interval::new((lo + hi) / 2.0, lo, hi)
    }
}

/// A row of prices/PROVIDER.csv.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriceRow {
    /// The provider's name of the type.
    pub instance_type: String,
    /// Region; `any` where the price does not depend on it.
    pub region: String,
    /// Zone, where prices differ by zone.
    pub zone: String,
    /// How it is bought.
    pub market: Market,
    /// Price in USD, exact; empty where it is not known.
    #[serde(serialize_with = "rust_decimal::serde::str_option::serialize", deserialize_with = "usd")]
    pub usd: Option<Decimal>,
    /// What the price is of.
    pub unit: Unit,
    /// Time is billed in steps of this.
    pub billing_increment_s: Option<f64>,
    /// Least time that is billed.
    pub min_charge_s: Option<f64>,
    /// `shared`, or `dedicated`, `host`.
    pub tenancy: String,
    /// `linux`, or what else the price includes a licence of.
    pub os: String,
    /// When the price was seen.
    pub observed_at: Option<Date>,
    /// Id in sources.csv.
    pub source: String,
    /// Of spot prices, where the provider publishes it.
    pub interruption_band: Option<InterruptionBand>,
    /// See instance-catalog/README.md; separated by semicolons.
    pub flags: String,
}

/// A price that is a number, or nothing; the error shows the text.
fn usd<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Decimal>, D::Error> {
    match Option::<String>::deserialize(deserializer)?.filter(|text| !text.is_empty()) {
        None => Ok(None),
        Some(number) => decimal(&number)
            .map(Some)
            .ok_or_else(|| Error::custom(format!("usd: `{}` is no price", text::shown(&number)))),
    }
}

/// What identifies a price: all but one price of a key are duplicates.
pub type PriceKey<'a> = (&'a str, &'a str, &'a str, Market, Unit, &'a str, &'a str);

impl PriceRow {
    /// The price of an hour of a shared Linux machine, as a list has it.
    pub fn listed(instance_type: &str, region: &str, market: Market, usd: Decimal, source: &str, seen: Date) -> Self {
        Self {
            instance_type: instance_type.to_string(),
            region: region.to_string(),
            zone: String::new(),
            market,
            usd: Some(usd.normalize()),
            unit: Unit::Hour,
            billing_increment_s: None,
            min_charge_s: None,
            tenancy: "shared".to_string(),
            os: "linux".to_string(),
            observed_at: Some(seen),
            source: source.to_string(),
            interruption_band: None,
            flags: String::new(),
        }
    }

    /// The key of the row within its provider.
    pub fn key(&self) -> PriceKey<'_> {
        (&self.instance_type, &self.region, &self.zone, self.market, self.unit, &self.tenancy, &self.os)
    }

    /// What is wrong with the names and numbers of the row.
    pub fn fault(&self) -> Option<Fault> {
        for name in [&self.instance_type, &self.region, &self.zone] {
            if let Some(why) = text::fault(name) {
                return Some(("bad_name", format!("`{}` {why}", text::shown(name))));
            }
        }
        for (name, value) in [("billing_increment_s", self.billing_increment_s), ("min_charge_s", self.min_charge_s)] {
            if let Some(value) = value.filter(|v| !(v.is_finite() && *v >= 0.0)) {
                return Some(("negative_amount", format!("{name} is {value}; it must not be below 0")));
            }
        }
        let usd = self.usd?;
        if usd <= Decimal::ZERO {
            return Some(("non_positive_price", format!("usd is {usd}: nothing is sold for that")));
        }
        let per_hour = self.unit.per_hour()?;
        let hourly = usd.checked_mul(Decimal::from(per_hour)).unwrap_or(Decimal::MAX);
        Usd(hourly)
            .hourly_fault()
            .map(|why| ("implausible_price", format!("usd is {usd} a {}, {why}", self.unit.name())))
    }

    /// Price of an hour; `None` where there is no price or it is not of a time.
    pub fn usd_per_h(&self) -> Option<Decimal> {
        self.usd?.checked_mul(Decimal::from(self.unit.per_hour()?))
    }

    /// Whether the row has a flag.
    pub fn has_flag(&self, name: &str) -> bool {
        self.flags.split(';').any(|flag| flag == name)
    }

    /// Adds a flag, once.
    pub fn add_flag(&mut self, name: &str) {
        if !self.has_flag(name) {
            if !self.flags.is_empty() {
                self.flags.push(';');
            }
            self.flags.push_str(name);
        }
    }
}

/// An exact decimal of a number as lists write it, which may be written as 1e-05.
pub fn decimal(number: &str) -> Option<Decimal> {
    number.parse().ok().or_else(|| Decimal::from_scientific(number).ok())
}
