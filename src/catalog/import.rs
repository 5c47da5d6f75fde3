//! A user's own price list: any CSV file, with a TOML file that says which column is what.

use super::adopt::Fetched;
use super::alias::Aliases;
use super::facts::{Provider, ProviderClass, Source};
use super::price::decimal;
use super::price::{Market, PriceRow, Unit};
use super::shape::ShapeRow;
use super::tables::Tables;
use jiff::civil::Date;
use rust_decimal::Decimal;
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
    /// What a price is of: `hour`, `second`, `month` (of 730 hours), `year` (of 8,760).
    #[serde(default = "hour")]
    pub per: String,
    /// USD for one unit of the list's currency.
    #[serde(default = "one")]
    pub usd_per_unit: f64,
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
}

fn private() -> String {
    "private".to_string()
}
fn any() -> String {
    "any".to_string()
}
fn hour() -> String {
    "hour".to_string()
}
fn one() -> f64 {
    1.0
}

/// One row under the names of the mapping.
struct Line<'a> {
    record: &'a csv::StringRecord,
    at: &'a BTreeMap<String, usize>,
    line: usize,
}

impl Line<'_> {
    fn text(&self, column: &Option<String>) -> &str {
        column.as_ref().and_then(|name| self.record.get(*self.at.get(name)?)).unwrap_or("").trim()
    }

    fn number(&self, column: &Option<String>) -> Result<Option<f64>, String> {
        match self.text(column) {
            "" => Ok(None),
            text => match text.replace(',', "").parse::<f64>() {
                Ok(number) if number.is_finite() && number > 0.0 => Ok(Some(number)),
                Ok(0.0) => Ok(None),
                _ => {
                    Err(format!("line {}: `{text}` in {} is not a number", self.line, column.as_deref().unwrap_or("")))
                }
            },
        }
    }
}

impl Mapping {
    fn fault(&self) -> Option<String> {
        let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if self.provider.is_empty() || !self.provider.chars().all(good) {
            return Some(format!("provider `{}`: only a-z, 0-9 and - can be in it", self.provider));
        }
        if !(self.usd_per_unit.is_finite() && self.usd_per_unit > 0.0) {
            return Some("usd_per_unit must be above 0".to_string());
        }
        if self.columns.market.is_none() && self.market.is_none() {
            return Some("give market, or columns.market".to_string());
        }
        match self.per.as_str() {
            "hour" | "second" | "month" | "year" => None,
            other => Some(format!("per is `{other}`; there are hour, second, month and year")),
        }
    }

    /// Price of the list in USD, and what of.
    fn usd(&self, listed: Decimal) -> Option<(Decimal, Unit)> {
        let rate = Decimal::from_f64_retain(self.usd_per_unit)?.round_dp(12);
        let usd = listed.checked_mul(rate)?;
        let (hours, unit) = match self.per.as_str() {
            "second" => (1, Unit::Second),
            "month" => (730, Unit::Hour),
            "year" => (8760, Unit::Hour),
            _ => (1, Unit::Hour),
        };
        Some((usd.checked_div(Decimal::from(hours))?.round_dp(12).normalize(), unit))
    }
}

/// Reads a list. The error names the line.
pub fn read(mapping: &Mapping, text: &str, tables: &Tables, today: Date) -> Result<Fetched, String> {
    if let Some(fault) = mapping.fault() {
        return Err(fault);
    }
    let columns = &mapping.columns;
    let mut reader = csv::Reader::from_reader(text.trim_start_matches('\u{feff}').as_bytes());
    let headers = reader.headers().map_err(|e| e.to_string())?.clone();
    let at: BTreeMap<String, usize> =
        headers.iter().enumerate().map(|(index, name)| (name.trim().to_string(), index)).collect();
    let named = [
        Some(&columns.instance_type),
        Some(&columns.price),
        columns.region.as_ref(),
        columns.zone.as_ref(),
        columns.market.as_ref(),
        columns.accelerator.as_ref(),
        columns.accelerator_count.as_ref(),
        columns.accelerator_memory_gib.as_ref(),
        columns.cpu.as_ref(),
        columns.vcpus.as_ref(),
        columns.memory_gib.as_ref(),
        columns.observed_at.as_ref(),
    ];
    if let Some(missing) = named.into_iter().flatten().find(|name| !at.contains_key(*name)) {
        let known: Vec<&str> = at.keys().map(String::as_str).collect();
        return Err(format!("line 1: there is no column `{missing}`; the file has {}", known.join(", ")));
    }
    let aliases = Aliases::of(tables.accelerators.iter().map(|row| &row.value));
    let source = format!("import-{}", mapping.provider);
    let mut shapes: BTreeMap<String, ShapeRow> = BTreeMap::new();
    let mut prices = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|e| e.to_string())?;
        let line = Line { record: &record, at: &at, line: record.position().map_or(0, |p| p.line() as usize) };
        let price = price(mapping, &line, &source, today)?;
        if !shapes.contains_key(&price.instance_type) {
            shapes.insert(price.instance_type.clone(), shape(mapping, &line, &aliases, &source, &price)?);
        }
        prices.push(price);
    }
    Ok(Fetched {
        prices,
        shapes: shapes.into_values().collect(),
        source: Source { id: source, what: mapping.source.clone(), licence: mapping.licence.clone() },
        provider: Some(Provider {
            provider: mapping.provider.clone(),
            name: mapping.provider.clone(),
            class: mapping.class,
            pue: None,
            pue_source: String::new(),
            billing_increment_s: None,
            min_charge_s: None,
            bills_setup: None,
            bills_idle: None,
            note: "imported".to_string(),
        }),
        skipped: BTreeMap::new(),
    })
}

fn price(mapping: &Mapping, line: &Line<'_>, source: &str, today: Date) -> Result<PriceRow, String> {
    let columns = &mapping.columns;
    let at = |what: &str| format!("line {}: {what}", line.line);
    let instance_type = line.text(&Some(columns.instance_type.clone())).to_string();
    if instance_type.is_empty() {
        return Err(at("there is no instance type"));
    }
    let market = match line.text(&columns.market) {
        "" => mapping.market.ok_or_else(|| at("there is no market"))?,
        text => {
            let listed = Market::LISTED.into_iter().find(|market| market.name() == text);
            let known = mapping.markets.get(text).copied().or(listed);
            known.ok_or_else(|| at(&format!("`{text}` is no market; [markets] of the mapping can say which it is")))?
        }
    };
    let listed = line.text(&Some(columns.price.clone())).trim_start_matches(['$', '€']).replace(',', "");
    let (usd, unit) = match listed.trim() {
        "" => (None, if mapping.per == "second" { Unit::Second } else { Unit::Hour }),
        text => {
            let parsed = decimal(text).ok_or_else(|| at(&format!("`{text}` is not a price")))?;
            let (usd, unit) =
                mapping.usd(parsed).ok_or_else(|| at(&format!("`{text}` is beyond what can be computed")))?;
            // 0 is how lists say that they do not know.
            (Some(usd).filter(|usd| !usd.is_zero()), unit)
        }
    };
    let observed_at = match line.text(&columns.observed_at) {
        "" => mapping.observed_at,
        text => Some(text.get(..10).unwrap_or(text).parse::<Date>().map_err(|e| at(&format!("`{text}`: {e}")))?),
    };
    if observed_at.is_some_and(|seen| seen > today) {
        return Err(at("the price is of the future"));
    }
    let region = line.text(&columns.region);
    Ok(PriceRow {
        instance_type,
        region: if region.is_empty() { mapping.region.clone() } else { region.to_string() },
        zone: line.text(&columns.zone).to_string(),
        market,
        usd,
        unit,
        billing_increment_s: None,
        min_charge_s: None,
        tenancy: "shared".to_string(),
        os: "linux".to_string(),
        observed_at,
        source: source.to_string(),
        interruption_band: None,
        flags: String::new(),
    })
}

fn shape(
    mapping: &Mapping,
    line: &Line<'_>,
    aliases: &Aliases<'_>,
    source: &str,
    price: &PriceRow,
) -> Result<ShapeRow, String> {
    let columns = &mapping.columns;
    let name = line.text(&columns.accelerator);
    let accelerator = match name {
        "" => (String::new(), String::new()),
        name => {
            let memory = line.number(&columns.accelerator_memory_gib)?;
            aliases.resolve(name, memory, &price.instance_type).in_shape(name)
        }
    };
    let count = line.number(&columns.accelerator_count)?.unwrap_or(1.0);
    let sizes = (line.number(&columns.vcpus)?, line.number(&columns.memory_gib)?);
    let shape = ShapeRow::listed(&price.instance_type, accelerator, count, sizes, source, Date::ZERO);
    Ok(ShapeRow {
        accelerator_count: (!name.is_empty()).then_some(count),
        count_unit: shape.count_unit.filter(|_| !name.is_empty()),
        cpu: line.text(&columns.cpu).to_string(),
        observed_at: price.observed_at,
        ..shape
    })
}
