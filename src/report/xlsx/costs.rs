//! What a request costs on each offer that is paid by the hour, as formulae of the inputs:
//! `C = ((P_busy + disk + P i) busy + (P_wait + disk + P i) idle + egress) / (1 - f)` with `busy = 1 / (3600 T)` and
//! `idle = busy (1/u - 1)`: the formulae of `sizing::cost`, with `u` from whole instances where there is a volume.

use super::inputs::{NAME as INPUTS, Settings};
use super::{CellFormats, plain};
use crate::catalog::Market;
use crate::report::Report;
use crate::report::content::offer_name;
use crate::sizing::cost::component::Paid;
use crate::sizing::formulas as arithmetic;
use crate::sizing::{CostInterval, RankRow};
use crate::units::Usd;
use crate::units::interval::Interval;
use rust_xlsxwriter::{Chart, ChartType, Format, Formula, Workbook, Worksheet, XlsxError};

/// The name of the sheet.
pub(crate) const NAME: &str = "Costs";
/// The first row of offers, from 0.
pub(crate) const FIRST: u32 = 4;
/// Offers in the chart.
const CHARTED: u32 = 15;

/// Columns, in their order: title, width.
const COLUMNS: [(&str, f64); 33] = [
    ("rank now, within the level", 8.0),
    ("offer", 38.0),
    ("hardware", 24.0),
    ("level", 7.0),
    ("batch", 7.0),
    ("basis", 10.0),
    ("market", 11.0),
    ("list price, USD/h", 11.0),
    ("list price while it waits, USD/h", 12.0),
    ("discount applies (1 or 0)", 9.0),
    ("requests/s of an instance", 11.0),
    ("from", 11.0),
    ("to", 11.0),
    ("disk, USD/h", 10.0),
    ("interruptions, share of the price", 11.0),
    ("from", 9.0),
    ("to", 9.0),
    ("traffic, USD a request", 11.0),
    ("tokens a request", 9.0),
    ("price paid, USD/h", 11.0),
    ("instances", 9.0),
    ("used", 9.0),
    ("USD a request", 12.0),
    ("USD/1k requests", 12.0),
    ("from", 12.0),
    ("to", 12.0),
    ("USD/M tokens", 12.0),
    ("USD a month", 13.0),
    ("price seen, days ago", 9.0),
    ("E2E, s", 9.0),
    ("from", 9.0),
    ("to", 9.0),
    ("source", 60.0),
];

/// A row that is paid by the hour, with what it is made of.
struct Priced<'a> {
    row: &'a RankRow,
    gen_tokens: f64,
    busy_usd: f64,
    waiting_usd: f64,
    discounted: bool,
    disk_usd: f64,
    interruptions: Interval,
    egress_usd: f64,
}

fn usd(cost: CostInterval) -> Interval {
    cost.map(Usd::to_f64)
}

/// Requests a second in the mean and at the peak, of requests that take `e2e_s`.
fn demanded(settings: &Settings, e2e_s: f64) -> (f64, f64) {
    if settings.users > 0.0 {
        [arithmetic::rate_of_users(settings.users, settings.think_s, e2e_s); 2].into()
    } else {
        (settings.mean, settings.peak)
    }
}

/// Hours of an instance that a request takes, busy and waiting, as the sheet computes them.
fn hours(settings: &Settings, rate: f64, e2e_s: f64) -> (f64, f64) {
    let (mean, _) = demanded(settings, e2e_s);
    let used = if mean > 0.0 {
        arithmetic::utilisation(mean, instances(settings, rate, e2e_s), rate).min(1.0)
    } else {
        settings.utilisation
    };
    arithmetic::hours(rate, used).into()
}

fn instances(settings: &Settings, rate: f64, e2e_s: f64) -> f64 {
    let (_, peak) = demanded(settings, e2e_s);
    arithmetic::instances_for(peak, rate, settings.headroom, settings.spare).max(1.0)
}

/// `None` for what is not paid by the hour (serverless), or has no price.
fn priced<'a>(report: &Report<'_>, settings: &Settings, row: &'a RankRow, gen_tokens: f64) -> Option<Priced<'a>> {
    let components = row.components?;
    if row.market == Some(Market::Serverless) {
        return None;
    }
    let paid = row.usd_per_h?.to_f64();
    let discounted = matches!(row.market, Some(Market::OnDemand | Market::Reserved1y | Market::Reserved3y));
    let listed = if discounted { paid / (1.0 - settings.discount) } else { paid };
    let (busy, idle) = match (settings.fixed, row.fleet) {
        // As the program has it, whose instances change over the day.
        (true, Some(fleet)) => arithmetic::hours(row.requests_per_s.value, fleet.utilisation).into(),
        _ => hours(settings, row.requests_per_s.value, row.e2e_s.value),
    };
    let waiting = match row.market {
        Some(Market::OnPrem) => {
            let own = report.request.own.iter().find(|own| own.name == *row.instance_type)?;
            own.hour()?.waiting().iter().map(|(_, usd)| usd.to_f64()).sum()
        }
        _ => listed,
    };
    let of = |paid: Paid| usd(components.paid_by(paid));
    let interruptions = of(Paid::OnTop);
    Some(Priced {
        row,
        gen_tokens,
        busy_usd: listed,
        waiting_usd: waiting,
        discounted,
        disk_usd: of(Paid::Hour).value / (busy + idle),
        interruptions: interruptions.map(|usd| usd / (paid * (busy + idle))),
        egress_usd: of(Paid::Request).value,
    })
}

/// Writes the sheet.
pub(crate) fn sheet(
    workbook: &mut Workbook,
    looks: &CellFormats,
    report: &Report<'_>,
    settings: &Settings,
) -> Result<(), XlsxError> {
    let sheet = workbook.add_worksheet().set_name(NAME)?;
    sheet.write_string_with_format(0, 0, "What a request costs, by offer", &looks.title)?;
    let note = "Yellow: prices to fill in; use, volume and discount are on the sheet Inputs. Serverless offers are not paid by \
                the hour and are on the sheet Ranking. Traffic and disks are priced at the volume of the report.";
    sheet.write_string_with_format(1, 0, note, &looks.note)?;
    if settings.fixed {
        let note = "The demand has instances that change over the day (--autoscale): the costs below are values and do not \
                    follow the inputs.";
        sheet.write_string_with_format(2, 0, note, &looks.note)?;
    }
    for (index, (title, width)) in COLUMNS.iter().enumerate() {
        sheet.write_string_with_format(FIRST - 1, index as u16, *title, &looks.head)?;
        sheet.set_column_width(index as u16, *width)?;
    }
    sheet.set_row_height(FIRST - 1, 48)?.set_freeze_panes(FIRST, 2)?;
    let mut row = FIRST;
    let rows: Vec<Priced<'_>> = report
        .rankings
        .iter()
        .flatten()
        .flat_map(|ranking| ranking.rows.iter().map(|row| (row, ranking.counted_tokens())))
        .filter_map(|(row, gen_tokens)| priced(report, settings, row, gen_tokens))
        .collect();
    let last = FIRST + rows.len().max(1) as u32;
    for (index, priced) in rows.iter().enumerate() {
        let rank = 1 + rows[..index].iter().filter(|above| above.row.quant == priced.row.quant).count();
        offer(sheet, looks, settings, priced, (row, last, rank))?;
        row += 1;
    }
    if rows.is_empty() {
        let why = report.rankings.as_ref().err().map_or("nothing that was ranked has an hourly price", |why| why);
        sheet.write_string_with_format(FIRST, 0, plain(why), &looks.note)?;
        return Ok(());
    }
    sheet.autofilter(FIRST - 1, 0, row - 1, COLUMNS.len() as u16 - 1)?;
    chart(workbook, rows.len() as u32)
}

fn offer(
    sheet: &mut Worksheet,
    looks: &CellFormats,
    settings: &Settings,
    priced: &Priced<'_>,
    (row, last, rank): (u32, u32, usize),
) -> Result<(), XlsxError> {
    let ranked = priced.row;
    let texts = [
        (1, offer_name(ranked)),
        (2, ranked.hardware.to_string()),
        (3, ranked.quant.to_string()),
        (5, ranked.basis.to_string()),
        (6, ranked.market.map_or("-".to_string(), |market| market.name().to_string())),
        (32, ranked.price_source.as_ref().map_or(String::new(), |source| source.to_string())),
    ];
    for (column, text) in texts {
        sheet.write_string(row, column, plain(&text))?;
    }
    sheet.write_number(row, 4, ranked.batch as f64)?;
    let input = looks.input.clone().set_num_format("$#,##0.00####");
    sheet.write_number_with_format(row, 7, priced.busy_usd, &input)?;
    sheet.write_number_with_format(row, 8, priced.waiting_usd, &input)?;
    sheet.write_number(row, 9, if priced.discounted { 1.0 } else { 0.0 })?;
    let rate = ranked.requests_per_s;
    let interruptions = priced.interruptions;
    let numbers = [
        (10, rate.value),
        (11, rate.lo),
        (12, rate.hi),
        (13, priced.disk_usd),
        (14, interruptions.value),
        (15, interruptions.lo),
        (16, interruptions.hi),
        (17, priced.egress_usd),
        (18, priced.gen_tokens),
        (29, ranked.e2e_s.value),
        (30, ranked.e2e_s.lo),
        (31, ranked.e2e_s.hi),
    ];
    for (column, number) in numbers {
        sheet.write_number_with_format(row, column, number, &looks.number)?;
    }
    if let Some(days) = ranked.price_age_days {
        sheet.write_number(row, 28, days as f64)?;
    }
    for cell in formulas(looks, settings, priced, (row, last, rank)) {
        let stored = cell.result.map_or(String::new(), |result| result.to_string());
        match settings.fixed {
            true if stored.is_empty() => continue,
            true => sheet.write_number_with_format(row, cell.column, cell.result.unwrap_or(0.0), cell.format)?,
            false => {
                let formula = Formula::new(cell.formula).set_result(stored);
                sheet.write_formula_with_format(row, cell.column, formula, cell.format)?
            }
        };
    }
    Ok(())
}

/// A cell that follows from others: its formula, and what that comes to at the settings of the report.
struct Computed<'l> {
    column: u16,
    formula: String,
    /// `None` is an empty cell.
    result: Option<f64>,
    format: &'l Format,
}

fn formulas<'l>(
    looks: &'l CellFormats,
    settings: &Settings,
    priced: &Priced<'_>,
    (row, last, rank): (u32, u32, usize),
) -> Vec<Computed<'l>> {
    let (ranked, line, rate) = (priced.row, row + 1, priced.row.requests_per_s);
    let request = ranked.usd_per_request.map_or(Interval::exact(0.0), usd);
    let (busy, idle) = hours(settings, rate.value, ranked.e2e_s.value);
    let (mean, _) = demanded(settings, ranked.e2e_s.value);
    let used = ranked.fleet.map_or(busy / (busy + idle), |fleet| fleet.utilisation);
    let whole = ranked.fleet.map_or(1.0, |fleet| fleet.instances);
    let place = format!("=COUNTIFS($D${}:$D${last},D{line},$W${}:$W${last},\"<\"&W{line})+1", FIRST + 1, FIRST + 1);
    let month = ranked.usd_per_month.map_or(0.0, |month| month.value.to_f64());
    let paid = priced.busy_usd * if priced.discounted { 1.0 - settings.discount } else { 1.0 };
    let used_by = format!("=IF({},MIN(1,{}/(U{line}*K{line})),utilisation)", asked(), mean_rate(line, E2E));
    let monthly = format!("=IF({},W{line}*(1-failures)*{}*730*3600,\"\")", asked(), mean_rate(line, E2E));
    let formulas: [(u16, String, f64, &'l Format); 10] = [
        (0, place, rank as f64, &looks.wrap),
        (19, format!("=H{line}*(1-J{line}*discount)"), paid, &looks.money),
        (20, instances_formula(line, MIDDLE), whole, &looks.wrap),
        (21, used_by, used, &looks.percent),
        (22, cost(line, MIDDLE, &waiting(line, MIDDLE), "O"), request.value, &looks.money),
        (23, format!("=W{line}*1000"), request.value * 1e3, &looks.money),
        (
            24,
            format!("=1000*({})", end(line, FAST, "MIN", "P").trim_start_matches('=')),
            request.lo * 1e3,
            &looks.money,
        ),
        (
            25,
            format!("=1000*({})", end(line, SLOW, "MAX", "Q").trim_start_matches('=')),
            request.hi * 1e3,
            &looks.money,
        ),
        (26, format!("=W{line}*1000000/S{line}"), request.value * 1e6 / priced.gen_tokens, &looks.money),
        (27, monthly, month, &looks.money),
    ];
    let is_known = |column: u16| column != 27 || mean > 0.0;
    formulas
        .into_iter()
        .map(|(column, formula, result, format)| Computed {
            column,
            formula,
            result: Some(result).filter(|_| is_known(column)),
            format,
        })
        .collect()
}

/// The columns of a rate and of the E2E that goes with it.
type Pair = (&'static str, &'static str);
const E2E: &str = "AD";
const MIDDLE: Pair = ("K", E2E);
const SLOW: Pair = ("L", "AF");
const FAST: Pair = ("M", "AE");

/// Whether a volume was given.
fn asked() -> &'static str {
    "users+requests_per_s>0"
}

fn mean_rate(line: u32, e2e: &str) -> String {
    format!("IF(users>0,users/(think_time_s+{e2e}{line}),requests_per_s)")
}

fn peak_rate(line: u32, e2e: &str) -> String {
    format!("IF(users>0,users/(think_time_s+{e2e}{line}),peak_requests_per_s)")
}

/// Whole instances at the rate in a column.
fn instances_formula(line: u32, (rate, e2e): Pair) -> String {
    let peak = peak_rate(line, e2e);
    format!("=IF({},MAX(1,ROUNDUP({peak}/({rate}{line}*headroom)-0.000000001,0)+spare),1)", asked())
}

/// `1/u - 1` at the rate in a column.
fn waits(line: u32, pair: Pair) -> String {
    let whole = instances_formula(line, pair);
    let (whole, (rate, e2e)) = (whole.trim_start_matches('='), pair);
    let mean = mean_rate(line, e2e);
    format!("MAX(0,1/IF({},MIN(1,{mean}/(({whole})*{rate}{line})),utilisation)-1)", asked())
}

/// The cost of a request while it works at the rate in one column, with what waiting costs and the interruptions of
/// another. Disks and interruptions are paid for the hours at the middle of the rate, as in `sizing::pricing`.
fn cost(line: u32, (rate, _): Pair, waiting: &str, interruptions: &str) -> String {
    let off = format!("(1-J{line}*discount)");
    let middle = waits(line, MIDDLE);
    format!(
        "=(H{line}*{off}/(3600*{rate}{line})+I{line}*{off}*{waiting}\
         +(N{line}+{interruptions}{line}*H{line}*{off})*(1+{middle})/(3600*K{line})+R{line})/(1-failures)"
    )
}

/// Hours that a request waits at the rate in a column.
fn waiting(line: u32, pair: Pair) -> String {
    format!("{}/(3600*{}{line})", waits(line, pair), pair.0)
}

/// The least or the greatest of what waiting takes within the range of the rate: of whole instances, a higher rate may
/// leave more of the last one unused (`CostInterval::new` puts each component's ends in order too).
fn end(line: u32, pair: Pair, function: &str, interruptions: &str) -> String {
    let all: Vec<String> = [MIDDLE, SLOW, FAST].into_iter().map(|pair| waiting(line, pair)).collect();
    cost(line, pair, &format!("{function}({})", all.join(",")), interruptions)
}

/// A chart of the first offers that follows the inputs.
fn chart(workbook: &mut Workbook, rows: u32) -> Result<(), XlsxError> {
    let count = rows.min(CHARTED);
    let mut chart = Chart::new(ChartType::Bar);
    chart.title().set_name("Cost of a thousand requests on the first offers of the sheet Costs");
    chart
        .add_series()
        .set_name("USD per thousand requests")
        .set_categories((NAME, FIRST, 1, FIRST + count - 1, 1))
        .set_values((NAME, FIRST, 23, FIRST + count - 1, 23));
    chart.x_axis().set_name("offer").set_reverse();
    chart.y_axis().set_name("USD per thousand requests");
    chart.legend().set_hidden();
    chart
        .set_width(900)
        .set_height(420)
        .set_alt_text("Cost of a thousand requests on the first offers of the sheet Costs");
    workbook.worksheet_from_name(INPUTS)?.insert_chart(12, 0, &chart)?;
    Ok(())
}
