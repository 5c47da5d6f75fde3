//! What a thousand requests cost, as stacked bars of components.

use super::Plot;
use super::canvas::{self, GRID, INK, WIDTH, shortened, text};
use crate::report::content::{offer_name, shown};
use crate::report::table::Table;
use crate::sizing::cost::Component;
use crate::sizing::{CostInterval, RankRow, Ranking};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Offers that are shown.
const MOST: usize = 12;
const ROW: i32 = 26;
const LEFT: i32 = 300;
const RIGHT: i32 = WIDTH as i32 - 90;

fn thousand(cost: CostInterval) -> f64 {
    cost.value.to_f64() * 1e3
}

/// The cheapest offers of a ranking and every measured one; `None` where nothing has a cost.
pub fn plot(ranking: &Ranking) -> Option<Plot> {
    let rows: Vec<&RankRow> =
        shown(ranking, MOST).into_iter().map(|(_, row)| row).filter(|row| row.components.is_some()).collect();
    let total = |row: &RankRow| row.usd_per_request.map_or(0.0, thousand);
    let most = rows.iter().map(|row| total(row)).fold(0.0, f64::max);
    if most <= 0.0 {
        return None;
    }
    let used: Vec<Component> = Component::ALL
        .into_iter()
        .filter(|c| rows.iter().any(|row| row.components.is_some_and(|parts| parts.of(*c) != CostInterval::ZERO)))
        .collect();
    let names: Vec<String> = used.iter().map(|c| c.label()).collect();
    let quants: Vec<&str> = ranking.quants.iter().map(|q| q.name()).collect();
    let title = format!("What a thousand requests cost, by component, {}", quants.join(", "));
    let description = format!(
        "Stacked bars of {} offers: {}. The dearest of them costs ${most:.6} for a thousand requests.",
        rows.len(),
        names.join(", ")
    );
    let legend_rows = used.len().div_ceil(5) as i32;
    let top = 44 + 20 * legend_rows;
    let bottom = top + ROW * rows.len() as i32;
    let svg = canvas::svg((bottom + 52) as u32, &title, &description, |area| {
        area.draw(&Text::new(title.clone(), (12, 18), text(17, BLACK)))?;
        legend(area, &used, &names)?;
        axis(area, most, top, bottom)?;
        for (index, row) in rows.iter().enumerate() {
            bar(area, row, top + ROW * index as i32, most)?;
        }
        Ok(())
    });
    let columns: Vec<String> = names.iter().map(|name| format!(">{name}, USD")).collect();
    let columns: Vec<&str> = std::iter::once("offer").chain(columns.iter().map(String::as_str)).collect();
    let mut data = Table::new(title.clone(), &columns);
    for row in &rows {
        let parts = used.iter().map(|c| row.components.map_or(0.0, |parts| thousand(parts.of(*c))));
        data.push(std::iter::once(offer_name(row)).chain(parts.map(crate::units::digits)).collect());
    }
    let note = "Middles of the intervals, of a thousand requests; the ranking has the ends.".to_string();
    Some(Plot { name: format!("components-{}", quants.join("-")), title, description, note, data, svg })
}

type Area<'a, 'b> = &'a DrawingArea<SVGBackend<'b>, Shift>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

fn fill(component: Component) -> RGBColor {
    let [_, red, green, blue] = component.facts().fill.to_be_bytes();
    RGBColor(red, green, blue)
}

fn at(value: f64, most: f64) -> i32 {
    LEFT + (value / most * f64::from(RIGHT - LEFT)) as i32
}

fn legend(area: Area<'_, '_>, used: &[Component], names: &[String]) -> Drawn {
    for (place, (component, name)) in used.iter().zip(names).enumerate() {
        let (x, y) = (18 + 145 * (place % 5) as i32, 42 + 20 * (place / 5) as i32);
        area.draw(&Rectangle::new([(x, y - 6), (x + 12, y + 6)], fill(*component).filled()))?;
        area.draw(&Rectangle::new([(x, y - 6), (x + 12, y + 6)], INK))?;
        area.draw(&Text::new(name.clone(), (x + 18, y), text(13, INK)))?;
    }
    Ok(())
}

fn axis(area: Area<'_, '_>, most: f64, top: i32, bottom: i32) -> Drawn {
    let centred = text(13, INK).pos(Pos::new(HPos::Center, VPos::Center));
    for part in 0..=4 {
        let value = most * f64::from(part) / 4.0;
        let x = at(value, most);
        area.draw(&PathElement::new(vec![(x, top - 4), (x, bottom)], GRID))?;
        area.draw(&Text::new(format!("${}", crate::units::digits(value)), (x, bottom + 14), centred.clone()))?;
    }
    area.draw(&Text::new("USD per thousand requests", ((LEFT + RIGHT) / 2, bottom + 36), centred))?;
    Ok(())
}

fn bar(area: Area<'_, '_>, row: &RankRow, y: i32, most: f64) -> Drawn {
    let Some(parts) = row.components else { return Ok(()) };
    let right = text(12, INK).pos(Pos::new(HPos::Right, VPos::Center));
    area.draw(&Text::new(shortened(&offer_name(row), 42), (LEFT - 12, y + ROW / 2), right))?;
    let mut sum = 0.0;
    for (component, cost) in parts.parts() {
        let (from, to) = (at(sum, most), at(sum + thousand(cost), most));
        sum += thousand(cost);
        if to > from {
            let corners = [(from, y + 4), (to, y + ROW - 4)];
            area.draw(&Rectangle::new(corners, fill(component).filled()))?;
            area.draw(&Rectangle::new(corners, INK))?;
        }
    }
    let label = format!("${}{}", crate::units::digits(sum), if row.doubts.is_empty() { "" } else { "*" });
    area.draw(&Text::new(label, (at(sum, most) + 6, y + ROW / 2), text(12, INK)))?;
    Ok(())
}
