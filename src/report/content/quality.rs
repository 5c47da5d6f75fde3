//! What each variant costs in answers, and what it saves.

use super::estimate;
use crate::record::quality::{DEGRADED, DIVERGENCE_FLOOR, IMPROVED, NOT_TESTED, REFERENCE, UNCHANGED};
use crate::record::{CaseRow, Outcome, QualityRecord, QualityRow, Run, VariantRecord};
use crate::report::table::{DASH, Table};
use crate::units::{Quantity, digits};

/// What speed a pruned variant has: no kernel leaves its zeros out.
const DENSE: &str = "unchanged (dense kernels)";

/// A row for each variant: bytes, quality against the reference, speed, energy, cost.
pub fn variants(run: &Run, figures: &[QualityRow], usd_per_h: Option<f64>) -> Table {
    let mut metrics: Vec<(&str, &str)> = Vec::new();
    for row in figures {
        let figure = (row.data.as_str(), row.metric.as_str());
        if MAIN.contains(&figure.1) && !metrics.contains(&figure) {
            metrics.push(figure);
        }
    }
    metrics.sort_by_key(|(_, metric)| MAIN.iter().position(|main| main == metric));
    let titles: Vec<String> = metrics.iter().map(|(_, metric)| format!(">{}", metric.replace('_', " "))).collect();
    let mut columns = vec!["variant", ">stored", ">in memory"];
    columns.extend(titles.iter().map(String::as_str));
    columns.extend([">decode", ">energy/token", ">$/M tokens", "verdict"]);
    let mut table = Table::new("What each variant saves and what it costs", &columns);
    let Some(quality) = &run.record.quality else { return table };
    for variant in &quality.variants {
        table.push(row(run, figures, variant, &metrics, usd_per_h, quality.margin));
    }
    notes(&mut table, figures, usd_per_h, quality.variants.iter().any(|variant| !variant.pruning.is_empty()));
    table.notes.extend(of_data(quality));
    table.notes.extend(quality.variants.iter().filter_map(of_level));
    for variant in quality.variants.iter().filter_map(|v| v.failure.as_ref().map(|why| (v, why))) {
        table.notes.push(format!("{}: not evaluated: {}", variant.0.name(), variant.1));
    }
    table
}

/// What is odd about the data.
pub fn of_data(quality: &QualityRecord) -> impl Iterator<Item = String> + '_ {
    quality.data.iter().flat_map(|data| data.notes.iter().map(|note| format!("{}: {note}.", data.name)))
}

/// What is to be said of a variant whose weights are not all at its level.
fn of_level(variant: &VariantRecord) -> Option<String> {
    let (name, quant, share) = (variant.name(), variant.quant, variant.at_level?);
    let how = variant.notes.join(", ");
    if share <= 0.0 {
        let tested = if variant.pruning.is_empty() {
            "nothing is at this level, and nothing was tested"
        } else {
            "it tells of the pruning alone"
        };
        return Some(format!("{name}: none of its weights are stored at {quant} ({how}): {tested}."));
    }
    (share < 0.995)
        .then(|| format!("{name}: {} % of its weights are stored at {quant} ({how}).", digits(share * 100.0)))
}

/// The figures that have a column, in this order.
const MAIN: [&str; 9] = [
    "perplexity",
    "kl_divergence_mean",
    "top1_agreement",
    "choice_accuracy",
    "choice_flips",
    "exact_match",
    "spearman",
    "top1_accuracy",
    "top5_accuracy",
];

fn row(
    run: &Run,
    figures: &[QualityRow],
    variant: &VariantRecord,
    metrics: &[(&str, &str)],
    usd_per_h: Option<f64>,
    margin: f64,
) -> Vec<String> {
    let own: Vec<&QualityRow> =
        figures.iter().filter(|row| row.quant == variant.quant && row.pruning == variant.pruning).collect();
    let mut cells = match variant.failure {
        Some(_) => vec![variant.name(), DASH.to_string(), DASH.to_string()],
        None => vec![variant.name(), variant.stored_bytes.human(), variant.resident_bytes.human()],
    };
    cells.extend(metrics.iter().map(|(data, metric)| {
        let found = own.iter().find(|row| row.data == *data && row.metric == *metric);
        found.map_or(DASH.to_string(), |row| figure(row))
    }));
    let pruned = !variant.pruning.is_empty();
    let case = run.cases.iter().find(|row| row.key.case.quant == variant.quant && row.outcome == Outcome::Ok);
    cells.extend(match case.filter(|_| !pruned) {
        Some(case) => speed(case, usd_per_h),
        None if pruned => [DENSE, DENSE, DENSE].map(String::from),
        None => [DASH; 3].map(String::from),
    });
    cells.push(verdict(&own, margin));
    cells
}

fn speed(case: &CaseRow, usd_per_h: Option<f64>) -> [String; 3] {
    let rate = case.metrics.decode_tokens_per_s;
    let cost = usd_per_h.zip(rate).map(|(usd, rate)| usd / 3600.0 / rate.value.0 * 1e6);
    [
        estimate(rate),
        case.metrics.energy_per_token.map_or(DASH.to_string(), |energy| energy.value.human()),
        cost.map_or(DASH.to_string(), |usd| format!("${}", digits(usd))),
    ]
}

/// A value with its change, and a mark where the change is beyond chance.
fn figure(row: &QualityRow) -> String {
    let value = digits(row.value);
    match row.delta {
        Some(delta) if row.metric == "perplexity" => {
            let before = row.value - delta;
            format!("{value} ({:+.2}%)", delta / before * 100.0)
        }
        Some(delta) => format!("{value} ({delta:+.3})"),
        None => value,
    }
}

/// The worst word of a variant's figures; a change beyond chance that is smaller than the margin asked is said to be so.
fn verdict(own: &[&QualityRow], margin: f64) -> String {
    let with = |word: &str| own.iter().filter(|row| row.verdict == word).copied().collect::<Vec<&QualityRow>>();
    for word in [DEGRADED, IMPROVED] {
        let (small, large): (Vec<&QualityRow>, Vec<&QualityRow>) =
            with(word).into_iter().partition(|row| is_within(row, margin));
        let names =
            |rows: &[&QualityRow]| rows.iter().map(|row| row.metric.replace('_', " ")).collect::<Vec<_>>().join(", ");
        match (large.is_empty(), small.is_empty()) {
            (true, true) => {}
            (false, true) => return format!("{word}: {}", names(&large)),
            (true, false) => return format!("{word} within the margin: {}", names(&small)),
            (false, false) => return format!("{word}: {}; within the margin: {}", names(&large), names(&small)),
        }
    }
    [UNCHANGED, NOT_TESTED, REFERENCE].into_iter().find(|word| !with(word).is_empty()).unwrap_or(DASH).to_string()
}

/// The whole interval of the change is smaller than the margin, which is a share of a perplexity.
fn is_within(row: &QualityRow, margin: f64) -> bool {
    let before = row.value - row.delta.unwrap_or(0.0);
    let most = if row.metric == "perplexity" { margin * before } else { margin };
    matches!((row.delta_lo, row.delta_hi), (Some(lo), Some(hi)) if lo.abs() <= most && hi.abs() <= most)
}

fn notes(table: &mut Table, figures: &[QualityRow], usd_per_h: Option<f64>, pruned: bool) {
    table.notes.push(
        "Changes are against the reference on the same items; a verdict is at 5 %, corrected for the number of variants \
         (Holm). No detected change is not no change: quality.csv says of each figure what could have been found."
            .to_string(),
    );
    let divergences: Vec<f64> =
        figures.iter().filter(|row| row.metric == "kl_divergence_mean").map(|row| row.value).collect();
    if divergences.iter().filter(|value| **value < DIVERGENCE_FLOOR).count() > 1 {
        table.notes.push(format!(
            "Variants with a mean KL divergence below {DIVERGENCE_FLOOR} nats are not ranked by it: it does not tell them \
             apart."
        ));
    }
    if pruned {
        table.notes.push(
            "Stored: kept weights and one bit for each; patterns such as 2:4 save size and quality only, as no sparse \
             kernel ran."
                .to_string(),
        );
    }
    match usd_per_h {
        Some(usd) => table
            .notes
            .push(format!("$/M tokens: tokens decoded at batch 1 on this machine at ${} an hour.", digits(usd))),
        None => table.notes.push(
            "$/M tokens: say what the machine costs with --price-per-hour, or which instance it is with --as."
                .to_string(),
        ),
    }
}

/// Every figure with its interval, the change, and what could have been found.
pub fn figures(figures: &[QualityRow]) -> Table {
    let mut table = Table::new(
        "Figures of quality",
        &[
            "variant",
            "data",
            "figure",
            ">value",
            ">95 % interval",
            ">change",
            ">95 % of change",
            ">p (Holm)",
            "verdict",
            ">detectable",
            ">needed for margin",
            ">samples",
        ],
    )
    .spare(&["samples", "needed for margin", "p (Holm)", "95 % interval"]);
    let range = |lo: Option<f64>, hi: Option<f64>| match (lo, hi) {
        (Some(lo), Some(hi)) => format!("{} to {}", digits(lo), digits(hi)),
        _ => DASH.to_string(),
    };
    let number = |value: Option<f64>| value.map_or(DASH.to_string(), digits);
    for row in figures {
        table.push(vec![
            row.variant(),
            row.data.clone(),
            row.metric.replace('_', " "),
            digits(row.value),
            range(row.lo, row.hi),
            number(row.delta),
            range(row.delta_lo, row.delta_hi),
            row.p_value.map_or(DASH.to_string(), |p| if p < 0.001 { "< 0.001".to_string() } else { format!("{p:.3}") }),
            if row.verdict.is_empty() { DASH.to_string() } else { row.verdict.clone() },
            row.detectable.map_or(DASH.to_string(), |least| format!(">= {}", digits(least))),
            number(row.samples_needed),
            number(row.samples),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn degraded(metric: &str, delta: f64) -> QualityRow {
        let names = QualityRow::HEADER.iter().map(|name| name.to_string());
        let values = ["int8", metric, "lower", "2", "", "", "", "", "", "d"].map(String::from);
        let ends = [delta, delta - 0.001, delta + 0.001].map(|value| value.to_string());
        let rest = [String::new(), String::new(), String::new(), DEGRADED.to_string()];
        QualityRow::from_fields(&names.zip(values.into_iter().chain(ends).chain(rest)).collect()).unwrap()
    }

    #[test]
    fn a_change_beyond_chance_that_is_smaller_than_the_margin_is_said_to_be_so() {
        let (small, large) = (degraded("perplexity", 0.01), degraded("exact_match", -0.03));
        assert_eq!(verdict(&[&small], 0.01), "degraded within the margin: perplexity");
        assert_eq!(verdict(&[&small], 0.001), "degraded: perplexity");
        assert_eq!(verdict(&[&small, &large], 0.01), "degraded: exact match; within the margin: perplexity");
        assert_eq!(verdict(&[], 0.01), DASH);
    }
}
