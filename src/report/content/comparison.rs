//! Two runs beside each other: what differs in their environments, then what changed.

use crate::gate::environment::Difference;
use crate::gate::{CaseChange, Comparison};
use crate::report::table::{DASH, Table};

/// What differs in where the runs come from; `None` where nothing does.
pub fn differences(differences: &[Difference]) -> Option<Table> {
    differences.first()?;
    let mut table = Table::new("What differs in where they come from", &["what", "before", "after"]);
    for Difference { what, before, after } in differences {
        table.push(vec![what.to_string(), before.clone(), after.clone()]);
    }
    Some(table)
}

fn percent(share: Option<f64>) -> String {
    share.map_or(DASH.to_string(), |share| format!("{:+.1} %", share * 100.0))
}

fn samples(change: &CaseChange) -> String {
    let of = |reading: &Option<crate::gate::MetricValue>| reading.map_or(DASH.to_string(), |r| r.samples.to_string());
    format!("{}, {}", of(&change.readings[0]), of(&change.readings[1]))
}

/// How each metric of each case changed.
pub fn changes(comparison: &Comparison) -> Table {
    let title = format!("Changes from {} to {}", comparison.before, comparison.after);
    let columns = ["case", "metric", ">before", ">after", ">change", "from - to", "verdict", "why", ">samples"];
    let mut table = Table::new(title, &columns).spare(&["samples", "before", "after"]);
    for change in &comparison.changes {
        let range = match (change.lo, change.hi) {
            (Some(_), Some(_)) => format!("{} - {}", percent(change.lo), percent(change.hi)),
            _ => DASH.to_string(),
        };
        let value = |value: &Option<String>| value.clone().unwrap_or(DASH.to_string());
        table.push(vec![
            change.case.clone(),
            change.label.clone(),
            value(&change.values[0]),
            value(&change.values[1]),
            percent(change.change),
            range,
            change.verdict.to_string(),
            change.why.clone().unwrap_or_default(),
            samples(change),
        ]);
    }
    let floor = &comparison.noise_floor;
    table.notes.push(format!(
        "from - to: {:.0} % interval, by resampling the samples of both runs; nothing below {} % is claimed ({})",
        comparison.confidence * 100.0,
        crate::units::digits(floor.share * 100.0),
        floor.why
    ));
    table.notes.push("same: the whole interval is within that; cannot tell: it is neither within nor beyond".into());
    for (only, of) in [(&comparison.only_before, &comparison.before), (&comparison.only_after, &comparison.after)] {
        if !only.is_empty() {
            table.notes.push(format!("only in {of}: {}", only.join(", ")));
        }
    }
    table
}
