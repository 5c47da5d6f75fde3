//! How it was measured, whether it is valid, where it comes from, and what was left out.

use super::Section;
use crate::report::table::Table;
use crate::report::{Report, content};

pub(super) fn sections(report: &Report<'_>) -> Vec<Section> {
    let run = report.run();
    let mut cases = Section::new("cases", "Cases and their validity");
    cases.tables = vec![content::cases(run), content::loads(run)];
    if !report.cold_starts.is_empty() {
        cases.tables.push(content::cold_starts(report.cold_starts));
    }
    let mut method = Section::new("method", "Method and environment");
    method.text = method_in_words(report);
    method.tables = report.runs.iter().map(|run| content::environment(run)).collect();
    let mut excluded = Section::new("excluded", "What was left out, and why");
    match report.rankings.as_ref().map(|rankings| rankings.first()) {
        Ok(Some(first)) if !first.excluded.is_empty() => {
            excluded.tables.push(Table { title: "Offers by reason".into(), ..content::excluded(&first.excluded) });
            excluded.text.push("`sizewell rank RUN --explain` lists every offer with its reason.".to_string());
        }
        Ok(_) => excluded.text.push("Nothing was left out.".to_string()),
        Err(why) => excluded.text.push(format!("There is no ranking: {why}")),
    }
    vec![cases, method, excluded]
}

fn method_in_words(report: &Report<'_>) -> Vec<String> {
    let record = &report.run().record;
    let mut lines = vec![
        format!("Requests arrive: {}. Definitions: {}.", report.run().arrivals(), record.metric_definitions),
        "Values are medians of the measured iterations after warm-up, with 95 % intervals by bootstrap; p90 and p99 are given \
         from 46 and 473 iterations on. Costs are price over throughput and use, each component apart; intervals of times and \
         rates go into them. A figure is measured (here), imported (by another tool) or projected (to hardware that was not \
         there), and every row says which."
            .to_string(),
        "docs/method of the project defines every number, and docs/results/2026-11-24-projection.md says how far off projections \
         were on hardware left out."
            .to_string(),
    ];
    if record.model.as_ref().is_some_and(|model| model.synthetic) {
        lines.push(
            "Weights are seeded random numbers: speed does not depend on their values, quality does.".to_string(),
        );
    }
    if let Ok(rankings) = &report.rankings
        && let Some(first) = rankings.first()
    {
        lines.push(format!("Prices: {} catalog, hash {}.", first.catalog_origin, first.catalog_hash));
    }
    lines
}
