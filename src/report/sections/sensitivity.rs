//! How far the answer moves with price and use.

use super::Section;
use super::serverless::lines;
use crate::report::Report;
use crate::report::plot::chart::{Axis, Chart, Scale};
use crate::report::table::Table;
use crate::units::digits;

pub(super) fn section(report: &Report<'_>) -> Section {
    let mut section = Section::new("sensitivity", "Sensitivity to price and use");
    let Some(sensitivity) = &report.sensitivity else {
        section.missing = Some("Nothing was ranked.".to_string());
        return section;
    };
    match &sensitivity.utilisation {
        Ok(moving) => {
            let chart = Chart {
                name: "utilisation".to_string(),
                title: "Cost against the share of the paid time that is used".to_string(),
                description:
                    "Cost of a thousand requests against the share of the paid time in which there is work, of the \
                              cheapest offers of different hardware and of what was measured."
                        .to_string(),
                note: "Bars: the interval of the cost, from that of the speed.".to_string(),
                x: Axis::new("share of the paid time that is used", Scale::Linear),
                y: Axis::usd("USD per thousand requests", Scale::Log),
                lines: lines(moving),
                places: Vec::new(),
            };
            section.plots.extend(chart.plot());
        }
        Err(why) => {
            section.missing = Some(format!(
                "Not computed: {why}. `--as provider:type` or `--price-per-hour` gives the measured machine a price."
            ));
        }
    }
    if !sensitivity.levers.is_empty() {
        let mut table = Table::new(
            "What moves the cost of the first offer",
            &["what", ">$/1k requests at one end", ">at the other", ">times"],
        );
        for lever in &sensitivity.levers {
            let [one, other] = lever.ends.map(|usd| usd * 1e3);
            table.push(vec![
                lever.what.clone(),
                format!("${}", digits(one)),
                format!("${}", digits(other)),
                digits(one.max(other) / one.min(other)),
            ]);
        }
        section.tables.push(table);
    }
    let rankings = report.rankings.iter().flatten();
    section.text.extend(rankings.take(1).filter_map(|ranking| ranking.swap.as_ref()).map(|swap| {
        format!(
            "{} is as cheap as {} once the hardware of the latter costs {:.2} times as much{}.",
            swap.second,
            swap.first,
            swap.multiple,
            if swap.tied { ", and may be even now: their intervals overlap" } else { "" }
        )
    }));
    section
}
