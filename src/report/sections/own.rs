//! Hardware of one's own against rented, month by month.

use super::Section;
use crate::report::plot::chart::{Axis, Chart, Dot, Line, Scale};
use crate::report::{Report, content};
use crate::sizing::plan::PurchaseOption;
use crate::units::Usd;

pub(super) fn section(report: &Report<'_>) -> Section {
    let mut section = Section::new("own", "Cloud against own hardware");
    let plan = report
        .sensitivity
        .as_ref()
        .and_then(|sensitivity| sensitivity.plan.as_ref())
        .and_then(|plan| plan.as_ref().ok());
    let bought = plan.map_or(&[][..], |plan| &plan.bought);
    if bought.is_empty() {
        let file = "instance-catalog/own/8xh100.toml is an example";
        section.missing = Some(match (report.request.own.is_empty(), plan.is_some()) {
            (true, _) => format!(
                "No own hardware was named: `--own my-server.toml --rps 20` compares it with what is rented ({file})."
            ),
            (false, false) => {
                "How much is asked of it is not known: `--rps 20` (or --day, --users) says so.".to_string()
            }
            (false, true) => {
                "None of the own hardware could be compared; the table of what was left out says why.".to_string()
            }
        });
        return section;
    }
    section.plots = bought.iter().enumerate().filter_map(|(index, bought)| chart(index, bought).plot()).collect();
    section.tables.extend(plan.and_then(content::bought));
    section
}

fn chart(index: usize, bought: &PurchaseOption) -> Chart {
    let months = bought.life_months.ceil().clamp(1.0, 240.0) as usize;
    let step = months.div_ceil(36).max(1);
    let along = || (0..=months).step_by(step).map(|month| month as f64);
    let (capital, running) = (bought.capital.to_f64(), bought.running_usd_per_month.to_f64());
    let rented = bought.rented_usd_per_month;
    let rented = rented.map(Usd::to_f64);
    let places = bought.break_even_month.map(|month| (month, format!("equal after month {}", month.ceil())));
    Chart {
        name: format!("own-{index}"),
        title: format!("Spent in all: {} bought, {} rented", bought.own, bought.rented),
        description: format!(
            "Money spent since the first month, bought ({} to buy) and rented, over {months} months. Interest is in the month \
             of equality and not in the lines.",
            bought.capital
        ),
        note: "Bars: the interval of what renting costs, from that of the speed.".to_string(),
        x: Axis::new("months", Scale::Linear),
        y: Axis::usd("USD spent in all", Scale::Linear),
        lines: vec![
            Line::new(
                format!("{} x {}", bought.machines, bought.own),
                along().map(|month| Dot::exact(month, capital + running * month)).collect(),
            ),
            Line::new(
                format!("renting {}", bought.rented),
                along().map(|x| Dot { x, y: rented.map(|usd| usd * x) }).collect(),
            ),
        ],
        places: places.into_iter().collect(),
    }
}
