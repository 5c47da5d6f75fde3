//! Runs of the same cases on several devices or at several power limits, beside each other.

use super::estimate;
use crate::gate::board::{board, on_one_board};
use crate::record::{CaseRow, Estimate, Outcome, Run};
use crate::report::table::{DASH, Table};
use crate::units::Quantity;

/// Each case on each device and at each limit, against the first run that measured it; `None` for a single run.
pub fn series(runs: &[&Run]) -> Option<Table> {
    if runs.len() < 2 {
        return None;
    }
    let columns = [
        "case",
        "device",
        ">limit",
        ">TTFT",
        ">decode",
        ">against first",
        ">power",
        ">energy per token",
        ">against first",
    ];
    let mut table = Table::new("Side by side", &columns).spare(&["TTFT", "power"]);
    let mut cases: Vec<_> = runs.iter().flat_map(|run| measured(run)).map(|row| row.key.case).collect();
    let mut seen = Vec::new();
    cases.retain(|case| !seen.contains(case) && (seen.push(*case), true).1);
    for case in cases {
        let rows: Vec<(&Run, &CaseRow)> = runs
            .iter()
            .flat_map(|run| measured(run).filter(|row| row.key.case == case).map(|row| (*run, row)))
            .collect();
        for (index, (run, row)) in rows.iter().enumerate() {
            let first_run = rows.first().filter(|_| index > 0);
            let first = first_run.map(|(_, row)| &row.metrics);
            let metrics = &row.metrics;
            let same_board = first_run.is_some_and(|(first, _)| board(first) == board(run));
            let relative = |run: &Run, energy| if same_board { on_one_board(run, energy) } else { energy };
            let energy = metrics.energy_per_token.map(|energy| relative(run, energy));
            let first_energy = first_run.and_then(|(run, row)| Some(relative(run, row.metrics.energy_per_token?)));
            table.push(vec![
                case.to_string(),
                row.key.device.clone(),
                run.record.power.limit_w.map_or(DASH.to_string(), Quantity::human),
                super::distribution(metrics.ttft),
                estimate(metrics.decode_tokens_per_s),
                against(metrics.decode_tokens_per_s, first.and_then(|m| m.decode_tokens_per_s)),
                super::quantity(metrics.power.map(|power| power.value)),
                estimate(metrics.energy_per_token),
                against(energy, first_energy),
            ]);
        }
    }
    let names: Vec<String> = runs
        .iter()
        .filter_map(|run| Some(format!("{}: {}", run.record.engine.device, run.record.engine.hardware.as_ref()?)))
        .collect();
    table.notes.extend(names.into_iter().fold(Vec::new(), |mut all, name| {
        if !all.contains(&name) {
            all.push(name);
        }
        all
    }));
    table
        .notes
        .push("against first: `same?` where the 95 % intervals overlap, so that the two cannot be told apart".into());
    Some(table)
}

fn measured(run: &Run) -> impl Iterator<Item = &CaseRow> {
    run.cases.iter().filter(|row| row.outcome == Outcome::Ok)
}

/// The change in percent; intervals that overlap are a tie.
fn against<Q: Quantity>(value: Option<Estimate<Q>>, first: Option<Estimate<Q>>) -> String {
    let (Some(value), Some(first)) = (value, first) else { return DASH.to_string() };
    let ends = |e: Estimate<Q>| (e.lo.unwrap_or(e.value).si(), e.hi.unwrap_or(e.value).si());
    let ((lo, hi), (first_lo, first_hi)) = (ends(value), ends(first));
    if lo <= first_hi && first_lo <= hi {
        "same?".to_string()
    } else {
        format!("{:+.1} %", (value.value.si() / first.value.si() - 1.0) * 100.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::TokensPerSecond;

    #[test]
    fn what_overlaps_cannot_be_told_apart() {
        let rate = |value: f64, margin: f64| {
            let at = |v: f64| TokensPerSecond(v);
            Some(Estimate { value: at(value), lo: Some(at(value - margin)), hi: Some(at(value + margin)) })
        };
        assert_eq!(against(rate(90.0, 1.0), rate(100.0, 2.0)), "-10.0 %");
        assert_eq!(against(rate(98.0, 1.0), rate(100.0, 2.0)), "same?");
        assert_eq!(against(rate(98.0, 1.0), None), DASH);
        assert_eq!(against(None::<Estimate<TokensPerSecond>>, rate(1.0, 0.1)), DASH);
    }
}
