//! Lines over two axes, which most plots are: values with their intervals, each line with a mark and a dash of its own.

use super::Plot;
use super::canvas::{self, GRID, INK, WIDTH, colour, linear_ticks, log_ticks, shortened, text, tick};
use crate::report::table::{DASH, Table};
use crate::units::interval::Interval;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

const TOP: i32 = 46;
const PANEL: i32 = 290;
const LEFT: i32 = 82;
/// Room for a legend on the right, where its names are short.
const SIDE: i32 = 170;
const LONGEST_AT_SIDE: usize = 20;
const LONGEST_BELOW: usize = 84;
/// Lines that are drawn.
const MOST_LINES: usize = 10;

/// How values are spread over an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// From 0.
    Linear,
    /// From the least to the greatest value.
    Close,
    /// By factors.
    Log,
    /// By factors, with a tick at each value.
    Each,
}

/// An axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    /// What is on it, with its unit.
    pub label: String,
    /// How values are spread.
    pub scale: Scale,
    /// What stands before a number.
    pub prefix: &'static str,
}

impl Axis {
    /// An axis of this scale.
    pub fn new(label: impl Into<String>, scale: Scale) -> Self {
        Self { label: label.into(), scale, prefix: "" }
    }

    /// An axis of money.
    pub fn usd(label: impl Into<String>, scale: Scale) -> Self {
        Self { prefix: "$", ..Self::new(label, scale) }
    }
}

/// A value with its interval, somewhere along.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dot {
    /// Along.
    pub x: f64,
    /// Up.
    pub y: Interval,
}

impl Dot {
    /// A value without an interval.
    pub fn exact(x: f64, y: f64) -> Self {
        Self { x, y: Interval::exact(y) }
    }
}

/// A line.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// What it is of.
    pub name: String,
    /// In the order of the line.
    pub dots: Vec<Dot>,
    /// Whether they are joined; else they are marks only.
    pub joined: bool,
}

impl Line {
    /// Dots that are joined.
    pub fn new(name: impl Into<String>, dots: Vec<Dot>) -> Self {
        Self { name: name.into(), dots, joined: true }
    }
}

/// A chart to draw.
#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    /// File-safe name.
    pub name: String,
    /// What it shows.
    pub title: String,
    /// The same in a sentence or two.
    pub description: String,
    /// Sizes of samples, and what bars mean.
    pub note: String,
    /// Along.
    pub x: Axis,
    /// Up.
    pub y: Axis,
    /// The lines.
    pub lines: Vec<Line>,
    /// Places on the x axis with their names.
    pub places: Vec<(f64, String)>,
}

/// Where values fall on a side of the picture.
struct Span {
    scale: Scale,
    low: f64,
    high: f64,
    from: i32,
    to: i32,
}

impl Span {
    fn new(scale: Scale, values: impl Iterator<Item = f64>, from: i32, to: i32) -> Option<Self> {
        let (low, high) = match scale {
            Scale::Close => canvas::close_range(values)?,
            Scale::Linear => canvas::range(values, true)?,
            Scale::Log | Scale::Each => canvas::range(values.filter(|value| *value > 0.0), false)?,
        };
        Some(Self { scale, low, high, from, to })
    }

    fn at(&self, value: f64) -> i32 {
        let share = match self.scale {
            Scale::Linear | Scale::Close => (value - self.low) / (self.high - self.low),
            _ => (value.max(self.low * 1e-3) / self.low).ln() / (self.high / self.low).ln(),
        };
        self.from + (share.clamp(-0.2, 1.2) * f64::from(self.to - self.from)) as i32
    }

    fn ticks(&self, values: impl Iterator<Item = f64>) -> Vec<f64> {
        match self.scale {
            Scale::Linear => linear_ticks(0.0, self.high),
            Scale::Close => linear_ticks(self.low, self.high),
            Scale::Log => log_ticks(self.low, self.high),
            Scale::Each => {
                let mut values: Vec<f64> = values.collect();
                values.sort_by(f64::total_cmp);
                values.dedup();
                // Labels that would run into each other go.
                let mut last = i32::MIN / 2;
                values.retain(|value| {
                    let keep = self.at(*value) - last >= 26;
                    last = if keep { self.at(*value) } else { last };
                    keep
                });
                values
            }
        }
    }
}

type Area<'a, 'b> = &'a DrawingArea<SVGBackend<'b>, Shift>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

impl Chart {
    /// Draws; `None` where there is nothing to draw.
    pub fn plot(mut self) -> Option<Plot> {
        self.lines.retain(|line| !line.dots.is_empty());
        let more = self.lines.len().saturating_sub(MOST_LINES);
        self.lines.truncate(MOST_LINES);
        if more > 0 {
            self.note.push_str(&format!(" {more} more lines are not drawn; the cases have their numbers."));
        }
        let data = self.table();
        let below = self.lines.iter().any(|line| line.name.chars().count() > LONGEST_AT_SIDE);
        let right = if below { WIDTH as i32 - 24 } else { WIDTH as i32 - SIDE };
        let bottom = TOP + PANEL;
        let dots = || self.lines.iter().flat_map(|line| &line.dots);
        let x = Span::new(self.x.scale, dots().map(|dot| dot.x), LEFT, right)?;
        let y = Span::new(self.y.scale, dots().flat_map(|dot| [dot.y.lo, dot.y.value, dot.y.hi]), bottom, TOP)?;
        let names: Vec<String> = self.lines.iter().map(|line| line.name.clone()).collect();
        let height = bottom + 52 + if below { 20 * names.len() as i32 + 6 } else { 0 };
        let svg = canvas::svg(height as u32, &self.title, &self.description, |area| {
            self.frame(area, &x, &y, right, bottom)?;
            for (index, line) in self.lines.iter().enumerate() {
                draw(area, index, line, &x, &y)?;
            }
            if below {
                legend(area, &names, (LEFT, bottom + 58), LONGEST_BELOW)
            } else {
                legend(area, &names, (right + 18, TOP + 10), LONGEST_AT_SIDE)
            }
        });
        let Self { name, title, description, note, .. } = self;
        Some(Plot { name, title, description, note, data, svg })
    }

    fn frame(&self, area: Area<'_, '_>, x: &Span, y: &Span, right: i32, bottom: i32) -> Drawn {
        let centred = text(13, INK).pos(Pos::new(HPos::Center, VPos::Center));
        let to_right = text(13, INK).pos(Pos::new(HPos::Right, VPos::Center));
        area.draw(&Text::new(self.title.clone(), (12, 16), text(17, BLACK)))?;
        area.draw(&Text::new(self.y.label.clone(), (12, 36), text(13, INK)))?;
        for value in y.ticks(std::iter::empty()) {
            area.draw(&PathElement::new(vec![(LEFT, y.at(value)), (right, y.at(value))], GRID))?;
            let label = format!("{}{}", self.y.prefix, tick(value));
            area.draw(&Text::new(label, (LEFT - 8, y.at(value)), to_right.clone()))?;
        }
        for value in x.ticks(self.lines.iter().flat_map(|line| line.dots.iter().map(|dot| dot.x))) {
            area.draw(&PathElement::new(vec![(x.at(value), bottom), (x.at(value), bottom + 5)], INK))?;
            let label = format!("{}{}", self.x.prefix, tick(value));
            area.draw(&Text::new(label, (x.at(value), bottom + 16), centred.clone()))?;
        }
        area.draw(&PathElement::new(vec![(LEFT, bottom), (right, bottom)], INK))?;
        area.draw(&Text::new(self.x.label.clone(), ((LEFT + right) / 2, bottom + 38), centred))?;
        for (index, (value, name)) in self.places.iter().enumerate() {
            let at = x.at(*value);
            let mut top = TOP;
            while top < bottom {
                area.draw(&PathElement::new(vec![(at, top), (at, (top + 5).min(bottom))], INK))?;
                top += 10;
            }
            let on_left = at > (LEFT + right) / 2;
            let pos = Pos::new(if on_left { HPos::Right } else { HPos::Left }, VPos::Center);
            let place = (at + if on_left { -5 } else { 5 }, TOP + 8 + 16 * index as i32);
            area.draw(&Text::new(shortened(name, 48), place, text(12, INK).pos(pos)))?;
        }
        Ok(())
    }

    /// Everything that is drawn.
    fn table(&self) -> Table {
        let (x, y) = (format!(">{}", self.x.label), format!(">{}", self.y.label));
        let mut table = Table::new(self.title.clone(), &["line", &x, &y, ">from", ">to"]);
        let number = |value: f64| crate::units::digits(value);
        for line in &self.lines {
            for dot in &line.dots {
                let ends = if dot.y.lo == dot.y.hi {
                    [DASH.to_string(), DASH.to_string()]
                } else {
                    [number(dot.y.lo), number(dot.y.hi)]
                };
                let [lo, hi] = ends;
                table.push(vec![line.name.clone(), number(dot.x), number(dot.y.value), lo, hi]);
            }
        }
        for (value, name) in &self.places {
            table.notes.push(format!("{name}: {}", number(*value)));
        }
        table
    }
}

fn draw(area: Area<'_, '_>, index: usize, line: &Line, x: &Span, y: &Span) -> Drawn {
    let at = |dot: &Dot| (x.at(dot.x), y.at(dot.y.value));
    if line.joined {
        area.draw(&PathElement::new(line.dots.iter().map(at).collect::<Vec<_>>(), colour(index).stroke_width(2)))?;
    }
    for dot in &line.dots {
        let (across, up) = at(dot);
        let (top, bottom) = (y.at(dot.y.hi), y.at(dot.y.lo));
        if bottom - top > 2 {
            let bars = [
                [(across, top), (across, bottom)],
                [(across - 4, top), (across + 4, top)],
                [(across - 4, bottom), (across + 4, bottom)],
            ];
            for bar in bars {
                area.draw(&PathElement::new(bar.to_vec(), colour(index).stroke_width(1)))?;
            }
        }
        // Marks of a line of many dots would hide it.
        if line.dots.len() <= 40 || !line.joined {
            canvas::mark(area, index, (across, up))?;
        }
    }
    if let Some(dot) = line.dots.get(line.dots.len() / 2).filter(|_| line.joined && line.dots.len() > 40) {
        canvas::mark(area, index, at(dot))?;
    }
    Ok(())
}

fn legend(area: Area<'_, '_>, names: &[String], (x, top): (i32, i32), longest: usize) -> Drawn {
    for (index, name) in names.iter().enumerate() {
        let y = top + 20 * index as i32;
        canvas::mark(area, index, (x, y))?;
        area.draw(&Text::new(shortened(name, longest), (x + 12, y), text(13, INK)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(lines: Vec<Line>, scale: Scale) -> Chart {
        Chart {
            name: "n".into(),
            title: "T".into(),
            description: "D".into(),
            note: "N".into(),
            x: Axis::new("x, s", scale),
            y: Axis::usd("y, USD", scale),
            lines,
            places: vec![(2.0, "here".into())],
        }
    }

    #[test]
    fn what_is_drawn_is_in_the_table() {
        let dots = vec![Dot { x: 1.0, y: Interval::new(2.0, 1.5, 2.5) }, Dot::exact(2.0, 4.0)];
        let plot = chart(vec![Line::new("a <b>", dots)], Scale::Log).plot().unwrap();
        assert_eq!(plot.data.rows, [["a <b>", "1.00", "2.00", "1.50", "2.50"], ["a <b>", "2.00", "4.00", "-", "-"]]);
        assert!(plot.svg.contains("a &lt;b&gt;") && plot.svg.contains("here") && plot.svg.contains("x, s"));
    }

    #[test]
    fn nothing_and_odd_values_draw_nothing_and_do_not_panic() {
        assert_eq!(chart(Vec::new(), Scale::Linear).plot(), None);
        for scale in [Scale::Linear, Scale::Close, Scale::Log, Scale::Each] {
            let dots = [f64::NAN, f64::INFINITY, 0.0, 1e-300, 1e300].map(|v| Dot::exact(v, v)).to_vec();
            let _ = chart(vec![Line::new("odd", dots)], scale).plot();
        }
        let many = (0..30).map(|i| Line::new(format!("{i}"), vec![Dot::exact(1.0, 1.0)])).collect();
        let plot = chart(many, Scale::Each).plot().unwrap();
        assert!(plot.note.contains("20 more lines") && plot.data.rows.len() == 10);
    }
}
