//! Taking new prices of one provider into a catalog: whole, and only if the result passes the check.

use super::check;
use super::facts::{Provider, Source};
use super::finding::Severity;
use super::price::{Market, PriceRow};
use super::shape::ShapeRow;
use super::tables::{Row, Tables};
use super::text::shown;
use jiff::civil::Date;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

/// A list with fewer on-demand rows than this share of what the provider had in the same regions is taken for broken.
const LEAST_SHARE: f64 = 0.5;
/// A list of which a larger share is out of line with its peers is taken for one in other units.
const MOST_ANOMALIES: f64 = 0.3;

/// New price over old one between which a confirmation still holds (0.75 and 1.25).
const STILL_TRUE: (Decimal, Decimal) =
    (Decimal::from_parts(75, 0, 0, false, 2), Decimal::from_parts(125, 0, 0, false, 2));

/// Prices of one provider, as fetched or imported.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// The prices.
    pub prices: Vec<PriceRow>,
    /// Shapes of types that the catalog did not have.
    pub shapes: Vec<ShapeRow>,
    /// Where they are from.
    pub source: Source,
    /// The provider, where the catalog may not have it.
    pub provider: Option<Provider>,
    /// Rows that were passed over, by reason.
    pub skipped: BTreeMap<String, usize>,
    /// What else is to be known of the list.
    pub notes: Vec<String>,
}

/// What became of a provider.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The provider.
    pub provider: String,
    /// The list.
    pub list: String,
    /// New prices.
    pub rows: usize,
    /// Of those, with a flag that keeps them out of rankings.
    pub flagged: usize,
    /// Rows that were passed over, by reason.
    pub skipped: BTreeMap<String, usize>,
    /// What else is to be known of the list, a line each.
    #[serde(default)]
    pub notes: Vec<String>,
    /// Why nothing was taken; the provider keeps what it had.
    pub error: Option<String>,
    /// The day.
    pub on: Option<Date>,
}

impl Outcome {
    /// Nothing was taken.
    pub fn failed(provider: &str, list: &str, why: String) -> Self {
        Self {
            provider: provider.to_string(),
            list: list.to_string(),
            rows: 0,
            flagged: 0,
            skipped: BTreeMap::new(),
            notes: Vec::new(),
            error: Some(why),
            on: None,
        }
    }
}

impl fmt::Display for Outcome {
    /// A line, and one for each thing that is to be known.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(why) = &self.error {
            return write!(f, "{}: {why}; keeps the prices that it had", self.provider);
        }
        let prices = if self.rows == 1 { "price" } else { "prices" };
        write!(f, "{}: {} {prices} from {}", self.provider, self.rows, self.list)?;
        for note in &self.notes {
            write!(f, "\n  {note}")?;
        }
        for (reason, count) in &self.skipped {
            let rows = if *count == 1 { "row" } else { "rows" };
            write!(f, "\n  {count} {rows} passed over: {reason}")?;
        }
        Ok(())
    }
}

/// Puts the prices in the place of those of the same markets and regions, flags what is out of line, and checks. Where
/// the check fails, `tables` stays as it was.
pub fn adopt(tables: &mut Tables, provider: &str, fetched: Fetched, today: Date) -> Outcome {
    let list = fetched.source.what.clone();
    let mut skipped = fetched.skipped.clone();
    let mut notes = fetched.notes.clone();
    notes.extend(cards(tables, &fetched));
    match merged(tables, provider, fetched, today, &mut skipped) {
        Ok(Merged { new, rows, flagged }) => {
            *tables = new;
            if !flagged.is_empty() {
                let prices =
                    if flagged.len() == 1 { "1 price is".to_string() } else { format!("{} prices are", flagged.len()) };
                notes.push(format!("{prices} out of line with others like it: flagged, not ranked"));
                notes.push(format!("  {}", some(&flagged)));
            }
            let flagged = flagged.len();
            Outcome { provider: provider.into(), list, rows, flagged, skipped, notes, error: None, on: Some(today) }
        }
        Err(why) => Outcome { skipped, ..Outcome::failed(provider, &list, why) },
    }
}

/// Most names that are listed; a list of a thousand is read by nobody.
const SHOWN: usize = 8;

/// The first few of some names, and how many more there are.
fn some(names: &[String]) -> String {
    let first: Vec<String> = names.iter().take(SHOWN).map(|name| shown(name)).collect();
    match names.len().saturating_sub(SHOWN) {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

/// Cards of a list that the catalog does not know, and those that are one of several: a line for each.
fn cards(tables: &Tables, fetched: &Fetched) -> Vec<String> {
    let known: BTreeSet<&str> = tables.accelerators.iter().map(|row| row.value.id.as_str()).collect();
    let mut unknown: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut assumed: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for shape in fetched.shapes.iter().filter(|shape| !shape.accelerator.is_empty()) {
        let types = if !known.contains(shape.accelerator.as_str()) {
            unknown.entry(&shape.accelerator).or_default()
        } else if shape.flags.split(';').any(|flag| flag == "form_factor_assumed") {
            assumed.entry(&shape.accelerator).or_default()
        } else {
            continue;
        };
        types.push(shape.instance_type.clone());
    }
    let listed = |cards: BTreeMap<&str, Vec<String>>| {
        let more = cards.len().saturating_sub(SHOWN);
        let first: Vec<(&str, Vec<String>)> = cards.into_iter().take(SHOWN).collect();
        let lines = first.into_iter().map(|(card, types)| match types.as_slice() {
            [only] => format!("  {} ({})", shown(card), shown(only)),
            several => format!("  {} ({} types)", shown(card), several.len()),
        });
        lines.chain((more > 0).then(|| format!("  and {more} more"))).collect::<Vec<_>>()
    };
    let mut notes = Vec::new();
    if !unknown.is_empty() {
        let cards = if unknown.len() == 1 { "1 card is".to_string() } else { format!("{} cards are", unknown.len()) };
        notes.push(format!("{cards} not in accelerators.csv: listed, not ranked"));
        notes.extend(listed(unknown));
    }
    if !assumed.is_empty() {
        notes.push("not said which of several cards; taken for".to_string());
        notes.extend(listed(assumed));
    }
    notes
}

/// Tables with the prices of a list.
struct Merged {
    new: Tables,
    /// New prices.
    rows: usize,
    /// Types whose prices got a flag that keeps them out of rankings.
    flagged: Vec<String>,
}

fn row<T>(value: T) -> Row<T> {
    Row { line: 0, value }
}

fn merged(
    tables: &Tables,
    provider: &str,
    fetched: Fetched,
    today: Date,
    skipped: &mut BTreeMap<String, usize>,
) -> Result<Merged, String> {
    let fetched = sound(fetched, skipped);
    let (prices, differing) = one_of_each(fetched.prices);
    if differing > 0 {
        let why = "another price of the same type, place and market in the list is higher, and was taken";
        skipped.insert(why.to_string(), differing);
    }
    let rows = prices.len();
    let prices = confirmed(prices, tables.prices.get(provider).map_or(&[], Vec::as_slice));
    if rows == 0 {
        return Err("the list was read without an error and holds no price".to_string());
    }
    let markets: BTreeSet<Market> = prices.iter().map(|price| price.market).collect();
    let regions: BTreeSet<String> = prices.iter().map(|price| price.region.clone()).collect();
    let replaced = |price: &PriceRow| {
        markets.contains(&price.market) && (regions.contains(&price.region) || price.region == "any")
    };
    let mut new = tables.clone();
    let old = new.prices.entry(provider.to_string()).or_default();
    let had = old.iter().filter(|r| replaced(&r.value) && r.value.market == Market::OnDemand).count();
    let has = prices.iter().filter(|price| price.market == Market::OnDemand).count();
    if markets.contains(&Market::OnDemand) && (has as f64) < LEAST_SHARE * had as f64 {
        return Err(format!(
            "{has} on-demand prices in place of {had}: the list is taken for incomplete; \
             where it is whole, delete prices/{provider}.csv of the catalog and try again"
        ));
    }
    old.retain(|row| !replaced(&row.value));
    old.extend(prices.into_iter().map(row));
    old.sort_by(|a, b| a.value.key().cmp(&b.value.key()));
    let shapes = new.shapes.entry(provider.to_string()).or_default();
    // What the same list said of a type before, it now says anew.
    let listed: BTreeSet<&str> = fetched.shapes.iter().map(|shape| shape.instance_type.as_str()).collect();
    shapes.retain(|row| row.value.source != fetched.source.id || !listed.contains(row.value.instance_type.as_str()));
    let known: BTreeSet<String> = shapes.iter().map(|row| row.value.instance_type.clone()).collect();
    shapes.extend(fetched.shapes.into_iter().filter(|shape| !known.contains(&shape.instance_type)).map(row));
    shapes.sort_by(|a, b| a.value.instance_type.cmp(&b.value.instance_type));
    new.sources.retain(|row| row.value.id != fetched.source.id);
    new.sources.push(row(fetched.source));
    if let Some(described) = fetched.provider {
        describe(&mut new, described)?;
    }
    let flagged = check::flag_anomalies(&mut new, provider);
    // New prices move the medians that others are held to.
    let others: Vec<String> = new.prices.keys().filter(|name| *name != provider).cloned().collect();
    for other in &others {
        check::flag_anomalies(&mut new, other);
    }
    if flagged.len() as f64 > MOST_ANOMALIES * rows as f64 && rows > 10 {
        return Err(format!(
            "{} of {rows} prices are out of line with their peers: other units, or another list",
            flagged.len()
        ));
    }
    // Through the files and back, so that what is written is what was checked.
    let files = new.write().map_err(|e| e.to_string())?;
    let mine = |file: &str| file.ends_with(&format!("/{provider}.csv"));
    let findings = check::check("new", &files, today);
    match findings.into_iter().find(|f| f.severity == Severity::Error && mine(&f.file)) {
        // The lines are those of the file that was not written.
        Some(finding) => Err(format!("{}; {}", finding.message, finding.remedy)),
        None => Ok(Merged { new, rows, flagged }),
    }
}

/// What was found to be true of a price that is out of line holds for the next one too, unless that is another by far.
fn confirmed(mut prices: Vec<PriceRow>, old: &[Row<PriceRow>]) -> Vec<PriceRow> {
    let known: HashMap<_, &PriceRow> = old
        .iter()
        .filter(|row| row.value.flags.contains("_confirmed"))
        .map(|row| ((row.value.instance_type.as_str(), row.value.region.as_str(), row.value.market), &row.value))
        .collect();
    for price in &mut prices {
        let Some(before) = known.get(&(price.instance_type.as_str(), price.region.as_str(), price.market)) else {
            continue;
        };
        let ratio = price.usd_per_h().zip(before.usd_per_h()).and_then(|(new, old)| new.checked_div(old));
        if ratio.is_some_and(|ratio| ratio > STILL_TRUE.0 && ratio < STILL_TRUE.1) {
            for flag in before.flags.split(';').filter(|flag| flag.ends_with("_confirmed")) {
                price.add_flag(flag);
            }
        }
    }
    prices
}

/// The rows of a list that can be: one bad row does not hold up the others, and is counted.
fn sound(mut fetched: Fetched, skipped: &mut BTreeMap<String, usize>) -> Fetched {
    let mut skip = |why: &str| *skipped.entry(why.to_string()).or_default() += 1;
    let mut broken: BTreeSet<String> = BTreeSet::new();
    fetched.shapes.retain(|shape| match shape.fault() {
        None => true,
        Some(_) => {
            broken.insert(shape.instance_type.clone());
            false
        }
    });
    fetched.prices.retain(|price| {
        let why = match price.fault() {
            Some(("bad_name", _)) => "a name with control characters, or that would be a formula",
            Some(_) => "a price that no machine has",
            None if broken.contains(&price.instance_type) => "a type whose name, cards or sizes cannot be",
            None => return true,
        };
        skip(why);
        false
    });
    fetched
}

/// Enters a provider that the catalog does not have; one that it has must be of the same class.
fn describe(tables: &mut Tables, described: Provider) -> Result<(), String> {
    let Some(known) = tables.providers.iter_mut().find(|row| row.value.provider == described.provider) else {
        tables.providers.push(row(described));
        return Ok(());
    };
    if known.value.class != described.class && known.value.note != described.note {
        let (name, is, said) = (&described.provider, known.value.class.name(), described.class.name());
        return Err(format!(
            "{name} is of class `{is}` in the catalog and `{said}` in the mapping; set class = \"{is}\""
        ));
    }
    known.value.class = described.class;
    Ok(())
}

/// One price of each key, and how many others that differ were left out for it. Lists repeat themselves: of two prices the
/// higher one is kept, so that a machine does not look cheaper than it may be.
fn one_of_each(prices: Vec<PriceRow>) -> (Vec<PriceRow>, usize) {
    let mut at: HashMap<String, usize> = HashMap::new();
    let mut kept: Vec<PriceRow> = Vec::new();
    let mut differing = 0;
    for price in prices {
        let key = format!("{:?}", price.key());
        let Some(index) = at.get(&key).copied() else {
            at.insert(key, kept.len());
            kept.push(price);
            continue;
        };
        differing += usize::from(kept[index].usd != price.usd);
        if price.usd > kept[index].usd {
            kept[index] = price;
        }
    }
    (kept, differing)
}
