//! Cost per million tokens by offer, with intervals, on a logarithmic axis.

use super::Plot;
use super::canvas::{self, GRID, INK, WIDTH, colour, log_ticks, shortened, text, tick};
use crate::record::Basis;
use crate::report::content::offer_name;
use crate::report::table::Table;
use crate::sizing::{RankRow, Ranking};
use crate::units::Usd;
use crate::units::interval::Interval;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Offers that are shown.
const MOST: usize = 20;
const TOP: i32 = 64;
const ROW: i32 = 24;
const LEFT: i32 = 300;
const RIGHT: i32 = WIDTH as i32 - 30;

/// The cheapest offers of a ranking and every measured one; `None` where nothing has a cost.
pub fn plot(ranking: &Ranking) -> Option<Plot> {
    // The rows of the table, so that the two show the same.
    let shown: Vec<&RankRow> = crate::report::content::shown(ranking, MOST)
        .into_iter()
        .map(|(_, row)| row)
        .filter(|row| ranking.unit_cost(row).is_some())
        .collect();
    let costs: Vec<Interval> =
        shown.iter().filter_map(|row| ranking.unit_cost(row)).map(|cost| cost.map(Usd::to_f64)).collect();
    let ends = costs.iter().flat_map(|cost| [cost.lo, cost.value, cost.hi]);
    let (low, high) = canvas::range(ends.filter(|v| *v > 0.0), false)?;
    let quants: Vec<&str> = ranking.quants.iter().map(|q| q.name()).collect();
    let title = format!("Cost of a {}, {}", ranking.unit(), quants.join(", "));
    let description = format!(
        "{} offers from cheapest to dearest; circles are measured, squares projected, bars the interval. The cheapest \
         is {}.",
        shown.len(),
        shown.first().map_or(String::new(), |row| offer_name(row))
    );
    let has = |basis: Basis| shown.iter().any(|row| row.basis == basis);
    let mut bases = vec![(0, "measured", has(Basis::Measured)), (1, "projected", has(Basis::Projected))];
    bases.retain(|(_, _, shown)| *shown);
    let height = (TOP + ROW * shown.len() as i32 + 56) as u32;
    let bottom = TOP + ROW * shown.len() as i32;
    let x = |cost: f64| LEFT + ((cost / low).ln() / (high / low).ln() * (RIGHT - LEFT) as f64) as i32;
    let svg = canvas::svg(height, &title, &description, |area| {
        area.draw(&Text::new(title.clone(), (12, 18), text(17, BLACK)))?;
        for (place, (series, name, _)) in bases.iter().enumerate() {
            let left = 18 + 100 * place as i32;
            canvas::mark(area, *series, (left, 42))?;
            area.draw(&Text::new(*name, (left + 12, 42), text(13, INK)))?;
        }
        for value in log_ticks(low, high) {
            area.draw(&PathElement::new(vec![(x(value), TOP - 8), (x(value), bottom)], GRID))?;
            let style = text(13, INK).pos(Pos::new(HPos::Center, VPos::Center));
            area.draw(&Text::new(format!("${}", tick(value)), (x(value), bottom + 14), style))?;
        }
        let style = text(13, INK).pos(Pos::new(HPos::Center, VPos::Center));
        area.draw(&Text::new(format!("USD per {}", ranking.unit()), ((LEFT + RIGHT) / 2, bottom + 36), style))?;
        for (index, (row, Interval { value, lo, hi })) in shown.iter().zip(&costs).enumerate() {
            let y = TOP + ROW * index as i32 + ROW / 2;
            let series = if row.basis == Basis::Measured { 0 } else { 1 };
            let style = text(12, INK).pos(Pos::new(HPos::Right, VPos::Center));
            area.draw(&Text::new(shortened(&offer_name(row), 42), (LEFT - 12, y), style))?;
            area.draw(&PathElement::new(vec![(x(*lo), y), (x(*hi), y)], colour(series).stroke_width(2)))?;
            canvas::mark(area, series, (x(*value), y))?;
        }
        Ok(())
    });
    let mut data =
        Table::new(title.clone(), &["offer", "basis", &format!(">USD per {}", ranking.unit()), ">from", ">to"]);
    for (row, Interval { value, lo, hi }) in shown.iter().zip(&costs) {
        let numbers = [value, lo, hi].map(|cost| crate::units::digits(*cost));
        let [value, lo, hi] = numbers;
        data.push(vec![offer_name(row), row.basis.to_string(), value, lo, hi]);
    }
    let note = "Bars: 95 % intervals of what was measured, margins of what is projected.".to_string();
    Some(Plot { name: format!("cost-{}", quants.join("-")), title, description, note, data, svg })
}
