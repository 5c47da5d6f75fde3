//! A row of a list as a price and a shape.

use super::figures::{self, Figures};
use super::mapping::Mapping;
use super::quoted::is_unknown;
use super::text::Line;
use crate::catalog::alias::{Aliases, Match};
use crate::catalog::price::{Market, PriceRow, Unit};
use crate::catalog::shape::ShapeRow;
use crate::catalog::text::shown;
use crate::units::Usd;
use jiff::civil::{Date, date};
use rust_decimal::Decimal;

/// Before this day nobody rented machines by the hour: an older one stands for none.
const FIRST_DAY: Date = date(2000, 1, 1);

/// What holds for all rows of a list.
pub(crate) struct ListDefaults<'a> {
    pub mapping: &'a Mapping,
    pub figures: &'a Figures,
    /// What prices are of.
    pub per: &'a str,
    /// USD for one unit of the list's currency.
    pub rate: Decimal,
    pub aliases: &'a Aliases<'a>,
    /// Id in sources.csv.
    pub source: &'a str,
    pub today: Date,
}

/// Why a day cannot be that of a price, in words that follow it.
pub fn day_fault(seen: Date, today: Date) -> Option<String> {
    if seen > today {
        return Some(format!("is a day that has not been yet (it is {today} by the clock of this machine)"));
    }
    (seen < FIRST_DAY).then(|| "is no day of a price; leave it empty where it is not known".to_string())
}

impl ListDefaults<'_> {
    /// The price of a row, and whether the list has 0 for it, which is how lists say that they do not know.
    pub(crate) fn price(&self, line: &Line<'_>) -> Result<(PriceRow, bool), String> {
        let columns = &self.mapping.columns;
        let instance_type = line.text(Some(&columns.instance_type));
        if instance_type.is_empty() {
            return Err(line.at("there is no instance type; name it, or delete the row"));
        }
        let unit = if self.per == "second" { Unit::Second } else { Unit::Hour };
        let (usd, is_zero) = match figures::price(line, columns)? {
            None => (None, false),
            Some(quoted) => {
                let text = line.text(Some(&columns.price));
                let listed = self.figures.value(quoted.number, line, text)?;
                let usd = if listed.is_zero() { None } else { Some(self.usd(listed, unit, line, text)?) };
                (usd, listed.is_zero())
            }
        };
        let region = line.text(columns.region.as_ref());
        let price = PriceRow {
            instance_type: instance_type.to_string(),
            region: if region.is_empty() { self.mapping.region.clone() } else { region.to_string() },
            zone: line.text(columns.zone.as_ref()).to_string(),
            market: self.market(line)?,
            usd,
            unit,
            billing_increment_s: None,
            min_charge_s: None,
            tenancy: "shared".to_string(),
            os: "linux".to_string(),
            observed_at: self.day(line)?,
            source: self.source.to_string(),
            interruption_band: None,
            flags: String::new(),
        };
        Ok((price, is_zero))
    }

    /// A price of the list in USD an hour or second.
    fn usd(&self, listed: Decimal, unit: Unit, line: &Line<'_>, text: &str) -> Result<Decimal, String> {
        let hours = match self.per {
            "month" => 730,
            "year" => 8760,
            _ => 1,
        };
        let usd = listed.checked_mul(self.rate).and_then(|usd| usd.checked_div(Decimal::from(hours)));
        let usd = usd.map(|usd| usd.round_dp(12).normalize());
        let hourly = usd.and_then(|usd| usd.checked_mul(Decimal::from(unit.per_hour()?)));
        match (usd, hourly) {
            (Some(usd), Some(hourly)) => match Usd(hourly).hourly_fault() {
                None => Ok(usd),
                Some(why) => Err(line.at(format!("`{}` a {}: {why}; is `per` right?", shown(text), self.per))),
            },
            _ => Err(line.at(format!("`{}` is beyond what can be computed; correct the row", shown(text)))),
        }
    }

    fn market(&self, line: &Line<'_>) -> Result<Market, String> {
        match line.text(self.mapping.columns.market.as_ref()) {
            "" => self.mapping.market.ok_or_else(|| line.at("there is no market; `market` of the mapping can say it")),
            text => {
                let listed = Market::LISTED.into_iter().find(|market| market.name() == text);
                let known = self.mapping.markets.get(text).copied().or(listed);
                known.ok_or_else(|| {
                    line.at(format!("`{}` is no market; [markets] of the mapping can say which it is", shown(text)))
                })
            }
        }
    }

    /// The day of a price.
    fn day(&self, line: &Line<'_>) -> Result<Option<Date>, String> {
        let text = line.text(self.mapping.columns.observed_at.as_ref());
        if text.is_empty() {
            return match self.mapping.observed_at.and_then(|seen| Some((seen, day_fault(seen, self.today)?))) {
                None => Ok(self.mapping.observed_at),
                Some((seen, why)) => Err(format!("observed_at of the mapping, {seen}, {why}")),
            };
        }
        // A time may follow.
        let (day, rest) = text.split_at_checked(10).unwrap_or((text, ""));
        let day = day.parse::<Date>().ok().filter(|_| rest.is_empty() || rest.starts_with(['T', ' ']));
        let seen =
            day.ok_or_else(|| line.at(format!("`{}` is not a day like 2026-11-01; correct the row", shown(text))))?;
        match day_fault(seen, self.today) {
            None => Ok(Some(seen)),
            Some(why) => Err(line.at(format!("{seen} {why}"))),
        }
    }

    /// What the type of a row is made of.
    pub(crate) fn shape(&self, line: &Line<'_>, price: &PriceRow) -> Result<ShapeRow, String> {
        let columns = &self.mapping.columns;
        let size = |column: &Option<String>| self.figures.size(line, column.as_ref());
        let name = Some(line.text(columns.accelerator.as_ref())).filter(|name| !is_unknown(name));
        let (count, memory) = (size(&columns.accelerator_count)?, size(&columns.accelerator_memory_gib)?);
        let count = match (name, count) {
            (Some(name), Some(0.0)) => {
                return Err(line.at(format!("0 of `{}`; give the number of cards, or no card", shown(name))));
            }
            (Some(_), count) => Some(count.unwrap_or(1.0)),
            (None, _) => None,
        };
        let accelerator = match name {
            None => (String::new(), String::new()),
            Some(name) => self.accelerator(name, memory, count.unwrap_or(1.0), &price.instance_type).in_shape(name),
        };
        let sizes = (size(&columns.vcpus)?, size(&columns.memory_gib)?);
        let shape =
            ShapeRow::listed(&price.instance_type, accelerator, count.unwrap_or(1.0), sizes, self.source, self.today);
        Ok(ShapeRow {
            accelerator_count: count,
            count_unit: shape.count_unit.filter(|_| count.is_some()),
            cpu: line.text(columns.cpu.as_ref()).to_string(),
            observed_at: price.observed_at,
            ..shape
        })
    }

    /// A share of a card may be listed with the memory of the share.
    fn accelerator(&self, name: &str, memory: Option<f64>, count: f64, hint: &str) -> Match {
        match self.aliases.resolve(name, memory, hint) {
            Match::Unknown if count < 1.0 => self.aliases.resolve(name, memory.map(|gib| gib / count), hint),
            found => found,
        }
    }
}
