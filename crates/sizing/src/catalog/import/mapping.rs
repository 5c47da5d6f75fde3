//! The TOML file beside a price list: which column is what, and what its numbers mean.

use super::amount::Mark;
use crate::catalog::facts::ProviderClass;
use crate::catalog::price::Market;
use jiff::civil::Date;
use serde::Deserialize;
use std::collections::BTreeMap;

/// What the columns of a file are; see instance-catalog/README.md.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mapping {
    /// The provider that the prices are of: letters, digits and hyphens.
    pub provider: String,
    /// Whom its prices are compared with.
    pub class: ProviderClass,
    /// Where the list is from.
    pub source: String,
    /// What may be done with it.
    #[serde(default = "private")]
    pub licence: String,
    /// The day of the list, where it has no column of it.
    pub observed_at: Option<Date>,
    /// The region, where there is no column of it.
    #[serde(default = "any")]
    pub region: String,
    /// The market, where there is no column of it.
    pub market: Option<Market>,
    /// What a price is of: `hour` (where nothing is said), `second`, `month` (of 730 hours), `year` (of 8,760).
    pub per: Option<String>,
    /// USD for one unit of the list's currency; it must be given where that is not USD.
    pub usd_per_unit: Option<f64>,
    /// The decimal mark of the list's numbers, `.` or `,`, where they do not show it themselves.
    pub decimal: Option<Mark>,
    /// What stands between the fields of a row, where the header does not show it.
    pub delimiter: Option<char>,
    /// `utf-8` or `windows-1252` (of which Latin-1 is a part); UTF-16 says so itself.
    pub encoding: Option<Encoding>,
    /// Names of the columns.
    pub columns: Columns,
    /// What texts of the market column stand for.
    #[serde(default)]
    pub markets: BTreeMap<String, Market>,
}

/// Names of the columns of a list.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Columns {
    /// The type.
    pub instance_type: String,
    /// The price.
    pub price: String,
    /// The region.
    pub region: Option<String>,
    /// The zone.
    pub zone: Option<String>,
    /// The market.
    pub market: Option<String>,
    /// The accelerator, by any name that it goes by.
    pub accelerator: Option<String>,
    /// How many there are.
    pub accelerator_count: Option<String>,
    /// Memory of one.
    pub accelerator_memory_gib: Option<String>,
    /// An id of cpus.csv.
    pub cpu: Option<String>,
    /// Virtual CPUs.
    pub vcpus: Option<String>,
    /// Memory of the host.
    pub memory_gib: Option<String>,
    /// The day of the price.
    pub observed_at: Option<String>,
    /// The currency of the price: one in all rows.
    pub currency: Option<String>,
}

/// How the bytes of a list are letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Encoding {
    /// What nearly everything is written in today.
    #[serde(rename = "utf-8")]
    Utf8,
    /// What spreadsheets on Windows write, and Latin-1 with it.
    #[serde(rename = "windows-1252", alias = "latin-1", alias = "latin1", alias = "iso-8859-1", alias = "cp1252")]
    Windows1252,
}

fn private() -> String {
    "private".to_string()
}
fn any() -> String {
    "any".to_string()
}
impl Columns {
    /// The names that are given.
    pub(super) fn named(&self) -> Vec<&str> {
        let optional = [
            &self.region,
            &self.zone,
            &self.market,
            &self.accelerator,
            &self.accelerator_count,
            &self.accelerator_memory_gib,
            &self.cpu,
            &self.vcpus,
            &self.memory_gib,
            &self.observed_at,
            &self.currency,
        ];
        let needed = [self.instance_type.as_str(), self.price.as_str()];
        needed.into_iter().chain(optional.into_iter().flatten().map(String::as_str)).collect()
    }
}

impl Mapping {
    /// What cannot be.
    pub(super) fn fault(&self) -> Option<String> {
        let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if self.provider.is_empty() || !self.provider.chars().all(good) {
            return Some(format!("provider `{}`: only a-z, 0-9 and - can be in it", self.provider));
        }
        if self.provider == "own" {
            return Some("provider `own` stands for hardware of one's own: choose another name".to_string());
        }
        if self.usd_per_unit.is_some_and(|rate| !(rate.is_finite() && rate > 0.0 && rate < 1e6)) {
            return Some("usd_per_unit must be above 0: USD for one unit of the list's currency".to_string());
        }
        if self.columns.market.is_none() && self.market.is_none() {
            return Some("give market, or columns.market".to_string());
        }
        if self.market == Some(Market::OnPrem) || self.markets.values().any(|market| *market == Market::OnPrem) {
            return Some("on_prem is not a market of a price list: --own takes hardware of one's own".to_string());
        }
        match self.per.as_deref() {
            None | Some("hour" | "second" | "month" | "year") => None,
            Some(other) => Some(format!("per is `{other}`; there are hour, second, month and year")),
        }
    }

    /// What a price is of.
    pub(super) fn per(&self) -> &str {
        self.per.as_deref().unwrap_or("hour")
    }
}
