//! Power and memory over the time that a case was measured, as power.csv has them.

use super::Plot;
use super::canvas::{self, GRID, INK, LEGEND_WIDTH, WIDTH, colour, linear_ticks, text, tick};
use crate::record::{CaseRow, PowerRow, Run};
use crate::report::table::Table;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::collections::BTreeMap;

const TOP: i32 = 46;
const PANEL: i32 = 150;
const BETWEEN: i32 = 44;
const BOTTOM: i32 = 46;
const LEFT: i32 = 74;
const RIGHT: i32 = (WIDTH - LEGEND_WIDTH) as i32;
/// Points of a line; more readings than that are averaged.
const MOST_POINTS: usize = 240;
/// What memory is counted in.
const GIB: f64 = (1u64 << 30) as f64;
/// Seconds on the axis between two windows.
const GAP: f64 = 0.5;

/// A line of one window, and what it is of.
struct Line {
    name: String,
    points: Vec<(f64, f64)>,
}

/// A value over time, with its own axis.
struct Panel {
    unit: &'static str,
    lines: Vec<Line>,
}

/// One plot for each of the first `most` cases that have readings, in the order of the run.
pub fn all(run: &Run, readings: &[PowerRow], most: usize) -> Vec<Plot> {
    let of = |row: &CaseRow| -> Vec<&PowerRow> {
        let id = row.key.id();
        readings.iter().filter(|reading| reading.case_id == id).collect()
    };
    run.cases.iter().filter_map(|row| plot(row, &of(row))).take(most).collect()
}

fn plot(row: &CaseRow, readings: &[&PowerRow]) -> Option<Plot> {
    let starts = starts(readings);
    let line = |value: fn(&PowerRow) -> Option<f64>| lines(readings, &starts, value);
    let panels = [
        Panel { unit: "power, W", lines: line(|reading| reading.power.map(|power| power.0)) },
        Panel { unit: "memory in use, GiB", lines: line(|reading| reading.memory_used.map(|used| used.0 / GIB)) },
    ];
    let panels: Vec<Panel> = panels.into_iter().filter(|panel| !panel.lines.is_empty()).collect();
    if panels.is_empty() {
        return None;
    }
    let end = readings.iter().map(|reading| starts[&reading.window] + reading.time.0).fold(0.0, f64::max);
    let throttled: Vec<f64> = readings
        .iter()
        .filter(|reading| !reading.throttle.is_empty())
        .map(|reading| starts[&reading.window] + reading.time.0)
        .collect();
    let mut reasons: Vec<&str> = readings.iter().flat_map(|reading| reading.throttle.split_whitespace()).collect();
    reasons.sort();
    reasons.dedup();
    let title = format!("Power and memory of {}", row.key.case);
    let description = describe(&panels, starts.len(), &reasons);
    let height = (TOP + BOTTOM + PANEL * panels.len() as i32 + BETWEEN * (panels.len() as i32 - 1)) as u32;
    let svg = canvas::svg(height, &title, &description, |area| {
        area.draw(&Text::new(title.clone(), (LEFT, 18), text(17, BLACK)))?;
        for (index, panel) in panels.iter().enumerate() {
            let top = TOP + index as i32 * (PANEL + BETWEEN);
            draw(area, panel, top, end, &starts)?;
            if index == 0 {
                marks(area, &throttled, &reasons, top, end)?;
            }
        }
        let style = text(13, INK).pos(Pos::new(HPos::Center, VPos::Center));
        let windows = if starts.len() > 1 { ", one window after the other" } else { "" };
        let label = format!("seconds of measuring{windows}");
        area.draw(&Text::new(label, ((LEFT + RIGHT) / 2, height as i32 - 12), style))?;
        Ok(())
    });
    let mut data = Table::new(title.clone(), &["what", ">least", ">mean", ">greatest", ">points"]);
    for panel in &panels {
        for line in &panel.lines {
            let values: Vec<f64> = line.points.iter().map(|point| point.1).collect();
            let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
            let (least, most) =
                values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(*v), b.max(*v)));
            let numbers = [least, mean, most].map(crate::units::digits);
            let [least, mean, most] = numbers;
            data.push(vec![format!("{}, {}", panel.unit, line.name), least, mean, most, values.len().to_string()]);
        }
    }
    let note = "Readings as power.csv has them, neighbours averaged where there are many.".to_string();
    Some(Plot { name: format!("trace-{}", row.key.id()), title, description, note, data, svg })
}

/// When each window begins on the common axis. A file may name any number as a window.
fn starts(readings: &[&PowerRow]) -> BTreeMap<usize, f64> {
    let mut ends: BTreeMap<usize, f64> = BTreeMap::new();
    for reading in readings {
        let end = ends.entry(reading.window).or_default();
        *end = end.max(reading.time.0);
    }
    let mut at = 0.0;
    ends.into_iter()
        .map(|(window, length)| {
            let start = at;
            at += length + GAP;
            (window, start)
        })
        .collect()
}

/// A line for each zone and window.
fn lines(readings: &[&PowerRow], starts: &BTreeMap<usize, f64>, value: fn(&PowerRow) -> Option<f64>) -> Vec<Line> {
    let mut lines: Vec<(usize, Line)> = Vec::new();
    for reading in readings {
        let Some(now) = value(reading).filter(|now| now.is_finite()) else { continue };
        let point = (starts[&reading.window] + reading.time.0, now);
        match lines.iter_mut().find(|(window, line)| *window == reading.window && line.name == reading.zone) {
            Some((_, line)) => line.points.push(point),
            None => lines.push((reading.window, Line { name: reading.zone.clone(), points: vec![point] })),
        }
    }
    lines.into_iter().map(|(_, line)| Line { points: thinned(line.points), ..line }).collect()
}

/// No more points than can be seen: neighbours are averaged.
fn thinned(points: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    let together = points.len().div_ceil(MOST_POINTS).max(1);
    let mean = |part: &[(f64, f64)], of: fn(&(f64, f64)) -> f64| part.iter().map(of).sum::<f64>() / part.len() as f64;
    points.chunks(together).map(|part| (mean(part, |p| p.0), mean(part, |p| p.1))).collect()
}

fn describe(panels: &[Panel], windows: usize, reasons: &[&str]) -> String {
    let mut parts = Vec::new();
    for panel in panels {
        let values = || panel.lines.iter().flat_map(|line| &line.points).map(|point| point.1);
        let (low, high) = (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
        parts.push(format!("{}: {} to {}", panel.unit, tick(low), tick(high)));
    }
    if windows > 1 {
        parts.push(format!("{windows} windows of the same work"));
    }
    if !reasons.is_empty() {
        parts.push(format!("clocks were held back by {}", reasons.join(", ")));
    }
    format!("{}.", parts.join("; "))
}

fn x_of(time: f64, end: f64) -> i32 {
    LEFT + (time / end.max(1e-9) * (RIGHT - LEFT) as f64) as i32
}

fn draw(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    panel: &Panel,
    top: i32,
    end: f64,
    starts: &BTreeMap<usize, f64>,
) -> Result<(), Box<dyn std::error::Error>> {
    let bottom = top + PANEL;
    let values = panel.lines.iter().flat_map(|line| &line.points).map(|point| point.1);
    let (low, high) = canvas::range(values, true).unwrap_or((0.0, 1.0));
    let y = |value: f64| bottom - ((value - low) / (high - low) * PANEL as f64) as i32;
    area.draw(&Text::new(panel.unit.to_string(), (8, top - 12), text(13, INK)))?;
    for value in linear_ticks(0.0, high) {
        area.draw(&PathElement::new(vec![(LEFT, y(value)), (RIGHT, y(value))], GRID))?;
        let style = text(13, INK).pos(Pos::new(HPos::Right, VPos::Center));
        area.draw(&Text::new(tick(value), (LEFT - 8, y(value)), style))?;
    }
    for value in linear_ticks(0.0, end) {
        let at = x_of(value, end);
        area.draw(&PathElement::new(vec![(at, bottom), (at, bottom + 5)], INK))?;
        let style = text(13, INK).pos(Pos::new(HPos::Center, VPos::Center));
        area.draw(&Text::new(tick(value), (at, bottom + 16), style))?;
    }
    for start in starts.values().skip(1) {
        let at = x_of(start - GAP / 2.0, end);
        area.draw(&PathElement::new(vec![(at, top), (at, bottom)], GRID.stroke_width(2)))?;
    }
    let mut names: Vec<&String> = panel.lines.iter().map(|line| &line.name).collect();
    names.dedup();
    names.sort();
    names.dedup();
    for line in &panel.lines {
        let index = names.iter().position(|name| **name == line.name).unwrap_or(0);
        let points: Vec<(i32, i32)> = line.points.iter().map(|(time, value)| (x_of(*time, end), y(*value))).collect();
        area.draw(&PathElement::new(points, colour(index).stroke_width(2)))?;
    }
    for (index, name) in names.iter().enumerate() {
        let (x, y) = (RIGHT + 16, top + 10 + 20 * index as i32);
        area.draw(&PathElement::new(vec![(x, y), (x + 18, y)], colour(index).stroke_width(2)))?;
        area.draw(&Text::new(canvas::shortened(name, 15), (x + 24, y), text(13, INK)))?;
    }
    area.draw(&PathElement::new(vec![(LEFT, bottom), (RIGHT, bottom)], INK))?;
    Ok(())
}

/// Ticks along the top where something held the clocks back.
fn marks(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    times: &[f64],
    reasons: &[&str],
    top: i32,
    end: f64,
) -> Result<(), Box<dyn std::error::Error>> {
    if reasons.is_empty() {
        return Ok(());
    }
    let style = colour(1);
    let mut columns: Vec<i32> = times.iter().map(|time| x_of(*time, end)).collect();
    columns.dedup();
    for x in columns {
        area.draw(&PathElement::new(vec![(x, top - 8), (x, top - 2)], style))?;
    }
    let words = format!("held back: {}", reasons.join(", "));
    area.draw(&Text::new(words, (LEFT + 110, top - 16), text(12, style)))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{Bytes, Seconds, Watts};

    fn reading(window: usize, time: f64, power: Option<f64>, used: Option<f64>) -> PowerRow {
        PowerRow {
            case_id: "a".into(),
            window,
            time: Seconds(time),
            zone: "gpu0".into(),
            power: power.map(Watts),
            memory_used: used.map(Bytes),
            ..PowerRow::default()
        }
    }

    #[test]
    fn windows_follow_each_other_and_what_was_not_read_is_not_drawn() {
        let rows = [
            reading(0, 0.0, Some(100.0), Some(1e9)),
            reading(0, 2.0, Some(200.0), None),
            reading(1, 0.0, Some(100.0), None),
            reading(1, 3.0, None, None),
        ];
        let readings: Vec<&PowerRow> = rows.iter().collect();
        let starts = starts(&readings);
        assert_eq!(starts.values().copied().collect::<Vec<_>>(), [0.0, 2.5]);
        let power = lines(&readings, &starts, |row| row.power.map(|power| power.0));
        assert_eq!(power.len(), 2, "a gap between windows is not a line");
        assert_eq!(power[0].points, [(0.0, 100.0), (2.0, 200.0)]);
        assert_eq!(power[1].points, [(2.5, 100.0)]);
        assert_eq!(lines(&readings, &starts, |row| row.memory_used.map(|used| used.0)).len(), 1);
    }

    #[test]
    fn many_readings_keep_their_mean() {
        let points: Vec<(f64, f64)> = (0..10_000).map(|i| (i as f64, (i % 7) as f64)).collect();
        let few = thinned(points);
        assert!(few.len() <= MOST_POINTS && few.len() > MOST_POINTS / 2, "{}", few.len());
        let mean = few.iter().map(|point| point.1).sum::<f64>() / few.len() as f64;
        assert!((mean - 3.0).abs() < 0.05, "{mean}");
    }
}
