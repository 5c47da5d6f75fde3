//! Kept instances against serverless ones.

use super::{Section, model_argument};
use crate::report::content::offer_name;
use crate::report::plot::chart::{Axis, Chart, Dot, Line, Scale};
use crate::report::{Report, content};
use crate::sizing::sensitivity::CostCurves;

/// Rows of the table.
const ROWS: usize = 12;

pub(super) fn section(report: &Report<'_>) -> Section {
    let mut section = Section::new("serverless", "Kept warm against serverless");
    let Some(sensitivity) = &report.sensitivity else {
        section.missing = Some("Nothing was ranked.".to_string());
        return section;
    };
    match &sensitivity.serverless {
        Ok(moving) => {
            section.plots.extend(chart(moving).plot());
            if moving.offers.iter().any(|(_, costs)| costs.iter().any(Option::is_none)) {
                section.text.push(
                    "A line begins where its cost is known: below, workers stop between requests, and how long a cold start \
                     takes is not known. `sizewell coldstart` measures it, `--cold-start 20s` assumes it."
                        .to_string(),
                );
            }
        }
        Err(why) => {
            let model = model_argument(report);
            section.missing = Some(format!(
                "Not compared: {why}. `sizewell coldstart --model {model} -o DIR` measures a cold start, and DIR beside the \
                 run's folder brings it into the report; `--cold-start 20s` assumes one."
            ));
        }
    }
    if let Some(Ok(plan)) = &sensitivity.plan {
        section.tables.extend(content::warm(plan, ROWS));
    } else if section.missing.is_none() {
        section
            .text
            .push("With a demand (`--rps 20`) the report also says what a month of it costs either way.".into());
    }
    section
}

/// Cost of a thousand requests along something, of several offers.
pub(super) fn lines(moving: &CostCurves) -> Vec<Line> {
    let line = |(row, costs): &(crate::sizing::RankRow, Vec<Option<crate::sizing::CostInterval>>)| Line {
        name: format!("{} ({}, {})", offer_name(row), row.hardware, row.basis),
        dots: moving
            .along
            .iter()
            .zip(costs)
            .filter_map(|(x, cost)| Some(Dot { x: *x, y: cost.as_ref()?.map(|usd| usd.to_f64() * 1e3) }))
            .collect(),
        joined: true,
    };
    moving.offers.iter().map(line).collect()
}

fn chart(moving: &CostCurves) -> Chart {
    // Bars at each of so many places would hide the lines: the table has the intervals of the ranking.
    let mut lines = lines(moving);
    for dot in lines.iter_mut().flat_map(|line| &mut line.dots) {
        *dot = Dot::exact(dot.x, dot.y.value);
    }
    Chart {
        name: "serverless".to_string(),
        title: "Kept instances and serverless ones, by requests per second".to_string(),
        description:
            "Cost of a thousand requests against requests a second: instances are paid whether they are used or not, \
                      serverless workers while they work, start and are kept."
                .to_string(),
        note: "Whole instances; requests come at random. Middles of the intervals; the ranking has their ends."
            .to_string(),
        x: Axis::new("requests/s", Scale::Log),
        y: Axis::usd("USD per thousand requests", Scale::Log),
        lines,
        places: Vec::new(),
    }
}
