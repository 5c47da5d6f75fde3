//! A user's own price list: any CSV file, with a TOML file that says which column is what.

mod amount;
mod figures;
mod mapping;
mod quoted;
mod row;
mod text;

pub use amount::Mark;
pub use mapping::{Columns, Encoding, Mapping};
pub use row::day_fault;
pub use text::decode;

use super::adopt::Fetched;
use super::alias::Aliases;
use super::facts::{Provider, Source};
use super::price::PriceRow;
use super::shape::ShapeRow;
use super::tables::Tables;
use figures::Figures;
use jiff::civil::Date;
use row::ListDefaults;
use std::collections::BTreeMap;
use text::PriceList;

/// Reads a list. The error names the line.
pub fn read(mapping: &Mapping, list: &str, tables: &Tables, today: Date) -> Result<Fetched, String> {
    if let Some(fault) = mapping.fault() {
        return Err(fault);
    }
    let sheet = PriceList::read(list.trim_start_matches('\u{feff}'), mapping)?;
    let figures = Figures::of(&sheet, mapping)?;
    let (per, rate) = figures::terms(&sheet, mapping)?;
    let aliases = Aliases::of(tables.accelerators.iter().map(|row| &row.value));
    let source = format!("import-{}", mapping.provider);
    let common =
        ListDefaults { mapping, figures: &figures, per: &per, rate, aliases: &aliases, source: &source, today };
    let mut rows = ImportedRows::default();
    for line in sheet.lines() {
        let (price, is_zero) = common.price(&line)?;
        rows.zero += usize::from(is_zero);
        rows.add_shape(
            common.shape(&line, &price)?,
            line.line,
            tables.shapes.get(&mapping.provider).map_or(&[], |r| r),
        )?;
        rows.add_price(price, line.line)?;
    }
    if rows.prices.iter().all(|(_, price)| price.usd.is_none()) {
        let (count, zero) = (rows.prices.len(), rows.zero);
        return Err(format!(
            "there is no price in it ({count} rows, {zero} of them with 0); is `price` the right column?"
        ));
    }
    let notes = rows.notes(&figures);
    Ok(Fetched {
        prices: rows.prices.into_iter().map(|(_, price)| price).collect(),
        shapes: rows.shapes.into_values().map(|(_, shape)| shape).collect(),
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
        notes,
    })
}

/// What was read so far, with the lines that it is from.
#[derive(Default)]
struct ImportedRows {
    prices: Vec<(usize, PriceRow)>,
    shapes: BTreeMap<String, (usize, ShapeRow)>,
    /// Where the price of a key is in `prices`.
    at: BTreeMap<String, usize>,
    /// Prices of 0.
    zero: usize,
    /// Rows that say once more what another says.
    repeated: usize,
    /// Rows of which a newer one is in the list.
    older: usize,
}

impl ImportedRows {
    /// Two rows of one price must agree, unless their days say which is the newer.
    fn add_price(&mut self, price: PriceRow, line: usize) -> Result<(), String> {
        let key = format!("{:?}", price.key());
        let Some(index) = self.at.get(&key).copied() else {
            self.at.insert(key, self.prices.len());
            self.prices.push((line, price));
            return Ok(());
        };
        let (first, known) = &mut self.prices[index];
        if known.usd == price.usd && known.observed_at == price.observed_at {
            self.repeated += 1;
        } else if known.observed_at != price.observed_at {
            self.older += 1;
            if price.observed_at > known.observed_at {
                (*first, *known) = (line, price);
            }
        } else {
            let words = |usd: Option<rust_decimal::Decimal>| usd.map_or("nothing".to_string(), |usd| usd.to_string());
            return Err(format!(
                "line {line}: {} ({}, {}) costs {} USD, and {} on line {first}; keep the one that holds, or give both a day",
                price.instance_type,
                price.region,
                price.market.name(),
                words(price.usd),
                words(known.usd)
            ));
        }
        Ok(())
    }

    /// A type is made of one thing, in the list and in the catalog.
    fn add_shape(
        &mut self,
        shape: ShapeRow,
        line: usize,
        catalog: &[super::tables::Row<ShapeRow>],
    ) -> Result<(), String> {
        let cards = |shape: &ShapeRow| match shape.accelerator_count {
            Some(count) => format!("{count} x {}", shape.accelerator),
            None => "no card".to_string(),
        };
        let made_of = |s: &ShapeRow| (s.accelerator.clone(), s.accelerator_count, s.vcpus, s.memory_gib, s.cpu.clone());
        match self.shapes.get(&shape.instance_type) {
            Some((first, known)) if made_of(known) != made_of(&shape) => {
                let what = match (cards(known), cards(&shape)) {
                    (one, other) if one == other => "other sizes".to_string(),
                    (one, other) => format!("{other}, not {one}"),
                };
                return Err(format!(
                    "line {line}: {} has {what} as on line {first}; name the two differently",
                    shape.instance_type
                ));
            }
            Some(_) => return Ok(()),
            None => {}
        }
        let elsewhere = catalog.iter().map(|row| &row.value);
        let elsewhere =
            elsewhere.filter(|known| known.source != shape.source).find(|k| k.instance_type == shape.instance_type);
        if let Some(known) =
            elsewhere.filter(|known| shape.accelerator_count.is_some() && cards(known) != cards(&shape))
        {
            return Err(format!(
                "line {line}: {} has {} here and {} in the catalog; leave the columns of cards out, or name it differently",
                shape.instance_type,
                cards(&shape),
                cards(known)
            ));
        }
        self.shapes.insert(shape.instance_type.clone(), (line, shape));
        Ok(())
    }

    /// What the reader of a list took for granted.
    fn notes(&self, figures: &Figures) -> Vec<String> {
        let mut notes = Vec::new();
        if let (Some(Mark::Comma), Some((line, text))) = (figures.mark, &figures.shown_by) {
            notes.push(format!("numbers have a decimal comma, as `{text}` on line {line} shows"));
        }
        let unpriced = self.prices.iter().filter(|(_, price)| price.usd.is_none()).count();
        if unpriced > 0 {
            let zero = if self.zero > 0 { format!(" ({} of them 0)", self.zero) } else { String::new() };
            notes.push(format!("{unpriced} without a price{zero}: listed, not ranked"));
        }
        if self.repeated > 0 {
            notes.push(format!("{} rows are in it more than once and were taken once", self.repeated));
        }
        if self.older > 0 {
            notes.push(format!("{} rows are older than another of the same and were left out", self.older));
        }
        notes
    }
}
