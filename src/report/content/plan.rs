//! The tables of a plan.

use crate::report::table::{DASH, Table};
use crate::sizing::plan::{Plan, PlanOption, ServerlessOption};
use crate::units::{Fraction, Quantity, RequestsPerSecond, Seconds};

fn range(option: &PlanOption) -> String {
    let (least, most) = option.instances_range;
    if least == most { DASH.to_string() } else { format!("{least} - {most}") }
}

/// Types of instances, the cheapest `most` and every measured one.
pub fn options(plan: &Plan, most: usize) -> Table {
    let title = super::ranking::title(&plan.ranking).replacen("Cost of a request", "Instances", 1);
    let mut table = Table::new(
        title,
        &[
            ">#",
            "offer",
            "hardware",
            "quant",
            ">batch",
            "basis",
            ">instances",
            "from - to",
            ">used",
            ">$/month",
            "$ from - to",
            ">$/1k requests",
            ">TTFT",
            ">E2E",
            ">price age",
        ],
    )
    .spare(&["E2E", "TTFT", "batch", "quant", "used", "hardware"]);
    let shown = super::ranking::shown(&plan.ranking, most);
    for option in plan.options.iter().filter(|option| shown.iter().any(|(index, _)| *index == option.place)) {
        let row = &option.row;
        let month = row.usd_per_month.unwrap_or_default();
        table.push(vec![
            super::ranking::place(&plan.ranking, option.place, row),
            super::ranking::marked_name(row),
            row.hardware.to_string(),
            row.quant.to_string(),
            row.batch.to_string(),
            super::ranking::basis(row),
            option.fleet.instances.to_string(),
            range(option),
            Fraction(option.fleet.utilisation).human(),
            month.value.to_string(),
            format!("{} - {}", month.lo, month.hi),
            row.usd_per_thousand_requests.map_or(DASH.to_string(), |c| c.value.to_string()),
            Seconds(row.ttft_s.value).human(),
            Seconds(row.e2e_s.value).human(),
            super::ranking::price_age(row),
        ]);
    }
    table.notes = super::ranking::ranking_notes(&plan.ranking, most);
    table.notes.push("instances from - to: at the upper and the lower end of what one sustains".to_string());
    if let Some(user) = plan.options.first().and_then(|option| option.row.usd_per_user_month) {
        table.notes.push(format!("{} per user and month on the first ({} to {})", user.value, user.lo, user.hi));
    }
    table
}

/// Serverless offers against instances that are kept.
pub fn warm(plan: &Plan, most: usize) -> Option<Table> {
    let first = plan.warm.first()?;
    let month = |warm: &ServerlessOption| warm.serverless_usd_per_month.map_or(f64::INFINITY, |usd| usd.to_f64());
    let mut shown: Vec<&ServerlessOption> = plan.warm.iter().collect();
    shown.sort_by(|a, b| month(a).total_cmp(&month(b)));
    let left = shown.len().saturating_sub(most);
    shown.truncate(most);
    let mut table = Table::new(
        format!("Serverless against {} kept warm ({} a month)", first.kept, first.kept_usd_per_month),
        &["offer", "hardware", ">$/month", ">cheaper below", ">break-even use", "note"],
    );
    for warm in &shown {
        table.push(vec![
            warm.serverless.clone(),
            warm.hardware.to_string(),
            warm.serverless_usd_per_month.map_or(DASH.to_string(), |usd| usd.to_string()),
            warm.break_even_requests_per_s.map_or(DASH.to_string(), |rate| RequestsPerSecond(rate).human()),
            warm.break_even_utilisation.map_or(DASH.to_string(), |share| Fraction(share).human()),
            match (&warm.note, warm.is_whole) {
                (Some(note), true) if !warm.is_start_unknown => note.clone(),
                (_, true) => DASH.to_string(),
                (_, false) => "CPU and memory come on top".to_string(),
            },
        ]);
    }
    let kept =
        "break-even use: busy for a larger share of the time, an hour of the same hardware is cheaper than its seconds";
    table.notes.push(kept.to_string());
    if shown.iter().any(|warm| warm.is_start_unknown) {
        let note = "where there is a dash, how long a cold start takes is not known: --cold-start 20s says it, or a run of \
                    `sizewell coldstart` among the folders";
        table.notes.push(note.to_string());
    }
    if left > 0 {
        table.notes.push(format!("{left} more in the JSON form"));
    }
    table.notes.push(
        "requests are taken to come at random; a worker that is left waiting is kept as long as the provider does"
            .to_string(),
    );
    Some(table)
}

/// Own hardware against rented.
pub fn bought(plan: &Plan) -> Option<Table> {
    plan.bought.first()?;
    let mut table = Table::new(
        "Bought against rented",
        &["own", ">machines", ">to buy", ">$/month to run", "rented", ">$/month", ">equal after", "from - to"],
    );
    let month = |m: Option<f64>| m.map_or("never".to_string(), |m| format!("month {}", m.ceil()));
    for bought in &plan.bought {
        table.push(vec![
            bought.own.clone(),
            bought.machines.to_string(),
            bought.capital.to_string(),
            bought.running_usd_per_month.to_string(),
            bought.rented.clone(),
            bought.rented_usd_per_month.value.to_string(),
            month(bought.break_even_month),
            format!("{} - {}", month(bought.break_even_range.0), month(bought.break_even_range.1)),
        ]);
    }
    Some(table)
}
