//! Curves against batch size: latency, throughput, throughput per watt.

use super::Plot;
use super::canvas::{self, GRID, INK, LEGEND_WIDTH, WIDTH, colour, linear_ticks, text, tick};
use crate::record::{CaseRow, Outcome, Run};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

const HEIGHT: u32 = 380;
const TOP: i32 = 46;
const BOTTOM: i32 = 50;
const LEFT: i32 = 74;

/// A value at a batch size.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Point {
    batch: usize,
    value: f64,
    lo: f64,
    hi: f64,
}

/// Values over batch sizes of one level and length.
#[derive(Debug, Clone, PartialEq)]
struct Series {
    name: String,
    points: Vec<Point>,
}

/// What a plot shows of each case: value, low and high end.
type Value = fn(&CaseRow) -> Option<(f64, f64, f64)>;

struct Curves {
    name: &'static str,
    title: &'static str,
    unit: &'static str,
    value: Value,
}

const CURVES: [Curves; 4] = [
    Curves {
        name: "latency",
        title: "Latency of a token against batch size",
        unit: "TPOT, ms",
        value: |row| {
            let d = row.metrics.tpot?;
            Some((d.median.0 * 1e3, d.lo.unwrap_or(d.median).0 * 1e3, d.hi.unwrap_or(d.median).0 * 1e3))
        },
    },
    Curves {
        name: "ttft",
        title: "Time to the first token against batch size",
        unit: "TTFT, ms",
        value: |row| {
            let d = row.metrics.ttft?;
            Some((d.median.0 * 1e3, d.lo.unwrap_or(d.median).0 * 1e3, d.hi.unwrap_or(d.median).0 * 1e3))
        },
    },
    Curves {
        name: "throughput",
        title: "Decode throughput against batch size",
        unit: "tokens/s",
        value: |row| {
            let e = row.metrics.decode_tokens_per_s?;
            Some((e.value.0, e.lo.unwrap_or(e.value).0, e.hi.unwrap_or(e.value).0))
        },
    },
    Curves {
        name: "throughput-per-watt",
        title: "Tokens per second per watt against batch size",
        unit: "tokens/s/W",
        value: |row| {
            row.metrics.tokens_per_j.map(|t| (t.value.0, t.lo.unwrap_or(t.value).0, t.hi.unwrap_or(t.value).0))
        },
    },
];

/// The curves that the run has values for.
pub fn all(run: &Run) -> Vec<Plot> {
    CURVES.iter().filter_map(|curves| plot(run, curves)).collect()
}

/// One series for each level and prompt length, in the order of the run.
fn series(run: &Run, value: Value) -> Vec<Series> {
    let mut all: Vec<Series> = Vec::new();
    let ok = || run.cases.iter().filter(|row| row.outcome == Outcome::Ok);
    let mut prompts: Vec<(usize, usize)> = ok().map(|r| (r.key.case.prompt_tokens, r.key.case.gen_tokens)).collect();
    prompts.sort_unstable();
    prompts.dedup();
    for row in ok() {
        let case = row.key.case;
        let Some((value, lo, hi)) = value(row) else { continue };
        let name = match prompts.len() {
            1 => case.quant.to_string(),
            _ => format!("{} p{} g{}", case.quant, case.prompt_tokens, case.gen_tokens),
        };
        let point = Point { batch: case.batch, value, lo, hi };
        match all.iter_mut().find(|series| series.name == name) {
            Some(series) => series.points.push(point),
            None => all.push(Series { name, points: vec![point] }),
        }
    }
    for series in &mut all {
        series.points.sort_by_key(|p| p.batch);
    }
    all
}

fn plot(run: &Run, curves: &Curves) -> Option<Plot> {
    let series = series(run, curves.value);
    let points = || series.iter().flat_map(|s| s.points.iter());
    let mut batches: Vec<usize> = points().map(|p| p.batch).collect();
    batches.sort_unstable();
    batches.dedup();
    let (low, high) = canvas::range(points().flat_map(|p| [p.value, p.hi]), true)?;
    let description = format!(
        "{} for batch sizes {}; one line each for {}. Bars are 95 % intervals of the median.",
        curves.title,
        batches.iter().map(usize::to_string).collect::<Vec<_>>().join(", "),
        series.iter().map(|s| s.name.as_str()).collect::<Vec<_>>().join(", ")
    );
    let svg = canvas::svg(HEIGHT, curves.title, &description, |area| {
        let frame = Frame::new(&batches, low, high);
        frame.draw(area, curves.title, curves.unit)?;
        for (index, series) in series.iter().enumerate() {
            let style = colour(index).stroke_width(2);
            let at = |p: &Point| (frame.x(p.batch), frame.y(p.value));
            area.draw(&PathElement::new(series.points.iter().map(at).collect::<Vec<_>>(), style))?;
            for point in &series.points {
                let (x, y) = at(point);
                let (top, bottom) = (frame.y(point.hi), frame.y(point.lo));
                if bottom - top > 2 {
                    for line in
                        [[(x, top), (x, bottom)], [(x - 4, top), (x + 4, top)], [(x - 4, bottom), (x + 4, bottom)]]
                    {
                        area.draw(&PathElement::new(line.to_vec(), colour(index).stroke_width(1)))?;
                    }
                }
                canvas::mark(area, index, (x, y))?;
            }
        }
        let names: Vec<String> = series.iter().map(|s| s.name.clone()).collect();
        canvas::legend(area, &names, TOP + 10)?;
        Ok(())
    });
    Some(Plot { name: curves.name.to_string(), title: curves.title.to_string(), description, svg })
}

/// Axes: batch sizes by powers of two, values from 0.
struct Frame {
    batches: Vec<usize>,
    low: f64,
    high: f64,
}

impl Frame {
    fn new(batches: &[usize], low: f64, high: f64) -> Self {
        Self { batches: batches.to_vec(), low, high }
    }

    fn right() -> i32 {
        (WIDTH - LEGEND_WIDTH) as i32
    }

    fn x(&self, batch: usize) -> i32 {
        let log = |b: usize| (b as f64).log2();
        let (first, last) = (self.batches.first().copied().unwrap_or(1), self.batches.last().copied().unwrap_or(1));
        let (left, right) = (LEFT + 30, Self::right() - 30);
        match last > first {
            true => left + ((log(batch) - log(first)) / (log(last) - log(first)) * (right - left) as f64) as i32,
            false => (left + right) / 2,
        }
    }

    fn y(&self, value: f64) -> i32 {
        let (top, bottom) = (TOP, HEIGHT as i32 - BOTTOM);
        bottom - ((value - self.low) / (self.high - self.low) * (bottom - top) as f64) as i32
    }

    fn draw(
        &self,
        area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
        title: &str,
        unit: &str,
    ) -> Result<(), Box<dyn std::error::Error>> {
        let bottom = HEIGHT as i32 - BOTTOM;
        area.draw(&Text::new(title.to_string(), (LEFT, 18), text(17, BLACK)))?;
        area.draw(&Text::new(unit.to_string(), (8, 34), text(13, INK)))?;
        for value in linear_ticks(self.high) {
            let y = self.y(value);
            area.draw(&PathElement::new(vec![(LEFT, y), (Self::right(), y)], GRID))?;
            let style = text(13, INK).pos(Pos::new(HPos::Right, VPos::Center));
            area.draw(&Text::new(tick(value), (LEFT - 8, y), style))?;
        }
        for batch in &self.batches {
            let x = self.x(*batch);
            area.draw(&PathElement::new(vec![(x, bottom), (x, bottom + 5)], INK))?;
            let style = text(13, INK).pos(Pos::new(HPos::Center, VPos::Center));
            area.draw(&Text::new(batch.to_string(), (x, bottom + 16), style))?;
        }
        area.draw(&PathElement::new(vec![(LEFT, bottom), (Self::right(), bottom)], INK))?;
        let style = text(13, INK).pos(Pos::new(HPos::Center, VPos::Center));
        let middle = (LEFT + Self::right()) / 2;
        area.draw(&Text::new("batch (sequences that run together)".to_string(), (middle, bottom + 38), style))?;
        Ok(())
    }
}
