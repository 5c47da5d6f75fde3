//! What it costs: the rankings, with their plots.

use super::Section;
use crate::report::plot::{cost, front, stack};
use crate::report::{Report, content};
use crate::sizing::Ranking;

/// Rows of a table.
const ROWS: usize = 25;

pub(super) fn section(report: &Report<'_>) -> Section {
    let mut section = Section::new("cost", "Cost");
    let rankings = match &report.rankings {
        Ok(rankings) => rankings,
        Err(why) => {
            section.missing = Some(format!("No ranking: {why}"));
            return section;
        }
    };
    let Some((first, others)) = rankings.split_first() else { return section };
    fill(&mut section, first);
    section.more = others
        .iter()
        .map(|ranking| {
            let levels: Vec<&str> = ranking.quants.iter().map(|quant| quant.name()).collect();
            let mut part = Section::new("", format!("The same for {}", levels.join(", ")));
            part.text = ranking.headline.clone();
            fill(&mut part, ranking);
            part
        })
        .collect();
    section.tables.extend(content::tiers(rankings));
    section
}

fn fill(section: &mut Section, ranking: &Ranking) {
    section.plots.extend([cost::plot(ranking), front::plot(ranking), stack::plot(ranking)].into_iter().flatten());
    section.tables.push(content::ranking(ranking, ROWS));
    section.tables.push(content::components(ranking, ROWS));
}
