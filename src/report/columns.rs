//! The columns of a ranking, each once: what it is called in files, which value of a row it has, and where and how tables
//! show it. The CSV, every table (on the terminal, in HTML, PDF, Markdown and workbooks) and the script of a report's page
//! read the columns from here: one more is a value in the row and a line in [`all`].

use super::content::{basis, marked_name, place, price_age};
use super::table::DASH;
use crate::record::Basis;
use crate::sizing::cost::Component;
use crate::sizing::projection::Tier;
use crate::sizing::speed::exclusion::ExclusionReason;
use crate::sizing::{CostInterval, Excluded, RankRow, Ranking};
use crate::units::{Fraction, Quantity, RequestsPerSecond, Seconds, Usd};
use crate::workload::Task;
use serde_json::{Value as Json, json};

/// A row of a ranking with its place, from 0.
#[derive(Clone, Copy)]
pub struct Ranked<'a> {
    /// The ranking.
    pub ranking: &'a Ranking,
    /// The place.
    pub index: usize,
    /// The row.
    pub row: &'a RankRow,
}

/// What a cell holds, before it is written.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Nothing is known.
    Absent,
    /// Text.
    Text(String),
    /// A number in SI units.
    Number(f64),
    /// Money, exact.
    Usd(Usd),
    /// Yes or no.
    Flag(bool),
}

/// How tables write a value. The page's script has a function for each, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Text as it is.
    Text,
    /// A number as it is.
    Count,
    /// Dollars.
    Usd,
    /// Dollars without the sign.
    UsdPerH,
    /// A time.
    Seconds,
    /// A share in percent.
    Share,
    /// Requests a second.
    PerSecond,
    /// The place in the ranking, `1=` for ties.
    Place,
    /// Provider, type, region and market.
    Offer,
    /// Basis and tier.
    Basis,
    /// Both ends of the cost.
    Range,
    /// Days since the price was seen.
    Age,
}

impl Format {
    /// The name of the script's function.
    fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Count => "count",
            Self::Usd => "usd",
            Self::UsdPerH => "usd_per_h",
            Self::Seconds => "seconds",
            Self::Share => "share",
            Self::PerSecond => "per_second",
            Self::Place => "place",
            Self::Offer => "offer",
            Self::Basis => "basis",
            Self::Range => "range",
            Self::Age => "age",
        }
    }

    /// Numbers are set right.
    fn is_right(self) -> bool {
        !matches!(self, Self::Text | Self::Offer | Self::Basis | Self::Range)
    }
}

/// Of which rankings a column is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visibility {
    /// Of every one.
    Always,
    /// Where a demand is given.
    Demand,
    /// Of models that generate.
    Generates,
    /// Where something is projected to a card.
    Roofed,
}

/// How tables show a column.
#[derive(Debug, Clone, Copy)]
struct Shown {
    /// Where it stands among the others.
    place: u8,
    /// The heading for models that generate; `{}` is what the task gives.
    heading: &'static str,
    /// That for others, where it is another.
    otherwise: Option<&'static str>,
    format: Format,
    when: Visibility,
    /// A narrow terminal does without, the lowest number first.
    spare: Option<u8>,
    /// The page's script has its value too.
    page: bool,
}

enum Source {
    Row(fn(&Ranked<'_>) -> Value),
    Component(Component),
}

/// A column.
pub struct Column {
    /// The name in files, and of the value in the rows of the page's script.
    pub name: String,
    source: Source,
    /// It is one of the CSV.
    pub in_csv: bool,
    shown: Option<Shown>,
}

impl Column {
    fn shown(mut self, place: u8, heading: &'static str, format: Format) -> Self {
        self.shown =
            Some(Shown { place, heading, otherwise: None, format, when: Visibility::Always, spare: None, page: true });
        self
    }

    fn change(mut self, change: impl FnOnce(&mut Shown)) -> Self {
        self.shown = self.shown.map(|mut shown| {
            change(&mut shown);
            shown
        });
        self
    }

    fn when(self, when: Visibility) -> Self {
        self.change(|shown| shown.when = when)
    }

    fn spare(self, order: u8) -> Self {
        self.change(|shown| shown.spare = Some(order))
    }

    fn otherwise(self, heading: &'static str) -> Self {
        self.change(|shown| shown.otherwise = Some(heading))
    }

    fn not_on_the_page(self) -> Self {
        self.change(|shown| shown.page = false)
    }

    /// The value of a row.
    pub fn value(&self, of: &Ranked<'_>) -> Value {
        match self.source {
            Source::Row(value) => value(of),
            Source::Component(component) => money(of.row.components.map(|parts| parts.of(component).value)),
        }
    }

    /// The value as files have it: decimals exact, what is absent empty, text that no spreadsheet takes for a formula.
    pub fn in_file(&self, of: &Ranked<'_>) -> String {
        match self.value(of) {
            Value::Absent => String::new(),
            Value::Text(text) => inert(&text),
            Value::Number(number) => number.to_string(),
            Value::Usd(usd) => usd.0.normalize().to_string(),
            Value::Flag(flag) => flag.to_string(),
        }
    }

    /// The value as tables show it.
    pub fn in_table(&self, of: &Ranked<'_>) -> String {
        let format = self.shown.map_or(Format::Text, |shown| shown.format);
        match (self.value(of), format) {
            (Value::Absent, _) => DASH.to_string(),
            (Value::Usd(usd), Format::UsdPerH) => usd.to_string().trim_start_matches('$').to_string(),
            (Value::Usd(usd), _) => usd.to_string(),
            (Value::Number(seconds), Format::Seconds) => Seconds(seconds).human(),
            (Value::Number(share), Format::Share) => Fraction(share).human(),
            (Value::Number(rate), Format::PerSecond) => RequestsPerSecond(rate).human(),
            (Value::Number(number), _) => number.to_string(),
            (Value::Text(text), _) => text,
            (Value::Flag(flag), _) => flag.to_string(),
        }
    }

    /// The heading in a table of a ranking, and in which order a narrow terminal does without it; `None` where the table
    /// does not show it.
    fn heading(&self, ranking: &Ranking) -> Option<(String, Option<u8>)> {
        let shown = self.shown?;
        let is_shown = match shown.when {
            Visibility::Always => true,
            Visibility::Demand => ranking.rows.iter().any(|row| row.fleet.is_some()),
            Visibility::Generates => ranking.task.generates(),
            Visibility::Roofed => ranking.rows.iter().any(|row| row.ground.is_some()),
        };
        let usual = ranking.task.generates();
        let words = shown.otherwise.filter(|_| !usual).unwrap_or(shown.heading);
        let right = if shown.format.is_right() { ">" } else { "" };
        let heading = format!("{right}{}", words.replace("{}", ranking.task.results()));
        // What is beside the point for one task is the point of another.
        let beside = usual || (shown.otherwise.is_none() && !words.contains("{}"));
        let several = self.name == "quant" && ranking.quants.len() > 1;
        is_shown.then(|| (heading, shown.spare.filter(|_| beside && !several)))
    }
}

/// Text that no spreadsheet takes for a formula (OWASP, CSV injection): a quote before what would begin one.
pub fn inert(text: &str) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text.to_string() }
}

fn text(text: impl AsRef<str>) -> Value {
    Value::Text(text.as_ref().to_string())
}

fn maybe_text(text: Option<impl AsRef<str>>) -> Value {
    text.map_or(Value::Absent, |text| Value::Text(text.as_ref().to_string()))
}

fn number(number: Option<f64>) -> Value {
    number.map_or(Value::Absent, Value::Number)
}

fn money(usd: Option<Usd>) -> Value {
    usd.map_or(Value::Absent, Value::Usd)
}

fn cost(cost: Option<CostInterval>) -> Value {
    money(cost.map(|cost| cost.value))
}

fn range(cost: Option<CostInterval>) -> Value {
    maybe_text(cost.map(|cost| format!("{} - {}", cost.lo, cost.hi)))
}

fn column(name: &str, value: fn(&Ranked<'_>) -> Value) -> Column {
    Column { name: name.to_string(), source: Source::Row(value), in_csv: true, shown: None }
}

/// A column that says in words what several of the files' columns say apart.
fn in_tables(name: &str, value: fn(&Ranked<'_>) -> Value) -> Column {
    Column { in_csv: false, ..column(name, value) }
}

/// The tier of the projection; sizes of one CPU generation have no tier of cards.
fn tier(row: &RankRow) -> &'static str {
    let measured = if row.basis == Basis::Projected { "" } else { Tier::M.letter() };
    row.ground.as_ref().map_or(measured, |ground| ground.tier.letter())
}

/// Every column. Those of the CSV stand in its order: what came later stands last, so that readers of the others find them
/// where they were.
pub fn all() -> Vec<Column> {
    let mut all = offers();
    all.extend(costs());
    all.extend(Component::ALL.map(|component| Column {
        name: format!("{}_usd", component.name()),
        source: Source::Component(component),
        in_csv: true,
        shown: None,
    }));
    all.extend(figures());
    all.extend(later());
    all.extend(in_words());
    all
}

/// What is ranked.
fn offers() -> Vec<Column> {
    vec![
        column("status", |_| text("ranked")),
        column("rank", |r| number(r.row.usd_per_request.map(|_| (r.index + 1) as f64))),
        column("provider", |r| text(&r.row.provider)),
        column("instance_type", |r| text(&r.row.instance_type)),
        column("region", |r| maybe_text(r.row.region.as_ref())),
        column("zone", |r| maybe_text(r.row.zone.as_ref())),
        column("market", |r| maybe_text(r.row.market.map(|market| market.name()))),
        column("hardware", |r| text(&r.row.hardware)).shown(20, "hardware", Format::Text).spare(9),
        column("replicas", |r| Value::Number(r.row.replicas as f64)),
        column("quant", |r| text(r.row.quant.name())).shown(30, "quant", Format::Text).spare(6),
        column("batch", |r| Value::Number(r.row.batch as f64)).shown(40, "batch", Format::Count).spare(7),
        column("prompt_tokens", |r| Value::Number(r.ranking.prompt_tokens)),
        column("gen_tokens", |r| Value::Number(r.ranking.gen_tokens)),
        column("basis", |r| text(r.row.basis.name())),
        column("method", |r| text(r.row.method)),
    ]
}

/// What it costs.
fn costs() -> Vec<Column> {
    vec![
        column("usd_per_h", |r| money(r.row.usd_per_h)).shown(60, "$/h", Format::UsdPerH),
        column("usd_per_request", |r| cost(r.row.usd_per_request)),
        column("usd_per_request_lo", |r| money(r.row.usd_per_request.map(|cost| cost.lo))),
        column("usd_per_request_hi", |r| money(r.row.usd_per_request.map(|cost| cost.hi))),
        column("usd_per_thousand_requests", |r| cost(r.row.usd_per_thousand_requests))
            .shown(100, "$/1k {}", Format::Usd)
            .spare(5),
        column("usd_per_million_tokens", |r| cost(r.row.usd_per_million_tokens))
            .shown(110, "$/M tokens", Format::Usd)
            .when(Visibility::Generates),
        column("usd_per_million_tokens_lo", |r| money(r.row.usd_per_million_tokens.map(|cost| cost.lo))),
        column("usd_per_million_tokens_hi", |r| money(r.row.usd_per_million_tokens.map(|cost| cost.hi))),
        column("usd_per_million_input_tokens", |r| cost(r.row.usd_per_million_input_tokens)),
        column("usd_per_million_output_tokens", |r| cost(r.row.usd_per_million_output_tokens)),
        column("instances", |r| number(r.row.fleet.map(|fleet| fleet.instances)))
            .shown(70, "instances", Format::Count)
            .when(Visibility::Demand),
        column("utilisation", |r| number(r.row.fleet.map(|fleet| fleet.utilisation)))
            .shown(80, "used", Format::Share)
            .when(Visibility::Demand)
            .spare(8),
        column("usd_per_month", |r| cost(r.row.usd_per_month))
            .shown(90, "$/month", Format::Usd)
            .when(Visibility::Demand),
        column("usd_per_user_month", |r| cost(r.row.usd_per_user_month)),
    ]
}

/// How fast it is, and what to know of that.
fn figures() -> Vec<Column> {
    vec![
        column("ttft_s", |r| Value::Number(r.row.ttft_s.value))
            .shown(130, "TTFT", Format::Seconds)
            .otherwise("time")
            .spare(4),
        column("tpot_s", |r| Value::Number(r.row.tpot_s.value))
            .shown(140, "TPOT", Format::Seconds)
            .when(Visibility::Generates)
            .spare(3),
        column("e2e_s", |r| Value::Number(r.row.e2e_s.value))
            .shown(160, "E2E", Format::Seconds)
            .when(Visibility::Generates)
            .spare(2),
        column("requests_per_s", |r| Value::Number(r.row.requests_per_s.value))
            .shown(170, "requests", Format::PerSecond)
            .spare(1),
        column("joules_per_token", |r| number(r.row.joules_per_token.map(|energy| energy.value))),
        column("g_co2e_per_thousand_requests", |r| number(r.row.g_co2e_per_thousand_requests.map(|g| g.value))),
        column("tied_with_first", |r| Value::Flag(r.row.tied_with_first)),
        column("on_front", |r| Value::Flag(r.row.on_front)),
        column("price_age_days", |r| number(r.row.price_age_days.map(|days| days as f64))),
        column("price_source", |r| maybe_text(r.row.price_source.as_ref())),
        column("reason", |r| maybe_text(r.row.why_no_cost.as_ref())),
        column("remarks", |r| {
            let remarks: Vec<&str> = r.row.doubts.iter().chain(&r.row.remarks).map(|remark| &**remark).collect();
            text(remarks.join(";"))
        }),
    ]
}

/// What came later.
fn later() -> Vec<Column> {
    vec![
        column("joules_per_token_lo", |r| number(r.row.joules_per_token.map(|energy| energy.lo))),
        column("joules_per_token_hi", |r| number(r.row.joules_per_token.map(|energy| energy.hi))),
        column("ttft_s_lo", |r| Value::Number(r.row.ttft_s.lo)),
        column("ttft_s_hi", |r| Value::Number(r.row.ttft_s.hi)),
        column("tpot_s_lo", |r| Value::Number(r.row.tpot_s.lo)),
        column("tpot_s_hi", |r| Value::Number(r.row.tpot_s.hi)),
        column("tier", |r| text(tier(r.row))),
        column("calibration_cards", |r| number(r.row.ground.as_ref().map(|ground| ground.calibration_cards as f64))),
        column("law_of", |r| maybe_text(r.row.ground.as_ref().map(|ground| &ground.law_of))),
        column("nearest_card", |r| maybe_text(r.row.ground.as_ref().and_then(|ground| ground.nearest_card.as_ref()))),
        column("validated_mape", |r| number(r.row.ground.as_ref().and_then(|ground| ground.validated_mape))),
        column("roofline_ttft_s", |r| number(r.row.ground.as_ref().map(|ground| ground.roofline_ttft_s))),
        column("roofline_tpot_s", |r| number(r.row.ground.as_ref().map(|ground| ground.roofline_tpot_s)))
            .shown(150, "TPOT of the roof", Format::Seconds)
            .when(Visibility::Roofed)
            .spare(0)
            .not_on_the_page(),
    ]
}

/// What tables say in words.
fn in_words() -> Vec<Column> {
    vec![
        in_tables("place", |r| text(place(r.ranking, r.index, r.row))).shown(0, "#", Format::Place),
        in_tables("offer", |r| text(marked_name(r.row))).shown(10, "offer", Format::Offer),
        in_tables("basis and tier", |r| text(basis(r.row))).shown(50, "basis", Format::Basis),
        in_tables("range", |r| range(r.ranking.unit_cost(r.row))).shown(120, "from - to", Format::Range),
        in_tables("price age", |r| text(price_age(r.row))).shown(180, "price age", Format::Age),
    ]
}

/// The columns that tables of a ranking show, in their order, each with its heading and in which order a narrow terminal
/// does without it.
pub fn shown(ranking: &Ranking) -> Vec<(Column, String, Option<u8>)> {
    let mut shown: Vec<(Column, String, Option<u8>)> = all()
        .into_iter()
        .filter_map(|column| column.heading(ranking).map(|(heading, spare)| (column, heading, spare)))
        .collect();
    shown.sort_by_key(|(column, ..)| column.shown.map(|shown| shown.place));
    shown
}

/// What a column of the CSV has of an offer that was left out.
pub fn of_excluded(column: &Column, item: &Excluded) -> String {
    let (provider, name) = item.offer.split_once(':').unwrap_or(("", &item.offer));
    match column.name.as_str() {
        "status" => match item.reason {
            ExclusionReason::DoesNotFit(_) => "does_not_fit",
            ExclusionReason::Other(_) => "excluded",
        }
        .to_string(),
        "provider" => inert(provider),
        "instance_type" => inert(name),
        "quant" => item.quant.to_string(),
        "reason" => inert(&item.reason),
        "tier" => "N".to_string(),
        _ => String::new(),
    }
}

/// The columns that the page's script shows, which computes their values itself.
pub fn of_page() -> Json {
    let mut columns: Vec<(Shown, Column)> =
        all().into_iter().filter_map(|column| Some((column.shown.filter(|shown| shown.page)?, column))).collect();
    columns.sort_by_key(|(shown, _)| shown.place);
    let column = |(shown, column): &(Shown, Column)| {
        json!({
            "name": column.name, "title": shown.heading.replace("{}", Task::Generate.results()),
            "right": shown.format.is_right(), "format": shown.format.name(), "demand": shown.when == Visibility::Demand,
        })
    };
    columns.iter().map(column).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_and_no_place_is_given_twice() {
        let all = all();
        let mut names: Vec<&str> = all.iter().map(|column| column.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all.len());
        let mut places: Vec<u8> = all.iter().filter_map(|column| column.shown.map(|shown| shown.place)).collect();
        places.sort_unstable();
        let count = places.len();
        places.dedup();
        assert_eq!(places.len(), count);
        let csv: Vec<&str> = all.iter().filter(|column| column.in_csv).map(|column| column.name.as_str()).collect();
        assert_eq!((csv.len(), csv[0], csv[48], csv[62]), (63, "status", "reason", "roofline_tpot_s"));
    }
}
