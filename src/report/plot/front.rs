//! Cost of a request against the time that it takes, with the front of those that no other beats in both.

use super::Plot;
use super::canvas::{self, INK, WIDTH, colour, log_ticks, shortened, text, tick};
use crate::record::Basis;
use crate::report::content::offer_name;
use crate::report::table::Table;
use crate::sizing::{RankRow, Ranking};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

const HEIGHT: u32 = 460;
const LEFT: i32 = 90;
const RIGHT: i32 = WIDTH as i32 - 30;
const TOP: i32 = 60;
const BOTTOM: i32 = HEIGHT as i32 - 60;
/// Rows that have their names beside them.
const NAMED: usize = 8;

const WORDS: &str = "time of a request, s (left is faster); up is dearer, USD per thousand requests";

/// What was measured, and what is projected.
fn series_of(row: &RankRow) -> usize {
    if row.basis == Basis::Measured { 0 } else { 1 }
}

/// All rows with a cost; `None` where there are fewer than two.
pub fn plot(ranking: &Ranking) -> Option<Plot> {
    let rows: Vec<(&RankRow, f64, f64)> = ranking
        .rows
        .iter()
        .filter_map(|row| Some((row, row.e2e_s.value, row.usd_per_request?.value.to_f64() * 1e3)))
        .filter(|(_, time, cost)| *time > 0.0 && *cost > 0.0)
        .collect();
    if rows.len() < 2 {
        return None;
    }
    let (t0, t1) = canvas::range(rows.iter().map(|(_, time, _)| *time), false)?;
    let (c0, c1) = canvas::range(rows.iter().map(|(.., cost)| *cost), false)?;
    let x = |time: f64| LEFT + ((time / t0).ln() / (t1 / t0).ln() * f64::from(RIGHT - LEFT)) as i32;
    let y = |cost: f64| BOTTOM - ((cost / c0).ln() / (c1 / c0).ln() * f64::from(BOTTOM - TOP)) as i32;
    let quants: Vec<&str> = ranking.quants.iter().map(|q| q.name()).collect();
    let title = format!("Cost against latency, {}", quants.join(", "));
    let front: Vec<&(&RankRow, f64, f64)> = rows.iter().filter(|(row, ..)| row.on_front).collect();
    let names: Vec<String> = front.iter().map(|(row, ..)| offer_name(row)).collect();
    let description = format!(
        "{} offers by the time of a request and the cost of a thousand; circles are measured, squares projected. No offer \
         is both cheaper and faster than these: {}.",
        rows.len(),
        names.join(", ")
    );
    let svg = canvas::svg(HEIGHT, &title, &description, |area| {
        area.draw(&Text::new(title.clone(), (12, 18), text(17, BLACK)))?;
        area.draw(&Text::new(
            "line: no other is both cheaper and faster; circles are measured, squares and dots projected",
            (12, 40),
            text(13, INK),
        ))?;
        let centred = text(13, INK).pos(Pos::new(HPos::Center, VPos::Center));
        let right = text(13, INK).pos(Pos::new(HPos::Right, VPos::Center));
        for time in log_ticks(t0, t1) {
            area.draw(&PathElement::new(vec![(x(time), TOP), (x(time), BOTTOM)], canvas::GRID))?;
            area.draw(&Text::new(format!("{} s", tick(time)), (x(time), BOTTOM + 14), centred.clone()))?;
        }
        for cost in log_ticks(c0, c1) {
            area.draw(&PathElement::new(vec![(LEFT, y(cost)), (RIGHT, y(cost))], canvas::GRID))?;
            area.draw(&Text::new(format!("${}", tick(cost)), (LEFT - 6, y(cost)), right.clone()))?;
        }
        area.draw(&Text::new(WORDS, ((LEFT + RIGHT) / 2, BOTTOM + 38), centred.clone()))?;
        for (row, time, cost) in rows.iter().rev() {
            let series = series_of(row);
            if row.on_front || row.basis == Basis::Measured {
                canvas::mark(area, series, (x(*time), y(*cost)))?
            } else {
                area.draw(&Circle::new((x(*time), y(*cost)), 2, colour(series).mix(0.5).filled()))?
            }
        }
        let line = front.iter().map(|(_, time, cost)| (x(*time), y(*cost)));
        area.draw(&PathElement::new(line.collect::<Vec<_>>(), INK.stroke_width(2)))?;
        let measured = rows.iter().filter(|(row, ..)| row.basis == Basis::Measured && !row.on_front);
        for row in front.iter().take(NAMED).copied().chain(measured.take(NAMED)) {
            name(area, row, (t0, t1, &x), (c0, c1, &y))?;
        }
        Ok(())
    });
    let note = "Bars of what is named: 95 % intervals of what was measured, margins of what is projected.".to_string();
    let data = table(&title, &rows);
    Some(Plot { name: format!("front-{}", quants.join("-")), title, description, note, data, svg })
}

/// The bars and the name of a row, between the ends of both axes, which say where their values lie.
fn name(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    (row, time, cost): &(&RankRow, f64, f64),
    (t0, t1, x): (f64, f64, &dyn Fn(f64) -> i32),
    (c0, c1, y): (f64, f64, &dyn Fn(f64) -> i32),
) -> Result<(), Box<dyn std::error::Error>> {
    let series = series_of(row);
    let ends = row.usd_per_request.map_or([*cost; 2], |c| [c.lo.to_f64() * 1e3, c.hi.to_f64() * 1e3]);
    let bars = [
        [(x(row.e2e_s.lo.max(t0)), y(*cost)), (x(row.e2e_s.hi.min(t1)), y(*cost))],
        [(x(*time), y(ends[0].max(c0))), (x(*time), y(ends[1].min(c1)))],
    ];
    for bar in bars {
        area.draw(&PathElement::new(bar.to_vec(), colour(series).stroke_width(1)))?;
    }
    let end = x(*time) > (LEFT + RIGHT) / 2;
    let pos = Pos::new(if end { HPos::Right } else { HPos::Left }, VPos::Bottom);
    let place = (x(*time) + if end { -8 } else { 8 }, y(*cost) - 6);
    area.draw(&Text::new(shortened(&offer_name(row), 34), place, text(12, INK).pos(pos)))?;
    Ok(())
}

/// The rows on the front and the measured ones; the others are in the ranking's CSV.
fn table(title: &str, rows: &[(&RankRow, f64, f64)]) -> Table {
    let columns = ["offer", "basis", ">time of a request, s", ">USD per thousand requests", "on the front"];
    let mut table = Table::new(title, &columns);
    let named: Vec<_> = rows.iter().filter(|(row, ..)| row.on_front || row.basis == Basis::Measured).collect();
    for (row, time, cost) in &named {
        let [time, cost] = [time, cost].map(|value| crate::units::digits(*value));
        let front = if row.on_front { "yes" } else { "no" };
        table.push(vec![offer_name(row), row.basis.to_string(), time, cost, front.to_string()]);
    }
    if rows.len() > named.len() {
        let left = rows.len() - named.len();
        table
            .notes
            .push(format!("{left} more dots, which others beat in both: `sizewell rank RUN --format csv` has them"));
    }
    table
}
